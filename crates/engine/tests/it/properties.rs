//! What holds whatever happens.

use crate::world::World;
use engine::{Input, Status};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

const TASKS: [&str; 4] = [
    r#"{"arn":"t/0","cpu":1,"desiredStatus":"RUNNING","containers":[{"name":"a","image":"i","essential":true}]}"#,
    r#"{"arn":"t/1","cpu":1,"desiredStatus":"RUNNING","containers":[
        {"name":"b","image":"i","essential":true,"dependsOn":[{"containerName":"c","condition":"SUCCESS"}]},
        {"name":"c","image":"i","startTimeout":30}]}"#,
    r#"{"arn":"t/2","cpu":1,"desiredStatus":"RUNNING","containers":[{"name":"d","image":"i","essential":true,
        "restartPolicy":{"enabled":true,"restartAttemptPeriod":60}},
        {"name":"e","image":"i","dependsOn":[{"containerName":"d","condition":"START"}]}]}"#,
    r#"{"arn":"t/3","desiredStatus":"STOPPED","containers":[{"name":"f","image":"i","essential":true}]}"#,
];

#[derive(Clone, Debug)]
enum Event {
    Payload(usize),
    Stop(usize),
    Manifest(i64, Vec<usize>),
    Verify(i64),
    Perform(usize),
    Fail(usize),
    /// The operation happens and its outcome is not heard of in time.
    Silence(usize),
    Exit(usize, i32),
    RepeatExit(usize),
    Accept,
    RefuseReport,
    Pass(u64),
    List,
    Crash,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..TASKS.len()).prop_map(Event::Payload),
        2 => (0..TASKS.len()).prop_map(Event::Stop),
        1 => (0..20i64, prop::collection::vec(0..TASKS.len(), 0..3)).prop_map(|(n, t)| Event::Manifest(n, t)),
        1 => (0..20i64).prop_map(Event::Verify),
        12 => (0..8usize).prop_map(Event::Perform),
        2 => (0..8usize).prop_map(Event::Fail),
        1 => (0..8usize).prop_map(Event::Silence),
        3 => (0..8usize, 0..3i32).prop_map(|(n, code)| Event::Exit(n, code)),
        1 => (0..8usize).prop_map(Event::RepeatExit),
        3 => Just(Event::Accept),
        1 => Just(Event::RefuseReport),
        4 => (1..400_000u64).prop_map(Event::Pass),
        1 => Just(Event::List),
        1 => Just(Event::Crash),
    ]
}

fn apply(w: &mut World, event: &Event) {
    let pending = w.pending.len();
    match event {
        Event::Payload(n) => w.payload(TASKS[*n]),
        Event::Stop(n) => w.stop_task(&format!("t/{n}")),
        Event::Manifest(n, tasks) => {
            let arns: Vec<String> = tasks.iter().map(|t| format!("t/{t}")).collect();
            w.manifest(*n, &arns.iter().map(String::as_str).collect::<Vec<_>>());
        }
        Event::Verify(n) => {
            let text = format!(
                r#"{{"type":"TaskStopVerificationAck","message":{{"messageId":"manifest{n}","stopTasks":[{{"taskArn":"t/0"}}]}}}}"#
            );
            w.step(Input::Message(api::channel::AcsMessage::decode(&text).unwrap()));
        }
        Event::Perform(n) if pending > 0 => w.perform(n % pending),
        Event::Fail(n) if pending > 0 => w.fail(n % pending, "DockerStateError"),
        Event::Silence(n) if pending > 0 => {
            let (_, operation) = w.pending.remove(n % pending);
            w.outcome(operation);
        }
        Event::Exit(n, code) => {
            let running: Vec<_> =
                w.containers.iter().filter(|(_, c)| c.running()).map(|(id, _)| id.clone()).collect();
            if !running.is_empty() {
                let runtime_id = running[n % running.len()].clone();
                let exit = w.kill(&runtime_id, *code).unwrap();
                w.step(Input::Exited { runtime_id, exit });
            }
        }
        Event::RepeatExit(n) => {
            let ends = w.found().into_iter().filter_map(|f| match f.status {
                engine::FoundStatus::Exited { exit, .. } => Some((f.runtime_id, exit)),
                _ => None,
            });
            let ends: Vec<_> = ends.collect();
            if !ends.is_empty() {
                let (runtime_id, exit) = ends[n % ends.len()].clone();
                w.step(Input::Exited { runtime_id, exit });
            }
        }
        Event::Accept => w.accept(),
        Event::RefuseReport => {
            for (id, _) in std::mem::take(&mut w.reports) {
                let failure = engine::Failure::new("ServerException", "busy");
                w.step(Input::Done { id, outcome: engine::Outcome::Failed(failure) });
            }
        }
        Event::Pass(ms) => w.pass(Duration::from_millis(*ms)),
        Event::List => {
            let found = w.found();
            w.step(Input::Recovered(found));
        }
        Event::Crash => w.crash(),
        Event::Perform(_) | Event::Fail(_) | Event::Silence(_) => {}
    }
}

/// How far each task and container of the engine has come.
fn progress(w: &World) -> BTreeMap<String, Vec<Status>> {
    let states =
        |t: &engine::Task| std::iter::once(t.known).chain(t.containers.iter().map(|c| c.known)).collect();
    w.engine.tasks().map(|t| (t.arn().to_owned(), states(t))).collect()
}

fn check(w: &World, before: &BTreeMap<String, Vec<Status>>) -> Result<(), TestCaseError> {
    let after = progress(w);
    for (arn, earlier) in before {
        if let Some(later) = after.get(arn) {
            prop_assert!(
                earlier.iter().zip(later).all(|(e, l)| e <= l),
                "{arn} went back: {earlier:?} to {later:?}"
            );
        }
    }
    let mut running = BTreeMap::new();
    for container in w.containers.values().filter(|c| c.running()) {
        let name = (container.label("task-arn"), container.label("container-name"));
        prop_assert!(running.insert(name.clone(), ()).is_none(), "{name:?} runs twice");
    }
    let cpu: usize = w.engine.tasks().filter(|t| t.admitted && t.plan.cpu_units.is_some()).count();
    prop_assert!(cpu <= 2, "more is admitted than fits");
    Ok(())
}

/// Faults end and time goes on until nothing is left to do.
fn heal(w: &mut World) {
    w.crash();
    for _ in 0..200 {
        w.run();
        match w.engine.wake_at() {
            Some(at)
                if w.engine.tasks().any(|t| t.known != Status::Stopped || t.reported != Status::Stopped) =>
            {
                w.now = at;
                w.step(Input::Timer);
            }
            _ => return,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn states_go_forward_and_what_must_stop_stops(events in prop::collection::vec(event(), 1..120)) {
        let mut w = World::new();
        for event in &events {
            let before = progress(&w);
            apply(&mut w, event);
            check(&w, &before)?;
        }
        heal(&mut w);
        for task in w.engine.tasks().filter(|t| t.known == Status::Stopped) {
            let left = w.containers.values().any(|c| c.running() && c.label("task-arn") == task.arn());
            prop_assert!(!left, "{} has stopped and something of it runs", task.arn());
        }
        w.step(Input::StopAll { reason: "end".into() });
        heal(&mut w);
        w.step(Input::StopAll { reason: "end".into() });
        heal(&mut w);
        prop_assert!(w.containers.values().all(|c| !c.running()), "something runs on");
        prop_assert!(w.engine.all_stopped() && w.engine.all_reported());
    }

    #[test]
    fn the_same_inputs_give_the_same_effects(events in prop::collection::vec(event(), 1..80)) {
        let trace = || {
            let mut w = World::new();
            for event in &events {
                apply(&mut w, event);
            }
            (w.lines, w.checkpoint, w.engine.wake_at())
        };
        prop_assert_eq!(trace(), trace());
    }
}
