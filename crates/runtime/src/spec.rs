//! What a caller tells a driver: images to pull and containers to make, as plain data.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

/// A user and password, or a bearer token under the user `AWS`, for one registry.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistryCredentials {
    pub username: String,
    pub password: String,
}

impl std::fmt::Debug for RegistryCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryCredentials")
            .field("username", &self.username)
            .field("password", &"***")
            .finish()
    }
}

/// What the image says about its containers; every field may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageDefaults {
    /// `NAME=value`.
    pub env: Vec<String>,
    pub entry_point: Vec<String>,
    pub command: Vec<String>,
    pub user: String,
    pub working_dir: String,
    /// `SIGTERM`, `15`, or empty.
    pub stop_signal: String,
    pub labels: Vec<(String, String)>,
    /// Directories that the image declares as volumes.
    pub volumes: Vec<String>,
}

/// An image that lies on this machine, ready to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PulledImage {
    /// `sha256:…` of the manifest that was chosen for this platform; what `describe-tasks` calls `imageDigest`.
    pub digest: String,
    pub defaults: ImageDefaults,
    /// Sum of the compressed layers, in bytes; 0 where the driver cannot know.
    pub size_bytes: u64,
}

/// One container to make. Everything odd about a task definition has ended before this.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Unique on this machine, such as `ecs-family-1-name-0123456789abcdef0123`.
    pub name: String,
    /// Kept with the container and given back by [`Runtime::list`](crate::Runtime::list); a caller finds its containers by them.
    pub labels: Vec<(String, String)>,
    /// The reference that was pulled, as the task definition writes it.
    pub image: String,
    /// The digest that the pull gave. Empty: the driver looks `image` up among what it has pulled.
    pub image_digest: String,
    /// Replaces the image's command. With an `entry_point` and no command there is no command, as in Docker.
    pub command: Option<Vec<String>>,
    pub entry_point: Option<Vec<String>>,
    /// Laid over the image's environment, name by name.
    pub env: Vec<(String, String)>,
    pub working_dir: Option<String>,
    /// `user`, `uid`, `user:group`, `uid:gid` and mixtures; names are looked up in the image's `/etc/passwd` and `/etc/group`.
    pub user: Option<String>,
    /// Default: the first 12 characters of the runtime id, as in Docker.
    pub hostname: Option<String>,
    /// Relative weight; 1024 stands for one vCPU. Values below 2 become 2 and values above 262144 become that, 0 is the kernel's default.
    pub cpu_shares: u64,
    /// Hard limit; 0 is none, values below 4 become 4.
    pub memory_mib: u64,
    /// Soft limit; 0 is none.
    pub memory_reservation_mib: u64,
    pub network: NetworkMode,
    pub mounts: Vec<Mount>,
    pub readonly_rootfs: bool,
    pub privileged: bool,
    /// With or without `CAP_`; `ALL` is known.
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub ulimits: Vec<Ulimit>,
    /// Runs a small init as process 1 that forwards signals and reaps orphans.
    pub init: bool,
    pub tmpfs: Vec<Tmpfs>,
    /// Size of `/dev/shm`; 0 is 64 MiB.
    pub shm_size_mib: u64,
    pub sysctls: Vec<(String, String)>,
    pub devices: Vec<Device>,
    /// `host name → address` lines for `/etc/hosts`.
    pub extra_hosts: Vec<(String, IpAddr)>,
    pub dns_servers: Vec<IpAddr>,
    pub dns_search: Vec<String>,
    /// Docker's security options that a driver knows: `no-new-privileges`, `seccomp=unconfined`. Others are an error.
    pub security_options: Vec<String>,
}

/// How a container reaches the network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkMode {
    /// An address of its own behind the driver's bridge, with ports of the host forwarded to it.
    Bridge { ports: Vec<PortMapping> },
    /// The host's own network.
    Host,
    /// Only a loopback interface.
    #[default]
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    /// As task definitions write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    pub container_port: u16,
    /// 0: the driver picks a free one from the kernel's ephemeral range.
    pub host_port: u16,
    pub protocol: Protocol,
    /// `0.0.0.0` publishes on every address of the host, 127.0.0.1 included.
    pub host_ip: Ipv4Addr,
}

/// A published port with the number that it really got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkBinding {
    pub bind_ip: Ipv4Addr,
    pub container_port: u16,
    pub host_port: u16,
    pub protocol: Protocol,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// A directory or file of the host; a directory is made where nothing is.
    pub source: PathBuf,
    pub destination: PathBuf,
    pub readonly: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    pub destination: PathBuf,
    /// 0: half of the machine's memory, the kernel's default.
    pub size_mib: u64,
    /// Mount options such as `noexec`.
    pub options: Vec<String>,
}

/// A limit by its name in task definitions: `nofile`, `memlock`, `core` ….
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    pub name: String,
    /// -1 is unlimited.
    pub soft: i64,
    pub hard: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    pub host_path: PathBuf,
    pub container_path: PathBuf,
    /// Some of `r`, `w` and `m`.
    pub permissions: String,
}

/// How long [`Runtime::stop`](crate::Runtime::stop) waits before SIGKILL where the caller has no opinion.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(30);
