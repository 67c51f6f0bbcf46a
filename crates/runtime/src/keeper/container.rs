//! One container in the keeper: its process, output, verdict and end.

use super::LogFile;
use super::executor::exit_code;
use crate::cgroup::Group;
use crate::job::{EXIT, STATE, STATE_ID};
use crate::log::Stream;
use crate::wire::Kept;
use crate::{ContainerExit, now};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use stdx::Timestamp;

pub(super) struct Container {
    pub(super) id: String,
    pub(super) dir: PathBuf,
    pub(super) group: Group,
    pub(super) group_name: String,
    /// 0 until the worker reported.
    pub(super) pid: i32,
    /// The worker, and who waits for its report.
    pub(super) making: Option<(OwnedFd, u64)>,
    pub(super) output: [Option<OwnedFd>; 2],
    pub(super) verdict: Option<OwnedFd>,
    /// Who waits for the start.
    pub(super) starting: Option<u64>,
    pub(super) removing: Option<u64>,
    pub(super) started_at: Option<Timestamp>,
    pub(super) exit: Option<ContainerExit>,
    /// Keep host ports reserved until the driver took the forwarding back.
    pub(super) ports: Vec<OwnedFd>,
    log: LogFile,
    log_failed: bool,
}

/// One turn's reading, so that a loud container cannot starve others.
const TURN_BYTES: usize = 256 << 10;

impl Container {
    pub(super) fn new(id: String, dir: PathBuf, (group, group_name): (Group, String), log: LogFile) -> Self {
        Self {
            id,
            dir,
            group,
            group_name,
            pid: 0,
            making: None,
            output: [None, None],
            verdict: None,
            starting: None,
            removing: None,
            started_at: None,
            exit: None,
            ports: Vec::new(),
            log,
            log_failed: false,
        }
    }

    pub(super) fn kept(&self) -> Kept {
        Kept {
            id: self.id.clone(),
            pid: self.pid.unsigned_abs(),
            group: self.group_name.clone(),
            started_at: self.started_at,
            exit: self.exit,
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        self.pid > 0 && self.exit.is_none()
    }

    /// Tells the waiting first process to go on.
    pub(super) fn start(&self) -> io::Result<()> {
        let state = self.dir.join(STATE).join(STATE_ID);
        let dir =
            rustix::fs::open(&state, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        // A socket's path may have 107 bytes, a data directory's more.
        let mut stream = UnixStream::connect(format!("/proc/self/fd/{}/notify.sock", dir.as_raw_fd()))?;
        stream.write_all(b"start container")
    }

    pub(super) fn signal(&self, signal: i32) -> io::Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        // SAFETY: integers only; the process is our own child and not reaped yet, so its number is still its own.
        match unsafe { libc::kill(self.pid, signal) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Copies output to the log; false once the stream has ended.
    pub(super) fn copy_output(&mut self, stream: Stream, buffer: &mut [u8]) -> bool {
        let mut copied = 0;
        while copied < TURN_BYTES {
            let Some(pipe) = &self.output[stream as usize] else { return false };
            match rustix::io::read(pipe, &mut *buffer) {
                Ok(0) => return false,
                Ok(length) => {
                    copied += length;
                    let written = self.log.append(stream, &buffer[..length], now());
                    self.note(written);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
        true
    }

    /// Reads the verdict pipe: `Some(Ok)` after the exec, `Some(Err(text))` if it failed.
    pub(super) fn read_verdict(&self) -> Option<Result<(), String>> {
        let mut text = [0; 1024];
        match rustix::io::read(self.verdict.as_ref()?, &mut text) {
            Ok(0) => Some(Ok(())),
            Ok(length) => Some(Err(String::from_utf8_lossy(&text[..length]).into_owned())),
            Err(Errno::AGAIN | Errno::INTR) => None,
            Err(errno) => Some(Err(errno.to_string())),
        }
    }

    /// Keeps how the process ended, also on disk, where a later driver finds it if this keeper is gone.
    pub(super) fn finish(&mut self, status: i32, buffer: &mut [u8]) -> ContainerExit {
        for stream in [Stream::Stdout, Stream::Stderr] {
            // Whatever it wrote is in the pipe already, and every process of its namespace is dead.
            while self.copy_output(stream, buffer) && self.has_more(stream) {}
        }
        let finished = self.log.finish(now());
        self.note(finished);
        let exit = ContainerExit {
            exit_code: exit_code(status),
            oom_killed: self.group.oom_kills() > 0,
            finished_at: now(),
        };
        self.exit = Some(exit);
        if let Err(error) = write_whole(&self.dir.join(EXIT), &serde_json::to_vec(&exit).unwrap_or_default())
        {
            super::complain(&format!("container {}: cannot keep its exit code: {error}", self.id));
        }
        exit
    }

    fn has_more(&self, stream: Stream) -> bool {
        let Some(pipe) = &self.output[stream as usize] else { return false };
        rustix::io::ioctl_fionread(pipe).is_ok_and(|bytes| bytes > 0)
    }

    /// A full disk must not stop the container; it is said once.
    fn note(&mut self, result: io::Result<()>) {
        match result {
            Err(error) if !self.log_failed => {
                self.log_failed = true;
                super::complain(&format!("container {}: cannot write its log: {error}", self.id));
            }
            Err(_) => {}
            Ok(()) => self.log_failed = false,
        }
    }
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, bytes)?;
    std::fs::rename(temporary, path)
}
