//! Retention, deleted streams, and the bound on bytes.

use crate::harness::*;
use logs::{Logs, Settings};
use std::fs;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};
use stdx::Timestamp;

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

fn on_disk(dir: &Path) -> u64 {
    files(dir).iter().map(|path| fs::metadata(path).expect("a file").len()).sum()
}

#[test]
fn retention_drops_whole_segments() {
    let dir = tempfile::tempdir().expect("a directory");
    let day = Duration::from_secs(86_400);
    let mut world = World::of(&["a"]);
    let logs = open(dir.path());
    for n in 0..5_u32 {
        let now = NOW.after(day * n);
        put_at(&logs, &world, now, "a", &[(now.millis(), "x")]).expect("accepted");
        put_at(&logs, &world, now.after(Duration::from_secs(1)), "a", &[(now.millis(), "y")])
            .expect("accepted");
    }
    let later = NOW.after(day * 5);
    logs.sweep(later, || world.live()).expect("a sweep");
    let before = files(dir.path()).len();
    assert!(before >= 3, "a segment is closed after a day: {before}");
    world.retention_days = Some(3);
    logs.sweep(later, || world.live()).expect("a sweep");
    let after = files(dir.path()).len();
    assert!(after < before && after > 0, "{after} of {before} files are left");
    assert_eq!(logs.bytes(), on_disk(dir.path()));
    put_at(&logs, &world, later, "a", &[(later.millis(), "still works")]).expect("accepted");
}

#[test]
fn retention_goes_by_the_files_times_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut world = World::of(&["a"]);
    put(&open(dir.path()), &world, "a", &[(NOW.0, "x")]).expect("accepted");
    let path = files(dir.path()).pop().expect("a segment");
    let file = fs::File::options().write(true).open(path).expect("a segment");
    file.set_modified(UNIX_EPOCH + Duration::from_millis(NOW.0.unsigned_abs())).expect("its time set");
    world.retention_days = Some(1);
    let logs = open(dir.path());
    logs.sweep(Timestamp(NOW.0 + 86_400_000), || world.live()).expect("a sweep");
    assert_eq!(files(dir.path()).len(), 1, "events may be two hours ahead");
    logs.sweep(Timestamp(NOW.0 + 86_400_000 + 7_200_001), || world.live()).expect("a sweep");
    assert_eq!(files(dir.path()).len(), 0);
    assert_eq!(logs.bytes(), 0);
}

#[test]
fn deleted_streams_go_and_their_names_start_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let (logs, mut world) = (open(dir.path()), World::of(&["a", "b"]));
    put(&logs, &world, "a", &[(NOW.0, "old")]).expect("accepted");
    put(&logs, &world, "b", &[(NOW.0, "kept")]).expect("accepted");
    world.streams.insert("a".to_owned(), "anotherid".to_owned());
    assert_eq!(messages(get(&logs, &world, of("a")).expect("a page").events), Vec::<String>::new());
    logs.sweep(NOW, || world.live()).expect("a sweep");
    assert_eq!(files(dir.path()).len(), 1);
    assert_eq!(logs.bytes(), on_disk(dir.path()));
    assert_eq!(messages(get(&logs, &world, of("b")).expect("a page").events), ["kept"]);
}

#[test]
fn bytes_stay_within_the_bound_and_the_newest_events_stay() {
    let dir = tempfile::tempdir().expect("a directory");
    let world = World::of(&["a", "b"]);
    let bytes_max = 400_000;
    let settings = Settings { bytes_max, ..Settings::default() };
    let logs = Logs::open(dir.path(), settings).expect("a directory of its own");
    let line = "x".repeat(1_000);
    for n in 0..1_500 {
        let now = Timestamp(NOW.0 + n);
        let text = format!("{n} {line}");
        let stream = if n % 2 == 0 { "a" } else { "b" };
        put_at(&logs, &world, now, stream, &[(now.millis(), &text)]).expect("accepted");
        assert!(logs.bytes() <= bytes_max, "{} bytes after {n}", logs.bytes());
    }
    assert!(on_disk(dir.path()) <= bytes_max);
    let tail = |stream| {
        let got = get(
            &logs,
            &world,
            api::logs::GetLogEventsRequest { start_from_head: None, limit: Some(1), ..of(stream) },
        );
        messages(got.expect("a page").events)
    };
    assert!(tail("a")[0].starts_with("1498 ") && tail("b")[0].starts_with("1499 "));
    let first = messages(get(&logs, &world, of("a")).expect("a page").events);
    assert!(!first[0].starts_with("0 "), "the oldest are gone");
}
