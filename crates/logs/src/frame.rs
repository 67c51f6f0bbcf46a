//! Batches of events as frames of a segment file: length, checksum, then the events with their ingestion time.

use crate::store::Event;

/// Marks a segment file and its format.
pub(crate) const MAGIC: &[u8; 8] = b"WHARFLG1";
/// Length and checksum before a frame's body.
pub(crate) const HEAD: usize = 8;
/// A body's ingestion time and number of events.
const BODY_HEAD: usize = 12;
/// No frame is larger: PutLogEvents takes 1 MiB with 26 bytes counted for each event, a frame has 12.
pub(crate) const BODY_MAX: usize = 2 << 20;

/// A batch as bytes.
pub(crate) fn encode(ingested_at: i64, events: &[Event]) -> Vec<u8> {
    let size: usize = events.iter().map(|e| 12 + e.message.len()).sum();
    let mut frame = Vec::with_capacity(HEAD + BODY_HEAD + size);
    frame.extend([0; HEAD]);
    frame.extend(ingested_at.to_le_bytes());
    frame.extend(length(events.len()).to_le_bytes());
    for event in events {
        frame.extend(event.timestamp.to_le_bytes());
        frame.extend(length(event.message.len()).to_le_bytes());
        frame.extend(event.message.as_bytes());
    }
    let checksum = crc32fast::hash(&frame[HEAD..]);
    let body = length(frame.len() - HEAD);
    frame[..4].copy_from_slice(&body.to_le_bytes());
    frame[4..HEAD].copy_from_slice(&checksum.to_le_bytes());
    frame
}

fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// The length of the body that a frame's head announces; `None` if no frame is that large.
pub(crate) fn body_length(head: &[u8; HEAD]) -> Option<usize> {
    let length = usize::try_from(u32_at(head, 0)?).ok()?;
    (BODY_HEAD..=BODY_MAX).contains(&length).then_some(length)
}

/// The batch in a body; `None` if it is damaged.
pub(crate) fn decode<'a>(head: &[u8; HEAD], body: &'a [u8]) -> Option<Batch<'a>> {
    if u32_at(head, 4)? != crc32fast::hash(body) {
        return None;
    }
    let ingested_at = i64::from_le_bytes(body.get(..8)?.try_into().ok()?);
    Some(Batch { ingested_at, count: u32_at(body, 8)?, rest: body.get(BODY_HEAD..)? })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The events of one frame, in order.
pub(crate) struct Batch<'a> {
    pub(crate) ingested_at: i64,
    pub(crate) count: u32,
    rest: &'a [u8],
}

impl<'a> Iterator for Batch<'a> {
    /// Time and message.
    type Item = (i64, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let timestamp = i64::from_le_bytes(self.rest.get(..8)?.try_into().ok()?);
        let length = usize::try_from(u32_at(self.rest, 8)?).ok()?;
        let message = std::str::from_utf8(self.rest.get(12..12 + length)?).ok()?;
        self.rest = &self.rest[12 + length..];
        Some((timestamp, message))
    }
}
