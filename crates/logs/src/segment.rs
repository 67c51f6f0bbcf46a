//! Segment files: frames of one stream, with a sparse index by position and time in memory.

use crate::Error;
use crate::frame::{self, Batch, HEAD, MAGIC};
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Frames are indexed together until they take so many bytes.
const BLOCK: u64 = 64 << 10;

/// What is known of a segment without reading it.
#[derive(Debug)]
pub(crate) struct Segment {
    /// The position of its first event within the stream; names the file.
    pub(crate) first: u64,
    /// Bytes of the file.
    pub(crate) len: u64,
    /// When it was last written.
    pub(crate) written_at: i64,
    /// Set once the file has been read.
    pub(crate) index: Option<Index>,
}

/// What a segment holds.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) count: u64,
    pub(crate) first_ingested_at: i64,
    pub(crate) last_ingested_at: i64,
    pub(crate) blocks: Vec<Block>,
}

/// Some frames that follow each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(crate) offset: u64,
    pub(crate) len: u64,
    /// The position of the first event.
    pub(crate) position: u64,
    pub(crate) min: i64,
    pub(crate) max: i64,
}

/// A frame in the file, as far as the index must know it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) ingested_at: i64,
    /// The least and greatest time of its events, and how many they are.
    pub(crate) times: (i64, i64, u64),
}

impl Index {
    /// Takes in the next frame of the segment that begins at position `first`.
    pub(crate) fn add(&mut self, first: u64, frame: Written) {
        let Written { offset, len, ingested_at, times: (min, max, count) } = frame;
        if self.count == 0 {
            self.first_ingested_at = ingested_at;
        }
        self.last_ingested_at = ingested_at;
        match self.blocks.last_mut() {
            Some(block) if block.len + len <= BLOCK => {
                block.len += len;
                block.min = block.min.min(min);
                block.max = block.max.max(max);
            }
            _ => self.blocks.push(Block { offset, len, position: first + self.count, min, max }),
        }
        self.count += count;
    }

    pub(crate) fn min(&self) -> Option<i64> {
        self.blocks.iter().map(|block| block.min).min()
    }

    pub(crate) fn max(&self) -> Option<i64> {
        self.blocks.iter().map(|block| block.max).max()
    }
}

/// The file of a segment.
pub(crate) fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.seg"))
}

/// The first position that a file's name tells, if it is a segment's.
pub(crate) fn first_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".seg").filter(|digits| digits.len() == 20)?.parse().ok()
}

/// Reads a segment through. Also returns how many bytes are whole: what follows them was torn by a crash.
pub(crate) fn scan(path: &Path, first: u64) -> Result<(Index, u64), Error> {
    let mut index = Index::default();
    let file = File::open(path).map_err(Error::io("open", path))?;
    let mut reader = BufReader::with_capacity(256 << 10, file);
    let mut magic = [0; MAGIC.len()];
    if !fill(&mut reader, &mut magic, path)? || magic != *MAGIC {
        return Ok((index, 0));
    }
    let mut offset = MAGIC.len() as u64;
    let mut body = Vec::new();
    let mut head = [0; HEAD];
    while fill(&mut reader, &mut head, path)? {
        let Some(length) = frame::body_length(&head) else { break };
        body.resize(length, 0);
        if !fill(&mut reader, &mut body, path)? {
            break;
        }
        let Some(batch) = frame::decode(&head, &body) else { break };
        let len = (HEAD + length) as u64;
        let ingested_at = batch.ingested_at;
        index.add(first, Written { offset, len, ingested_at, times: times(batch.map(|(at, _)| at)) });
        offset += len;
    }
    Ok((index, offset))
}

/// The least and greatest time, and how many.
pub(crate) fn times(all: impl Iterator<Item = i64>) -> (i64, i64, u64) {
    all.fold((i64::MAX, i64::MIN, 0), |(min, max, count), at| (min.min(at), max.max(at), count + 1))
}

/// Fills the buffer; false if the file ends before.
fn fill(reader: &mut impl Read, buffer: &mut [u8], path: &Path) -> Result<bool, Error> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

/// Calls `each` with every batch of a block and the position of its first event.
pub(crate) fn visit(
    file: &File,
    path: &Path,
    block: Block,
    mut each: impl FnMut(u64, Batch<'_>),
) -> Result<(), Error> {
    let mut bytes = vec![0; usize::try_from(block.len).unwrap_or(0)];
    file.read_exact_at(&mut bytes, block.offset).map_err(Error::io("read", path))?;
    let (mut rest, mut position) = (bytes.as_slice(), block.position);
    while let Some((head, behind)) = rest.split_first_chunk::<HEAD>() {
        let Some(body) = frame::body_length(head).and_then(|length| behind.get(..length)) else { break };
        // Checked when it was written or scanned; damaged since then, it is left out.
        if let Some(batch) = frame::decode(head, body) {
            let count = u64::from(batch.count);
            each(position, batch);
            position += count;
        }
        rest = &behind[body.len()..];
    }
    Ok(())
}
