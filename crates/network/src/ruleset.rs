//! The one nf_tables table of ours: what it must hold, as data, and the messages that make it so.

use crate::netlink::Socket;
use crate::nft::{Batch, Chain, Hook, Verdict, count_elements};
use crate::{Protocol, Subnet};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

/// A port of the host that leads to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Publication {
    pub protocol: Protocol,
    /// Unspecified: every address of the host.
    pub host_ip: Ipv4Addr,
    pub host_port: u16,
    pub target: SocketAddrV4,
}

/// Maps by protocol and port, and by address, protocol and port.
const ANYWHERE: &str = "published";
const AT_ADDRESS: &str = "published_at";

// How nft's own listing names the columns: inet_proto, inet_service and ipv4_addr in six bits each.
const PROTOCOL_PORT: (u32, u32) = (12 << 6 | 13, 8);
const ADDRESS_PROTOCOL_PORT: (u32, u32) = (7 << 12 | 12 << 6 | 13, 12);
const ADDRESS_PORT: (u32, u32) = (7 << 6 | 13, 8);

/// Everything in the table that does not change while containers come and go.
pub(crate) struct Frame<'a> {
    /// The table's name, and the beginning of the names of our bridges.
    pub(crate) name: &'a str,
    pub(crate) subnet: Subnet,
    /// A resolver on a loopback address that containers reach at their gateway.
    pub(crate) local_resolver: Option<Ipv4Addr>,
}

/// Replaces the table as a whole.
pub(crate) fn install(
    socket: &mut Socket,
    frame: &Frame<'_>,
    publications: &[Publication],
) -> io::Result<()> {
    let mut batch = Batch::new(frame.name);
    batch.add_table();
    batch.delete_table();
    batch.add_table();
    batch.add_map(ANYWHERE, PROTOCOL_PORT, ADDRESS_PORT);
    batch.add_map(AT_ADDRESS, ADDRESS_PROTOCOL_PORT, ADDRESS_PORT);
    add_chains(&mut batch);
    add_guard_rules(&mut batch, frame);
    add_nat_rules(&mut batch, frame);
    for publication in publications {
        add(&mut batch, publication);
    }
    batch.commit(socket)
}

fn add_chains(batch: &mut Batch<'_>) {
    let chain = |name, kind, hook, priority| Chain { name, kind, hook, priority };
    batch.add_chain(&chain("guard", "filter", Hook::Prerouting, -300));
    batch.add_chain(&chain("forward", "filter", Hook::Forward, 0));
    batch.add_chain(&chain("inbound", "nat", Hook::Prerouting, -100));
    batch.add_chain(&chain("local", "nat", Hook::Output, -100));
    batch.add_chain(&chain("outbound", "nat", Hook::Postrouting, 100));
}

fn loopback() -> Subnet {
    Subnet::new(Ipv4Addr::LOCALHOST, 8)
}

fn add_guard_rules(batch: &mut Batch<'_>, frame: &Frame<'_>) {
    // Publishing on 127.0.0.1 needs route_localnet on our bridges, which alone would let containers, and whoever
    // shares a link with them, reach services that listen on loopback only (as in CVE-2020-8558).
    batch.add_rule("guard", |rule| {
        rule.arrives_by(frame.name).destination(loopback()).verdict(Verdict::Drop);
    });
    batch.add_rule("forward", |rule| {
        rule.leaves_by(frame.name, true).established().verdict(Verdict::Accept);
    });
    batch.add_rule("forward", |rule| {
        rule.leaves_by(frame.name, true).was_forwarded_to_a_port().verdict(Verdict::Accept);
    });
    batch.add_rule("forward", |rule| {
        rule.leaves_by(frame.name, true).arrives_by(frame.name).verdict(Verdict::Accept);
    });
    // Ports that are not published stay closed to other machines, also to those that route to our subnet.
    batch.add_rule("forward", |rule| {
        rule.leaves_by(frame.name, true).verdict(Verdict::Drop);
    });
}

fn add_nat_rules(batch: &mut Batch<'_>, frame: &Frame<'_>) {
    if let Some(resolver) = frame.local_resolver {
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            batch.add_rule("inbound", |rule| {
                rule.arrives_by(frame.name)
                    .destination(frame.subnet)
                    .destination_is_local()
                    .protocol(protocol.number())
                    .destination_port(53)
                    .forward_to(resolver, 53);
            });
        }
    }
    for chain in ["inbound", "local"] {
        batch.add_rule(chain, |rule| {
            rule.load_key(true).forward_by(AT_ADDRESS);
        });
        batch.add_rule(chain, |rule| {
            rule.destination_is_local().load_key(false).forward_by(ANYWHERE);
        });
    }
    batch.add_rule("outbound", |rule| {
        rule.source(frame.subnet).leaves_by(frame.name, false).masquerade();
    });
    // A container that reaches another, or itself, through a published port must get its answer from the host.
    batch.add_rule("outbound", |rule| {
        rule.source(frame.subnet).leaves_by(frame.name, true).was_forwarded_to_a_port().masquerade();
    });
    batch.add_rule("outbound", |rule| {
        rule.source(loopback()).leaves_by(frame.name, true).masquerade();
    });
}

/// Publishes all or none.
pub(crate) fn publish(socket: &mut Socket, table: &str, publications: &[Publication]) -> io::Result<()> {
    let mut batch = Batch::new(table);
    for publication in publications {
        add(&mut batch, publication);
    }
    batch.commit(socket)
}

/// Takes back all or none.
pub(crate) fn unpublish(socket: &mut Socket, table: &str, publications: &[Publication]) -> io::Result<()> {
    let mut batch = Batch::new(table);
    for publication in publications {
        let (map, key) = key(publication);
        batch.delete_element(map, &key);
    }
    batch.commit(socket)
}

pub(crate) fn remove(socket: &mut Socket, table: &str) -> io::Result<()> {
    let mut batch = Batch::new(table);
    batch.add_table();
    batch.delete_table();
    batch.commit(socket)
}

pub(crate) fn count(socket: &mut Socket, table: &str) -> io::Result<usize> {
    Ok(count_elements(socket, table, ANYWHERE)? + count_elements(socket, table, AT_ADDRESS)?)
}

fn add(batch: &mut Batch<'_>, publication: &Publication) {
    let (map, key) = key(publication);
    let mut value = publication.target.ip().octets().to_vec();
    value.extend(publication.target.port().to_be_bytes());
    value.extend([0, 0]);
    batch.add_element(map, &key, &value);
}

fn key(publication: &Publication) -> (&'static str, Vec<u8>) {
    let everywhere = publication.host_ip.is_unspecified();
    let mut key = if everywhere { Vec::new() } else { publication.host_ip.octets().to_vec() };
    key.extend([publication.protocol.number(), 0, 0, 0]);
    key.extend(publication.host_port.to_be_bytes());
    key.extend([0, 0]);
    (if everywhere { ANYWHERE } else { AT_ADDRESS }, key)
}
