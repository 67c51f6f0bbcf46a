//! The rules of networks: ports, links, names and resolvers, each by network mode.

use super::container::{self, invalid_setting};
use crate::ecs::exception::client;
use api::ecs::{ContainerDefinition, Error, NetworkMode, PortMapping, RegisterTaskDefinitionRequest};
use std::collections::BTreeSet;

/// Port mappings, and port ranges, of a container (ecs service quotas).
const PORTS_MAX: usize = 100;

pub(super) fn check(request: &RegisterTaskDefinitionRequest) -> Result<(), Error> {
    let mode = request.network_mode;
    let mut taken = BTreeSet::new();
    let mut names = BTreeSet::new();
    for container in &request.container_definitions {
        let ports = container.port_mappings.as_deref().unwrap_or_default();
        if ports.len() > PORTS_MAX {
            let why = format!("At most {PORTS_MAX} port mappings can be given.");
            return Err(invalid_setting("portMappings", container, &why));
        }
        if mode == Some(NetworkMode::None) && !ports.is_empty() {
            return Err(client("Port mappings are not supported when networkMode=none."));
        }
        for port in ports {
            match &port.container_port_range {
                Some(range) => check_range(mode, container, (port, range))?,
                None => check_port(mode, container, port)?,
            }
            if let Some(host_port) = port.host_port.filter(|port| *port > 0)
                && !taken.insert((port.protocol, host_port))
            {
                return Err(client(format!(
                    "Host port {host_port} is used in more than one port mapping of the task definition."
                )));
            }
            check_port_name(container, port, &mut names)?;
        }
        check_links(request, container)?;
        check_names(mode, container)?;
    }
    Ok(())
}

fn check_port(
    mode: Option<NetworkMode>,
    container: &ContainerDefinition,
    port: &PortMapping,
) -> Result<(), Error> {
    let invalid = |setting: &str| {
        client(format!("Invalid '{setting}' setting for container '{}'.", container::name(container)))
    };
    let Some(container_port) = port.container_port.filter(|port| (1..=65535).contains(port)) else {
        return Err(invalid("containerPort"));
    };
    if port.host_port.is_some_and(|port| !(0..=65535).contains(&port)) {
        return Err(invalid("hostPort"));
    }
    if let Some(mode @ (NetworkMode::Awsvpc | NetworkMode::Host)) = mode
        && port.host_port.is_some_and(|port| port != container_port)
    {
        return Err(client(format!(
            "When networkMode={mode}, the host ports and container ports in port mappings must match."
        )));
    }
    Ok(())
}

/// A range stands instead of both ports, in bridge and awsvpc mode (API_PortMapping).
fn check_range(
    mode: Option<NetworkMode>,
    container: &ContainerDefinition,
    (port, range): (&PortMapping, &str),
) -> Result<(), Error> {
    let invalid = |why: &str| Err(invalid_setting("containerPortRange", container, why));
    if port.container_port.is_some() || port.host_port.is_some() {
        return invalid("It cannot be given together with containerPort or hostPort.");
    }
    if mode == Some(NetworkMode::Host) {
        return invalid("It is not supported when networkMode=host.");
    }
    let bounds = range
        .split_once('-')
        .and_then(|(from, to)| Some((from.parse::<u16>().ok().filter(|p| *p > 0)?, to.parse::<u16>().ok()?)));
    match bounds {
        Some((from, to)) if from <= to => Ok(()),
        _ => invalid("It must be of the form 'first-last', with ports between 1 and 65535."),
    }
}

/// Names of ports are unique and have a form of their own (API_PortMapping).
fn check_port_name(
    container: &ContainerDefinition,
    port: &PortMapping,
    names: &mut BTreeSet<String>,
) -> Result<(), Error> {
    let Some(name) = &port.name else {
        if port.app_protocol.is_some() {
            let why = "A port mapping with an appProtocol needs a name.";
            return Err(invalid_setting("portMappings", container, why));
        }
        return Ok(());
    };
    let is_letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_name = name.len() <= 64
        && name.bytes().next().is_some_and(is_letter)
        && name.bytes().all(|b| is_letter(b) || b == b'-' || b == b'_');
    if !is_name {
        let why = format!(
            "The port name '{name}' must have at most 64 lower-case letters, digits, hyphens and underscores and begin \
             with a letter or digit."
        );
        return Err(invalid_setting("portMappings", container, &why));
    }
    if !names.insert(name.clone()) {
        let why = format!("The port name '{name}' is used more than once in the task definition.");
        return Err(invalid_setting("portMappings", container, &why));
    }
    Ok(())
}

/// Links are Docker's, on the default bridge only: `name` or `name:alias` of another container.
fn check_links(
    request: &RegisterTaskDefinitionRequest,
    container: &ContainerDefinition,
) -> Result<(), Error> {
    for link in container.links.iter().flatten() {
        if let Some(mode) = request.network_mode.filter(|mode| *mode != NetworkMode::Bridge) {
            return Err(client(format!("Links are not supported when networkMode={mode}.")));
        }
        let target = link.split(':').next().unwrap_or_default();
        let is_known = request.container_definitions.iter().any(|c| container::name(c) == target);
        if !is_known || target == container::name(container) {
            return Err(client(format!(
                "Invalid link '{link}' for container '{}': it must name another container of the task definition.",
                container::name(container)
            )));
        }
    }
    Ok(())
}

/// What a container cannot have where it shares the task's or the host's network.
fn check_names(mode: Option<NetworkMode>, container: &ContainerDefinition) -> Result<(), Error> {
    let is_disabled = container.disable_networking == Some(true);
    let has_ports = container.port_mappings.as_ref().is_some_and(|ports| !ports.is_empty());
    if is_disabled && has_ports {
        let why = "Port mappings cannot be given when networking is disabled.";
        return Err(invalid_setting("disableNetworking", container, why));
    }
    fn given<T>(list: Option<&Vec<T>>) -> bool {
        list.is_some_and(|list| !list.is_empty())
    }
    let Some(mode @ (NetworkMode::Awsvpc | NetworkMode::Host)) = mode else { return Ok(()) };
    let is_awsvpc = mode == NetworkMode::Awsvpc;
    let refused = [
        ("hostname", container.hostname.is_some()),
        ("dnsServers", is_awsvpc && given(container.dns_servers.as_ref())),
        ("dnsSearchDomains", is_awsvpc && given(container.dns_search_domains.as_ref())),
        ("extraHosts", is_awsvpc && given(container.extra_hosts.as_ref())),
        ("disableNetworking", is_awsvpc && is_disabled),
    ];
    match refused.into_iter().find(|(_, is_given)| *is_given) {
        Some((setting, _)) => {
            Err(client(format!("{setting} is not supported on container when networkMode={mode}.")))
        }
        None => Ok(()),
    }
}
