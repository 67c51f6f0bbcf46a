//! Between the engine's words and the runtime's.

use engine::{ContainerSpec, Exit, Failure, Found, FoundStatus, MountSource, Network, PortBinding, Started};
use runtime::{
    ContainerExit, ContainerState, ContainerStatus, NetworkBinding, Protocol, RuntimeError, StartedContainer,
};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

/// Where the volumes of one task lie.
pub(crate) fn task_volumes(data_dir: &Path, task_arn: &str) -> PathBuf {
    let id = task_arn.rsplit('/').next().unwrap_or(task_arn);
    data_dir.join("volumes").join("task").join(id)
}

fn mount_source(data_dir: &Path, source: &MountSource) -> Result<PathBuf, Failure> {
    // Names come from outside and become directories.
    let plain = |name: &str| match name {
        "" | "." | ".." => Err(name.to_owned()),
        name if name.contains(['/', '\0']) => Err(name.to_owned()),
        name => Ok(name.to_owned()),
    };
    let refused = |name: String| {
        Failure::new("CannotCreateVolumeError", format!("{name:?} cannot be the name of a volume"))
    };
    match source {
        MountSource::Host(path) => Ok(PathBuf::from(path)),
        MountSource::Task { arn, volume } => {
            let dir = task_volumes(data_dir, arn);
            plain(volume).map(|name| dir.join(name)).map_err(refused)
        }
        MountSource::Shared(name) => {
            plain(name).map(|name| data_dir.join("volumes").join("shared").join(name)).map_err(refused)
        }
    }
}

pub(crate) fn spec(data_dir: &Path, spec: ContainerSpec) -> Result<runtime::ContainerSpec, Failure> {
    let mounts = spec
        .mounts
        .iter()
        .map(|m| {
            Ok(runtime::Mount {
                source: mount_source(data_dir, &m.source)?,
                destination: PathBuf::from(&m.destination),
                readonly: m.readonly,
            })
        })
        .collect::<Result<_, Failure>>()?;
    Ok(runtime::ContainerSpec {
        name: spec.name,
        labels: spec.labels,
        image: spec.image,
        image_digest: spec.image_digest,
        command: spec.command,
        entry_point: spec.entry_point,
        env: spec.env,
        working_dir: spec.working_dir,
        user: spec.user,
        hostname: spec.hostname,
        cpu_shares: spec.cpu_shares,
        memory_mib: spec.memory_mib,
        memory_reservation_mib: spec.memory_reservation_mib,
        network: network(spec.network),
        mounts,
        readonly_rootfs: spec.readonly_rootfs,
        privileged: spec.privileged,
        cap_add: spec.cap_add,
        cap_drop: spec.cap_drop,
        ulimits: spec
            .ulimits
            .into_iter()
            .map(|u| runtime::Ulimit { name: u.name, soft: u.soft, hard: u.hard })
            .collect(),
        init: spec.init,
        tmpfs: spec.tmpfs.into_iter().map(tmpfs).collect(),
        shm_size_mib: spec.shm_size_mib,
        sysctls: spec.sysctls,
        devices: spec.devices.into_iter().map(device).collect(),
        extra_hosts: spec.extra_hosts,
        dns_servers: spec.dns_servers,
        dns_search: spec.dns_search,
        security_options: spec.security_options,
    })
}

fn network(network: Network) -> runtime::NetworkMode {
    match network {
        Network::Bridge { ports } => runtime::NetworkMode::Bridge {
            ports: ports
                .into_iter()
                .map(|p| runtime::PortMapping {
                    container_port: p.container_port,
                    host_port: p.host_port,
                    protocol: if p.udp { Protocol::Udp } else { Protocol::Tcp },
                    host_ip: Ipv4Addr::UNSPECIFIED,
                })
                .collect(),
        },
        Network::Host => runtime::NetworkMode::Host,
        Network::None => runtime::NetworkMode::None,
    }
}

fn tmpfs(tmpfs: engine::Tmpfs) -> runtime::Tmpfs {
    runtime::Tmpfs {
        destination: PathBuf::from(tmpfs.destination),
        size_mib: tmpfs.size_mib,
        options: tmpfs.options,
    }
}

fn device(device: engine::Device) -> runtime::Device {
    runtime::Device {
        host_path: PathBuf::from(device.host_path),
        container_path: PathBuf::from(device.container_path),
        permissions: device.permissions,
    }
}

pub(crate) fn started(started: StartedContainer) -> Started {
    Started {
        started_at: started.started_at,
        bindings: started.network_bindings.into_iter().map(binding).collect(),
        ip: started.ip.map(IpAddr::V4),
    }
}

fn binding(binding: NetworkBinding) -> PortBinding {
    PortBinding {
        host_ip: IpAddr::V4(binding.bind_ip),
        container_port: binding.container_port,
        host_port: binding.host_port,
        udp: binding.protocol == Protocol::Udp,
    }
}

pub(crate) fn exit(exit: ContainerExit) -> Exit {
    Exit { exit_code: exit.exit_code, oom_killed: exit.oom_killed, finished_at: exit.finished_at }
}

pub(crate) fn found(state: ContainerState) -> Found {
    Found {
        runtime_id: state.runtime_id,
        name: state.spec.name,
        labels: state.spec.labels,
        status: match state.status {
            ContainerStatus::Created => FoundStatus::Created,
            ContainerStatus::Running(running) => FoundStatus::Running(started(running)),
            ContainerStatus::Exited { started: first, exit: end } => {
                FoundStatus::Exited { started: first.map(started), exit: exit(end) }
            }
        },
    }
}

pub(crate) fn failure(error: &RuntimeError) -> Failure {
    Failure::new(error.kind.name(), error.message.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_stay_inside_the_data_directory() {
        let task = |volume: &str| MountSource::Task {
            arn: "arn:aws:ecs:r:1:task/c/id".into(),
            volume: volume.into(),
        };
        let dir = Path::new("/d");
        assert_eq!(mount_source(dir, &task("v")).unwrap(), Path::new("/d/volumes/task/id/v"));
        for name in ["..", "a/b", ""] {
            assert_eq!(mount_source(dir, &task(name)).unwrap_err().name, "CannotCreateVolumeError");
            assert!(mount_source(dir, &MountSource::Shared(name.into())).is_err());
        }
    }
}
