//! A registry on a loopback port over a store of its own.

use crate::catalog::MemoryCatalog;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use image::{Credentials, Hosts, Puller, Pusher, Reference};
use registry::{BlobStore, Registry, Settings, StoreSettings};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub struct Server {
    pub address: SocketAddr,
    pub catalog: MemoryCatalog,
    pub store: BlobStore,
    pub dir: PathBuf,
    accepting: JoinHandle<()>,
    _temporary: Option<tempfile::TempDir>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Server {
    pub async fn start(repositories: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Self::on(dir.path(), MemoryCatalog::new(repositories)).await;
        server._temporary = Some(dir);
        server
    }

    /// A registry over a directory that may have been another's.
    pub async fn on(dir: &Path, catalog: MemoryCatalog) -> Self {
        let store = BlobStore::open(dir, StoreSettings::default()).unwrap();
        let registry = Registry::new(store.clone(), catalog.clone(), Settings::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = tokio::spawn(accept(listener, registry));
        Self { address, catalog, store, dir: dir.to_owned(), accepting, _temporary: None }
    }

    pub fn reference(&self, rest: &str) -> Reference {
        Reference::parse(&format!("{}/{rest}", self.address)).unwrap()
    }

    pub fn pusher(&self) -> Pusher {
        Pusher::new(Hosts::default())
    }

    pub fn puller(&self, dir: &Path) -> Puller {
        Puller::new(image::ContentStore::open(dir).unwrap(), Hosts::default())
    }

    /// Every file of the store's directory, for "nothing stays behind".
    pub fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.dir.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { found.push(path) }
            }
        }
        found
    }
}

async fn accept(listener: TcpListener, registry: Registry<MemoryCatalog>) {
    while let Ok((stream, _)) = listener.accept().await {
        let registry = registry.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let registry = registry.clone();
                async move { Ok::<_, Infallible>(registry.handle(request).await) }
            });
            // Broken connections are part of the tests.
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

pub fn credentials() -> Credentials {
    Credentials::Basic { username: "AWS".to_owned(), password: crate::catalog::PASSWORD.to_owned() }
}
