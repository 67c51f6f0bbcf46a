//! Lists: tags, repositories, referrers.

use crate::handle::{Answer, Call, header, json};
use crate::{Action, Catalog, Error, Page};
use http::header::{CONTENT_TYPE, LINK};
use http::{HeaderName, HeaderValue, Method};
use image::{Descriptor, Digest, media_type};
use serde::Serialize;

/// ECR's page size, and the largest that may be asked for.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1000;
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

#[derive(Serialize)]
struct Tags<'a> {
    name: &'a str,
    tags: &'a [String],
}

#[derive(Serialize)]
struct Repositories<'a> {
    repositories: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Referrers {
    schema_version: u8,
    media_type: &'static str,
    manifests: Vec<Descriptor>,
}

impl<C: Catalog> Call<'_, C> {
    pub(crate) async fn tags(&self, name: &str) -> Answer {
        self.only(&[Method::GET, Method::HEAD])?;
        self.authorize(Action::ListImages, name).await?;
        let (limit, after) = self.page()?;
        let page = self.catalog.tags(&self.principal, name, after.as_deref(), limit).await?;
        self.linked(json(&Tags { name, tags: &page.names }), &page, limit)
    }

    pub(crate) async fn repositories(&self) -> Answer {
        self.only(&[Method::GET, Method::HEAD])?;
        self.authorize(Action::DescribeRepositories, "*").await?;
        let (limit, after) = self.page()?;
        let page = self.catalog.repositories(&self.principal, after.as_deref(), limit).await?;
        self.linked(json(&Repositories { repositories: &page.names }), &page, limit)
    }

    pub(crate) async fn referrers(&self, name: &str, subject: Digest) -> Answer {
        self.only(&[Method::GET, Method::HEAD])?;
        self.authorize(Action::BatchGetImage, name).await?;
        let mut manifests = self.catalog.referrers(&self.principal, name, subject).await?;
        let filter = self.parameter("artifactType");
        if let Some(wanted) = &filter {
            manifests.retain(|manifest| manifest.artifact_type.as_ref() == Some(wanted));
        }
        let mut response =
            json(&Referrers { schema_version: 2, media_type: media_type::OCI_INDEX, manifests })?;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type::OCI_INDEX));
        if filter.is_some() {
            headers.insert(FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
        }
        Ok(response)
    }

    /// `n` and `last`. More than ECR's 1000 is served as 1000, with a link to the rest.
    fn page(&self) -> Result<(usize, Option<String>), Error> {
        let limit = match self.parameter("n") {
            None => PAGE,
            Some(text) => text.parse().map_err(|_| {
                Error::Unsupported(format!(
                    "Invalid parameter at 'maxResults' failed to satisfy constraint: 'must be a number' ('{text}')"
                ))
            })?,
        };
        Ok((limit.min(PAGE_MAX), self.parameter("last").filter(|last| !last.is_empty())))
    }

    fn linked(&self, answer: Answer, page: &Page, limit: usize) -> Answer {
        let mut response = answer?;
        if let (true, Some(last)) = (page.more, page.names.last()) {
            let link = format!("<{}?n={limit}&last={last}>; rel=\"next\"", self.path);
            response.headers_mut().insert(LINK, header(&link)?);
        }
        Ok(response)
    }
}
