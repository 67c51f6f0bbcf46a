//! The keeper's loop: one connection to the driver, and whatever its containers do.

use super::complain;
use super::container::Container;
use super::pool::Pool;
use super::worker::Report;
use crate::cgroup::{Group, Hierarchies};
use crate::log::Stream;
use crate::wire::{self, Message, PROTOCOL, Request, SOCKET};
use crate::{ErrorKind, now};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::{AsFd, FromRawFd, OwnedFd};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::time::Timespec;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::time::Duration;

const LISTENER: u64 = 0;
const SIGNALS: u64 = 1;
const DRIVER: u64 = 2;
/// From here on: four for each container.
pub(super) const CONTAINERS: u64 = 4;
pub(super) const WORKER: u64 = 0;
pub(super) const STDOUT: u64 = 1;
pub(super) const STDERR: u64 = 2;
pub(super) const VERDICT: u64 = 3;

/// A keeper that nobody needs ends: no driver connected and no container alive for so many turns. How containers
/// ended lies on disk.
const LONELY_TURNS: u32 = 60;
const TURN: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// How long the pool waits for quiet before it forks: a fork in the middle of a start would slow that start down.
const QUIET: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
const RETRY: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// At the end: how long to wait until the kernel has let go of the last processes.
const LEAVING_TURNS: u32 = 500;
const LEAVING_TURN: Duration = Duration::from_millis(4);

pub(super) struct Keeper {
    pub(super) epoll: OwnedFd,
    listener: OwnedFd,
    signals: OwnedFd,
    driver: Option<OwnedFd>,
    pub(super) pool: Pool,
    pub(super) containers: BTreeMap<u64, Container>,
    pub(super) numbers: HashMap<String, u64>,
    pids: HashMap<i32, u64>,
    /// Ends of processes that no worker has reported yet.
    early: Vec<(i32, i32)>,
    /// How many workers have a job.
    pub(super) making: u32,
    /// Groups whose last process is still ending.
    leaving: Vec<Group>,
    pub(super) next: u64,
    buffer: Vec<u8>,
    pub(super) ending: Option<u64>,
    lonely: u32,
}

pub(super) fn serve(hierarchies: &Hierarchies) -> io::Result<()> {
    let mut keeper = Keeper::open(hierarchies)?;
    announce()?;
    keeper.run()?;
    keeper.finish(hierarchies);
    Ok(())
}

/// Tells the starter that the socket listens, and lets go of its pipe.
fn announce() -> io::Result<()> {
    let mut stdout = io::stdout();
    stdout.write_all(super::READY)?;
    stdout.flush()?;
    let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty())?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(())
}

impl Keeper {
    fn open(hierarchies: &Hierarchies) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        drop(std::fs::remove_file(SOCKET));
        let listener =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        rustix::net::bind(&listener, &SocketAddrUnix::new(SOCKET)?)?;
        rustix::fs::chmod(SOCKET, rustix::fs::Mode::from_raw_mode(0o600))?;
        rustix::net::listen(&listener, 4)?;
        let signals = signal_descriptor()?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        epoll::add(&epoll, &signals, EventData::new_u64(SIGNALS), EventFlags::IN)?;
        Ok(Self {
            epoll,
            listener,
            signals,
            driver: None,
            pool: Pool::new(hierarchies)?,
            containers: BTreeMap::new(),
            numbers: HashMap::new(),
            pids: HashMap::new(),
            early: Vec::new(),
            making: 0,
            leaving: Vec::new(),
            next: 0,
            buffer: vec![0; 64 << 10],
            ending: None,
            lonely: 0,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(64);
        loop {
            events.clear();
            let wait = self.patience();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), wait.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            if events.is_empty() {
                self.idle();
            }
            for event in &events {
                self.handle(event.data.u64())?;
            }
            if self.is_done() {
                return Ok(());
            }
        }
    }

    /// How long nothing may happen before there is something to do.
    fn patience(&self) -> Option<Timespec> {
        match (self.leaving.is_empty(), &self.driver, self.pool.is_full()) {
            (false, ..) => Some(RETRY),
            (true, None, _) => Some(TURN),
            (true, Some(_), false) => Some(QUIET),
            (true, Some(_), true) => None,
        }
    }

    fn handle(&mut self, source: u64) -> io::Result<()> {
        match source {
            LISTENER => self.accept()?,
            SIGNALS => self.signalled()?,
            DRIVER => self.hear(),
            _ => {
                let (number, what) = (source / CONTAINERS, source % CONTAINERS);
                match what {
                    WORKER => self.reported(number),
                    STDOUT => self.output(number, Stream::Stdout),
                    STDERR => self.output(number, Stream::Stderr),
                    _ => self.verdict(number),
                }
            }
        }
        Ok(())
    }

    fn idle(&mut self) {
        if self.making > 0 {
            return;
        }
        let wanted = self.driver.is_some() && !self.pool.is_full() && self.ending.is_none();
        if !wanted {
            self.leaving.retain(|group| !group.remove());
        } else if let Err(error) = self.pool.add_one(&self.leaving) {
            complain(&format!("cannot fork a worker: {error}"));
        }
        let alive = self.containers.values().any(|c| c.is_alive() || c.making.is_some());
        let lonely = self.driver.is_none() && !alive;
        self.lonely = if lonely { self.lonely + 1 } else { 0 };
    }

    fn is_done(&mut self) -> bool {
        let quiet = self.containers.values().all(|c| !c.is_alive() && c.making.is_none());
        (self.ending.is_some() && quiet) || self.lonely > LONELY_TURNS
    }

    /// Leaves nothing behind, and then says so.
    fn finish(&mut self, hierarchies: &Hierarchies) {
        self.leaving.extend(self.pool.close());
        for _ in 0..LEAVING_TURNS {
            self.leaving.retain(|group| !group.remove());
            if self.leaving.is_empty() {
                break;
            }
            std::thread::sleep(LEAVING_TURN);
        }
        hierarchies.remove_empty();
        drop(std::fs::remove_file(SOCKET));
        if let Some(request) = self.ending {
            self.say(&Message::Done { request });
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        let driver = rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        // The newest driver is the one that lives; an older connection closes here.
        self.driver = None;
        rustix::net::sockopt::set_socket_send_buffer_size(&driver, 1 << 20)?;
        epoll::add(&self.epoll, &driver, EventData::new_u64(DRIVER), EventFlags::IN)?;
        self.driver = Some(driver);
        self.say(&Message::Hello { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned() });
        Ok(())
    }

    /// A driver that does not read loses its connection, and learns everything anew when it comes back.
    pub(super) fn say(&mut self, message: &Message) {
        if let Some(driver) = &self.driver
            && let Err(error) = wire::send(driver.as_fd(), message, &[])
        {
            complain(&format!("lost the driver: {error}"));
            self.driver = None;
        }
    }

    fn hear(&mut self) {
        let Some(driver) = &self.driver else { return };
        match wire::receive::<Request>(driver) {
            Ok(Some((request, descriptors))) => self.answer(request, descriptors),
            Ok(None) => self.driver = None,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                complain(&format!("an unreadable message: {error}"));
                self.driver = None;
            }
        }
    }

    /// A worker is done, or dead.
    fn reported(&mut self, number: u64) {
        let Some(container) = self.containers.get_mut(&number) else { return };
        let Some((socket, request)) = container.making.take() else { return };
        self.making -= 1;
        let report = match wire::receive::<Report>(&socket) {
            Ok(Some((report, _))) => report,
            Ok(None) => failed("the worker died; it may have hit the container's memory limit"),
            Err(error) => failed(&format!("the worker's report is unreadable: {error}")),
        };
        match report {
            Report::Made { pid, warnings } => {
                container.pid = pid.cast_signed();
                let group = container.group_name.clone();
                self.pids.insert(pid.cast_signed(), number);
                self.say(&Message::Created { request, pid, group, warnings });
                if let Some(at) = self.early.iter().position(|(early, _)| *early == pid.cast_signed()) {
                    let (_, status) = self.early.swap_remove(at);
                    self.ended(number, status);
                }
            }
            Report::Failed { kind, message } => {
                self.forget(number);
                self.reply(request, Err((kind, message)));
            }
        }
    }

    /// The verdict pipe spoke: the program runs, or could not be executed.
    fn verdict(&mut self, number: u64) {
        let Some(container) = self.containers.get_mut(&number) else { return };
        let Some(verdict) = container.read_verdict() else { return };
        container.verdict = None;
        let Some(request) = container.starting.take() else { return };
        match verdict {
            Ok(()) => {
                let at = now();
                container.started_at = Some(at);
                self.say(&Message::Started { request, at });
            }
            Err(message) => self.reply(request, Err((ErrorKind::CannotStartContainer, message))),
        }
    }

    fn output(&mut self, number: u64, stream: Stream) {
        let Some(container) = self.containers.get_mut(&number) else { return };
        if !container.copy_output(stream, &mut self.buffer) {
            container.output[stream as usize] = None;
        }
    }

    fn signalled(&mut self) -> io::Result<()> {
        let mut information = [0; 128];
        while rustix::io::read(&self.signals, &mut information).is_ok() {
            let signal = i32::from_ne_bytes([information[0], information[1], information[2], information[3]]);
            if signal == libc::SIGTERM {
                self.ending.get_or_insert(0);
                self.kill_all();
            }
        }
        self.reap();
        Ok(())
    }

    fn reap(&mut self) {
        loop {
            let mut status = 0;
            // SAFETY: `status` is valid for the call.
            let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
            if pid <= 0 {
                return;
            }
            if let Some(number) = self.pids.remove(&pid) {
                self.ended(number, status);
            } else if let Some(group) = self.pool.forget(pid) {
                self.leaving.push(group);
            } else if self.containers.values().any(|c| c.making.is_some()) {
                self.early.push((pid, status));
            } else {
                self.early.clear();
            }
        }
    }

    fn ended(&mut self, number: u64, status: i32) {
        // The verdict first: a program that could not be executed must answer the start before its end is told.
        self.verdict(number);
        let Some(container) = self.containers.get_mut(&number) else { return };
        self.pids.remove(&container.pid);
        let exit = container.finish(status, &mut self.buffer);
        container.output = [None, None];
        let id = container.id.clone();
        self.leaving.push(container.group.clone());
        let removing = container.removing.take();
        self.say(&Message::Exited { id, exit });
        if let Some(request) = removing {
            self.forget(number);
            self.reply(request, Ok(()));
        }
    }

    pub(super) fn forget(&mut self, number: u64) {
        if let Some(container) = self.containers.remove(&number) {
            self.numbers.remove(&container.id);
            if container.exit.is_none() {
                // A worker that failed halfway may have left a process.
                container.group.kill();
                self.leaving.push(container.group);
            }
        }
    }

    pub(super) fn kill_all(&mut self) {
        for container in self.containers.values() {
            if let Err(error) = container.signal(libc::SIGKILL) {
                complain(&format!("cannot kill container {}: {error}", container.id));
            }
        }
    }
}

fn failed(message: &str) -> Report {
    Report::Failed { kind: ErrorKind::CannotCreateContainer, message: message.to_owned() }
}

/// SIGCHLD and SIGTERM arrive as readable bytes; keys pressed at the agent's terminal do not arrive at all.
fn signal_descriptor() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset before it is read; a descriptor that signalfd returns is ours.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut set);
        for signal in [libc::SIGCHLD, libc::SIGTERM] {
            libc::sigaddset(&raw mut set, signal);
        }
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        for signal in [libc::SIGINT, libc::SIGHUP] {
            libc::signal(signal, libc::SIG_IGN);
        }
        match libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}
