#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn quantiles_are_of_what_was_measured() {
    let ms = |n| Duration::from_millis(n);
    let times: Vec<Duration> = (1..=30).rev().map(ms).collect();
    let timing = Timing::of("it", times, Some(0.6));
    assert_eq!((timing.median_ms, timing.p90_ms, timing.max_ms), (15.0, 27.0, 30.0));
    assert_eq!((timing.requests, timing.server_cpu_ms), (30, Some(20.0)));
    for (times, q, expected) in [(vec![], 0.5, 0), (vec![7], 0.5, 7), (vec![7], 0.9, 7), (vec![3, 5], 0.5, 3)] {
        let times: Vec<Duration> = times.into_iter().map(ms).collect();
        assert_eq!(quantile(&times, q), ms(expected));
    }
}

#[test]
fn a_goal_is_held_against_the_median() {
    let timing = Timing { goal_ms: Some(2.0), ..Timing::of("it", vec![Duration::from_millis(2)], None) };
    assert_eq!(timing.missed(), None);
    let missed = Timing { goal_ms: Some(1.0), ..timing.clone() }.missed();
    assert_eq!(missed.as_deref(), Some("it: median 2.0 ms, the goal is 1 ms"));
    assert_eq!(Timing { goal_ms: None, ..timing }.missed(), None);
}

#[test]
fn files_are_those_of_all_tables() {
    let status = serde_json::json!({"tables": [{"name": "spans", "files": 3}, {"name": "logs", "files": 2}]});
    assert_eq!(files(&status), Some(5));
    assert_eq!(files(&serde_json::json!({"tables": [{}]})), None);
    assert_eq!(files(&serde_json::json!({})), None);
}
