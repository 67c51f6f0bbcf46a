//! Stores values of the AWS models inside entities: as JSON in the codec's own form, for `#[serde(with = "…")]`.

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};
use wire::{Decode, Encode};

pub fn serialize<T: Encode, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    let json = wire::json::to_vec(value);
    serializer.serialize_str(std::str::from_utf8(&json).map_err(serde::ser::Error::custom)?)
}

pub fn deserialize<'de, T: Decode, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let json = String::deserialize(deserializer)?;
    wire::json::from_trusted(json.as_bytes()).map_err(D::Error::custom)
}
