//! Amazon ECR: repositories, images, layers and the registry itself.
//!
//! The core keeps what there is; bytes lie in the registry's blob store. Whatever needs both, the shell composes:
//! [`layers`] says how for the layer upload API, [`distribution`] for `/v2/`, and [`authorization`] for
//! GetAuthorizationToken, whose token only the shell can seal.

mod delete_image;
pub mod distribution;
mod errors;
mod images;
pub mod layers;
mod manifest;
mod policy;
mod put_image;
mod registry;
pub(crate) mod repositories;
mod tags;

pub(crate) use distribution::apply;
pub use distribution::{Command, Done, OciCode};
pub use put_image::{Push, Pushed};
pub use registry::{Authorization, authorization};
pub use repositories::{arn, host};

use crate::call::{ApiError, Ctx, unbuilt};
use crate::state::State;
use crate::tx::Tx;
use api::ecr::{Error, Request, Response, SERVICE, ServerException};

type Answer = Result<Response, ApiError>;

/// Answers a read-only operation; `None` for the others.
pub fn query(state: &State, ctx: &Ctx<'_>, request: &Request) -> Option<Answer> {
    Some(match request {
        Request::BatchCheckLayerAvailability(r) => {
            layers::availability(state, ctx, r).map(Response::BatchCheckLayerAvailability)
        }
        Request::BatchGetImage(r) => {
            return images::get_recorded(state, ctx, r).map(|a| a.map(Response::BatchGetImage));
        }
        Request::DescribeImages(r) => images::describe(state, ctx, r).map(Response::DescribeImages),
        Request::DescribeRegistry(_) => Ok(Response::DescribeRegistry(registry::describe(ctx))),
        Request::DescribeRepositories(r) => {
            repositories::describe(state, ctx, r).map(Response::DescribeRepositories)
        }
        Request::GetAccountSetting(r) => {
            registry::get_setting(state, ctx, r).map(Response::GetAccountSetting)
        }
        Request::GetRepositoryPolicy(r) => policy::get(state, ctx, r).map(Response::GetRepositoryPolicy),
        Request::ListImageReferrers(r) => {
            images::list_referrers(state, ctx, r).map(Response::ListImageReferrers)
        }
        Request::ListImages(r) => images::list(state, ctx, r).map(Response::ListImages),
        Request::ListTagsForResource(r) => tags::list(state, ctx, r).map(Response::ListTagsForResource),
        // There never is one of these: what makes them is not built.
        Request::GetRegistryPolicy(_) | Request::DeleteRegistryPolicy(_) => Err(registry::no_policy(ctx)),
        Request::GetLifecyclePolicy(r) => {
            Err(policy::no_lifecycle(state, ctx, r.registry_id.as_deref(), &r.repository_name))
        }
        Request::DeleteLifecyclePolicy(r) => {
            Err(policy::no_lifecycle(state, ctx, r.registry_id.as_deref(), &r.repository_name))
        }
        _ => return None,
    })
}

/// Runs an operation that changes something.
pub fn execute(tx: &mut Tx<'_>, ctx: &mut Ctx<'_>, request: Request) -> Answer {
    match request {
        Request::BatchDeleteImage(r) => delete_image::execute(tx, ctx, *r).map(Response::BatchDeleteImage),
        Request::BatchGetImage(r) => images::get_and_record(tx, ctx, &r).map(Response::BatchGetImage),
        Request::CreateRepository(r) => repositories::create(tx, ctx, *r).map(Response::CreateRepository),
        Request::DeleteRepository(r) => repositories::delete(tx, ctx, &r).map(Response::DeleteRepository),
        Request::DeleteRepositoryPolicy(r) => {
            policy::delete(tx, ctx, &r).map(Response::DeleteRepositoryPolicy)
        }
        Request::PutAccountSetting(r) => registry::put_setting(tx, ctx, *r).map(Response::PutAccountSetting),
        Request::PutImage(r) => put_image::execute(tx, ctx, *r).map(Response::PutImage),
        Request::PutImageScanningConfiguration(r) => {
            repositories::put_scanning(tx, ctx, *r).map(Response::PutImageScanningConfiguration)
        }
        Request::PutImageTagMutability(r) => {
            repositories::put_mutability(tx, ctx, *r).map(Response::PutImageTagMutability)
        }
        Request::SetRepositoryPolicy(r) => policy::set(tx, ctx, *r).map(Response::SetRepositoryPolicy),
        Request::TagResource(r) => tags::tag(tx, ctx, *r).map(Response::TagResource),
        Request::UntagResource(r) => tags::untag(tx, ctx, &r).map(Response::UntagResource),
        other => Err(ApiError::Ecr(unbuilt(&SERVICE, other.name(), Error::named, |text| {
            ServerException::new(text).into()
        }))),
    }
}
