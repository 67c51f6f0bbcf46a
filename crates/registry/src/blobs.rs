//! Blobs: HEAD, GET with ranges, and the refusal to delete.

use crate::handle::{Answer, CONTENT_DIGEST, Call, header, respond};
use crate::{Action, Body, Catalog, Error};
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, RANGE};
use http::{HeaderValue, Method, StatusCode};
use image::{Digest, FileBody};
use std::io::{Seek, SeekFrom};

impl<C: Catalog> Call<'_, C> {
    pub(crate) async fn blob(&self, name: &str, digest: Digest) -> Answer {
        // ECR has no call to delete a layer: it goes when no image refers to it.
        self.only(&[Method::GET, Method::HEAD])?;
        let head = self.method == Method::HEAD;
        let action = if head { Action::BatchCheckLayerAvailability } else { Action::GetDownloadUrlForLayer };
        self.authorize(action, name).await?;
        if !self.catalog.has_layer(&self.principal, name, digest).await? {
            return Err(Error::BlobUnknown(digest));
        }
        let (mut file, size) = self.store.blob(digest)?.ok_or(Error::BlobUnknown(digest))?;
        let range = Span::requested(self.header(&RANGE), size)?;
        let span = range.unwrap_or(Span { first: 0, length: size });
        let body = if head {
            Body::empty()
        } else {
            file.seek(SeekFrom::Start(span.first)).map_err(Error::internal)?;
            Body::file(FileBody::new(file, span.length))
        };
        let mut response = respond(StatusCode::OK, body);
        if range.is_some() {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let text = format!("bytes {}-{}/{size}", span.first, span.first + span.length - 1);
            response.headers_mut().insert(CONTENT_RANGE, header(&text)?);
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, span.length.into());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(CONTENT_DIGEST, header(&digest.to_string())?);
        headers.insert(ETAG, header(&format!("\"{digest}\""))?);
        Ok(response)
    }
}

/// A part of a blob; never empty when it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    first: u64,
    length: u64,
}

impl Span {
    /// Reads a `Range` header. What is no single byte range is ignored, as RFC 9110 allows.
    fn requested(header: Option<&str>, size: u64) -> Result<Option<Self>, Error> {
        let Some(spec) = header.and_then(|header| header.strip_prefix("bytes=")) else { return Ok(None) };
        let Some((first, last)) = spec.trim().split_once('-') else { return Ok(None) };
        let number = |text: &str| text.trim().parse::<u64>();
        let (first, last) = match (number(first), number(last)) {
            (Ok(first), Ok(last)) if first <= last => (first, last.min(size.saturating_sub(1))),
            (Ok(first), Err(_)) if last.trim().is_empty() => (first, size.saturating_sub(1)),
            (Err(_), Ok(suffix)) if first.is_empty() => (size.saturating_sub(suffix), size.saturating_sub(1)),
            _ => return Ok(None),
        };
        if first >= size {
            return Err(Error::RangeNotSatisfiable { size });
        }
        Ok(Some(Self { first, length: last - first + 1 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let span = |first, length| Some(Span { first, length });
        for (header, expected) in [
            ("bytes=0-0", span(0, 1)),
            ("bytes=2-5", span(2, 4)),
            ("bytes=7-", span(7, 3)),
            ("bytes=7-99", span(7, 3)),
            ("bytes=-4", span(6, 4)),
            ("bytes=-40", span(0, 10)),
            ("bytes=5-2", None),
            ("bytes=0-1,3-4", None),
            ("bytes=x-y", None),
            ("items=0-1", None),
        ] {
            assert_eq!(Span::requested(Some(header), 10).unwrap(), expected, "{header}");
        }
        for header in ["bytes=10-", "bytes=10-11", "bytes=-0"] {
            assert!(Span::requested(Some(header), 10).is_err(), "{header}");
        }
        assert!(Span::requested(Some("bytes=0-0"), 0).is_err());
        assert_eq!(Span::requested(None, 10).unwrap(), None);
    }
}
