//! A task as the payload described it, with everything odd about it resolved; it does not change while the task lives.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What a task is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskPlan {
    pub arn: String,
    pub family: String,
    /// The revision, as text.
    pub version: String,
    pub service_name: Option<String>,
    pub launch_type: Option<String>,
    /// The task's own limit in CPU units; 1024 is one vCPU.
    pub cpu_units: Option<i64>,
    /// The task's own limit.
    pub memory_mib: Option<i64>,
    pub role_credentials_id: Option<String>,
    pub execution_credentials_id: Option<String>,
    pub demand: Demand,
    pub containers: Vec<ContainerPlan>,
}

impl TaskPlan {
    /// The last part of the ARN.
    pub fn id(&self) -> &str {
        self.arn.rsplit('/').next().unwrap_or(&self.arn)
    }

    /// The position of the container with this name.
    pub fn container(&self, name: &str) -> Option<usize> {
        self.containers.iter().position(|c| c.name == name)
    }
}

/// What a task takes of the instance while it is not stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    pub cpu_units: i64,
    pub memory_mib: i64,
    pub tcp_ports: BTreeSet<u16>,
    pub udp_ports: BTreeSet<u16>,
}

/// What a container is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerPlan {
    pub name: String,
    pub arn: Option<String>,
    pub essential: bool,
    pub dependencies: Vec<Dependency>,
    pub start_timeout_s: Option<u32>,
    pub stop_timeout_s: Option<u32>,
    pub restart: Option<RestartPolicy>,
    pub has_health_check: bool,
    pub registry: Option<RegistryAuth>,
    /// What the runtime gets; or why it cannot get anything.
    pub spec: Result<ContainerSpec, Failure>,
    /// Other containers whose mounts this one takes over.
    pub volumes_from: Vec<VolumesFrom>,
    /// Other containers that this one reaches by name: the container and the alias.
    pub links: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumesFrom {
    pub container: String,
    pub readonly: bool,
}

/// What must be so with another container before this one may start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    pub container: String,
    pub condition: Condition,
}

/// Source: ecs-agent-protocol, "Dependencies".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// Made, though perhaps not running; what `volumesFrom` needs.
    Create,
    Start,
    Complete,
    Success,
    Healthy,
}

impl Condition {
    /// As task definitions write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Start => "START",
            Self::Complete => "COMPLETE",
            Self::Success => "SUCCESS",
            Self::Healthy => "HEALTHY",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartPolicy {
    pub ignored_exit_codes: Vec<i32>,
    pub attempt_period_s: u32,
}

/// How the pull proves who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RegistryAuth {
    Ecr { region: String, registry_id: String, endpoint: Option<String>, execution_role: bool },
    SecretsManager { region: String, secret: String },
}

/// One container for the runtime. The members mean what Docker's of the same names mean.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    pub name: String,
    pub labels: Vec<(String, String)>,
    pub image: String,
    /// Known once the image is pulled.
    pub image_digest: String,
    pub command: Option<Vec<String>>,
    pub entry_point: Option<Vec<String>>,
    pub env: Vec<(String, String)>,
    pub working_dir: Option<String>,
    pub user: Option<String>,
    pub hostname: Option<String>,
    pub cpu_shares: u64,
    /// 0 is no limit.
    pub memory_mib: u64,
    pub memory_reservation_mib: u64,
    pub network: Network,
    pub mounts: Vec<Mount>,
    pub readonly_rootfs: bool,
    pub privileged: bool,
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub ulimits: Vec<Ulimit>,
    pub init: bool,
    pub tmpfs: Vec<Tmpfs>,
    pub shm_size_mib: u64,
    pub sysctls: Vec<(String, String)>,
    pub devices: Vec<Device>,
    pub extra_hosts: Vec<(String, IpAddr)>,
    pub dns_servers: Vec<IpAddr>,
    pub dns_search: Vec<String>,
    pub security_options: Vec<String>,
    pub log: LogConfig,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    Bridge {
        ports: Vec<PortMapping>,
    },
    Host,
    #[default]
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    pub container_port: u16,
    /// 0: the runtime picks one.
    pub host_port: u16,
    pub udp: bool,
}

/// A published port with the number that it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortBinding {
    pub host_ip: IpAddr,
    pub container_port: u16,
    pub host_port: u16,
    pub udp: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub source: MountSource,
    pub destination: String,
    pub readonly: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// A path of the instance.
    Host(String),
    /// A volume that comes and goes with the task.
    Task { arn: String, volume: String },
    /// A volume of the instance that outlives its tasks.
    Shared(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    pub name: String,
    pub soft: i64,
    pub hard: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    pub destination: String,
    /// 0 is the kernel's default.
    pub size_mib: u64,
    pub options: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    pub host_path: String,
    pub container_path: String,
    pub permissions: String,
}

/// Where a container's output goes beside the runtime's local log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// `awslogs`, `json-file`, `none`; empty is the default driver.
    pub driver: String,
    pub options: Vec<(String, String)>,
    /// The execution role writes the logs, not the instance's.
    pub execution_role: bool,
}

impl LogConfig {
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// An error under the name that Amazon's agent gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// `CannotPullContainerError` and the like.
    pub name: String,
    pub message: String,
}

impl Failure {
    pub fn new(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self { name: name.into(), message: message.into() }
    }
}

impl std::fmt::Display for Failure {
    /// As it stands in a `reason`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.message)
    }
}
