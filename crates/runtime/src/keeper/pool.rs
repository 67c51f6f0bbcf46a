//! Workers that wait for jobs, each in its own cgroup.

use super::{seccomp, worker};
use crate::capability::Capabilities;
use crate::cgroup::{Group, Hierarchies};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use seccompiler::sock_filter;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

/// Enough for a burst on two cores; an idle worker costs some 150 KiB.
const READY: usize = 4;

pub(super) struct Worker {
    pub(super) pid: i32,
    pub(super) socket: OwnedFd,
    pub(super) group: String,
}

pub(super) struct Pool {
    hierarchies: Hierarchies,
    filter: Rc<Vec<sock_filter>>,
    ready: VecDeque<Worker>,
    forked: u64,
}

impl Pool {
    pub(super) fn new(hierarchies: &Hierarchies) -> io::Result<Self> {
        let filter = Rc::new(seccomp::compile(Capabilities::standard())?);
        Ok(Self { hierarchies: hierarchies.clone(), filter, ready: VecDeque::new(), forked: 0 })
    }

    /// The oldest ready worker, whose preparations are the likeliest to be done, or a new one.
    pub(super) fn take(&mut self) -> io::Result<Worker> {
        match self.ready.pop_front() {
            Some(worker) => Ok(worker),
            None => self.fork(&[]),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.ready.len() >= READY
    }

    /// Forks a worker, which first removes what other containers left: that may wait some milliseconds for a lock
    /// of the kernel's, and the keeper must not.
    pub(super) fn add_one(&mut self, leaving: &[Group]) -> io::Result<()> {
        let worker = self.fork(leaving)?;
        self.ready.push_back(worker);
        Ok(())
    }

    pub(super) fn group(&self, name: &str) -> Group {
        self.hierarchies.group(name)
    }

    /// Forgets a waiting worker that ended by itself; its group is left to be removed.
    pub(super) fn forget(&mut self, pid: i32) -> Option<Group> {
        let at = self.ready.iter().position(|worker| worker.pid == pid)?;
        self.ready.remove(at).map(|worker| self.group(&worker.group))
    }

    /// Sends all waiting workers home; their groups are left to be removed.
    pub(super) fn close(&mut self) -> Vec<Group> {
        let names: Vec<_> = self.ready.drain(..).map(|worker| worker.group).collect();
        names.iter().map(|name| self.group(name)).collect()
    }

    fn fork(&mut self, leaving: &[Group]) -> io::Result<Worker> {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        self.forked += 1;
        // Unique also across keepers: a group of an earlier one may still be ending.
        let name = format!("{:x}-{:x}", std::process::id(), self.forked);
        let group = self.group(&name);
        // SAFETY: this process has one thread, so the child may go on like an ordinary process.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                drop(ours);
                become_worker(theirs, |socket| {
                    for group in leaving {
                        // The keeper looks again later.
                        group.remove();
                    }
                    worker::work(socket, &self.hierarchies, &group, &self.filter);
                })
            }
            pid => Ok(Worker { pid, socket: ours, group: name }),
        }
    }
}

/// Leaves all that the keeper holds, and works.
fn become_worker(socket: OwnedFd, work: impl FnOnce(&OwnedFd)) -> ! {
    let keep = socket.as_raw_fd().unsigned_abs();
    // SAFETY: closes descriptors that only the parent's values own; this process never uses or drops those values,
    // because it leaves by `_exit`. The signal set is initialised before it is read.
    unsafe {
        if keep > 3 {
            libc::syscall(libc::SYS_close_range, 3, keep - 1, 0);
        }
        libc::syscall(libc::SYS_close_range, keep + 1, u32::MAX, 0);
        let mut none = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&socket)));
    // SAFETY: ends the process without running the parent's exit handlers.
    unsafe { libc::_exit(i32::from(done.is_err())) }
}
