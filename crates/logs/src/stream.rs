//! One stream's events on disk: appending with shared flushes, reading, and letting old segments go.

use crate::Error;
use crate::frame::{self, MAGIC};
use crate::segment::{self, Block, Index, Segment, Written};
use crate::store::Event;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A segment is closed after a day at the latest, so that retention, which drops whole segments, can reach it.
const SEGMENT_AGE_MS: i64 = 24 * 3_600_000;
/// Events are at most this much newer than their ingestion (API_PutLogEvents).
pub(crate) const AHEAD_MS: i64 = 2 * 3_600_000;

/// A stream's directory.
#[derive(Debug)]
pub(crate) struct Stream {
    dir: PathBuf,
    segment_bytes: u64,
    state: Mutex<State>,
    flush: Mutex<Flush>,
    flushed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    segments: Vec<Segment>,
    /// The position of the next event; known once the last segment has been read.
    next: Option<u64>,
    /// Counts appends.
    written: u64,
}

/// Who has been flushed.
#[derive(Debug, Default)]
struct Flush {
    is_running: bool,
    upto: u64,
    failed_upto: u64,
}

/// What is known of a stream's events.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) first_event: Option<i64>,
    pub(crate) last_event: Option<i64>,
    pub(crate) last_ingestion: Option<i64>,
    pub(crate) next: u64,
}

/// A segment that could go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) written_at: i64,
    pub(crate) first: u64,
    pub(crate) len: u64,
}

impl Stream {
    /// A stream whose directory may not exist yet.
    pub(crate) fn new(dir: PathBuf, segment_bytes: u64) -> Self {
        Self { dir, segment_bytes, state: Mutex::default(), flush: Mutex::default(), flushed: Condvar::new() }
    }

    /// A stream that an earlier run has written. Only looks at the names and sizes of its files.
    pub(crate) fn open(dir: PathBuf, segment_bytes: u64) -> Result<Self, Error> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(&dir).map_err(Error::io("read", &dir))? {
            let path = entry.map_err(Error::io("read", &dir))?.path();
            let Some(first) = segment::first_of(&path) else { continue };
            let metadata = fs::metadata(&path).map_err(Error::io("look at", &path))?;
            let written_at =
                metadata.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
            let written_at = written_at.and_then(|at| i64::try_from(at.as_millis()).ok()).unwrap_or(0);
            segments.push(Segment { first, len: metadata.len(), written_at, index: None });
        }
        segments.sort_by_key(|segment| segment.first);
        let stream = Self::new(dir, segment_bytes);
        stream.lock().segments = segments;
        Ok(stream)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.lock().segments.iter().map(|segment| segment.len).sum()
    }

    /// Appends a batch and makes it durable. Returns the position behind it and how many bytes the stream grew by.
    pub(crate) fn append(&self, now: i64, events: &[Event]) -> Result<(u64, u64), Error> {
        let (mine, next, grown) = {
            let mut state = self.lock();
            let before: u64 = state.segments.iter().map(|s| s.len).sum();
            self.write(&mut state, now, events)?;
            let after: u64 = state.segments.iter().map(|s| s.len).sum();
            state.written += 1;
            (state.written, state.next.unwrap_or(0), after.saturating_sub(before))
        };
        self.make_durable(mine)?;
        Ok((next, grown))
    }

    fn write(&self, state: &mut State, now: i64, events: &[Event]) -> Result<(), Error> {
        let next = self.prepare(state)?;
        let is_full = |s: &Segment| {
            s.len >= self.segment_bytes
                || s.index.as_ref().is_some_and(|i| i.count > 0 && now - i.first_ingested_at > SEGMENT_AGE_MS)
        };
        if state.segments.last().is_none_or(is_full) {
            self.roll(state, next, now)?;
        }
        let Some(segment) = state.segments.last_mut() else { return Err(Error::StreamNotFound) };
        let path = segment::path(&self.dir, segment.first);
        let frame = frame::encode(now, events);
        let file = OpenOptions::new().write(true).open(&path).map_err(Error::io("open", &path))?;
        if let Err(error) = file.write_all_at(&frame, segment.len) {
            // What was written of it lies behind the end; the next batch overwrites it, a restart cuts it off.
            if let Err(error) = file.set_len(segment.len) {
                tracing::warn!(path = %path.display(), %error, "cannot cut off a batch that was not written whole");
            }
            return Err(Error::io("write", &path)(error));
        }
        let len = frame.len() as u64;
        let times = segment::times(events.iter().map(|e| e.timestamp));
        let written = Written { offset: segment.len, len, ingested_at: now, times };
        segment.index.get_or_insert_default().add(segment.first, written);
        segment.len += len;
        segment.written_at = now;
        state.next = Some(next + events.len() as u64);
        Ok(())
    }

    /// Reads the last segment if that was not done yet, and cuts off what a crash has torn. Returns the next position.
    fn prepare(&self, state: &mut State) -> Result<u64, Error> {
        if let Some(next) = state.next {
            return Ok(next);
        }
        let Some(last) = state.segments.last_mut() else {
            state.next = Some(0);
            return Ok(0);
        };
        let path = segment::path(&self.dir, last.first);
        let (index, whole) = segment::scan(&path, last.first)?;
        let next = last.first + index.count;
        if whole < last.len || whole == 0 {
            tracing::warn!(path = %path.display(), bytes = last.len - whole, "cut off a log batch that was not written whole");
            let file = OpenOptions::new().write(true).open(&path).map_err(Error::io("open", &path))?;
            // Without its first bytes the file is not a segment: start it anew.
            let mut len = whole;
            if whole == 0 {
                file.set_len(0)
                    .and_then(|()| file.write_all_at(MAGIC, 0))
                    .map_err(Error::io("write", &path))?;
                len = MAGIC.len() as u64;
            }
            file.set_len(len).and_then(|()| file.sync_all()).map_err(Error::io("cut", &path))?;
            last.len = len;
        }
        last.index = Some(index);
        state.next = Some(next);
        Ok(next)
    }

    /// Begins a segment; the one before it is made durable first, so that a flush of the last covers all.
    fn roll(&self, state: &mut State, next: u64, now: i64) -> Result<(), Error> {
        match state.segments.last() {
            Some(last) => {
                let path = segment::path(&self.dir, last.first);
                sync_data(&path)?;
            }
            None => make_dir(&self.dir)?,
        }
        let path = segment::path(&self.dir, next);
        let file = File::create(&path).map_err(Error::io("create", &path))?;
        file.write_all_at(MAGIC, 0).map_err(Error::io("write", &path))?;
        sync_dir(&self.dir)?;
        let len = MAGIC.len() as u64;
        state.segments.push(Segment { first: next, len, written_at: now, index: Some(Index::default()) });
        Ok(())
    }

    /// Waits until the append of that number is on disk; whoever comes first flushes for all that wait.
    fn make_durable(&self, mine: u64) -> Result<(), Error> {
        let mut flush = self.flush.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if flush.failed_upto >= mine {
                return Err(Error::NotDurable { path: self.dir.clone() });
            }
            if flush.upto >= mine {
                return Ok(());
            }
            if !flush.is_running {
                break;
            }
            flush = self.flushed.wait(flush).unwrap_or_else(PoisonError::into_inner);
        }
        flush.is_running = true;
        drop(flush);
        let (upto, path) = {
            let state = self.lock();
            (state.written, state.segments.last().map(|last| segment::path(&self.dir, last.first)))
        };
        // Without a segment the events are gone already, by retention or the bound: nothing is left to flush.
        let result = path.map_or(Ok(()), |path| match sync_data(&path) {
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(()),
            result => result,
        });
        let mut flush = self.flush.lock().unwrap_or_else(PoisonError::into_inner);
        flush.is_running = false;
        match &result {
            Ok(()) => flush.upto = flush.upto.max(upto),
            Err(_) => {
                flush.failed_upto = upto;
                // What the disk has of it is uncertain: read it again before anything is added.
                self.lock().next = None;
            }
        }
        drop(flush);
        self.flushed.notify_all();
        result
    }

    /// Calls `each` with position, time, ingestion time and message of the events in blocks that `wants` takes, which
    /// is asked again before each block. From the last block backwards if `is_reversed`; within a block ascending.
    pub(crate) fn read(
        &self,
        not_before: i64,
        is_reversed: bool,
        reader: &mut dyn Reader,
    ) -> Result<(), Error> {
        let mut blocks = self.blocks(not_before)?;
        if is_reversed {
            blocks.reverse();
        }
        let mut open: Option<(u64, File)> = None;
        for (first, block) in blocks {
            if !reader.wants(block.min, block.max) {
                continue;
            }
            let path = segment::path(&self.dir, first);
            if open.as_ref().is_none_or(|(of, _)| *of != first) {
                match File::open(&path) {
                    Ok(file) => open = Some((first, file)),
                    // Dropped since we looked, by retention or the bound on storage.
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    Err(error) => return Err(Error::io("open", &path)(error)),
                }
            }
            let Some((_, file)) = &open else { continue };
            segment::visit(file, &path, block, |position, batch| {
                let ingested_at = batch.ingested_at;
                for (position, (timestamp, message)) in (position..).zip(batch) {
                    reader.event(position, timestamp, ingested_at, message);
                }
            })?;
        }
        Ok(())
    }

    /// The blocks that may hold events at or after a time, with their segments' first positions.
    fn blocks(&self, not_before: i64) -> Result<Vec<(u64, Block)>, Error> {
        let mut state = self.lock();
        self.prepare(&mut state)?;
        let mut blocks = Vec::new();
        for segment in &mut state.segments {
            if segment.index.is_none() && segment.written_at.saturating_add(AHEAD_MS) < not_before {
                continue;
            }
            let first = segment.first;
            let index = self.indexed(segment)?;
            blocks.extend(index.blocks.iter().filter(|b| b.max >= not_before).map(|b| (first, *b)));
        }
        Ok(blocks)
    }

    fn indexed<'a>(&self, segment: &'a mut Segment) -> Result<&'a Index, Error> {
        if segment.index.is_none() {
            let path = segment::path(&self.dir, segment.first);
            let (index, whole) = segment::scan(&path, segment.first)?;
            if whole < segment.len {
                tracing::warn!(path = %path.display(), at = whole, "damaged log segment: what follows is left out");
            }
            segment.index = Some(index);
        }
        Ok(segment.index.get_or_insert_default())
    }

    pub(crate) fn summary(&self) -> Result<Summary, Error> {
        let mut state = self.lock();
        let next = self.prepare(&mut state)?;
        let mut summary = Summary { next, ..Summary::default() };
        for segment in &mut state.segments {
            if let Some(first) = self.indexed(segment)?.min() {
                summary.first_event = Some(first);
                break;
            }
        }
        for segment in state.segments.iter_mut().rev() {
            let index = self.indexed(segment)?;
            if let Some(last) = index.max() {
                summary.last_event = Some(last);
                summary.last_ingestion = Some(index.last_ingested_at);
                break;
            }
        }
        Ok(summary)
    }

    /// The segments, for choosing which go.
    pub(crate) fn candidates(&self) -> Vec<Candidate> {
        let state = self.lock();
        let segments = state.segments.iter();
        segments.map(|s| Candidate { written_at: s.written_at, first: s.first, len: s.len }).collect()
    }

    /// Drops the segments whose events are all older than a time; returns the bytes freed.
    pub(crate) fn drop_older(&self, than: i64) -> Result<u64, Error> {
        let is_old = |candidate: &Candidate| candidate.written_at.saturating_add(AHEAD_MS) < than;
        let mut freed = 0;
        for candidate in self.candidates().iter().filter(|candidate| is_old(candidate)) {
            freed += self.drop_segment(candidate.first)?;
        }
        Ok(freed)
    }

    /// Drops a segment; returns the bytes freed.
    pub(crate) fn drop_segment(&self, first: u64) -> Result<u64, Error> {
        let mut state = self.lock();
        self.prepare(&mut state)?;
        let Some(at) = state.segments.iter().position(|segment| segment.first == first) else { return Ok(0) };
        let path = segment::path(&self.dir, first);
        remove(&path)?;
        Ok(state.segments.remove(at).len)
    }

    /// Removes the stream's directory with everything in it.
    pub(crate) fn destroy(&self) -> Result<(), Error> {
        let mut state = self.lock();
        state.segments.clear();
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", &self.dir)(error)),
            _ => Ok(()),
        }
    }
}

/// Takes the events of a stream.
pub(crate) trait Reader {
    fn wants(&self, min: i64, max: i64) -> bool;
    fn event(&mut self, position: u64, timestamp: i64, ingested_at: i64, message: &str);
}

fn sync_data(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|file| file.sync_data()).map_err(Error::io("flush", path))
}

fn sync_dir(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(Error::io("flush", path))
}

/// Makes a directory, durably, with the one above it.
fn make_dir(dir: &Path) -> Result<(), Error> {
    fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
    let above = dir.ancestors().skip(1).take(2);
    above.into_iter().try_for_each(sync_dir)
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}
