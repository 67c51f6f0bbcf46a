//! Tags of clusters, task definitions, tasks and container instances.

use crate::harness::{Wharf, hex, instance, task};
use control::state::ecs::{InstanceStatus, TaskStatus};

const PREFIX: &str = "arn:aws:ecs:us-east-1:123456789012:";

fn wharf() -> Wharf {
    let mut wharf = Wharf::with(vec![
        instance(1, "default", InstanceStatus::Active),
        instance(2, "default", InstanceStatus::Inactive),
        task(1, "default", ("app", 1), TaskStatus::Running),
        task(2, "default", ("app", 1), TaskStatus::Stopped),
    ]);
    wharf.check("CreateCluster {}", r#"{"...": true}"#);
    wharf.check(
        r#"RegisterTaskDefinition {"family": "app",
            "containerDefinitions": [{"name": "a", "image": "b", "memory": 64}]}"#,
        r#"{"...": true}"#,
    );
    wharf
}

#[test]
fn every_kind_of_resource() {
    let mut wharf = wharf();
    let resources = [
        "cluster/default".to_owned(),
        "task-definition/app:1".to_owned(),
        format!("task/default/{}", hex(1)),
        format!("container-instance/default/{}", hex(1)),
    ];
    for resource in resources {
        let arn = format!(r#""resourceArn": "{PREFIX}{resource}""#);
        let list = format!("ListTagsForResource {{{arn}}}");
        wharf.check(&list, r#"{"tags": []}"#);
        wharf.check(
            &format!(r#"TagResource {{{arn}, "tags": [{{"key": "a", "value": "1"}}, {{"key": "b"}}]}}"#),
            "{}",
        );
        wharf.check(&format!(r#"TagResource {{{arn}, "tags": [{{"key": "a", "value": "2"}}]}}"#), "{}");
        wharf.check(&list, r#"{"tags": [{"key": "a", "value": "2"}, {"key": "b", "value": ""}]}"#);
        wharf.check(&format!(r#"UntagResource {{{arn}, "tagKeys": ["b", "none"]}}"#), "{}");
        wharf.check(&list, r#"{"tags": [{"key": "a", "value": "2"}]}"#);
    }
}

#[test]
fn resources_that_cannot_be_tagged() {
    let mut wharf = wharf();
    wharf.check(r#"CreateCluster {"clusterName": "old"}"#, r#"{"...": true}"#);
    wharf.check(r#"DeleteCluster {"cluster": "old"}"#, r#"{"...": true}"#);
    let long = "InvalidParameterException: Long arn format must be used for tagging operations";
    let missing = |kind: &str| {
        format!(
            "InvalidParameterException: The specified {kind} is not found. Specify a valid {kind} and try again."
        )
    };
    let cases = [
        ("cluster/none".to_owned(), "ClusterNotFoundException: Cluster not found.".to_owned()),
        (
            "cluster/old".to_owned(),
            "InvalidParameterException: The specified cluster is inactive. Specify an active cluster and try again."
                .to_owned(),
        ),
        ("task-definition/app:2".to_owned(), missing("task definition")),
        (format!("task/default/{}", hex(9)), missing("task")),
        (format!("task/other/{}", hex(1)), missing("task")),
        (
            format!("task/default/{}", hex(2)),
            "InvalidParameterException: The specified task is stopped. Specify a running task and try again.".to_owned(),
        ),
        (format!("container-instance/default/{}", hex(2)), missing("container instance")),
        (format!("task/{}", hex(1)), long.to_owned()),
        ("service/web".to_owned(), long.to_owned()),
        ("capacity-provider/mine".to_owned(), missing("capacity provider")),
        ("service/default/web".to_owned(), missing("service")),
        (
            "nonsense".to_owned(),
            format!("InvalidParameterException: Invalid resource ARN: {PREFIX}nonsense"),
        ),
        (
            "task-definition/app".to_owned(),
            format!("InvalidParameterException: Invalid resource ARN: {PREFIX}task-definition/app"),
        ),
    ];
    for (resource, expected) in cases {
        let arn = format!(r#""resourceArn": "{PREFIX}{resource}""#);
        wharf.check(&format!("ListTagsForResource {{{arn}}}"), &expected);
        wharf.check(&format!(r#"TagResource {{{arn}, "tags": [{{"key": "a"}}]}}"#), &expected);
        wharf.check(&format!(r#"UntagResource {{{arn}, "tagKeys": ["a"]}}"#), &expected);
    }
    let foreign = "arn:aws:ecs:eu-west-1:123456789012:cluster/default";
    wharf.check(
        &format!(r#"ListTagsForResource {{"resourceArn": "{foreign}"}}"#),
        &format!("InvalidParameterException: Invalid resource ARN: {foreign}"),
    );
}

#[test]
fn tags_that_cannot_be() {
    let reserved = |text: &str| {
        format!(
            "InvalidParameterException: Tag keys and values that start with 'aws:' are reserved for AWS use: {text}"
        )
    };
    let cases = [
        (r#"[{"key": "AWS:ecs:x", "value": "a"}]"#, reserved("AWS:ecs:x")),
        (r#"[{"key": "x", "value": "aws:y"}]"#, reserved("aws:y")),
        (r#"[{"value": "a"}]"#, "InvalidParameterException: Tag key can not be empty.".to_owned()),
    ];
    let mut wharf = wharf();
    for (tags, expected) in cases {
        wharf.check(
            &format!(r#"TagResource {{"resourceArn": "{PREFIX}cluster/default", "tags": {tags}}}"#),
            &expected,
        );
        wharf.check(&format!(r#"CreateCluster {{"clusterName": "x", "tags": {tags}}}"#), &expected);
        wharf.check(
            &format!(
                r#"RegisterTaskDefinition {{"family": "x", "tags": {tags},
                    "containerDefinitions": [{{"name": "a", "image": "b", "memory": 64}}]}}"#
            ),
            &expected,
        );
    }
    wharf.check(
        &format!(r#"UntagResource {{"resourceArn": "{PREFIX}cluster/default", "tagKeys": ["aws:x"]}}"#),
        &reserved("aws:x"),
    );
    let tags = |range: std::ops::Range<u32>| {
        let tags: Vec<String> = range.map(|n| format!(r#"{{"key": "k{n}"}}"#)).collect();
        format!(r#"TagResource {{"resourceArn": "{PREFIX}cluster/default", "tags": [{}]}}"#, tags.join(","))
    };
    wharf.check(&tags(0..50), "{}");
    wharf.check(&tags(10..20), "{}");
    wharf.check(
        &tags(50..51),
        "LimitExceededException: The maximum number of tags (50) for the resource has been exceeded.",
    );
}
