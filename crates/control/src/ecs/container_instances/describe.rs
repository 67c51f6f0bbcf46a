//! ecs:DescribeContainerInstances and ecs:ListContainerInstances.

use super::{asked_arn, failure, find, view};
use crate::arn;
use crate::call::Ctx;
use crate::ecs::clusters;
use crate::ecs::exception::{invalid, invalid_token, page_size};
use crate::page;
use crate::state::State;
use crate::state::ecs::{ContainerInstance, InstanceStatus};
use api::ecs::{self as model, ContainerInstanceStatus, Error};
use std::sync::Arc;

const DESCRIBE_MAX: usize = 100;
const PAGE_MAX: usize = 100;

pub(in crate::ecs) fn describe(
    state: &State,
    ctx: &Ctx<'_>,
    request: &model::DescribeContainerInstancesRequest,
) -> Result<model::DescribeContainerInstancesResponse, Error> {
    let cluster = &clusters::active(state, ctx, request.cluster.as_deref())?.id;
    if request.container_instances.is_empty() {
        return Err(invalid("Container instances cannot be empty."));
    }
    if request.container_instances.len() > DESCRIBE_MAX {
        return Err(invalid(format!("containerInstances can have at most {DESCRIBE_MAX} items.")));
    }
    let parts = view::Parts::of(request.include.as_deref());
    let (mut instances, mut failures) = (Vec::new(), Vec::new());
    for text in &request.container_instances {
        match find(state, ctx, cluster, text)? {
            Some(instance) => instances.push(view::instance(state, instance, parts)),
            None => failures.push(failure(asked_arn(cluster, text), "MISSING")),
        }
    }
    Ok(model::DescribeContainerInstancesResponse {
        container_instances: Some(instances),
        failures: Some(failures),
    })
}

pub(in crate::ecs) fn list(
    state: &State,
    ctx: &Ctx<'_>,
    request: &model::ListContainerInstancesRequest,
) -> Result<model::ListContainerInstancesResponse, Error> {
    let cluster = &clusters::active(state, ctx, request.cluster.as_deref())?.id;
    let limit = page_size(request.max_results, PAGE_MAX)?;
    if request.filter.as_ref().is_some_and(|filter| !filter.is_empty()) {
        return Err(invalid(
            "A filter in the cluster query language is not available in this version of Wharf.",
        ));
    }
    let is_wanted = |instance: &&Arc<ContainerInstance>| match request.status {
        None => instance.status != InstanceStatus::Inactive,
        Some(ContainerInstanceStatus::Active) => instance.status == InstanceStatus::Active,
        Some(ContainerInstanceStatus::Draining) => instance.status == InstanceStatus::Draining,
        Some(
            ContainerInstanceStatus::Registering
            | ContainerInstanceStatus::Deregistering
            | ContainerInstanceStatus::RegistrationFailed,
        ) => false,
    };
    let ids = state.indexes.instances_by_cluster.get(cluster).into_iter().flatten();
    let instances = ids.filter_map(|(_, id)| state.container_instances.get(id)).filter(is_wanted);
    let key = |instance: &&Arc<ContainerInstance>| format!("{:020}", instance.sequence);
    let filters = format!("{:?}", ("ListContainerInstances", cluster, request.status));
    let page =
        page::page(instances, key, limit, &filters, request.next_token.as_deref()).map_err(invalid_token)?;
    Ok(model::ListContainerInstancesResponse {
        container_instance_arns: Some(
            page.items.iter().map(|i| arn::container_instance(&i.cluster, i.id)).collect(),
        ),
        next_token: page.next_token,
    })
}
