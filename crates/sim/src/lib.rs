//! The control plane and simulated agents in one thread, under virtual time, with every fault; a seed replays exactly.
//!
//! [`run`] lives through one seed: a time of random calls and faults, a calm in which everything must converge, and an
//! end in which everything must be given back. After every step it checks what must always hold. The core is the real
//! one, the agents are the real engine; only what is outside of both is made up here.

mod agent;
mod checks;
mod client;
mod disk;
mod event;
mod faults;
mod network;
mod runtime;
mod setup;
mod trace;
mod twin;
mod world;

pub use faults::Mutation;
pub use world::{Broken, Summary, World};

/// Lives through one seed.
pub fn run(seed: u64, mutation: Option<Mutation>) -> Result<Summary, Broken> {
    World::new(seed, mutation, false).live()
}

/// Lives through one seed and keeps every event as a line of text.
pub fn trace(seed: u64, mutation: Option<Mutation>) -> (Result<Summary, Broken>, Vec<String>) {
    let mut world = World::new(seed, mutation, true);
    let result = world.live();
    (result, world.into_lines())
}
