//! Signing, for the clients that are part of Wharf.

use super::canonical::{Canonical, format_time, hex, string_to_sign};
use super::{ALGORITHM, Parts};
use ring::hmac;
use stdx::Timestamp;

/// A key derived from a secret for one day, Region and service.
pub struct SigningKey([u8; 32]);

impl SigningKey {
    pub fn derive(secret: &str, date: &str, region: &str, service: &str) -> Self {
        let step = |key: &[u8], data: &str| {
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data.as_bytes());
            let mut out = [0; 32];
            out.copy_from_slice(tag.as_ref());
            out
        };
        let date = step(format!("AWS4{secret}").as_bytes(), date);
        let region = step(&date, region);
        let service = step(&region, service);
        Self(step(&service, "aws4_request"))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The identity and scope that a client signs with.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    pub access_key_id: &'a str,
    pub secret: &'a str,
    pub session_token: Option<&'a str>,
    pub region: &'a str,
    pub service: &'a str,
}

/// What is signed of a request beside its headers.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    pub method: &'a str,
    pub uri: &'a http::Uri,
    pub body: &'a [u8],
}

/// Signs a request in place: sets `x-amz-date`, `x-amz-security-token` and `authorization`. `host` must be there;
/// all headers that are there are signed, but for those that proxies change.
pub fn sign(signer: &Signer<'_>, request: &mut http::Request<Vec<u8>>, now: Timestamp) {
    let mut headers = std::mem::take(request.headers_mut());
    let message = Message { method: request.method().as_str(), uri: request.uri(), body: request.body() };
    sign_message(signer, message, &mut headers, now);
    *request.headers_mut() = headers;
}

/// As [`sign`], for a message that is no request of its own: the upgrade to a websocket, a frame of a TCS session.
pub fn sign_message(
    signer: &Signer<'_>,
    message: Message<'_>,
    headers: &mut http::HeaderMap,
    now: Timestamp,
) {
    let time = format_time(now);
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = http::HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set("x-amz-date", &time);
    if let Some(token) = signer.session_token {
        set("x-amz-security-token", token);
    }
    let is_signed =
        |name: &str| !matches!(name, "authorization" | "connection" | "user-agent" | "expect" | "upgrade");
    let mut names: Vec<String> =
        headers.keys().map(|n| n.as_str().to_owned()).filter(|n| is_signed(n)).collect();
    names.sort_unstable();
    let Message { method, uri, body } = message;
    let hash = hex(&crate::sha256(body));
    let parts = Parts { method, path: uri.path(), query: uri.query().unwrap_or_default(), headers };
    let canonical = Canonical {
        parts: &parts,
        signed_headers: &names,
        payload_hash: &hash,
        is_presigned: false,
        service: signer.service,
    };
    let date = &time[..8];
    let scope = format!("{date}/{}/{}/aws4_request", signer.region, signer.service);
    let key = SigningKey::derive(signer.secret, date, signer.region, signer.service);
    let text = string_to_sign(&time, &scope, &canonical.text());
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.bytes()), text.as_bytes());
    let value = format!(
        "{ALGORITHM} Credential={}/{scope}, SignedHeaders={}, Signature={}",
        signer.access_key_id,
        names.join(";"),
        hex(signature.as_ref())
    );
    if let Ok(value) = http::HeaderValue::from_str(&value) {
        headers.insert(http::header::AUTHORIZATION, value);
    }
}
