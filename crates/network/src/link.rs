//! Links, addresses and routes through rtnetlink.

use crate::netlink::{ACK, CREATE, DUMP, EXCL, Messages, Socket, attributes};
use crate::subnet::Subnet;
use rustix::fd::{AsRawFd, BorrowedFd};
use std::io;
use std::net::Ipv4Addr;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_HAIRPIN: u16 = 4;
const VETH_INFO_PEER: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const ADDR_GEN_MODE_NONE: u8 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u16 = 10;
const IFF_UP: u32 = 1;

pub(crate) const LOOPBACK_INDEX: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) alias: Option<String>,
    pub(crate) master: Option<u32>,
    pub(crate) mtu: u32,
}

/// One end of a virtual Ethernet pair.
pub(crate) struct VethEnd<'a> {
    pub(crate) name: &'a str,
    pub(crate) mac: [u8; 6],
}

fn link_header(index: u32, flags: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&flags.to_ne_bytes());
    header
}

/// Brings a link up without an IPv6 link-local address: the bridge network is IPv4 only, and duplicate detection
/// costs time at every start. The kernel takes this for existing links only.
pub(crate) fn set_up_without_ipv6(socket: &mut Socket, name: &str) -> io::Result<()> {
    let mut m = Messages::default();
    m.begin(RTM_NEWLINK, 0, &link_header(0, IFF_UP)).string(IFLA_IFNAME, name);
    if has_ipv6() {
        without_ipv6(&mut m);
    }
    socket.request(&mut m)
}

fn without_ipv6(m: &mut Messages) {
    m.nest(IFLA_AF_SPEC, |m| {
        m.nest(AF_INET6, |m| {
            m.attr(IFLA_INET6_ADDR_GEN_MODE, &[ADDR_GEN_MODE_NONE]);
        });
    });
}

pub(crate) fn add_bridge(socket: &mut Socket, name: &str, mac: [u8; 6], mtu: u32) -> io::Result<()> {
    let mut m = Messages::default();
    m.begin(RTM_NEWLINK, CREATE | EXCL, &link_header(0, 0))
        .string(IFLA_IFNAME, name)
        .attr(IFLA_ADDRESS, &mac)
        .attr(IFLA_MTU, &mtu.to_ne_bytes())
        .nest(IFLA_LINKINFO, |m| {
            m.string(IFLA_INFO_KIND, "bridge");
        });
    socket.request(&mut m)
}

pub(crate) fn set_alias(socket: &mut Socket, index: u32, alias: &str) -> io::Result<()> {
    let mut m = Messages::default();
    m.begin(RTM_NEWLINK, 0, &link_header(index, 0)).string(IFLA_IFALIAS, alias);
    socket.request(&mut m)
}

/// Makes a pair: `host` stays here as a port of `bridge` and is up, `inside` lands in `netns`, still down.
pub(crate) fn add_veth(
    socket: &mut Socket,
    (bridge, mtu): (u32, u32),
    host: &VethEnd<'_>,
    inside: &VethEnd<'_>,
    netns: BorrowedFd<'_>,
) -> io::Result<()> {
    let queues = 1_u32.to_ne_bytes();
    let mut m = Messages::default();
    m.begin(RTM_NEWLINK, CREATE | EXCL, &link_header(0, 0))
        .string(IFLA_IFNAME, host.name)
        .attr(IFLA_ADDRESS, &host.mac)
        .attr(IFLA_MTU, &mtu.to_ne_bytes())
        .attr(IFLA_MASTER, &bridge.to_ne_bytes())
        .attr(IFLA_NUM_TX_QUEUES, &queues)
        .attr(IFLA_NUM_RX_QUEUES, &queues)
        .nest(IFLA_LINKINFO, |m| {
            m.string(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, |m| {
                m.nest(VETH_INFO_PEER, |m| {
                    m.raw(&link_header(0, 0))
                        .string(IFLA_IFNAME, inside.name)
                        .attr(IFLA_ADDRESS, &inside.mac)
                        .attr(IFLA_MTU, &mtu.to_ne_bytes())
                        .attr(IFLA_NUM_TX_QUEUES, &queues)
                        .attr(IFLA_NUM_RX_QUEUES, &queues)
                        .attr(IFLA_NET_NS_FD, &netns.as_raw_fd().to_ne_bytes());
                });
            });
        });
    socket.request(&mut m)?;
    set_port_up(socket, host.name)
}

/// Brings a bridge's port up, in hairpin mode: where bridge-nf-call-iptables is set, a container's packet to its own
/// published port goes back out of the port that it came in by.
fn set_port_up(socket: &mut Socket, name: &str) -> io::Result<()> {
    let mut m = Messages::default();
    m.begin(RTM_NEWLINK, 0, &link_header(0, IFF_UP)).string(IFLA_IFNAME, name).nest(IFLA_LINKINFO, |m| {
        m.string(IFLA_INFO_SLAVE_KIND, "bridge").nest(IFLA_INFO_SLAVE_DATA, |m| {
            m.attr(IFLA_BRPORT_HAIRPIN, &[1]);
        });
    });
    if has_ipv6() {
        without_ipv6(&mut m);
    }
    socket.request(&mut m)
}

fn has_ipv6() -> bool {
    std::path::Path::new("/proc/thread-self/net/if_inet6").exists()
}

pub(crate) fn set_up(socket: &mut Socket, index: u32) -> io::Result<()> {
    let mut m = Messages::default();
    m.begin(RTM_NEWLINK, 0, &link_header(index, IFF_UP));
    socket.request(&mut m)
}

pub(crate) fn delete_link(socket: &mut Socket, index: u32) -> io::Result<()> {
    let mut m = Messages::default();
    m.begin(RTM_DELLINK, 0, &link_header(index, 0));
    socket.request(&mut m)
}

pub(crate) fn links(socket: &mut Socket) -> io::Result<Vec<Link>> {
    let mut m = Messages::default();
    m.begin(RTM_GETLINK, DUMP, &link_header(0, 0));
    let mut found = Vec::new();
    socket.dump(&m, |(kind, payload)| {
        if kind == RTM_NEWLINK && payload.len() >= 16 {
            found.push(parse_link(payload));
        }
    })?;
    Ok(found)
}

fn parse_link(payload: &[u8]) -> Link {
    let index = u32::from_ne_bytes([payload[4], payload[5], payload[6], payload[7]]);
    let mut link = Link { index, name: String::new(), alias: None, master: None, mtu: 0 };
    for (kind, value) in attributes(&payload[16..]) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_IFALIAS => link.alias = Some(text(value)),
            IFLA_MASTER => link.master = number(value),
            IFLA_MTU => link.mtu = number(value).unwrap_or(0),
            _ => {}
        }
    }
    link
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

fn number(value: &[u8]) -> Option<u32> {
    value.first_chunk::<4>().map(|v| u32::from_ne_bytes(*v))
}

pub(crate) fn add_address(socket: &mut Socket, index: u32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
    let mut header = [AF_INET, prefix, 0, 0, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let broadcast = u32::from(address) | u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    let mut m = Messages::default();
    m.begin(RTM_NEWADDR, CREATE | EXCL | ACK, &header)
        .attr(2, &address.octets())
        .attr(1, &address.octets())
        .attr(4, &broadcast.to_be_bytes());
    socket.request(&mut m)
}

#[cfg(test)]
pub(crate) fn delete_address(
    socket: &mut Socket,
    index: u32,
    address: Ipv4Addr,
    prefix: u8,
) -> io::Result<()> {
    const RTM_DELADDR: u16 = 21;
    let mut header = [AF_INET, prefix, 0, 0, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let mut m = Messages::default();
    m.begin(RTM_DELADDR, 0, &header).attr(2, &address.octets());
    socket.request(&mut m)
}

/// IPv4 addresses with the index of their link and their prefix.
pub(crate) fn addresses(socket: &mut Socket) -> io::Result<Vec<(u32, Ipv4Addr, u8)>> {
    let mut m = Messages::default();
    m.begin(RTM_GETADDR, DUMP, &[AF_INET, 0, 0, 0, 0, 0, 0, 0]);
    let mut found = Vec::new();
    socket.dump(&m, |(kind, payload)| {
        if kind != RTM_NEWADDR || payload.len() < 8 {
            return;
        }
        let index = u32::from_ne_bytes([payload[4], payload[5], payload[6], payload[7]]);
        for (kind, value) in attributes(&payload[8..]) {
            if let (2, Some(octets)) = (kind, value.first_chunk::<4>()) {
                found.push((index, Ipv4Addr::from(*octets), payload[1]));
            }
        }
    })?;
    Ok(found)
}

pub(crate) fn add_default_route(socket: &mut Socket, gateway: Ipv4Addr) -> io::Result<()> {
    // Family, three lengths, table main, protocol boot, scope universe, type unicast, flags.
    let mut m = Messages::default();
    m.begin(RTM_NEWROUTE, CREATE | EXCL, &[AF_INET, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0])
        .attr(5, &gateway.octets());
    socket.request(&mut m)
}

/// Destinations of all IPv4 routes, the default one with no bits, and the link that they leave by.
pub(crate) fn routes(socket: &mut Socket) -> io::Result<Vec<(Subnet, Option<u32>)>> {
    let mut m = Messages::default();
    m.begin(RTM_GETROUTE, DUMP, &[AF_INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let mut found = Vec::new();
    socket.dump(&m, |(kind, payload)| {
        if kind != RTM_NEWROUTE || payload.len() < 12 {
            return;
        }
        let (mut destination, mut link) = (Subnet::new(Ipv4Addr::UNSPECIFIED, 0), None);
        for (kind, value) in attributes(&payload[12..]) {
            match (kind, value.first_chunk::<4>()) {
                (1, Some(octets)) => destination = Subnet::new(Ipv4Addr::from(*octets), payload[1]),
                (4, Some(_)) => link = number(value),
                _ => {}
            }
        }
        found.push((destination, link));
    })?;
    Ok(found)
}
