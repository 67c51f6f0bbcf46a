//! HTTP/1.1 connections to registries, kept open between requests.

use crate::Error;
use crate::client::hosts::is_loopback;
use bytes::Bytes;
use http::header::HOST;
use http::request::Parts;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From the request's last byte to the response's head; registries hash and move large uploads in this time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
const IDLE_MAX: usize = 8;
const READ_BUFFER_MAX: usize = 512 << 10;

pub(crate) type Body = BoxBody<Bytes, io::Error>;

pub(crate) fn empty_body() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

pub(crate) fn bytes_body(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

type Origin = (Scheme, Authority);

/// Opens and keeps connections.
#[derive(Default)]
pub(crate) struct Client {
    idle: Mutex<HashMap<Origin, Vec<SendRequest<Body>>>>,
    tls: OnceLock<TlsConnector>,
}

impl Client {
    /// Sends the request that `make` builds to `address`. `make` is called again if a kept connection turns out
    /// to be closed, so it may build a streaming body only with `fresh`.
    pub(crate) async fn send(
        &self,
        origin: &Origin,
        fresh: bool,
        make: impl Fn() -> Request<Body>,
    ) -> Result<Response<Incoming>, Error> {
        if !fresh {
            while let Some(connection) = self.take(origin) {
                // A server may close a kept connection just as the request leaves: that one did not happen.
                match self.exchange(origin, connection, make()).await {
                    Err(Error::Unreachable { .. }) => {}
                    answered => return answered,
                }
            }
        }
        let connection = self.connect(origin).await?;
        self.exchange(origin, connection, make()).await
    }

    async fn exchange(
        &self,
        origin: &Origin,
        mut connection: SendRequest<Body>,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, Error> {
        let failed = |problem: &str, source: hyper::Error| Error::Unreachable {
            host: origin.1.to_string(),
            problem: problem.to_owned(),
            source: Some(Box::new(source)),
        };
        connection.ready().await.map_err(|error| failed("the connection was closed", error))?;
        let answer = timeout(ANSWER_TIMEOUT, connection.send_request(request)).await;
        let response = match answer {
            Ok(answer) => answer.map_err(|error| failed("the connection broke", error))?,
            Err(_) => return Err(unreachable(origin, "it does not answer")),
        };
        self.keep(origin, connection);
        Ok(response)
    }

    /// A kept connection that has read its last response to the end.
    fn take(&self, origin: &Origin) -> Option<SendRequest<Body>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle.get_mut(origin)?;
        kept.retain(|connection| !connection.is_closed());
        let ready = kept.iter().position(SendRequest::is_ready)?;
        Some(kept.swap_remove(ready))
    }

    fn keep(&self, origin: &Origin, connection: SendRequest<Body>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle.entry(origin.clone()).or_default();
        kept.retain(|connection| !connection.is_closed());
        if kept.len() < IDLE_MAX {
            kept.push(connection);
        }
    }

    async fn connect(&self, origin: &Origin) -> Result<SendRequest<Body>, Error> {
        let (scheme, authority) = origin;
        let stream = match timeout(CONNECT_TIMEOUT, open(scheme, authority)).await {
            Ok(stream) => stream.map_err(|source| Error::Unreachable {
                host: authority.to_string(),
                problem: "connecting failed".to_owned(),
                source: Some(Box::new(source)),
            })?,
            Err(_) => return Err(unreachable(origin, "connecting takes too long")),
        };
        if *scheme == Scheme::HTTPS {
            let name = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
            let name = ServerName::try_from(name).map_err(|_| unreachable(origin, "the name is no host"))?;
            let encrypted =
                self.tls(origin)?.connect(name, stream).await.map_err(|source| Error::Unreachable {
                    host: authority.to_string(),
                    problem: "no TLS connection came about".to_owned(),
                    source: Some(Box::new(source)),
                })?;
            return handshake(origin, TokioIo::new(encrypted)).await;
        }
        handshake(origin, TokioIo::new(stream)).await
    }

    /// The TLS settings, with the machine's certificate authorities, read at the first use.
    fn tls(&self, origin: &Origin) -> Result<TlsConnector, Error> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls.clone());
        }
        let mut roots = rustls::RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if added == 0 {
            return Err(unreachable(
                origin,
                "no certificate authorities are installed (package ca-certificates)",
            ));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unreachable(origin, &format!("TLS: {error}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(self.tls.get_or_init(|| TlsConnector::from(Arc::new(config))).clone())
    }
}

fn unreachable(origin: &Origin, problem: &str) -> Error {
    Error::Unreachable { host: origin.1.to_string(), problem: problem.to_owned(), source: None }
}

async fn open(scheme: &Scheme, authority: &Authority) -> io::Result<TcpStream> {
    let default = if *scheme == Scheme::HTTPS { 443 } else { 80 };
    let port = authority.port_u16().unwrap_or(default);
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let stream = match host.parse::<IpAddr>() {
        Ok(address) => TcpStream::connect(SocketAddr::new(address, port)).await?,
        // RFC 6761: these names are loopback, whatever a resolver thinks.
        Err(_) if is_loopback(host) && host != "localhost" => {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?
        }
        Err(_) => TcpStream::connect((host, port)).await?,
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn handshake<T>(origin: &Origin, stream: TokioIo<T>) -> Result<SendRequest<Body>, Error>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) =
        http1::Builder::new().max_buf_size(READ_BUFFER_MAX).handshake(stream).await.map_err(|source| {
            Error::Unreachable {
                host: origin.1.to_string(),
                problem: "the connection broke".to_owned(),
                source: Some(Box::new(source)),
            }
        })?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a registry connection ended");
        }
    });
    Ok(sender)
}

/// The head of a GET for a URL that is asked over its own connection: the path in the line, the host in the header.
pub(crate) fn address(uri: &Uri, host: &Authority) -> Result<Parts, Error> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let bad = || Error::Protocol { host: host.to_string(), problem: format!("'{uri}' is no usable URL") };
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.uri = path.parse().map_err(|_| bad())?;
    parts.headers.insert(HOST, HeaderValue::from_str(host.as_str()).map_err(|_| bad())?);
    Ok(parts)
}
