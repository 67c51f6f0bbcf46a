//! Timestamps as text: ISO 8601, the date of HTTP and mail, and seconds since the epoch.

use std::fmt;
use stdx::Timestamp;
use stdx::time::Calendar;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// The moment so many seconds after the epoch, rounded to milliseconds.
pub(crate) fn from_seconds(seconds: f64) -> Option<Timestamp> {
    let millis = (seconds * 1000.0).round();
    #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
    (millis.abs() < 9_007_199_254_740_992.0).then_some(Timestamp(millis as i64))
}

/// Prints seconds since the epoch, with a fraction only where there is one.
pub(crate) struct Seconds(pub Timestamp);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.millis();
        let (whole, fraction) = (millis.unsigned_abs() / 1000, millis.unsigned_abs() % 1000);
        if millis < 0 {
            f.write_str("-")?;
        }
        match fraction {
            0 => write!(f, "{whole}"),
            _ if fraction % 100 == 0 => write!(f, "{whole}.{}", fraction / 100),
            _ if fraction % 10 == 0 => write!(f, "{whole}.{:02}", fraction / 10),
            _ => write!(f, "{whole}.{fraction:03}"),
        }
    }
}

/// `Sun, 22 Nov 2026 17:20:05 GMT`.
pub(crate) fn rfc822(at: Timestamp) -> String {
    let c = at.calendar();
    let day = usize::try_from(at.millis().div_euclid(86_400_000).rem_euclid(7)).unwrap_or_default();
    let month = usize::try_from(c.month - 1).unwrap_or_default();
    let (day, month) = (DAYS[day], MONTHS[month]);
    let date =
        format!("{day}, {:02} {month} {:04} {:02}:{:02}:{:02}", c.day, c.year, c.hour, c.minute, c.second);
    match c.millisecond {
        0 => format!("{date} GMT"),
        fraction => format!("{date}.{fraction:03} GMT"),
    }
}

/// Reads `2026-11-22T17:20:05Z`, with an optional fraction and an offset in place of the `Z`.
pub(crate) fn parse_iso8601(text: &str) -> Option<Timestamp> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let mut date = date.splitn(3, '-');
    let (year, month, day) = (digits(date.next()?, 4)?, digits(date.next()?, 2)?, digits(date.next()?, 2)?);
    let (clock, offset) = match time.find(['Z', 'z', '+', '-']) {
        None => (time, 0),
        Some(at) => (time.get(..at)?, parse_offset(time.get(at..)?)?),
    };
    let (hour, minute, second, millisecond) = parse_clock(clock)?;
    moment(Calendar { year, month, day, hour, minute, second, millisecond }, offset)
}

/// Reads `Sun, 22 Nov 2026 17:20:05 GMT`, with an optional fraction.
pub(crate) fn parse_rfc822(text: &str) -> Option<Timestamp> {
    let (_, rest) = text.split_once(", ")?;
    let mut parts = rest.split(' ');
    let day = parts.next().filter(|day| day.len() <= 2)?;
    let day = digits(day, day.len())?;
    let name = parts.next()?;
    let month = i64::try_from(MONTHS.iter().position(|month| *month == name)? + 1).ok()?;
    let year = digits(parts.next()?, 4)?;
    let (hour, minute, second, millisecond) = parse_clock(parts.next()?)?;
    if parts.next()? != "GMT" || parts.next().is_some() {
        return None;
    }
    moment(Calendar { year, month, day, hour, minute, second, millisecond }, 0)
}

/// Reads any of the three notations, as awsQuery services do.
pub(crate) fn parse_any(text: &str) -> Option<Timestamp> {
    parse_iso8601(text)
        .or_else(|| parse_rfc822(text))
        .or_else(|| crate::number::float(text).and_then(from_seconds))
}

fn moment(fields: Calendar, offset_minutes: i64) -> Option<Timestamp> {
    let valid = (1..=12).contains(&fields.month)
        && (1..=31).contains(&fields.day)
        && fields.hour < 24
        && fields.minute < 60
        && fields.second < 61;
    valid.then(|| Timestamp(Timestamp::from_calendar(fields).millis() - offset_minutes * 60_000))
}

fn parse_clock(text: &str) -> Option<(i64, i64, i64, i64)> {
    let mut parts = text.splitn(3, ':');
    let (hour, minute, second) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?, parts.next()?);
    let (second, fraction) = second.split_once('.').unwrap_or((second, "0"));
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let millis: String = fraction.chars().chain("000".chars()).take(3).collect();
    Some((hour, minute, digits(second, 2)?, digits(&millis, 3)?))
}

/// Minutes east of Greenwich: `Z`, `+01:00`, `-0730`.
fn parse_offset(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let digits_only = text.get(1..)?.replace(':', "");
    let hours = digits(digits_only.get(..2)?, 2)?;
    let minutes = digits(digits_only.get(2..)?, 2)?;
    Some(sign * (hours * 60 + minutes))
}

fn digits(text: &str, length: usize) -> Option<i64> {
    let plain = text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notations_of_one_moment_agree() {
        let at = Timestamp(1_398_796_238_000);
        assert_eq!(rfc822(at), "Tue, 29 Apr 2014 18:30:38 GMT");
        for text in [
            "2014-04-29T18:30:38Z",
            "2014-04-29T20:30:38+02:00",
            "2014-04-29T18:30:38",
            "1398796238",
            "Tue, 29 Apr 2014 18:30:38 GMT",
            "1398796238.0",
        ] {
            assert_eq!(parse_any(text), Some(at), "{text}");
        }
        assert_eq!(parse_iso8601("2000-01-02T20:34:56.123456Z"), Some(Timestamp(946_845_296_123)));
        assert_eq!(parse_rfc822("Sun, 02 Jan 2000 20:34:56.456 GMT"), Some(Timestamp(946_845_296_456)));
        assert_eq!(Seconds(Timestamp(1_700_000_000_120)).to_string(), "1700000000.12");
        assert_eq!(Seconds(Timestamp(-500)).to_string(), "-0.5");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "T",
            "2014-13-29T18:30:38Z",
            "2014-04-29",
            "2014-04-29T18:30Z",
            "é014-04-29T18:30:38Z",
            "2014-04-29T18:30:38+é1",
            "Tue, 29 Apr 2014 18:30:38 CET",
            "NaN",
            "1e400",
            "2014-04-29T18:30:38.Z",
        ] {
            assert_eq!(parse_any(text), None, "{text}");
        }
    }
}
