//! Images for containers: pulled, found, and described.

use crate::{ErrorKind, ImageDefaults, PulledImage, RegistryCredentials, Result, RuntimeError};
use image::{ContentStore, Credentials, Puller, Reference, StoredImage};
use std::error::Error;

pub(super) async fn pull(
    puller: &Puller,
    reference: &str,
    credentials: Option<RegistryCredentials>,
) -> Result<PulledImage> {
    let parsed = parse(reference)?;
    let credentials = credentials.map_or(Credentials::Anonymous, |c| Credentials::Basic {
        username: c.username,
        password: c.password,
    });
    let stored = puller.pull(&parsed, &credentials).await.map_err(failed)?;
    Ok(describe(&stored))
}

pub(super) fn find(store: &ContentStore, reference: &str) -> Result<Option<StoredImage>> {
    store.find(&parse(reference)?).map_err(failed)
}

/// The image for a container: it must still be what the pull gave.
pub(super) fn require(store: &ContentStore, reference: &str, digest: &str) -> Result<StoredImage> {
    let missing = || {
        let text = format!("no such image: {reference}{}{digest}", if digest.is_empty() { "" } else { "@" });
        RuntimeError::new(ErrorKind::CannotCreateContainer, text)
    };
    let found = find(store, reference)?.ok_or_else(missing)?;
    let same = [found.record.manifest_digest, found.record.digest].iter().any(|d| d.to_string() == digest);
    if digest.is_empty() || same { Ok(found) } else { Err(missing()) }
}

pub(super) fn describe(stored: &StoredImage) -> PulledImage {
    PulledImage {
        digest: stored.record.manifest_digest.to_string(),
        defaults: defaults(stored),
        size_bytes: stored.record.size,
    }
}

pub(super) fn defaults(stored: &StoredImage) -> ImageDefaults {
    let config = &stored.config;
    ImageDefaults {
        env: config.env.clone(),
        entry_point: config.entrypoint.clone(),
        command: config.cmd.clone(),
        user: config.user.clone(),
        working_dir: config.working_dir.clone(),
        stop_signal: config.stop_signal.clone().unwrap_or_default(),
        labels: config.labels.clone().into_iter().collect(),
        volumes: config.volumes.clone(),
    }
}

fn parse(reference: &str) -> Result<Reference> {
    Reference::parse(reference).map_err(failed)
}

fn failed(error: image::Error) -> RuntimeError {
    let kind = match &error {
        image::Error::AccessDenied { .. } => ErrorKind::CannotPullContainerAuth,
        _ => ErrorKind::CannotPullContainer,
    };
    let mut message = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        message = format!("{message}: {cause}");
        next = cause.source();
    }
    RuntimeError::new(kind, message).caused_by(error)
}
