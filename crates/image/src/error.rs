//! What can go wrong with images, told so that the reader knows what to do.

use crate::Digest;
use std::io;
use std::path::{Path, PathBuf};

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

    /// The text is what Fargate prints for an index without the machine's platform.
    #[error("image Manifest does not contain descriptor matching platform '{wanted}'")]
    NoMatchingPlatform { wanted: String },
    /// The text is Docker's for a single image of the wrong platform.
    #[error(
        "image with reference {reference} was found but its platform ({actual}) does not match the \
         specified platform ({wanted})"
    )]
    WrongPlatform { reference: String, wanted: String, actual: String },

    #[error("layer {layer}: entry '{entry}' refused: {problem}")]
    UnsafeEntry { layer: Digest, entry: String, problem: &'static str },
    #[error("layer {layer} is damaged: {problem}")]
    DamagedLayer { layer: Digest, problem: String, source: Option<io::Error> },
    #[error("unpacking a layer needs root: {0} was refused")]
    NotPermitted(&'static str),
    #[error("unpacking a layer needs Linux 5.6 or newer: this kernel has no openat2")]
    KernelTooOld,

    #[error("no space left on device: {}; free some or choose another data directory", .0.display())]
    DiskFull(PathBuf),
    #[error("image store {} is in use by another process", .0.display())]
    StoreLocked(PathBuf),
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },

    /// The registry answered with an error of the distribution specification.
    #[error("{message} ({code}, HTTP {status} from {url})")]
    Registry { url: String, status: u16, code: String, message: String },
    #[error("manifest for {reference} not found: manifest unknown: {message}")]
    ManifestUnknown { reference: String, message: String },
    #[error("repository {repository} not found: name unknown: {message}")]
    RepositoryUnknown { repository: String, message: String },
    #[error(
        "pull access denied for {reference}, repository does not exist or may require 'docker login': {message}"
    )]
    AccessDenied { reference: String, message: String },
    #[error("cannot reach registry {host}: {problem}")]
    Unreachable { host: String, problem: String, source: Option<Box<dyn std::error::Error + Send + Sync>> },
    #[error("registry {host} broke the protocol: {problem}")]
    Protocol { host: String, problem: String },
}

impl Error {
    /// Wraps an I/O error with what was tried; a full disk gets its own variant.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| {
            if is_disk_full(&source) {
                return Self::DiskFull(path.to_owned());
            }
            Self::Io { action, path: path.to_owned(), source }
        }
    }

    /// True if the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Registry { status, .. } => matches!(status, 408 | 429 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }
}

pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
