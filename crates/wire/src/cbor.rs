//! Smithy RPC v2 CBOR: bodies to shapes and shapes to bodies, after RFC 8949.

mod reader;
mod writer;

pub use reader::CborReader;
pub use writer::CborWriter;

use crate::decode::{self, DecodeError};
use crate::{Decode, Encode, Malformed, Reader, shape};

/// A structure as a CBOR body.
pub fn to_vec(value: &dyn Encode) -> Vec<u8> {
    let mut writer = CborWriter::new();
    value.write(&mut writer, &shape::DOCUMENT);
    writer.finish()
}

/// Reads a structure out of a request's body and checks it against the model's constraints.
pub fn from_slice<T: Decode>(body: &[u8]) -> Result<T, DecodeError> {
    read(body, |reader| T::read(reader, &shape::DOCUMENT))
}

/// Reads a body with a function of the caller's, such as a generated `Request::read`.
pub fn read<T>(
    body: &[u8],
    f: impl FnOnce(&mut dyn Reader) -> Result<T, Malformed>,
) -> Result<T, DecodeError> {
    let mut reader = CborReader::new(body);
    let value = f(&mut reader)?;
    reader.end()?;
    decode::checked(value, reader.notes())
}

#[cfg(test)]
mod tests;
