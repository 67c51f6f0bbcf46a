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
refused("ResourceNotFoundException", logs.describe_log_streams, logGroupName="/nothing")
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
fn keys_and_clocks() {
    simulated(
        r#"
wrong = boto3.client("ecs", config=once, aws_secret_access_key="wrong", aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"])
refused("InvalidSignatureException", wrong.create_cluster, clusterName="forged")
stranger = boto3.client("ecs", config=once, aws_secret_access_key="wrong", aws_access_key_id="AKIAAAAAAAAAAAAAAAAA")
refused("UnrecognizedClientException", stranger.create_cluster, clusterName="forged")
import botocore.auth, datetime
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
class Past(botocore.auth.SigV4Auth):
    def add_auth(self, request):
        request.context["timestamp"] = "20200101T000000Z"
        self._inject_signature_to_request(request, self._sign(request))
    def _sign(self, request):
        request.headers["X-Amz-Date"] = request.context["timestamp"]
        return self.signature(self.string_to_sign(request, self.canonical_request(request)), request)
request = AWSRequest("POST", os.environ["AWS_ENDPOINT_URL"] + "/", data=b'{"clusterName": "late"}', headers={
    "content-type": "application/x-amz-json-1.1", "x-amz-target": "AmazonEC2ContainerServiceV20141113.CreateCluster"})
Past(Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]), "ecs", "us-east-1").add_auth(request)
prepared = request.prepare()
raw = urllib.request.Request(prepared.url, data=prepared.body, method="POST", headers={
    k: v.decode() if isinstance(v, bytes) else v for k, v in prepared.headers.items()})
try: urllib.request.urlopen(raw); raise AssertionError("an old signature was accepted")
except urllib.error.HTTPError as error:
    body = json.loads(error.read())
    assert error.code == 400 and body["__type"].endswith("InvalidSignatureException"), body
    assert "Signature expired" in body["message"], body
assert len(ecs.list_clusters()["clusterArns"]) == 1
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
named("PutLifecyclePolicy", ecr.put_lifecycle_policy, repositoryName="web", lifecyclePolicyText="{}")
"#,
    );
}

#[test]
fn requests_that_are_none() {
    let directory = tempfile::tempdir().unwrap();
    let wharf = Wharf::start(&directory.path().join("data"), &["--runtime", "simulated", "--any-credentials"]);
    let call = |target: &str, body: &str| {
        let head = format!(
            "POST / HTTP/1.1\r\nx-amz-date: 20260101T000000Z\r\ncontent-type: application/x-amz-json-1.1\r\nx-amz-target: {target}\r\n\
             authorization: AWS4-HMAC-SHA256 Credential=123456789012/20260101/us-east-1/ecs/aws4_request, \
             SignedHeaders=host, Signature=00"
        );
        send(wharf.address(), &head, body).unwrap()
    };
    let (status, body) = call("AmazonEC2ContainerServiceV20141113.MakeCoffee", "{}");
    assert_eq!(status, 400, "{body}");
    assert!(body.contains("UnknownOperationException") || body.contains("InvalidAction"), "{body}");
    for malformed in ["{", "[]", "{\"clusterName\": 7}", "\u{0}"] {
        let (status, body) = call("AmazonEC2ContainerServiceV20141113.CreateCluster", malformed);
        assert_eq!(status, 400, "{malformed}: {body}");
        assert!(body.contains("SerializationException"), "{malformed}: {body}");
    }
    let forged = "GET /v2/ HTTP/1.1\r\nauthorization: Basic QVdTOmZvcmdlZA==";
    let (status, body) = send(wharf.address(), forged, "").unwrap();
    assert_eq!(status, 401, "{body}");
    assert!(wharf.stop().success());
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
    let script = format!("image, foreign, registry = {image:?}, {foreign:?}, {:?}\n{DO_NOT_RUN}", wharf.registry());
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
