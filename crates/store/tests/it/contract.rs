//! What every engine must do.

use crate::{Content, content, fence, open, open_small};
use std::time::Duration;
use stdx::{Rng, Timestamp};
use store::{
    Commit, Disk, Fence, Holder, Journal, Lease, Memory, Options, Record, Revision, Store, StoreError,
};

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const SOON: Duration = Duration::from_millis(1);

/// An engine that can be opened again and again with what it kept.
trait Engine {
    fn open(&self) -> Box<dyn Store>;
}

struct InMemory(Disk);

impl Engine for InMemory {
    fn open(&self) -> Box<dyn Store> {
        Box::new(Memory::open(&self.0).0)
    }
}

struct Embedded {
    directory: tempfile::TempDir,
    options: Options,
}

impl Engine for Embedded {
    fn open(&self) -> Box<dyn Store> {
        let opened = Journal::open(self.directory.path(), self.options.clone()).expect("it opens");
        assert_eq!(opened.warnings, []);
        Box::new(opened.store)
    }
}

fn on_every_engine(test: impl Fn(&dyn Engine)) {
    test(&InMemory(Disk::default()));
    for options in [Options::default(), Options { compact_at: 200 }] {
        test(&Embedded { directory: tempfile::tempdir().expect("a directory"), options });
    }
}

fn pairs(content: &Content) -> Vec<(&str, &str)> {
    let text = |bytes| std::str::from_utf8(bytes).expect("text");
    content.iter().map(|(key, value)| (text(key), text(value))).collect()
}

#[test]
fn a_new_store_is_empty() {
    on_every_engine(|engine| {
        let mut store = engine.open();
        assert_eq!(store.load(&mut |_, _| panic!("no record")).expect("it loads"), Revision(0));
    });
}

#[test]
fn commits_are_there_after_opening_again_in_key_order() {
    on_every_engine(|engine| {
        let mut store = engine.open();
        let fence = fence(&mut *store);
        let batch = [Record::put("b", "1"), Record::put("a", "2"), Record::put("c", "")];
        assert_eq!(store.commit(fence, &batch).expect("a commit"), Revision(1));
        assert_eq!(store.commit(fence, &[]).expect("nothing to do"), Revision(1));
        let batch =
            [Record::delete("b"), Record::delete("never"), Record::put("a", "3"), Record::put("a", "4")];
        assert_eq!(store.commit(fence, &batch).expect("a commit"), Revision(2));
        assert_eq!(pairs(&content(&mut *store)), [("a", "4"), ("c", "")]);
        drop(store);
        let mut store = engine.open();
        assert_eq!(pairs(&content(&mut *store)), [("a", "4"), ("c", "")]);
        assert_eq!(store.load(&mut |_, _| {}).expect("it loads again"), Revision(2));
    });
}

#[test]
fn only_the_newest_fence_commits() {
    on_every_engine(|engine| {
        let mut store = engine.open();
        let refused = store.commit(Fence(0), &[Record::put("a", "1")]);
        // An engine that nobody has led yet has fence 0; taking that for leadership would be an accident.
        assert!(matches!(refused, Err(StoreError::Fenced { .. })), "{refused:?}");
        let old = fence(&mut *store);
        let new = fence(&mut *store);
        assert!(new > old);
        let refused = store.commit(old, &[Record::put("a", "1")]);
        assert!(
            matches!(refused, Err(StoreError::Fenced { given, newest }) if given == old && newest == new)
        );
        assert!(matches!(store.renew(old, NOW), Err(StoreError::Fenced { .. })));
        store.renew(new, NOW).expect("the newest is renewed");
        store.commit(new, &[Record::put("a", "2")]).expect("the newest commits");
        drop(store);
        let mut store = engine.open();
        let refused = store.commit(new, &[Record::put("a", "3")]);
        assert!(matches!(refused, Err(StoreError::Fenced { .. }) | Ok(_)));
        assert!(fence(&mut *store) > new, "fences grow over restarts");
    });
}

#[test]
fn a_watch_tells_every_commit_once() {
    on_every_engine(|engine| {
        let mut store = engine.open();
        let fence = fence(&mut *store);
        let mut watch = store.watch(Revision(0)).expect("a watch");
        assert_eq!(watch.next(SOON).expect("nothing yet"), None);
        for n in 1..=3u64 {
            let records = vec![Record::put(format!("k{n}"), "v"), Record::delete("gone")];
            store.commit(fence, &records).expect("a commit");
            let told = watch.next(SOON).expect("the watch goes on");
            assert_eq!(told, Some(Commit { revision: Revision(n), records }));
        }
        assert_eq!(watch.next(SOON).expect("nothing more"), None);
    });
}

#[test]
fn a_watch_may_begin_late_and_wait() {
    on_every_engine(|engine| {
        let mut store = engine.open();
        let fence = fence(&mut *store);
        store.commit(fence, &[Record::put("a", "1")]).expect("a commit");
        let mut watch = store.watch(Revision(1)).expect("a watch");
        let follower = std::thread::spawn(move || watch.next(Duration::from_secs(30)));
        store.commit(fence, &[Record::put("b", "2")]).expect("a commit");
        let told = follower.join().expect("the follower lives").expect("a commit").expect("in time");
        assert_eq!((told.revision, told.records), (Revision(2), vec![Record::put("b", "2")]));
    });
}

#[test]
fn random_batches_are_kept_through_compactions_and_restarts() {
    on_every_engine(|engine| {
        let mut rng = Rng::new(11);
        let mut expected = Content::new();
        for _ in 0..6 {
            let mut store = engine.open();
            let fence = fence(&mut *store);
            for step in 0..40 {
                let batch: Vec<_> = (0..1 + rng.index(8)).map(|_| random_record(&mut rng)).collect();
                apply(&mut expected, &batch);
                store.commit(fence, &batch).expect("a commit");
                if step % 13 == 0 {
                    store.compact().expect("compaction starts");
                    assert_eq!(content(&mut *store), expected);
                }
            }
            assert_eq!(content(&mut *store), expected);
        }
        assert_eq!(content(&mut *engine.open()), expected);
    });
}

pub fn random_record(rng: &mut Rng) -> Record {
    let key = format!("key/{:02}", rng.below(60));
    if rng.chance(1, 4) { Record::delete(key) } else { Record::put(key, vec![b'v'; rng.index(300)]) }
}

pub fn apply(content: &mut Content, batch: &[Record]) {
    for record in batch {
        match &record.value {
            Some(value) => drop(content.insert(record.key.clone(), value.clone())),
            None => drop(content.remove(&record.key)),
        }
    }
}

#[test]
fn memory_lease_goes_to_another_only_when_it_expires() {
    let disk = Disk::default();
    let (mut a, mut b) = (Memory::open(&disk).0, Memory::open(&disk).0);
    let (first, second) = (Holder("first".to_owned()), Holder("second".to_owned()));
    let Lease::Granted(old) = a.acquire(&first, NOW).expect("an answer") else { panic!("free") };
    assert_eq!(b.acquire(&second, NOW).expect("an answer"), Lease::HeldBy(first.clone()));
    a.renew(old, NOW.after(Duration::from_secs(10))).expect("renewed");
    let expired = NOW.after(Duration::from_secs(20));
    assert_eq!(b.acquire(&second, expired).expect("an answer"), Lease::HeldBy(first));
    let later = NOW.after(Duration::from_secs(26));
    let Lease::Granted(new) = b.acquire(&second, later).expect("an answer") else { panic!("expired") };
    assert!(matches!(a.commit(old, &[Record::put("a", "stale")]), Err(StoreError::Fenced { .. })));
    b.commit(new, &[Record::put("a", "fresh")]).expect("the leader commits");
    assert_eq!(pairs(&content(&mut a)), [("a", "fresh")]);
}

#[test]
fn a_follower_that_is_too_late_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut store = open_small(directory.path()).store;
    let fence = fence(&mut store);
    let mut early = store.watch(Revision(0)).expect("a watch");
    for n in 0..100 {
        store.commit(fence, &[Record::put(format!("{n:03}"), vec![1; 1000])]).expect("a commit");
    }
    wait_for_compaction(&mut store);
    let late = store.watch(Revision(5)).map(|_| ());
    assert!(matches!(late, Err(StoreError::Compacted { after: Revision(5) })), "{late:?}");
    assert!(matches!(early.next(SOON), Err(StoreError::Compacted { after: Revision(0) })));
    let mut store_again = {
        drop(store);
        open(directory.path()).store
    };
    assert_eq!(content(&mut store_again).len(), 100);
}

/// Compacts everything, and waits until that is done.
pub fn wait_for_compaction(store: &mut Journal) {
    let monitor = store.monitor();
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    let idle = || {
        while monitor.status().compacting {
            assert!(std::time::Instant::now() < deadline, "compaction takes too long");
            std::thread::yield_now();
        }
    };
    // The one that runs may have begun before the last commits.
    idle();
    store.compact().expect("compaction starts");
    idle();
    assert_eq!(monitor.status().trouble, None);
}
