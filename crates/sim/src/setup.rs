//! How every world begins: the time, the settings, the clusters and the task definitions.

use control::state::{AccountId, Region, Scope};
use control::{Call, Limits, Principal, Settings};
use stdx::Timestamp;

/// The beginning of time.
pub(crate) const START: Timestamp = Timestamp(1_800_000_000_000);
pub(crate) const CLUSTERS: [&str; 2] = ["default", "other"];
/// The task definitions' families; what each is like is said where they are registered.
pub(crate) const FAMILIES: [&str; 6] = ["static", "dynamic", "pair", "big", "role", "host"];
/// What a machine has.
pub(crate) const CPU_UNITS: i64 = 2048;
pub(crate) const MEMORY_MIB: i64 = 2048;

pub(crate) fn scope() -> Scope {
    let region = Region::parse("us-east-1").expect("a Region");
    Scope { account: AccountId(123_456_789_012), region }
}

pub(crate) fn settings() -> Settings {
    Settings {
        endpoint: "http://127.0.0.1:4566".to_owned(),
        registry_host: "localhost:{port}".to_owned(),
        port: 4566,
        limits: Limits::default(),
    }
}

pub(crate) fn call(request: api::ecs::Request) -> Call {
    let account = scope().account;
    Call {
        scope: scope(),
        principal: Principal {
            account,
            arn: format!("arn:aws:iam::{account}:root"),
            user_id: account.to_string(),
        },
        request_id: "request".to_owned(),
        request: request.into(),
    }
}

/// Reads a request as it would come over the wire.
pub(crate) fn request(operation: &str, body: &str) -> api::ecs::Request {
    let index = api::ecs::SERVICE.operation(operation).expect("an operation of ECS");
    wire::json::read(body.as_bytes(), |reader| api::ecs::Request::read(index, reader))
        .unwrap_or_else(|error| panic!("{operation} {body}: {error}"))
}

/// The calls that make the clusters and task definitions.
pub(crate) fn calls() -> Vec<api::ecs::Request> {
    let cluster = |name: &&str| request("CreateCluster", &format!(r#"{{"clusterName":"{name}"}}"#));
    let family = |name: &&str| request("RegisterTaskDefinition", &definition(name));
    CLUSTERS.iter().map(cluster).chain(FAMILIES.iter().map(family)).collect()
}

/// A revision of a family.
pub(crate) fn definition(family: &str) -> String {
    let rest = match family {
        "static" => {
            r#""containerDefinitions":[{"name":"a","image":"static:1","cpu":128,"memory":128,
                "portMappings":[{"containerPort":80,"hostPort":8080}]}]"#
        }
        "dynamic" => {
            r#""containerDefinitions":[{"name":"a","image":"dynamic:1","cpu":64,"memory":64,"portMappings":[
                {"containerPort":80},{"containerPort":53,"protocol":"udp"}]}]"#
        }
        "pair" => {
            r#""cpu":"256","memory":"256","containerDefinitions":[
                {"name":"a","image":"localhost:4566/pair:1","dependsOn":[{"containerName":"b","condition":"START"}]},
                {"name":"b","image":"pair:2","essential":false}]"#
        }
        "big" => r#""containerDefinitions":[{"name":"a","image":"big:1","cpu":1024,"memory":900}]"#,
        "role" => {
            r#""taskRoleArn":"arn:aws:iam::123456789012:role/app","executionRoleArn":"arn:aws:iam::123456789012:role/x",
                "containerDefinitions":[{"name":"a","image":"role:1","memory":64}]"#
        }
        _ => {
            r#""networkMode":"host","containerDefinitions":[{"name":"a","image":"host:1","memory":64,
                "portMappings":[{"containerPort":9000}]}]"#
        }
    };
    format!(r#"{{"family":"{family}",{rest}}}"#)
}

/// What an agent registers its machine with.
pub(crate) fn registration(cluster: &str, arn: Option<&str>) -> api::ecs::Request {
    let versions = (17..=32).map(|n| format!("com.amazonaws.ecs.capability.docker-remote-api.1.{n}"));
    let others = [
        "com.amazonaws.ecs.capability.task-iam-role",
        "com.amazonaws.ecs.capability.task-iam-role-network-host",
        "com.amazonaws.ecs.capability.ecr-auth",
        "ecs.capability.execution-role-ecr-pull",
        "ecs.capability.container-ordering",
        "ecs.capability.task-cpu-mem-limit",
    ];
    let names = versions.chain(others.map(str::to_owned));
    let attributes: Vec<String> = names.map(|name| format!(r#"{{"name":"{name}"}}"#)).collect();
    let arn = arn.map_or(String::new(), |arn| format!(r#""containerInstanceArn":"{arn}","#));
    request(
        "RegisterContainerInstance",
        &format!(
            r#"{{"cluster":"{cluster}",{arn}"attributes":[{}],"totalResources":[
                {{"name":"CPU","type":"INTEGER","integerValue":{CPU_UNITS}}},
                {{"name":"MEMORY","type":"INTEGER","integerValue":{MEMORY_MIB}}},
                {{"name":"PORTS","type":"STRINGSET","stringSetValue":["22","51678"]}},
                {{"name":"PORTS_UDP","type":"STRINGSET","stringSetValue":[]}}]}}"#,
            attributes.join(",")
        ),
    )
}
