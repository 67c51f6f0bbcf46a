//! PutLogEvents.

use crate::store::{Event, Store};
use crate::{Error, View};
use api::logs as model;
use stdx::Timestamp;

/// Bounds of a batch (API_PutLogEvents).
const BATCH_BYTES_MAX: usize = 1_048_576;
const BATCH_EVENTS_MAX: usize = 10_000;
const EVENT_BYTES_MAX: usize = 1_048_576;
/// What each event adds to the size of its batch.
const OVERHEAD: usize = 26;
const DAY_MS: i64 = 86_400_000;
/// Events may be so old, and so far ahead.
const AGE_MAX_MS: i64 = 14 * DAY_MS;

pub(crate) fn execute(
    store: &Store,
    view: &dyn View,
    now: Timestamp,
    request: model::PutLogEventsRequest,
) -> Result<model::PutLogEventsResponse, Error> {
    let group = view.group(&request.log_group_name).ok_or(Error::GroupNotFound)?;
    let stream =
        view.stream(&request.log_group_name, &request.log_stream_name).ok_or(Error::StreamNotFound)?;
    check(&request.log_events)?;
    let ms = now.millis();
    let older = |than: i64| request.log_events.partition_point(|event| event.timestamp < than);
    let too_old = older(ms - AGE_MAX_MS);
    let expired = older(group.horizon(now));
    let too_new = request.log_events.partition_point(|event| event.timestamp <= ms + crate::stream::AHEAD_MS);
    let count = request.log_events.len();
    let events: Vec<Event> = request
        .log_events
        .into_iter()
        .take(too_new)
        .skip(too_old.max(expired))
        .map(|event| Event { timestamp: event.timestamp, message: event.message })
        .collect();
    let position = if events.is_empty() { 0 } else { store.append(&stream.storage_id, ms, &events)? };
    let index = |at: usize| Some(i32::try_from(at).unwrap_or(i32::MAX));
    let rejected = model::RejectedLogEventsInfo {
        expired_log_event_end_index: if expired > 0 { index(expired) } else { None },
        too_new_log_event_start_index: if too_new < count { index(too_new) } else { None },
        too_old_log_event_end_index: if too_old > 0 { index(too_old) } else { None },
    };
    let is_rejected = rejected != model::RejectedLogEventsInfo::default();
    Ok(model::PutLogEventsResponse {
        // Clients need not send it back any more, but old ones look for it.
        next_sequence_token: Some(format!("{position:056}")),
        rejected_entity_info: None,
        rejected_log_events_info: is_rejected.then_some(rejected),
    })
}

fn check(events: &[model::InputLogEvent]) -> Result<(), Error> {
    if events.is_empty() || events.len() > BATCH_EVENTS_MAX {
        let text = format!("A batch must have between 1 and {BATCH_EVENTS_MAX} log events.");
        return Err(Error::invalid(text));
    }
    if let Some(event) = events.iter().find(|event| event.message.len() > EVENT_BYTES_MAX) {
        let size = event.message.len();
        return Err(Error::invalid(format!(
            "Log event too large: {size} bytes exceeds limit of {EVENT_BYTES_MAX}"
        )));
    }
    let size: usize = events.iter().map(|event| event.message.len() + OVERHEAD).sum();
    if size > BATCH_BYTES_MAX {
        return Err(Error::invalid(format!(
            "Upload too large: {size} bytes exceeds limit of {BATCH_BYTES_MAX}"
        )));
    }
    if !events.is_sorted_by_key(|event| event.timestamp) {
        let text = "Log events in a single PutLogEvents request must be in chronological order.";
        return Err(Error::invalid(text));
    }
    let (first, last) = (events.first().map_or(0, |e| e.timestamp), events.last().map_or(0, |e| e.timestamp));
    if last.saturating_sub(first) > DAY_MS {
        let text = "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.";
        return Err(Error::invalid(text));
    }
    Ok(())
}
