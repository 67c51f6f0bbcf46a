//! Ports of the host: held by a bound socket for as long as a container publishes them.

use crate::error::{NetworkError, Result};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// As IP headers carry it.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

/// A port that nobody else on this machine can take while `socket` is open. Packets never reach the socket: they are
/// forwarded before the kernel looks for one.
#[derive(Debug)]
pub struct HeldPort {
    pub protocol: Protocol,
    pub address: Ipv4Addr,
    pub port: u16,
    pub socket: OwnedFd,
}

/// A port that was given up a moment ago may still be held by a process between its fork and its exec.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(5);

/// Takes a port; 0 lets the kernel choose one from its ephemeral range (`net.ipv4.ip_local_port_range`, normally
/// 32768 to 60999), which is also the range from which ECS gives dynamic host ports.
pub fn hold_port(protocol: Protocol, address: Ipv4Addr, port: u16) -> Result<HeldPort> {
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let failed = |errno: Errno| NetworkError::Port { protocol, address, port, source: errno.into() };
    let socket =
        rustix::net::socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None).map_err(failed)?;
    let mut tries = 0;
    loop {
        match rustix::net::bind(&socket, &SocketAddrV4::new(address, port)) {
            Ok(()) => break,
            Err(Errno::ADDRINUSE) if port == 0 => return Err(NetworkError::NoFreePort { protocol }),
            Err(Errno::ADDRINUSE) => {
                let owner = owner(protocol, port);
                if owner.is_some() || tries == TRIES {
                    return Err(NetworkError::PortInUse { protocol, port, owner });
                }
                tries += 1;
                std::thread::sleep(PAUSE);
            }
            Err(errno) => return Err(failed(errno)),
        }
    }
    let bound = rustix::net::getsockname(&socket).map_err(failed)?;
    let port = SocketAddrV4::try_from(bound).map_err(failed)?.port();
    Ok(HeldPort { protocol, address, port, socket })
}

/// The process that holds a local port, as `name (pid n)`; only asked for an error's text.
fn owner(protocol: Protocol, port: u16) -> Option<String> {
    let inode = ["", "6"]
        .iter()
        .find_map(|family| inode(&format!("/proc/thread-self/net/{}{family}", protocol.name()), port))?;
    let wanted = format!("socket:[{inode}]");
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let path = process.path();
        if !process.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        let Ok(files) = std::fs::read_dir(path.join("fd")) else { continue };
        if files
            .flatten()
            .any(|f| std::fs::read_link(f.path()).is_ok_and(|to| to.as_os_str() == wanted.as_str()))
        {
            let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
            return Some(format!("{} (pid {})", name.trim_end(), process.file_name().to_string_lossy()));
        }
    }
    None
}

fn inode(table: &str, port: u16) -> Option<String> {
    let wanted = format!(":{port:04X}");
    let text = std::fs::read_to_string(table).ok()?;
    text.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next()?;
        // A listener, a bound UDP socket, or any connection from that port: all of them keep it.
        local.ends_with(&wanted).then(|| fields.nth(7).map(str::to_owned)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_port_cannot_be_taken_again_and_the_error_names_it() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let held = hold_port(protocol, Ipv4Addr::LOCALHOST, 0).expect("some port is free");
            let error = hold_port(protocol, Ipv4Addr::UNSPECIFIED, held.port).expect_err("taken").to_string();
            assert!(error.contains(&format!("host port {}/{}", held.port, protocol.name())), "{error}");
            assert!(
                protocol == Protocol::Tcp || error.contains(&format!("pid {}", std::process::id())),
                "{error}"
            );
            drop(held.socket);
            hold_port(protocol, Ipv4Addr::UNSPECIFIED, held.port).expect("free again");
        }
    }

    #[test]
    fn a_listener_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let port = listener.local_addr().expect("bound").port();
        let error = hold_port(Protocol::Tcp, Ipv4Addr::UNSPECIFIED, port).expect_err("taken").to_string();
        assert!(error.contains(&format!("(pid {})", std::process::id())), "{error}");
    }
}
