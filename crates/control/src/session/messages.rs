//! What agents say over ACS.

use super::ConnectionId;
use crate::arn::{Arn, Resource};
use crate::call::Env;
use crate::core::Message;
use crate::state::ecs::{ContainerInstance, DesiredStatus, InstanceId, Task};
use crate::tx::Tx;
use api::acs;
use api::channel::AcsMessage;

/// Applies an agent's message.
pub(super) fn handle(
    tx: &mut Tx<'_>,
    env: &mut Env<'_>,
    connection: ConnectionId,
    frame: AcsMessage,
) -> Vec<Message> {
    let Some((instance, _)) = tx.sessions().of(connection) else { return Vec::new() };
    match frame {
        AcsMessage::AckRequest(ack) => acknowledge(tx, instance, ack.message_id.as_deref()),
        AcsMessage::IAMRoleCredentialsAckRequest(ack) => {
            acknowledge_credentials(tx, instance, ack.message_id.as_deref());
        }
        AcsMessage::NackRequest(nack) => {
            tracing::warn!(%instance, reason = nack.reason.as_deref(), "the agent refuses a message");
            acknowledge(tx, instance, nack.message_id.as_deref());
        }
        AcsMessage::TaskStopVerificationMessage(message) => {
            return verify_stops(tx, env, (connection, instance), &message).into_iter().collect();
        }
        // Answers to heartbeats say no more than that the connection lives; everything else goes the other way.
        _ => {}
    }
    Vec::new()
}

fn acknowledge(tx: &mut Tx<'_>, instance: InstanceId, message_id: Option<&str>) {
    if let Some(number) = message_id.and_then(|id| id.parse().ok()) {
        tx.sessions().answered(instance, number);
    }
}

/// A payload's credentials are acknowledged one by one under the payload's id, which says nothing of its tasks.
fn acknowledge_credentials(tx: &mut Tx<'_>, instance: InstanceId, message_id: Option<&str>) {
    let Some(number) = message_id.and_then(|id| id.parse().ok()) else { return };
    let session = tx.sessions().by_instance.get(&instance);
    let unanswered = session.and_then(|s| s.unanswered.get(&number));
    if unanswered.is_some_and(|u| u.subject == super::Subject::Credentials) {
        tx.sessions().answered(instance, number);
    }
}

/// Of the tasks that an agent has beyond the manifest, names those that must really stop: a task may have been placed
/// since the manifest was made.
fn verify_stops(
    tx: &mut Tx<'_>,
    env: &Env<'_>,
    (connection, id): (ConnectionId, InstanceId),
    message: &acs::TaskStopVerificationMessage,
) -> Option<Message> {
    let session = tx.sessions().by_instance.get(&id)?;
    let is_last = message.message_id.as_ref()?.parse().ok() == session.manifest;
    if !is_last {
        return None;
    }
    let instance = tx.get::<ContainerInstance>(&id)?.clone();
    let wanted = |candidate: &acs::TaskIdentifier| {
        let task = candidate.task_arn.as_deref().and_then(|text| {
            let arn = Arn::parse(text).filter(|arn| arn.is_in(instance.cluster.scope))?;
            match Resource::parse(instance.cluster.scope, arn.resource)? {
                Resource::Task(_, id) => tx.get::<Task>(&id),
                _ => None,
            }
        });
        task.is_some_and(|task| {
            task.instance == Some(id) && !task.is_stopped() && task.desired_status == DesiredStatus::Running
        })
    };
    let stops: Vec<_> = message
        .stop_candidates
        .iter()
        .flatten()
        .filter(|candidate| !wanted(candidate))
        .map(|candidate| acs::TaskIdentifier {
            desired_status: Some(DesiredStatus::Stopped.as_str().to_owned()),
            ..candidate.clone()
        })
        .collect();
    let body = acs::TaskStopVerificationAck {
        message_id: message.message_id.clone(),
        generated_at: Some(env.now.millis()),
        stop_tasks: Some(stops),
    };
    Some(Message { connection, frame: body.into() })
}
