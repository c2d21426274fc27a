#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use arrow::array::{
    Array, AsArray, BooleanArray, FixedSizeBinaryArray, Int32Array, StringArray, TimestampNanosecondArray,
};
use arrow::datatypes::TimestampNanosecondType;

use super::*;
use crate::flow::KeyRow;
use crate::flow::testing::{World, span, text, time, trace};

#[test]
fn every_rule_has_a_bit() {
    // One is left for `NAMES_INVOCATION`.
    assert!(rules().count() < Mask::BITS as usize);
}

#[test]
fn an_attribute_turns_its_rules_on_under_each_of_its_names() {
    for (i, rule) in rules().enumerate() {
        for key in rule.reads {
            let aliases = promoted::PROMOTED.iter().filter(|p| p.key == *key).flat_map(|p| p.aliases);
            for name in std::iter::once(key).chain(aliases) {
                let mut layout = String::new();
                Layout::push_text(&mut layout, hopline_model::AttributeType::String, false, name);
                Layout::close(&mut layout);
                assert!(mask_of(&layout) & bit(i) != 0, "{} by {name}", rule.name);
            }
        }
    }
    assert_eq!(mask_of(""), 0);
    assert_eq!(mask_of("[\"s.app.items\"]"), 0);
}

#[test]
fn long_layouts_are_not_kept() {
    let layout = |name: &str| format!("[\"s.faas.invocation_id\",\"s.{name}\"]");
    let mut deriver = Deriver::default();
    for i in 0..100 {
        let long = layout(&format!("{i}{}", "x".repeat(LAYOUT_BYTES_MAX)));
        assert_eq!(deriver.mask(&long), mask_of(&layout("a")));
    }
    assert!(deriver.masks.is_empty());
    deriver.mask(&layout("a"));
    assert_eq!(deriver.masks.len(), 1);
}

/// A batch of log records: when, and what.
fn logs(records: &[(i64, String)]) -> RecordBatch {
    let count = records.len();
    let words = |word: &str| -> ArrayRef { Arc::new(StringArray::from(vec![word; count])) };
    let ids = |size| -> ArrayRef { Arc::new(FixedSizeBinaryArray::new_null(size, count)) };
    let times: Vec<i64> = records.iter().map(|(time, _)| *time).collect();
    let bodies: Vec<&str> = records.iter().map(|(_, body)| body.as_str()).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("tenant", words("default")),
        ("time", Arc::new(TimestampNanosecondArray::from(times))),
        ("body", Arc::new(StringArray::from(bodies))),
        ("body_is_json", Arc::new(BooleanArray::from(vec![true; count]))),
        ("severity_number", Arc::new(Int32Array::from(vec![9; count]))),
        ("trace_id", ids(16)),
        ("span_id", ids(8)),
        ("invocation_id", words("")),
        ("service", words("api")),
        ("function", words("api")),
        ("resource", words("{}")),
        ("attribute_layout", words("[]")),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

/// The rows of a batch of `hop_keys`, as a flow gets them.
fn key_rows(batch: &RecordBatch) -> Vec<KeyRow> {
    let text = |name| Text::of(batch, name).unwrap();
    let ids = |name: &str, row: usize| {
        let ids = batch.column_by_name(name).unwrap().as_fixed_size_binary();
        ids.is_valid(row).then(|| ids.value(row).to_vec())
    };
    let times = batch.column_by_name("time").unwrap().as_primitive::<TimestampNanosecondType>();
    let row = |row: usize| KeyRow {
        hash: KeyHash(ids("key_hash", row).unwrap().try_into().unwrap()),
        kind: Kind::from_prefix(text("kind").or_empty(row)).unwrap(),
        direction: Direction::from_name(text("direction").or_empty(row)).unwrap(),
        start_ns: times.value(row),
        end_ns: times.value(row),
        trace_id: ids("trace_id", row).and_then(|id| TraceId::from_slice(&id)),
        span_id: ids("span_id", row).and_then(|id| SpanId::from_slice(&id)),
        invocation_id: text("invocation_id").get(row).map(str::to_owned),
        account: text("account").get(row).map(str::to_owned),
        region: text("region").get(row).map(str::to_owned),
    };
    (0..batch.num_rows()).map(row).collect()
}

/// The report comes when all is over: taken for the beginning, it would make the sender later than what it caused.
#[test]
fn the_order_of_a_platforms_records_does_not_matter() {
    let story = "
        a s - server   api/api       0 2  inv=r1
        a p s producer api/api       1 2  out=dest:sqs|orders
        b s - server   worker/worker 5 6  inv=r2
        b c s consumer worker/worker 5 6  link=R1.P1 in=sqs:m9@orders";
    let root = trace("R1").to_string();
    let header = format!("Root=1-{}-{};Parent={};Sampled=1", &root[..8], &root[8..], span("P1"));
    let record = |at: &str, event: &str| {
        let record = format!(r#"{{"requestId":"r1","tracing":{{"type":"X-Amzn-Trace-Id","value":"{header}"}}}}"#);
        (time(at), format!(r#"{{"type":"platform.{event}","record":{record}}}"#))
    };
    let [start, done, report] = [record("0", "start"), record("50", "runtimeDone"), record("60", "report")];
    let orders = [vec![&start, &done, &report], vec![&report, &start, &done], vec![&report, &done, &start]];
    for (records, rows_count) in orders.into_iter().zip([3, 6, 9]) {
        let records: Vec<(i64, String)> = records.into_iter().cloned().collect();
        let derived = Deriver::default().of(Table::Logs, &logs(&records)).unwrap();
        let rows = key_rows(&derived.hop_keys.unwrap());
        assert_eq!(rows.len(), rows_count);
        let mut world = World::new(story);
        world.rows.extend(rows);
        for seed in ["a", "b"] {
            assert_eq!(text(&world.flow(seed)), "a b\na.p -> b.c sqs xray xray 3s", "{records:?}");
        }
    }
}
