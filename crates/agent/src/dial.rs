//! Connections to the control plane, plain or over TLS, for calls and websockets alike.

use crate::error::CallError;
use http::uri::Scheme;
use rustls::pki_types::ServerName;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// The limit of a connection's set-up. Source: ecs-agent-protocol, "dial and handshake limit".
const DIAL: Duration = Duration::from_secs(30);

pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Opens connections; trusts what the machine trusts.
#[derive(Default)]
pub(crate) struct Dialer {
    tls: OnceLock<TlsConnector>,
}

impl Dialer {
    pub(crate) async fn connect(&self, url: &http::Uri) -> Result<Box<dyn Io>, CallError> {
        let authority = authority(url)?;
        match timeout(DIAL, self.open(url, &authority)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(source)) => Err(CallError::Connect { authority, source }),
            Err(_) => Err(CallError::Timeout { authority }),
        }
    }

    async fn open(&self, url: &http::Uri, authority: &str) -> io::Result<Box<dyn Io>> {
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
        let is_tls = url.scheme() == Some(&Scheme::HTTPS);
        let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        if !is_tls {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            io::Error::other(format!("{authority} is not a name that a certificate can hold"))
        })?;
        Ok(Box::new(self.connector()?.connect(name, stream).await?))
    }

    fn connector(&self) -> io::Result<&TlsConnector> {
        if let Some(connector) = self.tls.get() {
            return Ok(connector);
        }
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(self.tls.get_or_init(|| TlsConnector::from(Arc::new(config))))
    }
}

/// Host and port, as the `Host` header has them.
pub(crate) fn authority(url: &http::Uri) -> Result<String, CallError> {
    let is_known = url.scheme() == Some(&Scheme::HTTP) || url.scheme() == Some(&Scheme::HTTPS);
    let authority = url.authority().filter(|_| is_known).map(|a| a.as_str().to_owned());
    authority.ok_or_else(|| CallError::Url(url.to_string()))
}
