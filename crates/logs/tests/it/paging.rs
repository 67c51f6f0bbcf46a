//! Pages join to the whole, whatever came in whatever order.

use crate::harness::*;
use api::logs as model;
use proptest::prelude::*;

const T: i64 = NOW.0 - 60_000;

/// Batches: a stream and the times of its events.
fn batches() -> impl Strategy<Value = Vec<(usize, Vec<i64>)>> {
    prop::collection::vec((0..3_usize, prop::collection::vec(0..30_i64, 1..8)), 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn pages_join_to_the_whole(batches in batches(), limit in 1..9_i32) {
        let dir = tempfile::tempdir().expect("a directory");
        let names = ["s0", "s1", "s2"];
        let (mut logs, world) = (open(dir.path()), World::of(&names));
        let mut expected: Vec<(i64, usize, usize)> = Vec::new();
        for (n, (stream, mut times)) in batches.into_iter().enumerate() {
            times.sort_unstable();
            let texts: Vec<String> = (0..times.len()).map(|m| format!("{n}-{m}")).collect();
            let events: Vec<(i64, &str)> = times.iter().map(|t| T + t).zip(texts.iter().map(String::as_str)).collect();
            put(&logs, &world, names[stream], &events).expect("accepted");
            let before = expected.len();
            expected.extend(times.iter().enumerate().map(|(m, t)| (T + t, stream, before + m)));
            if n == 5 {
                logs = open(dir.path());
            }
        }
        let texts = |events: &[(i64, usize, usize)]| events.iter().map(|e| e.0).collect::<Vec<_>>();
        expected.sort_unstable();

        let (mut seen, mut next_token) = (Vec::new(), None);
        loop {
            let request = model::FilterLogEventsRequest { limit: Some(limit), next_token, ..Default::default() };
            let page = filter(&logs, &world, request).expect("a page");
            let events = page.events.expect("events");
            prop_assert!(events.len() <= usize::try_from(limit).expect("positive"));
            seen.extend(events.into_iter().map(|event| event.timestamp.expect("a time")));
            next_token = page.next_token;
            if next_token.is_none() {
                break;
            }
        }
        prop_assert_eq!(&seen, &texts(&expected));

        for (index, name) in names.iter().enumerate() {
            let mine: Vec<_> = expected.iter().copied().filter(|e| e.1 == index).collect();
            let walk = |is_forward: bool| {
                let (mut seen, mut token): (Vec<i64>, Option<String>) = (Vec::new(), None);
                loop {
                    let start_from_head = Some(is_forward);
                    let request = model::GetLogEventsRequest { start_from_head, limit: Some(limit), next_token: token.clone(), ..of(name) };
                    let page = get(&logs, &world, request).expect("a page");
                    let times: Vec<i64> = page.events.expect("events").iter().filter_map(|e| e.timestamp).collect();
                    let next = if is_forward { page.next_forward_token } else { page.next_backward_token };
                    if is_forward {
                        seen.extend(times);
                    } else {
                        seen.splice(0..0, times);
                    }
                    if next == token {
                        return seen;
                    }
                    token = next;
                }
            };
            prop_assert_eq!(walk(true), texts(&mine));
            prop_assert_eq!(walk(false), texts(&mine));
        }
    }
}
