//! What can go wrong between us and the kernel's network, with the way out in the text.

use crate::Protocol;
use std::io;
use std::net::Ipv4Addr;

#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("the bridge network needs root (CAP_NET_ADMIN): run Wharf as root, or use network mode host")]
    NotRoot(#[source] io::Error),
    #[error(
        "this kernel has no bridges: load the module (`modprobe bridge`), or use network mode host for every task"
    )]
    NoBridge(#[source] io::Error),
    #[error(
        "this kernel has no virtual Ethernet pairs: load the module (`modprobe veth`), or use network mode host"
    )]
    NoVeth(#[source] io::Error),
    #[error(
        "this kernel has no nf_tables with NAT: load the modules (`modprobe -a nf_tables nft_chain_nat nft_nat nft_masq nft_fib_ipv4`), \
         or use network mode host"
    )]
    NoNftables(#[source] io::Error),
    #[error("host port {port}/{} is already in use{}: choose another hostPort or stop that listener", protocol.name(), by(owner))]
    PortInUse { protocol: Protocol, port: u16, owner: Option<String> },
    #[error("host port {port}/{} on {address} cannot be taken", protocol.name())]
    Port {
        protocol: Protocol,
        address: Ipv4Addr,
        port: u16,
        #[source]
        source: io::Error,
    },
    #[error("no free port is left in the range of net.ipv4.ip_local_port_range for {}", protocol.name())]
    NoFreePort { protocol: Protocol },
    #[error("every address of {subnet} is in use: remove containers or choose a larger subnet")]
    NoFreeAddress { subnet: String },
    #[error(
        "no free range of addresses for the bridge: {0} all overlap routes of this machine; choose one with --bridge-subnet"
    )]
    NoFreeSubnet(String),
    #[error("{0} is not a range of IPv4 addresses such as 172.29.0.0/16")]
    BadSubnet(String),
    #[error("{what}")]
    Kernel {
        what: String,
        #[source]
        source: io::Error,
    },
}

impl NetworkError {
    pub(crate) fn kernel(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Kernel { what, source }
    }
}

fn by(owner: &Option<String>) -> String {
    owner.as_ref().map(|o| format!(" by {o}")).unwrap_or_default()
}

pub type Result<T, E = NetworkError> = std::result::Result<T, E>;
