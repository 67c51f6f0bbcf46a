//! The canonical form of a request and the text that is signed.

use super::{ALGORITHM, Parts};
use std::fmt::Write as _;
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
        out.push_str(&self.path());
        out.push('\n');
        out.push_str(&self.query());
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

    /// The path, encoded a second time except for S3.
    fn path(&self) -> String {
        match self.parts.path {
            "" | "/" => "/".to_owned(),
            path if self.service == "s3" => path.to_owned(),
            path => path.split('/').map(encode).collect::<Vec<_>>().join("/"),
        }
    }

    fn query(&self) -> String {
        if self.parts.query.is_empty() {
            return String::new();
        }
        let mut pairs: Vec<(String, String)> = parameters(self.parts.query)
            .into_iter()
            .filter(|(name, _)| !(self.is_presigned && name == "X-Amz-Signature"))
            .map(|(name, value)| (encode(&name), encode(&value)))
            .collect();
        pairs.sort_unstable();
        pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
    }
}

/// All values of a header, trimmed, inner runs of spaces made one.
fn push_values(out: &mut String, headers: &http::HeaderMap, name: &str) {
    for (n, value) in headers.get_all(name).iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        let text = String::from_utf8_lossy(value.as_bytes());
        for (m, word) in text.split_ascii_whitespace().enumerate() {
            if m > 0 {
                out.push(' ');
            }
            out.push_str(word);
        }
    }
}

pub(super) fn string_to_sign(time: &str, scope: &str, canonical: &str) -> String {
    format!("{ALGORITHM}\n{time}\n{scope}\n{}", hex(&crate::sha256(canonical.as_bytes())))
}

/// A query's names and values, decoded.
pub(super) fn parameters(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(n, v)| (decode(n), decode(v)))
        .collect()
}

/// Percent-encodes everything but unreserved characters (RFC 3986).
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing into a string cannot fail.
            let _infallible = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let escaped = (bytes[i] == b'%').then(|| bytes.get(i + 1..i + 3)).flatten();
        match escaped
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|d| u8::from_str_radix(d, 16).ok())
        {
            Some(byte) => {
                out.push(byte);
                i += 3;
            }
            None => {
                out.push(if bytes[i] == b'+' { b' ' } else { bytes[i] });
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]);
    digits.map(char::from).collect()
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
