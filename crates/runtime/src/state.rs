//! What a driver answers: containers and what became of them, as plain data.

use crate::{ContainerSpec, NetworkBinding};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use stdx::Timestamp;

/// Which driver this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeInfo {
    /// `builtin` or `simulated`.
    pub name: &'static str,
    pub version: &'static str,
    /// False where containers are only pretended; `describe-container-instances` says so.
    pub real: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedContainer {
    /// 64 lower-case hexadecimal digits; what `describe-tasks` calls `runtimeId`.
    pub runtime_id: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartedContainer {
    /// Process 1 of the container, as the host numbers it; 0 where there is no process.
    pub pid: u32,
    pub started_at: Timestamp,
    /// In the order of the spec's port mappings.
    pub network_bindings: Vec<NetworkBinding>,
    /// Its address on the driver's bridge.
    pub ip: Option<Ipv4Addr>,
}

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerExit {
    /// 0 to 255; 128 + n when signal n ended it, so 137 after SIGKILL.
    pub exit_code: i32,
    /// The kernel killed one of its processes because the memory limit was reached.
    pub oom_killed: bool,
    pub finished_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerStatus {
    Created,
    Running(StartedContainer),
    /// `started` is absent if it never ran.
    Exited {
        started: Option<StartedContainer>,
        exit: ContainerExit,
    },
}

/// One container that the driver knows, for recovery after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerState {
    pub runtime_id: String,
    /// The spec as it was given to `create`.
    pub spec: ContainerSpec,
    pub created_at: Timestamp,
    pub status: ContainerStatus,
}

/// Counters since the container started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContainerStats {
    pub cpu_ns: u64,
    /// In use without the page cache that can be dropped, as `docker stats` counts it.
    pub memory_bytes: u64,
    /// 0 where there is no limit.
    pub memory_limit_bytes: u64,
    pub processes: u64,
    pub read_bytes: u64,
    pub written_bytes: u64,
    /// Only for containers with an address of their own.
    pub network: Option<NetworkStats>,
}

/// As seen from the container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkStats {
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}

/// Something that happened without being asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerEvent {
    /// Sent once for each end of a container, also when `stop` caused it. An end that was missed while no agent
    /// ran is not sent: [`Runtime::list`](crate::Runtime::list) tells it.
    Exited { runtime_id: String, exit: ContainerExit },
}
