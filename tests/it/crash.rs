//! SIGKILL at any moment: what was acknowledged is there after the next start.

use crate::http::ecs;
use crate::wharf::{Wharf, eventually};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How often the process is killed; `WHARF_KILLS` overrides it.
const KILLS: u64 = 25;
const SIMULATED: &[&str] = &["--runtime", "simulated", "--any-credentials"];

/// What a client has been told to exist.
#[derive(Default)]
struct Acknowledged {
    clusters: BTreeSet<String>,
    definitions: BTreeSet<String>,
    tasks: BTreeSet<String>,
}

#[test]
fn nothing_acknowledged_is_missing_after_a_kill() {
    let kills = std::env::var("WHARF_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut known = Acknowledged::default();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..kills {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let wharf = Wharf::start(&data, SIMULATED);
        check(wharf.address(), &known);
        let address = wharf.address().to_owned();
        let (begun, has_begun) = mpsc::channel();
        let client = thread::spawn(move || create_until_dead(&address, round, &begun));
        has_begun.recv().unwrap();
        thread::sleep(Duration::from_micros(random >> 47));
        wharf.kill();
        let new = client.join().unwrap();
        known.clusters.extend(new.clusters);
        known.definitions.extend(new.definitions);
        known.tasks.extend(new.tasks);
    }
    let wharf = Wharf::start(&data, SIMULATED);
    check(wharf.address(), &known);
    assert!(known.clusters.len() as u64 > kills, "hardly anything was created: {}", known.clusters.len());
    assert!(!known.tasks.is_empty(), "no task was run");
    assert!(wharf.stop().success());
}

/// Creates one thing after another until a request fails, and keeps what was answered with 200.
fn create_until_dead(address: &str, round: u64, begun: &mpsc::Sender<()>) -> Acknowledged {
    let mut known = Acknowledged::default();
    for number in 0_u64.. {
        let name = format!("r{round}-{number}");
        let cluster = json!({ "clusterName": name }).to_string();
        let Ok((200, reply)) = ecs(address, "CreateCluster", &cluster) else { break };
        known.clusters.insert(text(&reply["cluster"]["clusterArn"]));
        begun.send(()).ok();
        let container = json!({"name": "c", "image": "any/image:1", "memory": 16});
        let definition = json!({"family": name, "containerDefinitions": [container]}).to_string();
        let Ok((200, reply)) = ecs(address, "RegisterTaskDefinition", &definition) else { break };
        let arn = text(&reply["taskDefinition"]["taskDefinitionArn"]);
        known.definitions.insert(arn.clone());
        // Until the agent has joined again, or when the instance is full, no task is placed.
        let Ok((_, reply)) = ecs(address, "RunTask", &json!({ "taskDefinition": arn }).to_string()) else {
            break;
        };
        known
            .tasks
            .extend(reply["tasks"].as_array().into_iter().flatten().map(|task| text(&task["taskArn"])));
    }
    known
}

fn check(address: &str, known: &Acknowledged) {
    let clusters: Vec<&String> = known.clusters.iter().collect();
    for part in clusters.chunks(100) {
        let reply = ask(address, "DescribeClusters", &json!({ "clusters": part }));
        assert_eq!(reply["failures"], json!([]), "clusters are missing");
        assert_eq!(reply["clusters"].as_array().unwrap().len(), part.len());
    }
    let tasks: Vec<&String> = known.tasks.iter().collect();
    for part in tasks.chunks(100) {
        let reply = ask(address, "DescribeTasks", &json!({ "tasks": part }));
        assert_eq!(reply["failures"], json!([]), "tasks are missing");
        assert_eq!(reply["tasks"].as_array().unwrap().len(), part.len());
    }
    let listed = listed_definitions(address);
    let missing: Vec<&String> = known.definitions.difference(&listed).collect();
    assert!(missing.is_empty(), "task definitions are missing: {missing:?}");
}

fn listed_definitions(address: &str) -> BTreeSet<String> {
    let mut listed = BTreeSet::new();
    let mut token = Value::Null;
    loop {
        let mut request = json!({});
        if token.is_string() {
            request["nextToken"] = token;
        }
        let reply = ask(address, "ListTaskDefinitions", &request);
        listed.extend(reply["taskDefinitionArns"].as_array().unwrap().iter().map(text));
        token = reply["nextToken"].clone();
        if token.is_null() {
            return listed;
        }
    }
}

fn ask(address: &str, operation: &str, request: &Value) -> Value {
    let (status, reply) = eventually(operation, || ecs(address, operation, &request.to_string()).ok());
    assert_eq!(status, 200, "{operation}: {reply}");
    reply
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
