#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use hopline_model::Table;
use serde_json::{Value, json};

use super::testing::batch;
use super::*;

const TRACE: &str = "5b8efff798038103d269b633813fc60c";

fn parse(text: String) -> Value {
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn every_field_of_a_span_comes_back() {
    let rows = [json!({
        "trace_id": TRACE, "span_id": "eee19b7ec3c1b174", "parent_span_id": "eee19b7ec3c1b173",
        "trace_state": "a=b", "flags": 257, "name": "GET /\"x\"", "kind": "SERVER",
        "start_time": 1_544_712_660_000_000_000i64, "duration": 1_000_000_001i64,
        "status_code": "ERROR", "status_message": "no", "service": "shop", "function": "f",
        "scope_name": "lib", "scope_version": "1",
        "resource": r#"{"attributes":{"service.name":"shop","n":1},"dropped_attributes_count":2,"schema_url":"https://r"}"#,
        "scope": r#"{"attributes":{"k":true},"schema_url":"https://s"}"#,
        "attributes": [
            ["z", "s", "1"], ["http.route", "s", "/a"], ["http.response.status_code", "i", 200],
            ["big", "i", 9_007_199_254_740_993i64], ["http.route", "s", "again"], ["d", "d", 1.0], ["nan", "d", "NaN"],
            ["b", "b", true], ["bytes", "o", r#"{"$bytes":"AAE="}"#], ["list", "o", r#"["a",1,2.5,null]"#],
        ],
        "dropped_attributes_count": 3,
        "events": [{"time": 5, "name": "e", "attributes": r#"{"m":{"k":1}}"#, "dropped_attributes_count": 4}],
        "links": [{"trace_id": TRACE, "span_id": "0000000000000001", "trace_state": "t", "flags": 1, "attributes": "{}"}],
        "dropped_events_count": 5, "dropped_links_count": 6,
    })];
    let got = parse(spans(&[batch(Table::Spans, &rows)]).unwrap());
    let expected = json!({"resourceSpans": [{
        "resource": {
            "attributes": [
                {"key": "service.name", "value": {"stringValue": "shop"}}, {"key": "n", "value": {"intValue": "1"}},
            ],
            "droppedAttributesCount": 2,
        },
        "scopeSpans": [{
            "scope": {"name": "lib", "version": "1", "attributes": [{"key": "k", "value": {"boolValue": true}}]},
            "spans": [{
                "traceId": TRACE, "spanId": "eee19b7ec3c1b174", "traceState": "a=b", "parentSpanId": "eee19b7ec3c1b173",
                "flags": 257, "name": "GET /\"x\"", "kind": 2,
                "startTimeUnixNano": "1544712660000000000", "endTimeUnixNano": "1544712661000000001",
                "attributes": [
                    {"key": "z", "value": {"stringValue": "1"}},
                    {"key": "http.route", "value": {"stringValue": "/a"}},
                    {"key": "http.response.status_code", "value": {"intValue": "200"}},
                    {"key": "big", "value": {"intValue": "9007199254740993"}},
                    {"key": "http.route", "value": {"stringValue": "again"}},
                    {"key": "d", "value": {"doubleValue": 1.0}},
                    {"key": "nan", "value": {"doubleValue": "NaN"}},
                    {"key": "b", "value": {"boolValue": true}},
                    {"key": "bytes", "value": {"bytesValue": "AAE="}},
                    {"key": "list", "value": {"arrayValue": {"values": [
                        {"stringValue": "a"}, {"intValue": "1"}, {"doubleValue": 2.5}, {},
                    ]}}},
                ],
                "droppedAttributesCount": 3,
                "events": [{
                    "timeUnixNano": "5", "name": "e", "droppedAttributesCount": 4,
                    "attributes": [{"key": "m", "value": {"kvlistValue": {"values": [{"key": "k", "value": {"intValue": "1"}}]}}}],
                }],
                "droppedEventsCount": 5,
                "links": [{"traceId": TRACE, "spanId": "0000000000000001", "traceState": "t", "flags": 1}],
                "droppedLinksCount": 6,
                "status": {"message": "no", "code": 2},
            }],
            "schemaUrl": "https://s",
        }],
        "schemaUrl": "https://r",
    }]});
    assert_eq!(got, expected);
}

#[test]
fn rows_are_grouped_in_the_order_of_first_appearance_and_equal_ones_given_once() {
    let span = |id: u64, resource: &str, scope: &str| json!({"trace_id": TRACE, "span_id": format!("{id:016x}"), "resource": resource, "scope_name": scope});
    let (a, b) = (r#"{"attributes":{"r":"a"}}"#, r#"{"attributes":{"r":"b"}}"#);
    let first = batch(Table::Spans, &[span(1, b, "x"), span(2, a, "x"), span(3, b, "y")]);
    // The first again: once in full, once with another scope, which makes it another row.
    let second = batch(Table::Spans, &[span(4, b, "x"), span(1, b, "x"), span(1, b, "z")]);
    let mut trace = Trace::new(&[first.clone(), second.clone()]).unwrap();
    assert_eq!(trace.len(), 5);
    let mut out = String::new();
    trace.write(",\"complete\":true", &mut Sink::whole(&mut out)).unwrap();
    let got = parse(out);
    assert_eq!(got["complete"], json!(true));
    let mut order = Vec::new();
    for resource in got["resourceSpans"].as_array().unwrap() {
        for scope in resource["scopeSpans"].as_array().unwrap() {
            for span in scope["spans"].as_array().unwrap() {
                order.push(format!(
                    "{}{}{}",
                    resource["resource"]["attributes"][0]["value"]["stringValue"].as_str().unwrap(),
                    scope["scope"]["name"].as_str().unwrap(),
                    &span["spanId"].as_str().unwrap()[15..],
                ));
            }
        }
    }
    assert_eq!(order, ["bx1", "bx4", "by3", "bz1", "ax2"]);

    let mut pieces = Vec::new();
    Trace::new(&[first, second])
        .unwrap()
        .write(
            "",
            &mut Sink::pieces(50, |piece| {
                pieces.push(piece);
                true
            }),
        )
        .unwrap();
    assert!(pieces.len() > 3);
    assert!(parse(pieces.concat())["resourceSpans"].is_array());
}

#[test]
fn logs_come_back() {
    let rows = [
        json!({
            "time": 7, "observed_time": 8, "severity_number": 17, "severity_text": "ERROR", "event_name": "e",
            "body": "text", "trace_id": TRACE, "span_id": "eee19b7ec3c1b174", "flags": 1,
            "attributes": [["k", "s", "v"]], "dropped_attributes_count": 1,
        }),
        json!({"time": 9, "time_is_observed": true, "observed_time": 9, "body": r#"{"a":[1,"x"]}"#, "body_is_json": true}),
        json!({"time": 10}),
    ];
    let got = parse(logs(&[batch(Table::Logs, &rows)]).unwrap());
    assert_eq!(
        got["resourceLogs"][0]["scopeLogs"][0]["logRecords"],
        json!([
            {
                "timeUnixNano": "7", "observedTimeUnixNano": "8", "severityNumber": 17, "severityText": "ERROR",
                "body": {"stringValue": "text"}, "attributes": [{"key": "k", "value": {"stringValue": "v"}}],
                "droppedAttributesCount": 1, "flags": 1, "traceId": TRACE, "spanId": "eee19b7ec3c1b174", "eventName": "e",
            },
            {
                "observedTimeUnixNano": "9",
                "body": {"kvlistValue": {"values": [{"key": "a", "value": {"arrayValue": {"values": [
                    {"intValue": "1"}, {"stringValue": "x"},
                ]}}}]}},
            },
            {"timeUnixNano": "10"},
        ])
    );
}

#[test]
fn metrics_come_back_by_metric() {
    let sum = json!({"time": 2, "start_time": 1, "name": "s", "unit": "1", "description": "d", "type": "sum",
        "temporality": "delta", "is_monotonic": true, "value": 3.0, "value_int": 3, "metadata": r#"{"m":1}"#});
    let mut other = sum.clone();
    other["time"] = json!(3);
    other["value_int"] = Value::Null;
    other["value"] = json!("Infinity");
    let rows = [
        sum,
        json!({"time": 2, "name": "g", "type": "gauge", "flags": 1}),
        other,
        json!({"time": 2, "name": "h", "type": "histogram", "temporality": "cumulative", "count": 3, "sum": 1.5, "min": 0.0,
            "bucket_counts": [1, 2], "explicit_bounds": [10.0],
            "exemplars": [{"time": 1, "value": 2.0, "value_int": 2, "trace_id": TRACE, "attributes": r#"{"f":"x"}"#}]}),
        json!({"time": 2, "name": "e", "type": "exponential_histogram", "temporality": "delta", "count": 4, "scale": -1,
            "zero_count": 1, "zero_threshold": 0.5, "positive_offset": 2, "positive_bucket_counts": [3]}),
        json!({"time": 2, "name": "q", "type": "summary", "count": 4, "sum": 2.0,
            "quantiles": [{"quantile": 0.5, "value": 1.0}]}),
    ];
    let got = parse(metrics(&[batch(Table::Metrics, &rows)]).unwrap());
    assert_eq!(
        got["resourceMetrics"][0]["scopeMetrics"][0]["metrics"],
        json!([
            {"name": "s", "description": "d", "unit": "1", "metadata": [{"key": "m", "value": {"intValue": "1"}}], "sum": {
                "dataPoints": [
                    {"startTimeUnixNano": "1", "timeUnixNano": "2", "asInt": "3"},
                    {"startTimeUnixNano": "1", "timeUnixNano": "3", "asDouble": "Infinity"},
                ],
                "aggregationTemporality": 1, "isMonotonic": true,
            }},
            {"name": "g", "gauge": {"dataPoints": [{"timeUnixNano": "2", "flags": 1}]}},
            {"name": "h", "histogram": {"dataPoints": [{
                "timeUnixNano": "2", "count": "3", "sum": 1.5, "min": 0.0, "bucketCounts": ["1", "2"], "explicitBounds": [10.0],
                "exemplars": [{"timeUnixNano": "1", "asInt": "2", "traceId": TRACE,
                    "filteredAttributes": [{"key": "f", "value": {"stringValue": "x"}}]}],
            }], "aggregationTemporality": 2}},
            {"name": "e", "exponentialHistogram": {"dataPoints": [{
                "timeUnixNano": "2", "count": "4", "scale": -1, "zeroCount": "1",
                "positive": {"offset": 2, "bucketCounts": ["3"]}, "zeroThreshold": 0.5,
            }], "aggregationTemporality": 1}},
            {"name": "q", "summary": {"dataPoints": [{
                "timeUnixNano": "2", "count": "4", "sum": 2.0, "quantileValues": [{"quantile": 0.5, "value": 1.0}],
            }]}},
        ])
    );
}

#[test]
fn a_layout_that_does_not_fit_is_an_error_and_no_panic() {
    let row = |layout: &str| {
        let rows = batch(Table::Spans, &[json!({"trace_id": TRACE, "span_id": "eee19b7ec3c1b174"})]);
        let at = rows.schema().index_of("attribute_layout").unwrap();
        let mut columns = rows.columns().to_vec();
        columns[at] = std::sync::Arc::new(
            [Some(layout)].into_iter().collect::<arrow::array::DictionaryArray<arrow::datatypes::Int32Type>>(),
        );
        RecordBatch::try_new(rows.schema(), columns).unwrap()
    };
    for layout in ["[\"s.k\"]", "[\"S.http.route\"]", "[\"S.unknown\"]", "nonsense"] {
        assert!(matches!(spans(&[row(layout)]), Err(Error::Layout { .. })), "{layout}");
    }
}
