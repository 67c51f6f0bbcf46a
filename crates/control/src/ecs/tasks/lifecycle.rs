//! The one way in which a task changes: forward only, each moment noted once, resources given back exactly at STOPPED.

use super::outcome;
use crate::core::Settings;
use crate::session;
use crate::state::ecs::{
    Binding, ContainerStatus, DesiredStatus, Health, StopCode, Task, TaskContainer, TaskId, TaskStatus,
};
use crate::tx::Tx;
use std::sync::Arc;
use stdx::Timestamp;

/// What can happen to a task after it was created.
#[derive(Clone, Debug)]
pub(crate) enum TaskEvent {
    /// It shall stop; the first reason stays.
    Stop { code: StopCode, reason: String },
    /// Its instance is gone with everything on it.
    Lose { code: StopCode, reason: String },
    /// Its agent tells where it stands.
    Report(Report),
    /// Its agent tells the health of its containers, by name.
    Health(Vec<(String, Health)>),
}

/// An agent's report.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// `None` leaves the task where it is; agents know only PENDING, RUNNING and STOPPED.
    pub(crate) status: Option<TaskStatus>,
    pub(crate) reason: Option<String>,
    pub(crate) containers: Vec<ContainerReport>,
    pub(crate) pull_started_at: Option<Timestamp>,
    pub(crate) pull_stopped_at: Option<Timestamp>,
    pub(crate) execution_stopped_at: Option<Timestamp>,
}

/// A container's part of a report.
#[derive(Clone, Debug, Default)]
pub(crate) struct ContainerReport {
    pub(crate) name: String,
    pub(crate) status: Option<ContainerStatus>,
    pub(crate) exit_code: Option<i32>,
    pub(crate) reason: Option<String>,
    pub(crate) runtime_id: Option<String>,
    pub(crate) image_digest: Option<String>,
    pub(crate) network_bindings: Vec<Binding>,
}

/// Lets something happen to a task; a STOPPED one does not change any more. Returns it as it ended.
pub(crate) fn apply(
    tx: &mut Tx<'_>,
    now: Timestamp,
    settings: &Settings,
    id: TaskId,
    event: TaskEvent,
) -> Option<Arc<Task>> {
    let before = tx.get::<Task>(&id)?.clone();
    if before.is_stopped() {
        return Some(before);
    }
    let mut task = (*before).clone();
    match event {
        TaskEvent::Stop { code, reason } => shall_stop(&mut task, now, code, reason),
        TaskEvent::Lose { code, reason } => {
            shall_stop(&mut task, now, code, reason);
            stop(&mut task, now);
        }
        TaskEvent::Report(report) => reported(tx, &mut task, now, report),
        TaskEvent::Health(results) => {
            for (name, health) in results {
                if let Some(container) = task.containers.iter_mut().find(|c| c.name == name) {
                    container.health = health;
                }
            }
        }
    }
    if task == *before {
        return Some(before);
    }
    if task.is_stopped() {
        task.forget_at = Some(now.after(settings.limits.retention));
        session::retire(tx, now, &mut task);
    }
    task.version += 1;
    Some(tx.put(task))
}

fn shall_stop(task: &mut Task, now: Timestamp, code: StopCode, reason: String) {
    if task.desired_status == DesiredStatus::Stopped {
        return;
    }
    task.desired_status = DesiredStatus::Stopped;
    task.stop_code = Some(code);
    task.stopped_reason = Some(reason);
    task.stopping_at = Some(now);
}

/// The end. Containers that were never heard of again have ended with the task.
fn stop(task: &mut Task, now: Timestamp) {
    task.last_status = TaskStatus::Stopped;
    task.desired_status = DesiredStatus::Stopped;
    task.stopping_at.get_or_insert(now);
    task.stopped_at = Some(now);
    if task.started_at.is_some() {
        task.execution_stopped_at.get_or_insert(now);
    }
    for container in &mut task.containers {
        container.status = ContainerStatus::Stopped;
    }
}

fn reported(tx: &Tx<'_>, task: &mut Task, now: Timestamp, report: Report) {
    let Report { status, reason, containers, pull_started_at, pull_stopped_at, execution_stopped_at } =
        report;
    task.pull_started_at = task.pull_started_at.or(pull_started_at);
    task.pull_stopped_at = task.pull_stopped_at.or(pull_stopped_at);
    task.execution_stopped_at = task.execution_stopped_at.or(execution_stopped_at);
    for change in containers {
        container_reported(tx, task, change);
    }
    match status {
        Some(TaskStatus::Running) if task.last_status < TaskStatus::Running => {
            task.last_status = TaskStatus::Running;
            task.started_at = Some(now);
        }
        Some(TaskStatus::Stopped) => {
            let definition = tx.state().task_definitions.get(&task.definition);
            let outcome = outcome::of(task, definition.map(|row| &**row), reason.filter(|r| !r.is_empty()));
            if task.desired_status == DesiredStatus::Running {
                shall_stop(task, now, outcome.0, outcome.1);
            }
            stop(task, now);
        }
        _ => {}
    }
}

fn container_reported(tx: &Tx<'_>, task: &mut Task, change: ContainerReport) {
    let Some(index) = task.containers.iter().position(|c| c.name == change.name) else { return };
    let container = &mut task.containers[index];
    // What an ended container was is settled: reports of its life that come late change nothing.
    if container.status == ContainerStatus::Stopped {
        return;
    }
    merge(container, change);
    if container.status == ContainerStatus::Running && container.network_bindings.is_empty() {
        container.network_bindings = outcome::host_bindings(tx.state(), &task.definition, &container.name);
    }
    let held = task.containers[index].network_bindings.iter().map(|b| (b.transport, b.host_port));
    task.demand.ports.extend(held.filter(|(_, port)| *port != 0));
}

fn merge(container: &mut TaskContainer, change: ContainerReport) {
    let status = change.status.unwrap_or_default();
    container.status = container.status.max(status);
    if status == ContainerStatus::Stopped {
        container.exit_code = change.exit_code;
    }
    let some = |text: Option<String>| text.filter(|t| !t.is_empty());
    container.reason = some(change.reason).or(container.reason.take());
    container.runtime_id = some(change.runtime_id).or(container.runtime_id.take());
    container.image_digest = some(change.image_digest).or(container.image_digest.take());
    if !change.network_bindings.is_empty() {
        container.network_bindings = change.network_bindings;
    }
}
