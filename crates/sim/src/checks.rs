//! What must hold after every step, and what must be so once the faults have ceased.

use crate::setup;
use crate::world::World;
use api::channel::AcsMessage;
use control::state::ecs::{
    ClusterId, ContainerStatus, DesiredStatus, InstanceId, InstanceStatus, Task, TaskId, TaskStatus,
    Transport, Usage,
};
use control::state::{Row, State};
use control::{Change, Core, Message};
use std::collections::{BTreeMap, BTreeSet};

/// What is known of a task: where it stood, and that it must not stand behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    last_status: TaskStatus,
    desired_status: DesiredStatus,
    version: i64,
    containers: Vec<(ContainerStatus, Option<i32>)>,
}

impl Seen {
    fn of(task: &Task) -> Self {
        Self {
            last_status: task.last_status,
            desired_status: task.desired_status,
            version: task.version,
            containers: task.containers.iter().map(|c| (c.status, c.exit_code)).collect(),
        }
    }

    /// Why `next` cannot follow, if so.
    fn forbids(&self, next: &Self) -> Option<String> {
        let ends = |c: &(ContainerStatus, Option<i32>)| c.0 == ContainerStatus::Stopped;
        let containers = self.containers.iter().zip(&next.containers);
        let is_backward = next.last_status < self.last_status
            || next.desired_status < self.desired_status
            || next.version < self.version
            || containers.clone().any(|(old, new)| new.0 < old.0 || (ends(old) && old != new));
        is_backward.then(|| format!("{self:?} became {next:?}"))
    }
}

type Check = Result<(), String>;

impl World {
    /// A step's changes: tasks only move forward, and their end is complete.
    pub(crate) fn check_changes(&mut self, changes: &[Change]) -> Check {
        for change in changes {
            match (&change.key, &change.row) {
                (control::state::Key::Task(id), Some(Row::Task(task))) => {
                    let next = Seen::of(task);
                    if let Some(why) = self.seen.get(id).and_then(|seen| seen.forbids(&next)) {
                        return Err(format!("task {id} went back: {why}"));
                    }
                    check_moments(task)?;
                    self.seen.insert(*id, next);
                }
                (control::state::Key::Task(id), None) => {
                    let seen = self.seen.remove(id);
                    if seen.is_none_or(|seen| seen.last_status != TaskStatus::Stopped) {
                        return Err(format!("task {id} was lost"));
                    }
                    self.durable.remove(id);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What a commit made durable counts from now on, whatever happens.
    pub(crate) fn note_durable(&mut self, changes: &[Change]) {
        for change in changes {
            if let Some(Row::Task(task)) = &change.row {
                self.durable.insert(task.id, Seen::of(task));
            }
        }
    }

    /// Payloads and manifests are numbered upwards, whatever the core goes through: agents drop what is older.
    pub(crate) fn check_number(&mut self, message: &Message) -> Check {
        let number = match &message.frame {
            AcsMessage::PayloadMessage(payload) => payload.seq_num.map(i64::from),
            AcsMessage::TaskManifestMessage(manifest) => manifest.timeline,
            _ => return Ok(()),
        };
        let number = number.ok_or("a message without a number")?;
        if number <= self.timeline {
            return Err(format!("message {number} follows {}", self.timeline));
        }
        self.timeline = number;
        Ok(())
    }

    /// A restarted core knows everything that was durable.
    pub(crate) fn check_recovery(&mut self, state: &State) -> Check {
        for (id, seen) in &self.durable {
            let Some(task) = state.tasks.get(id) else {
                return Err(format!("task {id} is missing after a recovery"));
            };
            if let Some(why) = seen.forbids(&Seen::of(task)) {
                return Err(format!("task {id} went back over a recovery: {why}"));
            }
        }
        self.seen = state.tasks.values().map(|task| (task.id, Seen::of(task))).collect();
        Ok(())
    }

    /// Of every task at most one copy runs, wherever.
    pub(crate) fn check_copies(&self) -> Check {
        let mut running: BTreeMap<(&str, String), usize> = BTreeMap::new();
        for machine in &self.machines {
            for (task, name) in machine.runtime.running() {
                // The container's name in the runtime ends in something random.
                let name = name.rsplit_once('-').map_or(name, |(head, _)| head).to_owned();
                *running.entry((task, name)).or_default() += 1;
            }
        }
        match running.iter().find(|(_, copies)| **copies > 1) {
            Some(((task, name), copies)) => Err(format!("{copies} copies of {name} of {task} run")),
            None => Ok(()),
        }
    }
}

fn check_moments(task: &Task) -> Check {
    let is_stopped = task.last_status == TaskStatus::Stopped;
    let is_whole = is_stopped == task.stopped_at.is_some()
        && is_stopped == task.forget_at.is_some()
        && (task.desired_status == DesiredStatus::Stopped) == task.stop_code.is_some()
        && task.stop_code.is_some() == task.stopping_at.is_some()
        && !(is_stopped && task.desired_status == DesiredStatus::Running)
        && !(is_stopped && task.credentials().next().is_some())
        && (task.last_status != TaskStatus::Running || task.started_at.is_some());
    if is_whole { Ok(()) } else { Err(format!("a task's moments do not fit its status: {task:?}")) }
}

/// Counters and indexes equal a recount, and no instance is over-committed.
pub(crate) fn check_state(core: &Core) -> Check {
    let state = core.state();
    check_indexes(state)?;
    check_ports(state)?;
    for (id, usage) in &state.indexes.usage {
        let Some(instance) = state.container_instances.get(id) else {
            return Err(format!("instance {id} is used and does not exist"));
        };
        if usage.cpu_units > instance.cpu_units || usage.memory_mib > instance.memory_mib {
            return Err(format!("instance {id} is over-committed: {usage:?}"));
        }
        if instance.status == InstanceStatus::Inactive {
            return Err(format!("instance {id} is gone and used: {usage:?}"));
        }
    }
    Ok(())
}

fn check_indexes(state: &State) -> Check {
    let mut usage: BTreeMap<InstanceId, Usage> = BTreeMap::new();
    let mut by_cluster: BTreeMap<ClusterId, BTreeSet<(u64, TaskId)>> = BTreeMap::new();
    let mut by_instance: BTreeMap<InstanceId, BTreeSet<(u64, TaskId)>> = BTreeMap::new();
    let mut live: BTreeMap<ClusterId, (usize, usize)> = BTreeMap::new();
    for task in state.tasks.values() {
        by_cluster.entry(task.cluster.clone()).or_default().insert((task.sequence, task.id));
        let Some(instance) = task.instance else { continue };
        by_instance.entry(instance).or_default().insert((task.sequence, task.id));
        if task.is_stopped() {
            continue;
        }
        let counts = live.entry(task.cluster.clone()).or_default();
        counts.0 += 1;
        counts.1 += usize::from(task.last_status == TaskStatus::Running);
        let usage = usage.entry(instance).or_default();
        usage.cpu_units += task.demand.cpu_units;
        usage.memory_mib += task.demand.memory_mib;
        usage.tasks += 1;
        usage.running += usize::from(task.is_running());
        usage.pending += usize::from(task.is_pending());
        for port in &task.demand.ports {
            *usage.ports.entry(*port).or_default() += 1;
        }
    }
    let indexes = &state.indexes;
    let tallied = indexes.tallies.iter().map(|(id, tally)| (id, tally.tasks()));
    let tallied: BTreeMap<ClusterId, (usize, usize)> = tallied
        .filter(|(_, tasks)| tasks.live > 0)
        .map(|(id, tasks)| (id.clone(), (tasks.live, tasks.running)))
        .collect();
    let equal = [
        ("usage", usage == indexes.usage),
        ("tasks by cluster", by_cluster == indexes.tasks_by_cluster),
        ("tasks by instance", by_instance == indexes.tasks_by_instance),
        ("tallies", live == tallied),
    ];
    match equal.iter().find(|(_, is_equal)| !is_equal) {
        Some((what, _)) => Err(format!("{what}: the index is not what a recount gives")),
        None => Ok(()),
    }
}

/// No port that a definition names is promised twice on an instance, whatever the tasks themselves say that they hold.
fn check_ports(state: &State) -> Check {
    let mut promised: BTreeMap<(InstanceId, Transport, i32), TaskId> = BTreeMap::new();
    for task in state.tasks.values().filter(|task| !task.is_stopped()) {
        let definition = state.task_definitions.get(&task.definition);
        let containers = definition.iter().flat_map(|d| d.definition.container_definitions.iter().flatten());
        for mapping in containers.flat_map(|c| c.port_mappings.iter().flatten()) {
            let Some(port) = mapping.host_port.filter(|port| *port != 0) else { continue };
            let udp = mapping.protocol == Some(api::ecs::TransportProtocol::Udp);
            let transport = if udp { Transport::Udp } else { Transport::Tcp };
            let Some(instance) = task.instance else { continue };
            if let Some(other) = promised.insert((instance, transport, port), task.id) {
                return Err(format!(
                    "port {port} of instance {instance} is promised to {other} and {}",
                    task.id
                ));
            }
        }
    }
    Ok(())
}

impl World {
    /// After a time without faults everything has come to where it shall be.
    pub(crate) fn check_converged(&self) -> Check {
        let Some(core) = &self.core else { return Err("the core does not come back".to_owned()) };
        let state = core.state();
        let mut wanted: BTreeSet<String> = BTreeSet::new();
        for machine in self.machines.iter().filter(|m| !m.is_dead) {
            let Some(instance) = machine.instance() else {
                return Err("an agent does not manage to register".to_owned());
            };
            if !state.sessions.is_connected(instance) {
                return Err(format!("the agent of {instance} does not manage to connect"));
            }
            let ids = state.indexes.tasks_by_instance.get(&instance).into_iter().flatten();
            for task in ids.filter_map(|(_, id)| state.tasks.get(id)).filter(|task| !task.is_stopped()) {
                if task.desired_status == DesiredStatus::Stopped || task.last_status != TaskStatus::Running {
                    return Err(format!("task {} hangs: {:?}", task.id, Seen::of(task)));
                }
                wanted.insert(control::arn::task(&task.cluster, task.id));
            }
        }
        let running = self.machines.iter().filter(|m| !m.is_dead).flat_map(|m| m.runtime.running());
        let running: BTreeSet<String> = running.map(|(task, _)| task.to_owned()).collect();
        if let Some(task) = running.difference(&wanted).next() {
            return Err(format!("{task} runs and should not"));
        }
        if let Some(task) = wanted.difference(&running).next() {
            return Err(format!("{task} is RUNNING and does not run"));
        }
        match state.sessions.unanswered() {
            0 => Ok(()),
            waiting => Err(format!("{waiting} messages wait for an acknowledgement")),
        }
    }

    /// How many messages the core has given up.
    pub(crate) fn given_up(&self) -> u64 {
        self.core.as_ref().map_or(0, |core| core.state().sessions.given_up())
    }

    /// Since then, every message was acknowledged.
    pub(crate) fn check_acknowledged(&self, before: u64) -> Check {
        match self.given_up() - before {
            0 => Ok(()),
            lost => Err(format!("the agents do not acknowledge {lost} messages")),
        }
    }

    /// After the last calls everything has been given back.
    pub(crate) fn check_empty(&self) -> Check {
        let Some(core) = &self.core else { return Err("the core does not come back".to_owned()) };
        let state = core.state();
        if let Some(task) = state.tasks.values().next() {
            return Err(format!("task {} is still there: {:?}", task.id, Seen::of(task)));
        }
        let indexes = &state.indexes;
        if !indexes.usage.is_empty()
            || !indexes.tasks_by_cluster.is_empty()
            || !indexes.tasks_by_instance.is_empty()
        {
            return Err("something is still used".to_owned());
        }
        let living = self.machines.iter().filter(|m| !m.is_dead);
        match living.flat_map(|m| m.runtime.running()).next() {
            Some((task, _)) => Err(format!("{task} still runs")),
            None if state.access_keys.values().any(|key| key.expires_at.is_some_and(|at| at <= self.now)) => {
                Err("credentials that have ended are still there".to_owned())
            }
            None => Ok(()),
        }
    }

    /// A sweep over a system that is in order finds nothing to do.
    pub(crate) fn check_sweep(&mut self) -> Check {
        let entropy = self.entropy();
        let Some(core) = &mut self.core else { return Err("the core does not come back".to_owned()) };
        let output = core.step(self.now, &entropy, control::Input::Sweep);
        if output.changes.is_empty() && output.messages.is_empty() {
            return Ok(());
        }
        Err(format!(
            "the sweep finds {} changes and {} messages",
            output.changes.len(),
            output.messages.len()
        ))
    }
}

/// Every row as it is stored, as one number.
pub(crate) fn fingerprint(state: &State) -> Vec<u8> {
    let encode = |row: Row| {
        let change = Change { key: row.key(), row: Some(row) };
        let (key, value) = control::state::record::encode(&change).expect("every entity can be stored");
        [key, value.unwrap_or_default()].concat()
    };
    state.rows().flat_map(encode).collect()
}

/// The settings do not change.
pub(crate) fn core(state: State) -> Core {
    Core::new(state, setup::settings())
}
