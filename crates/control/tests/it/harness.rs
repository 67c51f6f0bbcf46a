//! A core with a clock, and the one function that knows how a call is made: [`Wharf::check`].

use control::state::ecs::{
    ClusterId, ContainerInstance, Demand, DesiredStatus, InstanceId, InstanceStatus, LaunchType, Task,
    TaskDefinitionId, TaskId, TaskStatus,
};
use control::state::{AccountId, Region, Row, Scope, State, record};
use control::{ApiRequest, Call, Change, Core, Entropy, Input, Limits, Principal, Settings};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use stdx::Timestamp;

/// A control plane at a fixed time, called by root unless told otherwise.
pub struct Wharf {
    core: Core,
    pub now: Timestamp,
    steps: u64,
    principal: String,
}

impl Wharf {
    pub fn new() -> Self {
        Self::with(Vec::new())
    }

    /// A core that finds these entities in its store.
    pub fn with(rows: Vec<Row>) -> Self {
        let settings = Settings {
            endpoint: "http://127.0.0.1:4566".to_owned(),
            registry_host: "localhost:{port}".to_owned(),
            port: 4566,
            limits: Limits::default(),
        };
        let root = "arn:aws:iam::123456789012:root".to_owned();
        let core = Core::new(load(rows), settings);
        Self { core, now: Timestamp(1_700_000_000_000), steps: 0, principal: root }
    }

    /// Starts again from the stored form of everything, with these entities added or replaced.
    pub fn restart_with(&mut self, rows: Vec<Row>) {
        let all = self.core.state().rows().chain(rows).collect();
        self.core = Core::new(load(all), self.core.settings().clone());
    }

    pub fn become_principal(&mut self, arn: &str) {
        self.principal = arn.to_owned();
    }

    pub fn settings(&self) -> &Settings {
        self.core.settings()
    }

    pub fn state(&self) -> &State {
        self.core.state()
    }

    /// Lets time pass, with every timer that it brings.
    pub fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
        while self.core.state().next_deadline().is_some_and(|at| at <= self.now) {
            self.step(Input::Timer);
        }
    }

    /// Applies any input.
    pub fn step(&mut self, input: Input) -> control::Output {
        self.steps += 1;
        let mut secrets = [7; 32];
        secrets[..8].copy_from_slice(&self.steps.to_le_bytes());
        self.core.step(self.now, &Entropy::new(self.steps, secrets), input)
    }

    /// Calls an operation, written `Operation {json}`, of ECS unless another API precedes it: `ecr.Operation {json}`;
    /// the reply's JSON, or the exception as `Code: text`.
    pub fn call(&mut self, request: &str) -> Result<Value, String> {
        self.call_and_listen(request).0
    }

    /// As [`Wharf::call`], with what agents are told of it.
    pub fn call_and_listen(&mut self, request: &str) -> (Result<Value, String>, Vec<control::Message>) {
        let call = match decode(request, &self.principal) {
            Ok(call) => call,
            Err(error) => return (Err(error), Vec::new()),
        };
        let (answer, messages) = match self.core.query(self.now, &call) {
            Some(answer) => (answer, Vec::new()),
            None => {
                let output = self.step(Input::Call(Box::new(call)));
                (output.reply.expect("a call is answered"), output.messages)
            }
        };
        let reply = answer.map_err(|error| error.to_string());
        let reply =
            reply.map(|reply| serde_json::from_slice(&wire::json::to_vec(&reply)).expect("a reply is JSON"));
        (reply, messages)
    }

    /// Calls, and compares the answer: JSON (where `"...": true` lets further members pass), or `Code: text`.
    #[track_caller]
    pub fn check(&mut self, request: &str, expected: &str) {
        match (self.call(request), expected.starts_with('{')) {
            (Ok(reply), true) => {
                let wanted: Value = serde_json::from_str(expected).expect("the expectation is JSON");
                if let Some(difference) = difference("", &wanted, &reply) {
                    panic!("{request}\n{difference}\nreply: {reply:#}");
                }
            }
            (Err(error), false) => assert_eq!(error, expected, "{request}"),
            (Ok(reply), false) => panic!("{request}\nexpected {expected}\nbut got {reply:#}"),
            (Err(error), true) => panic!("{request}\nexpected {expected}\nbut got {error}"),
        }
    }
}

fn decode(request: &str, principal: &str) -> Result<Call, String> {
    let (operation, body) = request.split_once(' ').unwrap_or((request, "{}"));
    let request = decode_body(operation, body)?;
    Ok(Call {
        scope: scope(),
        principal: Principal {
            account: scope().account,
            arn: principal.to_owned(),
            user_id: "AIDA".to_owned(),
        },
        request_id: "request".to_owned(),
        request,
    })
}

fn decode_body(operation: &str, body: &str) -> Result<ApiRequest, String> {
    macro_rules! by_api {
        ($($api:ident),*) => {
            match operation.split_once('.').unwrap_or(("ecs", operation)) {
                $((stringify!($api), operation) => {
                    let index = api::$api::SERVICE.operation(operation).ok_or("no such operation")?;
                    wire::json::read(body.as_bytes(), |reader| api::$api::Request::read(index, reader))
                        .map(ApiRequest::from)
                        .map_err(|error| format!("not decoded: {error}"))
                })*
                (api, _) => Err(format!("no such API: {api}")),
            }
        };
    }
    by_api!(ecs, ecr, logs, sts)
}

/// Where the reply is not what was wanted.
fn difference(path: &str, wanted: &Value, reply: &Value) -> Option<String> {
    match (wanted, reply) {
        (Value::Object(wanted), Value::Object(reply)) => {
            let extra = reply.keys().find(|key| !wanted.contains_key(*key) && !wanted.contains_key("..."));
            if let Some(extra) = extra {
                return Some(format!("{path}.{extra} was not expected"));
            }
            wanted.iter().filter(|(key, _)| *key != "...").find_map(|(key, value)| match reply.get(key) {
                Some(found) => difference(&format!("{path}.{key}"), value, found),
                None => Some(format!("{path}.{key} is missing")),
            })
        }
        (Value::Array(wanted), Value::Array(reply)) if wanted.len() == reply.len() => {
            let pairs = wanted.iter().zip(reply).enumerate();
            pairs
                .into_iter()
                .find_map(|(i, (wanted, reply))| difference(&format!("{path}[{i}]"), wanted, reply))
        }
        _ => (wanted != reply).then(|| format!("{path}: expected {wanted}, got {reply}")),
    }
}

fn load(rows: Vec<Row>) -> State {
    let encode = |row: Row| {
        let change = Change { key: row.key(), row: Some(row) };
        let (key, value) = record::encode(&change).expect("an entity can be stored");
        (key, value.expect("there is a row"))
    };
    let records: Vec<_> = rows.into_iter().map(encode).collect();
    let state = State::load(records.iter().map(|(key, value)| (key.as_slice(), value.as_slice())));
    state.expect("what was stored can be loaded")
}

pub fn scope() -> Scope {
    Scope {
        account: AccountId::parse("123456789012").expect("twelve digits"),
        region: Region::parse("us-east-1").expect("a Region"),
    }
}

pub fn cluster(name: &str) -> ClusterId {
    ClusterId { scope: scope(), name: name.to_owned() }
}

/// A container instance with some attributes of its agent.
pub fn instance(id: u128, of: &str, status: InstanceStatus) -> Row {
    let attribute = |name: &str, value: Option<&str>| control::state::ecs::Attribute {
        name: name.to_owned(),
        value: value.map(str::to_owned),
    };
    Row::ContainerInstance(Arc::new(ContainerInstance {
        id: InstanceId(id),
        sequence: u64::try_from(id).expect("a small id"),
        cluster: cluster(of),
        status,
        registered_at: Timestamp(0),
        ec2_instance_id: None,
        capacity_provider: None,
        cpu_units: 2048,
        memory_mib: 4096,
        reserved_ports: Default::default(),
        gpu_ids: Vec::new(),
        attributes: vec![attribute("ecs.capability.task-eni", None), attribute("ecs.os-type", Some("linux"))],
        custom_attributes: Default::default(),
        agent_version: None,
        agent_hash: None,
        docker_version: None,
        tags: Vec::new(),
        version: 1,
        forget_at: None,
    }))
}

/// A task of `family:revision`.
pub fn task(id: u128, of: &str, definition: (&str, u32), status: TaskStatus) -> Row {
    Row::Task(Arc::new(Task {
        id: TaskId(id),
        sequence: 1000 + u64::try_from(id).expect("a small id"),
        cluster: cluster(of),
        definition: TaskDefinitionId {
            scope: scope(),
            family: definition.0.to_owned(),
            revision: definition.1,
        },
        instance: None,
        last_status: status,
        desired_status: DesiredStatus::Running,
        launch_type: if id.is_multiple_of(2) { LaunchType::External } else { LaunchType::Ec2 },
        group: format!("family:{}", definition.0),
        started_by: None,
        overrides: Default::default(),
        demand: Demand::default(),
        containers: Vec::new(),
        tags: Vec::new(),
        enable_execute_command: false,
        reference_id: None,
        role_credentials: None,
        execution_role_credentials: None,
        version: 1,
        created_at: Timestamp(0),
        connectivity_at: None,
        pull_started_at: None,
        pull_stopped_at: None,
        started_at: None,
        stopping_at: None,
        execution_stopped_at: None,
        stopped_at: None,
        stop_code: None,
        stopped_reason: None,
        forget_at: None,
    }))
}

/// The id of an entity in a row's ARN: 32 hex digits.
pub fn hex(id: u128) -> String {
    InstanceId(id).to_string()
}
