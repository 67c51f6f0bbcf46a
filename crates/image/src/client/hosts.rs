//! Decides for a registry's name which address is asked, and whether with TLS.

use crate::{Digest, Error};
use http::Uri;
use http::uri::{Authority, Scheme};
use std::fs::File;
use std::net::IpAddr;
use std::sync::Arc;

/// Opens blobs of a registry whose store lies on this machine, sparing the way through HTTP.
pub trait BlobSource: Send + Sync {
    /// The blob's bytes, if the store has it.
    fn open(&self, digest: Digest) -> Option<File>;
}

/// Sends the registries that match a pattern to one endpoint.
#[derive(Clone)]
pub struct HostRule {
    /// A host name in which `*` stands for one label or part of one: `*.dkr.ecr.*.amazonaws.com`. It is compared
    /// without the port unless it names one.
    pub pattern: String,
    /// `http://HOST:PORT` or `https://HOST[:PORT]`. The request's `Host` stays the registry's own name.
    pub endpoint: Uri,
    /// The endpoint's blobs, if they lie on this machine.
    pub blobs: Option<Arc<dyn BlobSource>>,
}

impl std::fmt::Debug for HostRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostRule")
            .field("pattern", &self.pattern)
            .field("endpoint", &self.endpoint)
            .field("blobs", &self.blobs.is_some())
            .finish()
    }
}

/// Where registries are reached.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    /// The first rule that matches wins.
    pub rules: Vec<HostRule>,
    /// Registries that are asked by plain http, besides those on loopback names.
    pub insecure: Vec<String>,
}

/// One registry as the client sees it.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) scheme: Scheme,
    /// Where to connect to.
    pub(crate) address: Authority,
    /// What the `Host` header says.
    pub(crate) host: Authority,
    pub(crate) blobs: Option<Arc<dyn BlobSource>>,
}

impl Hosts {
    pub(crate) fn endpoint(&self, registry: &str) -> Result<Endpoint, Error> {
        let bad = |problem: &str| Error::Unreachable {
            host: registry.to_owned(),
            problem: problem.to_owned(),
            source: None,
        };
        // Docker Hub's API has another name than its images.
        let name = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        let host: Authority = name.parse().map_err(|_| bad("the name is no host"))?;
        if let Some(rule) = self.rules.iter().find(|rule| rule.matches(&host)) {
            let scheme = rule.endpoint.scheme().cloned().unwrap_or(Scheme::HTTP);
            let address = rule.endpoint.authority().cloned();
            let address = address.ok_or_else(|| bad("the endpoint configured for it has no host"))?;
            return Ok(Endpoint { scheme, address, host, blobs: rule.blobs.clone() });
        }
        let insecure = self.insecure.iter().any(|known| known == host.as_str() || known == host.host());
        let scheme = if insecure || is_loopback(host.host()) { Scheme::HTTP } else { Scheme::HTTPS };
        Ok(Endpoint { scheme, address: host.clone(), host, blobs: None })
    }
}

impl HostRule {
    fn matches(&self, host: &Authority) -> bool {
        let name = if self.pattern.contains(':') { host.as_str() } else { host.host() };
        matches_pattern(self.pattern.as_bytes(), name.as_bytes())
    }
}

/// `*` stands for any run of characters but dots, so that it cannot swallow a domain.
fn matches_pattern(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) if matches_pattern(rest, name) => true,
        (Some((b'*', _)), Some((c, shorter))) => *c != b'.' && matches_pattern(pattern, shorter),
        (Some((p, rest)), Some((c, shorter))) => p.eq_ignore_ascii_case(c) && matches_pattern(rest, shorter),
        _ => false,
    }
}

/// Docker asks registries on loopback addresses by http without being told.
pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let name = host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost");
    name || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_and_schemes() {
        let rule = |pattern: &str| HostRule {
            pattern: pattern.to_owned(),
            endpoint: Uri::from_static("http://127.0.0.1:4566"),
            blobs: None,
        };
        let hosts = Hosts {
            rules: vec![rule("*.dkr.ecr.*.amazonaws.com"), rule("*.dkr.ecr.*.localhost")],
            insecure: vec!["plain.example".to_owned()],
        };
        for (registry, scheme, address) in [
            ("123456789012.dkr.ecr.us-east-1.amazonaws.com", "http", "127.0.0.1:4566"),
            ("123456789012.dkr.ecr.us-east-1.localhost:4566", "http", "127.0.0.1:4566"),
            ("a.b.dkr.ecr.us-east-1.amazonaws.com", "https", "a.b.dkr.ecr.us-east-1.amazonaws.com"),
            (
                "1.dkr.ecr.us-east-1.amazonaws.com.evil.example",
                "https",
                "1.dkr.ecr.us-east-1.amazonaws.com.evil.example",
            ),
            ("localhost:5000", "http", "localhost:5000"),
            ("127.0.0.9", "http", "127.0.0.9"),
            ("[::1]:5000", "http", "[::1]:5000"),
            ("127.0.0.1.example", "https", "127.0.0.1.example"),
            ("plain.example:81", "http", "plain.example:81"),
            ("docker.io", "https", "registry-1.docker.io"),
        ] {
            let endpoint = hosts.endpoint(registry).unwrap();
            assert_eq!(
                (endpoint.scheme.as_str(), endpoint.address.as_str()),
                (scheme, address),
                "{registry}"
            );
        }
    }
}
