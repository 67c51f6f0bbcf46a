//! GetLogEvents: one stream, forwards and backwards.

use crate::store::Store;
use crate::stream::Reader;
use crate::token::Cursor;
use crate::window::{Edge, Place, Window};
use crate::{Error, View, service};
use api::logs as model;
use std::sync::Arc;
use stdx::Timestamp;

pub(crate) fn execute(
    store: &Store,
    view: &dyn View,
    now: Timestamp,
    request: &model::GetLogEventsRequest,
) -> Result<model::GetLogEventsResponse, Error> {
    let group =
        service::group(view, request.log_group_name.as_deref(), request.log_group_identifier.as_deref())?;
    let stream = view.stream(&group.name, &request.log_stream_name).ok_or(Error::StreamNotFound)?;
    let id = stream.storage_id.as_str();
    let cursor = request.next_token.as_deref().map(|token| Cursor::open(token, id)).transpose()?;
    let edge = match (cursor, request.start_from_head) {
        (Some(Cursor::Forward(..)), _) | (None, Some(true)) => Edge::Earliest,
        _ => Edge::Latest,
    };
    let mut collector = Collector {
        window: Window::new(edge, service::limit(request.limit)),
        stream: "".into(),
        cursor,
        start: request.start_time.unwrap_or(i64::MIN).max(group.horizon(now)),
        end: request.end_time.unwrap_or(i64::MAX),
    };
    if let Some(events) = store.find(id) {
        let start = collector.start.max(collector.after());
        events.read(start, edge == Edge::Latest, &mut collector)?;
    }
    let events = collector.window.into_events();
    let (forward, backward) = match (events.first(), events.last(), cursor) {
        (Some((first, _)), Some((last, _)), _) => (
            Cursor::Forward(last.timestamp, last.position),
            Cursor::Backward(first.timestamp, first.position),
        ),
        // Nothing more on this side: the same token again tells the client so.
        (_, _, Some(cursor @ Cursor::Forward(..))) => (cursor, cursor.turned()),
        (_, _, Some(cursor @ Cursor::Backward(..))) => (cursor.turned(), cursor),
        _ => {
            let before = Cursor::Forward(request.start_time.unwrap_or(0).saturating_sub(1).max(-1), u64::MAX);
            (before, before.turned())
        }
    };
    let event = |(place, found): (Place, crate::window::Found)| model::OutputLogEvent {
        ingestion_time: Some(found.ingested_at),
        message: Some(found.message),
        timestamp: Some(place.timestamp),
    };
    Ok(model::GetLogEventsResponse {
        events: Some(events.into_iter().map(event).collect()),
        next_backward_token: Some(backward.seal(id)),
        next_forward_token: Some(forward.seal(id)),
    })
}

struct Collector {
    window: Window,
    /// All events are of one stream, so that its name plays no part in their order.
    stream: Arc<str>,
    cursor: Option<Cursor>,
    start: i64,
    /// Exclusive (API_GetLogEvents).
    end: i64,
}

impl Collector {
    /// No event before this time is behind the cursor.
    fn after(&self) -> i64 {
        match self.cursor {
            Some(Cursor::Forward(timestamp, _)) => timestamp,
            _ => i64::MIN,
        }
    }

    /// No event after this time is before the cursor.
    fn before(&self) -> i64 {
        match self.cursor {
            Some(Cursor::Backward(timestamp, _)) => timestamp,
            _ => i64::MAX,
        }
    }
}

impl Reader for Collector {
    fn wants(&self, min: i64, max: i64) -> bool {
        max >= self.start.max(self.after())
            && min < self.end
            && min <= self.before()
            && self.window.wants(min, max)
    }

    fn event(&mut self, position: u64, timestamp: i64, ingested_at: i64, message: &str) {
        let is_in = match self.cursor {
            None => true,
            Some(Cursor::Forward(at, last)) => (timestamp, position) > (at, last),
            Some(Cursor::Backward(at, first)) => (timestamp, position) < (at, first),
        };
        if is_in && (self.start..self.end).contains(&timestamp) {
            let place = Place { timestamp, stream: self.stream.clone(), position };
            self.window.offer(place, ingested_at, message);
        }
    }
}
