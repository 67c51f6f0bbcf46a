//! What AWS refuses is refused with AWS's code, and changes nothing.

use crate::clients::boto;
use crate::http::send;
use crate::images::{FOREIGN, busybox, layout, push};
use crate::wharf::{Wharf, builtin};

const SIMULATED: &[&str] = &["--runtime", "simulated"];

fn simulated(script: &str) {
    let directory = tempfile::tempdir().unwrap();
    let wharf = Wharf::start(&directory.path().join("data"), SIMULATED);
    boto(&wharf, script);
    assert!(wharf.stop().success());
}

#[test]
fn keys_and_clocks() {
    simulated(
        r#"
wrong = boto3.client("ecs", config=once, aws_secret_access_key="wrong", aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"])
refused("InvalidSignatureException", wrong.create_cluster, clusterName="forged")
stranger = boto3.client("ecs", config=once, aws_secret_access_key="wrong", aws_access_key_id="AKIAAAAAAAAAAAAAAAAA")
refused("UnrecognizedClientException", stranger.create_cluster, clusterName="forged")
import botocore.auth, datetime
class Late(datetime.datetime):
    @classmethod
    def utcnow(cls): return datetime.datetime(2020, 1, 1)
    @classmethod
    def now(cls, tz=None): return datetime.datetime(2020, 1, 1, tzinfo=tz)
if hasattr(botocore.auth, "get_current_datetime"):
    botocore.auth.get_current_datetime = lambda *a, **k: datetime.datetime(2020, 1, 1)
else:
    botocore.auth.datetime.datetime = Late
late = boto3.client("ecs", config=once)
try:
    late.create_cluster(clusterName="late")
    raise AssertionError("an old signature was accepted")
except late.exceptions.ClientError as error:
    assert error.response["Error"]["Code"] == "InvalidSignatureException", error
    assert "Signature expired" in str(error), error
"#,
    );
}

#[test]
fn requests_that_are_none() {
    let directory = tempfile::tempdir().unwrap();
    let wharf =
        Wharf::start(&directory.path().join("data"), &["--runtime", "simulated", "--any-credentials"]);
    let call = |target: &str, body: &str| {
        let head = format!(
            "POST / HTTP/1.1\r\ncontent-type: application/x-amz-json-1.1\r\nx-amz-target: \
             AmazonEC2ContainerServiceV20141113.{target}"
        );
        send(wharf.address(), &head, body).unwrap()
    };
    let (status, body) = call("MakeCoffee", "{}");
    assert_eq!(status, 400, "{body}");
    assert!(body.contains("UnknownOperationException"), "{body}");
    for malformed in ["{", "[]", "{\"clusterName\": 7}", "\u{0}"] {
        let (status, body) = call("CreateCluster", malformed);
        assert_eq!(status, 400, "{malformed}: {body}");
        assert!(body.contains("SerializationException"), "{malformed}: {body}");
    }
    let (_, clusters) = call("ListClusters", "{}");
    assert!(
        clusters.contains("cluster/default") && !clusters.contains("\",\""),
        "nothing was made: {clusters}"
    );
    assert!(wharf.stop().success());
}

#[test]
fn forged_tokens_do_not_open_the_registry() {
    let directory = tempfile::tempdir().unwrap();
    let wharf = Wharf::start(&directory.path().join("data"), &["--runtime", "simulated"]);
    for credentials in ["", "\r\nauthorization: Basic QVdTOmZvcmdlZA==", "\r\nauthorization: Bearer forged"] {
        let (status, body) = send(wharf.address(), &format!("GET /v2/ HTTP/1.1{credentials}"), "").unwrap();
        assert_eq!(status, 401, "{credentials}: {body}");
    }
    let (status, body) = send(
        wharf.address(),
        "POST / HTTP/1.1\r\nx-amz-target: AmazonEC2ContainerServiceV20141113.ListClusters",
        "{}",
    )
    .unwrap();
    assert!(status == 400 && body.contains("MissingAuthenticationTokenException"), "{body}");
    assert!(wharf.stop().success());
}

#[test]
fn unknown_names() {
    simulated(
        r#"
joined()
register("f")
refused("ClusterNotFoundException", ecs.run_task, cluster="nobody", taskDefinition="f")
refused("ClusterNotFoundException", ecs.list_tasks, cluster="nobody")
message = refused("ClientException", ecs.run_task, taskDefinition="nothing")
assert "Unable to find task definition" in message or "TaskDefinition not found" in message, message
refused("ClientException", ecs.run_task, taskDefinition="f:7")
refused("ClientException", ecs.describe_task_definition, taskDefinition="nothing")
refused("InvalidParameterException", ecs.stop_task, task="0123456789abcdef0123456789abcdef")
refused("RepositoryNotFoundException", ecr.describe_repositories, repositoryNames=["nothing"])
assert ecs.list_tasks()["taskArns"] == [] and len(ecs.list_clusters()["clusterArns"]) == 1
"#,
    );
}

#[test]
fn what_does_not_fit_is_a_failure_and_no_task() {
    simulated(
        r#"
joined()
reply = ecs.run_task(taskDefinition=register("huge", memory=900000))
assert [f["reason"] for f in reply["failures"]] == ["RESOURCE:MEMORY"] and reply["tasks"] == [], reply
fixed = register("fixed", portMappings=[dict(containerPort=80, hostPort=8099)])
first = run(fixed)
reply = ecs.run_task(taskDefinition=fixed)
assert [f["reason"] for f in reply["failures"]] == ["RESOURCE:PORTS"] and reply["tasks"] == [], reply
assert ecs.list_tasks()["taskArns"] == [first]
"#,
    );
}

#[test]
fn operations_that_are_not_built_say_so() {
    simulated(
        r#"
def named(operation, call, **more):
    try: call(**more)
    except ClientError as error:
        assert operation in error.response["Error"]["Message"], error.response
        return
    raise AssertionError(operation + " was accepted")
joined()
register("f")
ecr.create_repository(repositoryName="web")
named("CreateService", ecs.create_service, serviceName="s", taskDefinition="f", desiredCount=1)
named("PutLifecyclePolicy", ecr.put_lifecycle_policy, repositoryName="web", lifecyclePolicyText="{}" + " " * 100)
"#,
    );
}

#[test]
fn containers_that_do_not_run() {
    let _one = builtin();
    let directory = tempfile::tempdir().unwrap();
    let wharf = Wharf::start(&directory.path().join("data"), &[]);
    let image = busybox(&wharf, directory.path());
    let foreign = directory.path().join("foreign");
    layout(&foreign, &[FOREIGN]);
    let foreign = push(&wharf, &foreign, "web:foreign", &["--override-arch", FOREIGN]);
    let script =
        format!("image, foreign, registry = {image:?}, {foreign:?}, {:?}\n{DO_NOT_RUN}", wharf.registry());
    boto(&wharf, &script);
    assert!(wharf.stop().success());
}

const DO_NOT_RUN: &str = r#"
joined()
missing = reach(run(register("missing", registry + "/web:nothing")), "STOPPED")
assert missing["stopCode"] == "TaskFailedToStart", missing
assert "CannotPull" in missing["stoppedReason"], missing
assert "exitCode" not in missing["containers"][0], missing

other = reach(run(register("foreign", foreign)), "STOPPED")
assert other["stopCode"] == "TaskFailedToStart", other
assert "exitCode" not in other["containers"][0], other

ended = reach(run(register("ended", image, command=["/bin/busybox", "sh", "-c", "exit 3"])), "STOPPED")
assert ended["stopCode"] == "EssentialContainerExited", ended
assert ended["stoppedReason"] == "Essential container in task exited", ended
assert ended["containers"][0]["exitCode"] == 3, ended

script = "x=a; while true; do x=$x$x; done"
greedy = reach(run(register("greedy", image, command=["/bin/busybox", "sh", "-c", script])), "STOPPED")
assert greedy["containers"][0]["exitCode"] == 137, greedy
assert greedy["containers"][0]["reason"].startswith("OutOfMemoryError"), greedy
assert ecs.list_tasks()["taskArns"] == []
"#;
