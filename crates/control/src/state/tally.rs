//! Counters of clusters and of task definitions, kept by every change of a task or container instance.

use super::ecs::{
    ClusterId, ContainerInstance, InstanceStatus, LaunchType, Task, TaskDefinition, TaskDefinitionId,
    TaskStatus,
};
use super::{Indexes, Key};
use api::ecs::TaskDefinitionStatus;
use std::time::Duration;
use stdx::Timestamp;

/// How long a task definition that nothing refers to can still be seen as DELETE_IN_PROGRESS. AWS names no time.
const DELETION: Duration = Duration::from_secs(60);

/// Tasks of one launch type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskTally {
    /// PROVISIONING, PENDING and ACTIVATING.
    pub pending: usize,
    pub running: usize,
    /// Every task that is not STOPPED.
    pub live: usize,
}

/// What a cluster holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Container instances that are not INACTIVE.
    pub instances: usize,
    pub ec2: TaskTally,
    pub external: TaskTally,
}

impl Tally {
    /// Tasks of every launch type.
    pub fn tasks(&self) -> TaskTally {
        TaskTally {
            pending: self.ec2.pending + self.external.pending,
            running: self.ec2.running + self.external.running,
            live: self.ec2.live + self.external.live,
        }
    }

    fn of_type(&mut self, launch_type: LaunchType) -> &mut TaskTally {
        match launch_type {
            LaunchType::Ec2 => &mut self.ec2,
            LaunchType::External => &mut self.external,
        }
    }
}

/// What keeps a task definition that is to be deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Referrers {
    /// Tasks that are not STOPPED.
    pub tasks: usize,
    /// When the definition goes once nothing refers to it; set while it is DELETE_IN_PROGRESS.
    pub delete_at: Option<Timestamp>,
}

/// One up for a new row, one down for an old one.
fn step(counter: &mut usize, is_new: bool) {
    if is_new { *counter += 1 } else { *counter -= 1 }
}

impl Indexes {
    pub(super) fn tally_task(&mut self, old: Option<&Task>, new: Option<&Task>) {
        if let Some(task) = old {
            self.count_task(task, false);
        }
        if let Some(task) = new {
            self.count_task(task, true);
        }
    }

    fn count_task(&mut self, task: &Task, is_new: bool) {
        if task.is_stopped() {
            return;
        }
        let is_pending = task.last_status < TaskStatus::Running;
        let is_running = task.last_status == TaskStatus::Running;
        self.tally(&task.cluster, |tally| {
            let tasks = tally.of_type(task.launch_type);
            step(&mut tasks.live, is_new);
            if is_pending {
                step(&mut tasks.pending, is_new);
            }
            if is_running {
                step(&mut tasks.running, is_new);
            }
        });
        self.refer(&task.definition, |referrers| step(&mut referrers.tasks, is_new));
    }

    pub(super) fn tally_instance(
        &mut self,
        old: Option<&ContainerInstance>,
        new: Option<&ContainerInstance>,
    ) {
        for (instance, is_new) in [(old, false), (new, true)] {
            let Some(instance) = instance.filter(|i| i.status != InstanceStatus::Inactive) else { continue };
            self.tally(&instance.cluster, |tally| step(&mut tally.instances, is_new));
        }
    }

    pub(super) fn tally_definition(&mut self, old: Option<&TaskDefinition>, new: Option<&TaskDefinition>) {
        let Some(id) = new.or(old).map(|definition| &definition.id) else { return };
        let status = |d: &TaskDefinition| d.definition.status == Some(TaskDefinitionStatus::DeleteInProgress);
        let delete_at = new
            .filter(|d| status(d))
            .and_then(|d| d.definition.delete_requested_at)
            .map(|requested| requested.after(DELETION));
        self.refer(id, |referrers| referrers.delete_at = delete_at);
    }

    fn tally(&mut self, cluster: &ClusterId, change: impl FnOnce(&mut Tally)) {
        let tally = self.tallies.entry(cluster.clone()).or_default();
        change(tally);
        if *tally == Tally::default() {
            self.tallies.remove(cluster);
        }
    }

    /// Changes who refers to a definition, and with it whether and when it can go.
    fn refer(&mut self, id: &TaskDefinitionId, change: impl FnOnce(&mut Referrers)) {
        let due = |r: &Referrers| r.delete_at.filter(|_| r.tasks == 0);
        let referrers = self.referrers.entry(id.clone()).or_default();
        let before = due(referrers);
        change(referrers);
        let after = due(referrers);
        if *referrers == Referrers::default() {
            self.referrers.remove(id);
        }
        if before == after {
            return;
        }
        if let Some(at) = before {
            self.deadlines.remove(&(at, Key::TaskDefinition(id.clone())));
        }
        if let Some(at) = after {
            self.deadlines.insert((at, Key::TaskDefinition(id.clone())));
        }
    }
}
