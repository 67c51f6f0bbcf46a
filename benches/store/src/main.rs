//! Compares engines for the embedded store: the same batches, interleaved, medians.
//!
//! `cargo run --release --manifest-path benches/store/Cargo.toml -- DIR [commits|recovery|overwrite|memory|own|damage|full] [ROUNDS]`

mod engines;

use engines::{Engine, NAMES, open};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

type Records = Vec<(Vec<u8>, Vec<u8>)>;
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const VALUE: usize = 512;

/// A value that no compression shrinks.
fn value(seed: u64) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(VALUE);
    while bytes.len() < VALUE {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        bytes.extend_from_slice(&x.to_le_bytes());
    }
    bytes
}

/// A key like an entity's: a type, an account, and an id that is random.
fn key(number: u64) -> Vec<u8> {
    let id = (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    format!("task/123456789012/{id:016x}").into_bytes()
}

fn batch(from: u64, size: u64, keys: u64, salt: u64) -> Records {
    (from..from + size).map(|n| (key(n % keys), value(n ^ salt << 40))).collect()
}

fn bytes_on_disk(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    entries
        .flatten()
        .map(|e| match e.metadata() {
            Ok(m) if m.is_dir() => bytes_on_disk(&e.path()),
            Ok(m) => m.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

fn median(mut numbers: Vec<f64>) -> (f64, f64, f64) {
    numbers.sort_by(f64::total_cmp);
    (numbers[numbers.len() / 2], numbers[0], numbers[numbers.len() - 1])
}

fn fresh(dir: &Path, name: &str) -> Outcome<PathBuf> {
    let path = dir.join(name);
    if path.exists() {
        fs::remove_dir_all(&path)?;
    }
    fs::create_dir_all(&path)?;
    Ok(path)
}

/// Commits batches of one size for a while; records a second, and the median and 99th percentile of a commit.
fn commits(engine: &mut dyn Engine, size: u64, time: Duration) -> Outcome<(f64, f64, f64)> {
    let (mut next, mut times) = (0, Vec::new());
    let mut spent = Duration::ZERO;
    while spent < time {
        let records = batch(next, size, 1_000_000, size);
        let begin = Instant::now();
        engine.commit(&records)?;
        times.push(begin.elapsed().as_secs_f64());
        spent += begin.elapsed();
        next += size;
    }
    let total: f64 = times.iter().sum();
    times.sort_by(f64::total_cmp);
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)] * 1e3;
    Ok((next as f64 / total, at(50), at(99)))
}

fn compare_commits(dir: &Path, rounds: usize) -> Outcome<()> {
    for size in [1, 16, 128, 1024] {
        let mut figures: Vec<Vec<(f64, f64, f64)>> = NAMES.iter().map(|_| Vec::new()).collect();
        for _ in 0..rounds {
            for (name, out) in NAMES.iter().zip(&mut figures) {
                let path = fresh(dir, name)?;
                let mut engine = open(name, &path)?;
                out.push(commits(&mut *engine, size, Duration::from_millis(1500))?);
                drop(engine);
                fs::remove_dir_all(path)?;
            }
        }
        for (name, out) in NAMES.iter().zip(&figures) {
            let rate = median(out.iter().map(|f| f.0).collect());
            let (p50, p99) =
                (median(out.iter().map(|f| f.1).collect()).0, median(out.iter().map(|f| f.2).collect()).0);
            println!(
                "commits of {size:>4} {name:<8} {:>9.0} records/s ({:.0}-{:.0}) p50 {p50:.3} ms p99 {p99:.3} ms",
                rate.0, rate.1, rate.2
            );
        }
    }
    Ok(())
}

fn fill(name: &str, path: &Path, keys: u64, overwrites: u64) -> Outcome<f64> {
    let mut engine = open(name, path)?;
    let begin = Instant::now();
    for round in 0..overwrites {
        for from in (0..keys).step_by(1000) {
            engine.commit(&batch(from, 1000, keys, round + 1))?;
        }
    }
    Ok(begin.elapsed().as_secs_f64())
}

fn load(name: &str, path: &Path) -> Outcome<(f64, u64)> {
    let begin = Instant::now();
    let mut engine = open(name, path)?;
    let (mut count, mut sum) = (0u64, 0u64);
    engine.load(&mut |key, value| {
        count += 1;
        sum = sum.wrapping_add(key.len() as u64 + u64::from(value[0]) + u64::from(value[value.len() - 1]));
    })?;
    assert!(sum > 0);
    Ok((begin.elapsed().as_secs_f64(), count))
}

/// A million records, then how long until all were read after a start, in this process (page cache warm).
fn compare_recovery(dir: &Path, rounds: usize, keys: u64) -> Outcome<()> {
    let mut figures: Vec<Vec<f64>> = NAMES.iter().map(|_| Vec::new()).collect();
    for name in NAMES {
        let path = fresh(dir, name)?;
        let seconds = fill(name, &path, keys, 1)?;
        println!("filled {name:<8} {keys} records in {seconds:.2} s, {} MiB", bytes_on_disk(&path) >> 20);
    }
    for _ in 0..rounds {
        for (name, out) in NAMES.iter().zip(&mut figures) {
            let (seconds, count) = load(name, &dir.join(name))?;
            assert_eq!(count, keys);
            out.push(seconds);
        }
    }
    for (name, out) in NAMES.iter().zip(figures) {
        let (m, low, high) = median(out);
        println!("open and load {name:<8} {keys} records {m:.3} s ({low:.3}-{high:.3})");
        fs::remove_dir_all(dir.join(name))?;
    }
    Ok(())
}

/// Every key ten times over.
fn compare_overwrites(dir: &Path) -> Outcome<()> {
    for name in NAMES {
        let path = fresh(dir, name)?;
        let seconds = fill(name, &path, 100_000, 10)?;
        let before = bytes_on_disk(&path);
        open(name, &path)?.settle()?;
        let (_, count) = load(name, &path)?;
        assert_eq!(count, 100_000);
        println!(
            "10 overwrites of 100000 keys {name:<8} {seconds:.2} s, {} MiB at once, {} MiB settled",
            before >> 20,
            bytes_on_disk(&path) >> 20
        );
        fs::remove_dir_all(path)?;
    }
    Ok(())
}

/// Runs this program again for one engine, so that its memory and its crashes are its own.
fn again(dir: &Path, what: &str, name: &str) -> Outcome<String> {
    let out = std::process::Command::new(std::env::current_exe()?).arg(dir).arg(what).arg(name).output()?;
    let text = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    let error = String::from_utf8_lossy(&out.stderr);
    Ok(match out.status.success() {
        true => text,
        false => format!("{} {}", out.status, error.lines().last().unwrap_or_default()),
    })
}

/// Memory of a process that has committed 300,000 records into 100,000 keys.
fn memory_of(dir: &Path, name: &str) -> Outcome<()> {
    let path = fresh(dir, name)?;
    let mut engine = open(name, &path)?;
    for from in (0..300_000).step_by(100) {
        engine.commit(&batch(from, 100, 100_000, from))?;
    }
    let status = fs::read_to_string("/proc/self/status")?;
    let lines = status
        .lines()
        .filter(|l| l.starts_with("RssAnon") || l.starts_with("VmRSS") || l.starts_with("VmHWM"));
    println!("{}", lines.map(|l| l.replace('\t', " ")).collect::<Vec<_>>().join(", "));
    Ok(())
}

const BATCHES: u64 = 2_000;
const PER_BATCH: u64 = 16;

/// What an engine says about a byte that changed on disk.
fn compare_damage(dir: &Path) -> Outcome<()> {
    use std::os::unix::fs::FileExt;
    for name in NAMES {
        for part in [20, 50, 80] {
            let path = fresh(dir, name)?;
            let mut engine = open(name, &path)?;
            for n in 0..BATCHES {
                engine.commit(&batch(n * PER_BATCH, PER_BATCH, u64::MAX, 1))?;
            }
            drop(engine);
            let (len, file) = files(&path).into_iter().max().ok_or("no file")?;
            let file = fs::OpenOptions::new().read(true).write(true).open(file)?;
            let at = len * part / 100;
            let mut byte = [0];
            file.read_exact_at(&mut byte, at)?;
            file.write_all_at(&[byte[0] ^ 0x10], at)?;
            println!("damage at {part} % {name:<8} {}", again(dir, "check", name)?);
            fs::remove_dir_all(path)?;
        }
    }
    Ok(())
}

fn files(path: &Path) -> Vec<(u64, PathBuf)> {
    use std::os::unix::fs::MetadataExt;
    let mut found = Vec::new();
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(m) if m.is_dir() => found.extend(files(&entry.path())),
            Ok(m) => found.push(((m.blocks() * 512).min(m.len()), entry.path())),
            Err(_) => {}
        }
    }
    found
}

fn check(dir: &Path, name: &str) -> Outcome<()> {
    let expected: std::collections::HashMap<_, _> =
        batch(0, BATCHES * PER_BATCH, u64::MAX, 1).into_iter().collect();
    let (mut good, mut wrong) = (0, 0);
    let mut engine = match open(name, &dir.join(name)) {
        Ok(engine) => engine,
        Err(error) => return Ok(println!("refused to open: {error}")),
    };
    let result = engine.load(&mut |key, value| match expected.get(key).is_some_and(|e| &**e == value) {
        true => good += 1,
        false => wrong += 1,
    });
    match result {
        Ok(()) => println!("opened: {good} of {} records right, {wrong} wrong", expected.len()),
        Err(error) => println!("refused to load: {error}"),
    }
    Ok(())
}

/// Commits until the file system is full, makes room, and sees what the engine does. DIR must be small.
fn fill_up(dir: &Path, name: &str) -> Outcome<()> {
    let path = fresh(dir, name)?;
    let ballast = dir.join("ballast");
    let mut engine = open(name, &path)?;
    fs::write(&ballast, vec![1; 20 << 20])?;
    let mut kept = 0;
    let error = loop {
        match engine.commit(&batch(kept * PER_BATCH, PER_BATCH, u64::MAX, 1)) {
            Ok(()) => kept += 1,
            Err(error) => break error.to_string(),
        }
    };
    fs::remove_file(&ballast)?;
    let again = engine.commit(&batch(kept * PER_BATCH, PER_BATCH, u64::MAX, 1)).map_err(|e| e.to_string());
    kept += u64::from(again.is_ok());
    drop(engine);
    let found = load(name, &path).map(|(_, count)| count);
    println!(
        "{kept} batches kept, then: {error}. With room again: {again:?}. Opened again: {found:?} of {} records",
        kept * PER_BATCH
    );
    Ok(fs::remove_dir_all(path)?)
}

/// Threads that each wait for their own record, through the committer.
fn group_commit(dir: &Path) -> Outcome<()> {
    for threads in [1, 8, 64] {
        let path = fresh(dir, "group")?;
        let committer = engines::committer(&path)?;
        let (done, begin) = (std::sync::atomic::AtomicU64::new(0), Instant::now());
        let mut times: Vec<f64> = std::thread::scope(|scope| {
            let work = |thread: u64| {
                let (committer, done) = (&committer, &done);
                move || {
                    let mut times = Vec::new();
                    while begin.elapsed() < Duration::from_secs(3) {
                        let n = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        let record = store::Record::put(key(n), value(n ^ thread));
                        let began = Instant::now();
                        let durable = committer.submit(vec![record]).and_then(|s| committer.wait(s));
                        durable.expect("a commit");
                        times.push(began.elapsed().as_secs_f64() * 1e3);
                    }
                    times
                }
            };
            let all: Vec<_> = (0..threads).map(|thread| scope.spawn(work(thread))).collect();
            all.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
        });
        times.sort_by(f64::total_cmp);
        let rate = times.len() as f64 / begin.elapsed().as_secs_f64();
        let at = |part: usize| times[times.len() * part / 100];
        println!(
            "group commit {threads:>2} threads {rate:.0} records/s p50 {:.3} ms p99 {:.3} ms",
            at(50),
            at(99)
        );
        drop(committer);
        fs::remove_dir_all(path)?;
    }
    Ok(())
}

/// Single commits beside a compaction of 500 MiB.
fn while_compacting(dir: &Path) -> Outcome<()> {
    let path = fresh(dir, "journal")?;
    fill("journal", &path, 1_000_000, 1)?;
    let (mut store, fence) = engines::own(&path)?;
    let monitor = store.monitor();
    store::Store::compact(&mut store)?;
    let (begin, mut times) = (Instant::now(), Vec::new());
    while monitor.status().compacting {
        let n = times.len() as u64;
        let began = Instant::now();
        store::Store::commit(&mut store, fence, &[store::Record::put(key(n), value(n))])?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let seconds = begin.elapsed().as_secs_f64();
    let (count, most) = (times.len(), times.iter().copied().fold(0.0, f64::max));
    times.sort_by(f64::total_cmp);
    let (p50, p99) = (times[count / 2], times[count * 99 / 100]);
    println!(
        "compaction of 1000000 records {seconds:.2} s, {count} commits meanwhile, p50 {p50:.3} ms p99 {p99:.3} ms most {most:.3} ms"
    );
    drop(store);
    let (seconds, count) = load("journal", &path)?;
    println!("open and load of {count} records from a snapshot {seconds:.3} s");
    fs::remove_dir_all(path)?;
    let path = fresh(dir, "journal")?;
    fill("journal", &path, 100_000, 1)?;
    open("journal", &path)?.settle()?;
    let (seconds, count) = load("journal", &path)?;
    println!("open and load of {count} records from a snapshot {seconds:.3} s");
    Ok(fs::remove_dir_all(path)?)
}

fn main() -> Outcome<()> {
    let mut words = std::env::args().skip(1);
    let dir = PathBuf::from(
        words
            .next()
            .ok_or("usage: store-bench DIR [commits|recovery|overwrite|memory|own|damage|full] [ROUNDS]")?,
    );
    let what = words.next().unwrap_or_else(|| "all".to_owned());
    match &*what {
        "rss" => return memory_of(&dir, &words.next().unwrap_or_default()),
        "fill-up" => return fill_up(&dir, &words.next().unwrap_or_default()),
        "check" => return check(&dir, &words.next().unwrap_or_default()),
        _ => {}
    }
    let rounds: usize = words.next().map_or(Ok(5), |n| n.parse())?;
    fs::create_dir_all(&dir)?;
    if matches!(&*what, "commits" | "all") {
        compare_commits(&dir, rounds)?;
    }
    if matches!(&*what, "recovery" | "all") {
        compare_recovery(&dir, rounds, 100_000)?;
        compare_recovery(&dir, rounds, 1_000_000)?;
    }
    if matches!(&*what, "overwrite" | "all") {
        compare_overwrites(&dir)?;
    }
    if matches!(&*what, "memory" | "all") {
        for name in NAMES {
            println!("memory {name:<8} {}", again(&dir, "rss", name)?);
        }
    }
    if matches!(&*what, "own" | "all") {
        group_commit(&dir)?;
        while_compacting(&dir)?;
    }
    if what == "full" {
        for name in NAMES {
            println!("full disk {name:<8} {}", again(&dir, "fill-up", name)?);
        }
    }
    if matches!(&*what, "damage" | "all") {
        compare_damage(&dir)?;
    }
    Ok(())
}
