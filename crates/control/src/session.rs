//! Agents' connections: what was sent, what was acknowledged, what must be sent again.

use crate::core::Message;
use crate::state::State;
use crate::state::ecs::{DesiredStatus, InstanceId, TaskId};
use crate::tx::Tx;
use std::collections::BTreeMap;
use stdx::{Rng, Timestamp};

/// A connection's number, given by the shell and never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// News from an agent's ACS or TCS connection.
#[derive(Debug)]
pub enum SessionEvent {
    /// An agent has opened its ACS websocket.
    Connected {
        connection: ConnectionId,
        instance: InstanceId,
        agent: AgentInfo,
    },
    Disconnected {
        connection: ConnectionId,
    },
    /// A frame came in on ACS.
    Acs {
        connection: ConnectionId,
        frame: Frame,
    },
}

/// What the ACS URL says of the agent.
#[derive(Clone, Debug, Default)]
pub struct AgentInfo {
    pub agent_version: Option<String>,
    pub agent_hash: Option<String>,
    pub docker_version: Option<String>,
    /// Whether the agent asks for all credentials again.
    pub send_credentials: bool,
}

/// A frame of the agent's channel.
pub type Frame = api::acs::PayloadMessage;

/// The connections that are open now.
#[derive(Debug, Default)]
pub struct Sessions {
    pub by_instance: BTreeMap<InstanceId, Session>,
}

/// One instance's connection.
#[derive(Debug)]
pub struct Session {
    pub connection: ConnectionId,
    /// What this connection has been told of each task.
    pub told: BTreeMap<TaskId, DesiredStatus>,
}

/// Applies news from a connection.
pub fn handle(_tx: &mut Tx<'_>, _now: Timestamp, _rng: &mut Rng, _event: SessionEvent) -> Vec<Message> {
    Vec::new()
}

/// What a connected agent must be told about its tasks and has not been.
pub fn outbox(_state: &mut State, _now: Timestamp, _rng: &mut Rng, _instance: InstanceId) -> Vec<Message> {
    Vec::new()
}
