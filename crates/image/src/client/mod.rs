//! The client side of the distribution protocol: connections, authorization, and where each registry is reached.

mod auth;
mod challenge;
mod connection;
mod hosts;

pub(crate) use auth::{Answer, Session, collect};
pub(crate) use connection::{Client, bytes_body};
pub use hosts::{BlobSource, HostRule, Hosts};

/// What proves to a registry who asks.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    Anonymous,
    Basic {
        username: String,
        password: String,
    },
    /// A token that is sent as it is.
    Bearer(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Basic { .. } => "Basic(***)",
            Self::Bearer(_) => "Bearer(***)",
        })
    }
}
