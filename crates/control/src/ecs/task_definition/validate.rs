//! The rules of a task definition as a whole; the first that is broken is answered.

use super::{container, fargate, logging, network, normal, order, volumes};
use crate::call::Ctx;
use crate::ecs::exception::{client, is_name};
use api::ecs::{
    Compatibility, Error, IsolationMode, NetworkMode, OSFamily, ProxyConfiguration,
    RegisterTaskDefinitionRequest,
};
use std::collections::BTreeSet;

/// Containers in a task definition (ecs service quotas).
const CONTAINERS_MAX: usize = 10;
/// Placement constraints in a task definition (API_RegisterTaskDefinition).
const CONSTRAINTS_MAX: usize = 10;

/// Checks a normalised request.
pub(super) fn check(ctx: &Ctx<'_>, request: &RegisterTaskDefinitionRequest) -> Result<(), Error> {
    check_family(&request.family)?;
    check_containers(request)?;
    check_sizes(request)?;
    check_roles(request)?;
    network::check(request)?;
    volumes::check(request)?;
    order::check(&request.container_definitions)?;
    logging::check(&request.container_definitions)?;
    check_constraints(request)?;
    check_namespaces(request)?;
    if let Some(proxy) = &request.proxy_configuration {
        check_proxy(request, proxy)?;
    }
    check_storage(request)?;
    check_compatibilities(ctx, request)
}

fn check_family(family: &str) -> Result<(), Error> {
    if family.is_empty() {
        return Err(client("Family should not be null or empty."));
    }
    if family.len() > 255 {
        return Err(client("Family should not be longer than 255 characters."));
    }
    if !is_name(family) {
        return Err(client("Family contains invalid characters."));
    }
    Ok(())
}

fn check_containers(request: &RegisterTaskDefinitionRequest) -> Result<(), Error> {
    let containers = &request.container_definitions;
    if containers.is_empty() {
        return Err(client("Container list cannot be empty."));
    }
    if containers.len() > CONTAINERS_MAX {
        return Err(client(format!("A task definition can have at most {CONTAINERS_MAX} containers.")));
    }
    let mut names = BTreeSet::new();
    for container in containers {
        container::check(request, container)?;
        let name = container::name(container);
        if !names.insert(name) {
            return Err(client(format!(
                "Container names must be unique within a task definition: '{name}' is used more than once."
            )));
        }
    }
    if containers.iter().all(|c| c.essential == Some(false)) {
        return Err(client("A task definition must have at least one essential container."));
    }
    let routers = containers.iter().filter(|c| c.firelens_configuration.is_some()).count();
    if routers > 1 {
        return Err(client("A task definition can have at most one container with a firelensConfiguration."));
    }
    Ok(())
}

/// Task-level sizes, and that the containers fit in them (ecs developer guide, "Task size").
fn check_sizes(request: &RegisterTaskDefinitionRequest) -> Result<(), Error> {
    let number = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<i64>().ok());
    let (cpu, memory) = (number(&request.cpu), number(&request.memory));
    if cpu.is_some_and(|cpu| !(128..=196_608).contains(&cpu)) {
        return Err(normal::invalid_size("cpu"));
    }
    if memory.is_some_and(|memory| memory < 6) {
        return Err(normal::invalid_size("memory"));
    }
    let containers = &request.container_definitions;
    let used: i64 = containers.iter().map(|c| i64::from(c.cpu.unwrap_or(0))).sum();
    if cpu.is_some_and(|cpu| used > cpu) {
        return Err(client(
            "The sum of all container 'cpu' values cannot be greater than the value of the task 'cpu'.",
        ));
    }
    let Some(memory) = memory else { return Ok(()) };
    if let Some(large) = containers.iter().find(|c| c.memory.is_some_and(|m| i64::from(m) > memory)) {
        return Err(client(format!(
            "Invalid 'memory' setting for container '{}'. The value cannot be greater than the value of the task \
             'memory'.",
            container::name(large)
        )));
    }
    let reserved: i64 = containers.iter().map(|c| i64::from(c.memory_reservation.unwrap_or(0))).sum();
    if reserved > memory {
        return Err(client(
            "The sum of all container 'memoryReservation' values cannot be greater than the value of the task 'memory'.",
        ));
    }
    Ok(())
}

/// A role is an IAM role's ARN; the task role may also be a bare name.
fn check_roles(request: &RegisterTaskDefinitionRequest) -> Result<(), Error> {
    let is_arn = |text: &str| {
        crate::arn::Arn::parse(text).is_some_and(|arn| {
            let is_account = crate::state::AccountId::parse(arn.account).is_some();
            arn.service == "iam" && is_account && arn.resource.starts_with("role/") && arn.resource.len() > 5
        })
    };
    let is_role_name = |text: &str| {
        text.len() <= 64 && text.chars().all(|c| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c))
    };
    let is_valid = request.task_role_arn.as_deref().is_none_or(|text| is_arn(text) || is_role_name(text))
        && request.execution_role_arn.as_deref().is_none_or(is_arn);
    if is_valid { Ok(()) } else { Err(client("Role is not valid")) }
}

fn check_constraints(request: &RegisterTaskDefinitionRequest) -> Result<(), Error> {
    let constraints = request.placement_constraints.as_deref().unwrap_or_default();
    if constraints.len() > CONSTRAINTS_MAX {
        return Err(client(format!(
            "A task definition can have at most {CONSTRAINTS_MAX} placement constraints."
        )));
    }
    for constraint in constraints {
        if constraint.r#type.is_none() {
            return Err(client("Placement constraint type should not be null or empty."));
        }
        match constraint.expression.as_deref() {
            None | Some("") => {
                return Err(client("Placement constraint expression should not be null or empty."));
            }
            Some(expression) if expression.chars().count() > 2000 => {
                return Err(client(
                    "Placement constraint expression should not be longer than 2000 characters.",
                ));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Windows shares neither PID nor IPC namespaces (API_RegisterTaskDefinition).
fn check_namespaces(request: &RegisterTaskDefinitionRequest) -> Result<(), Error> {
    if !is_windows(request) {
        return Ok(());
    }
    if request.pid_mode.is_some() {
        return Err(client("pidMode is not supported for Windows containers."));
    }
    if request.ipc_mode.is_some() {
        return Err(client("ipcMode is not supported for Windows containers."));
    }
    Ok(())
}

/// Whether the task runs on Windows; Linux where nothing is said.
pub(super) fn is_windows(request: &RegisterTaskDefinitionRequest) -> bool {
    let family = request.runtime_platform.as_ref().and_then(|platform| platform.operating_system_family);
    family.is_some_and(|family| family != OSFamily::Linux)
}

/// App Mesh's proxy (API_ProxyConfiguration).
fn check_proxy(request: &RegisterTaskDefinitionRequest, proxy: &ProxyConfiguration) -> Result<(), Error> {
    if request.network_mode != Some(NetworkMode::Awsvpc) {
        return Err(client("proxyConfiguration is only supported when networkMode=awsvpc."));
    }
    let names = |c: &_| container::name(c) == proxy.container_name;
    if !request.container_definitions.iter().any(names) {
        return Err(client(format!(
            "The proxyConfiguration container '{}' is not a container in the task definition.",
            proxy.container_name
        )));
    }
    let properties = proxy.properties.as_deref().unwrap_or_default();
    let has = |name: &str| properties.iter().any(|p| p.name.as_deref() == Some(name) && p.value.is_some());
    if !has("IgnoredUID") && !has("IgnoredGID") {
        return Err(client("proxyConfiguration requires the property IgnoredUID or IgnoredGID."));
    }
    for needed in ["AppPorts", "ProxyIngressPort", "ProxyEgressPort"] {
        if !has(needed) {
            return Err(client(format!("proxyConfiguration requires the property {needed}.")));
        }
    }
    Ok(())
}

/// Storage, accelerators and trusted execution.
fn check_storage(request: &RegisterTaskDefinitionRequest) -> Result<(), Error> {
    let size = request.ephemeral_storage.as_ref().map(|storage| storage.size_in_gi_b);
    if size.is_some_and(|size| !(21..=200).contains(&size)) {
        return Err(client("The ephemeralStorage 'sizeInGiB' must be between 21 and 200."));
    }
    let isolation = request.trusted_execution_configuration.as_ref().map(|c| c.isolation_mode);
    if isolation.is_some_and(|mode| mode != IsolationMode::Shared) {
        return Err(client(
            "A trustedExecutionConfiguration other than SHARED is not available in this version of Wharf.",
        ));
    }
    Ok(())
}

/// Every requested compatibility holds; without FARGATE only its own rules are left out.
fn check_compatibilities(ctx: &Ctx<'_>, request: &RegisterTaskDefinitionRequest) -> Result<(), Error> {
    let requested = request.requires_compatibilities.as_deref().unwrap_or_default();
    for compatibility in requested {
        match compatibility {
            Compatibility::Fargate => fargate::check(ctx, request)?,
            Compatibility::External => check_external(request)?,
            Compatibility::ManagedInstances => check_managed_instances(request)?,
            Compatibility::Ec2 => {}
        }
    }
    if request.ephemeral_storage.is_some()
        && !requested.is_empty()
        && !requested.contains(&Compatibility::Fargate)
    {
        return Err(client("ephemeralStorage is only supported for tasks with the compatibility FARGATE."));
    }
    Ok(())
}

/// What an instance outside AWS cannot do (ecs developer guide, "Amazon ECS Anywhere", considerations).
pub(super) fn check_external(request: &RegisterTaskDefinitionRequest) -> Result<(), Error> {
    let refused =
        |what: &str| Err(client(format!("{what} is not supported with the compatibility EXTERNAL.")));
    if request.network_mode == Some(NetworkMode::Awsvpc) {
        return refused("networkMode 'awsvpc'");
    }
    let volumes = request.volumes.as_deref().unwrap_or_default();
    if volumes.iter().any(|v| v.efs_volume_configuration.is_some()) {
        return refused("efsVolumeConfiguration");
    }
    if volumes.iter().any(|v| v.configured_at_launch == Some(true)) {
        return refused("configuredAtLaunch");
    }
    if request.proxy_configuration.is_some() {
        return refused("proxyConfiguration");
    }
    if request.ephemeral_storage.is_some() {
        return refused("ephemeralStorage");
    }
    Ok(())
}

/// What ECS Managed Instances cannot do (ecs developer guide, "Task definition differences for Managed Instances").
pub(super) fn check_managed_instances(request: &RegisterTaskDefinitionRequest) -> Result<(), Error> {
    let refused = |what: &str| {
        Err(client(format!("{what} is not supported with the compatibility MANAGED_INSTANCES.")))
    };
    if !matches!(request.network_mode, Some(NetworkMode::Awsvpc | NetworkMode::Host)) {
        return refused("A networkMode other than 'awsvpc' and 'host'");
    }
    if is_windows(request) {
        return refused("Windows");
    }
    if request.inference_accelerators.as_ref().is_some_and(|list| !list.is_empty()) {
        return refused("inferenceAccelerators");
    }
    let volumes = request.volumes.as_deref().unwrap_or_default();
    if volumes.iter().any(|v| v.docker_volume_configuration.is_some()) {
        return refused("dockerVolumeConfiguration");
    }
    Ok(())
}
