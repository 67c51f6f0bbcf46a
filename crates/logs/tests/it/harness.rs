//! A log group with streams, as the control plane would show it.

use api::logs::{self as model, Request, Response};
use logs::{Error, Group, Logs, Settings, Stream, View};
use std::collections::BTreeMap;
use std::path::Path;
use stdx::Timestamp;

pub const NOW: Timestamp = Timestamp(1_800_000_000_000);
pub const GROUP: &str = "/ecs/web";

/// The group [`GROUP`] with streams by name.
#[derive(Clone, Default)]
pub struct World {
    pub streams: BTreeMap<String, String>,
    pub retention_days: Option<i32>,
}

impl World {
    pub fn of(names: &[&str]) -> Self {
        let id = |name: &&str| ((*name).to_owned(), format!("id{}", name.replace(['/', '-'], "0")));
        Self { streams: names.iter().map(id).collect(), retention_days: None }
    }

    fn show(&self, name: &str) -> Option<Stream> {
        let storage_id = self.streams.get(name)?.clone();
        Some(Stream { name: name.to_owned(), storage_id, created_at: NOW })
    }

    pub fn live(&self) -> BTreeMap<String, Option<i32>> {
        self.streams.values().map(|id| (id.clone(), self.retention_days)).collect()
    }
}

impl View for World {
    fn group(&self, name: &str) -> Option<Group> {
        let arn = format!("arn:aws:logs:us-east-1:123456789012:log-group:{name}");
        (name == GROUP).then(|| Group { name: name.to_owned(), arn, retention_days: self.retention_days })
    }

    fn stream(&self, group: &str, name: &str) -> Option<Stream> {
        self.show(name).filter(|_| group == GROUP)
    }

    fn streams(&self, group: &str, prefix: &str) -> Vec<Stream> {
        let names = self.streams.keys().filter(|name| group == GROUP && name.starts_with(prefix));
        names.filter_map(|name| self.show(name)).collect()
    }
}

pub fn open(dir: &Path) -> Logs {
    Logs::open(dir, Settings::default()).expect("a directory of its own")
}

pub fn put(
    logs: &Logs,
    world: &World,
    stream: &str,
    events: &[(i64, &str)],
) -> Result<model::PutLogEventsResponse, Error> {
    put_at(logs, world, NOW, stream, events)
}

pub fn put_at(
    logs: &Logs,
    world: &World,
    now: Timestamp,
    stream: &str,
    events: &[(i64, &str)],
) -> Result<model::PutLogEventsResponse, Error> {
    let event = |(timestamp, message): &(i64, &str)| model::InputLogEvent {
        timestamp: *timestamp,
        message: (*message).to_owned(),
    };
    let request = model::PutLogEventsRequest {
        log_group_name: GROUP.to_owned(),
        log_stream_name: stream.to_owned(),
        log_events: events.iter().map(event).collect(),
        ..Default::default()
    };
    match logs.handle(world, now, Request::PutLogEvents(Box::new(request)))? {
        Response::PutLogEvents(response) => Ok(response),
        other => panic!("PutLogEvents answered {other:?}"),
    }
}

pub fn get(
    logs: &Logs,
    world: &World,
    request: model::GetLogEventsRequest,
) -> Result<model::GetLogEventsResponse, Error> {
    match logs.handle(world, NOW, Request::GetLogEvents(Box::new(request)))? {
        Response::GetLogEvents(response) => Ok(response),
        other => panic!("GetLogEvents answered {other:?}"),
    }
}

/// A request for one stream's events from the beginning.
pub fn of(stream: &str) -> model::GetLogEventsRequest {
    model::GetLogEventsRequest {
        log_group_name: Some(GROUP.to_owned()),
        log_stream_name: stream.to_owned(),
        start_from_head: Some(true),
        ..Default::default()
    }
}

pub fn filter(
    logs: &Logs,
    world: &World,
    request: model::FilterLogEventsRequest,
) -> Result<model::FilterLogEventsResponse, Error> {
    let request = model::FilterLogEventsRequest { log_group_name: Some(GROUP.to_owned()), ..request };
    match logs.handle(world, NOW, Request::FilterLogEvents(Box::new(request)))? {
        Response::FilterLogEvents(response) => Ok(response),
        other => panic!("FilterLogEvents answered {other:?}"),
    }
}

pub fn messages(events: Option<Vec<model::OutputLogEvent>>) -> Vec<String> {
    events.unwrap_or_default().into_iter().filter_map(|event| event.message).collect()
}

pub fn filtered(events: Option<Vec<model::FilteredLogEvent>>) -> Vec<String> {
    events.unwrap_or_default().into_iter().filter_map(|event| event.message).collect()
}
