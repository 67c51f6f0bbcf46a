//! The AWS APIs: from a request's bytes to a call of the core, and back.

use crate::driver::{Driver, now};
use crate::error::Unavailable;
use crate::identity::{Caller, Identity, root};
use crate::layers::Layers;
use crate::log_service::LogService;
use crate::secret;
use bytes::Bytes;
use control::session::AgentInfo;
use control::state::ecs::InstanceId;
use control::{ApiRequest, ApiResponse, Call, Input};
use http::request::Parts as Head;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use std::net::SocketAddr;
use std::sync::Arc;
use stdx::Chain;
use tokio::sync::watch;
use wire::route::{Encoded, Route};
use wire::sigv4::Parts;
use wire::{Exception, Fault, Service};

/// The APIs that are served.
static SERVICES: &[&Service] =
    &[&api::ecs::SERVICE, &api::ecr::SERVICE, &api::logs::SERVICE, &api::sts::SERVICE];

/// Serves the AWS APIs.
pub(crate) struct Aws {
    pub(crate) driver: Arc<Driver>,
    pub(crate) identity: Identity,
    pub(crate) layers: Layers,
    pub(crate) logs: LogService,
    /// Counts resets, for whoever must begin again after one.
    pub(crate) resets: watch::Sender<u64>,
}

/// An agent's connection that may be upgraded.
pub(crate) struct Admitted {
    pub(crate) instance: InstanceId,
    /// Set for ACS, absent for TCS.
    pub(crate) agent: Option<AgentInfo>,
}

/// Why an agent's connection is refused, in the exceptions of the ACS model.
pub(crate) struct Refusal {
    pub(crate) name: &'static str,
    pub(crate) text: String,
}

/// An operation's reply, or what went wrong.
type Outcome = Result<ApiResponse, Failure>;

/// What an operation answers instead of a reply.
pub(crate) enum Failure {
    Exception(Box<dyn Exception + Send>),
    Fault(Fault),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Unavailable> for Failure {
    fn from(error: Unavailable) -> Self {
        tracing::error!(error = %Chain(&error), "a request could not be answered");
        Self::Fault(Fault::internal_failure())
    }
}

impl From<control::ApiError> for Failure {
    fn from(error: control::ApiError) -> Self {
        match error.into_exception() {
            Ok(exception) => Self::Exception(exception),
            Err(fault) => Self::Fault(fault),
        }
    }
}

impl Aws {
    /// Answers a request of any AWS API.
    pub(crate) async fn answer(&self, head: &Head, body: &Bytes) -> Response<Bytes> {
        let request_id = request_id();
        let route = match wire::route::route(SERVICES, &parts(head), body) {
            Ok(route) => route,
            Err(fault) => return respond(wire::route::encode_unrouted(&parts(head), &request_id, &fault)),
        };
        let outcome = self.outcome(&route, head, body, &request_id).await;
        let encoded = match outcome {
            Ok(response) => wire::route::encode_reply(&route, &request_id, &response),
            Err(Failure::Exception(exception)) => {
                wire::route::encode_exception(&route, &request_id, &*exception)
            }
            Err(Failure::Fault(fault)) => wire::route::encode_fault(&route, &request_id, &fault),
        };
        respond(encoded)
    }

    /// Answers a request that was not read to its end.
    pub(crate) fn refuse(&self, head: &Head, fault: &Fault) -> Response<Bytes> {
        respond(wire::route::encode_unrouted(&parts(head), &request_id(), fault))
    }

    async fn outcome(&self, route: &Route, head: &Head, body: &Bytes, request_id: &str) -> Outcome {
        let caller = self.identity.authenticate(&parts(head), body)?;
        if !caller.service.is_empty() && caller.service != route.service.signing_name {
            let text =
                format!("Credential should be scoped to correct service: '{}'.", route.service.signing_name);
            return Err(Fault::invalid_signature(&text).into());
        }
        let request = decode(route, body)?;
        self.perform(caller, request, request_id.to_owned()).await
    }

    /// Performs a decoded request for a caller.
    async fn perform(&self, caller: Caller, request: ApiRequest, request_id: String) -> Outcome {
        let Caller { principal, scope, .. } = caller;
        match request {
            ApiRequest::Ecr(request) if Layers::answers(&request) => {
                self.layers.perform(&principal, scope, request).await.map(ApiResponse::Ecr)
            }
            ApiRequest::Ecr(api::ecr::Request::PutImage(request)) => {
                self.layers.keep_manifest(request.image_manifest.clone()).await?;
                let request = ApiRequest::Ecr(api::ecr::Request::PutImage(request));
                Ok(self.driver.call(Call { scope, principal, request_id, request }).await??)
            }
            ApiRequest::Logs(request) if LogService::answers(&request) => {
                self.logs.perform(scope, request).await.map(ApiResponse::Logs)
            }
            request => {
                let sweeps = matches!(
                    request,
                    ApiRequest::Logs(
                        api::logs::Request::DeleteLogGroup(_) | api::logs::Request::DeleteLogStream(_)
                    )
                );
                let response = self.driver.call(Call { scope, principal, request_id, request }).await??;
                if sweeps {
                    let logs = self.logs.clone();
                    tokio::spawn(async move { logs.sweep().await });
                }
                self.complete(scope, response).await
            }
        }
    }

    /// Adds to a reply of the core what only other stores know.
    async fn complete(&self, scope: control::state::Scope, response: ApiResponse) -> Outcome {
        let ApiResponse::Logs(api::logs::Response::DescribeLogGroups(mut reply)) = response else {
            return Ok(response);
        };
        if let Some(groups) = reply.log_groups.take() {
            reply.log_groups = Some(self.logs.add_stored_bytes(scope, groups).await);
        }
        Ok(ApiResponse::Logs(api::logs::Response::DescribeLogGroups(reply)))
    }

    /// Whether a request may empty everything: the root key's, or any from loopback where every key is taken.
    pub(crate) fn authorize_reset(&self, parts: &Parts<'_>, peer: SocketAddr) -> Result<(), Fault> {
        if self.identity.any_credentials && peer.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        let caller = self.identity.authenticate(parts, b"")?;
        if caller.principal.arn.ends_with(":root") {
            Ok(())
        } else {
            Err(Fault::access_denied("Only the root user may reset Wharf."))
        }
    }

    /// Makes the cluster `default` of the home account and Region, which consoles and command lines assume.
    pub(crate) async fn create_default_cluster(&self) -> Result<(), Unavailable> {
        let scope = self.identity.home;
        let request = api::ecs::Request::CreateCluster(Box::default()).into();
        let call = Call { scope, principal: root(scope.account), request_id: request_id(), request };
        self.driver
            .call(call)
            .await?
            .map(drop)
            .map_err(|_| Unavailable::Broken("the default cluster cannot be made"))
    }

    /// Empties everything, as if Wharf had been started for the first time.
    pub(crate) async fn reset(&self) -> Result<(), Unavailable> {
        self.driver.step(Input::Reset).await?;
        self.create_default_cluster().await?;
        self.resets.send_modify(|count| *count += 1);
        // Blobs and log events without an owner are swept in the background; nothing leads to them any more.
        let logs = self.logs.clone();
        tokio::spawn(async move { logs.sweep().await });
        Ok(())
    }

    /// Whether a connection of an agent may be upgraded to a websocket.
    pub(crate) fn admit(&self, request: &Request<Incoming>) -> Result<Admitted, Refusal> {
        let refuse = |name, text: &str| Refusal { name, text: text.to_owned() };
        let uri = request.uri();
        let parts = Parts {
            method: request.method().as_str(),
            path: uri.path(),
            query: uri.query().unwrap_or_default(),
            headers: request.headers(),
        };
        let caller = self
            .identity
            .authenticate(&parts, b"")
            .map_err(|fault| refuse("AccessDeniedException", &fault.message))?;
        let query = wire::route::query_parameters(parts.query);
        let find = |name: &str| query.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        // ACS says `containerInstanceArn`, TCS `containerInstance`.
        let is_acs = find("containerInstanceArn").is_some();
        let arn = find("containerInstanceArn").or_else(|| find("containerInstance")).unwrap_or_default();
        let id = arn.rsplit('/').next().and_then(InstanceId::parse);
        let id = id.ok_or_else(|| {
            refuse("InvalidInstanceException", "The container instance is not an ARN or id.")
        })?;
        let (admission, _) = self.driver.view(|core| control::session::admit(core.state(), caller.scope, id));
        admission.map_err(|refused| refuse(refused.name, &refused.text))?;
        let agent = is_acs.then(|| AgentInfo {
            agent_version: find("agentVersion"),
            agent_hash: find("agentHash"),
            docker_version: find("dockerVersion")
                .map(|v| v.trim_start_matches("DockerVersion:").trim().to_owned()),
            send_credentials: find("sendCredentials").as_deref() == Some("true"),
        });
        Ok(Admitted { instance: id, agent })
    }
}

/// Reads the input of the routed operation.
fn decode(route: &Route, body: &Bytes) -> Result<ApiRequest, Fault> {
    macro_rules! by_service {
        ($($api:ident),*) => {
            match route.service.name {
                $(stringify!($api) => wire::route::decode_request(route, body, |reader| {
                    api::$api::Request::read(route.operation, reader)
                }).map(ApiRequest::from),)*
                _ => Err(Fault::unknown_operation()),
            }
        };
    }
    by_service!(ecs, ecr, logs, sts)
}

fn parts(head: &Head) -> Parts<'_> {
    Parts {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        headers: &head.headers,
    }
}

fn respond(encoded: Encoded) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(encoded.body));
    *response.status_mut() =
        StatusCode::from_u16(encoded.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers: &mut HeaderMap = response.headers_mut();
    for (name, value) in encoded.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    response
}

/// A UUID, as AWS gives every request.
fn request_id() -> String {
    let mut seed = [0; 8];
    match secret::fill(&mut seed) {
        Ok(()) => stdx::id::uuid(&mut stdx::Rng::new(u64::from_be_bytes(seed))),
        Err(_) => stdx::id::uuid(&mut stdx::Rng::new(now().millis().unsigned_abs())),
    }
}
