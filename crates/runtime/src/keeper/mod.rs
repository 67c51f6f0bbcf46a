//! The keeper: a small single-threaded process that forks containers, holds their output, and outlives the agent.
//!
//! libcontainer forks, so it must not run in a process with threads. The keeper is the same binary under another
//! name, entered before any thread exists. It is the parent of every container's first process: it collects exit
//! codes, writes the local logs, and holds the sockets that reserve published ports. An agent that is killed finds
//! everything as it was when it connects again.

mod container;
mod executor;
mod log;
mod pool;
mod requests;
mod rootfs;
mod seccomp;
mod serve;
mod worker;

pub(crate) use log::{LogFile, LogLimits, numbered};

use crate::cgroup::Hierarchies;
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The name under which the binary is a keeper.
pub(crate) const NAME: &str = "wharf-keeper";
/// Said on standard output once the socket listens.
pub(crate) const READY: &[u8] = b"ready\n";

/// Becomes the keeper, and never returns, if this process was started as one. Call it first in `main`, before any
/// thread exists.
pub fn enter_if_asked() {
    let mut arguments = std::env::args_os();
    if arguments.next().as_deref() != Some(OsStr::new(NAME)) {
        return;
    }
    let (Some(dir), Some(parent)) = (arguments.next(), arguments.next()) else { std::process::exit(2) };
    let code = match run(&PathBuf::from(dir), &parent.to_string_lossy()) {
        Ok(()) => 0,
        Err(error) => {
            complain(&format!("the keeper ends: {error}"));
            1
        }
    };
    std::process::exit(code);
}

/// Standard error is the keeper's own log file; there is nowhere to complain about complaining.
fn complain(text: &str) {
    drop(writeln!(io::stderr(), "{} {text}", crate::now().iso8601()));
}

fn run(dir: &Path, cgroup_parent: &str) -> io::Result<()> {
    std::env::set_current_dir(dir)?;
    let lock = rustix::fs::open(
        "keeper.lock",
        OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o600),
    )?;
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
        .map_err(|e| io::Error::new(e.kind(), format!("another keeper works in {}", dir.display())))?;
    detach()?;
    let hierarchies = Hierarchies::detect(cgroup_parent)?;
    hierarchies.remove_empty();
    hierarchies.prepare()?;
    serve::serve(&hierarchies)
}

/// Cuts what ties this process to the agent that started it, and what containers should not inherit.
fn detach() -> io::Result<()> {
    // Fails only for a process group's leader, which is detached already.
    rustix::process::setsid().ok();
    rustix::process::umask(Mode::from_raw_mode(0o022));
    rustix::thread::set_thread_groups(&[])
        .map_err(|e| io::Error::new(e.kind(), format!("the builtin runtime needs root: {e}")))?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    worker::unshare_mounts()?;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    // Two pipes and the ports of every container are held here; how many containers that allows is the operator's limit.
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised)?;
    // The kernel should kill a container before its keeper; containers get their own value.
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "-900") {
        complain(&format!("cannot lower oom_score_adj: {error}"));
    }
    Ok(())
}
