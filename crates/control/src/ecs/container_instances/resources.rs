//! An instance's resources as agents register them and replies show them.

use crate::ecs::exception::{client, invalid};
use crate::state::ecs::{ContainerInstance, Transport, Usage};
use api::ecs::{Error, Resource};
use std::collections::BTreeSet;

/// The most ports that an instance may keep for itself (ECS quotas).
const RESERVED_PORTS_MAX: usize = 100;

/// What an instance has.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Resources {
    pub(super) cpu_units: i64,
    pub(super) memory_mib: i64,
    pub(super) reserved_ports: BTreeSet<(Transport, u16)>,
    pub(super) gpu_ids: Vec<String>,
}

impl Resources {
    /// Reads `totalResources`; kinds that tasks cannot ask for are ignored.
    pub(super) fn parse(resources: Option<Vec<Resource>>) -> Result<Self, Error> {
        let mut parsed = Self::default();
        for resource in resources.into_iter().flatten() {
            let number = i64::from(resource.integer_value.unwrap_or(0)).max(resource.long_value.unwrap_or(0));
            let set = resource.string_set_value.unwrap_or_default();
            match resource.name.as_deref() {
                Some("CPU") => parsed.cpu_units = number,
                Some("MEMORY") => parsed.memory_mib = number,
                Some("PORTS") => parsed.reserve(Transport::Tcp, &set)?,
                Some("PORTS_UDP") => parsed.reserve(Transport::Udp, &set)?,
                Some("GPU") => parsed.gpu_ids = set,
                _ => {}
            }
        }
        if parsed.cpu_units < 0 || parsed.memory_mib < 0 {
            return Err(invalid("CPU and MEMORY must not be negative."));
        }
        if parsed.reserved_ports.len() > RESERVED_PORTS_MAX {
            return Err(client(format!("An instance can reserve at most {RESERVED_PORTS_MAX} ports.")));
        }
        Ok(parsed)
    }

    fn reserve(&mut self, transport: Transport, ports: &[String]) -> Result<(), Error> {
        for text in ports {
            let port = text.parse().map_err(|_| invalid(format!("Invalid port: '{text}'.")))?;
            self.reserved_ports.insert((transport, port));
        }
        Ok(())
    }
}

/// Everything that the instance has; of ports those that it keeps for itself.
pub(super) fn registered(instance: &ContainerInstance) -> Vec<Resource> {
    list(instance, (instance.cpu_units, instance.memory_mib), &BTreeSet::new())
}

/// What tasks leave of it; of ports those in use.
pub(super) fn remaining(instance: &ContainerInstance, usage: Option<&Usage>) -> Vec<Resource> {
    let none = Usage::default();
    let usage = usage.unwrap_or(&none);
    let left = (instance.cpu_units - usage.cpu_units, instance.memory_mib - usage.memory_mib);
    list(instance, left, &usage.ports.keys().copied().collect())
}

fn list(
    instance: &ContainerInstance,
    (cpu_units, memory_mib): (i64, i64),
    used: &BTreeSet<(Transport, u16)>,
) -> Vec<Resource> {
    let ports = |transport: Transport| {
        let all = instance.reserved_ports.union(used);
        all.filter(|(t, _)| *t == transport).map(|(_, port)| port.to_string()).collect()
    };
    let mut resources = vec![
        integer("CPU", cpu_units),
        integer("MEMORY", memory_mib),
        set("PORTS", ports(Transport::Tcp)),
        set("PORTS_UDP", ports(Transport::Udp)),
    ];
    if !instance.gpu_ids.is_empty() {
        resources.push(set("GPU", instance.gpu_ids.clone()));
    }
    resources
}

/// Members of other types are shown as 0.
fn integer(name: &str, value: i64) -> Resource {
    Resource {
        name: Some(name.to_owned()),
        r#type: Some("INTEGER".to_owned()),
        integer_value: Some(i32::try_from(value).unwrap_or(i32::MAX)),
        long_value: Some(0),
        double_value: Some(0.0),
        string_set_value: None,
    }
}

fn set(name: &str, values: Vec<String>) -> Resource {
    Resource {
        name: Some(name.to_owned()),
        r#type: Some("STRINGSET".to_owned()),
        integer_value: Some(0),
        long_value: Some(0),
        double_value: Some(0.0),
        string_set_value: Some(values),
    }
}
