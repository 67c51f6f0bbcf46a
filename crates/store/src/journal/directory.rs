//! The data directory: its lock, its permissions, and files that appear in it whole or not at all.

use crate::StoreError;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

const LOCK: &str = "LOCK";
/// The end of the names of files that are not finished.
const UNFINISHED: &str = ".new";

/// A directory that this process alone uses, until it is dropped.
pub(crate) struct Directory {
    path: PathBuf,
    lock: File,
}

impl Directory {
    /// Makes the directory if need be and locks it.
    pub(crate) fn lock(path: &Path) -> Result<Self, StoreError> {
        make(path)?;
        let lock_path = path.join(LOCK);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(|e| StoreError::io("open the lock file", &lock_path, e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // The holder may be about to write its id; then the message goes without.
                let holder = match lock.read_to_string(&mut text) {
                    Ok(_) if !text.trim().is_empty() => format!("process {}", text.trim()),
                    _ => "another process".to_owned(),
                };
                return Err(StoreError::InUse { dir: path.to_path_buf(), holder });
            }
            Err(TryLockError::Error(e)) => return Err(StoreError::io("lock", &lock_path, e)),
        }
        // Only information for the next one who tries, so a full disk must not keep the store shut.
        let written = lock
            .set_len(0)
            .and_then(|()| lock.seek(SeekFrom::Start(0)))
            .and_then(|_| writeln!(lock, "{}", std::process::id()));
        if let Err(error) = written
            && error.kind() != io::ErrorKind::StorageFull
        {
            return Err(StoreError::io("write", &lock_path, error));
        }
        Ok(Self { path: path.to_path_buf(), lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// An error if the directory is no longer the one that was locked (removed, or replaced by another).
    pub(crate) fn still_ours(&self) -> Result<(), StoreError> {
        let path = self.file(LOCK);
        let ours = self.lock.metadata().map_err(|e| StoreError::io("look at", &path, e))?;
        let there = fs::metadata(&path).map_err(|e| StoreError::io("find the lock file", &path, e))?;
        if (ours.dev(), ours.ino()) == (there.dev(), there.ino()) {
            return Ok(());
        }
        let replaced = io::Error::other("the file was replaced while this process held it");
        Err(StoreError::io("keep the lock", &path, replaced))
    }

    /// Names of what is in the directory, but for the lock and what every file system's root has.
    pub(crate) fn names(&self) -> Result<Vec<String>, StoreError> {
        let failed = |e| StoreError::io("list", &self.path, e);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            if name != LOCK && name != "lost+found" {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Whether a name is that of a file which was not finished, and so counts for nothing.
    pub(crate) fn is_unfinished(name: &str) -> bool {
        name.ends_with(UNFINISHED)
    }

    /// A new file, invisible under its name until [`Directory::finish`].
    pub(crate) fn begin(&self, name: &str) -> Result<File, StoreError> {
        let path = self.file(&format!("{name}{UNFINISHED}"));
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| StoreError::io("create", &path, e))
    }

    /// Makes the file durable and gives it its name.
    pub(crate) fn finish(&self, name: &str, file: &File) -> Result<(), StoreError> {
        let (from, to) = (self.file(&format!("{name}{UNFINISHED}")), self.file(name));
        file.sync_all().map_err(|e| StoreError::io("flush", &from, e))?;
        fs::rename(&from, &to).map_err(|e| StoreError::io("rename", &from, e))?;
        sync_directory(&self.path)
    }

    /// Forgets a file that was begun.
    pub(crate) fn abandon(&self, name: &str) {
        // What stays behind counts for nothing and goes at the next start.
        drop(fs::remove_file(self.file(&format!("{name}{UNFINISHED}"))));
    }

    pub(crate) fn remove(&self, name: &str) -> Result<(), StoreError> {
        let path = self.file(name);
        fs::remove_file(&path).map_err(|e| StoreError::io("remove", &path, e))
    }

    /// Keeps others from reading: records may hold secrets.
    pub(crate) fn make_private(&self) -> Result<(), StoreError> {
        fs::set_permissions(&self.path, Permissions::from_mode(0o700))
            .map_err(|e| StoreError::io("make private", &self.path, e))
    }
}

fn make(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| StoreError::io("create the directory", path, e))?;
    match path.canonicalize().ok().as_deref().and_then(Path::parent) {
        Some(parent) => sync_directory(parent),
        None => Ok(()),
    }
}

fn sync_directory(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|e| StoreError::io("flush the directory", path, e))
}
