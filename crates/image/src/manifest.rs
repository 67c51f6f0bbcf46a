//! Image manifests and indexes of Docker and OCI, parsed from the bytes that a registry keeps.

use crate::config::nullable;
use crate::{Digest, Error, media_type};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A reference to content: what it is, its digest and its size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// True if a registry accepts a manifest without holding this layer.
    pub fn is_foreign(&self) -> bool {
        !self.urls.is_empty() || media_type::is_foreign_layer(&self.media_type)
    }
}

/// Operating system and architecture that content is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// The platform of this machine.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            other => other,
        };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: None }
    }

    /// True if a machine of platform `self` runs what was built for `image`. A variant counts only on
    /// 32-bit ARM, where the names differ in what they can run; arm64's only one is v8.
    pub fn runs(&self, image: &Self) -> bool {
        let same = self.os == image.os && self.architecture == image.architecture;
        same && (self.architecture != "arm" || self.variant.is_none() || self.variant == image.variant)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// A parsed manifest of any supported kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manifest {
    Image(Box<ImageManifest>),
    Index(Box<Index>),
}

/// One image: a configuration and layers, lowest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageManifest {
    pub media_type: String,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
    pub subject: Option<Descriptor>,
    pub artifact_type: Option<String>,
    pub annotations: BTreeMap<String, String>,
}

/// A list of manifests, usually one a platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    pub media_type: String,
    pub manifests: Vec<Descriptor>,
    pub subject: Option<Descriptor>,
    pub artifact_type: Option<String>,
    pub annotations: BTreeMap<String, String>,
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
    #[serde(default, deserialize_with = "nullable")]
    annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// Largest manifest that is read (ECR's `ImageManifest` limit).
    pub const BYTES_MAX: usize = 4_194_304;

    /// Parses a manifest. `content_type` is what came with it (HTTP header or API member), if anything;
    /// when the bytes name their type too, both must agree.
    pub fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Self, Error> {
        if bytes.len() > Self::BYTES_MAX {
            return Err(Error::InvalidManifest(format!("it has {} bytes, more than 4 MiB", bytes.len())));
        }
        let raw: Raw =
            serde_json::from_slice(bytes).map_err(|error| Error::InvalidManifest(error.to_string()))?;
        if raw.schema_version != Some(2) {
            return Err(Error::InvalidManifest("schemaVersion must be 2".to_owned()));
        }
        let media_type = raw.media_type(content_type.map(media_type::essence).filter(|t| !t.is_empty()))?;
        if media_type::is_index(&media_type) { raw.index(media_type) } else { raw.image(media_type) }
    }

    pub fn media_type(&self) -> &str {
        match self {
            Self::Image(image) => &image.media_type,
            Self::Index(index) => &index.media_type,
        }
    }

    pub fn subject(&self) -> Option<&Descriptor> {
        match self {
            Self::Image(image) => image.subject.as_ref(),
            Self::Index(index) => index.subject.as_ref(),
        }
    }

    pub fn annotations(&self) -> &BTreeMap<String, String> {
        match self {
            Self::Image(image) => &image.annotations,
            Self::Index(index) => &index.annotations,
        }
    }

    /// The type of the artifact for the referrers API: `artifactType`, else the configuration's media type
    /// (OCI distribution spec, "Listing Referrers").
    pub fn artifact_type(&self) -> Option<&str> {
        match self {
            Self::Image(image) => image.artifact_type.as_deref().or(Some(&image.config.media_type)),
            Self::Index(index) => index.artifact_type.as_deref(),
        }
    }
}

impl ImageManifest {
    /// Bytes of the configuration and all layers, as a registry holds them.
    pub fn size(&self) -> u64 {
        self.layers.iter().fold(self.config.size, |sum, layer| sum.saturating_add(layer.size))
    }

    /// Digests that must lie in the registry's blob store before the manifest is accepted.
    pub fn required_blobs(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(&self.config).chain(self.layers.iter().filter(|layer| !layer.is_foreign()))
    }
}

impl Index {
    /// The entry for `platform`: the first that a machine of it can run.
    pub fn choose(&self, platform: &Platform) -> Option<&Descriptor> {
        self.manifests
            .iter()
            .find(|entry| entry.platform.as_ref().is_some_and(|built_for| platform.runs(built_for)))
    }
}

impl Raw {
    fn media_type(&self, given: Option<&str>) -> Result<String, Error> {
        let inside = self.media_type.as_deref().filter(|t| !t.is_empty());
        // "application/json" says nothing about the kind; clients send it when they do not know better.
        let given = given.filter(|t| *t != "application/json");
        let found = match (inside, given) {
            (Some(inside), Some(given)) if inside != given => {
                return Err(Error::InvalidManifest(format!(
                    "its mediaType {inside} is not the content type {given}"
                )));
            }
            (Some(one), _) | (None, Some(one)) => one,
            (None, None) if self.manifests.is_some() => media_type::OCI_INDEX,
            (None, None) => media_type::OCI_MANIFEST,
        };
        if media_type::is_image(found) || media_type::is_index(found) {
            return Ok(found.to_owned());
        }
        Err(Error::InvalidManifest(format!("media type {found} is not supported")))
    }

    fn image(self, media_type: String) -> Result<Manifest, Error> {
        if self.manifests.is_some() {
            return Err(Error::InvalidManifest(format!("'manifests' does not belong into {media_type}")));
        }
        let Some(config) = self.config else {
            return Err(Error::InvalidManifest("'config' is missing".to_owned()));
        };
        let Some(layers) = self.layers else {
            return Err(Error::InvalidManifest("'layers' is missing".to_owned()));
        };
        Ok(Manifest::Image(Box::new(ImageManifest {
            media_type,
            config,
            layers,
            subject: self.subject,
            artifact_type: self.artifact_type.filter(|t| !t.is_empty()),
            annotations: self.annotations,
        })))
    }

    fn index(self, media_type: String) -> Result<Manifest, Error> {
        if self.config.is_some() || self.layers.is_some() {
            return Err(Error::InvalidManifest(format!(
                "'config' and 'layers' do not belong into {media_type}"
            )));
        }
        let Some(manifests) = self.manifests else {
            return Err(Error::InvalidManifest("'manifests' is missing".to_owned()));
        };
        Ok(Manifest::Index(Box::new(Index {
            media_type,
            manifests,
            subject: self.subject,
            artifact_type: self.artifact_type.filter(|t| !t.is_empty()),
            annotations: self.annotations,
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn descriptor(media_type: &str, more: &str) -> String {
        format!(r#"{{"mediaType":"{media_type}","digest":"{A}","size":7{more}}}"#)
    }

    #[test]
    fn docker_image_with_a_foreign_layer() {
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{},{}]}}"#,
            media_type::DOCKER_MANIFEST,
            descriptor(media_type::DOCKER_CONFIG, ""),
            descriptor(media_type::DOCKER_LAYER_GZIP, ""),
            descriptor(media_type::DOCKER_LAYER_FOREIGN, r#","urls":["https://example.com/l"]"#),
        );
        let Manifest::Image(image) = Manifest::parse(text.as_bytes(), None).unwrap() else {
            panic!("an image was expected")
        };
        assert_eq!(image.size(), 21);
        assert_eq!(image.required_blobs().count(), 2);
        assert!(image.layers[1].is_foreign());
    }

    #[test]
    fn oci_without_media_type_takes_the_header_or_the_shape() {
        let text = format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[],"subject":{},"artifactType":"a/b","annotations":null}}"#,
            descriptor(media_type::OCI_CONFIG, ""),
            descriptor(media_type::OCI_MANIFEST, ""),
        );
        for header in
            [None, Some("application/json"), Some("application/vnd.oci.image.manifest.v1+json; charset=x")]
        {
            let manifest = Manifest::parse(text.as_bytes(), header).unwrap();
            assert_eq!(manifest.media_type(), media_type::OCI_MANIFEST);
            assert_eq!(manifest.artifact_type(), Some("a/b"));
            assert!(manifest.subject().is_some());
        }
        assert!(Manifest::parse(text.as_bytes(), Some(media_type::OCI_INDEX)).is_err());
    }

    #[test]
    fn an_index_chooses_by_platform() {
        let entry = |arch: &str, more: &str| {
            descriptor(
                media_type::OCI_MANIFEST,
                &format!(r#","platform":{{"os":"linux","architecture":"{arch}"{more}}}"#),
            )
        };
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{},{}]}}"#,
            media_type::OCI_INDEX,
            entry("arm64", r#","variant":"v8""#),
            entry("amd64", "")
        );
        let Manifest::Index(index) = Manifest::parse(text.as_bytes(), None).unwrap() else {
            panic!("an index was expected")
        };
        let want = |architecture: &str| Platform {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: None,
        };
        assert_eq!(index.choose(&want("arm64")), Some(&index.manifests[0]));
        assert_eq!(index.choose(&want("amd64")), Some(&index.manifests[1]));
        assert_eq!(index.choose(&want("s390x")), None);
    }

    #[test]
    fn garbage_is_refused() {
        let config = descriptor(media_type::OCI_CONFIG, "");
        for bad in [
            String::new(),
            "null".to_owned(),
            "{}".to_owned(),
            r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned(),
            r#"{"schemaVersion":2}"#.to_owned(),
            format!(r#"{{"schemaVersion":2,"config":{config}}}"#),
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"manifests":[]}}"#),
            format!(r#"{{"schemaVersion":2,"mediaType":"text/plain","config":{config},"layers":[]}}"#),
            r#"{"schemaVersion":2,"config":{"mediaType":"x","digest":"sha256:00","size":1},"layers":[]}"#
                .to_owned(),
            format!(
                r#"{{"schemaVersion":2,"config":{{"mediaType":"x","digest":"{A}","size":-1}},"layers":[]}}"#
            ),
        ] {
            assert!(matches!(Manifest::parse(bad.as_bytes(), None), Err(Error::InvalidManifest(_))), "{bad}");
        }
        assert!(Manifest::parse(&vec![b' '; Manifest::BYTES_MAX + 1], None).is_err());
    }
}
