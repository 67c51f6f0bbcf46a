//! A process that commits and compacts is killed again and again: nothing acknowledged is ever lost.

use crate::{content, fence, open, open_small};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use stdx::Rng;
use store::{Record, Store};

const DIRECTORY: &str = "WHARF_STORE_TEST_DIRECTORY";
const ROUNDS: u64 = 50;
const KEYS: u64 = 40;

/// The process to be killed: commits numbers without end and says each one that is durable.
#[test]
#[ignore = "is started by the test below, in a process of its own"]
fn child() {
    let path = std::env::var(DIRECTORY).expect("started by the test below");
    let mut store = open_small(Path::new(&path)).store;
    let fence = fence(&mut store);
    let mut next = 1 + content(&mut store).values().map(|value| number(value)).max().unwrap_or(0);
    loop {
        // Two keys in one batch: they must never disagree.
        let value = [next.to_le_bytes().as_slice(), &vec![7; (next % 700) as usize]].concat();
        let batch = [
            Record::put(format!("a{:02}", next % KEYS), value.clone()),
            Record::put(format!("b{:02}", next % KEYS), value),
        ];
        store.commit(fence, &batch).expect("a commit");
        let mut out = std::io::stdout().lock();
        writeln!(out, "durable {next}").and_then(|()| out.flush()).expect("the parent listens");
        next += 1;
    }
}

fn number(value: &[u8]) -> u64 {
    u64::from_le_bytes(value[..8].try_into().expect("eight bytes"))
}

/// Lets a child commit for a moment and kills it; the last number that it said is durable.
fn run_and_kill(path: &Path, moment: Duration) -> Option<u64> {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "kill::child", "--ignored", "--nocapture"])
        .env(DIRECTORY, path)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let out = child.stdout.take().expect("its output");
    let reader = std::thread::spawn(move || {
        let said = BufReader::new(out).lines().map_while(Result::ok);
        said.filter_map(|line| line.split_once("durable ")?.1.parse().ok()).max()
    });
    std::thread::sleep(moment);
    child.kill().expect("killed");
    child.wait().expect("it ends");
    reader.join().expect("no panic")
}

#[test]
fn nothing_acknowledged_is_lost_by_a_kill() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut rng = Rng::new(u64::from(std::process::id()));
    let mut acknowledged = 0;
    let mut compactions = 0;
    for round in 0..ROUNDS {
        // Some before it has even opened the store, most in the midst of commits and compactions.
        let said = run_and_kill(directory.path(), Duration::from_millis(5 + rng.below(60)));
        acknowledged = acknowledged.max(said.unwrap_or(0));
        let mut opened = open(directory.path());
        let found = content(&mut opened.store);
        let newest = found.values().map(|value| number(value)).max().unwrap_or(0);
        assert!(newest >= acknowledged, "round {round}: {newest} is there, {acknowledged} was acknowledged");
        assert!(
            newest <= acknowledged + 1,
            "round {round}: one batch at a time, {newest} after {acknowledged}"
        );
        acknowledged = newest;
        for back in 0..newest.min(KEYS) {
            let wanted = newest - back;
            for letter in ["a", "b"] {
                let value = found.get(format!("{letter}{:02}", wanted % KEYS).as_bytes());
                assert_eq!(value.map(|value| number(value)), Some(wanted), "round {round}, {letter}");
            }
        }
        compactions += u64::from(opened.store.monitor().status().snapshot_bytes > 0);
    }
    assert!(acknowledged > ROUNDS, "the children did commit: {acknowledged}");
    assert!(compactions > ROUNDS / 2, "and compacted: {compactions}");
}
