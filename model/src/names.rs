//! Words for OTLP's enumerations.
//!
//! The columns `kind`, `status_code`, `type` and `temporality` hold the words that
//! OpenTelemetry uses. OTLP's enumerations are open: a number that has no word yet is
//! kept as its decimal digits, so that it can be given back as it was sent.

use std::borrow::Cow;

const KINDS: [&str; 6] = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
const STATUS_CODES: [&str; 3] = ["UNSET", "OK", "ERROR"];
const TEMPORALITIES: [&str; 3] = ["unspecified", "delta", "cumulative"];

fn name(names: &[&'static str], number: i32) -> Cow<'static, str> {
    match usize::try_from(number).ok().and_then(|i| names.get(i)) {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(number.to_string()),
    }
}

fn number(names: &[&'static str], text: &str) -> i32 {
    match names.iter().position(|n| n.eq_ignore_ascii_case(text)) {
        Some(i) => i as i32,
        None => text.parse().unwrap_or(0),
    }
}

/// The word for a `Span.SpanKind`.
pub fn kind_name(kind: i32) -> Cow<'static, str> {
    name(&KINDS, kind)
}

/// The `Span.SpanKind` of a word of [`kind_name`], of either case.
pub fn kind_number(text: &str) -> i32 {
    number(&KINDS, text)
}

/// The word for a `Status.StatusCode`.
pub fn status_name(code: i32) -> Cow<'static, str> {
    name(&STATUS_CODES, code)
}

/// The `Status.StatusCode` of a word of [`status_name`], of either case.
pub fn status_number(text: &str) -> i32 {
    number(&STATUS_CODES, text)
}

/// The word for an `AggregationTemporality`.
pub fn temporality_name(temporality: i32) -> Cow<'static, str> {
    name(&TEMPORALITIES, temporality)
}

/// The `AggregationTemporality` of a word of [`temporality_name`].
pub fn temporality_number(text: &str) -> i32 {
    number(&TEMPORALITIES, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_back() {
        for n in [-1, 0, 1, 2, 3, 5, 6, 99, i32::MAX] {
            assert_eq!(kind_number(&kind_name(n)), n);
            assert_eq!(status_number(&status_name(n)), n);
            assert_eq!(temporality_number(&temporality_name(n)), n);
        }
        assert_eq!(kind_name(2), "SERVER");
    }
}
