//! The wall clock and a seed, the two things that the pure parts are given from outside.

use std::hash::{BuildHasher, Hasher};
use std::time::{SystemTime, UNIX_EPOCH};
use stdx::Timestamp;

/// The time now.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A number that differs from one call to the next; for spreading and names, not for secrets.
pub(crate) fn seed() -> u64 {
    // The standard library keys its hash maps from the operating system's randomness.
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write_i64(now().millis());
    hasher.finish()
}
