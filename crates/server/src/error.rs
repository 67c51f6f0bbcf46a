//! Why the server cannot answer, and why it cannot start.

use std::path::PathBuf;
use std::sync::Arc;
use store::{CommitFailed, StoreError};
use thiserror::Error;

/// The server cannot answer a request now; the caller gets a 500 or 503.
#[derive(Clone, Debug, Error)]
pub enum Unavailable {
    #[error("changes cannot be made durable")]
    Commit(#[source] Arc<StoreError>),
    #[error("the operating system gives no randomness")]
    Entropy,
    #[error("internal error: {0}")]
    Broken(&'static str),
}

impl From<CommitFailed> for Unavailable {
    fn from(failed: CommitFailed) -> Self {
        Self::Commit(failed.0)
    }
}

/// The server cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("cannot listen on {address}: choose another with --listen, or end what listens there")]
    Listen { address: String, source: std::io::Error },
    #[error("cannot open the data directory {directory}")]
    Store { directory: PathBuf, source: StoreError },
    #[error(
        "the data directory {directory} holds a record that cannot be read; move it away or restore a copy"
    )]
    Record { directory: PathBuf, source: control::state::record::RecordError },
    #[error("cannot read or write {path}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("the data directory is in use by {0}")]
    InUse(String),
    #[error("{0}")]
    Refused(String),
    #[error("the operating system gives no randomness")]
    Entropy,
    #[error("cannot open the log store {directory}")]
    Logs { directory: PathBuf, source: logs::Error },
    #[error("cannot open the registry's blob store")]
    Blobs(#[source] registry::StoreError),
}
