//! Making and starting containers.

use super::oci::{self, Inputs};
use super::record::Record;
use super::{Entry, Inner, Phase, files, no_such, pull, wires};
use crate::job::{EXIT, JOB, LOG, ROOTFS, STATE, UPPER, WORK};
use crate::wire::{Message, Request};
use crate::{
    ContainerSpec, CreatedContainer, ErrorKind, NetworkMode, Result, RuntimeError, StartedContainer, now,
};
use network::{Endpoint, HeldPort, Network, Resolver};
use rustix::fd::AsFd;
use std::io::{self, Read};
use std::path::Path;

/// What a container is connected with, until the keeper holds it.
#[derive(Default)]
struct Connections {
    endpoint: Option<Endpoint>,
    held: Vec<HeldPort>,
    resolver: Option<Resolver>,
}

fn cannot_create(what: &str) -> impl FnOnce(io::Error) -> RuntimeError {
    let what = what.to_owned();
    move |error| {
        RuntimeError::new(ErrorKind::CannotCreateContainer, format!("{what}: {error}")).caused_by(error)
    }
}

impl Inner {
    pub(super) fn create(&self, spec: ContainerSpec) -> Result<CreatedContainer> {
        let stored = pull::require(&self.store, &spec.image, &spec.image_digest)?;
        let id = new_id().map_err(cannot_create("no random numbers for an id"))?;
        let dir = self.container_dir(&id);
        let record = Record {
            id: id.clone(),
            spec,
            image: pull::defaults(&stored),
            lowerdirs: stored.lowerdirs().to_vec(),
            created_at: now(),
            ip: None,
            bindings: Vec::new(),
            group: String::new(),
        };
        std::fs::create_dir(&dir).map_err(cannot_create("cannot make the container's directory"))?;
        let made = self
            .store
            .hold(&id, &stored)
            .map_err(|e| RuntimeError::new(ErrorKind::CannotCreateContainer, e.to_string()).caused_by(e))
            .and_then(|()| self.make(record, &dir));
        match made {
            Ok(()) => Ok(CreatedContainer { runtime_id: id }),
            Err(error) => {
                self.containers.lock().remove(&id);
                self.discard(&id, &dir);
                Err(error)
            }
        }
    }

    /// From a record to a process that waits for its start; also for a container that runs again.
    fn make(&self, mut record: Record, dir: &Path) -> Result<()> {
        fresh_directories(dir).map_err(cannot_create("cannot make the container's directories"))?;
        let connections = self.connect(&mut record)?;
        let (id, ip) = (record.id.clone(), record.ip);
        let made = self.prepare_and_order(record, dir, connections);
        if made.is_err() {
            // Usually the keeper has forgotten it already, or never heard of it.
            self.link.ask(&[], |request| Request::Remove { request, id }).ok();
            self.wires.release(ip, &[]);
        }
        made
    }

    fn prepare_and_order(&self, mut record: Record, dir: &Path, connections: Connections) -> Result<()> {
        let inputs = Inputs {
            id: &record.id,
            dir,
            spec: &record.spec,
            image: &record.image,
            lowerdirs: record.lowerdirs.clone(),
        };
        let job = oci::job(&inputs)?;
        let hostname = oci::hostname(&record.id, &record.spec);
        files::write(dir, &record.spec, (&hostname, record.ip), connections.resolver.as_ref())
            .map_err(cannot_create("cannot write the container's files"))?;
        let bytes = serde_json::to_vec(&job).map_err(io::Error::other);
        bytes
            .and_then(|bytes| std::fs::write(dir.join(JOB), bytes))
            .map_err(cannot_create("cannot write the container's job"))?;
        let id = record.id.clone();
        // Known before the keeper is asked: its news must find it.
        self.containers.lock().insert(id.clone(), Entry::new(record.clone(), Phase::Creating));
        let (pid, group) = self.order(&id, dir, &connections)?;
        record.group = group;
        record.write(dir).map_err(cannot_create("cannot keep the container's record"))?;
        self.containers.with(&id, |entry| {
            entry.record = record;
            if matches!(entry.phase, Phase::Creating) {
                entry.phase = Phase::Created { pid };
            }
        })
    }

    /// Hands the container to the keeper, with its namespace and its ports.
    fn order(&self, id: &str, dir: &Path, connections: &Connections) -> Result<(u32, String)> {
        let netns = connections.endpoint.iter().map(|e| e.netns.as_fd());
        let descriptors: Vec<_> = netns.chain(connections.held.iter().map(|h| h.socket.as_fd())).collect();
        let answer = self.link.ask(&descriptors, |request| Request::Create {
            request,
            id: id.to_owned(),
            dir: dir.to_owned(),
            log: self.log,
            netns: connections.endpoint.is_some(),
        })?;
        let Message::Created { pid, group, warnings, .. } = answer else {
            return Err(RuntimeError::new(
                ErrorKind::DockerState,
                "the keeper gave an answer that does not fit",
            ));
        };
        for warning in warnings {
            tracing::warn!(container = id, "{warning}");
        }
        Ok((pid, group))
    }

    fn connect(&self, record: &mut Record) -> Result<Connections> {
        let ports = match &record.spec.network {
            NetworkMode::Host => return Ok(Connections::default()),
            NetworkMode::None => {
                let isolated = Network::isolate().map_err(|e| {
                    RuntimeError::new(ErrorKind::ContainerNetworking, e.to_string()).caused_by(e)
                })?;
                return Ok(Connections { endpoint: Some(isolated), ..Connections::default() });
            }
            NetworkMode::Bridge { ports } => ports.clone(),
        };
        // A container that runs again keeps the ports that were told when it ran first.
        let mut wanted = ports.clone();
        for (port, binding) in wanted.iter_mut().zip(&record.bindings) {
            port.host_port = binding.host_port;
        }
        let held = wires::hold_ports(&wanted)?;
        let endpoint = self.wires.take()?;
        let address = endpoint.address.clone();
        record.ip = address.as_ref().map(|a| a.ip);
        record.bindings = wires::bindings(&ports, &held);
        let resolver = address.map(|a| self.wires.resolver(a.gateway)).transpose()?;
        Ok(Connections { endpoint: Some(endpoint), held, resolver })
    }

    pub(super) fn start(&self, id: &str) -> Result<StartedContainer> {
        let phase = self.containers.with(id, |entry| entry.phase.clone())?;
        if let Phase::Exited { .. } = phase {
            self.make_again(id)?;
        }
        let (record, pid) = self
            .containers
            .with(id, |entry| match &entry.phase {
                Phase::Created { pid } => Ok((entry.record.clone(), *pid)),
                Phase::Running(_) => Err("the container is running already"),
                Phase::Creating => Err("the container is still being made"),
                Phase::Exited { .. } => Err("the container ended before its start"),
            })?
            .map_err(|text| RuntimeError::new(ErrorKind::CannotStartContainer, text))?;
        let publications = record.publications();
        self.wires.publish(&publications)?;
        let answer = self.link.ask(&[], |request| Request::Start { request, id: id.to_owned() })?;
        let Message::Started { at, .. } = answer else {
            return Err(RuntimeError::new(
                ErrorKind::DockerState,
                "the keeper gave an answer that does not fit",
            ));
        };
        let started =
            StartedContainer { pid, started_at: at, network_bindings: record.bindings, ip: record.ip };
        self.containers.with(id, |entry| {
            match &mut entry.phase {
                // Its end may have been told before this thread came to run.
                Phase::Exited { started: missing, .. } => *missing = Some(started.clone()),
                phase => *phase = Phase::Running(started.clone()),
            }
        })?;
        Ok(started)
    }

    /// A container that has ended gets a new first process over its old files.
    fn make_again(&self, id: &str) -> Result<()> {
        let (record, before) =
            self.containers.with(id, |entry| (entry.record.clone(), entry.phase.clone()))?;
        let forgotten = self.link.ask(&[], |request| Request::Remove { request, id: id.to_owned() });
        // A keeper that was started after this container ended does not know it.
        if let Err(error) = forgotten
            && error.kind != ErrorKind::NoSuchContainer
        {
            return Err(error);
        }
        let made = self.make(record.clone(), &self.container_dir(id));
        if made.is_err() {
            self.containers.lock().insert(id.to_owned(), Entry::new(record, before));
        }
        made
    }

    pub(super) fn remove(&self, id: &str) -> Result<()> {
        if !self.containers.lock().contains_key(id) {
            return Err(no_such(id));
        }
        match self.link.ask(&[], |request| Request::Remove { request, id: id.to_owned() }) {
            Ok(_) => {}
            Err(error) if error.kind == ErrorKind::NoSuchContainer => {}
            Err(error) => return Err(error),
        }
        if let Some(entry) = self.containers.lock().remove(id)
            && !matches!(entry.phase, Phase::Exited { .. })
        {
            self.wires.release(entry.record.ip, &entry.record.publications());
        }
        self.discard(id, &self.container_dir(id));
        Ok(())
    }

    /// Deletes what lies on disk. What fails is said in the log and found again at the next start.
    pub(super) fn discard(&self, id: &str, dir: &Path) {
        if let Err(error) = self.store.release(id) {
            tracing::warn!(container = id, "cannot let go of its image: {error}");
        }
        if let Err(error) = std::fs::remove_dir_all(dir) {
            tracing::warn!(container = id, "cannot delete {}: {error}", dir.display());
        }
    }
}

/// Everything but the container's own files (`upper`) and its log is made anew.
fn fresh_directories(dir: &Path) -> io::Result<()> {
    for name in [WORK, STATE] {
        match std::fs::remove_dir_all(dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => std::fs::create_dir(dir.join(name))?,
        }
    }
    match std::fs::remove_file(dir.join(EXIT)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    for name in [UPPER, ROOTFS] {
        match std::fs::create_dir(dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    // The file exists from the beginning, so that whoever follows the log can open it.
    std::fs::File::options().create(true).append(true).open(dir.join(LOG)).map(drop)
}

/// 64 hexadecimal digits, as Docker's ids.
fn new_id() -> io::Result<String> {
    let mut bytes = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}
