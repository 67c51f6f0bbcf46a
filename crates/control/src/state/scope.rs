//! Whose resource, and where: every AWS resource lives in one account and one Region.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A 12-digit AWS account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AccountId(pub u64);

impl AccountId {
    /// Reads exactly twelve digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_account = text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
        is_account.then(|| text.parse().ok().map(Self)).flatten()
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012}", self.0)
    }
}

/// A Region's name, kept inline so that scopes copy cheaply.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region([u8; Region::LENGTH_MAX]);

impl Region {
    /// Longer than any Region of AWS (`us-gov-west-1`, `ap-southeast-7`).
    pub const LENGTH_MAX: usize = 24;

    /// Reads a name of lower-case letters, digits and hyphens.
    pub fn parse(text: &str) -> Option<Self> {
        let is_name = !text.is_empty()
            && text.len() <= Self::LENGTH_MAX
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        is_name.then(|| {
            let mut name = [0; Self::LENGTH_MAX];
            name[..text.len()].copy_from_slice(text.as_bytes());
            Self(name)
        })
    }

    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|&b| b == 0).unwrap_or(Self::LENGTH_MAX);
        std::str::from_utf8(&self.0[..end]).unwrap_or_default()
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Region {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Region {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no Region")))
    }
}

/// An account in a Region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Scope {
    pub account: AccountId,
    pub region: Region,
}
