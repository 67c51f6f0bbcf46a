//! Calls of AWS JSON APIs: signed, over connections that are kept.

use crate::clock::now;
use crate::config::Credentials;
use crate::dial::{Dialer, authority};
use crate::error::CallError;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;
use wire::{Decode, Encode, Service, json};

/// How long one call may take.
const CALL: Duration = Duration::from_secs(60);
const REPLY_BYTES_MAX: usize = 4 << 20;
/// Idle connections kept for each endpoint.
const IDLE_MAX: usize = 8;

type Connection = SendRequest<Full<Bytes>>;

/// A client of one control plane's APIs. Clones share connections.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    region: String,
    credentials: Credentials,
}

#[derive(Default)]
struct Shared {
    dialer: Dialer,
    idle: Mutex<BTreeMap<String, Vec<Connection>>>,
}

/// One operation and where it is to be called.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub endpoint: &'a str,
    pub service: &'static Service,
    pub operation: &'static str,
}

impl Client {
    pub fn new(region: String, credentials: Credentials) -> Self {
        Self { shared: Arc::default(), region, credentials }
    }

    /// The same connections with another identity, or in another Region.
    pub(crate) fn with(&self, region: Option<&str>, credentials: Option<Credentials>) -> Self {
        Self {
            shared: self.shared.clone(),
            region: region.unwrap_or(&self.region).to_owned(),
            credentials: credentials.unwrap_or_else(|| self.credentials.clone()),
        }
    }

    pub(crate) fn dialer(&self) -> &Dialer {
        &self.shared.dialer
    }

    pub(crate) fn signer<'a>(&'a self, service: &'a str) -> wire::sigv4::Signer<'a> {
        wire::sigv4::Signer {
            access_key_id: &self.credentials.access_key_id,
            secret: &self.credentials.secret_access_key,
            session_token: self.credentials.session_token.as_deref(),
            region: &self.region,
            service,
        }
    }

    /// Calls once and reads the reply.
    pub async fn call<O: Decode>(&self, call: Call<'_>, input: &(dyn Encode + Sync)) -> Result<O, CallError> {
        self.call_with_body(call, json::to_vec(input)).await
    }

    /// As [`Client::call`], with a body that holds more than the model knows.
    pub(crate) async fn call_with_body<O: Decode>(
        &self,
        call: Call<'_>,
        body: Vec<u8>,
    ) -> Result<O, CallError> {
        let url: http::Uri = call.endpoint.parse().map_err(|_| CallError::Url(call.endpoint.to_owned()))?;
        let authority = authority(&url)?;
        let request = self.request(call, &url, &authority, body)?;
        let exchange = self.exchange(&url, &authority, request);
        let (status, body) = timeout(CALL, exchange)
            .await
            .map_err(|_| CallError::Timeout { authority: authority.clone() })??;
        if status != 200 {
            return Err(service_error(status, &body));
        }
        json::from_trusted(&body).map_err(|source| CallError::Reply { operation: call.operation, source })
    }

    fn request(
        &self,
        call: Call<'_>,
        url: &http::Uri,
        authority: &str,
        body: Vec<u8>,
    ) -> Result<http::Request<Full<Bytes>>, CallError> {
        let prefix = call.service.target_prefix.unwrap_or_default();
        let mut request = http::Request::builder()
            .method(http::Method::POST)
            .uri(if url.path().is_empty() { "/" } else { url.path() })
            .header(http::header::HOST, authority)
            .header(http::header::CONTENT_TYPE, "application/x-amz-json-1.1")
            .header("x-amz-target", format!("{prefix}.{}", call.operation))
            .header(http::header::USER_AGENT, USER_AGENT)
            .body(body)
            .map_err(|_| CallError::Url(call.endpoint.to_owned()))?;
        wire::sigv4::sign(&self.signer(call.service.signing_name), &mut request, now());
        Ok(request.map(|body| Full::new(Bytes::from(body))))
    }

    async fn exchange(
        &self,
        url: &http::Uri,
        authority: &str,
        request: http::Request<Full<Bytes>>,
    ) -> Result<(u16, Bytes), CallError> {
        let broken = |source| CallError::Broken { authority: authority.to_owned(), source };
        // A kept connection may have been closed by the other side in this very moment: then a new one is tried.
        let mut response = None;
        while let Some(mut connection) = self.idle(authority) {
            if connection.ready().await.is_err() {
                continue;
            }
            match connection.send_request(request.clone()).await {
                Ok(answer) => {
                    response = Some((connection, answer));
                    break;
                }
                Err(error) if error.is_canceled() || error.is_closed() || error.is_incomplete_message() => {}
                Err(error) => return Err(broken(error)),
            }
        }
        let (connection, response) = match response {
            Some(pair) => pair,
            None => {
                let mut connection = self.connect(url, authority).await?;
                let response = connection.send_request(request).await.map_err(broken)?;
                (connection, response)
            }
        };
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), REPLY_BYTES_MAX).collect().await;
        let body = body.map_err(|source| CallError::Service {
            code: "UnreadableReply".to_owned(),
            message: source.to_string(),
            status: 500,
        })?;
        self.keep(authority, connection);
        Ok((status, body.to_bytes()))
    }

    async fn connect(&self, url: &http::Uri, authority: &str) -> Result<Connection, CallError> {
        let stream = self.shared.dialer.connect(url).await?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (connection, driver) =
            handshake.map_err(|source| CallError::Broken { authority: authority.to_owned(), source })?;
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a connection to the control plane ended");
            }
        });
        Ok(connection)
    }

    fn idle(&self, authority: &str) -> Option<Connection> {
        let mut idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = idle.get_mut(authority)?;
        connections.retain(|connection| !connection.is_closed());
        connections.pop()
    }

    fn keep(&self, authority: &str, connection: Connection) {
        let mut idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = idle.entry(authority.to_owned()).or_default();
        if connections.len() < IDLE_MAX && !connection.is_closed() {
            connections.push(connection);
        }
    }
}

/// How the agent names itself in calls.
pub(crate) const USER_AGENT: &str = concat!("wharf-agent/", env!("CARGO_PKG_VERSION"));

/// Reads `{"__type":"Name","message":"…"}`.
fn service_error(status: u16, body: &[u8]) -> CallError {
    let reply: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text =
        |names: &[&str]| names.iter().find_map(|n| reply.get(*n)?.as_str()).unwrap_or_default().to_owned();
    let code = text(&["__type", "code"]);
    let code = code.rsplit('#').next().unwrap_or_default();
    CallError::Service {
        code: if code.is_empty() { format!("HTTP {status}") } else { code.to_owned() },
        message: text(&["message", "Message"]),
        status,
    }
}
