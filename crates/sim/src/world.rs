//! A world: the core with its store, machines with their agents, a network between them, and one heap of events.

use crate::agent::Machine;
use crate::checks::{self, Seen};
use crate::client::Client;
use crate::disk::{Commit, Disk};
use crate::event::{Answer, Caller, Event, MachineId};
use crate::faults::{Faults, Mutation};
use crate::setup;
use crate::trace::Trace;
use crate::twin::Twin;
use control::session::{ConnectionId, SessionEvent};
use control::state::ecs::TaskId;
use control::{Call, Core, Entropy, Input};
use std::collections::BTreeMap;
use std::time::Duration;
use stdx::{Rng, Timestamp};

/// How long calls and faults go on.
const STORM: Duration = Duration::from_secs(600);
/// How long things may take to settle: resends, reconnections and hanging pulls included. As long again nothing may
/// stir any more.
const CALM: Duration = Duration::from_secs(1500);
/// Longer than STOPPED tasks can be described.
const REST: Duration = Duration::from_secs(3 * 3600);

/// What a seed found wrong.
#[derive(Debug)]
pub struct Broken {
    pub seed: u64,
    pub at: Timestamp,
    pub what: String,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "seed {} at {} ms: {}", self.seed, self.at.0 - setup::START.0, self.what)
    }
}

/// What happened in a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    pub hash: u64,
    pub events: u64,
    pub tasks: usize,
    pub restarts: u64,
}

/// Everything, in one thread.
pub struct World {
    seed: u64,
    pub(crate) rng: Rng,
    pub(crate) now: Timestamp,
    heap: BTreeMap<(Timestamp, u64), Event>,
    sequence: u64,
    pub(crate) faults: Faults,
    pub(crate) mutation: Option<Mutation>,
    pub(crate) core: Option<Core>,
    core_timer: Option<Timestamp>,
    pub(crate) disk: Disk,
    is_flushing: bool,
    pub(crate) machines: Vec<Machine>,
    pub(crate) connections: BTreeMap<ConnectionId, MachineId>,
    pub(crate) next_connection: u64,
    pub(crate) client: Client,
    pub(crate) seen: BTreeMap<TaskId, Seen>,
    pub(crate) durable: BTreeMap<TaskId, Seen>,
    pub(crate) twin: Option<Twin>,
    pub(crate) trace: Trace,
    /// The highest number of a payload or manifest so far.
    pub(crate) timeline: i64,
    broken: Option<String>,
    is_stormy: bool,
    events: u64,
    tasks: usize,
    restarts: u64,
}

impl World {
    pub fn new(seed: u64, mutation: Option<Mutation>, keep_lines: bool) -> Self {
        let mut rng = Rng::new(seed);
        let faults = Faults::draw(&mut rng);
        let machines = 2 + rng.index(4);
        let machines =
            (0..machines).map(|n| Machine::new(setup::CLUSTERS[usize::from(n % 3 == 2)])).collect();
        Self {
            seed,
            rng,
            now: setup::START,
            heap: BTreeMap::new(),
            sequence: 0,
            faults,
            mutation,
            core: Some(checks::core(control::State::default())),
            core_timer: None,
            disk: Disk::default(),
            is_flushing: false,
            machines,
            connections: BTreeMap::new(),
            next_connection: 1,
            client: Client::default(),
            seen: BTreeMap::new(),
            durable: BTreeMap::new(),
            twin: None,
            trace: Trace::new(keep_lines),
            timeline: 0,
            broken: None,
            is_stormy: true,
            events: 0,
            tasks: 0,
            restarts: 0,
        }
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.trace.into_lines()
    }

    /// The whole life: storm, calm, end.
    pub fn live(&mut self) -> Result<Summary, Broken> {
        let faults = format!("{:?}", self.faults);
        self.trace.note(self.now, &faults);
        for request in setup::calls() {
            self.core_step(Some((Caller::Client, setup::call(request))), Input::Sweep);
        }
        for id in 0..self.machines.len() {
            self.schedule(Duration::from_millis(id as u64), Event::AgentStart(id));
        }
        self.schedule(Duration::from_secs(1), Event::Workload);
        self.schedule(Duration::from_secs(1), Event::Chaos);
        self.run_for(STORM)?;
        self.is_stormy = false;
        self.faults = Faults::default();
        self.start_core();
        for id in 0..self.machines.len() {
            self.schedule(Duration::ZERO, Event::AgentStart(id));
        }
        self.run_for(CALM)?;
        let given_up = self.given_up();
        self.run_for(CALM)?;
        let acknowledged = self.check_acknowledged(given_up);
        let converged = self.check_converged().and(acknowledged).and_then(|()| self.check_sweep());
        self.hold(converged)?;
        for request in self.last_calls() {
            self.send_request(Caller::Client, request);
        }
        self.run_for(REST)?;
        let empty = self.check_empty();
        self.hold(empty)?;
        Ok(Summary {
            hash: self.trace.hash(),
            events: self.events,
            tasks: self.tasks,
            restarts: self.restarts,
        })
    }

    fn hold(&self, check: Result<(), String>) -> Result<(), Broken> {
        check.map_err(|what| Broken { seed: self.seed, at: self.now, what })
    }

    /// Notes the first thing that does not hold.
    fn must(&mut self, check: Result<(), String>) {
        if let Err(what) = check {
            self.trace.note(self.now, &format!("BROKEN: {what}"));
            self.broken.get_or_insert(what);
        }
    }

    fn run_for(&mut self, time: Duration) -> Result<(), Broken> {
        let end = self.now.after(time);
        while let Some(entry) = self.heap.first_entry()
            && entry.key().0 <= end
        {
            let ((at, _), event) = entry.remove_entry();
            self.now = self.now.max(at);
            self.events += 1;
            self.handle(event);
            if let Some(what) = self.broken.take() {
                return Err(Broken { seed: self.seed, at: self.now, what });
            }
        }
        self.now = end;
        Ok(())
    }

    pub(crate) fn schedule(&mut self, wait: Duration, event: Event) {
        self.schedule_at(self.now.after(wait), event);
    }

    pub(crate) fn schedule_at(&mut self, at: Timestamp, event: Event) {
        self.sequence += 1;
        self.heap.insert((at, self.sequence), event);
    }

    /// Whether a fault of that many in a thousand happens now.
    pub(crate) fn strikes(&mut self, rate: u64) -> bool {
        rate > 0 && self.rng.chance(rate, 1000)
    }

    pub(crate) fn entropy(&mut self) -> Entropy {
        let mut secrets = [0; 32];
        secrets[..8].copy_from_slice(&self.rng.next_u64().to_le_bytes());
        Entropy::new(self.rng.next_u64(), secrets)
    }

    fn handle(&mut self, event: Event) {
        self.note(&event);
        // Only these change what runs.
        let is_runtime = matches!(event, Event::Done(..) | Event::Chaos | Event::ToAgent(..));
        match event {
            Event::Workload => self.workload(),
            Event::Chaos => self.chaos(),
            Event::Request(caller, request) => self.take_request(caller, *request),
            Event::Answer(caller, answer) => self.take_answer(caller, &answer),
            Event::Flush => self.flush(),
            Event::CoreTimer => self.core_timer_rings(),
            Event::CoreStart => self.start_core(),
            Event::AgentStart(id) => self.agent_start(id),
            Event::Register(id, epoch) => self.register(id, epoch),
            Event::Connect(id, epoch) => self.connect(id, epoch),
            Event::ToAgent(id, connection, message) => self.deliver_to_agent(id, connection, *message),
            Event::ToCore(connection, frame) => {
                let is_open = self.connections.contains_key(&connection);
                if is_open && self.core.is_some() {
                    self.core_step(None, Input::Session(SessionEvent::Acs { connection, frame: *frame }));
                }
            }
            Event::Gone(connection) => {
                if self.core.is_some() {
                    self.core_step(None, Input::Session(SessionEvent::Disconnected { connection }));
                }
            }
            Event::EngineTimer(id, epoch) => self.engine_timer(id, epoch),
            Event::SteadyState(id, epoch) => self.steady_state(id, epoch),
            Event::Silence(id, connection) => self.silence(id, connection),
            Event::Done(id, epoch, effect) => self.operation_done(id, epoch, effect),
            Event::Exit(id, runtime_id) => self.container_exits(id, &runtime_id),
        }
        if is_runtime {
            let copies = self.check_copies();
            self.must(copies);
        }
    }

    fn workload(&mut self) {
        if self.is_stormy {
            let request = self.random_call();
            self.send_request(Caller::Client, request);
            let wait = Duration::from_millis(self.rng.below(8000));
            self.schedule(wait, Event::Workload);
        }
    }

    fn chaos(&mut self) {
        if !self.is_stormy {
            return;
        }
        if self.strikes(self.faults.core_crash) {
            self.crash_core();
        }
        for id in 0..self.machines.len() {
            if self.strikes(self.faults.death) {
                self.machines[id].is_dead = true;
                self.agent_crash(id);
            } else if self.strikes(self.faults.agent_crash) {
                self.agent_crash(id);
            }
            let connection = self.machines[id].agent.as_ref().and_then(|agent| agent.connection);
            if let Some(connection) = connection
                && self.strikes(self.faults.cut)
            {
                self.cut(connection);
            }
        }
        if self.twin.is_none() && self.rng.chance(1, 10) {
            self.make_twin();
        }
        self.schedule(Duration::from_secs(3), Event::Chaos);
    }

    fn take_request(&mut self, caller: Caller, request: api::ecs::Request) {
        if self.core.is_none() {
            return self.send_answer(caller, None);
        }
        if let api::ecs::Request::SubmitTaskStateChange(report) = &request
            && self.mutation == Some(Mutation::SwallowStops)
            && report.status.as_deref() == Some("STOPPED")
        {
            let response = api::ecs::SubmitTaskStateChangeResponse::default();
            let response = api::ecs::Response::SubmitTaskStateChange(response);
            return self.send_answer(caller, Some(Ok(response.into())));
        }
        self.core_step(Some((caller, setup::call(request))), Input::Sweep);
    }

    /// One step of the core; with a call, the input is that call.
    pub(crate) fn core_step(&mut self, call: Option<(Caller, Call)>, input: Input) {
        let entropy = self.entropy();
        let now = self.now;
        let Some(core) = &mut self.core else { return };
        let (caller, call) = call.map_or((None, None), |(caller, call)| (Some(caller), Some(call)));
        if let (Some(call), Some(caller)) = (&call, caller)
            && let Some(answer) = core.query(now, call)
        {
            let commit =
                Commit { changes: Vec::new(), reply: Some((caller, Some(answer))), messages: Vec::new() };
            return self.submit(commit);
        }
        let before = (self.sequence.is_multiple_of(64) && caller == Some(Caller::Client))
            .then(|| checks::fingerprint(core.state()));
        let input = call.as_ref().map_or(input, |call| Input::Call(Box::new(call.clone())));
        let output = core.step(now, &entropy, input);
        if let (Some(before), Some(Err(error))) = (before, &output.reply)
            && (!output.changes.is_empty() || before != checks::fingerprint(core.state()))
        {
            let what = format!("a call that failed changed something: {error}");
            return self.must(Err(what));
        }
        let state = if output.changes.is_empty() { Ok(()) } else { checks::check_state(core) };
        self.must(state);
        let compared = self.compare(now, &entropy, call.as_ref(), &output);
        self.must(compared);
        let changes = self.check_changes(&output.changes);
        self.must(changes);
        self.set_core_timer(output.wake_at);
        let reply = caller.and_then(|caller| output.reply.map(|reply| (caller, Some(reply))));
        self.submit(Commit { changes: output.changes, reply, messages: output.messages });
    }

    fn submit(&mut self, commit: Commit) {
        self.disk.waiting.push_back(commit);
        if !self.is_flushing {
            self.is_flushing = true;
            let most = if self.strikes(self.faults.slow_commit) { 1000 } else { 5 };
            let wait = Duration::from_millis(1 + self.rng.below(most));
            self.schedule(wait, Event::Flush);
        }
    }

    /// What was waiting becomes durable, and what waited for it leaves.
    fn flush(&mut self) {
        self.is_flushing = false;
        while let Some(commit) = self.disk.flush_one() {
            self.note_durable(&commit.changes);
            for change in &commit.changes {
                let (key, _) = control::state::record::encode(change).unwrap_or_default();
                self.trace.bytes(&key);
            }
            for message in &commit.messages {
                let numbered = self.check_number(message);
                self.must(numbered);
                self.send_to_agent(message.connection, &message.frame);
            }
            if let Some((caller, answer)) = commit.reply {
                self.send_answer(caller, answer);
            }
        }
    }

    fn set_core_timer(&mut self, wake_at: Option<Timestamp>) {
        let Some(at) = wake_at.map(|at| at.max(self.now)) else { return };
        if self.core_timer.is_none_or(|set| at < set) {
            self.core_timer = Some(at);
            self.schedule_at(at, Event::CoreTimer);
        }
    }

    fn core_timer_rings(&mut self) {
        // One that was set before a nearer one, and has been overtaken by it.
        if self.core_timer != Some(self.now) {
            return;
        }
        self.core_timer = None;
        let next = self.core.as_ref().and_then(|core| core.state().next_deadline());
        match next {
            Some(at) if at <= self.now => self.core_step(None, Input::Timer),
            later => self.set_core_timer(later),
        }
    }

    fn crash_core(&mut self) {
        if self.core.take().is_none() {
            return;
        }
        self.restarts += 1;
        self.twin = None;
        self.core_timer = None;
        self.is_flushing = false;
        self.heap.retain(|_, event| !matches!(event, Event::Flush | Event::CoreTimer | Event::Gone(_)));
        let waiting = self.disk.waiting.len();
        let kept = self.rng.index(waiting + 1);
        let callers = self.disk.crash(kept, self.mutation);
        self.trace.note(self.now, &format!("the core crashes; of {waiting} commits {kept} are kept"));
        for caller in callers {
            self.schedule(Duration::from_secs(5), Event::Answer(caller, Box::new(None)));
        }
        let open: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for connection in open {
            self.cut(connection);
        }
        let wait = Duration::from_millis(self.rng.below(20_000));
        self.schedule(wait, Event::CoreStart);
    }

    fn start_core(&mut self) {
        if self.core.is_some() {
            return;
        }
        let state = self.disk.load(self.mutation);
        let recovered = self.check_recovery(&state);
        self.must(recovered);
        let core = checks::core(state);
        let wake_at = core.state().next_deadline();
        self.core = Some(core);
        self.set_core_timer(wake_at);
    }

    fn take_answer(&mut self, caller: Caller, answer: &Answer) {
        match caller {
            Caller::Client => {
                if let Some(Ok(control::ApiResponse::Ecs(response))) = answer {
                    self.client.learn(response);
                    if let api::ecs::Response::RunTask(response) = response {
                        self.tasks += response.tasks.as_ref().map_or(0, Vec::len);
                    }
                }
            }
            Caller::Register(id, epoch) => self.registered(id, epoch, answer),
            Caller::Submit(id, epoch, effect) => self.submitted(id, epoch, effect, answer),
        }
    }
}
