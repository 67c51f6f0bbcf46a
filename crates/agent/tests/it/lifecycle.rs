//! From registration to the end of a task, over lost connections and restarts.

use crate::stub::{Heard, INSTANCE, RunningAgent, Stub, calls, config, reports};
use agent::{AgentConfig, AgentError, OnExit};
use api::channel::AcsMessage;
use runtime::{ContainerStatus, Runtime, Simulated};
use serde_json::{Value, json};
use std::time::Instant;

fn task(arn: &str, command: &[&str]) -> Value {
    json!([{"arn": arn, "family": "web", "version": "1", "desiredStatus": "RUNNING", "containers": [{
        "name": "app", "image": "registry/app:1", "essential": true, "cpu": 1, "memory": 8, "command": command,
        "portMappings": [{"containerPort": 80, "hostPort": 0}]}]}])
}

fn stop(arn: &str) -> Value {
    json!([{"arn": arn, "desiredStatus": "STOPPED"}])
}

async fn running(runtime: &Simulated) -> usize {
    let containers = runtime.list().await.unwrap();
    containers.iter().filter(|c| matches!(c.status, ContainerStatus::Running(_))).count()
}

#[tokio::test]
async fn a_task_runs_and_stops() {
    let (stub, dir, runtime) = (Stub::start().await, tempfile::tempdir().unwrap(), Simulated::default());
    let mut settings = config(&stub, dir.path());
    settings.instance_attributes.insert("stack".into(), "blue".into());
    let agent = RunningAgent::start(settings, &runtime);
    let query = stub.session(1).await;
    for part in [
        "clusterArn=default",
        "protocolVersion=2",
        "sendCredentials=true",
        "seqNum=1",
        "dockerVersion=DockerVersion%3A+simulated",
    ] {
        assert!(query.contains(part), "{part} in {query}");
    }
    let registration = stub.calls("RegisterContainerInstance").remove(0);
    assert!(registration["clientToken"].is_string() && registration["containerInstanceArn"].is_null());
    let resources: Vec<_> =
        registration["totalResources"].as_array().unwrap().iter().map(|r| r["name"].clone()).collect();
    assert_eq!(resources, ["CPU", "MEMORY", "PORTS", "PORTS_UDP"]);
    assert!(
        registration["attributes"].as_array().unwrap().contains(&json!({"name": "stack", "value": "blue"}))
    );

    let sent = Instant::now();
    stub.payload("p1", &task("t/1", &[]));
    let report = stub.report("t/1", "RUNNING").await;
    assert!(sent.elapsed().as_millis() < 1000, "took {:?}", sent.elapsed());
    let container = &report["containers"][0];
    assert_eq!((&container["containerName"], &container["status"]), (&json!("app"), &json!("RUNNING")));
    assert_eq!(container["networkBindings"][0]["containerPort"], 80);
    assert!(container["runtimeId"].is_string() && container["imageDigest"].is_string());
    let AcsMessage::AckRequest(ack) = stub.frame("AckRequest").await else { panic!() };
    assert_eq!((ack.message_id.as_deref(), ack.container_instance.as_deref()), (Some("p1"), Some(INSTANCE)));

    stub.payload("p2", &stop("t/1"));
    let report = stub.report("t/1", "STOPPED").await;
    assert_eq!(report["containers"][0]["exitCode"], 143);
    stub.send(r#"{"type":"HeartbeatMessage","message":{"messageId":"h","healthy":true}}"#);
    stub.frame("HeartbeatAckRequest").await;
    agent.stop().await;
}

#[tokio::test]
async fn a_lost_session_comes_back_and_nothing_stops() {
    let (stub, dir, runtime) = (Stub::start().await, tempfile::tempdir().unwrap(), Simulated::default());
    let agent = RunningAgent::start(config(&stub, dir.path()), &runtime);
    stub.session(1).await;
    stub.payload("p1", &task("t/1", &[]));
    stub.report("t/1", "RUNNING").await;
    stub.frame("AckRequest").await;
    stub.close(4000);
    assert!(stub.session(2).await.contains("sendCredentials=false"));
    stub.close(1000);
    stub.session(3).await;
    stub.payload("p1", &task("t/1", &[]));
    stub.wait("second acknowledgement", |heard| {
        let acks = heard.iter().filter(|h| matches!(h, Heard::Frame(AcsMessage::AckRequest(_))));
        (acks.count() == 2).then_some(())
    })
    .await;
    assert_eq!(running(&runtime).await, 1);
    assert_eq!(reports(&stub.heard()).len(), 1);
    assert_eq!(stub.calls("DiscoverPollEndpoint").len(), 1, "the endpoints are kept");
    agent.stop().await;
}

#[tokio::test]
async fn a_restart_keeps_identity_and_tasks() {
    let (stub, dir, runtime) = (Stub::start().await, tempfile::tempdir().unwrap(), Simulated::default());
    let settings = AgentConfig { on_exit: OnExit::Keep, ..config(&stub, dir.path()) };
    let agent = RunningAgent::start(settings.clone(), &runtime);
    stub.session(1).await;
    stub.payload("p1", &json!([task("t/1", &[])[0], task("t/2", &["exit", "3", "after", "300"])[0]]));
    stub.report("t/1", "RUNNING").await;
    stub.report("t/2", "RUNNING").await;
    agent.stop().await;
    assert_eq!(running(&runtime).await, 2, "containers are kept");

    let deadline = Instant::now() + std::time::Duration::from_secs(10);
    while running(&runtime).await == 2 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let agent = RunningAgent::start(settings, &runtime);
    let report = stub.report("t/2", "STOPPED").await;
    assert_eq!(report["containers"][0]["exitCode"], 3, "the end while no agent ran");
    let registrations = stub.calls("RegisterContainerInstance");
    assert_eq!(registrations[1]["containerInstanceArn"], INSTANCE);
    assert_ne!(registrations[0]["clientToken"], registrations[1]["clientToken"]);
    stub.session(2).await;
    stub.payload("p2", &stop("t/1"));
    stub.report("t/1", "STOPPED").await;
    assert_eq!(running(&runtime).await, 0);
    agent.stop().await;
}

#[tokio::test]
async fn a_crash_after_the_acknowledgement_loses_no_task() {
    let (stub, dir, runtime) = (Stub::start().await, tempfile::tempdir().unwrap(), Simulated::default());
    let agent = RunningAgent::start(config(&stub, dir.path()), &runtime);
    stub.session(1).await;
    stub.payload("p1", &task("t/1", &[]));
    stub.frame("AckRequest").await;
    agent.abort().await;
    let agent = RunningAgent::start(config(&stub, dir.path()), &runtime);
    stub.report("t/1", "RUNNING").await;
    assert_eq!(running(&runtime).await, 1);
    agent.stop().await;
}

#[tokio::test]
async fn the_end_of_the_agent_stops_its_tasks() {
    let (stub, dir, runtime) = (Stub::start().await, tempfile::tempdir().unwrap(), Simulated::default());
    let agent = RunningAgent::start(config(&stub, dir.path()), &runtime);
    stub.session(1).await;
    stub.payload("p1", &task("t/1", &[]));
    stub.report("t/1", "RUNNING").await;
    agent.stop().await;
    let report = stub.report("t/1", "STOPPED").await;
    assert_eq!(report["reason"], "The container instance's agent was shut down");
    assert_eq!(running(&runtime).await, 0);
}

#[tokio::test]
async fn reports_are_tried_again_until_they_are_taken() {
    let (stub, dir, runtime) = (Stub::start().await, tempfile::tempdir().unwrap(), Simulated::default());
    let busy = json!({"__type": "ServerException", "message": "busy"});
    stub.prepare("SubmitTaskStateChange", 500, busy.clone());
    stub.prepare("SubmitTaskStateChange", 400, json!({"__type": "ThrottlingException", "message": "slowly"}));
    let agent = RunningAgent::start(config(&stub, dir.path()), &runtime);
    stub.session(1).await;
    stub.payload("p1", &task("t/1", &[]));
    stub.wait("third report", |heard| (reports(heard).len() >= 3).then_some(())).await;
    let sent = reports(&stub.heard());
    assert!(
        sent.iter().all(|r| r["status"] == "RUNNING" && r["containers"][0]["status"] == "RUNNING"),
        "{sent:?}"
    );
    agent.stop().await;
}

#[tokio::test]
async fn registration_waits_for_the_control_plane_and_gives_up_when_refused() {
    let (stub, dir, runtime) = (Stub::start().await, tempfile::tempdir().unwrap(), Simulated::default());
    stub.prepare(
        "RegisterContainerInstance",
        500,
        json!({"__type": "ServerException", "message": "not yet"}),
    );
    let not_found = json!({"__type": "ClusterNotFoundException", "message": "Cluster not found."});
    stub.prepare("RegisterContainerInstance", 400, not_found);
    let agent = RunningAgent::start(config(&stub, dir.path()), &runtime);
    stub.session(1).await;
    assert_eq!(stub.calls("CreateCluster")[0]["clusterName"], "default");
    let tokens: Vec<_> = calls(&stub.heard(), "RegisterContainerInstance")
        .into_iter()
        .map(|r| r["clientToken"].clone())
        .collect();
    assert!(tokens.len() == 3 && tokens.iter().all(|t| *t == tokens[0]), "one token for all attempts");
    agent.stop().await;

    let other = tempfile::tempdir().unwrap();
    stub.prepare("RegisterContainerInstance", 400, json!({"__type": "ClientException", "message": "no"}));
    let refused = RunningAgent::start(config(&stub, other.path()), &runtime).end().await;
    assert!(matches!(refused, Err(AgentError::Registration(_))), "{refused:?}");

    let elsewhere = AgentConfig { cluster: "other".into(), ..config(&stub, dir.path()) };
    let refused = RunningAgent::start(elsewhere, &runtime).end().await;
    assert!(matches!(refused, Err(AgentError::OtherCluster { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_deregistered_machine_registers_anew() {
    let (stub, dir, runtime) = (Stub::start().await, tempfile::tempdir().unwrap(), Simulated::default());
    let agent = RunningAgent::start(config(&stub, dir.path()), &runtime);
    stub.session(1).await;
    agent.stop().await;
    let inactive = json!({"__type": "ClientException", "message": "Container instance 0123 is inactive."});
    stub.prepare("RegisterContainerInstance", 400, inactive);
    let agent = RunningAgent::start(config(&stub, dir.path()), &runtime);
    stub.session(2).await;
    let registrations = stub.calls("RegisterContainerInstance");
    assert_eq!(registrations.len(), 3);
    assert!(
        registrations[1]["containerInstanceArn"].is_string()
            && registrations[2]["containerInstanceArn"].is_null()
    );
    agent.stop().await;
}

#[tokio::test]
async fn one_registry_login_serves_many_pulls() {
    let (stub, dir, runtime) = (Stub::start().await, tempfile::tempdir().unwrap(), Simulated::default());
    let agent = RunningAgent::start(config(&stub, dir.path()), &runtime);
    stub.session(1).await;
    for n in 1..=3 {
        let mut tasks = task(&format!("t/{n}"), &[]);
        let auth =
            json!({"type": "ecr", "ecrAuthData": {"region": "us-east-1", "registryId": "123456789012"}});
        tasks[0]["containers"][0]["registryAuthentication"] = auth;
        stub.payload(&format!("p{n}"), &tasks);
        stub.report(&format!("t/{n}"), "RUNNING").await;
    }
    let asked = stub.calls("GetAuthorizationToken");
    assert_eq!(asked, [json!({"registryIds": ["123456789012"]})]);
    agent.stop().await;
}

#[tokio::test]
async fn failures_are_reported_with_amazon_s_names() {
    let (stub, dir, runtime) = (Stub::start().await, tempfile::tempdir().unwrap(), Simulated::default());
    let agent = RunningAgent::start(config(&stub, dir.path()), &runtime);
    stub.session(1).await;
    let mut missing = task("t/1", &[]);
    missing[0]["containers"][0]["image"] = json!("registry/missing:1");
    stub.payload("p1", &missing);
    stub.payload("p2", &task("t/2", &["cannot-start", "no", "such", "file"]));
    let reason = stub.report("t/1", "STOPPED").await["containers"][0]["reason"].clone();
    assert!(reason.as_str().unwrap().starts_with("CannotPullContainerError: "), "{reason}");
    let reason = stub.report("t/2", "STOPPED").await["containers"][0]["reason"].clone();
    assert!(reason.as_str().unwrap().starts_with("CannotStartContainerError: "), "{reason}");
    agent.stop().await;
}
