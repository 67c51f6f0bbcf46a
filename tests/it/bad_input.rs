//! What AWS refuses is refused with AWS's code, and changes nothing.

use crate::clients::boto;
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
