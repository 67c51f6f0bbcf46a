//! CreateCluster, DescribeClusters, ListClusters, DeleteCluster.

use crate::arn;
use crate::call::Ctx;
use crate::page;
use crate::state::State;
use crate::state::ecs::{Cluster, ClusterId, InstanceStatus, TaskStatus};
use crate::tx::Tx;
use api::ecs::{self as model, Error};
use std::sync::Arc;

/// The cluster that an absent `cluster` member means.
pub(super) const DEFAULT: &str = "default";

/// The id that a short name or an ARN stands for, whether or not the cluster exists.
pub(super) fn id(ctx: &Ctx<'_>, cluster: Option<&str>) -> ClusterId {
    let name = cluster.unwrap_or(DEFAULT);
    let name = name.rsplit_once("cluster/").map_or(name, |(_, name)| name);
    ClusterId { scope: ctx.scope, name: name.to_owned() }
}

/// The cluster, which must exist and be ACTIVE.
pub(super) fn active<'a>(
    state: &'a State,
    ctx: &Ctx<'_>,
    cluster: Option<&str>,
) -> Result<&'a Arc<Cluster>, Error> {
    let cluster = state.clusters.get(&id(ctx, cluster));
    match cluster {
        Some(cluster) if cluster.is_active => Ok(cluster),
        Some(_) => Err(model::ClusterNotFoundException::new("The referenced cluster was inactive.").into()),
        None => Err(model::ClusterNotFoundException::new("Cluster not found.").into()),
    }
}

pub(super) fn create(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::CreateClusterRequest,
) -> Result<model::CreateClusterResponse, Error> {
    let id = id(ctx, request.cluster_name.as_deref());
    if let Some(cluster) = tx.get::<Cluster>(&id).filter(|c| c.is_active) {
        // Idempotent by name; the settings of the call are not applied (API_CreateCluster).
        return Ok(model::CreateClusterResponse { cluster: Some(view(tx.state(), cluster)) });
    }
    let sequence = tx.next_sequence();
    let options = model::CreateClusterRequest { cluster_name: None, tags: None, ..request };
    let cluster =
        tx.put(Cluster { id, sequence, is_active: true, options, tags: Vec::new(), forget_at: None });
    Ok(model::CreateClusterResponse { cluster: Some(view(tx.state(), &cluster)) })
}

pub(super) fn delete(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::DeleteClusterRequest,
) -> Result<model::DeleteClusterResponse, Error> {
    let cluster = active(tx.state(), ctx, Some(&request.cluster))?.clone();
    let gone = Cluster {
        is_active: false,
        forget_at: Some(ctx.now.after(ctx.settings.limits.retention)),
        ..(*cluster).clone()
    };
    let cluster = tx.put(gone);
    Ok(model::DeleteClusterResponse { cluster: Some(view(tx.state(), &cluster)) })
}

pub(super) fn describe(
    state: &State,
    ctx: &Ctx<'_>,
    request: &model::DescribeClustersRequest,
) -> Result<model::DescribeClustersResponse, Error> {
    let default = vec![DEFAULT.to_owned()];
    let (mut clusters, mut failures) = (Vec::new(), Vec::new());
    for name in request.clusters.as_ref().filter(|c| !c.is_empty()).unwrap_or(&default) {
        let id = id(ctx, Some(name));
        match state.clusters.get(&id) {
            Some(cluster) => clusters.push(view(state, cluster)),
            None => failures.push(model::Failure {
                arn: Some(arn::cluster(&id)),
                reason: Some("MISSING".to_owned()),
                detail: None,
            }),
        }
    }
    Ok(model::DescribeClustersResponse { clusters: Some(clusters), failures: Some(failures) })
}

pub(super) fn list(
    state: &State,
    ctx: &Ctx<'_>,
    request: &model::ListClustersRequest,
) -> Result<model::ListClustersResponse, Error> {
    let limit = usize::try_from(request.max_results.unwrap_or(100)).unwrap_or(100);
    let first = ClusterId { scope: ctx.scope, name: String::new() };
    let names = state.clusters.range(first..).take_while(|c| c.id.scope == ctx.scope).filter(|c| c.is_active);
    let page = page::page(names, |c| c.id.name.clone(), limit, "ListClusters", request.next_token.as_deref())
        .map_err(|page::InvalidToken| model::InvalidParameterException::new("Invalid token."))?;
    Ok(model::ListClustersResponse {
        cluster_arns: Some(page.items.iter().map(|c| arn::cluster(&c.id)).collect()),
        next_token: page.next_token,
    })
}

/// The cluster as DescribeClusters shows it, without the parts that `include` adds.
pub(super) fn view(state: &State, cluster: &Cluster) -> model::Cluster {
    let tasks = state.indexes.tasks_by_cluster.get(&cluster.id).into_iter().flatten();
    let tasks: Vec<_> = tasks.filter_map(|(_, id)| state.tasks.get(id)).collect();
    let count = |status: &[TaskStatus]| {
        i32::try_from(tasks.iter().filter(|t| status.contains(&t.last_status)).count()).unwrap_or(i32::MAX)
    };
    let instances = state.indexes.instances_by_cluster.get(&cluster.id).into_iter().flatten();
    let registered = instances
        .filter(|(_, id)| {
            state.container_instances.get(id).is_some_and(|i| i.status != InstanceStatus::Inactive)
        })
        .count();
    model::Cluster {
        cluster_arn: Some(arn::cluster(&cluster.id)),
        cluster_name: Some(cluster.id.name.clone()),
        status: Some(if cluster.is_active { "ACTIVE" } else { "INACTIVE" }.to_owned()),
        registered_container_instances_count: Some(i32::try_from(registered).unwrap_or(i32::MAX)),
        running_tasks_count: Some(count(&[TaskStatus::Running])),
        pending_tasks_count: Some(count(&[
            TaskStatus::Provisioning,
            TaskStatus::Pending,
            TaskStatus::Activating,
        ])),
        active_services_count: Some(0),
        statistics: Some(Vec::new()),
        tags: Some(Vec::new()),
        settings: Some(cluster.options.settings.clone().unwrap_or_default()),
        capacity_providers: Some(cluster.options.capacity_providers.clone().unwrap_or_default()),
        default_capacity_provider_strategy: Some(
            cluster.options.default_capacity_provider_strategy.clone().unwrap_or_default(),
        ),
        ..Default::default()
    }
}
