//! The loop around the engine: everything that happens goes in, everything that is to be done comes out.

use crate::clock::now;
use crate::config::OnExit;
use crate::convert;
use crate::executor::{Context, Executor};
use crate::logs::{RoleCredentials, remember};
use crate::register::operation;
use crate::session::{Agent, Event};
use crate::state::Journal;
use api::channel::AcsMessage;
use api::ecs;
use engine::{Effect, EffectId, Engine, Failure, Input, Operation, Outcome, Record, Status};
use runtime::{ContainerEvent, Runtime};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use stdx::Chain;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until};

/// Source: ecs-agent-protocol, "At most 10 tasks submit at once".
const SUBMITS_MAX: usize = 10;
/// The steady-state check. Source: ecs-agent-protocol, "Order of work".
const INSPECT: Duration = Duration::from_secs(5 * 60);
/// The wall clock may jump: it is looked at again after this long at the latest.
const NAP_MAX: Duration = Duration::from_secs(60);
/// How much longer than its containers' stop timeouts the end of the agent may take.
const END_GRACE: Duration = Duration::from_secs(10);
/// How long the last reports may take once all containers have stopped.
const REPORT_GRACE: Duration = Duration::from_secs(5);

const TASK_LABEL: &str = "com.amazonaws.ecs.task-arn";
const CONTAINER_LABEL: &str = "com.amazonaws.ecs.container-name";

pub(crate) struct Driver<R: ?Sized> {
    pub(crate) engine: Engine,
    pub(crate) events: mpsc::UnboundedReceiver<Event>,
    pub(crate) exits: broadcast::Receiver<ContainerEvent>,
    pub(crate) journal: Journal<AcsMessage>,
    pub(crate) executor: Arc<Executor<R>>,
    pub(crate) agent: Arc<Agent>,
    pub(crate) roles: RoleCredentials,
    pub(crate) work: Work,
}

/// What runs beside the loop.
pub(crate) struct Work {
    running: JoinSet<()>,
    pulls: BTreeMap<EffectId, AbortHandle>,
    submits: Arc<Semaphore>,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            running: JoinSet::new(),
            pulls: BTreeMap::new(),
            submits: Arc::new(Semaphore::new(SUBMITS_MAX)),
        }
    }
}

impl<R: Runtime + ?Sized> Driver<R> {
    /// Runs until `shutdown` is ready and what follows from it is done.
    pub(crate) async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut end: Option<End> = None;
        let mut inspect = interval_at(Instant::now() + INSPECT, INSPECT);
        inspect.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut runtime_lives = true;
        while !end.as_mut().is_some_and(|e| e.is_reached(&self.engine)) {
            let nap = self.engine.wake_at().map_or(NAP_MAX, |at| at.since(now()).min(NAP_MAX));
            let until = end.as_ref().map_or_else(|| Instant::now() + NAP_MAX, |e| e.deadline);
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(Event::Input(input)) => self.step(*input),
                    Some(Event::Read(look)) => look(&self.engine),
                    None => break,
                },
                exit = self.exits.recv(), if runtime_lives => match exit {
                    Ok(ContainerEvent::Exited { runtime_id, exit }) => {
                        self.step(Input::Exited { runtime_id, exit: convert::exit(exit) });
                    }
                    Err(RecvError::Lagged(_)) => self.inspect(),
                    Err(RecvError::Closed) => runtime_lives = false,
                },
                () = sleep(nap) => self.step(Input::Timer),
                _ = inspect.tick() => self.inspect(),
                Some(_) = self.work.running.join_next(), if !self.work.running.is_empty() => {}
                () = &mut shutdown, if end.is_none() => end = Some(self.begin_end()),
                () = sleep_until(until), if end.is_some() => {}
            }
        }
        self.finish().await;
    }

    fn begin_end(&mut self) -> End {
        match self.agent.config.on_exit {
            OnExit::Keep => End { deadline: Instant::now(), reports_until: None },
            OnExit::Stop => {
                let own =
                    self.engine.tasks().flat_map(|t| &t.plan.containers).filter_map(|c| c.stop_timeout_s);
                let longest = Duration::from_secs(own.max().unwrap_or_default().into());
                let limit = longest.max(self.agent.config.stop_timeout) + END_GRACE;
                self.step(Input::StopAll {
                    reason: "The container instance's agent was shut down".to_owned(),
                });
                End { deadline: Instant::now() + limit, reports_until: None }
            }
        }
    }

    async fn finish(mut self) {
        if !self.engine.all_stopped() && self.agent.config.on_exit == OnExit::Stop {
            tracing::warn!("some containers did not stop in time and are killed");
        }
        self.executor.logs.close().await;
        self.work.running.shutdown().await;
        // The thread only writes what is left.
        drop(tokio::task::spawn_blocking(move || self.journal.close()).await);
    }

    pub(crate) fn step(&mut self, input: Input) {
        if let Input::Message(message) = &input {
            remember(&self.roles, message);
        }
        if let Input::Done { id, .. } = &input {
            self.work.pulls.remove(id);
        }
        for effect in self.engine.step(now(), input) {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Save(record) => {
                if matches!(record, Record::Forgotten(_)) {
                    let mut roles = self.roles.lock().unwrap_or_else(PoisonError::into_inner);
                    roles.retain(|id, _| self.engine.credentials(id).is_some());
                }
                self.journal.save(record);
            }
            Effect::Send(message) => self.journal.send(message),
            Effect::Run { id, operation } => self.operate(id, operation),
            Effect::Cancel { id } => {
                if let Some(pull) = self.work.pulls.remove(&id) {
                    pull.abort();
                }
            }
            Effect::Submit { id, request } => self.submit(id, *request),
        }
    }

    fn operate(&mut self, id: EffectId, operation: Operation) {
        let context = self.context(&operation);
        let is_pull = matches!(operation, Operation::Pull { .. });
        let (executor, engine) = (self.executor.clone(), self.agent.engine.clone());
        let running = self.work.running.spawn(async move {
            let outcome = executor.run(operation, context).await;
            if let Outcome::Failed(failure) = &outcome {
                tracing::warn!(%failure, "an operation of the runtime failed");
            }
            engine.input(Input::Done { id, outcome });
        });
        if is_pull {
            self.work.pulls.insert(id, running);
        }
    }

    fn context(&self, operation: &Operation) -> Context {
        let Operation::Create(spec) = operation else { return Context::default() };
        let label = |name: &str| spec.labels.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v.as_str());
        context(&self.engine, label(TASK_LABEL), label(CONTAINER_LABEL))
    }

    fn submit(&mut self, id: EffectId, request: ecs::SubmitTaskStateChangeRequest) {
        let (agent, executor, submits) =
            (self.agent.clone(), self.executor.clone(), self.work.submits.clone());
        self.work.running.spawn(async move {
            // Whoever sees a container stopped must find all of its log.
            let stopped = request.containers.iter().flatten().filter(|c| c.status.as_deref() == Some("STOPPED"));
            for runtime_id in stopped.filter_map(|c| c.runtime_id.as_deref()) {
                executor.logs.finish(runtime_id).await;
            }
            let Ok(_permit) = submits.acquire().await else { return };
            let call = operation(&agent.config, "SubmitTaskStateChange");
            let reply: Result<ecs::SubmitTaskStateChangeResponse, _> = agent.client.call(call, &request).await;
            let outcome = match reply {
                Ok(_) => Outcome::Submitted,
                Err(error) if error.code() == Some("InvalidParameterException") => {
                    tracing::error!(%error, task = request.task, "the control plane will not take a task's state");
                    Outcome::Refused
                }
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), task = request.task, "cannot report a task's state yet");
                    Outcome::Failed(Failure::new("SubmitTaskStateChange", error.to_string()))
                }
            };
            agent.engine.input(Input::Done { id, outcome });
        });
    }

    /// Compares with what the runtime really has.
    fn inspect(&mut self) {
        let (executor, engine) = (self.executor.clone(), self.agent.engine.clone());
        self.work.running.spawn(async move {
            match executor.runtime.list().await {
                Ok(containers) => {
                    engine.input(Input::Recovered(containers.into_iter().map(convert::found).collect()))
                }
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "the runtime does not list its containers")
                }
            }
        });
    }

    /// Ships the logs of containers that an earlier agent started.
    pub(crate) fn resume_logs(&mut self) {
        for task in self.engine.tasks() {
            for (plan, container) in task.planned() {
                let log = plan.spec.as_ref().ok().map(|s| s.log.clone()).filter(|l| l.driver == "awslogs");
                let (Some(log), Some(runtime_id)) = (log, container.runtime_id.clone()) else { continue };
                let has_ended = container.known == Status::Stopped;
                let context = context(&self.engine, task.arn(), &plan.name);
                let executor = self.executor.clone();
                self.work
                    .running
                    .spawn(async move { executor.resume_log(&runtime_id, &log, &context, has_ended).await });
            }
        }
    }
}

fn context(engine: &Engine, task_arn: &str, container: &str) -> Context {
    let credentials = engine.task(task_arn).and_then(|t| t.plan.execution_credentials_id.clone());
    Context {
        container: container.to_owned(),
        task_id: task_arn.rsplit('/').next().unwrap_or(task_arn).to_owned(),
        execution_credentials_id: credentials,
    }
}

/// What the loop waits for once it was told to end.
struct End {
    deadline: Instant,
    /// Set once all containers have stopped.
    reports_until: Option<Instant>,
}

impl End {
    fn is_reached(&mut self, engine: &Engine) -> bool {
        if Instant::now() >= self.deadline {
            return true;
        }
        if !engine.all_stopped() {
            return false;
        }
        let until = *self.reports_until.get_or_insert_with(|| Instant::now() + REPORT_GRACE);
        self.deadline = self.deadline.min(until);
        engine.all_reported()
    }
}
