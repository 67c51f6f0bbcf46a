//! Servers that misbehave on purpose.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Relays to a registry and cuts the first connections that carry more than a limit.
pub struct Cutting {
    pub address: SocketAddr,
    shared: Arc<Relay>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Relay {
    cuts_left: AtomicUsize,
    relayed: AtomicUsize,
    requests: Mutex<Vec<u8>>,
}

impl Drop for Cutting {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Cutting {
    pub async fn start(target: SocketAddr, limit: usize, cuts: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Relay { cuts_left: AtomicUsize::new(cuts), ..Relay::default() });
        let relay = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, target, limit, Arc::clone(&relay)));
            }
        });
        Self { address, shared, accepting }
    }

    /// All requests, in lower case.
    pub fn requests(&self) -> String {
        String::from_utf8_lossy(&self.shared.requests.lock().unwrap()).to_lowercase()
    }

    /// Bytes that came back.
    pub fn relayed(&self) -> usize {
        self.shared.relayed.load(Ordering::Relaxed)
    }
}

async fn carry(client: TcpStream, target: SocketAddr, limit: usize, relay: Arc<Relay>) {
    let server = TcpStream::connect(target).await.unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = Arc::clone(&relay);
    let upward = tokio::spawn(async move {
        let mut buffer = [0; 8192];
        while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
            requests.requests.lock().unwrap().extend_from_slice(&buffer[..count]);
            if to_server.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    });
    let mut carried = 0;
    let mut buffer = vec![0; 65536];
    while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
        carried += count;
        relay.relayed.fetch_add(count, Ordering::Relaxed);
        if to_client.write_all(&buffer[..count]).await.is_err() {
            break;
        }
        let less_one = |left: usize| left.checked_sub(1);
        if carried > limit
            && relay.cuts_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less_one).is_ok()
        {
            break;
        }
    }
    upward.abort();
}

/// A registry behind a token server, as Docker Hub is one; it holds no images.
pub struct TokenServer {
    pub address: SocketAddr,
    asked: Arc<Mutex<String>>,
    accepting: JoinHandle<()>,
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl TokenServer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<String>> = Arc::default();
        let notes = Arc::clone(&asked);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let notes = Arc::clone(&notes);
                tokio::spawn(async move {
                    let service =
                        hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| {
                            let answer = token_answer(address, &request, &notes);
                            async move { Ok::<_, Infallible>(answer) }
                        });
                    let io = hyper_util::rt::TokioIo::new(stream);
                    drop(hyper::server::conn::http1::Builder::new().serve_connection(io, service).await);
                });
            }
        });
        Self { address, asked, accepting }
    }

    /// Paths and credentials, one request a line.
    pub fn asked(&self) -> String {
        self.asked.lock().unwrap().clone()
    }
}

fn token_answer(
    address: SocketAddr,
    request: &http::Request<hyper::body::Incoming>,
    notes: &Mutex<String>,
) -> http::Response<String> {
    let authorization = request.headers().get("authorization").map_or("", |value| value.to_str().unwrap());
    notes.lock().unwrap().push_str(&format!("{} {authorization}\n", request.uri()));
    let response = http::Response::builder();
    if request.uri().path() == "/token" {
        return response.body(r#"{"token":"granted","expires_in":60}"#.to_owned()).unwrap();
    }
    if authorization != "Bearer granted" {
        let challenge = format!("Bearer realm=\"http://{address}/token\",service=\"test\"");
        return response.status(401).header("www-authenticate", challenge).body(String::new()).unwrap();
    }
    let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
    response.status(404).body(body.to_owned()).unwrap()
}
