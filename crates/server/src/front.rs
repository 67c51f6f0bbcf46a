//! The front end: one port for the AWS APIs, the registry, agents' websockets and Wharf's own endpoints.

use crate::agents::{self, Agents};
use crate::aws::Aws;
use crate::catalog::ServerCatalog;
use crate::driver::Driver;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use registry::Registry;
use std::net::SocketAddr;
use std::sync::Arc;
use stdx::Chain;
use wire::sigv4::Parts;

/// The largest request body of the AWS APIs: UploadLayerPart carries 20 MiB in base64.
const BODY_BYTES_MAX: usize = 28 << 20;

pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Everything that a request may need.
pub(crate) struct Front {
    pub(crate) driver: Arc<Driver>,
    pub(crate) agents: Arc<Agents>,
    pub(crate) aws: Aws,
    pub(crate) registry: Registry<ServerCatalog>,
}

impl Front {
    /// Answers any request; never fails.
    pub(crate) async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let path = request.uri().path();
        if path == "/v2" || path.starts_with("/v2/") {
            return self.registry(request).await;
        }
        if path.ends_with("/ws") {
            return self.websocket(request);
        }
        if let Some(name) = path.strip_prefix("/_wharf/") {
            let name = name.to_owned();
            return self.own(&name, request, peer).await;
        }
        let (head, body) = request.into_parts();
        match Limited::new(body, BODY_BYTES_MAX).collect().await {
            Ok(body) => self.aws.answer(&head, &body.to_bytes()).await.map(full),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                self.aws.refuse(&head, &wire::Fault::request_entity_too_large()).map(full)
            }
            Err(error) => {
                tracing::debug!(%error, "a request's body broke off");
                text(StatusCode::BAD_REQUEST, "the request's body broke off\n")
            }
        }
    }

    /// `/_wharf/…`: health and reset.
    async fn own(&self, name: &str, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        if let Some(layer) = name.strip_prefix("layers/") {
            return self.download(layer, request).await;
        }
        match (request.method(), name) {
            (&Method::GET, "health") => text(StatusCode::OK, "ok\n"),
            (&Method::POST, "reset") => {
                let parts = Parts {
                    method: "POST",
                    path: request.uri().path(),
                    query: request.uri().query().unwrap_or_default(),
                    headers: request.headers(),
                };
                if let Err(fault) = self.aws.authorize_reset(&parts, peer) {
                    return text(StatusCode::FORBIDDEN, &format!("{fault}\n"));
                }
                match self.aws.reset().await {
                    Ok(()) => text(StatusCode::OK, "empty\n"),
                    Err(error) => {
                        tracing::error!(error = %Chain(&error), "the reset failed");
                        text(
                            StatusCode::INTERNAL_SERVER_ERROR,
                            &format!("the reset failed: {}\n", Chain(&error)),
                        )
                    }
                }
            }
            _ => text(StatusCode::NOT_FOUND, "there are GET /_wharf/health and POST /_wharf/reset\n"),
        }
    }

    /// A layer by the URL that GetDownloadUrlForLayer gave out: `REPOSITORY/DIGEST?token=…`. The registry serves it,
    /// with the token as credentials.
    async fn download(&self, layer: &str, mut request: Request<Incoming>) -> Response<Body> {
        let query = wire::route::query_parameters(request.uri().query().unwrap_or_default());
        let token =
            query.into_iter().find(|(name, _)| name == "token").map(|(_, token)| token).unwrap_or_default();
        let path =
            layer.rsplit_once('/').map(|(repository, digest)| format!("/v2/{repository}/blobs/{digest}"));
        let uri = path.and_then(|path| path.parse().ok());
        let (Some(uri), Ok(credentials)) = (uri, HeaderValue::from_str(&format!("Bearer {token}"))) else {
            return text(StatusCode::NOT_FOUND, "there is no such layer\n");
        };
        *request.uri_mut() = uri;
        request.headers_mut().insert(header::AUTHORIZATION, credentials);
        self.registry(request).await
    }

    async fn registry(&self, request: Request<Incoming>) -> Response<Body> {
        self.registry.handle(request).await.map(|body| body.map_err(std::io::Error::other).boxed_unsync())
    }

    /// The upgrade of an agent's ACS or TCS connection. A refusal's body names the exception, as the agent expects.
    fn websocket(&self, mut request: Request<Incoming>) -> Response<Body> {
        let admitted = match self.aws.admit(&request) {
            Ok(admitted) => admitted,
            Err(refusal) => {
                let body = format!(
                    "{{\"type\":\"{}\",\"message\":{{\"message\":\"{}\"}}}}",
                    refusal.name, refusal.text
                );
                return json(StatusCode::BAD_REQUEST, body);
            }
        };
        let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY).cloned() else {
            return text(StatusCode::UPGRADE_REQUIRED, "this address speaks the websocket protocol\n");
        };
        let upgrade = hyper::upgrade::on(&mut request);
        let (driver, agents) = (self.driver.clone(), self.agents.clone());
        tokio::spawn(async move {
            let upgraded = match upgrade.await {
                Ok(upgraded) => upgraded,
                Err(error) => return tracing::debug!(%error, "an agent's upgrade broke off"),
            };
            match admitted.agent {
                Some(agent) => agents::serve_acs(upgraded, &driver, &agents, admitted.instance, agent).await,
                None => agents::serve_tcs(upgraded, &driver, admitted.instance).await,
            }
        });
        let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
        let mut response = Response::new(full(Bytes::new()));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(accept) = HeaderValue::from_str(&accept) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        response
    }
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

fn text(status: StatusCode, body: &str) -> Response<Body> {
    let mut response = Response::new(full(body.to_owned()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

fn json(status: StatusCode, body: String) -> Response<Body> {
    let mut response = text(status, "");
    *response.body_mut() = full(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
