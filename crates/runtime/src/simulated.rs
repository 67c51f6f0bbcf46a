//! The simulated driver: the same trait as a clockwork without containers, for test suites.
//!
//! Every image can be pulled, unless its name says otherwise, and its digest follows from its reference. A container
//! runs until it is stopped. What it runs may say otherwise (the command, after the entry point if there is one):
//!
//! | command | what the container does |
//! |---|---|
//! | `exit N` | ends with code N at once |
//! | `exit N after MS` | ends with code N after MS milliseconds |
//! | `oom` or `oom after MS` | ends with code 137, killed for memory |
//! | `deaf` | ignores the stop signal: ends with 137 when `stop`'s timeout is over |
//! | `cannot-start TEXT…` | cannot be started, with that text |
//! | `log TEXT…` | writes TEXT as one line, then runs until it is stopped |
//!
//! A stopped container ends with code 143 (128 + SIGTERM), at once. An image whose repository's last part is
//! `missing` cannot be pulled (`CannotPullContainerError`), one that is `denied` fails with
//! `CannotPullContainerAuthError`. Dynamic host ports count up through 32768 to 60999 and are bound by nobody.

use crate::log::{Stream, prefix};
use crate::{
    Answer, ContainerEvent, ContainerExit, ContainerSpec, ContainerState, ContainerStats, ContainerStatus,
    CreatedContainer, ErrorKind, ImageDefaults, NetworkBinding, NetworkMode, PortMapping, PulledImage,
    RegistryCredentials, Result, Runtime, RuntimeError, RuntimeInfo, StartedContainer, now,
};
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;

const EVENTS_MAX: usize = 16 << 10;
const PORTS: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// Cheap to clone; all clones are one driver.
#[derive(Clone)]
pub struct Simulated {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    events: broadcast::Sender<ContainerEvent>,
    /// Where `log` writes; without it there are no log files.
    log_dir: Option<PathBuf>,
}

#[derive(Default)]
struct State {
    images: HashMap<String, PulledImage>,
    containers: BTreeMap<String, Container>,
    created: u64,
    next_port: u16,
    next_ip: u32,
}

struct Container {
    state: ContainerState,
    behaviour: Behaviour,
    /// Counts starts, so that a planned end does not hit a later run.
    run: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Behaviour {
    RunsUntilStopped,
    Exits { code: i32, oom: bool, after: Duration },
    Deaf,
    CannotStart(String),
    Logs(String),
}

impl Behaviour {
    fn of(spec: &ContainerSpec) -> Self {
        let words: Vec<String> =
            [spec.entry_point.clone(), spec.command.clone()].into_iter().flatten().flatten().collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let millis = |text: &str| text.parse().map(Duration::from_millis).ok();
        let exits = |code: &str, after: &str, oom| {
            Some(Self::Exits { code: code.parse().ok()?, oom, after: millis(after)? })
        };
        let found = match words.as_slice() {
            ["exit", code] => exits(code, "0", false),
            ["exit", code, "after", after] => exits(code, after, false),
            ["oom"] => exits("137", "0", true),
            ["oom", "after", after] => exits("137", after, true),
            ["deaf"] => Some(Self::Deaf),
            ["cannot-start", text @ ..] => Some(Self::CannotStart(text.join(" "))),
            ["log", text @ ..] => Some(Self::Logs(text.join(" "))),
            _ => None,
        };
        found.unwrap_or(Self::RunsUntilStopped)
    }
}

impl Default for Simulated {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Simulated {
    /// With a directory, containers that `log` get files there, in the format of [`log`](crate::log).
    pub fn new(log_dir: Option<PathBuf>) -> Self {
        let state = State { next_port: *PORTS.start(), next_ip: 2, ..State::default() };
        Self {
            inner: Arc::new(Inner {
                state: Mutex::new(state),
                events: broadcast::Sender::new(EVENTS_MAX),
                log_dir,
            }),
        }
    }
}

fn no_such(id: &str) -> RuntimeError {
    RuntimeError::new(ErrorKind::NoSuchContainer, format!("no such container: {id}"))
}

/// 64 hexadecimal digits that follow from a text.
fn digits(text: &str) -> String {
    let part = |n: u64| {
        let mut hasher = DefaultHasher::new();
        (text, n).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    };
    (0..4).map(part).collect()
}

fn pull(reference: &str) -> Result<PulledImage> {
    let name = reference.split('@').next().unwrap_or(reference);
    let last = name.rsplit('/').next().unwrap_or(name);
    match last.split(':').next() {
        Some("missing") => Err(RuntimeError::new(
            ErrorKind::CannotPullContainer,
            format!("manifest for {reference} not found: manifest unknown"),
        )),
        Some("denied") => Err(RuntimeError::new(
            ErrorKind::CannotPullContainerAuth,
            format!(
                "pull access denied for {reference}, repository does not exist or may require 'docker login'"
            ),
        )),
        _ => {
            let digest = match reference.split_once('@') {
                Some((_, digest)) => digest.to_owned(),
                None => format!("sha256:{}", digits(reference)),
            };
            Ok(PulledImage { digest, defaults: ImageDefaults::default(), size_bytes: 0 })
        }
    }
}

impl State {
    fn find(&mut self, id: &str) -> Result<&mut Container> {
        self.containers.get_mut(id).ok_or_else(|| no_such(id))
    }

    fn in_use(&self, port: u16, protocol: crate::Protocol) -> bool {
        let bindings = |c: &Container| match &c.state.status {
            ContainerStatus::Running(started) => started.network_bindings.clone(),
            ContainerStatus::Created | ContainerStatus::Exited { .. } => Vec::new(),
        };
        self.containers.values().flat_map(bindings).any(|b| b.host_port == port && b.protocol == protocol)
    }

    fn bind(&mut self, ports: &[PortMapping]) -> Result<Vec<NetworkBinding>> {
        let mut bindings = Vec::new();
        for port in ports {
            let host_port = if port.host_port == 0 { self.dynamic_port(port)? } else { port.host_port };
            if port.host_port != 0 && self.in_use(host_port, port.protocol) {
                let text = format!("host port {host_port}/{} is already in use", port.protocol.name());
                return Err(RuntimeError::new(ErrorKind::ContainerNetworking, text));
            }
            bindings.push(NetworkBinding {
                bind_ip: port.host_ip,
                container_port: port.container_port,
                host_port,
                protocol: port.protocol,
            });
        }
        Ok(bindings)
    }

    fn dynamic_port(&mut self, port: &PortMapping) -> Result<u16> {
        for _ in PORTS {
            let candidate = self.next_port;
            self.next_port = if candidate == *PORTS.end() { *PORTS.start() } else { candidate + 1 };
            if !self.in_use(candidate, port.protocol) {
                return Ok(candidate);
            }
        }
        Err(RuntimeError::new(ErrorKind::ContainerNetworking, "no dynamic host port is left"))
    }

    fn address(&mut self) -> Ipv4Addr {
        let ip = Ipv4Addr::from(u32::from(Ipv4Addr::new(172, 29, 0, 0)) + self.next_ip);
        self.next_ip = if self.next_ip >= 65_534 { 2 } else { self.next_ip + 1 };
        ip
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn create(&self, spec: ContainerSpec) -> Result<CreatedContainer> {
        let mut state = self.lock();
        if !state.images.contains_key(&spec.image) {
            return Err(RuntimeError::new(
                ErrorKind::CannotCreateContainer,
                format!("no such image: {}", spec.image),
            ));
        }
        state.created += 1;
        let runtime_id = digits(&format!("container {}", state.created));
        let behaviour = Behaviour::of(&spec);
        let known = ContainerState {
            runtime_id: runtime_id.clone(),
            spec,
            created_at: now(),
            status: ContainerStatus::Created,
        };
        state.containers.insert(runtime_id.clone(), Container { state: known, behaviour, run: 0 });
        Ok(CreatedContainer { runtime_id })
    }

    fn start(self: &Arc<Self>, id: &str) -> Result<StartedContainer> {
        let mut state = self.lock();
        let container = state.find(id)?;
        if let ContainerStatus::Running(_) = container.state.status {
            return Err(RuntimeError::new(
                ErrorKind::CannotStartContainer,
                "the container is running already",
            ));
        }
        let behaviour = container.behaviour.clone();
        if let Behaviour::CannotStart(text) = behaviour {
            return Err(RuntimeError::new(ErrorKind::CannotStartContainer, text));
        }
        let network = container.state.spec.network.clone();
        let (network_bindings, ip) = match &network {
            NetworkMode::Bridge { ports } => (state.bind(ports)?, Some(state.address())),
            NetworkMode::Host | NetworkMode::None => (Vec::new(), None),
        };
        let started = StartedContainer { pid: 0, started_at: now(), network_bindings, ip };
        let container = state.find(id)?;
        container.state.status = ContainerStatus::Running(started.clone());
        container.run += 1;
        let run = container.run;
        drop(state);
        match behaviour {
            Behaviour::Exits { code, oom, after } => self.plan(id.to_owned(), run, (code, oom), after),
            Behaviour::Logs(text) => self.write_log(id, &text)?,
            Behaviour::RunsUntilStopped | Behaviour::Deaf | Behaviour::CannotStart(_) => {}
        }
        Ok(started)
    }

    fn plan(self: &Arc<Self>, id: String, run: u64, (code, oom): (i32, bool), after: Duration) {
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let current = inner.lock().containers.get(&id).map(|c| c.run);
            if current == Some(run) {
                inner.end(&id, code, oom);
            }
        });
    }

    /// Ends a container if it runs; answers how it ended, now or before.
    fn end(&self, id: &str, exit_code: i32, oom_killed: bool) -> Option<ContainerExit> {
        let mut state = self.lock();
        let container = state.containers.get_mut(id)?;
        let exit = ContainerExit { exit_code, oom_killed, finished_at: now() };
        let started = match &container.state.status {
            ContainerStatus::Exited { exit, .. } => return Some(*exit),
            ContainerStatus::Running(started) => Some(started.clone()),
            ContainerStatus::Created => None,
        };
        container.state.status = ContainerStatus::Exited { started, exit };
        drop(state);
        // Nobody has to listen.
        drop(self.events.send(ContainerEvent::Exited { runtime_id: id.to_owned(), exit }));
        Some(exit)
    }

    async fn stop(&self, id: &str, timeout: Duration) -> Result<ContainerExit> {
        let (status, deaf) = {
            let mut state = self.lock();
            let container = state.find(id)?;
            (container.state.status.clone(), container.behaviour == Behaviour::Deaf)
        };
        let code = match status {
            ContainerStatus::Exited { exit, .. } => return Ok(exit),
            ContainerStatus::Created => 0,
            ContainerStatus::Running(_) if deaf => {
                tokio::time::sleep(timeout).await;
                137
            }
            ContainerStatus::Running(_) => 143,
        };
        self.end(id, code, false).ok_or_else(|| no_such(id))
    }

    fn write_log(&self, id: &str, text: &str) -> Result<()> {
        let Some(path) = self.log_path(id) else { return Ok(()) };
        let line = format!("{}{text}\n", prefix(now(), Stream::Stdout, true));
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        let file = made.and_then(|()| std::fs::File::options().create(true).append(true).open(&path));
        file.and_then(|mut file| file.write_all(line.as_bytes())).map_err(|e| {
            let text = format!("cannot write {}: {e}", path.display());
            RuntimeError::new(ErrorKind::CannotStartContainer, text).caused_by(e)
        })
    }

    fn log_path(&self, id: &str) -> Option<PathBuf> {
        self.log_dir.as_ref().map(|dir| dir.join(id))
    }
}

fn ready<'a, T: Send + 'a>(result: Result<T>) -> Answer<'a, T> {
    Box::pin(std::future::ready(result))
}

impl Runtime for Simulated {
    fn info(&self) -> RuntimeInfo {
        RuntimeInfo { name: "simulated", version: env!("CARGO_PKG_VERSION"), real: false }
    }

    fn pull<'a>(&'a self, reference: &'a str, _: Option<RegistryCredentials>) -> Answer<'a, PulledImage> {
        ready(pull(reference).inspect(|image| {
            self.inner.lock().images.insert(reference.to_owned(), image.clone());
        }))
    }

    fn find_image<'a>(&'a self, reference: &'a str) -> Answer<'a, Option<PulledImage>> {
        ready(Ok(self.inner.lock().images.get(reference).cloned()))
    }

    fn create(&self, spec: ContainerSpec) -> Answer<'_, CreatedContainer> {
        ready(self.inner.create(spec))
    }

    fn start<'a>(&'a self, runtime_id: &'a str) -> Answer<'a, StartedContainer> {
        // Inside the future: a planned end needs the caller's tokio.
        Box::pin(async move { self.inner.start(runtime_id) })
    }

    fn stop<'a>(&'a self, runtime_id: &'a str, timeout: Duration) -> Answer<'a, ContainerExit> {
        Box::pin(self.inner.stop(runtime_id, timeout))
    }

    fn remove<'a>(&'a self, runtime_id: &'a str) -> Answer<'a, ()> {
        self.inner.end(runtime_id, 137, false);
        let gone = self.inner.lock().containers.remove(runtime_id);
        if let Some(path) = self.inner.log_path(runtime_id) {
            // Only containers that wrote have one.
            drop(std::fs::remove_file(path));
        }
        ready(gone.map(drop).ok_or_else(|| no_such(runtime_id)))
    }

    fn list(&self) -> Answer<'_, Vec<ContainerState>> {
        ready(Ok(self.inner.lock().containers.values().map(|c| c.state.clone()).collect()))
    }

    fn stats<'a>(&'a self, runtime_id: &'a str) -> Answer<'a, ContainerStats> {
        let mut state = self.inner.lock();
        ready(state.find(runtime_id).map(|container| ContainerStats {
            memory_limit_bytes: container.state.spec.memory_mib << 20,
            ..ContainerStats::default()
        }))
    }

    fn log_path(&self, runtime_id: &str) -> Option<PathBuf> {
        self.inner.log_path(runtime_id)
    }

    fn events(&self) -> broadcast::Receiver<ContainerEvent> {
        self.inner.events.subscribe()
    }

    fn shutdown(&self, keep_containers: bool) -> Answer<'_, ()> {
        // There is nothing that could go on without this process.
        if !keep_containers {
            self.inner.lock().containers.clear();
        }
        ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(command: &str) -> ContainerSpec {
        ContainerSpec {
            image: "repo/app:1".to_owned(),
            command: Some(command.split(' ').map(str::to_owned).collect()),
            ..ContainerSpec::default()
        }
    }

    async fn started(runtime: &Simulated, spec: ContainerSpec) -> Result<(String, StartedContainer)> {
        runtime.pull(&spec.image, None).await?;
        let id = runtime.create(spec).await?.runtime_id;
        let started = runtime.start(&id).await?;
        Ok((id, started))
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn commands_say_how_a_container_ends() {
        let runtime = Simulated::default();
        let mut events = runtime.events();
        for (command, code, oom) in
            [("exit 3", 3, false), ("exit 0 after 5000", 0, false), ("oom after 1", 137, true)]
        {
            let (id, _) = started(&runtime, spec(command)).await.expect("starts");
            let ContainerEvent::Exited { runtime_id, exit } = events.recv().await.expect("ends");
            assert_eq!((runtime_id, exit.exit_code, exit.oom_killed), (id, code, oom), "{command}");
        }
        let error =
            started(&runtime, spec("cannot-start no such file")).await.expect_err("told so").to_string();
        assert_eq!(error, "CannotStartContainerError: no such file");
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn stopping_takes_as_long_as_it_should() {
        let runtime = Simulated::default();
        let (polite, _) = started(&runtime, spec("serve")).await.expect("starts");
        let (deaf, _) = started(&runtime, spec("deaf")).await.expect("starts");
        let begin = tokio::time::Instant::now();
        assert_eq!(runtime.stop(&polite, Duration::from_secs(30)).await.expect("stops").exit_code, 143);
        assert_eq!(begin.elapsed(), Duration::ZERO);
        assert_eq!(runtime.stop(&deaf, Duration::from_secs(30)).await.expect("stops").exit_code, 137);
        assert_eq!(begin.elapsed(), Duration::from_secs(30));
        runtime.remove(&deaf).await.expect("removes");
        assert_eq!(runtime.remove(&deaf).await.expect_err("gone").kind, ErrorKind::NoSuchContainer);
    }

    #[tokio::test]
    async fn ports_are_dealt_out_and_conflicts_name_the_port() {
        let runtime = Simulated::default();
        let port = |host_port| PortMapping {
            container_port: 80,
            host_port,
            protocol: crate::Protocol::Tcp,
            host_ip: Ipv4Addr::UNSPECIFIED,
        };
        let with = |host_port| ContainerSpec {
            network: NetworkMode::Bridge { ports: vec![port(host_port)] },
            ..spec("x")
        };
        let (_, a) = started(&runtime, with(0)).await.expect("starts");
        let (_, b) = started(&runtime, with(0)).await.expect("starts");
        assert_eq!((a.network_bindings[0].host_port, b.network_bindings[0].host_port), (32_768, 32_769));
        started(&runtime, with(8080)).await.expect("starts");
        let error = started(&runtime, with(8080)).await.expect_err("taken").to_string();
        assert_eq!(error, "ContainerNetworkingError: host port 8080/tcp is already in use");
    }

    #[tokio::test]
    async fn digests_follow_from_references() {
        let runtime = Simulated::default();
        let pull = async |reference: &str| runtime.pull(reference, None).await.map(|i| i.digest);
        assert_eq!(pull("a:1").await.expect("pulls"), pull("a:1").await.expect("pulls"));
        assert_ne!(pull("a:1").await.expect("pulls"), pull("a:2").await.expect("pulls"));
        assert_eq!(pull("a@sha256:00").await.expect("pulls"), "sha256:00");
        assert_eq!(pull("x/missing:1").await.expect_err("told so").kind, ErrorKind::CannotPullContainer);
        assert_eq!(pull("x/denied").await.expect_err("told so").kind, ErrorKind::CannotPullContainerAuth);
    }
}
