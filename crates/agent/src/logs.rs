//! The log driver `awslogs`: ships containers' local logs to CloudWatch Logs without ever holding a container up.
//!
//! Source: ecs-facts, "awslogs"; CloudWatch Logs API reference, "PutLogEvents".

use crate::client::{Call, Client};
use crate::ecr::role_credentials;
use crate::error::CallError;
use crate::executor::Context;
use api::acs::IAMRoleCredentials;
use api::logs;
use engine::LogConfig;
use runtime::log::{LogLine, LogPosition, LogReader};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Bounds of one PutLogEvents.
const BATCH_EVENTS_MAX: usize = 10_000;
const BATCH_BYTES_MAX: usize = 1 << 20;
const EVENT_OVERHEAD: usize = 26;
/// The largest event, so that one always fits a batch.
const EVENT_BYTES_MAX: usize = 256 << 10;
/// How often a log that grows is looked at, and one that lies still.
const POLL_MIN: Duration = Duration::from_millis(100);
const POLL_MAX: Duration = Duration::from_secs(1);
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(20);
/// How long the end of a container waits for its last lines to arrive.
const FINISH_MAX: Duration = Duration::from_secs(5);

/// Credentials of roles by their ids, as the control plane last sent them.
pub(crate) type RoleCredentials = Arc<Mutex<BTreeMap<String, IAMRoleCredentials>>>;

/// Every log that is being shipped.
#[derive(Clone)]
pub(crate) struct LogShipping {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    endpoint: String,
    region: String,
    /// Where positions are kept.
    dir: PathBuf,
    roles: RoleCredentials,
    running: Mutex<BTreeMap<String, Shipper>>,
}

/// The handle of one container's log.
struct Shipper {
    /// Turns true when the container has ended and no more lines come.
    end: watch::Sender<bool>,
    /// Turns true when everything has arrived, or never will.
    done: watch::Receiver<bool>,
    running: tokio::task::AbortHandle,
}

impl Drop for Shipper {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// Where a log goes and how far it has gone; kept in a file for the next agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Progress {
    path: PathBuf,
    target: Target,
    position: Option<LogPosition>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Target {
    endpoint: String,
    region: String,
    group: String,
    stream: String,
    credentials_id: Option<String>,
}

impl LogShipping {
    pub(crate) fn new(client: Client, endpoint: String, dir: PathBuf, roles: RoleCredentials) -> Self {
        let region = client.signer("logs").region.to_owned();
        Self { shared: Arc::new(Shared { client, endpoint, region, dir, roles, running: Mutex::default() }) }
    }

    /// Makes the stream, and the group if asked to. Without a prefix the stream is named after the container, whose id
    /// is not known yet: it is then made by [`LogShipping::follow`].
    pub(crate) async fn prepare(&self, log: &LogConfig, context: &Context) -> Result<(), CallError> {
        let target = self.shared.target(log, context, "");
        if target.stream.is_empty() { Ok(()) } else { self.shared.make_stream(log, &target).await }
    }

    /// Ships a container's log from now on.
    pub(crate) async fn follow(
        &self,
        runtime_id: &str,
        path: PathBuf,
        log: &LogConfig,
        context: &Context,
    ) -> Result<(), CallError> {
        let target = self.shared.target(log, context, runtime_id);
        if target.stream == runtime_id {
            self.shared.make_stream(log, &target).await?;
        }
        self.start(runtime_id, Progress { path, target, position: None });
        Ok(())
    }

    /// Goes on where an earlier agent stopped; false if it did not ship this container's log.
    pub(crate) fn resume(&self, runtime_id: &str, has_ended: bool) -> bool {
        let Some(progress) = self.shared.load(runtime_id) else { return false };
        self.start(runtime_id, progress);
        if has_ended && let Some(shipper) = self.shared.running().get(runtime_id) {
            shipper.end.send_replace(true);
        }
        true
    }

    fn start(&self, runtime_id: &str, progress: Progress) {
        let (end, ended) = watch::channel(false);
        let (finished, done) = watch::channel(false);
        let (shared, id) = (self.shared.clone(), runtime_id.to_owned());
        let shipping = tokio::spawn(async move {
            if let Err(error) = ship(&shared, &id, progress, ended).await {
                tracing::error!(%error, id, "a container's log cannot be read; its lines are lost");
            }
            finished.send_replace(true);
        });
        let shipper = Shipper { end, done, running: shipping.abort_handle() };
        self.shared.running().insert(runtime_id.to_owned(), shipper);
    }

    /// The container has ended: waits for its last lines to arrive, but not for long.
    pub(crate) async fn finish(&self, runtime_id: &str) {
        let done = self.shared.running().get(runtime_id).map(|shipper| {
            shipper.end.send_replace(true);
            shipper.done.clone()
        });
        if let Some(mut done) = done {
            let arrived = tokio::time::timeout(FINISH_MAX, done.wait_for(|d| *d)).await;
            if arrived.is_err() {
                tracing::warn!(runtime_id, "a container's last log lines have not arrived yet");
            }
        }
    }

    /// The container is gone, and its log with it.
    pub(crate) fn forget(&self, runtime_id: &str) {
        self.shared.running().remove(runtime_id);
        match std::fs::remove_file(self.shared.progress_path(runtime_id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, runtime_id, "a log's position was not removed");
            }
            _ => {}
        }
    }

    /// Gives every log a last chance, then ends all shipping; the next agent goes on from the positions that were saved.
    pub(crate) async fn close(&self) {
        let ids: Vec<_> = self.shared.running().keys().cloned().collect();
        let finishing = ids.iter().map(|id| self.finish(id));
        futures_util::future::join_all(finishing).await;
        self.shared.running().clear();
    }
}

impl Shared {
    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Shipper>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Source: ecs-facts, "awslogs-stream-prefix".
    fn target(&self, log: &LogConfig, context: &Context, runtime_id: &str) -> Target {
        let option = |name: &str| log.option(name).filter(|v| !v.is_empty());
        let stream = match (option("awslogs-stream"), option("awslogs-stream-prefix")) {
            (Some(stream), _) => stream.to_owned(),
            (None, Some(prefix)) => format!("{prefix}/{}/{}", context.container, context.task_id),
            (None, None) => runtime_id.to_owned(),
        };
        Target {
            endpoint: option("awslogs-endpoint").unwrap_or(&self.endpoint).to_owned(),
            region: option("awslogs-region").unwrap_or(&self.region).to_owned(),
            group: option("awslogs-group").unwrap_or_default().to_owned(),
            stream,
            credentials_id: context.execution_credentials_id.clone().filter(|_| log.execution_role),
        }
    }

    fn client(&self, target: &Target) -> Client {
        let roles = self.roles.lock().unwrap_or_else(PoisonError::into_inner);
        let role = target.credentials_id.as_ref().and_then(|id| roles.get(id));
        self.client.with(Some(&target.region), role.map(role_credentials))
    }

    async fn make_stream(&self, log: &LogConfig, target: &Target) -> Result<(), CallError> {
        let made = self.create_stream(target).await;
        let may_make_group = log.option("awslogs-create-group") == Some("true");
        match made {
            Err(error) if may_make_group && error.code() == Some("ResourceNotFoundException") => {
                self.create_group(target).await?;
                self.create_stream(target).await
            }
            other => other,
        }
    }

    async fn create_stream(&self, target: &Target) -> Result<(), CallError> {
        let request = logs::CreateLogStreamRequest {
            log_group_name: target.group.clone(),
            log_stream_name: target.stream.clone(),
        };
        there_already(self.client(target).call(call(target, "CreateLogStream"), &request).await)
    }

    async fn create_group(&self, target: &Target) -> Result<(), CallError> {
        let request =
            logs::CreateLogGroupRequest { log_group_name: target.group.clone(), ..Default::default() };
        there_already(self.client(target).call(call(target, "CreateLogGroup"), &request).await)
    }

    fn progress_path(&self, runtime_id: &str) -> PathBuf {
        self.dir.join(format!("{runtime_id}.json"))
    }

    fn load(&self, runtime_id: &str) -> Option<Progress> {
        serde_json::from_slice(&std::fs::read(self.progress_path(runtime_id)).ok()?).ok()
    }

    /// Losing the last position in a power cut only sends lines twice, so nothing is synced.
    fn save(&self, runtime_id: &str, progress: &Progress) {
        let path = self.progress_path(runtime_id);
        let beside = path.with_extension("new");
        let text = serde_json::to_vec(progress).unwrap_or_default();
        if let Err(error) = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, &path)) {
            tracing::warn!(%error, runtime_id, "a log's position was not saved; lines may come twice after a restart");
        }
    }
}

fn call<'a>(target: &'a Target, operation: &'static str) -> Call<'a> {
    Call { endpoint: &target.endpoint, service: &logs::SERVICE, operation }
}

/// Making what is there already is as good.
fn there_already(result: Result<Nothing, CallError>) -> Result<(), CallError> {
    match result {
        Err(error) if error.code() != Some("ResourceAlreadyExistsException") => Err(error),
        _ => Ok(()),
    }
}

/// A reply without a body that matters.
struct Nothing;

impl wire::Decode for Nothing {
    fn read(reader: &mut dyn wire::Reader, _: &'static wire::Type) -> Result<Self, wire::Malformed> {
        reader.document().map(|_| Self)
    }
}

/// Follows one log to its end.
async fn ship(
    shared: &Arc<Shared>,
    runtime_id: &str,
    mut progress: Progress,
    mut ended: watch::Receiver<bool>,
) -> io::Result<()> {
    shared.save(runtime_id, &progress);
    let mut reader = open(&progress.path, progress.position)?;
    let mut pause = POLL_MIN;
    loop {
        // Looked at before reading: what was written before the end is then certainly read.
        let has_ended = *ended.borrow() || ended.has_changed().is_err();
        let lines = read(&mut reader).await?;
        if lines.is_empty() {
            if has_ended {
                return Ok(());
            }
            let stirred = tokio::time::timeout(pause, ended.wait_for(|e| *e)).await;
            pause = if stirred.is_ok() { POLL_MIN } else { (pause * 2).min(POLL_MAX) };
            continue;
        }
        pause = POLL_MIN;
        for batch in batches(lines) {
            put(shared, &progress.target, batch).await;
        }
        progress.position = Some(reader.position());
        shared.save(runtime_id, &progress);
    }
}

fn open(path: &Path, position: Option<LogPosition>) -> io::Result<LogReader> {
    position.map_or_else(|| Ok(LogReader::open(path)), |position| LogReader::open_at(path, position))
}

/// Lines up to a batch's worth. A page of a local file is there at once: no thread is worth it.
async fn read(reader: &mut LogReader) -> io::Result<Vec<LogLine>> {
    let mut lines = Vec::new();
    let mut bytes = 0;
    while bytes < BATCH_BYTES_MAX && lines.len() < BATCH_EVENTS_MAX {
        let more = reader.read()?;
        if more.is_empty() {
            break;
        }
        bytes += more.iter().map(|l| l.message.len() + EVENT_OVERHEAD).sum::<usize>();
        lines.extend(more);
        tokio::task::yield_now().await;
    }
    Ok(lines)
}

/// Lines as events, cut into batches that PutLogEvents takes. Empty lines are no events.
fn batches(lines: Vec<LogLine>) -> Vec<Vec<logs::InputLogEvent>> {
    let mut batches = Vec::new();
    let mut batch = Vec::new();
    let (mut bytes, mut last) = (0, i64::MIN);
    for line in lines.into_iter().filter(|l| !l.message.is_empty()) {
        let message = shortened(String::from_utf8_lossy(&line.message).into_owned());
        let size = message.len() + EVENT_OVERHEAD;
        if batch.len() == BATCH_EVENTS_MAX || bytes + size > BATCH_BYTES_MAX {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
        bytes += size;
        // A batch must be in order; a clock that was set back must not cost lines.
        last = last.max(line.timestamp.millis());
        batch.push(logs::InputLogEvent { message, timestamp: last });
    }
    batches.push(batch);
    batches.retain(|b| !b.is_empty());
    batches
}

fn shortened(mut text: String) -> String {
    let bound = EVENT_BYTES_MAX - EVENT_OVERHEAD;
    if text.len() > bound {
        let cut = (0..=bound).rev().find(|i| text.is_char_boundary(*i)).unwrap_or_default();
        text.truncate(cut);
    }
    text
}

/// Puts a batch, again and again until it is taken or will never be.
async fn put(shared: &Shared, target: &Target, events: Vec<logs::InputLogEvent>) {
    let count = events.len();
    let request = logs::PutLogEventsRequest {
        log_events: events,
        log_group_name: target.group.clone(),
        log_stream_name: target.stream.clone(),
        ..Default::default()
    };
    let mut wait = RETRY_FIRST;
    loop {
        let client = shared.client(target);
        let reply: Result<logs::PutLogEventsResponse, _> =
            client.call(call(target, "PutLogEvents"), &request).await;
        match reply {
            Ok(_) => return,
            // Someone removed the stream: lines go on into a new one.
            Err(error) if error.code() == Some("ResourceNotFoundException") => {
                if let Err(error) = shared.create_stream(target).await {
                    tracing::warn!(%error, group = target.group, stream = target.stream, count, "log lines are lost");
                    return;
                }
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(RETRY_MAX);
            }
            Err(error) if error.is_transient() => {
                tracing::debug!(error = %stdx::Chain(&error), stream = target.stream, "log lines wait");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(RETRY_MAX);
            }
            Err(error) => {
                tracing::warn!(error = %stdx::Chain(&error), stream = target.stream, count, "log lines are lost");
                return;
            }
        }
    }
}

/// Keeps role credentials up to date from what the control plane sends.
pub(crate) fn remember(roles: &RoleCredentials, message: &api::channel::AcsMessage) {
    let mut roles = roles.lock().unwrap_or_else(PoisonError::into_inner);
    let mut keep = |credentials: Option<&IAMRoleCredentials>| {
        if let Some(credentials) = credentials
            && let Some(id) = credentials.credentials_id.clone().filter(|id| !id.is_empty())
        {
            roles.insert(id, credentials.clone());
        }
    };
    match message {
        api::channel::AcsMessage::PayloadMessage(payload) => {
            for task in payload.tasks.iter().flatten() {
                keep(task.execution_role_credentials.as_ref());
            }
        }
        api::channel::AcsMessage::IAMRoleCredentialsMessage(fresh) => keep(fresh.role_credentials.as_ref()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::log::Stream;

    fn line(timestamp: i64, message: &[u8]) -> LogLine {
        LogLine { timestamp: stdx::Timestamp(timestamp), stream: Stream::Stdout, message: message.to_vec() }
    }

    #[test]
    fn batches_keep_to_the_bounds_and_the_order() {
        let lines = (0..25_000).map(|n| line(100_000 - n, b"x")).collect();
        let batches = batches(lines);
        assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [10_000, 10_000, 5_000]);
        assert!(
            batches.iter().flatten().all(|e| e.timestamp == 100_000),
            "never earlier than the one before"
        );
        let long = vec![b'y'; 300 << 10];
        let batches = super::batches((0..5).map(|n| line(n, &long)).collect());
        assert_eq!(batches.len(), 2);
        let size = |b: &Vec<logs::InputLogEvent>| b.iter().map(|e| e.message.len() + 26).sum::<usize>();
        assert!(batches.iter().all(|b| size(b) <= BATCH_BYTES_MAX));
        assert!(super::batches(vec![line(1, b"")]).is_empty());
    }

    #[test]
    fn a_cut_never_splits_a_character() {
        let text = shortened("é".repeat(200 << 10));
        assert!(text.len() <= EVENT_BYTES_MAX - EVENT_OVERHEAD && text.ends_with('é'));
    }
}
