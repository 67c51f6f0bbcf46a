//! ecs:GetTaskProtection and ecs:UpdateTaskProtection. Only tasks of services can be protected, and there are none yet.

use super::{Named, missing};
use crate::call::Ctx;
use crate::ecs::clusters;
use crate::ecs::exception::invalid;
use crate::state::State;
use crate::state::ecs::ClusterId;
use api::ecs::{self as model, Error, Failure};

const GET_MAX: usize = 100;
const UPDATE_MAX: usize = 10;
/// The bounds of `expiresInMinutes` (API_UpdateTaskProtection).
const EXPIRY_MINUTES: std::ops::RangeInclusive<i32> = 1..=2880;

pub(in crate::ecs) fn get_protection(
    state: &State,
    ctx: &Ctx<'_>,
    request: &model::GetTaskProtectionRequest,
) -> Result<model::GetTaskProtectionResponse, Error> {
    let cluster = &clusters::active(state, ctx, Some(&request.cluster))?.id;
    let tasks = request.tasks.as_deref().unwrap_or_default();
    let failures = failures(state, ctx, cluster, (tasks, GET_MAX))?;
    Ok(model::GetTaskProtectionResponse { protected_tasks: Some(Vec::new()), failures: Some(failures) })
}

pub(in crate::ecs) fn update_protection(
    state: &State,
    ctx: &Ctx<'_>,
    request: &model::UpdateTaskProtectionRequest,
) -> Result<model::UpdateTaskProtectionResponse, Error> {
    let cluster = &clusters::active(state, ctx, Some(&request.cluster))?.id;
    if request.tasks.is_empty() {
        return Err(invalid("Tasks cannot be empty."));
    }
    if request.expires_in_minutes.is_some_and(|minutes| !EXPIRY_MINUTES.contains(&minutes)) {
        return Err(invalid("expiresInMinutes must be between 1 and 2880."));
    }
    let failures = failures(state, ctx, cluster, (&request.tasks, UPDATE_MAX))?;
    Ok(model::UpdateTaskProtectionResponse { protected_tasks: Some(Vec::new()), failures: Some(failures) })
}

fn failures(
    state: &State,
    ctx: &Ctx<'_>,
    cluster: &ClusterId,
    (tasks, most): (&[String], usize),
) -> Result<Vec<Failure>, Error> {
    if tasks.len() > most {
        return Err(invalid(format!("Tasks can have at most {most} items.")));
    }
    let failure = |text: &String| {
        let named = Named::parse(ctx, cluster, text)?;
        Ok(match named.find(state, cluster) {
            None => missing(named.arn),
            Some(_) => {
                Failure { arn: Some(named.arn), reason: Some("TASK_NOT_VALID".to_owned()), detail: None }
            }
        })
    };
    tasks.iter().map(failure).collect()
}
