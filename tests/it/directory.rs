//! Who may use a data directory.

use crate::wharf::{Wharf, command};

const SIMULATED: &[&str] = &["--runtime", "simulated"];

#[test]
fn a_second_process_is_refused_with_the_name_of_the_holder() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let wharf = Wharf::start(&data, SIMULATED);
    let output = command(&["up", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(text.contains("is in use by process"), "{text}");
    assert!(wharf.stop().success());
}

#[test]
fn only_its_owner_may_enter() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    assert!(Wharf::start(&data, SIMULATED).stop().success());
    assert_eq!(std::fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_newer_format_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    assert!(Wharf::start(&data, SIMULATED).stop().success());
    let manifest = data.join("state/MANIFEST");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let (title, rest) = text.split_once('\n').unwrap();
    let name = title.rsplit_once(' ').unwrap().0;
    let newer = format!("{name} 99\n{rest}");
    std::fs::write(&manifest, &newer).unwrap();
    let output = command(&["up", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(message.contains("has format 99"), "{message}");
    assert_eq!(std::fs::read_to_string(&manifest).unwrap(), newer);
}
