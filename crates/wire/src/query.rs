//! awsQuery and ec2Query requests: form bodies whose dotted keys spell out the path to each value.

use crate::decode::{self, DEPTH_MAX, DecodeError, Notes, Reader};
use crate::shape::{Kind, Member, Structure, TimestampFormat, Type};
use crate::{Decode, Document, Malformed, form, number, shape, time_text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;
use std::cmp::Ordering;
use stdx::Timestamp;

/// How the two protocols derive keys from shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Lists as `Name.member.1`, maps as `Name.entry.1.key`.
    Query,
    /// All lists flattened to `Name.1`; names start with a capital.
    Ec2,
}

/// Reads a structure out of a form body and checks it against the model's constraints.
pub fn from_slice<T: Decode>(body: &[u8], dialect: Dialect) -> Result<T, DecodeError> {
    read(body, dialect, |reader| T::read(reader, &shape::DOCUMENT))
}

/// Reads a body with a function of the caller's, such as a generated `Request::read`.
pub fn read<T>(
    body: &[u8],
    dialect: Dialect,
    f: impl FnOnce(&mut dyn Reader) -> Result<T, Malformed>,
) -> Result<T, DecodeError> {
    let mut reader = QueryReader::new(body, dialect)?;
    let value = f(&mut reader)?;
    decode::checked(value, reader.notes())
}

/// Reads shapes out of a form body.
///
/// The pairs are sorted by key, so that everything below a path is one range.
#[derive(Debug)]
pub struct QueryReader<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    dialect: Dialect,
    stack: Vec<Frame>,
    current: Node,
    /// Whether the member that led to the current value has no element around its items.
    flattened: bool,
    notes: Notes,
}

/// A path that the body mentions: its own value, and the pairs below it.
#[derive(Clone, Copy, Debug, Default)]
struct Node {
    value: Option<usize>,
    start: usize,
    end: usize,
    /// How many bytes of the keys in the range lead to their part below this path.
    prefix: usize,
}

impl Node {
    fn present(&self) -> bool {
        self.value.is_some() || self.start < self.end
    }
}

#[derive(Debug)]
enum Frame {
    Structure { node: Node, next: usize },
    List(std::vec::IntoIter<Node>),
    Map(std::vec::IntoIter<Node>),
}

impl<'a> QueryReader<'a> {
    pub fn new(body: &'a [u8], dialect: Dialect) -> Result<Self, Malformed> {
        let mut pairs = form::pairs(body)?;
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        let current = Node { value: None, start: 0, end: pairs.len(), prefix: 0 };
        Ok(Self { pairs, dialect, stack: Vec::new(), current, flattened: false, notes: Notes::default() })
    }

    /// The part of a key below the path that takes `prefix` bytes.
    fn rest(&self, index: usize, prefix: usize) -> &[u8] {
        self.pairs[index].0.as_bytes().get(prefix..).unwrap_or_default()
    }

    /// The first pair of the node whose rest of the key does not sort before the one wanted.
    fn bound(&self, node: Node, before: impl Fn(&[u8]) -> bool) -> usize {
        let pairs = &self.pairs[node.start..node.end];
        node.start
            + pairs.partition_point(|(key, _)| before(key.as_bytes().get(node.prefix..).unwrap_or_default()))
    }

    fn child(&self, node: Node, name: &[u8]) -> Node {
        let followed_by = |last: u8| {
            move |rest: &[u8]| rest.iter().copied().cmp(name.iter().copied().chain([last])) == Ordering::Less
        };
        let exact = self.bound(node, |rest| rest < name);
        let value = (exact < node.end && self.rest(exact, node.prefix) == name).then_some(exact);
        // The slash is the byte after the dot.
        let (start, end) = (self.bound(node, followed_by(b'.')), self.bound(node, followed_by(b'/')));
        Node { value, start, end, prefix: node.prefix + name.len() + 1 }
    }

    /// The nodes below one whose names are numbers, in the order of the numbers.
    fn numbered(&self, node: Node) -> Vec<Node> {
        let mut names: Vec<(u32, &[u8])> = Vec::new();
        for index in node.start..node.end {
            let rest = self.rest(index, node.prefix);
            let name = rest.split(|byte| *byte == b'.').next().unwrap_or_default();
            let number = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
            match number {
                Some(number) if names.last() != Some(&(number, name)) => names.push((number, name)),
                _ => {}
            }
        }
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(|(_, name)| self.child(node, name)).collect()
    }

    fn member_node(&self, node: Node, member: &Member) -> Node {
        match self.dialect {
            Dialect::Query => self.child(node, query_name(member).as_bytes()),
            Dialect::Ec2 => self.child(node, ec2_name(member).as_bytes()),
        }
    }

    fn push(&mut self, frame: Frame) -> Result<(), Malformed> {
        if self.stack.len() == DEPTH_MAX {
            return Err(Malformed(format!("The request nests deeper than {DEPTH_MAX} levels")));
        }
        self.stack.push(frame);
        Ok(())
    }

    /// Where the items of the current list or map are.
    fn items(&self, flattened: bool, wrapper: &str) -> Vec<Node> {
        if flattened || self.flattened || self.dialect == Dialect::Ec2 {
            return self.numbered(self.current);
        }
        let inner = self.child(self.current, wrapper.as_bytes());
        // Hand-written clients use the default name even where the model has another.
        let inner = if inner.present() { inner } else { self.child(self.current, b"member") };
        self.numbered(inner)
    }

    fn text(&self) -> Result<&str, Malformed> {
        match self.current.value {
            Some(index) => Ok(&self.pairs[index].1),
            None => Err(Malformed("A structure was found where a value was expected".to_owned())),
        }
    }

    fn parse<T>(&self, noun: &str, f: impl FnOnce(&str) -> Option<T>) -> Result<T, Malformed> {
        let text = self.text()?;
        f(text).ok_or_else(|| Malformed(format!("Value ({text}) is not a valid {noun}")))
    }
}

/// The key of a member: a flattened list goes by its items' name where the list itself says so.
fn query_name(member: &Member) -> &str {
    match &member.ty.kind {
        Kind::List { flattened: true, item_name, .. } if !member.flattened && *item_name != "member" => {
            item_name
        }
        _ => member.wire,
    }
}

fn ec2_name(member: &Member) -> Cow<'_, str> {
    if let Some(name) = member.query_name {
        return Cow::Borrowed(name);
    }
    match member.wire.chars().next() {
        Some(first) if !first.is_ascii_uppercase() => {
            let rest = &member.wire[first.len_utf8()..];
            Cow::Owned(format!("{}{rest}", first.to_ascii_uppercase()))
        }
        _ => Cow::Borrowed(member.wire),
    }
}

impl Reader for QueryReader<'_> {
    fn notes(&mut self) -> &mut Notes {
        &mut self.notes
    }

    fn begin_structure(&mut self, _: &'static Structure) -> Result<(), Malformed> {
        self.push(Frame::Structure { node: self.current, next: 0 })
    }

    fn next_member(&mut self, shape: &'static Structure) -> Result<Option<usize>, Malformed> {
        let Some(&Frame::Structure { node, next }) = self.stack.last() else { return Ok(None) };
        for (index, member) in shape.members.iter().enumerate().skip(next) {
            let child = self.member_node(node, member);
            if !child.present() {
                continue;
            }
            if let Some(Frame::Structure { next, .. }) = self.stack.last_mut() {
                *next = index + 1;
            }
            self.current = child;
            self.flattened = member.flattened;
            return Ok(Some(index));
        }
        self.stack.pop();
        Ok(None)
    }

    fn begin_list(&mut self, ty: &'static Type) -> Result<(), Malformed> {
        let Kind::List { item_name, flattened, .. } = ty.kind else {
            return Err(Malformed("A value was found where a list was expected".to_owned()));
        };
        let items = self.items(flattened, item_name);
        self.push(Frame::List(items.into_iter()))
    }

    fn next_item(&mut self, _: &'static Type) -> Result<bool, Malformed> {
        let Some(Frame::List(items)) = self.stack.last_mut() else { return Ok(false) };
        match items.next() {
            Some(node) => {
                self.current = node;
                self.flattened = false;
                Ok(true)
            }
            None => {
                self.stack.pop();
                Ok(false)
            }
        }
    }

    fn begin_map(&mut self, ty: &'static Type) -> Result<(), Malformed> {
        let Kind::Map { flattened, .. } = ty.kind else {
            return Err(Malformed("A value was found where a map was expected".to_owned()));
        };
        let entries = self.items(flattened, "entry");
        self.push(Frame::Map(entries.into_iter()))
    }

    fn next_key(&mut self, ty: &'static Type) -> Result<Option<String>, Malformed> {
        let Kind::Map { key_name, value_name, .. } = ty.kind else { return Ok(None) };
        let Some(Frame::Map(entries)) = self.stack.last_mut() else { return Ok(None) };
        let Some(entry) = entries.next() else {
            self.stack.pop();
            return Ok(None);
        };
        self.current = self.child(entry, key_name.as_bytes());
        let key = self.text()?.to_owned();
        self.current = self.child(entry, value_name.as_bytes());
        self.flattened = false;
        Ok(Some(key))
    }

    fn string(&mut self) -> Result<String, Malformed> {
        self.text().map(str::to_owned)
    }

    fn boolean(&mut self) -> Result<bool, Malformed> {
        self.parse("boolean", |text| match text {
            _ if text.eq_ignore_ascii_case("true") => Some(true),
            _ if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        })
    }

    fn integer(&mut self) -> Result<i32, Malformed> {
        self.parse("integer", |text| number::whole(text).and_then(|number| number.try_into().ok()))
    }

    fn long(&mut self) -> Result<i64, Malformed> {
        self.parse("long", number::whole)
    }

    fn double(&mut self) -> Result<f64, Malformed> {
        self.parse("double", |text| number::special(text).or_else(|| number::float(text)))
    }

    fn blob(&mut self) -> Result<Vec<u8>, Malformed> {
        self.parse("base64 text", |text| STANDARD.decode(text).ok())
    }

    fn timestamp(&mut self, ty: &'static Type) -> Result<Timestamp, Malformed> {
        self.parse("timestamp", |text| match ty.kind {
            Kind::Timestamp(Some(TimestampFormat::UnixTimestamp)) => {
                number::float(text).and_then(time_text::from_seconds)
            }
            _ => time_text::parse_any(text),
        })
    }

    fn document(&mut self) -> Result<Document, Malformed> {
        self.parse("document", |text| serde_json::from_str(text).ok())
    }
}

#[cfg(test)]
mod tests;
