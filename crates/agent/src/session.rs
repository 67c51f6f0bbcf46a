//! What both sessions with the control plane need to know of this agent.

use crate::client::Client;
use crate::config::AgentConfig;
use crate::endpoints::PollEndpoints;
use crate::state::Identity;
use engine::{Engine, Input};
use std::sync::atomic::AtomicU64;
use tokio::sync::{mpsc, oneshot};

/// The version that the control plane shows for this agent.
pub(crate) const AGENT_VERSION: &str = env!("CARGO_PKG_VERSION");
/// Identifies the build, as Amazon's agent gives its commit.
pub(crate) const AGENT_HASH: &str = "wharf";

/// One agent, registered.
pub(crate) struct Agent {
    pub(crate) config: AgentConfig,
    pub(crate) identity: Identity,
    pub(crate) client: Client,
    pub(crate) endpoints: PollEndpoints,
    /// The runtime's name and version, where Amazon's agent gives Docker's.
    pub(crate) runtime_version: String,
    pub(crate) engine: EngineHandle,
    /// Counts heartbeats of ACS: each asks for one statement about the runtime's health on TCS.
    pub(crate) heartbeats: AtomicU64,
}

/// What the engine's loop takes.
pub(crate) enum Event {
    Input(Box<Input>),
    /// Looks at the engine between two steps.
    Read(Box<dyn FnOnce(&Engine) + Send>),
}

/// The way to the engine's loop.
#[derive(Clone)]
pub(crate) struct EngineHandle(mpsc::UnboundedSender<Event>);

impl EngineHandle {
    pub(crate) fn channel() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    pub(crate) fn input(&self, input: Input) {
        if self.0.send(Event::Input(Box::new(input))).is_err() {
            tracing::debug!("the engine has ended");
        }
    }

    /// What `look` finds; `None` once the engine has ended.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Engine) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let look = Box::new(move |engine: &Engine| {
            // The asker may have gone meanwhile.
            drop(answer.send(look(engine)));
        });
        self.0.send(Event::Read(look)).ok()?;
        answered.await.ok()
    }
}
