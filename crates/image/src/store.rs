//! The machine's content store: image records, small blobs, and unpacked layers ready for overlayfs.

use crate::unpack::unpack;
use crate::{Digest, Error, ImageConfig, Reference};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Hex digits of a digest in a layer's directory name. Short, because all lower directories of a container must
/// fit into one page of mount options; the full digest stands in `layer.json` and is compared.
const NAME_LEN: usize = 24;
/// Where each layer's tree lies below its directory.
const TREE: &str = "fs";
const LAYER_RECORD: &str = "layer.json";
const DURABLE: &str = "durable";
const EMPTY_LAYER: &str = "empty";
/// Longer than the kernel keeps dirty pages (30 s by default), so that writing back finds little to do and does not
/// hold up others who wait for the same disk.
const SETTLE_AFTER: Duration = Duration::from_secs(60);

/// A directory of image content that all containers of this machine share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ContentStore {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    dir: PathBuf,
    layers: PathBuf,
    boot_id: String,
    temporary: AtomicU64,
    state: Mutex<State>,
    /// Held for as long as the store lives; the kernel releases it with the process.
    _lock: File,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// How many living values need a blob or layer.
    pub(crate) pins: HashMap<Digest, usize>,
    /// One lock a layer that is being fetched, so that it is fetched once.
    pub(crate) unpacking: HashMap<Digest, Weak<tokio::sync::Mutex<()>>>,
}

/// What the store remembers of an image under one reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// The full reference, as `Reference` displays it.
    pub reference: String,
    /// What the registry answered for the reference: an index's digest if it is one.
    pub digest: Digest,
    /// The manifest of this machine's platform.
    pub manifest_digest: Digest,
    pub config_digest: Digest,
    /// Digests of the unpacked layers, lowest first.
    pub diff_ids: Vec<Digest>,
    /// Bytes of configuration and layers as the registry holds them.
    pub size: u64,
    /// Milliseconds since the epoch.
    pub pulled_at_ms: i64,
    pub last_used_at_ms: i64,
}

/// An image whose content is complete on this machine. While a clone lives, the collector leaves it alone.
#[derive(Clone, Debug)]
pub struct StoredImage {
    pub record: ImageRecord,
    pub config: Arc<ImageConfig>,
    lowerdirs: Vec<PathBuf>,
    _pin: Arc<Pin>,
}

impl StoredImage {
    /// Directories for overlayfs' `lowerdir`, topmost first, never empty.
    pub fn lowerdirs(&self) -> &[PathBuf] {
        &self.lowerdirs
    }
}

/// A note on disk that something outside this process needs an image: a container, by its id.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Hold {
    pub(crate) holder: String,
    pub(crate) image: ImageRecord,
}

/// What is known of an unpacked layer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    pub(crate) diff_id: Digest,
    /// Bytes of the uncompressed tar stream.
    pub(crate) size: u64,
    /// The boot in which it was unpacked: until `durable` exists beside it, a power cut may have torn its files.
    pub(crate) boot_id: String,
}

/// Keeps digests from the collector until dropped.
#[derive(Debug)]
pub(crate) struct Pin {
    inner: Arc<Inner>,
    digests: Vec<Digest>,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        for digest in &self.digests {
            if let Some(count) = state.pins.get_mut(digest) {
                *count -= 1;
                if *count == 0 {
                    state.pins.remove(digest);
                }
            }
        }
    }
}

impl Inner {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the maps whole, so a panic elsewhere does not spoil them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ContentStore {
    /// Opens or makes the store in `dir`, drops what a crash left half-made, and locks it for this process.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, Error> {
        let dir = dir.as_ref();
        make_dir(dir)?;
        // Mount options and records want absolute paths.
        let dir = fs::canonicalize(dir).map_err(Error::io("find", dir))?;
        let lock = lock(&dir)?;
        let temporary = dir.join("tmp");
        remove_tree(&temporary)?;
        let layers = dir.join("layers");
        for sub in [&temporary, &layers, &dir.join("blobs"), &dir.join("images"), &dir.join("holds")] {
            make_dir(sub)?;
        }
        make_dir(&layers.join(EMPTY_LAYER).join(TREE))?;
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map_err(Error::io("read", Path::new("/proc/sys/kernel/random/boot_id")))?;
        let store = Self {
            inner: Arc::new(Inner {
                dir,
                layers,
                boot_id: boot_id.trim().to_owned(),
                temporary: AtomicU64::new(0),
                state: Mutex::default(),
                _lock: lock,
            }),
        };
        store.drop_doubtful_layers()?;
        Ok(store)
    }

    /// The directory below which all layers lie. A driver that mounts with this as its working directory may use
    /// the shorter relative names.
    pub fn layers_dir(&self) -> &Path {
        &self.inner.layers
    }

    /// The image under a reference, if an earlier pull brought it and nothing of it is gone.
    pub fn find(&self, reference: &Reference) -> Result<Option<StoredImage>, Error> {
        match self.read_json::<ImageRecord>(&self.image_path(&reference.to_string()))? {
            Some(record) if record.reference == reference.to_string() => self.load(record),
            _ => Ok(None),
        }
    }

    /// All image records, in the order of their references.
    pub fn images(&self) -> Result<Vec<ImageRecord>, Error> {
        let mut records: Vec<ImageRecord> = self.read_all("images")?;
        records.sort_by(|a, b| a.reference.cmp(&b.reference));
        Ok(records)
    }

    /// Forgets the image under a reference; its layers go at the next `collect` if nothing else needs them.
    /// Answers whether there was one.
    pub fn remove(&self, reference: &Reference) -> Result<bool, Error> {
        remove_file(&self.image_path(&reference.to_string()))
    }

    /// Keeps an image until `release(holder)`, over restarts too, and counts as a use of it.
    pub fn hold(&self, holder: &str, image: &StoredImage) -> Result<(), Error> {
        let hold = Hold { holder: holder.to_owned(), image: image.record.clone() };
        self.write_json(&self.hold_path(holder), &hold)?;
        let path = self.image_path(&image.record.reference);
        if let Some(mut record) = self.read_json::<ImageRecord>(&path)? {
            record.last_used_at_ms = now_ms();
            self.write_json(&path, &record)?;
        }
        Ok(())
    }

    /// Undoes `hold`. Answers whether there was one.
    pub fn release(&self, holder: &str) -> Result<bool, Error> {
        remove_file(&self.hold_path(holder))
    }

    /// The image that a holder keeps.
    pub fn held(&self, holder: &str) -> Result<Option<StoredImage>, Error> {
        match self.read_json::<Hold>(&self.hold_path(holder))? {
            Some(hold) if hold.holder == holder => self.load(hold.image),
            _ => Ok(None),
        }
    }

    /// Everyone who keeps an image, for a driver that looks for leftovers.
    pub fn holders(&self) -> Result<Vec<String>, Error> {
        let mut holders: Vec<String> =
            self.read_all::<Hold>("holds")?.into_iter().map(|hold| hold.holder).collect();
        holders.sort();
        Ok(holders)
    }

    /// Writes the record of a pulled image whose content is complete.
    pub(crate) fn record(&self, record: ImageRecord) -> Result<StoredImage, Error> {
        self.write_json(&self.image_path(&record.reference), &record)?;
        let reference = record.reference.clone();
        self.load(record)?.ok_or_else(|| Error::Io {
            action: "find the layers just unpacked for",
            path: PathBuf::from(reference),
            source: ErrorKind::NotFound.into(),
        })
    }

    /// Completes a record with its configuration and directories; nothing if content is missing.
    fn load(&self, record: ImageRecord) -> Result<Option<StoredImage>, Error> {
        let mut needed = record.diff_ids.clone();
        needed.extend([record.config_digest, record.manifest_digest]);
        let pin = Arc::new(self.pin(needed));
        let Some(config) = self.blob(record.config_digest)? else { return Ok(None) };
        let mut lowerdirs: Vec<PathBuf> = Vec::with_capacity(record.diff_ids.len());
        for diff_id in record.diff_ids.iter().rev() {
            let Some(tree) = self.layer(*diff_id)? else { return Ok(None) };
            // overlayfs refuses the same directory twice, and everything that the deeper of two equal layers
            // holds is hidden by the higher one.
            if !lowerdirs.contains(&tree) {
                lowerdirs.push(tree);
            }
        }
        if lowerdirs.is_empty() {
            lowerdirs.push(self.inner.layers.join(EMPTY_LAYER).join(TREE));
        }
        let config = Arc::new(ImageConfig::parse(&config)?);
        Ok(Some(StoredImage { record, config, lowerdirs, _pin: pin }))
    }

    /// Keeps digests from the collector until the pin is dropped.
    pub(crate) fn pin(&self, digests: Vec<Digest>) -> Pin {
        let mut state = self.inner.state();
        for digest in &digests {
            *state.pins.entry(*digest).or_default() += 1;
        }
        Pin { inner: Arc::clone(&self.inner), digests }
    }

    /// The tree of an unpacked layer, if it is here.
    pub(crate) fn layer(&self, diff_id: Digest) -> Result<Option<PathBuf>, Error> {
        let dir = self.layer_dir(diff_id);
        let Some(record) = self.read_json::<LayerRecord>(&dir.join(LAYER_RECORD))? else { return Ok(None) };
        if record.diff_id != diff_id {
            let problem = format!("its directory {} belongs to layer {}", dir.display(), record.diff_id);
            return Err(Error::DamagedLayer { layer: diff_id, problem, source: None });
        }
        Ok(Some(dir.join(TREE)))
    }

    /// The lock under which a layer is fetched.
    pub(crate) fn layer_lock(&self, diff_id: Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut state = self.inner.state();
        if let Some(lock) = state.unpacking.get(&diff_id).and_then(Weak::upgrade) {
            return lock;
        }
        state.unpacking.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        state.unpacking.insert(diff_id, Arc::downgrade(&lock));
        lock
    }

    /// Unpacks a layer and moves it to its place; nothing stays behind on failure. `blob` is the layer's digest as
    /// the registry holds it.
    pub(crate) fn unpack_layer(&self, blob: Digest, diff_id: Digest, source: File) -> Result<PathBuf, Error> {
        let staging = self.temporary();
        make_dir(&staging)?;
        let unpacked = unpack(blob, source, &staging.join(TREE)).and_then(|unpacked| {
            diff_id.expect(unpacked.diff_id)?;
            self.publish_layer(&staging, diff_id, unpacked.size)
        });
        if unpacked.is_err()
            && let Err(error) = remove_tree(&staging)
        {
            tracing::warn!(error = %stdx::Chain(&error), "a half-made layer could not be removed");
        }
        unpacked
    }

    /// Moves a finished tree to its place. `staging` holds the tree as `fs`.
    fn publish_layer(&self, staging: &Path, diff_id: Digest, size: u64) -> Result<PathBuf, Error> {
        let record = LayerRecord { diff_id, size, boot_id: self.inner.boot_id.clone() };
        let bytes = serde_json::to_vec(&record).unwrap_or_default();
        let path = staging.join(LAYER_RECORD);
        fs::write(&path, bytes).map_err(Error::io("write", &path))?;
        let dir = self.layer_dir(diff_id);
        fs::rename(staging, &dir).map_err(Error::io("publish a layer as", &dir))?;
        Ok(dir.join(TREE))
    }

    /// Writes everything to the disk and marks the layers as safe from a power cut. Pulls do it by themselves a while
    /// later, when the kernel has written most of it anyway.
    pub fn settle(&self) -> Result<(), Error> {
        let mut unsettled = entries(&self.inner.layers)?;
        unsettled.retain(|dir| dir.join(LAYER_RECORD).exists() && !dir.join(DURABLE).exists());
        if unsettled.is_empty() {
            return Ok(());
        }
        let dir = &self.inner.dir;
        let handle = File::open(dir).map_err(Error::io("open", dir))?;
        rustix::fs::syncfs(&handle).map_err(|errno| Error::io("write back", dir)(errno.into()))?;
        for layer in unsettled {
            let marker = layer.join(DURABLE);
            match File::create(&marker) {
                // The layer may have been collected meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                other => drop(other.map_err(Error::io("write", &marker))?),
            }
        }
        Ok(())
    }

    /// `settle`, later and in the background; not at all if the store is closed before.
    pub(crate) fn settle_later(&self) {
        let inner = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            tokio::time::sleep(SETTLE_AFTER).await;
            let Some(inner) = inner.upgrade() else { return };
            let settled = tokio::task::spawn_blocking(move || Self { inner }.settle()).await;
            if let Ok(Err(error)) = settled {
                tracing::warn!(error = %stdx::Chain(&error), "layers could not be written back");
            }
        });
    }

    /// After a reboot, layers that were never written back may have holes: they are dropped and pulled again.
    fn drop_doubtful_layers(&self) -> Result<(), Error> {
        for dir in entries(&self.inner.layers)? {
            if dir.file_name().is_some_and(|name| name == EMPTY_LAYER) {
                continue;
            }
            let record = self.read_json::<LayerRecord>(&dir.join(LAYER_RECORD))?;
            let same_boot = record.is_some_and(|record| record.boot_id == self.inner.boot_id);
            if !same_boot && !dir.join(DURABLE).exists() {
                remove_tree(&dir)?;
            }
        }
        Ok(())
    }

    /// A blob's verified bytes, if it is here.
    pub(crate) fn blob(&self, digest: Digest) -> Result<Option<Vec<u8>>, Error> {
        let path = self.blob_path(digest);
        match fs::read(&path) {
            // A torn file after a power cut is as good as none.
            Ok(bytes) => Ok(digest.verify(&bytes).is_ok().then_some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", &path)(error)),
        }
    }

    /// Keeps a verified small blob: a manifest or a configuration.
    pub(crate) fn put_blob(&self, digest: Digest, bytes: &[u8]) -> Result<(), Error> {
        self.write(&self.blob_path(digest), bytes)
    }

    /// A path in the store's temporary directory that nobody else uses.
    pub(crate) fn temporary(&self) -> PathBuf {
        let number = self.inner.temporary.fetch_add(1, Ordering::Relaxed);
        self.inner.dir.join("tmp").join(number.to_string())
    }

    pub(crate) fn blob_path(&self, digest: Digest) -> PathBuf {
        self.inner.dir.join("blobs").join(digest.hex())
    }

    fn layer_dir(&self, diff_id: Digest) -> PathBuf {
        self.inner.layers.join(short(diff_id))
    }

    pub(crate) fn sub(&self, name: &str) -> PathBuf {
        self.inner.dir.join(name)
    }

    fn image_path(&self, reference: &str) -> PathBuf {
        self.sub("images").join(format!("{}.json", short(Digest::of(reference.as_bytes()))))
    }

    fn hold_path(&self, holder: &str) -> PathBuf {
        self.sub("holds").join(format!("{}.json", short(Digest::of(holder.as_bytes()))))
    }

    fn write_json<T: Serialize>(&self, path: &Path, value: &T) -> Result<(), Error> {
        let bytes = serde_json::to_vec(value).map_err(|error| Error::io("encode", path)(error.into()))?;
        self.write(path, &bytes)
    }

    /// Replaces a file as a whole: readers see the old or the new one.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let temporary = self.temporary();
        let written = fs::write(&temporary, bytes)
            .map_err(Error::io("write", path))
            .and_then(|()| fs::rename(&temporary, path).map_err(Error::io("write", path)));
        if written.is_err() {
            // Best effort: the error that matters is the one being returned.
            drop(fs::remove_file(&temporary));
        }
        written
    }

    /// Reads a record; one that is missing or torn is none.
    pub(crate) fn read_json<T: for<'de> Deserialize<'de>>(&self, path: &Path) -> Result<Option<T>, Error> {
        match fs::read(path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(Error::io("read", path)(error)),
        }
    }

    pub(crate) fn read_all<T: for<'de> Deserialize<'de>>(&self, sub: &str) -> Result<Vec<T>, Error> {
        let mut found = Vec::new();
        for path in entries(&self.sub(sub))? {
            found.extend(self.read_json(&path)?);
        }
        Ok(found)
    }
}

fn short(digest: Digest) -> String {
    let mut hex = digest.hex();
    hex.truncate(NAME_LEN);
    hex
}

pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join("lock");
    let file = File::create(&path).map_err(Error::io("create", &path))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::StoreLocked(dir.to_owned())),
        Err(errno) => Err(Error::io("lock", &path)(errno.into())),
    }
}

fn make_dir(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(Error::io("create", path))
}

pub(crate) fn entries(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let read = fs::read_dir(dir).map_err(Error::io("list", dir))?;
    read.map(|entry| entry.map(|e| e.path()).map_err(Error::io("list", dir))).collect()
}

/// Removes a file; answers whether it was there.
pub(crate) fn remove_file(path: &Path) -> Result<bool, Error> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("remove", path)(error)),
    }
}

/// Removes a directory with all that is in it, if it is there.
pub(crate) fn remove_tree(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}
