//! Container drivers behind one trait.

mod builtin;
mod capability;
mod cgroup;
mod device_filter;
mod error;
mod job;
mod keeper;
pub mod log;
mod simulated;
mod spec;
mod state;
mod wire;

pub use builtin::{Builtin, BuiltinConfig, SavedContainer, saved_containers};
pub use error::{ErrorKind, Result, RuntimeError};
pub use keeper::enter_if_asked;
pub use simulated::Simulated;
pub use spec::{
    ContainerSpec, Device, ImageDefaults, Mount, NetworkBinding, NetworkMode, PortMapping, Protocol,
    PulledImage, RegistryCredentials, STOP_TIMEOUT, Tmpfs, Ulimit,
};
pub use state::{
    ContainerEvent, ContainerExit, ContainerState, ContainerStats, ContainerStatus, CreatedContainer,
    NetworkStats, RuntimeInfo, StartedContainer,
};

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::broadcast;

/// A boxed future, so that drivers can be chosen at run time behind `Arc<dyn Runtime>`.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// One way to run containers. Every call may be made from many places at once; dropping a call's future does not
/// undo what it began. Ids that are not known answer [`ErrorKind::NoSuchContainer`].
pub trait Runtime: Send + Sync + 'static {
    fn info(&self) -> RuntimeInfo;

    /// Brings an image onto this machine. Quick when it is there already and the registry confirms the digest.
    fn pull<'a>(
        &'a self,
        reference: &'a str,
        credentials: Option<RegistryCredentials>,
    ) -> Answer<'a, PulledImage>;

    /// The image under this reference if an earlier pull brought it; asks no registry.
    fn find_image<'a>(&'a self, reference: &'a str) -> Answer<'a, Option<PulledImage>>;

    /// Makes a container ready. It holds its address and host ports from here on, and its process does not run yet.
    fn create(&self, spec: ContainerSpec) -> Answer<'_, CreatedContainer>;

    /// Runs a created container, or one that has exited, again.
    fn start<'a>(&'a self, runtime_id: &'a str) -> Answer<'a, StartedContainer>;

    /// Sends the image's stop signal, waits for `timeout`, sends SIGKILL, and waits for the end. A container that has
    /// ended already answers how; one that never ran ends with code 0 as never started.
    fn stop<'a>(&'a self, runtime_id: &'a str, timeout: Duration) -> Answer<'a, ContainerExit>;

    /// Forgets a container with its files, address and ports; kills it first if it runs.
    fn remove<'a>(&'a self, runtime_id: &'a str) -> Answer<'a, ()>;

    /// Every container that the driver knows, those of an earlier process included.
    fn list(&self) -> Answer<'_, Vec<ContainerState>>;

    fn stats<'a>(&'a self, runtime_id: &'a str) -> Answer<'a, ContainerStats>;

    /// The newest file of the container's local log; older ones have `.1`, `.2` … appended.
    fn log_path(&self, runtime_id: &str) -> Option<PathBuf>;

    /// Ends of containers from now on. A receiver that lagged must call [`Runtime::list`].
    fn events(&self) -> broadcast::Receiver<ContainerEvent>;

    /// Ends the driver. With `keep_containers` they go on running and the next driver on the same data directory
    /// finds them; otherwise they are killed and everything is taken down.
    fn shutdown(&self, keep_containers: bool) -> Answer<'_, ()>;
}

fn now() -> stdx::Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    stdx::Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
