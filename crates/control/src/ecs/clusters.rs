//! CreateCluster, DescribeClusters, ListClusters, DeleteCluster, and what every operation with a `cluster` needs.

mod options;
mod update;

use super::exception::{invalid, invalid_token, is_name, page_size};
use super::tags;
use crate::arn::{self, Arn, Resource};
use crate::call::Ctx;
use crate::page;
use crate::state::State;
use crate::state::ecs::{Cluster, ClusterId};
use crate::state::tally::TaskTally;
use crate::tx::Tx;
use api::ecs::{self as model, ClusterField, Error};
use std::collections::BTreeSet;
use std::sync::Arc;

pub(super) use update::{put_capacity_providers, update, update_settings};

/// The cluster that an absent `cluster` member means.
pub(super) const DEFAULT: &str = "default";
/// The most clusters in one DescribeClusters (API_DescribeClusters).
const DESCRIBE_MAX: usize = 100;

/// The id that a short name or an ARN stands for, whether or not the cluster exists.
///
/// An ARN of another account, Region or kind stays whole: no cluster can have that name, so it is not found.
pub(super) fn id(ctx: &Ctx<'_>, cluster: Option<&str>) -> ClusterId {
    let name = cluster.unwrap_or(DEFAULT);
    let parsed = Arn::parse(name).filter(|arn| arn.service == "ecs" && arn.is_in(ctx.scope));
    match parsed.and_then(|arn| Resource::parse(ctx.scope, arn.resource)) {
        Some(Resource::Cluster(id)) => id,
        _ => ClusterId { scope: ctx.scope, name: name.to_owned() },
    }
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
    let name = request.cluster_name.clone().unwrap_or_else(|| DEFAULT.to_owned());
    if !is_name(&name) {
        return Err(invalid(
            "Invalid cluster name: up to 255 letters (uppercase and lowercase), numbers, underscores, and \
             hyphens are allowed.",
        ));
    }
    let tags = tags::parse(request.tags.clone())?;
    options::check(&request)?;
    let id = ClusterId { scope: ctx.scope, name };
    if let Some(cluster) = tx.get::<Cluster>(&id).filter(|c| c.is_active) {
        options::check_same(cluster, &request)?;
        return Ok(model::CreateClusterResponse {
            cluster: Some(view(tx.state(), cluster, &Parts::CREATED)),
        });
    }
    let sequence = tx.next_sequence();
    let settings = options::settings(tx.state(), ctx, request.settings.as_deref());
    let options =
        model::CreateClusterRequest { cluster_name: None, tags: None, settings: Some(settings), ..request };
    let cluster = tx.put(Cluster { id, sequence, is_active: true, options, tags, forget_at: None });
    Ok(model::CreateClusterResponse { cluster: Some(view(tx.state(), &cluster, &Parts::CREATED)) })
}

pub(super) fn delete(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::DeleteClusterRequest,
) -> Result<model::DeleteClusterResponse, Error> {
    let cluster = active(tx.state(), ctx, Some(&request.cluster))?.clone();
    let tally = tx.state().indexes.tallies.get(&cluster.id).copied().unwrap_or_default();
    if tally.instances > 0 {
        let text = "The Cluster cannot be deleted while Container Instances are active or draining.";
        return Err(model::ClusterContainsContainerInstancesException::new(text).into());
    }
    if tally.tasks().live > 0 {
        let text = "The Cluster cannot be deleted while Tasks are active.";
        return Err(model::ClusterContainsTasksException::new(text).into());
    }
    let gone = Cluster {
        is_active: false,
        forget_at: Some(ctx.now.after(ctx.settings.limits.retention)),
        ..(*cluster).clone()
    };
    let cluster = tx.put(gone);
    Ok(model::DeleteClusterResponse { cluster: Some(view(tx.state(), &cluster, &Parts::CREATED)) })
}

pub(super) fn describe(
    state: &State,
    ctx: &Ctx<'_>,
    request: &model::DescribeClustersRequest,
) -> Result<model::DescribeClustersResponse, Error> {
    let default = vec![DEFAULT.to_owned()];
    let names = request.clusters.as_ref().filter(|c| !c.is_empty()).unwrap_or(&default);
    if names.len() > DESCRIBE_MAX {
        return Err(invalid(format!("Clusters can have at most {DESCRIBE_MAX} items.")));
    }
    let parts = Parts::of(request.include.as_deref());
    let (mut clusters, mut failures, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    for name in names {
        let id = id(ctx, Some(name));
        if !seen.insert(id.clone()) {
            continue;
        }
        match state.clusters.get(&id) {
            Some(cluster) => clusters.push(view(state, cluster, &parts)),
            None => failures.push(model::Failure {
                arn: Some(if name.starts_with("arn:") { name.clone() } else { arn::cluster(&id) }),
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
    const FILTERS: &str = "ListClusters";
    let limit = page_size(request.max_results, 100)?;
    let token = request.next_token.as_deref();
    let name = page::position(token, FILTERS).map_err(invalid_token)?.unwrap_or_default();
    let names = state
        .clusters
        .range(ClusterId { scope: ctx.scope, name }..)
        .take_while(|c| c.id.scope == ctx.scope)
        .filter(|c| c.is_active);
    let page = page::page(names, |c| c.id.name.clone(), limit, FILTERS, token).map_err(invalid_token)?;
    Ok(model::ListClustersResponse {
        cluster_arns: Some(page.items.iter().map(|c| arn::cluster(&c.id)).collect()),
        next_token: page.next_token,
    })
}

/// The parts of a cluster that DescribeClusters shows only when asked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Parts {
    attachments: bool,
    configuration: bool,
    settings: bool,
    statistics: bool,
    tags: bool,
}

impl Parts {
    /// What the replies of operations that change a cluster show.
    const CREATED: Self =
        Self { attachments: false, configuration: true, settings: true, statistics: false, tags: true };

    fn of(include: Option<&[ClusterField]>) -> Self {
        let has = |field| include.unwrap_or_default().contains(&field);
        Self {
            attachments: has(ClusterField::Attachments),
            configuration: has(ClusterField::Configurations),
            settings: has(ClusterField::Settings),
            statistics: has(ClusterField::Statistics),
            tags: has(ClusterField::Tags),
        }
    }
}

/// The cluster as replies show it. Costs the same however many tasks it has.
fn view(state: &State, cluster: &Cluster, parts: &Parts) -> model::Cluster {
    let tally = state.indexes.tallies.get(&cluster.id).copied().unwrap_or_default();
    let tasks = tally.tasks();
    let options = &cluster.options;
    model::Cluster {
        cluster_arn: Some(arn::cluster(&cluster.id)),
        cluster_name: Some(cluster.id.name.clone()),
        status: Some(if cluster.is_active { "ACTIVE" } else { "INACTIVE" }.to_owned()),
        registered_container_instances_count: Some(count(tally.instances)),
        running_tasks_count: Some(count(tasks.running)),
        pending_tasks_count: Some(count(tasks.pending)),
        active_services_count: Some(0),
        statistics: Some(if parts.statistics { statistics(&tally.ec2, &tally.external) } else { Vec::new() }),
        tags: Some(if parts.tags { tags::view(&cluster.tags) } else { Vec::new() }),
        settings: Some(options.settings.clone().filter(|_| parts.settings).unwrap_or_default()),
        configuration: options.configuration.clone().filter(|_| parts.configuration),
        capacity_providers: Some(options.capacity_providers.clone().unwrap_or_default()),
        default_capacity_provider_strategy: Some(
            options.default_capacity_provider_strategy.clone().unwrap_or_default(),
        ),
        attachments: parts.attachments.then(Vec::new),
        attachments_status: None,
        service_connect_defaults: None,
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// The name and value pairs of `include: [STATISTICS]` (API_Cluster). Services and Fargate have none yet to count.
fn statistics(ec2: &TaskTally, external: &TaskTally) -> Vec<model::KeyValuePair> {
    let pairs = [
        ("runningEC2TasksCount", ec2.running),
        ("runningFargateTasksCount", 0),
        ("pendingEC2TasksCount", ec2.pending),
        ("pendingFargateTasksCount", 0),
        ("runningExternalTasksCount", external.running),
        ("pendingExternalTasksCount", external.pending),
        ("runningManagedInstancesTasksCount", 0),
        ("pendingManagedInstancesTasksCount", 0),
        ("activeEC2ServiceCount", 0),
        ("activeFargateServiceCount", 0),
        ("activeExternalServiceCount", 0),
        ("activeManagedInstancesServiceCount", 0),
        ("drainingEC2ServiceCount", 0),
        ("drainingFargateServiceCount", 0),
        ("drainingExternalServiceCount", 0),
        ("drainingManagedInstancesServiceCount", 0),
    ];
    let pair = |(name, value): (&str, usize)| model::KeyValuePair {
        name: Some(name.to_owned()),
        value: Some(value.to_string()),
    };
    pairs.into_iter().map(pair).collect()
}
