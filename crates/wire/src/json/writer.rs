//! JSON text out of shapes.

use crate::encode::Writer;
use crate::shape::{Kind, Member, Structure, TimestampFormat, Type};
use crate::{Document, number, time_text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io::Write;
use stdx::Timestamp;

/// Writes shapes as compact JSON.
#[derive(Debug, Default)]
pub struct JsonWriter {
    out: Vec<u8>,
    /// An error's code, to be written as `__type` in front of the outermost structure's members.
    code: Option<String>,
}

impl JsonWriter {
    pub fn new() -> Self {
        Self { out: Vec::with_capacity(1024), code: None }
    }

    /// For an error's members.
    pub(crate) fn for_error(code: &str) -> Self {
        Self { code: Some(code.to_owned()), ..Self::new() }
    }

    /// The text written so far.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    /// The comma before a value that is not the first in its brackets. Looking at the last byte is enough: a value
    /// never ends in an opening bracket.
    fn separate(&mut self) {
        if !matches!(self.out.last(), Some(b'{' | b'[')) {
            self.out.push(b',');
        }
    }

    fn print(&mut self, value: impl std::fmt::Display) {
        // Writing to a vector cannot fail.
        write!(self.out, "{value}").unwrap_or_default();
    }
}

impl Writer for JsonWriter {
    fn begin_structure(&mut self, _: &'static Structure) {
        self.out.push(b'{');
        if let Some(code) = self.code.take() {
            self.key("__type");
            self.string(&code);
        }
    }

    fn member(&mut self, member: &'static Member) {
        self.separate();
        // Members' names need no escapes.
        self.out.push(b'"');
        self.out.extend_from_slice(member.wire.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn end_structure(&mut self) {
        self.out.push(b'}');
    }

    fn begin_list(&mut self, _: &'static Type, _: usize) {
        self.out.push(b'[');
    }

    fn item(&mut self) {
        self.separate();
    }

    fn end_list(&mut self) {
        self.out.push(b']');
    }

    fn begin_map(&mut self, _: &'static Type, _: usize) {
        self.out.push(b'{');
    }

    fn key(&mut self, key: &str) {
        self.separate();
        self.string(key);
        self.out.push(b':');
    }

    fn end_map(&mut self) {
        self.out.push(b'}');
    }

    fn string(&mut self, value: &str) {
        self.out.push(b'"');
        let bytes = value.as_bytes();
        let mut start = 0;
        for (at, &byte) in bytes.iter().enumerate() {
            if byte >= 0x20 && byte != b'"' && byte != b'\\' {
                continue;
            }
            self.out.extend_from_slice(&bytes[start..at]);
            start = at + 1;
            match byte {
                b'"' | b'\\' => self.out.extend_from_slice(&[b'\\', byte]),
                b'\n' => self.out.extend_from_slice(b"\\n"),
                b'\r' => self.out.extend_from_slice(b"\\r"),
                b'\t' => self.out.extend_from_slice(b"\\t"),
                _ => self.print(format_args!("\\u{byte:04x}")),
            }
        }
        self.out.extend_from_slice(&bytes[start..]);
        self.out.push(b'"');
    }

    fn boolean(&mut self, value: bool) {
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    fn integer(&mut self, value: i32) {
        self.print(value);
    }

    fn long(&mut self, value: i64) {
        self.print(value);
    }

    fn double(&mut self, value: f64) {
        match number::word(value) {
            Some(word) => self.string(word),
            None => self.print(format_args!("{value:?}")),
        }
    }

    fn blob(&mut self, value: &[u8]) {
        self.string(&STANDARD.encode(value));
    }

    fn timestamp(&mut self, value: Timestamp, ty: &'static Type) {
        match ty.kind {
            Kind::Timestamp(Some(TimestampFormat::Iso8601)) => self.string(&value.iso8601()),
            Kind::Timestamp(Some(TimestampFormat::Rfc822)) => self.string(&time_text::rfc822(value)),
            _ => self.print(time_text::Seconds(value)),
        }
    }

    fn document(&mut self, value: &Document) {
        self.print(value);
    }
}
