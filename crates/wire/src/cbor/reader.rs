//! A pull parser for CBOR.

use crate::decode::{DEPTH_MAX, Notes, Reader};
use crate::shape::{Structure, Type};
use crate::{Document, Malformed, time_text};
use stdx::Timestamp;

/// Reads shapes out of CBOR.
#[derive(Debug)]
pub struct CborReader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Entries left in each open array or map; `None` for those that end with a break.
    open: Vec<Option<u64>>,
    notes: Notes,
}

/// The first bytes of a data item. Lengths are `None` when a break ends the item.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Head {
    Unsigned(u64),
    Negative(u64),
    Bytes(Option<u64>),
    Text(Option<u64>),
    Array(Option<u64>),
    Map(Option<u64>),
    Tag(u64),
    Boolean(bool),
    /// Null or undefined.
    Null,
    Float(f64),
    Simple,
    Break,
}

impl Head {
    /// The name in AWS's texts for values of the wrong type.
    fn name(self) -> &'static str {
        match self {
            Self::Unsigned(_) | Self::Negative(_) | Self::Float(_) => "NUMBER_VALUE",
            Self::Bytes(_) => "BLOB_VALUE",
            Self::Text(_) => "STRING_VALUE",
            Self::Array(_) => "LIST_VALUE",
            Self::Map(_) => "MAP_VALUE",
            Self::Tag(_) => "TAGGED_VALUE",
            Self::Boolean(true) => "TRUE_VALUE",
            Self::Boolean(false) => "FALSE_VALUE",
            Self::Null => "NULL_VALUE",
            Self::Simple => "SIMPLE_VALUE",
            Self::Break => "BREAK",
        }
    }
}

fn wrong(head: Head, wanted: &str) -> Malformed {
    Malformed(format!("{} cannot be converted to {wanted}", head.name()))
}

fn truncated() -> Malformed {
    Malformed("Unexpected end of the body".to_owned())
}

impl<'a> CborReader<'a> {
    /// Starts on a body; an empty one counts as an empty structure, which operations without input accept.
    pub fn new(body: &'a [u8]) -> Self {
        let bytes = if body.is_empty() { &[0xa0] } else { body };
        Self { bytes, at: 0, open: Vec::new(), notes: Notes::default() }
    }

    /// Checks that nothing follows the value that was read.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(Malformed(format!("Unexpected data after the value, at offset {}", self.at)))
        }
    }

    fn peek(&self) -> Result<u8, Malformed> {
        self.bytes.get(self.at).copied().ok_or_else(truncated)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Malformed> {
        let end = usize::try_from(length).ok().and_then(|length| self.at.checked_add(length));
        let taken = end.and_then(|end| self.bytes.get(self.at..end)).ok_or_else(truncated)?;
        self.at += taken.len();
        Ok(taken)
    }

    fn argument(&mut self, info: u8) -> Result<u64, Malformed> {
        let length = match info {
            0..24 => return Ok(u64::from(info)),
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            _ => return Err(Malformed(format!("Invalid CBOR at offset {}", self.at - 1))),
        };
        Ok(self.take(length)?.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
    }

    fn head(&mut self) -> Result<Head, Malformed> {
        let first = self.peek()?;
        self.at += 1;
        let info = first & 31;
        let indefinite = info == 31;
        Ok(match first >> 5 {
            7 => self.simple(info)?,
            2 if indefinite => Head::Bytes(None),
            3 if indefinite => Head::Text(None),
            4 if indefinite => Head::Array(None),
            5 if indefinite => Head::Map(None),
            major => {
                let argument = self.argument(info)?;
                match major {
                    0 => Head::Unsigned(argument),
                    1 => Head::Negative(argument),
                    2 => Head::Bytes(Some(argument)),
                    3 => Head::Text(Some(argument)),
                    4 => Head::Array(Some(argument)),
                    5 => Head::Map(Some(argument)),
                    _ => Head::Tag(argument),
                }
            }
        })
    }

    fn simple(&mut self, info: u8) -> Result<Head, Malformed> {
        if info == 31 {
            return Ok(Head::Break);
        }
        let argument = self.argument(info)?;
        let bits = argument.to_be_bytes();
        Ok(match info {
            20 => Head::Boolean(false),
            21 => Head::Boolean(true),
            22 | 23 => Head::Null,
            25 => Head::Float(half(u16::from_be_bytes([bits[6], bits[7]]))),
            26 => Head::Float(f64::from(f32::from_be_bytes([bits[4], bits[5], bits[6], bits[7]]))),
            27 => Head::Float(f64::from_be_bytes(bits)),
            _ => Head::Simple,
        })
    }

    /// The head of a value, past any tags.
    fn value(&mut self) -> Result<Head, Malformed> {
        loop {
            match self.head()? {
                Head::Tag(_) => {}
                head => return Ok(head),
            }
        }
    }

    fn enter(&mut self, entries: Option<u64>) -> Result<(), Malformed> {
        if self.open.len() == DEPTH_MAX {
            return Err(Malformed(format!("The body nests deeper than {DEPTH_MAX} levels")));
        }
        self.open.push(entries);
        Ok(())
    }

    /// Whether the innermost open array or map has another entry; leaves it if not.
    fn more(&mut self) -> Result<bool, Malformed> {
        let more = match self.open.last_mut() {
            Some(Some(0)) | None => false,
            Some(Some(left)) => {
                *left -= 1;
                true
            }
            Some(None) => self.peek()? != 0xff,
        };
        if !more && let Some(None) = self.open.pop() {
            self.at += 1;
        }
        Ok(more)
    }

    fn null(&mut self) -> Result<bool, Malformed> {
        let null = matches!(self.peek()?, 0xf6 | 0xf7);
        if null {
            self.at += 1;
        }
        Ok(null)
    }

    /// The bytes of a string whose length was read; chunks are joined.
    fn chunks(&mut self, length: Option<u64>, text: bool) -> Result<Vec<u8>, Malformed> {
        if let Some(length) = length {
            return self.take(length).map(<[u8]>::to_vec);
        }
        let mut out = Vec::new();
        loop {
            match self.head()? {
                Head::Break => return Ok(out),
                Head::Bytes(Some(length)) if !text => out.extend_from_slice(self.take(length)?),
                Head::Text(Some(length)) if text => out.extend_from_slice(self.take(length)?),
                head => return Err(wrong(head, "a chunk of a string")),
            }
        }
    }

    fn text(&mut self) -> Result<String, Malformed> {
        match self.value()? {
            Head::Text(length) => {
                let bytes = self.chunks(length, true)?;
                String::from_utf8(bytes).map_err(|_| Malformed("A string is not UTF-8 text".to_owned()))
            }
            head => Err(wrong(head, "String")),
        }
    }

    /// Skips a value of any kind without recursion.
    fn skip(&mut self) -> Result<(), Malformed> {
        let floor = self.open.len();
        loop {
            match self.value()? {
                Head::Bytes(Some(length)) | Head::Text(Some(length)) => drop(self.take(length)?),
                Head::Bytes(None) | Head::Text(None) | Head::Array(None) | Head::Map(None) => {
                    self.enter(None)?
                }
                Head::Array(Some(items)) => self.enter(Some(items))?,
                Head::Map(Some(entries)) => {
                    let items = entries.checked_mul(2).ok_or_else(truncated)?;
                    self.enter(Some(items))?;
                }
                Head::Break => return Err(wrong(Head::Break, "a value")),
                _ => {}
            }
            // Containers that end here are values of their own container, which may end in turn.
            while self.open.len() > floor {
                if self.more()? {
                    break;
                }
            }
            if self.open.len() == floor {
                return Ok(());
            }
        }
    }

    fn whole(&mut self, name: &str) -> Result<i64, Malformed> {
        let head = self.value()?;
        let number = match head {
            Head::Unsigned(number) => i64::try_from(number).ok(),
            Head::Negative(number) => i64::try_from(number).ok().map(|number| -1 - number),
            _ => None,
        };
        number.ok_or_else(|| wrong(head, name))
    }

    #[expect(clippy::cast_precision_loss, reason = "a float is what was asked for")]
    fn number(&mut self, name: &str) -> Result<f64, Malformed> {
        match self.value()? {
            Head::Float(number) => Ok(number),
            Head::Unsigned(number) => Ok(number as f64),
            Head::Negative(number) => Ok(-1.0 - number as f64),
            head => Err(wrong(head, name)),
        }
    }

    fn document_at(&mut self, depth: usize) -> Result<Document, Malformed> {
        if depth > DEPTH_MAX {
            return Err(Malformed(format!("A document nests deeper than {DEPTH_MAX} levels")));
        }
        let start = self.at;
        Ok(match self.value()? {
            Head::Unsigned(number) => Document::from(number),
            Head::Negative(_) => {
                self.at = start;
                Document::from(self.whole("a document")?)
            }
            Head::Float(number) => Document::from(number),
            Head::Boolean(value) => Document::Bool(value),
            Head::Null => Document::Null,
            Head::Text(_) => {
                self.at = start;
                Document::String(self.text()?)
            }
            Head::Array(length) => {
                self.enter(length)?;
                let mut items = Vec::new();
                while self.more()? {
                    items.push(self.document_at(depth + 1)?);
                }
                Document::Array(items)
            }
            Head::Map(length) => {
                self.enter(length)?;
                let mut entries = serde_json::Map::new();
                while self.more()? {
                    let key = self.text()?;
                    entries.insert(key, self.document_at(depth + 1)?);
                }
                Document::Object(entries)
            }
            head => return Err(wrong(head, "a document")),
        })
    }
}

/// A half-precision float: RFC 8949, appendix D.
fn half(bits: u16) -> f64 {
    let fraction = f64::from(bits & 0x3ff);
    let magnitude = match i32::from(bits >> 10 & 0x1f) {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        exponent => (fraction + 1024.0) * 2f64.powi(exponent - 25),
    };
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}

impl Reader for CborReader<'_> {
    fn notes(&mut self) -> &mut Notes {
        &mut self.notes
    }

    fn begin_structure(&mut self, _: &'static Structure) -> Result<(), Malformed> {
        match self.value()? {
            Head::Map(length) => self.enter(length),
            _ => Err(Malformed("Unexpected field type".to_owned())),
        }
    }

    fn next_member(&mut self, shape: &'static Structure) -> Result<Option<usize>, Malformed> {
        while self.more()? {
            let key = self.text()?;
            let index = shape.members.iter().position(|member| member.wire == key);
            match index {
                _ if self.null()? => {}
                Some(index) => return Ok(Some(index)),
                None => self.skip()?,
            }
        }
        Ok(None)
    }

    fn begin_list(&mut self, _: &'static Type) -> Result<(), Malformed> {
        match self.value()? {
            Head::Array(length) => self.enter(length),
            _ => Err(Malformed("Expected list or null".to_owned())),
        }
    }

    fn next_item(&mut self, _: &'static Type) -> Result<bool, Malformed> {
        while self.more()? {
            if !self.null()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn begin_map(&mut self, _: &'static Type) -> Result<(), Malformed> {
        match self.value()? {
            Head::Map(length) => self.enter(length),
            _ => Err(Malformed("Expected map or null".to_owned())),
        }
    }

    fn next_key(&mut self, _: &'static Type) -> Result<Option<String>, Malformed> {
        while self.more()? {
            let key = self.text()?;
            if !self.null()? {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    fn string(&mut self) -> Result<String, Malformed> {
        self.text()
    }

    fn boolean(&mut self) -> Result<bool, Malformed> {
        match self.value()? {
            Head::Boolean(value) => Ok(value),
            head => Err(wrong(head, "Boolean")),
        }
    }

    fn integer(&mut self) -> Result<i32, Malformed> {
        let number = self.whole("Integer")?;
        i32::try_from(number).map_err(|_| Malformed("NUMBER_VALUE cannot be converted to Integer".to_owned()))
    }

    fn long(&mut self) -> Result<i64, Malformed> {
        self.whole("Long")
    }

    fn double(&mut self) -> Result<f64, Malformed> {
        self.number("Double")
    }

    fn blob(&mut self) -> Result<Vec<u8>, Malformed> {
        match self.value()? {
            Head::Bytes(length) => self.chunks(length, false),
            head => Err(wrong(head, "Blob")),
        }
    }

    fn timestamp(&mut self, _: &'static Type) -> Result<Timestamp, Malformed> {
        let seconds = self.number("Timestamp")?;
        time_text::from_seconds(seconds)
            .ok_or_else(|| Malformed("NUMBER_VALUE cannot be converted to Timestamp".to_owned()))
    }

    fn document(&mut self) -> Result<Document, Malformed> {
        self.document_at(self.open.len())
    }
}
