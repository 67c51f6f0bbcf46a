//! The entities of ECR; bytes of layers and manifests' blobs lie in the registry's blob store.

use super::ecs::Tag;
use super::scope::Scope;
use super::{Entity, Indexes};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use stdx::Timestamp;

/// What an account's registry in a Region is set to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Registry {
    pub id: Scope,
    /// Account settings by name, where they differ from the default.
    pub settings: BTreeMap<String, String>,
}

impl Entity for Registry {
    type Id = Scope;

    fn id(&self) -> Scope {
        self.id
    }
}

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
    /// The manifest's bytes as they were pushed; shared, since every change of a tag copies the entity.
    pub manifest: Arc<str>,
    pub media_type: String,
    /// The manifest's artifactType, or its configuration's media type.
    pub artifact_media_type: Option<String>,
    pub annotations: BTreeMap<String, String>,
    pub tags: BTreeSet<String>,
    pub size_bytes: i64,
    pub pushed_at: Timestamp,
    pub last_pulled_at: Option<Timestamp>,
    /// Digests of layers and configuration that the repository must hold; none that lies elsewhere.
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

    fn index(indexes: &mut Indexes, old: Option<&Self>, new: Option<&Self>) {
        if let Some(image) = old {
            indexes.images.forget(image);
        }
        if let Some(image) = new {
            indexes.images.add(image);
        }
    }
}

/// What images refer to, looked up from the other end.
#[derive(Debug, Default)]
pub struct ImageIndex {
    /// The digest that a tag stands for.
    tags: BTreeMap<RepositoryId, BTreeMap<String, String>>,
    /// How many images a repository has.
    counts: BTreeMap<RepositoryId, usize>,
    /// The images of a repository that need a layer.
    by_layer: BTreeMap<LayerId, BTreeSet<String>>,
    /// The indexes that name a manifest.
    by_child: BTreeMap<ImageId, BTreeSet<String>>,
    /// The images that refer to another, whether or not that one is there.
    by_subject: BTreeMap<ImageId, BTreeSet<String>>,
}

impl ImageIndex {
    /// The digest that a tag stands for.
    pub fn tagged(&self, repository: &RepositoryId, tag: &str) -> Option<&String> {
        self.tags.get(repository)?.get(tag)
    }

    /// The tags of a repository that come after one, in order.
    pub fn tags_after<'a>(&'a self, repository: &RepositoryId, after: &str) -> impl Iterator<Item = &'a str> {
        let range = (std::ops::Bound::Excluded(after.to_owned()), std::ops::Bound::Unbounded);
        self.tags
            .get(repository)
            .into_iter()
            .flat_map(move |tags| tags.range(range.clone()).map(|(tag, _)| tag.as_str()))
    }

    pub fn count(&self, repository: &RepositoryId) -> usize {
        self.counts.get(repository).copied().unwrap_or(0)
    }

    /// The digests of the images that need a layer.
    pub fn users_of(&self, layer: &LayerId) -> impl Iterator<Item = &String> {
        self.by_layer.get(layer).into_iter().flatten()
    }

    /// The digests of the indexes that name an image.
    pub fn indexes_of(&self, image: &ImageId) -> impl Iterator<Item = &String> {
        self.by_child.get(image).into_iter().flatten()
    }

    /// The digests of the images whose subject is the given one.
    pub fn referrers_of(&self, image: &ImageId) -> impl Iterator<Item = &String> {
        self.by_subject.get(image).into_iter().flatten()
    }

    fn add(&mut self, image: &Image) {
        let (repository, digest) = (&image.id.repository, &image.id.digest);
        *self.counts.entry(repository.clone()).or_default() += 1;
        if !image.tags.is_empty() {
            let tags = self.tags.entry(repository.clone()).or_default();
            tags.extend(image.tags.iter().map(|tag| (tag.clone(), digest.clone())));
        }
        for layer in &image.layers {
            let layer = LayerId { repository: repository.clone(), digest: layer.clone() };
            self.by_layer.entry(layer).or_default().insert(digest.clone());
        }
        for child in &image.manifests {
            self.by_child.entry(image.sibling(child)).or_default().insert(digest.clone());
        }
        if let Some(subject) = &image.subject {
            self.by_subject.entry(image.sibling(subject)).or_default().insert(digest.clone());
        }
    }

    fn forget(&mut self, image: &Image) {
        let (repository, digest) = (&image.id.repository, &image.id.digest);
        if let Some(count) = self.counts.get_mut(repository) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(repository);
            }
        }
        if let Some(tags) = self.tags.get_mut(repository) {
            for tag in &image.tags {
                if tags.get(tag) == Some(digest) {
                    tags.remove(tag);
                }
            }
            if tags.is_empty() {
                self.tags.remove(repository);
            }
        }
        for layer in &image.layers {
            let layer = LayerId { repository: repository.clone(), digest: layer.clone() };
            take_from(&mut self.by_layer, &layer, digest);
        }
        for child in &image.manifests {
            take_from(&mut self.by_child, &image.sibling(child), digest);
        }
        if let Some(subject) = &image.subject {
            take_from(&mut self.by_subject, &image.sibling(subject), digest);
        }
    }
}

fn take_from<K: Ord>(index: &mut BTreeMap<K, BTreeSet<String>>, key: &K, member: &str) {
    if let Some(set) = index.get_mut(key) {
        set.remove(member);
        if set.is_empty() {
            index.remove(key);
        }
    }
}

impl Image {
    /// The image of that digest in the same repository.
    pub fn sibling(&self, digest: &str) -> ImageId {
        ImageId { repository: self.id.repository.clone(), digest: digest.to_owned() }
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
    /// As the last manifest that needs it calls it.
    pub media_type: Option<String>,
    pub uploaded_at: Timestamp,
    /// When a layer that no image needs goes away; `None` while one does.
    pub forget_at: Option<Timestamp>,
}

impl Entity for Layer {
    type Id = LayerId;

    fn id(&self) -> LayerId {
        self.id.clone()
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.forget_at
    }
}
