//! A catalog in memory: one account, every repository with its tags, images and layers.

use image::{Descriptor, Digest, Manifest};
use registry::{Action, Catalog, Credentials, Error, Host, Image, ImageId, Page, PutImage};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub const PASSWORD: &str = "secret";
pub const EXPIRED: &str = "expired";
pub const REGION: &str = "us-east-1";
pub const ACCOUNT: &str = "123456789012";

#[derive(Clone, Default)]
pub struct MemoryCatalog {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub struct State {
    pub repositories: BTreeMap<String, Repository>,
    /// What was asked for, in order.
    pub actions: Vec<(&'static str, String)>,
    pub denied: Option<Action>,
    pub mounting: bool,
}

#[derive(Default)]
pub struct Repository {
    pub layers: BTreeSet<Digest>,
    pub images: BTreeMap<Digest, Manifest>,
    pub sizes: BTreeMap<Digest, u64>,
    pub tags: BTreeMap<String, Digest>,
    pub immutable: bool,
}

pub struct Principal;

impl MemoryCatalog {
    pub fn new(repositories: &[&str]) -> Self {
        let catalog = Self::default();
        for name in repositories {
            catalog.state().repositories.insert((*name).to_owned(), Repository::default());
        }
        catalog
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(
        &self,
        name: &str,
        look: impl FnOnce(&mut Repository) -> Result<T, Error>,
    ) -> Result<T, Error> {
        match self.state().repositories.get_mut(name) {
            Some(repository) => look(repository),
            None => Err(Error::NameUnknown(format!(
                "The repository with name '{name}' does not exist in the registry with id '{ACCOUNT}'"
            ))),
        }
    }
}

fn find(repository: &Repository, id: &ImageId) -> Result<Digest, Error> {
    let digest = match id {
        ImageId::Tag(tag) => repository.tags.get(tag).copied(),
        ImageId::Digest(digest) => repository.images.contains_key(digest).then_some(*digest),
    };
    digest.ok_or_else(|| Error::ManifestUnknown("Requested image not found".to_owned()))
}

fn page<'a>(names: impl Iterator<Item = &'a String>, after: Option<&str>, limit: usize) -> Page {
    let mut names: Vec<String> =
        names.filter(|name| after.is_none_or(|after| name.as_str() > after)).cloned().collect();
    let more = names.len() > limit;
    names.truncate(limit);
    Page { names, more }
}

impl Catalog for MemoryCatalog {
    type Principal = Principal;

    async fn authenticate(&self, host: Option<&Host>, credentials: &Credentials) -> Result<Principal, Error> {
        if host.and_then(|host| host.registry.as_ref()).is_some_and(|registry| registry.region != REGION) {
            return Err(Error::Unauthorized);
        }
        match credentials.token().as_deref() {
            Some(PASSWORD) => Ok(Principal),
            Some(EXPIRED) => Err(Error::Denied(
                "Your authorization token has expired. Reauthenticate and try again.".to_owned(),
            )),
            _ => Err(Error::Unauthorized),
        }
    }

    async fn authorize(&self, _: &Principal, action: Action, repository: &str) -> Result<(), Error> {
        let mut state = self.state();
        state.actions.push((action.as_str(), repository.to_owned()));
        if state.denied == Some(action) {
            return Err(Error::Denied(format!("User: x is not authorized to perform: {}", action.as_str())));
        }
        Ok(())
    }

    async fn repository_arn(&self, _: &Principal, repository: &str) -> Result<String, Error> {
        self.with(repository, |_| Ok(format!("arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{repository}")))
    }

    async fn image(&self, _: &Principal, repository: &str, id: &ImageId) -> Result<Image, Error> {
        self.with(repository, |found| {
            let digest = find(found, id)?;
            Ok(Image { digest, media_type: found.images[&digest].media_type().to_owned() })
        })
    }

    async fn put_image(&self, _: &Principal, put: PutImage) -> Result<(), Error> {
        self.with(&put.repository, |found| {
            let missing = match &put.manifest {
                Manifest::Image(image) => {
                    image.required_blobs().find(|b| !found.layers.contains(&b.digest)).is_some()
                }
                Manifest::Index(index) => {
                    index.manifests.iter().any(|m| !found.images.contains_key(&m.digest))
                }
            };
            if missing {
                return Err(Error::ManifestBlobUnknown("layers are missing".to_owned()));
            }
            if let Some(tag) = &put.tag {
                if found.immutable && found.tags.get(tag).is_some_and(|old| *old != put.digest) {
                    return Err(Error::TagInvalid(format!("The image tag '{tag}' already exists")));
                }
                found.tags.insert(tag.clone(), put.digest);
            }
            found.sizes.insert(put.digest, put.bytes.len() as u64);
            found.images.insert(put.digest, put.manifest);
            Ok(())
        })
    }

    async fn delete_image(&self, _: &Principal, repository: &str, id: &ImageId) -> Result<(), Error> {
        self.with(repository, |found| {
            let digest = find(found, id)?;
            match id {
                ImageId::Tag(tag) => drop(found.tags.remove(tag)),
                ImageId::Digest(_) => {
                    found.images.remove(&digest);
                    found.tags.retain(|_, tagged| *tagged != digest);
                }
            }
            Ok(())
        })
    }

    async fn tags(
        &self,
        _: &Principal,
        repository: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, Error> {
        self.with(repository, |found| Ok(page(found.tags.keys(), after, limit)))
    }

    async fn repositories(&self, _: &Principal, after: Option<&str>, limit: usize) -> Result<Page, Error> {
        Ok(page(self.state().repositories.keys(), after, limit))
    }

    async fn referrers(
        &self,
        _: &Principal,
        repository: &str,
        subject: Digest,
    ) -> Result<Vec<Descriptor>, Error> {
        self.with(repository, |found| {
            let images = found.images.iter();
            let referring = images.filter(|(_, image)| image.subject().is_some_and(|s| s.digest == subject));
            Ok(referring
                .map(|(digest, image)| Descriptor {
                    media_type: image.media_type().to_owned(),
                    digest: *digest,
                    size: found.sizes[digest],
                    urls: Vec::new(),
                    platform: None,
                    artifact_type: image.artifact_type().map(str::to_owned),
                    annotations: image.annotations().clone(),
                })
                .collect())
        })
    }

    async fn has_layer(&self, _: &Principal, repository: &str, digest: Digest) -> Result<bool, Error> {
        self.with(repository, |found| Ok(found.layers.contains(&digest)))
    }

    async fn link_layer(&self, _: &Principal, repository: &str, digest: Digest, _: u64) -> Result<(), Error> {
        self.with(repository, |found| {
            found.layers.insert(digest);
            Ok(())
        })
    }

    async fn may_mount(&self, _: &Principal, _: &str, _: &str) -> Result<bool, Error> {
        Ok(self.state().mounting)
    }
}
