//! Making this machine known to the control plane: its resources, its capabilities, its identity.
//!
//! Source: ecs-agent-protocol, "RegisterContainerInstance request"; ecs-facts, "Container instances".

use crate::client::{Call, Client};
use crate::config::AgentConfig;
use crate::error::{AgentError, CallError};
use crate::state::{DataDir, Identity};
use api::ecs;
use engine::Resources;
use std::time::Duration;
use stdx::{Rng, id};

/// First and longest wait between attempts while the control plane cannot be reached.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Names that the builtin runtime and this agent stand for; what they cannot do is not in this list.
const CAPABILITIES: [&str; 12] = [
    "com.amazonaws.ecs.capability.privileged-container",
    "com.amazonaws.ecs.capability.ecr-auth",
    "com.amazonaws.ecs.capability.logging-driver.json-file",
    "com.amazonaws.ecs.capability.logging-driver.none",
    "com.amazonaws.ecs.capability.logging-driver.awslogs",
    "ecs.capability.execution-role-ecr-pull",
    "ecs.capability.execution-role-awslogs",
    "ecs.capability.ecr-endpoint",
    "ecs.capability.container-ordering",
    "ecs.capability.container-restart-policy",
    "ecs.capability.full-sync",
    "ecs.capability.docker-plugin.local",
];

/// The levels of the Docker API that Amazon's agent names.
const DOCKER_API_MINORS: [u32; 13] = [17, 18, 19, 20, 21, 22, 23, 24, 25, 28, 29, 30, 32];

/// What tasks may take of this machine.
pub(crate) fn resources(config: &AgentConfig) -> Result<Resources, AgentError> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let meminfo = std::fs::read_to_string("/proc/meminfo").map_err(AgentError::Meminfo)?;
    let total = memory_mib(&meminfo).ok_or_else(|| {
        AgentError::Meminfo(std::io::Error::new(std::io::ErrorKind::InvalidData, "there is no line MemTotal"))
    })?;
    Ok(Resources {
        cpu_units: i64::try_from(cores * 1024).unwrap_or(i64::MAX),
        memory_mib: (total - config.reserved_memory_mib).max(0),
        reserved_tcp: config.reserved_tcp_ports.clone(),
        reserved_udp: config.reserved_udp_ports.clone(),
    })
}

fn memory_mib(meminfo: &str) -> Option<i64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<i64>().ok().map(|kib| kib / 1024)
}

fn total_resources(resources: &Resources) -> Vec<ecs::Resource> {
    let integer = |name: &str, value: i64| ecs::Resource {
        name: Some(name.to_owned()),
        r#type: Some("INTEGER".to_owned()),
        integer_value: Some(i32::try_from(value).unwrap_or(i32::MAX)),
        ..Default::default()
    };
    let ports = |name: &str, ports: &std::collections::BTreeSet<u16>| ecs::Resource {
        name: Some(name.to_owned()),
        r#type: Some("STRINGSET".to_owned()),
        string_set_value: Some(ports.iter().map(u16::to_string).collect()),
        ..Default::default()
    };
    vec![
        integer("CPU", resources.cpu_units),
        integer("MEMORY", resources.memory_mib),
        ports("PORTS", &resources.reserved_tcp),
        ports("PORTS_UDP", &resources.reserved_udp),
    ]
}

/// Custom attributes go with the first registration only.
fn attributes(config: &AgentConfig, runtime: &str, is_first: bool) -> Vec<ecs::Attribute> {
    let attribute = |name: &str, value: Option<&str>| ecs::Attribute {
        name: name.to_owned(),
        value: value.map(str::to_owned),
        ..Default::default()
    };
    let architecture = if std::env::consts::ARCH == "aarch64" { "arm64" } else { std::env::consts::ARCH };
    let mut attributes = vec![
        attribute("ecs.os-type", Some("linux")),
        attribute("ecs.os-family", Some("LINUX")),
        attribute("ecs.cpu-architecture", Some(architecture)),
        // Tells real containers from pretended ones.
        attribute("wharf.runtime", Some(runtime)),
    ];
    attributes.extend(CAPABILITIES.map(|name| attribute(name, None)));
    attributes.extend(
        DOCKER_API_MINORS
            .map(|n| attribute(&format!("com.amazonaws.ecs.capability.docker-remote-api.1.{n}"), None)),
    );
    if config.task_limits {
        attributes.push(attribute("ecs.capability.task-cpu-mem-limit", None));
        attributes.push(attribute("ecs.capability.increased-task-cpu-limit", None));
    }
    if is_first {
        attributes.extend(config.instance_attributes.iter().map(|(n, v)| attribute(n, Some(v))));
    }
    attributes
}

/// Registers until it is done or refused for good; the identity is saved before it is used.
pub(crate) async fn register(
    config: &AgentConfig,
    client: &Client,
    data: &DataDir,
    (resources, runtime): (&Resources, &str),
) -> Result<Identity, AgentError> {
    let saved = data.identity()?;
    if let Some(saved) = saved.as_ref().filter(|s| s.cluster != config.cluster) {
        return Err(AgentError::OtherCluster {
            saved: saved.cluster.clone(),
            configured: config.cluster.clone(),
            path: data.identity_path(),
        });
    }
    let mut rng = Rng::new(crate::clock::seed());
    let token = id::uuid(&mut rng);
    let mut arn = saved.map(|s| s.container_instance_arn);
    let mut wait = RETRY_FIRST;
    loop {
        let request = request(config, (resources, runtime), arn.as_deref());
        match call(config, client, &request, &token).await {
            Ok(reply) => {
                let identity = Identity {
                    cluster: config.cluster.clone(),
                    container_instance_arn: accepted(&request, reply, arn)?,
                };
                data.save_identity(&identity)?;
                return Ok(identity);
            }
            Err(error) if is_inactive(&error) && arn.is_some() => {
                tracing::warn!(%error, "this machine was deregistered; registering it anew");
                arn = None;
            }
            Err(error) if error.code() == Some("ClusterNotFoundException") && config.cluster == "default" => {
                create_cluster(config, client).await?;
            }
            Err(error) if error.is_transient() => {
                tracing::warn!(error = %stdx::Chain(&error), "cannot register yet");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(RETRY_MAX);
            }
            Err(error) => return Err(AgentError::Registration(error)),
        }
    }
}

/// Source: ecs-facts, "deregistered ARN".
fn is_inactive(error: &CallError) -> bool {
    matches!(error, CallError::Service { code, message, .. } if code == "ClientException" && message.contains("inactive"))
}

fn request(
    config: &AgentConfig,
    (resources, runtime): (&Resources, &str),
    arn: Option<&str>,
) -> ecs::RegisterContainerInstanceRequest {
    let tag =
        |(key, value): (&String, &String)| ecs::Tag { key: Some(key.clone()), value: Some(value.clone()) };
    ecs::RegisterContainerInstanceRequest {
        cluster: Some(config.cluster.clone()),
        container_instance_arn: arn.map(str::to_owned),
        attributes: Some(attributes(config, runtime, arn.is_none())),
        tags: Some(config.instance_tags.iter().map(tag).collect::<Vec<_>>()).filter(|t| !t.is_empty()),
        total_resources: Some(total_resources(resources)),
        instance_identity_document: Some(String::new()),
        instance_identity_document_signature: Some(String::new()),
        ..Default::default()
    }
}

/// The model for users lacks the token by which a repeated first registration is known.
async fn call(
    config: &AgentConfig,
    client: &Client,
    request: &ecs::RegisterContainerInstanceRequest,
    token: &str,
) -> Result<ecs::RegisterContainerInstanceResponse, CallError> {
    let mut body = wire::json::to_vec(request);
    body.pop();
    body.extend_from_slice(format!(",\"clientToken\":\"{token}\"}}").as_bytes());
    client.call_with_body(operation(config, "RegisterContainerInstance"), body).await
}

async fn create_cluster(config: &AgentConfig, client: &Client) -> Result<(), AgentError> {
    let request =
        ecs::CreateClusterRequest { cluster_name: Some(config.cluster.clone()), ..Default::default() };
    let reply: Result<ecs::CreateClusterResponse, _> =
        client.call(operation(config, "CreateCluster"), &request).await;
    reply.map(|_| ()).map_err(AgentError::Registration)
}

/// Every attribute with a value must have been kept; on a re-registration the ARN stays what it was.
fn accepted(
    request: &ecs::RegisterContainerInstanceRequest,
    reply: ecs::RegisterContainerInstanceResponse,
    arn: Option<String>,
) -> Result<String, AgentError> {
    let instance = reply.container_instance.ok_or(AgentError::Reply("the container instance"))?;
    let kept = instance.attributes.unwrap_or_default();
    for sent in request.attributes.iter().flatten().filter(|a| a.value.is_some()) {
        if !kept.iter().any(|k| k.name == sent.name && k.value == sent.value) {
            return Err(AgentError::Attribute(sent.name.clone()));
        }
    }
    arn.or(instance.container_instance_arn).ok_or(AgentError::Reply("the container instance's ARN"))
}

/// An operation of ECS at the configured endpoint.
pub(crate) fn operation<'a>(config: &'a AgentConfig, operation: &'static str) -> Call<'a> {
    Call { endpoint: &config.endpoint, service: &ecs::SERVICE, operation }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_what_the_kernel_reports() {
        assert_eq!(memory_mib("MemTotal:       16384000 kB\nMemFree: 1 kB\n"), Some(16000));
        assert_eq!(memory_mib("MemFree: 1 kB\n"), None);
    }
}
