//! CreateLogStream, DeleteLogStream, and the streams of a group for the event store.

use super::{exception, groups};
use crate::call::{ApiError, Ctx};
use crate::state::State;
use crate::state::logs::{LogGroupId, LogStream, LogStreamId};
use crate::tx::Tx;
use api::logs as model;
use std::sync::Arc;

fn id(state: &State, ctx: &Ctx<'_>, group: &str, name: &str) -> Result<LogStreamId, ApiError> {
    let group = groups::find(state, ctx, group)?.id.clone();
    Ok(LogStreamId { group, name: name.to_owned() })
}

pub(super) fn create(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: &model::CreateLogStreamRequest,
) -> Result<model::Unit, ApiError> {
    let id = id(tx.state(), ctx, &request.log_group_name, &request.log_stream_name)?;
    if tx.get::<LogStream>(&id).is_some() {
        return Err(exception::stream_exists());
    }
    let sequence = tx.next_sequence();
    let storage_id = stdx::id::hex32(&mut ctx.rng);
    tx.put(LogStream { id, storage_id, sequence, created_at: ctx.now });
    Ok(model::Unit {})
}

pub(super) fn delete(
    tx: &mut Tx<'_>,
    ctx: &mut Ctx<'_>,
    request: &model::DeleteLogStreamRequest,
) -> Result<model::Unit, ApiError> {
    let id = id(tx.state(), ctx, &request.log_group_name, &request.log_stream_name)?;
    if tx.get::<LogStream>(&id).is_none() {
        return Err(exception::stream_not_found());
    }
    tx.remove::<LogStream>(&id);
    Ok(model::Unit {})
}

/// The streams of a group whose names begin with a prefix, by name.
pub fn of<'a>(
    state: &'a State,
    group: &LogGroupId,
    prefix: &str,
) -> impl Iterator<Item = &'a Arc<LogStream>> {
    let (group, prefix) = (group.clone(), prefix.to_owned());
    let first = LogStreamId { group: group.clone(), name: prefix.clone() };
    state
        .log_streams
        .range(first..)
        .take_while(move |stream| stream.id.group == group && stream.id.name.starts_with(&prefix))
}
