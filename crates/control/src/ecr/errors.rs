//! ECR's exceptions with the texts that tools match on.

use crate::call::ApiError;
use crate::state::ecr::{ImageId, RepositoryId};
use api::ecr::{self as model, Error};

fn ecr(error: impl Into<Error>) -> ApiError {
    ApiError::Ecr(error.into())
}

/// A call that reaches into another account's registry.
pub(super) fn other_registry(registry: &str) -> ApiError {
    let text = format!(
        "The registry with id '{registry}' belongs to another account, and this version of Wharf does not evaluate \
         the policies that share registries between accounts."
    );
    crate::call::fault(400, "AccessDeniedException", &text)
}

/// ECR's sentence for a member that breaks a rule.
pub(super) fn invalid(parameter: &str, constraint: &str) -> ApiError {
    let text = format!("Invalid parameter at '{parameter}' failed to satisfy constraint: '{constraint}'");
    ecr(model::InvalidParameterException::new(text))
}

fn of(id: &RepositoryId) -> String {
    format!("the repository with name '{}' in the registry with id '{}'", id.name, id.scope.account)
}

pub(super) fn repository_not_found(id: &RepositoryId) -> ApiError {
    let text = format!(
        "The repository with name '{}' does not exist in the registry with id '{}'",
        id.name, id.scope.account
    );
    ecr(model::RepositoryNotFoundException::new(text))
}

pub(super) fn repository_exists(id: &RepositoryId) -> ApiError {
    let text = format!(
        "The repository with name '{}' already exists in the registry with id '{}'",
        id.name, id.scope.account
    );
    ecr(model::RepositoryAlreadyExistsException::new(text))
}

pub(super) fn repository_not_empty(id: &RepositoryId) -> ApiError {
    let text = format!(
        "The repository with name '{}' in registry with id '{}' cannot be deleted because it still contains images",
        id.name, id.scope.account
    );
    ecr(model::RepositoryNotEmptyException::new(text))
}

pub(super) fn policy_not_found(id: &RepositoryId) -> ApiError {
    ecr(model::RepositoryPolicyNotFoundException::new(format!(
        "Repository policy does not exist for {}",
        of(id)
    )))
}

pub(super) fn lifecycle_policy_not_found(id: &RepositoryId) -> ApiError {
    ecr(model::LifecyclePolicyNotFoundException::new(format!(
        "Lifecycle policy does not exist for {}",
        of(id)
    )))
}

pub(super) fn registry_policy_not_found(account: &str) -> ApiError {
    let text = format!("Registry policy does not exist in the registry with id '{account}'");
    ecr(model::RegistryPolicyNotFoundException::new(text))
}

pub(super) fn image_not_found(id: &RepositoryId, image: &model::ImageIdentifier) -> ApiError {
    let shown = |value: &Option<String>| value.as_ref().map_or("null".to_owned(), |v| format!("'{v}'"));
    let text = format!(
        "The image with imageId {{imageDigest:{}, imageTag:{}}} does not exist within the repository with name \
         '{}' in the registry with id '{}'",
        shown(&image.image_digest),
        shown(&image.image_tag),
        id.name,
        id.scope.account
    );
    ecr(model::ImageNotFoundException::new(text))
}

pub(super) fn image_exists(id: &ImageId, tag: Option<&str>) -> ApiError {
    let tag = tag.map_or_else(String::new, |tag| format!(" and tag '{tag}'"));
    let text = format!(
        "Image with digest '{}'{tag} already exists in the repository with name '{}' in registry with id '{}'",
        id.digest, id.repository.name, id.repository.scope.account
    );
    ecr(model::ImageAlreadyExistsException::new(text))
}

pub(super) fn tag_is_immutable(id: &RepositoryId, tag: &str) -> ApiError {
    let text = format!(
        "The image tag '{tag}' already exists in the '{}' repository and cannot be overwritten because the tag \
         is immutable.",
        id.name
    );
    ecr(model::ImageTagAlreadyExistsException::new(text))
}

pub(super) fn digest_does_not_match(given: &str, calculated: &str) -> ApiError {
    let text = format!(
        "The specified image digest '{given}' does not match the digest '{calculated}' of the image manifest"
    );
    ecr(model::ImageDigestDoesNotMatchException::new(text))
}

fn required(what: &str, digests: &[&str], id: &RepositoryId) -> String {
    format!(
        "{what} with digests '[{}]' required for pushing image into repository with name '{}' in the registry \
         with id '{}' do not exist",
        digests.join(", "),
        id.name,
        id.scope.account
    )
}

pub(super) fn layers_required(digests: &[&str], id: &RepositoryId) -> ApiError {
    ecr(model::LayersNotFoundException::new(required("Layers", digests, id)))
}

pub(super) fn images_required(digests: &[&str], id: &RepositoryId) -> ApiError {
    ecr(model::ReferencedImagesNotFoundException::new(required("Images", digests, id)))
}

pub(super) fn layer_not_found(digest: &str, id: &RepositoryId) -> ApiError {
    let text = format!("Layer with digest '{digest}' does not exist in {}", of(id));
    ecr(model::LayersNotFoundException::new(text))
}

pub(super) fn layer_exists(digest: &str, id: &RepositoryId) -> ApiError {
    let text = format!("Layer with digest '{digest}' already exists in {}", of(id));
    ecr(model::LayerAlreadyExistsException::new(text))
}

pub(super) fn layer_is_inaccessible(digest: &str, id: &RepositoryId) -> ApiError {
    let text = format!("Layer with digest '{digest}' is not part of any image in {}", of(id));
    ecr(model::LayerInaccessibleException::new(text))
}

/// None of the digests given with CompleteLayerUpload is that of the bytes that came.
pub fn wrong_layer_digest() -> ApiError {
    ecr(model::InvalidLayerException::new(
        "None of the provided layer digests match the calculated layer digest",
    ))
}

pub(super) fn upload_not_found(upload: &str, id: &RepositoryId) -> ApiError {
    let text = format!("The upload with id '{upload}' does not exist in {}", of(id));
    ecr(model::UploadNotFoundException::new(text))
}

pub(super) fn upload_is_empty(upload: &str, id: &RepositoryId) -> ApiError {
    let text = format!("The upload with id '{upload}' to {} does not contain any layer parts", of(id));
    ecr(model::EmptyUploadException::new(text))
}

pub(super) fn part_too_small(upload: &str) -> ApiError {
    let text =
        format!("A layer part of the upload with id '{upload}' is smaller than 5 MiB and is not the last");
    ecr(model::LayerPartTooSmallException::new(text))
}

pub(super) fn limit(text: impl Into<String>) -> ApiError {
    ecr(model::LimitExceededException::new(text))
}

pub(super) fn tag_is_invalid(text: impl Into<String>) -> ApiError {
    ecr(model::InvalidTagParameterException::new(text))
}

pub(super) fn too_many_tags() -> ApiError {
    ecr(model::TooManyTagsException::new("The number of tags exceeds the limit of 50 for a repository"))
}
