//! ECS tasks, and what they take of their instances.

use super::{ClusterId, InstanceId, Tag, TaskDefinitionId, TaskId, Transport};
use crate::state::{Entity, Indexes};
use api::ecs as model;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use stdx::Timestamp;

/// What tasks take of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub cpu_units: i64,
    pub memory_mib: i64,
    /// Ports with the number of tasks that hold each: a dynamic port may meet one that was just placed.
    pub ports: BTreeMap<(Transport, u16), u32>,
    /// Tasks that are not STOPPED.
    pub tasks: usize,
    /// Of these, the RUNNING ones that are to stay so.
    pub running: usize,
    /// Of these, the ones before RUNNING that are to become it.
    pub pending: usize,
}

impl Usage {
    fn take(&mut self, task: &Task) {
        self.cpu_units += task.demand.cpu_units;
        self.memory_mib += task.demand.memory_mib;
        self.tasks += 1;
        self.running += usize::from(task.is_running());
        self.pending += usize::from(task.is_pending());
        for port in &task.demand.ports {
            *self.ports.entry(*port).or_default() += 1;
        }
    }

    fn give_back(&mut self, task: &Task) {
        self.cpu_units -= task.demand.cpu_units;
        self.memory_mib -= task.demand.memory_mib;
        self.tasks -= 1;
        self.running -= usize::from(task.is_running());
        self.pending -= usize::from(task.is_pending());
        for port in &task.demand.ports {
            if let Some(holders) = self.ports.get_mut(port) {
                *holders -= 1;
                if *holders == 0 {
                    self.ports.remove(port);
                }
            }
        }
    }
}

/// A task's place in its life; it only ever moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TaskStatus {
    Provisioning,
    Pending,
    Activating,
    Running,
    Deactivating,
    Stopping,
    Deprovisioning,
    Stopped,
}

impl TaskStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "PROVISIONING",
            Self::Pending => "PENDING",
            Self::Activating => "ACTIVATING",
            Self::Running => "RUNNING",
            Self::Deactivating => "DEACTIVATING",
            Self::Stopping => "STOPPING",
            Self::Deprovisioning => "DEPROVISIONING",
            Self::Stopped => "STOPPED",
        }
    }
}

/// What a task shall become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DesiredStatus {
    Running,
    Stopped,
}

impl DesiredStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Stopped => "STOPPED",
        }
    }
}

/// What a task takes of its instance from placement until it is STOPPED.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    pub cpu_units: i64,
    pub memory_mib: i64,
    /// Host ports: those that the task definition names, and the dynamic ones once the agent has reported them.
    pub ports: BTreeSet<(Transport, u16)>,
}

/// A container of a task, as far as the agent has reported it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskContainer {
    pub name: String,
    /// The UUID at the end of the container's ARN.
    pub id: String,
    pub status: ContainerStatus,
    pub exit_code: Option<i32>,
    pub reason: Option<String>,
    pub runtime_id: Option<String>,
    pub image_digest: Option<String>,
    pub network_bindings: Vec<Binding>,
    pub health: Health,
}

/// A container's place in its life; it only ever moves forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ContainerStatus {
    #[default]
    Pending,
    Running,
    Stopped,
}

impl ContainerStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Stopped => "STOPPED",
        }
    }
}

/// The result of health checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    #[default]
    Unknown,
    Healthy,
    Unhealthy,
}

/// A container's port on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    pub bind_ip: String,
    pub container_port: u16,
    pub host_port: u16,
    pub transport: Transport,
}

/// An ECS task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub id: TaskId,
    pub sequence: u64,
    pub cluster: ClusterId,
    pub definition: TaskDefinitionId,
    pub instance: Option<InstanceId>,
    pub last_status: TaskStatus,
    pub desired_status: DesiredStatus,
    pub launch_type: LaunchType,
    pub group: String,
    pub started_by: Option<String>,
    #[serde(with = "crate::state::shape")]
    pub overrides: model::TaskOverride,
    pub demand: Demand,
    pub containers: Vec<TaskContainer>,
    pub tags: Vec<Tag>,
    pub enable_execute_command: bool,
    pub reference_id: Option<String>,
    /// What the containers act with, if the definition or the overrides name a role for it.
    pub role_credentials: Option<RoleCredentials>,
    /// What the agent pulls images and writes logs with.
    pub execution_role_credentials: Option<RoleCredentials>,
    /// Starts at 1 and grows with every change that emits an event.
    pub version: i64,
    pub created_at: Timestamp,
    pub connectivity_at: Option<Timestamp>,
    pub pull_started_at: Option<Timestamp>,
    pub pull_stopped_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub stopping_at: Option<Timestamp>,
    pub execution_stopped_at: Option<Timestamp>,
    pub stopped_at: Option<Timestamp>,
    pub stop_code: Option<StopCode>,
    pub stopped_reason: Option<String>,
    /// When a STOPPED task stops being describable.
    pub forget_at: Option<Timestamp>,
}

/// Where a task runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LaunchType {
    Ec2,
    External,
}

/// Why a task stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopCode {
    TaskFailedToStart,
    EssentialContainerExited,
    UserInitiated,
    ServiceSchedulerInitiated,
    SpotInterruption,
    TerminationNotice,
}

impl Task {
    /// Whether the task has given its resources back.
    pub fn is_stopped(&self) -> bool {
        self.last_status == TaskStatus::Stopped
    }

    /// Whether runningTasksCount has it: a task that shall stop leaves the counters at once.
    pub fn is_running(&self) -> bool {
        self.last_status == TaskStatus::Running && self.desired_status == DesiredStatus::Running
    }

    /// Whether pendingTasksCount has it.
    pub fn is_pending(&self) -> bool {
        self.last_status < TaskStatus::Running && self.desired_status == DesiredStatus::Running
    }

    /// The instance of which the task takes its demand.
    fn taking(&self) -> Option<(InstanceId, &Self)> {
        self.instance.filter(|_| !self.is_stopped()).map(|instance| (instance, self))
    }

    /// The credentials of its roles, as far as it has any.
    pub fn credentials(&self) -> impl Iterator<Item = &RoleCredentials> {
        self.role_credentials.iter().chain(&self.execution_role_credentials)
    }
}

/// Temporary credentials that a task's containers, or its agent on their behalf, act with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleCredentials {
    /// Part of the URL that containers fetch them from: stays the same for the life of the task.
    pub credentials_id: String,
    pub role_arn: String,
    /// The id of the [`AccessKey`](crate::state::sts::AccessKey).
    pub access_key: String,
    pub expires_at: Timestamp,
}

impl RoleCredentials {
    /// How long before their end new ones are made.
    const RENEWAL: Duration = Duration::from_secs(15 * 60);

    /// When new ones are due.
    pub fn renew_at(&self) -> Timestamp {
        Timestamp(self.expires_at.0 - i64::try_from(Self::RENEWAL.as_millis()).unwrap_or(0))
    }
}

impl Entity for Task {
    type Id = TaskId;

    fn id(&self) -> TaskId {
        self.id
    }

    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn deadline(&self) -> Option<Timestamp> {
        // Credentials are renewed as long as the task lives; a STOPPED task has none.
        self.forget_at.or_else(|| self.credentials().map(RoleCredentials::renew_at).min())
    }

    fn index(indexes: &mut Indexes, old: Option<&Self>, new: Option<&Self>) {
        indexes.tally_task(old, new);
        let in_cluster = |t: &Self| (t.cluster.clone(), (t.sequence, t.id));
        Indexes::relocate(&mut indexes.tasks_by_cluster, old.map(in_cluster), new.map(in_cluster));
        let on_instance = |t: &Self| t.instance.map(|i| (i, (t.sequence, t.id)));
        Indexes::relocate(
            &mut indexes.tasks_by_instance,
            old.and_then(on_instance),
            new.and_then(on_instance),
        );
        if let Some((instance, task)) = old.and_then(Self::taking)
            && let Some(usage) = indexes.usage.get_mut(&instance)
        {
            usage.give_back(task);
            if usage.tasks == 0 {
                indexes.usage.remove(&instance);
            }
        }
        if let Some((instance, task)) = new.and_then(Self::taking) {
            indexes.usage.entry(instance).or_default().take(task);
        }
    }
}
