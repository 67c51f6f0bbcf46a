//! The instance's own account of what its tasks take.
//!
//! Source: ecs-agent-protocol, "Host resource queue".

use crate::config::Resources;
use crate::plan::Demand;

/// What is taken. A second opinion on the control plane's placement, never on top of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken(Demand);

impl Taken {
    pub(crate) fn fits(&self, total: &Resources, demand: &Demand) -> bool {
        self.0.cpu_units.saturating_add(demand.cpu_units) <= total.cpu_units
            && self.0.memory_mib.saturating_add(demand.memory_mib) <= total.memory_mib
            && demand.tcp_ports.is_disjoint(&self.0.tcp_ports)
            && demand.udp_ports.is_disjoint(&self.0.udp_ports)
            && demand.tcp_ports.is_disjoint(&total.reserved_tcp)
            && demand.udp_ports.is_disjoint(&total.reserved_udp)
    }

    pub(crate) fn take(&mut self, demand: &Demand) {
        self.0.cpu_units = self.0.cpu_units.saturating_add(demand.cpu_units);
        self.0.memory_mib = self.0.memory_mib.saturating_add(demand.memory_mib);
        self.0.tcp_ports.extend(&demand.tcp_ports);
        self.0.udp_ports.extend(&demand.udp_ports);
    }

    pub(crate) fn give_back(&mut self, demand: &Demand) {
        self.0.cpu_units = self.0.cpu_units.saturating_sub(demand.cpu_units);
        self.0.memory_mib = self.0.memory_mib.saturating_sub(demand.memory_mib);
        self.0.tcp_ports.retain(|p| !demand.tcp_ports.contains(p));
        self.0.udp_ports.retain(|p| !demand.udp_ports.contains(p));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn room_is_taken_and_given_back() {
        let total = Resources {
            cpu_units: 1024,
            memory_mib: 512,
            reserved_tcp: BTreeSet::from([22]),
            ..Default::default()
        };
        let demand = |cpu, port| Demand {
            cpu_units: cpu,
            memory_mib: 200,
            tcp_ports: BTreeSet::from([port]),
            udp_ports: BTreeSet::new(),
        };
        let mut taken = Taken::default();
        assert!(taken.fits(&total, &demand(1024, 80)));
        assert!(!taken.fits(&total, &demand(1025, 80)) && !taken.fits(&total, &demand(1, 22)));
        taken.take(&demand(512, 80));
        assert!(!taken.fits(&total, &demand(1, 80)) && !taken.fits(&total, &demand(600, 81)));
        assert!(taken.fits(&total, &demand(512, 81)));
        taken.give_back(&demand(512, 80));
        assert!(taken.fits(&total, &demand(1024, 80)));
    }
}
