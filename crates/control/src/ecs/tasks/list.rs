//! ecs:ListTasks (API_ListTasks).

use crate::arn;
use crate::call::Ctx;
use crate::ecs::exception::{invalid, invalid_token, page_size};
use crate::ecs::{clusters, container_instances};
use crate::page;
use crate::state::State;
use crate::state::ecs::{ClusterId, DesiredStatus, InstanceId, LaunchType, Task, TaskId};
use api::ecs::{self as model, Error};
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

const PAGE_MAX: usize = 100;

pub(in crate::ecs) fn list(
    state: &State,
    ctx: &Ctx<'_>,
    request: &model::ListTasksRequest,
) -> Result<model::ListTasksResponse, Error> {
    let cluster = &clusters::active(state, ctx, request.cluster.as_deref())?.id;
    let limit = page_size(request.max_results, PAGE_MAX)?;
    check_filters(request)?;
    let instance = match &request.container_instance {
        None => None,
        Some(text) => match container_instances::find(state, ctx, cluster, text)? {
            Some(instance) => Some(instance.id),
            None => return Err(invalid(format!("Container instance {text} was not found."))),
        },
    };
    let bare = model::ListTasksRequest { next_token: None, max_results: None, ..request.clone() };
    let filters = format!("{cluster:?}{bare:?}");
    let after = page::position(request.next_token.as_deref(), &filters).map_err(invalid_token)?;
    let start = after.as_deref().and_then(|key| key.parse::<u64>().ok()).map_or(0, |sequence| sequence + 1);
    let tasks = tasks(state, cluster, instance, start).filter(|task| matches(task, request));
    let key = |task: &&Arc<Task>| format!("{:020}", task.sequence);
    let page =
        page::page(tasks, key, limit, &filters, request.next_token.as_deref()).map_err(invalid_token)?;
    Ok(model::ListTasksResponse {
        task_arns: Some(page.items.iter().map(|t| arn::task(&t.cluster, t.id)).collect()),
        next_token: page.next_token,
    })
}

/// The tasks of the cluster, or of one of its instances, in order of creation.
fn tasks<'a>(
    state: &'a State,
    cluster: &ClusterId,
    instance: Option<InstanceId>,
    start: u64,
) -> impl Iterator<Item = &'a Arc<Task>> {
    let set: Option<&BTreeSet<(u64, TaskId)>> = match instance {
        Some(id) => state.indexes.tasks_by_instance.get(&id),
        None => state.indexes.tasks_by_cluster.get(cluster),
    };
    let from = (Bound::Included((start, TaskId(0))), Bound::Unbounded);
    let ids = set.into_iter().flat_map(move |set| set.range(from));
    ids.filter_map(|(_, id)| state.tasks.get(id))
}

fn check_filters(request: &model::ListTasksRequest) -> Result<(), Error> {
    let others = request.family.is_some()
        || request.container_instance.is_some()
        || request.service_name.is_some()
        || request.launch_type.is_some();
    if request.started_by.is_some() && others {
        return Err(invalid("Cannot specify startedBy together with other filters."));
    }
    if let Some(name) = &request.service_name {
        return Err(model::ServiceNotFoundException::new(format!("Service not found: {name}")).into());
    }
    Ok(())
}

fn matches(task: &Task, request: &model::ListTasksRequest) -> bool {
    let status = match request.desired_status {
        Some(model::DesiredStatus::Stopped) => task.desired_status == DesiredStatus::Stopped,
        // Accepted, but no task ever has it.
        Some(model::DesiredStatus::Pending) => false,
        Some(model::DesiredStatus::Running) | None => task.desired_status == DesiredStatus::Running,
    };
    let launch_type = match request.launch_type {
        None => true,
        Some(model::LaunchType::Ec2) => task.launch_type == LaunchType::Ec2,
        Some(model::LaunchType::External) => task.launch_type == LaunchType::External,
        Some(model::LaunchType::Fargate | model::LaunchType::ManagedInstances) => false,
    };
    status
        && launch_type
        && request.daemon_name.is_none()
        && request.family.as_ref().is_none_or(|family| task.definition.family == *family)
        && request.started_by.as_ref().is_none_or(|by| task.started_by.as_ref() == Some(by))
}
