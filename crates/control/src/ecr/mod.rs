//! ECR.

use crate::call::{Ctx, unbuilt};
use crate::state::State;
use crate::tx::Tx;
use api::ecr::{Error, Request, Response, SERVICE, ServerException};

/// Answers a read-only operation; `None` for the others.
pub fn query(_state: &State, _ctx: &Ctx<'_>, request: &Request) -> Option<Result<Response, Error>> {
    let _ = request;
    None
}

/// Runs an operation that changes something.
pub fn execute(_tx: &mut Tx<'_>, _ctx: &mut Ctx<'_>, request: Request) -> Result<Response, Error> {
    Err(unbuilt(&SERVICE, request.name(), Error::named, |text| ServerException::new(text).into()))
}

/// What the registry tells of its own doing.
#[derive(Clone, Debug)]
pub enum RegistryEvent {}

pub fn registry_event(_tx: &mut Tx<'_>, _now: stdx::Timestamp, event: RegistryEvent) {
    match event {}
}
