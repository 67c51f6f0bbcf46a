//! Amazon ECS: one file per operation, or per group of small ones.

mod account_settings;
mod attributes;
mod clusters;
mod container_instances;
mod exception;
mod reference;
mod tags;
mod task_definition;
pub(crate) mod tasks;

use crate::call::{Ctx, unbuilt};
use crate::state::State;
use crate::tx::Tx;
use api::ecs::{Error, Request, Response, SERVICE, ServerException};

/// Answers a read-only operation; `None` for the others.
pub fn query(state: &State, ctx: &Ctx<'_>, request: &Request) -> Option<Result<Response, Error>> {
    Some(match request {
        Request::DescribeClusters(r) => clusters::describe(state, ctx, r).map(Response::DescribeClusters),
        Request::ListClusters(r) => clusters::list(state, ctx, r).map(Response::ListClusters),
        Request::ListAccountSettings(r) => {
            account_settings::list(state, ctx, r).map(Response::ListAccountSettings)
        }
        Request::ListAttributes(r) => attributes::list(state, ctx, r).map(Response::ListAttributes),
        Request::ListTagsForResource(r) => tags::list(state, ctx, r).map(Response::ListTagsForResource),
        Request::DescribeTaskDefinition(r) => {
            task_definition::describe(state, ctx, r).map(Response::DescribeTaskDefinition)
        }
        Request::ListTaskDefinitions(r) => {
            task_definition::list(state, ctx, r).map(Response::ListTaskDefinitions)
        }
        Request::ListTaskDefinitionFamilies(r) => {
            task_definition::list_families(state, ctx, r).map(Response::ListTaskDefinitionFamilies)
        }
        Request::DescribeTasks(r) => tasks::describe(state, ctx, r).map(Response::DescribeTasks),
        Request::ListTasks(r) => tasks::list(state, ctx, r).map(Response::ListTasks),
        Request::GetTaskProtection(r) => {
            tasks::get_protection(state, ctx, r).map(Response::GetTaskProtection)
        }
        Request::UpdateTaskProtection(r) => {
            tasks::update_protection(state, ctx, r).map(Response::UpdateTaskProtection)
        }
        Request::DescribeContainerInstances(r) => {
            container_instances::describe(state, ctx, r).map(Response::DescribeContainerInstances)
        }
        Request::ListContainerInstances(r) => {
            container_instances::list(state, ctx, r).map(Response::ListContainerInstances)
        }
        Request::DiscoverPollEndpoint(_) => {
            Ok(Response::DiscoverPollEndpoint(container_instances::discover_poll_endpoint(ctx)))
        }
        Request::UpdateContainerAgent(r) => {
            container_instances::update_agent(state, ctx, r).map(Response::UpdateContainerAgent)
        }
        Request::SubmitAttachmentStateChanges(r) => {
            tasks::submit_attachments(r).map(Response::SubmitAttachmentStateChanges)
        }
        _ => return None,
    })
}

/// Runs an operation that changes something.
pub fn execute(tx: &mut Tx<'_>, ctx: &mut Ctx<'_>, request: Request) -> Result<Response, Error> {
    match request {
        Request::CreateCluster(r) => clusters::create(tx, ctx, *r).map(Response::CreateCluster),
        Request::DeleteCluster(r) => clusters::delete(tx, ctx, *r).map(Response::DeleteCluster),
        Request::UpdateCluster(r) => clusters::update(tx, ctx, *r).map(Response::UpdateCluster),
        Request::UpdateClusterSettings(r) => {
            clusters::update_settings(tx, ctx, *r).map(Response::UpdateClusterSettings)
        }
        Request::PutClusterCapacityProviders(r) => {
            clusters::put_capacity_providers(tx, ctx, *r).map(Response::PutClusterCapacityProviders)
        }
        Request::PutAccountSetting(r) => account_settings::put(tx, ctx, *r).map(Response::PutAccountSetting),
        Request::PutAccountSettingDefault(r) => {
            account_settings::put_default(tx, ctx, *r).map(Response::PutAccountSettingDefault)
        }
        Request::DeleteAccountSetting(r) => {
            account_settings::delete(tx, ctx, *r).map(Response::DeleteAccountSetting)
        }
        Request::TagResource(r) => tags::tag(tx, ctx, *r).map(Response::TagResource),
        Request::UntagResource(r) => tags::untag(tx, ctx, *r).map(Response::UntagResource),
        Request::PutAttributes(r) => attributes::put(tx, ctx, *r).map(Response::PutAttributes),
        Request::DeleteAttributes(r) => attributes::delete(tx, ctx, *r).map(Response::DeleteAttributes),
        Request::RegisterTaskDefinition(r) => {
            task_definition::register(tx, ctx, *r).map(Response::RegisterTaskDefinition)
        }
        Request::DeregisterTaskDefinition(r) => {
            task_definition::deregister(tx, ctx, *r).map(Response::DeregisterTaskDefinition)
        }
        Request::DeleteTaskDefinitions(r) => {
            task_definition::delete(tx, ctx, *r).map(Response::DeleteTaskDefinitions)
        }
        Request::RunTask(r) => tasks::run_task(tx, ctx, *r).map(Response::RunTask),
        Request::StartTask(r) => tasks::start_task(tx, ctx, *r).map(Response::StartTask),
        Request::StopTask(r) => tasks::stop_task(tx, ctx, *r).map(Response::StopTask),
        Request::SubmitTaskStateChange(r) => {
            tasks::submit_task(tx, ctx, *r).map(Response::SubmitTaskStateChange)
        }
        Request::SubmitContainerStateChange(r) => {
            tasks::submit_container(tx, ctx, *r).map(Response::SubmitContainerStateChange)
        }
        Request::RegisterContainerInstance(r) => {
            container_instances::register(tx, ctx, *r).map(Response::RegisterContainerInstance)
        }
        Request::DeregisterContainerInstance(r) => {
            container_instances::deregister(tx, ctx, *r).map(Response::DeregisterContainerInstance)
        }
        Request::UpdateContainerInstancesState(r) => {
            container_instances::update_state(tx, ctx, *r).map(Response::UpdateContainerInstancesState)
        }
        other => Err(unbuilt(&SERVICE, other.name(), Error::named, |text| ServerException::new(text).into())),
    }
}
