//! What agents must be told: of tasks that changed, of those that a new connection may not know, and again after a while.

use super::{Alarm, Session, Subject, Told, Unanswered, payload};
use crate::arn;
use crate::call::Env;
use crate::core::Message;
use crate::state::Key;
use crate::state::ecs::{
    ContainerInstance, Counter, CounterId, DesiredStatus, InstanceId, InstanceStatus, Task, TaskId,
    TaskStatus,
};
use crate::tx::Tx;
use api::acs;
use api::channel::AcsMessage;
use std::sync::Arc;
use std::time::Duration;
use stdx::Timestamp;

/// How long a message may go unanswered before it is sent again; doubled with every attempt.
const RESEND: Duration = Duration::from_secs(15);
/// How often a message is sent on one connection. An agent that cannot take a payload never answers it
/// (ecs-agent, `payloadMessageHandler`), and reports the task STOPPED itself.
const ATTEMPTS_MAX: u32 = 5;
/// How often an agent's tasks are compared with ours.
const MANIFEST: Duration = Duration::from_secs(600);
/// Numbers of messages that are set aside at once.
const TIMELINE_BLOCK: u64 = 4096;

/// What the agents of the tasks that this step has touched must be told. An instance that is gone is let go of.
pub(crate) fn outbox(tx: &mut Tx<'_>, env: &mut Env<'_>) -> Vec<Message> {
    let mut messages = Vec::new();
    let (mut tasks, mut instances) = (Vec::new(), Vec::new());
    for key in tx.touched() {
        match key {
            Key::Task(id) => tasks.push(*id),
            Key::ContainerInstance(id) => instances.push(*id),
            _ => {}
        }
    }
    for id in instances {
        let is_gone = tx.get::<ContainerInstance>(&id).is_none_or(|i| i.status == InstanceStatus::Inactive);
        if is_gone {
            messages.extend(tx.sessions().close(id));
        }
    }
    for task in tasks {
        tell(tx, env, task, &mut messages);
    }
    messages
}

/// Looks at every task of every connected instance.
pub(crate) fn sweep(tx: &mut Tx<'_>, env: &mut Env<'_>) -> Vec<Message> {
    let mut messages = Vec::new();
    let connected: Vec<InstanceId> = tx.state().sessions.by_instance.keys().copied().collect();
    for instance in connected {
        tell_all(tx, env, instance, &mut messages);
    }
    messages
}

/// Tells an agent of all its tasks as far as this connection has not: what stops before what starts, so that there is
/// room on the instance.
pub(super) fn tell_all(
    tx: &mut Tx<'_>,
    env: &mut Env<'_>,
    instance: InstanceId,
    messages: &mut Vec<Message>,
) {
    let tasks = live_tasks(tx, instance);
    let (stopping, others): (Vec<_>, Vec<_>) =
        tasks.into_iter().partition(|task| task.desired_status == DesiredStatus::Stopped);
    for task in stopping.iter().chain(&others) {
        tell(tx, env, task.id, messages);
    }
}

/// The instance's tasks that are not STOPPED, in order of creation.
fn live_tasks(tx: &Tx<'_>, instance: InstanceId) -> Vec<Arc<Task>> {
    let state = tx.state();
    let ids = state.indexes.tasks_by_instance.get(&instance).into_iter().flatten();
    ids.filter_map(|(_, id)| state.tasks.get(id)).filter(|task| !task.is_stopped()).cloned().collect()
}

/// Tells an agent of a task, if there is anything that it has not been told on this connection.
fn tell(tx: &mut Tx<'_>, env: &mut Env<'_>, id: TaskId, messages: &mut Vec<Message>) {
    let Some(task) = tx.get::<Task>(&id).cloned() else { return };
    let Some(instance) = task.instance else { return };
    let Some(session) = tx.sessions().by_instance.get_mut(&instance) else { return };
    let told = session.told.get(&id).copied();
    if task.is_stopped() {
        tx.sessions().forget_task(instance, id);
        return;
    }
    let current = expiries(&task);
    let knows = match told {
        Some(told) => told.desired >= task.desired_status,
        // An agent that has reported a task RUNNING keeps it over restarts.
        None => task.desired_status == DesiredStatus::Running && task.last_status >= TaskStatus::Running,
    };
    if !knows {
        send_payload(tx, env, &task, messages);
        return;
    }
    let desired = task.desired_status;
    let known = told.unwrap_or(Told { desired, credentials: [None; 2], payload: None, is_known: true });
    session.told.insert(id, Told { credentials: current, ..known });
    for (index, (now, before)) in current.into_iter().zip(known.credentials).enumerate() {
        if now > before {
            send_credentials(tx, env, (&task, index), messages);
        }
    }
}

/// When the credentials of the task's role and of its execution role end.
fn expiries(task: &Task) -> [Option<Timestamp>; 2] {
    [&task.role_credentials, &task.execution_role_credentials].map(|c| c.as_ref().map(|c| c.expires_at))
}

fn send_payload(tx: &mut Tx<'_>, env: &mut Env<'_>, task: &Arc<Task>, messages: &mut Vec<Message>) {
    let Some(instance) = task.instance else { return };
    let number = next_number(tx);
    let body = acs::PayloadMessage {
        message_id: Some(number.to_string()),
        cluster_arn: Some(arn::cluster(&task.cluster)),
        container_instance_arn: Some(arn::container_instance(&task.cluster, instance)),
        seq_num: i32::try_from(number).ok(),
        generated_at: Some(env.now.millis()),
        timeline: i64::try_from(number).ok(),
        // One task a message: one that the agent cannot take must not keep the others unacknowledged.
        tasks: Some(vec![payload::task(tx.state(), env.settings, task)]),
    };
    let (desired, credentials) = (task.desired_status, expiries(task));
    let told = Told { desired, credentials, payload: Some(number), is_known: false };
    let sessions = tx.sessions();
    sessions.drop_payload(instance, task.id);
    let Some(session) = sessions.by_instance.get_mut(&instance) else { return };
    session.told.insert(task.id, told);
    messages.push(Message { connection: session.connection, frame: body.into() });
    sessions.expect_answer(instance, number, Subject::Payload, (task.id, env.now));
}

fn send_credentials(
    tx: &mut Tx<'_>,
    env: &mut Env<'_>,
    (task, index): (&Arc<Task>, usize),
    messages: &mut Vec<Message>,
) {
    let Some(instance) = task.instance else { return };
    let (role_type, credentials) = match index {
        0 => (acs::RoleType::TaskApplication, &task.role_credentials),
        _ => (acs::RoleType::TaskExecution, &task.execution_role_credentials),
    };
    let Some(credentials) = credentials.as_ref().and_then(|c| payload::credentials(tx.state(), c)) else {
        return;
    };
    let number = next_number(tx);
    let body = acs::IAMRoleCredentialsMessage {
        message_id: Some(number.to_string()),
        task_arn: Some(arn::task(&task.cluster, task.id)),
        task_cluster_arn: Some(arn::cluster(&task.cluster)),
        role_type: Some(role_type),
        role_credentials: Some(credentials),
    };
    let sessions = tx.sessions();
    let Some(session) = sessions.by_instance.get(&instance) else { return };
    messages.push(Message { connection: session.connection, frame: body.into() });
    sessions.expect_answer(instance, number, Subject::Credentials, (task.id, env.now));
}

/// Lists the instance's tasks to its agent, which answers with those that it has beyond them.
pub(super) fn send_manifest(tx: &mut Tx<'_>, env: &mut Env<'_>, id: InstanceId, messages: &mut Vec<Message>) {
    let Some(instance) = tx.get::<ContainerInstance>(&id).cloned() else { return };
    let number = next_number(tx);
    let listed = live_tasks(tx, id).into_iter().map(|task| acs::TaskIdentifier {
        task_arn: Some(arn::task(&task.cluster, task.id)),
        task_cluster_arn: Some(arn::cluster(&task.cluster)),
        desired_status: Some(task.desired_status.as_str().to_owned()),
    });
    let body = acs::TaskManifestMessage {
        message_id: Some(number.to_string()),
        cluster_arn: Some(arn::cluster(&instance.cluster)),
        container_instance_arn: Some(arn::container_instance(&instance.cluster, id)),
        generated_at: Some(env.now.millis()),
        timeline: i64::try_from(number).ok(),
        tasks: Some(listed.collect()),
    };
    let sessions = tx.sessions();
    let Some(session) = sessions.by_instance.get_mut(&id) else { return };
    session.manifest = Some(number);
    messages.push(Message { connection: session.connection, frame: body.into() });
    sessions.timers.insert((env.now.after(MANIFEST), id, Alarm::Manifest));
}

/// Does what the alarms of connections ask for, at most `most` of them.
pub(crate) fn due(tx: &mut Tx<'_>, env: &mut Env<'_>, most: usize) -> Vec<Message> {
    let mut messages = Vec::new();
    for _ in 0..most {
        let timers = &mut tx.sessions().timers;
        let Some(&(at, instance, alarm)) = timers.first() else { break };
        if at > env.now {
            break;
        }
        timers.pop_first();
        match alarm {
            Alarm::Resend(number) => resend(tx, env, (instance, number), &mut messages),
            Alarm::Manifest => {
                repeat(tx, env, instance, &mut messages);
                send_manifest(tx, env, instance, &mut messages);
            }
        }
    }
    messages
}

fn resend(
    tx: &mut Tx<'_>,
    env: &mut Env<'_>,
    (instance, number): (InstanceId, u64),
    messages: &mut Vec<Message>,
) {
    let Some(session) = tx.sessions().by_instance.get_mut(&instance) else { return };
    let Some(unanswered) = session.unanswered.remove(&number) else { return };
    if let Some(told) = session.told.get_mut(&unanswered.task) {
        told.payload = told.payload.filter(|payload| *payload != number);
    }
    if unanswered.attempts >= ATTEMPTS_MAX {
        tracing::warn!(%instance, task = %unanswered.task, "the agent does not acknowledge a message");
        tx.sessions().given_up += 1;
        return;
    }
    let Some(task) = tx.get::<Task>(&unanswered.task).filter(|t| !t.is_stopped()).cloned() else { return };
    let before = messages.len();
    match unanswered.subject {
        Subject::Payload => send_payload(tx, env, &task, messages),
        Subject::Credentials => {
            for index in 0..2 {
                send_credentials(tx, env, (&task, index), messages);
            }
        }
    }
    let attempts = unanswered.attempts + 1;
    for message in &messages[before..] {
        if let Some(number) = number_of(&message.frame) {
            tx.sessions().postpone(instance, number, attempts, env.now);
        }
    }
}

/// Tells an agent again what it never acknowledged, and what shall stop and has not: it may have forgotten the task,
/// and then says so.
fn repeat(tx: &mut Tx<'_>, env: &mut Env<'_>, instance: InstanceId, messages: &mut Vec<Message>) {
    for task in live_tasks(tx, instance) {
        let told = tx.state().sessions.by_instance.get(&instance).and_then(|s| s.told.get(&task.id));
        let is_due = |told: &Told| {
            told.payload.is_none() && (!told.is_known || task.desired_status == DesiredStatus::Stopped)
        };
        if told.is_some_and(is_due) {
            send_payload(tx, env, &task, messages);
        }
    }
}

fn number_of(frame: &AcsMessage) -> Option<u64> {
    let id = match frame {
        AcsMessage::PayloadMessage(message) => &message.message_id,
        AcsMessage::IAMRoleCredentialsMessage(message) => &message.message_id,
        _ => return None,
    };
    id.as_ref().and_then(|id| id.parse().ok())
}

/// The next number of payloads and manifests: it never goes back, whatever happens to the process.
fn next_number(tx: &mut Tx<'_>) -> u64 {
    let reserved = tx.get::<Counter>(&CounterId::Timeline).map_or(1, |counter| counter.reserved);
    let sessions = tx.sessions();
    let number = sessions.timeline.max(1);
    sessions.timeline = number + 1;
    if number >= reserved {
        tx.put(Counter { id: CounterId::Timeline, reserved: number + TIMELINE_BLOCK });
    }
    number
}

impl super::Sessions {
    fn expect_answer(
        &mut self,
        instance: InstanceId,
        number: u64,
        subject: Subject,
        (task, now): (TaskId, Timestamp),
    ) {
        let Some(session) = self.by_instance.get_mut(&instance) else { return };
        let due = now.after(RESEND);
        session.unanswered.insert(number, Unanswered { task, subject, due, attempts: 1 });
        self.timers.insert((due, instance, Alarm::Resend(number)));
    }

    /// A message that was sent again waits longer.
    fn postpone(&mut self, instance: InstanceId, number: u64, attempts: u32, now: Timestamp) {
        let Some(session) = self.by_instance.get_mut(&instance) else { return };
        let Some(unanswered) = session.unanswered.get_mut(&number) else { return };
        self.timers.remove(&(unanswered.due, instance, Alarm::Resend(number)));
        unanswered.due = now.after(RESEND.saturating_mul(1 << (attempts - 1).min(8)));
        unanswered.attempts = attempts;
        self.timers.insert((unanswered.due, instance, Alarm::Resend(number)));
    }

    /// The agent has acknowledged a message.
    pub(super) fn answered(&mut self, instance: InstanceId, number: u64) {
        let Some(session) = self.by_instance.get_mut(&instance) else { return };
        let Some(unanswered) = session.unanswered.remove(&number) else { return };
        self.timers.remove(&(unanswered.due, instance, Alarm::Resend(number)));
        if let Some(told) = session.told.get_mut(&unanswered.task).filter(|told| told.payload == Some(number))
        {
            told.payload = None;
            told.is_known = true;
        }
    }

    /// A newer payload about the task takes the place of the one that waits for its answer.
    fn drop_payload(&mut self, instance: InstanceId, task: TaskId) {
        let waiting = self.by_instance.get(&instance).and_then(|s| s.told.get(&task)).and_then(|t| t.payload);
        if let Some(number) = waiting {
            self.answered(instance, number);
        }
    }

    /// Nothing more is to be said about a task.
    fn forget_task(&mut self, instance: InstanceId, task: TaskId) {
        self.drop_payload(instance, task);
        let Some(session) = self.by_instance.get_mut(&instance) else { return };
        if session.told.remove(&task).is_none() {
            return;
        }
        let about = |session: &Session| -> Vec<u64> {
            let all = session.unanswered.iter();
            all.filter(|(_, unanswered)| unanswered.task == task).map(|(number, _)| *number).collect()
        };
        for number in about(session) {
            self.answered(instance, number);
        }
    }
}
