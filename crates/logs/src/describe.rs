//! DescribeLogStreams: what the control plane knows of streams, with the times of their events.

use crate::service::{self, Stream};
use crate::store::Store;
use crate::stream::Summary;
use crate::{Error, View, token};
use api::logs::{self as model, OrderBy};

/// Streams on a page (API_DescribeLogStreams).
const LIMIT: usize = 50;

pub(crate) fn streams(
    store: &Store,
    view: &dyn View,
    request: &model::DescribeLogStreamsRequest,
) -> Result<model::DescribeLogStreamsResponse, Error> {
    let group =
        service::group(view, request.log_group_name.as_deref(), request.log_group_identifier.as_deref())?;
    let is_by_time = request.order_by == Some(OrderBy::LastEventTime);
    if is_by_time && request.log_stream_name_prefix.is_some() {
        return Err(Error::invalid("Cannot order by LastEventTime with a logStreamNamePrefix."));
    }
    let is_descending = request.descending == Some(true);
    let prefix = request.log_stream_name_prefix.as_deref().unwrap_or_default();
    let filters = format!("DescribeLogStreams {} {prefix} {is_by_time} {is_descending}", group.arn);
    let after = request.next_token.as_deref().map(|token| open(token, &filters)).transpose()?;
    let mut keyed = Vec::new();
    for stream in view.streams(&group.name, prefix) {
        let last_event = if is_by_time { summary(store, &stream)?.last_event.unwrap_or(0) } else { 0 };
        keyed.push(((last_event, stream.name.clone()), stream));
    }
    keyed.sort_by(|(a, _), (b, _)| if is_descending { b.cmp(a) } else { a.cmp(b) });
    let is_behind = |key: &(i64, String)| {
        after.as_ref().is_none_or(|after| if is_descending { key < after } else { key > after })
    };
    let limit = request.limit.and_then(|n| usize::try_from(n).ok()).map_or(LIMIT, |n| n.clamp(1, LIMIT));
    let mut rest = keyed.into_iter().filter(|(key, _)| is_behind(key));
    let page: Vec<_> = rest.by_ref().take(limit).collect();
    let next_token = match page.last() {
        Some(((time, name), _)) if rest.next().is_some() => {
            Some(token::seal(&format!("{time} {name}"), &filters))
        }
        _ => None,
    };
    let streams = page.iter().map(|(_, stream)| Ok(show(&group.arn, stream, summary(store, stream)?)));
    let log_streams = Some(streams.collect::<Result<_, Error>>()?);
    Ok(model::DescribeLogStreamsResponse { log_streams, next_token })
}

fn open(token: &str, filters: &str) -> Result<(i64, String), Error> {
    let text = token::open(token, filters)?;
    let key = text.split_once(' ').and_then(|(time, name)| Some((time.parse().ok()?, name.to_owned())));
    key.ok_or_else(|| Error::invalid("The specified nextToken is invalid."))
}

fn summary(store: &Store, stream: &Stream) -> Result<Summary, Error> {
    store.find(&stream.storage_id).map_or(Ok(Summary::default()), |events| events.summary())
}

fn show(group_arn: &str, stream: &Stream, summary: Summary) -> model::LogStream {
    model::LogStream {
        arn: Some(format!("{group_arn}:log-stream:{}", stream.name)),
        creation_time: Some(stream.created_at.millis()),
        first_event_timestamp: summary.first_event,
        last_event_timestamp: summary.last_event,
        last_ingestion_time: summary.last_ingestion,
        log_stream_name: Some(stream.name.clone()),
        // Not counted for streams since 2019 (API_LogStream).
        stored_bytes: Some(0),
        upload_sequence_token: Some(format!("{:056}", summary.next)),
    }
}
