//! What can go wrong with images, told so that the reader knows what to do.

use crate::Digest;

/// Any failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("invalid digest '{0}': want sha256: and 64 lower-case hex digits")]
    InvalidDigest(String),
    #[error("digest {actual} does not match the expected {expected}")]
    DigestMismatch { expected: Digest, actual: Digest },
    #[error("invalid reference format: '{reference}': {problem}")]
    InvalidReference { reference: String, problem: &'static str },
    #[error("manifest invalid: {0}")]
    InvalidManifest(String),
    #[error("image configuration invalid: {0}")]
    InvalidConfig(String),
}
