//! Why an agent ends by itself, or a call of it failed.

use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why an agent could not start or go on.
#[derive(Debug, Error)]
pub enum AgentError {
    #[error("cannot use the agent's data directory at {path}")]
    DataDir { path: PathBuf, source: io::Error },
    #[error("another agent uses the data directory {path}; stop it or choose another directory")]
    DataDirInUse { path: PathBuf },
    #[error("{path} was written by something else or is damaged; move it away to register this machine anew")]
    Damaged { path: PathBuf, source: serde_json::Error },
    #[error(
        "this machine is registered in cluster {saved} and the agent is configured for {configured}; remove {path} to \
         register it anew"
    )]
    OtherCluster { saved: String, configured: String, path: PathBuf },
    #[error("the control plane refuses to register this machine")]
    Registration(#[source] CallError),
    #[error("the registration's reply lacks {0}")]
    Reply(&'static str),
    #[error("the control plane did not keep attribute {0} of this machine")]
    Attribute(String),
    #[error("{0:?} is not a URL that the agent can call")]
    Url(String),
    #[error("cannot read this machine's memory from /proc/meminfo")]
    Meminfo(#[source] io::Error),
    #[error("the container runtime does not answer")]
    Runtime(#[source] runtime::RuntimeError),
}

/// Why a call of an AWS API failed.
#[derive(Debug, Error)]
pub enum CallError {
    #[error("{0:?} is not a URL that the agent can call")]
    Url(String),
    #[error("cannot connect to {authority}")]
    Connect { authority: String, source: io::Error },
    #[error("the connection to {authority} broke")]
    Broken { authority: String, source: hyper::Error },
    #[error("{authority} did not answer in time")]
    Timeout { authority: String },
    #[error("{code}: {message}")]
    Service { code: String, message: String, status: u16 },
    #[error("the reply to {operation} cannot be read")]
    Reply { operation: &'static str, source: wire::Malformed },
}

impl CallError {
    /// The name of the service's exception, if it is one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Service { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Whether the same call may go well later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Broken { .. } | Self::Timeout { .. } => true,
            Self::Service { code, status, .. } => {
                *status >= 500
                    || matches!(
                        code.as_str(),
                        "ThrottlingException" | "ServerException" | "LimitExceededException"
                    )
            }
            Self::Url(_) | Self::Reply { .. } => false,
        }
    }
}
