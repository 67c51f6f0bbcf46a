//! Links, addresses, NAT and port publishing, applied through netlink.

mod error;
mod firewall;
mod link;
mod netlink;
mod netns;
mod network;
mod nft;
mod port;
mod resolver;
mod ruleset;
mod subnet;
#[cfg(test)]
mod tests;

pub use error::{NetworkError, Result};
pub use network::{Address, CANDIDATES, Endpoint, Existing, Network, NetworkConfig};
pub use port::{HeldPort, Protocol, hold_port};
pub use resolver::Resolver;
pub use ruleset::Publication;
pub use subnet::Subnet;
