//! The store under ECR's layer upload API, expiry, and the collector's guard.

use bytes::Bytes;
use image::Digest;
use registry::{BlobStore, StoreError, StoreSettings};
use std::time::{Duration, SystemTime};

const SCOPE: &str = "arn:aws:ecr:us-east-1:123456789012:repository/demo";
const MIB: usize = 1 << 20;

fn store(dir: &tempfile::TempDir) -> BlobStore {
    BlobStore::open(dir.path(), StoreSettings::default()).unwrap()
}

#[tokio::test]
async fn parts_in_order_make_a_layer() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let (first, last) = (vec![1; 5 * MIB], vec![2; 100]);
    let digest = Digest::of(&[first.clone(), last.clone()].concat());
    let id = store.begin_upload(SCOPE).unwrap();
    let end = first.len() as u64 - 1;
    assert_eq!(store.upload_part(SCOPE, &id, (0, end), first.into()).await.unwrap(), end);
    let gap = store.upload_part(SCOPE, &id, (end + 2, end + 101), last.clone().into()).await;
    assert!(
        matches!(gap, Err(StoreError::InvalidPart { last_valid: Some(valid) }) if valid == end),
        "{gap:?}"
    );
    let overlap = store.upload_part(SCOPE, &id, (end, end + 99), last.clone().into()).await;
    assert!(matches!(overlap, Err(StoreError::InvalidPart { .. })), "{overlap:?}");
    let short = store.upload_part(SCOPE, &id, (end + 1, end + 200), last.clone().into()).await;
    assert!(matches!(short, Err(StoreError::PartLength { expected: 200, actual: 100 })), "{short:?}");
    let backwards = store.upload_part(SCOPE, &id, (9, 3), Bytes::new()).await;
    assert!(matches!(backwards, Err(StoreError::PartLength { .. })), "{backwards:?}");
    store.upload_part(SCOPE, &id, (end + 1, end + 100), last.into()).await.unwrap();
    let completed = store.complete_layer(SCOPE, &id, &[Digest::of(b"no"), digest]).await.unwrap();
    assert_eq!((completed.digest, completed.size), (digest, end + 101));
    assert_eq!(store.size(digest).unwrap(), Some(end + 101));
}

#[tokio::test]
async fn small_parts_empty_uploads_and_wrong_digests_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let id = store.begin_upload(SCOPE).unwrap();
    let empty = store.complete_layer(SCOPE, &id, &[Digest::of(b"")]).await;
    assert!(matches!(empty, Err(StoreError::EmptyUpload)), "{empty:?}");
    store.upload_part(SCOPE, &id, (0, 2), Bytes::from_static(b"abc")).await.unwrap();
    store.upload_part(SCOPE, &id, (3, 5), Bytes::from_static(b"def")).await.unwrap();
    let small = store.complete_layer(SCOPE, &id, &[Digest::of(b"abcdef")]).await;
    assert!(matches!(small, Err(StoreError::PartTooSmall)), "{small:?}");
    let single = store.begin_upload(SCOPE).unwrap();
    store.upload_part(SCOPE, &single, (0, 2), Bytes::from_static(b"abc")).await.unwrap();
    let wrong = store.complete_layer(SCOPE, &single, &[Digest::of(b"abd")]).await;
    assert!(matches!(wrong, Err(StoreError::DigestMismatch { .. })), "{wrong:?}");
    let gone = store.complete_layer(SCOPE, &single, &[Digest::of(b"abc")]).await;
    assert!(matches!(gone, Err(StoreError::UploadNotFound(_))), "{gone:?}");
    let elsewhere = store.upload_length("arn:aws:ecr:us-east-1:123456789012:repository/other", &id).await;
    assert!(matches!(elsewhere, Err(StoreError::UploadNotFound(_))), "{elsewhere:?}");
}

#[tokio::test]
async fn a_layer_beyond_the_limit_is_refused_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let settings = StoreSettings { blob_bytes_max: 10, ..StoreSettings::default() };
    let store = BlobStore::open(dir.path(), settings).unwrap();
    let id = store.begin_upload(SCOPE).unwrap();
    let part = store.upload_part(SCOPE, &id, (0, 10), Bytes::from_static(b"elevenbytes")).await;
    assert!(matches!(part, Err(StoreError::TooLarge { max: 10 })), "{part:?}");
    assert_eq!(std::fs::read_dir(dir.path().join("uploads")).unwrap().count(), 0);
}

#[tokio::test]
async fn abandoned_uploads_expire() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let id = store.begin_upload(SCOPE).unwrap();
    store.upload_part(SCOPE, &id, (0, 2), Bytes::from_static(b"abc")).await.unwrap();
    let now = SystemTime::now();
    assert_eq!(store.expire_uploads(now + Duration::from_secs(23 * 3600)).unwrap(), 0);
    assert_eq!(store.expire_uploads(now + Duration::from_secs(25 * 3600)).unwrap(), 1);
    assert!(matches!(store.upload_length(SCOPE, &id).await, Err(StoreError::UploadNotFound(_))));
}

#[tokio::test]
async fn leftovers_of_a_crash_are_cleared() {
    let dir = tempfile::tempdir().unwrap();
    drop(store(&dir));
    let left = dir.path().join("uploads/tmp-x");
    std::fs::write(&left, "half a manifest").unwrap();
    drop(store(&dir));
    assert!(!left.exists());
}
