//! Time, randomness and identifiers that every crate shares; depends on nothing of ours.

pub mod chain;
pub mod id;
pub mod rng;
pub mod time;

pub use chain::Chain;
pub use rng::Rng;
pub use time::Timestamp;
