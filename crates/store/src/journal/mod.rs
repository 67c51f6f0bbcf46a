//! The embedded engine: a journal of batches, one fdatasync each, and a snapshot of what came before it.
//!
//! A data directory holds `LOCK` (whose holder is the only user), `MANIFEST` (which files count), at most one
//! `snapshot-R` (everything up to revision R, in key order) and `journal-N` files (the batches from revision N on).
//! Writing goes to the last journal only. When the journals outgrow the snapshot, a new journal is begun and a
//! thread merges the rest into a new snapshot; the writer does not wait for it. No value stays in memory.
//!
//! - Killed at any moment: at most a batch that was never acknowledged is torn; the next open cuts it off and says
//!   so. Anything else that is wrong is damage, and refused before anything is changed.
//! - Disk full: the commit fails with [`StoreError::Full`], the file is cut back to the batches before, and commits
//!   work again as soon as there is room. Any other failure stops the engine until it is opened again, since after
//!   a failed flush nobody knows what the disk has; if not even cutting back worked, the error says that the batch
//!   is in doubt.
//! - What it cannot notice: whole batches missing at the very end of the last journal, as after restoring an older
//!   copy of that file, look like a store that ended earlier.

mod compact;
mod directory;
mod file;
mod follow;
mod frame;
mod manifest;
mod merge;
mod recover;

use crate::{Fence, Holder, Lease, Limits, Record, Revision, Store, StoreError, Warning, Watch};
use directory::Directory;
use file::{FrameFile, HEADER, Kind};
use frame::Builder;
use manifest::{Manifest, journal_name, snapshot_name};
use merge::Sources;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use stdx::{Chain, Timestamp};

/// How an embedded store behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Compaction begins when the journals are larger than this and than the snapshot.
    pub compact_at: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { compact_at: 64 << 20 }
    }
}

/// A store that was opened, and what had to be repaired for that.
pub struct Opened {
    pub store: Journal,
    pub warnings: Vec<Warning>,
}

/// How an embedded store is doing, for metrics and logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub revision: Revision,
    pub journal_bytes: u64,
    pub snapshot_bytes: u64,
    pub compacting: bool,
    /// Why the last compaction failed; it is tried again when the journals have grown further.
    pub trouble: Option<String>,
}

/// The embedded engine.
pub struct Journal {
    directory: Arc<Directory>,
    shared: Arc<Shared>,
    tail: FrameFile,
    /// Granted to this process; those of earlier ones count for nothing.
    fence: Option<Fence>,
    builder: Builder,
    options: Options,
    compaction: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    /// Why no commit is taken any more.
    stopped: Option<String>,
    /// After a failed compaction, the size of the journals at which to try again.
    retry_at: u64,
}

/// What the writer shares with the compaction and the followers.
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

pub(crate) struct State {
    manifest: Manifest,
    durable: u64,
    /// Where the durable frames of each journal end.
    ends: BTreeMap<u64, u64>,
    snapshot_bytes: u64,
    compacting: bool,
    trouble: Option<String>,
    closed: bool,
}

/// Tells how a store is doing while another thread uses it.
#[derive(Clone)]
pub struct Monitor(Arc<Shared>);

impl Monitor {
    pub fn status(&self) -> Status {
        let state = self.0.lock();
        Status {
            revision: Revision(state.durable),
            journal_bytes: state.journal_bytes(),
            snapshot_bytes: state.snapshot_bytes,
            compacting: state.compacting,
            trouble: state.trouble.clone(),
        }
    }
}

impl Journal {
    /// Opens the store in a directory, and makes it if there is none.
    pub fn open(path: &Path, options: Options) -> Result<Opened, StoreError> {
        let recovered = recover::recover(Directory::lock(path)?)?;
        let state = State {
            durable: recovered.durable,
            ends: recovered.ends,
            snapshot_bytes: recovered.snapshot_bytes,
            compacting: false,
            trouble: None,
            closed: false,
            manifest: recovered.manifest,
        };
        let store = Self {
            fence: None,
            directory: Arc::new(recovered.directory),
            shared: Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() }),
            tail: recovered.tail,
            builder: Builder::default(),
            options,
            compaction: None,
            stop: Arc::new(AtomicBool::new(false)),
            stopped: None,
            retry_at: 0,
        };
        Ok(Opened { store, warnings: recovered.warnings })
    }

    /// A way to ask for the status after the store was handed to a [`crate::Committer`].
    pub fn monitor(&self) -> Monitor {
        Monitor(Arc::clone(&self.shared))
    }

    fn check(&self, fence: Fence) -> Result<(), StoreError> {
        match &self.stopped {
            Some(reason) => Err(StoreError::Stopped { reason: reason.clone() }),
            None if self.fence == Some(fence) => Ok(()),
            None => {
                Err(StoreError::Fenced { given: fence, newest: Fence(self.shared.lock().manifest.epoch) })
            }
        }
    }

    /// Takes a batch that failed out of the file again, and says what became of it.
    fn undo(&mut self, error: io::Error) -> StoreError {
        let good = self.shared.lock().end_of(self.tail.revision);
        let cut = self.tail.cut(good);
        let path = &self.tail.path;
        if let Err(second) = cut {
            let reason =
                format!("writing {} failed: {error}; taking it back failed: {second}", path.display());
            self.stopped = Some(reason.clone());
            return StoreError::Ambiguous { reason };
        }
        if is_full(&error) {
            return StoreError::Full { file: path.clone(), source: error };
        }
        self.stopped = Some(format!("writing {} failed: {error}", path.display()));
        StoreError::io("write", path, error)
    }

    /// Starts a new journal, so that the ones before can be compacted.
    fn rotate(&mut self) -> Result<(), StoreError> {
        let mut state = self.shared.lock();
        let first = state.durable + 1;
        if self.tail.revision == first {
            return Ok(());
        }
        let tail = recover::new_journal(&self.directory, first)?;
        let mut manifest = state.manifest.clone();
        manifest.journals.push(first);
        if let Err(error) = manifest.save(&self.directory) {
            // If the old manifest still stands, the old journal goes on; otherwise disk and memory disagree.
            match Manifest::read(&self.directory) {
                Ok(Some(there)) if there == state.manifest => self.directory.remove(&journal_name(first))?,
                _ => self.stopped = Some(format!("replacing MANIFEST failed: {error}")),
            }
            return Err(error);
        }
        state.manifest = manifest;
        state.ends.insert(first, tail.len);
        drop(state);
        // Only tidies up: readers know where the frames end.
        drop(self.tail.file.set_len(self.tail.len));
        self.tail = tail;
        Ok(())
    }

    /// Rotates and starts the thread that compacts, unless it runs already or there is nothing to do.
    fn start_compaction(&mut self) -> Result<(), StoreError> {
        if self.shared.lock().compacting {
            return Ok(());
        }
        self.rotate()?;
        let upto = self.tail.revision - 1;
        if self.shared.lock().manifest.snapshot.unwrap_or(0) == upto {
            return Ok(());
        }
        let (directory, shared, stop) =
            (Arc::clone(&self.directory), Arc::clone(&self.shared), Arc::clone(&self.stop));
        let work = move || {
            let run = || compact::run(&directory, &shared, upto, &stop);
            // A panic must not leave the store believing for ever that a compaction runs.
            let trouble = match catch_unwind(AssertUnwindSafe(run)) {
                Ok(result) => result.err().map(|error| Chain(&error).to_string()),
                Err(_) => Some("the compaction panicked".to_owned()),
            };
            let mut state = shared.lock();
            state.trouble = trouble;
            state.compacting = false;
        };
        self.shared.lock().compacting = true;
        let thread = std::thread::Builder::new()
            .name("store-compact".to_owned())
            .spawn(work)
            .map_err(|e| StoreError::io("start the compaction of", self.directory.path(), e));
        if thread.is_err() {
            self.shared.lock().compacting = false;
        }
        self.compaction = Some(thread?);
        Ok(())
    }

    /// Compacts when it is worth it. A failure costs space, not data, so it does not fail the commit.
    fn tend(&mut self) {
        let state = self.shared.lock();
        let bytes = state.journal_bytes();
        let worth = bytes >= self.options.compact_at.max(state.snapshot_bytes);
        let wait = state.compacting || state.trouble.is_some() && bytes < self.retry_at;
        drop(state);
        if !worth || wait {
            return;
        }
        self.retry_at = bytes.saturating_add(self.options.compact_at);
        if let Err(error) = self.start_compaction() {
            self.shared.lock().trouble = Some(Chain(&error).to_string());
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

impl Store for Journal {
    fn load(&mut self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<Revision, StoreError> {
        let revision = self.shared.lock().durable;
        self.shared.sources(self.directory.path(), revision)?.each(&mut |key, value| {
            each(key, value);
            Ok(())
        })?;
        Ok(Revision(revision))
    }

    fn commit(&mut self, fence: Fence, batch: &[Record]) -> Result<Revision, StoreError> {
        self.check(fence)?;
        let revision = self.shared.lock().durable + u64::from(!batch.is_empty());
        if batch.is_empty() {
            return Ok(Revision(revision));
        }
        self.builder.begin(revision);
        for record in batch {
            if !self.builder.push(&record.key, record.value.as_deref()) {
                self.builder.trim();
                let bytes = batch.iter().map(Record::size).sum();
                return Err(StoreError::TooLarge { bytes, limit: frame::MAX_BODY });
            }
        }
        let written = self.tail.write(self.builder.seal(self.tail.salt));
        self.builder.trim();
        if let Err(error) = written.and_then(|()| self.tail.file.sync_data()) {
            return Err(self.undo(error));
        }
        let mut state = self.shared.lock();
        state.durable = revision;
        state.ends.insert(self.tail.revision, self.tail.len);
        drop(state);
        self.shared.changed.notify_all();
        self.tend();
        Ok(Revision(revision))
    }

    fn acquire(&mut self, _: &Holder, _: Timestamp) -> Result<Lease, StoreError> {
        // Nobody else can hold it: the directory's lock is ours as long as we live.
        let mut state = self.shared.lock();
        let mut manifest = state.manifest.clone();
        manifest.epoch += 1;
        match manifest.save(&self.directory) {
            // Whoever starts on a full disk has to get in to make room. The number is then only in memory, which is
            // enough: an earlier process's fences count for nothing here.
            Err(StoreError::Io { source, .. }) if is_full(&source) => {}
            saved => saved?,
        }
        let fence = Fence(manifest.epoch);
        state.manifest = manifest;
        drop(state);
        self.fence = Some(fence);
        Ok(Lease::Granted(fence))
    }

    fn renew(&mut self, fence: Fence, _: Timestamp) -> Result<(), StoreError> {
        self.check(fence)?;
        self.directory.still_ours()
    }

    fn watch(&self, after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        let path = self.directory.path().to_path_buf();
        Ok(Box::new(follow::Follower::new(path, Arc::clone(&self.shared), after.0)?))
    }

    fn compact(&mut self) -> Result<(), StoreError> {
        self.start_compaction()
    }

    fn limits(&self) -> Limits {
        // Beyond this a longer write only makes the others wait.
        Limits { records: 16 << 10, bytes: 8 << 20 }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.compaction.take() {
            // A panic there was reported when it happened; an unfinished snapshot counts for nothing.
            drop(thread.join());
        }
    }
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything up to a revision, which must be the last of a journal.
    pub(crate) fn sources(&self, directory: &Path, upto: u64) -> Result<Sources, StoreError> {
        let state = self.lock();
        let snapshot = state
            .manifest
            .snapshot
            .map(|revision| FrameFile::open(directory, Kind::Snapshot, &snapshot_name(revision), revision));
        let mut journals = Vec::new();
        for &first in state.manifest.journals.iter().filter(|&&first| first <= upto) {
            journals.push(state.open_journal(directory, first)?);
        }
        Ok(Sources { snapshot: snapshot.transpose()?, journals })
    }

    /// Puts a finished snapshot into the manifest; returns what it makes needless.
    pub(crate) fn install(
        &self,
        directory: &Directory,
        revision: u64,
        len: u64,
    ) -> Result<Manifest, StoreError> {
        let mut state = self.lock();
        let (old, journals) = state.manifest.journals.iter().partition(|&&first| first <= revision);
        let old = Manifest { epoch: 0, snapshot: state.manifest.snapshot, journals: old };
        let manifest = Manifest { epoch: state.manifest.epoch, snapshot: Some(revision), journals };
        manifest.save(directory)?;
        state.manifest = manifest;
        state.snapshot_bytes = len;
        state.ends.retain(|&first, _| first > revision);
        Ok(old)
    }
}

impl State {
    /// The first revision of the journal that has `revision`, now or later.
    fn journal_of(&self, revision: u64) -> Option<u64> {
        self.manifest.journals.iter().rev().copied().find(|&first| first <= revision)
    }

    /// Opens a journal to be read up to its durable end: behind it a commit may be on its way.
    fn open_journal(&self, directory: &Path, first: u64) -> Result<FrameFile, StoreError> {
        let mut journal = FrameFile::open(directory, Kind::Journal, &journal_name(first), first)?;
        journal.len = self.end_of(first);
        Ok(journal)
    }

    fn end_of(&self, first: u64) -> u64 {
        self.ends.get(&first).copied().unwrap_or(HEADER)
    }

    fn journal_bytes(&self) -> u64 {
        self.ends.values().sum()
    }
}
