//! What the driver keeps of a container on disk, to know it again after a restart.

use crate::job::EXIT;
use crate::{ContainerExit, ContainerSpec, ImageDefaults, NetworkBinding};
use network::Publication;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use stdx::Timestamp;

const FILE: &str = "container.json";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) spec: ContainerSpec,
    pub(super) image: ImageDefaults,
    pub(super) lowerdirs: Vec<PathBuf>,
    pub(super) created_at: Timestamp,
    pub(super) ip: Option<Ipv4Addr>,
    pub(super) bindings: Vec<NetworkBinding>,
    /// The keeper's name for its cgroup; empty until it is made.
    pub(super) group: String,
}

impl Record {
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        let temporary = dir.join("container.tmp");
        std::fs::write(&temporary, serde_json::to_vec(self)?)?;
        std::fs::rename(temporary, dir.join(FILE))
    }

    pub(super) fn read(dir: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(dir.join(FILE))?)?)
    }

    pub(super) fn publications(&self) -> Vec<Publication> {
        let Some(ip) = self.ip else { return Vec::new() };
        let publication = |b: &NetworkBinding| Publication {
            protocol: protocol(b.protocol),
            host_ip: b.bind_ip,
            host_port: b.host_port,
            target: SocketAddrV4::new(ip, b.container_port),
        };
        self.bindings.iter().map(publication).collect()
    }
}

pub(super) fn protocol(protocol: crate::Protocol) -> network::Protocol {
    match protocol {
        crate::Protocol::Tcp => network::Protocol::Tcp,
        crate::Protocol::Udp => network::Protocol::Udp,
    }
}

/// What the keeper wrote when the container ended.
pub(super) fn read_exit(dir: &Path) -> Option<ContainerExit> {
    serde_json::from_slice(&std::fs::read(dir.join(EXIT)).ok()?).ok()
}
