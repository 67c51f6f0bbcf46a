//! Wharf inside somebody's test suite: any key, no containers, and a reset between tests.

use crate::clients::boto;
use crate::wharf::{Wharf, command};

#[test]
fn a_key_of_twelve_digits_names_the_account() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let wharf = Wharf::start(&data, &["--runtime", "simulated", "--any-credentials"]);
    boto(
        &wharf,
        r#"
other = boto3.client("ecs", aws_access_key_id="111122223333", aws_secret_access_key="any")
arn = other.create_cluster(clusterName="theirs")["cluster"]["clusterArn"]
assert arn == "arn:aws:ecs:us-east-1:111122223333:cluster/theirs", arn
assert not [a for a in ecs.list_clusters()["clusterArns"] if "theirs" in a]
who = boto3.client("sts", aws_access_key_id="111122223333", aws_secret_access_key="any").get_caller_identity()
assert who["Account"] == "111122223333", who
"#,
    );
    assert!(wharf.stop().success());
}

#[test]
fn any_credentials_are_refused_on_an_address_that_others_reach() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let data = data.to_str().unwrap();
    let output = command(&["up", "--any-credentials", "--listen", "0.0.0.0:0", "--data", data]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(text.contains("--any-credentials") && text.contains("loopback"), "{text}");
}
