//! ecs:StartTask (API_StartTask): one task on each of the named instances.

use super::launch::{Launch, Wish};
use super::{missing, run_task, view};
use crate::arn;
use crate::call::Ctx;
use crate::ecs::container_instances;
use crate::ecs::exception::invalid;
use crate::placement;
use crate::tx::Tx;
use api::ecs::{self as model, Error};

/// The most instances of one call.
const INSTANCES_MAX: usize = 10;

pub(in crate::ecs) fn start_task(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::StartTaskRequest,
) -> Result<model::StartTaskResponse, Error> {
    let named = request.container_instances.clone();
    if named.is_empty() {
        return Err(invalid("Container instances cannot be empty."));
    }
    if named.len() > INSTANCES_MAX {
        return Err(invalid(format!("containerInstances can have at most {INSTANCES_MAX} items.")));
    }
    let launch = Launch::prepare(tx.state(), ctx, wish(request))?;
    let cluster = launch.cluster.clone();
    let (mut tasks, mut failures) = (Vec::new(), Vec::new());
    for text in &named {
        let instance = container_instances::find(tx.state(), ctx, &cluster, text)?.cloned();
        let Some(instance) = instance else {
            let id = text.rsplit('/').next().unwrap_or(text);
            failures
                .push(missing(arn::ecs(cluster.scope, &format!("container-instance/{}/{id}", cluster.name))));
            continue;
        };
        match placement::check(tx.state(), &instance, &launch.spec()) {
            Some(reason) => failures.push(run_task::failure(&cluster, instance.id, reason)),
            None => {
                let task = launch.start(tx, ctx, instance.id);
                tasks.push(view::with_tags(tx.state(), &task));
            }
        }
    }
    Ok(model::StartTaskResponse { tasks: Some(tasks), failures: Some(failures) })
}

fn wish(request: model::StartTaskRequest) -> Wish {
    Wish {
        cluster: request.cluster,
        task_definition: request.task_definition,
        launch_type: None,
        group: request.group,
        started_by: request.started_by,
        reference_id: request.reference_id,
        overrides: request.overrides,
        network_configuration: request.network_configuration,
        tags: request.tags,
        propagate_tags: request.propagate_tags,
        managed_tags: request.enable_ecs_managed_tags,
        execute_command: request.enable_execute_command,
        has_volumes: request.volume_configurations.is_some_and(|v| !v.is_empty()),
    }
}
