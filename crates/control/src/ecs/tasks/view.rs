//! A task as replies show it.

use crate::arn;
use crate::ecs::tags;
use crate::state::State;
use crate::state::ecs::{
    Attribute, Binding, ContainerInstance, Health, LaunchType, StopCode, Task, TaskContainer, TaskDefinition,
    Transport,
};
use api::ecs as model;
use stdx::Timestamp;

/// The task without its tags.
pub(super) fn task(state: &State, task: &Task) -> model::Task {
    let definition = state.task_definitions.get(&task.definition).map(|row| &**row);
    let instance = task.instance.and_then(|id| state.container_instances.get(&id));
    let (connectivity, connectivity_at) = connectivity(state, task);
    let task_arn = arn::task(&task.cluster, task.id);
    let containers = task.containers.iter().map(|c| container(task, &task_arn, definition, c)).collect();
    model::Task {
        attachments: Some(Vec::new()),
        attributes: Some(architecture(instance.map(|i| &**i)).into_iter().collect()),
        availability_zone: instance.and_then(|i| value(i, "ecs.availability-zone")).cloned(),
        capacity_provider_name: instance.and_then(|i| i.capacity_provider.clone()),
        cluster_arn: Some(arn::cluster(&task.cluster)),
        connectivity,
        connectivity_at,
        container_instance_arn: task.instance.map(|id| arn::container_instance(&task.cluster, id)),
        containers: Some(containers),
        cpu: Some(task.demand.cpu_units.to_string()),
        created_at: Some(task.created_at),
        desired_status: Some(task.desired_status.as_str().to_owned()),
        enable_execute_command: Some(task.enable_execute_command),
        execution_stopped_at: task.execution_stopped_at,
        group: Some(task.group.clone()),
        health_status: Some(health(overall_health(task, definition))),
        inference_accelerators: Some(Vec::new()),
        last_status: Some(task.last_status.as_str().to_owned()),
        launch_type: Some(match task.launch_type {
            LaunchType::Ec2 => model::LaunchType::Ec2,
            LaunchType::External => model::LaunchType::External,
        }),
        memory: Some(task.demand.memory_mib.to_string()),
        overrides: Some(task.overrides.clone()),
        pull_started_at: task.pull_started_at,
        pull_stopped_at: task.pull_stopped_at,
        started_at: task.started_at,
        started_by: task.started_by.clone(),
        stop_code: task.stop_code.map(stop_code),
        stopped_at: task.stopped_at,
        stopped_reason: task.stopped_reason.clone(),
        stopping_at: task.stopping_at,
        tags: Some(Vec::new()),
        task_arn: Some(task_arn),
        task_definition_arn: Some(arn::task_definition(&task.definition)),
        version: Some(task.version),
        ..model::Task::default()
    }
}

/// The task with its tags.
pub(super) fn with_tags(state: &State, row: &Task) -> model::Task {
    model::Task { tags: Some(tags::view(&row.tags)), ..task(state, row) }
}

/// A live task is as connected as its agent; of a STOPPED one it is told whether it ever was.
fn connectivity(state: &State, task: &Task) -> (Option<model::Connectivity>, Option<Timestamp>) {
    if task.is_stopped() {
        return (task.connectivity_at.map(|_| model::Connectivity::Connected), task.connectivity_at);
    }
    match task.instance.and_then(|id| state.sessions.connected_at(id)) {
        Some(at) => (Some(model::Connectivity::Connected), Some(at.max(task.created_at))),
        None => (Some(model::Connectivity::Disconnected), task.connectivity_at),
    }
}

fn architecture(instance: Option<&ContainerInstance>) -> Option<model::Attribute> {
    let name = "ecs.cpu-architecture";
    let value = instance.and_then(|i| value(i, name))?;
    Some(model::Attribute {
        name: name.to_owned(),
        value: Some(value.clone()),
        ..model::Attribute::default()
    })
}

/// The value of an instance's attribute, which are in order of names.
fn value<'a>(instance: &'a ContainerInstance, name: &str) -> Option<&'a String> {
    let find = |a: &Attribute| a.name.as_str().cmp(name);
    let at = instance.attributes.binary_search_by(find).ok()?;
    instance.attributes[at].value.as_ref()
}

fn container(
    task: &Task,
    task_arn: &str,
    definition: Option<&TaskDefinition>,
    container: &TaskContainer,
) -> model::Container {
    let defined = definition.and_then(|row| {
        let all = row.definition.container_definitions.iter().flatten();
        all.into_iter().find(|d| d.name.as_deref() == Some(&container.name))
    });
    let mut all = task.overrides.container_overrides.iter().flatten();
    let over = all.rfind(|o| o.name.as_deref() == Some(&container.name));
    let number = |over: Option<i32>, own: Option<i32>| over.or(own).map(|n| n.to_string());
    model::Container {
        container_arn: Some(arn::container(&task.cluster, task.id, &container.id)),
        cpu: number(over.and_then(|o| o.cpu), defined.and_then(|d| d.cpu)).or_else(|| Some("0".to_owned())),
        exit_code: container.exit_code,
        health_status: Some(health(container.health)),
        image: defined.and_then(|d| d.image.clone()),
        image_digest: container.image_digest.clone(),
        last_status: Some(container.status.as_str().to_owned()),
        memory: number(over.and_then(|o| o.memory), defined.and_then(|d| d.memory)),
        memory_reservation: number(
            over.and_then(|o| o.memory_reservation),
            defined.and_then(|d| d.memory_reservation),
        ),
        name: Some(container.name.clone()),
        network_bindings: Some(container.network_bindings.iter().map(binding).collect()),
        network_interfaces: Some(Vec::new()),
        reason: container.reason.clone(),
        runtime_id: container.runtime_id.clone(),
        task_arn: Some(task_arn.to_owned()),
        ..model::Container::default()
    }
}

fn binding(binding: &Binding) -> model::NetworkBinding {
    model::NetworkBinding {
        bind_ip: Some(binding.bind_ip.clone()),
        container_port: Some(i32::from(binding.container_port)),
        host_port: Some(i32::from(binding.host_port)),
        protocol: Some(match binding.transport {
            Transport::Tcp => model::TransportProtocol::Tcp,
            Transport::Udp => model::TransportProtocol::Udp,
        }),
        ..model::NetworkBinding::default()
    }
}

/// Of the essential containers that have a check, one that is unhealthy decides, then one that is not known
/// (ECS developer guide, "How task health is determined").
fn overall_health(task: &Task, definition: Option<&TaskDefinition>) -> Health {
    let defined =
        definition.and_then(|row| row.definition.container_definitions.as_deref()).unwrap_or_default();
    let checked = |c: &&TaskContainer| {
        let definition = defined.iter().find(|d| d.name.as_deref() == Some(&c.name));
        definition.is_some_and(|d| d.health_check.is_some() && d.essential != Some(false))
    };
    let mut overall = None;
    for container in task.containers.iter().filter(checked) {
        overall = match (overall, container.health) {
            (Some(Health::Unhealthy), _) | (_, Health::Unhealthy) => Some(Health::Unhealthy),
            (Some(Health::Unknown), _) | (_, Health::Unknown) => Some(Health::Unknown),
            _ => Some(Health::Healthy),
        };
    }
    overall.unwrap_or_default()
}

fn health(health: Health) -> model::HealthStatus {
    match health {
        Health::Unknown => model::HealthStatus::Unknown,
        Health::Healthy => model::HealthStatus::Healthy,
        Health::Unhealthy => model::HealthStatus::Unhealthy,
    }
}

fn stop_code(code: StopCode) -> model::TaskStopCode {
    match code {
        StopCode::TaskFailedToStart => model::TaskStopCode::TaskFailedToStart,
        StopCode::EssentialContainerExited => model::TaskStopCode::EssentialContainerExited,
        StopCode::UserInitiated => model::TaskStopCode::UserInitiated,
        StopCode::ServiceSchedulerInitiated => model::TaskStopCode::ServiceSchedulerInitiated,
        StopCode::SpotInterruption => model::TaskStopCode::SpotInterruption,
        StopCode::TerminationNotice => model::TaskStopCode::TerminationNotice,
    }
}
