//! Container instances: registration by agents, and the operations that show, drain and deregister them.

mod deregister;
mod describe;
mod poll;
mod register;
mod resources;
mod update_state;
mod view;

pub(super) use deregister::deregister;
pub(super) use describe::{describe, list};
pub(super) use poll::{discover_poll_endpoint, update_agent};
pub(super) use register::register;
pub(super) use update_state::update_state;

use super::exception::invalid;
use crate::arn;
use crate::call::Ctx;
use crate::state::State;
use crate::state::ecs::{ClusterId, ContainerInstance, InstanceId};
use api::ecs::Error;
use std::sync::Arc;

/// The instance of the cluster that an id or ARN names, whatever its status.
pub(super) fn find<'a>(
    state: &'a State,
    ctx: &Ctx<'_>,
    cluster: &ClusterId,
    text: &str,
) -> Result<Option<&'a Arc<ContainerInstance>>, Error> {
    let id = super::reference::own_id(ctx, cluster, "container-instance", text)?;
    if !matches!(id.len(), 32 | 36) {
        return Err(invalid("containerInstanceId length should be one of [32,36]"));
    }
    let found = InstanceId::parse(id).and_then(|id| state.container_instances.get(&id));
    Ok(found.filter(|instance| instance.cluster == *cluster))
}

/// The ARN under which a failure names what was asked for.
fn asked_arn(cluster: &ClusterId, text: &str) -> String {
    let id = text.rsplit('/').next().unwrap_or(text);
    arn::ecs(cluster.scope, &format!("container-instance/{}/{id}", cluster.name))
}

fn failure(arn: String, reason: &str) -> api::ecs::Failure {
    api::ecs::Failure { arn: Some(arn), reason: Some(reason.to_owned()), detail: None }
}
