//! TagResource, UntagResource, ListTagsForResource: tags of repositories.

use super::{errors, repositories};
use crate::arn::Arn;
use crate::call::{ApiError, Ctx};
use crate::state::State;
use crate::state::ecr::{Repository, RepositoryId};
use crate::state::ecs::Tag;
use crate::tx::Tx;
use api::ecr as model;

const TAGS_MAX: usize = 50;

/// The tags that result from adding some to others.
pub(super) fn checked(old: &[Tag], new: Vec<model::Tag>) -> Result<Vec<Tag>, ApiError> {
    let mut tags = old.to_vec();
    for model::Tag { key, value } in new {
        if !(1..=128).contains(&key.chars().count()) {
            return Err(errors::tag_is_invalid("Tag keys must have between 1 and 128 characters"));
        }
        if value.chars().count() > 256 {
            return Err(errors::tag_is_invalid("Tag values must have at most 256 characters"));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(errors::tag_is_invalid("Tag keys must not begin with 'aws:'"));
        }
        match tags.iter_mut().find(|tag| tag.key == key) {
            Some(tag) => tag.value = value,
            None => tags.push(Tag { key, value }),
        }
    }
    if tags.len() > TAGS_MAX { Err(errors::too_many_tags()) } else { Ok(tags) }
}

/// The repository of that ARN.
fn find(state: &State, ctx: &Ctx<'_>, arn: &str) -> Result<RepositoryId, ApiError> {
    let parsed = Arn::parse(arn).filter(|a| a.service == "ecr" && a.region == ctx.scope.region.as_str());
    let name = parsed.and_then(|a| Some((a.account, a.resource.strip_prefix("repository/")?)));
    let (account, name) =
        name.ok_or_else(|| errors::invalid("resourceArn", "must be the ARN of a repository in this Region"))?;
    Ok(repositories::find(state, ctx, Some(account), name)?.id.clone())
}

pub(super) fn tag(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::TagResourceRequest,
) -> Result<model::TagResourceResponse, ApiError> {
    let id = find(tx.state(), ctx, &request.resource_arn)?;
    let old = tx.get::<Repository>(&id).map(|r| r.tags.clone()).unwrap_or_default();
    let tags = checked(&old, request.tags)?;
    tx.edit::<Repository>(&id, |r| r.tags = tags);
    Ok(model::TagResourceResponse {})
}

pub(super) fn untag(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: &model::UntagResourceRequest,
) -> Result<model::UntagResourceResponse, ApiError> {
    let id = find(tx.state(), ctx, &request.resource_arn)?;
    tx.edit::<Repository>(&id, |r| r.tags.retain(|tag| !request.tag_keys.contains(&tag.key)));
    Ok(model::UntagResourceResponse {})
}

pub(super) fn list(
    state: &State,
    ctx: &Ctx<'_>,
    request: &model::ListTagsForResourceRequest,
) -> Result<model::ListTagsForResourceResponse, ApiError> {
    let id = find(state, ctx, &request.resource_arn)?;
    let tags = state.repositories.get(&id).map(|r| r.tags.clone()).unwrap_or_default();
    let tags = tags.into_iter().map(|Tag { key, value }| model::Tag { key, value }).collect();
    Ok(model::ListTagsForResourceResponse { tags: Some(tags) })
}
