//! Pushes images to a registry.

use crate::build::{Blob, BuiltImage, BuiltIndex, Content};
use crate::client::{Answer, Client, Credentials, Hosts, Session, bytes_body};
use crate::download::delay;
use crate::{Descriptor, Digest, Error, FileBody, Reference};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use http_body_util::BodyExt;
use std::fs::File;
use std::sync::Arc;
use tokio::time::sleep;

const ATTEMPTS: u32 = 4;

/// Pushes images. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Pusher {
    client: Arc<Client>,
    hosts: Arc<Hosts>,
}

impl Pusher {
    pub fn new(hosts: Hosts) -> Self {
        Self { client: Arc::default(), hosts: Arc::new(hosts) }
    }

    /// Pushes an image and its blobs. What the registry holds already is not sent again.
    pub async fn push(
        &self,
        image: &BuiltImage,
        reference: &Reference,
        credentials: &Credentials,
    ) -> Result<Digest, Error> {
        let session = self.session(reference, credentials)?;
        push_image(&session, image, &session.reference().identifier()).await?;
        Ok(image.descriptor.digest)
    }

    /// Pushes an index with all its images.
    pub async fn push_index(
        &self,
        index: &BuiltIndex,
        reference: &Reference,
        credentials: &Credentials,
    ) -> Result<Digest, Error> {
        let session = self.session(reference, credentials)?;
        for image in &index.images {
            push_image(&session, image, &image.descriptor.digest.to_string()).await?;
        }
        put_manifest(&session, &index.descriptor, &index.manifest, &session.reference().identifier()).await?;
        Ok(index.descriptor.digest)
    }

    fn session(&self, reference: &Reference, credentials: &Credentials) -> Result<Session, Error> {
        Session::new(Arc::clone(&self.client), &self.hosts, reference, credentials, "pull,push")
    }
}

async fn push_image(session: &Session, image: &BuiltImage, identifier: &str) -> Result<(), Error> {
    for blob in &image.blobs {
        push_blob(session, blob).await?;
    }
    put_manifest(session, &image.descriptor, &image.manifest, identifier).await
}

async fn push_blob(session: &Session, blob: &Blob) -> Result<(), Error> {
    let mut attempt = 0;
    loop {
        match upload(session, blob).await {
            Err(error) if error.is_transient() && attempt + 1 < ATTEMPTS => {
                tracing::debug!(blob = %blob.descriptor.digest, %error, "an upload broke and starts again");
                sleep(delay(attempt)).await;
                attempt += 1;
            }
            result => return result,
        }
    }
}

async fn upload(session: &Session, blob: &Blob) -> Result<(), Error> {
    let Descriptor { digest, size, .. } = &blob.descriptor;
    let none = HeaderMap::new();
    let head = session.ask(Method::HEAD, session.url(&format!("blobs/{digest}"))?, &none).await?;
    if head.response.status() == StatusCode::OK {
        return Ok(());
    }
    let begin = session.url("blobs/uploads/")?;
    let begun = session.send(Method::POST, begin, &none, Some(Bytes::new())).await?;
    let location = expect(session, begun, StatusCode::ACCEPTED).await?;
    let body = match &blob.content {
        Content::Bytes(bytes) => bytes_body(bytes.clone()),
        Content::File(path) => {
            let file = File::open(path).map_err(Error::io("open", path))?;
            FileBody::new(file, *size).boxed()
        }
    };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    let patched = session.stream(Method::PATCH, location, &headers, body).await?;
    let location = expect(session, patched, StatusCode::ACCEPTED).await?;
    let end = with_digest(session, &location, *digest)?;
    let done = session.send(Method::PUT, end, &none, Some(Bytes::new())).await?;
    expect_status(session, done, StatusCode::CREATED).await?;
    Ok(())
}

async fn put_manifest(
    session: &Session,
    descriptor: &Descriptor,
    manifest: &Bytes,
    identifier: &str,
) -> Result<(), Error> {
    let url = session.url(&format!("manifests/{identifier}"))?;
    let mut headers = HeaderMap::new();
    let content_type = HeaderValue::from_str(&descriptor.media_type);
    headers.insert(CONTENT_TYPE, content_type.map_err(|_| Error::InvalidManifest("media type".to_owned()))?);
    let answer = session.send(Method::PUT, url, &headers, Some(manifest.clone())).await?;
    expect_status(session, answer, StatusCode::CREATED).await?;
    Ok(())
}

async fn expect_status(session: &Session, answer: Answer, status: StatusCode) -> Result<Answer, Error> {
    if answer.response.status() == status { Ok(answer) } else { Err(session.refused(answer).await) }
}

/// The `Location` of a successful answer.
async fn expect(session: &Session, answer: Answer, status: StatusCode) -> Result<Uri, Error> {
    let answer = expect_status(session, answer, status).await?;
    match answer.response.headers().get(LOCATION) {
        Some(location) => session.resolve(&answer.url, location),
        None => Err(session.protocol("it began an upload without a Location".to_owned())),
    }
}

fn with_digest(session: &Session, location: &Uri, digest: Digest) -> Result<Uri, Error> {
    let joint = if location.query().is_some() { '&' } else { '?' };
    let text = format!("{location}{joint}digest={digest}");
    text.parse().map_err(|_| session.protocol(format!("'{text}' is no usable URL")))
}
