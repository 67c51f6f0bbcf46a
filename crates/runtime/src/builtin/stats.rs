//! Counters of one container, read from its cgroup and its network namespace.

use super::{Inner, Phase};
use crate::{ContainerStats, ErrorKind, NetworkMode, NetworkStats, Result, RuntimeError};

pub(super) fn stats(inner: &Inner, id: &str) -> Result<ContainerStats> {
    let (phase, group, mode) = inner.containers.with(id, |entry| {
        (entry.phase.clone(), entry.record.group.clone(), entry.record.spec.network.clone())
    })?;
    let Phase::Running(started) = phase else {
        return Err(RuntimeError::new(ErrorKind::CannotInspectContainer, "the container is not running"));
    };
    let usage = inner.hierarchies.group(&group).usage();
    let network = match mode {
        NetworkMode::Bridge { .. } => network(started.pid),
        NetworkMode::Host | NetworkMode::None => None,
    };
    Ok(ContainerStats {
        cpu_ns: usage.cpu_ns,
        memory_bytes: usage.memory_bytes,
        memory_limit_bytes: usage.memory_limit_bytes,
        processes: usage.processes,
        read_bytes: usage.read_bytes,
        written_bytes: usage.written_bytes,
        network,
    })
}

fn network(pid: u32) -> Option<NetworkStats> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/net/dev")).ok()?)
}

fn parse(text: &str) -> Option<NetworkStats> {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("eth0:"))?;
    let n: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let at = |i: usize| n.get(i).copied().unwrap_or(0);
    Some(NetworkStats {
        rx_bytes: at(0),
        rx_packets: at(1),
        rx_errors: at(2),
        rx_dropped: at(3),
        tx_bytes: at(8),
        tx_packets: at(9),
        tx_errors: at(10),
        tx_dropped: at(11),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let text = "Inter-|   Receive\n face |bytes\n    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  eth0: 100 2 3 4 0 0 0 0 900 10 11 12 0 0 0 0\n";
        let stats = parse(text).expect("there");
        assert_eq!((stats.rx_bytes, stats.rx_dropped, stats.tx_bytes, stats.tx_dropped), (100, 4, 900, 12));
        assert_eq!(parse("lo: 1"), None);
    }
}
