//! Blobs on a directory: `blobs/sha256/ab/<hex>`, and uploads on their way there.

use crate::StoreError;
use crate::upload::{self, Upload};
use image::{BlobSource, Digest};
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// ECR's largest layer: 52,000 MiB.
const BLOB_BYTES_MAX: u64 = 52_000 << 20;
const UPLOAD_AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Prefix of files in `uploads` that are no uploads and mean nothing after a restart.
const TEMPORARY: &str = "tmp-";

/// What an operator may set.
#[derive(Clone, Copy, Debug)]
pub struct StoreSettings {
    pub blob_bytes_max: u64,
    /// Uploads that nobody has touched for so long are removed by `expire_uploads`.
    pub upload_age_max: Duration,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self { blob_bytes_max: BLOB_BYTES_MAX, upload_age_max: UPLOAD_AGE_MAX }
    }
}

/// The bytes of all repositories. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BlobStore {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    blobs: PathBuf,
    uploads: PathBuf,
    pub(crate) settings: StoreSettings,
    /// Uploads that have been asked about since the start, by their file name.
    active: Mutex<HashMap<String, Arc<Upload>>>,
    /// Held while a blob appears, is renewed, or is collected, so that the collector's last look at a blob's age
    /// and its removal are one step.
    pub(crate) publishing: Mutex<()>,
}

/// A blob in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredBlob {
    pub digest: Digest,
    pub size: u64,
    /// When it was last pushed, mounted or named by a new manifest.
    pub renewed_at: SystemTime,
}

impl BlobStore {
    /// Opens or makes the store in `dir`.
    pub fn open(dir: impl AsRef<Path>, settings: StoreSettings) -> Result<Self, StoreError> {
        let dir = dir.as_ref();
        let (blobs, uploads) = (dir.join("blobs").join("sha256"), dir.join("uploads"));
        for path in [&blobs, &uploads] {
            fs::create_dir_all(path).map_err(StoreError::io("create", path))?;
        }
        for path in list(&uploads)? {
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY)) {
                fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
            }
        }
        let inner =
            Inner { blobs, uploads, settings, active: Mutex::default(), publishing: Mutex::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The blob's bytes and size.
    pub fn blob(&self, digest: Digest) -> Result<Option<(File, u64)>, StoreError> {
        let path = self.path(digest);
        match File::open(&path) {
            Ok(file) => {
                let size = file.metadata().map_err(StoreError::io("read", &path))?.len();
                Ok(Some((file, size)))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("open", &path)(error)),
        }
    }

    /// The blob's size, if it is here.
    pub fn size(&self, digest: Digest) -> Result<Option<u64>, StoreError> {
        let path = self.path(digest);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("look at", &path)(error)),
        }
    }

    /// A small blob whole: a manifest, a configuration. None if it is not here or larger than `max`.
    pub fn read(&self, digest: Digest, max: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let Some((file, size)) = self.blob(digest)? else { return Ok(None) };
        if size > max {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        file.take(max).read_to_end(&mut bytes).map_err(StoreError::io("read", &self.path(digest)))?;
        Ok(Some(bytes))
    }

    /// Keeps a small blob, durably: a manifest.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        if self.renew(digest)?.is_some() {
            return Ok(digest);
        }
        let path = self.inner.uploads.join(format!("{TEMPORARY}{}", upload::new_id()?));
        let written = self.write_and_publish(&path, bytes, digest);
        if written.is_err() {
            discard(&path);
        }
        written.map(|()| digest)
    }

    fn write_and_publish(&self, path: &Path, bytes: &[u8], digest: Digest) -> Result<(), StoreError> {
        let create = OpenOptions::new().write(true).create_new(true).open(path);
        let mut file = create.map_err(StoreError::io("create", path))?;
        file.write_all(bytes).map_err(StoreError::io("write", path))?;
        self.publish(&file, path, digest)
    }

    /// Makes a finished file durable under its digest's name: bytes first, then the name.
    pub(crate) fn publish(&self, file: &File, path: &Path, digest: Digest) -> Result<(), StoreError> {
        file.sync_data().map_err(StoreError::io("write back", path))?;
        let target = self.path(digest);
        let folder = target.parent().unwrap_or(&self.inner.blobs);
        if !folder.exists() {
            fs::create_dir_all(folder).map_err(StoreError::io("create", folder))?;
            sync_dir(&self.inner.blobs)?;
        }
        {
            let _publishing = self.publishing();
            // Age counts from now: the bytes may have been hours on their way.
            touch(file).map_err(StoreError::io("touch", path))?;
            fs::rename(path, &target).map_err(StoreError::io("publish", &target))?;
        }
        sync_dir(folder)
    }

    /// Keeps a blob from the collector for another grace period; answers its size, if it is here.
    pub fn renew(&self, digest: Digest) -> Result<Option<u64>, StoreError> {
        let _publishing = self.publishing();
        let Some((file, size)) = self.blob(digest)? else { return Ok(None) };
        touch(&file).map_err(StoreError::io("touch", &self.path(digest)))?;
        Ok(Some(size))
    }

    /// Every blob of the store.
    pub fn blobs(&self) -> Result<Vec<StoredBlob>, StoreError> {
        let mut found = Vec::new();
        for folder in list(&self.inner.blobs)? {
            for path in list(&folder)? {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let Ok(digest) = Digest::from_hex(name) else { continue };
                match fs::metadata(&path).and_then(|m| Ok((m.len(), m.modified()?))) {
                    Ok((size, renewed_at)) => found.push(StoredBlob { digest, size, renewed_at }),
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(StoreError::io("look at", &path)(error)),
                }
            }
        }
        Ok(found)
    }

    /// Where a blob lies, or would lie.
    pub fn path(&self, digest: Digest) -> PathBuf {
        let hex = digest.hex();
        self.inner.blobs.join(&hex[..2]).join(hex)
    }

    pub(crate) fn upload_path(&self, name: &str) -> PathBuf {
        self.inner.uploads.join(name)
    }

    pub(crate) fn uploads_dir(&self) -> &Path {
        &self.inner.uploads
    }

    pub(crate) fn active(&self) -> MutexGuard<'_, HashMap<String, Arc<Upload>>> {
        self.inner.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn publishing(&self) -> MutexGuard<'_, ()> {
        self.inner.publishing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlobSource for BlobStore {
    fn open(&self, digest: Digest) -> Option<File> {
        self.blob(digest).ok().flatten().map(|(file, _)| file)
    }
}

fn touch(file: impl AsFd) -> std::io::Result<()> {
    let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    let times = rustix::fs::Timestamps { last_access: now, last_modification: now };
    Ok(rustix::fs::futimens(file, &times)?)
}

fn sync_dir(path: &Path) -> Result<(), StoreError> {
    let directory = File::open(path).map_err(StoreError::io("open", path))?;
    directory.sync_all().map_err(StoreError::io("write back", path))
}

pub(crate) fn list(path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let read = fs::read_dir(path).map_err(StoreError::io("list", path))?;
    read.map(|entry| entry.map(|e| e.path()).map_err(StoreError::io("list", path))).collect()
}

/// Removes a file that failed; the failure itself is what the caller reports.
pub(crate) fn discard(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "a failed upload could not be removed");
    }
}
