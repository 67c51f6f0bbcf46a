//! The life of tasks: what agents report, how tasks stop, how they are listed, and when they are forgotten.

use crate::agent;
use crate::harness::Wharf;
use std::time::Duration;

/// A connected instance, and the definitions `app`, `pair` and `host`.
fn wharf() -> Wharf {
    let mut wharf = Wharf::new();
    wharf.check("CreateCluster {}", r#"{"...": true}"#);
    agent::join(&mut wharf, 1);
    for body in [
        r#"{"family": "app", "containerDefinitions": [{"name": "a", "image": "a", "memory": 64,
            "portMappings": [{"containerPort": 80}]}]}"#,
        r#"{"family": "pair", "containerDefinitions": [{"name": "a", "image": "a", "memory": 64},
            {"name": "b", "image": "b", "memory": 64, "essential": false}]}"#,
        r#"{"family": "host", "networkMode": "host", "containerDefinitions": [{"name": "a", "image": "a",
            "memory": 64, "portMappings": [{"containerPort": 9000, "protocol": "udp"}]}]}"#,
        r#"{"family": "role", "taskRoleArn": "arn:aws:iam::123456789012:role/path/app",
            "containerDefinitions": [{"name": "a", "image": "a", "memory": 64}]}"#,
    ] {
        wharf.check(&format!("RegisterTaskDefinition {body}"), r#"{"...": true}"#);
    }
    wharf
}

fn run(wharf: &mut Wharf, family: &str) -> String {
    agent::run(wharf, &format!(r#"{{"taskDefinition": "{family}"}}"#)).0.remove(0)
}

/// The agent reports; `rest` are further members.
#[track_caller]
fn report(wharf: &mut Wharf, task: &str, status: &str, rest: &str) {
    wharf.check(
        &format!(
            r#"SubmitTaskStateChange {{"cluster": "anything", "task": "{task}", "status": "{status}"{rest}}}"#
        ),
        r#"{"acknowledgment": "ACK"}"#,
    );
}

#[track_caller]
fn is(wharf: &mut Wharf, task: &str, expected: &str) {
    wharf.check(
        &format!(r#"DescribeTasks {{"tasks": ["{task}"]}}"#),
        &format!(r#"{{"failures": [], "tasks": [{{"...": true, {expected}}}]}}"#),
    );
}

#[test]
fn from_pending_to_stopped() {
    let mut wharf = wharf();
    let task = run(&mut wharf, "app");
    wharf.now.0 += 1000;
    let running = r#", "pullStartedAt": 1700000000.25, "containers": [{"containerName": "a", "status": "RUNNING",
        "runtimeId": "r1", "imageDigest": "sha256:1", "networkBindings":
        [{"bindIP": "0.0.0.0", "containerPort": 80, "hostPort": 32768, "protocol": "tcp"}]}]"#;
    report(&mut wharf, &task, "RUNNING", running);
    is(
        &mut wharf,
        &task,
        r#""lastStatus": "RUNNING", "desiredStatus": "RUNNING", "startedAt": 1700000001, "version": 2,
            "pullStartedAt": 1700000000.25, "containers": [{"...": true, "lastStatus": "RUNNING", "runtimeId": "r1",
            "imageDigest": "sha256:1", "networkBindings":
            [{"bindIP": "0.0.0.0", "containerPort": 80, "hostPort": 32768, "protocol": "tcp"}]}]"#,
    );
    // The dynamic port is in use from now on.
    let usage = wharf.state().indexes.usage.values().next().expect("one instance is used").clone();
    assert_eq!((usage.running, usage.pending, usage.ports.len()), (1, 0, 1));
    // The same again changes nothing, nor does what is older.
    report(&mut wharf, &task, "RUNNING", running);
    report(&mut wharf, &task, "PENDING", "");
    is(&mut wharf, &task, r#""lastStatus": "RUNNING", "version": 2"#);
    wharf.now.0 += 1000;
    report(
        &mut wharf,
        &task,
        "STOPPED",
        r#", "executionStoppedAt": 1700000001.5, "containers":
            [{"containerName": "a", "status": "STOPPED", "exitCode": 3}]"#,
    );
    is(
        &mut wharf,
        &task,
        r#""lastStatus": "STOPPED", "desiredStatus": "STOPPED", "stopCode": "EssentialContainerExited",
            "stoppedReason": "Essential container in task exited", "stoppingAt": 1700000002, "stoppedAt": 1700000002,
            "executionStoppedAt": 1700000001.5, "version": 3, "connectivity": "CONNECTED",
            "containers": [{"...": true, "lastStatus": "STOPPED", "exitCode": 3, "runtimeId": "r1"}]"#,
    );
    assert!(wharf.state().indexes.usage.is_empty());
    report(&mut wharf, &task, "RUNNING", running);
    is(&mut wharf, &task, r#""lastStatus": "STOPPED", "version": 3"#);
    // Described for an hour, and forgotten after it.
    wharf.pass(Duration::from_secs(3599));
    is(&mut wharf, &task, r#""lastStatus": "STOPPED""#);
    wharf.pass(Duration::from_secs(1));
    wharf.check(
        &format!(r#"DescribeTasks {{"tasks": ["{task}"]}}"#),
        &format!(r#"{{"tasks": [], "failures": [{{"arn": "{task}", "reason": "MISSING"}}]}}"#),
    );
    wharf.check(
        &format!(r#"SubmitTaskStateChange {{"task": "{task}", "status": "STOPPED"}}"#),
        "InvalidParameterException: The referenced task was not found.",
    );
}

#[test]
fn why_a_task_stopped() {
    let mut wharf = wharf();
    let cases = [
        // Never ran: the container's error is the task's.
        (
            r#", "containers": [{"containerName": "a", "status": "STOPPED",
                "reason": "CannotPullContainerError: no such image"}]"#,
            "TaskFailedToStart",
            "CannotPullContainerError: no such image",
        ),
        ("", "TaskFailedToStart", "Task failed to start"),
        // Ended so fast that RUNNING was never reported.
        (
            r#", "containers": [{"containerName": "a", "status": "STOPPED", "exitCode": 0, "runtimeId": "r"}]"#,
            "EssentialContainerExited",
            "Essential container in task exited",
        ),
        (
            r#", "containers": [{"containerName": "a", "status": "STOPPED", "exitCode": 137, "runtimeId": "r",
                "reason": "OutOfMemoryError: Container killed due to memory usage"}]"#,
            "EssentialContainerExited",
            "Essential container in task exited",
        ),
        (
            r#", "reason": "ResourceInitializationError: no volume""#,
            "TaskFailedToStart",
            "ResourceInitializationError: no volume",
        ),
    ];
    for (rest, code, reason) in cases {
        let task = run(&mut wharf, "app");
        report(&mut wharf, &task, "STOPPED", rest);
        is(
            &mut wharf,
            &task,
            &format!(r#""lastStatus": "STOPPED", "stopCode": "{code}", "stoppedReason": "{reason}""#),
        );
    }
}

#[test]
fn a_stop_by_its_user() {
    let mut wharf = wharf();
    let task = run(&mut wharf, "pair");
    report(&mut wharf, &task, "RUNNING", "");
    wharf.check(
        &format!(r#"StopTask {{"task": "{task}", "reason": "enough"}}"#),
        r#"{"task": {"...": true, "lastStatus": "RUNNING", "desiredStatus": "STOPPED", "stopCode": "UserInitiated",
            "stoppedReason": "enough", "stoppingAt": 1700000000}}"#,
    );
    let usage = wharf.state().indexes.usage.values().next().expect("still used").clone();
    assert_eq!((usage.running, usage.pending, usage.tasks), (0, 0, 1));
    // The first reason stays, also when the agent has one of its own.
    wharf.check(
        &format!(r#"StopTask {{"task": "{task}"}}"#),
        r#"{"task": {"...": true, "stoppedReason": "enough", "version": 3}}"#,
    );
    report(&mut wharf, &task, "STOPPED", r#", "reason": "agent's""#);
    is(
        &mut wharf,
        &task,
        r#""lastStatus": "STOPPED", "stopCode": "UserInitiated", "stoppedReason": "enough""#,
    );
    wharf.check(
        &format!(r#"StopTask {{"task": "{task}"}}"#),
        r#"{"task": {"...": true, "lastStatus": "STOPPED"}}"#,
    );
    let other = run(&mut wharf, "pair");
    wharf.check(
        &format!(r#"StopTask {{"task": "{}"}}"#, agent::id(&other)),
        r#"{"task": {"...": true, "stoppedReason": "Task stopped by user"}}"#,
    );
    wharf.check(
        r#"StopTask {"task": "00000000000000000000000000000001"}"#,
        "InvalidParameterException: The referenced task was not found.",
    );
    wharf.check(
        r#"StopTask {"task": "x"}"#,
        "InvalidParameterException: taskId length should be one of [32,36]",
    );
}

#[test]
fn containers_report_alone_and_on_the_host_s_network() {
    let mut wharf = wharf();
    let task = run(&mut wharf, "host");
    wharf.check(
        &format!(
            r#"SubmitContainerStateChange {{"task": "{task}", "containerName": "a", "status": "RUNNING",
                "runtimeId": "r"}}"#
        ),
        r#"{"acknowledgment": "ACK"}"#,
    );
    is(
        &mut wharf,
        &task,
        r#""lastStatus": "PENDING", "containers": [{"...": true, "lastStatus": "RUNNING", "networkBindings":
            [{"bindIP": "0.0.0.0", "containerPort": 9000, "hostPort": 9000, "protocol": "udp"}]}]"#,
    );
    wharf.check(
        r#"SubmitAttachmentStateChanges {"attachments": [{"attachmentArn": "arn:x", "status": "ATTACHED"}]}"#,
        "InvalidParameterException: The attachment arn:x was not found.",
    );
}

#[test]
fn lists_by_every_filter_and_page() {
    let mut wharf = wharf();
    let arn = agent::join(&mut wharf, 2);
    let one = run(&mut wharf, "app");
    let (two, _) = agent::run(&mut wharf, r#"{"taskDefinition": "pair", "startedBy": "cron", "count": 2}"#);
    let three = agent::text(
        &wharf
            .call(&format!(r#"StartTask {{"taskDefinition": "app", "containerInstances": ["{arn}"]}}"#))
            .expect("started")["tasks"][0]["taskArn"],
    );
    wharf.check(&format!(r#"StopTask {{"task": "{one}"}}"#), r#"{"...": true}"#);
    let list = |wharf: &mut Wharf, filter: &str| {
        let reply = wharf.call(&format!("ListTasks {{{filter}}}")).expect("a list");
        reply["taskArns"].as_array().expect("ARNs").iter().map(agent::text).collect::<Vec<_>>()
    };
    let running = [two[0].clone(), two[1].clone(), three.clone()];
    assert_eq!(list(&mut wharf, ""), running);
    assert_eq!(list(&mut wharf, r#""desiredStatus": "STOPPED""#), std::slice::from_ref(&one));
    assert!(list(&mut wharf, r#""desiredStatus": "PENDING""#).is_empty());
    assert_eq!(list(&mut wharf, r#""family": "app""#), std::slice::from_ref(&three));
    assert_eq!(list(&mut wharf, r#""startedBy": "cron""#), two);
    assert_eq!(list(&mut wharf, &format!(r#""containerInstance": "{arn}""#)), [three]);
    assert_eq!(list(&mut wharf, r#""launchType": "EC2""#), running);
    assert!(list(&mut wharf, r#""launchType": "FARGATE""#).is_empty());
    let first = wharf.call(r#"ListTasks {"maxResults": 2}"#).expect("a page");
    let token = agent::text(&first["nextToken"]);
    assert_eq!(list(&mut wharf, &format!(r#""maxResults": 2, "nextToken": "{token}""#)), running[2..]);
    wharf.check(
        &format!(r#"ListTasks {{"family": "app", "nextToken": "{token}"}}"#),
        "InvalidParameterException: Invalid token.",
    );
    wharf.check(
        r#"ListTasks {"family": "app", "startedBy": "cron"}"#,
        "InvalidParameterException: Cannot specify startedBy together with other filters.",
    );
    wharf.check(r#"ListTasks {"serviceName": "web"}"#, "ServiceNotFoundException: Service not found: web");
    wharf.check(r#"DescribeTasks {"tasks": []}"#, "InvalidParameterException: Tasks cannot be empty.");
}

#[test]
fn only_tasks_of_services_can_be_protected() {
    let mut wharf = wharf();
    let task = run(&mut wharf, "app");
    let missing = "00000000000000000000000000000001";
    let expected = format!(
        r#"{{"protectedTasks": [], "failures": [{{"arn": "{task}", "reason": "TASK_NOT_VALID"}},
            {{"arn": "arn:aws:ecs:us-east-1:123456789012:task/default/{missing}", "reason": "MISSING"}}]}}"#
    );
    wharf.check(
        &format!(
            r#"UpdateTaskProtection {{"cluster": "default", "tasks": ["{task}", "{missing}"], "protectionEnabled": true}}"#
        ),
        &expected,
    );
    wharf.check(
        &format!(r#"GetTaskProtection {{"cluster": "default", "tasks": ["{task}", "{missing}"]}}"#),
        &expected,
    );
    wharf.check(
        &format!(
            r#"UpdateTaskProtection {{"cluster": "default", "tasks": ["{task}"], "protectionEnabled": true,
                "expiresInMinutes": 3000}}"#
        ),
        "InvalidParameterException: expiresInMinutes must be between 1 and 2880.",
    );
}

#[test]
fn a_role_s_credentials_live_as_long_as_its_task() {
    let mut wharf = wharf();
    let task = run(&mut wharf, "role");
    report(&mut wharf, &task, "RUNNING", "");
    let keys = |wharf: &Wharf| wharf.state().access_keys.values().cloned().collect::<Vec<_>>();
    let first = keys(&wharf);
    assert_eq!(first.len(), 1);
    let id = agent::id(&task);
    assert_eq!(first[0].principal, format!("arn:aws:sts::123456789012:assumed-role/app/{id}"));
    assert!(first[0].id.starts_with("ASIA") && first[0].session_token.is_some());
    // Renewed before their end, when both are good for a while.
    wharf.pass(Duration::from_secs(6 * 3600 - 15 * 60));
    assert_eq!(keys(&wharf).len(), 2);
    wharf.pass(Duration::from_secs(15 * 60));
    let second = keys(&wharf);
    assert_eq!(second.len(), 1);
    assert_ne!(second[0].id, first[0].id);
    report(&mut wharf, &task, "STOPPED", "");
    wharf.pass(Duration::from_secs(300));
    assert!(keys(&wharf).is_empty());
}
