//! The ACS session: tasks come in, acknowledgements go out.
//!
//! Source: ecs-agent-protocol, "ACS websocket".

use crate::session::{AGENT_HASH, AGENT_VERSION, Agent};
use crate::websocket::{BackOff, End, Refusal, Socket, close, connect, read};
use api::channel::{AcsMessage, FrameError};
use engine::Input;
use futures_util::{SinkExt, StreamExt};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stdx::Chain;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::Message;

const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_FACTOR: u32 = 150;
const RETRY_MAX: Duration = Duration::from_secs(2 * 60);
/// A machine that is not registered any more asks only so often.
const INACTIVE: Duration = Duration::from_secs(3600);
/// A session that held so long makes the next wait short again.
const STEADY: Duration = Duration::from_secs(60);
/// A session that ended sooner is not renewed at once, lest both sides spin.
const BRIEF: Duration = Duration::from_secs(1);
const QUEUE_MAX: usize = 4096;

/// Where messages for the control plane go while there is a session; others are dropped, for it asks again.
#[derive(Clone, Default)]
pub(crate) struct Outbox(Arc<Mutex<Option<mpsc::Sender<AcsMessage>>>>);

impl Outbox {
    fn open(&self) -> mpsc::Receiver<AcsMessage> {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn send(&self, message: AcsMessage) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let sent = sender.is_some_and(|s| s.try_send(message).is_ok());
        if !sent {
            tracing::debug!(
                "a message for the control plane is dropped: there is no session, or it is too slow"
            );
        }
    }
}

/// Keeps a session open for ever.
pub(crate) async fn run(agent: Arc<Agent>, outbox: Outbox, inactive: mpsc::Sender<()>) {
    let mut back_off = BackOff::new(RETRY_FIRST, RETRY_FACTOR, RETRY_MAX);
    let mut wants_credentials = true;
    loop {
        let began = Instant::now();
        match open(&agent, wants_credentials).await {
            Ok(mut socket) => {
                wants_credentials = false;
                let outgoing = outbox.open();
                agent.engine.input(Input::Connected);
                tracing::info!(
                    instance = agent.identity.container_instance_arn,
                    "connected to the control plane"
                );
                let end = converse(&agent, &mut socket, outgoing, &mut back_off).await;
                outbox.close();
                if began.elapsed() >= STEADY || (end == End::AtOnce && began.elapsed() >= BRIEF) {
                    back_off.reset();
                }
                if end == End::AtOnce && began.elapsed() >= BRIEF {
                    continue;
                }
            }
            Err(Refusal::Inactive(text)) => {
                tracing::error!(text, "this machine was deregistered; restart the agent to register it anew");
                if inactive.try_send(()).is_err() {
                    tracing::debug!("the telemetry session has already been told");
                }
                tokio::time::sleep(INACTIVE).await;
                continue;
            }
            Err(error) => tracing::warn!(error = %Chain(&error), "cannot connect to the control plane"),
        }
        back_off.wait().await;
    }
}

async fn open(agent: &Agent, wants_credentials: bool) -> Result<Socket, Refusal> {
    let instance = &agent.identity.container_instance_arn;
    let endpoints = agent.endpoints.get(&agent.config, &agent.client, instance).await?;
    let parameters = [
        ("agentHash", AGENT_HASH),
        ("agentVersion", AGENT_VERSION),
        ("clusterArn", &agent.config.cluster),
        ("containerInstanceArn", instance),
        ("dockerVersion", &format!("DockerVersion: {}", agent.runtime_version)),
        ("protocolVersion", "2"),
        ("sendCredentials", if wants_credentials { "true" } else { "false" }),
        ("seqNum", "1"),
    ];
    connect(&agent.client, &endpoints.acs, &parameters).await.map(|(socket, _)| socket)
}

async fn converse(
    agent: &Agent,
    socket: &mut Socket,
    mut outgoing: mpsc::Receiver<AcsMessage>,
    back_off: &mut BackOff,
) -> End {
    let renewal = Instant::now() + back_off.life();
    let mut silence = Instant::now() + back_off.silence();
    loop {
        tokio::select! {
            received = socket.next() => match read(received) {
                Ok(Some(text)) => {
                    silence = Instant::now() + back_off.silence();
                    take(agent, &text);
                }
                Ok(None) => {}
                Err(end) => return end,
            },
            Some(message) = outgoing.recv() => {
                if let Err(error) = socket.send(Message::text(message.encode())).await {
                    tracing::debug!(%error, "the session with the control plane broke");
                    return End::AtOnce;
                }
            }
            () = sleep_until(silence) => {
                tracing::warn!("the control plane has been silent for too long; connecting again");
                close(socket).await;
                return End::BackOff;
            }
            () = sleep_until(renewal) => {
                close(socket).await;
                return End::AtOnce;
            }
        }
    }
}

fn take(agent: &Agent, text: &str) {
    match AcsMessage::decode(text) {
        Ok(message) => {
            if matches!(message, AcsMessage::HeartbeatMessage(_)) {
                agent.heartbeats.fetch_add(1, Ordering::Relaxed);
            }
            agent.engine.input(Input::Message(message));
        }
        // Source: ecs-agent-protocol, "Frames": logged and dropped, not nacked.
        Err(error @ FrameError::UnknownType(_)) => tracing::debug!(%error, "a message is not for this agent"),
        Err(error) => tracing::warn!(error = %Chain(&error), "a message of the control plane cannot be read"),
    }
}
