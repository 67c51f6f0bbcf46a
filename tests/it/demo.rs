//! `wharf demo`.

use crate::wharf::{builtin, command};
use std::net::TcpListener;

#[test]
fn the_demo_shows_the_answer_of_its_task_and_ends() {
    let _one = builtin();
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let output = command(&["demo", "--exit", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(text.contains("answers: Hello"), "{text}");
    assert!(text.contains("the task is RUNNING"), "{text}");
}

#[test]
fn the_demo_says_that_its_port_is_taken() {
    let _one = builtin();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let output = command(&["demo", "--exit", "--listen", &address, "--data", data.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(text.contains(&address), "the message does not name {address}: {text}");
}
