//! AWS Signature Version 4: verification of requests, in header and in query form, and signing for our own clients.
//!
//! Source: AWS General Reference, "Signature Version 4 signing process" and "Create a signed AWS API request".

mod canonical;
mod sign;

pub use sign::{Message, Signer, SigningKey, sign, sign_message};

use crate::fault::Fault;
use crate::form;
use canonical::{Canonical, hex};
use ring::hmac;
use std::fmt;
use std::time::Duration;
use stdx::Timestamp;

/// How far a request's clock may be off.
pub const SKEW: Duration = Duration::from_secs(5 * 60);
/// The longest life of a presigned request.
const PRESIGNED_SECONDS_MAX: u64 = 7 * 24 * 3600;
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The parts of a request that signatures cover.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    pub method: &'a str,
    /// As it was sent, percent-encoded, without the query.
    pub path: &'a str,
    /// As it was sent, without the question mark; empty if there is none.
    pub query: &'a str,
    /// `host` must be among them, for HTTP/2 as well, where it comes as `:authority`.
    pub headers: &'a http::HeaderMap,
}

/// A signature as a request carries it, not yet verified.
#[derive(Clone)]
pub struct Signed {
    pub access_key_id: String,
    /// `yyyymmdd`.
    date: String,
    pub region: String,
    pub service: String,
    /// `yyyymmddThhmmssZ`.
    time: String,
    signed_headers: Vec<String>,
    signature: Vec<u8>,
    pub session_token: Option<String>,
    /// Set in query form: seconds for which the request is good.
    expires_seconds: Option<u64>,
}

impl fmt::Debug for Signed {
    /// Without the token and the signature, which would let a reader of logs act as the caller.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed")
            .field("access_key_id", &self.access_key_id)
            .field("scope", &format_args!("{}/{}/{}", self.date, self.region, self.service))
            .field("time", &self.time)
            .field("signed_headers", &self.signed_headers)
            .finish_non_exhaustive()
    }
}

impl Signed {
    /// Reads the signature of a request; `None` if it has none.
    pub fn parse(parts: &Parts<'_>) -> Result<Option<Self>, Fault> {
        if let Some(header) = parts.headers.get(http::header::AUTHORIZATION) {
            let header = header
                .to_str()
                .map_err(|_| Fault::incomplete_signature("Authorization header is not text."))?;
            return Self::from_header(parts, header).map(Some);
        }
        let parameters = form::parameters(parts.query);
        let has_signature =
            parameters.iter().any(|(name, _)| name == "X-Amz-Signature" || name == "X-Amz-Algorithm");
        if has_signature { Self::from_query(&parameters).map(Some) } else { Ok(None) }
    }

    fn from_header(parts: &Parts<'_>, header: &str) -> Result<Self, Fault> {
        let Some(fields) = header.strip_prefix(ALGORITHM).filter(|rest| rest.starts_with(' ')) else {
            return Err(Fault::incomplete_signature(&format!(
                "Unsupported AWS 'algorithm': {:?}.",
                header.split(' ').next().unwrap_or_default()
            )));
        };
        let field = |name: &str| {
            let found = fields.split(',').find_map(|f| f.trim().strip_prefix(name)?.strip_prefix('='));
            found.ok_or_else(|| {
                Fault::incomplete_signature(&format!("Authorization header requires '{name}' parameter."))
            })
        };
        let credential = field("Credential")?;
        let signed_headers = field("SignedHeaders")?;
        let signature = field("Signature")?;
        let text = |name: &str| parts.headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let time = text("x-amz-date").or_else(|| text("date")).ok_or_else(|| {
            Fault::incomplete_signature(
                "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
            )
        })?;
        Self::new(credential, signed_headers, signature, time, text("x-amz-security-token"))
    }

    fn from_query(parameters: &[(String, String)]) -> Result<Self, Fault> {
        let find = |name: &str| parameters.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        let need = |name: &str| {
            find(name).ok_or_else(|| {
                Fault::incomplete_signature(&format!("AWS query-string parameters must include '{name}'."))
            })
        };
        if need("X-Amz-Algorithm")? != ALGORITHM {
            return Err(Fault::incomplete_signature("Unsupported AWS 'algorithm'."));
        }
        let (credential, headers, signature) =
            (need("X-Amz-Credential")?, need("X-Amz-SignedHeaders")?, need("X-Amz-Signature")?);
        let mut signed =
            Self::new(&credential, &headers, &signature, need("X-Amz-Date")?, find("X-Amz-Security-Token"))?;
        let expires = need("X-Amz-Expires")?.parse().ok().filter(|seconds| *seconds <= PRESIGNED_SECONDS_MAX);
        signed.expires_seconds =
            Some(expires.ok_or_else(|| {
                Fault::incomplete_signature("X-Amz-Expires should be a number up to 604800.")
            })?);
        Ok(signed)
    }

    fn new(
        credential: &str,
        headers: &str,
        signature: &str,
        time: String,
        token: Option<String>,
    ) -> Result<Self, Fault> {
        // An access key id may hold slashes in no known case, but the scope's four parts are counted from the end.
        let mut scope = credential.rsplitn(5, '/');
        let (end, service, region, date, id) =
            (scope.next(), scope.next(), scope.next(), scope.next(), scope.next());
        let (Some("aws4_request"), Some(service), Some(region), Some(date), Some(id)) =
            (end, service, region, date, id)
        else {
            return Err(Fault::incomplete_signature(&format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{credential}'."
            )));
        };
        let signature = canonical::unhex(signature)
            .ok_or_else(|| Fault::invalid_signature("The signature is not a hexadecimal number."))?;
        Ok(Self {
            access_key_id: id.to_owned(),
            date: date.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            time,
            signed_headers: headers.split(';').map(str::to_ascii_lowercase).collect(),
            signature,
            session_token: token,
            expires_seconds: None,
        })
    }

    /// Checks clock, scope and signature. `body` is the body's bytes; `secret` the key's secret.
    pub fn verify(&self, parts: &Parts<'_>, body: &[u8], secret: &str, now: Timestamp) -> Result<(), Fault> {
        self.verify_time(now)?;
        self.verify_covered(parts)?;
        let is_presigned = self.expires_seconds.is_some();
        let payload_hash = payload_hash(parts, body)?;
        let canonical = Canonical {
            parts,
            signed_headers: &self.signed_headers,
            payload_hash: &payload_hash,
            is_presigned,
            service: &self.service,
        };
        let scope = format!("{}/{}/{}/aws4_request", self.date, self.region, self.service);
        let text = canonical::string_to_sign(&self.time, &scope, &canonical.text());
        let key = SigningKey::derive(secret, &self.date, &self.region, &self.service);
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key.bytes()), text.as_bytes(), &self.signature)
            .map_err(|_| Fault::signature_does_not_match())
    }

    /// Checks that the session token is the one that was issued with the key, if one was. Takes the same time wherever
    /// the two differ.
    pub fn verify_token(&self, issued: Option<&str>) -> Result<(), Fault> {
        match (&self.session_token, issued) {
            (None, None) => Ok(()),
            (Some(presented), Some(issued)) if same(presented.as_bytes(), issued.as_bytes()) => Ok(()),
            _ => Err(Fault::unrecognized_client()),
        }
    }

    /// The headers that decide what a request means must be among the signed ones.
    fn verify_covered(&self, parts: &Parts<'_>) -> Result<(), Fault> {
        let is_signed = |name: &str| self.signed_headers.iter().any(|signed| signed == name);
        if !is_signed("host") {
            return Err(Fault::invalid_signature(
                "'Host' must be a 'SignedHeader' in the AWS Authorization.",
            ));
        }
        let decisive = ["x-amz-date", "x-amz-target", "x-amz-security-token"];
        let unsigned =
            decisive.into_iter().find(|name| parts.headers.contains_key(*name) && !is_signed(name));
        match unsigned {
            Some(name) => Err(Fault::invalid_signature(&format!(
                "'{name}' must be a 'SignedHeader' in the AWS Authorization."
            ))),
            None => Ok(()),
        }
    }

    fn verify_time(&self, now: Timestamp) -> Result<(), Fault> {
        let time = canonical::parse_time(&self.time).ok_or_else(|| {
            Fault::incomplete_signature(&format!(
                "Date must be in ISO-8601 'basic format'. Got '{}'.",
                self.time
            ))
        })?;
        if !self.time.starts_with(&self.date) {
            let text = format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != '{}'.",
                self.date,
                &self.time[..8.min(self.time.len())]
            );
            return Err(Fault::invalid_signature(&text));
        }
        let life = self.expires_seconds.map_or(SKEW, Duration::from_secs);
        let shown = &self.time;
        if now > time.after(life) {
            let current = canonical::format_time(now);
            return Err(Fault::invalid_signature(&format!(
                "Signature expired: {shown} is now earlier than {} ({current} - {} min.)",
                canonical::format_time(Timestamp(
                    now.millis() - i64::try_from(life.as_millis()).unwrap_or(0)
                )),
                life.as_secs() / 60
            )));
        }
        if time > now.after(SKEW) {
            let current = canonical::format_time(now);
            return Err(Fault::invalid_signature(&format!(
                "Signature not yet current: {shown} is still later than {} ({current} + 5 min.)",
                canonical::format_time(now.after(SKEW))
            )));
        }
        Ok(())
    }
}

/// Whether two secrets are the same, in a time that does not tell where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"compare");
    hmac::verify(&key, a, hmac::sign(&key, b).as_ref()).is_ok()
}

/// The service in the credential scope of a request, if it carries a readable signature.
pub(crate) fn scope_service(parts: &Parts<'_>) -> Option<String> {
    Some(Signed::parse(parts).ok()??.service)
}

/// The hash that the signature covers. A hash in the header must be the body's.
fn payload_hash(parts: &Parts<'_>, body: &[u8]) -> Result<String, Fault> {
    let declared = parts.headers.get("x-amz-content-sha256").and_then(|v| v.to_str().ok());
    if let Some(unsigned @ "UNSIGNED-PAYLOAD") = declared {
        return Ok(unsigned.to_owned());
    }
    let actual = hex(&crate::sha256(body));
    match declared {
        Some(declared) if declared != actual => Err(Fault::signature_does_not_match()),
        _ => Ok(actual),
    }
}

#[cfg(test)]
mod tests;
