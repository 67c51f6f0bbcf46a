//! Group commit: order, merging, what waiters are told, and what happens after a failure.

use crate::{content, fence, open};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use store::{Committer, Disk, Fault, Memory, Record, Revision, Sequence, StoreError};

const CAPACITY: usize = 1 << 20;

fn start(disk: &Disk) -> Committer {
    let mut store = Memory::open(disk).0;
    let fence = fence(&mut store);
    Committer::start(Box::new(store), fence, CAPACITY).expect("it starts")
}

#[test]
fn many_threads_are_told_of_their_own_in_order() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut store = open(directory.path()).store;
    let monitor = store.monitor();
    let fence = fence(&mut store);
    let committer = Committer::start(Box::new(store), fence, CAPACITY).expect("it starts");
    let told = Arc::new(AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (committer, told) = (&committer, &told);
            scope.spawn(move || {
                for n in 0..50 {
                    let record = Record::put(format!("{thread}/{n}"), "v");
                    let sequence = committer.submit(vec![record]).expect("it takes the batch");
                    let told = Arc::clone(told);
                    committer.when_durable(sequence, move |durable| {
                        durable.expect("it works");
                        told.fetch_add(1, Ordering::SeqCst);
                    });
                    committer.wait(sequence).expect("it works");
                    assert!(committer.durable() >= sequence);
                }
            });
        }
    });
    assert_eq!(committer.durable(), Sequence(400));
    let mut store = committer.close().expect("the thread is well");
    assert_eq!(told.load(Ordering::SeqCst), 400);
    assert_eq!(content(&mut *store).len(), 400);
    assert!(monitor.status().revision < Revision(400), "some were merged: {:?}", monitor.status());
}

/// Holds the committer's thread until the returned sender is dropped.
fn hold(committer: &Committer) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel::<()>();
    let (inside, entered) = mpsc::channel();
    let sequence = committer.submit(vec![Record::put("first", "1")]).expect("it takes the batch");
    committer.when_durable(sequence, move |_| {
        inside.send(()).expect("the test waits");
        // Ends when the sender is dropped.
        assert!(held.recv().is_err());
    });
    entered.recv().expect("the thread is inside");
    release
}

#[test]
fn what_waits_is_merged_within_the_limits() {
    let disk = Disk::default();
    let committer = start(&disk);
    let release = hold(&committer);
    for n in 0..300 {
        committer.submit(vec![Record::put(format!("{n}"), "v")]).expect("it takes the batch");
    }
    drop(release);
    committer.wait(committer.submitted()).expect("it works");
    let mut store = committer.close().expect("the thread is well");
    // 1 + 300 records at 128 a transaction.
    assert_eq!(store.load(&mut |_, _| {}).expect("it loads"), Revision(1 + 3));
}

#[test]
fn a_full_queue_makes_the_next_one_wait() {
    let disk = Disk::default();
    let committer = start(&disk);
    let release = hold(&committer);
    committer.submit(vec![Record::put("large", vec![0; CAPACITY])]).expect("there was room");
    assert!(!committer.has_room());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| committer.submit(vec![Record::put("next", "1")]));
        assert_eq!(committer.submit(vec![]).expect("reads need no room"), committer.submitted());
        drop(release);
        committer.wait(waiting.join().expect("no panic").expect("room in the end")).expect("it works");
    });
    assert!(committer.has_room());
}

#[test]
fn after_a_failure_nothing_later_is_durable() {
    let disk = Disk::default();
    let committer = start(&disk);
    let release = hold(&committer);
    disk.inject(Fault::Full);
    let told = Arc::new(Mutex::new(Vec::new()));
    // Larger together than one transaction, so that the second would be a commit of its own.
    for name in ["a", "b"] {
        let batch = (0..100).map(|n| Record::put(format!("{name}{n}"), "v")).collect();
        let sequence = committer.submit(batch).expect("it takes the batch");
        let told = Arc::clone(&told);
        committer.when_durable(sequence, move |durable| {
            let error = durable.expect_err("it fails");
            assert!(matches!(*error.0, StoreError::Full { .. }), "{error}");
            told.lock().expect("no panic").push(sequence);
        });
    }
    drop(release);
    assert!(committer.wait(Sequence(3)).is_err());
    assert!(committer.wait(Sequence(1)).is_ok(), "what was durable stays so");
    assert!(committer.submit(vec![Record::put("late", "1")]).is_err());
    assert!(committer.with_store(|_| ()).is_err());
    let mut store = committer.close().expect("the thread is well");
    assert_eq!(*told.lock().expect("no panic"), [Sequence(2), Sequence(3)]);
    assert_eq!(content(&mut *store).len(), 1, "only the first");
    let fence = fence(&mut *store);
    store.commit(fence, &[Record::put("again", "1")]).expect("the store itself goes on");
}

#[test]
fn a_lost_fence_stops_the_committer() {
    let disk = Disk::default();
    let committer = start(&disk);
    fence(&mut Memory::open(&disk).0);
    let sequence = committer.submit(vec![Record::put("stale", "1")]).expect("it takes the batch");
    let error = committer.wait(sequence).expect_err("another leads");
    assert!(matches!(*error.0, StoreError::Fenced { .. }));
}

#[test]
fn errands_run_between_commits_and_a_panic_is_told() {
    let disk = Disk::default();
    let committer = start(&disk);
    committer.submit(vec![Record::put("a", "1")]).expect("it takes the batch");
    committer.wait(committer.submitted()).expect("it works");
    let mut watch =
        committer.with_store(|store| store.watch(Revision(0))).expect("it lives").expect("a watch");
    let commit = watch.next(std::time::Duration::ZERO).expect("it goes on").expect("a commit");
    assert_eq!(commit.records, [Record::put("a", "1")]);
    assert!(committer.with_store(|_| panic!("on purpose")).is_err());
    assert!(committer.wait(Sequence(99)).is_err());
    assert!(committer.close().is_none());
}
