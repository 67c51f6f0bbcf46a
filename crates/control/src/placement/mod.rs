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
    /// The group of which no other task may be on the instance (the constraint distinctInstance).
    pub distinct_group: Option<&'a str>,
}

/// Why an instance cannot take a task: the reasons of `failures[]` (API_Failure), in the order of their evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    Inactive,
    Agent,
    Attribute,
    Cpu,
    Memory,
    Ports,
    PortsUdp,
    DistinctInstance,
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
            Self::DistinctInstance => "DistinctInstance placement constraint unsatisfied.",
        }
    }
}

/// The first instance of the cluster, in order of registration, that can take the task; else every instance's reason.
///
/// DRAINING instances are not considered and give no reason.
pub fn place(state: &State, spec: &Spec<'_>) -> Result<InstanceId, Vec<(InstanceId, Reason)>> {
    let candidates = || {
        let ids = state.indexes.instances_by_cluster.get(spec.cluster).into_iter().flatten();
        let all = ids.filter_map(|(_, id)| state.container_instances.get(id));
        all.filter(|instance| instance.status == InstanceStatus::Active)
    };
    // Room first: it is the cheapest question, and on a busy cluster most instances fail it.
    let fits = |instance: &&std::sync::Arc<ContainerInstance>| {
        has_room(state, instance, spec.demand) && check(state, instance, spec).is_none()
    };
    if let Some(instance) = candidates().find(fits) {
        return Ok(instance.id);
    }
    Err(candidates().filter_map(|i| check(state, i, spec).map(|reason| (i.id, reason))).collect())
}

/// Why this instance cannot take the task, if so. DRAINING does not keep a task away that is meant for it.
pub fn check(state: &State, instance: &ContainerInstance, spec: &Spec<'_>) -> Option<Reason> {
    if instance.status == InstanceStatus::Inactive {
        return Some(Reason::Inactive);
    }
    if !state.sessions.is_connected(instance.id) {
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
    if let Some((transport, _)) = taken_port(state, instance, spec.demand) {
        return Some(if transport == Transport::Tcp { Reason::Ports } else { Reason::PortsUdp });
    }
    let is_taken = spec.distinct_group.is_some_and(|group| has_group(state, instance, group));
    is_taken.then_some(Reason::DistinctInstance)
}

/// CPU units and MiB of memory that an instance has left.
pub fn remaining(state: &State, instance: &ContainerInstance) -> (i64, i64) {
    let usage = state.indexes.usage.get(&instance.id);
    let (cpu_units, memory_mib) = usage.map_or((0, 0), |u| (u.cpu_units, u.memory_mib));
    (instance.cpu_units - cpu_units, instance.memory_mib - memory_mib)
}

fn has_room(state: &State, instance: &ContainerInstance, demand: &Demand) -> bool {
    let (cpu_units, memory_mib) = remaining(state, instance);
    cpu_units >= demand.cpu_units && memory_mib >= demand.memory_mib
}

/// A port of the demand that the instance keeps for itself or a task holds.
fn taken_port(state: &State, instance: &ContainerInstance, demand: &Demand) -> Option<(Transport, u16)> {
    let usage = state.indexes.usage.get(&instance.id);
    let is_taken = |port: &(Transport, u16)| {
        instance.reserved_ports.contains(port) || usage.is_some_and(|u| u.ports.contains_key(port))
    };
    demand.ports.iter().copied().find(|port| is_taken(port))
}

/// Whether the instance has the attribute; an instance's attributes are in order of their names.
fn has_attribute(instance: &ContainerInstance, needed: &Attribute) -> bool {
    let found = instance.attributes.binary_search_by(|a| a.name.cmp(&needed.name));
    found.is_ok_and(|at| needed.value.is_none() || instance.attributes[at].value == needed.value)
}

fn has_group(state: &State, instance: &ContainerInstance, group: &str) -> bool {
    let ids = state.indexes.tasks_by_instance.get(&instance.id).into_iter().flatten();
    let mut tasks = ids.filter_map(|(_, id)| state.tasks.get(id));
    tasks.any(|task| !task.is_stopped() && task.group == group)
}
