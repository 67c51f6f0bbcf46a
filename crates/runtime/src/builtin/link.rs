//! The driver's connection to its keeper: requests with answers, and news in the order in which they happen.

use crate::keeper::{NAME, READY};
use crate::wire::{self, Kept, Message, PROTOCOL, Request, SOCKET};
use crate::{ContainerExit, ErrorKind, Result, RuntimeError};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::collections::HashMap;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

/// What the keeper tells without being asked.
pub(super) enum News {
    Exited {
        id: String,
        exit: ContainerExit,
    },
    /// The keeper is gone, and every container with it.
    Lost,
}

#[derive(Default)]
struct Waiting {
    answers: HashMap<u64, mpsc::SyncSender<Message>>,
    lost: bool,
}

/// Shared by callers; a thread of its own reads.
pub(super) struct Link {
    socket: OwnedFd,
    waiting: Arc<Mutex<Waiting>>,
    next: AtomicU64,
}

/// Where the keeper lives and how to start it.
#[derive(Clone, Debug)]
pub(super) struct KeeperConfig {
    pub(super) dir: PathBuf,
    pub(super) executable: PathBuf,
    pub(super) cgroup_parent: String,
}

fn state_error(message: impl Into<String>) -> RuntimeError {
    RuntimeError::new(ErrorKind::DockerState, message)
}

impl Link {
    /// Connects to the keeper of the directory, and starts one if there is none.
    pub(super) fn open(config: &KeeperConfig, news: impl Fn(News) + Send + 'static) -> Result<Self> {
        let socket = match connect(&config.dir)? {
            Some(socket) => socket,
            None => {
                start(config)?;
                let refused = || state_error("the keeper process started but does not answer");
                connect(&config.dir)?.ok_or_else(refused)?
            }
        };
        greet(&socket, &config.dir)?;
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let reader = rustix::io::fcntl_dupfd_cloexec(&socket, 0)
            .map_err(|e| state_error("no descriptor is left for the keeper's connection").caused_by(e))?;
        let shared = Arc::clone(&waiting);
        std::thread::Builder::new()
            .name("keeper-link".to_owned())
            .stack_size(256 << 10)
            .spawn(move || read(&reader, &shared, news))
            .map_err(|e| state_error("cannot start a thread for the keeper's connection").caused_by(e))?;
        Ok(Self { socket, waiting, next: AtomicU64::new(1) })
    }

    /// Sends a request and waits for its answer. Blocks.
    pub(super) fn ask(
        &self,
        descriptors: &[BorrowedFd<'_>],
        request: impl FnOnce(u64) -> Request,
    ) -> Result<Message> {
        let answers = self.ask_many(descriptors, request)?;
        let answer = answers.recv().map_err(|_| lost())?;
        self.forget(&answer);
        match answer {
            Message::Failed { kind, message, .. } => Err(RuntimeError::new(kind, message)),
            answer => Ok(answer),
        }
    }

    pub(super) fn list(&self) -> Result<Vec<Kept>> {
        let answers = self.ask_many(&[], |request| Request::List { request })?;
        let mut all = Vec::new();
        loop {
            let answer = answers.recv().map_err(|_| lost())?;
            if let Message::Listed { containers, more, .. } = &answer {
                all.extend_from_slice(containers);
                if *more {
                    continue;
                }
            }
            self.forget(&answer);
            return Ok(all);
        }
    }

    pub(super) fn tell(&self, request: &Request) -> Result<()> {
        wire::send(self.socket.as_fd(), request, &[]).map_err(|e| lost().caused_by(e))
    }

    fn ask_many(
        &self,
        descriptors: &[BorrowedFd<'_>],
        request: impl FnOnce(u64) -> Request,
    ) -> Result<mpsc::Receiver<Message>> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = mpsc::sync_channel(16);
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.lost {
                return Err(lost());
            }
            waiting.answers.insert(number, sender);
        }
        wire::send(self.socket.as_fd(), &request(number), descriptors).map_err(|e| match e.kind() {
            std::io::ErrorKind::InvalidInput => RuntimeError::new(ErrorKind::HostConfig, e.to_string()),
            _ => lost().caused_by(e),
        })?;
        Ok(receiver)
    }

    fn forget(&self, answer: &Message) {
        if let Some(request) = request_of(answer) {
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).answers.remove(&request);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Wakes the reading thread, which holds a descriptor of its own.
        rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both).ok();
    }
}

fn lost() -> RuntimeError {
    state_error(
        "the keeper process of the builtin runtime is gone, and its containers with it; see keeper.log in the data directory",
    )
}

fn request_of(message: &Message) -> Option<u64> {
    match message {
        Message::Created { request, .. }
        | Message::Started { request, .. }
        | Message::Done { request }
        | Message::Failed { request, .. }
        | Message::Listed { request, .. } => Some(*request),
        Message::Hello { .. } | Message::Exited { .. } => None,
    }
}

fn read(socket: &OwnedFd, waiting: &Mutex<Waiting>, news: impl Fn(News)) {
    while let Ok(Some((message, _))) = wire::receive::<Message>(socket) {
        if let Message::Exited { id, exit } = message {
            news(News::Exited { id, exit });
            continue;
        }
        let Some(request) = request_of(&message) else { continue };
        let sender = waiting.lock().unwrap_or_else(PoisonError::into_inner).answers.get(&request).cloned();
        // Whoever asked may have given up; then nobody wants the answer.
        if let Some(sender) = sender {
            drop(sender.send(message));
        }
    }
    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    waiting.lost = true;
    waiting.answers.clear();
    drop(waiting);
    news(News::Lost);
}

fn connect(dir: &Path) -> Result<Option<OwnedFd>> {
    let failed =
        |errno: Errno| state_error(format!("cannot reach the keeper in {}", dir.display())).caused_by(errno);
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(failed)?;
    let dir = rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed)?;
    // A socket's path may have 107 bytes, a data directory's more.
    let address =
        SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd())).map_err(failed)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) => Ok(Some(socket)),
        Err(Errno::NOENT | Errno::CONNREFUSED) => Ok(None),
        Err(errno) => Err(failed(errno)),
    }
}

fn greet(socket: &OwnedFd, dir: &Path) -> Result<()> {
    match wire::receive::<Message>(socket) {
        Ok(Some((Message::Hello { protocol: PROTOCOL, .. }, _))) => Ok(()),
        Ok(Some((Message::Hello { version, .. }, _))) => Err(state_error(format!(
            "containers in {} belong to a keeper of Wharf {version}: stop them with that version first",
            dir.display()
        ))),
        other => Err(state_error(format!("the keeper did not introduce itself: {other:?}"))),
    }
}

/// Starts a keeper that outlives this process, and waits until it listens.
fn start(config: &KeeperConfig) -> Result<()> {
    let failed = |what: &str| {
        let what = format!("{what} for {}", config.dir.display());
        move |error: std::io::Error| state_error(format!("{what}: {error}")).caused_by(error)
    };
    let log_path = config.dir.join("keeper.log");
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(&log_path)
        .map_err(failed("cannot open the keeper's log"))?;
    let mut child = Command::new(&config.executable)
        .arg0(NAME)
        .arg(&config.dir)
        .arg(&config.cgroup_parent)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .map_err(failed("cannot start the keeper process"))?;
    let mut said = Vec::new();
    if let Some(stdout) = &mut child.stdout {
        let mut word = [0; READY.len()];
        if stdout.read_exact(&mut word).is_ok() {
            said.extend(word);
        }
    }
    if said == READY {
        // Collects the keeper when it ends; a thread that only waits costs a few kilobytes.
        let reaper = std::thread::Builder::new().name("keeper-wait".to_owned()).stack_size(64 << 10);
        let waiting = reaper.spawn(move || drop(child.wait()));
        return waiting.map(drop).map_err(failed("cannot start a thread"));
    }
    drop(child.wait());
    let log = std::fs::read_to_string(&log_path).unwrap_or_default();
    let last = log.lines().last().unwrap_or("it said nothing");
    Err(state_error(format!("the keeper process could not start: {last}")))
}
