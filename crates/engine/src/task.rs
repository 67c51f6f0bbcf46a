//! Tasks and containers as they are, which is what the engine remembers over a restart.

use crate::effect::{EffectId, Exit, Health};
use crate::plan::{ContainerPlan, Failure, PortBinding, TaskPlan};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;
use stdx::Timestamp;

/// How far something has come; it only ever grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Status {
    #[default]
    None,
    Pulled,
    Created,
    Running,
    Stopped,
}

impl Status {
    /// As `SubmitTaskStateChange` calls it: everything before running is `PENDING`.
    pub fn reported(self) -> &'static str {
        match self {
            Self::None | Self::Pulled | Self::Created => "PENDING",
            Self::Running => "RUNNING",
            Self::Stopped => "STOPPED",
        }
    }
}

/// Where a task is to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Desired {
    #[default]
    Running,
    Stopped,
}

/// One task of this instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub plan: Arc<TaskPlan>,
    /// Grows with every task that the instance is given.
    pub order: u64,
    pub desired: Desired,
    pub known: Status,
    /// The task's part of the instance is its own; false while it waits for others to stop.
    pub admitted: bool,
    /// Why the task as a whole stopped, where no container's failure says it.
    pub reason: Option<String>,
    pub containers: Vec<Container>,
    pub accepted_at: Timestamp,
    pub pull_started_at: Option<Timestamp>,
    pub pull_stopped_at: Option<Timestamp>,
    pub execution_stopped_at: Option<Timestamp>,
    pub stopped_at: Option<Timestamp>,
    /// What the control plane has accepted.
    pub reported: Status,
    /// The payload could not be understood: it is never acknowledged.
    pub(crate) unreadable: bool,
    /// What one life of the engine knows and the next finds out again.
    #[serde(skip)]
    pub(crate) passing: PassingTask,
}

impl Task {
    pub fn arn(&self) -> &str {
        &self.plan.arn
    }

    /// Each container with its plan, in the order of the task definition.
    pub fn planned(&self) -> impl Iterator<Item = (&ContainerPlan, &Container)> {
        self.plan.containers.iter().zip(&self.containers)
    }

    /// Where the container stands as the control plane is to see it, if it is to see anything.
    pub(crate) fn reportable(container: &Container) -> Status {
        match container.known {
            Status::Created | Status::Pulled if container.image_digest.is_some() => Status::Pulled,
            Status::None | Status::Pulled | Status::Created => Status::None,
            later => later,
        }
    }

    /// Moves on; nothing ever moves back.
    pub(crate) fn reach(&mut self, status: Status) {
        if status > self.known {
            self.known = status;
            self.passing.unsaved = true;
        }
    }

    /// As [`Task::reach`], for a container.
    pub(crate) fn container_reached(&mut self, index: usize, status: Status) {
        let container = &mut self.containers[index];
        if status > container.known {
            container.known = status;
            self.passing.unsaved = true;
        }
    }

    /// Wants the task stopped; the first reason stays.
    pub(crate) fn stop(&mut self, reason: Option<String>) {
        if self.desired == Desired::Running {
            self.desired = Desired::Stopped;
            self.reason = self.reason.take().or(reason);
            self.passing.unsaved = true;
        }
    }

    /// Drops what a new life of the engine cannot know.
    pub(crate) fn reawaken(&mut self) {
        self.passing = PassingTask::default();
        for container in &mut self.containers {
            container.passing = PassingContainer::default();
        }
    }
}

/// One container of a task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Container {
    pub known: Status,
    /// The container's name in the runtime.
    pub runtime_name: String,
    /// Names the container in the URLs of its metadata endpoints.
    pub endpoint_id: String,
    pub runtime_id: Option<String>,
    pub image_digest: Option<String>,
    /// The last start.
    pub started_at: Option<Timestamp>,
    pub bindings: Vec<PortBinding>,
    pub ip: Option<IpAddr>,
    pub exit: Option<Exit>,
    /// Stands in for an exit code where the container never ran.
    pub exit_code_unstarted: Option<i32>,
    /// What went wrong; a running container may carry one too.
    pub failure: Option<Failure>,
    pub health: Health,
    /// Starts after the first one, by the restart policy.
    pub restarts: u32,
    /// What the control plane has accepted.
    pub reported: Status,
    #[serde(skip)]
    pub(crate) passing: PassingContainer,
}

impl Container {
    /// The code to report, once the container has stopped.
    pub fn exit_code(&self) -> Option<i32> {
        self.exit.map(|e| e.exit_code).or(self.exit_code_unstarted)
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PassingTask {
    /// The report on its way, and what it says.
    pub flight: Option<Flight>,
    /// The control plane asked again although it had been told.
    pub report_again: bool,
    pub report_attempts: u32,
    pub report_retry_at: Option<Timestamp>,
    /// Containers have changed and the task has not: they are gathered until then.
    pub gather_until: Option<Timestamp>,
    /// When something is to be done next without any other cause.
    pub wake: Option<Timestamp>,
    pub cleanup: Cleanup,
    /// Too many tasks have stopped since: this one does not wait any longer to be forgotten.
    pub hurry: bool,
    /// Differs from what was last saved.
    pub unsaved: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PassingContainer {
    pub current: Option<Current>,
    /// An end that was heard of before the start's own outcome.
    pub early_exit: Option<Exit>,
    /// The end after which the container was started again, so that a repeated message about it is known.
    pub earlier_exit: Option<Exit>,
    pub stop_attempts: u32,
    pub retry_at: Option<Timestamp>,
    pub removed: bool,
}

/// The operation that a container waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Current {
    pub id: EffectId,
    pub step: Step,
    pub deadline: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Pull,
    Create,
    Start,
    Restart,
    Stop,
    Remove,
}

/// A report that was sent and not yet answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Flight {
    pub id: EffectId,
    pub task: Status,
    pub containers: Vec<Status>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Cleanup {
    #[default]
    Waiting,
    Containers,
    Volumes,
    Done,
}
