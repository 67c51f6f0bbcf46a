//! Uploads over HTTP: begin, mount, append, complete, ask, cancel.

use crate::handle::{Answer, CONTENT_DIGEST, Call, header, respond};
use crate::route::digest;
use crate::upload::{Completed, Place};
use crate::{Action, Body, Catalog, Error};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, LOCATION, RANGE};
use http::{HeaderName, Method, StatusCode};
use image::Digest;

const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<C: Catalog> Call<'_, C> {
    /// `POST …/blobs/uploads/`: mounts, takes a whole blob, or begins an upload.
    pub(crate) async fn begin<B>(&self, name: &str, body: B) -> Answer
    where
        B: hyper::body::Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        self.only(&[Method::POST])?;
        self.authorize(Action::InitiateLayerUpload, name).await?;
        let scope = self.catalog.repository_arn(&self.principal, name).await?;
        if let (Some(mount), Some(from)) = (self.parameter("mount"), self.parameter("from")) {
            let mount = digest(&mount)?;
            if self.mount(mount, &from, name).await? {
                return self.created(name, mount);
            }
        }
        let whole = self.parameter("digest").map(|text| digest(&text)).transpose()?;
        let id = self.store.begin_upload(&scope)?;
        let Some(expected) = whole else { return self.progress(StatusCode::ACCEPTED, name, &id, 0) };
        self.authorize(Action::UploadLayerPart, name).await?;
        self.authorize(Action::CompleteLayerUpload, name).await?;
        let received = self.store.append(&scope, &id, Place::default(), body).await;
        if let Err(error) = received {
            // Nobody knows this upload's id, so nobody can go on with it.
            if let Err(left) = self.store.cancel_upload(&scope, &id).await {
                tracing::debug!(error = %left, "a broken upload was gone already");
            }
            return Err(error.into());
        }
        self.finish(name, &scope, &id, expected).await
    }

    /// Links a layer of another repository; false if the client has to upload it after all.
    async fn mount(&self, digest: Digest, from: &str, into: &str) -> Result<bool, Error> {
        let allowed = image::is_repository(from)
            && self.catalog.may_mount(&self.principal, from, into).await?
            && self.authorize(Action::GetDownloadUrlForLayer, from).await.is_ok()
            && matches!(self.catalog.has_layer(&self.principal, from, digest).await, Ok(true));
        if !allowed {
            return Ok(false);
        }
        let Some(size) = self.store.renew(digest)? else { return Ok(false) };
        self.catalog.link_layer(&self.principal, into, digest, size).await?;
        Ok(true)
    }

    /// Everything under `…/blobs/uploads/<id>`.
    pub(crate) async fn upload<B>(&self, name: &str, id: &str, body: B) -> Answer
    where
        B: hyper::body::Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        self.only(&[Method::GET, Method::HEAD, Method::PATCH, Method::PUT, Method::DELETE])?;
        self.authorize(Action::UploadLayerPart, name).await?;
        let scope = self.catalog.repository_arn(&self.principal, name).await?;
        match self.method {
            Method::PATCH => {
                let length = self.store.append(&scope, id, self.place()?, body).await?;
                self.progress(StatusCode::ACCEPTED, name, id, length)
            }
            Method::PUT => {
                self.authorize(Action::CompleteLayerUpload, name).await?;
                let expected = self.parameter("digest").ok_or_else(|| {
                    Error::DigestInvalid("The digest parameter is missing from the request".to_owned())
                })?;
                let expected = digest(&expected)?;
                if !body.is_end_stream() {
                    self.store.append(&scope, id, self.place()?, body).await?;
                }
                self.finish(name, &scope, id, expected).await
            }
            Method::DELETE => {
                self.store.cancel_upload(&scope, id).await?;
                Ok(respond(StatusCode::NO_CONTENT, Body::empty()))
            }
            _ => {
                let length = self.store.upload_length(&scope, id).await?;
                self.progress(StatusCode::NO_CONTENT, name, id, length)
            }
        }
    }

    async fn finish(&self, name: &str, scope: &str, id: &str, expected: Digest) -> Answer {
        let Completed { digest, size } = self.store.complete(scope, id, &[expected]).await?;
        self.catalog.link_layer(&self.principal, name, digest, size).await?;
        self.created(name, digest)
    }

    fn created(&self, name: &str, digest: Digest) -> Answer {
        let mut response = respond(StatusCode::CREATED, Body::empty());
        let headers = response.headers_mut();
        headers.insert(LOCATION, self.location(&format!("/v2/{name}/blobs/{digest}"))?);
        headers.insert(CONTENT_DIGEST, header(&digest.to_string())?);
        headers.insert(CONTENT_LENGTH, 0.into());
        Ok(response)
    }

    /// Where an upload stands. An empty one reports `0-0` too: docker and ECR know no other form.
    fn progress(&self, status: StatusCode, name: &str, id: &str, length: u64) -> Answer {
        let mut response = respond(status, Body::empty());
        let headers = response.headers_mut();
        headers.insert(LOCATION, self.location(&format!("/v2/{name}/blobs/uploads/{id}"))?);
        headers.insert(UPLOAD_UUID, header(id)?);
        headers.insert(RANGE, header(&format!("0-{}", length.saturating_sub(1)))?);
        if status != StatusCode::NO_CONTENT {
            headers.insert(CONTENT_LENGTH, 0.into());
        }
        Ok(response)
    }

    /// Where the client says that its bytes belong: `Content-Range: first-last`, with or without `bytes` and total.
    fn place(&self) -> Result<Place, Error> {
        let Some(text) = self.header(&CONTENT_RANGE) else { return Ok(Place::default()) };
        let bad = || Error::UploadInvalid(format!("'{text}' is no Content-Range"));
        let span = text.strip_prefix("bytes").unwrap_or(text).trim_start_matches(['=', ' ']);
        let span = span.split('/').next().unwrap_or(span);
        let (first, last) = span.split_once('-').ok_or_else(bad)?;
        let first: u64 = first.trim().parse().map_err(|_| bad())?;
        let last: u64 = last.trim().parse().map_err(|_| bad())?;
        // An empty last piece is written as `n-(n-1)`.
        let length = last.checked_add(1).and_then(|end| end.checked_sub(first)).ok_or_else(bad)?;
        Ok(Place { first: Some(first), length: Some(length) })
    }
}
