//! ListImages, DescribeImages, BatchGetImage, ListImageReferrers.

use super::{errors, manifest, repositories};
use crate::call::{ApiError, Ctx};
use crate::page;
use crate::state::State;
use crate::state::ecr::{Image, ImageId, RepositoryId};
use crate::tx::Tx;
use api::ecr::{self as model, ImageFailureCode as Code, TagStatus};
use std::sync::Arc;
use std::time::Duration;
use stdx::Timestamp;

/// How often the time of the last pull is brought up to date (API_ImageDetail).
const PULL_TIME_EVERY: Duration = Duration::from_secs(24 * 3600);

/// The images of a repository in order of their digests.
pub(super) fn of<'a>(state: &'a State, repository: &RepositoryId) -> impl Iterator<Item = &'a Arc<Image>> {
    let repository = repository.clone();
    let first = ImageId { repository: repository.clone(), digest: String::new() };
    state.images.range(first..).take_while(move |image| image.id.repository == repository)
}

/// The image that a tag, a digest or both stand for.
pub(super) fn find<'a>(
    state: &'a State,
    repository: &RepositoryId,
    id: &model::ImageIdentifier,
) -> Result<&'a Arc<Image>, Code> {
    let by_tag = match &id.image_tag {
        Some(tag) if !manifest::is_tag(tag) => return Err(Code::InvalidImageTag),
        Some(tag) => Some(state.indexes.images.tagged(repository, tag).ok_or(Code::ImageNotFound)?),
        None => None,
    };
    let digest = match (&id.image_digest, by_tag) {
        (Some(digest), _) if !manifest::is_digest(digest) => return Err(Code::InvalidImageDigest),
        (Some(digest), Some(tagged)) if digest != tagged => return Err(Code::ImageTagDoesNotMatchDigest),
        (Some(digest), _) | (None, Some(digest)) => digest,
        (None, None) => return Err(Code::MissingDigestAndTag),
    };
    let id = ImageId { repository: repository.clone(), digest: digest.clone() };
    state.images.get(&id).ok_or(Code::ImageNotFound)
}

/// An entry of `failures`.
pub(super) fn failure(id: &model::ImageIdentifier, code: Code) -> model::ImageFailure {
    let reason = match code {
        Code::MissingDigestAndTag => "Invalid request parameters: both tag and digest cannot be null",
        Code::InvalidImageDigest => {
            "Invalid request parameters: image digest should satisfy the regex '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'"
        }
        Code::InvalidImageTag => {
            "Invalid request parameters: image tag should satisfy the regex '[a-zA-Z0-9-_.]+'"
        }
        Code::ImageTagDoesNotMatchDigest => "Requested image tag does not match the requested image digest",
        _ => "Requested image not found",
    };
    model::ImageFailure {
        failure_code: Some(code),
        failure_reason: Some(reason.to_owned()),
        image_id: Some(id.clone()),
    }
}

pub(super) fn list(
    state: &State,
    ctx: &Ctx<'_>,
    request: &model::ListImagesRequest,
) -> Result<model::ListImagesResponse, ApiError> {
    let registry = request.registry_id.as_deref();
    let repository = &repositories::find(state, ctx, registry, &request.repository_name)?.id;
    let filter = request.filter.clone().unwrap_or_default();
    let status = filter.tag_status.unwrap_or(TagStatus::Any);
    let is_shown = shows_status(filter.image_status);
    let ids = of(state, repository).filter(|_| is_shown).flat_map(|image| {
        let digest = &image.id.digest;
        let with = |tag: Option<&String>| (digest.clone(), tag.cloned());
        let untagged = image.tags.is_empty().then(|| with(None));
        untagged.into_iter().chain(image.tags.iter().map(move |tag| with(Some(tag)))).collect::<Vec<_>>()
    });
    let ids = ids.filter(|(_, tag)| shows(status, tag.is_some()));
    let page = page::page(
        ids,
        |(digest, tag)| format!("{digest} {}", tag.as_deref().unwrap_or_default()),
        repositories::limit(request.max_results, 100),
        &format!("ListImages {} {status} {is_shown}", repositories::arn(repository)),
        request.next_token.as_deref(),
    )
    .map_err(repositories::invalid_token)?;
    let ids = page.items.into_iter();
    let ids = ids.map(|(digest, image_tag)| model::ImageIdentifier { image_digest: Some(digest), image_tag });
    Ok(model::ListImagesResponse { image_ids: Some(ids.collect()), next_token: page.next_token })
}

fn shows(status: TagStatus, is_tagged: bool) -> bool {
    match status {
        TagStatus::Any => true,
        TagStatus::Tagged => is_tagged,
        TagStatus::Untagged => !is_tagged,
    }
}

/// Every image is active: the archive storage class is not built.
fn shows_status(filter: Option<model::ImageStatusFilter>) -> bool {
    matches!(filter, None | Some(model::ImageStatusFilter::Active | model::ImageStatusFilter::Any))
}

pub(super) fn describe(
    state: &State,
    ctx: &Ctx<'_>,
    request: &model::DescribeImagesRequest,
) -> Result<model::DescribeImagesResponse, ApiError> {
    let registry = request.registry_id.as_deref();
    let repository = &repositories::find(state, ctx, registry, &request.repository_name)?.id;
    if let Some(ids) = &request.image_ids {
        if request.filter.is_some() || request.max_results.is_some() || request.next_token.is_some() {
            return Err(errors::invalid(
                "imageIds",
                "must not be given with filter, maxResults or nextToken",
            ));
        }
        let found = ids.iter().map(|id| {
            find(state, repository, id).map(|image| detail(image)).map_err(|code| match code {
                Code::ImageNotFound | Code::ImageTagDoesNotMatchDigest => {
                    errors::image_not_found(repository, id)
                }
                code => errors::invalid("imageIds", &failure(id, code).failure_reason.unwrap_or_default()),
            })
        });
        let details = found.collect::<Result<Vec<_>, _>>()?;
        return Ok(model::DescribeImagesResponse { image_details: Some(details), next_token: None });
    }
    let filter = request.filter.clone().unwrap_or_default();
    let status = filter.tag_status.unwrap_or(TagStatus::Any);
    let is_shown = shows_status(filter.image_status);
    let page = page::page(
        of(state, repository).filter(|image| is_shown && shows(status, !image.tags.is_empty())),
        |image| image.id.digest.clone(),
        repositories::limit(request.max_results, 100),
        &format!("DescribeImages {} {status} {is_shown}", repositories::arn(repository)),
        request.next_token.as_deref(),
    )
    .map_err(repositories::invalid_token)?;
    let details = page.items.into_iter().map(|image| detail(image)).collect();
    Ok(model::DescribeImagesResponse { image_details: Some(details), next_token: page.next_token })
}

fn detail(image: &Image) -> model::ImageDetail {
    let tags: Vec<String> = image.tags.iter().cloned().collect();
    model::ImageDetail {
        artifact_media_type: image.artifact_media_type.clone(),
        image_digest: Some(image.id.digest.clone()),
        image_manifest_media_type: Some(image.media_type.clone()),
        image_pushed_at: Some(image.pushed_at),
        image_size_in_bytes: Some(image.size_bytes),
        image_status: Some(model::ImageStatus::Active),
        image_tags: Some(tags).filter(|tags| !tags.is_empty()),
        last_recorded_pull_time: image.last_pulled_at,
        registry_id: Some(image.id.repository.scope.account.to_string()),
        repository_name: Some(image.id.repository.name.clone()),
        subject_manifest_digest: image.subject.clone(),
        ..Default::default()
    }
}

/// The image as PutImage and BatchGetImage return it.
pub(super) fn view(image: &Image, tag: Option<String>) -> model::Image {
    model::Image {
        image_id: Some(model::ImageIdentifier {
            image_digest: Some(image.id.digest.clone()),
            image_tag: tag,
        }),
        image_manifest: Some(image.manifest.to_string()),
        image_manifest_media_type: Some(image.media_type.clone()),
        registry_id: Some(image.id.repository.scope.account.to_string()),
        repository_name: Some(image.id.repository.name.clone()),
    }
}

/// Whether a pull now must be recorded.
pub(super) fn is_pull_news(image: &Image, now: Timestamp) -> bool {
    image.last_pulled_at.is_none_or(|at| now.since(at) >= PULL_TIME_EVERY)
}

/// BatchGetImage as far as nothing must be recorded; `None` if a pull must be, which needs a step.
pub(super) fn get_recorded(
    state: &State,
    ctx: &Ctx<'_>,
    request: &model::BatchGetImageRequest,
) -> Option<Result<model::BatchGetImageResponse, ApiError>> {
    match get(state, ctx, request) {
        Ok((_, pulled)) if pulled.iter().any(|image| is_pull_news(image, ctx.now)) => None,
        result => Some(result.map(|(response, _)| response)),
    }
}

/// BatchGetImage with the pulls recorded.
pub(super) fn get_and_record(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: &model::BatchGetImageRequest,
) -> Result<model::BatchGetImageResponse, ApiError> {
    let (response, pulled) = get(tx.state(), ctx, request)?;
    for image in pulled.iter().filter(|image| is_pull_news(image, ctx.now)) {
        tx.edit::<Image>(&image.id, |image| image.last_pulled_at = Some(ctx.now));
    }
    Ok(response)
}

type Got = (model::BatchGetImageResponse, Vec<Arc<Image>>);

fn get(state: &State, ctx: &Ctx<'_>, request: &model::BatchGetImageRequest) -> Result<Got, ApiError> {
    let registry = request.registry_id.as_deref();
    let repository = &repositories::find(state, ctx, registry, &request.repository_name)?.id;
    let (mut images, mut failures, mut pulled) = (Vec::new(), Vec::new(), Vec::new());
    for id in &request.image_ids {
        match find(state, repository, id) {
            Ok(image) => {
                images.push(view(image, id.image_tag.clone()));
                pulled.push(image.clone());
            }
            Err(code) => failures.push(failure(id, code)),
        }
    }
    Ok((model::BatchGetImageResponse { images: Some(images), failures: Some(failures) }, pulled))
}

pub(super) fn list_referrers(
    state: &State,
    ctx: &Ctx<'_>,
    request: &model::ListImageReferrersRequest,
) -> Result<model::ListImageReferrersResponse, ApiError> {
    let registry = request.registry_id.as_deref();
    let repository = repositories::find(state, ctx, registry, &request.repository_name)?.id.clone();
    let filter = request.filter.clone().unwrap_or_default();
    let types = filter.artifact_types.unwrap_or_default();
    let is_shown = !matches!(filter.artifact_status.map(|s| s.as_str()), Some("ARCHIVED" | "ACTIVATING"));
    let subject = ImageId { repository, digest: request.subject_id.image_digest.clone() };
    let referrers = state.indexes.images.referrers_of(&subject);
    let referrers = referrers
        .filter_map(|digest| state.images.get(&ImageId { digest: digest.clone(), ..subject.clone() }));
    let is_type = |image: &Image| {
        types.is_empty() || image.artifact_media_type.as_ref().is_some_and(|t| types.contains(t))
    };
    let page = page::page(
        referrers.filter(|image| is_shown && is_type(image)),
        |image| image.id.digest.clone(),
        repositories::limit(request.max_results, 20),
        &format!(
            "ListImageReferrers {} {} {is_shown} {types:?}",
            repositories::arn(&subject.repository),
            subject.digest
        ),
        request.next_token.as_deref(),
    )
    .map_err(repositories::invalid_token)?;
    let referrer = |image: &Arc<Image>| model::ImageReferrer {
        annotations: Some(image.annotations.clone()).filter(|a| !a.is_empty()),
        artifact_status: Some(model::ArtifactStatus::Active),
        artifact_type: image.artifact_media_type.clone(),
        digest: image.id.digest.clone(),
        media_type: image.media_type.clone(),
        size: i64::try_from(image.manifest.len()).unwrap_or(i64::MAX),
    };
    Ok(model::ListImageReferrersResponse {
        referrers: Some(page.items.into_iter().map(referrer).collect()),
        next_token: page.next_token,
    })
}
