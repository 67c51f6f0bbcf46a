//! CloudWatch Logs: groups and streams.
//!
//! Events lie in the event store, crate `logs`, which the core does not know. The shell gives it DescribeLogStreams,
//! PutLogEvents, GetLogEvents and FilterLogEvents whole (it asks the state through [`group`] and [`streams_of`]), and the
//! reply to DescribeLogGroups for the number of bytes stored. Its directories are named by the streams' `storage_id`.

mod exception;
mod groups;
mod streams;
mod tags;

pub use groups::arn;
pub use streams::of as streams_of;

use crate::call::{ApiError, Ctx, fault, unbuilt};
use crate::state::logs::{LogGroup, LogGroupId};
use crate::state::{Scope, State};
use crate::tx::Tx;
use api::logs::{Request, Response, SERVICE};
use std::collections::BTreeSet;

type Answer = Result<Response, ApiError>;

/// The group of that name.
pub fn group<'a>(state: &'a State, scope: Scope, name: &str) -> Option<&'a LogGroup> {
    state.log_groups.get(&LogGroupId { scope, name: name.to_owned() }).map(|group| &**group)
}

/// The storage ids of all streams there are: the event store drops what belongs to none.
pub fn storage_ids(state: &State) -> BTreeSet<String> {
    state.log_streams.values().map(|stream| stream.storage_id.clone()).collect()
}

fn limit(limit: Option<i32>, default: usize) -> usize {
    limit.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0).unwrap_or(default)
}

/// Answers a read-only operation; `None` for the others.
pub fn query(state: &State, ctx: &Ctx<'_>, request: &Request) -> Option<Answer> {
    Some(match request {
        Request::DescribeLogGroups(r) => groups::describe(state, ctx, r).map(Response::DescribeLogGroups),
        Request::ListLogGroups(r) => groups::list(state, ctx, r).map(Response::ListLogGroups),
        Request::ListTagsForResource(r) => {
            tags::list_resource(state, ctx, r).map(Response::ListTagsForResource)
        }
        Request::ListTagsLogGroup(r) => tags::list_group(state, ctx, r).map(Response::ListTagsLogGroup),
        _ => return None,
    })
}

/// Runs an operation that changes something.
pub fn execute(tx: &mut Tx<'_>, ctx: &mut Ctx<'_>, request: Request) -> Answer {
    match request {
        Request::CreateLogGroup(r) => groups::create(tx, ctx, *r).map(Response::CreateLogGroup),
        Request::CreateLogStream(r) => streams::create(tx, ctx, &r).map(Response::CreateLogStream),
        Request::DeleteLogGroup(r) => groups::delete(tx, ctx, &r).map(Response::DeleteLogGroup),
        Request::DeleteLogStream(r) => streams::delete(tx, ctx, &r).map(Response::DeleteLogStream),
        Request::DeleteRetentionPolicy(r) => {
            groups::delete_retention(tx, ctx, &r).map(Response::DeleteRetentionPolicy)
        }
        Request::PutRetentionPolicy(r) => {
            groups::put_retention(tx, ctx, &r).map(Response::PutRetentionPolicy)
        }
        Request::TagLogGroup(r) => tags::tag_group(tx, ctx, *r).map(Response::TagLogGroup),
        Request::TagResource(r) => tags::tag_resource(tx, ctx, *r).map(Response::TagResource),
        Request::UntagLogGroup(r) => tags::untag_group(tx, ctx, &r).map(Response::UntagLogGroup),
        Request::UntagResource(r) => tags::untag_resource(tx, ctx, &r).map(Response::UntagResource),
        other => Err(unbuilt(
            &SERVICE,
            other.name(),
            |code, text| Some(fault(400, code, text)),
            |text| fault(400, "UnsupportedOperationException", &text),
        )),
    }
}
