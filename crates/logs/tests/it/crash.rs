//! Torn tails, damage, and a process killed in the middle of writing.

use crate::harness::*;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const T: i64 = NOW.0 - 60_000;

fn only_segment(dir: &Path) -> PathBuf {
    let below = |dir: &Path| {
        fs::read_dir(dir).expect("a directory").next().expect("an entry").expect("an entry").path()
    };
    below(&below(&below(dir)))
}

#[test]
fn a_batch_that_was_not_written_whole_is_cut_off_wherever_it_tore() {
    let dir = tempfile::tempdir().expect("a directory");
    let world = World::of(&["a"]);
    put(&open(dir.path()), &world, "a", &[(T, "whole")]).expect("accepted");
    let path = only_segment(dir.path());
    let whole = fs::metadata(&path).expect("a file").len();
    put(&open(dir.path()), &world, "a", &[(T + 1, "torn")]).expect("accepted");
    let full = fs::read(&path).expect("a file");
    for length in usize::try_from(whole).expect("small")..full.len() {
        fs::write(&path, &full[..length]).expect("written");
        let logs = open(dir.path());
        assert_eq!(
            messages(get(&logs, &world, of("a")).expect("a page").events),
            ["whole"],
            "cut at {length}"
        );
        put(&logs, &world, "a", &[(T + 2, "after")]).expect("accepted");
        let expected = ["whole", "after"];
        assert_eq!(messages(get(&logs, &world, of("a")).expect("a page").events), expected);
        assert_eq!(messages(get(&open(dir.path()), &world, of("a")).expect("a page").events), expected);
    }
}

#[test]
fn junk_behind_the_end_and_an_empty_file_are_survived() {
    let dir = tempfile::tempdir().expect("a directory");
    let world = World::of(&["a"]);
    put(&open(dir.path()), &world, "a", &[(T, "whole")]).expect("accepted");
    let path = only_segment(dir.path());
    let mut file = OpenOptions::new().append(true).open(&path).expect("a file");
    file.write_all(&[0xFF; 100]).expect("written");
    let logs = open(dir.path());
    put(&logs, &world, "a", &[(T + 1, "after")]).expect("accepted");
    assert_eq!(messages(get(&logs, &world, of("a")).expect("a page").events), ["whole", "after"]);
    fs::write(&path, b"").expect("written");
    let logs = open(dir.path());
    assert_eq!(messages(get(&logs, &world, of("a")).expect("a page").events), Vec::<String>::new());
    put(&logs, &world, "a", &[(T, "anew")]).expect("accepted");
    assert_eq!(messages(get(&open(dir.path()), &world, of("a")).expect("a page").events), ["anew"]);
}

/// Not a test of its own: the process that [`a_killed_process_loses_nothing_that_it_acknowledged`] kills.
#[test]
#[ignore = "run as a process of its own by the test of kill -9"]
fn writer() {
    let dir = std::env::var("LOGS_TEST_DIR").expect("the directory to write to");
    let (logs, world) = (open(Path::new(&dir)), World::of(&["a"]));
    let start: i64 = std::env::var("LOGS_TEST_START").ok().and_then(|n| n.parse().ok()).expect("a number");
    let mut out = std::io::stdout();
    for n in start.. {
        let texts: Vec<String> = (0..20).map(|m| format!("{n}-{m}")).collect();
        let events: Vec<(i64, &str)> = texts.iter().map(|text| (T + n, text.as_str())).collect();
        put(&logs, &world, "a", &events).expect("accepted");
        writeln!(out, "\nacknowledged {n}").and_then(|()| out.flush()).expect("the parent reads");
    }
}

#[test]
fn a_killed_process_loses_nothing_that_it_acknowledged() {
    let dir = tempfile::tempdir().expect("a directory");
    let world = World::of(&["a"]);
    let mut next: i64 = 0;
    for round in 0..20 {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "crash::writer", "--ignored", "--nocapture"])
            .env("LOGS_TEST_DIR", dir.path())
            .env("LOGS_TEST_START", next.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a process");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut acknowledged = next - 1;
        let (mut seen, goal) = (0, 3 + round * 7 % 11);
        for line in lines.map_while(Result::ok) {
            if let Some(n) = line.strip_prefix("acknowledged ") {
                acknowledged = n.parse().expect("a number");
                seen += 1;
                if seen == goal {
                    child.kill().expect("killed");
                }
            }
        }
        child.wait().expect("ended");
        assert!(seen >= goal, "the writer ended by itself");
        let logs = open(dir.path());
        let (mut all, mut token) = (Vec::new(), None);
        loop {
            let request = api::logs::GetLogEventsRequest { next_token: token.clone(), ..of("a") };
            let page = get(&logs, &world, request).expect("a page");
            all.extend(messages(page.events));
            if page.next_forward_token == token {
                break;
            }
            token = page.next_forward_token;
        }
        let last = all.len() as i64 / 20 - 1;
        let expected: Vec<String> =
            (0..=last).flat_map(|n| (0..20).map(move |m| format!("{n}-{m}"))).collect();
        assert_eq!(all, expected, "whole batches in order, each once");
        assert!(last >= acknowledged, "{last} found, {acknowledged} acknowledged");
        next = last + 1;
    }
}
