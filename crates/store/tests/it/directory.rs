//! Data directories that are in use, of another format, damaged, incomplete, or none at all.

use crate::contract::wait_for_compaction;
use crate::{content, fence, only_file, open};
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use store::{Journal, Options, Record, Store, StoreError};

fn refused(path: &Path) -> StoreError {
    match Journal::open(path, Options::default()) {
        Ok(_) => panic!("it must not open"),
        Err(error) => error,
    }
}

/// A store with a snapshot and three batches behind it.
fn filled() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let mut store = open(directory.path()).store;
    let fence = fence(&mut store);
    for n in 0..300 {
        store.commit(fence, &[Record::put(format!("{n:03}"), vec![7; 500])]).expect("a commit");
    }
    wait_for_compaction(&mut store);
    for n in 300..303 {
        store.commit(fence, &[Record::put(format!("{n:03}"), vec![7; 500])]).expect("a commit");
    }
    drop(store);
    directory
}

fn flip(file: &Path, at: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(file).expect("the file");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("a byte");
    file.write_all_at(&[byte[0] ^ 1], at).expect("written");
}

fn files(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(path)
        .expect("a list")
        .map(|entry| entry.expect("an entry").path())
        .filter(|file| !file.ends_with("LOCK"))
        .map(|file| (file.clone(), fs::read(&file).expect("a file")))
        .collect();
    files.sort();
    files
}

#[test]
fn a_second_opener_is_refused_with_the_holder() {
    let directory = tempfile::tempdir().expect("a directory");
    let first = open(directory.path());
    let text = refused(directory.path()).to_string();
    assert!(text.contains(&format!("in use by process {}", std::process::id())), "{text}");
    drop(first);
    open(directory.path());
}

#[test]
fn others_cannot_read_it() {
    let parent = tempfile::tempdir().expect("a directory");
    let path = parent.path().join("a/store");
    let mut store = open(&path).store;
    let fence = fence(&mut store);
    store.commit(fence, &[Record::put("secret", "1")]).expect("a commit");
    wait_for_compaction(&mut store);
    let mode = |path: &Path| fs::metadata(path).expect("it exists").permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for file in fs::read_dir(&path).expect("a list") {
        let file = file.expect("an entry").path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn a_newer_format_is_refused() {
    let directory = filled();
    let manifest = directory.path().join("MANIFEST");
    fs::write(&manifest, "wharf-store 2\nshape unknown\n").expect("written");
    let error = refused(directory.path());
    assert!(matches!(error, StoreError::Format { .. }), "{error}");
    assert!(error.to_string().contains("has format 2, but this build knows only up to 1"), "{error}");
}

#[test]
fn a_directory_of_something_else_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("holiday.jpg"), "x").expect("written");
    let error = refused(directory.path());
    assert!(matches!(error, StoreError::NotAStore { .. }), "{error}");
}

#[test]
fn missing_files_are_named() {
    for begin in ["MANIFEST", "snapshot-", "journal-"] {
        let directory = filled();
        let file = only_file(directory.path(), begin);
        fs::remove_file(&file).expect("removed");
        let error = refused(directory.path());
        assert!(matches!(&error, StoreError::Missing { file: named } if *named == file), "{begin}: {error}");
    }
}

#[test]
fn an_old_manifest_is_not_believed() {
    let directory = tempfile::tempdir().expect("a directory");
    let manifest = directory.path().join("MANIFEST");
    let mut store = open(directory.path()).store;
    let fence = fence(&mut store);
    let old = fs::read(&manifest).expect("a manifest");
    store.commit(fence, &[Record::put("a", "1")]).expect("a commit");
    wait_for_compaction(&mut store);
    store.commit(fence, &[Record::put("b", "1")]).expect("a commit");
    drop(store);
    fs::write(&manifest, old).expect("written");
    let before = files(directory.path());
    let error = refused(directory.path());
    assert!(matches!(error, StoreError::Missing { .. } | StoreError::Damaged { .. }), "{error}");
    assert!(files(directory.path()) == before, "nothing was changed");
}

#[test]
fn a_newer_file_that_the_manifest_does_not_list_is_not_thrown_away() {
    for begin in ["journal-", "snapshot-"] {
        let old = filled();
        let new = filled();
        let mut store = open(new.path()).store;
        let fence = fence(&mut store);
        store.commit(fence, &[Record::put("a", "1")]).expect("a commit");
        wait_for_compaction(&mut store);
        store.commit(fence, &[Record::put("b", "1")]).expect("a commit");
        drop(store);
        let file = only_file(new.path(), begin);
        fs::copy(&file, old.path().join(file.file_name().expect("a name"))).expect("copied");
        let before = files(old.path());
        let error = refused(old.path());
        assert!(error.to_string().contains("which is newer than everything"), "{error}");
        assert!(files(old.path()) == before, "nothing was changed");
    }
}

#[test]
fn damage_is_refused_wherever_it_is() {
    let sample = filled();
    let journal = only_file(sample.path(), "journal-").file_name().expect("a name").to_owned();
    let snapshot = only_file(sample.path(), "snapshot-").file_name().expect("a name").to_owned();
    let snapshot_len = fs::metadata(sample.path().join(&snapshot)).expect("it exists").len();
    // Header, first frame's length, checksum, content; second frame; and all over the snapshot.
    let mut places: Vec<_> = [3, 20, 33, 37, 60, 400, 600].map(|at| (journal.clone(), at)).to_vec();
    places.extend((0..40).map(|part| (snapshot.clone(), snapshot_len * part / 40)));
    places.push((snapshot, snapshot_len - 1));
    places.push(("MANIFEST".into(), 5));
    places.push(("MANIFEST".into(), 30));
    for (name, at) in places {
        let directory = filled();
        let file = directory.path().join(&name);
        flip(&file, at);
        let before = files(directory.path());
        let error = refused(directory.path());
        let text = error.to_string();
        assert!(matches!(error, StoreError::Damaged { .. }), "{name:?} at {at}: {text}");
        assert!(text.contains(&*name.to_string_lossy()) && text.contains("backup"), "{text}");
        assert!(files(directory.path()) == before, "{name:?} at {at}: nothing was changed");
    }
}

#[test]
fn a_snapshot_that_ends_early_is_refused() {
    let directory = filled();
    let snapshot = only_file(directory.path(), "snapshot-");
    let len = fs::metadata(&snapshot).expect("it exists").len();
    for cut in [1, 30, 60, 5000, len - 32, len - 8, len] {
        let file = fs::OpenOptions::new().write(true).open(&snapshot).expect("it opens");
        file.set_len(len - cut).expect("cut");
        let error = refused(directory.path());
        assert!(matches!(error, StoreError::Damaged { .. }), "{cut}: {error}");
    }
}

#[test]
fn what_interrupted_work_left_is_cleared() {
    let directory = filled();
    for name in ["journal-00000000000000000500.new", "MANIFEST.new", "snapshot-00000000000000000007"] {
        fs::write(directory.path().join(name), vec![1; 100]).expect("written");
    }
    assert_eq!(content(&mut open(directory.path()).store).len(), 303);
    let names: Vec<_> = files(directory.path())
        .into_iter()
        .filter_map(|(file, _)| file.file_name().map(ToOwned::to_owned))
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

#[test]
fn a_store_whose_directory_was_removed_says_so() {
    let parent = tempfile::tempdir().expect("a directory");
    let path = parent.path().join("store");
    let mut store = open(&path).store;
    let fence = fence(&mut store);
    store.renew(fence, stdx::Timestamp(0)).expect("all is well");
    fs::remove_dir_all(&path).expect("removed");
    let lost = store.renew(fence, stdx::Timestamp(0));
    assert!(matches!(lost, Err(StoreError::Io { .. })), "{lost:?}");
}

#[test]
fn a_batch_beyond_all_measure_is_refused_and_harmless() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut store = open(directory.path()).store;
    let fence = fence(&mut store);
    let refused = store.commit(fence, &[Record::put("a", vec![0; 257 << 20])]);
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })), "{refused:?}");
    store.commit(fence, &[Record::put("b", "1")]).expect("the next works");
    assert_eq!(content(&mut store).len(), 1);
}
