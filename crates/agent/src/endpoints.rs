//! Where ACS and TCS are, asked once in a while.

use crate::client::Client;
use crate::config::AgentConfig;
use crate::error::CallError;
use crate::register::operation;
use api::ecs;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Source: ecs-agent-protocol, "DiscoverPollEndpoint": kept even over lost connections.
const KEEP: Duration = Duration::from_secs(12 * 3600);

#[derive(Clone, Debug)]
pub(crate) struct Endpoints {
    pub(crate) acs: String,
    pub(crate) tcs: String,
}

/// The control plane's answer, shared by both sessions.
#[derive(Default)]
pub(crate) struct PollEndpoints(Mutex<Option<(Endpoints, Instant)>>);

impl PollEndpoints {
    pub(crate) async fn get(
        &self,
        config: &AgentConfig,
        client: &Client,
        instance: &str,
    ) -> Result<Endpoints, CallError> {
        let mut kept = self.0.lock().await;
        if let Some((endpoints, _)) = kept.as_ref().filter(|(_, asked)| asked.elapsed() < KEEP) {
            return Ok(endpoints.clone());
        }
        let request = ecs::DiscoverPollEndpointRequest {
            cluster: Some(config.cluster.clone()),
            container_instance: Some(instance.to_owned()),
        };
        let reply: Result<ecs::DiscoverPollEndpointResponse, _> =
            client.call(operation(config, "DiscoverPollEndpoint"), &request).await;
        match (reply, kept.as_ref()) {
            (Ok(reply), _) => {
                let acs = reply.endpoint.unwrap_or_else(|| config.endpoint.clone());
                let tcs = reply.telemetry_endpoint.unwrap_or_else(|| acs.clone());
                let endpoints = Endpoints { acs, tcs };
                *kept = Some((endpoints.clone(), Instant::now()));
                Ok(endpoints)
            }
            // An old answer is better than none.
            (Err(_), Some((endpoints, _))) => Ok(endpoints.clone()),
            (Err(error), None) => Err(error),
        }
    }
}
