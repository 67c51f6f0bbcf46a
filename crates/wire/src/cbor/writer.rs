//! CBOR out of shapes.

use crate::Document;
use crate::encode::Writer;
use crate::shape::{Member, Structure, Type};
use stdx::Timestamp;

/// Writes shapes as CBOR. Structures have indefinite length, because their members are not counted beforehand.
#[derive(Debug, Default)]
pub struct CborWriter {
    out: Vec<u8>,
    /// An error's code, to be written as `__type` in front of the outermost structure's members.
    code: Option<String>,
}

const BREAK: u8 = 0xff;

impl CborWriter {
    pub fn new() -> Self {
        Self { out: Vec::with_capacity(1024), code: None }
    }

    /// For an error's members.
    pub(crate) fn for_error(code: &str) -> Self {
        Self { code: Some(code.to_owned()), ..Self::new() }
    }

    /// The bytes written so far.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    /// The major type with its argument in the fewest bytes.
    fn head(&mut self, major: u8, argument: u64) {
        let major = major << 5;
        let bytes = argument.to_be_bytes();
        let (info, skip) = match argument {
            0..24 => {
                self.out.push(major | bytes[7]);
                return;
            }
            24..0x100 => (24, 7),
            0x100..0x1_0000 => (25, 6),
            0x1_0000..0x1_0000_0000 => (26, 4),
            _ => (27, 0),
        };
        self.out.push(major | info);
        self.out.extend_from_slice(&bytes[skip..]);
    }

    fn count(&mut self, major: u8, len: usize) {
        self.head(major, u64::try_from(len).unwrap_or(u64::MAX));
    }
}

impl Writer for CborWriter {
    fn begin_structure(&mut self, _: &'static Structure) {
        self.out.push(0xbf);
        if let Some(code) = self.code.take() {
            self.string("__type");
            self.string(&code);
        }
    }

    fn member(&mut self, member: &'static Member) {
        self.string(member.wire);
    }

    fn end_structure(&mut self) {
        self.out.push(BREAK);
    }

    fn begin_list(&mut self, _: &'static Type, len: usize) {
        self.count(4, len);
    }

    fn item(&mut self) {}

    fn end_list(&mut self) {}

    fn begin_map(&mut self, _: &'static Type, len: usize) {
        self.count(5, len);
    }

    fn key(&mut self, key: &str) {
        self.string(key);
    }

    fn end_map(&mut self) {}

    fn string(&mut self, value: &str) {
        self.count(3, value.len());
        self.out.extend_from_slice(value.as_bytes());
    }

    fn boolean(&mut self, value: bool) {
        self.out.push(if value { 0xf5 } else { 0xf4 });
    }

    fn integer(&mut self, value: i32) {
        self.long(i64::from(value));
    }

    fn long(&mut self, value: i64) {
        match u64::try_from(value) {
            Ok(value) => self.head(0, value),
            // The argument is -1 - value, which is the complement of the bits.
            Err(_) => self.head(1, u64::from_ne_bytes((!value).to_ne_bytes())),
        }
    }

    fn double(&mut self, value: f64) {
        self.out.push(0xfb);
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    fn blob(&mut self, value: &[u8]) {
        self.count(2, value.len());
        self.out.extend_from_slice(value);
    }

    fn timestamp(&mut self, value: Timestamp, _: &'static Type) {
        self.out.push(0xc1);
        if value.millis() % 1000 == 0 {
            self.long(value.millis() / 1000);
        } else {
            self.double(value.seconds());
        }
    }

    fn document(&mut self, value: &Document) {
        match value {
            Document::Null => self.out.push(0xf6),
            Document::Bool(value) => self.boolean(*value),
            Document::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => self.long(number),
                (None, Some(number)) => self.head(0, number),
                (None, None) => self.double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Document::String(text) => self.string(text),
            Document::Array(items) => {
                self.count(4, items.len());
                items.iter().for_each(|item| self.document(item));
            }
            Document::Object(entries) => {
                self.count(5, entries.len());
                for (key, entry) in entries {
                    self.string(key);
                    self.document(entry);
                }
            }
        }
    }
}
