//! Durable key-value state: batches committed in order under a fence, read back whole at start.
//!
//! The state itself lives in the memory of whoever decides; a store only makes its changes durable and gives
//! them back. So the interface has no point reads, ranges or secondary indexes: [`Store::load`] reads everything
//! once, in key order, [`Store::commit`] appends a batch, and a [`Watch`] follows what was committed.
//!
//! Engines: [`Journal`], the embedded default (why it is ours is told in `docs/decisions/embedded-store.md`), and
//! [`Memory`] for tests and simulation, which fails in every way that a disk can. All pass one contract suite.
//! A distributed engine fits behind the same trait: what it needs (a fence compared in each transaction, a lease
//! that expires, limits on a transaction) is in the signatures already.
//!
//! Choices that a reader may wonder about:
//! - `load` streams records into a callback, since a second copy of the state would double the memory at start.
//! - `acquire` names the present holder when it refuses, because a follower has to forward to it.
//! - `compact` only starts the work; an engine compacts by itself too, beside its writers.
//! - A commit is atomic whatever its size. [`Store::limits`] tells how much one transaction of the backend
//!   takes, so that [`Committer`] merges no further; an engine given more must stage the parts itself, under the
//!   one fence, which commits do not use up.

mod committer;
mod error;
mod journal;
mod memory;

pub use committer::{CommitFailed, Committer, Durable, Sequence};
pub use error::StoreError;
pub use journal::{Journal, Monitor, Opened, Options, Status};
pub use memory::{Disk, Fault, Memory};

use std::fmt;
use std::time::Duration;
use stdx::Timestamp;

/// The number of a commit: the first is 1, each next one is greater by one; 0 is the empty store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The right to commit: a number that grows with every leader, so that a stale one is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(pub u64);

/// Who holds the fence, in words that others can use to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder(pub String);

/// The answer to a request for the fence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lease {
    Granted(Fence),
    HeldBy(Holder),
}

/// One key with its new value; without a value the key is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
}

impl Record {
    pub fn put(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self { key: key.into(), value: Some(value.into()) }
    }

    pub fn delete(key: impl Into<Vec<u8>>) -> Self {
        Self { key: key.into(), value: None }
    }

    /// Bytes of key and value.
    pub fn size(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Vec::len)
    }
}

/// What one transaction of the backend takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub records: usize,
    pub bytes: usize,
}

/// One durable commit, as a watch tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    pub revision: Revision,
    pub records: Vec<Record>,
}

/// Something that opening repaired; for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(pub String);

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Durable state. Blocking; used by one thread at a time.
pub trait Store: Send {
    /// Gives every key and its value, in key order, and returns the revision that they are of.
    fn load(&mut self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<Revision, StoreError>;

    /// Makes a batch durable, whole or not at all; where a key occurs twice the later record counts.
    ///
    /// After [`StoreError::Ambiguous`] the batch may or may not be there, and only opening the store again tells;
    /// after every other error nothing of it is kept.
    fn commit(&mut self, fence: Fence, batch: &[Record]) -> Result<Revision, StoreError>;

    /// Asks for the right to commit; the fences granted before are stale from then on.
    fn acquire(&mut self, holder: &Holder, now: Timestamp) -> Result<Lease, StoreError>;

    /// Keeps the fence; an error means that it is lost.
    fn renew(&mut self, fence: Fence, now: Timestamp) -> Result<(), StoreError>;

    /// Follows the commits after a revision.
    fn watch(&self, after: Revision) -> Result<Box<dyn Watch>, StoreError>;

    /// Starts to give back the space of what was overwritten, without waiting for it.
    fn compact(&mut self) -> Result<(), StoreError>;

    /// How much to put into one commit.
    fn limits(&self) -> Limits;
}

/// Commits in order, each once.
pub trait Watch: Send {
    /// The next commit, or `None` if there is none within `wait`.
    ///
    /// [`StoreError::Compacted`] means that it is too late for this follower: it has to load everything.
    fn next(&mut self, wait: Duration) -> Result<Option<Commit>, StoreError>;
}
