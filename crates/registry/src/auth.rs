//! Reads who asks from the request's headers: credentials, and the registry that the host name means.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, Uri};

/// The user name that goes with every ECR password.
const USER: &str = "AWS";

/// What the `Authorization` header holds.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    Basic { username: String, password: String },
    Bearer(String),
}

impl Credentials {
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let header = headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, value) = header.split_once(' ')?;
        let value = value.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(Self::Bearer(value.to_owned()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let (username, password) = decode(value)?;
        Some(Self::Basic { username, password })
    }

    /// The password half of an authorization token. A Bearer token may be the whole authorization token, which is
    /// the Base64 of `AWS:password`, or the password alone. None for users other than `AWS`.
    pub fn token(&self) -> Option<String> {
        match self {
            Self::Basic { username, password } => (username == USER).then(|| password.clone()),
            Self::Bearer(token) => match decode(token) {
                Some((username, password)) if username == USER => Some(password),
                _ => Some(token.clone()),
            },
        }
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic(***)",
            Self::Bearer(_) => "Bearer(***)",
        })
    }
}

fn decode(text: &str) -> Option<(String, String)> {
    let decoded = String::from_utf8(BASE64.decode(text).ok()?).ok()?;
    let (username, password) = decoded.split_once(':')?;
    Some((username.to_owned(), password.to_owned()))
}

/// The host name by which the registry was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// As the client sent it, with the port.
    pub name: String,
    /// Account and Region, where the name has ECR's form.
    pub registry: Option<HostRegistry>,
}

/// The registry that an ECR host name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRegistry {
    pub account: String,
    pub region: String,
}

impl Host {
    pub(crate) fn from_request(uri: &Uri, headers: &HeaderMap) -> Option<Self> {
        let header = headers.get(HOST).and_then(|value| value.to_str().ok());
        let name = header.or_else(|| uri.authority().map(|authority| authority.as_str()))?;
        Some(Self::parse(name))
    }

    /// Recognises `ACCOUNT.dkr.ecr[-fips].REGION.DOMAIN` and `ACCOUNT.dkr-ecr[-fips].REGION.DOMAIN`.
    pub fn parse(name: &str) -> Self {
        Self { name: name.to_owned(), registry: HostRegistry::parse(name) }
    }
}

impl HostRegistry {
    fn parse(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let host = name.rsplit_once(':').map_or(name.as_str(), |(host, _)| host);
        let (account, rest) = host.split_once('.')?;
        if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let rest = rest.strip_prefix("dkr.ecr").or_else(|| rest.strip_prefix("dkr-ecr"))?;
        let rest = rest.strip_prefix("-fips").unwrap_or(rest).strip_prefix('.')?;
        let (region, domain) = rest.split_once('.')?;
        let label = !region.is_empty()
            && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        (label && !domain.is_empty()).then(|| Self { account: account.to_owned(), region: region.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(header: &str) -> Option<Credentials> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(header).unwrap());
        Credentials::from_headers(&headers)
    }

    #[test]
    fn the_token_comes_in_three_forms() {
        let whole = BASE64.encode("AWS:secret:with:colons");
        for header in
            [format!("Basic {whole}"), format!("bearer {whole}"), "Bearer secret:with:colons".to_owned()]
        {
            assert_eq!(read(&header).unwrap().token().as_deref(), Some("secret:with:colons"), "{header}");
        }
        let other = format!("Basic {}", BASE64.encode("root:secret"));
        assert_eq!(read(&other).unwrap().token(), None);
        for bad in ["Basic !!!", "Basic QVdT", "Digest x", "Basic"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn hosts_of_ecr_name_account_and_region() {
        for (name, expected) in [
            ("123456789012.dkr.ecr.us-east-1.amazonaws.com", Some(("123456789012", "us-east-1"))),
            (
                "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com:443",
                Some(("123456789012", "us-gov-west-1")),
            ),
            ("123456789012.dkr-ecr.eu-west-1.on.aws", Some(("123456789012", "eu-west-1"))),
            ("123456789012.dkr.ecr.us-east-1.localhost:4566", Some(("123456789012", "us-east-1"))),
            ("localhost:4566", None),
            ("127.0.0.1", None),
            ("[::1]:4566", None),
            ("12345678901.dkr.ecr.us-east-1.amazonaws.com", None),
            ("123456789012.dkr.ecr.us-east-1", None),
            ("123456789012.dkr.ecr..com", None),
            ("123456789012.ecr.us-east-1.amazonaws.com", None),
        ] {
            let found = Host::parse(name).registry;
            let found = found.as_ref().map(|r| (r.account.as_str(), r.region.as_str()));
            assert_eq!(found, expected, "{name}");
        }
    }
}
