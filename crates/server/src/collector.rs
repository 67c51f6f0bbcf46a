//! The registry's collector: removes abandoned uploads, and blobs that no repository needs any more.

use crate::driver::Driver;
use control::ecr::distribution;
use image::Digest;
use registry::{BlobStore, Plan, StoreError};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use stdx::Chain;

const INTERVAL: Duration = Duration::from_secs(600);
/// A blob this young may belong to a push whose manifest is still to come.
const GRACE: Duration = Duration::from_secs(3600);

/// Collects for ever.
pub(crate) async fn keep_collected(driver: Arc<Driver>, store: BlobStore) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let (driver, store) = (driver.clone(), store.clone());
        match tokio::task::spawn_blocking(move || collect(&driver, &store)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(error = %Chain(&error), "the registry's blobs could not be collected")
            }
            Err(error) => tracing::error!(%error, "the registry's collector panicked"),
        }
    }
}

fn collect(driver: &Driver, store: &BlobStore) -> Result<(), StoreError> {
    let now = SystemTime::now();
    let expired = store.expire_uploads(now)?;
    // What is present is listed before what is live: a blob that becomes live in between is too young to go.
    let present = store.blobs()?;
    let (live, _) = driver.view(|core| -> HashSet<Digest> {
        distribution::live_digests(core.state())
            .into_iter()
            .filter_map(|digest| digest.parse().ok())
            .collect()
    });
    let removed = store.sweep(&Plan::new(present, &live, now, GRACE))?;
    if expired > 0 || removed.blobs > 0 {
        tracing::info!(
            uploads = expired,
            blobs = removed.blobs,
            bytes = removed.bytes,
            "collected the registry's garbage"
        );
    }
    Ok(())
}
