//! A container instance as replies show it.

use super::resources;
use crate::arn;
use crate::ecs::tags;
use crate::state::State;
use crate::state::ecs::ContainerInstance;
use api::ecs::{self as model, ContainerInstanceField, InstanceHealthCheckState, InstanceHealthCheckType};

/// What `include` adds.
#[derive(Clone, Copy, Default)]
pub(super) struct Parts {
    pub(super) tags: bool,
    pub(super) health: bool,
}

impl Parts {
    pub(super) fn of(include: Option<&[ContainerInstanceField]>) -> Self {
        let has = |field| include.is_some_and(|all| all.contains(&field));
        Self {
            tags: has(ContainerInstanceField::Tags),
            health: has(ContainerInstanceField::ContainerInstanceHealth),
        }
    }
}

pub(super) fn instance(
    state: &State,
    instance: &ContainerInstance,
    parts: Parts,
) -> model::ContainerInstance {
    let usage = state.indexes.usage.get(&instance.id);
    let count = |n: usize| Some(i32::try_from(n).unwrap_or(i32::MAX));
    model::ContainerInstance {
        agent_connected: Some(state.sessions.is_connected(instance.id)),
        attachments: Some(Vec::new()),
        attributes: Some(instance.attributes.iter().map(attribute).collect()),
        capacity_provider_name: instance.capacity_provider.clone(),
        container_instance_arn: Some(arn::container_instance(&instance.cluster, instance.id)),
        ec2_instance_id: instance.ec2_instance_id.clone(),
        health_status: parts.health.then(|| health(state, instance)),
        pending_tasks_count: count(usage.map_or(0, |u| u.pending)),
        registered_at: Some(instance.registered_at),
        registered_resources: Some(resources::registered(instance)),
        remaining_resources: Some(resources::remaining(instance, usage)),
        running_tasks_count: count(usage.map_or(0, |u| u.running)),
        status: Some(instance.status.as_str().to_owned()),
        tags: Some(if parts.tags { tags::view(&instance.tags) } else { Vec::new() }),
        version: Some(instance.version),
        version_info: Some(model::VersionInfo {
            agent_hash: instance.agent_hash.clone(),
            agent_version: instance.agent_version.clone(),
            docker_version: instance.docker_version.as_ref().map(|v| format!("DockerVersion: {v}")),
        }),
        ..model::ContainerInstance::default()
    }
}

fn attribute(attribute: &crate::state::ecs::Attribute) -> model::Attribute {
    model::Attribute {
        name: attribute.name.clone(),
        value: attribute.value.clone(),
        ..model::Attribute::default()
    }
}

/// The container runtime's health; INSUFFICIENT_DATA until the agent has told it.
fn health(state: &State, instance: &ContainerInstance) -> model::ContainerInstanceHealthStatus {
    let told = state.sessions.health(instance.id);
    let status = told.and_then(|h| InstanceHealthCheckState::parse(&h.status));
    let status = status.unwrap_or(InstanceHealthCheckState::InsufficientData);
    let details = told.map(|health| model::InstanceHealthCheckResult {
        r#type: Some(InstanceHealthCheckType::ContainerRuntime),
        status: Some(status),
        status_reason: health.reason.clone(),
        last_updated: Some(health.updated_at),
        last_status_change: Some(health.changed_at),
    });
    model::ContainerInstanceHealthStatus {
        overall_status: Some(status),
        details: Some(details.into_iter().collect()),
    }
}
