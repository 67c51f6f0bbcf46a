//! The tests' side of an agent: registers, connects, acknowledges and reports by hand.

use crate::harness::Wharf;
use api::channel::AcsMessage;
use control::session::{AgentInfo, ConnectionId, Frame, SessionEvent};
use control::state::ecs::InstanceId;
use control::{Input, Message};
use serde_json::Value;

/// A registered instance with 2,048 CPU units and 4,096 MiB.
pub const REGISTER: &str = r#"RegisterContainerInstance {"totalResources": [
    {"name": "CPU", "type": "INTEGER", "integerValue": 2048},
    {"name": "MEMORY", "type": "INTEGER", "integerValue": 4096},
    {"name": "PORTS", "type": "STRINGSET", "stringSetValue": ["22", "2375"]},
    {"name": "PORTS_UDP", "type": "STRINGSET", "stringSetValue": []}],
    "attributes": [{"name": "ecs.os-type", "value": "linux"},
        {"name": "com.amazonaws.ecs.capability.docker-remote-api.1.17"},
        {"name": "com.amazonaws.ecs.capability.docker-remote-api.1.18"},
        {"name": "com.amazonaws.ecs.capability.docker-remote-api.1.19"},
        {"name": "com.amazonaws.ecs.capability.docker-remote-api.1.20"},
        {"name": "com.amazonaws.ecs.capability.docker-remote-api.1.21"},
        {"name": "com.amazonaws.ecs.capability.docker-remote-api.1.22"},
        {"name": "com.amazonaws.ecs.capability.docker-remote-api.1.23"},
        {"name": "com.amazonaws.ecs.capability.docker-remote-api.1.24"},
        {"name": "com.amazonaws.ecs.capability.docker-remote-api.1.25"},
        {"name": "com.amazonaws.ecs.capability.docker-remote-api.1.28"},
        {"name": "com.amazonaws.ecs.capability.docker-remote-api.1.29"},
        {"name": "com.amazonaws.ecs.capability.docker-remote-api.1.30"},
        {"name": "com.amazonaws.ecs.capability.docker-remote-api.1.32"},
        {"name": "com.amazonaws.ecs.capability.task-iam-role"},
        {"name": "com.amazonaws.ecs.capability.task-iam-role-network-host"},
        {"name": "com.amazonaws.ecs.capability.ecr-auth"},
        {"name": "com.amazonaws.ecs.capability.logging-driver.awslogs"},
        {"name": "ecs.capability.execution-role-ecr-pull"},
        {"name": "ecs.capability.execution-role-awslogs"},
        {"name": "ecs.capability.container-health-check"},
        {"name": "ecs.capability.task-cpu-mem-limit"},
        {"name": "ecs.capability.container-ordering"},
        {"name": "ecs.capability.increased-task-cpu-limit"},
        {"name": "com.amazonaws.ecs.capability.privileged-container"},
        {"name": "com.amazonaws.ecs.capability.logging-driver.json-file"},
        {"name": "stack", "value": "prod"}]}"#;

/// Registers an instance; its ARN.
pub fn register(wharf: &mut Wharf) -> String {
    let reply = wharf.call(REGISTER).expect("an instance can register");
    text(&reply["containerInstance"]["containerInstanceArn"])
}

/// Registers and connects an instance under the connection's number; its ARN.
pub fn join(wharf: &mut Wharf, connection: u64) -> String {
    let arn = register(wharf);
    connect(wharf, connection, &arn);
    arn
}

/// Opens a connection; what the agent gets at once.
pub fn connect(wharf: &mut Wharf, connection: u64, arn: &str) -> Vec<Message> {
    let agent = AgentInfo { agent_version: Some("1.105.1".to_owned()), ..AgentInfo::default() };
    let event = SessionEvent::Connected { connection: ConnectionId(connection), instance: id(arn), agent };
    wharf.step(Input::Session(event)).messages
}

pub fn disconnect(wharf: &mut Wharf, connection: u64) {
    wharf.step(Input::Session(SessionEvent::Disconnected { connection: ConnectionId(connection) }));
}

/// The agent says something; what it gets back.
pub fn say(wharf: &mut Wharf, connection: u64, frame: impl Into<Frame>) -> Vec<Message> {
    let event = SessionEvent::Acs { connection: ConnectionId(connection), frame: frame.into() };
    wharf.step(Input::Session(event)).messages
}

pub fn acknowledge(wharf: &mut Wharf, connection: u64, message_id: &str) {
    let ack = api::acs::AckRequest { message_id: Some(message_id.to_owned()), ..Default::default() };
    assert!(say(wharf, connection, ack).is_empty());
}

/// The payloads among messages: their ids and the tasks' ARNs and desired statuses.
pub fn payloads(messages: &[Message]) -> Vec<(String, String, String)> {
    let payload = |message: &Message| match &message.frame {
        AcsMessage::PayloadMessage(p) => {
            let task = &p.tasks.as_ref()?[0];
            Some((p.message_id.clone()?, task.arn.clone()?, task.desired_status.clone()?))
        }
        _ => None,
    };
    messages.iter().filter_map(payload).collect()
}

/// Calls RunTask, which must be in order; the started tasks' ARNs and what their agents are told.
#[track_caller]
pub fn run(wharf: &mut Wharf, body: &str) -> (Vec<String>, Vec<Message>) {
    let (reply, messages) = wharf.call_and_listen(&format!("RunTask {body}"));
    let reply = reply.expect("RunTask is in order");
    assert_eq!(reply["failures"].as_array().map(Vec::len), Some(0), "{reply:#}");
    let tasks = reply["tasks"].as_array().expect("tasks").iter().map(|t| text(&t["taskArn"])).collect();
    (tasks, messages)
}

pub fn id(arn: &str) -> InstanceId {
    arn.rsplit('/').next().and_then(InstanceId::parse).expect("an ARN that ends in an id")
}

pub fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}
