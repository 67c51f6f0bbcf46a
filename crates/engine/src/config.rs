//! What the engine must know of its instance.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// Settings that do not change while the engine lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// As configured, a name or an ARN: it goes into reports and labels verbatim.
    pub cluster: String,
    pub container_instance_arn: String,
    pub region: String,
    pub resources: Resources,
    /// For containers without a stop timeout of their own.
    pub stop_timeout: Duration,
    /// How long stopped containers are kept.
    pub cleanup_wait: Duration,
    /// How many stopped tasks are kept at most; beyond that the oldest go before their time.
    pub stopped_tasks_max: usize,
    /// How long container changes are gathered while their task does not change.
    pub gather_wait: Duration,
    /// The runtime runs health checks and tells [`Input::Health`](crate::Input::Health).
    pub health_checks: bool,
    /// Containers are told the addresses of the metadata endpoints.
    pub metadata_endpoints: bool,
}

impl Default for Config {
    /// The defaults of Amazon's agent, for an instance without room.
    fn default() -> Self {
        Self {
            cluster: "default".to_owned(),
            container_instance_arn: String::new(),
            region: String::new(),
            resources: Resources::default(),
            stop_timeout: Duration::from_secs(30),
            cleanup_wait: Duration::from_secs(3 * 3600),
            stopped_tasks_max: 1000,
            gather_wait: Duration::from_secs(10),
            health_checks: false,
            metadata_endpoints: false,
        }
    }
}

/// What an instance has for its tasks, as it registered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    pub cpu_units: i64,
    pub memory_mib: i64,
    /// Ports that no task may have.
    pub reserved_tcp: BTreeSet<u16>,
    pub reserved_udp: BTreeSet<u16>,
}
