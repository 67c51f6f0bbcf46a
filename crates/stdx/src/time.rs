//! Wall-clock time as a plain number, so that pure code can take it as an argument.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Whole milliseconds since the epoch.
    pub fn millis(self) -> i64 {
        self.0
    }

    /// Seconds since the epoch with the fraction that the AWS JSON protocol carries.
    #[expect(clippy::cast_precision_loss, reason = "exact for every date within 285,000 years")]
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// The moment `delay` later; saturates at the end of time.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long ago `earlier` was; zero if it lies in the future.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Calendar fields in UTC: year, month, day, hour, minute, second, millisecond.
    pub fn calendar(self) -> Calendar {
        // Days-to-civil after Howard Hinnant's "chrono-compatible low-level date algorithms".
        let days = self.0.div_euclid(86_400_000);
        let ms = self.0.rem_euclid(86_400_000);
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let doe = z.rem_euclid(146_097);
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let day = doy - (153 * mp + 2) / 5 + 1;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        let year = yoe + era * 400 + i64::from(month <= 2);
        Calendar {
            year,
            month,
            day,
            hour: ms / 3_600_000,
            minute: ms / 60_000 % 60,
            second: ms / 1000 % 60,
            millisecond: ms % 1000,
        }
    }

    /// The moment of a UTC calendar date; fields are not range-checked.
    #[must_use]
    pub fn from_calendar(c: Calendar) -> Self {
        let year = if c.month <= 2 { c.year - 1 } else { c.year };
        let era = year.div_euclid(400);
        let yoe = year.rem_euclid(400);
        let mp = (c.month + 9) % 12;
        let doy = (153 * mp + 2) / 5 + c.day - 1;
        let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
        let days = era * 146_097 + doe - 719_468;
        let seconds = days * 86_400 + c.hour * 3600 + c.minute * 60 + c.second;
        Self(seconds * 1000 + c.millisecond)
    }

    /// `2026-11-22T17:20:05Z`, with milliseconds only where there are any.
    pub fn iso8601(self) -> String {
        let c = self.calendar();
        let date = format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
            c.year, c.month, c.day, c.hour, c.minute, c.second
        );
        if c.millisecond == 0 { format!("{date}Z") } else { format!("{date}.{:03}Z", c.millisecond) }
    }
}

/// A moment's fields in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calendar {
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// 1 to 31.
    pub day: i64,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
    pub millisecond: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calendar_round_trips() {
        for ms in [0, 951_782_400_000, 1_795_368_005_123, -1, 4_102_444_799_999] {
            assert_eq!(Timestamp::from_calendar(Timestamp(ms).calendar()), Timestamp(ms));
        }
        assert_eq!(Timestamp(951_782_400_000).iso8601(), "2000-02-29T00:00:00Z");
        assert_eq!(Timestamp(1_700_000_000_123).iso8601(), "2023-11-14T22:13:20.123Z");
    }
}
