//! Manifests: read, accept, remove.

use crate::handle::{Answer, CONTENT_DIGEST, Call, header, respond};
use crate::{Action, Body, Catalog, Error, ImageId, PutImage};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderName, Method, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use image::{Digest, Manifest};

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<C: Catalog> Call<'_, C> {
    pub(crate) async fn manifest<B>(&self, name: &str, id: ImageId, body: B) -> Answer
    where
        B: hyper::body::Body<Data = Bytes> + Send + Unpin,
        B::Error: Into<BoxError>,
    {
        match self.method {
            Method::GET | Method::HEAD => self.get_manifest(name, &id).await,
            Method::PUT => self.put_manifest(name, id, body).await,
            Method::DELETE => self.delete_manifest(name, &id).await,
            _ => Err(Error::MethodNotAllowed),
        }
    }

    async fn get_manifest(&self, name: &str, id: &ImageId) -> Answer {
        self.authorize(Action::BatchGetImage, name).await?;
        let image = self.catalog.image(&self.principal, name, id).await?;
        let max = Manifest::BYTES_MAX as u64;
        let bytes = self.store.read(image.digest, max)?.ok_or_else(|| {
            Error::internal(format!("the bytes of image {} of repository {name} are gone", image.digest))
        })?;
        let length = bytes.len();
        let body = if self.method == Method::HEAD { Body::empty() } else { Body::bytes(bytes) };
        let mut response = respond(StatusCode::OK, body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, header(&image.media_type)?);
        headers.insert(CONTENT_LENGTH, length.into());
        headers.insert(CONTENT_DIGEST, header(&image.digest.to_string())?);
        Ok(response)
    }

    async fn put_manifest<B>(&self, name: &str, id: ImageId, body: B) -> Answer
    where
        B: hyper::body::Body<Data = Bytes> + Send + Unpin,
        B::Error: Into<BoxError>,
    {
        self.authorize(Action::PutImage, name).await?;
        self.catalog.repository_arn(&self.principal, name).await?;
        let bytes = self.whole(body).await?;
        let digest = Digest::of(&bytes);
        let tag = match id {
            ImageId::Tag(tag) => Some(tag),
            ImageId::Digest(expected) if expected == digest => None,
            ImageId::Digest(expected) => {
                return Err(Error::DigestInvalid(format!(
                    "The manifest has digest {digest}, not {expected}"
                )));
            }
        };
        let manifest = Manifest::parse(&bytes, self.header(&CONTENT_TYPE))
            .map_err(|error| Error::ManifestInvalid(error.to_string()))?;
        self.keep(&manifest, &bytes).await?;
        let subject = manifest.subject().map(|subject| subject.digest);
        let put = PutImage { repository: name.to_owned(), tag: tag.clone(), digest, manifest, bytes };
        self.catalog.put_image(&self.principal, put).await?;
        let mut response = respond(StatusCode::CREATED, Body::empty());
        let headers = response.headers_mut();
        let reference = tag.unwrap_or_else(|| digest.to_string());
        headers.insert(LOCATION, self.location(&format!("/v2/{name}/manifests/{reference}"))?);
        headers.insert(CONTENT_DIGEST, header(&digest.to_string())?);
        headers.insert(CONTENT_LENGTH, 0.into());
        if let Some(subject) = subject {
            headers.insert(SUBJECT, header(&subject.to_string())?);
        }
        Ok(response)
    }

    /// Makes sure that every blob of the manifest is here and stays, then keeps the manifest's bytes: what the catalog
    /// is told of must exist.
    async fn keep(&self, manifest: &Manifest, bytes: &Bytes) -> Result<(), Error> {
        let needed: Vec<Digest> = match manifest {
            Manifest::Image(image) => image.required_blobs().map(|blob| blob.digest).collect(),
            Manifest::Index(index) => index.manifests.iter().map(|entry| entry.digest).collect(),
        };
        let (store, bytes) = (self.store.clone(), bytes.clone());
        let kept = tokio::task::spawn_blocking(move || {
            for digest in needed {
                if store.renew(digest)?.is_none() {
                    return Err(Error::ManifestBlobUnknown(format!(
                        "The manifest names {digest}, which does not exist in the repository"
                    )));
                }
            }
            store.put(&bytes)?;
            Ok(())
        });
        kept.await.map_err(Error::internal)?
    }

    async fn whole<B>(&self, body: B) -> Result<Bytes, Error>
    where
        B: hyper::body::Body<Data = Bytes> + Send + Unpin,
        B::Error: Into<BoxError>,
    {
        let max = Manifest::BYTES_MAX;
        let announced = body.size_hint().lower();
        if announced > max as u64 {
            return Err(Error::ManifestTooLarge { size: announced, max: max as u64 });
        }
        match Limited::new(body, max).collect().await {
            Ok(whole) => Ok(whole.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {
                Err(Error::ManifestTooLarge { size: max as u64 + 1, max: max as u64 })
            }
            Err(_) => Err(Error::BodyBroken),
        }
    }

    async fn delete_manifest(&self, name: &str, id: &ImageId) -> Answer {
        self.authorize(Action::BatchDeleteImage, name).await?;
        self.catalog.delete_image(&self.principal, name, id).await?;
        let mut response = respond(StatusCode::ACCEPTED, Body::empty());
        response.headers_mut().insert(CONTENT_LENGTH, 0.into());
        Ok(response)
    }
}
