//! PutImage: the one rule behind the API's operation and the registry's `PUT …/manifests/…`.

use super::manifest::{self, Manifest};
use super::{errors, repositories};
use crate::call::{ApiError, Ctx};
use crate::state::State;
use crate::state::ecr::{Image, ImageId, Layer, LayerId, Repository, RepositoryId, TagMutability};
use crate::tx::Tx;
use api::ecr as model;
use std::collections::BTreeSet;
use std::sync::Arc;
use stdx::Timestamp;

/// Tags that an image may have, images that a repository may have (AWS's default quotas).
const TAGS_MAX: usize = 1_000;
const IMAGES_MAX: usize = 100_000;

/// An image to be put into a repository.
#[derive(Clone, Debug)]
pub struct Push {
    pub repository: RepositoryId,
    /// The manifest's bytes, which are UTF-8 because they are JSON.
    pub manifest: Arc<str>,
    /// What was said of the manifest's type beside it: HTTP header or `imageManifestMediaType`.
    pub media_type: Option<String>,
    pub tag: Option<String>,
    /// The digest that the caller calculated; checked.
    pub digest: Option<String>,
}

/// What became of a push.
#[derive(Clone, Debug)]
pub struct Pushed {
    pub image: Arc<Image>,
    /// False if the image was there with that tag already.
    pub is_changed: bool,
}

/// The API's operation; the registry's door is [`super::Command::PutImage`].
pub(super) fn execute(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::PutImageRequest,
) -> Result<model::PutImageResponse, ApiError> {
    let repository = repositories::id(ctx.scope, request.registry_id.as_deref(), &request.repository_name)?;
    let tag = request.image_tag.clone();
    let push = Push {
        repository,
        manifest: request.image_manifest.into(),
        media_type: request.image_manifest_media_type,
        tag: request.image_tag,
        digest: request.image_digest,
    };
    let pushed = put(tx, ctx.now, push)?;
    if !pushed.is_changed {
        return Err(errors::image_exists(&pushed.image.id, tag.as_deref()));
    }
    Ok(model::PutImageResponse { image: Some(super::images::view(&pushed.image, tag)) })
}

/// Puts an image and its tag, if everything that it needs is there.
pub(super) fn put(tx: &mut Tx<'_>, now: Timestamp, push: Push) -> Result<Pushed, ApiError> {
    let state = tx.state();
    let repository = state
        .repositories
        .get(&push.repository)
        .ok_or_else(|| errors::repository_not_found(&push.repository))?;
    let manifest = Manifest::parse(&push.manifest, push.media_type.as_deref())
        .map_err(|manifest::Invalid(reason)| errors::invalid("ImageManifest", reason))?;
    let id = ImageId { repository: push.repository, digest: manifest::digest(push.manifest.as_bytes()) };
    if let Some(given) = push.digest.filter(|given| *given != id.digest) {
        return Err(errors::digest_does_not_match(&given, &id.digest));
    }
    if let Some(tag) = &push.tag {
        check_tag(state, repository, &id, tag)?;
    }
    let old = state.images.get(&id).cloned();
    if let Some(image) = &old
        && push.tag.as_ref().is_none_or(|tag| image.tags.contains(tag))
    {
        return Ok(Pushed { image: image.clone(), is_changed: false });
    }
    check_references(state, &id.repository, &manifest)?;
    if old.is_none() && state.indexes.images.count(&id.repository) >= IMAGES_MAX {
        return Err(errors::limit(format!("The limit of {IMAGES_MAX} images in a repository is reached")));
    }
    if old.as_ref().is_some_and(|image| image.tags.len() >= TAGS_MAX) {
        return Err(errors::limit(format!("The limit of {TAGS_MAX} tags of an image is reached")));
    }
    if let Some(tag) = &push.tag {
        untag(tx, &id.repository, tag);
    }
    let mut image = match old {
        Some(image) => (*image).clone(),
        None => new_image(tx, now, id, push.manifest, manifest),
    };
    image.tags.extend(push.tag);
    Ok(Pushed { image: tx.put(image), is_changed: true })
}

fn check_tag(state: &State, repository: &Repository, id: &ImageId, tag: &str) -> Result<(), ApiError> {
    if !manifest::is_tag(tag) {
        return Err(errors::invalid("imageTag", "must satisfy regular expression '[a-zA-Z0-9-_.]+'"));
    }
    let holder = state.indexes.images.tagged(&id.repository, tag);
    if holder.is_some_and(|digest| *digest != id.digest) && is_immutable(&repository.mutability, tag) {
        return Err(errors::tag_is_immutable(&id.repository, tag));
    }
    Ok(())
}

/// Everything that the manifest names must be in the repository, apart from foreign layers.
fn check_references(state: &State, repository: &RepositoryId, manifest: &Manifest) -> Result<(), ApiError> {
    let layer = |digest: &str| LayerId { repository: repository.clone(), digest: digest.to_owned() };
    let needed = manifest.blobs.iter().filter(|b| !b.is_foreign()).map(|b| b.digest.as_str());
    let missing: BTreeSet<&str> = needed.filter(|d| !state.layers.contains(&layer(d))).collect();
    if !missing.is_empty() {
        return Err(errors::layers_required(&missing.into_iter().collect::<Vec<_>>(), repository));
    }
    let image = |digest: &str| ImageId { repository: repository.clone(), digest: digest.to_owned() };
    let named = manifest.manifests.iter().filter(|m| !m.is_foreign()).map(|m| m.digest.as_str());
    let missing: BTreeSet<&str> = named.filter(|d| !state.images.contains(&image(d))).collect();
    if !missing.is_empty() {
        return Err(errors::images_required(&missing.into_iter().collect::<Vec<_>>(), repository));
    }
    Ok(())
}

fn new_image(tx: &mut Tx<'_>, now: Timestamp, id: ImageId, text: Arc<str>, manifest: Manifest) -> Image {
    let size_bytes = if manifest.manifests.is_empty() {
        manifest.size_bytes()
    } else {
        // The size of an index is that of its largest image (API_ImageDetail).
        let of = |digest: &str| ImageId { repository: id.repository.clone(), digest: digest.to_owned() };
        let sizes = manifest.manifests.iter().filter_map(|m| tx.get::<Image>(&of(&m.digest)));
        sizes.map(|image| image.size_bytes).max().unwrap_or(0)
    };
    let held: Vec<_> = manifest.blobs.into_iter().filter(|b| !b.is_foreign()).collect();
    for blob in &held {
        let layer = LayerId { repository: id.repository.clone(), digest: blob.digest.clone() };
        tx.edit::<Layer>(&layer, |layer| {
            layer.forget_at = None;
            layer.media_type = Some(blob.media_type.clone()).filter(|t| !t.is_empty());
        });
    }
    Image {
        id,
        sequence: tx.next_sequence(),
        manifest: text,
        media_type: manifest.media_type,
        artifact_media_type: manifest.artifact_type,
        annotations: manifest.annotations,
        tags: BTreeSet::new(),
        size_bytes,
        pushed_at: now,
        last_pulled_at: None,
        layers: held.into_iter().map(|b| b.digest).collect(),
        manifests: manifest.manifests.into_iter().map(|m| m.digest).collect(),
        subject: manifest.subject,
    }
}

/// Takes a tag from whichever image has it.
fn untag(tx: &mut Tx<'_>, repository: &RepositoryId, tag: &str) {
    let digest = tx.state().indexes.images.tagged(repository, tag).cloned();
    if let Some(digest) = digest {
        let holder = ImageId { repository: repository.clone(), digest };
        tx.edit::<Image>(&holder, |image| drop(image.tags.take(tag)));
    }
}

fn is_immutable(mutability: &TagMutability, tag: &str) -> bool {
    let matches = |filters: &[String]| filters.iter().any(|filter| matches_wildcard(filter, tag));
    match mutability {
        TagMutability::Mutable => false,
        TagMutability::Immutable => true,
        TagMutability::ImmutableWithExclusion(filters) => !matches(filters),
        TagMutability::MutableWithExclusion(filters) => matches(filters),
    }
}

/// Whether the text matches a pattern in which `*` stands for anything.
fn matches_wildcard(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let tail = parts.pop().unwrap_or_default();
    for part in parts {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, text) in
            [("*", "x"), ("dev-*", "dev-"), ("*-rc*", "1.0-rc1"), ("a", "a"), ("a*a", "aa")]
        {
            assert!(matches_wildcard(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("dev-*", "dev"), ("a*a", "a"), ("*-rc*", "1.0"), ("a", "ab"), ("*x", "xy")] {
            assert!(!matches_wildcard(pattern, text), "{pattern} {text}");
        }
    }
}
