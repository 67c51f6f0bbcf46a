//! A process forked ahead of need: it waits in a cgroup of its own for one job, makes that container, and ends.

use super::executor::Launch;
use super::rootfs::{Root, mount_overlay};
use super::seccomp;
use crate::capability::Capabilities;
use crate::cgroup::{Group, Hierarchies};
use crate::job::{JOB, Job, STATE, STATE_ID};
use crate::{ErrorKind, wire};
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::OciSpecError;
use libcontainer::oci_spec::runtime::{
    LinuxNamespaceType, PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Spec,
};
use libcontainer::syscall::syscall::SyscallType;
use rustix::fd::{AsRawFd, IntoRawFd, OwnedFd};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::thread::UnshareFlags;
use seccompiler::sock_filter;
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The job; beside it stdout, stderr, the verdict pipe, and the network namespace if there is one.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) dir: PathBuf,
    pub(crate) netns: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    Made { pid: u32, warnings: Vec<String> },
    Failed { kind: ErrorKind, message: String },
}

type Failure = (ErrorKind, String);

/// The life of a worker, from its fork to its end.
pub(crate) fn work(
    socket: &OwnedFd,
    hierarchies: &Hierarchies,
    group: &Group,
    filter: &Rc<Vec<sock_filter>>,
) {
    let ready = prepare(hierarchies, group);
    let Ok(Some((order, descriptors))) = wire::receive::<Order>(socket) else { return };
    let report = ready
        .map_err(|e| (ErrorKind::CannotCreateContainer, e.to_string()))
        .and_then(|ready| make(&order, descriptors, &ready, filter));
    let report = match report {
        Ok((pid, warnings)) => Report::Made { pid, warnings },
        Err((kind, message)) => Report::Failed { kind, message },
    };
    // A keeper that is gone has no use for the report.
    drop(wire::send(socket.as_fd(), &report, &[]));
}

/// What stands ready when the job comes.
struct Ready {
    group: Group,
    /// The group as the container will see it.
    views: Rc<Vec<(&'static str, OwnedFd)>>,
}

/// All that can be done before the job is known. Attaching the first process to a new group waits for the kernel up
/// to some 15 ms, which is why it is done ahead.
fn prepare(hierarchies: &Hierarchies, group: &Group) -> io::Result<Ready> {
    group.create_and_join()?;
    let (group, views) = (group.pinned()?, group.views()?);
    unshare_mounts()?;
    // libcontainer would make and enter groups in every controller that it finds mounted. It finds none, and the
    // container inherits this process's own.
    for point in hierarchies.mount_points() {
        rustix::mount::unmount(point, UnmountFlags::DETACH)?;
    }
    rustix::mount::mount("none", "/sys/fs/cgroup", "tmpfs", MountFlags::empty(), None)?;
    Ok(Ready { group, views: Rc::new(views) })
}

/// A mount namespace of our own that still sees what the host mounts later.
pub(crate) fn unshare_mounts() -> io::Result<()> {
    // SAFETY: this process has one thread, and only its mount namespace changes.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS)? };
    rustix::mount::mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    Ok(())
}

fn make(
    order: &Order,
    descriptors: Vec<OwnedFd>,
    ready: &Ready,
    filter: &Rc<Vec<sock_filter>>,
) -> Result<(u32, Vec<String>), Failure> {
    let create = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| (ErrorKind::CannotCreateContainer, format!("{what}: {error}"))
    };
    let mut descriptors = descriptors.into_iter();
    let (Some(stdout), Some(stderr), Some(verdict)) =
        (descriptors.next(), descriptors.next(), descriptors.next())
    else {
        return Err((ErrorKind::DockerState, "the keeper sent too few descriptors".to_owned()));
    };
    let netns = if order.netns { descriptors.next() } else { None };
    let job = std::fs::read(order.dir.join(JOB)).map_err(create("cannot read the job"))?;
    let mut job: Job =
        serde_json::from_slice(&job).map_err(|e| create("cannot read the job")(io::Error::other(e)))?;
    ready.group.limit(&job.limits).map_err(create("cannot limit the container"))?;
    ready.group.allow_devices(job.devices.as_deref()).map_err(create("cannot allow devices"))?;
    let rootfs = mount_overlay(&order.dir, &job.lowerdirs).map_err(create("no root file system"))?;
    let root = Root::open(&rootfs).map_err(create("no root file system"))?;
    let warnings = complete(&mut job, &root, netns.as_ref())?;
    let launch = Launch {
        capabilities: job.capabilities,
        filter: choose_filter(&job, filter).map_err(create("no system-call filter"))?,
        uid: job.spec.process().as_ref().map_or(0, |p| p.user().uid()),
        init: job.init,
        verdict: verdict.into_raw_fd(),
        environment: Rc::default(),
        views: Rc::clone(&ready.views),
    };
    let pid = build(&order.dir, &job.spec, launch, [stdout, stderr])?;
    Ok((pid, warnings))
}

fn choose_filter(job: &Job, standard: &Rc<Vec<sock_filter>>) -> io::Result<Option<Rc<Vec<sock_filter>>>> {
    Ok(match (job.seccomp, job.capabilities == Capabilities::standard()) {
        (false, _) => None,
        (true, true) => Some(Rc::clone(standard)),
        (true, false) => Some(Rc::new(seccomp::compile(job.capabilities)?)),
    })
}

/// Fills in what could not be known before the root file system was there.
fn complete(job: &mut Job, root: &Root, netns: Option<&OwnedFd>) -> Result<Vec<String>, Failure> {
    let create = |message: String| (ErrorKind::CannotCreateContainer, message);
    let user = root.user(&job.user).map_err(create)?;
    let mut warnings = Vec::new();
    if let Some(process) = job.spec.process_mut() {
        root.make_dirs(process.cwd()).map_err(|e| create(e.to_string()))?;
        if let Some(rlimits) = process.rlimits().clone() {
            process.set_rlimits(Some(clamp(rlimits, &mut warnings).map_err(|e| create(e.to_string()))?));
        }
        let mut oci = process.user().clone();
        oci.set_uid(user.uid);
        oci.set_gid(user.gid);
        oci.set_additional_gids(Some(user.groups));
        process.set_user(oci);
    }
    if let (Some(netns), Some(linux)) = (netns, job.spec.linux_mut()) {
        for namespace in linux.namespaces_mut().iter_mut().flatten() {
            if namespace.typ() == LinuxNamespaceType::Network {
                namespace.set_path(Some(format!("/proc/self/fd/{}", netns.as_raw_fd()).into()));
            }
        }
    }
    Ok(warnings)
}

/// Without CAP_SYS_RESOURCE nobody may raise a hard limit: the container gets what there is, and the agent says so.
fn clamp(rlimits: Vec<PosixRlimit>, warnings: &mut Vec<String>) -> Result<Vec<PosixRlimit>, OciSpecError> {
    let may_raise = rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(rustix::thread::CapabilitySet::SYS_RESOURCE));
    if may_raise {
        return Ok(rlimits);
    }
    let clamped = rlimits.into_iter().map(|rlimit| match hard_limit(rlimit.typ()) {
        Some(hard) if rlimit.hard() > hard => {
            warnings.push(format!(
                "ulimit {:?}: {} is above this process's hard limit and CAP_SYS_RESOURCE is missing; the container gets {hard}",
                rlimit.typ(),
                rlimit.hard()
            ));
            let soft = rlimit.soft().min(hard);
            PosixRlimitBuilder::default().typ(rlimit.typ()).hard(hard).soft(soft).build()
        }
        _ => Ok(rlimit),
    });
    clamped.collect()
}

/// This process's own hard limit; `None` where there is none.
fn hard_limit(kind: PosixRlimitType) -> Option<u64> {
    use rustix::process::Resource;
    let resource = match kind {
        PosixRlimitType::RlimitCpu => Resource::Cpu,
        PosixRlimitType::RlimitFsize => Resource::Fsize,
        PosixRlimitType::RlimitData => Resource::Data,
        PosixRlimitType::RlimitStack => Resource::Stack,
        PosixRlimitType::RlimitCore => Resource::Core,
        PosixRlimitType::RlimitRss => Resource::Rss,
        PosixRlimitType::RlimitNproc => Resource::Nproc,
        PosixRlimitType::RlimitNofile => Resource::Nofile,
        PosixRlimitType::RlimitMemlock => Resource::Memlock,
        PosixRlimitType::RlimitAs => Resource::As,
        PosixRlimitType::RlimitLocks => Resource::Locks,
        PosixRlimitType::RlimitSigpending => Resource::Sigpending,
        PosixRlimitType::RlimitMsgqueue => Resource::Msgqueue,
        PosixRlimitType::RlimitNice => Resource::Nice,
        PosixRlimitType::RlimitRtprio => Resource::Rtprio,
        PosixRlimitType::RlimitRttime => Resource::Rttime,
    };
    rustix::process::getrlimit(resource).maximum
}

/// Hands over to libcontainer; the container's first process then waits for the start.
fn build(dir: &Path, spec: &Spec, launch: Launch, [stdout, stderr]: [OwnedFd; 2]) -> Result<u32, Failure> {
    let create = |error: &dyn Error| (ErrorKind::CannotCreateContainer, chain(error));
    spec.save(dir.join("config.json")).map_err(|e| create(&e))?;
    let null = std::fs::File::open("/dev/null").map_err(|e| create(&e))?;
    let container = ContainerBuilder::new(STATE_ID.to_owned(), SyscallType::default())
        .with_root_path(dir.join(STATE))
        .map_err(|e| create(&e))?
        .with_executor(launch)
        .with_stdin(null)
        .with_stdout(stdout)
        .with_stderr(stderr)
        .as_init(dir)
        .with_systemd(false)
        .with_detach(true)
        .as_sibling(true)
        .build()
        .map_err(|e| create(&e))?;
    let pid = container.pid().map(|pid| pid.as_raw()).and_then(|pid| u32::try_from(pid).ok());
    pid.ok_or_else(|| (ErrorKind::CannotCreateContainer, "libcontainer made no process".to_owned()))
}

/// All causes on one line, each once.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        next = error.source();
    }
    text
}
