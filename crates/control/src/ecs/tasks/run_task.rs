//! ecs:RunTask (API_RunTask; Amazon ECS developer guide, "Running an application as an Amazon ECS task").

use super::launch::{Launch, Wish, unsupported};
use super::view;
use crate::arn;
use crate::call::Ctx;
use crate::ecs::clusters;
use crate::ecs::exception::invalid;
use crate::placement::{self, Reason};
use crate::state::State;
use crate::state::ecs::{ClientToken, ClientTokenId, Cluster, ClusterId, InstanceId, Task, TaskId};
use crate::tx::Tx;
use api::ecs::{self as model, Error, PlacementConstraintType};

/// The most tasks of one call.
const COUNT_MAX: i32 = 10;
const CLIENT_TOKEN_MAX: usize = 64;
const CONSTRAINTS_MAX: usize = 10;
const STRATEGIES_MAX: usize = 5;

pub(in crate::ecs) fn run_task(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::RunTaskRequest,
) -> Result<model::RunTaskResponse, Error> {
    let cluster = clusters::active(tx.state(), ctx, request.cluster.as_deref())?.clone();
    let token =
        request.client_token.as_deref().map(|token| token_of(&cluster.id, token, &request)).transpose()?;
    if let Some((id, body)) = &token
        && let Some(earlier) = tx.get::<ClientToken>(id)
    {
        return replay(tx.state(), earlier, body);
    }
    let (count, is_distinct) = check(&cluster, &request)?;
    let launch = Launch::prepare(tx.state(), ctx, wish(request))?;
    let (placed, reasons) = place(tx, ctx, &launch, (count, is_distinct))?;
    if let Some((id, body)) = token
        && !placed.is_empty()
    {
        let forget_at = ctx.now.after(ctx.settings.limits.client_token);
        tx.put(ClientToken { id, request: body, tasks: placed.clone(), forget_at });
    }
    let tasks = placed.iter().filter_map(|id| tx.get::<Task>(id)).map(|t| view::with_tags(tx.state(), t));
    Ok(model::RunTaskResponse {
        tasks: Some(tasks.collect()),
        failures: Some(
            reasons.into_iter().map(|(id, reason)| failure(&launch.cluster, id, reason)).collect(),
        ),
    })
}

/// The tasks that found an instance, and why no instance took the others.
type Placed = (Vec<TaskId>, Vec<(InstanceId, Reason)>);

/// One task after the other, each seeing the ones before it. All are alike: where one does not fit, no other will.
fn place(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    launch: &Launch,
    (count, is_distinct): (i32, bool),
) -> Result<Placed, Error> {
    let spec = placement::Spec { distinct_group: is_distinct.then(|| launch.group()), ..launch.spec() };
    let mut placed = Vec::new();
    for _ in 0..count {
        match placement::place(tx.state(), &spec) {
            Ok(instance) => placed.push(launch.start(tx, ctx, instance).id),
            Err(reasons) if reasons.is_empty() => {
                return Err(invalid("No Container Instances were found in your cluster."));
            }
            Err(reasons) => return Ok((placed, reasons)),
        }
    }
    Ok((placed, Vec::new()))
}

pub(super) fn failure(cluster: &ClusterId, id: InstanceId, reason: Reason) -> model::Failure {
    model::Failure {
        arn: Some(arn::container_instance(cluster, id)),
        reason: Some(reason.as_str().to_owned()),
        detail: None,
    }
}

/// The token with the request as it must be when it comes again.
fn token_of(
    cluster: &ClusterId,
    token: &str,
    request: &model::RunTaskRequest,
) -> Result<(ClientTokenId, String), Error> {
    if token.is_empty() || token.len() > CLIENT_TOKEN_MAX {
        return Err(invalid(format!("clientToken must have 1 to {CLIENT_TOKEN_MAX} characters.")));
    }
    let id =
        ClientTokenId { cluster: cluster.clone(), operation: "RunTask".to_owned(), token: token.to_owned() };
    let bare = model::RunTaskRequest { client_token: None, ..request.clone() };
    let body = String::from_utf8(wire::json::to_vec(&bare))
        .map_err(|_| model::ServerException::new("The request cannot be kept."))?;
    Ok((id, body))
}

fn replay(state: &State, earlier: &ClientToken, body: &str) -> Result<model::RunTaskResponse, Error> {
    let cluster = &earlier.id.cluster;
    if earlier.request != body {
        return Err(model::ConflictException {
            message: Some("The specified client token was used before with other parameters.".to_owned()),
            resource_ids: Some(earlier.tasks.iter().map(|id| arn::task(cluster, *id)).collect()),
        }
        .into());
    }
    let tasks = earlier.tasks.iter().filter_map(|id| state.tasks.get(id));
    Ok(model::RunTaskResponse {
        tasks: Some(tasks.map(|task| view::with_tags(state, task)).collect()),
        failures: Some(Vec::new()),
    })
}

/// How many tasks, and whether each must have an instance of its own.
fn check(cluster: &Cluster, request: &model::RunTaskRequest) -> Result<(i32, bool), Error> {
    let count = request.count.unwrap_or(1);
    if !(1..=COUNT_MAX).contains(&count) {
        return Err(invalid(format!("count must be between 1 and {COUNT_MAX}.")));
    }
    let strategy = request.capacity_provider_strategy.as_ref().filter(|s| !s.is_empty());
    if strategy.is_some() && request.launch_type.is_some() {
        return Err(invalid(
            "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try \
             again.",
        ));
    }
    let default = cluster.options.default_capacity_provider_strategy.as_ref().filter(|s| !s.is_empty());
    if strategy.is_some() || (request.launch_type.is_none() && default.is_some()) {
        return Err(unsupported("Capacity provider strategies are"));
    }
    if request.platform_version.is_some() {
        return Err(invalid("The platform version must be null when specifying an EC2 launch type."));
    }
    let constraints = request.placement_constraints.as_deref().unwrap_or_default();
    if constraints.len() > CONSTRAINTS_MAX {
        return Err(invalid(format!("placementConstraints can have at most {CONSTRAINTS_MAX} items.")));
    }
    let strategies = request.placement_strategy.as_deref().unwrap_or_default();
    if strategies.len() > STRATEGIES_MAX {
        return Err(invalid(format!("placementStrategy can have at most {STRATEGIES_MAX} items.")));
    }
    if !strategies.is_empty() {
        return Err(unsupported("Placement strategies are"));
    }
    let is_distinct =
        |c: &model::PlacementConstraint| c.r#type == Some(PlacementConstraintType::DistinctInstance);
    if let Some(constraint) = constraints.iter().find(|c| is_distinct(c) && c.expression.is_some()) {
        let expression = constraint.expression.as_deref().unwrap_or_default();
        return Err(invalid(format!("distinctInstance does not take an expression: {expression}")));
    }
    if constraints.iter().any(|c| !is_distinct(c)) {
        return Err(unsupported("Placement constraints of type memberOf are"));
    }
    Ok((count, constraints.iter().any(is_distinct)))
}

fn wish(request: model::RunTaskRequest) -> Wish {
    Wish {
        cluster: request.cluster,
        task_definition: request.task_definition,
        launch_type: request.launch_type,
        group: request.group,
        started_by: request.started_by,
        reference_id: request.reference_id,
        overrides: request.overrides,
        network_configuration: request.network_configuration,
        tags: request.tags,
        propagate_tags: request.propagate_tags,
        managed_tags: request.enable_ecs_managed_tags,
        execute_command: request.enable_execute_command,
        has_volumes: request.volume_configurations.is_some_and(|v| !v.is_empty()),
    }
}
