//! What the registry must know of a manifest: its kind, the blobs that it needs and the images that it names.
//!
//! The crate `image` reads manifests too, for pulling; it speaks HTTP and does I/O, which the core must not depend on.

use serde::Deserialize;
use std::collections::BTreeMap;

const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A reference to content.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: String,
    pub size: i64,
    #[serde(default)]
    urls: Option<Vec<String>>,
}

impl Descriptor {
    /// Whether the content lies elsewhere, so that the repository need not hold it.
    pub fn is_foreign(&self) -> bool {
        self.urls.as_ref().is_some_and(|urls| !urls.is_empty())
            || self.media_type.contains(".foreign.")
            || self.media_type.contains(".nondistributable.")
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<u32>,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    artifact_type: Option<String>,
    annotations: Option<BTreeMap<String, String>>,
}

/// An image manifest, index or artifact manifest.
#[derive(Debug)]
pub(super) struct Manifest {
    pub media_type: String,
    /// The configuration and the layers; empty for an index.
    pub blobs: Vec<Descriptor>,
    /// The manifests of an index.
    pub manifests: Vec<Descriptor>,
    pub subject: Option<String>,
    pub artifact_type: Option<String>,
    pub annotations: BTreeMap<String, String>,
}

/// Why a manifest is not taken: a constraint in ECR's wording.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalid(pub &'static str);

impl Manifest {
    /// Reads a manifest; `media_type` is what was said of it beside its bytes, and must agree with what it says itself.
    pub fn parse(text: &str, media_type: Option<&str>) -> Result<Self, Invalid> {
        let raw: Raw = serde_json::from_str(text).map_err(|_| Invalid("Invalid JSON syntax"))?;
        if raw.schema_version != Some(2) {
            return Err(Invalid("schemaVersion must be 2"));
        }
        let given = media_type.map(|t| t.split(';').next().unwrap_or(t).trim()).filter(|t| !t.is_empty());
        let media_type = match (raw.media_type.as_deref(), given) {
            (Some(inside), Some(given)) if inside != given => {
                return Err(Invalid("media type must be the one that the manifest names"));
            }
            (Some(known), _) | (None, Some(known)) => known.to_owned(),
            // OCI allows manifests without mediaType; what they hold tells.
            (None, None) if raw.manifests.is_some() => OCI_INDEX.to_owned(),
            (None, None) if raw.config.as_ref().is_some_and(|c| c.media_type.contains(".oci.")) => {
                OCI_MANIFEST.to_owned()
            }
            (None, None) => {
                return Err(Invalid("imageManifestMediaType must be given when the manifest names none"));
            }
        };
        let is_index = matches!(media_type.as_str(), DOCKER_INDEX | OCI_INDEX);
        let config_type = raw.config.as_ref().map(|c| c.media_type.clone()).filter(|t| !t.is_empty());
        let (blobs, manifests) = match (is_index, raw.config, raw.layers, raw.manifests) {
            (true, _, _, Some(manifests)) => (Vec::new(), manifests),
            (false, config, layers, None) if config.is_some() || layers.is_some() => {
                (config.into_iter().chain(layers.unwrap_or_default()).collect(), Vec::new())
            }
            _ => return Err(Invalid("manifest must have the members that its media type asks for")),
        };
        let manifest = Self {
            media_type,
            blobs,
            manifests,
            subject: raw.subject.map(|s| s.digest),
            artifact_type: raw.artifact_type.filter(|t| !t.is_empty()).or(config_type),
            annotations: raw.annotations.unwrap_or_default(),
        };
        manifest.check()
    }

    fn check(self) -> Result<Self, Invalid> {
        let all = self.blobs.iter().chain(&self.manifests);
        let digests = all.clone().map(|d| &d.digest).chain(&self.subject);
        if digests.into_iter().any(|d| !is_digest(d)) {
            return Err(Invalid("digests must satisfy regular expression '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'"));
        }
        if all.into_iter().any(|d| d.size < 0) {
            return Err(Invalid("sizes must be greater than or equal to 0"));
        }
        Ok(self)
    }

    /// Bytes of configuration and layers.
    pub fn size_bytes(&self) -> i64 {
        self.blobs.iter().fold(0, |sum: i64, blob| sum.saturating_add(blob.size))
    }
}

/// Whether a text has the form of a digest (the model's `LayerDigest`).
pub(super) fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, hex)| {
        let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'+' | b'.');
        !algorithm.is_empty()
            && algorithm.bytes().all(is_name)
            && !hex.is_empty()
            && hex.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

/// Whether a text may be a tag: what docker and the OCI specification allow on the wire.
pub(super) fn is_tag(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|b| is_word(b) || matches!(b, b'.' | b'-'))
}

/// `sha256:…` of some bytes.
pub(super) fn digest(bytes: &[u8]) -> String {
    let hex: String = wire::sha256(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}
