//! Snapshot and journals read as one: every key with its last value, in key order.

use super::file::{FrameFile, scan};
use super::frame::{self, Step};
use crate::StoreError;
use std::iter::Peekable;
use std::os::unix::fs::FileExt;

/// The revision of a snapshot's last frame, which tells how many records there are.
pub(crate) const END: u64 = u64::MAX;
pub(crate) const COUNT_KEY: &[u8] = b"records";

/// Where the last value of a key lies; without a length the key is deleted.
struct Place {
    journal: usize,
    at: u64,
    len: Option<usize>,
}

type Keys = Peekable<std::vec::IntoIter<(Box<[u8]>, Place)>>;
/// What is called for every record.
pub(crate) type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError> + 'v;

/// The files to merge; of the journals only the keys are held in memory, and only meanwhile.
pub(crate) struct Sources {
    pub(crate) snapshot: Option<FrameFile>,
    pub(crate) journals: Vec<FrameFile>,
}

impl Sources {
    pub(crate) fn each(&self, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let mut merge = Merge { journals: &self.journals, keys: self.keys()?, value: Vec::new(), visit };
        if let Some(snapshot) = &self.snapshot {
            merge.snapshot(snapshot)?;
        }
        merge.keys_before(None)
    }

    fn keys(&self) -> Result<Keys, StoreError> {
        let mut keys = Vec::new();
        for (number, journal) in self.journals.iter().enumerate() {
            // Callers give whole frames only, so that no journal can end torn here.
            scan(journal, false, |body, body_at| {
                frame::each_entry(body, |entry| {
                    let place = Place {
                        journal: number,
                        at: body_at + entry.at as u64,
                        len: entry.value.map(<[u8]>::len),
                    };
                    keys.push((Box::from(entry.key), place));
                })
            })?;
        }
        // Stable, so of equal keys the newest is the last.
        keys.sort_by(|(a, _): &(Box<[u8]>, Place), (b, _)| a.cmp(b));
        keys.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                std::mem::swap(next, kept);
            }
            same
        });
        Ok(keys.into_iter().peekable())
    }
}

struct Merge<'a, 'v> {
    journals: &'a [FrameFile],
    keys: Keys,
    value: Vec<u8>,
    visit: &'a mut Visit<'v>,
}

impl Merge<'_, '_> {
    fn snapshot(&mut self, snapshot: &FrameFile) -> Result<(), StoreError> {
        let mut frames = snapshot.frames();
        let mut count = 0;
        let mut last = Vec::new();
        loop {
            let at = frames.at();
            let damaged = |what: &str| StoreError::damaged(&snapshot.path, at, what);
            match frames.next().map_err(|e| snapshot.failed("read", e))? {
                Step::Frame => {}
                Step::End => return Err(damaged("the end of the snapshot is missing")),
                Step::Broken { .. } => return Err(damaged("the checksum of a block is wrong")),
            }
            let body = frames.body();
            if frame::revision(body) == END {
                return match told(body) == Some(count) && frames.at() == snapshot.len {
                    true => Ok(()),
                    false => Err(damaged("the number of records is not the one told")),
                };
            }
            let mut result = Ok(());
            let mut ordered = frame::revision(body) == snapshot.revision;
            let whole = frame::each_entry(body, |entry| {
                ordered &= count == 0 || *last < *entry.key;
                last.clear();
                last.extend_from_slice(entry.key);
                count += 1;
                if result.is_ok() && ordered {
                    result = self.record(entry.key, entry.value.unwrap_or_default());
                }
            });
            result?;
            if !whole || !ordered {
                return Err(damaged("a block is not made as this build writes it"));
            }
        }
    }

    /// One record of the snapshot, unless a journal knows better.
    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.keys_before(Some(key))?;
        match self.keys.next_if(|(known, _)| &**known == key) {
            Some((key, place)) => self.value_at(&key, &place),
            None => (self.visit)(key, value),
        }
    }

    fn keys_before(&mut self, limit: Option<&[u8]>) -> Result<(), StoreError> {
        while let Some((key, place)) = self.keys.next_if(|(key, _)| limit.is_none_or(|limit| &**key < limit))
        {
            self.value_at(&key, &place)?;
        }
        Ok(())
    }

    fn value_at(&mut self, key: &[u8], place: &Place) -> Result<(), StoreError> {
        let Some(len) = place.len else { return Ok(()) };
        let Some(journal) = self.journals.get(place.journal) else { return Ok(()) };
        self.value.resize(len, 0);
        journal.file.read_exact_at(&mut self.value, place.at).map_err(|e| journal.failed("read", e))?;
        (self.visit)(key, &self.value)
    }
}

/// The number of records that the last frame of a snapshot tells.
fn told(body: &[u8]) -> Option<u64> {
    let mut count = None;
    let whole = frame::each_entry(body, |entry| {
        if entry.key == COUNT_KEY {
            count = entry.value.and_then(|value| frame::u64_at(value, 0));
        }
    });
    count.filter(|_| whole)
}
