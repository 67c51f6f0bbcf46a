//! Files of frames: a header that says what the file is, then frames.

use super::directory::Directory;
use super::frame::{self, Frames, Step, u32_at, u64_at};
use super::manifest::FORMAT;
use crate::StoreError;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const HEADER_SIZE: usize = 32;
pub(crate) const HEADER: u64 = HEADER_SIZE as u64;

/// A journal's file grows by this much at once. The new part is a hole and takes no space, but a commit that stays
/// within the file's size needs no change of that size to be flushed, which saves a third of its time.
const AHEAD: u64 = 4 << 20;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Journal,
    Snapshot,
}

impl Kind {
    fn magic(self) -> &'static [u8; 8] {
        match self {
            Self::Journal => b"WHARFJNL",
            Self::Snapshot => b"WHARFSNP",
        }
    }
}

/// An open file of frames.
pub(crate) struct FrameFile {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    kind: Kind,
    pub(crate) salt: u32,
    /// A journal's first revision, a snapshot's only one.
    pub(crate) revision: u64,
    /// Where the frames end.
    pub(crate) len: u64,
    /// The size of the file; from `len` on there are only zeros.
    size: u64,
}

impl FrameFile {
    /// A new file with nothing but its header, under its final name only after [`Directory::finish`].
    pub(crate) fn begin(
        directory: &Directory,
        kind: Kind,
        name: &str,
        revision: u64,
    ) -> Result<Self, StoreError> {
        let file = directory.begin(name)?;
        // The standard library's keys are random enough to tell files apart.
        let salt = u32::try_from(RandomState::new().build_hasher().finish() >> 32).unwrap_or(1);
        let mut header = [0; HEADER_SIZE];
        header[..8].copy_from_slice(kind.magic());
        header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        header[12..16].copy_from_slice(&salt.to_le_bytes());
        header[16..24].copy_from_slice(&revision.to_le_bytes());
        let sum = crc32fast::hash(&header[..28]);
        header[28..].copy_from_slice(&sum.to_le_bytes());
        let path = directory.file(name);
        file.write_all_at(&header, 0).map_err(|e| StoreError::io("write", &path, e))?;
        Ok(Self { path, file, kind, salt, revision, len: HEADER, size: HEADER })
    }

    /// Opens a file that the manifest lists.
    pub(crate) fn open(directory: &Path, kind: Kind, name: &str, revision: u64) -> Result<Self, StoreError> {
        let path = directory.join(name);
        let file = match OpenOptions::new().read(true).write(kind == Kind::Journal).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(StoreError::Missing { file: path });
            }
            Err(error) => return Err(StoreError::io("open", &path, error)),
        };
        let failed = |e| StoreError::io("read", &path, e);
        let len = file.metadata().map_err(failed)?.len();
        let mut header = [0; HEADER_SIZE];
        match file.read_exact_at(&mut header, 0) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return Err(StoreError::damaged(&path, len, "it ends within its header"));
            }
            other => other.map_err(failed)?,
        }
        let says = (u32_at(&header, 28), u64_at(&header, 16));
        if &header[..8] != kind.magic() || says != (Some(crc32fast::hash(&header[..28])), Some(revision)) {
            return Err(StoreError::damaged(&path, 0, "its header is not the one written there"));
        }
        let salt = u32_at(&header, 12).unwrap_or(0);
        Ok(Self { path, file, kind, salt, revision, len, size: len })
    }

    pub(crate) fn frames(&self) -> Frames<'_> {
        Frames::new(&self.file, self.salt, HEADER, self.len)
    }

    /// Appends bytes. After a failure some of them may be in the file, but `len` is as before.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let end = self.len + bytes.len() as u64;
        // Only a matter of speed: where it fails, the write tells what is wrong.
        if self.kind == Kind::Journal && end > self.size && self.file.set_len(end + AHEAD).is_ok() {
            self.size = end + AHEAD;
        }
        self.file.write_all_at(bytes, self.len)?;
        self.len = end;
        Ok(())
    }

    /// Ends the file where its frames end; durable on return.
    pub(crate) fn cut(&mut self, end: u64) -> io::Result<()> {
        self.len = end;
        self.size = end;
        self.file.set_len(end)?;
        self.file.sync_all()
    }

    pub(crate) fn failed(&self, action: &'static str, error: io::Error) -> StoreError {
        StoreError::io(action, &self.path, error)
    }
}

/// How a journal ends.
pub(crate) struct Tail {
    /// The last good revision; the one before the first if there is none.
    pub(crate) last: u64,
    /// Where the good frames end.
    pub(crate) end: u64,
    /// How many bytes of a torn frame follow.
    pub(crate) torn: u64,
}

/// Reads a journal through, gives each good frame's body with its place in the file, and finds its end.
///
/// Batches are written one after another, each only when the one before is durable. So only the very last may be
/// torn; a broken frame with something good behind it, or in a journal that is not the last, is damage.
pub(crate) fn scan(
    journal: &FrameFile,
    is_last: bool,
    mut each: impl FnMut(&[u8], u64) -> bool,
) -> Result<Tail, StoreError> {
    let mut frames = journal.frames();
    let mut expected = journal.revision;
    loop {
        let at = frames.at();
        let damaged = |what: &str| StoreError::damaged(&journal.path, at, what);
        match frames.next().map_err(|e| journal.failed("read", e))? {
            Step::End => return Ok(Tail { last: expected - 1, end: at, torn: 0 }),
            Step::Frame if frame::revision(frames.body()) != expected => {
                return Err(damaged("a batch is out of its order"));
            }
            Step::Frame => {
                if !each(frames.body(), frames.body_at()) {
                    return Err(damaged("a batch is not made as this build writes it"));
                }
                expected += 1;
            }
            Step::Broken { ends } => {
                let rest = Rest::read(journal, at).map_err(|e| journal.failed("read", e))?;
                let torn = rest.content();
                if torn > 0 && !is_last {
                    return Err(damaged("the checksum of a batch is wrong"));
                }
                let beyond = ends.is_some_and(|end| end < at + torn);
                if torn > 0 && (beyond || frame::has_later(&rest.0, journal.salt, expected)) {
                    return Err(damaged("the checksum of a batch is wrong, and others follow it"));
                }
                return Ok(Tail { last: expected - 1, end: at, torn });
            }
        }
    }
}

/// The bytes of a journal behind its last good frame.
struct Rest(Vec<u8>);

impl Rest {
    fn read(journal: &FrameFile, at: u64) -> io::Result<Self> {
        let mut bytes = vec![0; usize::try_from(journal.len - at).map_err(io::Error::other)?];
        journal.file.read_exact_at(&mut bytes, at)?;
        Ok(Self(bytes))
    }

    /// How many bytes there are up to the last one that is not zero.
    fn content(&self) -> u64 {
        self.0.iter().rposition(|&byte| byte != 0).map_or(0, |last| last as u64 + 1)
    }
}
