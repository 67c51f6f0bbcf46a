//! Image references as Docker reads them: `[registry/]repository[:tag][@digest]`.

use crate::{Digest, Error};
use std::fmt;
use std::str::FromStr;

/// The registry that a name without one means.
const DEFAULT_REGISTRY: &str = "docker.io";
/// Docker's limit for a repository name, registry included.
const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;

/// A parsed and completed image reference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Parses with Docker's defaults: registry `docker.io`, `library/` before a bare name there,
    /// tag `latest` unless a tag or digest is given.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bad = |problem| Error::InvalidReference { reference: text.to_owned(), problem };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let parsed =
                    digest.parse::<Digest>().map_err(|_| bad("the digest after '@' is not sha256"))?;
                (rest, Some(parsed))
            }
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(bad(
                "the tag may have 128 letters, digits, '_', '.' and '-', not starting with '.' or '-'",
            ));
        }
        let (registry, repository) = split_registry(name);
        if !is_registry(registry) {
            return Err(bad("the registry is no host name"));
        }
        if !is_repository(repository) {
            return Err(bad(
                "the repository name must be lower-case letters and digits, parted by '.', '_', '-' and '/'",
            ));
        }
        let official = registry == DEFAULT_REGISTRY && !repository.contains('/');
        let repository = if official { format!("library/{repository}") } else { repository.to_owned() };
        if registry.len() + 1 + repository.len() > NAME_MAX {
            return Err(bad("the name is longer than 255 characters"));
        }
        let tag = tag.map(str::to_owned).or_else(|| digest.is_none().then(|| "latest".to_owned()));
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }

    /// The registry's host name and port, `docker.io` when none was given.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository's name inside the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// What to ask the registry's manifest endpoint for: the digest if there is one, else the tag.
    pub fn identifier(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// The same repository, named by digest alone.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }
}

/// Docker's rule: what stands before the first `/` is a registry only if it looks like a host.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some(("index.docker.io", rest)) => (DEFAULT_REGISTRY, rest),
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        Some((first, rest)) if first.chars().any(|c| c.is_ascii_uppercase()) => (first, rest),
        _ => (DEFAULT_REGISTRY, name),
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, "")) => return is_v6(v6),
        Some((v6, port)) if is_v6(v6) => ("v6", port.strip_prefix(':')),
        Some(_) => return false,
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let port_valid = port.is_none_or(|p| p.parse::<u16>().is_ok_and(|n| n > 0));
    port_valid && host.split('.').all(label)
}

fn is_v6(text: &str) -> bool {
    text.parse::<std::net::Ipv6Addr>().is_ok()
}

/// True if `text` may be a tag on the wire (distribution spec).
pub fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = text.as_bytes();
    bytes.len() <= TAG_MAX
        && bytes.first().is_some_and(|b| word(*b))
        && bytes.iter().all(|b| word(*b) || matches!(b, b'.' | b'-'))
}

/// True if `text` may be a repository name: components of lower-case alphanumerics with single
/// separators (`.`, `_`, `__` or any number of `-`) between them.
pub fn is_repository(text: &str) -> bool {
    !text.is_empty() && text.split('/').all(is_component)
}

fn is_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends =
        bytes.first().is_some_and(|b| alphanumeric(*b)) && bytes.last().is_some_and(|b| alphanumeric(*b));
    ends && component
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn completes_as_docker_does() {
        for (text, full) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27"),
            ("team/app", "docker.io/team/app:latest"),
            ("docker.io/nginx", "docker.io/library/nginx:latest"),
            ("index.docker.io/team/app", "docker.io/team/app:latest"),
            ("localhost/demo", "localhost/demo:latest"),
            ("localhost:5000/a/b/c:v1", "localhost:5000/a/b/c:v1"),
            ("[::1]:5000/demo", "[::1]:5000/demo:latest"),
            (
                "123456789012.dkr.ecr.us-east-1.amazonaws.com/web:2",
                "123456789012.dkr.ecr.us-east-1.amazonaws.com/web:2",
            ),
            ("t/a__b--c.d/e", "docker.io/t/a__b--c.d/e:latest"),
        ] {
            assert_eq!(Reference::parse(text).unwrap().to_string(), full, "{text}");
        }
        let by_digest = Reference::parse(&format!("app@sha256:{HEX}")).unwrap();
        assert_eq!(by_digest.tag(), None);
        assert_eq!(by_digest.identifier(), format!("sha256:{HEX}"));
        let both = Reference::parse(&format!("h.example:1/app:v1@sha256:{HEX}")).unwrap();
        assert_eq!((both.tag(), both.identifier()), (Some("v1"), format!("sha256:{HEX}")));
        assert_eq!(both.registry(), "h.example:1");
    }

    #[test]
    fn refuses_bad_names() {
        for bad in [
            "",
            "/",
            "a//b",
            "App",
            "a/../b",
            "a:b:c",
            "a:",
            "a:.x",
            "a@sha256:12",
            "a@sha512:12",
            "a b",
            "-a",
            "a-",
            "a___b",
            "a..b",
            "host:99999/a",
            "ho_st.x/a",
            "a__b.c/d",
            "http://localhost/a",
            "localhost:5000/",
        ] {
            assert!(Reference::parse(bad).is_err(), "{bad}");
        }
        assert!(Reference::parse(&format!("a:{}", "t".repeat(129))).is_err());
        assert!(Reference::parse(&"a".repeat(256)).is_err());
    }
}
