//! CloudWatch Logs: the event store with the core's groups and streams beside it.

use crate::aws::Failure;
use crate::driver::{Driver, now};
use crate::error::{StartError, Unavailable};
use api::logs::{Request, Response};
use control::state::logs::{LogGroupId, LogStream, LogStreamId};
use control::state::{Scope, State};
use logs::{Error, Group, Logs, Stream, View};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use stdx::Chain;
use wire::Fault;

/// How often events past their retention, and those of streams that are gone, are removed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(300);

/// The operations that need events.
#[derive(Clone)]
pub(crate) struct LogService {
    driver: Arc<Driver>,
    events: Arc<Logs>,
}

/// The groups and streams of one account and Region.
struct Scoped {
    driver: Arc<Driver>,
    scope: Scope,
}

impl LogService {
    pub(crate) fn open(directory: &Path, driver: Arc<Driver>) -> Result<Self, StartError> {
        let events = Logs::open(directory, logs::Settings::default())
            .map_err(|source| StartError::Logs { directory: directory.to_owned(), source })?;
        Ok(Self { driver, events: Arc::new(events) })
    }

    /// Whether the operation is answered here and not by the core alone.
    pub(crate) fn answers(request: &Request) -> bool {
        Logs::answers(request)
    }

    pub(crate) async fn perform(&self, scope: Scope, request: Request) -> Result<Response, Failure> {
        let (service, view) = (self.events.clone(), Scoped { driver: self.driver.clone(), scope });
        let answer = tokio::task::spawn_blocking(move || service.handle(&view, now(), request)).await;
        answer.map_err(|_| Unavailable::Broken("the log store panicked"))?.map_err(|error| failure(&error))
    }

    /// Adds to DescribeLogGroups what only the event store knows.
    pub(crate) async fn add_stored_bytes(
        &self,
        scope: Scope,
        mut groups: Vec<api::logs::LogGroup>,
    ) -> Vec<api::logs::LogGroup> {
        let (service, view) = (self.events.clone(), Scoped { driver: self.driver.clone(), scope });
        let work = tokio::task::spawn_blocking(move || {
            service.add_stored_bytes(&view, &mut groups);
            groups
        });
        work.await.unwrap_or_default()
    }

    /// Removes what nobody may read any more.
    pub(crate) async fn sweep(&self) {
        let service = self.clone();
        let work = tokio::task::spawn_blocking(move || {
            let live = || service.driver.view(|core| live(core.state())).0;
            service.events.sweep(now(), live)
        });
        if let Ok(Err(error)) = work.await {
            tracing::error!(error = %Chain(&error), "log events could not be swept");
        }
    }

    /// Sweeps for ever.
    pub(crate) async fn keep_swept(self) {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            self.sweep().await;
        }
    }
}

/// Every stream's storage id and its group's retention in days.
fn live(state: &State) -> BTreeMap<String, Option<i32>> {
    let retention =
        |stream: &LogStream| state.log_groups.get(&stream.id.group).and_then(|group| group.retention_days);
    state.log_streams.values().map(|stream| (stream.storage_id.clone(), retention(stream))).collect()
}

fn failure(error: &Error) -> Failure {
    if let Error::Full { .. } | Error::Io { .. } | Error::NotDurable { .. } = error {
        tracing::error!(error = %Chain(error), "the log store failed");
    }
    // A fault, since the exceptions of this API's model have no member for a text.
    Failure::Fault(Fault::new(error.code(), error.status(), error.to_string()))
}

impl Scoped {
    fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        self.driver.view(|core| look(core.state())).0
    }

    fn group_id(&self, name: &str) -> LogGroupId {
        LogGroupId { scope: self.scope, name: name.to_owned() }
    }
}

fn shown(stream: &LogStream) -> Stream {
    Stream {
        name: stream.id.name.clone(),
        storage_id: stream.storage_id.clone(),
        created_at: stream.created_at,
    }
}

impl View for Scoped {
    fn group(&self, name: &str) -> Option<Group> {
        self.look(|state| {
            let group = control::logs::group(state, self.scope, name)?;
            Some(Group {
                name: group.id.name.clone(),
                arn: control::logs::arn(&group.id),
                retention_days: group.retention_days,
            })
        })
    }

    fn stream(&self, group: &str, name: &str) -> Option<Stream> {
        let id = LogStreamId { group: self.group_id(group), name: name.to_owned() };
        self.look(|state| state.log_streams.get(&id).map(|stream| shown(stream)))
    }

    fn streams(&self, group: &str, prefix: &str) -> Vec<Stream> {
        let group = self.group_id(group);
        self.look(|state| {
            control::logs::streams_of(state, &group, prefix).map(|stream| shown(stream)).collect()
        })
    }
}
