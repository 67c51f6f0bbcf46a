//! What can go wrong, with the exception of CloudWatch Logs that says so.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    InvalidParameter(String),
    #[error("The specified log group does not exist.")]
    GroupNotFound,
    #[error("The specified log stream does not exist.")]
    StreamNotFound,
    /// The operation is not one that the event store answers.
    #[error("{0} is not answered by the event store.")]
    NotHere(&'static str),
    #[error("no space left for log events in {}: free some, or lower the bound on log storage", path.display())]
    Full { path: PathBuf },
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// A flush that this batch shared with others failed.
    #[error("log events could not be made durable in {}", path.display())]
    NotDurable { path: PathBuf },
}

impl Error {
    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::InvalidParameter(text.into())
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full { path: path.to_owned() },
            _ => Self::Io { action, path: path.to_owned(), source },
        }
    }

    /// The exception's name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidParameter(_) => "InvalidParameterException",
            Self::GroupNotFound | Self::StreamNotFound => "ResourceNotFoundException",
            Self::NotHere(_) => "UnsupportedOperationException",
            Self::Full { .. } | Self::Io { .. } | Self::NotDurable { .. } => "ServiceUnavailableException",
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        if self.code() == "ServiceUnavailableException" { 500 } else { 400 }
    }
}
