//! The real clients: AWS CLI 1 and 2, boto3, Docker and skopeo.

use crate::wharf::{Wharf, target};
use serde_json::Value;
use std::ffi::OsString;
use std::process::{Command, Output};

/// What every boto3 script begins with.
const PRELUDE: &str = r#"
import boto3, json, os, time, urllib.request
from botocore.config import Config
from botocore.exceptions import ClientError
once = Config(retries={"total_max_attempts": 1})
ecs, ecr, logs = (boto3.client(name, config=once) for name in ("ecs", "ecr", "logs"))

def until(what, ask, seconds=40):
    end = time.time() + seconds
    while time.time() < end:
        answer = ask()
        if answer: return answer
        time.sleep(0.02)
    raise AssertionError("not in time: " + what)

def joined(cluster="default"):
    def ask():
        # After a reset there is no cluster until this machine's agent has made it.
        try: arns = ecs.list_container_instances(cluster=cluster)["containerInstanceArns"]
        except ecs.exceptions.ClusterNotFoundException: return None
        found = arns and ecs.describe_container_instances(cluster=cluster, containerInstances=arns)["containerInstances"]
        return [i for i in found or [] if i["agentConnected"]]
    return until("an instance", ask)

def register(family, image="any/image:1", **more):
    container = dict(name="c", image=image, memory=16, essential=True) | more
    return ecs.register_task_definition(family=family, containerDefinitions=[container])["taskDefinition"]["taskDefinitionArn"]

def run(definition):
    reply = ecs.run_task(taskDefinition=definition)
    assert not reply["failures"], reply["failures"]
    return reply["tasks"][0]["taskArn"]

def describe(arn):
    return ecs.describe_tasks(tasks=[arn])["tasks"][0]

def reach(arn, status):
    def ask():
        task = describe(arn)
        assert status == "STOPPED" or task["lastStatus"] != "STOPPED", task
        return task if task["lastStatus"] == status else None
    return until(status, ask)

def refused(code, call, *args, **more):
    try: reply = call(*args, **more)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error.response
        return error.response["Error"]["Message"]
    raise AssertionError(f"not refused with {code}: {reply}")
"#;

fn client(variable: &str, name: &str, on_path: &str) -> OsString {
    let installed = target().join("clients/bin").join(name);
    std::env::var_os(variable)
        .unwrap_or_else(|| if installed.exists() { installed.into_os_string() } else { on_path.into() })
}

/// Runs a boto3 script, which fails the test by an exception; its last line of output is JSON, if there is any.
pub(crate) fn boto(wharf: &Wharf, script: &str) -> Value {
    let output = Command::new(client("WHARF_PYTHON", "python", "python3"))
        .args(["-c", &format!("{PRELUDE}\n{script}")])
        .envs(wharf.environment())
        .env_remove("AWS_PROFILE")
        .output()
        .unwrap();
    let text = success("python", output);
    text.lines().last().map_or(Value::Null, |line| serde_json::from_str(line).unwrap())
}

/// Runs a script that needs no Wharf.
pub(crate) fn python(arguments: &[&str]) {
    success("python", Command::new("python3").args(arguments).output().unwrap());
}

/// AWS CLI 1, as a user who has evaluated `wharf env`.
pub(crate) fn aws(wharf: &Wharf, arguments: &[&str]) -> String {
    let output = Command::new(client("WHARF_AWS", "aws", "aws"))
        .args(arguments)
        .envs(wharf.environment())
        .env_remove("AWS_PROFILE")
        .output()
        .unwrap();
    success(&format!("aws {}", arguments.join(" ")), output)
}

/// AWS CLI 2 of Debian, which is older than `AWS_ENDPOINT_URL`.
pub(crate) fn aws2(wharf: &Wharf, arguments: &[&str]) -> Command {
    let mut command = Command::new("/usr/bin/aws");
    command.args(arguments).args(["--endpoint-url", &wharf.url]).envs(wharf.environment());
    command
}

/// The dockerd that is there: `DOCKER_HOST`, or the usual socket.
pub(crate) fn docker(arguments: &[&str]) -> String {
    success(
        &format!("docker {}", arguments.join(" ")),
        Command::new("docker").args(arguments).output().unwrap(),
    )
}

pub(crate) fn skopeo(arguments: &[&str]) -> String {
    success(
        &format!("skopeo {}", arguments.join(" ")),
        Command::new("skopeo").args(arguments).output().unwrap(),
    )
}

/// The standard output of a command that succeeded.
pub(crate) fn success(what: &str, output: Output) -> String {
    assert!(
        output.status.success(),
        "{what}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
