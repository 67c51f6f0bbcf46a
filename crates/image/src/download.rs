//! Fetches one blob into a file, verified while it streams, resumed when the transfer breaks.

use crate::client::{Answer, Session};
use crate::file_sink::FileSink;
use crate::pull::Progress;
use crate::{Descriptor, Digest, Error};
use http::header::{CONTENT_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use http_body_util::BodyExt;
use std::fs::File;
use std::path::Path;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Broken transfers in a row, without a byte of progress, before giving up.
const ATTEMPTS: u32 = 5;
const FIRST_DELAY: Duration = Duration::from_millis(200);
/// Longest silence within a transfer.
const STALL: Duration = Duration::from_secs(60);

/// Doubles with each failed attempt: 200 ms, 400 ms …
pub(crate) fn delay(attempt: u32) -> Duration {
    FIRST_DELAY * 2u32.saturating_pow(attempt.min(6))
}

/// One blob on its way.
pub(crate) struct Download<'a> {
    pub(crate) session: &'a Session,
    pub(crate) blob: &'a Descriptor,
    pub(crate) progress: &'a (dyn Fn(Progress) + Send + Sync),
}

impl Download<'_> {
    /// Fetches the blob into `path` and opens it at its start.
    pub(crate) async fn fetch(&self, path: &Path) -> Result<File, Error> {
        let create = std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(path);
        let sink = FileSink::new(create.map_err(Error::io("create", path))?);
        let transferred = self.transfer(&sink).await;
        let written = sink.finish().await.map_err(Error::io("write", path));
        // A full disk ends the transfer early: that is the error to tell.
        let written = match (written, transferred) {
            (Ok(written), Ok(())) => written,
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        if written.length != self.blob.size {
            return Err(self.size_mismatch(written.length));
        }
        self.blob.digest.expect(written.digest)?;
        Ok(written.file)
    }

    async fn transfer(&self, sink: &FileSink) -> Result<(), Error> {
        let mut done = 0;
        let mut attempt = 0;
        loop {
            let before = done;
            let result = self.attempt(sink, &mut done).await;
            if done > before {
                attempt = 0;
            }
            match result {
                Ok(()) => return Ok(()),
                Err(error) if error.is_transient() && attempt + 1 < ATTEMPTS => {
                    tracing::debug!(blob = %self.blob.digest, done, %error, "a transfer broke and goes on");
                    sleep(delay(attempt)).await;
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn attempt(&self, sink: &FileSink, done: &mut u64) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        if *done > 0 {
            let range = format!("bytes={done}-");
            headers
                .insert(RANGE, HeaderValue::from_str(&range).unwrap_or(HeaderValue::from_static("bytes=0-")));
        }
        let answer = self.session.ask(Method::GET, self.url()?, &headers).await?;
        match answer.response.status() {
            StatusCode::OK => {
                if *done > 0 {
                    // This server does not resume.
                    *done = 0;
                    sink.restart().await;
                }
            }
            StatusCode::PARTIAL_CONTENT if *done > 0 && continues(answer.response.headers(), *done) => {}
            _ => return Err(self.session.refused(answer).await),
        }
        self.body(answer, sink, done).await
    }

    async fn body(&self, answer: Answer, sink: &FileSink, done: &mut u64) -> Result<(), Error> {
        let broken = |problem: &str, source: Option<hyper::Error>| Error::Unreachable {
            host: self.session.reference().registry().to_owned(),
            problem: problem.to_owned(),
            source: source.map(Into::into),
        };
        let mut body = answer.response.into_body();
        while *done < self.blob.size {
            let frame = match timeout(STALL, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Err(broken("the transfer broke", Some(error))),
                Ok(None) => return Err(broken("the transfer ended early", None)),
                Err(_) => return Err(broken("the transfer stalled", None)),
            };
            let Ok(data) = frame.into_data() else { continue };
            *done += data.len() as u64;
            if *done > self.blob.size {
                return Err(self.size_mismatch(*done));
            }
            if !sink.write(data).await {
                // `finish` tells why.
                return Ok(());
            }
            (self.progress)(Progress::Downloading {
                blob: self.blob.digest,
                bytes: *done,
                total: self.blob.size,
            });
        }
        Ok(())
    }

    fn url(&self) -> Result<Uri, Error> {
        // Foreign layers lie where the manifest says, not in the registry.
        match self.blob.urls.first() {
            Some(url) => url.parse().map_err(|_| self.session.protocol(format!("'{url}' is no URL"))),
            None => self.session.url(&format!("blobs/{}", self.blob.digest)),
        }
    }

    fn size_mismatch(&self, actual: u64) -> Error {
        let Descriptor { digest, size, .. } = self.blob;
        self.session.protocol(format!("blob {digest} has {actual} bytes or more, its manifest says {size}"))
    }
}

/// True if a partial answer begins where we stopped.
fn continues(headers: &HeaderMap, done: u64) -> bool {
    let range = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    range
        .and_then(|text| text.strip_prefix("bytes "))
        .is_some_and(|text| text.starts_with(&format!("{done}-")))
}

/// The digest that a registry says its answer has.
pub(crate) fn content_digest(headers: &HeaderMap) -> Option<Digest> {
    headers.get("docker-content-digest")?.to_str().ok()?.parse().ok()
}
