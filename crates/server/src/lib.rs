//! The control plane as a process: listeners, the front end, the core's driver, agents' connections, the registry and
//! the log service, all on one port.

mod agents;
mod aws;
mod catalog;
mod collector;
mod driver;
mod error;
mod front;
mod identity;
mod layers;
mod listen;
mod log_service;
mod root_key;
mod secret;
mod token;

pub use control::state::{AccountId, Region};
pub use error::{StartError, Unavailable};
pub use registry::BlobStore;
pub use root_key::RootKey;

use agents::Agents;
use control::state::sts::AccessKey;
use control::state::{Scope, State};
use control::{Core, Input, Limits, Settings};
use driver::Driver;
use front::Front;
use identity::{Identity, root};
use listen::Listeners;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use stdx::Chain;
use store::{Committer, Holder, Journal, Lease, Store, StoreError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Bytes of changes that may wait for the disk before steps wait too.
const COMMIT_QUEUE_BYTES: usize = 16 << 20;

/// What the operator chose.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Directory for everything that is kept.
    pub data: PathBuf,
    pub listen: SocketAddr,
    /// The account and Region of requests that name none.
    pub account: AccountId,
    pub region: Region,
    /// Host of repository URIs, with `{account}`, `{region}` and `{port}`.
    pub registry_host: String,
    pub root_key: RootKey,
    /// Take every key; only for loopback addresses.
    pub any_credentials: bool,
}

/// A server that listens.
pub struct Server {
    address: SocketAddr,
    blobs: BlobStore,
    resets: watch::Receiver<u64>,
    end: watch::Sender<bool>,
    serving: JoinHandle<()>,
    timing: JoinHandle<()>,
}

impl Server {
    /// Opens the data directory, rebuilds the state and listens.
    pub async fn start(config: ServerConfig) -> Result<Self, StartError> {
        if config.any_credentials && !config.listen.ip().is_loopback() {
            return Err(StartError::Refused(format!(
                "--any-credentials takes every key, so it works on loopback addresses only, not on {}",
                config.listen
            )));
        }
        private_directory(&config.data)?;
        let (state, committer) = open(&config.data)?;
        let listeners = Listeners::bind(config.listen).await?;
        let address = listeners.address;
        let home = Scope { account: config.account, region: config.region };
        let settings = Settings {
            endpoint: format!("http://{address}"),
            registry_host: config.registry_host.clone(),
            port: address.port(),
            limits: Limits::default(),
        };
        let agents = Arc::new(Agents::default());
        let driver = Driver::new(Core::new(state, settings), committer, agents.clone());
        keep_root_key(&driver, &config).await?;
        let front = front(&config, home, driver.clone(), agents)?;
        front
            .aws
            .create_default_cluster()
            .await
            .map_err(|error| StartError::Refused(Chain(&error).to_string()))?;
        let (blobs, resets) = (front.registry.store().clone(), front.aws.resets.subscribe());
        let (end, ended) = watch::channel(false);
        let serving = tokio::spawn(listeners.serve(front, ended));
        let clock = driver.clone();
        let timing = tokio::spawn(async move {
            if let Err(error) = clock.keep_time().await {
                tracing::error!(error = %Chain(&error), "deadlines are no longer kept");
            }
        });
        Ok(Self { address, blobs, resets, end, serving, timing })
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The registry's blobs, for whoever pulls images on this machine.
    pub fn blobs(&self) -> &BlobStore {
        &self.blobs
    }

    /// Waits for the next `POST /_wharf/reset`: instances that were registered are unknown from then on.
    pub async fn reset(&mut self) {
        if self.resets.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Stops accepting, lets open requests finish and makes everything durable.
    pub async fn stop(self) {
        self.end.send_replace(true);
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the listeners ended badly");
        }
        self.timing.abort();
    }
}

fn front(
    config: &ServerConfig,
    home: Scope,
    driver: Arc<Driver>,
    agents: Arc<Agents>,
) -> Result<Arc<Front>, StartError> {
    let (registry, tokens) = catalog::open(config, home, driver.clone())?;
    let logs = log_service::LogService::open(&config.data.join("logs"), driver.clone())?;
    tokio::spawn(logs.clone().keep_swept());
    tokio::spawn(collector::keep_collected(driver.clone(), registry.store().clone()));
    let layers = layers::Layers { driver: driver.clone(), registry: registry.clone(), tokens };
    let identity = Identity { driver: driver.clone(), any_credentials: config.any_credentials, home };
    let (resets, _) = watch::channel(0);
    let aws = aws::Aws { driver: driver.clone(), identity, layers, logs, resets };
    Ok(Arc::new(Front { driver, agents, aws, registry }))
}

/// Opens the store and reads the state from it.
fn open(data: &Path) -> Result<(State, Committer), StartError> {
    let directory = data.join("state");
    let store_error = |source: StoreError| StartError::Store { directory: directory.clone(), source };
    let opened = Journal::open(&directory, store::Options::default()).map_err(store_error)?;
    for warning in &opened.warnings {
        tracing::warn!("{warning}");
    }
    let mut journal = opened.store;
    let mut records = Vec::new();
    journal.load(&mut |key, value| records.push((key.to_vec(), value.to_vec()))).map_err(store_error)?;
    let state = State::load(records.iter().map(|(k, v)| (k.as_slice(), v.as_slice())))
        .map_err(|source| StartError::Record { directory: directory.clone(), source })?;
    let holder = Holder(format!("process {}", std::process::id()));
    let fence = match journal.acquire(&holder, driver::now()).map_err(store_error)? {
        Lease::Granted(fence) => fence,
        Lease::HeldBy(holder) => return Err(StartError::InUse(holder.0)),
    };
    let committer = Committer::start(Box::new(journal), fence, COMMIT_QUEUE_BYTES).map_err(store_error)?;
    Ok((state, committer))
}

/// Puts the root user's key into the state, unless it is there.
async fn keep_root_key(driver: &Driver, config: &ServerConfig) -> Result<(), StartError> {
    let RootKey { access_key_id, secret_access_key } = config.root_key.clone();
    let user = root(config.account);
    let (is_known, _) = driver.view(|core| {
        let key = core.state().access_keys.get(&access_key_id);
        key.is_some_and(|k| k.secret == secret_access_key && k.principal == user.arn)
    });
    if is_known {
        return Ok(());
    }
    let key = AccessKey {
        id: access_key_id,
        secret: secret_access_key,
        session_token: None,
        account: user.account,
        principal: user.arn,
        user_id: user.user_id,
        expires_at: None,
    };
    driver
        .step(Input::PutAccessKey(key))
        .await
        .map(drop)
        .map_err(|error| StartError::Refused(Chain(&error).to_string()))
}

/// Makes the data directory, which only its owner may enter; one that is there keeps the mode that its owner chose.
fn private_directory(path: &Path) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| StartError::File { path: path.to_owned(), source })
}
