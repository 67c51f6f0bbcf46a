//! One container of a payload's task: the definition with the overrides laid over it.

use super::{Source, docker};
use crate::arn;
use crate::ecr::repositories;
use crate::state::Scope;
use api::{acs, ecs as model};
use std::collections::BTreeMap;

pub(super) fn container(source: &Source<'_>, definition: &model::ContainerDefinition) -> acs::Container {
    let over = source.overrides(definition).cloned().unwrap_or_default();
    let name = definition.name.clone().unwrap_or_default();
    let id = source.task.containers.iter().find(|c| c.name == name).map(|c| c.id.clone()).unwrap_or_default();
    acs::Container {
        container_arn: Some(arn::container(&source.task.cluster, source.task.id, &id)),
        image: definition.image.clone(),
        // Absent would mean false to the agent, while it means true in a definition.
        essential: Some(definition.essential.unwrap_or(true)),
        command: over.command.clone().or_else(|| definition.command.clone()),
        entry_point: definition.entry_point.clone(),
        cpu: Some(over.cpu.or(definition.cpu).unwrap_or(0)),
        memory: Some(over.memory.or(definition.memory).unwrap_or(0)),
        environment: Some(environment(source, definition, &over)),
        environment_files: Some(environment_files(definition, &over)),
        secrets: Some(secrets(source, definition)),
        port_mappings: Some(definition.port_mappings.iter().flatten().map(port_mapping).collect()),
        mount_points: Some(definition.mount_points.iter().flatten().map(mount_point).collect()),
        volumes_from: Some(definition.volumes_from.iter().flatten().map(volume_from).collect()),
        links: definition.links.clone(),
        depends_on: Some(definition.depends_on.iter().flatten().map(dependency).collect()),
        start_timeout: definition.start_timeout,
        stop_timeout: definition.stop_timeout,
        restart_policy: definition.restart_policy.as_ref().map(restart_policy),
        health_check_type: definition.health_check.as_ref().map(|_| acs::HealthCheckType::Docker),
        docker_config: Some(docker::config(source, definition, &over)),
        overrides: Some("{}".to_owned()),
        registry_authentication: registry_authentication(source, definition),
        logs_auth_strategy: logs_auth_strategy(source, definition),
        firelens_configuration: definition.firelens_configuration.as_ref().map(firelens),
        name: Some(name),
        ..acs::Container::default()
    }
}

/// Definition, then overrides, then what says where the container runs: the agent adds the last one not itself.
fn environment(
    source: &Source<'_>,
    definition: &model::ContainerDefinition,
    over: &model::ContainerOverride,
) -> BTreeMap<String, String> {
    let pairs = definition.environment.iter().flatten().chain(over.environment.iter().flatten());
    let mut all: BTreeMap<String, String> =
        pairs.filter_map(|pair| Some((pair.name.clone()?, pair.value.clone().unwrap_or_default()))).collect();
    let place = format!("AWS_ECS_{}", source.launch_type());
    all.entry("AWS_EXECUTION_ENV".to_owned()).or_insert(place);
    all
}

fn environment_files(
    definition: &model::ContainerDefinition,
    over: &model::ContainerOverride,
) -> Vec<acs::EnvironmentFile> {
    let files = over.environment_files.as_ref().or(definition.environment_files.as_ref());
    let file = |file: &model::EnvironmentFile| acs::EnvironmentFile {
        r#type: Some(acs::EnvironmentFileType::S3),
        value: Some(file.value.clone()),
    };
    files.into_iter().flatten().map(file).collect()
}

fn secrets(source: &Source<'_>, definition: &model::ContainerDefinition) -> Vec<acs::Secret> {
    let own = definition.secrets.iter().flatten().map(|s| secret(source, s, acs::SecretTarget::Container));
    let options = definition.log_configuration.iter().flat_map(|log| log.secret_options.iter().flatten());
    own.chain(options.map(|s| secret(source, s, acs::SecretTarget::LogDriver))).collect()
}

fn secret(source: &Source<'_>, secret: &model::Secret, target: acs::SecretTarget) -> acs::Secret {
    let parsed = arn::Arn::parse(&secret.value_from);
    let is_secrets_manager = parsed.is_some_and(|arn| arn.service == "secretsmanager");
    let region = parsed.map_or(source.task.cluster.scope.region.as_str(), |arn| arn.region);
    acs::Secret {
        name: Some(secret.name.clone()),
        value_from: Some(secret.value_from.clone()),
        region: Some(region.to_owned()),
        provider: Some(if is_secrets_manager { acs::SecretProvider::Asm } else { acs::SecretProvider::Ssm }),
        r#type: Some(acs::SecretType::EnvironmentVariable),
        target: Some(target),
        container_path: None,
    }
}

fn port_mapping(mapping: &model::PortMapping) -> acs::PortMapping {
    let protocol = match mapping.protocol {
        Some(model::TransportProtocol::Udp) => acs::TransportProtocol::Udp,
        _ => acs::TransportProtocol::Tcp,
    };
    acs::PortMapping {
        container_port: mapping.container_port,
        host_port: mapping.container_port_range.is_none().then(|| mapping.host_port.unwrap_or(0)),
        container_port_range: mapping.container_port_range.clone(),
        protocol: Some(protocol),
    }
}

fn mount_point(mount: &model::MountPoint) -> acs::MountPoint {
    acs::MountPoint {
        source_volume: mount.source_volume.clone(),
        container_path: mount.container_path.clone(),
        read_only: mount.read_only,
    }
}

fn volume_from(from: &model::VolumeFrom) -> acs::VolumeFrom {
    acs::VolumeFrom { source_container: from.source_container.clone(), read_only: from.read_only }
}

fn dependency(dependency: &model::ContainerDependency) -> acs::ContainerDependency {
    acs::ContainerDependency {
        container_name: Some(dependency.container_name.clone()),
        condition: acs::ContainerCondition::parse(dependency.condition.as_str()),
    }
}

fn restart_policy(policy: &model::ContainerRestartPolicy) -> acs::RestartPolicy {
    acs::RestartPolicy {
        enabled: Some(policy.enabled),
        ignored_exit_codes: policy.ignored_exit_codes.clone(),
        restart_attempt_period: policy.restart_attempt_period,
    }
}

fn firelens(configuration: &model::FirelensConfiguration) -> acs::FirelensConfiguration {
    acs::FirelensConfiguration {
        r#type: acs::FirelensConfigurationType::parse(configuration.r#type.as_str()),
        options: configuration.options.clone(),
    }
}

/// Images of our own registry are pulled with a token of our own; others as the definition says.
fn registry_authentication(
    source: &Source<'_>,
    definition: &model::ContainerDefinition,
) -> Option<acs::RegistryAuthenticationData> {
    let scope = source.task.cluster.scope;
    if let Some(credentials) = &definition.repository_credentials {
        let secret = &credentials.credentials_parameter;
        let region = arn::Arn::parse(secret).map_or(scope.region.as_str(), |arn| arn.region);
        return Some(acs::RegistryAuthenticationData {
            r#type: Some(acs::AuthenticationType::Asm),
            asm_auth_data: Some(acs::ASMAuthData {
                credentials_parameter: Some(secret.clone()),
                region: Some(region.to_owned()),
            }),
            ecr_auth_data: None,
        });
    }
    let image = definition.image.as_deref()?;
    is_own_image(source, scope, image).then(|| acs::RegistryAuthenticationData {
        r#type: Some(acs::AuthenticationType::Ecr),
        ecr_auth_data: Some(acs::ECRAuthData {
            region: Some(scope.region.to_string()),
            registry_id: Some(scope.account.to_string()),
            endpoint_override: Some(source.settings.endpoint.clone()),
            use_execution_role: Some(source.task.execution_role_credentials.is_some()),
        }),
        asm_auth_data: None,
    })
}

fn is_own_image(source: &Source<'_>, scope: Scope, image: &str) -> bool {
    let host = image.split_once('/').map(|(host, _)| host);
    host.is_some_and(|host| host == repositories::host(source.settings, scope))
}

/// With an execution role, awslogs writes with its credentials, and with the instance's otherwise.
fn logs_auth_strategy(
    source: &Source<'_>,
    definition: &model::ContainerDefinition,
) -> Option<acs::AuthStrategy> {
    let driver = definition.log_configuration.as_ref().map(|log| log.log_driver);
    let has_role = source.task.execution_role_credentials.is_some();
    (driver == Some(model::LogDriver::Awslogs) && has_role).then_some(acs::AuthStrategy::ExecutionRole)
}
