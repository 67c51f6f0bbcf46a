//! Many seeds, the same seed twice, and deliberate defects that must be found.

use sim::Mutation;
use std::sync::atomic::{AtomicU64, Ordering};

const SEEDS: u64 = 500;

/// The result of every seed below `count`, on all cores.
fn for_seeds(count: u64, each: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= count {
                        return;
                    }
                    each(seed);
                }
            });
        }
    });
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

/// `SIM_SEED=n` lives through one seed and shows what happened; `SIM_SEEDS=n` lives through that many.
#[test]
fn seeds() {
    if let Some(seed) = number("SIM_SEED") {
        let (result, lines) = sim::trace(seed, None);
        println!("{}", lines.join("\n"));
        println!("{:?}", result.unwrap_or_else(|broken| panic!("{broken}")));
        return;
    }
    let (tasks, restarts) = (AtomicU64::new(0), AtomicU64::new(0));
    let seeds = number("SIM_SEEDS").unwrap_or(SEEDS);
    for_seeds(seeds, |seed| {
        let summary = sim::run(seed, None).unwrap_or_else(|broken| {
            panic!("{broken}\nSIM_SEED={seed} cargo test -p sim seeds -- --nocapture")
        });
        tasks.fetch_add(summary.tasks as u64, Ordering::Relaxed);
        restarts.fetch_add(summary.restarts, Ordering::Relaxed);
    });
    // A simulation in which nothing happens finds nothing.
    assert!(tasks.into_inner() > 10 * seeds);
    assert!(restarts.into_inner() > seeds);
}

#[test]
fn the_same_seed_is_the_same_world() {
    for_seeds(25, |seed| {
        let (one, two) = (sim::run(seed, None), sim::run(seed, None));
        assert_eq!(one.expect("a sound world"), two.expect("a sound world"), "seed {seed}");
    });
}

/// How many seeds a defect may need to show itself.
const PATIENCE: u64 = 60;

/// The first thing that a defect breaks.
fn found(mutation: Mutation) -> Option<String> {
    (0..PATIENCE).find_map(|seed| sim::run(seed, Some(mutation)).err()).map(|broken| broken.to_string())
}

/// Checks that find nothing are worth nothing.
#[test]
fn every_defect_is_found() {
    let expected = [
        (Mutation::DropAcknowledgements, "acknowledge"),
        (Mutation::ForgetPorts, "is promised to"),
        (Mutation::StartTwice, "copies of"),
        (Mutation::LoseTail, "recovery"),
        (Mutation::SwallowStops, "hangs"),
        (Mutation::Resurrect, "recovery"),
    ];
    assert_eq!(expected.map(|(mutation, _)| mutation), Mutation::ALL);
    for (mutation, words) in expected {
        let broken = found(mutation).unwrap_or_else(|| panic!("{mutation:?} is not found"));
        assert!(broken.contains(words), "{mutation:?}: {broken}");
    }
}
