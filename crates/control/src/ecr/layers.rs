//! BatchCheckLayerAvailability, and the metadata half of the layer operations.
//!
//! Uploads and bytes live in the registry's blob store, which the core cannot reach. So the shell answers these itself:
//!
//! - `InitiateLayerUpload`: [`repository`] finds the repository; the store begins an upload for its [`super::arn`];
//!   [`initiated`] is the reply.
//! - `UploadLayerPart`: [`repository`]; the store appends the part; [`part_received`], or [`refuse`] with what the store
//!   says.
//! - `CompleteLayerUpload`: [`repository`]; the store completes the upload, which makes the bytes durable; the step
//!   [`super::Command::LinkLayer`] records the layer, and its [`super::Done::Linked`] tells whether it was there
//!   already: then [`UploadFailure::AlreadyHeld`], else [`completed`].
//! - `GetDownloadUrlForLayer`: [`downloadable`] checks; the shell makes a URL that it accepts for an hour; [`download`].

use super::{errors, manifest, repositories};
use crate::call::{ApiError, Ctx};
use crate::state::ecr::{Layer, LayerId, Repository, RepositoryId};
use crate::state::{Scope, State};
use crate::tx::Tx;
use api::ecr as model;
use std::time::Duration;
use stdx::Timestamp;

/// What InitiateLayerUpload proposes, as ECR does.
const PART_SIZE: i64 = 10 << 20;

pub(super) fn availability(
    state: &State,
    ctx: &Ctx<'_>,
    request: &model::BatchCheckLayerAvailabilityRequest,
) -> Result<model::BatchCheckLayerAvailabilityResponse, ApiError> {
    let registry = request.registry_id.as_deref();
    let repository = &repositories::find(state, ctx, registry, &request.repository_name)?.id;
    let (mut layers, mut failures) = (Vec::new(), Vec::new());
    for digest in &request.layer_digests {
        let failure = |code, reason: &str| model::LayerFailure {
            failure_code: Some(code),
            failure_reason: Some(reason.to_owned()),
            layer_digest: Some(digest.clone()),
        };
        if digest.is_empty() {
            failures
                .push(failure(model::LayerFailureCode::MissingLayerDigest, "The layer digest is missing"));
        } else if !manifest::is_digest(digest) {
            let reason = "The layer digest must satisfy regular expression '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'";
            failures.push(failure(model::LayerFailureCode::InvalidLayerDigest, reason));
        } else {
            let id = LayerId { repository: repository.clone(), digest: digest.clone() };
            layers.push(view(&id, state.layers.get(&id).map(|layer| &**layer)));
        }
    }
    Ok(model::BatchCheckLayerAvailabilityResponse { layers: Some(layers), failures: Some(failures) })
}

fn view(id: &LayerId, layer: Option<&Layer>) -> model::Layer {
    model::Layer {
        layer_availability: Some(match layer {
            Some(_) => model::LayerAvailability::Available,
            None => model::LayerAvailability::Unavailable,
        }),
        layer_digest: Some(id.digest.clone()),
        layer_size: layer.map(|layer| layer.size_bytes),
        media_type: layer.and_then(|layer| layer.media_type.clone()),
    }
}

/// The repository that a layer operation names, which must exist.
pub fn repository(
    state: &State,
    scope: Scope,
    registry: Option<&str>,
    name: &str,
) -> Result<RepositoryId, ApiError> {
    Ok(repositories::find_in(state, scope, registry, name)?.id.clone())
}

/// The reply to InitiateLayerUpload.
pub fn initiated(upload: String) -> model::InitiateLayerUploadResponse {
    model::InitiateLayerUploadResponse { part_size: Some(PART_SIZE), upload_id: Some(upload) }
}

/// The reply to UploadLayerPart; `last` is the number of the last byte that the upload holds.
pub fn part_received(repository: &RepositoryId, upload: &str, last: u64) -> model::UploadLayerPartResponse {
    model::UploadLayerPartResponse {
        last_byte_received: Some(i64::try_from(last).unwrap_or(i64::MAX)),
        registry_id: Some(repository.scope.account.to_string()),
        repository_name: Some(repository.name.clone()),
        upload_id: Some(upload.to_owned()),
    }
}

/// The reply to CompleteLayerUpload.
pub fn completed(
    repository: &RepositoryId,
    upload: &str,
    digest: &str,
) -> model::CompleteLayerUploadResponse {
    model::CompleteLayerUploadResponse {
        layer_digest: Some(digest.to_owned()),
        registry_id: Some(repository.scope.account.to_string()),
        repository_name: Some(repository.name.clone()),
        upload_id: Some(upload.to_owned()),
    }
}

/// The reply to GetDownloadUrlForLayer.
pub fn download(digest: &str, url: String) -> model::GetDownloadUrlForLayerResponse {
    model::GetDownloadUrlForLayerResponse { download_url: Some(url), layer_digest: Some(digest.to_owned()) }
}

/// What a blob store may say of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadFailure {
    NotFound,
    /// The part is not where the upload goes on, or is not as long as its range; the last byte that the upload holds.
    InvalidPart {
        last_valid: Option<u64>,
    },
    Empty,
    PartTooSmall,
    WrongDigest,
    TooLarge,
    /// The repository holds the layer already.
    AlreadyHeld {
        digest: String,
    },
}

/// The exception for a failure of an upload.
pub fn refuse(repository: &RepositoryId, upload: &str, failure: UploadFailure) -> ApiError {
    match failure {
        UploadFailure::NotFound => errors::upload_not_found(upload, repository),
        UploadFailure::Empty => errors::upload_is_empty(upload, repository),
        UploadFailure::PartTooSmall => errors::part_too_small(upload),
        UploadFailure::WrongDigest => errors::wrong_layer_digest(),
        UploadFailure::TooLarge => errors::limit("The layer is larger than a layer may be"),
        UploadFailure::AlreadyHeld { digest } => errors::layer_exists(&digest, repository),
        UploadFailure::InvalidPart { last_valid } => {
            let last = last_valid.and_then(|last| i64::try_from(last).ok());
            let text = format!(
                "The layer part of the upload with id '{upload}' does not continue it: its last valid byte is {}",
                last.map_or_else(|| "none".to_owned(), |last| last.to_string())
            );
            ApiError::Ecr(
                model::InvalidLayerPartException {
                    last_valid_byte_received: last,
                    registry_id: Some(repository.scope.account.to_string()),
                    repository_name: Some(repository.name.clone()),
                    upload_id: Some(upload.to_owned()),
                    ..model::InvalidLayerPartException::new(text)
                }
                .into(),
            )
        }
    }
}

/// The layer that GetDownloadUrlForLayer means: the repository must hold it, for some image.
pub fn downloadable<'a>(
    state: &'a State,
    scope: Scope,
    request: &model::GetDownloadUrlForLayerRequest,
) -> Result<&'a Layer, ApiError> {
    let registry = request.registry_id.as_deref();
    let repository = repository(state, scope, registry, &request.repository_name)?;
    let id = LayerId { repository, digest: request.layer_digest.clone() };
    let layer = state.layers.get(&id).ok_or_else(|| errors::layer_not_found(&id.digest, &id.repository))?;
    if state.indexes.images.users_of(&id).next().is_none() {
        return Err(errors::layer_is_inaccessible(&id.digest, &id.repository));
    }
    Ok(layer)
}

/// Records that a repository holds a layer; false if it did already.
pub(super) fn link(
    tx: &mut Tx<'_>,
    now: Timestamp,
    grace: Duration,
    id: LayerId,
    size_bytes: i64,
) -> Result<bool, ApiError> {
    if tx.get::<Repository>(&id.repository).is_none() {
        return Err(errors::repository_not_found(&id.repository));
    }
    let forget_at = Some(now.after(grace));
    let is_used = tx.state().indexes.images.users_of(&id).next().is_some();
    if tx.get::<Layer>(&id).is_some() {
        // Pushed again: a layer that nothing needs yet stays for another while.
        if !is_used {
            tx.edit::<Layer>(&id, |layer| layer.forget_at = forget_at);
        }
        return Ok(false);
    }
    tx.put(Layer { id, size_bytes, media_type: None, uploaded_at: now, forget_at });
    Ok(true)
}
