//! FilterLogEvents: the streams of a group, interleaved by time.

use crate::service::{self, Group, Stream};
use crate::store::Store;
use crate::stream::Reader;
use crate::window::{Edge, Found, Place, Window};
use crate::{Error, Pattern, View, token};
use api::logs as model;
use std::sync::Arc;
use stdx::Timestamp;

pub(crate) fn execute(
    store: &Store,
    view: &dyn View,
    now: Timestamp,
    request: &model::FilterLogEventsRequest,
) -> Result<model::FilterLogEventsResponse, Error> {
    let group =
        service::group(view, request.log_group_name.as_deref(), request.log_group_identifier.as_deref())?;
    if request.start_from_head == Some(false) {
        return Err(Error::invalid("startFromHead can only be true in this version of Wharf."));
    }
    let streams = streams(view, &group, request)?;
    let pattern =
        Pattern::parse(request.filter_pattern.as_deref().unwrap_or_default()).map_err(Error::invalid)?;
    let filters = filters(&group, request);
    let after = request.next_token.as_deref().map(|token| open(token, &filters)).transpose()?;
    let mut collector = Collector {
        window: Window::new(Edge::Earliest, service::limit(request.limit)),
        stream: "".into(),
        start: request.start_time.unwrap_or(i64::MIN).max(group.horizon(now)),
        end: request.end_time.unwrap_or(i64::MAX),
        after,
        pattern,
    };
    let start = collector.start.max(collector.after.as_ref().map_or(i64::MIN, |place| place.timestamp));
    for stream in &streams {
        collector.stream = stream.name.as_str().into();
        if let Some(events) = store.find(&stream.storage_id) {
            events.read(start, false, &mut collector)?;
        }
    }
    let has_more = collector.window.has_more();
    let events = collector.window.into_events();
    let last = events.last().map(|(place, _)| place).filter(|_| has_more);
    let next_token = last.map(|last| seal(last, &filters));
    Ok(model::FilterLogEventsResponse {
        next_token,
        events: Some(events.into_iter().map(|(place, found)| event(place, found)).collect()),
        searched_log_streams: Some(Vec::new()),
    })
}

fn streams(
    view: &dyn View,
    group: &Group,
    request: &model::FilterLogEventsRequest,
) -> Result<Vec<Stream>, Error> {
    match (&request.log_stream_names, &request.log_stream_name_prefix) {
        (Some(_), Some(_)) => {
            Err(Error::invalid("logStreamNames and logStreamNamePrefix cannot be specified together."))
        }
        (Some(names), None) => {
            let found = names.iter().map(|name| view.stream(&group.name, name).ok_or(Error::StreamNotFound));
            found.collect()
        }
        (None, prefix) => Ok(view.streams(&group.name, prefix.as_deref().unwrap_or_default())),
    }
}

/// What a token is bound to: all that must be the same on the next page.
fn filters(group: &Group, request: &model::FilterLogEventsRequest) -> String {
    format!(
        "FilterLogEvents {} {:?} {:?} {:?}",
        group.arn, request.filter_pattern, request.log_stream_names, request.log_stream_name_prefix
    )
}

fn seal(last: &Place, filters: &str) -> String {
    token::seal(&format!("{} {} {}", last.timestamp, last.position, last.stream), filters)
}

fn open(token: &str, filters: &str) -> Result<Place, Error> {
    let text = token::open(token, filters)?;
    let mut parts = text.splitn(3, ' ');
    let mut place = || {
        let timestamp = parts.next()?.parse().ok()?;
        let position = parts.next()?.parse().ok()?;
        Some(Place { timestamp, position, stream: parts.next()?.into() })
    };
    place().ok_or_else(|| Error::invalid("The specified nextToken is invalid."))
}

/// `aws logs tail` knows by its id which events it has shown: 56 digits of time, stream and position.
fn event(place: Place, found: Found) -> model::FilteredLogEvent {
    let id =
        format!("{:020}{:016}{:020}", place.timestamp.max(0), token::mark(&place.stream), place.position);
    model::FilteredLogEvent {
        event_id: Some(id),
        ingestion_time: Some(found.ingested_at),
        log_stream_name: Some(place.stream.to_string()),
        message: Some(found.message),
        timestamp: Some(place.timestamp),
    }
}

struct Collector {
    window: Window,
    /// The stream that is being read.
    stream: Arc<str>,
    start: i64,
    /// Inclusive: API_FilterLogEvents says that later events are not returned.
    end: i64,
    after: Option<Place>,
    pattern: Pattern,
}

impl Reader for Collector {
    fn wants(&self, min: i64, max: i64) -> bool {
        max >= self.start && min <= self.end && self.window.wants(min, max)
    }

    fn event(&mut self, position: u64, timestamp: i64, ingested_at: i64, message: &str) {
        if !(self.start..=self.end).contains(&timestamp) {
            return;
        }
        let place = Place { timestamp, stream: self.stream.clone(), position };
        let is_next = self.after.as_ref().is_none_or(|after| place > *after);
        if is_next && self.window.takes(&place) && self.pattern.matches(message) {
            self.window.offer(place, ingested_at, message);
        }
    }
}
