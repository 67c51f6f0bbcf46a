//! Container instances: registration and again, draining, deregistration, lists.

use crate::agent::{self, REGISTER, text};
use crate::harness::Wharf;
use serde_json::Value;
use std::time::Duration;

fn wharf() -> Wharf {
    let mut wharf = Wharf::new();
    wharf.check("CreateCluster {}", r#"{"...": true}"#);
    wharf.check(
        r#"RegisterTaskDefinition {"family": "app", "containerDefinitions": [{"name": "a", "image": "a", "memory": 64}]}"#,
        r#"{"...": true}"#,
    );
    wharf
}

fn attributes(instance: &Value) -> Vec<(String, Option<String>)> {
    let all = instance["attributes"].as_array().expect("attributes");
    all.iter().map(|a| (text(&a["name"]), a["value"].as_str().map(str::to_owned))).collect()
}

#[test]
fn an_instance_as_it_registers() {
    let mut wharf = wharf();
    let reply = wharf.call(REGISTER).expect("registered");
    let instance = &reply["containerInstance"];
    assert_eq!(instance["status"], "ACTIVE");
    assert_eq!(instance["agentConnected"], false);
    assert_eq!(instance["version"], 1);
    assert_eq!(instance["registeredResources"], instance["remainingResources"]);
    assert_eq!(instance["registeredResources"][1]["integerValue"], 4096);
    let attributes = attributes(instance);
    let has = |name: &str, value: Option<&str>| {
        assert!(attributes.contains(&(name.to_owned(), value.map(str::to_owned))), "{name} {value:?}");
    };
    has("stack", Some("prod"));
    has("ecs.os-type", Some("linux"));
    has("ecs.availability-zone", Some("us-east-1a"));
    has("com.amazonaws.ecs.capability.ecr-auth", None);
    assert!(attributes.is_sorted(), "{attributes:?}");
}

#[test]
fn the_identity_document_tells_of_the_machine() {
    let mut wharf = wharf();
    let reply = wharf.call(
        r#"RegisterContainerInstance {"instanceIdentityDocument": "{\"instanceId\":\"i-1\",\"instanceType\":\"m5.large\",\"imageId\":\"ami-1\",\"availabilityZone\":\"us-east-1c\",\"architecture\":\"arm64\",\"version\":\"x\"}"}"#,
    );
    let instance = &reply.expect("registered")["containerInstance"];
    assert_eq!(instance["ec2InstanceId"], "i-1");
    let attributes = attributes(instance);
    for (name, value) in
        [("ecs.availability-zone", "us-east-1c"), ("ecs.instance-type", "m5.large"), ("ecs.ami-id", "ami-1")]
    {
        assert!(attributes.contains(&(name.to_owned(), Some(value.to_owned()))), "{name}");
    }
    let error = wharf
        .call(r#"RegisterContainerInstance {"instanceIdentityDocument": "{"}"#)
        .expect_err("no document");
    assert!(error.starts_with("ClientException: The instance identity document cannot be read"), "{error}");
}

#[test]
fn an_agent_that_comes_back_is_the_same_instance() {
    let mut wharf = wharf();
    let arn = agent::register(&mut wharf);
    let again = |resources: &str| {
        format!(
            r#"RegisterContainerInstance {{"containerInstanceArn": "{arn}", "totalResources": [
                {{"name": "CPU", "integerValue": 2048}}, {{"name": "MEMORY", "integerValue": {resources}}}],
                "attributes": [{{"name": "ecs.capability.new"}}]}}"#
        )
    };
    let reply = wharf.call(&again("4096")).expect("registered again");
    assert_eq!(text(&reply["containerInstance"]["containerInstanceArn"]), arn);
    let attributes = attributes(&reply["containerInstance"]);
    // The agent sends its operator's attributes only once, and its own each time.
    assert!(attributes.iter().any(|(name, _)| name == "stack"));
    assert!(attributes.iter().any(|(name, _)| name == "ecs.capability.new"));
    assert!(!attributes.iter().any(|(name, _)| name == "com.amazonaws.ecs.capability.ecr-auth"));
    assert_eq!(wharf.state().container_instances.len(), 1);
    let error = wharf.call(&again("2048")).expect_err("another machine");
    assert!(
        error.starts_with("ClientException: Container instance type changes are not supported."),
        "{error}"
    );
    wharf.check(
        &format!(r#"DeregisterContainerInstance {{"containerInstance": "{arn}"}}"#),
        r#"{"...": true}"#,
    );
    let id = agent::id(&arn);
    let expected = format!("ClientException: Container instance {id} is inactive.");
    wharf.check(&again("4096"), &expected);
    wharf.pass(Duration::from_secs(2 * 3600));
    assert!(wharf.state().container_instances.is_empty());
    wharf.check(&again("4096"), &expected);
}

#[test]
fn nothing_registers_where_no_cluster_is() {
    let mut wharf = wharf();
    wharf.check(
        r#"RegisterContainerInstance {"cluster": "nowhere"}"#,
        "ClusterNotFoundException: Cluster not found.",
    );
    assert!(wharf.state().container_instances.is_empty());
    assert_eq!(wharf.state().clusters.len(), 1);
}

#[test]
fn deregistration_spares_running_tasks_unless_it_is_forced() {
    let mut wharf = wharf();
    let arn = agent::join(&mut wharf, 1);
    let (tasks, _) = agent::run(&mut wharf, r#"{"taskDefinition": "app"}"#);
    wharf.check(
        &format!(r#"DeregisterContainerInstance {{"containerInstance": "{arn}"}}"#),
        "InvalidParameterException: Found running tasks on the instance.",
    );
    let (reply, messages) = wharf.call_and_listen(&format!(
        r#"DeregisterContainerInstance {{"containerInstance": "{arn}", "force": true}}"#
    ));
    let instance = &reply.expect("deregistered")["containerInstance"];
    assert_eq!((&instance["status"], &instance["agentConnected"]), (&"INACTIVE".into(), &false.into()));
    assert_eq!(messages.len(), 1, "the connection is closed");
    assert_eq!(messages[0].frame.name(), "CloseMessage");
    wharf.check(
        &format!(r#"DescribeTasks {{"tasks": ["{}"]}}"#, tasks[0]),
        r#"{"failures": [], "tasks": [{"...": true, "lastStatus": "STOPPED", "desiredStatus": "STOPPED",
            "stopCode": "UserInitiated", "stoppedReason": "Container instance deregistration forced by user"}]}"#,
    );
    wharf.check("ListContainerInstances {}", r#"{"containerInstanceArns": []}"#);
    wharf.check(
        &format!(r#"DescribeContainerInstances {{"containerInstances": ["{arn}"]}}"#),
        r#"{"failures": [], "containerInstances": [{"...": true, "status": "INACTIVE", "runningTasksCount": 0}]}"#,
    );
    let id = agent::id(&arn);
    wharf.check(
        &format!(r#"DeregisterContainerInstance {{"containerInstance": "{id}"}}"#),
        &format!("InvalidParameterException: Referenced container instance {id} not found."),
    );
}

#[test]
fn draining_and_back() {
    let mut wharf = wharf();
    let (one, two) = (agent::register(&mut wharf), agent::register(&mut wharf));
    wharf.check(
        &format!(
            r#"UpdateContainerInstancesState {{"status": "DRAINING", "containerInstances":
                ["{one}", "00000000000000000000000000000009"]}}"#
        ),
        r#"{"containerInstances": [{"...": true, "status": "DRAINING", "version": 2}], "failures": [
            {"arn": "arn:aws:ecs:us-east-1:123456789012:container-instance/default/00000000000000000000000000000009",
            "reason": "MISSING"}]}"#,
    );
    let listed = |wharf: &mut Wharf, filter: &str| {
        let reply = wharf.call(&format!("ListContainerInstances {{{filter}}}")).expect("a list");
        reply["containerInstanceArns"].as_array().expect("ARNs").iter().map(text).collect::<Vec<_>>()
    };
    assert_eq!(listed(&mut wharf, r#""status": "DRAINING""#), std::slice::from_ref(&one));
    assert_eq!(listed(&mut wharf, r#""status": "ACTIVE""#), std::slice::from_ref(&two));
    assert_eq!(listed(&mut wharf, ""), [one.clone(), two.clone()]);
    assert_eq!(listed(&mut wharf, r#""maxResults": 1"#), std::slice::from_ref(&one));
    wharf.check(
        &format!(
            r#"UpdateContainerInstancesState {{"status": "REGISTERING", "containerInstances": ["{one}"]}}"#
        ),
        "InvalidParameterException: Container instance status should be one of [ACTIVE, DRAINING]",
    );
    let eleven = vec![format!("\"{one}\""); 11].join(",");
    wharf.check(
        &format!(r#"UpdateContainerInstancesState {{"status": "ACTIVE", "containerInstances": [{eleven}]}}"#),
        "InvalidParameterException: instanceIds can have at most 10 items.",
    );
    wharf.check(
        r#"ListContainerInstances {"filter": "attribute:stack == prod"}"#,
        "InvalidParameterException: A filter in the cluster query language is not available in this version of Wharf.",
    );
}

#[test]
fn where_agents_poll_and_that_nothing_updates_them() {
    let mut wharf = wharf();
    let arn = agent::register(&mut wharf);
    wharf.check(
        &format!(r#"DiscoverPollEndpoint {{"containerInstance": "{arn}"}}"#),
        r#"{"endpoint": "http://127.0.0.1:4566", "telemetryEndpoint": "http://127.0.0.1:4566"}"#,
    );
    wharf.check(
        &format!(r#"UpdateContainerAgent {{"containerInstance": "{arn}"}}"#),
        "NoUpdateAvailableException: There is no update available for your container agent.",
    );
    wharf.check(
        r#"DescribeContainerInstances {"containerInstances": ["short"]}"#,
        "InvalidParameterException: containerInstanceId length should be one of [32,36]",
    );
    wharf.check(
        r#"DescribeContainerInstances {"containerInstances":
            ["arn:aws:ecs:us-east-1:123456789012:container-instance/other/00000000000000000000000000000001"]}"#,
        "InvalidParameterException: Invalid identifier: Identifier is for cluster other. Your cluster is default",
    );
}
