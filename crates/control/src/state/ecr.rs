//! The entities of ECR; bytes of layers and manifests' blobs lie in the registry's blob store.

use super::Entity;
use super::ecs::Tag;
use super::scope::Scope;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use stdx::Timestamp;

/// A repository by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RepositoryId {
    pub scope: Scope,
    pub name: String,
}

/// Whether a tag may move to another image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TagMutability {
    Mutable,
    Immutable,
    /// Immutable, but for tags that match one of the wildcard filters.
    ImmutableWithExclusion(Vec<String>),
    /// Mutable, but for tags that match one of the wildcard filters.
    MutableWithExclusion(Vec<String>),
}

/// An ECR repository.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Repository {
    pub id: RepositoryId,
    pub sequence: u64,
    pub created_at: Timestamp,
    pub mutability: TagMutability,
    pub scan_on_push: bool,
    /// `AES256`, `KMS` or `KMS_DSSE`, with the key for the latter two.
    pub encryption_type: String,
    pub kms_key: Option<String>,
    pub policy: Option<String>,
    pub tags: Vec<Tag>,
}

impl Entity for Repository {
    type Id = RepositoryId;

    fn id(&self) -> RepositoryId {
        self.id.clone()
    }

    fn sequence(&self) -> u64 {
        self.sequence
    }
}

/// An image of a repository by the digest of its manifest (`sha256:…`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ImageId {
    pub repository: RepositoryId,
    pub digest: String,
}

/// An image: a manifest and its tags.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Image {
    pub id: ImageId,
    pub sequence: u64,
    /// The manifest's bytes as they were pushed.
    pub manifest: String,
    pub media_type: String,
    /// The configuration's media type, or the manifest's artifactType.
    pub artifact_media_type: Option<String>,
    pub tags: BTreeSet<String>,
    pub size_bytes: i64,
    pub pushed_at: Timestamp,
    pub last_pulled_at: Option<Timestamp>,
    /// Digests of layers and configuration.
    pub layers: Vec<String>,
    /// Digests of the manifests that an index names.
    pub manifests: Vec<String>,
    /// The image that this one refers to, for signatures and the like.
    pub subject: Option<String>,
}

impl Entity for Image {
    type Id = ImageId;

    fn id(&self) -> ImageId {
        self.id.clone()
    }

    fn sequence(&self) -> u64 {
        self.sequence
    }
}

/// A layer that a repository holds, by digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LayerId {
    pub repository: RepositoryId,
    pub digest: String,
}

/// A layer or configuration blob of a repository.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Layer {
    pub id: LayerId,
    pub size_bytes: i64,
    pub uploaded_at: Timestamp,
}

impl Entity for Layer {
    type Id = LayerId;

    fn id(&self) -> LayerId {
        self.id.clone()
    }
}

/// A layer upload through ECR's API or the registry's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LayerUpload {
    /// A UUID.
    pub id: String,
    pub repository: RepositoryId,
    pub forget_at: Timestamp,
}

impl Entity for LayerUpload {
    type Id = String;

    fn id(&self) -> String {
        self.id.clone()
    }

    fn deadline(&self) -> Option<Timestamp> {
        Some(self.forget_at)
    }
}
