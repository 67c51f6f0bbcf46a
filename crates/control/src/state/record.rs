//! The stored form of entities: a key of kind and id, and a value with a version mark before named fields.

use super::{Change, Row, table::Entity};
use serde::Serialize;
use thiserror::Error;

/// The version of all values so far. A new layout of an entity raises it and teaches `decode_value` the old one.
const VERSION: u8 = 1;

/// A stored record that cannot be read or written.
#[derive(Debug, Error)]
pub enum RecordError {
    #[error("record of the unknown kind {0}; it was written by a newer version")]
    UnknownKind(u8),
    #[error("record of the unknown version {0}; it was written by a newer version")]
    UnknownVersion(u8),
    #[error("empty record")]
    Empty,
    #[error("damaged record")]
    Damaged(#[source] rmp_serde::decode::Error),
    #[error("entity that cannot be stored")]
    Unstorable(#[source] rmp_serde::encode::Error),
}

/// A change as the bytes of a store's record.
pub fn encode(change: &Change) -> Result<(Vec<u8>, Option<Vec<u8>>), RecordError> {
    let value = change.row.as_ref().map(Row::encode).transpose()?;
    Ok((change.key.encode()?, value))
}

pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<Row, RecordError> {
    Row::decode(*key.first().ok_or(RecordError::Empty)?, value)
}

pub(super) fn encode_key<I: Serialize>(kind: u8, id: &I) -> Result<Vec<u8>, RecordError> {
    let mut bytes = vec![kind];
    rmp_serde::encode::write(&mut bytes, id).map_err(RecordError::Unstorable)?;
    Ok(bytes)
}

pub(super) fn encode_value<E: Entity>(entity: &E) -> Result<Vec<u8>, RecordError> {
    let mut bytes = vec![VERSION];
    rmp_serde::encode::write_named(&mut bytes, entity).map_err(RecordError::Unstorable)?;
    Ok(bytes)
}

pub(super) fn decode_value<E: Entity>(bytes: &[u8]) -> Result<E, RecordError> {
    match bytes {
        [VERSION, body @ ..] => rmp_serde::from_slice(body).map_err(RecordError::Damaged),
        [version, ..] => Err(RecordError::UnknownVersion(*version)),
        [] => Err(RecordError::Empty),
    }
}
