//! Custom attributes of container instances.

use crate::harness::{Wharf, hex, instance};
use control::state::ecs::InstanceStatus;

fn wharf() -> Wharf {
    let mut wharf = Wharf::with(vec![
        instance(1, "default", InstanceStatus::Active),
        instance(2, "default", InstanceStatus::Draining),
        instance(3, "default", InstanceStatus::Inactive),
        instance(4, "other", InstanceStatus::Active),
    ]);
    wharf.check("CreateCluster {}", r#"{"...": true}"#);
    wharf
}

fn arn(id: u128) -> String {
    format!("arn:aws:ecs:us-east-1:123456789012:container-instance/default/{}", hex(id))
}

#[test]
fn put_list_and_delete() {
    let mut wharf = wharf();
    let (one, two) = (arn(1), arn(2));
    wharf.check(
        &format!(
            r#"PutAttributes {{"attributes": [{{"name": "stack", "value": "prod", "targetId": "{one}"}},
                {{"name": "disk", "targetId": "{}", "targetType": "container-instance"}}]}}"#,
            hex(2)
        ),
        &format!(
            r#"{{"attributes": [
                {{"name": "stack", "value": "prod", "targetType": "container-instance", "targetId": "{one}"}},
                {{"name": "disk", "targetType": "container-instance", "targetId": "{two}"}}]}}"#
        ),
    );
    // The same name again replaces the value.
    wharf.check(
        &format!(
            r#"PutAttributes {{"attributes": [{{"name": "stack", "value": "test", "targetId": "{one}"}}]}}"#
        ),
        r#"{"...": true}"#,
    );
    wharf.check(
        r#"ListAttributes {"targetType": "container-instance", "attributeName": "stack"}"#,
        &format!(
            r#"{{"attributes":
                [{{"name": "stack", "value": "test", "targetType": "container-instance", "targetId": "{one}"}}]}}"#
        ),
    );
    wharf.check(
        r#"ListAttributes {"targetType": "container-instance", "attributeName": "stack", "attributeValue": "prod"}"#,
        r#"{"attributes": []}"#,
    );
    let all = wharf.call(r#"ListAttributes {"targetType": "container-instance"}"#).expect("a list");
    assert_eq!(all["attributes"].as_array().map(Vec::len), Some(6));

    let delete = |value: &str| {
        format!(r#"DeleteAttributes {{"attributes": [{{"name": "stack"{value}, "targetId": "{one}"}}]}}"#)
    };
    wharf.check(&delete(r#", "value": "prod""#), r#"{"attributes": []}"#);
    wharf.check(&delete(""), r#"{"attributes": [{"name": "stack", "...": true}]}"#);
    wharf.check(&delete(""), r#"{"attributes": []}"#);
}

#[test]
fn refusals() {
    let one = arn(1);
    let long = "x".repeat(129);
    let many = vec![format!(r#"{{"name": "a", "targetId": "{one}"}}"#); 11].join(",");
    let eleven: Vec<String> =
        (0..11).map(|n| format!(r#"{{"name": "a{n}", "targetId": "{one}"}}"#)).collect();
    let with = |fields: &str| format!("[{{{fields}}}]");
    let cases = [
        ("[]".to_owned(), "InvalidParameterException: attributes cannot be empty.".to_owned()),
        (format!("[{many}]"), "InvalidParameterException: attributes can have at most 10 items.".to_owned()),
        (with(r#""name": "a""#), "InvalidParameterException: targetId is required.".to_owned()),
        (
            with(&format!(r#""name": "a", "targetId": "{}""#, hex(3))),
            format!("TargetNotFoundException: Could not find {}", hex(3)),
        ),
        (
            with(&format!(r#""name": "a", "targetId": "{}""#, hex(4))),
            format!("TargetNotFoundException: Could not find {}", hex(4)),
        ),
        (with(r#""name": "a", "targetId": "x""#), "TargetNotFoundException: Could not find x".to_owned()),
        (
            with(&format!(r#""name": "a b", "targetId": "{one}""#)),
            "InvalidParameterException: Invalid attribute name: 'a b'.".to_owned(),
        ),
        (
            with(&format!(r#""name": "{long}", "targetId": "{one}""#)),
            format!("InvalidParameterException: Invalid attribute name: '{long}'."),
        ),
        (
            with(&format!(r#""name": "ecs.os-type", "value": "windows", "targetId": "{one}""#)),
            "InvalidParameterException: The attribute 'ecs.os-type' is reserved and cannot be changed."
                .to_owned(),
        ),
        (
            with(&format!(r#""name": "a", "value": " b", "targetId": "{one}""#)),
            "InvalidParameterException: Invalid attribute value: ' b'.".to_owned(),
        ),
    ];
    let mut wharf = wharf();
    for (attributes, expected) in cases {
        for operation in ["PutAttributes", "DeleteAttributes"] {
            wharf.check(&format!(r#"{operation} {{"attributes": {attributes}}}"#), &expected);
        }
    }
    let put = |list: &[String]| format!(r#"PutAttributes {{"attributes": [{}]}}"#, list.join(","));
    wharf.check(&put(&eleven[..10]), r#"{"...": true}"#);
    wharf.check(
        &put(&eleven[10..]),
        "AttributeLimitExceededException: The limit of 10 custom attributes per resource has been exceeded.",
    );
    wharf.check(&put(&eleven[..1]), r#"{"...": true}"#);
    wharf.check(
        r#"ListAttributes {"targetType": "container-instance", "attributeName": "a10"}"#,
        r#"{"attributes": []}"#,
    );
    wharf.check(
        r#"ListAttributes {"targetType": "container-instance", "cluster": "none"}"#,
        "ClusterNotFoundException: Cluster not found.",
    );
}
