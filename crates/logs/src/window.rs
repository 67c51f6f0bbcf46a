//! A page of events in order of time, kept small while candidates come in any order.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A page holds at most this many bytes, with 26 counted for each event (API_GetLogEvents, API_PutLogEvents).
const BYTES_MAX: usize = 1 << 20;
const OVERHEAD: usize = 26;

/// The place of an event among those of a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) timestamp: i64,
    /// The stream's name.
    pub(crate) stream: Arc<str>,
    pub(crate) position: u64,
}

/// An event of a page.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) ingested_at: i64,
    pub(crate) message: String,
}

/// From which end a page is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    Earliest,
    Latest,
}

/// The earliest or latest events that fit into a page: always a run without gaps.
#[derive(Debug)]
pub(crate) struct Window {
    edge: Edge,
    limit: usize,
    bytes: usize,
    kept: BTreeMap<Place, Found>,
    /// The nearest event that did not fit; nothing beyond it is taken any more.
    beyond: Option<Place>,
}

impl Window {
    pub(crate) fn new(edge: Edge, limit: usize) -> Self {
        Self { edge, limit, bytes: 0, kept: BTreeMap::new(), beyond: None }
    }

    /// Whether events within these times could still get in.
    pub(crate) fn wants(&self, min: i64, max: i64) -> bool {
        match (&self.beyond, self.edge) {
            (None, _) => true,
            (Some(beyond), Edge::Earliest) => min <= beyond.timestamp,
            (Some(beyond), Edge::Latest) => max >= beyond.timestamp,
        }
    }

    /// Whether this very event would get in.
    pub(crate) fn takes(&self, place: &Place) -> bool {
        match (&self.beyond, self.edge) {
            (None, _) => true,
            (Some(beyond), Edge::Earliest) => place < beyond,
            (Some(beyond), Edge::Latest) => place > beyond,
        }
    }

    pub(crate) fn offer(&mut self, place: Place, ingested_at: i64, message: &str) {
        if !self.takes(&place) {
            return;
        }
        self.bytes += message.len() + OVERHEAD;
        self.kept.insert(place, Found { ingested_at, message: message.to_owned() });
        while self.kept.len() > self.limit || (self.bytes > BYTES_MAX && self.kept.len() > 1) {
            let out = match self.edge {
                Edge::Earliest => self.kept.pop_last(),
                Edge::Latest => self.kept.pop_first(),
            };
            if let Some((place, found)) = out {
                self.bytes -= found.message.len() + OVERHEAD;
                self.beyond = Some(place);
            }
        }
    }

    /// Whether something did not fit.
    pub(crate) fn has_more(&self) -> bool {
        self.beyond.is_some()
    }

    /// The events in ascending order.
    pub(crate) fn into_events(self) -> Vec<(Place, Found)> {
        self.kept.into_iter().collect()
    }
}
