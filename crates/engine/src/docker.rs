//! The Docker settings that travel inside a payload as two JSON documents in strings.
//!
//! Source: Docker Engine API, `ContainerConfig` and `HostConfig`; ecs-agent-protocol, "dockerConfig".

use crate::plan::{ContainerSpec, Device, Failure, LogConfig, Network, PortMapping, Tmpfs, Ulimit};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::IpAddr;

const MIB: i64 = 1024 * 1024;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Config {
    user: Option<String>,
    working_dir: Option<String>,
    hostname: Option<String>,
    env: Option<Vec<String>>,
    labels: Option<BTreeMap<String, String>>,
    pub(crate) healthcheck: Option<serde_json::Value>,
    network_disabled: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct HostConfig {
    pub(crate) network_mode: Option<String>,
    log_config: Option<Log>,
    privileged: Option<bool>,
    readonly_rootfs: Option<bool>,
    memory_reservation: Option<i64>,
    cap_add: Option<Vec<String>>,
    cap_drop: Option<Vec<String>>,
    devices: Option<Vec<HostDevice>>,
    init: Option<bool>,
    shm_size: Option<i64>,
    tmpfs: Option<BTreeMap<String, String>>,
    ulimits: Option<Vec<HostUlimit>>,
    sysctls: Option<BTreeMap<String, String>>,
    dns: Option<Vec<String>>,
    dns_search: Option<Vec<String>>,
    extra_hosts: Option<Vec<String>>,
    security_opt: Option<Vec<String>>,
    pid_mode: Option<String>,
    ipc_mode: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Log {
    r#type: String,
    config: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostDevice {
    path_on_host: String,
    path_in_container: String,
    cgroup_permissions: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostUlimit {
    name: String,
    soft: i64,
    hard: i64,
}

/// Reads both documents; absent ones are empty.
pub(crate) fn parse(documents: Option<&api::acs::DockerConfig>) -> Result<(Config, HostConfig), Failure> {
    let text = |t: Option<&String>| t.filter(|t| !t.is_empty()).map_or("{}", String::as_str).to_owned();
    let config = serde_json::from_str(&text(documents.and_then(|d| d.config.as_ref()))).map_err(|e| {
        Failure::new("DockerClientConfigError", format!("unable to decode the container's config: {e}"))
    })?;
    let host = serde_json::from_str(&text(documents.and_then(|d| d.host_config.as_ref()))).map_err(|e| {
        Failure::new("HostConfigError", format!("unable to decode the container's host config: {e}"))
    })?;
    Ok((config, host))
}

/// The network that the container gets; Docker's own default is the bridge.
pub(crate) fn network(
    config: &Config,
    host: &HostConfig,
    task_mode: Option<&str>,
    ports: Vec<PortMapping>,
) -> Result<Network, Failure> {
    if config.network_disabled == Some(true) {
        return Ok(Network::None);
    }
    let mode = host.network_mode.as_deref().filter(|m| !m.is_empty());
    let mode = mode.or(task_mode.filter(|m| !m.is_empty())).unwrap_or("bridge");
    match mode {
        "bridge" | "default" => Ok(Network::Bridge { ports }),
        "host" => Ok(Network::Host),
        "none" => Ok(Network::None),
        other => Err(Failure::new(
            "ContainerNetworkingError",
            format!("network mode {other} is not supported on this instance; use bridge, host or none"),
        )),
    }
}

/// Lays both documents over what the payload itself says.
pub(crate) fn overlay(spec: &mut ContainerSpec, config: Config, host: HostConfig) -> Result<(), Failure> {
    refuse_shared_namespaces(&host)?;
    let filled = |t: Option<String>| t.filter(|t| !t.is_empty());
    spec.user = filled(config.user);
    spec.working_dir = filled(config.working_dir);
    spec.hostname = filled(config.hostname);
    for variable in config.env.unwrap_or_default() {
        let (name, value) = variable.split_once('=').unwrap_or((&variable, ""));
        set(&mut spec.env, name, value);
    }
    for (name, value) in config.labels.unwrap_or_default() {
        set(&mut spec.labels, &name, &value);
    }
    spec.privileged = host.privileged.unwrap_or_default();
    spec.readonly_rootfs = host.readonly_rootfs.unwrap_or_default();
    spec.memory_reservation_mib = mib(host.memory_reservation);
    spec.cap_add = host.cap_add.unwrap_or_default();
    spec.cap_drop = host.cap_drop.unwrap_or_default();
    spec.init = host.init.unwrap_or_default();
    spec.shm_size_mib = mib(host.shm_size);
    spec.sysctls = host.sysctls.unwrap_or_default().into_iter().collect();
    spec.dns_search = host.dns_search.unwrap_or_default();
    spec.security_options = host.security_opt.unwrap_or_default();
    spec.dns_servers = host.dns.unwrap_or_default().iter().map(|a| address(a)).collect::<Result<_, _>>()?;
    for line in host.extra_hosts.unwrap_or_default() {
        let (name, ip) = line
            .split_once(':')
            .ok_or_else(|| host_error(format!("{line:?} in ExtraHosts is not name:address")))?;
        spec.extra_hosts.push((name.to_owned(), address(ip)?));
    }
    spec.ulimits.extend(host.ulimits.unwrap_or_default().into_iter().map(|u| Ulimit {
        name: u.name,
        soft: u.soft,
        hard: u.hard,
    }));
    spec.devices.extend(host.devices.unwrap_or_default().into_iter().map(|d| Device {
        container_path: if d.path_in_container.is_empty() {
            d.path_on_host.clone()
        } else {
            d.path_in_container
        },
        host_path: d.path_on_host,
        permissions: if d.cgroup_permissions.is_empty() { "rwm".to_owned() } else { d.cgroup_permissions },
    }));
    for (destination, options) in host.tmpfs.unwrap_or_default() {
        spec.tmpfs.push(tmpfs(destination, &options)?);
    }
    if let Some(log) = host.log_config {
        spec.log.driver = log.r#type;
        spec.log.options = log.config.unwrap_or_default().into_iter().collect();
    }
    check_log_driver(&spec.log)
}

fn refuse_shared_namespaces(host: &HostConfig) -> Result<(), Failure> {
    for (what, mode) in [("PidMode", &host.pid_mode), ("IpcMode", &host.ipc_mode)] {
        if let Some(mode) = mode.as_deref().filter(|m| !matches!(*m, "" | "private" | "shareable")) {
            return Err(host_error(format!("{what} {mode} is not supported on this instance")));
        }
    }
    Ok(())
}

fn check_log_driver(log: &LogConfig) -> Result<(), Failure> {
    match log.driver.as_str() {
        "" | "json-file" | "none" => Ok(()),
        "awslogs" if log.option("awslogs-group").is_some_and(|g| !g.is_empty()) => Ok(()),
        "awslogs" => Err(host_error("the log driver awslogs needs the option awslogs-group".to_owned())),
        other => Err(host_error(format!(
            "log driver {other} is not supported on this instance; use awslogs, json-file or none"
        ))),
    }
}

fn host_error(message: String) -> Failure {
    Failure::new("HostConfigError", message)
}

fn address(text: &str) -> Result<IpAddr, Failure> {
    text.trim().parse().map_err(|_| host_error(format!("{text:?} is not an IP address")))
}

fn mib(bytes: Option<i64>) -> u64 {
    u64::try_from(bytes.unwrap_or_default().saturating_add(MIB - 1) / MIB).unwrap_or_default()
}

/// Sets a name's value, in place if it is there already.
pub(crate) fn set(list: &mut Vec<(String, String)>, name: &str, value: &str) {
    match list.iter_mut().find(|(n, _)| n == name) {
        Some(entry) => value.clone_into(&mut entry.1),
        None => list.push((name.to_owned(), value.to_owned())),
    }
}

/// `size=65536k,noexec` as `mount(8)` takes it.
fn tmpfs(destination: String, options: &str) -> Result<Tmpfs, Failure> {
    let mut mount = Tmpfs { destination, size_mib: 0, options: Vec::new() };
    for option in options.split(',').filter(|o| !o.is_empty()) {
        let Some(size) = option.strip_prefix("size=") else {
            mount.options.push(option.to_owned());
            continue;
        };
        let (digits, unit) = size.split_at(size.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len());
        let factor = match unit.to_ascii_lowercase().as_str() {
            "" => Some(1),
            "k" => Some(1024),
            "m" => Some(MIB),
            "g" => Some(1024 * MIB),
            _ => None,
        };
        let bytes = digits.parse::<i64>().ok().zip(factor).and_then(|(n, f)| n.checked_mul(f));
        let bytes = bytes.ok_or_else(|| host_error(format!("{option:?} of a tmpfs is not a size")))?;
        mount.size_mib = mib(Some(bytes));
    }
    Ok(mount)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::acs::DockerConfig;

    fn documents(config: &str, host: &str) -> Result<ContainerSpec, Failure> {
        let documents =
            DockerConfig { config: Some(config.into()), host_config: Some(host.into()), version: None };
        let (config, host) = parse(Some(&documents))?;
        let mut spec = ContainerSpec::default();
        overlay(&mut spec, config, host)?;
        Ok(spec)
    }

    #[test]
    fn every_setting_arrives() {
        let spec = documents(
            r#"{"User":"1:2","WorkingDir":"/w","Hostname":"h","Labels":{"a":"b"},"Unknown":null,"Env":["A=1"]}"#,
            r#"{"Privileged":true,"MemoryReservation":67108864,"CapAdd":["SYS_PTRACE"],"CapDrop":null,
                "Devices":[{"PathOnHost":"/dev/kvm"}],"Init":true,"Tmpfs":{"/t":"size=65536k,noexec"},
                "Ulimits":[{"Name":"nofile","Soft":1,"Hard":2}],"ExtraHosts":["x:10.0.0.1"],"Dns":["10.0.0.2"],
                "LogConfig":{"Type":"awslogs","Config":{"awslogs-group":"g"}}}"#,
        )
        .unwrap();
        assert_eq!((spec.user.as_deref(), spec.memory_reservation_mib), (Some("1:2"), 64));
        assert_eq!(spec.env, [("A".to_owned(), "1".to_owned())]);
        assert_eq!(spec.devices[0].container_path, "/dev/kvm");
        assert_eq!(
            spec.tmpfs[0],
            Tmpfs { destination: "/t".into(), size_mib: 64, options: vec!["noexec".into()] }
        );
        assert_eq!(spec.extra_hosts[0], ("x".to_owned(), IpAddr::from([10, 0, 0, 1])));
        assert_eq!(spec.log.option("awslogs-group"), Some("g"));
        assert!(spec.privileged && spec.init && spec.cap_drop.is_empty());
    }

    #[test]
    fn what_cannot_be_done_is_refused_under_amazon_s_names() {
        for (config, host, name) in [
            ("{", "{}", "DockerClientConfigError"),
            ("{}", "[", "HostConfigError"),
            ("{}", r#"{"PidMode":"host"}"#, "HostConfigError"),
            ("{}", r#"{"Dns":["x"]}"#, "HostConfigError"),
            ("{}", r#"{"LogConfig":{"Type":"splunk"}}"#, "HostConfigError"),
            ("{}", r#"{"LogConfig":{"Type":"awslogs"}}"#, "HostConfigError"),
            ("{}", r#"{"Tmpfs":{"/t":"size=1x"}}"#, "HostConfigError"),
        ] {
            assert_eq!(documents(config, host).unwrap_err().name, name, "{config} {host}");
        }
    }

    #[test]
    fn the_host_config_s_network_wins_over_the_task_s() {
        let mode = |host: &str, task: Option<&str>| {
            let (config, host) = parse(Some(&DockerConfig {
                host_config: Some(format!("{{\"NetworkMode\":\"{host}\"}}")),
                ..Default::default()
            }))
            .unwrap();
            network(&config, &host, task, Vec::new())
        };
        assert_eq!(mode("host", Some("bridge")), Ok(Network::Host));
        assert_eq!(mode("", Some("none")), Ok(Network::None));
        assert_eq!(mode("", None), Ok(Network::Bridge { ports: Vec::new() }));
        assert!(mode("awsvpc", None).is_err());
    }
}
