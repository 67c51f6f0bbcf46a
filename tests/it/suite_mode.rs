//! Wharf inside somebody's test suite: any key, no containers, and a reset between tests.

use crate::clients::boto;
use crate::http::{ecs, send};
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

#[test]
fn a_reset_empties_everything() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let wharf = Wharf::start(&data, &["--runtime", "simulated", "--any-credentials"]);
    boto(
        &wharf,
        r#"
joined()
ecs.create_cluster(clusterName="mine")
ecr.create_repository(repositoryName="web")
logs.create_log_group(logGroupName="/mine")
reach(run(register("f")), "RUNNING")
"#,
    );
    let (status, body) = send(wharf.address(), "POST /_wharf/reset HTTP/1.1", "").unwrap();
    assert!((200..300).contains(&status), "{status} {body}");
    boto(
        &wharf,
        r#"
joined()
assert [a.rsplit("/")[-1] for a in ecs.list_clusters()["clusterArns"]] == ["default"]
assert ecs.list_tasks()["taskArns"] == []
assert ecs.list_task_definitions()["taskDefinitionArns"] == []
assert ecr.describe_repositories()["repositories"] == []
assert logs.describe_log_groups()["logGroups"] == []
reach(run(register("f")), "RUNNING")
"#,
    );
    let (_, reply) = ecs(wharf.address(), "ListClusters", "{}").unwrap();
    assert_eq!(reply["clusterArns"].as_array().unwrap().len(), 1);
    assert!(wharf.stop().success());
}
