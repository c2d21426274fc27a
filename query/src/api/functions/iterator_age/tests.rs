#![allow(clippy::unwrap_used)]

use datafusion::common::ScalarValue;
use hopline_model::Table;

use super::*;
use crate::engine::tests::engine;
use crate::engine::tests::rows::{Kept, Row, SECOND, T0, V};

fn point(minute: i64, age_ms: f64) -> Row {
    let value = ScalarValue::Float64(Some(age_ms));
    let row = Row::default().text("tenant", "default").text("name", ITERATOR_AGE).text("type", "gauge");
    row.text("unit", "ms").time("time", T0 + minute * 60 * SECOND).with("value", value)
}

/// The age that is found, in milliseconds, and whether it is cut.
async fn found(kept: &Kept, function: &str, points_max: usize) -> (Option<u64>, bool) {
    let engine = engine(kept);
    let session = engine.session("default", engine.limits("test"));
    let range = TimeRange { start: Some(T0), end: Some(T0 + 3_600 * SECOND) };
    let (age, is_cut) = of_metric(&session, function, range, range, points_max).await.unwrap();
    (age.map(|age| age.max_ns / 1_000_000), is_cut)
}

#[tokio::test]
async fn points_of_other_functions_are_not_looked_at() {
    let kept = Kept::new();
    let of = |minute: i64, age: f64, dimensions| point(minute, age).attr("Dimensions", V::O(dimensions));
    let mut rows: Vec<Row> = (0..20).map(|n| of(n, 9_000.0, r#"{"FunctionName":"readers"}"#)).collect();
    rows.extend([
        of(1, 10.0, r#"{"FunctionName":"reader"}"#),
        point(2, 20.0).attr("FunctionName", V::S("reader")),
        // A function of which Lambda tells by version too.
        of(3, 70.0, r#"{"FunctionName":"reader","Resource":"reader:1"}"#),
        // No name that Lambda gives.
        of(4, 30.0, r#"{"FunctionName":"a \"b\""}"#),
    ]);
    kept.add(Table::Metrics, &rows);
    for _ in 0..2 {
        assert_eq!(found(&kept, "reader", 3).await, (Some(20), false));
        assert!(found(&kept, "reader", 2).await.1);
        assert_eq!(found(&kept, "readers", 20).await, (Some(9_000), false));
        assert_eq!(found(&kept, "nobody", 1).await, (None, false));
        assert_eq!(found(&kept, "a \"b\"", 100).await, (Some(30), false));
        kept.storage.flush().unwrap();
    }
}
