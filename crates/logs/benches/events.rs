//! Lines a second into and out of the event store: `cargo bench -p logs`. The directory is `$TMPDIR`'s.

use api::logs::{self as model, Request};
use logs::{Group, Logs, Settings, Stream, View};
use std::io::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use stdx::Timestamp;

const GROUP: &str = "/bench";
const LINE: &str =
    "2026-11-22T18:00:00Z INFO request served path=/index.html status=200 duration_ms=12 bytes=5120";

struct World;

impl View for World {
    fn group(&self, name: &str) -> Option<Group> {
        Some(Group { name: name.to_owned(), arn: name.to_owned(), retention_days: None })
    }

    fn stream(&self, _: &str, name: &str) -> Option<Stream> {
        Some(Stream { name: name.to_owned(), storage_id: format!("id{name}"), created_at: Timestamp(0) })
    }

    fn streams(&self, group: &str, prefix: &str) -> Vec<Stream> {
        (0..8).filter_map(|n| self.stream(group, &format!("{prefix}{n}"))).collect()
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn put(logs: &Logs, stream: &str, lines: usize) -> Result<(), logs::Error> {
    let event = model::InputLogEvent { timestamp: now().millis(), message: LINE.to_owned() };
    let request = model::PutLogEventsRequest {
        log_group_name: GROUP.to_owned(),
        log_stream_name: stream.to_owned(),
        log_events: vec![event; lines],
        ..Default::default()
    };
    logs.handle(&World, now(), Request::PutLogEvents(Box::new(request))).map(drop)
}

/// Batches from several writers for two seconds; lines a second.
fn write(
    logs: &Logs,
    writers: usize,
    lines: usize,
    stream_of: impl Fn(usize) -> String,
) -> Result<f64, logs::Error> {
    let start = Instant::now();
    let counts: Result<Vec<u32>, logs::Error> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..writers)
            .map(|n| {
                let stream = stream_of(n);
                scope.spawn(move || {
                    let mut batches = 0;
                    while start.elapsed() < Duration::from_secs(2) {
                        put(logs, &stream, lines)?;
                        batches += 1;
                    }
                    Ok(batches)
                })
            })
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let batches: f64 = counts?.into_iter().map(f64::from).sum();
    Ok(batches * f64::from(u32::try_from(lines).unwrap_or(u32::MAX)) / start.elapsed().as_secs_f64())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let logs = Logs::open(dir.path(), Settings::default())?;
    let mut out = std::io::stdout();
    for (writers, lines) in [(1, 1), (1, 100), (8, 1), (8, 100)] {
        let own = write(&logs, writers, lines, |n| n.to_string())?;
        let shared = write(&logs, writers, lines, |_| "0".to_owned())?;
        writeln!(
            out,
            "put, {writers} writers, {lines} lines a batch: {own:.0} lines/s, into one stream {shared:.0}"
        )?;
    }
    let mut request = model::FilterLogEventsRequest {
        log_group_name: Some(GROUP.to_owned()),
        filter_pattern: Some("\"status=500\"".to_owned()),
        ..Default::default()
    };
    let start = Instant::now();
    logs.handle(&World, now(), Request::FilterLogEvents(Box::new(request.clone())))?;
    let seconds = start.elapsed().as_secs_f64();
    writeln!(out, "filter through {} MiB without a hit: {seconds:.3} s", logs.bytes() >> 20)?;
    request.start_time = Some(now().millis() - 100);
    let start = Instant::now();
    logs.handle(&World, now(), Request::FilterLogEvents(Box::new(request)))?;
    writeln!(
        out,
        "filter from 100 ms ago, as a follower does: {:.2} ms",
        start.elapsed().as_secs_f64() * 1e3
    )?;
    Ok(())
}
