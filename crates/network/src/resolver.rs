//! Which name servers containers get: the host's own, as long as a container can reach them.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// What goes into a container's `/etc/resolv.conf`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    pub servers: Vec<IpAddr>,
    pub search: Vec<String>,
    pub options: Vec<String>,
    /// The host's only server is on a loopback address: containers ask their gateway, which forwards to this one.
    pub local: Option<Ipv4Addr>,
}

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// systemd-resolved keeps the servers that it asks itself here; its stub on 127.0.0.53 answers loopback only.
const RESOLVED_UPSTREAM: &str = "/run/systemd/resolve/resolv.conf";

impl Resolver {
    /// Reads the host's configuration.
    pub fn of_host() -> Self {
        Self::from_files(Path::new(RESOLV_CONF), Path::new(RESOLVED_UPSTREAM))
    }

    fn from_files(configuration: &Path, upstream: &Path) -> Self {
        let read = |path: &Path| Self::parse(&std::fs::read_to_string(path).unwrap_or_default());
        let mut found = read(configuration);
        let reachable = |r: &Self| r.servers.iter().any(|s| !s.is_loopback());
        if !reachable(&found) {
            let upstream = read(upstream);
            if reachable(&upstream) {
                found.servers = upstream.servers;
            }
        }
        if !reachable(&found) {
            found.local = found.servers.iter().find_map(|s| match s {
                IpAddr::V4(v4) => Some(*v4),
                IpAddr::V6(_) => None,
            });
        }
        found.servers.retain(|s| !s.is_loopback());
        found
    }

    fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    found.servers.extend(words.next().and_then(|w| w.parse::<IpAddr>().ok()))
                }
                Some("search" | "domain") => found.search = words.map(str::to_owned).collect(),
                Some("options") => found.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(configuration: &str, upstream: &str) -> Resolver {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&a, configuration).expect("writes");
        std::fs::write(&b, upstream).expect("writes");
        Resolver::from_files(&a, &b)
    }

    #[test]
    fn ordinary_servers_are_passed_on() {
        let found = with(
            "# x\nnameserver 10.0.0.2\nnameserver 127.0.0.1\nsearch a.example b.example\noptions ndots:2\n",
            "",
        );
        assert_eq!(found.servers, [IpAddr::from([10, 0, 0, 2])]);
        assert_eq!(
            (found.search.len(), found.options.as_slice(), found.local),
            (2, &["ndots:2".to_owned()][..], None)
        );
    }

    #[test]
    fn the_stub_of_systemd_resolved_is_replaced_by_its_servers() {
        let found = with("nameserver 127.0.0.53\n", "nameserver 192.0.2.1\n");
        assert_eq!((found.servers.as_slice(), found.local), (&[IpAddr::from([192, 0, 2, 1])][..], None));
    }

    #[test]
    fn a_lonely_loopback_server_is_reached_through_the_gateway() {
        let found = with("nameserver 127.0.0.1\n", "");
        assert_eq!((found.servers.len(), found.local), (0, Some(Ipv4Addr::LOCALHOST)));
    }
}
