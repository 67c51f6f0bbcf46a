//! A machine with its agent: the real engine, around which only the outside is simulated.

use crate::event::{Answer, Caller, Event, MachineId};
use crate::faults::Mutation;
use crate::runtime::Runtime;
use crate::setup;
use crate::world::World;
use api::channel::AcsMessage;
use control::session::{AgentInfo, ConnectionId, SessionEvent};
use control::state::ecs::InstanceId;
use control::{ApiError, ApiResponse, Input};
use engine::{Checkpoint, Config, Effect, EffectId, Engine, Failure, Operation, Outcome, Record, Resources};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How often an agent looks at all its containers.
const STEADY_STATE: Duration = Duration::from_secs(300);

/// How long an agent bears silence.
const SILENCE: Duration = Duration::from_secs(90);

/// A machine: what survives its agent, and its agent while it runs.
pub(crate) struct Machine {
    pub(crate) cluster: &'static str,
    /// The instance that the agent has registered, and remembers.
    pub(crate) arn: Option<String>,
    checkpoint: Checkpoint,
    /// Saved, but not yet safe from a crash.
    unsynced: Vec<Record>,
    pub(crate) runtime: Runtime,
    pub(crate) agent: Option<Agent>,
    pub(crate) epoch: u64,
    /// Gone for good.
    pub(crate) is_dead: bool,
}

/// One life of an agent.
pub(crate) struct Agent {
    pub(crate) engine: Option<Engine>,
    pub(crate) connection: Option<ConnectionId>,
    operations: BTreeMap<EffectId, Operation>,
    timer: Option<stdx::Timestamp>,
}

impl Machine {
    pub(crate) fn new(cluster: &'static str) -> Self {
        Self {
            cluster,
            arn: None,
            checkpoint: Checkpoint::default(),
            unsynced: Vec::new(),
            runtime: Runtime::default(),
            agent: None,
            epoch: 0,
            is_dead: false,
        }
    }

    pub(crate) fn instance(&self) -> Option<InstanceId> {
        InstanceId::parse(self.arn.as_ref()?.rsplit('/').next()?)
    }

    fn sync(&mut self) {
        for record in self.unsynced.drain(..) {
            self.checkpoint.apply(record);
        }
    }

    /// The agent of that life, if it still lives.
    fn alive(&mut self, epoch: u64) -> Option<&mut Agent> {
        (self.epoch == epoch).then_some(self.agent.as_mut()).flatten()
    }
}

impl World {
    /// An agent's process starts.
    pub(crate) fn agent_start(&mut self, id: MachineId) {
        let machine = &mut self.machines[id];
        if machine.agent.is_some() || machine.is_dead {
            return;
        }
        machine.epoch += 1;
        machine.agent =
            Some(Agent { engine: None, connection: None, operations: BTreeMap::new(), timer: None });
        let epoch = machine.epoch;
        self.schedule(Duration::from_millis(1), Event::Register(id, epoch));
    }

    /// An agent's process ends, at any moment: of what it was doing some is done and some is not.
    pub(crate) fn agent_crash(&mut self, id: MachineId) {
        let kept = self.rng.index(self.machines[id].unsynced.len() + 1);
        let machine = &mut self.machines[id];
        let Some(agent) = machine.agent.take() else { return };
        machine.unsynced.truncate(kept);
        machine.sync();
        for operation in agent.operations.into_values() {
            if self.rng.chance(1, 2) {
                let now = self.now;
                self.machines[id].runtime.perform(&operation, id, now);
            }
        }
        if let Some(connection) = agent.connection {
            self.cut(connection);
        }
        let wait = Duration::from_millis(self.rng.below(60_000));
        if !self.machines[id].is_dead {
            self.schedule(wait, Event::AgentStart(id));
        }
    }

    /// The agent registers, or tries to again.
    pub(crate) fn register(&mut self, id: MachineId, epoch: u64) {
        let machine = &mut self.machines[id];
        let (cluster, arn) = (machine.cluster, machine.arn.clone());
        if machine.alive(epoch).is_some_and(|agent| agent.engine.is_none()) {
            let request = setup::registration(cluster, arn.as_deref());
            self.send_request(Caller::Register(id, epoch), request);
        }
    }

    pub(crate) fn registered(&mut self, id: MachineId, epoch: u64, answer: &Answer) {
        let machine = &mut self.machines[id];
        if machine.alive(epoch).is_none_or(|agent| agent.engine.is_some()) {
            return;
        }
        match answer {
            Some(Ok(ApiResponse::Ecs(api::ecs::Response::RegisterContainerInstance(response)))) => {
                let instance = response.container_instance.as_ref();
                let arn =
                    instance.and_then(|i| i.container_instance_arn.clone()).expect("an instance has an ARN");
                self.begin(id, epoch, arn);
            }
            // Deregistered meanwhile: nothing of what the agent remembers counts any more.
            Some(Err(ApiError::Ecs(api::ecs::Error::ClientException(_)))) => {
                self.forget_identity(id);
                self.schedule(Duration::from_secs(1), Event::Register(id, epoch));
            }
            _ => self.schedule(Duration::from_secs(3), Event::Register(id, epoch)),
        }
    }

    fn forget_identity(&mut self, id: MachineId) {
        let machine = &mut self.machines[id];
        machine.arn = None;
        machine.unsynced.clear();
        machine.checkpoint = Checkpoint::default();
    }

    fn begin(&mut self, id: MachineId, epoch: u64, arn: String) {
        let seed = self.rng.next_u64();
        let machine = &mut self.machines[id];
        machine.arn = Some(arn.clone());
        let config = Config {
            cluster: machine.cluster.to_owned(),
            container_instance_arn: arn,
            region: "us-east-1".to_owned(),
            resources: Resources {
                cpu_units: setup::CPU_UNITS,
                memory_mib: setup::MEMORY_MIB,
                reserved_tcp: BTreeSet::from([22, 51678]),
                reserved_udp: BTreeSet::new(),
            },
            ..Config::default()
        };
        let engine = Engine::new(config, seed, machine.checkpoint.clone());
        let found = machine.runtime.found();
        if let Some(agent) = machine.alive(epoch) {
            agent.engine = Some(engine);
        }
        self.engine_step(id, engine::Input::Recovered(found));
        self.schedule(Duration::from_millis(5), Event::Connect(id, epoch));
        self.schedule(STEADY_STATE, Event::SteadyState(id, epoch));
    }

    /// The agent compares what it knows with what there is: an operation may end after it was given up.
    pub(crate) fn steady_state(&mut self, id: MachineId, epoch: u64) {
        if self.machines[id].alive(epoch).is_some_and(|agent| agent.engine.is_some()) {
            let found = self.machines[id].runtime.found();
            self.engine_step(id, engine::Input::Recovered(found));
            self.schedule(STEADY_STATE, Event::SteadyState(id, epoch));
        }
    }

    /// The agent opens its connection, or tries to again.
    pub(crate) fn connect(&mut self, id: MachineId, epoch: u64) {
        let instance = self.machines[id].instance();
        let is_waiting =
            self.machines[id].alive(epoch).is_some_and(|a| a.connection.is_none() && a.engine.is_some());
        let (Some(instance), true) = (instance, is_waiting) else { return };
        let wait = Duration::from_millis(250 + self.rng.below(5000));
        let admission =
            self.core.as_ref().map(|core| control::session::admit(core.state(), setup::scope(), instance));
        match admission {
            None => self.schedule(wait, Event::Connect(id, epoch)),
            // The agent is told that its instance is not wanted any more: it begins anew as another.
            Some(Err(_)) => self.begin_anew(id),
            Some(Ok(())) => {
                let connection = ConnectionId(self.next_connection);
                self.next_connection += 1;
                self.connections.insert(connection, id);
                if let Some(agent) = self.machines[id].alive(epoch) {
                    agent.connection = Some(connection);
                }
                let event = SessionEvent::Connected { connection, instance, agent: AgentInfo::default() };
                self.core_step(None, Input::Session(event));
                self.engine_step(id, engine::Input::Connected);
                self.schedule(SILENCE, Event::Silence(id, connection));
            }
        }
    }

    /// On a connection that the core has given up no heartbeat comes any more: the agent gives it up too.
    pub(crate) fn silence(&mut self, id: MachineId, connection: ConnectionId) {
        let is_own =
            self.machines[id].agent.as_ref().is_some_and(|agent| agent.connection == Some(connection));
        let is_open = self.core.as_ref().is_some_and(|core| core.state().sessions.is_open(connection));
        if is_own && is_open {
            self.schedule(SILENCE, Event::Silence(id, connection));
        } else if is_own {
            self.cut(connection);
        }
    }

    fn begin_anew(&mut self, id: MachineId) {
        let machine = &mut self.machines[id];
        machine.agent = None;
        self.forget_identity(id);
        self.schedule(Duration::from_secs(1), Event::AgentStart(id));
    }

    /// A message reaches the agent, if the connection is still its own.
    pub(crate) fn deliver_to_agent(&mut self, id: MachineId, connection: ConnectionId, message: AcsMessage) {
        let agent = self.machines[id].agent.as_ref();
        if agent.is_none_or(|agent| agent.connection != Some(connection)) {
            return;
        }
        if matches!(message, AcsMessage::CloseMessage(_)) {
            return self.cut(connection);
        }
        self.engine_step(id, engine::Input::Message(message));
    }

    /// The connection breaks. The agent notices at once and comes back; the core some time later.
    pub(crate) fn cut(&mut self, connection: ConnectionId) {
        let Some(id) = self.connections.remove(&connection) else { return };
        let late = Duration::from_millis(self.rng.below(60_000));
        self.schedule(late, Event::Gone(connection));
        let machine = &mut self.machines[id];
        let epoch = machine.epoch;
        if let Some(agent) = machine.agent.as_mut().filter(|a| a.connection == Some(connection)) {
            agent.connection = None;
            let wait = Duration::from_millis(250 + self.rng.below(10_000));
            self.schedule(wait, Event::Connect(id, epoch));
        }
    }

    pub(crate) fn engine_timer(&mut self, id: MachineId, epoch: u64) {
        let now = self.now;
        if let Some(agent) = self.machines[id].alive(epoch).filter(|agent| agent.timer == Some(now)) {
            agent.timer = None;
            self.engine_step(id, engine::Input::Timer);
        }
    }

    /// The runtime has finished an operation, or failed in it.
    pub(crate) fn operation_done(&mut self, id: MachineId, epoch: u64, effect: EffectId) {
        let Some(agent) = self.machines[id].alive(epoch) else { return };
        let Some(operation) = agent.operations.remove(&effect) else { return };
        let fails = self.strikes(self.faults.runtime_failure);
        let outcome = if fails {
            let name = match operation {
                Operation::Pull { .. } => "CannotPullContainerError",
                Operation::Create(_) => "CannotCreateContainerError",
                Operation::Start { .. } => "CannotStartContainerError",
                _ => "DockerTimeoutError",
            };
            Outcome::Failed(Failure::new(name, "simulated"))
        } else {
            self.machines[id].runtime.perform(&operation, id, self.now)
        };
        if let (Operation::Start { runtime_id }, Outcome::Started(_)) = (&operation, &outcome) {
            self.started(id, runtime_id);
        }
        self.engine_step(id, engine::Input::Done { id: effect, outcome });
    }

    fn started(&mut self, id: MachineId, runtime_id: &str) {
        if self.mutation == Some(Mutation::StartTwice) {
            self.machines[id].runtime.double(runtime_id, id, self.now);
        }
        if self.strikes(self.faults.exit) {
            let after = Duration::from_millis(self.rng.below(300_000));
            self.schedule(after, Event::Exit(id, runtime_id.to_owned()));
        }
    }

    /// A container ends by itself; its agent hears of it if it lives.
    pub(crate) fn container_exits(&mut self, id: MachineId, runtime_id: &str) {
        if !self.machines[id].runtime.is_running(runtime_id) {
            return;
        }
        let code = if self.rng.chance(1, 2) { 0 } else { 1 };
        let exit = self.machines[id].runtime.end(runtime_id, code, self.now);
        if let Some(exit) = exit {
            self.engine_step(id, engine::Input::Exited { runtime_id: runtime_id.to_owned(), exit });
        }
    }

    /// Feeds the engine, if there is one, and sees to what it wants done.
    pub(crate) fn engine_step(&mut self, id: MachineId, input: engine::Input) {
        let now = self.now;
        let Some(engine) = self.machines[id].agent.as_mut().and_then(|a| a.engine.as_mut()) else { return };
        let effects = engine.step(now, input);
        self.trace.note(now, &format!("engine {id}: {} effects", effects.len()));
        for effect in effects {
            // The process can end between any two of them.
            if self.strikes(self.faults.agent_crash / 8) {
                return self.agent_crash(id);
            }
            self.effect(id, effect);
        }
        self.set_engine_timer(id);
    }

    fn effect(&mut self, id: MachineId, effect: Effect) {
        let epoch = self.machines[id].epoch;
        match effect {
            Effect::Save(record) => self.machines[id].unsynced.push(record),
            Effect::Send(message) => {
                self.machines[id].sync();
                let connection = self.machines[id].agent.as_ref().and_then(|a| a.connection);
                if let Some(connection) = connection {
                    self.send_to_core(connection, message);
                }
            }
            Effect::Run { id: effect, operation } => {
                let slow = self.strikes(self.faults.runtime_slow);
                let most = match operation {
                    Operation::Pull { .. } => 5000,
                    Operation::Stop { .. } => 10_000,
                    _ => 200,
                };
                let wait = 1 + self.rng.below(if slow { 400_000 } else { most });
                if let Some(agent) = self.machines[id].agent.as_mut() {
                    agent.operations.insert(effect, operation);
                }
                self.schedule(Duration::from_millis(wait), Event::Done(id, epoch, effect));
            }
            Effect::Cancel { .. } => {}
            Effect::Submit { id: effect, request } => {
                let request = api::ecs::Request::SubmitTaskStateChange(request);
                self.send_request(Caller::Submit(id, epoch, effect), request);
            }
        }
    }

    fn set_engine_timer(&mut self, id: MachineId) {
        let machine = &mut self.machines[id];
        let epoch = machine.epoch;
        let Some(agent) = machine.agent.as_mut() else { return };
        let Some(at) = agent.engine.as_ref().and_then(Engine::wake_at).map(|at| at.max(self.now)) else {
            return;
        };
        if agent.timer.is_none_or(|set| at < set) {
            agent.timer = Some(at);
            self.schedule_at(at, Event::EngineTimer(id, epoch));
        }
    }

    /// The answer to a report.
    pub(crate) fn submitted(&mut self, id: MachineId, epoch: u64, effect: EffectId, answer: &Answer) {
        if self.machines[id].alive(epoch).is_none() {
            return;
        }
        let outcome = match answer {
            Some(Ok(_)) => Outcome::Submitted,
            Some(Err(ApiError::Ecs(api::ecs::Error::InvalidParameterException(_)))) => Outcome::Refused,
            _ => Outcome::Failed(Failure::new("RequestError", "simulated")),
        };
        self.engine_step(id, engine::Input::Done { id: effect, outcome });
    }
}
