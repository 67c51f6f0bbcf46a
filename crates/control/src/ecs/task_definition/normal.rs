//! A request in the form in which replies show it: units resolved, defaults filled in.

use super::units;
use crate::ecs::exception::client;
use api::ecs::{self as model, Error, NetworkMode, RegisterTaskDefinitionRequest, Scope, TransportProtocol};

/// Brings a request into its stored form. Fails only for sizes that are no numbers.
pub(super) fn normalise(request: &mut RegisterTaskDefinitionRequest) -> Result<(), Error> {
    if let Some(cpu) = &mut request.cpu {
        *cpu = units::cpu(cpu).ok_or_else(|| invalid_size("cpu"))?.to_string();
    }
    if let Some(memory) = &mut request.memory {
        *memory = units::memory(memory).ok_or_else(|| invalid_size("memory"))?.to_string();
    }
    // AWS treats an empty list and an empty role like an absent one.
    request.requires_compatibilities.take_if(|list| list.is_empty());
    request.task_role_arn.take_if(|arn| arn.is_empty());
    request.execution_role_arn.take_if(|arn| arn.is_empty());
    request.placement_constraints.get_or_insert_default();
    for volume in request.volumes.get_or_insert_default() {
        normalise_volume(volume);
    }
    for container in &mut request.container_definitions {
        normalise_container(container, request.network_mode);
    }
    Ok(())
}

/// The text for a task-level `cpu` or `memory` that cannot be (ecs developer guide, "Invalid CPU or memory value").
pub(super) fn invalid_size(name: &str) -> Error {
    client(format!(
        "Invalid '{name}' setting for task. For more information, see the Troubleshooting section of the Amazon ECS \
         Developer Guide."
    ))
}

fn normalise_volume(volume: &mut model::Volume) {
    if let Some(docker) = &mut volume.docker_volume_configuration {
        docker.scope.get_or_insert(Scope::Task);
    } else if let Some(efs) = &mut volume.efs_volume_configuration {
        efs.root_directory.get_or_insert_with(|| "/".to_owned());
    } else if volume.fsx_windows_file_server_volume_configuration.is_none()
        && volume.s3files_volume_configuration.is_none()
        && volume.configured_at_launch != Some(true)
    {
        volume.host.get_or_insert_default();
    }
}

fn normalise_container(container: &mut model::ContainerDefinition, mode: Option<NetworkMode>) {
    container.cpu.get_or_insert(0);
    container.essential.get_or_insert(true);
    container.environment.get_or_insert_default();
    container.mount_points.get_or_insert_default();
    container.volumes_from.get_or_insert_default();
    container.system_controls.get_or_insert_default();
    for port in container.port_mappings.get_or_insert_default() {
        port.protocol.get_or_insert(TransportProtocol::Tcp);
        if port.container_port_range.is_none() {
            // In awsvpc and host mode there is no mapping: the container's port is the host's.
            let is_mapped = !matches!(mode, Some(NetworkMode::Awsvpc | NetworkMode::Host));
            let same = if is_mapped { Some(0) } else { port.container_port };
            let is_open = port.host_port.is_none() || (!is_mapped && port.host_port == Some(0));
            if is_open {
                port.host_port = same;
            }
        }
    }
    if let Some(check) = &mut container.health_check {
        check.interval.get_or_insert(30);
        check.timeout.get_or_insert(5);
        check.retries.get_or_insert(3);
    }
    if let Some(policy) = container.restart_policy.as_mut().filter(|policy| policy.enabled) {
        policy.restart_attempt_period.get_or_insert(300);
    }
}
