//! The last steps inside the container: filter, capabilities, signals, and the container's own program.

use super::seccomp;
use crate::capability::Capabilities;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use rustix::mount::{MountFlags, MoveMountFlags};
use seccompiler::sock_filter;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What stands between libcontainer's work and the program.
#[derive(Clone)]
pub(crate) struct Launch {
    pub(crate) capabilities: Capabilities,
    pub(crate) filter: Option<Rc<Vec<sock_filter>>>,
    pub(crate) uid: u32,
    /// Runs the program as a child of a small process 1.
    pub(crate) init: bool,
    /// Closed by a successful exec; otherwise told why there was none.
    pub(crate) verdict: RawFd,
    pub(crate) environment: Rc<RefCell<Vec<(String, String)>>>,
    /// The container's cgroups, to be shown read-only below `/sys/fs/cgroup`.
    pub(crate) views: Rc<Vec<(&'static str, OwnedFd)>>,
}

impl Executor for Launch {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let error = match self.launch(spec) {
            Ok(never) => match never {},
            Err(error) => error,
        };
        // SAFETY: the descriptor was handed to this process for this purpose and nothing else here uses it.
        let mut verdict = unsafe { File::from_raw_fd(self.verdict) };
        // Whoever waits learns of the failure from the exit code if the pipe is gone.
        drop(verdict.write_all(error.to_string().as_bytes()));
        std::process::exit(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 });
    }

    /// Programs are looked for at the start, as Docker does: a missing one is an error of the start.
    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        // Programs that size themselves by their limits look there; the others do without.
        drop(self.show_cgroups());
        Ok(())
    }

    /// Kept for exec; the environment of this process is left alone.
    fn setup_envs(&self, envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        *self.environment.borrow_mut() = envs.into_iter().collect();
        Ok(())
    }
}

enum Never {}

const CGROUPS: &str = "/sys/fs/cgroup";

impl Launch {
    /// Runs as the container's user but with all that setting up needs.
    fn show_cgroups(&self) -> io::Result<()> {
        let by_controller = self.views.iter().any(|(name, _)| !name.is_empty());
        if by_controller {
            let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            rustix::mount::mount("tmpfs", CGROUPS, "tmpfs", flags, Some(c"mode=755,size=4k"))?;
        }
        for (name, tree) in self.views.iter() {
            let target = Path::new(CGROUPS).join(name);
            if by_controller {
                std::fs::create_dir(&target)?;
            }
            let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            rustix::mount::move_mount(tree, "", rustix::fs::CWD, &target, empty)?;
        }
        if by_controller {
            rustix::mount::mount_remount(CGROUPS, MountFlags::BIND | MountFlags::RDONLY, "")?;
        }
        Ok(())
    }

    fn launch(&self, spec: &Spec) -> io::Result<Never> {
        let arguments = spec.process().as_ref().and_then(|p| p.args().clone()).unwrap_or_default();
        let environment = self.environment.borrow();
        let search =
            environment.iter().find(|(name, _)| name == "PATH").map_or("", |(_, value)| value.as_str());
        let arguments_c =
            arguments.iter().map(|a| CString::new(a.as_bytes())).collect::<Result<Vec<_>, _>>()?;
        let environment_c = environment
            .iter()
            .map(|(name, value)| CString::new(format!("{name}={value}")))
            .collect::<Result<Vec<_>, _>>()?;
        self.confine()?;
        reset_signals()?;
        if self.init {
            stay_as_init()?;
        }
        die_with_parent()?;
        let program = arguments.first().map(String::as_str).unwrap_or_default();
        exec(program, search, &arguments_c, &environment_c)
    }

    /// libcontainer left more capabilities than the program may have, because installing a filter without
    /// no_new_privs needs CAP_SYS_ADMIN. They go here, for good.
    fn confine(&self) -> io::Result<()> {
        for capability in self.capabilities.missing() {
            // SAFETY: drops one capability from the bounding set; integers only.
            let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
            if result != 0 && io::Error::last_os_error().raw_os_error() != Some(libc::EINVAL) {
                return Err(io::Error::last_os_error());
            }
        }
        if let Some(filter) = &self.filter {
            seccomp::install(filter)?;
        }
        // As in Docker: a user other than root gets none, and nobody gets inheritable or ambient ones.
        set_capabilities(if self.uid == 0 { self.capabilities } else { Capabilities::default() })
    }
}

fn set_capabilities(capabilities: Capabilities) -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let low = u32::try_from(capabilities.0 & 0xFFFF_FFFF).unwrap_or(u32::MAX);
    let high = u32::try_from(capabilities.0 >> 32).unwrap_or(0);
    // Effective, permitted, inheritable; twice.
    let data = [low, low, 0, high, high, 0];
    // SAFETY: version 3 takes a header of two words and data of six; both arrays live through the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Rust ignores SIGPIPE and the keeper blocks signals; programs expect neither.
fn reset_signals() -> io::Result<()> {
    // SAFETY: plain calls on this single-threaded process; `set` is initialised by sigemptyset before it is read.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut set);
        if libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Containers do not outlive the keeper that holds their logs and reports their end.
fn die_with_parent() -> io::Result<()> {
    // SAFETY: integers only.
    match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn exec(program: &str, search: &str, arguments: &[CString], environment: &[CString]) -> io::Result<Never> {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    let candidates: Vec<PathBuf> = match program.contains('/') {
        true => vec![PathBuf::from(program)],
        false => search.split(':').filter(|d| !d.is_empty()).map(|d| Path::new(d).join(program)).collect(),
    };
    let mut worst = None;
    for candidate in &candidates {
        let path = CString::new(candidate.as_os_str().as_bytes())?;
        // SAFETY: both vectors end with a null pointer and point to strings that live until the call returns.
        unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
        let error = io::Error::last_os_error();
        if !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) {
            worst.get_or_insert(error);
        }
    }
    Err(match worst {
        Some(error) => io::Error::new(error.kind(), format!("exec: \"{program}\": {}", plain(&error))),
        None if program.contains('/') => {
            io::Error::new(io::ErrorKind::NotFound, format!("exec: \"{program}\": no such file or directory"))
        }
        None => io::Error::new(
            io::ErrorKind::NotFound,
            format!("exec: \"{program}\": executable file not found in $PATH"),
        ),
    })
}

/// The text that users of Docker know, without Rust's "(os error 13)".
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// Returns in the child; the parent stays as process 1, forwards signals, reaps orphans, and ends as the child does.
fn stay_as_init() -> io::Result<()> {
    // SAFETY: this process has one thread, so the child may go on as if nothing had happened.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(()),
        child => init(child),
    }
}

fn init(child: libc::pid_t) -> ! {
    // SAFETY: one thread; all pointers are to locals that outlive the calls; descriptors that the child owns are
    // closed in this process only. Not being dumpable keeps /proc/1/exe, which is our own binary, out of reach.
    unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0);
        let mut all = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
        loop {
            let signal = libc::sigwaitinfo(&raw const all, std::ptr::null_mut());
            if signal != libc::SIGCHLD {
                if signal > 0 {
                    libc::kill(child, signal);
                }
                continue;
            }
            let mut status = 0;
            loop {
                let ended = libc::waitpid(-1, &raw mut status, libc::WNOHANG);
                if ended == child {
                    libc::_exit(exit_code(status));
                }
                if ended <= 0 {
                    break;
                }
            }
        }
    }
}

/// As shells and Docker count: 128 and the signal's number.
pub(crate) fn exit_code(status: libc::c_int) -> i32 {
    if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) }
}
