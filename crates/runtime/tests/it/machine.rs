//! A machine for one test: its own network namespace, data directory, registry and driver. Needs root.

use crate::{busybox, registry};
use runtime::log::LogReader;
use runtime::{
    Builtin, BuiltinConfig, ContainerEvent, ContainerExit, ContainerSpec, NetworkMode, Runtime,
    StartedContainer,
};
use rustix::fd::AsFd;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const PATIENCE: Duration = Duration::from_secs(20);

pub const LOG_FILE_BYTES: u64 = 200_000;

pub struct Machine {
    pub dir: Arc<TempDir>,
    pub image: String,
    pub runtime: Builtin,
}

/// Runs a test on a machine of its own, and takes the machine down.
pub fn on_a_machine<F: Future<Output = Machine>>(test: impl FnOnce(Machine) -> F + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let host = network::Network::isolate().expect("makes a network namespace: this test needs root");
            move_into_link_name_space(host.netns.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("enters it");
            let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio");
            let machine = tokio.block_on(Machine::new());
            let _guard = TakeDown(Arc::clone(&machine.dir));
            tokio.block_on(async {
                let machine = test(machine).await;
                machine.runtime.shutdown(false).await.expect("shuts down");
                let left = std::fs::read_dir(machine.dir.path().join("containers")).expect("lists").count();
                assert_eq!(left, 0, "directories of containers stay");
                assert_eq!(cgroups_of(&machine), Vec::<PathBuf>::new(), "cgroups stay");
            });
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Our directories in any hierarchy.
fn cgroups_of(machine: &Machine) -> Vec<PathBuf> {
    let parent = machine.runtime.cgroup_parent();
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").expect("lists").flatten();
    hierarchies.map(|h| h.path().join(parent)).filter(|path| path.exists()).collect()
}

/// A test that fails leaves nothing behind either.
struct TakeDown(Arc<TempDir>);

impl Drop for TakeDown {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let tokio = tokio::runtime::Builder::new_current_thread().build().expect("tokio");
            let shutdown = async { Builtin::open(config(self.0.path()))?.shutdown(false).await };
            // The test's own failure is what must be told.
            drop(tokio.block_on(shutdown));
        }
    }
}

pub fn config(dir: &Path) -> BuiltinConfig {
    let mut config = BuiltinConfig::new(dir);
    config.log_file_bytes = LOG_FILE_BYTES;
    config.log_files = 2;
    config.keeper = Some(env!("CARGO_BIN_EXE_wharf-keeper").into());
    config
}

impl Machine {
    async fn new() -> Self {
        let dir = Arc::new(tempfile::tempdir().expect("temporary directory"));
        let image = registry::serve(busybox::build());
        let runtime = Builtin::open(config(dir.path())).expect("opens the driver: this test needs root");
        runtime.pull(&image, None).await.expect("pulls");
        Self { dir, image, runtime }
    }

    /// What a task definition would say, with a shell script as the command.
    pub fn script(&self, script: &str) -> ContainerSpec {
        ContainerSpec {
            name: "test".to_owned(),
            image: self.image.clone(),
            command: Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()]),
            ..ContainerSpec::default()
        }
    }

    pub async fn start(&self, spec: ContainerSpec) -> (String, StartedContainer) {
        let id = self.runtime.create(spec).await.expect("creates").runtime_id;
        let started = self.runtime.start(&id).await.expect("starts");
        (id, started)
    }

    /// Runs a container to its end; its exit and what it wrote to standard output and error.
    pub async fn run(&self, spec: ContainerSpec) -> (ContainerExit, String) {
        let mut events = self.runtime.events();
        let (id, _) = self.start(spec).await;
        let exit = loop {
            let event =
                tokio::time::timeout(PATIENCE, events.recv()).await.expect("in time").expect("an event");
            let ContainerEvent::Exited { runtime_id, exit } = event;
            if runtime_id == id {
                break exit;
            }
        };
        let text = self.output(&id);
        self.runtime.remove(&id).await.expect("removes");
        (exit, text)
    }

    pub fn output(&self, id: &str) -> String {
        let path = self.runtime.log_path(id).expect("known");
        let mut reader = LogReader::open(&path);
        let mut text = String::new();
        loop {
            let lines = reader.read().expect("reads");
            if lines.is_empty() {
                return text;
            }
            for line in lines {
                text.push_str(&String::from_utf8_lossy(&line.message));
                text.push('\n');
            }
        }
    }

    /// Waits until a container has written something.
    pub async fn wait_for_output(&self, id: &str, wanted: &str) {
        until(&format!("{wanted} in the log"), || self.output(id).contains(wanted)).await;
    }
}

pub fn bridge(ports: Vec<runtime::PortMapping>) -> NetworkMode {
    NetworkMode::Bridge { ports }
}

/// Polls until something holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
