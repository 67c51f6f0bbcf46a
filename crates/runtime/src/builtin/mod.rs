//! The builtin driver: containers by libcontainer in the keeper process, images by our own client, no other program.

mod create;
mod files;
mod lifeline;
mod link;
mod oci;
mod pull;
mod record;
mod recover;
mod saved;
mod stats;
mod stop;
mod wires;

pub use saved::{SavedContainer, saved_containers};

use self::lifeline::Lifeline;
use self::record::Record;
use self::wires::Wires;
use crate::cgroup::Hierarchies;
use crate::keeper::LogLimits;
use crate::{
    Answer, ContainerEvent, ContainerExit, ContainerSpec, ContainerState, ContainerStats, ContainerStatus,
    CreatedContainer, ErrorKind, PulledImage, RegistryCredentials, Result, Runtime, RuntimeError,
    RuntimeInfo, StartedContainer,
};
use image::{ContentStore, Puller};
use network::Subnet;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{broadcast, watch};

/// What the operator may choose.
#[derive(Clone, Debug)]
pub struct BuiltinConfig {
    /// Containers, images and the keeper's files; a local file system that is no overlay.
    pub data_dir: PathBuf,
    /// The binary whose `main` calls [`enter_if_asked`](crate::enter_if_asked); this process's own if absent.
    pub keeper: Option<PathBuf>,
    /// Addresses of containers; if absent, the first usual range that overlaps no route.
    pub subnet: Option<Subnet>,
    /// Where registries are reached.
    pub hosts: image::Hosts,
    /// A local log file is closed and renamed at this size …
    pub log_file_bytes: u64,
    /// … and so many files are kept of each container.
    pub log_files: u32,
}

impl BuiltinConfig {
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            keeper: None,
            subnet: None,
            hosts: image::Hosts::default(),
            log_file_bytes: 16 << 20,
            log_files: 3,
        }
    }
}

/// Cheap to clone; all clones are one driver.
#[derive(Clone)]
pub struct Builtin {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    log: LogLimits,
    store: ContentStore,
    puller: Puller,
    hierarchies: Hierarchies,
    wires: Wires,
    link: Arc<Lifeline>,
    containers: Arc<Containers>,
}

/// The table of containers, shared with the thread that hears of their ends.
struct Containers {
    table: Mutex<HashMap<String, Entry>>,
    events: broadcast::Sender<ContainerEvent>,
}

struct Entry {
    record: Record,
    phase: Phase,
    ended: watch::Sender<Option<ContainerExit>>,
}

#[derive(Clone, Debug)]
enum Phase {
    /// The keeper has not made it yet.
    Creating,
    Created {
        pid: u32,
    },
    Running(StartedContainer),
    Exited {
        started: Option<StartedContainer>,
        exit: ContainerExit,
    },
}

impl Entry {
    fn new(record: Record, phase: Phase) -> Self {
        let exit = match &phase {
            Phase::Exited { exit, .. } => Some(*exit),
            _ => None,
        };
        Self { record, phase, ended: watch::Sender::new(exit) }
    }

    fn state(&self) -> ContainerState {
        ContainerState {
            runtime_id: self.record.id.clone(),
            spec: self.record.spec.clone(),
            created_at: self.record.created_at,
            status: match &self.phase {
                Phase::Creating | Phase::Created { .. } => ContainerStatus::Created,
                Phase::Running(started) => ContainerStatus::Running(started.clone()),
                Phase::Exited { started, exit } => {
                    ContainerStatus::Exited { started: started.clone(), exit: *exit }
                }
            },
        }
    }
}

impl Containers {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        // Every critical section leaves the table whole, so a panic elsewhere does not spoil it.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, id: &str, act: impl FnOnce(&mut Entry) -> T) -> Result<T> {
        self.lock().get_mut(id).map(act).ok_or_else(|| no_such(id))
    }

    /// Takes note of an end, once, and tells everyone.
    fn ended(&self, id: &str, mut exit: ContainerExit) {
        let told = self.with(id, |entry| {
            let started = match &entry.phase {
                Phase::Exited { .. } => return None,
                Phase::Running(started) => Some(started.clone()),
                Phase::Creating | Phase::Created { .. } => {
                    // What was killed was our own process, before the container's program ran.
                    if exit.exit_code == KILLED {
                        exit.exit_code = 0;
                    }
                    None
                }
            };
            entry.phase = Phase::Exited { started, exit };
            entry.ended.send_replace(Some(exit));
            Some(exit)
        });
        // Nobody has to listen.
        if let Ok(Some(exit)) = told {
            drop(self.events.send(ContainerEvent::Exited { runtime_id: id.to_owned(), exit }));
        }
    }
}

/// 128 + SIGKILL.
const KILLED: i32 = 137;

fn no_such(id: &str) -> RuntimeError {
    RuntimeError::new(ErrorKind::NoSuchContainer, format!("no such container: {id}"))
}

impl Builtin {
    /// Starts or finds the keeper and everything that an earlier driver left in the data directory. Blocks.
    pub fn open(config: BuiltinConfig) -> Result<Self> {
        recover::open(config).map(|inner| Self { inner: Arc::new(inner) })
    }

    /// The machine's images.
    pub fn store(&self) -> &ContentStore {
        &self.inner.store
    }

    /// The directory below which our control groups lie, in every hierarchy.
    pub fn cgroup_parent(&self) -> &str {
        self.inner.hierarchies.parent()
    }

    /// How many ports of this machine are forwarded to containers.
    pub fn published_ports(&self) -> Result<usize> {
        self.inner.wires.published()
    }

    /// Runs blocking work off the async threads.
    fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Answer<'static, T> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            tokio::task::spawn_blocking(move || work(&inner)).await.unwrap_or_else(|e| {
                Err(RuntimeError::new(ErrorKind::DockerState, "the runtime's own work panicked; see the log")
                    .caused_by(e))
            })
        })
    }
}

impl Inner {
    fn container_dir(&self, id: &str) -> PathBuf {
        containers_dir(&self.dir).join(id)
    }
}

fn containers_dir(dir: &Path) -> PathBuf {
    dir.join("containers")
}

impl Runtime for Builtin {
    fn info(&self) -> RuntimeInfo {
        RuntimeInfo { name: "builtin", version: env!("CARGO_PKG_VERSION"), real: true }
    }

    fn pull<'a>(
        &'a self,
        reference: &'a str,
        credentials: Option<RegistryCredentials>,
    ) -> Answer<'a, PulledImage> {
        Box::pin(pull::pull(&self.inner.puller, reference, credentials))
    }

    fn find_image<'a>(&'a self, reference: &'a str) -> Answer<'a, Option<PulledImage>> {
        let reference = reference.to_owned();
        self.blocking(move |inner| {
            pull::find(&inner.store, &reference).map(|i| i.map(|i| pull::describe(&i)))
        })
    }

    fn create(&self, spec: ContainerSpec) -> Answer<'_, CreatedContainer> {
        self.blocking(move |inner| inner.create(spec))
    }

    fn start<'a>(&'a self, runtime_id: &'a str) -> Answer<'a, StartedContainer> {
        let id = runtime_id.to_owned();
        self.blocking(move |inner| inner.start(&id))
    }

    fn stop<'a>(&'a self, runtime_id: &'a str, timeout: Duration) -> Answer<'a, ContainerExit> {
        Box::pin(stop::stop(&self.inner, runtime_id, timeout))
    }

    fn remove<'a>(&'a self, runtime_id: &'a str) -> Answer<'a, ()> {
        let id = runtime_id.to_owned();
        self.blocking(move |inner| inner.remove(&id))
    }

    fn list(&self) -> Answer<'_, Vec<ContainerState>> {
        let states = self.inner.containers.lock().values().map(Entry::state).collect();
        Box::pin(std::future::ready(Ok(states)))
    }

    fn stats<'a>(&'a self, runtime_id: &'a str) -> Answer<'a, ContainerStats> {
        let id = runtime_id.to_owned();
        self.blocking(move |inner| stats::stats(inner, &id))
    }

    fn log_path(&self, runtime_id: &str) -> Option<PathBuf> {
        let known = self.inner.containers.lock().contains_key(runtime_id);
        known.then(|| self.inner.container_dir(runtime_id).join(crate::job::LOG))
    }

    fn events(&self) -> broadcast::Receiver<ContainerEvent> {
        self.inner.containers.events.subscribe()
    }

    fn shutdown(&self, keep_containers: bool) -> Answer<'_, ()> {
        self.blocking(move |inner| inner.shutdown(keep_containers))
    }
}
