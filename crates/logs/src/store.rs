//! All streams' directories under one bound on their bytes.

use crate::Error;
use crate::stream::{Candidate, Stream};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What an operator may set.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many bytes all events together may take; the oldest go first.
    pub bytes_max: u64,
    /// How large a segment file gets.
    pub segment_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { bytes_max: 2 << 30, segment_bytes: 8 << 20 }
    }
}

/// An event to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    pub message: String,
}

/// The streams by storage id.
#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
    settings: Settings,
    streams: Mutex<BTreeMap<String, Arc<Stream>>>,
    bytes: AtomicU64,
    /// Held while segments are chosen and dropped.
    evicting: Mutex<()>,
}

impl Store {
    pub(crate) fn open(dir: PathBuf, mut settings: Settings) -> Result<Self, Error> {
        // Whole segments are dropped, so that several must fit within the bound.
        settings.segment_bytes = settings.segment_bytes.min(settings.bytes_max / 8).max(1);
        fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        let mut streams = BTreeMap::new();
        for bucket in entries(&dir)? {
            for path in entries(&bucket)? {
                let Some(id) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned) else {
                    continue;
                };
                streams.insert(id, Arc::new(Stream::open(path, settings.segment_bytes)?));
            }
        }
        let bytes = AtomicU64::new(streams.values().map(|stream| stream.bytes()).sum());
        Ok(Self { dir, settings, streams: Mutex::new(streams), bytes, evicting: Mutex::default() })
    }

    fn streams(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Stream>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stream of that storage id, if it has ever had events.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<Stream>> {
        self.streams().get(id).cloned()
    }

    /// Makes a batch durable; returns the position behind it.
    pub(crate) fn append(&self, id: &str, now: i64, events: &[Event]) -> Result<u64, Error> {
        let stream = self.find_or_make(id)?;
        let (next, grown) = stream.append(now, events)?;
        let bytes = self.bytes.fetch_add(grown, Ordering::Relaxed) + grown;
        if bytes > self.settings.bytes_max {
            self.evict()?;
        }
        Ok(next)
    }

    fn find_or_make(&self, id: &str) -> Result<Arc<Stream>, Error> {
        // The id becomes a path.
        if id.len() < 3 || !id.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(Error::invalid(format!("{id:?} is not a storage id")));
        }
        let dir = self.dir.join(&id[..2]).join(id);
        let make = || Arc::new(Stream::new(dir, self.settings.segment_bytes));
        Ok(self.streams().entry(id.to_owned()).or_insert_with(make).clone())
    }

    /// Bytes on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Drops the segments that were not written for longest, until a tenth of the bound is free.
    fn evict(&self) -> Result<(), Error> {
        let _evicting = self.evicting.lock().unwrap_or_else(PoisonError::into_inner);
        if self.bytes() <= self.settings.bytes_max {
            return Ok(());
        }
        let streams: Vec<Arc<Stream>> = self.streams().values().cloned().collect();
        let all = streams.iter().flat_map(|stream| stream.candidates().into_iter().map(move |c| (stream, c)));
        let mut all: Vec<(&Arc<Stream>, Candidate)> = all.collect();
        all.sort_by_key(|(_, candidate)| (candidate.written_at, candidate.first));
        let goal = self.settings.bytes_max / 10 * 9;
        let (mut freed, mut count) = (0, 0_usize);
        for (stream, candidate) in all {
            if self.bytes() <= goal {
                break;
            }
            freed += candidate.len;
            count += 1;
            self.release(stream.drop_segment(candidate.first)?);
        }
        tracing::warn!(
            count,
            bytes = freed,
            "dropped the oldest log events, to stay within the bound on log storage"
        );
        Ok(())
    }

    fn release(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Removes streams that `live` does not name, and events past the retention that it gives, in milliseconds.
    ///
    /// `live` is called after the streams here have been listed: one that is made meanwhile is not taken for an orphan.
    pub(crate) fn sweep(
        &self,
        now: i64,
        live: impl FnOnce() -> BTreeMap<String, Option<i64>>,
    ) -> Result<(), Error> {
        let known: Vec<(String, Arc<Stream>)> =
            self.streams().iter().map(|(id, stream)| (id.clone(), stream.clone())).collect();
        let live = live();
        for (id, stream) in known {
            match live.get(&id) {
                None => {
                    self.streams().remove(&id);
                    self.release(stream.bytes());
                    stream.destroy()?;
                }
                Some(Some(retention)) => self.release(stream.drop_older(now - retention)?),
                Some(None) => {}
            }
        }
        Ok(())
    }
}

/// The directories in a directory.
fn entries(dir: &PathBuf) -> Result<Vec<PathBuf>, Error> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io("read", dir))? {
        let entry = entry.map_err(Error::io("read", dir))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            paths.push(entry.path());
        }
    }
    Ok(paths)
}
