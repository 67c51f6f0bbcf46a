//! Amazon ECS: one file per operation, or per group of small ones.

mod clusters;

use crate::call::{Ctx, unbuilt};
use crate::state::State;
use crate::tx::Tx;
use api::ecs::{Error, Request, Response, SERVICE, ServerException};

/// Answers a read-only operation; `None` for the others.
pub fn query(state: &State, ctx: &Ctx<'_>, request: &Request) -> Option<Result<Response, Error>> {
    Some(match request {
        Request::DescribeClusters(r) => clusters::describe(state, ctx, r).map(Response::DescribeClusters),
        Request::ListClusters(r) => clusters::list(state, ctx, r).map(Response::ListClusters),
        _ => return None,
    })
}

/// Runs an operation that changes something.
pub fn execute(tx: &mut Tx<'_>, ctx: &mut Ctx<'_>, request: Request) -> Result<Response, Error> {
    match request {
        Request::CreateCluster(r) => clusters::create(tx, ctx, *r).map(Response::CreateCluster),
        Request::DeleteCluster(r) => clusters::delete(tx, ctx, *r).map(Response::DeleteCluster),
        other => Err(unbuilt(&SERVICE, other.name(), Error::named, |text| ServerException::new(text).into())),
    }
}
