//! What the runtime answers and tells, brought to the containers that it is about.

use crate::advance::{fail, stopped, vanished};
use crate::effect::{EffectId, Exit, Health, Operation, Outcome, Pulled, Started};
use crate::engine::{Engine, TaskKey, Waiting};
use crate::plan::{Failure, MountSource};
use crate::task::{Cleanup, Status, Step, Task};
use std::time::Duration;
use stdx::Timestamp;

/// Between two attempts to remove a container or volumes.
const REMOVE_RETRY: Duration = Duration::from_secs(60);

impl Engine {
    pub(crate) fn done(&mut self, id: EffectId, outcome: Outcome, now: Timestamp) {
        match self.waiting.remove(&id) {
            Some(Waiting::Container(key, index)) => {
                self.with_task(key, |engine, task| engine.container_done(task, index, (id, outcome), now));
            }
            Some(Waiting::Report(key)) => {
                self.with_task(key, |engine, task| engine.report_done(task, id, &outcome, now));
            }
            Some(Waiting::Volumes(key)) => {
                self.with_task(key, |_, task| task.passing.cleanup = Cleanup::Done);
            }
            Some(Waiting::Nobody) => {
                if let Outcome::Created { runtime_id } = outcome {
                    self.run(Operation::Remove { runtime_id }, Waiting::Nobody);
                }
            }
            None => {}
        }
    }

    /// Works on a task and looks at all consequences afterwards.
    pub(crate) fn with_task(&mut self, key: TaskKey, work: impl FnOnce(&mut Self, &mut Task)) {
        if let Some(mut task) = self.tasks.remove(&key) {
            work(self, &mut task);
            self.tasks.insert(key, task);
            self.touch(key);
        }
    }

    fn container_done(
        &mut self,
        task: &mut Task,
        index: usize,
        (id, outcome): (EffectId, Outcome),
        now: Timestamp,
    ) {
        let passing = &mut task.containers[index].passing;
        let Some(current) = passing.current.filter(|c| c.id == id) else { return };
        passing.current = None;
        match (current.step, outcome) {
            (Step::Pull, Outcome::Pulled(pulled)) => image_pulled(task, index, pulled),
            (Step::Create, Outcome::Created { runtime_id }) => self.created(task, index, runtime_id),
            (Step::Start | Step::Restart, Outcome::Started(started)) => {
                self.started(task, index, started, now)
            }
            (Step::Start | Step::Restart, Outcome::Failed(failure)) => {
                task.containers[index].exit = task.containers[index].passing.early_exit.take();
                fail(task, index, failure);
            }
            (Step::Stop, Outcome::Stopped(exit)) => stopped(task, index, exit),
            (Step::Stop, Outcome::Failed(failure)) if failure.name == "NoSuchContainerError" => {
                fail(task, index, vanished());
            }
            (Step::Stop, Outcome::Failed(failure)) => self.stop_failed(task, index, &failure, now),
            (Step::Remove, Outcome::Removed) => task.containers[index].passing.removed = true,
            (Step::Remove, _) => task.containers[index].passing.retry_at = Some(now.after(REMOVE_RETRY)),
            (_, Outcome::Failed(failure)) => fail(task, index, failure),
            (step, other) => {
                let text = format!("the runtime answered {other:?} to {step:?}");
                fail(task, index, Failure::new("DockerStateError", text));
            }
        }
    }

    pub(crate) fn created(&mut self, task: &mut Task, index: usize, runtime_id: String) {
        self.by_runtime_id.insert(runtime_id.clone(), (task.order, index));
        task.containers[index].runtime_id = Some(runtime_id);
        task.passing.unsaved = true;
        task.container_reached(index, Status::Created);
    }

    pub(crate) fn started(&mut self, task: &mut Task, index: usize, started: Started, now: Timestamp) {
        let container = &mut task.containers[index];
        container.started_at = Some(started.started_at);
        container.bindings = started.bindings;
        container.ip = started.ip;
        let early = container.passing.early_exit.take();
        task.passing.unsaved = true;
        task.container_reached(index, Status::Running);
        if let Some(exit) = early {
            self.ended(task, index, exit, now);
        }
    }

    pub(crate) fn exited(&mut self, runtime_id: &str, exit: Exit, now: Timestamp) {
        if let Some(&(key, index)) = self.by_runtime_id.get(runtime_id) {
            self.with_task(key, |engine, task| engine.ended(task, index, exit, now));
        }
    }

    pub(crate) fn health(&mut self, runtime_id: &str, health: Health) {
        if let Some(&(key, index)) = self.by_runtime_id.get(runtime_id) {
            self.with_task(key, |_, task| task.containers[index].health = health);
        }
    }

    /// Removes what a stopped task left, once it has lain long enough and its end is known to the control plane.
    pub(crate) fn clean_up(&mut self, task: &mut Task, now: Timestamp) {
        if task.known != Status::Stopped {
            return;
        }
        self.remove_unstoppable(task, now);
        if task.passing.cleanup == Cleanup::Waiting && self.cleanup_due(task).is_some_and(|due| due <= now) {
            task.passing.cleanup = Cleanup::Containers;
        }
        if task.passing.cleanup != Cleanup::Containers {
            return;
        }
        for index in 0..task.containers.len() {
            self.remove_once(task, index, now);
        }
        if task.containers.iter().all(|c| c.passing.removed || c.runtime_id.is_none()) {
            task.passing.cleanup = if has_volumes(task) {
                let operation = Operation::RemoveVolumes { task_arn: task.arn().to_owned() };
                self.run(operation, Waiting::Volumes(task.order));
                Cleanup::Volumes
            } else {
                Cleanup::Done
            };
        }
    }

    /// What could not be stopped is not left running until the task is cleaned up.
    fn remove_unstoppable(&mut self, task: &mut Task, now: Timestamp) {
        for index in 0..task.containers.len() {
            if task.containers[index].passing.stop_attempts >= crate::advance::STOP_ATTEMPTS {
                self.remove_once(task, index, now);
            }
        }
    }

    fn remove_once(&mut self, task: &mut Task, index: usize, now: Timestamp) {
        let passing = &task.containers[index].passing;
        if !passing.removed && passing.current.is_none() && passing.retry_at.is_none_or(|at| at <= now) {
            self.remove_container(task, index, now);
        }
    }
}

fn has_volumes(task: &Task) -> bool {
    let specs = task.plan.containers.iter().filter_map(|c| c.spec.as_ref().ok());
    specs.flat_map(|s| &s.mounts).any(|m| matches!(m.source, MountSource::Task { .. }))
}

fn image_pulled(task: &mut Task, index: usize, pulled: Pulled) {
    let container = &mut task.containers[index];
    container.image_digest = Some(pulled.digest).filter(|d| !d.is_empty());
    container.failure = pulled.warning;
    if let Some((began, ended)) = pulled.times {
        task.pull_started_at = task.pull_started_at.into_iter().chain([began]).min();
        task.pull_stopped_at = task.pull_stopped_at.into_iter().chain([ended]).max();
    }
    task.container_reached(index, Status::Pulled);
}
