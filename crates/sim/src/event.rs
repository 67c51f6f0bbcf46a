//! What can happen at a moment of virtual time.

use api::channel::AcsMessage;
use control::session::ConnectionId;
use control::{ApiError, ApiResponse};
use engine::EffectId;

/// The number of a machine in its world.
pub(crate) type MachineId = usize;

/// What a call came to: an answer, or nothing that the caller could make sense of.
pub(crate) type Answer = Option<Result<ApiResponse, ApiError>>;

/// Who waits for a call's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// The random user.
    Client,
    /// An agent that registers; which life of it.
    Register(MachineId, u64),
    /// An agent that reports.
    Submit(MachineId, u64, EffectId),
}

/// One event. The epoch of a machine tells one life of its agent from the next.
#[derive(Debug)]
pub(crate) enum Event {
    Workload,
    Chaos,
    Request(Caller, Box<api::ecs::Request>),
    Answer(Caller, Box<Answer>),
    Flush,
    CoreTimer,
    CoreStart,
    AgentStart(MachineId),
    Register(MachineId, u64),
    Connect(MachineId, u64),
    ToAgent(MachineId, ConnectionId, Box<AcsMessage>),
    ToCore(ConnectionId, Box<AcsMessage>),
    /// The core learns that a connection is gone.
    Gone(ConnectionId),
    EngineTimer(MachineId, u64),
    SteadyState(MachineId, u64),
    /// The agent looks whether it has heard anything on its connection lately.
    Silence(MachineId, ConnectionId),
    /// The runtime has finished an operation.
    Done(MachineId, u64, EffectId),
    /// A container ends by itself.
    Exit(MachineId, String),
}
