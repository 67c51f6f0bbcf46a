//! The overrides of RunTask and StartTask: checked against the definition, and what the task takes with them.

use crate::ecs::exception::{client, invalid};
use crate::ecs::task_definition::units;
use crate::state::ecs::{Demand, TaskDefinition, Transport};
use api::ecs::{self as model, Error, NetworkMode};
use std::collections::BTreeSet;

/// The most characters of JSON (API_TaskOverride).
const OVERRIDES_MAX: usize = 8192;

/// Checks overrides and writes their sizes as plain numbers.
pub(super) fn check(
    definition: &TaskDefinition,
    overrides: Option<model::TaskOverride>,
) -> Result<model::TaskOverride, Error> {
    let mut overrides = overrides.unwrap_or_default();
    if wire::json::to_vec(&overrides).len() > OVERRIDES_MAX {
        return Err(invalid(format!("Overrides can have at most {OVERRIDES_MAX} characters.")));
    }
    let defined = definition.definition.container_definitions.as_deref().unwrap_or_default();
    for over in overrides.container_overrides.get_or_insert_default() {
        let name = over.name.as_deref().unwrap_or_default();
        if !defined.iter().any(|d| d.name.as_deref() == Some(name)) {
            let text =
                format!("Override for container named {name} is not a container in the TaskDefinition.");
            return Err(invalid(text));
        }
        let sizes =
            [("cpu", over.cpu), ("memory", over.memory), ("memoryReservation", over.memory_reservation)];
        if let Some((member, _)) = sizes.iter().find(|(_, size)| size.is_some_and(|n| n < 0)) {
            return Err(invalid(format!("Invalid '{member}' override for container '{name}'.")));
        }
    }
    // Replies show the list, even an empty one.
    overrides.inference_accelerator_overrides.get_or_insert_default();
    let size = |text: &mut Option<String>, read: fn(&str) -> Option<u32>, name: &str| {
        if let Some(text) = text {
            let number = read(text).ok_or_else(|| client(format!("Invalid '{name}' setting for task.")))?;
            *text = number.to_string();
        }
        Ok::<(), Error>(())
    };
    size(&mut overrides.cpu, units::cpu, "cpu")?;
    size(&mut overrides.memory, units::memory, "memory")?;
    Ok(overrides)
}

/// What a task takes of its instance (ECS developer guide, "Task size"; ecs-agent, `host_resource_manager`): its own
/// size, else the sum over its containers, of memory the soft limit where there is one.
pub(super) fn demand(definition: &model::TaskDefinition, overrides: &model::TaskOverride) -> Demand {
    let containers = definition.container_definitions.as_deref().unwrap_or_default();
    let over = |d: &model::ContainerDefinition| {
        overrides.container_overrides.iter().flatten().rfind(|o| o.name == d.name)
    };
    let size = |over: &Option<String>, own: &Option<String>| {
        over.as_ref().or(own.as_ref()).and_then(|text| text.parse::<i64>().ok())
    };
    let cpu_units = size(&overrides.cpu, &definition.cpu).unwrap_or_else(|| {
        containers.iter().filter_map(|d| over(d).and_then(|o| o.cpu).or(d.cpu)).map(i64::from).sum()
    });
    let memory_mib = size(&overrides.memory, &definition.memory).unwrap_or_else(|| {
        let memory = |d: &model::ContainerDefinition| {
            let soft = over(d).and_then(|o| o.memory_reservation).or(d.memory_reservation);
            soft.or_else(|| over(d).and_then(|o| o.memory)).or(d.memory)
        };
        containers.iter().filter_map(memory).map(i64::from).sum()
    });
    Demand { cpu_units, memory_mib, ports: ports(definition) }
}

/// The host ports that the definition names; dynamic ones are added once the agent has reported them.
fn ports(definition: &model::TaskDefinition) -> BTreeSet<(Transport, u16)> {
    let mode = definition.network_mode.unwrap_or(NetworkMode::Bridge);
    if !matches!(mode, NetworkMode::Bridge | NetworkMode::Host) {
        return BTreeSet::new();
    }
    let port = |mapping: &model::PortMapping| {
        let number = mapping.host_port.filter(|port| *port != 0);
        let number = number.or(mapping.container_port.filter(|_| mode == NetworkMode::Host))?;
        let is_udp = mapping.protocol == Some(model::TransportProtocol::Udp);
        let transport = if is_udp { Transport::Udp } else { Transport::Tcp };
        u16::try_from(number).ok().filter(|port| *port != 0).map(|port| (transport, port))
    };
    let containers = definition.container_definitions.iter().flatten();
    containers.flat_map(|c| c.port_mappings.iter().flatten()).filter_map(port).collect()
}
