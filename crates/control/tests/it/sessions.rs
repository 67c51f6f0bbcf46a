//! Agents' connections: what they are told, when again, and what they say.

use crate::agent::{self, acknowledge, connect, disconnect, join, payloads, run, say};
use crate::harness::Wharf;
use api::channel::{AcsMessage, TcsMessage};
use api::{acs, tcs};
use control::session::{ConnectionId, SessionEvent, admit};
use control::{Input, Message};
use std::time::Duration;

fn wharf() -> Wharf {
    let mut wharf = Wharf::new();
    wharf.check("CreateCluster {}", r#"{"...": true}"#);
    for body in [
        r#"{"family": "app", "containerDefinitions": [{"name": "a", "image": "a", "memory": 64,
            "healthCheck": {"command": ["CMD", "true"]}}]}"#,
        r#"{"family": "full", "taskRoleArn": "app", "executionRoleArn": "arn:aws:iam::123456789012:role/run",
            "cpu": "512", "memory": "256", "volumes": [{"name": "data", "host": {"sourcePath": "/srv"}}],
            "containerDefinitions": [{"name": "a", "image": "localhost:4566/app:1", "cpu": 10, "memory": 64,
            "memoryReservation": 32, "essential": true, "command": ["serve"], "entryPoint": ["/app"],
            "environment": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
            "portMappings": [{"containerPort": 80}, {"containerPort": 53, "hostPort": 5353, "protocol": "udp"}],
            "mountPoints": [{"sourceVolume": "data", "containerPath": "/data", "readOnly": true}],
            "user": "app", "workingDirectory": "/w", "ulimits": [{"name": "nofile", "softLimit": 1, "hardLimit": 2}],
            "healthCheck": {"command": ["CMD-SHELL", "true"], "interval": 10}, "stopTimeout": 5,
            "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "g",
                "awslogs-region": "us-east-1", "awslogs-stream-prefix": "p"}}}]}"#,
    ] {
        wharf.check(&format!("RegisterTaskDefinition {body}"), r#"{"...": true}"#);
    }
    wharf
}

fn manifest(messages: &[Message]) -> &acs::TaskManifestMessage {
    let found = messages.iter().find_map(|message| match &message.frame {
        AcsMessage::TaskManifestMessage(manifest) => Some(manifest),
        _ => None,
    });
    found.expect("a manifest")
}

fn payload(messages: &[Message]) -> &acs::PayloadMessage {
    let found = messages.iter().find_map(|message| match &message.frame {
        AcsMessage::PayloadMessage(payload) => Some(payload),
        _ => None,
    });
    found.expect("a payload")
}

/// Lets time pass to the next deadlines within it; what is sent meanwhile.
fn pass(wharf: &mut Wharf, time: Duration) -> Vec<Message> {
    let end = wharf.now.after(time);
    let mut messages = Vec::new();
    while let Some(at) = wharf.state().next_deadline().filter(|at| *at <= end) {
        wharf.now = at.max(wharf.now);
        messages.extend(wharf.step(Input::Timer).messages);
    }
    wharf.now = end;
    messages
}

#[test]
fn a_payload_says_everything() {
    let mut wharf = wharf();
    let instance = join(&mut wharf, 1);
    let (tasks, messages) = run(
        &mut wharf,
        r#"{"taskDefinition": "full", "overrides": {"containerOverrides": [{"name": "a", "command": ["other"],
            "environment": [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}], "cpu": 20}]}}"#,
    );
    let payload = payload(&messages);
    assert_eq!(payload.cluster_arn.as_deref(), Some("arn:aws:ecs:us-east-1:123456789012:cluster/default"));
    assert_eq!(payload.container_instance_arn.as_ref(), Some(&instance));
    let task = &payload.tasks.as_ref().expect("tasks")[0];
    assert_eq!((task.arn.as_ref(), task.desired_status.as_deref()), (Some(&tasks[0]), Some("RUNNING")));
    assert_eq!((task.family.as_deref(), task.version.as_deref()), (Some("full"), Some("1")));
    assert_eq!((task.cpu, task.memory), (Some(0.5), Some(256)));
    let role = task.role_credentials.as_ref().expect("a role");
    assert_eq!(role.role_arn.as_deref(), Some("arn:aws:iam::123456789012:role/app"));
    assert_eq!(role.expiration.as_deref(), Some("2023-11-15T04:13:20Z"));
    assert!(task.execution_role_credentials.is_some());
    let volume = &task.volumes.as_ref().expect("volumes")[0];
    assert_eq!(volume.host.as_ref().and_then(|h| h.source_path.as_deref()), Some("/srv"));
    let container = &task.containers.as_ref().expect("containers")[0];
    assert_eq!(container.command.as_deref(), Some(&["other".to_owned()][..]));
    assert_eq!((container.cpu, container.memory, container.essential), (Some(20), Some(64), Some(true)));
    let environment = container.environment.as_ref().expect("variables");
    let variables: Vec<_> = environment.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(variables, ["A=1", "AWS_EXECUTION_ENV=AWS_ECS_EC2", "B=3", "C=4"]);
    let ports: Vec<_> = container
        .port_mappings
        .iter()
        .flatten()
        .map(|p| (p.container_port, p.host_port, p.protocol))
        .collect();
    let (tcp, udp) = (Some(acs::TransportProtocol::Tcp), Some(acs::TransportProtocol::Udp));
    assert_eq!(ports, [(Some(80), Some(0), tcp), (Some(53), Some(5353), udp)]);
    let registry =
        container.registry_authentication.as_ref().and_then(|r| r.ecr_auth_data.as_ref()).expect("ours");
    assert_eq!(registry.endpoint_override.as_deref(), Some("http://127.0.0.1:4566"));
    assert_eq!(registry.use_execution_role, Some(true));
    assert_eq!(container.logs_auth_strategy, Some(acs::AuthStrategy::ExecutionRole));
    let docker = container.docker_config.as_ref().expect("documents");
    let json = |text: &Option<String>| -> serde_json::Value {
        serde_json::from_str(text.as_deref().expect("a document")).expect("JSON")
    };
    assert_eq!(
        json(&docker.config),
        serde_json::json!({"User": "app", "WorkingDir": "/w", "Healthcheck": {"Test": ["CMD-SHELL", "true"],
            "Interval": 10_000_000_000_i64, "Timeout": 5_000_000_000_i64, "StartPeriod": 0, "Retries": 3}})
    );
    let id = agent::id(&tasks[0]);
    assert_eq!(
        json(&docker.host_config),
        serde_json::json!({"NetworkMode": "bridge", "MemoryReservation": 33_554_432,
            "Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}], "LogConfig": {"Type": "awslogs", "Config": {
            "awslogs-group": "g", "awslogs-region": "us-east-1", "awslogs-stream": format!("p/a/{id}"),
            "awslogs-endpoint": "http://127.0.0.1:4566"}}})
    );
}

#[test]
fn what_was_not_acknowledged_comes_again_and_not_for_ever() {
    let mut wharf = wharf();
    join(&mut wharf, 1);
    let (tasks, messages) = run(&mut wharf, r#"{"taskDefinition": "app"}"#);
    let mut last = payloads(&messages)[0].0.clone();
    let again = pass(&mut wharf, Duration::from_secs(15));
    assert_eq!(payloads(&again).len(), 1);
    assert_eq!(payloads(&again)[0].1, tasks[0]);
    assert!(payloads(&again)[0].0.parse::<u64>().expect("a number") > last.parse().expect("a number"));
    let more = pass(&mut wharf, Duration::from_secs(500));
    assert_eq!(payloads(&more).len(), 3, "five times in all");
    assert_eq!(wharf.state().sessions.given_up(), 1);
    assert_eq!(wharf.state().sessions.unanswered(), 0);
    // The slow comparison tries once more; acknowledged, it is at rest.
    let later = pass(&mut wharf, Duration::from_secs(90));
    last.clone_from(&payloads(&later)[0].0);
    acknowledge(&mut wharf, 1, &last);
    assert!(payloads(&pass(&mut wharf, Duration::from_secs(4 * 3600))).is_empty());
}

#[test]
fn a_new_connection_is_told_what_its_agent_may_not_know() {
    let mut wharf = wharf();
    let instance = join(&mut wharf, 1);
    let (tasks, _) = run(&mut wharf, r#"{"taskDefinition": "app", "count": 3}"#);
    for task in &tasks[1..] {
        let report = format!(r#"SubmitTaskStateChange {{"task": "{task}", "status": "RUNNING"}}"#);
        wharf.check(&report, r#"{"...": true}"#);
    }
    disconnect(&mut wharf, 1);
    wharf.check(&format!(r#"StopTask {{"task": "{}"}}"#, tasks[2]), r#"{"...": true}"#);
    wharf.check(
        &format!(r#"DescribeTasks {{"tasks": ["{}"]}}"#, tasks[0]),
        r#"{"...": true, "tasks": [{"...": true, "connectivity": "DISCONNECTED"}]}"#,
    );
    wharf.restart_with(Vec::new());
    let messages = connect(&mut wharf, 2, &instance);
    let told: Vec<_> = payloads(&messages).into_iter().map(|(_, arn, desired)| (arn, desired)).collect();
    assert_eq!(told, [(tasks[2].clone(), "STOPPED".to_owned()), (tasks[0].clone(), "RUNNING".to_owned())]);
    let listed = manifest(&messages).tasks.as_ref().map_or(0, Vec::len);
    assert_eq!(listed, 3);
    // Numbers go on where the last process set them aside.
    assert!(manifest(&messages).timeline > Some(1000));
}

#[test]
fn one_connection_an_instance() {
    let mut wharf = wharf();
    let instance = join(&mut wharf, 1);
    let messages = connect(&mut wharf, 2, &instance);
    assert_eq!((messages[0].connection, messages[0].frame.name()), (ConnectionId(1), "CloseMessage"));
    disconnect(&mut wharf, 1);
    assert!(wharf.state().sessions.is_connected(agent::id(&instance)), "the older one says nothing any more");
    let (_, messages) = run(&mut wharf, r#"{"taskDefinition": "app"}"#);
    assert_eq!(messages[0].connection, ConnectionId(2));
    disconnect(&mut wharf, 2);
    assert!(!wharf.state().sessions.is_connected(agent::id(&instance)));
    let scope = crate::harness::scope();
    assert_eq!(admit(wharf.state(), scope, agent::id(&instance)), Ok(()));
    wharf.check(
        &format!(r#"DeregisterContainerInstance {{"containerInstance": "{instance}", "force": true}}"#),
        r#"{"...": true}"#,
    );
    let refused = |wharf: &Wharf, id| admit(wharf.state(), scope, id).expect_err("refused").name;
    assert_eq!(refused(&wharf, agent::id(&instance)), "InactiveInstanceException");
    assert_eq!(refused(&wharf, control::state::ecs::InstanceId(7)), "InvalidInstanceException");
    assert_eq!(connect(&mut wharf, 3, &instance)[0].frame.name(), "CloseMessage");
}

#[test]
fn tasks_that_nobody_wants_are_stopped() {
    let mut wharf = wharf();
    let instance = join(&mut wharf, 1);
    let (tasks, _) = run(&mut wharf, r#"{"taskDefinition": "app"}"#);
    let messages = connect(&mut wharf, 2, &instance);
    let id = manifest(&messages).message_id.clone();
    let candidate = |arn: &str| acs::TaskIdentifier {
        task_arn: Some(arn.to_owned()),
        desired_status: Some("STOPPED".to_owned()),
        ..Default::default()
    };
    let unknown = "arn:aws:ecs:us-east-1:123456789012:task/default/00000000000000000000000000000001";
    let message = |id: Option<String>| acs::TaskStopVerificationMessage {
        message_id: id,
        stop_candidates: Some(vec![candidate(&tasks[0]), candidate(unknown)]),
    };
    assert!(say(&mut wharf, 2, message(Some("other".to_owned()))).is_empty());
    let answer = say(&mut wharf, 2, message(id));
    let AcsMessage::TaskStopVerificationAck(ack) = &answer[0].frame else { panic!("{answer:?}") };
    let stops: Vec<_> = ack.stop_tasks.iter().flatten().filter_map(|t| t.task_arn.as_deref()).collect();
    assert_eq!(stops, [unknown]);
}

#[test]
fn credentials_are_renewed_and_sent_at_every_connection() {
    let mut wharf = wharf();
    let instance = join(&mut wharf, 1);
    let (tasks, messages) = run(&mut wharf, r#"{"taskDefinition": "full"}"#);
    let first =
        payload(&messages).tasks.as_ref().expect("tasks")[0].role_credentials.clone().expect("a role");
    acknowledge(&mut wharf, 1, &payloads(&messages)[0].0);
    let report = format!(r#"SubmitTaskStateChange {{"task": "{}", "status": "RUNNING"}}"#, tasks[0]);
    wharf.check(&report, r#"{"...": true}"#);
    let fresh = |messages: &[Message]| -> Vec<(Option<acs::RoleType>, acs::IAMRoleCredentials)> {
        let one = |message: &Message| match &message.frame {
            AcsMessage::IAMRoleCredentialsMessage(m) => Some((m.role_type, m.role_credentials.clone()?)),
            _ => None,
        };
        messages.iter().filter_map(one).collect()
    };
    assert!(fresh(&pass(&mut wharf, Duration::from_secs(5 * 3600))).is_empty());
    let sent = fresh(&pass(&mut wharf, Duration::from_secs(46 * 60)));
    let of_task: Vec<_> = sent.iter().filter(|(t, _)| *t == Some(acs::RoleType::TaskApplication)).collect();
    assert_eq!(of_task[0].1.credentials_id, first.credentials_id, "the id is part of the containers' URLs");
    assert_ne!(of_task[0].1.access_key_id, first.access_key_id);
    let messages = connect(&mut wharf, 2, &instance);
    assert_eq!(fresh(&messages).len(), 2);
    assert!(payloads(&messages).is_empty());
}

#[test]
fn telemetry_tells_of_health() {
    let mut wharf = wharf();
    let arn = join(&mut wharf, 1);
    let (tasks, _) = run(&mut wharf, r#"{"taskDefinition": "app"}"#);
    let container = tcs::ContainerHealth {
        container_name: Some("a".to_owned()),
        health_status: Some(tcs::HealthStatus::Unhealthy),
        ..Default::default()
    };
    let task = tcs::TaskHealth {
        task_arn: Some(tasks[0].clone()),
        containers: Some(vec![container]),
        ..Default::default()
    };
    let health = tcs::PublishHealthRequest { tasks: Some(vec![task]), ..Default::default() };
    let status = tcs::InstanceStatus {
        r#type: Some("ContainerRuntime".to_owned()),
        status: tcs::InstanceHealthcheckStatus::parse("IMPAIRED"),
        last_updated: Some(wharf.now),
        last_status_change: Some(wharf.now),
        ..Default::default()
    };
    let status = tcs::PublishInstanceStatusRequest { statuses: Some(vec![status]), ..Default::default() };
    for frame in [TcsMessage::from(health), TcsMessage::from(status)] {
        wharf.step(Input::Session(SessionEvent::Tcs { instance: agent::id(&arn), frame }));
    }
    wharf.check(
        &format!(r#"DescribeTasks {{"tasks": ["{}"]}}"#, tasks[0]),
        r#"{"...": true, "tasks": [{"...": true, "healthStatus": "UNHEALTHY",
            "containers": [{"...": true, "healthStatus": "UNHEALTHY"}]}]}"#,
    );
    wharf.check(
        &format!(
            r#"DescribeContainerInstances {{"containerInstances": ["{arn}"], "include": ["CONTAINER_INSTANCE_HEALTH"]}}"#
        ),
        r#"{"...": true, "containerInstances": [{"...": true, "agentConnected": true,
            "versionInfo": {"agentVersion": "1.105.1"},
            "healthStatus": {"overallStatus": "IMPAIRED", "details": [{"type": "CONTAINER_RUNTIME",
            "status": "IMPAIRED", "lastUpdated": 1700000000, "lastStatusChange": 1700000000}]}}]}"#,
    );
}

#[test]
fn a_reset_forgets_everything_and_closes_connections() {
    let mut wharf = wharf();
    join(&mut wharf, 1);
    run(&mut wharf, r#"{"taskDefinition": "full"}"#);
    let output = wharf.step(Input::Reset);
    assert_eq!(output.messages.len(), 1);
    assert_eq!(output.messages[0].frame.name(), "CloseMessage");
    assert_eq!(wharf.state().rows().count(), 0);
    assert!(wharf.state().indexes.usage.is_empty() && wharf.state().next_deadline().is_none());
}
