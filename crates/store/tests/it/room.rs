//! A full disk: the commit fails, nothing of it is kept, and once there is room the store works on.
//!
//! Needs root and util-linux: a child gets a mount namespace of its own with a file system of 2 MiB.

use crate::{content, fence, open};
use std::fs;
use std::path::Path;
use std::process::Command;
use store::{Record, Store, StoreError};

const DIRECTORY: &str = "WHARF_STORE_TEST_TINY";

#[test]
fn a_full_disk_fails_cleanly() {
    let directory = tempfile::tempdir().expect("a directory");
    let script = "mount -t tmpfs -o size=2m,mode=0755 tiny \"$0\" && exec \"$1\" --exact room::child --ignored --nocapture";
    let out = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script])
        .arg(directory.path())
        .arg(std::env::current_exe().expect("this test"))
        .env(DIRECTORY, directory.path())
        .output()
        .expect("this test needs unshare from util-linux");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        out.status.success() && text(&out.stdout).contains("1 passed"),
        "this test needs root, for a mount of its own: {}\n{}",
        text(&out.stdout),
        text(&out.stderr)
    );
}

fn batch(n: u32) -> Vec<Record> {
    (0..4).map(|part| Record::put(format!("{n:05}/{part}"), vec![7; 4000])).collect()
}

/// Runs on the tiny file system.
#[test]
#[ignore = "is started by the test above, on a file system of its own"]
fn child() {
    let tiny = std::env::var(DIRECTORY).expect("started by the test above");
    let ballast = Path::new(&tiny).join("ballast");
    fs::write(&ballast, vec![1; 600 << 10]).expect("there is room");
    let path = Path::new(&tiny).join("store");
    let mut store = open(&path).store;
    let now = fence(&mut store);
    let mut kept = 0;
    let error = loop {
        match store.commit(now, &batch(kept)) {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 1000, "the disk never fills");
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert!(
        error.to_string().contains("no space left")
            && error.to_string().contains("nothing of the batch was kept")
    );
    assert!(kept > 20, "{kept}");
    assert_eq!(content(&mut store).len(), kept as usize * 4);

    // Again and again the same; then it is opened again while the disk is still full.
    for _ in 0..3 {
        assert!(matches!(store.commit(now, &batch(kept)), Err(StoreError::Full { .. })));
    }
    drop(store);
    let mut opened = open(&path);
    assert_eq!(opened.warnings, [], "nothing of the batch was kept");
    assert_eq!(content(&mut opened.store).len(), kept as usize * 4);

    let mut store = opened.store;
    let now = fence(&mut store);
    fs::remove_file(&ballast).expect("removed");
    store.commit(now, &batch(kept)).expect("there is room again");
    drop(store);
    assert_eq!(content(&mut open(&path).store).len(), (kept as usize + 1) * 4);
    room_again_without_opening(&Path::new(&tiny).join("second"));
}

/// As a server meets it: the store stays open from full to free.
fn room_again_without_opening(path: &Path) {
    let ballast = path.with_extension("ballast");
    let mut store = open(path).store;
    let now = fence(&mut store);
    fs::write(&ballast, vec![1; 100 << 10]).expect("there is room");
    let mut kept = 0;
    while store.commit(now, &batch(kept)).is_ok() {
        kept += 1;
    }
    // There is no room for a compaction either, which does no harm.
    if store.compact().is_ok() {
        let monitor = store.monitor();
        while monitor.status().compacting {
            std::thread::yield_now();
        }
        assert!(monitor.status().trouble.is_some(), "{:?}", monitor.status());
    }
    assert!(matches!(store.commit(now, &batch(kept)), Err(StoreError::Full { .. })));
    fs::remove_file(&ballast).expect("removed");
    store.commit(now, &batch(kept)).expect("there is room again");
    drop(store);
    assert_eq!(content(&mut open(path).store).len(), (kept as usize + 1) * 4);
}
