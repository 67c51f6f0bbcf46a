//! Reading shapes: the interface that codecs implement, the types of the model, and the constraints they are checked against.

use crate::shape::{Kind, Member, Structure, Type};
use crate::{Blob, Document};
use std::collections::BTreeMap;
use stdx::Timestamp;
use thiserror::Error;

/// A body that cannot be read at all: not the format it claims to be, or a value of the wrong type.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Malformed(pub String);

/// How deep a body may nest: far deeper than any shape of the models, far shallower than a thread's stack.
pub(crate) const DEPTH_MAX: usize = 128;

/// Why a request was not decoded.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The values can be read, but break the model's constraints.
    #[error("{}", Violation::summary(.0))]
    Invalid(Vec<Violation>),
}

/// The value, unless it broke a constraint on the way.
pub(crate) fn checked<T>(value: T, notes: &mut Notes) -> Result<T, DecodeError> {
    match std::mem::take(&mut notes.violations) {
        violations if violations.is_empty() => Ok(value),
        violations => Err(DecodeError::Invalid(violations)),
    }
}

/// Pulls one value after the other out of a request. One implementation per protocol.
///
/// Explicit nulls are reported as absent; unknown members are skipped.
pub trait Reader {
    /// What validation has found so far.
    fn notes(&mut self) -> &mut Notes;

    fn begin_structure(&mut self, shape: &'static Structure) -> Result<(), Malformed>;
    /// The index of the next member present, or `None` at the end, which also leaves the structure.
    fn next_member(&mut self, shape: &'static Structure) -> Result<Option<usize>, Malformed>;

    fn begin_list(&mut self, ty: &'static Type) -> Result<(), Malformed>;
    /// False at the end, which also leaves the list.
    fn next_item(&mut self, ty: &'static Type) -> Result<bool, Malformed>;

    fn begin_map(&mut self, ty: &'static Type) -> Result<(), Malformed>;
    /// The next entry's key, or `None` at the end, which also leaves the map.
    fn next_key(&mut self, ty: &'static Type) -> Result<Option<String>, Malformed>;

    fn string(&mut self) -> Result<String, Malformed>;
    fn boolean(&mut self) -> Result<bool, Malformed>;
    fn integer(&mut self) -> Result<i32, Malformed>;
    fn long(&mut self) -> Result<i64, Malformed>;
    fn double(&mut self) -> Result<f64, Malformed>;
    fn blob(&mut self) -> Result<Vec<u8>, Malformed>;
    fn timestamp(&mut self, ty: &'static Type) -> Result<Timestamp, Malformed>;
    fn document(&mut self) -> Result<Document, Malformed>;
}

/// A value that can be read from a request.
pub trait Decode: Sized {
    fn read(reader: &mut dyn Reader, ty: &'static Type) -> Result<Self, Malformed>;
}

/// A constraint of the model that a value breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where: `containerDefinitions.1.member.name`.
    pub path: String,
    /// The value as AWS prints it, or `None` when it was absent.
    pub value: Option<String>,
    /// `Member must have length less than or equal to 255`.
    pub constraint: String,
}

impl Violation {
    /// AWS's text for a request with these violations: their number, then a sentence for each.
    pub fn summary(violations: &[Self]) -> String {
        let count = violations.len();
        let plural = if count == 1 { "" } else { "s" };
        let sentences: Vec<_> = violations.iter().map(Self::sentence).collect();
        format!("{count} validation error{plural} detected: {}", sentences.join("; "))
    }

    /// The same as ECR says it, which reports the first violation only.
    pub fn ecr_sentence(&self) -> String {
        let constraint =
            self.constraint.trim_start_matches("Member ").replace("must have value ", "must be ");
        let constraint = match constraint.strip_prefix("must satisfy regular expression pattern: ") {
            Some(pattern) => format!("must satisfy regular expression '{pattern}'"),
            None => constraint,
        };
        format!("Invalid parameter at '{}' failed to satisfy constraint: '{constraint}'", self.path)
    }

    /// AWS's sentence for one violation, without the count that precedes the first.
    pub fn sentence(&self) -> String {
        match &self.value {
            Some(value) => format!(
                "Value '{value}' at '{}' failed to satisfy constraint: {}",
                self.path, self.constraint
            ),
            None => format!("Value at '{}' failed to satisfy constraint: {}", self.path, self.constraint),
        }
    }
}

/// Where a reader is, and which constraints were broken on the way.
#[derive(Debug, Default)]
pub struct Notes {
    path: Vec<Segment>,
    pub violations: Vec<Violation>,
}

#[derive(Clone, Debug)]
enum Segment {
    Member(&'static str),
    /// Counted from one, as AWS does.
    Item(usize),
    Key(String),
}

impl Notes {
    pub fn enter(&mut self, member: &'static Member) {
        self.path.push(Segment::Member(member.name));
    }

    pub fn leave(&mut self) {
        self.path.pop();
    }

    /// Records that a required member is absent.
    pub fn missing(&mut self, member: &'static Member) {
        self.enter(member);
        self.violation(None, "Member must not be null".to_owned());
        self.leave();
    }

    fn violation(&mut self, value: Option<String>, constraint: String) {
        let path = self.path();
        self.violations.push(Violation { path, value, constraint });
    }

    fn path(&self) -> String {
        let parts = self.path.iter().map(|segment| match segment {
            Segment::Member(name) => (*name).to_owned(),
            Segment::Item(index) => format!("{index}.member"),
            Segment::Key(key) => format!("{key}.member"),
        });
        parts.collect::<Vec<_>>().join(".")
    }

    fn check(&mut self, ty: &'static Type, value: &str, measure: i64, noun: &str) {
        let shown = || Some(if ty.sensitive { "***".to_owned() } else { value.to_owned() });
        if let Some(min) = ty.min
            && measure < min
        {
            self.violation(shown(), format!("Member must have {noun} greater than or equal to {min}"));
        }
        if let Some(max) = ty.max
            && measure > max
        {
            self.violation(shown(), format!("Member must have {noun} less than or equal to {max}"));
        }
        if let Some(pattern) = ty.pattern
            && !pattern.matches(value)
        {
            let source = pattern.source;
            self.violation(shown(), format!("Member must satisfy regular expression pattern: {source}"));
        }
        if let Kind::Enum(values) = ty.kind
            && !values.contains(&value)
        {
            let set = values.join(", ");
            self.violation(shown(), format!("Member must satisfy enum value set: [{set}]"));
        }
    }

    fn check_length(&mut self, ty: &'static Type, length: usize) {
        if ty.min.is_some() || ty.max.is_some() {
            let shown = match ty.kind {
                Kind::List { .. } if length == 0 => "[]",
                Kind::Map { .. } if length == 0 => "{}",
                _ => "",
            };
            self.check(ty, shown, i64::try_from(length).unwrap_or(i64::MAX), "length");
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "the models' bounds are far below 2^53")]
    fn check_number(&mut self, ty: &'static Type, number: f64) {
        let measure = if ty.min.is_some_and(|min| number < min as f64) {
            i64::MIN
        } else if ty.max.is_some_and(|max| number > max as f64) {
            i64::MAX
        } else {
            return;
        };
        self.check(ty, &number.to_string(), measure, "value");
    }
}

/// Reads an enumeration's text; `None` (and a violation) when it is not one of the values.
pub fn read_enum(reader: &mut dyn Reader, ty: &'static Type) -> Result<String, Malformed> {
    let text = reader.string()?;
    reader.notes().check(ty, &text, 0, "length");
    Ok(text)
}

impl Decode for String {
    fn read(reader: &mut dyn Reader, ty: &'static Type) -> Result<Self, Malformed> {
        let text = reader.string()?;
        if ty.min.is_some() || ty.max.is_some() || ty.pattern.is_some() {
            let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
            reader.notes().check(ty, &text, length, "length");
        }
        Ok(text)
    }
}

impl Decode for bool {
    fn read(reader: &mut dyn Reader, _: &'static Type) -> Result<Self, Malformed> {
        reader.boolean()
    }
}

impl Decode for i32 {
    fn read(reader: &mut dyn Reader, ty: &'static Type) -> Result<Self, Malformed> {
        let number = reader.integer()?;
        reader.notes().check_number(ty, f64::from(number));
        Ok(number)
    }
}

impl Decode for i64 {
    fn read(reader: &mut dyn Reader, ty: &'static Type) -> Result<Self, Malformed> {
        let number = reader.long()?;
        #[expect(clippy::cast_precision_loss, reason = "only compared with bounds far below 2^53")]
        reader.notes().check_number(ty, number as f64);
        Ok(number)
    }
}

impl Decode for f64 {
    fn read(reader: &mut dyn Reader, ty: &'static Type) -> Result<Self, Malformed> {
        let number = reader.double()?;
        reader.notes().check_number(ty, number);
        Ok(number)
    }
}

impl Decode for Blob {
    fn read(reader: &mut dyn Reader, ty: &'static Type) -> Result<Self, Malformed> {
        let bytes = reader.blob()?;
        reader.notes().check_length(ty, bytes.len());
        Ok(Self(bytes))
    }
}

impl Decode for Timestamp {
    fn read(reader: &mut dyn Reader, ty: &'static Type) -> Result<Self, Malformed> {
        reader.timestamp(ty)
    }
}

impl Decode for Document {
    fn read(reader: &mut dyn Reader, _: &'static Type) -> Result<Self, Malformed> {
        reader.document()
    }
}

impl<T: Decode> Decode for Box<T> {
    fn read(reader: &mut dyn Reader, ty: &'static Type) -> Result<Self, Malformed> {
        T::read(reader, ty).map(Box::new)
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn read(reader: &mut dyn Reader, ty: &'static Type) -> Result<Self, Malformed> {
        let Kind::List { item, .. } = &ty.kind else {
            return Err(Malformed(format!("{ty:?} is not a list")));
        };
        let mut items = Self::new();
        reader.begin_list(ty)?;
        while reader.next_item(ty)? {
            reader.notes().path.push(Segment::Item(items.len() + 1));
            items.push(T::read(reader, item)?);
            reader.notes().leave();
        }
        reader.notes().check_length(ty, items.len());
        Ok(items)
    }
}

impl<T: Decode> Decode for BTreeMap<String, T> {
    fn read(reader: &mut dyn Reader, ty: &'static Type) -> Result<Self, Malformed> {
        let Kind::Map { value, .. } = &ty.kind else { return Err(Malformed(format!("{ty:?} is not a map"))) };
        let mut entries = Self::new();
        reader.begin_map(ty)?;
        while let Some(key) = reader.next_key(ty)? {
            reader.notes().path.push(Segment::Key(key.clone()));
            let entry = T::read(reader, value)?;
            reader.notes().leave();
            entries.insert(key, entry);
        }
        reader.notes().check_length(ty, entries.len());
        Ok(entries)
    }
}
