//! Frames, the one unit of journals and snapshots: length, checksum, revision, records.
//!
//! ```text
//! u32 length of the body | u32 checksum of that length | u32 checksum of the body | body
//! body:   u64 revision | u32 count | count records
//! record: u32 key length | u32 value length, all ones for a deletion | key | value
//! ```
//! Numbers are little-endian. Checksums are CRC-32 seeded with the file's salt. The length has its own, so that a
//! half-written length is never believed. The salt keeps bytes of an older file in reused blocks, and values that happen to
//! look like frames, from being taken for frames.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes before the body.
pub(crate) const PREFIX: usize = 12;
/// Bytes of the body before the records.
pub(crate) const FIXED: usize = 12;
/// The longest body; a length beyond it can only be damage.
pub(crate) const MAX_BODY: usize = 256 << 20;
const DELETED: u32 = u32::MAX;
const CHUNK: usize = 256 << 10;

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

fn checksum(salt: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(bytes);
    hasher.finalize()
}

/// The length of the body, if a frame can begin here.
fn body_len(prefix: &[u8], salt: u32) -> Option<usize> {
    let length = u32_at(prefix, 0)?;
    let size = usize::try_from(length).ok()?;
    let told = u32_at(prefix, 4)? == checksum(salt, &length.to_le_bytes());
    (told && (FIXED..=MAX_BODY).contains(&size)).then_some(size)
}

/// A frame under construction, in a buffer that is used again.
#[derive(Default)]
pub(crate) struct Builder {
    bytes: Vec<u8>,
    count: u32,
}

impl Builder {
    pub(crate) fn begin(&mut self, revision: u64) {
        self.bytes.clear();
        self.count = 0;
        self.bytes.extend_from_slice(&[0; PREFIX]);
        self.bytes.extend_from_slice(&revision.to_le_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
    }

    /// Adds a record; false if the frame cannot take it.
    pub(crate) fn push(&mut self, key: &[u8], value: Option<&[u8]>) -> bool {
        let room = (MAX_BODY + PREFIX).saturating_sub(self.bytes.len());
        let size = 8 + key.len() + value.map_or(0, <[u8]>::len);
        let (Ok(k), Ok(v)) = (u32::try_from(key.len()), u32::try_from(value.map_or(0, <[u8]>::len))) else {
            return false;
        };
        if size > room {
            return false;
        }
        self.bytes.extend_from_slice(&k.to_le_bytes());
        self.bytes.extend_from_slice(&value.map_or(DELETED, |_| v).to_le_bytes());
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.count += 1;
        true
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The finished frame.
    pub(crate) fn seal(&mut self, salt: u32) -> &[u8] {
        // `push` keeps the body under MAX_BODY, which fits.
        let length = u32::try_from(self.bytes.len() - PREFIX).unwrap_or(u32::MAX).to_le_bytes();
        self.bytes[PREFIX + 8..PREFIX + FIXED].copy_from_slice(&self.count.to_le_bytes());
        let sum = checksum(salt, &self.bytes[PREFIX..]);
        self.bytes[..4].copy_from_slice(&length);
        self.bytes[4..8].copy_from_slice(&checksum(salt, &length).to_le_bytes());
        self.bytes[8..PREFIX].copy_from_slice(&sum.to_le_bytes());
        &self.bytes
    }

    /// Gives back the memory of an unusually large frame.
    pub(crate) fn trim(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(1 << 20);
    }
}

/// One record of a body; `at` is where in the body its value begins.
pub(crate) struct Entry<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) at: usize,
}

/// The revision of a body whose checksum was right.
pub(crate) fn revision(body: &[u8]) -> u64 {
    u64_at(body, 0).unwrap_or(0)
}

/// Calls `each` for the records of a body; false if they do not fill it exactly.
pub(crate) fn each_entry<'a>(body: &'a [u8], mut each: impl FnMut(Entry<'a>)) -> bool {
    let mut walk = || -> Option<usize> {
        let count = u32_at(body, 8)?;
        let mut at = FIXED;
        for _ in 0..count {
            let (k, v) = (u32_at(body, at)?, u32_at(body, at + 4)?);
            let value_at = (at + 8).checked_add(usize::try_from(k).ok()?)?;
            let key = body.get(at + 8..value_at)?;
            at = if v == DELETED { value_at } else { value_at.checked_add(usize::try_from(v).ok()?)? };
            let value = body.get(value_at..at)?;
            each(Entry { key, value: (v != DELETED).then_some(value), at: value_at });
        }
        Some(at)
    };
    walk() == Some(body.len())
}

/// What comes next in a file.
pub(crate) enum Step {
    /// A good frame; its body is [`Frames::body`].
    Frame,
    End,
    /// No good frame at this place; `ends` is where it would end, if at least its length is good.
    Broken {
        ends: Option<u64>,
    },
}

/// Reads frames in order, never beyond a given end.
pub(crate) struct Frames<'f> {
    file: &'f File,
    salt: u32,
    /// Where the next frame begins.
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    start: usize,
    body: std::ops::Range<usize>,
    body_at: u64,
    /// How much to read at a time, at least.
    chunk: usize,
}

impl<'f> Frames<'f> {
    pub(crate) fn new(file: &'f File, salt: u32, at: u64, end: u64) -> Self {
        Self { file, salt, at, end, buffer: Vec::new(), start: 0, body: 0..0, body_at: 0, chunk: CHUNK }
    }

    /// Reads no more than the frames asked for.
    pub(crate) fn one_by_one(mut self) -> Self {
        self.chunk = 0;
        self
    }

    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.buffer[self.body.clone()]
    }

    /// Where in the file the body begins.
    pub(crate) fn body_at(&self) -> u64 {
        self.body_at
    }

    pub(crate) fn next(&mut self) -> io::Result<Step> {
        if self.at == self.end {
            return Ok(Step::End);
        }
        if !self.fill(PREFIX)? {
            return Ok(Step::Broken { ends: None });
        }
        let Some(size) = body_len(&self.buffer[self.start..], self.salt) else {
            return Ok(Step::Broken { ends: None });
        };
        let next = self.at + (PREFIX + size) as u64;
        if !self.fill(PREFIX + size)? {
            return Ok(Step::Broken { ends: Some(next) });
        }
        let body = self.start + PREFIX..self.start + PREFIX + size;
        let sum = u32_at(&self.buffer, self.start + 8);
        if sum != Some(checksum(self.salt, &self.buffer[body.clone()])) {
            return Ok(Step::Broken { ends: Some(next) });
        }
        self.body_at = self.at + PREFIX as u64;
        self.start = body.end;
        self.body = body;
        self.at = next;
        Ok(Step::Frame)
    }

    /// Has `size` bytes from the next frame's begin in the buffer; false if the file ends before.
    fn fill(&mut self, size: usize) -> io::Result<bool> {
        let have = self.buffer.len() - self.start;
        if have >= size {
            return Ok(true);
        }
        let read_at = self.at + have as u64;
        let left = usize::try_from(self.end.saturating_sub(read_at)).unwrap_or(usize::MAX);
        if left < size - have {
            return Ok(false);
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        self.body = 0..0;
        self.buffer.resize(have + left.min(self.chunk.max(size - have)), 0);
        self.file.read_exact_at(&mut self.buffer[have..], read_at)?;
        Ok(true)
    }
}

/// Whether a good frame of a revision after `after` begins anywhere behind the first of these bytes.
///
/// A torn write can only be the last thing in a journal, so a good frame behind a broken one means damage.
pub(crate) fn has_later(bytes: &[u8], salt: u32, after: u64) -> bool {
    let most = after.saturating_add(1 + bytes.len() as u64 / (PREFIX + FIXED) as u64);
    (1..bytes.len().saturating_sub(PREFIX + FIXED - 1)).any(|at| {
        let later = u64_at(bytes, at + PREFIX).is_some_and(|revision| revision > after && revision <= most);
        later && good_frame(bytes, at, salt).is_some()
    })
}

fn good_frame(bytes: &[u8], at: usize, salt: u32) -> Option<()> {
    let size = body_len(bytes.get(at..)?, salt)?;
    let body = bytes.get(at + PREFIX..(at + PREFIX).checked_add(size)?)?;
    (u32_at(bytes, at + 8)? == checksum(salt, body)).then_some(())
}
