//! CreateRepository, DescribeRepositories, DeleteRepository, PutImageTagMutability, PutImageScanningConfiguration.

use super::{errors, tags};
use crate::call::{ApiError, Ctx};
use crate::core::Settings;
use crate::page;
use crate::state::ecr::{Image, ImageId, Layer, LayerId, Repository, RepositoryId, TagMutability};
use crate::state::{Scope, State};
use crate::tx::Tx;
use api::ecr::{self as model, ImageTagMutability as Mutability};
use std::sync::Arc;

/// Repositories that an account may have in a Region (AWS's default quota).
const REPOSITORIES_MAX: usize = 100_000;

/// The registry that a request's `registryId` stands for: the caller's own.
///
/// Another account's is reached only through its policies, and those are not evaluated yet.
fn registry(scope: Scope, registry: Option<&str>) -> Result<Scope, ApiError> {
    match registry {
        Some(other) if other != scope.account.to_string() => Err(errors::other_registry(other)),
        _ => Ok(scope),
    }
}

/// The id that a request's `registryId` and `repositoryName` stand for.
pub(super) fn id(scope: Scope, registry: Option<&str>, name: &str) -> Result<RepositoryId, ApiError> {
    Ok(RepositoryId { scope: self::registry(scope, registry)?, name: name.to_owned() })
}

/// The repository that a request names, which must exist.
pub(super) fn find<'a>(
    state: &'a State,
    ctx: &Ctx<'_>,
    registry: Option<&str>,
    name: &str,
) -> Result<&'a Arc<Repository>, ApiError> {
    find_in(state, ctx.scope, registry, name)
}

/// As [`find`], for callers outside of an operation.
pub(super) fn find_in<'a>(
    state: &'a State,
    scope: Scope,
    registry: Option<&str>,
    name: &str,
) -> Result<&'a Arc<Repository>, ApiError> {
    let id = id(scope, registry, name)?;
    state.repositories.get(&id).ok_or_else(|| errors::repository_not_found(&id))
}

pub(super) fn create(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::CreateRepositoryRequest,
) -> Result<model::CreateRepositoryResponse, ApiError> {
    let id = id(ctx.scope, request.registry_id.as_deref(), &request.repository_name)?;
    check_name(&id.name)?;
    let tags = tags::checked(&[], request.tags.unwrap_or_default())?;
    let mutability = mutability(
        request.image_tag_mutability.unwrap_or_default(),
        request.image_tag_mutability_exclusion_filters,
    )?;
    if tx.get::<Repository>(&id).is_some() {
        return Err(errors::repository_exists(&id));
    }
    if of_scope(tx.state(), id.scope).count() >= REPOSITORIES_MAX {
        return Err(errors::limit(format!("The limit of {REPOSITORIES_MAX} repositories is reached")));
    }
    let encryption = request.encryption_configuration.unwrap_or_default();
    if encryption.encryption_type == model::EncryptionType::Aes256 && encryption.kms_key.is_some() {
        return Err(errors::invalid("kmsKey", "must not be given when encryptionType is AES256"));
    }
    let sequence = tx.next_sequence();
    let repository = tx.put(Repository {
        id,
        sequence,
        created_at: ctx.now,
        mutability,
        scan_on_push: request.image_scanning_configuration.and_then(|c| c.scan_on_push).unwrap_or(false),
        encryption_type: encryption.encryption_type.as_str().to_owned(),
        kms_key: encryption.kms_key,
        policy: None,
        tags,
    });
    Ok(model::CreateRepositoryResponse { repository: Some(view(ctx.settings, &repository)) })
}

/// The model's pattern, checked here too because the registry's own door has no model.
fn check_name(name: &str) -> Result<(), ApiError> {
    let is_part = |part: &str| {
        let bytes = part.as_bytes();
        let is_alnum = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let ends = bytes.first().is_some_and(is_alnum) && bytes.last().is_some_and(is_alnum);
        let is_separator =
            |run: &str| run.is_empty() || matches!(run, "." | "_" | "__") || run.bytes().all(|b| b == b'-');
        ends && part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).all(is_separator)
    };
    if (2..=256).contains(&name.len()) && name.split('/').all(is_part) {
        return Ok(());
    }
    Err(errors::invalid(
        "repositoryName",
        "must satisfy regular expression \
         '(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*'",
    ))
}

pub(super) fn describe(
    state: &State,
    ctx: &Ctx<'_>,
    request: &model::DescribeRepositoriesRequest,
) -> Result<model::DescribeRepositoriesResponse, ApiError> {
    let registry = request.registry_id.as_deref();
    if let Some(names) = &request.repository_names {
        if request.max_results.is_some() || request.next_token.is_some() {
            return Err(errors::invalid("maxResults", "must not be given with repositoryNames"));
        }
        let found = names.iter().map(|name| find(state, ctx, registry, name).map(|r| view(ctx.settings, r)));
        let repositories = found.collect::<Result<Vec<_>, _>>()?;
        return Ok(model::DescribeRepositoriesResponse {
            repositories: Some(repositories),
            next_token: None,
        });
    }
    let page = page::page(
        of_scope(state, self::registry(ctx.scope, registry)?),
        |r| r.id.name.clone(),
        limit(request.max_results, 100),
        "DescribeRepositories",
        request.next_token.as_deref(),
    )
    .map_err(invalid_token)?;
    Ok(model::DescribeRepositoriesResponse {
        repositories: Some(page.items.iter().map(|r| view(ctx.settings, r)).collect()),
        next_token: page.next_token,
    })
}

/// The repositories of an account and Region, by name.
pub(super) fn of_scope(state: &State, scope: Scope) -> impl Iterator<Item = &Arc<Repository>> {
    let first = RepositoryId { scope, name: String::new() };
    state.repositories.range(first..).take_while(move |r| r.id.scope == scope)
}

/// How many items a page may have.
pub(super) fn limit(max_results: Option<i32>, default: usize) -> usize {
    max_results.and_then(|n| usize::try_from(n).ok()).unwrap_or(default)
}

pub(super) fn invalid_token(_: page::InvalidToken) -> ApiError {
    errors::invalid("nextToken", "must be a token that this operation returned")
}

pub(super) fn delete(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: &model::DeleteRepositoryRequest,
) -> Result<model::DeleteRepositoryResponse, ApiError> {
    let registry = request.registry_id.as_deref();
    let repository = find(tx.state(), ctx, registry, &request.repository_name)?.clone();
    let id = &repository.id;
    if tx.state().indexes.images.count(id) > 0 && request.force != Some(true) {
        return Err(errors::repository_not_empty(id));
    }
    let images: Vec<ImageId> = super::images::of(tx.state(), id).map(|i| i.id.clone()).collect();
    images.iter().for_each(|image| tx.remove::<Image>(image));
    let first = LayerId { repository: id.clone(), digest: String::new() };
    let layers = tx.state().layers.range(first..).take_while(|l| l.id.repository == *id);
    let layers: Vec<LayerId> = layers.map(|l| l.id.clone()).collect();
    layers.iter().for_each(|layer| tx.remove::<Layer>(layer));
    tx.remove::<Repository>(id);
    Ok(model::DeleteRepositoryResponse { repository: Some(view(ctx.settings, &repository)) })
}

pub(super) fn put_mutability(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::PutImageTagMutabilityRequest,
) -> Result<model::PutImageTagMutabilityResponse, ApiError> {
    let registry = request.registry_id.as_deref();
    let id = find(tx.state(), ctx, registry, &request.repository_name)?.id.clone();
    let mutability =
        mutability(request.image_tag_mutability, request.image_tag_mutability_exclusion_filters.clone())?;
    tx.edit::<Repository>(&id, |r| r.mutability = mutability);
    Ok(model::PutImageTagMutabilityResponse {
        image_tag_mutability: Some(request.image_tag_mutability),
        image_tag_mutability_exclusion_filters: request.image_tag_mutability_exclusion_filters,
        registry_id: Some(id.scope.account.to_string()),
        repository_name: Some(id.name),
    })
}

fn mutability(
    kind: Mutability,
    filters: Option<Vec<model::ImageTagMutabilityExclusionFilter>>,
) -> Result<TagMutability, ApiError> {
    let parameter = "imageTagMutabilityExclusionFilters";
    let filters: Vec<String> = filters.unwrap_or_default().into_iter().map(|f| f.filter).collect();
    if filters.iter().any(|f| f.bytes().filter(|&b| b == b'*').count() > 2) {
        return Err(errors::invalid(parameter, "a filter must have at most two wildcards"));
    }
    match (kind, filters.len()) {
        (Mutability::Mutable, 0) => Ok(TagMutability::Mutable),
        (Mutability::Immutable, 0) => Ok(TagMutability::Immutable),
        (Mutability::Mutable | Mutability::Immutable, _) => {
            Err(errors::invalid(parameter, "must not be given with MUTABLE or IMMUTABLE"))
        }
        (_, 1..=5) if kind == Mutability::ImmutableWithExclusion => {
            Ok(TagMutability::ImmutableWithExclusion(filters))
        }
        (_, 1..=5) => Ok(TagMutability::MutableWithExclusion(filters)),
        _ => Err(errors::invalid(parameter, "must have between 1 and 5 filters")),
    }
}

pub(super) fn put_scanning(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::PutImageScanningConfigurationRequest,
) -> Result<model::PutImageScanningConfigurationResponse, ApiError> {
    let registry = request.registry_id.as_deref();
    let id = find(tx.state(), ctx, registry, &request.repository_name)?.id.clone();
    let scan_on_push = request.image_scanning_configuration.scan_on_push.unwrap_or(false);
    tx.edit::<Repository>(&id, |r| r.scan_on_push = scan_on_push);
    Ok(model::PutImageScanningConfigurationResponse {
        image_scanning_configuration: Some(model::ImageScanningConfiguration {
            scan_on_push: Some(scan_on_push),
        }),
        registry_id: Some(id.scope.account.to_string()),
        repository_name: Some(id.name),
    })
}

/// The host of an account's registry, as it stands in image names.
pub fn host(settings: &Settings, scope: Scope) -> String {
    settings
        .registry_host
        .replace("{account}", &scope.account.to_string())
        .replace("{region}", scope.region.as_str())
        .replace("{port}", &settings.port.to_string())
}

/// `arn:aws:ecr:REGION:ACCOUNT:repository/NAME`.
pub fn arn(id: &RepositoryId) -> String {
    format!("arn:aws:ecr:{}:{}:repository/{}", id.scope.region, id.scope.account, id.name)
}

/// The repository as DescribeRepositories shows it.
fn view(settings: &Settings, repository: &Repository) -> model::Repository {
    let id = &repository.id;
    let (mutability, filters) = match &repository.mutability {
        TagMutability::Mutable => (Mutability::Mutable, None),
        TagMutability::Immutable => (Mutability::Immutable, None),
        TagMutability::ImmutableWithExclusion(f) => (Mutability::ImmutableWithExclusion, Some(f)),
        TagMutability::MutableWithExclusion(f) => (Mutability::MutableWithExclusion, Some(f)),
    };
    let filter = |text: &String| model::ImageTagMutabilityExclusionFilter {
        filter: text.clone(),
        filter_type: model::ImageTagMutabilityExclusionFilterType::Wildcard,
    };
    model::Repository {
        created_at: Some(repository.created_at),
        encryption_configuration: Some(model::EncryptionConfiguration {
            encryption_type: model::EncryptionType::parse(&repository.encryption_type).unwrap_or_default(),
            kms_key: repository.kms_key.clone(),
        }),
        image_scanning_configuration: Some(model::ImageScanningConfiguration {
            scan_on_push: Some(repository.scan_on_push),
        }),
        image_tag_mutability: Some(mutability),
        image_tag_mutability_exclusion_filters: filters.map(|f| f.iter().map(filter).collect()),
        registry_id: Some(id.scope.account.to_string()),
        repository_arn: Some(arn(id)),
        repository_name: Some(id.name.clone()),
        repository_uri: Some(format!("{}/{}", host(settings, id.scope), id.name)),
    }
}
