//! What the control plane is told of tasks, when, and until it has taken it.
//!
//! Source: ecs-agent-protocol, "State machine and what is reported" and "SubmitTaskStateChange request".

use crate::effect::{Effect, EffectId, Outcome};
use crate::engine::{Engine, Waiting};
use crate::plan::{ContainerPlan, Network};
use crate::task::{Container, Flight, Status, Task};
use api::ecs;
use std::time::Duration;
use stdx::Timestamp;

/// The bound of a reason's length.
const REASON_MAX: usize = 1024;
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(30);

impl Engine {
    /// Sends a report if there is one and none is under way.
    pub(crate) fn report(&mut self, task: &mut Task, now: Timestamp) {
        let passing = &task.passing;
        if passing.flight.is_some() || passing.report_retry_at.is_some_and(|at| at > now) {
            return;
        }
        let task_changed =
            task.known >= Status::Running && task.known > task.reported || passing.report_again;
        if !task_changed && !self.gathered(task, now) {
            return;
        }
        let containers = task.containers.iter().map(Task::reportable).collect();
        let request = Box::new(request(&self.config.cluster, task));
        let id = self.effect_id(Waiting::Report(task.order));
        self.effects.push(Effect::Submit { id, request });
        let passing = &mut task.passing;
        passing.flight = Some(Flight { id, task: task.known, containers });
        passing.report_retry_at = None;
        passing.gather_until = None;
        passing.report_again = false;
    }

    /// Whether containers have changed, and long enough ago to be told of without the task.
    fn gathered(&mut self, task: &mut Task, now: Timestamp) -> bool {
        if task.known == Status::Stopped || !task.containers.iter().any(changed) {
            task.passing.gather_until = None;
            return false;
        }
        if task.passing.gather_until.is_none() {
            let wait = self.spread(self.config.gather_wait);
            task.passing.gather_until = Some(now.after(wait));
        }
        task.passing.gather_until.is_some_and(|until| until <= now)
    }

    pub(crate) fn report_done(&mut self, task: &mut Task, id: EffectId, outcome: &Outcome, now: Timestamp) {
        let Some(flight) = task.passing.flight.take_if(|f| f.id == id) else { return };
        if matches!(outcome, Outcome::Submitted | Outcome::Refused) {
            task.passing.report_attempts = 0;
            task.passing.unsaved = true;
            task.reported = task.reported.max(flight.task);
            for (container, told) in task.containers.iter_mut().zip(flight.containers) {
                container.reported = container.reported.max(told);
            }
            return;
        }
        // Without this a repetition that the control plane asked for would be lost with its first attempt.
        task.passing.report_again = flight.task <= task.reported && flight.task == Status::Stopped;
        let wait = RETRY_FIRST.saturating_mul(1 << task.passing.report_attempts.min(16)).min(RETRY_MAX);
        task.passing.report_attempts += 1;
        task.passing.report_retry_at = Some(now.after(self.spread(wait)));
        if flight.task < Status::Running {
            task.passing.gather_until = task.passing.report_retry_at;
        }
    }

    /// The control plane can be reached again: no report waits any longer.
    pub(crate) fn retry_reports(&mut self) {
        let mut ready = Vec::new();
        for (key, task) in &mut self.tasks {
            if task.passing.report_retry_at.take().is_some() {
                task.passing.report_attempts = 0;
                ready.push(*key);
            }
        }
        ready.into_iter().for_each(|key| self.touch(key));
    }
}

fn changed(container: &Container) -> bool {
    Task::reportable(container) > container.reported
}

fn request(cluster: &str, task: &Task) -> ecs::SubmitTaskStateChangeRequest {
    let changes: Vec<_> =
        task.planned().filter(|(_, c)| changed(c)).map(|(plan, c)| container_change(plan, c)).collect();
    ecs::SubmitTaskStateChangeRequest {
        cluster: Some(cluster.to_owned()),
        task: Some(task.arn().to_owned()),
        status: Some(task.known.reported().to_owned()),
        reason: Some(shortened(task.reason.as_deref().unwrap_or_default())),
        pull_started_at: task.pull_started_at,
        pull_stopped_at: task.pull_stopped_at,
        execution_stopped_at: task.execution_stopped_at,
        containers: Some(changes).filter(|c| !c.is_empty()),
        ..Default::default()
    }
}

fn container_change(plan: &ContainerPlan, container: &Container) -> ecs::ContainerStateChange {
    let bridge = matches!(plan.spec.as_ref().map(|s| &s.network), Ok(Network::Bridge { .. }));
    let bindings = container.bindings.iter().filter(|_| bridge).map(|b| ecs::NetworkBinding {
        bind_ip: Some(b.host_ip.to_string()),
        container_port: Some(i32::from(b.container_port)),
        host_port: Some(i32::from(b.host_port)),
        protocol: Some(if b.udp { ecs::TransportProtocol::Udp } else { ecs::TransportProtocol::Tcp }),
        ..Default::default()
    });
    ecs::ContainerStateChange {
        container_name: Some(plan.name.clone()),
        status: Some(container.known.reported().to_owned()),
        runtime_id: container.runtime_id.clone(),
        exit_code: container.exit_code().filter(|_| container.known == Status::Stopped),
        image_digest: container.image_digest.clone(),
        network_bindings: Some(bindings.collect::<Vec<_>>()).filter(|b| !b.is_empty()),
        reason: container.failure.as_ref().map(|f| shortened(&f.to_string())),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(REASON_MAX).collect()
}
