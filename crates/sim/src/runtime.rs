//! A machine's containers: they outlive their agent, and nothing is known of them but what they are asked to do.

use engine::{
    ContainerSpec, Exit, Failure, Found, FoundStatus, Network, Operation, Outcome, PortBinding, Pulled,
    Started,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use stdx::Timestamp;

const TASK_LABEL: &str = "com.amazonaws.ecs.task-arn";
/// Where dynamic ports begin.
const DYNAMIC: u16 = 32768;

/// The containers of one machine.
#[derive(Default)]
pub(crate) struct Runtime {
    containers: BTreeMap<String, Container>,
    next: u64,
    next_port: u16,
}

struct Container {
    spec: ContainerSpec,
    started: Option<Started>,
    exit: Option<Exit>,
}

impl Container {
    fn is_running(&self) -> bool {
        self.started.is_some() && self.exit.is_none()
    }

    fn task(&self) -> &str {
        self.spec.labels.iter().find(|(name, _)| name == TASK_LABEL).map_or("", |(_, value)| value.as_str())
    }
}

impl Runtime {
    /// Everything that there is, as a starting agent finds it.
    pub(crate) fn found(&self) -> Vec<Found> {
        let status = |c: &Container| match (&c.started, c.exit) {
            (Some(started), None) => FoundStatus::Running(started.clone()),
            (started, Some(exit)) => FoundStatus::Exited { started: started.clone(), exit },
            (None, None) => FoundStatus::Created,
        };
        let found = |(id, container): (&String, &Container)| Found {
            runtime_id: id.clone(),
            name: container.spec.name.clone(),
            labels: container.spec.labels.clone(),
            status: status(container),
        };
        self.containers.iter().map(found).collect()
    }

    /// The task and name of each running container.
    pub(crate) fn running(&self) -> impl Iterator<Item = (&str, &str)> {
        self.containers.values().filter(|c| c.is_running()).map(|c| (c.task(), c.spec.name.as_str()))
    }

    /// Carries an operation out.
    pub(crate) fn perform(&mut self, operation: &Operation, machine: usize, now: Timestamp) -> Outcome {
        match operation {
            Operation::Pull { image, .. } => Outcome::Pulled(Pulled {
                digest: format!("sha256:{:064x}", image.len()),
                times: Some((now, now)),
                warning: None,
            }),
            Operation::Create(spec) => self.create(spec, machine),
            Operation::Start { runtime_id } => self.start(runtime_id, now),
            Operation::Stop { runtime_id, .. } => match self.end(runtime_id, 143, now) {
                Some(exit) => Outcome::Stopped(exit),
                None => Outcome::Failed(Failure::new("NoSuchContainerError", "there is no such container")),
            },
            Operation::Remove { runtime_id } => {
                self.containers.remove(runtime_id);
                Outcome::Removed
            }
            Operation::RemoveVolumes { .. } => Outcome::Removed,
        }
    }

    fn create(&mut self, spec: &ContainerSpec, machine: usize) -> Outcome {
        if self.containers.values().any(|c| c.spec.name == spec.name) {
            let text = format!("the name {} is in use", spec.name);
            return Outcome::Failed(Failure::new("CannotCreateContainerError", text));
        }
        let runtime_id = self.make(spec.clone(), machine);
        Outcome::Created { runtime_id }
    }

    fn make(&mut self, spec: ContainerSpec, machine: usize) -> String {
        self.next += 1;
        let id = format!("m{machine}-c{}", self.next);
        self.containers.insert(id.clone(), Container { spec, started: None, exit: None });
        id
    }

    fn start(&mut self, runtime_id: &str, now: Timestamp) -> Outcome {
        let Some(container) = self.containers.get(runtime_id) else {
            return Outcome::Failed(Failure::new("CannotStartContainerError", "there is no such container"));
        };
        if let (Some(started), None) = (&container.started, container.exit) {
            return Outcome::Started(started.clone());
        }
        let ports = match &container.spec.network {
            Network::Bridge { ports } => ports.clone(),
            Network::Host | Network::None => Vec::new(),
        };
        let mut used: BTreeSet<(u16, bool)> = self.used_ports().collect();
        let mut bindings = Vec::new();
        for port in ports {
            let mut host_port = port.host_port;
            while host_port == 0 || (port.host_port == 0 && used.contains(&(host_port, port.udp))) {
                self.next_port = (self.next_port + 1) % 1000;
                host_port = DYNAMIC + self.next_port;
            }
            if !used.insert((host_port, port.udp)) {
                let text = format!("port {host_port} is already allocated");
                return Outcome::Failed(Failure::new("CannotStartContainerError", text));
            }
            let host_ip = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            bindings.push(PortBinding {
                host_ip,
                container_port: port.container_port,
                host_port,
                udp: port.udp,
            });
        }
        let started = Started { started_at: now, bindings, ip: None };
        if let Some(container) = self.containers.get_mut(runtime_id) {
            container.started = Some(started.clone());
            container.exit = None;
        }
        Outcome::Started(started)
    }

    fn used_ports(&self) -> impl Iterator<Item = (u16, bool)> {
        let running = self.containers.values().filter(|c| c.is_running());
        running.flat_map(|c| c.started.iter().flat_map(|s| s.bindings.iter().map(|b| (b.host_port, b.udp))))
    }

    /// Ends a container, if it is there; an ended one keeps its end.
    pub(crate) fn end(&mut self, runtime_id: &str, exit_code: i32, now: Timestamp) -> Option<Exit> {
        let container = self.containers.get_mut(runtime_id)?;
        Some(*container.exit.get_or_insert(Exit { exit_code, oom_killed: false, finished_at: now }))
    }

    pub(crate) fn is_running(&self, runtime_id: &str) -> bool {
        self.containers.get(runtime_id).is_some_and(Container::is_running)
    }

    /// For a defect: the container once more, beside itself.
    pub(crate) fn double(&mut self, runtime_id: &str, machine: usize, now: Timestamp) {
        let Some(container) = self.containers.get(runtime_id) else { return };
        let spec = ContainerSpec { network: Network::None, ..container.spec.clone() };
        let twin = self.make(spec, machine);
        self.start(&twin, now);
    }
}
