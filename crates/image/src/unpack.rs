//! Unpacks one layer's tar stream into a directory that overlayfs takes as a lower directory.
//!
//! A layer is written by a stranger and unpacked by root. Every path is therefore resolved by the kernel below the
//! tree's own descriptor (`openat2` with `RESOLVE_BENEATH`), so that neither `..`, nor an absolute name, nor a
//! symbolic link that an earlier entry planted can lead outside; each layer has a tree of its own, so that links in
//! lower layers are not even seen.

use crate::store::now_ms;
use crate::tree::{Meta, Tree};
use crate::{Digest, Error, Hasher};
use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::StreamingDecoder;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use tar::{Archive, Entry, EntryType};

const BUFFER: usize = 256 << 10;
/// Prefix of the marker files by which a layer removes what lower layers hold (OCI image spec, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Other marker files of AUFS, which Docker leaves out too.
const AUFS_PRIVATE: &[u8] = b".wh..wh.";

/// What unpacking found out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unpacked {
    /// Digest of the uncompressed stream.
    pub(crate) diff_id: Digest,
    /// Bytes of the uncompressed stream.
    pub(crate) size: u64,
}

/// Unpacks `source` (tar, gzip or zstd, told apart by the first bytes) into the new directory `target`.
/// On an error the caller removes `target`. `layer` only names the layer in errors.
pub(crate) fn unpack(layer: Digest, source: impl Read, target: &Path) -> Result<Unpacked, Error> {
    let damaged = |error: io::Error| damaged_or_full(layer, target, error);
    let mut hashing = HashingReader { inner: decompress(source).map_err(damaged)?, hasher: Hasher::new() };
    let mut unpacking = Unpacking { layer, tree: Tree::create(target)?, buffer: vec![0; BUFFER] };
    let mut archive = Archive::new(&mut hashing);
    for entry in archive.entries().map_err(damaged)? {
        unpacking.entry(entry.map_err(damaged)?)?;
    }
    unpacking.tree.finish().map_err(|error| damaged_or_full(layer, target, error))?;
    // The digest covers what follows the archive's end marker too.
    io::copy(&mut hashing, &mut io::sink()).map_err(damaged)?;
    let size = hashing.hasher.length();
    Ok(Unpacked { diff_id: hashing.hasher.finish(), size })
}

fn decompress<'a>(source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut source = BufReader::with_capacity(BUFFER, source);
    let start = source.fill_buf()?;
    Ok(match start {
        [0x1F, 0x8B, ..] => Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(source))),
        [0x28, 0xB5, 0x2F, 0xFD, ..] | [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..] => {
            Box::new(BufReader::with_capacity(BUFFER, ZstdFrames { source: Some(source), frame: None }))
        }
        _ => Box::new(source),
    })
}

/// Decodes zstd frames one after another and skips skippable ones (`zstd:chunked` puts its index there).
struct ZstdFrames<R: BufRead> {
    source: Option<R>,
    frame: Option<StreamingDecoder<R, ruzstd::decoding::FrameDecoder>>,
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(frame) = &mut self.frame {
                let count = frame.read(buffer)?;
                if count > 0 || buffer.is_empty() {
                    return Ok(count);
                }
                self.source = self.frame.take().map(StreamingDecoder::into_inner);
            }
            let Some(mut source) = self.source.take() else { return Ok(0) };
            let start = source.fill_buf()?;
            if start.is_empty() {
                return Ok(0);
            }
            if matches!(start[0], 0x50..=0x5F) {
                skip_frame(&mut source)?;
                self.source = Some(source);
                continue;
            }
            self.frame = Some(StreamingDecoder::new(source).map_err(io::Error::other)?);
        }
    }
}

fn skip_frame(source: &mut impl Read) -> io::Result<()> {
    let mut header = [0; 8];
    source.read_exact(&mut header)?;
    if header[1..4] != [0x2A, 0x4D, 0x18] {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no zstd frame"));
    }
    let length = u64::from(u32::from_le_bytes([header[4], header[5], header[6], header[7]]));
    let skipped = io::copy(&mut source.take(length), &mut io::sink())?;
    if skipped == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Hashes what is read through it.
struct HashingReader<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

/// The layer being unpacked.
struct Unpacking {
    layer: Digest,
    tree: Tree,
    buffer: Vec<u8>,
}

impl Unpacking {
    fn entry<R: Read>(&mut self, mut entry: Entry<'_, R>) -> Result<(), Error> {
        let name = entry.path_bytes().into_owned();
        let path = self.inside(&name, &name)?;
        let meta = self.meta(&mut entry, &name)?;
        let Some(file_name) = path.file_name() else {
            // `./` sets the attributes of the root.
            return if entry.header().entry_type().is_dir() {
                self.tree.root_meta(meta).map_err(|error| self.failed(&name, error))
            } else {
                Err(self.refused(&name, "only a directory can be the root"))
            };
        };
        if file_name.as_bytes().starts_with(WHITEOUT) {
            return self.whiteout(&path, &name);
        }
        let done = match entry.header().entry_type() {
            EntryType::Directory => self.tree.directory(&path, meta),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let (tree, buffer) = (&mut self.tree, &mut self.buffer);
                tree.file(&path, &meta, &mut entry, buffer)
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                self.tree.symlink(&path, &meta, &target)
            }
            EntryType::Link => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                let target = self.inside(&target, &name)?;
                self.tree.hard_link(&path, &target)
            }
            kind @ (EntryType::Char | EntryType::Block | EntryType::Fifo) => {
                self.tree.node(&path, &meta, kind, entry.header())
            }
            // Global PAX headers carry nothing that a file system could keep.
            EntryType::XGlobalHeader => Ok(()),
            _ => return Err(self.damaged(&name, "its type is unknown")),
        };
        done.map_err(|error| self.failed(&name, error))
    }

    /// The entry's path below the root. A leading `/` means the root of the layer, as in Docker; `..` is refused.
    fn inside(&self, path: &[u8], entry: &[u8]) -> Result<PathBuf, Error> {
        if path.contains(&0) {
            return Err(self.refused(entry, "a path cannot hold a NUL byte"));
        }
        let mut inside = PathBuf::new();
        for component in Path::new(std::ffi::OsStr::from_bytes(path)).components() {
            match component {
                Component::Normal(name) => inside.push(name),
                Component::CurDir | Component::RootDir => {}
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(self.refused(entry, "'..' leads out of the layer"));
                }
            }
        }
        Ok(inside)
    }

    fn whiteout(&mut self, path: &Path, name: &[u8]) -> Result<(), Error> {
        let marker = path.file_name().unwrap_or_default().as_bytes();
        let parent = path.parent().unwrap_or(Path::new(""));
        let done = if marker == OPAQUE {
            self.tree.opaque(parent)
        } else if marker.starts_with(AUFS_PRIVATE) {
            Ok(())
        } else {
            let hidden = &marker[WHITEOUT.len()..];
            if matches!(hidden, b"" | b"." | b"..") {
                return Err(self.refused(name, "a whiteout must name an entry of its own directory"));
            }
            self.tree.whiteout(&parent.join(std::ffi::OsStr::from_bytes(hidden)))
        };
        done.map_err(|error| self.failed(name, error))
    }

    fn meta<R: Read>(&self, entry: &mut Entry<'_, R>, name: &[u8]) -> Result<Meta, Error> {
        let header = entry.header();
        let number = |read: io::Result<u64>| {
            read.ok()
                .and_then(|id| u32::try_from(id).ok())
                .ok_or_else(|| self.damaged(name, "its owner is no number"))
        };
        let seconds = header.mtime().unwrap_or_default();
        let mut meta = Meta {
            mode: header.mode().map_err(|_| self.damaged(name, "its mode is no number"))? & 0o7777,
            uid: number(header.uid())?,
            gid: number(header.gid())?,
            // Some builders write dates that do not fit; the time of unpacking is as good.
            mtime: (i64::try_from(seconds).unwrap_or_else(|_| now_ms() / 1000), 0),
            xattrs: Vec::new(),
        };
        let Ok(Some(extensions)) = entry.pax_extensions() else { return Ok(meta) };
        for extension in extensions {
            let Ok(extension) = extension else {
                return Err(self.damaged(name, "its PAX header is malformed"));
            };
            let key = extension.key_bytes();
            if key == b"mtime" {
                meta.mtime = pax_time(extension.value_bytes()).unwrap_or(meta.mtime);
            } else if let Some(xattr) = key.strip_prefix(b"SCHILY.xattr.")
                && is_kept_xattr(xattr)
            {
                meta.xattrs.push((xattr.to_vec(), extension.value_bytes().to_vec()));
            }
        }
        Ok(meta)
    }

    fn refused(&self, entry: &[u8], problem: &'static str) -> Error {
        Error::UnsafeEntry { layer: self.layer, entry: String::from_utf8_lossy(entry).into_owned(), problem }
    }

    fn damaged(&self, entry: &[u8], problem: &str) -> Error {
        let problem = format!("entry '{}': {problem}", String::from_utf8_lossy(entry));
        Error::DamagedLayer { layer: self.layer, problem, source: None }
    }

    fn failed(&self, entry: &[u8], error: io::Error) -> Error {
        // EXDEV and ELOOP are what openat2 answers when a path would leave the tree.
        match rustix::io::Errno::from_io_error(&error) {
            Some(rustix::io::Errno::XDEV | rustix::io::Errno::LOOP) => {
                self.refused(entry, "a symbolic link on its path leads out of the layer")
            }
            Some(rustix::io::Errno::NOSYS) => Error::KernelTooOld,
            Some(rustix::io::Errno::PERM) => Error::NotPermitted("setting owners and making device files"),
            _ => {
                let name = String::from_utf8_lossy(entry);
                damaged_or_full(self.layer, &self.tree.path().join(&*name), error)
            }
        }
    }
}

/// Only attributes that mean something inside a container: `trusted.overlay.*` would steer overlayfs itself.
fn is_kept_xattr(name: &[u8]) -> bool {
    name == b"security.capability" || name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_")
}

/// `seconds[.fraction]` of a PAX header as seconds and nanoseconds.
fn pax_time(value: &[u8]) -> Option<(i64, i64)> {
    let text = std::str::from_utf8(value).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut nanoseconds = fraction.get(..fraction.len().min(9))?.to_owned();
    while nanoseconds.len() < 9 {
        nanoseconds.push('0');
    }
    let (seconds, nanoseconds): (i64, i64) = (seconds.parse().ok()?, nanoseconds.parse().ok()?);
    // Before the epoch the fraction counts backwards.
    if text.starts_with('-') && nanoseconds > 0 {
        return Some((seconds - 1, 1_000_000_000 - nanoseconds));
    }
    Some((seconds, nanoseconds))
}

fn damaged_or_full(layer: Digest, path: &Path, error: io::Error) -> Error {
    if crate::error::is_disk_full(&error) {
        return Error::DiskFull(path.to_owned());
    }
    Error::DamagedLayer {
        layer,
        problem: format!("unpacking to {} failed", path.display()),
        source: Some(error),
    }
}

#[cfg(test)]
mod tests;
