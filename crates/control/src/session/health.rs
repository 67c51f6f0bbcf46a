//! What agents say over TCS: the health of containers and of the instance itself.

use crate::arn::{Arn, Resource};
use crate::call::Env;
use crate::ecs::tasks::lifecycle::{self, TaskEvent};
use crate::state::Scope;
use crate::state::ecs::{ContainerInstance, Health, InstanceId, Task, TaskId};
use crate::tx::Tx;
use api::channel::TcsMessage;
use api::tcs;
use stdx::Timestamp;

/// The last status of an instance's container runtime. It comes every half minute and is not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceHealth {
    pub status: String,
    pub reason: Option<String>,
    pub updated_at: Timestamp,
    pub changed_at: Timestamp,
}

/// Applies an agent's telemetry.
pub(super) fn handle(tx: &mut Tx<'_>, env: &mut Env<'_>, id: InstanceId, frame: TcsMessage) {
    let Some(instance) = tx.get::<ContainerInstance>(&id) else { return };
    let scope = instance.cluster.scope;
    match frame {
        TcsMessage::PublishHealthRequest(request) => {
            for task in request.tasks.iter().flatten() {
                task_health(tx, env, (scope, id), task);
            }
        }
        TcsMessage::PublishInstanceStatusRequest(request) => {
            let statuses = request.statuses.into_iter().flatten();
            let mut of_runtime =
                statuses.filter(|s| s.r#type.as_deref().is_none_or(|t| t == "ContainerRuntime"));
            let status = of_runtime.next_back();
            if let Some(status) = status {
                instance_health(tx, env.now, id, status);
            }
        }
        _ => {}
    }
}

fn task_health(
    tx: &mut Tx<'_>,
    env: &Env<'_>,
    (scope, instance): (Scope, InstanceId),
    health: &tcs::TaskHealth,
) {
    let Some(id) = health.task_arn.as_deref().and_then(|text| task_id(scope, text)) else { return };
    // An agent speaks of its own tasks only.
    if tx.get::<Task>(&id).is_none_or(|task| task.instance != Some(instance)) {
        return;
    }
    let results = health.containers.iter().flatten().filter_map(|container| {
        let result = match container.health_status? {
            tcs::HealthStatus::Healthy => Health::Healthy,
            tcs::HealthStatus::Unhealthy => Health::Unhealthy,
            tcs::HealthStatus::Unknown => Health::Unknown,
        };
        Some((container.container_name.clone()?, result))
    });
    let results = results.collect();
    lifecycle::apply(tx, env.now, env.settings, id, TaskEvent::Health(results));
}

fn task_id(scope: Scope, text: &str) -> Option<TaskId> {
    let arn = Arn::parse(text).filter(|arn| arn.is_in(scope))?;
    match Resource::parse(scope, arn.resource)? {
        Resource::Task(_, id) => Some(id),
        _ => None,
    }
}

fn instance_health(tx: &mut Tx<'_>, now: Timestamp, id: InstanceId, status: tcs::InstanceStatus) {
    let health = InstanceHealth {
        status: status.status.map_or_else(|| "INSUFFICIENT_DATA".to_owned(), |s| s.to_string()),
        reason: status.status_reason.filter(|r| !r.is_empty()),
        updated_at: status.last_updated.unwrap_or(now),
        changed_at: status.last_status_change.unwrap_or(now),
    };
    tx.sessions().health.insert(id, health);
}
