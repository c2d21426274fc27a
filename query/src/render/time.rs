//! Times and spans of time as text.

use std::fmt::Write as _;

const DAY: i64 = 86_400;

/// Appends a time as RFC 3339 text in UTC with nanoseconds: `seconds` since 1970, and `nanos` after them.
pub fn write_time(seconds: i64, nanos: u32, out: &mut String) {
    write_date(seconds.div_euclid(DAY), out);
    out.push('T');
    write_time_of_day(seconds.rem_euclid(DAY), nanos, out);
    out.push('Z');
}

/// Appends `yyyy-mm-dd` of a day counted from 1970-01-01 in the proleptic Gregorian calendar.
pub(super) fn write_date(days: i64, out: &mut String) {
    // By eras of 400 years, which have 146,097 days; years begin in March, so that leap days end them.
    let days = days.saturating_add(719_468);
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let _never_fails = write!(out, "{year:04}-{month:02}-{day:02}");
}

/// Appends `hh:mm:ss.nnnnnnnnn`.
pub(super) fn write_time_of_day(seconds: i64, nanos: u32, out: &mut String) {
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let _never_fails = write!(out, "{hours:02}:{minutes:02}:{seconds:02}.{nanos:09}");
}

/// Appends a span of time as ISO 8601 text: months, days and nanoseconds have no common measure.
pub(super) fn write_interval(months: i32, days: i32, nanos: i64, out: &mut String) {
    out.push('P');
    let mut part = |value: i64, unit: char| {
        if value != 0 {
            let _never_fails = write!(out, "{value}{unit}");
        }
    };
    part(months.into(), 'M');
    part(days.into(), 'D');
    if nanos != 0 || (months == 0 && days == 0) {
        let sign = if nanos < 0 { "-" } else { "" };
        let (seconds, rest) = (nanos.unsigned_abs() / 1_000_000_000, nanos.unsigned_abs() % 1_000_000_000);
        let _never_fails = write!(out, "T{sign}{seconds}.{rest:09}S");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let text = |seconds, nanos| {
            let mut out = String::new();
            write_time(seconds, nanos, &mut out);
            out
        };
        assert_eq!(text(0, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(text(-1, 999_999_999), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(text(951_827_696, 7), "2000-02-29T12:34:56.000000007Z");
        assert_eq!(text(i64::MAX / 1_000_000_000, 854_775_807), "2262-04-11T23:47:16.854775807Z");
        assert_eq!(text(i64::MIN.div_euclid(1_000_000_000), 145_224_192), "1677-09-21T00:12:43.145224192Z");
    }

    #[test]
    fn intervals() {
        let text = |months, days, nanos| {
            let mut out = String::new();
            write_interval(months, days, nanos, &mut out);
            out
        };
        assert_eq!(text(0, 0, 0), "PT0.000000000S");
        assert_eq!(text(14, 0, 0), "P14M");
        assert_eq!(text(0, -3, 1_500_000_000), "P-3DT1.500000000S");
        assert_eq!(text(0, 0, -1), "PT-0.000000001S");
    }
}
