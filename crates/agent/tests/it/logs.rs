//! The log driver `awslogs` against a control plane that counts.

use crate::stub::{Heard, RunningAgent, Stub, config};
use runtime::Simulated;
use serde_json::{Value, json};

fn task(arn: &str, options: &Value) -> Value {
    let host = json!({"LogConfig": {"Type": "awslogs", "Config": options}}).to_string();
    json!([{"arn": arn, "family": "web", "version": "1", "desiredStatus": "RUNNING", "containers": [{
        "name": "app", "image": "i", "essential": true, "command": ["log", "hello", "world"],
        "dockerConfig": {"hostConfig": host}}]}])
}

/// The position of the first call of an operation with such a request.
fn position(heard: &[Heard], operation: &str, is: impl Fn(&Value) -> bool) -> Option<usize> {
    heard.iter().position(|h| matches!(h, Heard::Call(name, request) if name == operation && is(request)))
}

#[tokio::test]
async fn lines_arrive_before_the_end_is_told() {
    let (stub, dir, logs) = (Stub::start().await, tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let runtime = Simulated::new(Some(logs.path().to_owned()));
    let not_found =
        json!({"__type": "ResourceNotFoundException", "message": "The specified log group does not exist."});
    stub.prepare("CreateLogStream", 400, not_found);
    stub.prepare("PutLogEvents", 503, json!({"__type": "ServiceUnavailableException", "message": "later"}));
    let agent = RunningAgent::start(config(&stub, dir.path()), &runtime);
    stub.session(1).await;
    let options = json!({"awslogs-group": "/ecs/web", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "p",
        "awslogs-create-group": "true"});
    stub.payload("p1", &task("arn:aws:ecs:us-east-1:1:task/default/abc", &options));
    stub.report("arn:aws:ecs:us-east-1:1:task/default/abc", "RUNNING").await;
    stub.payload(
        "p2",
        &json!([{"arn": "arn:aws:ecs:us-east-1:1:task/default/abc", "desiredStatus": "STOPPED"}]),
    );
    stub.report("arn:aws:ecs:us-east-1:1:task/default/abc", "STOPPED").await;

    let heard = stub.heard();
    assert_eq!(stub.calls("CreateLogGroup"), [json!({"logGroupName": "/ecs/web"})]);
    let stream = json!({"logGroupName": "/ecs/web", "logStreamName": "p/app/abc"});
    assert_eq!(stub.calls("CreateLogStream"), [stream.clone(), stream]);
    let put = position(&heard, "PutLogEvents", |r| r["logEvents"][0]["message"] == "hello world").unwrap();
    let told = position(&heard, "SubmitTaskStateChange", |r| r["status"] == "STOPPED").unwrap();
    assert!(put < told);
    let puts = stub.calls("PutLogEvents");
    assert_eq!(puts.len(), 2, "tried again after the failure, and not more");
    assert_eq!(puts[1]["logStreamName"], "p/app/abc");
    agent.stop().await;
}

#[tokio::test]
async fn a_missing_group_fails_the_start() {
    let (stub, dir, logs) = (Stub::start().await, tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let runtime = Simulated::new(Some(logs.path().to_owned()));
    let not_found =
        json!({"__type": "ResourceNotFoundException", "message": "The specified log group does not exist."});
    stub.prepare("CreateLogStream", 400, not_found);
    let agent = RunningAgent::start(config(&stub, dir.path()), &runtime);
    stub.session(1).await;
    let options =
        json!({"awslogs-group": "/nowhere", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "p"});
    stub.payload("p1", &task("t/1", &options));
    let reason = stub.report("t/1", "STOPPED").await["containers"][0]["reason"].clone();
    let reason = reason.as_str().unwrap();
    assert!(
        reason.starts_with("CannotStartContainerError: ") && reason.contains("does not exist"),
        "{reason}"
    );
    assert!(stub.calls("CreateLogGroup").is_empty());
    agent.stop().await;
}

#[tokio::test]
async fn without_a_prefix_the_stream_is_the_container() {
    let (stub, dir, logs) = (Stub::start().await, tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let runtime = Simulated::new(Some(logs.path().to_owned()));
    let agent = RunningAgent::start(config(&stub, dir.path()), &runtime);
    stub.session(1).await;
    stub.payload("p1", &task("t/1", &json!({"awslogs-group": "g", "awslogs-region": "us-east-1"})));
    let report = stub.report("t/1", "RUNNING").await;
    stub.wait("log events", |heard| {
        position(heard, "PutLogEvents", |r| r["logStreamName"] == report["containers"][0]["runtimeId"])
    })
    .await;
    agent.stop().await;
}

#[tokio::test]
async fn a_restart_goes_on_where_the_last_agent_stopped() {
    let (stub, dir, logs) = (Stub::start().await, tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let runtime = Simulated::new(Some(logs.path().to_owned()));
    let settings = agent::AgentConfig { on_exit: agent::OnExit::Keep, ..config(&stub, dir.path()) };
    let agent = RunningAgent::start(settings.clone(), &runtime);
    stub.session(1).await;
    let options = json!({"awslogs-group": "g", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "p"});
    stub.payload("p1", &task("t/1", &options));
    stub.wait("log events", |heard| position(heard, "PutLogEvents", |_| true)).await;
    agent.stop().await;
    let agent = RunningAgent::start(settings, &runtime);
    stub.session(2).await;
    stub.payload("p2", &json!([{"arn": "t/1", "desiredStatus": "STOPPED"}]));
    stub.report("t/1", "STOPPED").await;
    assert_eq!(stub.calls("PutLogEvents").len(), 1, "no line is sent twice");
    agent.stop().await;
}
