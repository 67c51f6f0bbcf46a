//! XML replies of awsQuery and ec2Query.

use crate::encode::Writer;
use crate::shape::{Kind, Member, Structure, TimestampFormat, Type};
use crate::{Document, number, time_text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write;
use stdx::Timestamp;

/// Writes shapes as elements. The outermost structure's own element is the caller's to open and close.
#[derive(Debug, Default)]
pub struct XmlWriter {
    out: String,
    levels: Vec<Level>,
    /// The element that the next value goes into.
    name: &'static str,
    /// Whether the next list or map has no element of its own.
    flattened: bool,
    /// Whether the outermost structure is an exception, whose message is always `Message`.
    exception: bool,
}

/// A value that is not finished yet.
#[derive(Debug)]
enum Level {
    /// With the element to close, if it has one.
    Structure(Option<&'static str>),
    List {
        close: Option<&'static str>,
        item: &'static str,
    },
    Map {
        close: Option<&'static str>,
        entry: &'static str,
        key: &'static str,
        value: &'static str,
        open: bool,
    },
}

impl XmlWriter {
    pub fn new() -> Self {
        Self { out: String::with_capacity(1024), ..Self::default() }
    }

    /// For an exception's members.
    pub(crate) fn for_exception() -> Self {
        Self { exception: true, ..Self::new() }
    }

    /// The text written so far.
    pub fn finish(self) -> String {
        self.out
    }

    pub(crate) fn open(&mut self, name: &str) {
        self.print(format_args!("<{name}>"));
    }

    pub(crate) fn open_with_namespace(&mut self, name: &str, namespace: Option<&str>) {
        match namespace {
            Some(namespace) => self.print(format_args!("<{name} xmlns=\"{namespace}\">")),
            None => self.open(name),
        }
    }

    pub(crate) fn close(&mut self, name: &str) {
        self.print(format_args!("</{name}>"));
    }

    /// An element with a text.
    pub(crate) fn element(&mut self, name: &str, text: &str) {
        self.open(name);
        escape_into(&mut self.out, text);
        self.close(name);
    }

    fn print(&mut self, value: impl std::fmt::Display) {
        // Writing to a string cannot fail.
        write!(self.out, "{value}").unwrap_or_default();
    }

    fn plain(&mut self, value: impl std::fmt::Display) {
        let name = self.name;
        self.print(format_args!("<{name}>{value}</{name}>"));
    }

    /// Opens the element around a list or map, unless it is flattened; returns what to close.
    fn wrap(&mut self, flattened: bool) -> Option<&'static str> {
        let flattened = std::mem::take(&mut self.flattened) || flattened;
        if flattened {
            return None;
        }
        let name = self.name;
        self.open(name);
        Some(name)
    }
}

/// Appends a text with XML's reserved characters escaped. XML cannot carry most control characters at all.
fn escape_into(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#13;"),
            '\n' | '\t' => out.push(character),
            '\0'..' ' | '\u{fffe}' | '\u{ffff}' => out.push(char::REPLACEMENT_CHARACTER),
            _ => out.push(character),
        }
    }
}

impl Writer for XmlWriter {
    fn begin_structure(&mut self, _: &'static Structure) {
        let close = (!self.levels.is_empty()).then_some(self.name);
        if let Some(name) = close {
            self.open(name);
        }
        self.levels.push(Level::Structure(close));
    }

    fn member(&mut self, member: &'static Member) {
        let message = self.exception && self.levels.len() == 1 && member.wire.eq_ignore_ascii_case("message");
        self.name = if message { "Message" } else { member.wire };
        self.flattened = member.flattened;
    }

    fn end_structure(&mut self) {
        if let Some(Level::Structure(Some(name))) = self.levels.pop() {
            self.close(name);
        }
    }

    fn begin_list(&mut self, ty: &'static Type, _: usize) {
        let Kind::List { item_name, flattened, .. } = ty.kind else { return };
        let outer = self.name;
        // A list that says itself that it is flattened names its items; a member that says so lends them its own name.
        let item = match (self.flattened, flattened) {
            (true, _) => outer,
            (false, true) if item_name == "member" => outer,
            _ => item_name,
        };
        let close = self.wrap(flattened);
        self.levels.push(Level::List { close, item });
    }

    fn item(&mut self) {
        if let Some(Level::List { item, .. }) = self.levels.last() {
            self.name = item;
        }
    }

    fn end_list(&mut self) {
        if let Some(Level::List { close: Some(name), .. }) = self.levels.pop() {
            self.close(name);
        }
    }

    fn begin_map(&mut self, ty: &'static Type, _: usize) {
        let Kind::Map { key_name: key, value_name: value, flattened, .. } = ty.kind else { return };
        let outer = self.name;
        let close = self.wrap(flattened);
        let entry = if close.is_some() { "entry" } else { outer };
        self.levels.push(Level::Map { close, entry, key, value, open: false });
    }

    fn key(&mut self, text: &str) {
        let Some(Level::Map { entry, key, value, open, .. }) = self.levels.last_mut() else { return };
        let (entry, key, value) = (*entry, *key, *value);
        if std::mem::replace(open, true) {
            self.close(entry);
        }
        self.open(entry);
        self.element(key, text);
        self.name = value;
    }

    fn end_map(&mut self) {
        let Some(Level::Map { close, entry, open, .. }) = self.levels.pop() else { return };
        if open {
            self.close(entry);
        }
        if let Some(name) = close {
            self.close(name);
        }
    }

    fn string(&mut self, value: &str) {
        let name = self.name;
        self.element(name, value);
    }

    fn boolean(&mut self, value: bool) {
        self.plain(value);
    }

    fn integer(&mut self, value: i32) {
        self.plain(value);
    }

    fn long(&mut self, value: i64) {
        self.plain(value);
    }

    fn double(&mut self, value: f64) {
        match number::word(value) {
            Some(word) => self.plain(word),
            None => self.plain(format_args!("{value:?}")),
        }
    }

    fn blob(&mut self, value: &[u8]) {
        self.plain(STANDARD.encode(value));
    }

    fn timestamp(&mut self, value: Timestamp, ty: &'static Type) {
        match ty.kind {
            Kind::Timestamp(Some(TimestampFormat::UnixTimestamp)) => self.plain(time_text::Seconds(value)),
            Kind::Timestamp(Some(TimestampFormat::Rfc822)) => self.plain(time_text::rfc822(value)),
            _ => self.plain(value.iso8601()),
        }
    }

    fn document(&mut self, value: &Document) {
        self.string(&value.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_characters_are_escaped() {
        let mut out = String::new();
        escape_into(&mut out, "<a b=\"c\">&\r\n\u{1}é</a>");
        assert_eq!(out, "&lt;a b=&quot;c&quot;&gt;&amp;&#13;\n\u{fffd}é&lt;/a&gt;");
    }
}
