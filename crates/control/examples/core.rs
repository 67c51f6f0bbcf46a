//! How fast the core is alone: RunTask and DescribeTasks through `Core`, without wire, store and sockets.
//!
//! `cargo run --release -p control --example core`. The first figures are of 100 instances with room enough, the others
//! of 1,000 that are filled one after the other.

use api::ecs::Request;
use control::session::{AgentInfo, ConnectionId, SessionEvent};
use control::state::ecs::InstanceId;
use control::state::{AccountId, Region, Scope};
use control::{ApiResponse, Call, Core, Entropy, Input, Limits, Principal, Settings, State};
use std::io::Write;
use std::time::Instant;
use stdx::Timestamp;

const CALLS: u64 = 50_000;
const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn call(operation: &str, body: &str) -> Call {
    let index = api::ecs::SERVICE.operation(operation).expect("an operation of ECS");
    let request = wire::json::read(body.as_bytes(), |r| Request::read(index, r)).expect("a request");
    let account = AccountId(123_456_789_012);
    let scope = Scope { account, region: Region::parse("us-east-1").expect("a Region") };
    let principal =
        Principal { account, arn: format!("arn:aws:iam::{account}:root"), user_id: account.to_string() };
    Call { scope, principal, request_id: String::new(), request: request.into() }
}

fn main() -> std::io::Result<()> {
    measure(100, 1_000_000)?;
    measure(1000, 50)
}

/// Instances with CPU units for that many tasks each.
fn measure(instances: u64, room: u64) -> std::io::Result<()> {
    let settings = Settings {
        endpoint: "http://127.0.0.1:4566".to_owned(),
        registry_host: "localhost:{port}".to_owned(),
        port: 4566,
        limits: Limits::default(),
    };
    let mut core = Core::new(State::default(), settings);
    let mut number = 0;
    let mut step = |core: &mut Core, input: Input| {
        number += 1;
        let output = core.step(NOW, &Entropy::new(number, [3; 32]), input);
        assert!(!matches!(output.reply, Some(Err(_))), "{:?}", output.reply);
        output
    };
    step(&mut core, Input::Call(Box::new(call("CreateCluster", "{}"))));
    let definition =
        r#"{"family":"app","containerDefinitions":[{"name":"a","image":"a","cpu":1,"memory":8}]}"#;
    step(&mut core, Input::Call(Box::new(call("RegisterTaskDefinition", definition))));
    let register = format!(
        r#"{{"totalResources":[{{"name":"CPU","integerValue":{room}}},{{"name":"MEMORY","integerValue":2000000}}],
            "attributes":[{{"name":"com.amazonaws.ecs.capability.docker-remote-api.1.18"}}]}}"#
    );
    for connection in 0..instances {
        step(&mut core, Input::Call(Box::new(call("RegisterContainerInstance", &register))));
        let ids: Vec<InstanceId> = core.state().container_instances.values().map(|i| i.id).collect();
        for instance in
            ids.into_iter().filter(|id| !core.state().sessions.is_connected(*id)).collect::<Vec<_>>()
        {
            let connection = ConnectionId(connection);
            let event = SessionEvent::Connected { connection, instance, agent: AgentInfo::default() };
            step(&mut core, Input::Session(event));
        }
    }
    let run = call("RunTask", r#"{"taskDefinition":"app"}"#);
    let (mut tasks, mut bytes) = (Vec::new(), 0);
    let start = Instant::now();
    for _ in 0..CALLS {
        let output = step(&mut core, Input::Call(Box::new(run.clone())));
        for change in &output.changes {
            let (key, value) = control::state::record::encode(change).expect("a record");
            bytes += key.len() + value.map_or(0, |v| v.len());
        }
        if let Some(Ok(ApiResponse::Ecs(api::ecs::Response::RunTask(response)))) = output.reply {
            tasks.extend(response.tasks.into_iter().flatten().filter_map(|task| task.task_arn));
        }
    }
    let run_s = start.elapsed().as_secs_f64();
    assert_eq!(tasks.len() as u64, CALLS, "every task is placed");
    let describes: Vec<Call> =
        tasks.iter().map(|arn| call("DescribeTasks", &format!(r#"{{"tasks":["{arn}"]}}"#))).collect();
    let start = Instant::now();
    let mut answered = 0_u64;
    for describe in &describes {
        answered += u64::from(core.query(NOW, describe).is_some_and(|answer| answer.is_ok()));
    }
    let describe_s = start.elapsed().as_secs_f64();
    let mut out = std::io::stdout().lock();
    let placed = tasks.len() as u64;
    writeln!(
        out,
        "{instances} instances: RunTask       {:>9.0}/s ({placed} tasks, {} B stored each)",
        placed as f64 / run_s,
        bytes / tasks.len()
    )?;
    writeln!(out, "{instances} instances: DescribeTasks {:>9.0}/s", answered as f64 / describe_s)
}
