//! From a container's specification to the OCI runtime specification, with Docker's defaults.

use crate::capability::Capabilities;
use crate::cgroup::Limits;
use crate::job::Job;
use crate::{ContainerSpec, Device, ErrorKind, ImageDefaults, NetworkMode, Result, RuntimeError, Ulimit};
use serde_json::{Value, json};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The Amazon ECS-optimized AMIs start dockerd with `--default-ulimits nofile=32768:65536`.
const NOFILE: (i64, i64) = (32_768, 65_536);
const SHM_MIB: u64 = 64;
/// Docker refuses less; the ECS agent raises smaller limits to it (`ecs-agent`: minimum memory of 4 MiB).
const MEMORY_MIN_MIB: u64 = 4;

const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What the specification becomes once image and files are known.
pub(super) struct Inputs<'a> {
    pub(super) id: &'a str,
    pub(super) dir: &'a Path,
    pub(super) spec: &'a ContainerSpec,
    pub(super) image: &'a ImageDefaults,
    pub(super) lowerdirs: Vec<PathBuf>,
}

fn host_config(message: impl Into<String>) -> RuntimeError {
    RuntimeError::new(ErrorKind::HostConfig, message)
}

pub(super) fn job(inputs: &Inputs<'_>) -> Result<Job> {
    let spec = inputs.spec;
    let capabilities = match spec.privileged {
        true => Capabilities::all(),
        false => Capabilities::adjusted(&spec.cap_add, &spec.cap_drop).map_err(host_config)?,
    };
    let own = own_capabilities();
    if capabilities.and(own) != capabilities {
        tracing::warn!(
            container = inputs.id,
            "this machine does not allow all capabilities asked for; the container gets those it has"
        );
    }
    let capabilities = capabilities.and(own);
    let (seccomp, no_new_privileges) = security(&spec.security_options)?;
    let (devices, rules) = devices(&spec.devices)?;
    let oci = json!({
        "ociVersion": "1.0.2",
        "root": {"path": inputs.dir.join(crate::job::ROOTFS), "readonly": spec.readonly_rootfs},
        "hostname": hostname(inputs.id, spec),
        "process": process(inputs, capabilities, no_new_privileges)?,
        "mounts": mounts(inputs.dir, spec)?,
        "linux": {
            "namespaces": namespaces(&spec.network),
            "devices": devices,
            "sysctl": spec.sysctls.iter().cloned().collect::<std::collections::HashMap<_, _>>(),
            "maskedPaths": if spec.privileged { json!([]) } else { json!(MASKED) },
            "readonlyPaths": if spec.privileged { json!([]) } else { json!(READ_ONLY) },
        },
    });
    let oci = serde_json::from_value(oci).map_err(|e| {
        RuntimeError::new(
            ErrorKind::CannotCreateContainer,
            format!("the container's settings do not fit together: {e}"),
        )
    })?;
    Ok(Job {
        spec: oci,
        user: spec.user.clone().unwrap_or_else(|| inputs.image.user.clone()),
        limits: limits(spec),
        lowerdirs: inputs.lowerdirs.clone(),
        capabilities,
        seccomp: seccomp && !spec.privileged,
        init: spec.init,
        devices: if spec.privileged { None } else { Some(rules) },
    })
}

pub(super) fn hostname(id: &str, spec: &ContainerSpec) -> String {
    match (&spec.hostname, &spec.network) {
        (Some(name), _) => name.clone(),
        // The host's UTS namespace stays: a container on the host's network has the host's name, as in Docker.
        (None, NetworkMode::Host) => {
            std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
        }
        (None, _) => id.chars().take(12).collect(),
    }
}

fn limits(spec: &ContainerSpec) -> Limits {
    let mib = |n: u64| n.saturating_mul(1 << 20);
    Limits {
        cpu_shares: if spec.cpu_shares == 0 { 0 } else { spec.cpu_shares.clamp(2, 262_144) },
        memory_bytes: if spec.memory_mib == 0 { 0 } else { mib(spec.memory_mib.max(MEMORY_MIN_MIB)) },
        memory_reservation_bytes: mib(spec.memory_reservation_mib),
    }
}

fn security(options: &[String]) -> Result<(bool, bool)> {
    let (mut seccomp, mut no_new_privileges) = (true, false);
    for option in options {
        match option.as_str() {
            "no-new-privileges" | "no-new-privileges:true" | "no-new-privileges=true" => {
                no_new_privileges = true
            }
            "no-new-privileges:false" | "no-new-privileges=false" => no_new_privileges = false,
            "seccomp=unconfined" | "seccomp:unconfined" => seccomp = false,
            // Nothing is confined by AppArmor or SELinux here, so asking for that is granted.
            "apparmor=unconfined" | "apparmor:unconfined" | "label=disable" | "label:disable" => {}
            other => {
                return Err(host_config(format!(
                    "the security option {other} is not supported by the builtin runtime"
                )));
            }
        }
    }
    Ok((seccomp, no_new_privileges))
}

fn process(inputs: &Inputs<'_>, capabilities: Capabilities, no_new_privileges: bool) -> Result<Value> {
    let (spec, image) = (inputs.spec, inputs.image);
    // Installing the system-call filter and dropping the rest come last, in the container, and need these two.
    let during_setup = capabilities.with(&["SYS_ADMIN", "SETPCAP"]).and(own_capabilities()).oci_names();
    let mut process = json!({
        "terminal": false,
        "user": {"uid": 0, "gid": 0},
        "args": arguments(spec, image)?,
        "env": environment(inputs),
        "cwd": working_dir(spec, image),
        "capabilities": {
            "bounding": during_setup,
            "effective": during_setup,
            "permitted": during_setup,
            "inheritable": [],
            "ambient": [],
        },
        "rlimits": rlimits(&spec.ulimits)?,
        "oomScoreAdj": 0,
    });
    if no_new_privileges {
        process["noNewPrivileges"] = json!(true);
    }
    Ok(process)
}

/// What this process may hand down; the kernel refuses to raise others.
fn own_capabilities() -> Capabilities {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bounding =
        status.lines().find_map(|l| u64::from_str_radix(l.strip_prefix("CapBnd:")?.trim(), 16).ok());
    bounding.map_or(Capabilities::all(), Capabilities)
}

/// Docker's rule: an entry point of the task replaces both of the image's, a command only the image's command.
fn arguments(spec: &ContainerSpec, image: &ImageDefaults) -> Result<Vec<String>> {
    let given = |list: &Option<Vec<String>>| list.clone().filter(|l| !l.is_empty());
    let (entry_point, command) = match (given(&spec.entry_point), given(&spec.command)) {
        (Some(entry_point), command) => (entry_point, command.unwrap_or_default()),
        (None, Some(command)) => (image.entry_point.clone(), command),
        (None, None) => (image.entry_point.clone(), image.command.clone()),
    };
    let all = [entry_point, command].concat();
    if all.is_empty() {
        return Err(RuntimeError::new(
            ErrorKind::CannotCreateContainer,
            "no command specified: neither the image nor the container definition says what to run",
        ));
    }
    Ok(all)
}

fn environment(inputs: &Inputs<'_>) -> Vec<String> {
    let mut all: Vec<(String, String)> =
        vec![("PATH".to_owned(), PATH.to_owned()), ("HOSTNAME".to_owned(), hostname(inputs.id, inputs.spec))];
    let image = inputs.image.env.iter().map(|line| {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        (name.to_owned(), value.to_owned())
    });
    for (name, value) in image.chain(inputs.spec.env.iter().cloned()) {
        match all.iter_mut().find(|(n, _)| *n == name) {
            Some(entry) => entry.1 = value,
            None => all.push((name, value)),
        }
    }
    all.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn working_dir(spec: &ContainerSpec, image: &ImageDefaults) -> String {
    let chosen = spec.working_dir.as_deref().filter(|d| !d.is_empty()).unwrap_or(&image.working_dir);
    if chosen.starts_with('/') { chosen.to_owned() } else { format!("/{chosen}") }
}

fn rlimits(ulimits: &[Ulimit]) -> Result<Value> {
    const NAMES: [&str; 15] = [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let value = |n: i64| u64::try_from(n).unwrap_or(u64::MAX);
    let mut all = Vec::new();
    for limit in ulimits {
        if !NAMES.contains(&limit.name.as_str()) {
            return Err(host_config(format!("unknown ulimit {}", limit.name)));
        }
        if value(limit.soft) > value(limit.hard) {
            return Err(host_config(format!(
                "ulimit {}: the soft limit is above the hard limit",
                limit.name
            )));
        }
        all.push(rlimit(&limit.name, value(limit.soft), value(limit.hard)));
    }
    if ulimits.iter().all(|l| l.name != "nofile") {
        let own = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(u64::MAX);
        all.push(rlimit("nofile", value(NOFILE.0).min(own), value(NOFILE.1).min(own)));
    }
    Ok(json!(all))
}

fn rlimit(name: &str, soft: u64, hard: u64) -> Value {
    json!({"type": format!("RLIMIT_{}", name.to_uppercase()), "soft": soft, "hard": hard})
}

fn namespaces(network: &NetworkMode) -> Value {
    let mut kinds = vec!["pid", "ipc", "mount"];
    if *network != NetworkMode::Host {
        kinds.extend(["network", "uts"]);
    } else {
        kinds.push("uts");
    }
    kinds.into_iter().map(|kind| json!({"type": kind})).collect()
}

fn mounts(dir: &Path, spec: &ContainerSpec) -> Result<Value> {
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": source, "options": options});
    let shm = format!("size={}m", if spec.shm_size_mib == 0 { SHM_MIB } else { spec.shm_size_mib });
    let mut all = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &shm]),
        sysfs(spec),
    ];
    for name in ["hosts", "hostname", "resolv.conf"] {
        let source = dir.join(name);
        all.push(mount(&format!("/etc/{name}"), "bind", &source.to_string_lossy(), &["bind", "rprivate"]));
    }
    for tmpfs in &spec.tmpfs {
        let mut options = vec!["noexec".to_owned(), "nosuid".to_owned(), "nodev".to_owned()];
        options
            .retain(|default| !tmpfs.options.iter().any(|o| Some(o.as_str()) == default.strip_prefix("no")));
        options.extend(tmpfs.options.iter().cloned());
        if tmpfs.size_mib > 0 {
            options.push(format!("size={}m", tmpfs.size_mib));
        }
        all.push(
            json!({"destination": tmpfs.destination, "type": "tmpfs", "source": "tmpfs", "options": options}),
        );
    }
    for one in &spec.mounts {
        make_source(&one.source)?;
        let access = if one.readonly { "ro" } else { "rw" };
        let options = ["rbind", "rprivate", access];
        all.push(mount(&one.destination.to_string_lossy(), "bind", &one.source.to_string_lossy(), &options));
    }
    Ok(json!(all))
}

/// The host's network namespace does not belong to the container, so its sysfs is mounted as it is.
fn sysfs(spec: &ContainerSpec) -> Value {
    let access = if spec.privileged { "rw" } else { "ro" };
    json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", access]})
}

/// As Docker does with `-v`: a directory is made where nothing is.
fn make_source(source: &Path) -> Result<()> {
    if source.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(source).map_err(|e| {
        let message = format!("cannot make the directory {} for a volume: {e}", source.display());
        RuntimeError::new(ErrorKind::CannotCreateVolume, message).caused_by(e)
    })
}

fn devices(devices: &[Device]) -> Result<(Value, Vec<String>)> {
    let (mut nodes, mut rules) = (Vec::new(), Vec::new());
    for device in devices {
        let metadata = std::fs::metadata(&device.host_path).map_err(|e| {
            host_config(format!("cannot use the device {}: {e}", device.host_path.display())).caused_by(e)
        })?;
        let kind = match metadata.file_type() {
            t if t.is_char_device() => "c",
            t if t.is_block_device() => "b",
            _ => return Err(host_config(format!("{} is not a device", device.host_path.display()))),
        };
        let (major, minor) = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
        let permissions = if device.permissions.is_empty() { "rwm" } else { &device.permissions };
        if !permissions.chars().all(|c| "rwm".contains(c)) {
            return Err(host_config(format!("{permissions} are no device permissions: use r, w and m")));
        }
        nodes.push(json!({
            "path": device.container_path, "type": kind, "major": major, "minor": minor,
            "fileMode": metadata.mode() & 0o777, "uid": metadata.uid(), "gid": metadata.gid(),
        }));
        rules.push(format!("{kind} {major}:{minor} {permissions}"));
    }
    Ok((json!(nodes), rules))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> ImageDefaults {
        ImageDefaults {
            env: vec!["A=image".to_owned(), "PATH=/only".to_owned()],
            entry_point: vec!["/entry".to_owned()],
            command: vec!["image".to_owned()],
            ..ImageDefaults::default()
        }
    }

    fn words(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|w| (*w).to_owned()).collect())
    }

    #[test]
    fn entry_point_and_command_follow_docker() {
        let run = |entry_point: Option<Vec<String>>, command: Option<Vec<String>>| {
            arguments(&ContainerSpec { entry_point, command, ..ContainerSpec::default() }, &image())
                .expect("something")
        };
        assert_eq!(run(None, None), ["/entry", "image"]);
        assert_eq!(run(None, words(&["mine"])), ["/entry", "mine"]);
        assert_eq!(run(words(&["/mine"]), None), ["/mine"]);
        assert_eq!(run(words(&["/mine"]), words(&["x"])), ["/mine", "x"]);
        let nothing = arguments(&ContainerSpec::default(), &ImageDefaults::default());
        assert!(
            nothing
                .expect_err("nothing to run")
                .to_string()
                .starts_with("CannotCreateContainerError: no command")
        );
    }

    #[test]
    fn the_tasks_environment_wins_over_the_images() {
        let spec =
            ContainerSpec { env: vec![("A".to_owned(), "task".to_owned())], ..ContainerSpec::default() };
        let id = "0123456789abcdef";
        let inputs = Inputs { id, dir: Path::new("/d"), spec: &spec, image: &image(), lowerdirs: Vec::new() };
        assert_eq!(environment(&inputs), ["PATH=/only", "HOSTNAME=0123456789ab", "A=task"]);
        let job = job(&inputs).expect("a whole specification");
        assert_eq!(job.capabilities, Capabilities::standard());
    }

    #[test]
    fn wrong_settings_name_themselves() {
        let fails = |spec: ContainerSpec| {
            let inputs =
                Inputs { id: "x", dir: Path::new("/d"), spec: &spec, image: &image(), lowerdirs: Vec::new() };
            job(&inputs).err().map(|e| e.to_string()).unwrap_or_default()
        };
        let ulimit = |name: &str, soft, hard| Ulimit { name: name.to_owned(), soft, hard };
        assert!(
            fails(ContainerSpec { ulimits: vec![ulimit("files", 1, 1)], ..Default::default() })
                .contains("files")
        );
        assert!(
            fails(ContainerSpec { ulimits: vec![ulimit("core", -1, 1)], ..Default::default() })
                .contains("core")
        );
        assert!(
            fails(ContainerSpec { cap_add: vec!["FLY".to_owned()], ..Default::default() }).contains("FLY")
        );
        let option = vec!["label=type:x".to_owned()];
        assert!(
            fails(ContainerSpec { security_options: option, ..Default::default() }).contains("label=type:x")
        );
    }
}
