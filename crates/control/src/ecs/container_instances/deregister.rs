//! ecs:DeregisterContainerInstance (API_DeregisterContainerInstance).

use super::{find, view};
use crate::call::Ctx;
use crate::ecs::clusters;
use crate::ecs::exception::invalid;
use crate::ecs::tasks::lifecycle::{self, TaskEvent};
use crate::state::State;
use crate::state::ecs::{InstanceId, InstanceStatus, StopCode, TaskId};
use crate::tx::Tx;
use api::ecs::{self as model, Error};

pub(in crate::ecs) fn deregister(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::DeregisterContainerInstanceRequest,
) -> Result<model::DeregisterContainerInstanceResponse, Error> {
    let cluster = clusters::active(tx.state(), ctx, request.cluster.as_deref())?.id.clone();
    let found = find(tx.state(), ctx, &cluster, &request.container_instance)?;
    let instance = found.filter(|i| i.status != InstanceStatus::Inactive).cloned().ok_or_else(|| {
        invalid(format!("Referenced container instance {} not found.", request.container_instance))
    })?;
    let tasks = live_tasks(tx.state(), instance.id);
    if !tasks.is_empty() && request.force != Some(true) {
        return Err(invalid("Found running tasks on the instance."));
    }
    // The containers may go on until the agent is told that it is not wanted any more; their tasks are over here.
    for id in tasks {
        let event = TaskEvent::Lose {
            code: StopCode::UserInitiated,
            reason: "Container instance deregistration forced by user".to_owned(),
        };
        lifecycle::apply(tx, ctx.now, ctx.settings, id, event);
    }
    let mut gone = (*instance).clone();
    gone.status = InstanceStatus::Inactive;
    gone.version += 1;
    gone.forget_at = Some(ctx.now.after(ctx.settings.limits.retention));
    let gone = tx.put(gone);
    let mut shown = view::instance(tx.state(), &gone, view::Parts { tags: true, health: false });
    // Its connection is closed with this step.
    shown.agent_connected = Some(false);
    Ok(model::DeregisterContainerInstanceResponse { container_instance: Some(shown) })
}

fn live_tasks(state: &State, instance: InstanceId) -> Vec<TaskId> {
    let ids = state.indexes.tasks_by_instance.get(&instance).into_iter().flatten();
    let tasks = ids.filter_map(|(_, id)| state.tasks.get(id));
    tasks.filter(|task| !task.is_stopped()).map(|task| task.id).collect()
}
