//! The front door: authenticates a request, parses its path, and calls what answers it.

use crate::route::{Route, parameter};
use crate::{Action, BlobStore, Body, Catalog, Credentials, Error, Host};
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RANGE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use serde::Serialize;
use std::sync::Arc;

pub(crate) const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What an operator may set.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Put before the paths in `Location` headers: `https://registry.example.com`. Without it they are relative,
    /// which is right behind every proxy.
    pub external_url: Option<String>,
}

/// The distribution API over a blob store and a catalog. Cheap to clone.
#[derive(Debug)]
pub struct Registry<C> {
    inner: Arc<Inner<C>>,
}

#[derive(Debug)]
struct Inner<C> {
    store: BlobStore,
    catalog: C,
    settings: Settings,
}

impl<C> Clone for Registry<C> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

/// One authenticated request.
pub(crate) struct Call<'a, C: Catalog> {
    pub(crate) store: &'a BlobStore,
    pub(crate) catalog: &'a C,
    pub(crate) principal: C::Principal,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: HeaderMap,
    settings: &'a Settings,
}

pub(crate) type Answer = Result<Response<Body>, Error>;

impl<C: Catalog> Registry<C> {
    pub fn new(store: BlobStore, catalog: C, settings: Settings) -> Self {
        Self { inner: Arc::new(Inner { store, catalog, settings }) }
    }

    pub fn store(&self) -> &BlobStore {
        &self.inner.store
    }

    pub fn catalog(&self) -> &C {
        &self.inner.catalog
    }

    /// Answers a request whose path begins with `/v2`.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes> + Send + Unpin,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = request.into_parts();
        let host = Host::from_request(&parts.uri, &parts.headers);
        let mut response = match self.answer(parts, host.as_ref(), body).await {
            Ok(response) => response,
            Err(error) => render(&error, host.as_ref()),
        };
        response.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
        response
    }

    async fn answer<B>(&self, parts: http::request::Parts, host: Option<&Host>, body: B) -> Answer
    where
        B: hyper::body::Body<Data = Bytes> + Send + Unpin,
        B::Error: Into<BoxError>,
    {
        let credentials = Credentials::from_headers(&parts.headers).ok_or(Error::Unauthorized)?;
        let Inner { store, catalog, settings } = &*self.inner;
        let call = Call {
            store,
            catalog,
            principal: catalog.authenticate(host, &credentials).await?,
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().map(str::to_owned),
            headers: parts.headers,
            settings,
        };
        match Route::parse(&call.path)? {
            Route::Base => call.base(),
            Route::Catalog => call.repositories().await,
            Route::Tags { name } => call.tags(&name).await,
            Route::Manifest { name, id } => call.manifest(&name, id, body).await,
            Route::Blob { name, digest } => call.blob(&name, digest).await,
            Route::Uploads { name } => call.begin(&name, body).await,
            Route::Upload { name, id } => call.upload(&name, &id, body).await,
            Route::Referrers { name, digest } => call.referrers(&name, digest).await,
        }
    }
}

impl<C: Catalog> Call<'_, C> {
    fn base(&self) -> Answer {
        self.only(&[Method::GET, Method::HEAD])?;
        json(&serde_json::Map::new())
    }

    /// Refuses other methods.
    pub(crate) fn only(&self, methods: &[Method]) -> Result<(), Error> {
        if methods.contains(&self.method) { Ok(()) } else { Err(Error::MethodNotAllowed) }
    }

    pub(crate) async fn authorize(&self, action: Action, repository: &str) -> Result<(), Error> {
        self.catalog.authorize(&self.principal, action, repository).await
    }

    pub(crate) fn parameter(&self, key: &str) -> Option<String> {
        parameter(self.query.as_deref(), key)
    }

    pub(crate) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn location(&self, path: &str) -> Result<HeaderValue, Error> {
        let prefix = self.settings.external_url.as_deref().unwrap_or_default();
        header(&format!("{prefix}{path}"))
    }
}

pub(crate) fn header(text: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(text).map_err(Error::internal)
}

pub(crate) fn respond(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

pub(crate) fn json(value: &impl Serialize) -> Answer {
    let bytes = serde_json::to_vec(value).map_err(Error::internal)?;
    let mut response = respond(StatusCode::OK, Body::bytes(bytes));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

#[derive(Serialize)]
struct Errors<'a> {
    errors: [Entry<'a>; 1],
}

#[derive(Serialize)]
struct Entry<'a> {
    code: &'a str,
    message: String,
}

fn render(error: &Error, host: Option<&Host>) -> Response<Body> {
    if let Error::Internal(_) = error {
        tracing::error!(error = %stdx::Chain(error), "the registry failed");
    }
    if let Error::Unauthorized = error {
        return challenge(host);
    }
    let body = Errors { errors: [Entry { code: error.code(), message: error.to_string() }] };
    let bytes = serde_json::to_vec(&body).unwrap_or_default();
    let mut response = respond(error.status(), Body::bytes(bytes));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    match error {
        Error::OutOfOrder { length } => {
            let range = format!("0-{}", length.saturating_sub(1));
            headers.extend(HeaderValue::from_str(&range).ok().map(|value| (RANGE, value)));
        }
        Error::RangeNotSatisfiable { size } => {
            let range = HeaderValue::from_str(&format!("bytes */{size}")).ok();
            headers.extend(range.map(|value| (http::header::CONTENT_RANGE, value)));
        }
        Error::MethodNotAllowed => {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE"));
        }
        _ => {}
    }
    response
}

/// ECR's challenge, word for word.
fn challenge(host: Option<&Host>) -> Response<Body> {
    let mut response = respond(StatusCode::UNAUTHORIZED, Body::bytes("Not Authorized\n"));
    let name = host.map_or("localhost", |host| host.name.as_str());
    let text = format!("Basic realm=\"https://{name}/\",service=\"ecr.amazonaws.com\"");
    let headers = response.headers_mut();
    headers.extend(HeaderValue::from_str(&text).ok().map(|value| (WWW_AUTHENTICATE, value)));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("15"));
    response
}
