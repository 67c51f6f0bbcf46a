//! Where a task runs: a pure function of the state that returns an instance or the reasons against each.

use crate::state::State;
use crate::state::ecs::{
    Attribute, ClusterId, ContainerInstance, Demand, InstanceId, InstanceStatus, Transport,
};

/// What placement must know of a task.
#[derive(Clone, Debug)]
pub struct Spec<'a> {
    pub cluster: &'a ClusterId,
    pub demand: &'a Demand,
    /// Attributes that the task definition needs; a value, where given, must match.
    pub requires_attributes: &'a [Attribute],
}

/// Why an instance cannot take a task: the reasons of `failures[]` (API_Failure).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    Inactive,
    Agent,
    Attribute,
    Cpu,
    Memory,
    Ports,
    PortsUdp,
}

impl Reason {
    /// The text in `failures[].reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "INACTIVE",
            Self::Agent => "AGENT",
            Self::Attribute => "ATTRIBUTE",
            Self::Cpu => "RESOURCE:CPU",
            Self::Memory => "RESOURCE:MEMORY",
            Self::Ports => "RESOURCE:PORTS",
            Self::PortsUdp => "RESOURCE:PORTS_UDP",
        }
    }
}

/// The first instance of the cluster, in order of registration, that can take the task; else every instance's reason.
pub fn place(state: &State, spec: &Spec<'_>) -> Result<InstanceId, Vec<(InstanceId, Reason)>> {
    let mut reasons = Vec::new();
    for (_, id) in state.indexes.instances_by_cluster.get(spec.cluster).into_iter().flatten() {
        let Some(instance) = state.container_instances.get(id) else { continue };
        if instance.status != InstanceStatus::Active {
            continue;
        }
        match check(state, instance, spec) {
            None => return Ok(*id),
            Some(reason) => reasons.push((*id, reason)),
        }
    }
    Err(reasons)
}

/// Why this instance cannot take the task, if so.
pub fn check(state: &State, instance: &ContainerInstance, spec: &Spec<'_>) -> Option<Reason> {
    if instance.status == InstanceStatus::Inactive {
        return Some(Reason::Inactive);
    }
    if !state.sessions.by_instance.contains_key(&instance.id) {
        return Some(Reason::Agent);
    }
    if !spec.requires_attributes.iter().all(|needed| has_attribute(instance, needed)) {
        return Some(Reason::Attribute);
    }
    let (cpu_units, memory_mib) = remaining(state, instance);
    if cpu_units < spec.demand.cpu_units {
        return Some(Reason::Cpu);
    }
    if memory_mib < spec.demand.memory_mib {
        return Some(Reason::Memory);
    }
    let usage = state.indexes.usage.get(&instance.id);
    let is_taken =
        |port| instance.reserved_ports.contains(port) || usage.is_some_and(|u| u.ports.contains(port));
    let taken = spec.demand.ports.iter().find(|port| is_taken(port))?;
    Some(if taken.0 == Transport::Tcp { Reason::Ports } else { Reason::PortsUdp })
}

/// CPU units and MiB of memory that an instance has left.
pub fn remaining(state: &State, instance: &ContainerInstance) -> (i64, i64) {
    let usage = state.indexes.usage.get(&instance.id);
    let (cpu_units, memory_mib) = usage.map_or((0, 0), |u| (u.cpu_units, u.memory_mib));
    (instance.cpu_units - cpu_units, instance.memory_mib - memory_mib)
}

fn has_attribute(instance: &ContainerInstance, needed: &Attribute) -> bool {
    let found = instance.attributes.iter().find(|a| a.name == needed.name);
    found.is_some_and(|a| needed.value.is_none() || a.value == needed.value)
}
