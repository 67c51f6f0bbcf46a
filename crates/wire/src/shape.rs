//! The model of a service as constant data: services, operations, structures, members and types with their constraints.

use regex_lite::Regex;
use std::sync::OnceLock;

/// One AWS API, as its botocore model describes it.
#[derive(Debug)]
pub struct Service {
    /// The module's name in `api`: `ecs`, `ecr`.
    pub name: &'static str,
    /// The service part of a SigV4 credential scope.
    pub signing_name: &'static str,
    pub api_version: &'static str,
    /// What precedes the dot in `X-Amz-Target`, for the JSON protocols.
    pub target_prefix: Option<&'static str>,
    /// The first is the one that clients choose by default.
    pub protocols: &'static [Protocol],
    pub xml_namespace: Option<&'static str>,
    pub operations: &'static [Operation],
}

impl Service {
    /// The index of an operation in [`Service::operations`].
    pub fn operation(&self, name: &str) -> Option<usize> {
        self.operations.binary_search_by(|o| o.name.cmp(name)).ok()
    }
}

/// An operation's name and shapes; [`Service::operations`] is sorted by name.
#[derive(Debug)]
pub struct Operation {
    pub name: &'static str,
    pub input: Option<&'static Structure>,
    pub output: Option<&'static Structure>,
    /// The element around the members of an awsQuery reply.
    pub result_wrapper: Option<&'static str>,
    /// The names of the exceptions that the model lists.
    pub errors: &'static [&'static str],
}

/// The encodings of requests and replies that AWS clients use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// awsJson1.0.
    Json10,
    /// awsJson1.1.
    Json11,
    Query,
    Ec2,
    /// Smithy RPC v2 CBOR.
    Cbor,
}

/// A structure's members in the model's order.
#[derive(Debug)]
pub struct Structure {
    pub name: &'static str,
    pub members: &'static [Member],
    /// Exactly one member is set.
    pub union: bool,
    /// Set for exceptions.
    pub error: Option<ErrorTraits>,
}

/// How an exception goes over the wire.
#[derive(Clone, Copy, Debug)]
pub struct ErrorTraits {
    /// The code on the wire; differs from the shape's name in some awsQuery services.
    pub code: &'static str,
    pub status: u16,
    /// True when the server is at fault.
    pub fault: bool,
}

/// A member of a structure.
#[derive(Debug)]
pub struct Member {
    /// The model's name, used in validation messages.
    pub name: &'static str,
    /// The key or element on the wire.
    pub wire: &'static str,
    /// The key in ec2Query requests, where it differs from `wire` with a capital first letter.
    pub query_name: Option<&'static str>,
    pub required: bool,
    /// For lists and maps in XML and query strings: no element around the items.
    pub flattened: bool,
    pub ty: &'static Type,
}

impl Member {
    pub const fn new(name: &'static str, ty: &'static Type, required: bool) -> Self {
        Self { name, wire: name, query_name: None, required, flattened: false, ty }
    }

    #[must_use]
    pub const fn wire(mut self, wire: &'static str) -> Self {
        self.wire = wire;
        self
    }

    #[must_use]
    pub const fn query_name(mut self, name: &'static str) -> Self {
        self.query_name = Some(name);
        self
    }

    #[must_use]
    pub const fn flattened(mut self) -> Self {
        self.flattened = true;
        self
    }
}

/// What a value may be.
#[derive(Debug)]
pub struct Type {
    pub kind: Kind,
    /// Least length (strings, blobs, lists, maps) or value (numbers).
    pub min: Option<i64>,
    /// Greatest length or value.
    pub max: Option<i64>,
    pub pattern: Option<&'static Pattern>,
    /// Never shown in logs or recordings.
    pub sensitive: bool,
}

/// The sort of a value, with what codecs need to know of it.
#[derive(Debug)]
pub enum Kind {
    String,
    /// The values of the enumeration.
    Enum(&'static [&'static str]),
    Boolean,
    Integer,
    Long,
    Float,
    Double,
    Blob,
    Timestamp(Option<TimestampFormat>),
    List {
        item: &'static Type,
        /// The element's name in XML and query strings.
        item_name: &'static str,
        flattened: bool,
    },
    Map {
        key: &'static Type,
        value: &'static Type,
        key_name: &'static str,
        value_name: &'static str,
        flattened: bool,
    },
    Structure(&'static Structure),
    Document,
}

/// How a timestamp is written where the protocol's own way is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampFormat {
    /// Seconds since the epoch, with a fraction.
    UnixTimestamp,
    /// `2026-11-22T17:20:05Z`.
    Iso8601,
    /// `Sun, 22 Nov 2026 17:20:05 GMT`.
    Rfc822,
}

impl Type {
    pub const fn new(kind: Kind) -> Self {
        Self { kind, min: None, max: None, pattern: None, sensitive: false }
    }

    pub const fn list(item: &'static Type) -> Self {
        Self::new(Kind::List { item, item_name: "member", flattened: false })
    }

    pub const fn map(key: &'static Type, value: &'static Type) -> Self {
        Self::new(Kind::Map { key, value, key_name: "key", value_name: "value", flattened: false })
    }

    /// The structure that this type is. Only for types made with [`Kind::Structure`]: anything else fails to compile
    /// where a constant is made of it.
    #[allow(clippy::panic)]
    pub const fn structure(&self) -> &'static Structure {
        match self.kind {
            Kind::Structure(structure) => structure,
            _ => panic!("not a structure"),
        }
    }

    #[must_use]
    pub const fn min(mut self, min: i64) -> Self {
        self.min = Some(min);
        self
    }

    #[must_use]
    pub const fn max(mut self, max: i64) -> Self {
        self.max = Some(max);
        self
    }

    #[must_use]
    pub const fn pattern(mut self, pattern: &'static Pattern) -> Self {
        self.pattern = Some(pattern);
        self
    }

    #[must_use]
    pub const fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }
}

/// A regular expression of the model, compiled at its first use.
#[derive(Debug)]
pub struct Pattern {
    pub source: &'static str,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    pub const fn new(source: &'static str) -> Self {
        Self { source, compiled: OnceLock::new() }
    }

    /// Whether the whole of `text` matches. An expression that the engine cannot read accepts everything:
    /// `api` has a test that names each of those.
    pub fn matches(&self, text: &str) -> bool {
        self.compiled().is_none_or(|regex| regex.is_match(text))
    }

    /// Whether the expression could be compiled.
    pub fn is_readable(&self) -> bool {
        self.compiled().is_some()
    }

    fn compiled(&self) -> Option<&Regex> {
        self.compiled.get_or_init(|| Regex::new(&format!("^(?:{})$", self.source)).ok()).as_ref()
    }
}

/// Types without constraints, shared by all APIs.
pub static STRING: Type = Type::new(Kind::String);
pub static BOOLEAN: Type = Type::new(Kind::Boolean);
pub static INTEGER: Type = Type::new(Kind::Integer);
pub static LONG: Type = Type::new(Kind::Long);
pub static FLOAT: Type = Type::new(Kind::Float);
pub static DOUBLE: Type = Type::new(Kind::Double);
pub static BLOB: Type = Type::new(Kind::Blob);
pub static TIMESTAMP: Type = Type::new(Kind::Timestamp(None));
pub static DOCUMENT: Type = Type::new(Kind::Document);
