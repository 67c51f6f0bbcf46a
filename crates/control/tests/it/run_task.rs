//! RunTask and StartTask: what is placed, what is refused, and what comes again.

use crate::agent::{self, text};
use crate::harness::Wharf;

const CLUSTER: &str = "arn:aws:ecs:us-east-1:123456789012:cluster/default";

/// A cluster with `instances` connected instances, and the definitions `web` (a port of the host), `app` and `role`.
fn wharf(instances: u64) -> Wharf {
    let mut wharf = Wharf::new();
    wharf.check("CreateCluster {}", r#"{"...": true}"#);
    for connection in 1..=instances {
        agent::join(&mut wharf, connection);
    }
    wharf.check(
        r#"RegisterTaskDefinition {"family": "web", "tags": [{"key": "from", "value": "definition"}],
            "containerDefinitions": [{"name": "web", "image": "web:1", "cpu": 256, "memory": 512,
            "portMappings": [{"containerPort": 80, "hostPort": 8080}]}]}"#,
        r#"{"...": true}"#,
    );
    wharf.check(
        r#"RegisterTaskDefinition {"family": "app", "containerDefinitions": [
            {"name": "a", "image": "a:1", "cpu": 512, "memory": 1024, "memoryReservation": 768},
            {"name": "b", "image": "b:1", "cpu": 512, "memory": 256, "essential": false}]}"#,
        r#"{"...": true}"#,
    );
    wharf
}

#[test]
fn a_task_as_it_begins() {
    let mut wharf = wharf(1);
    wharf.check(
        r#"RunTask {"taskDefinition": "web", "startedBy": "me/1"}"#,
        &format!(
            r#"{{"failures": [], "tasks": [{{"...": true, "clusterArn": "{CLUSTER}", "lastStatus": "PENDING",
                "desiredStatus": "RUNNING", "launchType": "EC2", "cpu": "256", "memory": "512", "version": 1,
                "group": "family:web", "startedBy": "me/1", "connectivity": "CONNECTED",
                "connectivityAt": 1700000000, "createdAt": 1700000000, "healthStatus": "UNKNOWN",
                "availabilityZone": "us-east-1a", "enableExecuteCommand": false, "tags": [],
                "taskDefinitionArn": "arn:aws:ecs:us-east-1:123456789012:task-definition/web:1",
                "overrides": {{"containerOverrides": [], "inferenceAcceleratorOverrides": []}},
                "containers": [{{"...": true, "name": "web", "image": "web:1", "lastStatus": "PENDING",
                    "cpu": "256", "memory": "512", "healthStatus": "UNKNOWN", "networkBindings": []}}]}}]}}"#
        ),
    );
}

#[test]
fn resources_and_ports_are_taken_one_task_after_the_other() {
    let mut wharf = wharf(2);
    // Each instance has one port 8080.
    let reply = wharf.call(r#"RunTask {"taskDefinition": "web", "count": 3}"#).expect("partly placed");
    assert_eq!(reply["tasks"].as_array().map(Vec::len), Some(2));
    let reasons: Vec<String> =
        reply["failures"].as_array().expect("failures").iter().map(|f| text(&f["reason"])).collect();
    assert_eq!(reasons, ["RESOURCE:PORTS", "RESOURCE:PORTS"]);
    // 1,024 CPU units each, beside the 256 of `web`: one more on each instance.
    let reply = wharf.call(r#"RunTask {"taskDefinition": "app", "count": 10}"#).expect("partly placed");
    assert_eq!(reply["tasks"].as_array().map(Vec::len), Some(2));
    assert_eq!(reply["failures"][0]["reason"], "RESOURCE:CPU");
    let instances = wharf.call("ListContainerInstances {}").expect("a list");
    let first = text(&instances["containerInstanceArns"][0]);
    wharf.check(
        &format!(r#"DescribeContainerInstances {{"containerInstances": ["{first}"]}}"#),
        r#"{"failures": [], "containerInstances": [{"...": true, "pendingTasksCount": 2, "runningTasksCount": 0,
            "remainingResources": [
            {"name": "CPU", "type": "INTEGER", "integerValue": 768, "longValue": 0, "doubleValue": 0.0},
            {"name": "MEMORY", "type": "INTEGER", "integerValue": 2560, "longValue": 0, "doubleValue": 0.0},
            {"name": "PORTS", "type": "STRINGSET", "stringSetValue": ["22", "2375", "8080"],
                "integerValue": 0, "longValue": 0, "doubleValue": 0.0},
            {"name": "PORTS_UDP", "type": "STRINGSET", "stringSetValue": [],
                "integerValue": 0, "longValue": 0, "doubleValue": 0.0}]}]}"#,
    );
    wharf.check(
        r#"RunTask {"taskDefinition": "app", "overrides": {"cpu": "1 vCPU", "memory": "9000"}}"#,
        r#"{"tasks": [], "failures": [{"...": true, "reason": "RESOURCE:CPU"}, {"...": true, "reason": "RESOURCE:CPU"}]}"#,
    );
    wharf.check(
        r#"RunTask {"taskDefinition": "app", "overrides": {"cpu": "1", "memory": "9000"}}"#,
        r#"{"tasks": [], "failures":
            [{"...": true, "reason": "RESOURCE:MEMORY"}, {"...": true, "reason": "RESOURCE:MEMORY"}]}"#,
    );
}

#[test]
fn what_keeps_an_instance_out() {
    let mut wharf = wharf(0);
    wharf.check(
        r#"RunTask {"taskDefinition": "web"}"#,
        "InvalidParameterException: No Container Instances were found in your cluster.",
    );
    let arn = agent::join(&mut wharf, 1);
    agent::disconnect(&mut wharf, 1);
    wharf.check(
        r#"RunTask {"taskDefinition": "web"}"#,
        &format!(r#"{{"tasks": [], "failures": [{{"arn": "{arn}", "reason": "AGENT"}}]}}"#),
    );
    agent::connect(&mut wharf, 2, &arn);
    wharf.check(
        r#"RegisterTaskDefinition {"family": "gpu", "containerDefinitions":
            [{"name": "g", "image": "g", "memory": 8, "logConfiguration": {"logDriver": "splunk",
            "options": {"splunk-token": "t", "splunk-url": "u"}}}]}"#,
        r#"{"...": true}"#,
    );
    wharf.check(
        r#"RunTask {"taskDefinition": "gpu"}"#,
        &format!(r#"{{"tasks": [], "failures": [{{"arn": "{arn}", "reason": "ATTRIBUTE"}}]}}"#),
    );
    wharf.check(
        r#"RunTask {"taskDefinition": "web", "launchType": "EXTERNAL"}"#,
        &format!(r#"{{"tasks": [], "failures": [{{"arn": "{arn}", "reason": "ATTRIBUTE"}}]}}"#),
    );
    wharf.check(
        &format!(
            r#"UpdateContainerInstancesState {{"containerInstances": ["{arn}"], "status": "DRAINING"}}"#
        ),
        r#"{"...": true, "failures": []}"#,
    );
    wharf.check(
        r#"RunTask {"taskDefinition": "web"}"#,
        "InvalidParameterException: No Container Instances were found in your cluster.",
    );
    // StartTask names its instance, which may be draining.
    wharf.check(
        &format!(r#"StartTask {{"taskDefinition": "web", "containerInstances": ["{arn}"]}}"#),
        &format!(r#"{{"failures": [], "tasks": [{{"...": true, "containerInstanceArn": "{arn}"}}]}}"#),
    );
}

#[test]
fn a_client_token_makes_a_call_happen_once() {
    let mut wharf = wharf(1);
    let request = r#"RunTask {"taskDefinition": "app", "clientToken": "once"}"#;
    let (first, messages) = wharf.call_and_listen(request);
    let first = first.expect("placed");
    assert_eq!(agent::payloads(&messages).len(), 1);
    let (again, messages) = wharf.call_and_listen(request);
    assert_eq!(again.expect("the same"), first);
    assert!(messages.is_empty());
    let arn = text(&first["tasks"][0]["taskArn"]);
    wharf.check(
        r#"RunTask {"taskDefinition": "app", "count": 2, "clientToken": "once"}"#,
        "ConflictException: The specified client token was used before with other parameters.",
    );
    assert_eq!(wharf.state().tasks.len(), 1, "{arn}");
    wharf.restart_with(Vec::new());
    let again = wharf.call(request).expect("known after a restart");
    assert_eq!(again["tasks"][0]["taskArn"], first["tasks"][0]["taskArn"]);
    // Nothing was placed: the token is as good as new.
    let nowhere = r#"RunTask {"taskDefinition": "app", "clientToken": "later"}"#;
    wharf.check(nowhere, r#"{"tasks": [], "failures": [{"...": true, "reason": "AGENT"}]}"#);
    let instance = text(&first["tasks"][0]["containerInstanceArn"]);
    agent::connect(&mut wharf, 9, &instance);
    wharf.check(nowhere, r#"{"tasks": [{"...": true}], "failures": []}"#);
}

#[test]
fn tags_come_from_the_call_the_definition_and_ecs() {
    let mut wharf = wharf(1);
    wharf.check(
        r#"RunTask {"taskDefinition": "web", "propagateTags": "TASK_DEFINITION", "enableECSManagedTags": true,
            "tags": [{"key": "own", "value": "1"}]}"#,
        r#"{"failures": [], "tasks": [{"...": true, "tags": [{"key": "own", "value": "1"},
            {"key": "from", "value": "definition"}, {"key": "aws:ecs:clusterName", "value": "default"}]}]}"#,
    );
    wharf.check(
        r#"RunTask {"taskDefinition": "app", "propagateTags": "SERVICE"}"#,
        "InvalidParameterException: Tags can only be propagated from the task definition to a standalone task.",
    );
}

#[test]
fn one_instance_each() {
    let mut wharf = wharf(2);
    let request = r#"RunTask {"taskDefinition": "app", "count": 3, "overrides": {"cpu": "1", "memory": "4"},
        "placementConstraints": [{"type": "distinctInstance"}]}"#;
    let reply = wharf.call(request).expect("partly placed");
    let tasks = reply["tasks"].as_array().expect("tasks");
    assert_eq!(tasks.len(), 2);
    assert_ne!(tasks[0]["containerInstanceArn"], tasks[1]["containerInstanceArn"]);
    assert_eq!(reply["failures"][0]["reason"], "DistinctInstance placement constraint unsatisfied.");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn what_a_call_must_not_say() {
    let mut wharf = wharf(1);
    let network = r#""networkConfiguration": {"awsvpcConfiguration": {"subnets": ["s-1"]}}"#;
    wharf.check(
        r#"RegisterTaskDefinition {"family": "vpc", "networkMode": "awsvpc",
            "containerDefinitions": [{"name": "v", "image": "v", "memory": 8}]}"#,
        r#"{"...": true}"#,
    );
    let cases = [
        (
            r#""taskDefinition": "web", "cluster": "nowhere""#.to_owned(),
            "ClusterNotFoundException: Cluster not found.",
        ),
        (r#""taskDefinition": "none""#.to_owned(), "ClientException: TaskDefinition not found."),
        (
            r#""taskDefinition": "web", "count": 11"#.to_owned(),
            "InvalidParameterException: count must be between 1 and 10.",
        ),
        (
            r#""taskDefinition": "web", "count": 0"#.to_owned(),
            "InvalidParameterException: count must be between 1 and 10.",
        ),
        (
            r#""taskDefinition": "web", "launchType": "EC2", "capacityProviderStrategy": [{"capacityProvider": "c"}]"#
                .to_owned(),
            "InvalidParameterException: Specifying both a launch type and capacity provider strategy is not \
             supported. Remove one and try again.",
        ),
        (
            r#""taskDefinition": "web", "capacityProviderStrategy": [{"capacityProvider": "c"}]"#.to_owned(),
            "UnsupportedFeatureException: Capacity provider strategies are not available in this version of Wharf.",
        ),
        (
            r#""taskDefinition": "web", "launchType": "FARGATE""#.to_owned(),
            "InvalidParameterException: Task definition does not support launch_type FARGATE.",
        ),
        (
            format!(r#""taskDefinition": "web", {network}"#),
            "InvalidParameterException: Network Configuration is not valid for the given networkMode of this task \
             definition.",
        ),
        (
            r#""taskDefinition": "vpc""#.to_owned(),
            "InvalidParameterException: Network Configuration must be provided when networkMode 'awsvpc' is \
             specified.",
        ),
        (
            r#""taskDefinition": "vpc", "networkConfiguration": {"awsvpcConfiguration": {"subnets": []}}"#
                .to_owned(),
            "InvalidParameterException: subnets can not be empty.",
        ),
        (
            format!(r#""taskDefinition": "vpc", {network}"#),
            "UnsupportedFeatureException: The network mode awsvpc is not available in this version of Wharf.",
        ),
        (
            r#""taskDefinition": "web", "overrides": {"containerOverrides": [{"name": "X"}]}"#.to_owned(),
            "InvalidParameterException: Override for container named X is not a container in the TaskDefinition.",
        ),
        (
            r#""taskDefinition": "web", "startedBy": "a b""#.to_owned(),
            "InvalidParameterException: startedBy must be up to 128 letters, numbers, hyphens, underscores and \
             slashes.",
        ),
        (
            r#""taskDefinition": "web", "placementConstraints": [{"type": "memberOf", "expression": "x"}]"#
                .to_owned(),
            "UnsupportedFeatureException: Placement constraints of type memberOf are not available in this version \
             of Wharf.",
        ),
    ];
    for (body, expected) in cases {
        wharf.check(&format!("RunTask {{{body}}}"), expected);
    }
    assert!(wharf.state().tasks.is_empty());
    let long = "x".repeat(9000);
    wharf.check(
        &format!(
            r#"RunTask {{"taskDefinition": "web", "overrides": {{"containerOverrides":
                [{{"name": "web", "command": ["{long}"]}}]}}}}"#
        ),
        "InvalidParameterException: Overrides can have at most 8192 characters.",
    );
}

#[test]
fn start_task_tells_of_each_instance() {
    let mut wharf = wharf(1);
    let there = wharf.call("ListContainerInstances {}").expect("a list");
    let there = text(&there["containerInstanceArns"][0]);
    let gone = agent::register(&mut wharf);
    wharf.check(
        &format!(r#"DeregisterContainerInstance {{"containerInstance": "{gone}"}}"#),
        r#"{"...": true}"#,
    );
    let idle = agent::register(&mut wharf);
    let unknown =
        "arn:aws:ecs:us-east-1:123456789012:container-instance/default/00000000000000000000000000000001";
    wharf.check(
        &format!(
            r#"StartTask {{"taskDefinition": "web", "containerInstances":
                ["{there}", "{gone}", "{idle}", "00000000000000000000000000000001"]}}"#
        ),
        &format!(
            r#"{{"tasks": [{{"...": true, "containerInstanceArn": "{there}"}}], "failures": [
                {{"arn": "{gone}", "reason": "INACTIVE"}}, {{"arn": "{idle}", "reason": "AGENT"}},
                {{"arn": "{unknown}", "reason": "MISSING"}}]}}"#
        ),
    );
    wharf.check(
        &format!(r#"StartTask {{"taskDefinition": "web", "containerInstances": ["{there}"]}}"#),
        &format!(r#"{{"tasks": [], "failures": [{{"arn": "{there}", "reason": "RESOURCE:PORTS"}}]}}"#),
    );
    wharf.check(
        r#"StartTask {"taskDefinition": "web", "containerInstances": []}"#,
        "InvalidParameterException: Container instances cannot be empty.",
    );
}
