//! Brings images from registries into the content store.

use crate::client::{Client, Credentials, Hosts, Session};
use crate::config::CONFIG_MAX;
use crate::download::{Download, content_digest, delay};
use crate::store::{Pin, now_ms};
use crate::{
    ContentStore, Descriptor, Digest, Error, ImageConfig, ImageManifest, ImageRecord, Manifest, Platform,
    Reference, StoredImage, media_type,
};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Layers of one puller that are fetched and unpacked at the same time.
const PARALLEL_LAYERS: usize = 3;
const REQUEST_ATTEMPTS: u32 = 4;

/// What happens during a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// The registry said which content the reference means.
    Resolved {
        digest: Digest,
    },
    Downloading {
        blob: Digest,
        bytes: u64,
        total: u64,
    },
    Unpacking {
        blob: Digest,
    },
    /// The layer is on this machine, by this pull or an earlier one.
    Ready {
        blob: Digest,
    },
}

/// Pulls images. Cheap to clone; clones share connections and limits.
#[derive(Clone)]
pub struct Puller {
    inner: Arc<Inner>,
}

struct Inner {
    store: ContentStore,
    hosts: Hosts,
    platform: Platform,
    client: Arc<Client>,
    layers: Semaphore,
}

type Watch = Arc<dyn Fn(Progress) + Send + Sync>;

/// A manifest as the registry gave it.
struct Fetched {
    digest: Digest,
    manifest: Manifest,
    bytes: Vec<u8>,
}

/// One pull of one image.
#[derive(Clone)]
struct Pull {
    inner: Arc<Inner>,
    session: Arc<Session>,
    watch: Watch,
}

impl Puller {
    /// A puller into `store` for this machine's platform.
    pub fn new(store: ContentStore, hosts: Hosts) -> Self {
        Self::for_platform(store, hosts, Platform::host())
    }

    pub fn for_platform(store: ContentStore, hosts: Hosts, platform: Platform) -> Self {
        let layers = Semaphore::new(PARALLEL_LAYERS);
        Self { inner: Arc::new(Inner { store, hosts, platform, client: Arc::default(), layers }) }
    }

    pub fn store(&self) -> &ContentStore {
        &self.inner.store
    }

    /// Brings an image onto this machine. When it is here already, the registry is only asked whether the reference
    /// still means the same content.
    pub async fn pull(&self, reference: &Reference, credentials: &Credentials) -> Result<StoredImage, Error> {
        self.pull_watched(reference, credentials, |_| {}).await
    }

    /// `pull`, telling `watch` how far it is.
    pub async fn pull_watched(
        &self,
        reference: &Reference,
        credentials: &Credentials,
        watch: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<StoredImage, Error> {
        let pull = self.start(reference, credentials, Arc::new(watch))?;
        if let Some(known) = self.inner.store.find(reference)?
            && pull.resolve().await? == Some(known.record.digest)
        {
            (pull.watch)(Progress::Resolved { digest: known.record.digest });
            return Ok(known);
        }
        pull.run().await
    }

    /// Asks the registry which content a reference means now.
    pub async fn resolve(&self, reference: &Reference, credentials: &Credentials) -> Result<Digest, Error> {
        let pull = self.start(reference, credentials, Arc::new(|_| {}))?;
        match pull.resolve().await? {
            Some(digest) => Ok(digest),
            // Not every registry names the digest: then its bytes do.
            None => Ok(pull.manifest(&reference.identifier()).await?.digest),
        }
    }

    fn start(&self, reference: &Reference, credentials: &Credentials, watch: Watch) -> Result<Pull, Error> {
        let client = Arc::clone(&self.inner.client);
        let session = Session::new(client, &self.inner.hosts, reference, credentials, "pull")?;
        Ok(Pull { inner: Arc::clone(&self.inner), session: Arc::new(session), watch })
    }
}

impl Pull {
    async fn resolve(&self) -> Result<Option<Digest>, Error> {
        let url = self.session.url(&format!("manifests/{}", self.session.reference().identifier()))?;
        let answer = self.ask(Method::HEAD, &url, &accept_manifests()).await?;
        if answer.response.status() != StatusCode::OK {
            // An answer to HEAD has no text: GET tells what is wrong.
            return match self.manifest(&self.session.reference().identifier()).await {
                Ok(fetched) => Ok(Some(fetched.digest)),
                Err(error) => Err(error),
            };
        }
        Ok(content_digest(answer.response.headers()))
    }

    async fn run(self) -> Result<StoredImage, Error> {
        let top = self.manifest(&self.session.reference().identifier()).await?;
        (self.watch)(Progress::Resolved { digest: top.digest });
        let top_digest = top.digest;
        let (found, image) = self.image(top).await?;
        let store = &self.inner.store;
        let _pin = self.pin(found.digest, &image);
        store.put_blob(found.digest, &found.bytes)?;
        let config = self.config(&image).await?;
        if config.diff_ids.len() != image.layers.len() {
            let (layers, ids) = (image.layers.len(), config.diff_ids.len());
            return Err(Error::InvalidConfig(format!("it names {ids} layers, the manifest {layers}")));
        }
        let _layers_pin = store.pin(config.diff_ids.clone());
        self.layers(&image, &config).await?;
        let record = ImageRecord {
            reference: self.session.reference().to_string(),
            digest: top_digest,
            manifest_digest: found.digest,
            config_digest: image.config.digest,
            diff_ids: config.diff_ids,
            size: image.size(),
            pulled_at_ms: now_ms(),
            last_used_at_ms: now_ms(),
        };
        let stored = store.record(record)?;
        store.settle_later();
        Ok(stored)
    }

    fn pin(&self, manifest: Digest, image: &ImageManifest) -> Pin {
        self.inner.store.pin(vec![manifest, image.config.digest])
    }

    /// Follows an index to the manifest for this machine.
    async fn image(&self, top: Fetched) -> Result<(Fetched, Box<ImageManifest>), Error> {
        let mut fetched = top;
        // An index may point to an index; two levels are more than anybody builds.
        for _ in 0..3 {
            let index = match &fetched.manifest {
                Manifest::Image(image) => {
                    let image = image.clone();
                    return Ok((fetched, image));
                }
                Manifest::Index(index) => index,
            };
            let wanted = &self.inner.platform;
            let entry = index
                .choose(wanted)
                .ok_or_else(|| Error::NoMatchingPlatform { wanted: wanted.to_string() })?;
            fetched = self.manifest(&entry.digest.to_string()).await?;
        }
        Err(Error::InvalidManifest("indexes point to indexes without end".to_owned()))
    }

    async fn manifest(&self, identifier: &str) -> Result<Fetched, Error> {
        let url = self.session.url(&format!("manifests/{identifier}"))?;
        let answer = self.ask(Method::GET, &url, &accept_manifests()).await?;
        if answer.response.status() != StatusCode::OK {
            return Err(self.session.refused(answer).await);
        }
        let headers = answer.response.headers().clone();
        let bytes = crate::client::collect(answer.response, Manifest::BYTES_MAX)
            .await
            .map_err(|problem| self.session.protocol(problem))?;
        let digest = Digest::of(&bytes);
        if let Ok(expected) = identifier.parse::<Digest>() {
            expected.expect(digest)?;
        }
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let manifest = Manifest::parse(&bytes, content_type)?;
        Ok(Fetched { digest, manifest, bytes: bytes.to_vec() })
    }

    async fn config(&self, image: &ImageManifest) -> Result<ImageConfig, Error> {
        let store = &self.inner.store;
        let blob = &image.config;
        let bytes = match store.blob(blob.digest)? {
            Some(bytes) => bytes,
            None => {
                if blob.size > CONFIG_MAX {
                    return Err(Error::InvalidConfig(format!("it has {} bytes", blob.size)));
                }
                let mut file = self.fetch(blob).await?;
                let mut bytes = Vec::new();
                let read = file.read_to_end(&mut bytes);
                read.map_err(Error::io("read", &store.blob_path(blob.digest)))?;
                blob.digest.verify(&bytes)?;
                store.put_blob(blob.digest, &bytes)?;
                bytes
            }
        };
        let config = ImageConfig::parse(&bytes)?;
        let (wanted, actual) = (&self.inner.platform, config.platform());
        if !wanted.runs(&actual) {
            let reference = self.session.reference().to_string();
            let (wanted, actual) = (wanted.to_string(), actual.to_string());
            return Err(Error::WrongPlatform { reference, wanted, actual });
        }
        Ok(config)
    }

    async fn layers(&self, image: &ImageManifest, config: &ImageConfig) -> Result<(), Error> {
        let mut running = JoinSet::new();
        for (layer, diff_id) in image.layers.iter().zip(&config.diff_ids) {
            let (pull, layer, diff_id) = (self.clone(), layer.clone(), *diff_id);
            running.spawn(async move { pull.layer(&layer, diff_id).await });
        }
        while let Some(joined) = running.join_next().await {
            // Leaving drops the set, which ends the other layers.
            joined.map_err(|error| self.session.protocol(format!("pulling a layer failed: {error}")))??;
        }
        Ok(())
    }

    async fn layer(&self, layer: &Descriptor, diff_id: Digest) -> Result<(), Error> {
        let store = &self.inner.store;
        // Whoever unpacks this layer now holds the lock; the others find the layer when they get it.
        let lock = store.layer_lock(diff_id).lock_owned().await;
        if store.layer(diff_id)?.is_none() {
            let _permit = self.inner.layers.acquire().await;
            let source = self.fetch(layer).await?;
            (self.watch)(Progress::Unpacking { blob: layer.digest });
            let (store, digest) = (store.clone(), layer.digest);
            let unpacked = tokio::task::spawn_blocking(move || {
                // The lock stays with the work even if nobody waits for it any more.
                let _lock = lock;
                store.unpack_layer(digest, diff_id, source)
            });
            unpacked.await.map_err(|error| self.session.protocol(format!("unpacking failed: {error}")))??;
        }
        (self.watch)(Progress::Ready { blob: layer.digest });
        Ok(())
    }

    /// A blob's bytes: directly from a registry on this machine, else downloaded and verified.
    async fn fetch(&self, blob: &Descriptor) -> Result<File, Error> {
        if let Some(file) = self.session.blobs().and_then(|source| source.open(blob.digest)) {
            return Ok(file);
        }
        let path = TemporaryFile(self.inner.store.temporary());
        let download = Download { session: &self.session, blob, progress: &*self.watch };
        // The open file keeps its bytes when its name goes.
        download.fetch(&path.0).await
    }

    /// Repeats a request that failed for a reason that may pass.
    async fn ask(
        &self,
        method: Method,
        url: &http::Uri,
        headers: &HeaderMap,
    ) -> Result<crate::client::Answer, Error> {
        let mut attempt = 0;
        loop {
            let result = self.session.ask(method.clone(), url.clone(), headers).await;
            let passing = match &result {
                Ok(answer) => matches!(answer.response.status().as_u16(), 429 | 500 | 502 | 503 | 504),
                Err(error) => error.is_transient(),
            };
            if !passing || attempt + 1 == REQUEST_ATTEMPTS {
                return result;
            }
            sleep(delay(attempt)).await;
            attempt += 1;
        }
    }
}

/// A file that goes with its owner.
struct TemporaryFile(PathBuf);

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // Missing is fine; anything else is cleared when the store opens next.
        drop(std::fs::remove_file(&self.0));
    }
}

fn accept_manifests() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for known in media_type::MANIFESTS {
        headers.append(ACCEPT, HeaderValue::from_static(known));
    }
    headers
}
