//! Samples of what containers use, gathered between two publications.

use api::tcs;
use runtime::{ContainerStats, NetworkStats};
use std::collections::BTreeMap;
use stdx::Timestamp;

/// The samples of every container that runs.
#[derive(Debug, Default)]
pub(crate) struct Samples(BTreeMap<String, Series>);

#[derive(Debug, Default)]
struct Series {
    last: Option<(Timestamp, ContainerStats)>,
    /// In percent of one core.
    cpu: Vec<f64>,
    memory_mib: Vec<f64>,
    rx_per_second: Vec<f64>,
    tx_per_second: Vec<f64>,
    network: Vec<NetworkStats>,
    storage: Vec<(u64, u64)>,
}

impl Samples {
    /// Drops containers that do not run any more.
    pub(crate) fn retain(&mut self, running: &[String]) {
        self.0.retain(|id, _| running.iter().any(|r| r == id));
    }

    pub(crate) fn add(&mut self, runtime_id: &str, at: Timestamp, stats: &ContainerStats) {
        self.0.entry(runtime_id.to_owned()).or_default().add(at, stats);
    }

    /// What was gathered since the last call; `None` where there are not enough samples.
    pub(crate) fn take(&mut self, runtime_id: &str) -> Option<tcs::ContainerMetric> {
        let series = self.0.get_mut(runtime_id)?;
        let gathered = std::mem::take(series);
        series.last = gathered.last;
        gathered.metric()
    }
}

impl Series {
    /// Rates come from two samples, so the first gives none.
    #[expect(clippy::cast_precision_loss, reason = "statistics")]
    fn add(&mut self, at: Timestamp, stats: &ContainerStats) {
        if let Some((before, earlier)) = self.last.replace((at, *stats)) {
            let seconds = at.since(before).as_secs_f64();
            // A restarted container counts from nought again.
            if seconds > 0.0 && stats.cpu_ns >= earlier.cpu_ns {
                self.cpu.push((stats.cpu_ns - earlier.cpu_ns) as f64 / (seconds * 1e9) * 100.0);
                self.memory_mib.push((stats.memory_bytes >> 20) as f64);
                self.storage.push((stats.read_bytes, stats.written_bytes));
                if let (Some(now), Some(then)) = (stats.network, earlier.network) {
                    self.rx_per_second.push(now.rx_bytes.saturating_sub(then.rx_bytes) as f64 / seconds);
                    self.tx_per_second.push(now.tx_bytes.saturating_sub(then.tx_bytes) as f64 / seconds);
                    self.network.push(now);
                }
            }
        }
    }

    fn metric(&self) -> Option<tcs::ContainerMetric> {
        if self.cpu.is_empty() {
            return None;
        }
        Some(tcs::ContainerMetric {
            cpu_stats_set: Some(set(&self.cpu)),
            memory_stats_set: Some(set(&self.memory_mib)),
            storage_stats_set: Some(tcs::StorageStatsSet {
                read_size_bytes: Some(long_set(self.storage.iter().map(|s| s.0))),
                write_size_bytes: Some(long_set(self.storage.iter().map(|s| s.1))),
            }),
            network_stats_set: (!self.network.is_empty()).then(|| self.network_set()),
            ..Default::default()
        })
    }

    fn network_set(&self) -> tcs::NetworkStatsSet {
        let of = |value: fn(&NetworkStats) -> u64| Some(long_set(self.network.iter().map(value)));
        tcs::NetworkStatsSet {
            rx_bytes: of(|n| n.rx_bytes),
            rx_packets: of(|n| n.rx_packets),
            rx_errors: of(|n| n.rx_errors),
            rx_dropped: of(|n| n.rx_dropped),
            tx_bytes: of(|n| n.tx_bytes),
            tx_packets: of(|n| n.tx_packets),
            tx_errors: of(|n| n.tx_errors),
            tx_dropped: of(|n| n.tx_dropped),
            rx_bytes_per_second: Some(rate_set(&self.rx_per_second)),
            tx_bytes_per_second: Some(rate_set(&self.tx_per_second)),
        }
    }
}

fn bounds(values: &[f64]) -> (f64, f64, f64, i32) {
    let min = values.iter().copied().fold(f64::INFINITY, f64::min);
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (min, max, values.iter().sum(), i32::try_from(values.len()).unwrap_or(i32::MAX))
}

fn set(values: &[f64]) -> tcs::CWStatsSet {
    let (min, max, sum, count) = bounds(values);
    tcs::CWStatsSet { min: Some(min), max: Some(max), sum: Some(sum), sample_count: Some(count) }
}

fn rate_set(values: &[f64]) -> tcs::UDoubleCWStatsSet {
    let (min, max, sum, sample_count) = bounds(values);
    tcs::UDoubleCWStatsSet { min, max, sum, sample_count }
}

/// What does not fit the model's integers goes into the overflow members; no counter here comes near.
fn long_set(values: impl Iterator<Item = u64> + Clone) -> tcs::ULongStatsSet {
    let long = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    tcs::ULongStatsSet {
        min: long(values.clone().min().unwrap_or_default()),
        max: long(values.clone().max().unwrap_or_default()),
        sum: values.clone().fold(0_i64, |sum, v| sum.saturating_add(long(v))),
        sample_count: i64::try_from(values.count()).unwrap_or(i64::MAX),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_percent_of_a_core_and_mebibytes() {
        let mut samples = Samples::default();
        let stats = |cpu_ms: u64, mib: u64| ContainerStats {
            cpu_ns: cpu_ms * 1_000_000,
            memory_bytes: mib << 20,
            ..ContainerStats::default()
        };
        samples.add("r", Timestamp(0), &stats(0, 1));
        assert!(samples.take("r").is_none(), "one sample gives no rate");
        samples.add("r", Timestamp(1000), &stats(500, 2));
        samples.add("r", Timestamp(2000), &stats(2500, 4));
        let metric = samples.take("r").unwrap();
        let cpu = metric.cpu_stats_set.unwrap();
        assert_eq!(
            (cpu.min, cpu.max, cpu.sum, cpu.sample_count),
            (Some(50.0), Some(200.0), Some(250.0), Some(2))
        );
        assert_eq!(metric.memory_stats_set.unwrap().max, Some(4.0));
        assert!(metric.network_stats_set.is_none());
        assert!(samples.take("r").is_none(), "taken once");
        samples.retain(&[]);
        assert!(samples.0.is_empty());
    }
}
