//! ecs:DiscoverPollEndpoint and ecs:UpdateContainerAgent.

use super::find;
use crate::call::Ctx;
use crate::ecs::clusters;
use crate::ecs::exception::invalid;
use crate::state::State;
use crate::state::ecs::InstanceStatus;
use api::ecs::{self as model, Error};

/// Where agents connect. They append `/ws` and tell ACS from TCS by their parameters; they keep the answer for twelve
/// hours (ecs-agent, `PollEndpointCache`), so that it must not change from one start to the next.
pub(in crate::ecs) fn discover_poll_endpoint(ctx: &Ctx<'_>) -> model::DiscoverPollEndpointResponse {
    let endpoint = ctx.settings.endpoint.clone();
    model::DiscoverPollEndpointResponse {
        endpoint: Some(endpoint.clone()),
        telemetry_endpoint: Some(endpoint),
        service_connect_endpoint: None,
    }
}

/// Agents are updated by whoever installed them: there never is an update to be had here.
pub(in crate::ecs) fn update_agent(
    state: &State,
    ctx: &Ctx<'_>,
    request: &model::UpdateContainerAgentRequest,
) -> Result<model::UpdateContainerAgentResponse, Error> {
    let cluster = &clusters::active(state, ctx, request.cluster.as_deref())?.id;
    let found = find(state, ctx, cluster, &request.container_instance)?;
    if found.is_none_or(|i| i.status == InstanceStatus::Inactive) {
        let text = format!("Referenced container instance {} not found.", request.container_instance);
        return Err(invalid(text));
    }
    let text = "There is no update available for your container agent.";
    Err(model::NoUpdateAvailableException::new(text).into())
}
