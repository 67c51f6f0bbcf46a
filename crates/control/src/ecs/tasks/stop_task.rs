//! ecs:StopTask (API_StopTask).

use super::lifecycle::{self, TaskEvent};
use super::{Named, view};
use crate::call::Ctx;
use crate::ecs::clusters;
use crate::ecs::exception::invalid;
use crate::state::ecs::StopCode;
use crate::tx::Tx;
use api::ecs::{self as model, Error};

/// The most characters of a reason.
const REASON_MAX: usize = 1024;

pub(in crate::ecs) fn stop_task(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: model::StopTaskRequest,
) -> Result<model::StopTaskResponse, Error> {
    let cluster = clusters::active(tx.state(), ctx, request.cluster.as_deref())?.id.clone();
    if request.reason.as_ref().is_some_and(|reason| reason.chars().count() > REASON_MAX) {
        return Err(invalid(format!("The reason can have at most {REASON_MAX} characters.")));
    }
    let named = Named::parse(ctx, &cluster, &request.task)?;
    let id = named.find(tx.state(), &cluster).map(|task| task.id);
    let not_found = || invalid("The referenced task was not found.");
    let id = id.ok_or_else(not_found)?;
    let reason =
        request.reason.filter(|r| !r.is_empty()).unwrap_or_else(|| "Task stopped by user".to_owned());
    let event = TaskEvent::Stop { code: StopCode::UserInitiated, reason };
    let task = lifecycle::apply(tx, ctx.now, ctx.settings, id, event).ok_or_else(not_found)?;
    Ok(model::StopTaskResponse { task: Some(view::with_tags(tx.state(), &task)) })
}
