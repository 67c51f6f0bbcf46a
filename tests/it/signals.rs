//! SIGTERM: what becomes of tasks that run.

use crate::clients::boto;
use crate::images::busybox;
use crate::wharf::{Wharf, builtin, eventually};
use std::path::Path;
use std::process::Command;

fn run(wharf: &Wharf, scratch: &Path) -> String {
    let image = busybox(wharf, scratch);
    let script = format!(
        r#"
joined()
arn = run(register("sleeper", "{image}", command=["/bin/busybox", "sleep", "4242"], stopTimeout=2))
reach(arn, "RUNNING")
print(json.dumps(arn))
"#
    );
    boto(wharf, &script).as_str().unwrap().to_owned()
}

/// Processes that belong to this data directory's containers: its keepers.
fn processes(data: &Path) -> usize {
    let name = data.to_str().unwrap();
    let all = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines
        .filter(|line| {
            let line = String::from_utf8_lossy(line).replace('\0', " ");
            line.contains(name) || line.trim_end().ends_with("sleep 4242")
        })
        .count()
}

fn interfaces() -> Vec<String> {
    let all = std::fs::read_dir("/sys/class/net").unwrap().filter_map(Result::ok);
    all.map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("wharf") || name.starts_with("w0v"))
        .collect()
}

#[test]
fn stop_leaves_nothing_behind() {
    let _one = builtin();
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let wharf = Wharf::start(&data, &["--on-exit", "stop"]);
    run(&wharf, directory.path());
    assert!(processes(&data) > 0);
    assert!(!interfaces().is_empty());
    assert!(wharf.stop().success());
    eventually("no process", || (processes(&data) == 0).then_some(()));
    assert_eq!(interfaces(), Vec::<String>::new());
    let tables = Command::new("nft").args(["list", "tables"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&tables.stdout).contains("wharf"), "{tables:?}");
}

#[test]
fn keep_leaves_the_task_to_the_next_start() {
    let _one = builtin();
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let wharf = Wharf::start(&data, &["--on-exit", "keep"]);
    let task = run(&wharf, directory.path());
    let before = sleeper();
    assert!(wharf.stop().success());
    assert_eq!(sleeper(), before, "the container did not outlive Wharf");
    let wharf = Wharf::start(&data, &[]);
    boto(
        &wharf,
        &format!("joined(); assert describe({task:?})['lastStatus'] == 'RUNNING', describe({task:?})"),
    );
    assert_eq!(sleeper(), before, "the container was started anew");
    assert!(wharf.stop().success());
    eventually("no process", || (processes(&data) == 0).then_some(()));
}

/// The process of the container.
fn sleeper() -> String {
    let all = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let mut found = all.filter(|entry| {
        std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == b"/bin/busybox\0sleep\x004242\0")
    });
    found.next().expect("no container runs").file_name().to_string_lossy().into_owned()
}
