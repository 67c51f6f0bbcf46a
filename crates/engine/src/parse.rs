//! From a payload's task to a plan.
//!
//! Source: ecs-agent-protocol, "PayloadMessage" and "Host resource queue".

use crate::docker;
use crate::plan::{
    Condition, ContainerPlan, ContainerSpec, Demand, Dependency, Failure, Mount, MountSource, Network,
    PortMapping, RegistryAuth, RestartPolicy, TaskPlan, VolumesFrom,
};
use crate::task::Desired;
use api::acs;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Docker's bounds of a container's weight.
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;
/// The least memory limit that the runtime takes, in MiB.
const MEMORY_MIN_MIB: u64 = 4;
/// The default of `restartAttemptPeriod`, in seconds.
const RESTART_PERIOD_S: u32 = 300;

/// Where a payload wants the task to be. `NONE` and `CREATED` are steps towards running.
pub(crate) fn desired(task: &acs::Task) -> Result<Desired, String> {
    match task.desired_status.as_deref() {
        Some("RUNNING" | "CREATED" | "NONE") => Ok(Desired::Running),
        Some("STOPPED") => Ok(Desired::Stopped),
        other => Err(format!("desired status {:?} is not known", other.unwrap_or_default())),
    }
}

/// Reads a task; the error is the text behind `UnrecogniedTaskError`.
pub(crate) fn plan(task: &acs::Task) -> Result<TaskPlan, String> {
    let arn = task.arn.clone().filter(|arn| !arn.is_empty()).ok_or("the task has no ARN")?;
    let volumes = volumes(task, &arn)?;
    let mut containers = Vec::new();
    let mut names = BTreeSet::new();
    for container in task.containers.iter().flatten() {
        let name = container.name.as_deref().unwrap_or_default();
        if name.is_empty() || !names.insert(name) {
            return Err(format!("container name {name:?} is empty or used twice"));
        }
        containers.push(container_plan(task, container, &volumes));
    }
    let text = |t: &Option<String>| t.clone().filter(|t| !t.is_empty());
    let credentials_id =
        |c: &Option<acs::IAMRoleCredentials>| c.as_ref().and_then(|c| text(&c.credentials_id));
    Ok(TaskPlan {
        family: task.family.clone().unwrap_or_default(),
        version: task.version.clone().unwrap_or_default(),
        service_name: text(&task.service_name),
        launch_type: text(&task.launch_type),
        cpu_units: cpu_units(task),
        memory_mib: task.memory.filter(|m| *m > 0).map(i64::from),
        role_credentials_id: credentials_id(&task.role_credentials),
        execution_credentials_id: credentials_id(&task.execution_role_credentials),
        demand: demand(task, &containers),
        containers,
        arn,
    })
}

/// The task's limit comes in vCPUs.
#[expect(clippy::cast_possible_truncation, reason = "no instance has 2^53 CPU units")]
fn cpu_units(task: &acs::Task) -> Option<i64> {
    task.cpu.filter(|cpu| *cpu > 0.0).map(|cpu| (cpu * 1024.0).round() as i64)
}

fn demand(task: &acs::Task, containers: &[ContainerPlan]) -> Demand {
    let mut demand = Demand::default();
    if task.launch_type.as_deref() == Some("FARGATE") {
        return demand;
    }
    let sent = task.containers.as_deref().unwrap_or_default();
    demand.cpu_units =
        cpu_units(task).unwrap_or_else(|| sent.iter().filter_map(|c| c.cpu).map(i64::from).sum());
    demand.memory_mib = task.memory.filter(|m| *m > 0).map_or_else(
        || sent.iter().zip(containers).map(|(c, plan)| container_memory(c, plan)).sum(),
        i64::from,
    );
    for (sent, plan) in sent.iter().zip(containers) {
        let host_network = plan.spec.as_ref().is_ok_and(|s| s.network == Network::Host);
        for port in sent.port_mappings.iter().flatten() {
            let number = port.host_port.filter(|p| *p != 0);
            let number = number.or(port.container_port.filter(|_| host_network));
            if let Some(number) = number.and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0) {
                let udp = port.protocol == Some(acs::TransportProtocol::Udp);
                if udp {
                    demand.udp_ports.insert(number)
                } else {
                    demand.tcp_ports.insert(number)
                };
            }
        }
    }
    demand
}

fn container_memory(sent: &acs::Container, plan: &ContainerPlan) -> i64 {
    let soft = plan.spec.as_ref().map_or(0, |s| s.memory_reservation_mib);
    if soft > 0 { i64::try_from(soft).unwrap_or(i64::MAX) } else { sent.memory.map_or(0, i64::from) }
}

type Volumes = BTreeMap<String, Result<MountSource, Failure>>;

fn volumes(task: &acs::Task, arn: &str) -> Result<Volumes, String> {
    let mut volumes = Volumes::new();
    for volume in task.volumes.iter().flatten() {
        let name = volume.name.clone().filter(|n| !n.is_empty()).ok_or("a volume has no name")?;
        let own = MountSource::Task { arn: arn.to_owned(), volume: name.clone() };
        let source = match volume.r#type.unwrap_or(acs::VolumeType::Host) {
            acs::VolumeType::Host => {
                let host =
                    volume.host.as_ref().ok_or_else(|| format!("volume {name} has no host document"))?;
                let path = host.source_path.clone().filter(|p| !p.is_empty());
                Ok(path.map_or(own, MountSource::Host))
            }
            acs::VolumeType::Docker => docker_volume(volume.docker_volume_configuration.as_ref(), &name, own),
            other => Err(volume_failure(&name, &format!("volumes of type {other} are not supported"))),
        };
        volumes.insert(name, source);
    }
    Ok(volumes)
}

fn docker_volume(
    configuration: Option<&acs::DockerVolumeConfiguration>,
    name: &str,
    own: MountSource,
) -> Result<MountSource, Failure> {
    let driver = configuration.and_then(|c| c.driver.as_deref()).unwrap_or("local");
    let has_options = configuration.and_then(|c| c.driver_opts.as_ref()).is_some_and(|o| !o.is_empty());
    if !matches!(driver, "" | "local") || has_options {
        return Err(volume_failure(name, "only the driver local without options is supported"));
    }
    match configuration.and_then(|c| c.scope) {
        Some(acs::Scope::Shared) => Ok(MountSource::Shared(name.to_owned())),
        Some(acs::Scope::Task) | None => Ok(own),
    }
}

fn volume_failure(name: &str, text: &str) -> Failure {
    Failure::new("CannotCreateVolumeError", format!("volume {name}: {text} on this instance"))
}

fn container_plan(task: &acs::Task, sent: &acs::Container, volumes: &Volumes) -> ContainerPlan {
    let links = links(sent);
    let volumes_from = volumes_from(sent);
    ContainerPlan {
        name: sent.name.clone().unwrap_or_default(),
        arn: sent.container_arn.clone(),
        essential: sent.essential.unwrap_or_default(),
        dependencies: dependencies(sent, &links, &volumes_from),
        start_timeout_s: seconds(sent.start_timeout),
        stop_timeout_s: seconds(sent.stop_timeout),
        restart: restart(sent),
        has_health_check: sent.health_check_type == Some(acs::HealthCheckType::Docker),
        registry: registry(sent),
        spec: spec(task, sent, volumes),
        volumes_from,
        links,
    }
}

fn seconds(value: Option<i32>) -> Option<u32> {
    value.and_then(|s| u32::try_from(s).ok()).filter(|s| *s > 0)
}

fn restart(sent: &acs::Container) -> Option<RestartPolicy> {
    let policy = sent.restart_policy.as_ref().filter(|p| p.enabled == Some(true))?;
    Some(RestartPolicy {
        ignored_exit_codes: policy.ignored_exit_codes.clone().unwrap_or_default(),
        attempt_period_s: seconds(policy.restart_attempt_period).unwrap_or(RESTART_PERIOD_S),
    })
}

fn links(sent: &acs::Container) -> Vec<(String, String)> {
    let pair = |link: &String| {
        let (container, alias) = link.split_once(':').unwrap_or((link, link));
        (container.to_owned(), alias.to_owned())
    };
    sent.links.iter().flatten().map(pair).collect()
}

fn volumes_from(sent: &acs::Container) -> Vec<VolumesFrom> {
    let from = |v: &acs::VolumeFrom| VolumesFrom {
        container: v.source_container.clone().unwrap_or_default(),
        readonly: v.read_only.unwrap_or_default(),
    };
    sent.volumes_from.iter().flatten().map(from).collect()
}

fn dependencies(
    sent: &acs::Container,
    links: &[(String, String)],
    volumes_from: &[VolumesFrom],
) -> Vec<Dependency> {
    let declared = sent.depends_on.iter().flatten().map(|d| Dependency {
        container: d.container_name.clone().unwrap_or_default(),
        condition: match d.condition.unwrap_or(acs::ContainerCondition::Start) {
            acs::ContainerCondition::Start => Condition::Start,
            acs::ContainerCondition::Complete => Condition::Complete,
            acs::ContainerCondition::Success => Condition::Success,
            acs::ContainerCondition::Healthy => Condition::Healthy,
        },
    });
    let links = links.iter().map(|(c, _)| Dependency { container: c.clone(), condition: Condition::Start });
    let volumes = volumes_from
        .iter()
        .map(|v| Dependency { container: v.container.clone(), condition: Condition::Create });
    declared.chain(links).chain(volumes).collect()
}

fn registry(sent: &acs::Container) -> Option<RegistryAuth> {
    let auth = sent.registry_authentication.as_ref()?;
    match auth.r#type? {
        acs::AuthenticationType::Ecr => {
            let data = auth.ecr_auth_data.as_ref()?;
            Some(RegistryAuth::Ecr {
                region: data.region.clone().unwrap_or_default(),
                registry_id: data.registry_id.clone().unwrap_or_default(),
                endpoint: data.endpoint_override.clone().filter(|e| !e.is_empty()),
                execution_role: data.use_execution_role.unwrap_or_default(),
            })
        }
        acs::AuthenticationType::Asm => {
            let data = auth.asm_auth_data.as_ref()?;
            Some(RegistryAuth::SecretsManager {
                region: data.region.clone().unwrap_or_default(),
                secret: data.credentials_parameter.clone().unwrap_or_default(),
            })
        }
    }
}

fn spec(task: &acs::Task, sent: &acs::Container, volumes: &Volumes) -> Result<ContainerSpec, Failure> {
    refuse_unsupported(task, sent)?;
    let (config, host) = docker::parse(sent.docker_config.as_ref())?;
    let ports = ports(sent)?;
    let list = |l: &Option<Vec<String>>| l.clone().filter(|l| !l.is_empty());
    let number = |n: Option<i32>| n.and_then(|n| u64::try_from(n).ok()).unwrap_or_default();
    // The runtime has no limit for a task as a whole: a container without one of its own gets the task's.
    let memory_mib = Some(number(sent.memory)).filter(|m| *m > 0).unwrap_or_else(|| number(task.memory));
    let weight = sent.cpu.filter(|c| *c > 0).map(i64::from).or_else(|| cpu_units(task));
    let mut spec = ContainerSpec {
        image: sent.image.clone().unwrap_or_default(),
        command: command_override(sent)?.or_else(|| list(&sent.command)),
        entry_point: list(&sent.entry_point),
        env: sent.environment.iter().flatten().map(|(n, v)| (n.clone(), v.clone())).collect(),
        cpu_shares: weight
            .and_then(|w| u64::try_from(w).ok())
            .unwrap_or_default()
            .clamp(*SHARES.start(), *SHARES.end()),
        memory_mib: if memory_mib == 0 { 0 } else { memory_mib.max(MEMORY_MIN_MIB) },
        network: docker::network(&config, &host, task.network_mode.as_deref(), ports)?,
        ..ContainerSpec::default()
    };
    for mount in sent.mount_points.iter().flatten() {
        let volume = mount.source_volume.as_deref().unwrap_or_default();
        let unknown =
            || Err(volume_failure(volume, "is not one of the task's volumes and cannot be mounted"));
        spec.mounts.push(Mount {
            source: volumes.get(volume).cloned().unwrap_or_else(unknown)?,
            destination: mount.container_path.clone().unwrap_or_default(),
            readonly: mount.read_only.unwrap_or_default(),
        });
    }
    docker::overlay(&mut spec, config, host)?;
    spec.log.execution_role = sent.logs_auth_strategy == Some(acs::AuthStrategy::ExecutionRole);
    Ok(spec)
}

/// What the instance does not advertise cannot be placed here; if it comes all the same, it must not run half.
fn refuse_unsupported(task: &acs::Task, sent: &acs::Container) -> Result<(), Failure> {
    let refuse = |what: &str| {
        Err(Failure::new("ResourceInitializationError", format!("{what} are not supported on this instance")))
    };
    let some = |mode: &Option<String>| mode.as_deref().is_some_and(|m| !m.is_empty() && m != "none");
    if sent.secrets.as_ref().is_some_and(|s| !s.is_empty()) {
        return refuse("secrets");
    }
    if sent.environment_files.as_ref().is_some_and(|f| !f.is_empty()) {
        return refuse("environment files");
    }
    if sent.firelens_configuration.is_some() {
        return refuse("FireLens containers");
    }
    if some(&task.pid_mode) || some(&task.ipc_mode) {
        return refuse("shared process and IPC namespaces");
    }
    Ok(())
}

#[derive(Deserialize)]
struct Overrides {
    command: Option<Vec<String>>,
}

/// Only the command is honoured in `overrides`, a JSON document in a string.
fn command_override(sent: &acs::Container) -> Result<Option<Vec<String>>, Failure> {
    let Some(text) = sent.overrides.as_deref().filter(|t| !t.is_empty()) else { return Ok(None) };
    let overrides: Overrides = serde_json::from_str(text).map_err(|e| {
        Failure::new("DockerClientConfigError", format!("unable to decode the overrides: {e}"))
    })?;
    Ok(overrides.command.filter(|c| !c.is_empty()))
}

fn ports(sent: &acs::Container) -> Result<Vec<PortMapping>, Failure> {
    let invalid = |text: String| Failure::new("HostConfigError", text);
    let port = |number: Option<i32>| {
        u16::try_from(number.unwrap_or_default())
            .map_err(|_| invalid(format!("{} is not a port", number.unwrap_or_default())))
    };
    let mut ports = Vec::new();
    for mapping in sent.port_mappings.iter().flatten() {
        if mapping.container_port_range.is_some() {
            return Err(invalid("port ranges are not supported on this instance".to_owned()));
        }
        let container_port = port(mapping.container_port)?;
        if container_port == 0 {
            return Err(invalid("a port mapping has no container port".to_owned()));
        }
        let udp = mapping.protocol == Some(acs::TransportProtocol::Udp);
        ports.push(PortMapping { container_port, host_port: port(mapping.host_port)?, udp });
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(name: &str) -> acs::Container {
        acs::Container { name: Some(name.into()), image: Some("i".into()), ..Default::default() }
    }

    fn task(containers: Vec<acs::Container>) -> acs::Task {
        acs::Task {
            arn: Some("arn:aws:ecs:r:1:task/c/id".into()),
            containers: Some(containers),
            ..Default::default()
        }
    }

    #[test]
    fn demand_is_the_task_s_limit_or_the_sum_of_its_containers() {
        let host = |soft: i64| {
            Some(acs::DockerConfig {
                host_config: Some(format!("{{\"MemoryReservation\":{}}}", soft * 1024 * 1024)),
                ..Default::default()
            })
        };
        let a = acs::Container { cpu: Some(100), memory: Some(64), ..container("a") };
        let b = acs::Container { cpu: Some(28), memory: Some(64), docker_config: host(32), ..container("b") };
        let mut sent = task(vec![a, b]);
        let demand = plan(&sent).unwrap().demand;
        assert_eq!((demand.cpu_units, demand.memory_mib), (128, 96));
        (sent.cpu, sent.memory) = (Some(0.25), Some(512));
        let demand = plan(&sent).unwrap().demand;
        assert_eq!((demand.cpu_units, demand.memory_mib), (256, 512));
        let limits: Vec<u64> =
            plan(&sent).unwrap().containers.iter().map(|c| c.spec.as_ref().unwrap().memory_mib).collect();
        assert_eq!(limits, [64, 64], "containers keep limits of their own");
        sent.containers.as_mut().unwrap()[0].memory = None;
        assert_eq!(plan(&sent).unwrap().containers[0].spec.as_ref().unwrap().memory_mib, 512);
        sent.launch_type = Some("FARGATE".into());
        assert_eq!(plan(&sent).unwrap().demand, Demand::default());
    }

    #[test]
    fn static_ports_count_and_dynamic_ones_do_not() {
        let port = |container, host, protocol| acs::PortMapping {
            container_port: Some(container),
            host_port: Some(host),
            protocol,
            container_port_range: None,
        };
        let mappings =
            vec![port(80, 8080, None), port(81, 0, None), port(53, 53, Some(acs::TransportProtocol::Udp))];
        let mut sent = task(vec![acs::Container { port_mappings: Some(mappings), ..container("a") }]);
        let demand = plan(&sent).unwrap().demand;
        assert_eq!(demand.tcp_ports, BTreeSet::from([8080]));
        assert_eq!(demand.udp_ports, BTreeSet::from([53]));
        sent.network_mode = Some("host".into());
        assert_eq!(plan(&sent).unwrap().demand.tcp_ports, BTreeSet::from([8080, 81]));
    }

    #[test]
    fn volumes_become_mounts() {
        let volume = |name: &str, path: Option<&str>| acs::Volume {
            name: Some(name.into()),
            host: Some(acs::HostVolumeProperties { source_path: path.map(Into::into) }),
            ..Default::default()
        };
        let point = |name: &str| acs::MountPoint {
            source_volume: Some(name.into()),
            container_path: Some("/x".into()),
            read_only: Some(true),
        };
        let mounts = vec![point("data"), point("own")];
        let mut sent = task(vec![acs::Container { mount_points: Some(mounts), ..container("a") }]);
        sent.volumes = Some(vec![volume("data", Some("/srv")), volume("own", None)]);
        let plan_ = plan(&sent).unwrap();
        let mounts = &plan_.containers[0].spec.as_ref().unwrap().mounts;
        assert_eq!(mounts[0].source, MountSource::Host("/srv".into()));
        assert!(matches!(&mounts[1].source, MountSource::Task { volume, .. } if volume == "own"));
        sent.volumes.as_mut().unwrap()[1].r#type = Some(acs::VolumeType::Efs);
        let failure = plan(&sent).unwrap().containers[0].spec.clone().unwrap_err();
        assert_eq!(failure.name, "CannotCreateVolumeError");
        sent.volumes.as_mut().unwrap()[0].host = None;
        assert!(plan(&sent).is_err());
    }

    #[test]
    fn weights_and_memory_are_kept_within_docker_s_bounds() {
        let spec = |cpu, memory| {
            let sent = acs::Container { cpu: Some(cpu), memory: Some(memory), ..container("a") };
            plan(&task(vec![sent])).unwrap().containers[0].spec.clone().unwrap()
        };
        assert_eq!((spec(0, 0).cpu_shares, spec(0, 0).memory_mib), (2, 0));
        assert_eq!((spec(1_000_000, 1).cpu_shares, spec(1, 1).memory_mib), (262_144, 4));
    }

    #[test]
    fn what_cannot_be_a_task_is_told() {
        assert!(plan(&acs::Task::default()).is_err());
        assert!(plan(&task(vec![container("a"), container("a")])).is_err());
        assert!(
            desired(&acs::Task { desired_status: Some("WHATEVER".into()), ..Default::default() }).is_err()
        );
        let override_ = acs::Container { overrides: Some(r#"{"command":["x"]}"#.into()), ..container("a") };
        let spec = plan(&task(vec![override_])).unwrap().containers[0].spec.clone().unwrap();
        assert_eq!(spec.command, Some(vec!["x".to_owned()]));
    }
}
