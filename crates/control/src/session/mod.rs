//! Agents' connections: what was sent, what was acknowledged, what must be sent again.
//!
//! Nothing here is stored. A connection that opens is told everything that its agent may not know, so that neither a
//! restart of the control plane nor a lost connection loses anything; agents take every message twice without harm.
//! The shell sends the heartbeats, and acknowledges what comes over TCS.

mod credentials;
mod health;
mod messages;
mod outbox;
mod payload;

pub(crate) use credentials::{mint, renew, retire};
pub use health::InstanceHealth;
pub(crate) use outbox::{due, outbox, sweep};

use crate::call::Env;
use crate::core::Message;
use crate::state::ecs::{ContainerInstance, DesiredStatus, InstanceId, InstanceStatus, TaskId};
use crate::state::{Scope, State};
use crate::tx::Tx;
use api::channel::{AcsMessage, TcsMessage};
use std::collections::{BTreeMap, BTreeSet};
use stdx::Timestamp;

/// A connection's number, given by the shell and never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// News from an agent's ACS or TCS connection.
#[derive(Clone, Debug)]
pub enum SessionEvent {
    /// An agent has opened its ACS websocket.
    Connected { connection: ConnectionId, instance: InstanceId, agent: AgentInfo },
    /// The ACS websocket is gone.
    Disconnected { connection: ConnectionId },
    /// A frame came in on ACS.
    Acs { connection: ConnectionId, frame: Frame },
    /// A frame came in on TCS. Only health and instance status say something here; metrics are the shell's to keep.
    Tcs { instance: InstanceId, frame: TcsMessage },
}

/// What the ACS URL says of the agent.
#[derive(Clone, Debug, Default)]
pub struct AgentInfo {
    pub agent_version: Option<String>,
    pub agent_hash: Option<String>,
    pub docker_version: Option<String>,
    /// Whether the agent asks for all credentials again. They are sent at every connection anyway.
    pub send_credentials: bool,
}

/// A frame of the agent's channel. After a `CloseMessage`, which agents ignore, the shell closes the connection.
pub type Frame = AcsMessage;

/// Why a connection is refused: a name that agents know (ecs-agent, `acs/session`), and a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub name: &'static str,
    pub text: String,
}

/// Whether an agent may connect for that instance.
pub fn admit(state: &State, scope: Scope, instance: InstanceId) -> Result<(), Refused> {
    let known = state.container_instances.get(&instance).filter(|i| i.cluster.scope == scope);
    match known.map(|i| i.status) {
        Some(InstanceStatus::Active | InstanceStatus::Draining) => Ok(()),
        Some(InstanceStatus::Inactive) => Err(Refused {
            name: "InactiveInstanceException",
            text: format!("Container instance {instance} is inactive."),
        }),
        None => Err(Refused {
            name: "InvalidInstanceException",
            text: format!("Container instance {instance} is not registered."),
        }),
    }
}

/// The connections that are open now.
#[derive(Debug, Default)]
pub struct Sessions {
    by_instance: BTreeMap<InstanceId, Session>,
    by_connection: BTreeMap<ConnectionId, InstanceId>,
    timers: BTreeSet<(Timestamp, InstanceId, Alarm)>,
    health: BTreeMap<InstanceId, InstanceHealth>,
    /// Messages that were never acknowledged, however often they were sent.
    given_up: u64,
    /// The number that the next payload or manifest gets, if it has been set aside.
    pub(crate) timeline: u64,
}

/// One instance's connection.
#[derive(Debug)]
struct Session {
    connection: ConnectionId,
    connected_at: Timestamp,
    /// What this connection has been told of each task that is not STOPPED.
    told: BTreeMap<TaskId, Told>,
    unanswered: BTreeMap<u64, Unanswered>,
    /// The last manifest, to which a stop verification must refer.
    manifest: Option<u64>,
}

/// What an agent has been told of a task.
#[derive(Clone, Copy, Debug)]
struct Told {
    desired: DesiredStatus,
    /// The end of the credentials that it has: of the task's role and of its execution role.
    credentials: [Option<Timestamp>; 2],
    /// The payload that waits for its answer.
    payload: Option<u64>,
    /// The agent has taken it, or need not be told.
    is_known: bool,
}

/// A message that the agent has not acknowledged.
#[derive(Clone, Copy, Debug)]
struct Unanswered {
    task: TaskId,
    subject: Subject,
    due: Timestamp,
    attempts: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Payload,
    Credentials,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    /// A message was not acknowledged in time.
    Resend(u64),
    /// The agent's tasks are to be compared with ours again.
    Manifest,
}

impl Sessions {
    pub fn is_connected(&self, instance: InstanceId) -> bool {
        self.by_instance.contains_key(&instance)
    }

    /// Whether this is an instance's connection now: on others nothing is to be said, not even a heartbeat.
    pub fn is_open(&self, connection: ConnectionId) -> bool {
        self.by_connection.contains_key(&connection)
    }

    /// Since when the instance's agent has been connected, if it is.
    pub fn connected_at(&self, instance: InstanceId) -> Option<Timestamp> {
        self.by_instance.get(&instance).map(|session| session.connected_at)
    }

    /// What the instance's agent last said of its health.
    pub fn health(&self, instance: InstanceId) -> Option<&InstanceHealth> {
        self.health.get(&instance)
    }

    /// How many messages wait for an acknowledgement.
    pub fn unanswered(&self) -> usize {
        self.by_instance.values().map(|session| session.unanswered.len()).sum()
    }

    /// How many messages were sent as often as they may be, and never acknowledged, since the process began.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, ..)| *at)
    }

    /// Forgets an instance's connection; the message tells the shell to close it.
    pub(crate) fn close(&mut self, instance: InstanceId) -> Option<Message> {
        let session = self.by_instance.remove(&instance)?;
        self.by_connection.remove(&session.connection);
        self.timers.retain(|(_, of, _)| *of != instance);
        Some(closing(session.connection))
    }

    /// Forgets every connection.
    pub(crate) fn close_all(&mut self) -> Vec<Message> {
        self.by_connection.clear();
        self.timers.clear();
        self.health.clear();
        std::mem::take(&mut self.by_instance).into_values().map(|s| closing(s.connection)).collect()
    }

    pub(crate) fn forget_health(&mut self, instance: InstanceId) {
        self.health.remove(&instance);
    }

    /// The instance's connection, if it is the one that the event is about: an older one has nothing to say any more.
    fn of(&mut self, connection: ConnectionId) -> Option<(InstanceId, &mut Session)> {
        let instance = *self.by_connection.get(&connection)?;
        Some((instance, self.by_instance.get_mut(&instance)?))
    }
}

fn closing(connection: ConnectionId) -> Message {
    Message { connection, frame: api::acs::CloseMessage::default().into() }
}

/// Applies news from a connection.
pub(crate) fn handle(tx: &mut Tx<'_>, env: &mut Env<'_>, event: SessionEvent) -> Vec<Message> {
    match event {
        SessionEvent::Connected { connection, instance, agent } => {
            connected(tx, env, connection, instance, &agent)
        }
        SessionEvent::Disconnected { connection } => {
            if let Some((instance, _)) = tx.sessions().of(connection) {
                tx.sessions().close(instance);
            }
            Vec::new()
        }
        SessionEvent::Acs { connection, frame } => messages::handle(tx, env, connection, frame),
        SessionEvent::Tcs { instance, frame } => {
            health::handle(tx, env, instance, frame);
            Vec::new()
        }
    }
}

fn connected(
    tx: &mut Tx<'_>,
    env: &mut Env<'_>,
    connection: ConnectionId,
    id: InstanceId,
    agent: &AgentInfo,
) -> Vec<Message> {
    let Some(instance) =
        tx.get::<ContainerInstance>(&id).filter(|i| i.status != InstanceStatus::Inactive).cloned()
    else {
        return vec![closing(connection)];
    };
    // One connection an instance: the newer one wins, since the agent itself has given the older one up.
    let mut messages: Vec<Message> = tx.sessions().close(id).into_iter().collect();
    let session = Session {
        connection,
        connected_at: env.now,
        told: BTreeMap::new(),
        unanswered: BTreeMap::new(),
        manifest: None,
    };
    tx.sessions().by_instance.insert(id, session);
    tx.sessions().by_connection.insert(connection, id);
    note_versions(tx, &instance, agent);
    outbox::tell_all(tx, env, id, &mut messages);
    outbox::send_manifest(tx, env, id, &mut messages);
    messages
}

/// Keeps the versions that the agent connects with (ecs-agent sends them here, not when it registers).
fn note_versions(tx: &mut Tx<'_>, instance: &ContainerInstance, agent: &AgentInfo) {
    let mut noted = instance.clone();
    let set = |slot: &mut Option<String>, value: &Option<String>| {
        if let Some(value) = value.as_ref().filter(|v| !v.is_empty()) {
            *slot = Some(value.trim_start_matches("DockerVersion:").trim().to_owned());
        }
    };
    set(&mut noted.agent_version, &agent.agent_version);
    set(&mut noted.agent_hash, &agent.agent_hash);
    set(&mut noted.docker_version, &agent.docker_version);
    let versions =
        |i: &ContainerInstance| (i.agent_version.clone(), i.agent_hash.clone(), i.docker_version.clone());
    if versions(&noted) != versions(instance) {
        noted.version += 1;
        tx.put(noted);
    }
}
