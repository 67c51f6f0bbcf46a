//! ecs:DescribeTasks (API_DescribeTasks).

use super::{Named, missing, view};
use crate::call::Ctx;
use crate::ecs::clusters;
use crate::ecs::exception::invalid;
use crate::state::State;
use api::ecs::{self as model, Error, TaskField};

/// The most tasks in one call.
const TASKS_MAX: usize = 100;

pub(in crate::ecs) fn describe(
    state: &State,
    ctx: &Ctx<'_>,
    request: &model::DescribeTasksRequest,
) -> Result<model::DescribeTasksResponse, Error> {
    let cluster = &clusters::active(state, ctx, request.cluster.as_deref())?.id;
    if request.tasks.is_empty() {
        return Err(invalid("Tasks cannot be empty."));
    }
    if request.tasks.len() > TASKS_MAX {
        return Err(invalid(format!("Tasks can have at most {TASKS_MAX} items.")));
    }
    let with_tags = request.include.iter().flatten().any(|field| *field == TaskField::Tags);
    let (mut tasks, mut failures) = (Vec::new(), Vec::new());
    for text in &request.tasks {
        let named = Named::parse(ctx, cluster, text)?;
        match named.find(state, cluster) {
            Some(task) if with_tags => tasks.push(view::with_tags(state, task)),
            Some(task) => tasks.push(view::task(state, task)),
            None => failures.push(missing(named.arn)),
        }
    }
    Ok(model::DescribeTasksResponse { tasks: Some(tasks), failures: Some(failures) })
}
