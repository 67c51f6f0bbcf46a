//! What goes into the engine and what comes out of it.

use crate::plan::{ContainerSpec, Failure, PortBinding, RegistryAuth};
use crate::task::Task;
use api::acs;
use api::channel::AcsMessage;
use api::ecs::SubmitTaskStateChangeRequest;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;
use stdx::Timestamp;

/// Ties an outcome to the effect that caused it; unique within one life of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EffectId(pub u64);

/// Something that happened. Nothing else changes the engine.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Everything that the runtime has. Must come first: until then nothing is started. May come again at any time
    /// (the steady-state check, or after the runtime's events were missed).
    Recovered(Vec<Found>),
    /// A message from the control plane over ACS.
    Message(AcsMessage),
    /// The ACS session has just been opened: what waits for a retry is sent now.
    Connected,
    /// The end of an effect that has an id. Unknown and repeated ids are ignored.
    Done { id: EffectId, outcome: Outcome },
    /// A container ended. May come before the outcome of its start, and more than once.
    Exited { runtime_id: String, exit: Exit },
    /// What a container's health check says.
    Health { runtime_id: String, health: Health },
    /// The moment of [`Engine::wake_at`](crate::Engine::wake_at) has come, or nothing in particular.
    Timer,
    /// The instance goes down: every task is stopped and no message is taken any more.
    StopAll { reason: String },
}

/// Something to be done by the shell, in the order of the list as far as said here.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Make this durable. It need not be waited for, except by the [`Effect::Send`]s behind it.
    Save(Record),
    /// Send this over ACS once every [`Effect::Save`] before it is durable. If there is no session it is dropped:
    /// the control plane repeats what was not acknowledged.
    Send(AcsMessage),
    /// Ask the runtime. Operations run concurrently; each must end in [`Input::Done`].
    Run { id: EffectId, operation: Operation },
    /// Nobody waits for this pull any more.
    Cancel { id: EffectId },
    /// Call SubmitTaskStateChange once; must end in [`Input::Done`]. Retries are the engine's.
    Submit { id: EffectId, request: Box<SubmitTaskStateChangeRequest> },
}

/// One change of what is remembered over a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// Replaces what was saved of the task with this ARN.
    Task(Box<Task>),
    /// The task with this ARN is forgotten.
    Forgotten(String),
    /// The highest number of a manifest or payload seen.
    Timeline(i64),
}

/// Work for the runtime.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Ends in [`Outcome::Pulled`].
    Pull { image: String, auth: Option<RegistryAuth>, credentials: Option<Box<acs::IAMRoleCredentials>> },
    /// Ends in [`Outcome::Created`].
    Create(Box<ContainerSpec>),
    /// Ends in [`Outcome::Started`].
    Start { runtime_id: String },
    /// Ends in [`Outcome::Stopped`].
    Stop { runtime_id: String, timeout: Duration },
    /// Ends in [`Outcome::Removed`], also if there was nothing to remove.
    Remove { runtime_id: String },
    /// Removes a stopped task's own volumes. Ends in [`Outcome::Removed`].
    RemoveVolumes { task_arn: String },
}

/// How an effect ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Pulled(Pulled),
    Created {
        runtime_id: String,
    },
    Started(Started),
    Stopped(Exit),
    Removed,
    /// The control plane took the report.
    Submitted,
    /// The control plane will never take this report (`InvalidParameterException`).
    Refused,
    /// Anything that went wrong. For reports: to be tried again.
    Failed(Failure),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulled {
    /// `sha256:…`.
    pub digest: String,
    /// When the registry was asked, and when it was done; absent for an image that was here already.
    pub times: Option<(Timestamp, Timestamp)>,
    /// The pull failed, and an image from an earlier pull is used.
    pub warning: Option<Failure>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    pub started_at: Timestamp,
    pub bindings: Vec<PortBinding>,
    pub ip: Option<IpAddr>,
}

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    pub exit_code: i32,
    pub oom_killed: bool,
    pub finished_at: Timestamp,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    #[default]
    Unknown,
    Healthy,
    Unhealthy,
}

/// A container that the runtime has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub runtime_id: String,
    pub name: String,
    pub labels: Vec<(String, String)>,
    pub status: FoundStatus,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundStatus {
    Created,
    Running(Started),
    /// `started` is absent if it never ran.
    Exited {
        started: Option<Started>,
        exit: Exit,
    },
}

impl Found {
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}
