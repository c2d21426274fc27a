//! Reads the parameters of a request strictly: an unknown name, a bad value, a name
//! given twice are errors that say what was expected.
//!
//! The names that a request may use are those that its documentation lists
//! ([`utoipa::IntoParams`]), so the two cannot differ. A parameter with an empty value
//! counts as not given.

use std::time::{SystemTime, UNIX_EPOCH};

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use axum::extract::Query;
use hopline_model::{SpanId, TraceId};
use http::Uri;
use utoipa::IntoParams;

use crate::error::Error;

const SECOND: i64 = 1_000_000_000;
/// What is said of a time that is none of ours.
const OUT_OF_RANGE: &str = "is out of range: times have nanoseconds and reach from 1677-09-21 to 2262-04-11";

/// Units of durations and of relative times, in nanoseconds.
const UNITS: [(&str, f64); 9] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3_600e9),
    ("d", 86_400e9),
    ("w", 604_800e9),
];

/// The parameters behind the question mark of a request.
#[derive(Debug)]
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
    /// When the request came: what relative times are relative to.
    now: i64,
}

impl Params {
    /// Reads the query part of `uri` and refuses names that `Q` does not document.
    pub(crate) fn of<Q: IntoParams>(uri: &Uri) -> Result<Self, Error> {
        let known: Vec<String> = Q::into_params(|| None).into_iter().map(|p| p.name).collect();
        Self::read(uri, &known.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Refuses any parameter.
    pub(crate) fn none(uri: &Uri) -> Result<(), Error> {
        Self::read(uri, &[]).map(|_| ())
    }

    fn read(uri: &Uri, known: &[&str]) -> Result<Self, Error> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| Error::Invalid("the query part of the address is not made of name=value pairs".to_owned()))?;
        for (name, _) in &pairs {
            if !known.contains(&name.as_str()) {
                return Err(unknown(name, known));
            }
        }
        Ok(Self { pairs, now: now_ns() })
    }

    /// All values of `name`.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter(move |(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.as_str())
    }

    /// The value of `name`.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, Error> {
        let mut values = self.all(name);
        let first = values.next();
        match values.next() {
            None => Ok(first),
            Some(_) => Err(bad(name, "is given more than once")),
        }
    }

    /// The value of `name`, read by `read`, which says what it expected.
    pub(crate) fn value<T>(
        &self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Error> {
        self.text(name)?.map(|text| read(text).map_err(|e| refuse(name, text, &e))).transpose()
    }

    /// The value of `name`, which must be one of `words`, of either case: its number and the word.
    pub(crate) fn word(&self, name: &str, words: &[&'static str]) -> Result<Option<&'static str>, Error> {
        self.value(name, |text| {
            let found = words.iter().find(|w| w.eq_ignore_ascii_case(text));
            found.copied().ok_or_else(|| format!("one of {} was expected", words.join(", ")))
        })
    }

    /// A number from 1 to `max`.
    pub(crate) fn limit(&self, name: &str, default: usize, max: usize) -> Result<usize, Error> {
        let limit = self.value(name, |text| match text.parse::<usize>() {
            Ok(limit) if (1..=max).contains(&limit) => Ok(limit),
            _ => Err(format!("a number from 1 to {max} was expected")),
        })?;
        Ok(limit.unwrap_or(default))
    }

    /// A length of time in nanoseconds.
    pub(crate) fn duration(&self, name: &str) -> Result<Option<i64>, Error> {
        self.value(name, parse_duration)
    }

    /// A point in time in nanoseconds since 1970.
    pub(crate) fn time(&self, name: &str) -> Result<Option<i64>, Error> {
        self.value(name, |text| parse_time(text, self.now))
    }

    /// `start` and `end`: the range is `start <= t < end`.
    pub(crate) fn range(&self) -> Result<TimeRange, Error> {
        let range = TimeRange { start: self.time("start")?, end: self.time("end")? };
        match (range.start, range.end) {
            (Some(start), Some(end)) if start >= end => Err(bad("end", "must be later than start")),
            _ => Ok(range),
        }
    }

    /// A trace id.
    pub(crate) fn trace_id(&self, name: &str) -> Result<Option<TraceId>, Error> {
        self.value(name, |text| text.parse().map_err(|e| format!("{e}")))
    }

    /// A span id.
    pub(crate) fn span_id(&self, name: &str) -> Result<Option<SpanId>, Error> {
        self.value(name, |text| text.parse().map_err(|e| format!("{e}")))
    }

    /// True or false.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Error> {
        Ok(self.word(name, &["true", "false"])? == Some("true"))
    }

    /// When the request came.
    pub(crate) fn now(&self) -> i64 {
        self.now
    }

    /// A number that is the same for two requests with the same parameters, whatever the
    /// limit and the cursor.
    pub(crate) fn fingerprint(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut pairs: Vec<_> =
            self.pairs.iter().filter(|(n, v)| !matches!(n.as_str(), "limit" | "cursor") && !v.is_empty()).collect();
        pairs.sort();
        let mut hasher = DefaultHasher::new();
        pairs.hash(&mut hasher);
        hasher.finish()
    }
}

/// A range of times; an end that is missing is open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TimeRange {
    /// The first nanosecond in it.
    pub(crate) start: Option<i64>,
    /// The first nanosecond behind it.
    pub(crate) end: Option<i64>,
}

/// The error for a bad value.
pub(crate) fn refuse(name: &str, value: &str, expected: &str) -> Error {
    let value: String = value.chars().take(100).collect();
    Error::Invalid(format!("parameter {name}={value}: {expected}"))
}

/// The error for a parameter whose value does not matter.
pub(crate) fn bad(name: &str, what: &str) -> Error {
    Error::Invalid(format!("parameter {name} {what}"))
}

fn unknown(name: &str, known: &[&str]) -> Error {
    let short: String = name.chars().take(100).collect();
    if known.is_empty() {
        return Error::Invalid(format!("there is no parameter {short}: this takes none"));
    }
    let nearest = known.iter().map(|k| (distance(name, k), k)).min().filter(|(d, k)| *d <= k.len().div_ceil(2));
    Error::Invalid(match nearest {
        Some((_, nearest)) => format!("there is no parameter {short}: did you mean {nearest}?"),
        None => format!("there is no parameter {short}: there are {}", known.join(", ")),
    })
}

/// How many characters must be added, removed or replaced to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, y) in row.iter_mut().skip(1).zip(&b) {
            let next = (diagonal + usize::from(x != *y)).min(*cell + 1).min(left + 1);
            diagonal = *cell;
            *cell = next;
            left = next;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// `10ms`, `1.5s`, `2h`, or nanoseconds without a unit.
pub(crate) fn parse_duration(text: &str) -> Result<i64, String> {
    let expected = || "a duration such as 10ms, 1.5s or 2h was expected (without a unit: nanoseconds)".to_owned();
    if let Ok(ns) = text.parse::<i64>() {
        return if ns >= 0 { Ok(ns) } else { Err(expected()) };
    }
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(expected)?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| expected())?;
    let factor = UNITS.iter().find(|(name, _)| *name == unit.trim()).map(|(_, f)| f).ok_or_else(expected)?;
    let ns = number * factor;
    if ns < i64::MAX as f64 { Ok(ns.round() as i64) } else { Err("is too long".to_owned()) }
}

/// RFC 3339; seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by
/// their size; or relative to now: `now`, `-1h`, `now-1h`.
pub(crate) fn parse_time(text: &str, now: i64) -> Result<i64, String> {
    let expected =
        || "a time such as 2026-01-31T12:00:00Z, 1769860800 (seconds, ms or ns since 1970) or -1h was expected";
    let relative = text.strip_prefix("now").unwrap_or(text);
    if relative.is_empty() {
        return Ok(now);
    }
    if let Some(ago) = relative.strip_prefix('-').filter(|d| !d.bytes().all(|b| b.is_ascii_digit())) {
        return parse_duration(ago).map(|ago| now.saturating_sub(ago)).map_err(|_| expected().to_owned());
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        let number: i64 = text.parse().map_err(|_| OUT_OF_RANGE.to_owned())?;
        let factor = if number < 100_000_000_000 {
            SECOND
        } else if number < 100_000_000_000_000 {
            SECOND / 1_000
        } else if number < 100_000_000_000_000_000 {
            SECOND / 1_000_000
        } else {
            1
        };
        return Ok(number.saturating_mul(factor));
    }
    // A plus sign that was not escaped arrives as a space.
    let text = match text.rsplit_once(' ') {
        Some((time, zone)) if time.contains('T') => format!("{time}+{zone}"),
        _ => text.to_owned(),
    };
    string_to_timestamp_nanos(&text).map_err(|e| {
        // Arrow has one kind of error for both.
        let out_of_range = e.to_string().contains("represented as nanoseconds");
        if out_of_range { OUT_OF_RANGE.to_owned() } else { expected().to_owned() }
    })
}

/// The time of the system's clock.
pub(crate) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
