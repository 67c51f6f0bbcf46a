//! The agent's task and container machine: pure and deterministic, so that a simulator can run hundreds of them.
//!
//! [`Engine::step`] takes one [`Input`] and answers with [`Effect`]s; whoever carries those out feeds the outcomes back.
//! Nothing is done twice for one message that comes twice, and states only move forward.

mod advance;
mod config;
mod depends;
mod docker;
mod effect;
mod engine;
mod message;
mod outcome;
mod parse;
mod plan;
mod recover;
mod report;
mod resources;
mod task;

pub use config::{Config, Resources};
pub use effect::{
    Effect, EffectId, Exit, Found, FoundStatus, Health, Input, Operation, Outcome, Pulled, Record, Started,
};
pub use engine::Engine;
pub use plan::{
    Condition, ContainerPlan, ContainerSpec, Demand, Dependency, Device, Failure, LogConfig, Mount,
    MountSource, Network, PortBinding, PortMapping, RegistryAuth, RestartPolicy, TaskPlan, Tmpfs, Ulimit,
    VolumesFrom,
};
pub use recover::Checkpoint;
pub use task::{Container, Desired, Status, Task};
