//! Why a task stopped, read from what its agent reported.

use crate::state::State;
use crate::state::ecs::{
    Binding, StopCode, Task, TaskContainer, TaskDefinition, TaskDefinitionId, Transport,
};
use api::ecs::{ContainerDefinition, NetworkMode, TransportProtocol};

/// What goes wrong before a container runs (ecs-agent, `apierrors`): such a container has not exited.
const START_ERRORS: &[&str] = &[
    "CannotPull",
    "CannotCreate",
    "CannotStart",
    "CannotInspect",
    "ResourceInitializationError",
    "TaskDependencyError",
    "HostConfigError",
    "DockerClientConfigError",
    "DockerTimeoutError",
    "ContainerRuntimeTimeoutError",
    "ContainerNetworkingError",
    "InvalidVolumeError",
    "NoSuchContainerError",
];

/// The stop code and reason of a task that stopped by itself.
pub(super) fn of(
    task: &Task,
    definition: Option<&TaskDefinition>,
    reported: Option<String>,
) -> (StopCode, String) {
    let ran =
        task.started_at.is_some() || task.containers.iter().any(|c| is_essential(definition, c) && exited(c));
    if ran {
        let reason = reported.unwrap_or_else(|| "Essential container in task exited".to_owned());
        return (StopCode::EssentialContainerExited, reason);
    }
    let specific = || task.containers.iter().find(|c| failed_to_start(c)).and_then(|c| c.reason.clone());
    let reason = reported.or_else(specific).unwrap_or_else(|| "Task failed to start".to_owned());
    (StopCode::TaskFailedToStart, reason)
}

fn is_essential(definition: Option<&TaskDefinition>, container: &TaskContainer) -> bool {
    let all = definition.and_then(|row| row.definition.container_definitions.as_deref()).unwrap_or_default();
    let defined = all.iter().find(|d| d.name.as_deref() == Some(&container.name));
    defined.is_none_or(|d| d.essential != Some(false))
}

/// A container that ended so fast that the task was never seen RUNNING.
fn exited(container: &TaskContainer) -> bool {
    container.exit_code.is_some() && !failed_to_start(container)
}

fn failed_to_start(container: &TaskContainer) -> bool {
    let reason = container.reason.as_deref().unwrap_or_default();
    START_ERRORS.iter().any(|error| reason.starts_with(error))
}

/// The bindings of a container on the host's network: the agent reports none, since nothing is mapped.
pub(super) fn host_bindings(state: &State, definition: &TaskDefinitionId, name: &str) -> Vec<Binding> {
    let Some(row) = state.task_definitions.get(definition) else { return Vec::new() };
    if row.definition.network_mode != Some(NetworkMode::Host) {
        return Vec::new();
    }
    let named = |d: &&ContainerDefinition| d.name.as_deref() == Some(name);
    let Some(container) = row.definition.container_definitions.iter().flatten().find(named) else {
        return Vec::new();
    };
    let binding = |port: &api::ecs::PortMapping| {
        let number = u16::try_from(port.container_port?).ok()?;
        let is_udp = port.protocol == Some(TransportProtocol::Udp);
        Some(Binding {
            bind_ip: "0.0.0.0".to_owned(),
            container_port: number,
            host_port: number,
            transport: if is_udp { Transport::Udp } else { Transport::Tcp },
        })
    };
    container.port_mappings.iter().flatten().filter_map(binding).collect()
}
