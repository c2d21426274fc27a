#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;

const NOW: i64 = 1_800_000_000 * SECOND;
const KNOWN: &[&str] = &["service", "start", "end", "limit", "attr", "min_duration"];

fn read(query: &str) -> Result<Params, Error> {
    Params::read(&format!("/x?{query}").parse().expect("an address"), KNOWN)
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>, expected: &str) {
    let error = result.expect_err("refused").to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn names_the_nearest_parameter() {
    refused(read("servise=a"), "there is no parameter servise: did you mean service?");
    refused(read("min-duration=1"), "did you mean min_duration?");
    refused(read("zzzzzzzzzzzz=1"), "there are service, start, end");
    refused(Params::none(&"/x?a=1".parse().unwrap()), "this takes none");
}

#[test]
fn values_are_decoded_and_counted() {
    let params = read("service=a%20b%26c&attr=k%3Dv&attr=x&limit=").unwrap();
    assert_eq!(params.text("service").unwrap(), Some("a b&c"));
    assert_eq!(params.all("attr").collect::<Vec<_>>(), ["k=v", "x"]);
    assert_eq!(params.limit("limit", 7, 10).unwrap(), 7);
    refused(params.text("attr"), "parameter attr is given more than once");
    refused(read("limit=0").unwrap().limit("limit", 7, 10), "parameter limit=0: a number from 1 to 10");
    refused(read("limit=x").unwrap().limit("limit", 7, 10), "a number from 1 to 10");
    refused(read("start=2&end=1").unwrap().range(), "end must be later than start");
}

#[test]
fn the_fingerprint_ignores_limit_cursor_and_order() {
    let print = |q| read(q).unwrap().fingerprint();
    assert_eq!(print("service=a&limit=1&attr=b"), print("attr=b&service=a&limit=2"));
    assert_ne!(print("service=a"), print("service=b"));
}

#[test]
fn durations() {
    for (text, ns) in [
        ("15", 15),
        ("10ms", 10_000_000),
        ("1.5s", 1_500_000_000),
        ("2h", 7_200 * SECOND),
        ("3us", 3_000),
        ("3µs", 3_000),
        ("1d", 86_400 * SECOND),
    ] {
        assert_eq!(parse_duration(text), Ok(ns), "{text}");
    }
    for text in ["", "ms", "10 parsecs", "-1s", "-5", "1e300h", "99999999999999w", "1.2.3s"] {
        assert!(parse_duration(text).is_err(), "{text}");
    }
}

#[test]
fn times() {
    for (text, ns) in [
        ("now", NOW),
        ("-1h", NOW - 3_600 * SECOND),
        ("now-15m", NOW - 900 * SECOND),
        ("1769860800", 1_769_860_800 * SECOND),
        ("1769860800123", 1_769_860_800_123_000_000),
        ("1769860800123456", 1_769_860_800_123_456_000),
        ("1769860800123456789", 1_769_860_800_123_456_789),
        ("2026-01-31T12:00:00Z", 1_769_860_800 * SECOND),
        ("2026-01-31T14:00:00+02:00", 1_769_860_800 * SECOND),
        ("2026-01-31T14:00:00 02:00", 1_769_860_800 * SECOND),
        ("2026-01-31T12:00:00.000000001Z", 1_769_860_800 * SECOND + 1),
    ] {
        assert_eq!(parse_time(text, NOW), Ok(ns), "{text}");
    }
    for text in ["yesterday", "-", "-1x", "nowish", "2026-13-01T00:00:00Z"] {
        assert!(parse_time(text, NOW).unwrap_err().contains("was expected"), "{text}");
    }
    for text in ["9999-12-31T00:00:00Z", "1066-10-14T09:00:00Z", "99999999999999999999"] {
        assert!(parse_time(text, NOW).unwrap_err().contains("out of range"), "{text}");
    }
}
