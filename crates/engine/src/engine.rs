//! The machine itself: inputs in, effects out.

use crate::config::Config;
use crate::effect::{Effect, EffectId, Input, Operation, Record};
use crate::recover::Checkpoint;
use crate::resources::Taken;
use crate::task::{Cleanup, Desired, Status, Task};
use api::acs;
use api::channel::AcsMessage;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use stdx::{Rng, Timestamp};

/// Tasks count up in the order in which they came.
pub(crate) type TaskKey = u64;

/// What waits for an effect's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    Container(TaskKey, usize),
    Report(TaskKey),
    Volumes(TaskKey),
    /// The outcome is not awaited, but a container that it brings must go.
    Nobody,
}

/// Everything that runs on one container instance, and what is to happen to it.
///
/// Same settings, seed, checkpoint and inputs: same effects.
#[derive(Debug)]
pub struct Engine {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    pub(crate) tasks: BTreeMap<TaskKey, Task>,
    pub(crate) by_arn: BTreeMap<String, TaskKey>,
    pub(crate) by_runtime_id: BTreeMap<String, (TaskKey, usize)>,
    pub(crate) waiting: BTreeMap<EffectId, Waiting>,
    pub(crate) credentials: BTreeMap<String, acs::IAMRoleCredentials>,
    /// The highest number of a manifest or payload.
    pub(crate) timeline: i64,
    /// The manifest that a stop verification may still refer to.
    pub(crate) manifest: Option<String>,
    /// Tasks that have not got their part of the instance, in their order.
    queue: BTreeSet<TaskKey>,
    taken: Taken,
    /// Tasks that only wait to be forgotten, by when they stopped.
    ended: BTreeSet<(Timestamp, TaskKey)>,
    timers: BTreeSet<(Timestamp, TaskKey)>,
    dirty: BTreeSet<TaskKey>,
    pub(crate) recovered: bool,
    pub(crate) stopping: Option<String>,
    next_task: TaskKey,
    next_effect: u64,
    pub(crate) effects: Vec<Effect>,
    /// Messages that go out behind everything that this step saves.
    answers: Vec<AcsMessage>,
}

impl Engine {
    /// An engine that goes on where the checkpoint ends. Its first input must be [`Input::Recovered`].
    ///
    /// The seed must differ from one life to the next: names of containers come from it.
    pub fn new(config: Config, seed: u64, checkpoint: Checkpoint) -> Self {
        let mut engine = Self {
            config,
            rng: Rng::new(seed),
            tasks: BTreeMap::new(),
            by_arn: BTreeMap::new(),
            by_runtime_id: BTreeMap::new(),
            waiting: BTreeMap::new(),
            credentials: BTreeMap::new(),
            timeline: checkpoint.timeline,
            manifest: None,
            queue: BTreeSet::new(),
            taken: Taken::default(),
            ended: BTreeSet::new(),
            timers: BTreeSet::new(),
            dirty: BTreeSet::new(),
            recovered: false,
            stopping: None,
            next_task: 0,
            next_effect: 0,
            effects: Vec::new(),
            answers: Vec::new(),
        };
        for mut task in checkpoint.into_tasks() {
            task.reawaken();
            engine.restore(task);
        }
        engine
    }

    fn restore(&mut self, task: Task) {
        let key = task.order;
        self.next_task = self.next_task.max(key + 1);
        if task.admitted && task.known != Status::Stopped {
            self.taken.take(&task.plan.demand);
        } else if task.desired == Desired::Running {
            self.queue.insert(key);
        }
        for (index, container) in task.containers.iter().enumerate() {
            if let Some(id) = &container.runtime_id {
                self.by_runtime_id.insert(id.clone(), (key, index));
            }
        }
        self.by_arn.insert(task.arn().to_owned(), key);
        self.tasks.insert(key, task);
        self.dirty.insert(key);
    }

    /// Applies one input; what is to be done about it comes back, in order.
    pub fn step(&mut self, now: Timestamp, input: Input) -> Vec<Effect> {
        match input {
            Input::Recovered(found) => self.merge(found, now),
            Input::Message(message) => self.message(message, now),
            Input::Connected => self.retry_reports(),
            Input::Done { id, outcome } => self.done(id, outcome, now),
            Input::Exited { runtime_id, exit } => self.exited(&runtime_id, exit, now),
            Input::Health { runtime_id, health } => self.health(&runtime_id, health),
            Input::Timer => {}
            Input::StopAll { reason } => self.stop_all(reason),
        }
        self.settle(now);
        let answers = std::mem::take(&mut self.answers);
        self.effects.extend(answers.into_iter().map(Effect::Send));
        std::mem::take(&mut self.effects)
    }

    /// When [`Input::Timer`] is to be given at the latest, without any other input.
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Every task that is not forgotten, in the order in which they came.
    pub fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values()
    }

    pub fn task(&self, arn: &str) -> Option<&Task> {
        self.tasks.get(self.by_arn.get(arn)?)
    }

    /// The task that has this container, and the container's position in it.
    pub fn container(&self, runtime_id: &str) -> Option<(&Task, usize)> {
        let (key, index) = self.by_runtime_id.get(runtime_id)?;
        Some((self.tasks.get(key)?, *index))
    }

    /// The newest credentials with this id.
    pub fn credentials(&self, id: &str) -> Option<&acs::IAMRoleCredentials> {
        self.credentials.get(id)
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Every task has stopped.
    pub fn all_stopped(&self) -> bool {
        self.tasks.values().all(|t| t.known == Status::Stopped)
    }

    /// The control plane has accepted where every task stands.
    pub fn all_reported(&self) -> bool {
        self.tasks.values().all(|t| t.known < Status::Running || t.reported >= t.known)
    }

    fn stop_all(&mut self, reason: String) {
        for task in self.tasks.values_mut() {
            task.stop(Some(reason.clone()));
        }
        self.dirty.extend(self.tasks.keys());
        self.stopping = Some(reason);
    }

    /// Sends an answer once this step's changes are durable.
    pub(crate) fn answer(&mut self, message: impl Into<AcsMessage>) {
        self.answers.push(message.into());
    }

    pub(crate) fn touch(&mut self, key: TaskKey) {
        self.dirty.insert(key);
    }

    /// Takes a new task in.
    pub(crate) fn admit_later(&mut self, mut task: Task) {
        let key = self.next_task;
        self.next_task += 1;
        task.order = key;
        task.passing.unsaved = true;
        self.by_arn.insert(task.arn().to_owned(), key);
        self.tasks.insert(key, task);
        self.queue.insert(key);
        self.touch(key);
    }

    pub(crate) fn run(&mut self, operation: Operation, waiting: Waiting) -> EffectId {
        let id = self.effect_id(waiting);
        self.effects.push(Effect::Run { id, operation });
        id
    }

    pub(crate) fn effect_id(&mut self, waiting: Waiting) -> EffectId {
        let id = EffectId(self.next_effect);
        self.next_effect += 1;
        self.waiting.insert(id, waiting);
        id
    }

    /// Lets every consequence follow.
    fn settle(&mut self, now: Timestamp) {
        while let Some(&(at, key)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            self.touch(key);
        }
        loop {
            self.admit();
            let Some(key) = self.dirty.pop_first() else { return };
            self.settle_task(key, now);
        }
    }

    /// Gives tasks their part of the instance, strictly in order: one that does not fit holds up all behind it.
    fn admit(&mut self) {
        while self.recovered
            && let Some(&key) = self.queue.first()
        {
            let Some(task) = self.tasks.get_mut(&key) else {
                self.queue.pop_first();
                continue;
            };
            if task.desired == Desired::Running {
                if !self.taken.fits(&self.config.resources, &task.plan.demand) {
                    return;
                }
                self.taken.take(&task.plan.demand);
                task.admitted = true;
                task.passing.unsaved = true;
                self.dirty.insert(key);
            }
            self.queue.pop_first();
        }
    }

    fn settle_task(&mut self, key: TaskKey, now: Timestamp) {
        let Some(mut task) = self.tasks.remove(&key) else { return };
        let was_stopped = task.known == Status::Stopped;
        if self.recovered {
            self.advance(&mut task, now);
            self.clean_up(&mut task, now);
            self.report(&mut task, now);
            self.limit_ended(&task);
        }
        if task.desired == Desired::Stopped {
            self.queue.remove(&key);
        }
        if task.known == Status::Stopped && !was_stopped {
            self.release(&mut task);
        }
        if let Some(at) = task.passing.wake.take() {
            self.timers.remove(&(at, key));
        }
        if task.passing.cleanup == Cleanup::Done {
            self.forget(&task);
            return;
        }
        if std::mem::take(&mut task.passing.unsaved) {
            self.effects.push(Effect::Save(Record::Task(Box::new(task.clone()))));
        }
        task.passing.wake = self.next_wake(&task, now);
        self.timers.extend(task.passing.wake.map(|at| (at, key)));
        self.tasks.insert(key, task);
    }

    /// A stopped task gives its part back, and its own role's credentials go.
    fn release(&mut self, task: &mut Task) {
        if std::mem::take(&mut task.admitted) {
            self.taken.give_back(&task.plan.demand);
        }
        if let Some(id) = &task.plan.role_credentials_id {
            self.credentials.remove(id);
        }
    }

    /// Short tasks in great numbers must not fill the memory until the clean-up wait is over.
    fn limit_ended(&mut self, task: &Task) {
        if self.cleanup_due(task).is_none() {
            return;
        }
        self.ended.insert((task.stopped_at.unwrap_or_default(), task.order));
        while self.ended.len() > self.config.stopped_tasks_max {
            let Some((_, oldest)) = self.ended.pop_first() else { return };
            if let Some(task) = self.tasks.get_mut(&oldest) {
                task.passing.hurry = true;
                self.dirty.insert(oldest);
            }
        }
    }

    fn forget(&mut self, task: &Task) {
        self.ended.remove(&(task.stopped_at.unwrap_or_default(), task.order));
        self.by_arn.remove(task.arn());
        for id in task.containers.iter().filter_map(|c| c.runtime_id.as_ref()) {
            self.by_runtime_id.remove(id);
        }
        if let Some(id) = &task.plan.execution_credentials_id {
            self.credentials.remove(id);
        }
        self.effects.push(Effect::Save(Record::Forgotten(task.arn().to_owned())));
    }

    /// The least of all moments at which the task has something to do.
    fn next_wake(&self, task: &Task, now: Timestamp) -> Option<Timestamp> {
        let passing = &task.passing;
        let mut moments: Vec<Timestamp> = Vec::new();
        moments.extend(passing.report_retry_at);
        moments.extend(passing.gather_until);
        for (index, container) in task.containers.iter().enumerate() {
            moments.extend(container.passing.retry_at);
            moments.extend(container.passing.current.map(|c| c.deadline));
            if container.known == Status::None && task.admitted {
                let readiness = crate::depends::readiness(task, index, now);
                if let crate::depends::Readiness::Waiting { until } = readiness {
                    moments.extend(until);
                }
            }
        }
        if task.known == Status::Stopped && passing.cleanup == Cleanup::Waiting {
            moments.extend(self.cleanup_due(task));
        }
        // What is overdue has been dealt with in this very step, unless it waits for something else.
        moments.into_iter().filter(|at| *at > now).min()
    }

    /// When a stopped task may be forgotten; never while its end is not reported.
    pub(crate) fn cleanup_due(&self, task: &Task) -> Option<Timestamp> {
        let reported = task.reported == Status::Stopped && !task.passing.report_again;
        let wait = if task.passing.hurry { Duration::ZERO } else { self.config.cleanup_wait };
        task.stopped_at.filter(|_| reported).map(|at| at.after(wait))
    }

    /// A delay that differs from one use to the next, between `delay` and one and a half times it.
    pub(crate) fn spread(&mut self, delay: Duration) -> Duration {
        let half = u64::try_from(delay.as_millis() / 2).unwrap_or(u64::MAX);
        delay + Duration::from_millis(self.rng.below(half))
    }
}
