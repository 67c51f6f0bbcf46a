//! A store in memory, for tests and simulation: it fails whenever it is told to, in every way that a disk can.

use crate::{Commit, Fence, Holder, Lease, Limits, Record, Revision, Store, StoreError, Warning, Watch};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use stdx::Timestamp;

/// How long a fence stays with a holder that does not renew it.
const LEASE: Duration = Duration::from_secs(15);
/// So many commits can a follower be late.
const LOG: usize = 10_000;

/// What happens to a commit that is to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No space: the batch is not kept, and the next commit works.
    Full,
    /// The disk fails: the batch is not kept, and the store has to be opened again.
    Failed,
    /// The caller does not learn whether the batch was kept; opening again tells.
    Ambiguous { kept: bool },
    /// The process dies while it writes: opening again finds half a batch and cuts it off.
    Torn,
}

/// What outlives a process: the records, the log and the lease. Clones are the same disk.
#[derive(Clone, Default)]
pub struct Disk(Arc<Platter>);

#[derive(Default)]
struct Platter {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    revision: u64,
    log: VecDeque<Commit>,
    torn: bool,
    faults: VecDeque<Option<Fault>>,
    epoch: u64,
    holder: Option<(Holder, Timestamp)>,
}

impl Disk {
    /// Lets a commit fail: the next one, or the one after as many more as were already told of.
    pub fn inject(&self, fault: Fault) {
        self.lock().faults.push_back(Some(fault));
    }

    /// Lets the next `commits` (after those already told of) work.
    pub fn pass(&self, commits: usize) {
        self.lock().faults.extend(std::iter::repeat_n(None, commits));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One process's view of a [`Disk`]. Several may be open, as with a store over a network; the fence orders them.
pub struct Memory {
    disk: Disk,
    stopped: Option<&'static str>,
}

impl Memory {
    /// Opens a disk, as after a start; the warning tells of a torn batch.
    pub fn open(disk: &Disk) -> (Self, Vec<Warning>) {
        let torn = std::mem::take(&mut disk.lock().torn);
        let warning = "the last batch was not finished when the process stopped; \
                       it was never acknowledged and is removed";
        (
            Self { disk: disk.clone(), stopped: None },
            torn.then(|| Warning(warning.to_owned())).into_iter().collect(),
        )
    }

    fn check(&self, fence: Fence) -> Result<(), StoreError> {
        let newest = Fence(self.disk.lock().epoch);
        match self.stopped {
            Some(reason) => Err(StoreError::Stopped { reason: reason.to_owned() }),
            None if fence != newest || fence == Fence(0) => Err(StoreError::Fenced { given: fence, newest }),
            None => Ok(()),
        }
    }

    fn fail(&mut self, fault: Fault) -> StoreError {
        let file = PathBuf::from("memory");
        match fault {
            Fault::Full => StoreError::Full { file, source: io::Error::from(io::ErrorKind::StorageFull) },
            Fault::Failed => {
                self.stopped = Some("writing failed");
                StoreError::Io { action: "write", path: file, source: io::Error::other("injected fault") }
            }
            Fault::Ambiguous { .. } | Fault::Torn => {
                self.stopped = Some("the last batch is in doubt");
                StoreError::Ambiguous { reason: "injected fault".to_owned() }
            }
        }
    }
}

impl State {
    fn apply(&mut self, batch: &[Record]) -> Revision {
        self.revision += 1;
        let revision = Revision(self.revision);
        for record in batch {
            match &record.value {
                Some(value) => drop(self.records.insert(record.key.clone(), value.clone())),
                None => drop(self.records.remove(&record.key)),
            }
        }
        self.log.push_back(Commit { revision, records: batch.to_vec() });
        if self.log.len() > LOG {
            self.log.pop_front();
        }
        revision
    }

    /// The first revision that the log still has, or would have next.
    fn oldest(&self) -> u64 {
        self.log.front().map_or(self.revision + 1, |commit| commit.revision.0)
    }
}

impl Store for Memory {
    fn load(&mut self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<Revision, StoreError> {
        let state = self.disk.lock();
        for (key, value) in &state.records {
            each(key, value);
        }
        Ok(Revision(state.revision))
    }

    fn commit(&mut self, fence: Fence, batch: &[Record]) -> Result<Revision, StoreError> {
        self.check(fence)?;
        let mut state = self.disk.lock();
        if batch.is_empty() {
            return Ok(Revision(state.revision));
        }
        let fault = state.faults.pop_front().flatten();
        match fault {
            None => {
                let revision = state.apply(batch);
                drop(state);
                self.disk.0.changed.notify_all();
                return Ok(revision);
            }
            Some(Fault::Ambiguous { kept: true }) => drop(state.apply(batch)),
            Some(Fault::Torn) => state.torn = true,
            Some(_) => {}
        }
        drop(state);
        self.disk.0.changed.notify_all();
        Err(fault.map_or_else(|| StoreError::Stopped { reason: String::new() }, |fault| self.fail(fault)))
    }

    fn acquire(&mut self, holder: &Holder, now: Timestamp) -> Result<Lease, StoreError> {
        let mut state = self.disk.lock();
        if let Some((other, until)) = &state.holder
            && other != holder
            && now < *until
        {
            return Ok(Lease::HeldBy(other.clone()));
        }
        state.epoch += 1;
        state.holder = Some((holder.clone(), now.after(LEASE)));
        Ok(Lease::Granted(Fence(state.epoch)))
    }

    fn renew(&mut self, fence: Fence, now: Timestamp) -> Result<(), StoreError> {
        self.check(fence)?;
        if let Some((_, until)) = &mut self.disk.lock().holder {
            *until = now.after(LEASE);
        }
        Ok(())
    }

    fn watch(&self, after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        if after.0 + 1 < self.disk.lock().oldest() {
            return Err(StoreError::Compacted { after });
        }
        Ok(Box::new(Follower { disk: self.disk.clone(), next: after.0 + 1 }))
    }

    fn compact(&mut self) -> Result<(), StoreError> {
        self.disk.lock().log.clear();
        Ok(())
    }

    fn limits(&self) -> Limits {
        // As etcd has them, so that simulations split batches as the strictest engine does.
        Limits { records: 128, bytes: 1_500_000 }
    }
}

struct Follower {
    disk: Disk,
    next: u64,
}

impl Watch for Follower {
    fn next(&mut self, wait: Duration) -> Result<Option<Commit>, StoreError> {
        let deadline = Instant::now() + wait;
        let mut state = self.disk.lock();
        while state.revision < self.next {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            state = self.disk.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let place = self.next.checked_sub(state.oldest()).and_then(|place| usize::try_from(place).ok());
        let commit = place.and_then(|place| state.log.get(place)).cloned();
        let after = Revision(self.next - 1);
        self.next += 1;
        commit.map(Some).ok_or(StoreError::Compacted { after })
    }
}
