//! The whole network against the real kernel, in network namespaces made for the test. Needs root.

use crate::link::{self, VethEnd};
use crate::netlink::Socket;
use crate::netns::{self, Netns};
use crate::{Address, Endpoint, Existing, Network, NetworkConfig, Protocol, Publication, hold_port};
use rustix::fd::{AsFd, OwnedFd};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

const LAN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs `work` on a thread inside a namespace.
fn inside<T: Send>(netns: &OwnedFd, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("enters the namespace");
            work()
        });
        thread.join().expect("does not panic")
    })
}

/// Runs a test in a namespace that stands for a host: loopback and a LAN with one neighbour, whose namespace it gets.
fn on_a_host(test: impl FnOnce(OwnedFd) + Send) {
    std::thread::scope(|scope| {
        let host = scope.spawn(|| {
            netns::enter_new().expect("makes a network namespace: this test needs root");
            let mut route = Socket::open_route().expect("netlink");
            link::set_up(&mut route, link::LOOPBACK_INDEX).expect("loopback");
            link::add_bridge(&mut route, "lan0", [2, 0, 0, 0, 0, 1], 1500).expect("bridge");
            let links = link::links(&mut route).expect("links");
            let lan = links.iter().find(|l| l.name == "lan0").expect("just made").index;
            link::add_address(&mut route, lan, LAN, 24).expect("address");
            link::set_up(&mut route, lan).expect("up");
            let mut neighbour = Netns::create().expect("namespace");
            let (a, b) = (
                VethEnd { name: "n0", mac: [2, 0, 0, 0, 0, 2] },
                VethEnd { name: "eth0", mac: [2, 0, 0, 0, 0, 3] },
            );
            link::add_veth(&mut route, (lan, 1500), &a, &b, neighbour.fd.as_fd()).expect("pair");
            let links = link::links(&mut neighbour.route).expect("links");
            let eth0 = links.iter().find(|l| l.name == "eth0").expect("arrived").index;
            link::add_address(&mut neighbour.route, eth0, NEIGHBOUR, 24).expect("address");
            link::set_up(&mut neighbour.route, eth0).expect("up");
            link::add_default_route(&mut neighbour.route, LAN).expect("route");
            test(neighbour.fd);
        });
        host.join().expect("does not panic");
    });
}

fn config(owner: &str) -> NetworkConfig {
    NetworkConfig { owner: owner.to_owned(), subnet: None }
}

fn open(owner: &str) -> Network {
    Network::open(&config(owner), &Existing::default()).expect("opens")
}

fn connect(network: &mut Network) -> (OwnedFd, Address) {
    let Endpoint { netns, address } = network.connect().expect("connects");
    (netns, address.expect("on the bridge"))
}

/// Answers one connection with the caller's address.
fn serve_tcp(netns: &OwnedFd, port: u16) -> TcpListener {
    inside(netns, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).expect("listens"))
}

fn ask_tcp(listener: &TcpListener, from: Option<&OwnedFd>, to: SocketAddrV4) -> std::io::Result<Ipv4Addr> {
    let call = move || {
        let mut stream = TcpStream::connect_timeout(&to.into(), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer)?;
        Ok(Ipv4Addr::from(answer))
    };
    std::thread::scope(|scope| {
        listener.set_nonblocking(true).expect("nonblocking");
        let asked = scope.spawn(move || match from {
            Some(netns) => inside(netns, call),
            None => call(),
        });
        while !asked.is_finished() {
            if let Ok((mut stream, SocketAddr::V4(peer))) = listener.accept() {
                stream.write_all(&peer.ip().octets()).expect("answers");
            }
            std::thread::yield_now();
        }
        asked.join().expect("does not panic")
    })
}

fn publication(
    protocol: Protocol,
    host_ip: Ipv4Addr,
    host_port: u16,
    target: (Ipv4Addr, u16),
) -> Publication {
    Publication { protocol, host_ip, host_port, target: SocketAddrV4::new(target.0, target.1) }
}

#[test]
fn a_published_port_is_reached_from_everywhere() {
    on_a_host(|neighbour| {
        let mut network = open("/data/a");
        let (container, address) = connect(&mut network);
        let (other, _) = connect(&mut network);
        let listener = serve_tcp(&container, 80);
        let held = hold_port(Protocol::Tcp, Ipv4Addr::UNSPECIFIED, 0).expect("free port");
        let published = publication(Protocol::Tcp, held.address, held.port, (address.ip, 80));
        network.publish(&[published]).expect("publishes");

        let ask = |from, ip| ask_tcp(&listener, from, SocketAddrV4::new(ip, held.port));
        assert_eq!(ask(None, Ipv4Addr::LOCALHOST).expect("from 127.0.0.1"), address.gateway);
        ask(None, LAN).expect("from the host by its own address");
        ask(None, address.gateway).expect("from the host by the gateway's address");
        assert_eq!(ask(Some(&neighbour), LAN).expect("from another machine"), NEIGHBOUR);
        ask(Some(&other), LAN).expect("from another container");
        ask(Some(&container), LAN).expect("from the container itself");
        let direct = ask_tcp(&listener, Some(&neighbour), SocketAddrV4::new(address.ip, 80));
        assert!(direct.is_err(), "a machine that routes to the subnet reaches only published ports");

        network.unpublish(&[published]).expect("takes back");
        assert_eq!(network.published().expect("counts"), 0);
        assert!(ask(Some(&neighbour), LAN).is_err(), "no longer published");
        network.close().expect("closes");
    });
}

#[test]
fn a_port_on_one_address_is_not_open_on_others() {
    on_a_host(|neighbour| {
        let mut network = open("/data/a");
        let (container, address) = connect(&mut network);
        let listener = serve_tcp(&container, 80);
        let published = publication(Protocol::Tcp, Ipv4Addr::LOCALHOST, 8080, (address.ip, 80));
        network.publish(&[published]).expect("publishes");
        ask_tcp(&listener, None, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8080)).expect("on 127.0.0.1");
        ask_tcp(&listener, Some(&neighbour), SocketAddrV4::new(LAN, 8080)).expect_err("not on the LAN");
        network.close().expect("closes");
    });
}

#[test]
fn udp_is_published_too() {
    on_a_host(|neighbour| {
        let mut network = open("/data/a");
        let (container, address) = connect(&mut network);
        let server = inside(&container, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53)).expect("binds"));
        server.set_read_timeout(Some(PATIENCE)).expect("timeout");
        let held = hold_port(Protocol::Udp, Ipv4Addr::UNSPECIFIED, 0).expect("free port");
        network
            .publish(&[publication(Protocol::Udp, held.address, held.port, (address.ip, 53))])
            .expect("publishes");
        for (from, to) in [(None, Ipv4Addr::LOCALHOST), (Some(&neighbour), LAN)] {
            let bind = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("binds");
            let client = from.map_or_else(bind, |netns| inside(netns, bind));
            client.set_read_timeout(Some(PATIENCE)).expect("timeout");
            client.send_to(b"ping", (to, held.port)).expect("sends");
            let mut buffer = [0; 8];
            let (length, peer) = server.recv_from(&mut buffer).expect("arrives");
            server.send_to(&buffer[..length], peer).expect("answers");
            let (length, peer) = client.recv_from(&mut buffer).expect("comes back");
            assert_eq!((&buffer[..length], peer.ip()), (&b"ping"[..], to.into()));
        }
        network.close().expect("closes");
    });
}

#[test]
fn containers_go_out_under_the_hosts_address_and_cannot_reach_its_loopback() {
    on_a_host(|neighbour| {
        let mut network = open("/data/a");
        let (container, _) = connect(&mut network);
        let outside = serve_tcp(&neighbour, 9000);
        let seen = ask_tcp(&outside, Some(&container), SocketAddrV4::new(NEIGHBOUR, 9000)).expect("goes out");
        assert_eq!(seen, LAN);
        let private = TcpListener::bind((Ipv4Addr::LOCALHOST, 9001)).expect("listens");
        inside(&container, || {
            // Sent to the gateway's link but addressed to loopback: the attack that route_localnet opens.
            let mut route = Socket::open_route().expect("netlink");
            std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").expect("sysctl");
            let lo = link::LOOPBACK_INDEX;
            link::delete_address(&mut route, lo, Ipv4Addr::LOCALHOST, 8).expect("no loopback of its own");
        });
        ask_tcp(&private, Some(&container), SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9001))
            .expect_err("guarded");
        network.close().expect("closes");
    });
}

#[test]
fn a_second_opening_takes_over_and_a_second_owner_gets_its_own() {
    on_a_host(|_| {
        let mut first = open("/data/a");
        let (container, address) = connect(&mut first);
        let published = publication(Protocol::Tcp, Ipv4Addr::UNSPECIFIED, 8080, (address.ip, 80));
        first.publish(&[published]).expect("publishes");
        drop(first);

        let existing = Existing { addresses: vec![address.ip], publications: vec![published] };
        let mut again = Network::open(&config("/data/a"), &existing).expect("takes over");
        assert_eq!(again.published().expect("counts"), 1);
        assert_eq!(again.name(), "wharf0");
        let listener = serve_tcp(&container, 80);
        ask_tcp(&listener, None, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8080)).expect("still published");
        assert_ne!(connect(&mut again).1.ip, address.ip);

        let other = open("/data/b");
        assert_eq!(other.name(), "wharf1");
        assert!(!other.subnet().overlaps(again.subnet()), "{} {}", other.subnet(), again.subnet());
        other.close().expect("closes");
        again.close().expect("closes");
    });
}

#[test]
fn a_resolver_on_loopback_is_reached_through_the_gateway() {
    on_a_host(|_| {
        let local = Ipv4Addr::new(127, 0, 0, 53);
        let server = UdpSocket::bind((local, 53)).expect("binds");
        server.set_read_timeout(Some(PATIENCE)).expect("timeout");
        let mut network = open("/data/a").with_local_resolver(local).expect("installs");
        let (container, address) = connect(&mut network);
        assert_eq!(network.resolver(address.gateway).servers, [std::net::IpAddr::from(address.gateway)]);
        let client = inside(&container, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("binds"));
        client.set_read_timeout(Some(PATIENCE)).expect("timeout");
        client.send_to(b"name?", (address.gateway, 53)).expect("sends");
        let mut buffer = [0; 16];
        let (length, peer) = server.recv_from(&mut buffer).expect("arrives");
        server.send_to(&buffer[..length], peer).expect("answers");
        let (_, from) = client.recv_from(&mut buffer).expect("comes back");
        assert_eq!(from.ip(), address.gateway);
        network.close().expect("closes");
    });
}

/// Needs `iptables`, which every machine with Docker has.
#[test]
fn a_forward_chain_that_drops_is_told_about_our_bridges() {
    on_a_host(|neighbour| {
        let iptables = |arguments: &str| {
            let output = std::process::Command::new("iptables").args(arguments.split(' ')).output();
            let output = output.expect("this test needs iptables: apt-get install iptables");
            assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        // As Docker leaves it.
        iptables("-P FORWARD DROP");
        iptables("-N DOCKER-USER");
        iptables("-A DOCKER-USER -j RETURN");
        iptables("-I FORWARD -j DOCKER-USER");
        let mut network = open("/data/a");
        let (container, address) = connect(&mut network);
        let listener = serve_tcp(&container, 80);
        network
            .publish(&[publication(Protocol::Tcp, Ipv4Addr::UNSPECIFIED, 8080, (address.ip, 80))])
            .expect("publishes");
        ask_tcp(&listener, Some(&neighbour), SocketAddrV4::new(LAN, 8080))
            .expect("passes the other firewall");
        drop(open("/data/a"));
        assert_eq!(iptables("-S DOCKER-USER").matches("wharf0+").count(), 2, "each rule once");
        network.close().expect("closes");
        assert_eq!(iptables("-S DOCKER-USER").matches("wharf0+").count(), 0);
    });
}

#[test]
fn nothing_stays_behind() {
    on_a_host(|_| {
        let mut route = Socket::open_route().expect("netlink");
        let mut names =
            || link::links(&mut route).expect("links").into_iter().map(|l| l.name).collect::<Vec<_>>();
        let before = names();
        let mut network = open("/data/a");
        let endpoints: Vec<_> = (0..5).map(|_| connect(&mut network)).collect();
        assert_eq!(names().len(), before.len() + 6);
        drop(endpoints);
        let deadline = Instant::now() + Duration::from_secs(10);
        while names().len() > before.len() + 1 {
            assert!(Instant::now() < deadline, "links of dead namespaces stay: {:?}", names());
            std::thread::yield_now();
        }
        network.close().expect("closes");
        assert_eq!(names(), before);
    });
}

#[test]
fn a_full_bridge_is_followed_by_another() {
    on_a_host(|_| {
        let mut network = open("/data/a");
        let first = network.subnet().part(0, 22).expect("inside");
        let taken = (1..=first.hosts()).map(|n| first.host(n)).collect();
        let existing = Existing { addresses: taken, publications: Vec::new() };
        network = Network::open(&config("/data/a"), &existing).expect("takes over");
        let (container, address) = connect(&mut network);
        assert_eq!(address.gateway, network.subnet().part(1, 22).expect("inside").host(1));
        let listener = serve_tcp(&container, 80);
        network
            .publish(&[publication(Protocol::Tcp, Ipv4Addr::UNSPECIFIED, 8080, (address.ip, 80))])
            .expect("publishes");
        ask_tcp(&listener, None, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8080)).expect("reached");
        network.close().expect("closes");
    });
}
