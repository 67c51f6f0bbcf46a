//! Control groups v1, hybrid and v2: one group a container, made ahead, with only the controllers that are used.

use crate::device_filter;
use rustix::fs::{Mode, OFlags};
use rustix::mount::OpenTreeFlags;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What a container may use; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    pub(crate) cpu_shares: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) memory_reservation_bytes: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) cpu_ns: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) memory_limit_bytes: u64,
    pub(crate) processes: u64,
    pub(crate) read_bytes: u64,
    pub(crate) written_bytes: u64,
}

/// Controllers of v1 in which every container gets a group of its own. The first attachment of a process waits for
/// the kernel, the further ones cost next to nothing; creating a group costs memory in each.
const V1_CONTROLLERS: [&str; 3] = ["memory", "cpu", "cpuacct"];
/// What v2's groups hand down.
const V2_CONTROLLERS: [&str; 4] = ["memory", "cpu", "io", "pids"];

/// The hierarchies of this machine, below a directory of our own in each.
#[derive(Clone, Debug)]
pub(crate) struct Hierarchies {
    version: Version,
    parent: String,
    devices: Option<PathBuf>,
    /// The v2 tree, also beside v1 in hybrid set-ups.
    unified: Option<PathBuf>,
    mount_points: Vec<PathBuf>,
}

#[derive(Clone, Debug)]
enum Version {
    V1(Vec<(&'static str, PathBuf)>),
    V2(PathBuf),
}

impl Hierarchies {
    /// Reads what is mounted; `parent` names our directory.
    pub(crate) fn detect(parent: &str) -> io::Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        Self::from_mountinfo(&mounts, parent).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                "no cgroup hierarchy with the memory and cpu controllers is mounted: mount cgroup2 on /sys/fs/cgroup",
            )
        })
    }

    fn from_mountinfo(mounts: &str, parent: &str) -> Option<Self> {
        let mut v1: Vec<(String, PathBuf)> = Vec::new();
        let mut unified = None;
        let mut mount_points = Vec::new();
        for line in mounts.lines() {
            let (head, tail) = line.split_once(" - ")?;
            let mut tail = tail.split(' ');
            let kind = tail.next().unwrap_or_default();
            let point = PathBuf::from(head.split(' ').nth(4).unwrap_or_default());
            if kind.starts_with("cgroup") {
                mount_points.push(point.clone());
            }
            match kind {
                "cgroup2" => unified = unified.or(Some(point)),
                "cgroup" => {
                    let options = tail.nth(1).unwrap_or_default();
                    v1.extend(options.split(',').map(|option| (option.to_owned(), point.clone())));
                }
                _ => {}
            }
        }
        let find = |name: &str| v1.iter().find(|(n, _)| n == name).map(|(_, p)| p.clone());
        let ours: Vec<_> = V1_CONTROLLERS.iter().filter_map(|name| Some((*name, find(name)?))).collect();
        let devices = find("devices");
        let version = match (ours.is_empty(), &unified) {
            (false, _) => Version::V1(ours),
            (true, Some(root)) => Version::V2(root.clone()),
            (true, None) => return None,
        };
        Some(Self { version, parent: parent.to_owned(), devices, unified, mount_points })
    }

    pub(crate) fn parent(&self) -> &str {
        &self.parent
    }

    /// Where any cgroup hierarchy is mounted.
    pub(crate) fn mount_points(&self) -> &[PathBuf] {
        &self.mount_points
    }

    /// Makes our own directories; nothing that exists is an error.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        match &self.version {
            Version::V1(controllers) => {
                for (_, root) in controllers {
                    make(&root.join(&self.parent))?;
                }
            }
            Version::V2(root) => {
                let available = fs::read_to_string(root.join("cgroup.controllers"))?;
                let wanted: Vec<_> = V2_CONTROLLERS
                    .iter()
                    .filter(|c| available.split_whitespace().any(|a| a == **c))
                    .collect();
                for directory in [root.clone(), root.join(&self.parent)] {
                    make(&directory)?;
                    for controller in &wanted {
                        // Refused inside another container, for one. A limit that needs the controller says so then.
                        fs::write(directory.join("cgroup.subtree_control"), format!("+{controller}")).ok();
                    }
                }
            }
        }
        if let Some(devices) = &self.devices {
            let shared = devices.join(&self.parent).join(SHARED);
            make(&devices.join(&self.parent))?;
            make(&shared)?;
            write_device_rules(&shared, &[])?;
        } else if let Some(unified) = &self.unified {
            make(&unified.join(&self.parent))?;
        }
        Ok(())
    }

    /// Removes every group of ours that no process is in.
    pub(crate) fn remove_empty(&self) {
        for parent in self.parents() {
            let Ok(entries) = fs::read_dir(&parent) else { continue };
            for entry in entries.flatten().filter(|e| e.path().is_dir()) {
                // A group with processes refuses, which is the point of asking.
                drop(fs::remove_dir(entry.path()));
            }
            drop(fs::remove_dir(&parent));
        }
    }

    fn parents(&self) -> Vec<PathBuf> {
        let mut found: Vec<_> = match &self.version {
            Version::V1(controllers) => controllers.iter().map(|(_, root)| root.join(&self.parent)).collect(),
            Version::V2(root) => vec![root.join(&self.parent)],
        };
        found.extend(self.devices.iter().map(|d| d.join(&self.parent)));
        found
    }

    pub(crate) fn group(&self, name: &str) -> Group {
        let below = |root: &Path| root.join(&self.parent).join(name);
        let (unified, directories) = match &self.version {
            Version::V1(controllers) => {
                (false, controllers.iter().map(|(c, root)| (*c, below(root))).collect())
            }
            Version::V2(root) => (true, vec![("", below(root))]),
        };
        let devices = self
            .devices
            .as_ref()
            .map(|root| Devices { parent: root.join(&self.parent), name: name.to_owned() });
        Group { unified, directories, devices }
    }
}

/// The group of v1's devices controller that all containers with the standard devices share.
const SHARED: &str = "standard";

/// The group of one container in all hierarchies.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    unified: bool,
    /// By controller; v2's one directory has no name.
    directories: Vec<(&'static str, PathBuf)>,
    devices: Option<Devices>,
}

/// Of v1. Most containers need no group of their own there.
#[derive(Clone, Debug)]
struct Devices {
    parent: PathBuf,
    name: String,
}

impl Group {
    /// Makes the group and moves the calling process into it, and into the group of containers with the standard devices.
    pub(crate) fn create_and_join(&self) -> io::Result<()> {
        let mut last = None;
        for (_, directory) in &self.directories {
            // `cpu,cpuacct` mounted together are one hierarchy.
            if last == Some(directory) {
                continue;
            }
            make(directory)?;
            join(directory)?;
            last = Some(directory);
        }
        match &self.devices {
            Some(devices) => join(&devices.parent.join(SHARED)),
            None => Ok(()),
        }
    }

    /// The same group, reached through descriptors that stay open as long as this process: for when the hierarchies
    /// are no longer mounted where it can see them.
    pub(crate) fn pinned(&self) -> io::Result<Self> {
        let pin = |path: &Path| -> io::Result<PathBuf> {
            let fd =
                rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            Ok(format!("/proc/self/fd/{}", fd.into_raw_fd()).into())
        };
        let mut pinned = self.clone();
        for (_, directory) in &mut pinned.directories {
            *directory = pin(directory)?;
        }
        if let Some(devices) = &mut pinned.devices {
            devices.parent = pin(&devices.parent)?;
        }
        Ok(pinned)
    }

    /// The group's directories as mounts that are nowhere yet, read-only, with the names under which containers know
    /// them; v2's has none.
    pub(crate) fn views(&self) -> io::Result<Vec<(&'static str, OwnedFd)>> {
        let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let view = |(name, directory): &(&'static str, PathBuf)| {
            let tree = rustix::mount::open_tree(rustix::fs::CWD, directory, clone)?;
            read_only(&tree)?;
            Ok((*name, tree))
        };
        self.directories.iter().map(view).collect()
    }

    pub(crate) fn limit(&self, limits: &Limits) -> io::Result<()> {
        match self.unified {
            false => {
                if limits.cpu_shares > 0 {
                    self.write("cpu", "cpu.shares", limits.cpu_shares)?;
                }
                if limits.memory_bytes > 0 {
                    self.write("memory", "memory.limit_in_bytes", limits.memory_bytes)?;
                }
                if limits.memory_reservation_bytes > 0 {
                    self.write("memory", "memory.soft_limit_in_bytes", limits.memory_reservation_bytes)?;
                }
            }
            true => {
                if limits.cpu_shares > 0 {
                    // The kernel documentation's mapping of 2..262144 onto 1..10000, as runc and crun use it.
                    let weight = 1 + (limits.cpu_shares.clamp(2, 262_144) - 2) * 9999 / 262_142;
                    self.write("cpu", "cpu.weight", weight)?;
                }
                if limits.memory_bytes > 0 {
                    self.write("memory", "memory.max", limits.memory_bytes)?;
                }
                if limits.memory_reservation_bytes > 0 {
                    self.write("memory", "memory.low", limits.memory_reservation_bytes)?;
                }
            }
        }
        Ok(())
    }

    /// Allows the standard devices and those of the rules; `None` allows all.
    pub(crate) fn allow_devices(&self, rules: Option<&[String]>) -> io::Result<()> {
        let Some(devices) = &self.devices else { return self.filter_devices(rules) };
        if rules.is_some_and(<[String]>::is_empty) {
            // It is in the shared group already.
            return Ok(());
        }
        let directory = devices.parent.join(&devices.name);
        make(&directory)?;
        match rules {
            None => fs::write(directory.join("devices.allow"), "a")?,
            Some(rules) => write_device_rules(&directory, rules)?,
        }
        join(&directory)
    }

    fn filter_devices(&self, rules: Option<&[String]>) -> io::Result<()> {
        let (Some(rules), Some((_, directory))) = (rules, self.directories.first()) else { return Ok(()) };
        let more = rules.iter().map(String::as_str);
        let program = device_filter::load(STANDARD_DEVICES.into_iter().chain(more))?;
        let directory = fs::File::open(directory)?;
        device_filter::attach(&program, directory.as_fd())
    }

    /// How many processes the kernel killed because the memory limit was reached.
    pub(crate) fn oom_kills(&self) -> u64 {
        let file = if self.unified { "memory.events" } else { "memory.oom_control" };
        self.read("memory", file).and_then(|text| field(&text, "oom_kill")).unwrap_or(0)
    }

    pub(crate) fn usage(&self) -> Usage {
        let number = |controller: &str, file: &str| {
            self.read(controller, file).and_then(|t| t.trim().parse::<u64>().ok()).unwrap_or(0)
        };
        let stat = self.read("memory", "memory.stat").unwrap_or_default();
        let processes =
            |controller: &str| self.read(controller, "cgroup.procs").map_or(0, |t| t.lines().count() as u64);
        match self.unified {
            false => {
                let cache = field(&stat, "total_inactive_file").unwrap_or(0);
                let limit = number("memory", "memory.limit_in_bytes");
                Usage {
                    cpu_ns: number("cpuacct", "cpuacct.usage"),
                    memory_bytes: number("memory", "memory.usage_in_bytes").saturating_sub(cache),
                    // "No limit" is the largest page-aligned number.
                    memory_limit_bytes: if limit > 1 << 62 { 0 } else { limit },
                    processes: processes("memory"),
                    ..Usage::default()
                }
            }
            true => {
                let cpu = self.read("cpu", "cpu.stat").unwrap_or_default();
                let cache = field(&stat, "inactive_file").unwrap_or(0);
                let io = self.read("io", "io.stat").unwrap_or_default();
                let sum = |key: &str| {
                    io.split_whitespace()
                        .filter_map(|w| w.strip_prefix(key)?.parse::<u64>().ok())
                        .sum::<u64>()
                };
                Usage {
                    cpu_ns: field(&cpu, "usage_usec").unwrap_or(0) * 1000,
                    memory_bytes: number("memory", "memory.current").saturating_sub(cache),
                    memory_limit_bytes: number("memory", "memory.max"),
                    processes: processes("memory"),
                    read_bytes: sum("rbytes="),
                    written_bytes: sum("wbytes="),
                }
            }
        }
    }

    /// Kills whatever is in the group.
    pub(crate) fn kill(&self) {
        let Some((name, _)) = self.directories.first() else { return };
        for pid in self.read(name, "cgroup.procs").unwrap_or_default().lines().filter_map(|l| l.parse().ok())
        {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                // It may have ended since.
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
            }
        }
    }

    /// Removes the group; false if a process that is ending still holds it.
    pub(crate) fn remove(&self) -> bool {
        let own_devices = self.devices.iter().map(|d| d.parent.join(&d.name));
        self.directories.iter().map(|(_, directory)| directory.clone()).chain(own_devices).fold(
            true,
            |all, directory| {
                all & match fs::remove_dir(&directory) {
                    Ok(()) => true,
                    Err(error) => error.kind() == io::ErrorKind::NotFound,
                }
            },
        )
    }

    fn file(&self, controller: &str, file: &str) -> Option<PathBuf> {
        let found = self.directories.iter().find(|(name, _)| self.unified || *name == controller);
        found.map(|(_, directory)| directory.join(file))
    }

    fn read(&self, controller: &str, file: &str) -> Option<String> {
        fs::read_to_string(self.file(controller, file)?).ok()
    }

    fn write(&self, controller: &str, file: &str, value: u64) -> io::Result<()> {
        let path = self.file(controller, file).filter(|path| path.exists()).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::Unsupported,
                format!(
                    "the cgroup controller {controller} is not available to containers here: enable it in the kernel \
                     (cgroup_enable={controller}), or run Wharf outside of other containers"
                ),
            )
        })?;
        fs::write(&path, value.to_string())
            .map_err(|e| io::Error::new(e.kind(), format!("cannot write {value} to {}: {e}", path.display())))
    }
}

fn read_only(tree: &OwnedFd) -> io::Result<()> {
    let wanted =
        libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    let attributes = libc::mount_attr { attr_set: wanted, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the path is an empty C string, and `attributes` has the size that is given; both live through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of_val(&attributes),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn make(directory: &Path) -> io::Result<()> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(io::Error::new(
            error.kind(),
            format!("cannot make the cgroup {}: {error}", directory.display()),
        )),
        _ => Ok(()),
    }
}

fn join(directory: &Path) -> io::Result<()> {
    fs::write(directory.join("cgroup.procs"), "0").map_err(|e| {
        io::Error::new(e.kind(), format!("cannot enter the cgroup {}: {e}", directory.display()))
    })
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Docker's standard devices: any may be made, and null, zero, full, tty, random, urandom, ptmx and pts may be used.
pub(crate) const STANDARD_DEVICES: [&str; 11] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 5:0 rwm",
    "c 5:1 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
];

fn write_device_rules(directory: &Path, more: &[String]) -> io::Result<()> {
    fs::write(directory.join("devices.deny"), "a")?;
    let standard = STANDARD_DEVICES.iter().copied();
    for rule in standard.chain(more.iter().map(String::as_str)) {
        fs::write(directory.join("devices.allow"), rule)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
34 30 0:30 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
35 30 0:31 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
    const UNIFIED: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn hierarchies_are_told_apart() {
        let hybrid = Hierarchies::from_mountinfo(HYBRID, "wharf-x").expect("v1");
        let file = |h: &Hierarchies| h.group("g").file("memory", "f").expect("there");
        assert_eq!(file(&hybrid), Path::new("/sys/fs/cgroup/memory/wharf-x/g/f"));
        assert_eq!(hybrid.mount_points().len(), 4);
        let unified = Hierarchies::from_mountinfo(UNIFIED, "wharf-x").expect("v2");
        assert_eq!(file(&unified), Path::new("/sys/fs/cgroup/wharf-x/g/f"));
        assert!(Hierarchies::from_mountinfo("1 0 0:1 / / rw - ext4 /dev/vda rw\n", "w").is_none());
    }

    #[test]
    fn fields_are_found_by_whole_name() {
        assert_eq!(field("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "oom_kill"), Some(3));
    }
}
