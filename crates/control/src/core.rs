//! The machine: inputs in, replies, changes and messages out.

use crate::call::{ApiError, ApiResponse, Call, Ctx, Env, Rng256};
use crate::session::{self, ConnectionId, SessionEvent};
use crate::state::sts::AccessKey;
use crate::state::{Change, Row, State};
use crate::tx::Tx;
use crate::{ecr, ecs, logs, reconcile, sts};
use std::time::Duration;
use stdx::{Rng, Timestamp};

/// What the operator chose, as far as operations answer with it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Base URL that agents poll, without a slash at the end: `http://127.0.0.1:4566`.
    pub endpoint: String,
    /// Host of repository URIs, with `{account}`, `{region}` and `{port}`: `localhost:{port}`.
    pub registry_host: String,
    /// The port of the listener, for `{port}`.
    pub port: u16,
    pub limits: Limits,
}

/// Bounds that an operator may change, with AWS's defaults.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long a STOPPED task, an INACTIVE cluster or instance can still be described. AWS: at least an hour.
    pub retention: Duration,
    /// How long an idempotency token is remembered.
    pub client_token: Duration,
    /// How long an unfinished layer upload is kept, and a layer that no image needs.
    pub layer_upload: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            retention: Duration::from_secs(3600),
            client_token: Duration::from_secs(24 * 3600),
            layer_upload: Duration::from_secs(24 * 3600),
        }
    }
}

/// The randomness of one step, from the shell.
#[derive(Clone, Debug)]
pub struct Entropy {
    /// For ids and choices.
    pub choices: u64,
    /// For keys and tokens.
    pub secrets: Rng256,
}

impl Entropy {
    pub fn new(choices: u64, secrets: [u8; 32]) -> Self {
        Self { choices, secrets: Rng256::new(secrets) }
    }
}

/// What can happen to the control plane.
#[derive(Debug)]
pub enum Input {
    /// A call of an operation that changes something; [`Core::query`] answers the others.
    Call(Box<Call>),
    /// News from an agent's connection.
    Session(SessionEvent),
    /// The moment that the last output asked to be woken at has come, or passed.
    Timer,
    /// Looks at everything again, as if every task had just changed. Finds nothing to do in a system that is in order.
    Sweep,
    /// Keeps a credential made outside: the root user's key at the first start.
    PutAccessKey(AccessKey),
    /// What the registry's `/v2/` front wants done.
    Registry(ecr::Command),
    /// Forgets everything but permanent access keys, and closes the connections of all agents.
    Reset,
}

/// What a step wants done, in this order: changes made durable, then reply and messages sent.
#[derive(Debug, Default)]
pub struct Output {
    pub changes: Vec<Change>,
    /// Set exactly for [`Input::Call`].
    pub reply: Option<Result<ApiResponse, ApiError>>,
    /// Set exactly for [`Input::Registry`].
    pub registry: Option<Result<ecr::Done, ApiError>>,
    pub messages: Vec<Message>,
    /// When [`Input::Timer`] is wanted at the latest.
    pub wake_at: Option<Timestamp>,
}

/// Something to send to a connected agent.
#[derive(Clone, Debug)]
pub struct Message {
    pub connection: ConnectionId,
    pub frame: session::Frame,
}

/// The control plane's state and rules.
#[derive(Debug)]
pub struct Core {
    state: State,
    settings: Settings,
}

impl Core {
    pub fn new(state: State, settings: Settings) -> Self {
        Self { state, settings }
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Answers a read-only operation; `None` for the others, which need [`Core::step`].
    pub fn query(&self, now: Timestamp, call: &Call) -> Option<Result<ApiResponse, ApiError>> {
        let ctx = self.ctx(now, &Entropy::new(0, [0; 32]), call);
        match &call.request {
            crate::ApiRequest::Ecs(request) => ecs::query(&self.state, &ctx, request).map(into),
            crate::ApiRequest::Ecr(request) => ecr::query(&self.state, &ctx, request).map(into),
            crate::ApiRequest::Logs(request) => logs::query(&self.state, &ctx, request).map(into),
            crate::ApiRequest::Sts(request) => sts::query(&self.state, &ctx, request).map(into),
        }
    }

    /// Applies one input. The same state, time, entropy and input give the same output, always.
    pub fn step(&mut self, now: Timestamp, entropy: &Entropy, input: Input) -> Output {
        let mut output = match input {
            Input::Call(call) => self.call(now, entropy, *call),
            Input::Session(event) => self.edit(now, entropy, |tx, env| session::handle(tx, env, event)),
            Input::Timer => self.edit(now, entropy, reconcile::due),
            Input::Sweep => self.edit(now, entropy, session::sweep),
            Input::PutAccessKey(key) => self.edit(now, entropy, |tx, _| {
                tx.put(key);
                Vec::new()
            }),
            Input::Registry(command) => self.registry(now, command),
            Input::Reset => self.reset(),
        };
        output.wake_at = self.state.next_deadline();
        output
    }

    fn call(&mut self, now: Timestamp, entropy: &Entropy, call: Call) -> Output {
        let Self { state, settings } = self;
        let mut ctx = Ctx {
            now,
            scope: call.scope,
            principal: &call.principal,
            settings,
            rng: Rng::new(entropy.choices),
            secrets: entropy.secrets.clone(),
        };
        let mut tx = Tx::new(state);
        let result = match call.request {
            crate::ApiRequest::Ecs(request) => into(ecs::execute(&mut tx, &mut ctx, request)),
            crate::ApiRequest::Ecr(request) => into(ecr::execute(&mut tx, &mut ctx, request)),
            crate::ApiRequest::Logs(request) => into(logs::execute(&mut tx, &mut ctx, request)),
            crate::ApiRequest::Sts(request) => into(sts::execute(&mut tx, &mut ctx, request)),
        };
        if result.is_err() {
            tx.undo();
            return Output { reply: Some(result), ..Output::default() };
        }
        let messages = session::outbox(&mut tx, &mut ctx.env());
        Output { changes: tx.commit(), reply: Some(result), messages, ..Output::default() }
    }

    fn registry(&mut self, now: Timestamp, command: ecr::Command) -> Output {
        let Self { state, settings } = self;
        let mut tx = Tx::new(state);
        let result = ecr::apply(&mut tx, now, settings, command);
        let changes = if result.is_ok() {
            tx.commit()
        } else {
            tx.undo();
            Vec::new()
        };
        Output { changes, registry: Some(result), ..Output::default() }
    }

    fn edit(
        &mut self,
        now: Timestamp,
        entropy: &Entropy,
        change: impl FnOnce(&mut Tx<'_>, &mut Env<'_>) -> Vec<Message>,
    ) -> Output {
        let (mut rng, mut secrets) = (Rng::new(entropy.choices), entropy.secrets.clone());
        let mut env = Env { now, settings: &self.settings, rng: &mut rng, secrets: &mut secrets };
        let mut tx = Tx::new(&mut self.state);
        let mut messages = change(&mut tx, &mut env);
        messages.extend(session::outbox(&mut tx, &mut env));
        Output { changes: tx.commit(), messages, ..Output::default() }
    }

    fn reset(&mut self) -> Output {
        // Who may sign requests is the operator's doing, not the state's.
        let is_kept = |row: &Row| matches!(row, Row::AccessKey(key) if key.expires_at.is_none());
        let (kept, gone): (Vec<Row>, Vec<Row>) = self.state.rows().partition(is_kept);
        let messages = self.state.sessions.close_all();
        let sessions = std::mem::take(&mut self.state.sessions);
        self.state = State { sessions, ..State::default() };
        for row in kept {
            self.state.set(&row.key(), Some(row));
        }
        let changes = gone.iter().map(|row| Change { key: row.key(), row: None }).collect();
        Output { changes, messages, ..Output::default() }
    }

    fn ctx<'a>(&'a self, now: Timestamp, entropy: &Entropy, call: &'a Call) -> Ctx<'a> {
        Ctx {
            now,
            scope: call.scope,
            principal: &call.principal,
            settings: &self.settings,
            rng: Rng::new(entropy.choices),
            secrets: entropy.secrets.clone(),
        }
    }
}

fn into<A: Into<ApiResponse>, E: Into<ApiError>>(result: Result<A, E>) -> Result<ApiResponse, ApiError> {
    result.map(Into::into).map_err(Into::into)
}
