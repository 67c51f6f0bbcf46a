//! The driver's side of the network: endpoints made ahead, host ports held, publications taken back.

use super::record::protocol;
use crate::{ErrorKind, NetworkBinding, PortMapping, Result, RuntimeError};
use network::{
    Endpoint, Existing, HeldPort, Network, NetworkConfig, NetworkError, Publication, Resolver, hold_port,
};
use std::collections::VecDeque;
use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Endpoints that wait for containers. Making one costs about two milliseconds.
const READY: usize = 4;
/// A refill waits for this much quiet, so that it does not slow down a start that is under way.
const QUIET: Duration = Duration::from_millis(10);

struct State {
    ready: VecDeque<Endpoint>,
    taken: u64,
    closed: bool,
}

struct Shared {
    network: Mutex<Option<Network>>,
    state: Mutex<State>,
    wanted: Condvar,
    /// Why there is no network, for every container that asks for one.
    unavailable: Option<String>,
}

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Wires(Arc<Shared>);

fn networking(error: &NetworkError) -> RuntimeError {
    let mut message = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        message = format!("{message}: {error}");
        next = error.source();
    }
    RuntimeError::new(ErrorKind::ContainerNetworking, message)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wires {
    /// A machine without bridges can still run containers on the host's network, so this never fails.
    pub(super) fn open(config: &NetworkConfig, existing: &Existing) -> Self {
        let (network, unavailable) = match Network::open(config, existing) {
            Ok(network) => (Some(network), None),
            Err(error) => {
                let message = networking(&error).message;
                tracing::warn!("network mode bridge is not available: {message}");
                (None, Some(message))
            }
        };
        let state = State { ready: VecDeque::new(), taken: 0, closed: unavailable.is_some() };
        let shared = Shared {
            network: Mutex::new(network),
            state: Mutex::new(state),
            wanted: Condvar::new(),
            unavailable,
        };
        let wires = Self(Arc::new(shared));
        let refilling = wires.clone();
        let thread = std::thread::Builder::new().name("endpoints".to_owned()).stack_size(256 << 10);
        if let Err(error) = thread.spawn(move || refilling.refill()) {
            tracing::warn!("endpoints are made when needed, not ahead: {error}");
        }
        wires
    }

    /// A namespace with an address, made ahead if possible.
    pub(super) fn take(&self) -> Result<Endpoint> {
        {
            let mut state = lock(&self.0.state);
            state.taken += 1;
            let ready = state.ready.pop_front();
            self.0.wanted.notify_one();
            if let Some(endpoint) = ready {
                return Ok(endpoint);
            }
        }
        self.with(|network| network.connect())
    }

    pub(super) fn resolver(&self, gateway: Ipv4Addr) -> Result<Resolver> {
        self.with(|network| Ok(network.resolver(gateway)))
    }

    pub(super) fn publish(&self, publications: &[Publication]) -> Result<()> {
        if publications.is_empty() {
            return Ok(());
        }
        self.with(|network| network.publish(publications))
    }

    /// Takes back what one container had. What fails is said in the log: the container is gone either way.
    pub(super) fn release(&self, ip: Option<Ipv4Addr>, publications: &[Publication]) {
        let Some(ip) = ip else { return };
        let result = self.with(|network| {
            let result = network.unpublish(publications);
            network.release(ip);
            result
        });
        if let Err(error) = result {
            tracing::error!(%ip, "{error}");
        }
    }

    /// How many ports the kernel forwards for us.
    pub(super) fn published(&self) -> Result<usize> {
        self.with(Network::published)
    }

    /// Stops making endpoints; with `take_down` also removes bridges and rules.
    pub(super) fn close(&self, take_down: bool) -> Result<()> {
        let ready = {
            let mut state = lock(&self.0.state);
            state.closed = true;
            self.0.wanted.notify_one();
            std::mem::take(&mut state.ready)
        };
        drop(ready);
        let network = lock(&self.0.network).take();
        match (network, take_down) {
            (Some(network), true) => network.close().map_err(|e| networking(&e)),
            _ => Ok(()),
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Network) -> network::Result<T>) -> Result<T> {
        match (&mut *lock(&self.0.network), &self.0.unavailable) {
            (Some(network), _) => act(network).map_err(|e| networking(&e)),
            (None, Some(why)) => Err(RuntimeError::new(ErrorKind::ContainerNetworking, why.clone())),
            (None, None) => {
                Err(RuntimeError::new(ErrorKind::ContainerNetworking, "the runtime has been shut down"))
            }
        }
    }

    fn refill(&self) {
        loop {
            {
                let mut state = lock(&self.0.state);
                while state.ready.len() >= READY && !state.closed {
                    state = self.0.wanted.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                loop {
                    if state.closed {
                        return;
                    }
                    let before = state.taken;
                    let (woken, _) =
                        self.0.wanted.wait_timeout(state, QUIET).unwrap_or_else(PoisonError::into_inner);
                    state = woken;
                    if state.taken == before {
                        break;
                    }
                }
            }
            match self.with(Network::connect) {
                Ok(endpoint) => {
                    let mut state = lock(&self.0.state);
                    if !state.closed {
                        state.ready.push_back(endpoint);
                    }
                }
                Err(error) => {
                    tracing::warn!("cannot prepare an endpoint: {error}");
                    lock(&self.0.state).closed = true;
                }
            }
        }
    }
}

/// Takes every host port that a container publishes, or none.
pub(super) fn hold_ports(ports: &[PortMapping]) -> Result<Vec<HeldPort>> {
    ports
        .iter()
        .map(|p| hold_port(protocol(p.protocol), p.host_ip, p.host_port).map_err(|e| networking(&e)))
        .collect()
}

pub(super) fn bindings(ports: &[PortMapping], held: &[HeldPort]) -> Vec<NetworkBinding> {
    let binding = |(asked, got): (&PortMapping, &HeldPort)| NetworkBinding {
        bind_ip: asked.host_ip,
        container_port: asked.container_port,
        host_port: got.port,
        protocol: asked.protocol,
    };
    ports.iter().zip(held).map(binding).collect()
}
