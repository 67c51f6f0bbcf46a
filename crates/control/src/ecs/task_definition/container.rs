//! The rules of one container that need no other container.

use super::validate;
use crate::arn::Arn;
use crate::ecs::exception::{client, is_name};
use api::ecs::{
    ContainerDefinition, Error, HealthCheck, LinuxParameters, RegisterTaskDefinitionRequest, ResourceType,
};
use std::collections::BTreeSet;

/// The least memory of a container in MiB; Docker itself takes no less (API_ContainerDefinition).
const MEMORY_MIN: i32 = 6;

/// The container's name; empty only before [`check`].
pub(super) fn name(container: &ContainerDefinition) -> &str {
    container.name.as_deref().unwrap_or_default()
}

pub(super) fn check(
    request: &RegisterTaskDefinitionRequest,
    container: &ContainerDefinition,
) -> Result<(), Error> {
    check_name_and_image(container)?;
    check_memory(request, container)?;
    check_environment(request, container)?;
    if let Some(health) = &container.health_check {
        check_health(container, health)?;
    }
    check_times(container)?;
    check_resources(request, container)?;
    check_ulimits(container)?;
    if let Some(linux) = &container.linux_parameters {
        check_linux(request, container, linux)?;
    }
    check_options(request, container)
}

/// ClientException about one setting of one container.
pub(super) fn invalid_setting(setting: &str, container: &ContainerDefinition, why: &str) -> Error {
    client(format!("Invalid '{setting}' setting for container '{}'. {why}", name(container)))
}

fn check_name_and_image(container: &ContainerDefinition) -> Result<(), Error> {
    let name = name(container);
    if name.is_empty() {
        return Err(client("Container.name should not be null or empty."));
    }
    if name.len() > 255 {
        return Err(client("Container.name should not be longer than 255 characters."));
    }
    if !is_name(name) {
        return Err(client("Container.name contains invalid characters."));
    }
    let image = container.image.as_deref().unwrap_or_default();
    if image.is_empty() {
        return Err(client("Container.image should not be null or empty."));
    }
    if image.len() > 255 {
        return Err(client("Container.image should not be longer than 255 characters."));
    }
    // Letters, digits, hyphens, underscores, colons, periods, slashes and number signs (API_ContainerDefinition), and
    // the at sign of a digest.
    if !image.chars().all(|c| c.is_ascii_alphanumeric() || "-_:./#@".contains(c)) {
        return Err(client("Container.image contains invalid characters."));
    }
    let secret = container.repository_credentials.as_ref().map(|c| c.credentials_parameter.as_str());
    if secret.is_some_and(|text| !is_secret(text)) {
        return Err(invalid_setting(
            "repositoryCredentials",
            container,
            "credentialsParameter must be the ARN of a secret in AWS Secrets Manager.",
        ));
    }
    Ok(())
}

fn is_secret(text: &str) -> bool {
    Arn::parse(text).is_some_and(|arn| arn.service == "secretsmanager" && arn.resource.starts_with("secret:"))
}

fn check_memory(
    request: &RegisterTaskDefinitionRequest,
    container: &ContainerDefinition,
) -> Result<(), Error> {
    if container.cpu.is_some_and(|cpu| cpu < 0) {
        return Err(invalid_setting("cpu", container, "The value must not be negative."));
    }
    let sizes = [("memory", container.memory), ("memoryReservation", container.memory_reservation)];
    for (setting, size) in sizes {
        if size.is_some_and(|size| size < MEMORY_MIN) {
            let why = format!("The value must be at least {MEMORY_MIN} MiB.");
            return Err(invalid_setting(setting, container, &why));
        }
    }
    if let (Some(hard), Some(soft)) = (container.memory, container.memory_reservation)
        && soft > hard
    {
        return Err(client(format!(
            "Invalid setting for container '{}'. 'memory' must be greater than 'memoryReservation'.",
            name(container)
        )));
    }
    if request.memory.is_none() && container.memory.is_none() && container.memory_reservation.is_none() {
        return Err(client(format!(
            "Invalid setting for container '{}'. At least one of 'memory' or 'memoryReservation' must be specified.",
            name(container)
        )));
    }
    Ok(())
}

fn check_environment(
    request: &RegisterTaskDefinitionRequest,
    container: &ContainerDefinition,
) -> Result<(), Error> {
    let variables = container.environment.as_deref().unwrap_or_default();
    if variables.iter().any(|v| v.name.as_ref().is_none_or(|name| name.trim().is_empty())) {
        return Err(client("Environment variable name cannot be null or blank."));
    }
    let mut names: BTreeSet<&str> = variables.iter().filter_map(|v| v.name.as_deref()).collect();
    for secret in container.secrets.iter().flatten() {
        if secret.name.trim().is_empty() {
            return Err(client("Secret name cannot be null or blank."));
        }
        if secret.value_from.trim().is_empty() {
            return Err(client("Secret valueFrom cannot be null or blank."));
        }
        if !names.insert(&secret.name) {
            return Err(client(format!(
                "The secret name must be unique and not shared with any new or existing environment variables set on \
                 the container, such as '{}'.",
                secret.name
            )));
        }
    }
    // An empty list counts as well; AWS refuses it in the same words.
    if container.secrets.is_some() && request.execution_role_arn.is_none() {
        return Err(client(
            "When you are specifying container secrets, you must also specify a value for 'executionRoleArn'.",
        ));
    }
    let files = container.environment_files.as_deref().unwrap_or_default();
    if files.len() > 10 {
        return Err(invalid_setting("environmentFiles", container, "At most 10 files can be given."));
    }
    for file in files {
        let is_object = Arn::parse(&file.value).is_some_and(|arn| arn.service == "s3");
        let is_env = std::path::Path::new(&file.value).extension().is_some_and(|e| e == "env");
        if !is_object || !is_env {
            return Err(invalid_setting(
                "environmentFiles",
                container,
                "The value must be the ARN of an Amazon S3 object with the extension .env.",
            ));
        }
    }
    Ok(())
}

/// Ranges of API_HealthCheck.
fn check_health(container: &ContainerDefinition, health: &HealthCheck) -> Result<(), Error> {
    if health.command.iter().all(String::is_empty) {
        return Err(invalid_setting("healthCheck", container, "The command must not be empty."));
    }
    let ranges = [
        ("interval", health.interval, 5..=300),
        ("timeout", health.timeout, 2..=60),
        ("retries", health.retries, 1..=10),
        ("startPeriod", health.start_period, 0..=300),
    ];
    for (field, value, range) in ranges {
        if value.is_some_and(|value| !range.contains(&value)) {
            let why = format!("The {field} must be between {} and {}.", range.start(), range.end());
            return Err(invalid_setting("healthCheck", container, &why));
        }
    }
    Ok(())
}

fn check_times(container: &ContainerDefinition) -> Result<(), Error> {
    if container.start_timeout.is_some_and(|seconds| seconds < 0) {
        return Err(invalid_setting("startTimeout", container, "The value must not be negative."));
    }
    if container.stop_timeout.is_some_and(|seconds| seconds < 0) {
        return Err(invalid_setting("stopTimeout", container, "The value must not be negative."));
    }
    let Some(policy) = &container.restart_policy else { return Ok(()) };
    if policy.restart_attempt_period.is_some_and(|seconds| !(60..=1800).contains(&seconds)) {
        let why = "The restartAttemptPeriod must be between 60 and 1800 seconds.";
        return Err(invalid_setting("restartPolicy", container, why));
    }
    if policy.ignored_exit_codes.as_ref().is_some_and(|codes| codes.len() > 50) {
        let why = "At most 50 ignoredExitCodes can be given.";
        return Err(invalid_setting("restartPolicy", container, why));
    }
    Ok(())
}

fn check_resources(
    request: &RegisterTaskDefinitionRequest,
    container: &ContainerDefinition,
) -> Result<(), Error> {
    for requirement in container.resource_requirements.iter().flatten() {
        let value = requirement.value.as_deref().unwrap_or_default();
        let is_valid = match requirement.r#type {
            ResourceType::InferenceAccelerator => {
                request.inference_accelerators.iter().flatten().any(|a| a.device_name == value)
            }
            ResourceType::Gpu | ResourceType::NeuronDevice => {
                value.parse::<u32>().is_ok_and(|count| count > 0) || requirement.sharing_strategy.is_some()
            }
        };
        if !is_valid {
            let why = match requirement.r#type {
                ResourceType::InferenceAccelerator => {
                    "The value must be the deviceName of an inferenceAccelerator."
                }
                _ => "The value must be a number of devices, at least 1.",
            };
            return Err(invalid_setting("resourceRequirements", container, why));
        }
    }
    Ok(())
}

fn check_ulimits(container: &ContainerDefinition) -> Result<(), Error> {
    let mut names = BTreeSet::new();
    for limit in container.ulimits.iter().flatten() {
        if !names.insert(limit.name) {
            let why = format!("The ulimit '{}' is given more than once.", limit.name);
            return Err(invalid_setting("ulimits", container, &why));
        }
        // -1 is no limit at all.
        let is_unbounded = limit.hard_limit == -1;
        if !is_unbounded && (limit.soft_limit == -1 || limit.soft_limit > limit.hard_limit) {
            let why = format!("The softLimit of '{}' must not be greater than its hardLimit.", limit.name);
            return Err(invalid_setting("ulimits", container, &why));
        }
    }
    Ok(())
}

fn check_linux(
    request: &RegisterTaskDefinitionRequest,
    container: &ContainerDefinition,
    linux: &LinuxParameters,
) -> Result<(), Error> {
    let invalid = |why: &str| Err(invalid_setting("linuxParameters", container, why));
    if validate::is_windows(request) {
        return invalid("linuxParameters are not supported for Windows containers.");
    }
    if linux.swappiness.is_some_and(|value| !(0..=100).contains(&value)) {
        return invalid("The swappiness must be between 0 and 100.");
    }
    if linux.max_swap.is_some_and(|value| value < 0) {
        return invalid("The maxSwap must not be negative.");
    }
    if linux.shared_memory_size.is_some_and(|value| value < 1) {
        return invalid("The sharedMemorySize must be at least 1 MiB.");
    }
    if linux.tmpfs.iter().flatten().any(|mount| mount.size < 1 || !mount.container_path.starts_with('/')) {
        return invalid("A tmpfs needs an absolute containerPath and a size of at least 1 MiB.");
    }
    if linux.devices.iter().flatten().any(|device| !device.host_path.starts_with('/')) {
        return invalid("The hostPath of a device must be absolute.");
    }
    let capabilities = linux.capabilities.as_ref();
    let named = capabilities.map(|c| c.add.iter().flatten().chain(c.drop.iter().flatten()));
    let is_name =
        |name: &String| !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    match named.into_iter().flatten().find(|name| !is_name(name)) {
        Some(name) => invalid(&format!("'{name}' is not a Linux capability.")),
        None => Ok(()),
    }
}

/// The rest: labels of security modules, hosts, router and credential specifications.
fn check_options(
    request: &RegisterTaskDefinitionRequest,
    container: &ContainerDefinition,
) -> Result<(), Error> {
    if container.privileged == Some(true) && validate::is_windows(request) {
        return Err(invalid_setting("privileged", container, "It is not supported for Windows containers."));
    }
    if container.extra_hosts.iter().flatten().any(|h| h.hostname.is_empty() || h.ip_address.is_empty()) {
        return Err(invalid_setting("extraHosts", container, "Both hostname and ipAddress are needed."));
    }
    let controls = container.system_controls.iter().flatten();
    if controls.clone().any(|c| c.namespace.as_deref().unwrap_or_default().is_empty() || c.value.is_none()) {
        return Err(invalid_setting("systemControls", container, "Both namespace and value are needed."));
    }
    if container.credential_specs.as_ref().is_some_and(|specs| specs.len() > 1) {
        return Err(invalid_setting("credentialSpecs", container, "At most one can be given."));
    }
    Ok(())
}
