//! What the registry's `/v2/` front needs: commands through [`crate::Core::step`], questions as functions on the state.

use super::delete_image::{self, Kept};
use super::put_image::{self, Push, Pushed};
use super::{errors, images, layers, repositories};
use crate::call::ApiError;
use crate::core::Settings;
use crate::state::ecr::{Image, ImageId, LayerId, Repository, RepositoryId};
use crate::state::{Scope, State};
use crate::tx::Tx;
use api::ecr::{Error, ImageFailureCode as Code, ImageIdentifier};
use std::collections::BTreeSet;
use std::sync::Arc;
use stdx::Timestamp;

/// What the registry wants done.
#[derive(Clone, Debug)]
pub enum Command {
    /// As PutImage, apart from an image that is there already, which is no failure here. The manifest's bytes must be
    /// durable before.
    PutImage(Push),
    /// As one image of BatchDeleteImage.
    DeleteImage { repository: RepositoryId, id: ImageIdentifier },
    /// A layer's bytes are durable and belong to the repository from now on: the end of an upload, or a mount.
    LinkLayer { layer: LayerId, size_bytes: u64 },
    /// An image was pulled. The shell sends it where [`is_pull_news`] says that it matters.
    RecordPull { image: ImageId },
}

/// What became of a command.
#[derive(Clone, Debug)]
pub enum Done {
    Put(Pushed),
    /// What went: the digest with each tag.
    Deleted(Vec<ImageIdentifier>),
    Linked {
        /// False if the repository held the layer already.
        is_new: bool,
    },
    Recorded,
}

/// Applies a command.
pub(crate) fn apply(
    tx: &mut Tx<'_>,
    now: Timestamp,
    settings: &Settings,
    command: Command,
) -> Result<Done, ApiError> {
    let grace = settings.limits.layer_upload;
    match command {
        Command::PutImage(push) => put_image::put(tx, now, push).map(Done::Put),
        Command::DeleteImage { repository, id } => {
            if tx.get::<Repository>(&repository).is_none() {
                return Err(errors::repository_not_found(&repository));
            }
            delete_image::delete(tx, &repository, &id, now.after(grace))
                .map(Done::Deleted)
                .map_err(|kept| refused(&repository, &id, kept))
        }
        Command::LinkLayer { layer, size_bytes } => {
            let size_bytes = i64::try_from(size_bytes).unwrap_or(i64::MAX);
            layers::link(tx, now, grace, layer, size_bytes).map(|is_new| Done::Linked { is_new })
        }
        Command::RecordPull { image } => {
            tx.edit::<Image>(&image, |image| image.last_pulled_at = Some(now));
            Ok(Done::Recorded)
        }
    }
}

fn refused(repository: &RepositoryId, id: &ImageIdentifier, kept: Kept) -> ApiError {
    match kept {
        Kept::Unresolved(Code::ImageNotFound) => errors::image_not_found(repository, id),
        Kept::Unresolved(code) => {
            errors::invalid("imageId", &images::failure(id, code).failure_reason.unwrap_or_default())
        }
        Kept::Referenced(by) => crate::call::fault(
            400,
            Code::ImageReferencedByManifestList.as_str(),
            &delete_image::referenced_text(&by),
        ),
    }
}

/// An error in the distribution specification's terms; each carries its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OciCode {
    Denied,
    NameUnknown,
    TagInvalid,
    ManifestUnknown,
    ManifestInvalid,
    ManifestBlobUnknown,
    DigestInvalid,
    TooManyRequests,
    Unsupported,
}

/// How the registry words an error of a command or question.
pub fn oci_code(error: &ApiError) -> OciCode {
    match error {
        ApiError::Ecr(Error::RepositoryNotFoundException(_)) => OciCode::NameUnknown,
        ApiError::Ecr(Error::ImageNotFoundException(_)) => OciCode::ManifestUnknown,
        ApiError::Ecr(Error::ImageTagAlreadyExistsException(_)) => OciCode::TagInvalid,
        ApiError::Ecr(Error::ImageDigestDoesNotMatchException(_)) => OciCode::DigestInvalid,
        ApiError::Ecr(Error::LayersNotFoundException(_) | Error::ReferencedImagesNotFoundException(_)) => {
            OciCode::ManifestBlobUnknown
        }
        ApiError::Ecr(Error::InvalidParameterException(_)) => OciCode::ManifestInvalid,
        ApiError::Ecr(Error::LimitExceededException(_)) => OciCode::TooManyRequests,
        ApiError::Fault(fault) if fault.code == "AccessDeniedException" => OciCode::Denied,
        _ => OciCode::Unsupported,
    }
}

/// The repository of that name in the scope.
pub fn repository(state: &State, scope: Scope, name: &str) -> Result<RepositoryId, ApiError> {
    Ok(repositories::find_in(state, scope, None, name)?.id.clone())
}

/// The image under a tag or digest.
pub fn image<'a>(
    state: &'a State,
    repository: &RepositoryId,
    id: &ImageIdentifier,
) -> Result<&'a Arc<Image>, ApiError> {
    if !state.repositories.contains(repository) {
        return Err(errors::repository_not_found(repository));
    }
    images::find(state, repository, id).map_err(|_| errors::image_not_found(repository, id))
}

/// Whether a pull of the image now must be recorded with [`Command::RecordPull`].
pub fn is_pull_news(image: &Image, now: Timestamp) -> bool {
    images::is_pull_news(image, now)
}

/// Whether the repository holds a layer or configuration.
pub fn has_layer(state: &State, layer: &LayerId) -> bool {
    state.layers.contains(layer)
}

/// Whether layers may be mounted from one repository into another: the account setting `BLOB_MOUNTING`, one registry,
/// equal encryption.
pub fn may_mount(state: &State, from: &RepositoryId, into: &RepositoryId) -> bool {
    let (Some(source), Some(target)) = (state.repositories.get(from), state.repositories.get(into)) else {
        return false;
    };
    from.scope == into.scope
        && super::registry::may_mount(state, from.scope)
        && source.encryption_type == target.encryption_type
        && source.kms_key == target.kms_key
}

/// Names in order, and whether others follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    pub names: Vec<String>,
    pub has_more: bool,
}

fn names<'a>(mut all: impl Iterator<Item = &'a str>, limit: usize) -> Names {
    let names = all.by_ref().take(limit).map(str::to_owned).collect();
    Names { names, has_more: all.next().is_some() }
}

/// The tags of a repository in lexical order, at most `limit`, those after `after`.
pub fn tags(
    state: &State,
    repository: &RepositoryId,
    after: Option<&str>,
    limit: usize,
) -> Result<Names, ApiError> {
    if !state.repositories.contains(repository) {
        return Err(errors::repository_not_found(repository));
    }
    Ok(names(state.indexes.images.tags_after(repository, after.unwrap_or_default()), limit))
}

/// The repositories of a registry in lexical order, at most `limit`, those after `after`.
pub fn repositories(state: &State, scope: Scope, after: Option<&str>, limit: usize) -> Names {
    let first = RepositoryId { scope, name: after.unwrap_or_default().to_owned() };
    let all =
        state.repositories.range(first..).take_while(|r| r.id.scope == scope).map(|r| r.id.name.as_str());
    names(all.filter(|name| Some(*name) != after), limit)
}

/// The images whose subject is the given one, which need not exist, in order of their digests.
pub fn referrers<'a>(state: &'a State, subject: &'a ImageId) -> impl Iterator<Item = &'a Arc<Image>> {
    let digests = state.indexes.images.referrers_of(subject);
    let id = |digest: &String| ImageId { repository: subject.repository.clone(), digest: digest.clone() };
    digests.filter_map(move |digest| state.images.get(&id(digest)))
}

/// The digests that some repository needs: manifests, layers and configurations. A blob store may drop the others,
/// once they are old enough not to belong to a push under way.
pub fn live_digests(state: &State) -> BTreeSet<&str> {
    let images = state.images.values().map(|image| image.id.digest.as_str());
    images.chain(state.layers.values().map(|layer| layer.id.digest.as_str())).collect()
}
