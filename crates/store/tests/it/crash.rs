//! Whatever part of the last write reaches the disk, opening finds a prefix of the committed batches.

use crate::contract::{apply, wait_for_compaction};
use crate::{Content, content, fence, only_file, open};
use proptest::collection::vec;
use proptest::prelude::*;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use store::{Disk, Fault, Journal, Memory, Options, Record, Store, StoreError};

type Batches = Vec<Vec<(u8, Option<Vec<u8>>)>>;

fn batches() -> impl Strategy<Value = Batches> {
    let value = proptest::option::weighted(0.8, vec(any::<u8>(), 0..200));
    vec(vec((0..20u8, value), 1..6), 2..12)
}

fn records(batch: &[(u8, Option<Vec<u8>>)]) -> Vec<Record> {
    batch.iter().map(|(key, value)| Record { key: vec![b'k', *key], value: value.clone() }).collect()
}

/// What a crash makes of the bytes that were not flushed.
#[derive(Clone, Copy, Debug)]
enum Crash {
    /// The file ends early.
    Cut,
    /// It has its length, but zeros from there on.
    Zeros,
    /// It has its length, but zeros up to there, as when pages are written out of order.
    LatePages,
    /// The end is some other file's bytes.
    Garbage,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_torn_tail_leaves_all_batches_before_it(
        batches in batches(),
        compact_after in 0..12usize,
        at in 0..10_000u64,
        crash in prop::sample::select(vec![Crash::Cut, Crash::Zeros, Crash::LatePages, Crash::Garbage]),
    ) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        let mut store = open(path).store;
        let fence = fence(&mut store);
        let mut states = vec![Content::new()];
        let mut before_last = 0;
        for (number, batch) in batches.iter().enumerate() {
            if number == compact_after {
                wait_for_compaction(&mut store);
            }
            before_last = store.monitor().status().journal_bytes;
            let records = records(batch);
            store.commit(fence, &records).expect("a commit");
            let mut next = states[number].clone();
            apply(&mut next, &records);
            states.push(next);
        }
        let end = store.monitor().status().journal_bytes;
        drop(store);

        let size = end - before_last;
        let torn_at = before_last + at % size;
        tear(path, crash, before_last, torn_at, end);
        let mut opened = Journal::open(path, Options::default()).expect("a torn tail is repaired");
        let found = content(&mut opened.store);
        let all = states.len() - 1;
        // The last batch may survive only if the tear happened to change nothing.
        prop_assert!(found == states[all - 1] || found == states[all] && opened.warnings.is_empty());
        drop(opened);
        prop_assert_eq!(open(path).warnings, vec![], "it is repaired once");
    }
}

fn tear(path: &std::path::Path, crash: Crash, begin: u64, at: u64, end: u64) {
    let file = OpenOptions::new().write(true).open(only_file(path, "journal-")).expect("the journal");
    let size = |from: u64, to: u64| usize::try_from(to - from).expect("small");
    match crash {
        Crash::Cut => file.set_len(at).expect("cut"),
        Crash::Zeros => file.write_all_at(&vec![0; size(at, end)], at).expect("written"),
        Crash::LatePages => file.write_all_at(&vec![0; size(begin, at)], begin).expect("written"),
        Crash::Garbage => file.write_all_at(&vec![0xA5; size(at, end)], at).expect("written"),
    }
}

#[test]
fn a_torn_tail_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut store = open(directory.path()).store;
    let fence = fence(&mut store);
    store.commit(fence, &[Record::put("a", "1")]).expect("a commit");
    store.commit(fence, &[Record::put("b", vec![7; 5000])]).expect("a commit");
    let end = store.monitor().status().journal_bytes;
    drop(store);
    let file = OpenOptions::new().write(true).open(only_file(directory.path(), "journal-")).expect("it");
    file.set_len(end - 1).expect("cut");
    let mut opened = open(directory.path());
    let text = opened.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(text.contains("were a batch that was not finished"), "{text}");
    assert_eq!(content(&mut opened.store).len(), 1);
}

#[test]
fn memory_fails_as_told() {
    let disk = Disk::default();
    let (mut store, _) = Memory::open(&disk);
    let first = fence(&mut store);
    disk.pass(1);
    disk.inject(Fault::Full);
    store.commit(first, &[Record::put("a", "1")]).expect("the first works");
    let full = store.commit(first, &[Record::put("b", "1")]);
    assert!(matches!(full, Err(StoreError::Full { .. })), "{full:?}");
    store.commit(first, &[Record::put("c", "1")]).expect("room again");
    let mut expected = vec![b"a".to_vec(), b"c".to_vec()];
    for (fault, kept, warned) in [
        (Fault::Failed, false, false),
        (Fault::Ambiguous { kept: true }, true, false),
        (Fault::Ambiguous { kept: false }, false, false),
        (Fault::Torn, false, true),
    ] {
        let key = format!("{fault:?}").into_bytes();
        disk.inject(fault);
        let now = fence(&mut store);
        assert!(store.commit(now, &[Record::put(key.clone(), "1")]).is_err());
        let stopped = store.commit(now, &[Record::put("later", "1")]);
        assert!(matches!(stopped, Err(StoreError::Stopped { .. })), "{stopped:?}");
        let opened = Memory::open(&disk);
        assert_eq!(!opened.1.is_empty(), warned, "{fault:?}");
        store = opened.0;
        expected.extend(kept.then_some(key));
        expected.sort();
        assert!(content(&mut store).into_keys().eq(expected.iter().cloned()), "{fault:?}");
    }
}
