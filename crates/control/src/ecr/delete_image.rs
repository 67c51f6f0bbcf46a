//! BatchDeleteImage: the one rule behind the API's operation and the registry's `DELETE …/manifests/…`.

use super::{images, repositories};
use crate::call::{ApiError, Ctx};
use crate::state::ecr::{Image, ImageId, Layer, LayerId, RepositoryId};
use crate::tx::Tx;
use api::ecr::{self as model, ImageFailureCode as Code, ImageIdentifier};
use stdx::Timestamp;

/// Why an image stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The identifier is wrong, or stands for nothing.
    Unresolved(Code),
    /// Indexes name the image: their digests.
    Referenced(Vec<String>),
}

pub(super) fn execute(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::BatchDeleteImageRequest,
) -> Result<model::BatchDeleteImageResponse, ApiError> {
    let registry = request.registry_id.as_deref();
    let repository = repositories::find(tx.state(), ctx, registry, &request.repository_name)?.id.clone();
    let mut ids: Vec<ImageIdentifier> = Vec::new();
    for id in request.image_ids {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let forget_at = ctx.now.after(ctx.settings.limits.layer_upload);
    let (mut gone, mut failures) = (Vec::new(), Vec::new());
    // An index that goes with this call frees its images, in whichever order they are listed.
    loop {
        let mut stuck = Vec::new();
        let count = ids.len();
        for id in ids {
            match delete(tx, &repository, &id, forget_at) {
                Ok(deleted) => gone.extend(deleted),
                Err(Kept::Referenced(by)) => stuck.push((id, by)),
                Err(Kept::Unresolved(code)) => failures.push(images::failure(&id, code)),
            }
        }
        if stuck.is_empty() || stuck.len() == count {
            failures.extend(stuck.into_iter().map(|(id, by)| referenced(id, &by)));
            break;
        }
        ids = stuck.into_iter().map(|(id, _)| id).collect();
    }
    Ok(model::BatchDeleteImageResponse { image_ids: Some(gone), failures: Some(failures) })
}

/// The sentence for an image that indexes name.
pub(super) fn referenced_text(by: &[String]) -> String {
    format!("Requested image referenced by manifest list: [{}]", by.join(", "))
}

fn referenced(id: ImageIdentifier, by: &[String]) -> model::ImageFailure {
    model::ImageFailure {
        failure_code: Some(Code::ImageReferencedByManifestList),
        failure_reason: Some(referenced_text(by)),
        image_id: Some(id),
    }
}

/// Deletes by tag (the tag, and the image if it was its last) or by digest (the image and all its tags); returns what
/// went, a digest with each tag.
pub(super) fn delete(
    tx: &mut Tx<'_>,
    repository: &RepositoryId,
    id: &ImageIdentifier,
    forget_layers_at: Timestamp,
) -> Result<Vec<ImageIdentifier>, Kept> {
    let image = images::find(tx.state(), repository, id).map_err(Kept::Unresolved)?.clone();
    let digest = &image.id.digest;
    if let Some(tag) = &id.image_tag
        && image.tags.len() > 1
    {
        tx.edit::<Image>(&image.id, |image| drop(image.tags.take(tag)));
        return Ok(vec![ImageIdentifier {
            image_digest: Some(digest.clone()),
            image_tag: Some(tag.clone()),
        }]);
    }
    let by: Vec<String> = tx.state().indexes.images.indexes_of(&image.id).cloned().collect();
    if !by.is_empty() {
        return Err(Kept::Referenced(by));
    }
    tx.remove::<Image>(&image.id);
    release(tx, &image, forget_layers_at);
    if image.tags.is_empty() {
        return Ok(vec![ImageIdentifier { image_digest: Some(digest.clone()), image_tag: None }]);
    }
    let tags = image.tags.iter().cloned();
    Ok(tags.map(|tag| ImageIdentifier { image_digest: Some(digest.clone()), image_tag: Some(tag) }).collect())
}

/// Lets the layers go, after a while, that no other image of the repository needs.
fn release(tx: &mut Tx<'_>, image: &Image, forget_at: Timestamp) {
    let ImageId { repository, .. } = &image.id;
    for digest in &image.layers {
        let layer = LayerId { repository: repository.clone(), digest: digest.clone() };
        if tx.state().indexes.images.users_of(&layer).next().is_none() {
            tx.edit::<Layer>(&layer, |layer| layer.forget_at = Some(forget_at));
        }
    }
}
