//! Mark and sweep of blobs: a pure plan from what is live, and its separate execution.

use crate::{BlobStore, StoreError, StoredBlob};
use image::Digest;
use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::time::{Duration, SystemTime};

/// Blobs that may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub doomed: Vec<StoredBlob>,
    /// Blobs renewed after this moment are spared, whatever the plan says.
    spare_after: Option<SystemTime>,
}

/// What executing a plan removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    pub blobs: usize,
    pub bytes: u64,
}

impl Plan {
    /// Dooms the blobs that are not live and have not been renewed within the grace period. The caller names as live
    /// every manifest, configuration and layer of every image. The grace period covers what is between a push's first
    /// blob and its manifest.
    pub fn new(
        present: impl IntoIterator<Item = StoredBlob>,
        live: &HashSet<Digest>,
        now: SystemTime,
        grace: Duration,
    ) -> Self {
        let spare_after = now.checked_sub(grace).unwrap_or(SystemTime::UNIX_EPOCH);
        let dead = |blob: &StoredBlob| !live.contains(&blob.digest) && blob.renewed_at < spare_after;
        Self { doomed: present.into_iter().filter(dead).collect(), spare_after: Some(spare_after) }
    }
}

impl BlobStore {
    /// Executes a plan. A blob that was pushed, mounted or named again since the plan was made stays.
    pub fn sweep(&self, plan: &Plan) -> Result<Removed, StoreError> {
        let mut removed = Removed::default();
        for blob in &plan.doomed {
            let path = self.path(blob.digest);
            let _publishing = self.publishing();
            let renewed = match fs::metadata(&path).and_then(|metadata| metadata.modified()) {
                Ok(at) => plan.spare_after.is_none_or(|spare_after| at >= spare_after),
                Err(error) if error.kind() == ErrorKind::NotFound => true,
                Err(error) => return Err(StoreError::io("look at", &path)(error)),
            };
            if renewed {
                continue;
            }
            fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
            removed.blobs += 1;
            removed.bytes += blob.size;
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_blobs_that_nothing_names_are_doomed() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000);
        let blob = |name: &[u8], age: u64| StoredBlob {
            digest: Digest::of(name),
            size: 1,
            renewed_at: now - Duration::from_secs(age),
        };
        let live = HashSet::from([Digest::of(b"live")]);
        let present = [blob(b"live", 9_000), blob(b"old", 601), blob(b"young", 599)];
        let plan = Plan::new(present, &live, now, Duration::from_secs(600));
        assert_eq!(plan.doomed, [blob(b"old", 601)]);
    }

    #[test]
    fn a_blob_renewed_after_the_plan_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = BlobStore::open(dir.path(), crate::StoreSettings::default()).unwrap();
        let (kept, gone) = (store.put(b"kept").unwrap(), store.put(b"gone").unwrap());
        let later = SystemTime::now() + Duration::from_secs(1);
        let plan = Plan::new(store.blobs().unwrap(), &HashSet::new(), later, Duration::ZERO);
        assert_eq!(plan.doomed.len(), 2);
        let in_future = rustix::fs::Timespec {
            tv_sec: i64::try_from(later.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()).unwrap()
                + 9,
            tv_nsec: 0,
        };
        let (file, _) = store.blob(kept).unwrap().unwrap();
        let times = rustix::fs::Timestamps { last_access: in_future, last_modification: in_future };
        rustix::fs::futimens(&file, &times).unwrap();
        assert_eq!(store.sweep(&plan).unwrap(), Removed { blobs: 1, bytes: 4 });
        assert!(store.blob(kept).unwrap().is_some() && store.blob(gone).unwrap().is_none());
        // Twice is no harm.
        assert_eq!(store.sweep(&plan).unwrap(), Removed::default());
    }
}
