//! Compaction: the old snapshot and the closed journals become a new snapshot, beside the writer.

use super::Shared;
use super::directory::Directory;
use super::file::{FrameFile, Kind};
use super::frame::Builder;
use super::manifest::{journal_name, snapshot_name};
use super::merge::{COUNT_KEY, END, Sources};
use crate::StoreError;
use std::sync::atomic::{AtomicBool, Ordering};

/// Records are put together up to this size before they are written.
const BLOCK: usize = 64 << 10;
/// Flushed so often that a commit never waits for a long flush of ours.
const FLUSH: u64 = 4 << 20;

/// Writes the snapshot of `revision` and puts it into the manifest; `stop` ends it early, without effect.
pub(crate) fn run(
    directory: &Directory,
    shared: &Shared,
    revision: u64,
    stop: &AtomicBool,
) -> Result<(), StoreError> {
    let sources = shared.sources(directory.path(), revision)?;
    let name = snapshot_name(revision);
    let len = match write(directory, &name, revision, &sources, stop) {
        Ok(Some(len)) => len,
        Ok(None) => return Ok(()),
        Err(error) => {
            directory.abandon(&name);
            return Err(error);
        }
    };
    drop(sources);
    let old = shared.install(directory, revision, len)?;
    for name in old.snapshot.map(snapshot_name).into_iter().chain(old.journals.into_iter().map(journal_name))
    {
        directory.remove(&name)?;
    }
    Ok(())
}

fn write(
    directory: &Directory,
    name: &str,
    revision: u64,
    sources: &Sources,
    stop: &AtomicBool,
) -> Result<Option<u64>, StoreError> {
    let mut writer = Writer {
        file: FrameFile::begin(directory, Kind::Snapshot, name, revision)?,
        block: Builder::default(),
        flushed: 0,
    };
    let mut count: u64 = 0;
    let mut stopped = false;
    writer.block.begin(revision);
    sources.each(&mut |key, value| {
        count += 1;
        stopped |= count.is_multiple_of(1024) && stop.load(Ordering::Relaxed);
        if stopped { Ok(()) } else { writer.record(revision, key, value) }
    })?;
    if stopped {
        directory.abandon(name);
        return Ok(None);
    }
    if !writer.block.is_empty() {
        writer.end_block()?;
    }
    writer.block.begin(END);
    writer.block.push(COUNT_KEY, Some(&count.to_le_bytes()));
    writer.end_block()?;
    directory.finish(name, &writer.file.file)?;
    Ok(Some(writer.file.len))
}

struct Writer {
    file: FrameFile,
    block: Builder,
    flushed: u64,
}

impl Writer {
    fn record(&mut self, revision: u64, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        if !self.block.push(key, Some(value)) {
            // A record that fitted into a commit alone fits into a block alone.
            self.end_block()?;
            self.block.begin(revision);
            self.block.push(key, Some(value));
        }
        if self.block.len() >= BLOCK {
            self.end_block()?;
            self.block.begin(revision);
        }
        Ok(())
    }

    fn end_block(&mut self) -> Result<(), StoreError> {
        let salt = self.file.salt;
        let bytes = self.block.seal(salt);
        let mut result = self.file.write(bytes);
        if result.is_ok() && self.file.len - self.flushed >= FLUSH {
            self.flushed = self.file.len;
            result = self.file.file.sync_data();
        }
        result.map_err(|e| self.file.failed("write", e))
    }
}
