//! The bridge network of one Wharf on this machine: bridges, addresses, published ports.

use crate::error::{NetworkError, Result};
use crate::link::{self, Link, VethEnd};
use crate::netlink::Socket;
use crate::netns::Netns;
use crate::ruleset::{self, Frame, Publication};
use crate::{Resolver, Subnet, firewall};
use rustix::fd::{AsFd, OwnedFd};
use std::collections::HashSet;
use std::io;
use std::net::Ipv4Addr;

/// What the operator may choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkConfig {
    /// Tells our bridges from those of another Wharf on the machine; the data directory's path.
    pub owner: String,
    /// Default: the first of [`CANDIDATES`] that overlaps no route.
    pub subnet: Option<Subnet>,
}

/// What must exist besides the bridges themselves: taken over from an earlier process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Existing {
    pub addresses: Vec<Ipv4Addr>,
    pub publications: Vec<Publication>,
}

/// Ranges tried in this order when the operator chose none.
pub const CANDIDATES: [&str; 6] =
    ["172.29.0.0/16", "172.28.0.0/16", "172.27.0.0/16", "10.213.0.0/16", "192.168.208.0/20", "172.26.0.0/16"];

/// The kernel takes at most 1024 ports to a bridge, so each bridge has a range of this many bits.
const BRIDGE_PREFIX: u8 = 22;
const INSTANCES: u8 = 10;
const INTERFACE: &str = "eth0";
const DEFAULT_MTU: u32 = 1500;

/// A network namespace for one container, connected if it has an address.
#[derive(Debug)]
pub struct Endpoint {
    /// The namespace lives as long as this descriptor or a process inside.
    pub netns: OwnedFd,
    pub address: Option<Address>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub ip: Ipv4Addr,
    pub gateway: Ipv4Addr,
    pub prefix: u8,
}

struct Bridge {
    index: u32,
    subnet: Subnet,
    next: u32,
}

pub struct Network {
    route: Socket,
    nft: Socket,
    name: String,
    subnet: Subnet,
    mtu: u32,
    bridges: Vec<Bridge>,
    in_use: HashSet<Ipv4Addr>,
    publications: HashSet<Publication>,
    resolver: Resolver,
}

impl Network {
    /// Sets up or takes over the network of `config.owner`.
    pub fn open(config: &NetworkConfig, existing: &Existing) -> Result<Self> {
        let mut route =
            Socket::open_route().map_err(NetworkError::kernel("no netlink socket for links and routes"))?;
        let nft = Socket::open_netfilter().map_err(NetworkError::NoNftables)?;
        let links = link::links(&mut route).map_err(NetworkError::kernel("cannot list network links"))?;
        let (name, first) = own_bridge(&links, &config.owner)?;
        let subnet = match first {
            Some(bridge) => taken_over_subnet(&mut route, config, bridge)?,
            None => choose_subnet(&mut route, config, &links)?,
        };
        let mtu = mtu(&mut route, &links);
        let mut network = Self {
            route,
            nft,
            name,
            subnet,
            mtu,
            bridges: Vec::new(),
            in_use: existing.addresses.iter().copied().collect(),
            publications: existing.publications.iter().copied().collect(),
            resolver: Resolver::of_host(),
        };
        network.open_bridges(&links, &config.owner)?;
        network.allow_forwarding()?;
        network.install_rules()?;
        Ok(network)
    }

    /// Of the first bridge; those of others begin with it. Also the name of the nf_tables table.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn subnet(&self) -> Subnet {
        self.subnet
    }

    /// Name servers for a container behind this gateway.
    pub fn resolver(&self, gateway: Ipv4Addr) -> Resolver {
        let mut resolver = self.resolver.clone();
        if resolver.servers.is_empty() && resolver.local.is_some() {
            resolver.servers.push(gateway.into());
        }
        resolver
    }

    /// As on a machine whose only name server is on a loopback address.
    #[cfg(test)]
    pub(crate) fn with_local_resolver(mut self, local: Ipv4Addr) -> Result<Self> {
        self.resolver = Resolver { local: Some(local), ..Resolver::default() };
        self.install_rules()?;
        Ok(self)
    }

    /// A namespace with an address on one of the bridges.
    pub fn connect(&mut self) -> Result<Endpoint> {
        let (bridge, address) = self.free_address()?;
        let mut netns = Netns::create().map_err(NetworkError::kernel("cannot make a network namespace"))?;
        let host = VethEnd { name: &self.veth_name(address.ip), mac: mac(0x0A, address.ip) };
        let inside = VethEnd { name: INTERFACE, mac: mac(0x02, address.ip) };
        let made = link::add_veth(&mut self.route, (bridge, self.mtu), &host, &inside, netns.fd.as_fd());
        made.map_err(|error| match error.raw_os_error() {
            Some(NOT_SUPPORTED) => NetworkError::NoVeth(error),
            _ => NetworkError::Kernel { what: format!("cannot make the link {}", host.name), source: error },
        })?;
        configure_inside(&mut netns.route, &address)
            .map_err(NetworkError::kernel(format!("cannot give a container the address {}", address.ip)))?;
        self.in_use.insert(address.ip);
        Ok(Endpoint { netns: netns.fd, address: Some(address) })
    }

    /// A namespace with a loopback interface only.
    pub fn isolate() -> Result<Endpoint> {
        let netns = Netns::create().map_err(NetworkError::kernel("cannot make a network namespace"))?;
        Ok(Endpoint { netns: netns.fd, address: None })
    }

    /// Gives an address back; the link is gone once the last process of the namespace is.
    pub fn release(&mut self, ip: Ipv4Addr) {
        self.in_use.remove(&ip);
    }

    pub fn publish(&mut self, publications: &[Publication]) -> Result<()> {
        if publications.is_empty() {
            return Ok(());
        }
        ruleset::publish(&mut self.nft, &self.name, publications)
            .map_err(NetworkError::kernel("cannot publish ports through nf_tables"))?;
        self.publications.extend(publications);
        Ok(())
    }

    /// Takes publications back; those that are not there are passed over.
    pub fn unpublish(&mut self, publications: &[Publication]) -> Result<()> {
        let known: Vec<_> = publications.iter().filter(|p| self.publications.remove(p)).copied().collect();
        if known.is_empty() {
            return Ok(());
        }
        ruleset::unpublish(&mut self.nft, &self.name, &known)
            .map_err(NetworkError::kernel("cannot take published ports back from nf_tables"))
    }

    /// How many ports the kernel forwards for us.
    pub fn published(&mut self) -> Result<usize> {
        ruleset::count(&mut self.nft, &self.name)
            .map_err(NetworkError::kernel("cannot read our nf_tables table"))
    }

    /// Takes everything down: rules, links and bridges.
    pub fn close(mut self) -> Result<()> {
        ruleset::remove(&mut self.nft, &self.name)
            .map_err(NetworkError::kernel("cannot remove our nf_tables table"))?;
        firewall::forget(&self.name);
        for bridge in self.bridges.drain(..) {
            link::delete_link(&mut self.route, bridge.index)
                .map_err(NetworkError::kernel("cannot remove our bridge"))?;
        }
        Ok(())
    }

    fn veth_name(&self, ip: Ipv4Addr) -> String {
        format!("{}v{:08x}", self.name.replacen("wharf", "w", 1), u32::from(ip))
    }

    fn bridge_name(&self, n: usize) -> String {
        if n == 0 { self.name.clone() } else { format!("{}b{n}", self.name) }
    }

    fn open_bridges(&mut self, links: &[Link], owner: &str) -> Result<()> {
        loop {
            let name = self.bridge_name(self.bridges.len());
            match links.iter().find(|link| link.name == name) {
                Some(link) => self.add_bridge(Some(link.index), owner)?,
                None if self.bridges.is_empty() => return self.add_bridge(None, owner),
                None => return Ok(()),
            }
        }
    }

    /// The next bridge, made unless it exists already.
    fn add_bridge(&mut self, existing: Option<u32>, owner: &str) -> Result<()> {
        let n = self.bridges.len();
        let name = self.bridge_name(n);
        let subnet = u32::try_from(n).ok().and_then(|n| self.subnet.part(n, BRIDGE_PREFIX));
        let subnet = subnet.ok_or_else(|| NetworkError::NoFreeAddress { subnet: self.subnet.to_string() })?;
        let index = match existing {
            Some(index) => index,
            None => self.make_bridge(&name, subnet, owner)?,
        };
        write_sysctl(&format!("net/ipv4/conf/{name}/route_localnet"), "1")?;
        self.bridges.push(Bridge { index, subnet, next: 2 });
        Ok(())
    }

    fn make_bridge(&mut self, name: &str, subnet: Subnet, owner: &str) -> Result<u32> {
        let gateway = subnet.host(1);
        link::add_bridge(&mut self.route, name, mac(0x02, gateway), self.mtu).map_err(|error| match error
            .raw_os_error()
        {
            Some(NOT_PERMITTED) => NetworkError::NotRoot(error),
            Some(NOT_SUPPORTED) => NetworkError::NoBridge(error),
            _ => NetworkError::Kernel { what: format!("cannot make the bridge {name}"), source: error },
        })?;
        let links =
            link::links(&mut self.route).map_err(NetworkError::kernel("cannot list network links"))?;
        let index = links.iter().find(|l| l.name == name).map(|l| l.index).unwrap_or_default();
        link::set_alias(&mut self.route, index, owner)
            .and_then(|()| link::add_address(&mut self.route, index, gateway, subnet.prefix()))
            .and_then(|()| link::set_up_without_ipv6(&mut self.route, name))
            .map_err(NetworkError::kernel(format!("cannot configure the bridge {name}")))?;
        Ok(index)
    }

    fn free_address(&mut self) -> Result<(u32, Address)> {
        loop {
            for bridge in &mut self.bridges {
                let hosts = bridge.subnet.hosts();
                // Addresses go round, so that one is taken again as late as possible: its old link may still be going away.
                for _ in 0..hosts {
                    let ip = bridge.subnet.host(bridge.next);
                    bridge.next = if bridge.next >= hosts { 2 } else { bridge.next + 1 };
                    if !self.in_use.contains(&ip) && ip != bridge.subnet.host(1) {
                        let prefix = bridge.subnet.prefix();
                        return Ok((bridge.index, Address { ip, gateway: bridge.subnet.host(1), prefix }));
                    }
                }
            }
            let owner = self.owner()?;
            self.add_bridge(None, &owner)?;
        }
    }

    fn owner(&mut self) -> Result<String> {
        let links =
            link::links(&mut self.route).map_err(NetworkError::kernel("cannot list network links"))?;
        Ok(links.into_iter().find(|l| l.name == self.name).and_then(|l| l.alias).unwrap_or_default())
    }

    fn allow_forwarding(&self) -> Result<()> {
        write_sysctl("net/ipv4/ip_forward", "1")?;
        firewall::allow_forwarding(&self.name);
        Ok(())
    }

    fn install_rules(&mut self) -> Result<()> {
        let frame = Frame { name: &self.name, subnet: self.subnet, local_resolver: self.resolver.local };
        let publications: Vec<_> = self.publications.iter().copied().collect();
        ruleset::install(&mut self.nft, &frame, &publications).map_err(|error| match error.raw_os_error() {
            Some(NOT_PERMITTED) => NetworkError::NotRoot(error),
            _ => NetworkError::NoNftables(error),
        })
    }
}

const NOT_PERMITTED: i32 = rustix::io::Errno::PERM.raw_os_error();
const NOT_SUPPORTED: i32 = rustix::io::Errno::OPNOTSUPP.raw_os_error();

fn configure_inside(socket: &mut Socket, address: &Address) -> io::Result<()> {
    let index = link::links(socket)?.into_iter().find(|l| l.name == INTERFACE).map(|l| l.index);
    let index = index.ok_or_else(|| io::Error::other("the link did not arrive in the namespace"))?;
    link::add_address(socket, index, address.ip, address.prefix)?;
    link::set_up(socket, index)?;
    link::add_default_route(socket, address.gateway)
}

/// Locally administered and derived from the address, so that neighbours' caches stay right when an address is reused.
fn mac(first: u8, ip: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = ip.octets();
    [first, 0x42, a, b, c, d]
}

/// Finds the bridge that carries our mark, or the first free name.
fn own_bridge<'a>(links: &'a [Link], owner: &str) -> Result<(String, Option<&'a Link>)> {
    let names: Vec<_> = (0..INSTANCES).map(|n| format!("wharf{n}")).collect();
    let ours = links.iter().find(|l| names.contains(&l.name) && l.alias.as_deref() == Some(owner));
    if let Some(link) = ours {
        return Ok((link.name.clone(), Some(link)));
    }
    let free = names.into_iter().find(|name| links.iter().all(|l| l.name != *name));
    free.map(|name| (name, None)).ok_or_else(|| NetworkError::Kernel {
        what: format!(
            "the names wharf0 to wharf{} are all taken by bridges of other data directories",
            INSTANCES - 1
        ),
        source: io::ErrorKind::AlreadyExists.into(),
    })
}

fn taken_over_subnet(route: &mut Socket, config: &NetworkConfig, bridge: &Link) -> Result<Subnet> {
    let addresses = link::addresses(route).map_err(NetworkError::kernel("cannot list addresses"))?;
    let gateway = addresses.iter().find(|(index, ..)| *index == bridge.index).map(|(_, gateway, _)| *gateway);
    let configured = config.subnet.into_iter();
    let candidates = CANDIDATES.iter().filter_map(|text| text.parse().ok());
    gateway.and_then(|gateway| configured.chain(candidates).find(|s| s.contains(gateway))).ok_or_else(|| {
        NetworkError::Kernel {
            what: format!(
                "the bridge {} was made for another range of addresses: stop its containers and run `ip link delete {}`",
                bridge.name, bridge.name
            ),
            source: io::ErrorKind::AddrNotAvailable.into(),
        }
    })
}

fn choose_subnet(route: &mut Socket, config: &NetworkConfig, links: &[Link]) -> Result<Subnet> {
    if let Some(subnet) = config.subnet {
        return Ok(subnet);
    }
    let routes = link::routes(route).map_err(NetworkError::kernel("cannot list routes"))?;
    let ours = |index: Option<u32>| links.iter().any(|l| Some(l.index) == index && l.name.starts_with("lo"));
    let free = |s: &Subnet| !routes.iter().any(|(r, link)| r.prefix() > 0 && !ours(*link) && r.overlaps(*s));
    CANDIDATES
        .iter()
        .filter_map(|text| text.parse().ok())
        .find(free)
        .ok_or_else(|| NetworkError::NoFreeSubnet(CANDIDATES.join(", ")))
}

/// That of the link which the default route uses: a larger one would lose packets on the way out.
fn mtu(route: &mut Socket, links: &[Link]) -> u32 {
    let routes = link::routes(route).unwrap_or_default();
    let out = routes.iter().find(|(destination, _)| destination.prefix() == 0).and_then(|(_, link)| *link);
    let mtu = links.iter().find(|l| Some(l.index) == out).map(|l| l.mtu);
    mtu.unwrap_or(DEFAULT_MTU).clamp(576, 65_535)
}

fn write_sysctl(name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/{name}");
    if std::fs::read_to_string(&path).is_ok_and(|now| now.trim() == value) {
        return Ok(());
    }
    std::fs::write(&path, value).map_err(NetworkError::kernel(format!(
        "cannot set {} to {value}, which the bridge network needs",
        name.replace('/', ".")
    )))
}
