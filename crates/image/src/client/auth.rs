//! One conversation with one repository: authorization as the registry asks for it, redirects, errors.

use crate::client::challenge::Challenge;
use crate::client::connection::{Body, Client, address, bytes_body, empty_body};
use crate::client::hosts::{BlobSource, Endpoint, Hosts};
use crate::{Credentials, Error, Reference};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::header::{AUTHORIZATION, LOCATION, WWW_AUTHENTICATE};
use http::request::Parts;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use std::sync::{Arc, Mutex, PoisonError};

const REDIRECTS_MAX: usize = 5;
const ERROR_BODY_MAX: usize = 64 << 10;
const TOKEN_BODY_MAX: usize = 1 << 20;

/// A repository as one caller sees it.
pub(crate) struct Session {
    client: Arc<Client>,
    endpoint: Endpoint,
    reference: Reference,
    credentials: Credentials,
    /// Scope actions for token servers: `pull` or `pull,push`.
    actions: &'static str,
    authorization: Mutex<Option<HeaderValue>>,
}

/// A response and the URL that gave it.
pub(crate) struct Answer {
    pub(crate) response: Response<Incoming>,
    pub(crate) url: Uri,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl Session {
    pub(crate) fn new(
        client: Arc<Client>,
        hosts: &Hosts,
        reference: &Reference,
        credentials: &Credentials,
        actions: &'static str,
    ) -> Result<Self, Error> {
        // Asking without credentials first would cost a round trip; registries that want a token from elsewhere
        // say so in their challenge.
        let first = match credentials {
            Credentials::Anonymous => None,
            Credentials::Basic { username, password } => Some(basic(username, password)),
            Credentials::Bearer(token) => bearer(token),
        };
        Ok(Self {
            client,
            endpoint: hosts.endpoint(reference.registry())?,
            reference: reference.clone(),
            credentials: credentials.clone(),
            actions,
            authorization: Mutex::new(first),
        })
    }

    pub(crate) fn reference(&self) -> &Reference {
        &self.reference
    }

    pub(crate) fn blobs(&self) -> Option<&Arc<dyn BlobSource>> {
        self.endpoint.blobs.as_ref()
    }

    /// The URL of something in the repository: `manifests/latest`.
    pub(crate) fn url(&self, rest: &str) -> Result<Uri, Error> {
        let text = format!(
            "{}://{}/v2/{}/{rest}",
            self.endpoint.scheme,
            self.endpoint.host,
            self.reference.repository()
        );
        text.parse().map_err(|_| self.protocol(format!("'{text}' is no usable URL")))
    }

    pub(crate) fn protocol(&self, problem: String) -> Error {
        Error::Protocol { host: self.endpoint.host.to_string(), problem }
    }

    /// Asks without a body; follows redirects and answers challenges.
    pub(crate) async fn ask(&self, method: Method, url: Uri, headers: &HeaderMap) -> Result<Answer, Error> {
        self.send(method, url, headers, None).await
    }

    /// Sends bytes; answers challenges.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: Uri,
        headers: &HeaderMap,
        body: Option<Bytes>,
    ) -> Result<Answer, Error> {
        let mut url = url;
        let mut challenged = false;
        for _ in 0..=REDIRECTS_MAX {
            let response = self.once(&method, &url, headers, body.clone()).await?;
            if response.status() == StatusCode::UNAUTHORIZED && !challenged && self.is_own(&url) {
                challenged = true;
                if self.authorize(&response).await? {
                    continue;
                }
            }
            match (response.status().is_redirection(), response.headers().get(LOCATION)) {
                (true, Some(location)) if body.is_none() => url = self.resolve(&url, location)?,
                _ => return Ok(Answer { response, url }),
            }
        }
        Err(self.protocol("it redirects in circles".to_owned()))
    }

    /// Sends a body that can be sent only once. The caller has asked before, so challenges are answered already.
    pub(crate) async fn stream(
        &self,
        method: Method,
        url: Uri,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Answer, Error> {
        let (origin, parts) = self.head(&method, &url, headers)?;
        let once = Mutex::new(Some(body));
        let make = || {
            let body = once.lock().unwrap_or_else(PoisonError::into_inner).take();
            Request::from_parts(parts.clone(), body.unwrap_or_else(empty_body))
        };
        let response = self.client.send(&origin, true, make).await?;
        Ok(Answer { response, url })
    }

    async fn once(
        &self,
        method: &Method,
        url: &Uri,
        headers: &HeaderMap,
        body: Option<Bytes>,
    ) -> Result<Response<Incoming>, Error> {
        let (origin, parts) = self.head(method, url, headers)?;
        let make = || {
            let body = body.clone().map_or_else(empty_body, bytes_body);
            Request::from_parts(parts.clone(), body)
        };
        self.client.send(&origin, false, make).await
    }

    /// Where a request goes, and everything of it but the body. Credentials go to the registry itself only.
    fn head(
        &self,
        method: &Method,
        url: &Uri,
        headers: &HeaderMap,
    ) -> Result<((Scheme, Authority), Parts), Error> {
        let (origin, host) = self.origin(url)?;
        let mut parts = address(url, &host)?;
        parts.method = method.clone();
        parts.headers.extend(headers.clone());
        if self.is_own(url) {
            let authorization = self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone();
            parts.headers.extend(authorization.map(|value| (AUTHORIZATION, value)));
        }
        Ok((origin, parts))
    }

    /// Where a URL is asked, and the host that the request names.
    fn origin(&self, url: &Uri) -> Result<((Scheme, Authority), Authority), Error> {
        let (Some(scheme), Some(authority)) = (url.scheme(), url.authority()) else {
            return Err(self.protocol(format!("'{url}' has no host")));
        };
        if self.is_own(url) {
            return Ok((
                (self.endpoint.scheme.clone(), self.endpoint.address.clone()),
                self.endpoint.host.clone(),
            ));
        }
        Ok(((scheme.clone(), authority.clone()), authority.clone()))
    }

    fn is_own(&self, url: &Uri) -> bool {
        url.authority() == Some(&self.endpoint.host) || url.authority() == Some(&self.endpoint.address)
    }

    /// A `Location` header relative to the URL that answered with it.
    pub(crate) fn resolve(&self, base: &Uri, location: &HeaderValue) -> Result<Uri, Error> {
        let bad = || self.protocol(format!("its Location header {location:?} is no URL"));
        let location: Uri = location.to_str().map_err(|_| bad())?.parse().map_err(|_| bad())?;
        if location.authority().is_some() {
            return Ok(location);
        }
        let mut parts = location.into_parts();
        parts.scheme = base.scheme().cloned();
        parts.authority = base.authority().cloned();
        Uri::from_parts(parts).map_err(|_| bad())
    }

    /// Answers a challenge. False if there is nothing (more) to answer it with.
    async fn authorize(&self, response: &Response<Incoming>) -> Result<bool, Error> {
        let challenges = response.headers().get_all(WWW_AUTHENTICATE);
        let challenge = challenges.iter().filter_map(|value| Challenge::parse(value.to_str().ok()?)).next();
        let Some(Challenge::Bearer { realm, service, scope }) = challenge else {
            // Basic credentials went with the first request already.
            return Ok(false);
        };
        if matches!(self.credentials, Credentials::Bearer(_)) {
            return Ok(false);
        }
        let scope =
            scope.unwrap_or_else(|| format!("repository:{}:{}", self.reference.repository(), self.actions));
        let value = self.token(&realm, service.as_deref(), &scope).await?;
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        Ok(true)
    }

    async fn token(&self, realm: &str, service: Option<&str>, scope: &str) -> Result<HeaderValue, Error> {
        let mut text =
            format!("{realm}{}scope={}", if realm.contains('?') { '&' } else { '?' }, encode(scope));
        if let Some(service) = service {
            text.push_str("&service=");
            text.push_str(&encode(service));
        }
        let bad = |problem: String| Error::Protocol { host: self.endpoint.host.to_string(), problem };
        let url: Uri = text.parse().map_err(|_| bad(format!("its token server '{realm}' is no URL")))?;
        let (Some(scheme), Some(authority)) = (url.scheme().cloned(), url.authority().cloned()) else {
            return Err(bad(format!("its token server '{realm}' is no URL")));
        };
        if scheme == Scheme::HTTP && self.endpoint.scheme == Scheme::HTTPS {
            return Err(bad("it sends credentials to a token server without TLS".to_owned()));
        }
        let mut parts = address(&url, &authority)?;
        if let Credentials::Basic { username, password } = &self.credentials {
            parts.headers.insert(AUTHORIZATION, basic(username, password));
        }
        let make = || Request::from_parts(parts.clone(), empty_body());
        let response = self.client.send(&(scheme, authority.clone()), false, make).await?;
        if !response.status().is_success() {
            return Err(self.refused(Answer { response, url: url.clone() }).await);
        }
        let body = collect(response, TOKEN_BODY_MAX).await.map_err(bad)?;
        let token: Token = serde_json::from_slice(&body).map_err(|error| bad(format!("token: {error}")))?;
        let token = token.token.or(token.access_token).unwrap_or_default();
        bearer(&token).ok_or_else(|| bad("its token server gave no token".to_owned()))
    }

    /// Turns an unsuccessful answer into an error.
    pub(crate) async fn refused(&self, answer: Answer) -> Error {
        let Answer { response, url } = answer;
        let status = response.status();
        let body = collect(response, ERROR_BODY_MAX).await.unwrap_or_default();
        let first = serde_json::from_slice::<Errors>(&body).ok().and_then(|e| e.errors.into_iter().next());
        let (code, message) = match first {
            Some(entry) => (entry.code, entry.message),
            None => {
                let text = String::from_utf8_lossy(&body[..body.len().min(300)]).trim().to_owned();
                let reason = status.canonical_reason().unwrap_or("unknown status").to_owned();
                (String::new(), if text.is_empty() { reason } else { text })
            }
        };
        let reference = self.reference.to_string();
        match (status, code.as_str()) {
            (StatusCode::UNAUTHORIZED, _) => {
                Error::AccessDenied { reference, message: format!("no basic auth credentials: {message}") }
            }
            (StatusCode::FORBIDDEN, _) => {
                Error::AccessDenied { reference, message: format!("denied: {message}") }
            }
            (_, "NAME_UNKNOWN") => Error::RepositoryUnknown { repository: self.name(), message },
            (_, "MANIFEST_UNKNOWN") => Error::ManifestUnknown { reference, message },
            _ => Error::Registry { url: url.to_string(), status: status.as_u16(), code, message },
        }
    }

    fn name(&self) -> String {
        format!("{}/{}", self.reference.registry(), self.reference.repository())
    }
}

/// Reads a whole small body.
pub(crate) async fn collect(response: Response<Incoming>, max: usize) -> Result<Bytes, String> {
    match Limited::new(response.into_body(), max).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) => Err(format!("reading its answer failed: {error}")),
    }
}

fn basic(username: &str, password: &str) -> HeaderValue {
    let value = format!("Basic {}", BASE64.encode(format!("{username}:{password}")));
    // Base64 is always a valid header value.
    let mut value = HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

fn bearer(token: &str) -> Option<HeaderValue> {
    if token.is_empty() {
        return None;
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Percent-encodes what a query value cannot hold.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'/' | b',' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
