//! The two documents of Docker's API that carry what the agent has no members for.

use super::Source;
use api::{acs, ecs as model};
use serde_json::{Map, Value, json};

/// The version of Docker's API in which the documents are written: the newest that Amazon's agent knows.
const VERSION: &str = "1.32";
const MIB: i64 = 1024 * 1024;
const SECOND_NS: i64 = 1_000_000_000;

pub(super) fn config(
    source: &Source<'_>,
    definition: &model::ContainerDefinition,
    over: &model::ContainerOverride,
) -> acs::DockerConfig {
    acs::DockerConfig {
        config: Some(Value::Object(container(definition)).to_string()),
        host_config: Some(Value::Object(host(source, definition, over)).to_string()),
        version: Some(VERSION.to_owned()),
    }
}

/// Sets members that have a value.
struct Document(Map<String, Value>);

impl Document {
    fn set<T: Into<Value>>(&mut self, name: &str, value: Option<T>) {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.into());
        }
    }

    fn list(&mut self, name: &str, values: Option<&Vec<String>>) {
        self.set(name, values.filter(|v| !v.is_empty()).cloned());
    }
}

/// The container's configuration.
fn container(definition: &model::ContainerDefinition) -> Map<String, Value> {
    let mut out = Document(Map::new());
    out.set("User", definition.user.clone());
    out.set("WorkingDir", definition.working_directory.clone());
    out.set("Hostname", definition.hostname.clone());
    out.set("Tty", definition.pseudo_terminal);
    out.set("OpenStdin", definition.interactive);
    out.set("NetworkDisabled", definition.disable_networking);
    let labels = definition.docker_labels.as_ref().filter(|l| !l.is_empty());
    out.set(
        "Labels",
        labels.map(|labels| labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect::<Value>()),
    );
    out.set("Healthcheck", definition.health_check.as_ref().map(health_check));
    out.0
}

/// Intervals are nanoseconds; what is not given has ECS's defaults (API_HealthCheck), which are not Docker's.
fn health_check(check: &model::HealthCheck) -> Value {
    let ns = |seconds: Option<i32>, default: i32| i64::from(seconds.unwrap_or(default)) * SECOND_NS;
    json!({
        "Test": check.command,
        "Interval": ns(check.interval, 30),
        "Timeout": ns(check.timeout, 5),
        "StartPeriod": ns(check.start_period, 0),
        "Retries": check.retries.unwrap_or(3),
    })
}

/// The host's part.
fn host(
    source: &Source<'_>,
    definition: &model::ContainerDefinition,
    over: &model::ContainerOverride,
) -> Map<String, Value> {
    let mut out = Document(Map::new());
    out.set("NetworkMode", Some(source.network_mode().as_str()));
    out.set("Privileged", definition.privileged);
    out.set("ReadonlyRootfs", definition.readonly_root_filesystem);
    let reservation = over.memory_reservation.or(definition.memory_reservation);
    out.set("MemoryReservation", reservation.map(|mib| i64::from(mib) * MIB));
    out.list("Dns", definition.dns_servers.as_ref());
    out.list("DnsSearch", definition.dns_search_domains.as_ref());
    out.list("SecurityOpt", definition.docker_security_options.as_ref());
    let hosts = definition.extra_hosts.as_ref().filter(|h| !h.is_empty());
    let entry = |entry: &model::HostEntry| format!("{}:{}", entry.hostname, entry.ip_address);
    out.set("ExtraHosts", hosts.map(|hosts| hosts.iter().map(entry).collect::<Vec<_>>()));
    let ulimits = definition.ulimits.as_ref().filter(|u| !u.is_empty());
    let limit =
        |u: &model::Ulimit| json!({"Name": u.name.as_str(), "Soft": u.soft_limit, "Hard": u.hard_limit});
    out.set("Ulimits", ulimits.map(|ulimits| ulimits.iter().map(limit).collect::<Vec<_>>()));
    let controls = definition.system_controls.as_ref().filter(|c| !c.is_empty());
    let control =
        |c: &model::SystemControl| (c.namespace.clone().unwrap_or_default(), c.value.clone().into());
    out.set("Sysctls", controls.map(|controls| controls.iter().map(control).collect::<Map<_, _>>()));
    if let Some(parameters) = &definition.linux_parameters {
        linux(&mut out, parameters);
    }
    out.set(
        "LogConfig",
        definition.log_configuration.as_ref().map(|log| log_config(source, definition, log)),
    );
    out.0
}

fn linux(out: &mut Document, parameters: &model::LinuxParameters) {
    if let Some(capabilities) = &parameters.capabilities {
        out.list("CapAdd", capabilities.add.as_ref());
        out.list("CapDrop", capabilities.drop.as_ref());
    }
    out.set("Init", parameters.init_process_enabled);
    out.set("ShmSize", parameters.shared_memory_size.map(|mib| i64::from(mib) * MIB));
    out.set("MemorySwap", parameters.max_swap.map(|mib| i64::from(mib) * MIB));
    out.set("MemorySwappiness", parameters.swappiness);
    let devices = parameters.devices.as_ref().filter(|d| !d.is_empty());
    out.set("Devices", devices.map(|devices| devices.iter().map(device).collect::<Vec<_>>()));
    let tmpfs = parameters.tmpfs.as_ref().filter(|t| !t.is_empty());
    let mount = |mount: &model::Tmpfs| {
        let size = format!("size={}m", mount.size);
        let options = mount.mount_options.iter().flatten().cloned();
        (mount.container_path.clone(), options.chain([size]).collect::<Vec<_>>().join(",").into())
    };
    out.set("Tmpfs", tmpfs.map(|tmpfs| tmpfs.iter().map(mount).collect::<Map<_, _>>()));
}

fn device(device: &model::Device) -> Value {
    let letter = |permission: &model::DeviceCgroupPermission| match permission {
        model::DeviceCgroupPermission::Read => 'r',
        model::DeviceCgroupPermission::Write => 'w',
        model::DeviceCgroupPermission::Mknod => 'm',
    };
    let permissions: String = device.permissions.iter().flatten().map(letter).collect();
    json!({
        "PathOnHost": device.host_path,
        "PathInContainer": device.container_path.as_ref().unwrap_or(&device.host_path),
        "CgroupPermissions": if permissions.is_empty() { "rwm".to_owned() } else { permissions },
    })
}

/// The log driver with its options; awslogs gets what ECS fills in (ECS developer guide, "Using the awslogs log driver").
fn log_config(
    source: &Source<'_>,
    definition: &model::ContainerDefinition,
    log: &model::LogConfiguration,
) -> Value {
    let mut options = log.options.clone().unwrap_or_default();
    if log.log_driver == model::LogDriver::Awslogs {
        let region = source.task.cluster.scope.region.to_string();
        options.entry("awslogs-region".to_owned()).or_insert(region);
        // Docker knows no prefix: the stream is named here. Without a prefix Docker takes the container's id.
        if let Some(prefix) = options.remove("awslogs-stream-prefix") {
            let name = definition.name.as_deref().unwrap_or_default();
            options
                .entry("awslogs-stream".to_owned())
                .or_insert(format!("{prefix}/{name}/{}", source.task.id));
        }
        let endpoint = &source.settings.endpoint;
        if !endpoint.is_empty() {
            options.entry("awslogs-endpoint".to_owned()).or_insert_with(|| endpoint.clone());
        }
    }
    json!({"Type": log.log_driver.as_str(), "Config": options})
}
