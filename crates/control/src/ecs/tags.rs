//! TagResource, UntagResource and ListTagsForResource, and the rules of tags given at creation.

use super::exception::invalid;
use crate::arn::{self, Resource};
use crate::call::Ctx;
use crate::state::State;
use crate::state::ecs::{
    Cluster, ClusterId, ContainerInstance, InstanceId, InstanceStatus, Tag, Task, TaskDefinition,
    TaskDefinitionId, TaskId,
};
use crate::tx::Tx;
use api::ecs::{self as model, Error};

/// The most tags that a user may put on a resource (ecs developer guide, "Tag restrictions").
const TAGS_MAX: usize = 50;
/// Tags of AWS's own, in any case of letters.
const RESERVED: &str = "aws:";

/// A resource that has tags.
enum Tagged {
    Cluster(ClusterId),
    TaskDefinition(TaskDefinitionId),
    ContainerInstance(InstanceId),
    Task(TaskId),
}

/// Tags as a request gives them: keys unique (the last wins), none of them reserved.
pub(super) fn parse(tags: Option<Vec<model::Tag>>) -> Result<Vec<Tag>, Error> {
    let mut parsed = Vec::new();
    merge(&mut parsed, tags.unwrap_or_default())?;
    Ok(parsed)
}

/// Tags as replies show them.
pub(super) fn view(tags: &[Tag]) -> Vec<model::Tag> {
    tags.iter().map(|t| model::Tag { key: Some(t.key.clone()), value: Some(t.value.clone()) }).collect()
}

fn merge(tags: &mut Vec<Tag>, added: Vec<model::Tag>) -> Result<(), Error> {
    for tag in added {
        let key =
            tag.key.filter(|key| !key.is_empty()).ok_or_else(|| invalid("Tag key can not be empty."))?;
        let value = tag.value.unwrap_or_default();
        refuse_reserved(&key)?;
        refuse_reserved(&value)?;
        match tags.iter_mut().find(|t| t.key == key) {
            Some(tag) => tag.value = value,
            None => tags.push(Tag { key, value }),
        }
    }
    if tags.iter().filter(|t| !is_reserved(&t.key)).count() > TAGS_MAX {
        let text = format!("The maximum number of tags ({TAGS_MAX}) for the resource has been exceeded.");
        return Err(model::LimitExceededException::new(text).into());
    }
    Ok(())
}

fn is_reserved(text: &str) -> bool {
    text.get(..RESERVED.len()).is_some_and(|start| start.eq_ignore_ascii_case(RESERVED))
}

fn refuse_reserved(text: &str) -> Result<(), Error> {
    if is_reserved(text) {
        return Err(invalid(format!(
            "Tag keys and values that start with '{RESERVED}' are reserved for AWS use: {text}"
        )));
    }
    Ok(())
}

pub(super) fn tag(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::TagResourceRequest,
) -> Result<model::TagResourceResponse, Error> {
    let (resource, mut tags) = find(tx.state(), ctx, &request.resource_arn)?;
    merge(&mut tags, request.tags)?;
    put(tx, &resource, tags);
    Ok(model::TagResourceResponse {})
}

pub(super) fn untag(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::UntagResourceRequest,
) -> Result<model::UntagResourceResponse, Error> {
    let (resource, mut tags) = find(tx.state(), ctx, &request.resource_arn)?;
    request.tag_keys.iter().try_for_each(|key| refuse_reserved(key))?;
    tags.retain(|tag| !request.tag_keys.contains(&tag.key));
    put(tx, &resource, tags);
    Ok(model::UntagResourceResponse {})
}

pub(super) fn list(
    state: &State,
    ctx: &Ctx<'_>,
    request: &model::ListTagsForResourceRequest,
) -> Result<model::ListTagsForResourceResponse, Error> {
    let (_, tags) = find(state, ctx, &request.resource_arn)?;
    Ok(model::ListTagsForResourceResponse { tags: Some(view(&tags)) })
}

/// The resource of that ARN with its tags.
fn find(state: &State, ctx: &Ctx<'_>, text: &str) -> Result<(Tagged, Vec<Tag>), Error> {
    let invalid_arn = || invalid(format!("Invalid resource ARN: {text}"));
    let parsed = arn::Arn::parse(text)
        .filter(|arn| arn.service == "ecs" && arn.is_in(ctx.scope))
        .ok_or_else(invalid_arn)?;
    match Resource::parse(ctx.scope, parsed.resource).ok_or_else(invalid_arn)? {
        Resource::Cluster(id) => {
            let cluster = state.clusters.get(&id).ok_or_else(cluster_not_found)?;
            if !cluster.is_active {
                return Err(invalid(
                    "The specified cluster is inactive. Specify an active cluster and try again.",
                ));
            }
            Ok((Tagged::Cluster(id), cluster.tags.clone()))
        }
        Resource::TaskDefinition(id) => {
            let definition = state.task_definitions.get(&id).ok_or_else(|| missing("task definition"))?;
            Ok((Tagged::TaskDefinition(id), definition.tags.clone()))
        }
        Resource::ContainerInstance(cluster, id) => {
            let instance = state
                .container_instances
                .get(&id)
                .filter(|i| i.cluster == cluster && i.status != InstanceStatus::Inactive)
                .ok_or_else(|| missing("container instance"))?;
            Ok((Tagged::ContainerInstance(id), instance.tags.clone()))
        }
        Resource::Task(cluster, id) => {
            let task =
                state.tasks.get(&id).filter(|t| t.cluster == cluster).ok_or_else(|| missing("task"))?;
            if task.is_stopped() {
                return Err(invalid("The specified task is stopped. Specify a running task and try again."));
            }
            Ok((Tagged::Task(id), task.tags.clone()))
        }
        Resource::ShortForm => Err(invalid("Long arn format must be used for tagging operations")),
        Resource::Other(kind) => Err(missing(&kind.replace('-', " "))),
    }
}

fn cluster_not_found() -> Error {
    model::ClusterNotFoundException::new("Cluster not found.").into()
}

fn missing(kind: &str) -> Error {
    invalid(format!("The specified {kind} is not found. Specify a valid {kind} and try again."))
}

fn put(tx: &mut Tx<'_>, resource: &Tagged, tags: Vec<Tag>) {
    match resource {
        Tagged::Cluster(id) => tx.edit::<Cluster>(id, |cluster| cluster.tags = tags),
        Tagged::TaskDefinition(id) => tx.edit::<TaskDefinition>(id, |definition| definition.tags = tags),
        Tagged::ContainerInstance(id) => tx.edit::<ContainerInstance>(id, |instance| instance.tags = tags),
        Tagged::Task(id) => tx.edit::<Task>(id, |task| task.tags = tags),
    };
}
