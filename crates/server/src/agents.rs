//! Agents' websockets: ACS carries tasks and acknowledgements, TCS carries health and metrics.
//!
//! A connection's frames go into the core one after the other; what the core sends comes back through [`Agents`], the
//! driver's outlet, in the order of the steps.

use crate::driver::{Driver, Outlet};
use api::acs::HeartbeatMessage;
use api::channel::{AcsMessage, SignedFrame, TcsMessage};
use api::tcs::{AckPublishHealth, AckPublishInstanceStatus, AckPublishMetric};
use control::session::{AgentInfo, ConnectionId, SessionEvent};
use control::state::ecs::InstanceId;
use control::{Input, Message};
use futures_util::{SinkExt, StreamExt};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use stdx::Chain;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as WsMessage;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

/// An agent closes a connection that was silent for a minute (ecs-agent, `wsclient`): stay well below.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Frames that wait for a slow agent; one that is further behind is cut off and told everything when it is back.
const QUEUE_MAX: usize = 1024;
/// The largest frame that an agent may send; telemetry frames stay below 1 MiB.
const FRAME_BYTES_MAX: usize = 4 << 20;

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// The connections that are open now.
#[derive(Default)]
pub(crate) struct Agents {
    last: AtomicU64,
    senders: Mutex<BTreeMap<ConnectionId, mpsc::Sender<AcsMessage>>>,
}

impl Agents {
    fn open(&self) -> (ConnectionId, mpsc::Receiver<AcsMessage>) {
        let connection = ConnectionId(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        self.senders().insert(connection, sender);
        (connection, receiver)
    }

    fn close(&self, connection: ConnectionId) {
        self.senders().remove(&connection);
    }

    fn senders(&self) -> std::sync::MutexGuard<'_, BTreeMap<ConnectionId, mpsc::Sender<AcsMessage>>> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outlet for Agents {
    fn deliver(&self, messages: Vec<Message>) {
        let mut senders = self.senders();
        for message in messages {
            let Some(sender) = senders.get(&message.connection) else { continue };
            // The core has given such a connection up. Agents do not heed the message, so the socket is closed behind it.
            let is_last = matches!(message.frame, AcsMessage::CloseMessage(_));
            if sender.try_send(message.frame).is_err() || is_last {
                // Dropping the sender ends the connection; the agent comes back and is told what it lacks.
                senders.remove(&message.connection);
            }
        }
    }
}

/// Serves one ACS connection until either side ends it.
pub(crate) async fn serve_acs(
    upgraded: hyper::upgrade::Upgraded,
    driver: &Driver,
    agents: &Agents,
    instance: InstanceId,
    agent: AgentInfo,
) {
    let mut socket = socket(upgraded).await;
    let (connection, mut outgoing) = agents.open();
    let connected = SessionEvent::Connected { connection, instance, agent };
    if driver.step(Input::Session(connected)).await.is_ok() {
        converse(&mut socket, driver, connection, &mut outgoing).await;
    }
    agents.close(connection);
    if let Err(error) = driver.step(Input::Session(SessionEvent::Disconnected { connection })).await {
        tracing::warn!(error = %Chain(&error), "the end of an agent's connection could not be noted");
    }
}

async fn converse(
    socket: &mut Socket,
    driver: &Driver,
    connection: ConnectionId,
    outgoing: &mut mpsc::Receiver<AcsMessage>,
) {
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut beats = 0_u64;
    loop {
        tokio::select! {
            frame = outgoing.recv() => match frame {
                Some(frame) => {
                    if send(socket, frame.encode()).await.is_err() {
                        return;
                    }
                }
                // A newer connection of the same instance has taken over, or this one was too slow.
                None => return close(socket, CloseCode::Normal).await,
            },
            _ = heartbeat.tick() => {
                beats += 1;
                let beat = HeartbeatMessage { message_id: Some(format!("heartbeat-{}-{beats}", connection.0)), healthy: Some(true) };
                if send(socket, AcsMessage::from(beat).encode()).await.is_err() {
                    return;
                }
            }
            received = socket.next() => {
                let text = match received {
                    Some(Ok(WsMessage::Text(text))) => text,
                    Some(Ok(WsMessage::Close(_)) | Err(_)) | None => return,
                    Some(Ok(_)) => continue,
                };
                match AcsMessage::decode(&text) {
                    Ok(frame) => {
                        if let Err(error) = driver.step(Input::Session(SessionEvent::Acs { connection, frame })).await {
                            tracing::warn!(error = %Chain(&error), "an agent's message could not be taken");
                            return close(socket, CloseCode::Error).await;
                        }
                    }
                    Err(error) => tracing::warn!(error = %Chain(&error), "an agent sent a frame that cannot be read"),
                }
            }
        }
    }
}

/// Serves one TCS connection until either side ends it.
pub(crate) async fn serve_tcs(upgraded: hyper::upgrade::Upgraded, driver: &Driver, instance: InstanceId) {
    let mut socket = socket(upgraded).await;
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let received = tokio::select! {
            _ = heartbeat.tick() => {
                let beat = TcsMessage::from(api::tcs::HeartbeatMessage { healthy: Some(true) });
                if send(&mut socket, beat.encode()).await.is_err() {
                    return;
                }
                continue;
            }
            received = socket.next() => received,
        };
        let text = match received {
            Some(Ok(WsMessage::Text(text))) => text,
            Some(Ok(WsMessage::Close(_)) | Err(_)) | None => return,
            Some(Ok(_)) => continue,
        };
        // The upgrade of this connection was signed; frames repeat the signature of the same key.
        let body = SignedFrame::parse(&text).map_or(text.as_str(), |frame| frame.body);
        let frame = match TcsMessage::decode(body) {
            Ok(frame) => frame,
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "an agent sent telemetry that cannot be read");
                continue;
            }
        };
        let Some(answer) = answer(&frame) else { continue };
        if let Err(error) = driver.step(Input::Session(SessionEvent::Tcs { instance, frame })).await {
            tracing::warn!(error = %Chain(&error), "an agent's telemetry could not be taken");
            return close(&mut socket, CloseCode::Error).await;
        }
        if send(&mut socket, answer.encode()).await.is_err() {
            return;
        }
    }
}

/// The acknowledgement of a message, if it wants one.
fn answer(frame: &TcsMessage) -> Option<TcsMessage> {
    match frame {
        TcsMessage::PublishMetricsRequest(_) => Some(AckPublishMetric::default().into()),
        TcsMessage::PublishHealthRequest(_) => Some(AckPublishHealth::default().into()),
        TcsMessage::PublishInstanceStatusRequest(_) => Some(AckPublishInstanceStatus::default().into()),
        _ => None,
    }
}

async fn socket(upgraded: hyper::upgrade::Upgraded) -> Socket {
    let limits = WebSocketConfig::default()
        .max_message_size(Some(FRAME_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX));
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(limits)).await
}

async fn send(socket: &mut Socket, text: String) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    socket.send(WsMessage::text(text)).await
}

async fn close(socket: &mut Socket, code: CloseCode) {
    let frame = CloseFrame { code, reason: "".into() };
    if let Err(error) = socket.close(Some(frame)).await {
        tracing::debug!(%error, "an agent's connection did not close cleanly");
    }
}
