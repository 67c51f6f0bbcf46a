//! The operations that need events, and what they ask of the control plane.

use crate::store::{Settings, Store};
use crate::{Error, describe, filter, get, put};
use api::logs::{self as model, Request, Response};
use std::collections::BTreeMap;
use std::path::PathBuf;
use stdx::Timestamp;

/// A group as the control plane knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    /// Without `:*` at its end.
    pub arn: String,
    /// `None` keeps events for ever.
    pub retention_days: Option<i32>,
}

/// A stream as the control plane knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    pub name: String,
    /// Letters and digits, at least three; never used twice.
    pub storage_id: String,
    pub created_at: Timestamp,
}

/// The groups and streams of the caller's account and Region.
pub trait View {
    fn group(&self, name: &str) -> Option<Group>;
    fn stream(&self, group: &str, name: &str) -> Option<Stream>;
    /// The streams whose names begin with a prefix, by name.
    fn streams(&self, group: &str, prefix: &str) -> Vec<Stream>;
}

/// The event store and its operations.
#[derive(Debug)]
pub struct Logs {
    pub(crate) store: Store,
}

impl Logs {
    /// Opens or makes the store in a directory, which no other process may use meanwhile.
    pub fn open(dir: impl Into<PathBuf>, settings: Settings) -> Result<Self, Error> {
        Ok(Self { store: Store::open(dir.into(), settings)? })
    }

    /// Whether [`Logs::handle`] answers an operation.
    pub fn answers(request: &Request) -> bool {
        matches!(
            request,
            Request::DescribeLogStreams(_)
                | Request::FilterLogEvents(_)
                | Request::GetLogEvents(_)
                | Request::PutLogEvents(_)
        )
    }

    /// Answers an operation. Blocks; PutLogEvents until its events are on disk.
    pub fn handle(&self, view: &dyn View, now: Timestamp, request: Request) -> Result<Response, Error> {
        match request {
            Request::DescribeLogStreams(r) => {
                describe::streams(&self.store, view, &r).map(Response::DescribeLogStreams)
            }
            Request::FilterLogEvents(r) => {
                filter::execute(&self.store, view, now, &r).map(Response::FilterLogEvents)
            }
            Request::GetLogEvents(r) => get::execute(&self.store, view, now, &r).map(Response::GetLogEvents),
            Request::PutLogEvents(r) => put::execute(&self.store, view, now, *r).map(Response::PutLogEvents),
            other => Err(Error::NotHere(other.name())),
        }
    }

    /// Puts the numbers of bytes stored into the reply to DescribeLogGroups.
    pub fn add_stored_bytes(&self, view: &dyn View, groups: &mut [model::LogGroup]) {
        for group in groups {
            let streams = view.streams(group.log_group_name.as_deref().unwrap_or_default(), "");
            let streams = streams.iter().filter_map(|stream| self.store.find(&stream.storage_id));
            let bytes: u64 = streams.map(|stream| stream.bytes()).sum();
            group.stored_bytes = Some(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }

    /// Removes the events of streams that are gone, and those past retention. `live` gives every stream's storage id
    /// and its group's retention in days; it is called once, after the store has listed what it holds.
    ///
    /// Call it every few minutes, and after DeleteLogGroup and DeleteLogStream.
    pub fn sweep(
        &self,
        now: Timestamp,
        live: impl FnOnce() -> BTreeMap<String, Option<i32>>,
    ) -> Result<(), Error> {
        let live = || live().into_iter().map(|(id, days)| (id, days.map(days_ms))).collect();
        self.store.sweep(now.millis(), live)
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.store.bytes()
    }
}

fn days_ms(days: i32) -> i64 {
    i64::from(days) * 86_400_000
}

impl Group {
    /// The time before which events have expired.
    pub(crate) fn horizon(&self, now: Timestamp) -> i64 {
        self.retention_days.map_or(i64::MIN, |days| now.millis() - days_ms(days))
    }
}

/// The group that a request names, by name or by identifier (a name or an ARN).
pub(crate) fn group(view: &dyn View, name: Option<&str>, identifier: Option<&str>) -> Result<Group, Error> {
    let name = match (name, identifier) {
        (Some(name), None) => name,
        (None, Some(identifier)) => match identifier.split_once(":log-group:") {
            Some((_, name)) => name.strip_suffix(":*").unwrap_or(name),
            None => identifier,
        },
        (Some(_), Some(_)) => {
            return Err(Error::invalid("logGroupName and logGroupIdentifier cannot be specified together."));
        }
        (None, None) => return Err(Error::invalid("logGroupName or logGroupIdentifier must be specified.")),
    };
    let group = view.group(name).ok_or(Error::GroupNotFound)?;
    let is_its_own =
        identifier.is_none_or(|id| id == name || id.strip_suffix(":*").unwrap_or(id) == group.arn);
    if is_its_own { Ok(group) } else { Err(Error::GroupNotFound) }
}

/// How many events a page may have (API_GetLogEvents: 10,000 at most and by default).
pub(crate) fn limit(limit: Option<i32>) -> usize {
    limit.and_then(|n| usize::try_from(n).ok()).map_or(10_000, |n| n.clamp(1, 10_000))
}
