//! TagResource, UntagResource, ListTagsForResource, and the older forms of them for log groups alone.

use super::{exception, groups};
use crate::call::{ApiError, Ctx};
use crate::state::State;
use crate::state::ecs::Tag;
use crate::state::logs::{LogGroup, LogGroupId};
use crate::tx::Tx;
use api::logs as model;
use std::collections::BTreeMap;

const TAGS_MAX: usize = 50;

type Tags = BTreeMap<String, String>;

fn add(tx: &mut Tx<'_>, id: &LogGroupId, new: Tags) -> Result<model::Unit, ApiError> {
    if new.keys().any(|key| key.starts_with("aws:")) {
        return Err(exception::invalid("Tag keys must not begin with \"aws:\"."));
    }
    let mut tags = tx.get::<LogGroup>(id).map(|group| group.tags.clone()).unwrap_or_default();
    for (key, value) in new {
        match tags.iter_mut().find(|tag| tag.key == key) {
            Some(tag) => tag.value = value,
            None => tags.push(Tag { key, value }),
        }
    }
    if tags.len() > TAGS_MAX {
        return Err(exception::too_many_tags());
    }
    tx.edit::<LogGroup>(id, |group| group.tags = tags);
    Ok(model::Unit {})
}

fn remove(tx: &mut Tx<'_>, id: &LogGroupId, keys: &[String]) -> model::Unit {
    tx.edit::<LogGroup>(id, |group| group.tags.retain(|tag| !keys.contains(&tag.key)));
    model::Unit {}
}

fn list(group: &LogGroup) -> Option<Tags> {
    Some(group.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect())
}

pub(super) fn tag_resource(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::TagResourceRequest,
) -> Result<model::Unit, ApiError> {
    let id = groups::find_arn(tx.state(), ctx, &request.resource_arn)?.id.clone();
    add(tx, &id, request.tags)
}

pub(super) fn tag_group(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::TagLogGroupRequest,
) -> Result<model::Unit, ApiError> {
    let id = groups::find(tx.state(), ctx, &request.log_group_name)?.id.clone();
    add(tx, &id, request.tags)
}

pub(super) fn untag_resource(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: &model::UntagResourceRequest,
) -> Result<model::Unit, ApiError> {
    let id = groups::find_arn(tx.state(), ctx, &request.resource_arn)?.id.clone();
    Ok(remove(tx, &id, &request.tag_keys))
}

pub(super) fn untag_group(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: &model::UntagLogGroupRequest,
) -> Result<model::Unit, ApiError> {
    let id = groups::find(tx.state(), ctx, &request.log_group_name)?.id.clone();
    Ok(remove(tx, &id, &request.tags))
}

pub(super) fn list_resource(
    state: &State,
    ctx: &Ctx<'_>,
    request: &model::ListTagsForResourceRequest,
) -> Result<model::ListTagsForResourceResponse, ApiError> {
    let tags = list(groups::find_arn(state, ctx, &request.resource_arn)?);
    Ok(model::ListTagsForResourceResponse { tags })
}

pub(super) fn list_group(
    state: &State,
    ctx: &Ctx<'_>,
    request: &model::ListTagsLogGroupRequest,
) -> Result<model::ListTagsLogGroupResponse, ApiError> {
    let tags = list(groups::find(state, ctx, &request.log_group_name)?);
    Ok(model::ListTagsLogGroupResponse { tags })
}
