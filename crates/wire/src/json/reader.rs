//! A pull parser for JSON that knows AWS's texts for values of the wrong type.

use crate::decode::{DEPTH_MAX, Notes, Reader};
use crate::shape::{Kind, Structure, TimestampFormat, Type};
use crate::{Document, Malformed, number, time_text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;
use stdx::Timestamp;

/// Reads shapes out of a JSON text.
#[derive(Debug)]
pub struct JsonReader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    /// True right after an opening bracket, where no comma precedes the next value.
    fresh: bool,
    notes: Notes,
}

/// What stands at the reader's position, with the names that AWS's messages use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Structure,
    List,
    String,
    Number,
    True,
    False,
    Null,
}

impl<'a> JsonReader<'a> {
    /// Starts on a body; an empty one counts as `{}`, which operations without input accept.
    pub fn new(body: &'a [u8]) -> Result<Self, Malformed> {
        let text =
            std::str::from_utf8(body).map_err(|_| Malformed("The body is not UTF-8 text".to_owned()))?;
        let text = if text.trim_ascii().is_empty() { "{}" } else { text };
        Ok(Self { text, at: 0, depth: 0, fresh: true, notes: Notes::default() })
    }

    /// Checks that nothing follows the value that was read.
    pub fn end(&mut self) -> Result<(), Malformed> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.unexpected("the end of the body")),
        }
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    /// The next byte that is not white space, without taking it.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.bytes();
        while let Some(byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    fn unexpected(&mut self, wanted: &str) -> Malformed {
        match self.peek() {
            None => Malformed(format!("Unexpected end of the body, expected {wanted}")),
            Some(_) => {
                let found = self.text.get(self.at..).and_then(|rest| rest.chars().next()).unwrap_or('?');
                Malformed(format!("Unexpected character '{found}' at offset {}, expected {wanted}", self.at))
            }
        }
    }

    fn take(&mut self, byte: u8, wanted: &str) -> Result<(), Malformed> {
        if self.peek() != Some(byte) {
            return Err(self.unexpected(wanted));
        }
        self.at += 1;
        Ok(())
    }

    fn token(&mut self) -> Result<Token, Malformed> {
        Ok(match self.peek() {
            Some(b'{') => Token::Structure,
            Some(b'[') => Token::List,
            Some(b'"') => Token::String,
            Some(b'-' | b'0'..=b'9') => Token::Number,
            Some(b't') => Token::True,
            Some(b'f') => Token::False,
            Some(b'n') => Token::Null,
            _ => return Err(self.unexpected("a value")),
        })
    }

    /// Refuses a value in the words of AWS's JSON front end.
    fn wrong(&mut self, wanted: &str) -> Malformed {
        let name = match self.token() {
            Err(malformed) => return malformed,
            Ok(Token::Structure) => {
                return Malformed("Start of structure or map found where not expected".to_owned());
            }
            Ok(Token::List) => return Malformed("Start of list found where not expected".to_owned()),
            Ok(Token::String) => "STRING_VALUE",
            Ok(Token::Number) => "NUMBER_VALUE",
            Ok(Token::True) => "TRUE_VALUE",
            Ok(Token::False) => "FALSE_VALUE",
            Ok(Token::Null) => "NULL_VALUE",
        };
        Malformed(format!("{name} cannot be converted to {wanted}"))
    }

    /// Refuses a value that was already taken.
    fn wrong_at(&mut self, start: usize, wanted: &str) -> Malformed {
        self.at = start;
        self.wrong(wanted)
    }

    fn literal(&mut self, word: &str) -> Result<(), Malformed> {
        if !self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            return Err(self.unexpected("a value"));
        }
        self.at += word.len();
        self.fresh = false;
        Ok(())
    }

    fn open(&mut self, bracket: u8, refusal: &str) -> Result<(), Malformed> {
        self.token()?;
        if self.peek() != Some(bracket) {
            return Err(Malformed(refusal.to_owned()));
        }
        if self.depth == DEPTH_MAX {
            return Err(Malformed(format!("The body nests deeper than {DEPTH_MAX} levels")));
        }
        self.depth += 1;
        self.at += 1;
        self.fresh = true;
        Ok(())
    }

    /// Takes the closing bracket if it is next, or else the comma before another value.
    fn close(&mut self, bracket: u8) -> Result<bool, Malformed> {
        if self.peek() == Some(bracket) {
            self.at += 1;
            self.depth -= 1;
            self.fresh = false;
            return Ok(true);
        }
        if !self.fresh {
            self.take(b',', "a comma or the closing bracket")?;
        }
        self.fresh = false;
        Ok(false)
    }

    fn key(&mut self) -> Result<Cow<'a, str>, Malformed> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("a member's name"));
        }
        let key = self.text()?;
        self.take(b':', "a colon")?;
        Ok(key)
    }

    /// The string at the reader's position, which is on its opening quote.
    fn text(&mut self) -> Result<Cow<'a, str>, Malformed> {
        let start = self.at + 1;
        self.at = start;
        match self.run()? {
            b'"' => {
                let text = self.text.get(start..self.at).unwrap_or_default();
                self.at += 1;
                self.fresh = false;
                Ok(Cow::Borrowed(text))
            }
            _ => self.escaped(start).map(Cow::Owned),
        }
    }

    /// Moves to the next quote or backslash and returns it.
    fn run(&mut self) -> Result<u8, Malformed> {
        let rest = self.bytes().get(self.at..).unwrap_or_default();
        match rest.iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20) {
            None => {
                self.at += rest.len();
                Err(self.unexpected("a closing quote"))
            }
            Some(length) => {
                self.at += length;
                match rest[length] {
                    byte @ (b'"' | b'\\') => Ok(byte),
                    byte => {
                        Err(Malformed(format!("Control character {byte} in a string at offset {}", self.at)))
                    }
                }
            }
        }
    }

    fn escaped(&mut self, start: usize) -> Result<String, Malformed> {
        let mut out = self.text.get(start..self.at).unwrap_or_default().to_owned();
        loop {
            let run = self.at;
            let stop = self.run()?;
            out.push_str(self.text.get(run..self.at).unwrap_or_default());
            self.at += 1;
            if stop == b'"' {
                self.fresh = false;
                return Ok(out);
            }
            out.push(self.escape()?);
        }
    }

    /// The character of the escape whose backslash was just taken.
    fn escape(&mut self) -> Result<char, Malformed> {
        let byte = self.bytes().get(self.at).copied().unwrap_or_default();
        self.at += 1;
        Ok(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return Err(Malformed(format!("Unrecognized escape in a string at offset {}", self.at - 1))),
        })
    }

    fn unicode(&mut self) -> Result<char, Malformed> {
        let refusal = || Malformed("Invalid \\u escape in a string".to_owned());
        let high = self.hex().ok_or_else(refusal)?;
        if !(0xD800..0xDC00).contains(&high) {
            return char::from_u32(high).ok_or_else(refusal);
        }
        if self.bytes().get(self.at..self.at + 2) != Some(b"\\u".as_slice()) {
            return Err(refusal());
        }
        self.at += 2;
        let low = self.hex().filter(|low| (0xDC00..0xE000).contains(low)).ok_or_else(refusal)?;
        char::from_u32(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)).ok_or_else(refusal)
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }

    /// The text of the number at the reader's position, checked against JSON's grammar.
    fn number(&mut self) -> Result<&'a str, Malformed> {
        let bytes = self.bytes();
        let start = self.at;
        let digits = |mut at: usize| {
            while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            at
        };
        let first = start + usize::from(bytes.get(start) == Some(&b'-'));
        let mut end = if bytes.get(first) == Some(&b'0') { first + 1 } else { digits(first) };
        let mut complete = end > first;
        if bytes.get(end) == Some(&b'.') {
            let fraction = end + 1;
            end = digits(fraction);
            complete &= end > fraction;
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = end + 1;
            let exponent = sign + usize::from(matches!(bytes.get(sign), Some(b'+' | b'-')));
            end = digits(exponent);
            complete &= end > exponent;
        }
        self.at = end;
        if !complete || bytes.get(end).is_some_and(u8::is_ascii_alphanumeric) {
            return Err(Malformed(format!("Invalid number at offset {start}")));
        }
        self.fresh = false;
        Ok(self.text.get(start..end).unwrap_or_default())
    }

    fn whole(&mut self, name: &str) -> Result<i64, Malformed> {
        if self.token()? != Token::Number {
            return Err(self.wrong(name));
        }
        let text = self.number()?;
        number::whole(text).ok_or_else(|| Malformed(format!("NUMBER_VALUE cannot be converted to {name}")))
    }

    /// Skips a value of any kind without recursion.
    fn skip(&mut self) -> Result<(), Malformed> {
        let floor = self.depth;
        let mut closers = Vec::new();
        loop {
            match self.token()? {
                Token::Structure => {
                    self.open(b'{', "")?;
                    closers.push(b'}');
                }
                Token::List => {
                    self.open(b'[', "")?;
                    closers.push(b']');
                }
                Token::String => drop(self.text()?),
                Token::Number => drop(self.number()?),
                Token::True => self.literal("true")?,
                Token::False => self.literal("false")?,
                Token::Null => self.literal("null")?,
            }
            while let Some(&closer) = closers.last() {
                if !self.close(closer)? {
                    if closer == b'}' {
                        self.key()?;
                    }
                    break;
                }
                closers.pop();
            }
            if self.depth == floor {
                return Ok(());
            }
        }
    }

    /// Whether the value is a null, which is then taken.
    fn null(&mut self) -> Result<bool, Malformed> {
        let null = self.peek() == Some(b'n');
        if null {
            self.literal("null")?;
        }
        Ok(null)
    }
}

impl Reader for JsonReader<'_> {
    fn notes(&mut self) -> &mut Notes {
        &mut self.notes
    }

    fn begin_structure(&mut self, _: &'static Structure) -> Result<(), Malformed> {
        self.open(b'{', "Unexpected field type")
    }

    fn next_member(&mut self, shape: &'static Structure) -> Result<Option<usize>, Malformed> {
        while !self.close(b'}')? {
            let key = self.key()?;
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
        self.open(b'[', "Expected list or null")
    }

    fn next_item(&mut self, _: &'static Type) -> Result<bool, Malformed> {
        while !self.close(b']')? {
            if !self.null()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn begin_map(&mut self, _: &'static Type) -> Result<(), Malformed> {
        self.open(b'{', "Expected map or null")
    }

    fn next_key(&mut self, _: &'static Type) -> Result<Option<String>, Malformed> {
        while !self.close(b'}')? {
            let key = self.key()?;
            if !self.null()? {
                return Ok(Some(key.into_owned()));
            }
        }
        Ok(None)
    }

    fn string(&mut self) -> Result<String, Malformed> {
        match self.token()? {
            Token::String => Ok(self.text()?.into_owned()),
            _ => Err(self.wrong("String")),
        }
    }

    fn boolean(&mut self) -> Result<bool, Malformed> {
        match self.token()? {
            Token::True => self.literal("true").map(|()| true),
            Token::False => self.literal("false").map(|()| false),
            _ => Err(self.wrong("Boolean")),
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
        let token = self.token()?;
        let start = self.at;
        let number = match token {
            Token::Number => number::float(self.number()?),
            Token::String => number::special(&self.text()?),
            _ => None,
        };
        number.ok_or_else(|| self.wrong_at(start, "Double"))
    }

    fn blob(&mut self) -> Result<Vec<u8>, Malformed> {
        if self.token()? != Token::String {
            return Err(self.wrong("Blob"));
        }
        let text = self.text()?;
        STANDARD
            .decode(text.as_bytes())
            .map_err(|_| Malformed("STRING_VALUE cannot be converted to Blob".to_owned()))
    }

    fn timestamp(&mut self, ty: &'static Type) -> Result<Timestamp, Malformed> {
        let token = self.token()?;
        let start = self.at;
        let moment = match (token, &ty.kind) {
            (Token::Number, _) => number::float(self.number()?).and_then(time_text::from_seconds),
            (Token::String, Kind::Timestamp(Some(TimestampFormat::Iso8601))) => {
                time_text::parse_iso8601(&self.text()?)
            }
            (Token::String, Kind::Timestamp(Some(TimestampFormat::Rfc822))) => {
                time_text::parse_rfc822(&self.text()?)
            }
            _ => None,
        };
        moment.ok_or_else(|| self.wrong_at(start, "Timestamp"))
    }

    fn document(&mut self) -> Result<Document, Malformed> {
        self.peek();
        let start = self.at;
        self.skip()?;
        let text = self.text.get(start..self.at).unwrap_or_default();
        serde_json::from_str(text).map_err(|error| Malformed(format!("Invalid document: {error}")))
    }
}
