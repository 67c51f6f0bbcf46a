//! Log groups and streams.

use crate::harness::{Wharf, scope};
use control::state::logs::LogGroupId;

const NO_GROUP: &str = "ResourceNotFoundException: The specified log group does not exist.";
const NO_STREAM: &str = "ResourceNotFoundException: The specified log stream does not exist.";

fn wharf() -> Wharf {
    let mut wharf = Wharf::new();
    wharf.check(r#"logs.CreateLogGroup {"logGroupName": "/ecs/web", "tags": {"a": "1"}}"#, "{}");
    wharf
}

#[test]
fn groups() {
    let mut wharf = wharf();
    wharf.check(
        r#"logs.CreateLogGroup {"logGroupName": "/ecs/web"}"#,
        "ResourceAlreadyExistsException: The specified log group already exists",
    );
    wharf.check(r#"logs.PutRetentionPolicy {"logGroupName": "/ecs/web", "retentionInDays": 7}"#, "{}");
    wharf.restart_with(Vec::new());
    let arn = "arn:aws:logs:us-east-1:123456789012:log-group:/ecs/web";
    wharf.check(
        r#"logs.DescribeLogGroups {"logGroupNamePrefix": "/ecs/"}"#,
        &format!(
            r#"{{"logGroups": [{{"logGroupName": "/ecs/web", "arn": "{arn}:*", "logGroupArn": "{arn}",
                "creationTime": 1700000000000, "retentionInDays": 7, "metricFilterCount": 0, "storedBytes": 0,
                "logGroupClass": "STANDARD"}}]}}"#
        ),
    );
    wharf.check(r#"logs.DescribeLogGroups {"logGroupNamePrefix": "ecs"}"#, r#"{"logGroups": []}"#);
    wharf.check(
        r#"logs.DescribeLogGroups {"logGroupNamePattern": "WEB"}"#,
        r#"{"logGroups": [{"...": true}]}"#,
    );
    let wrong = wharf.call(r#"logs.PutRetentionPolicy {"logGroupName": "/ecs/web", "retentionInDays": 4}"#);
    let text = wrong.expect_err("4 is not one of the values");
    assert!(
        text.starts_with("InvalidParameterException: 1 validation error detected: Value '4' at"),
        "{text}"
    );
    wharf.check(r#"logs.PutRetentionPolicy {"logGroupName": "none", "retentionInDays": 7}"#, NO_GROUP);
    wharf.check(r#"logs.DeleteRetentionPolicy {"logGroupName": "/ecs/web"}"#, "{}");
    wharf.check(
        r#"logs.CreateExportTask {"logGroupName": "/ecs/web", "from": 0, "to": 1, "destination": "bucket"}"#,
        "InvalidParameterException: CreateExportTask is not available in this version of Wharf.",
    );
}

#[test]
fn streams_go_with_their_group_and_never_share_storage() {
    let mut wharf = wharf();
    let create = r#"logs.CreateLogStream {"logGroupName": "/ecs/web", "logStreamName": "a/b/1"}"#;
    wharf.check(create, "{}");
    wharf.check(create, "ResourceAlreadyExistsException: The specified log stream already exists");
    wharf.check(r#"logs.CreateLogStream {"logGroupName": "none", "logStreamName": "s"}"#, NO_GROUP);
    let group = LogGroupId { scope: scope(), name: "/ecs/web".to_owned() };
    let id = |wharf: &Wharf| {
        let stream = control::logs::streams_of(wharf.state(), &group, "a/").next().expect("the stream");
        stream.storage_id.clone()
    };
    let first = id(&wharf);
    let delete = r#"logs.DeleteLogStream {"logGroupName": "/ecs/web", "logStreamName": "a/b/1"}"#;
    wharf.check(delete, "{}");
    wharf.check(delete, NO_STREAM);
    wharf.check(create, "{}");
    assert_ne!(id(&wharf), first);
    wharf.check(r#"logs.DeleteLogGroup {"logGroupName": "/ecs/web"}"#, "{}");
    assert!(control::logs::storage_ids(wharf.state()).is_empty());
    wharf.check(r#"logs.DeleteLogGroup {"logGroupName": "/ecs/web"}"#, NO_GROUP);
}

#[test]
fn tags() {
    let mut wharf = wharf();
    let arn = r#""resourceArn": "arn:aws:logs:us-east-1:123456789012:log-group:/ecs/web""#;
    wharf.check(&format!(r#"logs.TagResource {{{arn}, "tags": {{"b": "2"}}}}"#), "{}");
    wharf.check(r#"logs.TagLogGroup {"logGroupName": "/ecs/web", "tags": {"a": "3"}}"#, "{}");
    wharf.check(&format!("logs.ListTagsForResource {{{arn}}}"), r#"{"tags": {"a": "3", "b": "2"}}"#);
    wharf.check(r#"logs.UntagLogGroup {"logGroupName": "/ecs/web", "tags": ["a"]}"#, "{}");
    wharf.check(r#"logs.ListTagsLogGroup {"logGroupName": "/ecs/web"}"#, r#"{"tags": {"b": "2"}}"#);
    wharf.check(&format!(r#"logs.UntagResource {{{arn}, "tagKeys": ["b"]}}"#), "{}");
    wharf.check(
        r#"logs.ListTagsForResource {"resourceArn": "arn:aws:logs:us-east-1:123456789012:log-group:no"}"#,
        NO_GROUP,
    );
}

#[test]
fn pages_join_to_the_whole() {
    let mut wharf = Wharf::new();
    for n in 0..7 {
        wharf.check(&format!(r#"logs.CreateLogGroup {{"logGroupName": "g{n}"}}"#), "{}");
    }
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = wharf.call(&format!(r#"logs.DescribeLogGroups {{"limit": 3{token}}}"#)).expect("a page");
        let list = page["logGroups"].as_array().expect("a list").clone();
        seen.extend(list.iter().map(|group| group["logGroupName"].as_str().expect("a name").to_owned()));
        match page["nextToken"].as_str() {
            Some(next) => token = format!(r#", "nextToken": "{next}""#),
            None => break,
        }
    }
    assert_eq!(seen, ["g0", "g1", "g2", "g3", "g4", "g5", "g6"]);
    wharf.check(
        r#"logs.DescribeLogGroups {"nextToken": "junk"}"#,
        "InvalidParameterException: The specified nextToken is invalid.",
    );
}
