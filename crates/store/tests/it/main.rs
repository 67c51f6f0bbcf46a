//! The store's tests from the outside: one contract for every engine, crashes, full disks, group commit.

mod committer;
mod contract;
mod crash;
mod directory;
mod kill;
mod room;

use std::collections::BTreeMap;
use std::path::Path;
use stdx::Timestamp;
use store::{Fence, Holder, Journal, Lease, Opened, Options, Store};

pub type Content = BTreeMap<Vec<u8>, Vec<u8>>;

pub fn open(path: &Path) -> Opened {
    Journal::open(path, Options::default()).expect("the store opens")
}

/// Opens a store that compacts all the time.
pub fn open_small(path: &Path) -> Opened {
    Journal::open(path, Options { compact_at: 20_000 }).expect("the store opens")
}

pub fn fence(store: &mut dyn Store) -> Fence {
    match store.acquire(&Holder("a".to_owned()), Timestamp(0)).expect("acquire answers") {
        Lease::Granted(fence) => fence,
        Lease::HeldBy(holder) => panic!("held by {holder:?}"),
    }
}

pub fn content(store: &mut dyn Store) -> Content {
    let mut all = Content::new();
    let mut last = None;
    store
        .load(&mut |key, value| {
            assert!(last.as_deref() < Some(key), "keys come in order, each once");
            last = Some(key.to_vec());
            all.insert(key.to_vec(), value.to_vec());
        })
        .expect("the store loads");
    all
}

/// The file of the directory whose name begins so; there must be one only.
pub fn only_file(path: &Path, begin: &str) -> std::path::PathBuf {
    let mut found: Vec<_> = std::fs::read_dir(path)
        .expect("the directory lists")
        .map(|entry| entry.expect("an entry").path())
        .filter(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(begin)))
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}
