//! The canonical form of a request and the text that is signed.

use super::{ALGORITHM, Parts};
use crate::form;
use stdx::Timestamp;
use stdx::time::Calendar;

/// What goes into a canonical request.
pub(super) struct Canonical<'a> {
    pub(super) parts: &'a Parts<'a>,
    /// Lower-case names.
    pub(super) signed_headers: &'a [String],
    pub(super) payload_hash: &'a str,
    /// Whether the signature stands in the query, which then does not cover itself.
    pub(super) is_presigned: bool,
    pub(super) service: &'a str,
}

impl Canonical<'_> {
    pub(super) fn text(&self) -> String {
        let mut names: Vec<&str> = self.signed_headers.iter().map(String::as_str).collect();
        names.sort_unstable();
        let mut out = String::with_capacity(512);
        out.push_str(self.parts.method);
        out.push('\n');
        self.push_path(&mut out);
        out.push('\n');
        self.push_query(&mut out);
        out.push('\n');
        for name in &names {
            out.push_str(name);
            out.push(':');
            push_values(&mut out, self.parts.headers, name);
            out.push('\n');
        }
        out.push('\n');
        out.push_str(&names.join(";"));
        out.push('\n');
        out.push_str(self.payload_hash);
        out
    }

    /// The path without empty and dot segments, encoded a second time; S3's as it was sent.
    fn push_path(&self, out: &mut String) {
        let path = self.parts.path;
        if self.service == "s3" {
            out.push_str(if path.is_empty() { "/" } else { path });
            return;
        }
        let mut segments = Vec::new();
        for segment in path.split('/') {
            match segment {
                "" | "." => {}
                ".." => drop(segments.pop()),
                _ => segments.push(segment),
            }
        }
        for segment in &segments {
            out.push('/');
            form::encode_into(out, segment.as_bytes(), false);
        }
        if segments.is_empty() || path.ends_with('/') {
            out.push('/');
        }
    }

    fn push_query(&self, out: &mut String) {
        let encode = |text: &str| {
            let mut out = String::with_capacity(text.len());
            form::encode_into(&mut out, text.as_bytes(), false);
            out
        };
        let mut pairs: Vec<(String, String)> = form::parameters(self.parts.query)
            .into_iter()
            .filter(|(name, _)| !(self.is_presigned && name == "X-Amz-Signature"))
            .map(|(name, value)| (encode(&name), encode(&value)))
            .collect();
        pairs.sort_unstable();
        for (n, (name, value)) in pairs.iter().enumerate() {
            out.push_str(if n == 0 { "" } else { "&" });
            out.push_str(name);
            out.push('=');
            out.push_str(value);
        }
    }
}

/// All values of a header, trimmed, inner runs of spaces made one.
fn push_values(out: &mut String, headers: &http::HeaderMap, name: &str) {
    for (n, value) in headers.get_all(name).iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        let text = String::from_utf8_lossy(value.as_bytes());
        let text = text.trim_ascii();
        if !text.contains("  ") && !text.contains('\t') {
            out.push_str(text);
            continue;
        }
        for (m, word) in text.split_ascii_whitespace().enumerate() {
            out.push_str(if m == 0 { "" } else { " " });
            out.push_str(word);
        }
    }
}

pub(super) fn string_to_sign(time: &str, scope: &str, canonical: &str) -> String {
    format!("{ALGORITHM}\n{time}\n{scope}\n{}", hex(&crate::sha256(canonical.as_bytes())))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    out
}

pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()).collect()
}

/// Reads `20261122T172005Z`.
pub(super) fn parse_time(text: &str) -> Option<Timestamp> {
    let digits = text.strip_suffix('Z')?;
    let (date, time) = digits.split_once('T')?;
    let is_time =
        date.len() == 8 && time.len() == 6 && date.bytes().chain(time.bytes()).all(|b| b.is_ascii_digit());
    let number = |part: &str| part.parse::<i64>().ok();
    is_time.then_some(())?;
    Some(Timestamp::from_calendar(Calendar {
        year: number(&date[..4])?,
        month: number(&date[4..6])?,
        day: number(&date[6..])?,
        hour: number(&time[..2])?,
        minute: number(&time[2..4])?,
        second: number(&time[4..])?,
        millisecond: 0,
    }))
}

/// `20261122T172005Z`.
pub(super) fn format_time(at: Timestamp) -> String {
    let c = at.calendar();
    format!("{:04}{:02}{:02}T{:02}{:02}{:02}Z", c.year, c.month, c.day, c.hour, c.minute, c.second)
}
