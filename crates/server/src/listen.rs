//! Listeners: accepts connections on one port of 127.0.0.1 and ::1 (or of the address chosen) and serves HTTP on each.

use crate::error::StartError;
use crate::front::Front;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A client must finish its headers in this time.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long open connections may go on after the end was asked for.
const DRAIN: Duration = Duration::from_secs(5);

/// The listeners of a server.
pub(crate) struct Listeners {
    listeners: Vec<TcpListener>,
    /// The address that clients are told.
    pub(crate) address: SocketAddr,
}

impl Listeners {
    /// Binds the address; for IPv4 loopback also IPv6 loopback on the same port, since `localhost` may resolve to either.
    pub(crate) async fn bind(address: SocketAddr) -> Result<Self, StartError> {
        let listen_error = |source| StartError::Listen { address: address.to_string(), source };
        let first = TcpListener::bind(address).await.map_err(listen_error)?;
        let address = first.local_addr().map_err(listen_error)?;
        let mut listeners = vec![first];
        if address.ip() == IpAddr::from([127, 0, 0, 1]) {
            match TcpListener::bind((Ipv6Addr::LOCALHOST, address.port())).await {
                Ok(second) => listeners.push(second),
                // No IPv6 here, or another program has the port there: IPv4 serves everybody who asks for it.
                Err(error) => tracing::debug!(%error, "not listening on [::1]:{}", address.port()),
            }
        }
        Ok(Self { listeners, address })
    }

    /// Serves until `end` turns true, then lets open requests finish.
    pub(crate) async fn serve(self, front: Arc<Front>, end: watch::Receiver<bool>) {
        let mut accepting = tokio::task::JoinSet::new();
        for listener in self.listeners {
            accepting.spawn(accept(listener, front.clone(), end.clone()));
        }
        while accepting.join_next().await.is_some() {}
    }
}

async fn accept(listener: TcpListener, front: Arc<Front>, mut end: watch::Receiver<bool>) {
    let for_connections = end.clone();
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(connection(stream, peer, front.clone(), for_connections.clone()));
                }
                Err(error) => {
                    // Out of descriptors, most likely: give connections time to end.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            () = ended(&mut end) => break,
        }
    }
    drop(listener);
    let drained =
        tokio::time::timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        connections.abort_all();
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, front: Arc<Front>, mut end: watch::Receiver<bool>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot turn off Nagle's algorithm");
    }
    let service = service_fn(|request| {
        let front = front.clone();
        async move { Ok::<_, std::convert::Infallible>(front.answer(request, peer).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut serving = std::pin::pin!(serving);
    let result = tokio::select! {
        result = serving.as_mut() => result,
        () = ended(&mut end) => {
            serving.as_mut().graceful_shutdown();
            serving.as_mut().await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, %peer, "a connection broke");
    }
}

/// Returns when the end was asked for, or the server is gone.
async fn ended(end: &mut watch::Receiver<bool>) {
    // The guard that comes back must not live across an await.
    drop(end.wait_for(|ended| *ended).await.map(|ended| *ended));
}
