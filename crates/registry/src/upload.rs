//! Uploads: bytes that arrive in parts, are hashed as they come, and become a blob when their digest is right.

use crate::store::{discard, list};
use crate::{BlobStore, StoreError};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body;
use image::{Digest, Hasher};
use ring::rand::{SecureRandom, SystemRandom};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// ECR: every part but the last has at least 5 MiB.
const PART_MIN: u64 = 5 << 20;
/// Bytes that are handed to the writing thread at once.
const BATCH: usize = 512 << 10;
/// Batches that wait for the writing thread. Bounds the memory of an upload.
const QUEUE: usize = 2;
/// Longest silence within a body; a client that hangs must not keep the upload from its own next try.
const STALL: Duration = Duration::from_secs(120);
const READ_BUFFER: usize = 1 << 20;

/// An upload that this process has seen.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    /// None until the file has been read (after a restart) or when it is gone.
    state: Arc<Mutex<Option<State>>>,
}

#[derive(Debug, Default)]
struct State {
    hasher: Hasher,
    /// Size of the newest part of the layer upload API.
    last_part: Option<u64>,
    /// A part that is not the last was too small.
    short_part: bool,
}

/// A blob that an upload has become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completed {
    pub digest: Digest,
    pub size: u64,
}

/// Where a part belongs, as far as the client says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    pub(crate) first: Option<u64>,
    pub(crate) length: Option<u64>,
}

impl BlobStore {
    /// Begins an upload for `scope` (a repository's ARN); only the same scope can go on with it.
    pub fn begin_upload(&self, scope: &str) -> Result<String, StoreError> {
        let id = new_id()?;
        let path = self.upload_path(&file_name(scope, &id));
        File::create_new(&path).map_err(StoreError::io("create", &path))?;
        let upload = Upload { state: Arc::new(Mutex::new(Some(State::default()))) };
        self.active().insert(file_name(scope, &id), Arc::new(upload));
        Ok(id)
    }

    /// How many bytes an upload holds.
    pub async fn upload_length(&self, scope: &str, id: &str) -> Result<u64, StoreError> {
        let (guard, _) = self.lock(scope, id).await?;
        Ok(guard.as_ref().map_or(0, |state| state.hasher.length()))
    }

    /// Appends a body as it streams in. When the body breaks, what came of it stays, and the client may resume.
    pub(crate) async fn append<B>(
        &self,
        scope: &str,
        id: &str,
        place: Place,
        body: B,
    ) -> Result<u64, StoreError>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let (guard, path) = self.lock(scope, id).await?;
        let length = guard.as_ref().map_or(0, |state| state.hasher.length());
        if place.first.is_some_and(|first| first != length) {
            return Err(StoreError::InvalidPart { last_valid: length.checked_sub(1) });
        }
        if let (Some(expected), Some(actual)) = (place.length, body.size_hint().exact())
            && expected != actual
        {
            return Err(StoreError::PartLength { expected, actual });
        }
        let max = self.inner.settings.blob_bytes_max;
        let (batches, queue) = mpsc::channel(QUEUE);
        // The lock goes with the writer: when the client vanishes, this future is dropped, but whoever comes next
        // must wait until the last batch is written.
        let writer = tokio::task::spawn_blocking(move || write_batches(guard, queue, max, &path));
        let received = pump(body, batches).await;
        let written = writer.await.map_err(stopped)?;
        match written {
            Ok(written) => {
                received?;
                let actual = written - length;
                match place.length {
                    Some(expected) if expected != actual => Err(StoreError::PartLength { expected, actual }),
                    _ => Ok(written),
                }
            }
            Err(error) => {
                self.forget(scope, id);
                Err(error)
            }
        }
    }

    /// `UploadLayerPart` of the ECR API: bytes from `first` to `last`, both included. Answers the last byte received.
    pub async fn upload_part(
        &self,
        scope: &str,
        id: &str,
        (first, last): (u64, u64),
        bytes: Bytes,
    ) -> Result<u64, StoreError> {
        let expected = last.checked_sub(first).and_then(|span| span.checked_add(1)).unwrap_or(0);
        if expected == 0 || expected != bytes.len() as u64 {
            return Err(StoreError::PartLength { expected, actual: bytes.len() as u64 });
        }
        let place = Place { first: Some(first), length: Some(expected) };
        let length = self.append(scope, id, place, http_body_util::Full::new(bytes)).await?;
        if let (mut guard, _) = self.lock(scope, id).await?
            && let Some(state) = guard.as_mut()
        {
            state.short_part |= state.last_part.is_some_and(|size| size < PART_MIN);
            state.last_part = Some(expected);
        }
        Ok(length.saturating_sub(1))
    }

    /// `CompleteLayerUpload` of the ECR API: any of the digests may be the right one, and part sizes count.
    pub async fn complete_layer(
        &self,
        scope: &str,
        id: &str,
        digests: &[Digest],
    ) -> Result<Completed, StoreError> {
        let (guard, _) = self.lock(scope, id).await?;
        let (empty, short) =
            guard.as_ref().map_or((true, false), |state| (state.hasher.length() == 0, state.short_part));
        drop(guard);
        if empty {
            return Err(StoreError::EmptyUpload);
        }
        if short {
            return Err(StoreError::PartTooSmall);
        }
        self.complete(scope, id, digests).await
    }

    /// Ends an upload. With a digest that is none of the given ones nothing of it stays.
    pub async fn complete(&self, scope: &str, id: &str, digests: &[Digest]) -> Result<Completed, StoreError> {
        let (mut guard, path) = self.lock(scope, id).await?;
        let Some(state) = guard.take() else { return Err(StoreError::UploadNotFound(id.to_owned())) };
        let size = state.hasher.length();
        let digest = state.hasher.finish();
        let known = digests.contains(&digest);
        let store = self.clone();
        let published = tokio::task::spawn_blocking(move || {
            // As in `append`, the lock ends with the work.
            let _guard = guard;
            let published = if known {
                open(&path).and_then(|file| store.publish(&file, &path, digest))
            } else {
                Err(StoreError::DigestMismatch { actual: digest })
            };
            if published.is_err() {
                discard(&path);
            }
            published
        });
        let published = published.await.map_err(stopped)?;
        self.forget(scope, id);
        published.map(|()| Completed { digest, size })
    }

    /// Ends an upload without result.
    pub async fn cancel_upload(&self, scope: &str, id: &str) -> Result<(), StoreError> {
        let (mut guard, path) = self.lock(scope, id).await?;
        *guard = None;
        fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
        self.forget(scope, id);
        Ok(())
    }

    /// Removes uploads that nobody has written to for the time that the settings say. Answers how many.
    pub fn expire_uploads(&self, now: SystemTime) -> Result<usize, StoreError> {
        let mut removed = 0;
        for path in list(self.uploads_dir())? {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let modified = fs::metadata(&path).and_then(|metadata| metadata.modified());
            let age = modified.ok().and_then(|at| now.duration_since(at).ok()).unwrap_or_default();
            if age < self.inner.settings.upload_age_max {
                continue;
            }
            let upload = self.active().get(name).cloned();
            // Whoever holds the lock is at work on it.
            let lock = upload.as_ref().map(|upload| upload.state.try_lock());
            if matches!(lock, Some(Err(_))) {
                continue;
            }
            if let Some(Ok(mut state)) = lock {
                *state = None;
            }
            fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
            self.active().remove(name);
            removed += 1;
        }
        Ok(removed)
    }

    /// The upload, locked, with its state read from the file if need be.
    async fn lock(
        &self,
        scope: &str,
        id: &str,
    ) -> Result<(OwnedMutexGuard<Option<State>>, PathBuf), StoreError> {
        let unknown = || StoreError::UploadNotFound(id.to_owned());
        if !is_id(id) {
            return Err(unknown());
        }
        let name = file_name(scope, id);
        let path = self.upload_path(&name);
        let upload = {
            let mut active = self.active();
            match active.get(&name) {
                Some(upload) => Arc::clone(upload),
                None if path.exists() => Arc::clone(active.entry(name).or_default()),
                None => return Err(unknown()),
            }
        };
        let mut guard = Arc::clone(&upload.state).lock_owned().await;
        if guard.is_none() {
            let source = path.clone();
            let reopened = tokio::task::spawn_blocking(move || reopen(&source)).await;
            *guard = reopened.map_err(stopped)??;
        }
        // Another request may have ended the upload while this one waited.
        if guard.is_none() {
            self.forget(scope, id);
            return Err(unknown());
        }
        Ok((guard, path))
    }

    fn forget(&self, scope: &str, id: &str) {
        self.active().remove(&file_name(scope, id));
    }
}

/// Descriptors are kept open only while bytes come in: abandoned uploads cost nothing but their file.
fn open(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new().append(true).open(path).map_err(StoreError::io("open", path))
}

/// Reads the bytes of an earlier process again, because a hash in the middle cannot be stored.
fn reopen(path: &Path) -> Result<Option<State>, StoreError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("open", path)(error)),
    };
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; READ_BUFFER];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(StoreError::io("read", path)(error)),
        }
    }
    Ok(Some(State { hasher, ..State::default() }))
}

/// Hands a body's frames to the writer, many small ones at once. Ends early when the writer has failed.
async fn pump<B>(mut body: B, batches: mpsc::Sender<Vec<Bytes>>) -> Result<(), StoreError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let mut batch = Vec::new();
    let mut size = 0;
    let ended = loop {
        let frame = match tokio::time::timeout(STALL, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => break Err(StoreError::BodyBroken(error.into())),
            Ok(None) => break Ok(()),
            Err(elapsed) => break Err(StoreError::BodyBroken(elapsed.into())),
        };
        let Ok(data) = frame.into_data() else { continue };
        size += data.len();
        batch.push(data);
        if size >= BATCH {
            size = 0;
            if batches.send(std::mem::take(&mut batch)).await.is_err() {
                return Ok(());
            }
        }
    };
    if !batch.is_empty() && batches.send(batch).await.is_err() {
        return Ok(());
    }
    ended
}

/// Writes and hashes batches until there are no more; answers the upload's new length. On an error the upload is
/// removed: its bytes are not what was hashed.
fn write_batches(
    mut guard: OwnedMutexGuard<Option<State>>,
    mut queue: mpsc::Receiver<Vec<Bytes>>,
    max: u64,
    path: &Path,
) -> Result<u64, StoreError> {
    let Some(state) = guard.as_mut() else { return Ok(0) };
    let mut file = open(path)?;
    while let Some(batch) = queue.blocking_recv() {
        if let Err(error) = state.write(&mut file, &batch, max, path) {
            *guard = None;
            discard(path);
            return Err(error);
        }
    }
    Ok(state.hasher.length())
}

impl State {
    fn write(&mut self, file: &mut File, batch: &[Bytes], max: u64, path: &Path) -> Result<(), StoreError> {
        let size: u64 = batch.iter().map(|piece| piece.len() as u64).sum();
        if self.hasher.length() + size > max {
            return Err(StoreError::TooLarge { max });
        }
        let mut slices: Vec<IoSlice<'_>> = batch.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut rest = slices.as_mut_slice();
        while !rest.is_empty() {
            match file.write_vectored(rest) {
                Ok(0) => return Err(StoreError::io("write", path)(ErrorKind::WriteZero.into())),
                Ok(count) => IoSlice::advance_slices(&mut rest, count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(StoreError::io("write", path)(error)),
            }
        }
        for piece in batch {
            self.hasher.update(piece);
        }
        Ok(())
    }
}

/// A blocking piece of work that did not end: the runtime is shutting down, or it panicked.
fn stopped(error: tokio::task::JoinError) -> StoreError {
    StoreError::Io {
        action: "finish writing",
        path: PathBuf::from("an upload"),
        source: std::io::Error::other(error),
    }
}

/// The file's name binds the upload to its scope: with another repository's id there is no such file.
fn file_name(scope: &str, id: &str) -> String {
    let mut scope = Digest::of(scope.as_bytes()).hex();
    scope.truncate(24);
    format!("{id}.{scope}")
}

/// A random UUID: whoever knows it may write to the upload, if the repository allows it too.
pub(crate) fn new_id() -> Result<String, StoreError> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| {
        let nothing = std::io::Error::other("the system gives no randomness");
        StoreError::Io { action: "read", path: PathBuf::from("/dev/urandom"), source: nothing }
    })?;
    let bits = u128::from_be_bytes(bytes) & !(0xF << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

/// Ids come from paths: nothing but a UUID may reach the file system.
fn is_id(id: &str) -> bool {
    id.len() == 36 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-'))
}
