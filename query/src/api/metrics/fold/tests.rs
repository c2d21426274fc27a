#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;

const S: i64 = 1_000_000_000;
const STEPS: Steps = Steps { start: 100 * S, end: 160 * S, step: 10 * S, read_from: 50 * S };

/// Points as (series, second, start second, value); the values of the steps as (second, value).
#[track_caller]
fn check(agg: Agg, meaning: Meaning, points: &[(u8, i64, Option<i64>, f64)], expected: &[(i64, f64)]) {
    let mut fold = Fold::new(STEPS, agg, 10);
    for (series, time, start, value) in points {
        fold.push(Point {
            series: [*series; 8],
            time: time * S,
            start_time: start.map(|s| s * S),
            meaning,
            labels: Vec::new(),
            data: Data::Number(*value),
        });
    }
    let series = fold.finish();
    let points: Vec<_> = series.iter().flat_map(|s| &s.points).map(|(t, v)| (t / S, *v)).collect();
    assert_eq!(points, expected);
}

#[test]
fn totals_become_increments() {
    let points = [(1, 95, Some(1), 7.0), (1, 105, Some(1), 10.0), (1, 115, Some(1), 30.0)];
    check(Agg::Sum, Meaning::Total, &points, &[(100, 3.0), (110, 20.0)]);
    check(Agg::Rate, Meaning::Total, &points, &[(100, 0.3), (110, 2.0)]);
}

#[test]
fn the_first_total_counts_only_if_its_start_was_seen() {
    check(Agg::Sum, Meaning::Total, &[(1, 105, Some(10), 10.0), (1, 115, Some(10), 12.0)], &[(110, 2.0)]);
    check(Agg::Sum, Meaning::Total, &[(1, 105, None, 10.0), (1, 115, None, 12.0)], &[(110, 2.0)]);
    check(Agg::Sum, Meaning::Total, &[(1, 105, Some(101), 10.0)], &[(100, 10.0)]);
}

#[test]
fn a_reset_counts_from_zero() {
    // By a value that fell, and by a new start time though the value is larger.
    check(Agg::Sum, Meaning::Total, &[(1, 95, Some(1), 50.0), (1, 105, Some(1), 4.0)], &[(100, 4.0)]);
    check(Agg::Sum, Meaning::Total, &[(1, 95, Some(1), 5.0), (1, 105, Some(99), 7.0)], &[(100, 7.0)]);
    // A start time that wavers is no reset.
    check(Agg::Sum, Meaning::Total, &[(1, 95, Some(1), 5.0), (1, 105, Some(2), 7.0)], &[(100, 2.0)]);
    // The same point twice adds nothing.
    check(Agg::Sum, Meaning::Total, &[(1, 105, Some(101), 5.0), (1, 105, Some(101), 5.0)], &[(100, 5.0)]);
}

#[test]
fn series_do_not_mix() {
    let points = [(1, 95, Some(1), 100.0), (1, 105, Some(1), 101.0), (2, 95, Some(1), 5.0), (2, 105, Some(1), 8.0)];
    check(Agg::Sum, Meaning::Total, &points, &[(100, 4.0)]);
}

#[test]
fn increments_add_up() {
    let points =
        [(1, 95, None, 1.0), (1, 100, None, 2.0), (1, 109, None, 4.0), (1, 159, None, 8.0), (1, 160, None, 9.0)];
    check(Agg::Sum, Meaning::Increment, &points, &[(100, 6.0), (150, 8.0)]);
    check(Agg::Max, Meaning::Increment, &points, &[(100, 4.0), (150, 8.0)]);
    check(Agg::Count, Meaning::Increment, &points, &[(100, 2.0), (150, 1.0)]);
}

#[test]
fn levels_are_summed_over_series_not_over_time() {
    let points = [(1, 101, None, 10.0), (1, 105, None, 20.0), (2, 102, None, 1.0), (2, 103, None, 3.0)];
    check(Agg::Sum, Meaning::Level, &points, &[(100, 17.0)]);
    check(Agg::Avg, Meaning::Level, &points, &[(100, 8.5)]);
    check(Agg::Min, Meaning::Level, &points, &[(100, 1.0)]);
}

#[test]
fn cumulative_histograms() {
    let mut fold = Fold::new(STEPS, Agg::Quantile(0.5), 10);
    let point = |time: i64, counts: [u64; 3]| Point {
        series: [1; 8],
        time: time * S,
        start_time: Some(S),
        meaning: Meaning::Total,
        labels: vec![Some("a".to_owned())],
        data: Data::Distribution {
            count: counts.iter().sum(),
            sum: Some(1.0),
            min: None,
            max: None,
            buckets: Some(Buckets::Explicit { bounds: vec![10.0, 20.0], counts: counts.to_vec() }),
            quantiles: Vec::new(),
        },
    };
    fold.push(point(95, [100, 0, 0]));
    fold.push(point(105, [100, 10, 0]));
    assert_eq!(fold.finish()[0].points, [(100 * S, 15.0)]);
}

#[test]
fn too_many_groups_are_said() {
    let mut fold = Fold::new(STEPS, Agg::Sum, 1);
    for label in ["a", "b"] {
        fold.push(Point {
            series: [1; 8],
            time: 101 * S,
            start_time: None,
            meaning: Meaning::Increment,
            labels: vec![Some(label.to_owned())],
            data: Data::Number(1.0),
        });
    }
    assert!(fold.left_out);
    assert_eq!(fold.finish().len(), 1);
}
