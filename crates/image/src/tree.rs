//! A directory tree that is written below one descriptor and never outside of it.

use crate::Error;
use rustix::fs::{
    self as unix, AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use tar::{EntryType, Header};

const OPAQUE_XATTR: &str = "trusted.overlay.opaque";
/// Implied parents get what Docker gives them.
const IMPLIED_MODE: u32 = 0o755;

/// Attributes of an entry.
#[derive(Clone, Debug)]
pub(crate) struct Meta {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds and nanoseconds since the epoch.
    pub(crate) mtime: (i64, i64),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The tree being written.
pub(crate) struct Tree {
    path: PathBuf,
    root: OwnedFd,
    /// The directory of the last entry: most entries follow a sibling.
    parent: Option<(PathBuf, OwnedFd)>,
    /// Directories' times, set at the end because writing into a directory changes them.
    times: Vec<(PathBuf, (i64, i64))>,
}

impl Tree {
    /// Makes the new directory `path` and a tree in it.
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        std::fs::create_dir(path).map_err(Error::io("create", path))?;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = unix::open(path, flags, Mode::empty()).map_err(|e| Error::io("open", path)(e.into()))?;
        unix::fchmod(&root, mode(IMPLIED_MODE)).map_err(|e| Error::io("open", path)(e.into()))?;
        Ok(Self { path: path.to_owned(), root, parent: None, times: Vec::new() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn root_meta(&mut self, meta: Meta) -> io::Result<()> {
        set_meta(self.root.as_fd(), &meta)?;
        self.times.push((PathBuf::from("."), meta.mtime));
        Ok(())
    }

    pub(crate) fn directory(&mut self, path: &Path, meta: Meta) -> io::Result<()> {
        let (parent, name) = self.place(path)?;
        let existing = kind(parent.as_fd(), name)?;
        if existing != Some(Kind::Directory) {
            let hides_lower = existing == Some(Kind::Whiteout);
            self.clear(path, existing)?;
            let (parent, name) = self.place(path)?;
            unix::mkdirat(parent, name, mode(0o700))?;
            if hides_lower {
                self.opaque(path)?;
            }
        }
        let (parent, name) = self.place(path)?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = unix::openat(parent, name, flags, Mode::empty())?;
        set_meta(directory.as_fd(), &meta)?;
        self.times.push((path.to_owned(), meta.mtime));
        Ok(())
    }

    pub(crate) fn file(
        &mut self,
        path: &Path,
        meta: &Meta,
        content: &mut impl Read,
        buffer: &mut [u8],
    ) -> io::Result<()> {
        let (parent, name) = self.vacate(path)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(unix::openat(parent, name, flags, mode(0o600))?);
        loop {
            match content.read(buffer) {
                Ok(0) => break,
                Ok(count) => file.write_all(&buffer[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        set_meta(file.as_fd(), meta)?;
        Ok(unix::futimens(&file, &timestamps(meta.mtime))?)
    }

    pub(crate) fn symlink(&mut self, path: &Path, meta: &Meta, target: &[u8]) -> io::Result<()> {
        let (parent, name) = self.vacate(path)?;
        unix::symlinkat(target, parent, name)?;
        unix::chownat(parent, name, uid(meta), gid(meta), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(unix::utimensat(parent, name, &timestamps(meta.mtime), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    pub(crate) fn hard_link(&mut self, path: &Path, target: &Path) -> io::Result<()> {
        let invalid = |why| {
            let text = format!("hard link to '{}', {why}", target.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let Some(target_name) = target.file_name() else { return Err(invalid("the root")) };
        if path == target {
            return Ok(());
        }
        let source = match self.open_below(target.parent().unwrap_or(Path::new(""))) {
            Err(Errno::NOENT) => return Err(invalid("which the layer does not hold")),
            other => other?,
        };
        match kind(source.as_fd(), target_name)? {
            None => return Err(invalid("which the layer does not hold")),
            Some(Kind::Directory) => return Err(invalid("a directory")),
            Some(_) => {}
        }
        let (parent, name) = self.vacate(path)?;
        Ok(unix::linkat(&source, target_name, parent, name, AtFlags::empty())?)
    }

    pub(crate) fn node(
        &mut self,
        path: &Path,
        meta: &Meta,
        entry: EntryType,
        header: &Header,
    ) -> io::Result<()> {
        let number = |read: io::Result<Option<u32>>| read.map(Option::unwrap_or_default);
        let device = match entry {
            EntryType::Fifo => 0,
            _ => unix::makedev(number(header.device_major())?, number(header.device_minor())?),
        };
        let file_type = match entry {
            EntryType::Fifo => FileType::Fifo,
            EntryType::Block => FileType::BlockDevice,
            _ => FileType::CharacterDevice,
        };
        let (parent, name) = self.vacate(path)?;
        unix::mknodat(parent, name, file_type, mode(0o600), device)?;
        unix::chownat(parent, name, uid(meta), gid(meta), AtFlags::SYMLINK_NOFOLLOW)?;
        // The node was made just now by us, so following is no danger; there is no way to refuse it here.
        unix::chmodat(parent, name, mode(meta.mode), AtFlags::empty())?;
        Ok(unix::utimensat(parent, name, &timestamps(meta.mtime), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Hides everything that lower layers have in a directory.
    pub(crate) fn opaque(&mut self, directory: &Path) -> io::Result<()> {
        let directory = reopen(&self.make_below(directory)?)?;
        Ok(unix::fsetxattr(&directory, OPAQUE_XATTR, b"y", XattrFlags::empty())?)
    }

    /// Hides one entry of lower layers. What this layer itself holds under the name stays (OCI image spec:
    /// whiteouts apply to lower layers only), but replaces a lower directory instead of merging with it.
    pub(crate) fn whiteout(&mut self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.place(path)?;
        match kind(parent.as_fd(), name)? {
            None => Ok(unix::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0)?),
            Some(Kind::Directory) => self.opaque(path),
            Some(Kind::Whiteout | Kind::Other) => Ok(()),
        }
    }

    /// Sets the directories' times, now that nothing more is written into them.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.parent = None;
        for (path, mtime) in std::mem::take(&mut self.times).into_iter().rev() {
            // A later entry may have replaced the directory.
            match self.open_below(&path) {
                Ok(directory) => unix::futimens(reopen(&directory)?, &timestamps(mtime))?,
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// The open parent directory of `path`, made if need be, and the last component.
    fn place<'a>(&mut self, path: &'a Path) -> io::Result<(BorrowedFd<'_>, &'a OsStr)> {
        let directory = path.parent().unwrap_or(Path::new(""));
        let Some(name) = path.file_name() else { return Err(io::ErrorKind::InvalidInput.into()) };
        if self.parent.as_ref().is_none_or(|(known, _)| known != directory) {
            let opened = self.make_below(directory)?;
            self.parent = Some((directory.to_owned(), opened));
        }
        match &self.parent {
            Some((_, opened)) => Ok((opened.as_fd(), name)),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Like `place`, with nothing there any more.
    fn vacate<'a>(&mut self, path: &'a Path) -> io::Result<(BorrowedFd<'_>, &'a OsStr)> {
        let (parent, name) = self.place(path)?;
        let existing = kind(parent.as_fd(), name)?;
        self.clear(path, existing)?;
        self.place(path)
    }

    fn clear(&mut self, path: &Path, existing: Option<Kind>) -> io::Result<()> {
        let Some(existing) = existing else { return Ok(()) };
        let (parent, name) = self.place(path)?;
        if existing == Kind::Directory {
            // The standard library walks by descriptors and follows no link.
            let target = Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string()).join(name);
            std::fs::remove_dir_all(target)?;
            self.parent = None;
        } else {
            unix::unlinkat(parent, name, AtFlags::empty())?;
        }
        Ok(())
    }

    /// Opens a directory below the root; a link that leads outside is an error (EXDEV).
    fn open_below(&self, directory: &Path) -> Result<OwnedFd, Errno> {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        unix::openat2(&self.root, directory, flags, Mode::empty(), resolve)
    }

    /// Opens a directory below the root and makes what is missing of it.
    fn make_below(&self, directory: &Path) -> io::Result<OwnedFd> {
        match self.open_below(directory) {
            Err(Errno::NOENT) => {}
            other => return Ok(other?),
        }
        let mut path = PathBuf::new();
        let mut opened = self.open_below(Path::new(""))?;
        for component in directory.components() {
            path.push(component);
            opened = match self.open_below(&path) {
                Err(Errno::NOENT) => {
                    unix::mkdirat(&opened, component.as_os_str(), mode(0o700))?;
                    let made = self.open_below(&path)?;
                    // Apart from the process's umask.
                    unix::fchmod(reopen(&made)?, mode(IMPLIED_MODE))?;
                    made
                }
                other => other?,
            };
        }
        Ok(opened)
    }
}

/// An O_PATH descriptor takes no attributes: opens the directory itself.
fn reopen(directory: &OwnedFd) -> io::Result<OwnedFd> {
    Ok(unix::openat(directory, ".", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Directory,
    Whiteout,
    Other,
}

fn kind(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<Option<Kind>> {
    match unix::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Directory,
            FileType::CharacterDevice if stat.st_rdev == 0 => Kind::Whiteout,
            _ => Kind::Other,
        })),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Owner before mode and attributes: changing the owner clears set-id bits and file capabilities.
fn set_meta(file: BorrowedFd<'_>, meta: &Meta) -> io::Result<()> {
    unix::fchown(file, uid(meta), gid(meta))?;
    unix::fchmod(file, mode(meta.mode))?;
    for (name, value) in &meta.xattrs {
        match unix::fsetxattr(file, name.as_slice(), value, XattrFlags::empty()) {
            // A file system without attributes of this kind still runs most images, as with Docker.
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn mode(bits: u32) -> Mode {
    Mode::from_raw_mode(bits)
}

fn uid(meta: &Meta) -> Option<Uid> {
    Some(Uid::from_raw(meta.uid))
}

fn gid(meta: &Meta) -> Option<Gid> {
    Some(Gid::from_raw(meta.gid))
}

fn timestamps((seconds, nanoseconds): (i64, i64)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    Timestamps { last_access: time, last_modification: time }
}
