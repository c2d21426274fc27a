//! Times as people write them: `now`, `-24h`, `2026-11-01T00:00:00Z`; and durations: `90s`, `15m`.

use super::words::{Nanos, SECOND};

/// Parses a duration: a number and `ms`, `s`, `m`, `h` or `d`.
pub(crate) fn duration(text: &str) -> Result<Nanos, String> {
    let wrong = || format!("{text:?} is no duration: write a number and a unit, as in 90s, 15m, 24h or 7d");
    let text = text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at_checked(split).ok_or_else(wrong)?;
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let unit = match unit {
        "ms" => SECOND / 1_000,
        "s" => SECOND,
        "m" => 60 * SECOND,
        "h" => 3_600 * SECOND,
        "d" => 86_400 * SECOND,
        _ => return Err(wrong()),
    };
    let nanos = number * unit as f64;
    if !nanos.is_finite() || !(0.0..9e18).contains(&nanos) {
        return Err(wrong());
    }
    Ok(nanos as Nanos)
}

/// Parses a time: `now`, a duration before it (`-24h`), or RFC 3339 in UTC.
pub(crate) fn instant(text: &str, now: Nanos) -> Result<Nanos, String> {
    let text = text.trim();
    if text == "now" {
        return Ok(now);
    }
    if let Some(ago) = text.strip_prefix('-') {
        return duration(ago).map(|ago| now.saturating_sub(ago));
    }
    rfc3339(text).ok_or_else(|| format!("{text:?} is no time: write now, -24h or 2026-11-01T00:00:00Z"))
}

/// `2026/11/01`: the day of `at`, in UTC.
pub(crate) fn date(at: Nanos) -> String {
    let (year, month, day) = civil(at.div_euclid(86_400 * SECOND));
    format!("{year:04}/{month:02}/{day:02}")
}

fn rfc3339(text: &str) -> Option<Nanos> {
    let text = text.strip_suffix('Z')?;
    let (day, time) = text.split_once('T')?;
    let mut day = day.splitn(3, '-').map(|n| n.parse::<i64>().ok());
    let (year, month, day) = (day.next()??, day.next()??, day.next()??);
    let mut time = time.splitn(3, ':');
    let (hour, minute) = (time.next()?.parse::<i64>().ok()?, time.next()?.parse::<i64>().ok()?);
    let second = time.next()?.parse::<f64>().ok()?;
    let valid = (1970..2262).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0.0..61.0).contains(&second);
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60;
    valid.then(|| seconds * SECOND + (second * SECOND as f64) as Nanos)
}

/// Days since 1970-01-01 of a day of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March have the leap day at their end.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a number of days since 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_are_read() {
        let now = 1_800_000_000 * SECOND;
        assert_eq!(instant("now", now).unwrap(), now);
        assert_eq!(instant("-24h", now).unwrap(), now - 86_400 * SECOND);
        assert_eq!(instant("1970-01-02T00:00:01Z", now).unwrap(), 86_401 * SECOND);
        assert_eq!(instant("2024-02-29T12:30:00.5Z", now).unwrap(), 1_709_209_800 * SECOND + SECOND / 2);
        for wrong in ["", "yesterday", "-5", "2024-13-01T00:00:00Z", "5x", "-1e300d", "é"] {
            assert!(instant(wrong, now).is_err(), "{wrong}");
        }
    }

    #[test]
    fn days_and_back() {
        for day in [0, 59, 60, 11_016, 19_782, 20_000, 40_000] {
            let (y, m, d) = civil(day);
            assert_eq!(days(y, m, d), day);
        }
        assert_eq!(date(1_709_209_800 * SECOND), "2024/02/29");
    }
}
