//! Follows the commits of a journal by reading its files behind the writer.

use super::file::{FrameFile, HEADER};
use super::frame::{self, Frames, Step};
use super::{Shared, State};
use crate::{Commit, Record, Revision, StoreError, Watch};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// A place in the journals, and the way to what comes behind it.
pub(crate) struct Follower {
    directory: PathBuf,
    shared: Arc<Shared>,
    /// The revision to tell next.
    next: u64,
    open: Option<(FrameFile, u64)>,
}

impl Follower {
    pub(crate) fn new(directory: PathBuf, shared: Arc<Shared>, after: u64) -> Result<Self, StoreError> {
        let follower = Self { directory, shared, next: after + 1, open: None };
        let state = follower.shared.lock();
        if state.journal_of(follower.next).is_none() {
            return Err(StoreError::Compacted { after: Revision(after) });
        }
        drop(state);
        Ok(follower)
    }

    /// Waits for the next revision; the end of its journal, or `None` if it does not come in time.
    fn wait(&mut self, wait: Duration) -> Result<Option<u64>, StoreError> {
        let shared = Arc::clone(&self.shared);
        let deadline = Instant::now() + wait;
        let mut state = shared.lock();
        while state.durable < self.next {
            if state.closed {
                return Err(StoreError::Stopped { reason: "it was closed".to_owned() });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            state = shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        self.turn_to(&state).map(Some)
    }

    /// Has the journal of the next revision open. Under the lock no compaction can remove it in between.
    fn turn_to(&mut self, state: &State) -> Result<u64, StoreError> {
        let late = || StoreError::Compacted { after: Revision(self.next - 1) };
        if let Some((file, at)) = &mut self.open {
            file.len = state.end_of(file.revision);
            if file.len > *at {
                return Ok(file.len);
            }
        }
        let file = state.open_journal(&self.directory, state.journal_of(self.next).ok_or_else(late)?)?;
        let end = file.len;
        self.open = Some((file, HEADER));
        Ok(end)
    }
}

impl Watch for Follower {
    fn next(&mut self, wait: Duration) -> Result<Option<Commit>, StoreError> {
        let Some(end) = self.wait(wait)? else { return Ok(None) };
        let Some((file, at)) = &mut self.open else { return Ok(None) };
        let mut frames = Frames::new(&file.file, file.salt, *at, end).one_by_one();
        loop {
            match frames.next().map_err(|e| file.failed("read", e))? {
                Step::Frame if frame::revision(frames.body()) < self.next => {}
                Step::Frame => break,
                Step::End | Step::Broken { .. } => {
                    return Err(StoreError::damaged(
                        &file.path,
                        frames.at(),
                        "a durable batch cannot be read back",
                    ));
                }
            }
        }
        let mut records = Vec::new();
        frame::each_entry(frames.body(), |entry| {
            records.push(Record { key: entry.key.to_vec(), value: entry.value.map(<[u8]>::to_vec) });
        });
        let at_now = frames.at();
        let commit = Commit { revision: Revision(self.next), records };
        *at = at_now;
        self.next += 1;
        Ok(Some(commit))
    }
}
