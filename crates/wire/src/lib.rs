//! The AWS protocols: shape tables, codecs, routing, SigV4 and error envelopes.
//!
//! A shape is described once, as a constant [`shape::Structure`]; every codec reads and writes every shape through it.
//! Types come from the generated crate `api`, which names shapes with the macros of this crate.

pub mod cbor;
pub mod decode;
pub mod encode;
pub mod fault;
mod form;
pub mod json;
mod macros;
mod number;
pub mod query;
mod reply;
pub mod route;
pub mod shape;
pub mod sigv4;
mod time_text;
pub mod xml;

pub use decode::{Decode, DecodeError, Malformed, Notes, Reader, Violation};
pub use encode::{Encode, Writer};
pub use fault::Fault;
pub use shape::{ErrorTraits, Kind, Member, Operation, Protocol, Service, Structure, TimestampFormat, Type};

pub use stdx::Timestamp;

/// Free-form JSON, the Smithy `document` type.
pub type Document = serde_json::Value;

/// Bytes, the Smithy `blob` type.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// An exception of a service's model.
pub trait Exception: Encode {
    fn schema(&self) -> &'static Structure;
    fn message(&self) -> Option<&str>;
}

/// SHA-256 of some bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    out
}
