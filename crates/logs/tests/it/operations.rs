//! PutLogEvents, GetLogEvents, FilterLogEvents, DescribeLogStreams.

use crate::harness::*;
use api::logs::{self as model, Request, Response};

const T: i64 = NOW.0 - 60_000;

#[test]
fn what_is_put_is_got_also_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let world = World::of(&["a"]);
    for _ in 0..2 {
        let logs = open(dir.path());
        put(&logs, &world, "a", &[(T, "one"), (T + 1, "two\nlines ü")]).expect("accepted");
    }
    let got = get(&open(dir.path()), &world, of("a")).expect("the stream");
    let events = got.events.expect("events");
    assert_eq!(events.len(), 4);
    assert_eq!(events[0].timestamp, Some(T));
    assert_eq!(events[3].message.as_deref(), Some("two\nlines ü"));
    assert_eq!(events[3].ingestion_time, Some(NOW.0));
}

#[test]
fn batches_are_checked() {
    let dir = tempfile::tempdir().expect("a directory");
    let (logs, world) = (open(dir.path()), World::of(&["a"]));
    let refused = |events: &[(i64, &str)]| {
        let error = put(&logs, &world, "a", events).expect_err("refused");
        assert_eq!(error.code(), "InvalidParameterException");
        error.to_string()
    };
    assert!(refused(&[(T, "b"), (T - 1, "a")]).contains("chronological order"));
    assert!(refused(&[(T - 86_400_001, "b"), (T, "a")]).contains("24 hours"));
    assert_eq!(
        refused(&[(T, &"x".repeat(1_048_577))]),
        "Log event too large: 1048577 bytes exceeds limit of 1048576"
    );
    assert_eq!(
        refused(&[(T, &"x".repeat(1_048_551))]),
        "Upload too large: 1048577 bytes exceeds limit of 1048576"
    );
    put(&logs, &world, "a", &[(T, &"x".repeat(1_048_550))]).expect("exactly as large as a batch may be");
    assert!(put(&logs, &world, "none", &[(T, "x")]).is_err_and(|e| e.code() == "ResourceNotFoundException"));
}

#[test]
fn events_too_old_or_too_new_are_named_and_the_others_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let (logs, mut world) = (open(dir.path()), World::of(&["a"]));
    let hour = 3_600_000;
    let old = NOW.0 - 14 * 24 * hour;
    let answer = put(&logs, &world, "a", &[(old - 1, "lost"), (old, "kept")]).expect("accepted");
    let rejected = answer.rejected_log_events_info.expect("one was rejected");
    assert_eq!(
        (rejected.too_old_log_event_end_index, rejected.too_new_log_event_start_index),
        (Some(1), None)
    );
    let answer =
        put(&logs, &world, "a", &[(T, "kept too"), (NOW.0 + 2 * hour + 1, "lost")]).expect("accepted");
    let rejected = answer.rejected_log_events_info.expect("one was rejected");
    assert_eq!(
        (rejected.too_old_log_event_end_index, rejected.too_new_log_event_start_index),
        (None, Some(1))
    );
    assert_eq!(messages(get(&logs, &world, of("a")).expect("the stream").events), ["kept", "kept too"]);

    world.retention_days = Some(3);
    let answer = put(&logs, &world, "a", &[(NOW.0 - 72 * hour - 1, "expired"), (NOW.0 - 72 * hour, "new")])
        .expect("accepted");
    let rejected = answer.rejected_log_events_info.expect("one was rejected");
    assert_eq!(rejected.expired_log_event_end_index, Some(1));
    assert_eq!(
        messages(get(&logs, &world, of("a")).expect("the stream").events),
        ["new", "kept too"],
        "what is past retention is not shown, even before it is dropped"
    );
}

#[test]
fn tokens_lead_forwards_and_backwards_and_stay_at_the_ends() {
    let dir = tempfile::tempdir().expect("a directory");
    let (logs, world) = (open(dir.path()), World::of(&["a"]));
    let empty = get(&logs, &world, of("a")).expect("the stream");
    assert_eq!(empty.events, Some(Vec::new()));
    for n in 0..7 {
        put(&logs, &world, "a", &[(T + n / 2, &format!("e{n}"))]).expect("accepted");
    }
    // The token of the empty stream finds what came since.
    let next =
        |token: Option<String>| model::GetLogEventsRequest { next_token: token, limit: Some(3), ..of("a") };
    let first = get(&logs, &world, next(empty.next_forward_token)).expect("a page");
    assert_eq!(messages(first.events), ["e0", "e1", "e2"]);
    let second = get(&logs, &world, next(first.next_forward_token.clone())).expect("a page");
    assert_eq!(messages(second.events), ["e3", "e4", "e5"]);
    let third = get(&logs, &world, next(second.next_forward_token.clone())).expect("a page");
    assert_eq!(messages(third.events), ["e6"]);
    let end = get(&logs, &world, next(third.next_forward_token.clone())).expect("a page");
    assert_eq!(messages(end.events), Vec::<String>::new());
    assert_eq!(end.next_forward_token, third.next_forward_token);
    let back = get(&logs, &world, next(end.next_backward_token)).expect("a page");
    assert_eq!(messages(back.events), ["e4", "e5", "e6"]);
    let back = get(&logs, &world, next(back.next_backward_token)).expect("a page");
    assert_eq!(messages(back.events), ["e1", "e2", "e3"]);
    let back = get(&logs, &world, next(back.next_backward_token)).expect("a page");
    assert_eq!(messages(back.events), ["e0"]);
    let start = get(&logs, &world, next(back.next_backward_token.clone())).expect("a page");
    assert_eq!(start.events, Some(Vec::new()));
    assert_eq!(start.next_backward_token, back.next_backward_token);
    put(&logs, &world, "a", &[(T + 10, "late")]).expect("accepted");
    let followed = get(&logs, &world, next(end.next_forward_token)).expect("a page");
    assert_eq!(messages(followed.events), ["late"]);
    // Without a token and from the tail: the latest events.
    let tail = model::GetLogEventsRequest { start_from_head: None, limit: Some(2), ..of("a") };
    assert_eq!(messages(get(&logs, &world, tail).expect("a page").events), ["e6", "late"]);
    let junk = get(&logs, &world, next(Some("f/1".to_owned()))).expect_err("not a token");
    assert_eq!(junk.to_string(), "The specified nextToken is invalid.");
}

#[test]
fn times_bound_what_is_got() {
    let dir = tempfile::tempdir().expect("a directory");
    let (logs, world) = (open(dir.path()), World::of(&["a"]));
    put(&logs, &world, "a", &[(T, "a"), (T + 1, "b"), (T + 2, "c")]).expect("accepted");
    let (start_time, end_time) = (Some(T + 1), Some(T + 2));
    let got = get(&logs, &world, model::GetLogEventsRequest { start_time, end_time, ..of("a") });
    assert_eq!(messages(got.expect("a page").events), ["b"], "the end is exclusive");
    let got =
        filter(&logs, &world, model::FilterLogEventsRequest { start_time, end_time, ..Default::default() });
    assert_eq!(filtered(got.expect("a page").events), ["b", "c"], "the end is inclusive");
}

#[test]
fn a_page_has_at_most_a_mebibyte_and_no_gaps() {
    let dir = tempfile::tempdir().expect("a directory");
    let (logs, world) = (open(dir.path()), World::of(&["a"]));
    let large = "x".repeat(400_000);
    // The times go backwards from batch to batch, so that later batches push earlier ones out of the page.
    for n in (0..6).rev() {
        put(&logs, &world, "a", &[(T + 2 * n, &large), (T + 2 * n + 1, "small")]).expect("accepted");
    }
    let (mut times, mut token) = (Vec::new(), None);
    loop {
        let page = get(&logs, &world, model::GetLogEventsRequest { next_token: token.clone(), ..of("a") })
            .expect("a page");
        let events = page.events.expect("events");
        assert!(events.iter().map(|e| e.message.as_ref().map_or(0, String::len)).sum::<usize>() <= 1 << 20);
        times.extend(events.iter().filter_map(|event| event.timestamp));
        if page.next_forward_token == token {
            break;
        }
        token = page.next_forward_token;
    }
    assert_eq!(times, (T..T + 12).collect::<Vec<_>>());
}

#[test]
fn streams_are_interleaved_filtered_and_followed_as_aws_logs_tail_does() {
    let dir = tempfile::tempdir().expect("a directory");
    let (logs, world) = (open(dir.path()), World::of(&["web/a", "web/b", "other"]));
    put(&logs, &world, "web/a", &[(T, "a0 ERROR"), (T + 2, "a2"), (T + 4, "a4 ERROR")]).expect("accepted");
    put(&logs, &world, "web/b", &[(T + 1, "b1"), (T + 2, "b2 ERROR"), (T + 3, "b3")]).expect("accepted");
    put(&logs, &world, "other", &[(T, "o ERROR")]).expect("accepted");
    let all = || model::FilterLogEventsRequest {
        log_stream_name_prefix: Some("web/".to_owned()),
        ..Default::default()
    };
    let got = filter(&logs, &world, all()).expect("a page");
    assert_eq!(filtered(got.events), ["a0 ERROR", "b1", "a2", "b2 ERROR", "b3", "a4 ERROR"]);
    let errors = model::FilterLogEventsRequest { filter_pattern: Some("ERROR".to_owned()), ..all() };
    let got = filter(&logs, &world, errors).expect("a page");
    assert_eq!(filtered(got.events), ["a0 ERROR", "b2 ERROR", "a4 ERROR"]);
    let bad = model::FilterLogEventsRequest { filter_pattern: Some("a-b".to_owned()), ..all() };
    assert!(filter(&logs, &world, bad).is_err_and(|error| error.code() == "InvalidParameterException"));

    // The follower asks again from the last time that it has seen and leaves out the ids that it knows.
    let first = filter(&logs, &world, all()).expect("a page").events.expect("events");
    let known: Vec<_> = first.iter().filter_map(|event| event.event_id.clone()).collect();
    put(&logs, &world, "web/b", &[(T + 4, "b4"), (T + 5, "b5")]).expect("accepted");
    let again = model::FilterLogEventsRequest { start_time: Some(T + 4), ..all() };
    let again = filter(&logs, &world, again).expect("a page").events.expect("events");
    let new = again.iter().filter(|event| event.event_id.as_ref().is_some_and(|id| !known.contains(id)));
    assert_eq!(new.filter_map(|event| event.message.as_deref()).collect::<Vec<_>>(), ["b4", "b5"]);
}

#[test]
fn streams_are_described_by_name_and_by_last_event() {
    let dir = tempfile::tempdir().expect("a directory");
    let (logs, world) = (open(dir.path()), World::of(&["a", "b", "c"]));
    put(&logs, &world, "a", &[(T, "x"), (T + 9, "x")]).expect("accepted");
    put(&logs, &world, "b", &[(T + 5, "x")]).expect("accepted");
    let describe = |request: model::DescribeLogStreamsRequest| {
        let request = model::DescribeLogStreamsRequest { log_group_name: Some(GROUP.to_owned()), ..request };
        match logs.handle(&world, NOW, Request::DescribeLogStreams(Box::new(request))).expect("streams") {
            Response::DescribeLogStreams(response) => response,
            other => panic!("DescribeLogStreams answered {other:?}"),
        }
    };
    let names = |streams: &[model::LogStream]| -> Vec<String> {
        streams.iter().filter_map(|stream| stream.log_stream_name.clone()).collect()
    };
    let by_name = describe(Default::default()).log_streams.expect("streams");
    assert_eq!(names(&by_name), ["a", "b", "c"]);
    assert_eq!((by_name[0].first_event_timestamp, by_name[0].last_event_timestamp), (Some(T), Some(T + 9)));
    assert_eq!(by_name[2].last_event_timestamp, None);
    let (mut seen, mut next_token) = (Vec::new(), None);
    loop {
        let page = describe(model::DescribeLogStreamsRequest {
            order_by: Some(model::OrderBy::LastEventTime),
            descending: Some(true),
            limit: Some(1),
            next_token,
            ..Default::default()
        });
        seen.extend(names(&page.log_streams.expect("streams")));
        next_token = page.next_token;
        if next_token.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["a", "b", "c"]);
}
