//! The network: what is on its way, how long, how often, and whether it arrives.

use crate::event::{Answer, Caller, Event};
use crate::faults::Mutation;
use crate::world::World;
use api::channel::AcsMessage;
use control::session::ConnectionId;
use std::time::Duration;

impl World {
    /// How long something is on its way, once for each copy that arrives.
    fn ways(&mut self) -> Vec<Duration> {
        if self.strikes(self.faults.lost) {
            return Vec::new();
        }
        let copies = if self.strikes(self.faults.doubled) { 2 } else { 1 };
        let mut ways = Vec::new();
        for _ in 0..copies {
            let most = if self.strikes(self.faults.late) { 60_000 } else { 20 };
            ways.push(Duration::from_millis(1 + self.rng.below(most)));
        }
        ways
    }

    pub(crate) fn send_request(&mut self, caller: Caller, request: api::ecs::Request) {
        let ways = self.ways();
        if ways.is_empty() {
            self.schedule(Duration::from_secs(5), Event::Answer(caller, Box::new(None)));
        }
        for way in ways {
            self.schedule(way, Event::Request(caller, Box::new(request.clone())));
        }
    }

    pub(crate) fn send_answer(&mut self, caller: Caller, answer: Answer) {
        let ways = self.ways();
        if ways.is_empty() {
            self.schedule(Duration::from_secs(5), Event::Answer(caller, Box::new(None)));
        }
        for way in ways {
            self.schedule(way, Event::Answer(caller, Box::new(answer.clone())));
        }
    }

    pub(crate) fn send_to_agent(&mut self, connection: ConnectionId, frame: &AcsMessage) {
        let Some(id) = self.connections.get(&connection).copied() else { return };
        for way in self.ways() {
            self.schedule(way, Event::ToAgent(id, connection, Box::new(frame.clone())));
        }
    }

    pub(crate) fn send_to_core(&mut self, connection: ConnectionId, message: AcsMessage) {
        let is_ack = matches!(message, AcsMessage::AckRequest(_));
        if is_ack && self.mutation == Some(Mutation::DropAcknowledgements) {
            return;
        }
        for way in self.ways() {
            self.schedule(way, Event::ToCore(connection, Box::new(message.clone())));
        }
    }

    /// Keeps the event in the trace.
    pub(crate) fn note(&mut self, event: &Event) {
        let text = match event {
            Event::Request(caller, request) => match &**request {
                api::ecs::Request::SubmitTaskStateChange(report) => {
                    let task = report.task.as_deref().unwrap_or_default();
                    let status = report.status.as_deref().unwrap_or_default();
                    format!("request {caller:?} {status} {}", tail(task))
                }
                other => format!("request {caller:?} {}", other.name()),
            },
            Event::Answer(caller, answer) => {
                let what = match &**answer {
                    None => "lost".to_owned(),
                    Some(Ok(_)) => "answered".to_owned(),
                    Some(Err(error)) => error.to_string(),
                };
                format!("answer {caller:?} {what}")
            }
            Event::ToAgent(id, connection, message) => {
                format!("to agent {id} over {} {} {}", connection.0, message.name(), subject(message))
            }
            Event::ToCore(connection, message) => {
                format!("to core over {} {} {}", connection.0, message.name(), subject(message))
            }
            other => format!("{other:?}"),
        };
        self.trace.note(self.now, &text);
    }
}

fn tail(arn: &str) -> &str {
    arn.get(arn.len().saturating_sub(6)..).unwrap_or(arn)
}

/// What a message is about, for the trace.
fn subject(message: &AcsMessage) -> String {
    match message {
        AcsMessage::PayloadMessage(payload) => {
            let tasks = payload.tasks.iter().flatten();
            let named = tasks.map(|t| {
                let arn = t.arn.as_deref().unwrap_or_default();
                format!("{} {}", tail(arn), t.desired_status.as_deref().unwrap_or_default())
            });
            format!(
                "{} {}",
                payload.message_id.as_deref().unwrap_or_default(),
                named.collect::<Vec<_>>().join(", ")
            )
        }
        AcsMessage::TaskManifestMessage(manifest) => {
            let tasks = manifest.tasks.iter().flatten();
            let named = tasks.map(|t| tail(t.task_arn.as_deref().unwrap_or_default()));
            format!(
                "{} {}",
                manifest.message_id.as_deref().unwrap_or_default(),
                named.collect::<Vec<_>>().join(", ")
            )
        }
        AcsMessage::AckRequest(ack) => ack.message_id.clone().unwrap_or_default(),
        _ => String::new(),
    }
}
