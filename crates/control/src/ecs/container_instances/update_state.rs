//! ecs:UpdateContainerInstancesState: takes instances out of placement and back.

use super::{asked_arn, failure, find, view};
use crate::call::Ctx;
use crate::ecs::clusters;
use crate::ecs::exception::invalid;
use crate::state::ecs::InstanceStatus;
use crate::tx::Tx;
use api::ecs::{self as model, ContainerInstanceStatus, Error};

const INSTANCES_MAX: usize = 10;

pub(in crate::ecs) fn update_state(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::UpdateContainerInstancesStateRequest,
) -> Result<model::UpdateContainerInstancesStateResponse, Error> {
    let cluster = clusters::active(tx.state(), ctx, request.cluster.as_deref())?.id.clone();
    if request.container_instances.is_empty() {
        return Err(invalid("instanceIds can not be empty."));
    }
    if request.container_instances.len() > INSTANCES_MAX {
        return Err(invalid("instanceIds can have at most 10 items."));
    }
    let status = match request.status {
        ContainerInstanceStatus::Active => InstanceStatus::Active,
        ContainerInstanceStatus::Draining => InstanceStatus::Draining,
        _ => return Err(invalid("Container instance status should be one of [ACTIVE, DRAINING]")),
    };
    let (mut instances, mut failures) = (Vec::new(), Vec::new());
    for text in &request.container_instances {
        let Some(mut instance) = find(tx.state(), ctx, &cluster, text)?.cloned() else {
            failures.push(failure(asked_arn(&cluster, text), "MISSING"));
            continue;
        };
        if instance.status == InstanceStatus::Inactive {
            failures.push(failure(asked_arn(&cluster, text), "INACTIVE"));
            continue;
        }
        if instance.status != status {
            let mut changed = (*instance).clone();
            changed.status = status;
            changed.version += 1;
            instance = tx.put(changed);
        }
        instances.push(view::instance(tx.state(), &instance, view::Parts::default()));
    }
    Ok(model::UpdateContainerInstancesStateResponse {
        container_instances: Some(instances),
        failures: Some(failures),
    })
}
