//! How containers, and with them their task, go forward.
//!
//! Source: ecs-agent-protocol, "How the agent runs a task".

use crate::depends::{self, Readiness};
use crate::docker::set;
use crate::effect::{Effect, EffectId, Exit, Operation};
use crate::engine::{Engine, Waiting};
use crate::plan::{ContainerSpec, Failure, Mount, RegistryAuth};
use crate::task::{Current, Desired, Status, Step, Task};
use api::acs;
use std::time::Duration;
use stdx::Timestamp;

const PULL_LIMIT: Duration = Duration::from_secs(2 * 3600);
const CREATE_LIMIT: Duration = Duration::from_secs(4 * 60);
const START_LIMIT: Duration = Duration::from_secs(3 * 60);
const REMOVE_LIMIT: Duration = Duration::from_secs(5 * 60);
/// How much longer than its timeout a stop may take.
const STOP_GRACE: Duration = Duration::from_secs(2 * 60);
/// How long to wait at a time for an execution role's credentials.
const CREDENTIALS_WAIT: Duration = Duration::from_secs(60);
/// After so many failures a container counts as stopped, and is removed by force.
pub(crate) const STOP_ATTEMPTS: u32 = 5;
/// The exit code of a container whose dependency failed.
const DEPENDENCY_EXIT_CODE: i32 = 143;

impl Engine {
    /// Takes every step that can be taken now.
    pub(crate) fn advance(&mut self, task: &mut Task, now: Timestamp) {
        loop {
            let mut moved = false;
            for index in 0..task.containers.len() {
                self.expire(task, index, now);
                moved |= self.advance_container(task, index, now);
            }
            if !settle_task(task, now) && !moved {
                return;
            }
        }
    }

    fn advance_container(&mut self, task: &mut Task, index: usize, now: Timestamp) -> bool {
        let container = &task.containers[index];
        let passing = &container.passing;
        if let Some(current) = passing.current {
            return task.desired == Desired::Stopped
                && current.step == Step::Pull
                && self.abandon_pull(task, index, current.id);
        }
        if passing.retry_at.is_some_and(|at| at > now) {
            return false;
        }
        match (task.desired, container.known) {
            (_, Status::Stopped) => false,
            (Desired::Stopped, Status::Running) => self.stop_container(task, index, now),
            (Desired::Stopped, _) => {
                task.container_reached(index, Status::Stopped);
                true
            }
            (Desired::Running, _) if !task.admitted => false,
            (Desired::Running, Status::None) => self.pull(task, index, now),
            (Desired::Running, Status::Pulled) => self.create(task, index, now),
            (Desired::Running, Status::Created) => self.start(task, index, Step::Start, now),
            (Desired::Running, Status::Running) => false,
        }
    }

    fn abandon_pull(&mut self, task: &mut Task, index: usize, id: EffectId) -> bool {
        self.waiting.remove(&id);
        self.effects.push(Effect::Cancel { id });
        task.containers[index].passing.current = None;
        task.container_reached(index, Status::Stopped);
        true
    }

    /// Begins an operation that the container waits for.
    fn begin(
        &mut self,
        task: &mut Task,
        index: usize,
        operation: Operation,
        (step, deadline): (Step, Timestamp),
    ) {
        let id = self.run(operation, Waiting::Container(task.order, index));
        task.containers[index].passing.current = Some(Current { id, step, deadline });
        task.containers[index].passing.retry_at = None;
    }

    fn pull(&mut self, task: &mut Task, index: usize, now: Timestamp) -> bool {
        match depends::readiness(task, index, now) {
            Readiness::Ready => {}
            Readiness::Waiting { .. } => return false,
            Readiness::Never(why) => {
                task.containers[index].exit_code_unstarted = Some(DEPENDENCY_EXIT_CODE);
                fail(
                    task,
                    index,
                    Failure::new("CannotStartContainerError", format!("dependency failed: {why}")),
                );
                return true;
            }
        }
        let plan = &task.plan.containers[index];
        let spec = match &plan.spec {
            Ok(spec) => spec,
            Err(failure) => {
                let failure = failure.clone();
                fail(task, index, failure);
                return true;
            }
        };
        let Ok(credentials) = self.pull_credentials(task, index) else {
            task.containers[index].passing.retry_at = Some(now.after(CREDENTIALS_WAIT));
            return false;
        };
        let operation =
            Operation::Pull { image: spec.image.clone(), auth: plan.registry.clone(), credentials };
        self.begin(task, index, operation, (Step::Pull, now.after(PULL_LIMIT)));
        true
    }

    /// The execution role's credentials if the pull is to use them; an error while they have not come.
    fn pull_credentials(
        &self,
        task: &Task,
        index: usize,
    ) -> Result<Option<Box<acs::IAMRoleCredentials>>, ()> {
        let needed = match &task.plan.containers[index].registry {
            Some(RegistryAuth::Ecr { execution_role, .. }) => *execution_role,
            Some(RegistryAuth::SecretsManager { .. }) => true,
            None => false,
        };
        if !needed {
            return Ok(None);
        }
        let id = task.plan.execution_credentials_id.as_ref();
        id.and_then(|id| self.credentials.get(id)).cloned().map(|c| Some(Box::new(c))).ok_or(())
    }

    fn create(&mut self, task: &mut Task, index: usize, now: Timestamp) -> bool {
        let operation = Operation::Create(Box::new(self.spec(task, index)));
        self.begin(task, index, operation, (Step::Create, now.after(CREATE_LIMIT)));
        true
    }

    /// The plan's spec with all that is known only now.
    fn spec(&self, task: &Task, index: usize) -> ContainerSpec {
        let (plan, container) = (&task.plan.containers[index], &task.containers[index]);
        let mut spec = plan.spec.clone().unwrap_or_default();
        spec.name.clone_from(&container.runtime_name);
        spec.image_digest = container.image_digest.clone().unwrap_or_default();
        for (name, value) in [
            ("com.amazonaws.ecs.cluster", &self.config.cluster),
            ("com.amazonaws.ecs.container-name", &plan.name),
            (TASK_LABEL, &task.plan.arn),
            ("com.amazonaws.ecs.task-definition-family", &task.plan.family),
            ("com.amazonaws.ecs.task-definition-version", &task.plan.version),
        ] {
            set(&mut spec.labels, name, value);
        }
        self.agent_environment(task, index, &mut spec.env);
        for from in &plan.volumes_from {
            let source =
                task.plan.container(&from.container).and_then(|i| task.plan.containers[i].spec.as_ref().ok());
            let mounts = source.map(|s| s.mounts.as_slice()).unwrap_or_default();
            spec.mounts
                .extend(mounts.iter().map(|m| Mount { readonly: m.readonly || from.readonly, ..m.clone() }));
        }
        for (other, alias) in &plan.links {
            let ip = task.plan.container(other).and_then(|i| task.containers[i].ip);
            spec.extra_hosts.extend(ip.map(|ip| (alias.clone(), ip)));
        }
        spec
    }

    /// Source: ecs-agent-protocol, "What a container looks like in Docker". The region does not replace the user's.
    fn agent_environment(&self, task: &Task, index: usize, env: &mut Vec<(String, String)>) {
        if !self.config.region.is_empty()
            && !env.iter().any(|(n, _)| n == "AWS_REGION" || n == "AWS_DEFAULT_REGION")
        {
            set(env, "AWS_REGION", &self.config.region);
            set(env, "AWS_DEFAULT_REGION", &self.config.region);
        }
        if !self.config.metadata_endpoints {
            return;
        }
        let id = &task.containers[index].endpoint_id;
        for (name, path) in [
            ("ECS_CONTAINER_METADATA_URI", "v3"),
            ("ECS_CONTAINER_METADATA_URI_V4", "v4"),
            ("ECS_AGENT_URI", "api"),
        ] {
            set(env, name, &format!("http://169.254.170.2/{path}/{id}"));
        }
        if let Some(id) = &task.plan.role_credentials_id {
            set(env, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", &format!("/v2/credentials/{id}"));
        }
    }

    pub(crate) fn start(&mut self, task: &mut Task, index: usize, step: Step, now: Timestamp) -> bool {
        let Some(runtime_id) = task.containers[index].runtime_id.clone() else {
            fail(task, index, vanished());
            return true;
        };
        self.begin(task, index, Operation::Start { runtime_id }, (step, now.after(START_LIMIT)));
        true
    }

    fn stop_container(&mut self, task: &mut Task, index: usize, now: Timestamp) -> bool {
        depends::may_stop(task, index) && self.stop_now(task, index, now)
    }

    /// Stops a container that runs, or may run.
    pub(crate) fn stop_now(&mut self, task: &mut Task, index: usize, now: Timestamp) -> bool {
        let Some(runtime_id) = task.containers[index].runtime_id.clone() else {
            fail(task, index, vanished());
            return true;
        };
        let own = task.plan.containers[index].stop_timeout_s.map(|s| Duration::from_secs(u64::from(s)));
        let timeout = own.unwrap_or(self.config.stop_timeout);
        let operation = Operation::Stop { runtime_id, timeout };
        self.begin(task, index, operation, (Step::Stop, now.after(timeout).after(STOP_GRACE)));
        true
    }

    pub(crate) fn remove_container(&mut self, task: &mut Task, index: usize, now: Timestamp) {
        if let Some(runtime_id) = task.containers[index].runtime_id.clone() {
            self.begin(
                task,
                index,
                Operation::Remove { runtime_id },
                (Step::Remove, now.after(REMOVE_LIMIT)),
            );
        }
    }

    /// Gives up an operation that has not ended in its time. Source: the agent's timeouts.
    fn expire(&mut self, task: &mut Task, index: usize, now: Timestamp) {
        let Some(current) = task.containers[index].passing.current.filter(|c| c.deadline <= now) else {
            return;
        };
        task.containers[index].passing.current = None;
        self.waiting.insert(current.id, Waiting::Nobody);
        match current.step {
            Step::Pull => {
                self.waiting.remove(&current.id);
                self.effects.push(Effect::Cancel { id: current.id });
                fail(task, index, timed_out("pulled", PULL_LIMIT));
            }
            Step::Create => fail(task, index, timed_out("created", CREATE_LIMIT)),
            Step::Start | Step::Restart => {
                // It may run all the same: only a stop makes sure.
                task.containers[index].failure = Some(timed_out("running", START_LIMIT));
                self.stop_now(task, index, now);
            }
            Step::Stop => self.stop_failed(task, index, &timed_out("stopped", STOP_GRACE), now),
            Step::Remove => task.containers[index].passing.retry_at = Some(now.after(REMOVE_LIMIT)),
        }
    }

    /// Tries again, more and more slowly, and in the end counts the container as stopped.
    pub(crate) fn stop_failed(&mut self, task: &mut Task, index: usize, failure: &Failure, now: Timestamp) {
        let passing = &mut task.containers[index].passing;
        passing.stop_attempts += 1;
        if passing.stop_attempts < STOP_ATTEMPTS {
            let wait = Duration::from_secs(1 << passing.stop_attempts);
            passing.retry_at = Some(now.after(wait));
        } else {
            fail(task, index, Failure::new("CannotStopContainerError", failure.message.clone()));
        }
    }

    /// A container has ended: it stops, or starts again by its restart policy.
    pub(crate) fn ended(&mut self, task: &mut Task, index: usize, exit: Exit, now: Timestamp) {
        let container = &mut task.containers[index];
        if container.known == Status::Stopped || container.passing.earlier_exit == Some(exit) {
            return;
        }
        if let Some(current) = container.passing.current {
            if matches!(current.step, Step::Start | Step::Restart) {
                container.passing.early_exit = Some(exit);
                return;
            }
            self.waiting.remove(&current.id);
            container.passing.current = None;
        }
        if may_restart(task, index, exit, now) {
            let container = &mut task.containers[index];
            container.restarts += 1;
            container.passing.earlier_exit = Some(exit);
            task.passing.unsaved = true;
            self.start(task, index, Step::Restart, now);
            return;
        }
        stopped(task, index, exit);
    }
}

/// A container has ended for good.
pub(crate) fn stopped(task: &mut Task, index: usize, exit: Exit) {
    if task.containers[index].known == Status::Stopped {
        return;
    }
    task.containers[index].exit = Some(exit);
    if exit.oom_killed {
        let failure = Failure::new("OutOfMemoryError", "Container killed due to memory usage");
        task.containers[index].failure = Some(failure);
    }
    task.container_reached(index, Status::Stopped);
}

/// Marks the runtime's containers that are ours.
pub(crate) const TASK_LABEL: &str = "com.amazonaws.ecs.task-arn";

/// Source: ecs-facts, "Ordering, health, restart".
fn may_restart(task: &Task, index: usize, exit: Exit, now: Timestamp) -> bool {
    let (plan, container) = (&task.plan.containers[index], &task.containers[index]);
    let Some(policy) = &plan.restart else { return false };
    let period = Duration::from_secs(u64::from(policy.attempt_period_s));
    let long_enough = container.started_at.is_some_and(|at| now.since(at) >= period);
    let running = container.known == Status::Running && task.desired == Desired::Running;
    running && long_enough && !policy.ignored_exit_codes.contains(&exit.exit_code)
}

/// A container that will not run, or not any more, and why.
pub(crate) fn fail(task: &mut Task, index: usize, failure: Failure) {
    task.containers[index].failure = Some(failure);
    task.passing.unsaved = true;
    task.container_reached(index, Status::Stopped);
}

pub(crate) fn vanished() -> Failure {
    Failure::new("ContainerVanishedError", "the container was removed from the runtime by someone else")
}

fn timed_out(state: &str, limit: Duration) -> Failure {
    let s = limit.as_secs();
    let shown = match (s / 3600, s / 60 % 60) {
        (0, minutes) => format!("{minutes}m{}s", s % 60),
        (hours, minutes) => format!("{hours}h{minutes}m{}s", s % 60),
    };
    Failure::new(
        "DockerTimeoutError",
        format!("Could not transition to {state}; timed out after waiting {shown}"),
    )
}

/// What the containers' states mean for the task. True if something changed.
fn settle_task(task: &mut Task, now: Timestamp) -> bool {
    let (desired, known) = (task.desired, task.known);
    let all_stopped = task.containers.iter().all(|c| c.known == Status::Stopped);
    let essential_stopped = task.planned().any(|(plan, c)| plan.essential && c.known == Status::Stopped);
    if task.containers.is_empty() && task.reason.is_none() {
        task.reason = Some("TaskStateError: Agent could not progress task's state to stopped".to_owned());
    }
    if all_stopped || essential_stopped {
        task.stop(None);
    }
    if all_stopped {
        if task.known != Status::Stopped {
            let ends = task.containers.iter().filter_map(|c| c.exit.map(|e| e.finished_at));
            task.execution_stopped_at = ends.max();
            task.stopped_at = Some(now);
        }
        task.reach(Status::Stopped);
    } else if task.desired == Desired::Running {
        let lowest = task.containers.iter().map(|c| c.known.min(Status::Running)).min();
        task.reach(lowest.unwrap_or_default());
    }
    (desired, known) != (task.desired, task.known)
}
