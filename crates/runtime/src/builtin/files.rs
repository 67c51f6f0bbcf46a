//! The three files that every container gets: hosts, hostname, resolv.conf.

use crate::ContainerSpec;
use network::Resolver;
use std::fmt::Write;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

pub(super) fn write(
    dir: &Path,
    spec: &ContainerSpec,
    (hostname, ip): (&str, Option<Ipv4Addr>),
    resolver: Option<&Resolver>,
) -> io::Result<()> {
    std::fs::write(dir.join("hostname"), format!("{hostname}\n"))?;
    std::fs::write(dir.join("hosts"), hosts(spec, hostname, ip)?)?;
    std::fs::write(dir.join("resolv.conf"), resolv_conf(spec, resolver)?)
}

/// Without an address of its own the container is on the host's network and gets the host's entries too.
fn hosts(spec: &ContainerSpec, hostname: &str, ip: Option<Ipv4Addr>) -> io::Result<String> {
    let mut text = match spec.network {
        crate::NetworkMode::Host => std::fs::read_to_string("/etc/hosts")?,
        _ => "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned(),
    };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    // Writing to a String cannot fail.
    for (name, address) in &spec.extra_hosts {
        writeln!(text, "{address}\t{name}").ok();
    }
    if let Some(ip) = ip {
        writeln!(text, "{ip}\t{hostname}").ok();
    }
    Ok(text)
}

fn resolv_conf(spec: &ContainerSpec, resolver: Option<&Resolver>) -> io::Result<String> {
    let Some(resolver) = resolver else {
        // On the host's own network the host's own file is right, loopback servers included.
        return if spec.dns_servers.is_empty() && spec.network == crate::NetworkMode::Host {
            std::fs::read_to_string("/etc/resolv.conf").or_else(|e| match e.kind() {
                io::ErrorKind::NotFound => Ok(String::new()),
                _ => Err(e),
            })
        } else {
            Ok(compose(spec, &Resolver::default()))
        };
    };
    Ok(compose(spec, resolver))
}

fn compose(spec: &ContainerSpec, resolver: &Resolver) -> String {
    let mut text = String::new();
    let servers = if spec.dns_servers.is_empty() { &resolver.servers } else { &spec.dns_servers };
    for server in servers {
        writeln!(text, "nameserver {server}").ok();
    }
    let search = if spec.dns_search.is_empty() { &resolver.search } else { &spec.dns_search };
    if !search.is_empty() {
        writeln!(text, "search {}", search.join(" ")).ok();
    }
    if !resolver.options.is_empty() {
        writeln!(text, "options {}", resolver.options.join(" ")).ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_servers_replace_the_hosts() {
        let resolver = Resolver {
            servers: vec![[10, 0, 0, 2].into()],
            options: vec!["ndots:1".to_owned()],
            ..Default::default()
        };
        let mut spec = ContainerSpec::default();
        assert_eq!(compose(&spec, &resolver), "nameserver 10.0.0.2\noptions ndots:1\n");
        spec.dns_servers = vec![[9, 9, 9, 9].into()];
        spec.dns_search = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(compose(&spec, &resolver), "nameserver 9.9.9.9\nsearch a b\noptions ndots:1\n");
    }

    #[test]
    fn hosts_name_the_container_and_the_extra_ones() {
        let spec = ContainerSpec {
            extra_hosts: vec![("db".to_owned(), [10, 1, 1, 1].into())],
            ..Default::default()
        };
        let text = hosts(&spec, "me", Some([172, 29, 0, 2].into())).expect("composes");
        assert!(text.ends_with("10.1.1.1\tdb\n172.29.0.2\tme\n"), "{text}");
    }
}
