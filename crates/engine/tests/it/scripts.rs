//! What happens, step by step, and what the engine makes of it.

use crate::world::{World, config};
use engine::{Config, Exit, Input, Outcome, Resources, Status};
use std::time::Duration;
use stdx::Timestamp;

const ONE: &str = r#"{"arn":"t/1","family":"web","version":"3","desiredStatus":"RUNNING",
    "containers":[{"name":"app","image":"i","essential":true,"portMappings":[{"containerPort":80,"hostPort":0}]}]}"#;

#[test]
fn a_task_from_payload_to_clean_up() {
    let mut w = World::new();
    w.payload(ONE);
    assert_eq!(w.take(), ["pull i", "send AckRequest"]);
    w.run();
    assert_eq!(w.take(), ["create app", "start app", "report RUNNING app=RUNNING"]);
    let name = w.containers.values().next().unwrap().name.clone();
    assert!(name.starts_with("ecs-web-3-app-") && name.len() == "ecs-web-3-app-".len() + 20, "{name}");
    w.stop_task("t/1");
    w.run();
    assert_eq!(w.take(), ["stop app 30s", "send AckRequest", "report STOPPED app=STOPPED(137)"]);
    w.pass(Duration::from_secs(3 * 3600));
    w.run();
    assert_eq!(w.take(), ["remove app"]);
    assert!(w.engine.task("t/1").is_none() && w.engine.wake_at().is_none());
    assert_eq!(w.checkpoint.records().count(), 0);
}

#[test]
fn running_is_reported_in_the_step_that_learns_of_it() {
    let mut w = World::new();
    w.payload(ONE);
    w.perform(0);
    w.perform(0);
    w.take();
    w.perform(0);
    assert_eq!(w.take(), ["report RUNNING app=RUNNING"]);
    let report = &w.reports[0].1.containers.as_ref().unwrap()[0];
    assert_eq!(report.runtime_id.as_deref(), Some("r1"));
    assert_eq!(report.image_digest.as_deref(), Some("sha256:1"));
    assert_eq!(report.network_bindings.as_ref().unwrap()[0].host_port, Some(40_000));
}

#[test]
fn an_essential_container_takes_the_others_with_it() {
    let mut w = World::new();
    w.payload(
        r#"{"arn":"t/1","desiredStatus":"RUNNING","containers":[
            {"name":"app","image":"a","essential":true},
            {"name":"side","image":"s","essential":false,"stopTimeout":7}]}"#,
    );
    w.run();
    w.take();
    w.exit("app", 3);
    w.run();
    assert_eq!(w.take(), ["stop side 7s", "report STOPPED app=STOPPED(3) side=STOPPED(137)"]);
}

#[test]
fn the_end_of_a_non_essential_container_is_told_later() {
    let mut w = World::new();
    w.payload(
        r#"{"arn":"t/1","desiredStatus":"RUNNING","containers":[
            {"name":"app","image":"a","essential":true},{"name":"side","image":"s"}]}"#,
    );
    w.run();
    w.take();
    w.exit("side", 0);
    assert!(w.take().is_empty());
    let wake = w.engine.wake_at().unwrap();
    assert!(wake >= w.now.after(Duration::from_secs(10)) && wake <= w.now.after(Duration::from_secs(30)));
    w.now = wake;
    w.step(Input::Timer);
    assert_eq!(w.take(), ["report RUNNING side=STOPPED(0)"]);
    w.accept();
    assert!(w.engine.wake_at().is_none());
}

#[test]
fn dependencies_hold_back_and_stop_in_reverse() {
    let mut w = World::new();
    w.payload(
        r#"{"arn":"t/1","desiredStatus":"RUNNING","containers":[
            {"name":"app","image":"a","essential":true,"dependsOn":[{"containerName":"db","condition":"START"},
                {"containerName":"init","condition":"SUCCESS"}]},
            {"name":"db","image":"d","essential":true},{"name":"init","image":"n"}]}"#,
    );
    w.run();
    assert_eq!(
        w.take(),
        ["pull d", "pull n", "send AckRequest", "create db", "create init", "start db", "start init"]
    );
    w.exit("init", 0);
    w.run();
    assert_eq!(
        w.take(),
        ["pull a", "create app", "start app", "report RUNNING app=RUNNING db=RUNNING init=STOPPED(0)"]
    );
    w.stop_task("t/1");
    w.run();
    assert_eq!(w.take()[..3], ["stop app 30s", "send AckRequest", "stop db 30s"]);
}

#[test]
fn a_dependency_that_fails_or_takes_too_long_is_fatal() {
    let task = |condition: &str| {
        format!(
            r#"{{"arn":"t/1","desiredStatus":"RUNNING","containers":[
            {{"name":"app","image":"a","essential":true,"dependsOn":[{{"containerName":"init","condition":"{condition}"}}]}},
            {{"name":"init","image":"n","startTimeout":5}}]}}"#
        )
    };
    let mut w = World::new();
    w.payload(&task("SUCCESS"));
    w.run();
    w.take();
    w.exit("init", 1);
    assert_eq!(
        w.take(),
        [
            "report STOPPED app=STOPPED(143)[CannotStartContainerError: dependency failed: container init stopped with \
          exit code 1 and cannot become SUCCESS] init=STOPPED(1)"
        ]
    );
    let mut w = World::new();
    w.payload(&task("COMPLETE"));
    w.run();
    w.take();
    assert_eq!(w.engine.wake_at(), Some(w.now.after(Duration::from_secs(5))));
    w.pass(Duration::from_secs(5));
    w.run();
    let lines = w.take();
    assert_eq!(lines[0], "stop init 30s");
    assert!(lines[1].contains("app=STOPPED(143)") && lines[1].contains("start timeout of 5s"), "{lines:?}");
}

#[test]
fn what_cannot_be_resolved_stops_at_once() {
    let mut w = World::new();
    w.payload(
        r#"{"arn":"t/1","desiredStatus":"RUNNING","containers":[
            {"name":"a","image":"a","essential":true,"dependsOn":[{"containerName":"b","condition":"START"}]},
            {"name":"b","image":"b","dependsOn":[{"containerName":"a","condition":"START"}]}]}"#,
    );
    let expected = [
        "report STOPPED a=STOPPED b=STOPPED because Task dependencies cannot be resolved, taskArn: t/1",
        "send AckRequest",
    ];
    assert_eq!(w.take(), expected);
}

#[test]
fn failures_carry_amazon_s_names() {
    for (failing, name) in
        [(0, "CannotPullContainerError"), (1, "CannotCreateContainerError"), (2, "CannotStartContainerError")]
    {
        let mut w = World::new();
        w.payload(ONE);
        (0..failing).for_each(|_| w.perform(0));
        w.fail(0, name);
        let expected = format!("report STOPPED app=STOPPED[{name}: on purpose]");
        assert_eq!(w.take().last().unwrap(), &expected);
    }
}

#[test]
fn the_restart_policy_restarts_in_its_bounds() {
    let mut w = World::new();
    w.payload(
        r#"{"arn":"t/1","desiredStatus":"RUNNING","containers":[{"name":"app","image":"a","essential":true,
            "restartPolicy":{"enabled":true,"ignoredExitCodes":[7],"restartAttemptPeriod":60}}]}"#,
    );
    w.run();
    w.take();
    w.pass(Duration::from_secs(60));
    w.exit("app", 1);
    w.run();
    assert_eq!(w.take(), ["start app"]);
    let task = w.engine.task("t/1").unwrap();
    assert_eq!((task.containers[0].restarts, task.containers[0].known), (1, Status::Running));
    // A late repetition of the first end says nothing about the second life.
    let exit = Exit { exit_code: 1, oom_killed: false, finished_at: w.now };
    w.step(Input::Exited { runtime_id: "r1".into(), exit });
    assert!(w.take().is_empty());
    w.pass(Duration::from_secs(59));
    w.exit("app", 1);
    assert_eq!(w.take(), ["report STOPPED app=STOPPED(1)"], "too soon after the restart");
}

#[test]
fn ignored_exit_codes_stop_the_task() {
    let mut w = World::new();
    w.payload(
        r#"{"arn":"t/1","desiredStatus":"RUNNING","containers":[{"name":"app","image":"a","essential":true,
            "restartPolicy":{"enabled":true,"ignoredExitCodes":[7],"restartAttemptPeriod":60}}]}"#,
    );
    w.run();
    w.take();
    w.pass(Duration::from_secs(600));
    w.exit("app", 7);
    assert_eq!(w.take(), ["report STOPPED app=STOPPED(7)"]);
}

#[test]
fn an_end_before_the_start_s_outcome_is_not_lost() {
    let mut w = World::new();
    w.payload(ONE);
    w.perform(0);
    w.perform(0);
    w.take();
    let (id, operation) = w.pending.remove(0);
    let outcome = w.outcome(operation);
    let exit = w.kill("r1", 2).unwrap();
    w.step(Input::Exited { runtime_id: "r1".into(), exit });
    assert!(w.take().is_empty());
    w.step(Input::Done { id, outcome });
    assert_eq!(w.take(), ["report STOPPED app=STOPPED(2)"]);
}

#[test]
fn what_was_heard_twice_happens_once() {
    let mut w = World::new();
    w.payload(ONE);
    w.payload(ONE);
    w.run();
    assert_eq!(w.take().iter().filter(|l| l.starts_with("start")).count(), 1);
    w.payload(ONE);
    assert_eq!(w.take(), ["send AckRequest"]);
    w.stop_task("t/1");
    w.payload(ONE);
    w.run();
    assert_eq!(w.engine.task("t/1").unwrap().known, Status::Stopped);
    w.take();
    // The control plane has not heard of the end, or it would not ask.
    w.payload(ONE);
    assert_eq!(w.take(), ["report STOPPED", "send AckRequest"]);
}

#[test]
fn stopping_what_is_not_known_is_answered() {
    let mut w = World::new();
    w.stop_task("t/9");
    let reason = "TaskStateError: Agent could not progress task's state to stopped";
    assert_eq!(w.take(), [format!("report STOPPED because {reason}"), "send AckRequest".into()]);
}

#[test]
fn a_payload_with_an_impossible_task_is_not_acknowledged() {
    let mut w = World::new();
    w.payload(&format!(r#"{{"arn":"t/8","desiredStatus":"WHATEVER"}},{ONE}"#));
    let reason = "UnrecogniedTaskError: Error loading task - desired status \"WHATEVER\" is not known";
    assert_eq!(w.take(), [format!("report STOPPED because {reason}"), "pull i".into()]);
}

#[test]
fn reports_are_retried_and_never_overtake_each_other() {
    let mut w = World::new();
    w.payload(ONE);
    (0..3).for_each(|_| w.perform(0));
    w.take();
    let (id, _) = w.reports.remove(0);
    w.exit("app", 0);
    assert!(w.take().is_empty(), "one report at a time");
    w.step(Input::Done { id, outcome: Outcome::Failed(engine::Failure::new("ServerException", "busy")) });
    assert!(w.take().is_empty());
    w.now = w.engine.wake_at().unwrap();
    w.step(Input::Timer);
    assert_eq!(w.take(), ["report STOPPED app=STOPPED(0)"]);
    let (id, _) = w.reports.remove(0);
    w.step(Input::Done { id, outcome: Outcome::Failed(engine::Failure::new("ServerException", "busy")) });
    w.step(Input::Connected);
    assert_eq!(w.take(), ["report STOPPED app=STOPPED(0)"]);
}

#[test]
fn a_task_that_does_not_fit_holds_up_those_behind_it() {
    let resources = Resources { cpu_units: 1024, memory_mib: 1024, ..Resources::default() };
    let mut w = World::with(Config { resources, ..config() });
    let task = |n: u32, cpu: f64| {
        format!(
            r#"{{"arn":"t/{n}","cpu":{cpu},"desiredStatus":"RUNNING","containers":[{{"name":"c{n}","image":"i{n}","essential":true}}]}}"#
        )
    };
    w.payload(&[task(1, 0.75), task(2, 0.5), task(3, 0.25)].join(","));
    assert_eq!(w.take(), ["pull i1", "send AckRequest"]);
    w.run();
    w.take();
    w.stop_task("t/1");
    w.run();
    let lines = w.take();
    assert!(lines.contains(&"pull i2".into()) && lines.contains(&"pull i3".into()), "{lines:?}");
}

#[test]
fn a_stopped_task_leaves_the_queue() {
    let resources = Resources { cpu_units: 1024, memory_mib: 1024, ..Resources::default() };
    let mut w = World::with(Config { resources, ..config() });
    let task = |n: u32, cpu: u32| {
        format!(
            r#"{{"arn":"t/{n}","cpu":{cpu},"desiredStatus":"RUNNING","containers":[{{"name":"c","image":"i{n}","essential":true}}]}}"#
        )
    };
    w.payload(&[task(1, 9), task(2, 1)].join(","));
    assert_eq!(w.take(), ["send AckRequest"]);
    w.stop_task("t/1");
    assert_eq!(w.take(), ["report STOPPED c=STOPPED", "pull i2", "send AckRequest"]);
}

#[test]
fn manifests_are_compared_and_verified() {
    let mut w = World::new();
    w.payload(ONE);
    w.run();
    w.take();
    w.manifest(5, &["t/1"]);
    assert_eq!(w.take(), ["send AckRequest"]);
    w.manifest(5, &[]);
    assert!(w.take().is_empty(), "not newer");
    w.manifest(6, &[]);
    assert_eq!(w.take(), ["send AckRequest", "send TaskStopVerificationMessage"]);
    let verified = |id: &str| {
        let text = format!(
            r#"{{"type":"TaskStopVerificationAck","message":{{"messageId":"{id}","stopTasks":[{{"taskArn":"t/1"}}]}}}}"#
        );
        Input::Message(api::channel::AcsMessage::decode(&text).unwrap())
    };
    w.step(verified("manifest5"));
    assert!(w.take().is_empty(), "not the last manifest");
    w.step(verified("manifest6"));
    assert_eq!(w.take(), ["stop app 30s"]);
    w.crash();
    w.take();
    w.manifest(6, &[]);
    assert!(w.take().is_empty(), "the number survives");
}

#[test]
fn a_restart_continues_what_runs_and_reports_what_ended() {
    let mut w = World::new();
    w.payload(ONE);
    w.run();
    w.take();
    w.crash();
    assert!(w.take().is_empty(), "nothing to do for a task that runs");
    w.kill("r1", 9);
    w.crash();
    assert_eq!(w.take(), ["report STOPPED app=STOPPED(9)"]);
}

#[test]
fn a_restart_sends_again_what_was_not_acknowledged() {
    let mut w = World::new();
    w.payload(ONE);
    (0..3).for_each(|_| w.perform(0));
    w.take();
    w.crash();
    assert_eq!(w.take(), ["report RUNNING app=RUNNING"]);
}

#[test]
fn a_restart_between_creation_and_its_outcome_finds_the_container() {
    let mut w = World::new();
    w.payload(ONE);
    w.perform(0);
    let (_, operation) = w.pending.remove(0);
    w.outcome(operation);
    w.take();
    w.crash();
    assert_eq!(w.take(), ["start app"]);
    assert_eq!(w.containers.len(), 1);
}

#[test]
fn what_nobody_knows_is_removed_and_what_is_gone_is_told() {
    let mut w = World::new();
    w.payload(ONE);
    w.run();
    let saved = std::mem::take(&mut w.checkpoint);
    w.take();
    w.crash();
    assert_eq!(w.take(), ["remove app"]);
    w.run();
    w.checkpoint = saved;
    w.crash();
    let lines = w.take();
    assert!(lines[0].starts_with("report STOPPED app=STOPPED[ContainerVanishedError"), "{lines:?}");
}

#[test]
fn a_start_that_never_answers_is_stopped() {
    let mut w = World::new();
    w.payload(ONE);
    w.perform(0);
    w.perform(0);
    w.take();
    let (_, operation) = w.pending.remove(0);
    w.outcome(operation);
    w.pass(Duration::from_secs(180));
    assert_eq!(w.take()[0], "stop app 30s");
    w.run();
    let expected = "report STOPPED app=STOPPED(137)[DockerTimeoutError: Could not transition to running; timed out \
                    after waiting 3m0s]";
    assert_eq!(w.take(), [expected]);
    assert!(w.containers.values().all(|c| !c.running()));
}

#[test]
fn a_creation_that_comes_too_late_is_removed() {
    let mut w = World::new();
    w.payload(ONE);
    w.perform(0);
    let (id, operation) = w.pending.remove(0);
    w.pass(Duration::from_secs(240));
    let outcome = w.outcome(operation);
    w.take();
    w.step(Input::Done { id, outcome });
    assert_eq!(w.take(), ["remove app"]);
}

#[test]
fn what_will_not_stop_is_removed_by_force() {
    let mut w = World::new();
    w.payload(ONE);
    w.run();
    w.stop_task("t/1");
    for _ in 0..5 {
        w.fail(0, "CannotStopContainerError");
        if w.pending.is_empty() {
            w.now = w.engine.wake_at().unwrap();
            w.step(Input::Timer);
        }
    }
    let lines = w.take();
    assert!(lines.contains(&"remove app".into()), "{lines:?}");
    assert!(lines.last().unwrap().contains("CannotStopContainerError"), "{lines:?}");
}

#[test]
fn an_execution_role_s_credentials_are_waited_for() {
    let mut w = World::new();
    let task = r#"{"arn":"t/1","desiredStatus":"RUNNING","CREDENTIALS"
        "containers":[{"name":"app","image":"i","essential":true,"registryAuthentication":{"type":"ecr",
            "ecrAuthData":{"region":"r","registryId":"1","useExecutionRole":true}}}]}"#;
    let id = r#""executionRoleCredentials":{"credentialsId":"e1","accessKeyId":"k"},"#;
    w.payload(&task.replace("\"CREDENTIALS\"", id));
    assert_eq!(w.take(), ["pull i", "send IAMRoleCredentialsAckRequest", "send AckRequest"]);
    w.crash();
    assert!(w.take().is_empty(), "credentials are not saved");
    assert_eq!(w.engine.wake_at(), Some(w.now.after(Duration::from_secs(60))));
    let text = r#"{"type":"IAMRoleCredentialsMessage","message":{"messageId":"m","taskArn":"t/1",
        "roleType":"TaskExecution","roleCredentials":{"credentialsId":"e1","accessKeyId":"k"}}}"#;
    w.step(Input::Message(api::channel::AcsMessage::decode(text).unwrap()));
    assert_eq!(w.take(), ["pull i", "send IAMRoleCredentialsAckRequest"]);
}

#[test]
fn going_down_stops_everything_and_takes_nothing_on() {
    let mut w = World::new();
    w.payload(ONE);
    w.run();
    w.take();
    w.step(Input::StopAll { reason: "the instance goes down".into() });
    w.payload(&ONE.replace("t/1", "t/2"));
    w.run();
    assert_eq!(w.take(), ["stop app 30s", "report STOPPED app=STOPPED(137) because the instance goes down"]);
    assert!(w.engine.all_stopped() && w.engine.all_reported());
    assert!(w.engine.task("t/2").is_none());
}

#[test]
fn the_oldest_of_too_many_stopped_tasks_is_forgotten_early() {
    let mut w = World::with(Config { stopped_tasks_max: 2, ..config() });
    for n in 1..=4 {
        w.payload(&ONE.replace("t/1", &format!("t/{n}")));
        w.run();
        w.exit("app", 0);
        w.run();
    }
    let kept: Vec<_> = w.engine.tasks().map(|t| t.arn().to_owned()).collect();
    assert_eq!(kept, ["t/3", "t/4"]);
    assert_eq!(w.containers.len(), 2);
}

#[test]
fn an_out_of_memory_kill_is_named() {
    let mut w = World::new();
    w.payload(ONE);
    w.run();
    w.take();
    let exit = Exit { exit_code: 137, oom_killed: true, finished_at: Timestamp(1) };
    w.step(Input::Exited { runtime_id: "r1".into(), exit });
    let expected = "report STOPPED app=STOPPED(137)[OutOfMemoryError: Container killed due to memory usage]";
    assert_eq!(w.take(), [expected]);
}
