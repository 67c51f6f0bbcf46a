//! Assembles images from files without any tool: layers, configuration, manifest, index.

use crate::{Descriptor, Digest, Error, Hasher, Platform, media_type};
use bytes::Bytes;
use flate2::write::GzEncoder;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use tar::{EntryType, Header};

/// Which family of media types an image speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Oci,
    Docker,
}

/// Where the bytes of a blob are.
#[derive(Clone, Debug)]
pub enum Content {
    Bytes(Bytes),
    File(PathBuf),
}

/// A blob ready to be pushed.
#[derive(Clone, Debug)]
pub struct Blob {
    pub descriptor: Descriptor,
    pub content: Content,
}

/// A finished layer.
#[derive(Clone, Debug)]
pub struct Layer {
    pub diff_id: Digest,
    pub digest: Digest,
    pub size: u64,
    pub content: Content,
}

/// What a container of the image runs by default.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Run {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// `80/tcp` and so on.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "as_set")]
    pub exposed_ports: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A finished image: its manifest and every blob that the manifest names.
#[derive(Clone, Debug)]
pub struct BuiltImage {
    /// Type, digest, size and platform of the manifest.
    pub descriptor: Descriptor,
    pub manifest: Bytes,
    pub blobs: Vec<Blob>,
}

/// A finished index of images.
#[derive(Clone, Debug)]
pub struct BuiltIndex {
    pub descriptor: Descriptor,
    pub manifest: Bytes,
    pub images: Vec<BuiltImage>,
}

/// Writes a layer: a gzip-compressed tar stream with root as owner and times of zero, so that equal files give
/// equal digests.
pub struct LayerWriter<W: Write> {
    tar: tar::Builder<Hashing<GzEncoder<Hashing<W>>>>,
}

impl LayerWriter<Vec<u8>> {
    /// A layer kept in memory.
    pub fn in_memory() -> Self {
        Self::new(Vec::new())
    }

    /// Ends the layer.
    pub fn finish(self) -> Result<Layer, Error> {
        let (layer, bytes) = self.end().map_err(failed(Path::new("the layer")))?;
        Ok(Layer { content: Content::Bytes(bytes.into()), ..layer })
    }
}

impl LayerWriter<File> {
    /// A layer written to a new file.
    pub fn to_file(path: &Path) -> Result<Self, Error> {
        Ok(Self::new(File::create(path).map_err(Error::io("create", path))?))
    }

    /// Ends the layer that was begun with `to_file(path)`.
    pub fn finish_file(self, path: &Path) -> Result<Layer, Error> {
        let (layer, _) = self.end().map_err(failed(path))?;
        Ok(Layer { content: Content::File(path.to_owned()), ..layer })
    }
}

impl<W: Write> LayerWriter<W> {
    fn new(out: W) -> Self {
        let gzip = GzEncoder::new(Hashing::new(out), flate2::Compression::fast());
        Self { tar: tar::Builder::new(Hashing::new(gzip)) }
    }

    /// Adds a directory. Parents are not added by themselves.
    pub fn directory(&mut self, path: &str, mode: u32) -> Result<(), Error> {
        self.add(path, &mut header(EntryType::Directory, mode, 0), io::empty())
    }

    /// Adds a file with these bytes.
    pub fn file(&mut self, path: &str, bytes: &[u8], mode: u32) -> Result<(), Error> {
        self.add(path, &mut header(EntryType::Regular, mode, bytes.len() as u64), bytes)
    }

    /// Adds a copy of a file of this machine.
    pub fn copy(&mut self, path: &str, source: &Path, mode: u32) -> Result<(), Error> {
        let file = File::open(source).map_err(Error::io("open", source))?;
        let size = file.metadata().map_err(Error::io("read", source))?.len();
        self.add(path, &mut header(EntryType::Regular, mode, size), file)
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<(), Error> {
        let mut header = header(EntryType::Symlink, 0o777, 0);
        self.tar.append_link(&mut header, path, target).map_err(failed(Path::new(path)))
    }

    fn add(&mut self, path: &str, header: &mut Header, content: impl Read) -> Result<(), Error> {
        self.tar.append_data(header, path, content).map_err(failed(Path::new(path)))
    }

    fn end(self) -> io::Result<(Layer, W)> {
        let tar = self.tar.into_inner()?;
        let diff_id = tar.hasher.finish();
        let blob = tar.inner.finish()?;
        let size = blob.hasher.length();
        let layer =
            Layer { diff_id, digest: blob.hasher.finish(), size, content: Content::Bytes(Bytes::new()) };
        Ok((layer, blob.inner))
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error {
    Error::io("add to the layer", path)
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ManifestOut<'a> {
    schema_version: u8,
    media_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<&'a Descriptor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<Vec<&'a Descriptor>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifests: Option<Vec<&'a Descriptor>>,
}

#[derive(Serialize)]
struct ConfigOut<'a> {
    architecture: &'a str,
    os: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<&'a str>,
    config: &'a Run,
    rootfs: RootfsOut,
}

#[derive(Serialize)]
struct RootfsOut {
    r#type: &'static str,
    diff_ids: Vec<Digest>,
}

impl BuiltImage {
    /// Puts an image together; `layers` lowest first.
    pub fn new(format: Format, platform: Platform, run: &Run, layers: Vec<Layer>) -> Result<Self, Error> {
        let (manifest_type, config_type, layer_type) = match format {
            Format::Oci => (media_type::OCI_MANIFEST, media_type::OCI_CONFIG, media_type::OCI_LAYER_GZIP),
            Format::Docker => {
                (media_type::DOCKER_MANIFEST, media_type::DOCKER_CONFIG, media_type::DOCKER_LAYER_GZIP)
            }
        };
        let rootfs = RootfsOut { r#type: "layers", diff_ids: layers.iter().map(|l| l.diff_id).collect() };
        let config = encode(&ConfigOut {
            architecture: &platform.architecture,
            os: &platform.os,
            variant: platform.variant.as_deref(),
            config: run,
            rootfs,
        })?;
        let mut blobs =
            vec![Blob { descriptor: descriptor(config_type, &config), content: Content::Bytes(config) }];
        blobs.extend(layers.into_iter().map(|layer| {
            let Layer { digest, size, content, .. } = layer;
            Blob { descriptor: plain(layer_type, digest, size), content }
        }));
        let manifest = encode(&ManifestOut {
            schema_version: 2,
            media_type: manifest_type,
            config: Some(&blobs[0].descriptor),
            layers: Some(blobs[1..].iter().map(|blob| &blob.descriptor).collect()),
            manifests: None,
        })?;
        let descriptor = Descriptor { platform: Some(platform), ..descriptor(manifest_type, &manifest) };
        Ok(Self { descriptor, manifest, blobs })
    }
}

impl BuiltIndex {
    /// Lists images of several platforms under one manifest.
    pub fn new(format: Format, images: Vec<BuiltImage>) -> Result<Self, Error> {
        let media_type = match format {
            Format::Oci => media_type::OCI_INDEX,
            Format::Docker => media_type::DOCKER_MANIFEST_LIST,
        };
        let manifest = encode(&ManifestOut {
            schema_version: 2,
            media_type,
            config: None,
            layers: None,
            manifests: Some(images.iter().map(|image| &image.descriptor).collect()),
        })?;
        Ok(Self { descriptor: descriptor(media_type, &manifest), manifest, images })
    }
}

fn encode(value: &impl Serialize) -> Result<Bytes, Error> {
    let bytes = serde_json::to_vec(value).map_err(|error| Error::InvalidManifest(error.to_string()))?;
    Ok(bytes.into())
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    plain(media_type, Digest::of(bytes), bytes.len() as u64)
}

fn plain(media_type: &str, digest: Digest, size: u64) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest,
        size,
        urls: Vec::new(),
        platform: None,
        artifact_type: None,
        annotations: BTreeMap::new(),
    }
}

/// `{"80/tcp":{}}`, as Go writes its sets.
fn as_set<S: serde::Serializer>(names: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(names.iter().map(|name| (name, BTreeMap::<(), ()>::new())))
}

/// Hashes what is written through it.
struct Hashing<W> {
    inner: W,
    hasher: Hasher,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, hasher: Hasher::new() }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
