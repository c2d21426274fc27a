//! Rows E01–E22.

use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, KeyValue, KeyValueList, any_value::Value,
};
use opentelemetry_proto::tonic::metrics::v1 as m;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use serde_json::json;

use super::*;
use crate::client::{Grpc, TRACES};
use crate::otlp::*;
use crate::server::start;

/// The only span of trace `n`, as the trace API gives it back.
async fn given_back(server: &Server, n: u64) -> serde_json::Value {
    let answer = server.get(&format!("/api/v1/traces/{}", hex(&trace_id(n)))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["resourceSpans"][0]["scopeSpans"][0]["spans"][0].clone()
}

#[tokio::test]
async fn e01_ids_are_hexadecimal_of_either_case() {
    let (server, _dir) = start().await;
    let members = r#""parentSpanId":"AbCdEf0123456789","links":[{"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"eee19b7ec3c1b174"}]"#;
    let row = span_row(&server, members, "parent_span_id, links").await;
    assert_eq!(row[0], "abcdef0123456789");
    assert_eq!(row[1][0]["trace_id"], "5b8efff798038103d269b633813fc60c");
    assert_eq!(row[1][0]["span_id"], "eee19b7ec3c1b174");
    let record =
        r#"{"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"EEE19b7ec3c1b174","body":{"stringValue":"x"}}"#;
    assert_eq!(export(&server, "logs", JSON, logs_json(record)).await.text(), "{}");
    let row = server.sql("SELECT trace_id, span_id FROM logs").await.remove(0);
    assert_eq!(row, [json!("5b8efff798038103d269b633813fc60c"), json!("eee19b7ec3c1b174")]);
    let point = r#"{"name":"m","sum":{"dataPoints":[{"asInt":"3","exemplars":[{"asDouble":1,"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"EEE19B7EC3C1B174"}]}]}}"#;
    assert_eq!(export(&server, "metrics", JSON, metrics_json(point)).await.text(), "{}");
    let row = server.sql("SELECT exemplars FROM metrics").await.remove(0);
    assert_eq!(row[0][0]["trace_id"], "5b8efff798038103d269b633813fc60c");
}

#[tokio::test]
async fn e02_bytes_are_base64_of_every_kind() {
    let (server, _dir) = start().await;
    for text in ["+/+/AA==", "-_-_AA==", "+/+/AA", "-_-_AA"] {
        let members = format!(r#""attributes":[{{"key":"b","value":{{"bytesValue":"{text}"}}}}]"#);
        let row = span_row(&server, &members, "attributes_other").await;
        assert_eq!(row[0]["b"], r#"{"$bytes":"+/+/AA=="}"#, "{text}");
    }
}

#[tokio::test]
async fn e03_unknown_enumeration_numbers_are_kept() {
    let (server, _dir) = start().await;
    let row = span_row(&server, r#""kind":99,"status":{"code":42}"#, "kind, status_code").await;
    assert_eq!(row, [json!("99"), json!("42")]);
    assert_eq!(export(&server, "logs", JSON, logs_json(r#"{"severityNumber":77}"#)).await.text(), "{}");
    assert_eq!(server.number("SELECT severity_number FROM logs").await, 77);
}

#[tokio::test]
async fn e04_an_enumeration_by_name_is_refused_and_said() {
    let (server, _dir) = start().await;
    let answer = export(&server, "traces", JSON, span_json(1, r#""kind":"SPAN_KIND_SERVER""#)).await;
    assert_eq!(answer.status, 200);
    let partial = answer.json()["partialSuccess"].clone();
    assert_eq!(partial["rejectedSpans"], "1");
    let message = partial["errorMessage"].as_str().unwrap();
    assert!(message.contains("spans[0].kind") && message.contains("SPAN_KIND_SERVER"), "{message}");
    assert_eq!(count(&server, "spans").await, 0);
}

#[tokio::test]
async fn e05_unknown_fields_are_ignored_at_every_depth() {
    let (server, _dir) = start().await;
    let deep = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
    let members = format!(
        r#""later":{{"a":[1,"x",null,{{"b":true}}]}},"deep":{deep},"attributes":[{{"key":"k","later":1,"value":{{"newValue":{{"x":[1]}}}}}},{{"key":"i","value":{{"intValue":5,"later":"y"}}}}]"#
    );
    let row = span_row(&server, &members, "attributes_int, attributes_other").await;
    assert_eq!(row, [json!({"i": 5}), json!({"k": "null"})]);
}

#[tokio::test]
async fn e06_snake_case_is_an_unknown_field() {
    let (server, _dir) = start().await;
    let row =
        span_row(&server, r#""trace_state":"a=b","dropped_links_count":7"#, "trace_state, dropped_links_count").await;
    assert_eq!(row, [json!(""), json!(0)]);
}

#[tokio::test]
async fn e07_64_bit_integers_as_text_or_number() {
    let (server, _dir) = start().await;
    let attributes = r#""attributes":[{"key":"a","value":{"intValue":"-9223372036854775808"}},{"key":"b","value":{"intValue":9223372036854775807}},{"key":"c","value":{"intValue":1e3}}]"#;
    let row = span_row(&server, attributes, "attributes_int").await;
    assert_eq!(row[0], json!({"a": i64::MIN, "b": i64::MAX, "c": 1000}));
    let points = r#"{"name":"h","histogram":{"aggregationTemporality":1,"dataPoints":[{"timeUnixNano":1790000000000000001,"count":"3","bucketCounts":["1",2],"explicitBounds":[1]}]}},
        {"name":"s","sum":{"dataPoints":[{"timeUnixNano":"1790000000000000002","asInt":"18"},{"timeUnixNano":3,"asInt":19}]}}"#;
    assert_eq!(export(&server, "metrics", JSON, metrics_json(points)).await.text(), "{}");
    let rows = server.sql("SELECT count, bucket_counts, value_int FROM metrics ORDER BY name, value_int").await;
    assert_eq!(rows[0], [json!(3), json!([1, 2]), json!(null)]);
    assert_eq!((&rows[1][2], &rows[2][2]), (&json!(18), &json!(19)));
    let members = r#""attributes":[{"key":"a","value":{"intValue":7}}]"#;
    export(&server, "traces", JSON, span_json(7, members)).await;
    let span = given_back(&server, 7).await;
    assert_eq!(span["startTimeUnixNano"], T.to_string());
    assert_eq!(span["attributes"][0]["value"]["intValue"], "7");
}

#[tokio::test]
async fn e08_doubles_of_every_form() {
    let (server, _dir) = start().await;
    let values = r#""NaN" "Infinity" "-Infinity" "1.5" 7 "-0.25""#.split(' ');
    let points: Vec<_> = values.enumerate().map(|(i, v)| format!(r#"{{"timeUnixNano":{i},"asDouble":{v}}}"#)).collect();
    let gauge = format!(r#"{{"name":"g","gauge":{{"dataPoints":[{}]}}}}"#, points.join(","));
    assert_eq!(export(&server, "metrics", JSON, metrics_json(&gauge)).await.text(), "{}");
    let rows = server.sql("SELECT value FROM metrics ORDER BY time").await;
    let values: Vec<_> = rows.into_iter().map(|mut r| r.remove(0)).collect();
    assert_eq!(values, [json!("NaN"), json!("Infinity"), json!("-Infinity"), json!(1.5), json!(7.0), json!(-0.25)]);
    let histogram =
        r#"{"name":"h","histogram":{"dataPoints":[{"sum":"Infinity","min":"-Infinity","max":"NaN","count":1}]}}"#;
    assert_eq!(export(&server, "metrics", JSON, metrics_json(histogram)).await.text(), "{}");
    let row = server.sql("SELECT sum, min, max FROM metrics WHERE name = 'h'").await.remove(0);
    assert_eq!(row, [json!("Infinity"), json!("-Infinity"), json!("NaN")]);
}

#[tokio::test]
async fn e09_null_is_the_default_of_every_field() {
    let (server, _dir) = start().await;
    let members = r#""parentSpanId":null,"traceState":null,"flags":null,"attributes":null,"events":null,"links":null,"status":null,"droppedAttributesCount":null"#;
    let row = span_row(&server, members, "parent_span_id, flags, status_code").await;
    assert_eq!(row, [json!(null), json!(0), json!("UNSET")]);
    assert_eq!(export(&server, "traces", JSON, r#"{"resourceSpans":null}"#).await.text(), "{}");
    assert_eq!(
        export(
            &server,
            "metrics",
            JSON,
            metrics_json(r#"{"name":"m","unit":null,"gauge":{"dataPoints":[{"asInt":null,"asDouble":2}]}}"#)
        )
        .await
        .text(),
        "{}"
    );
    assert_eq!(server.sql("SELECT value, value_int FROM metrics").await[0], [json!(2.0), json!(null)]);
}

#[tokio::test]
async fn e10_empty_values_are_values() {
    let (server, _dir) = start().await;
    let members = r#""attributes":[{"key":"a","value":{}},{"key":"b","value":{"arrayValue":{}}},{"key":"c","value":{"kvlistValue":{}}},{"key":"d"},{"value":{"stringValue":"no key"}}]"#;
    let row = span_row(&server, members, "attributes_other, attributes_string").await;
    assert_eq!(row[0], json!({"a": "null", "b": "[]", "c": "{}", "d": "null"}));
    assert_eq!(row[1], json!({"": "no key"}));
}

fn any(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

#[tokio::test]
async fn e11_values_of_every_type_on_every_signal() {
    let (server, _dir) = start().await;
    let map = KeyValueList {
        values: vec![attribute("x", Value::IntValue(i64::MAX)), attribute("x", Value::BoolValue(false))],
    };
    let list = vec![
        any(Value::StringValue("s".into())),
        any(Value::DoubleValue(2.0)),
        AnyValue::default(),
        any(Value::KvlistValue(map)),
    ];
    let attributes = vec![
        attribute("bytes", Value::BytesValue(vec![0, 255])),
        attribute("list", Value::ArrayValue(ArrayValue { values: list })),
        attribute("text", Value::StringValue("\"ü\u{1}".into())),
    ];
    let spans = vec![Span { attributes: attributes.clone(), ..span(1, 0) }];
    let records = vec![opentelemetry_proto::tonic::logs::v1::LogRecord { attributes: attributes.clone(), ..log("x") }];
    let point =
        m::NumberDataPoint { attributes, value: Some(m::number_data_point::Value::AsInt(1)), ..Default::default() };
    let data = Some(m::metric::Data::Gauge(m::Gauge { data_points: vec![point] }));
    let metric = vec![m::Metric { name: "m".into(), data, ..Default::default() }];
    export(&server, "traces", PROTOBUF, traces("it", spans).encode_to_vec()).await;
    export(&server, "logs", PROTOBUF, logs("it", records).encode_to_vec()).await;
    export(&server, "metrics", PROTOBUF, metrics("it", metric).encode_to_vec()).await;
    for table in ["spans", "logs", "metrics"] {
        let row = server.sql(&format!("SELECT attributes_other, attributes_string FROM {table}")).await.remove(0);
        assert_eq!(row[0]["bytes"], r#"{"$bytes":"AP8="}"#, "{table}");
        assert_eq!(row[0]["list"], r#"["s",2.0,null,{"x":9223372036854775807,"x":false}]"#, "{table}");
        assert_eq!(row[1]["text"], "\"ü\u{1}", "{table}");
    }
    let list = given_back(&server, 1).await["attributes"][1]["value"]["arrayValue"]["values"].clone();
    assert_eq!(list[1], json!({"doubleValue": 2.0}));
    assert_eq!(list[3]["kvlistValue"]["values"][0], json!({"key": "x", "value": {"intValue": "9223372036854775807"}}));
}

#[tokio::test]
async fn e12_fields_of_the_future_and_of_profiles_are_unset() {
    let (server, _dir) = start().await;
    let members = r#""attributes":[{"key":"a","keyStrindex":4,"value":{"stringValueStrindex":3}}]"#;
    let row = span_row(&server, members, "attributes_other").await;
    assert_eq!(row[0], json!({"a": "null"}));
    // Field 900 of the request: a varint, a fixed64, bytes and a group.
    let mut body = span_bytes(1, 1);
    for (wire, value) in [(0u64, vec![5u8]), (1, vec![0; 8]), (2, vec![2, 1, 1]), (3, vec![8, 1])] {
        prost::encoding::encode_varint(900 << 3 | wire, &mut body);
        body.extend(value);
    }
    prost::encoding::encode_varint(900 << 3 | 4, &mut body);
    let answer = export(&server, "traces", PROTOBUF, body).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
}

#[tokio::test]
async fn e13_zero_and_wrong_ids_refuse_the_item() {
    let (server, _dir) = start().await;
    let bad = [
        Span { trace_id: vec![0; 16], ..span(1, 0) },
        Span { trace_id: vec![], ..span(1, 0) },
        Span { span_id: vec![0; 8], ..span(1, 0) },
        Span { span_id: vec![1; 9], ..span(1, 0) },
        Span { parent_span_id: vec![1; 3], ..span(1, 0) },
    ];
    let body = traces("it", bad.into_iter().chain([span(2, 0)]).collect()).encode_to_vec();
    let answer = Grpc::connect(&server.grpc).await.call(TRACES, body, "identity").await;
    assert_eq!((answer.code, rejected(&answer.body).unwrap().0), (0, 5));
    assert_eq!(count(&server, "spans").await, 1);
    let answer = export(&server, "logs", PROTOBUF, log_bytes("without ids")).await;
    assert_eq!(answer.body.len(), 0);
    assert_eq!(server.sql("SELECT trace_id, span_id FROM logs").await[0], [json!(null), json!(null)]);
}

#[tokio::test]
async fn e14_all_bits_of_the_flags_are_kept() {
    let (server, _dir) = start().await;
    let link = Link { trace_id: trace_id(3), span_id: span_id(3), flags: 0xffff_0301, ..Default::default() };
    let spans = vec![Span { flags: 0xdead_0301, links: vec![link], ..span(1, 0) }];
    export(&server, "traces", PROTOBUF, traces("it", spans).encode_to_vec()).await;
    let span = given_back(&server, 1).await;
    assert_eq!((&span["flags"], &span["links"][0]["flags"]), (&json!(0xdead_0301u32), &json!(0xffff_0301u32)));
}

#[tokio::test]
async fn e15_an_unreadable_metric_is_refused_and_counted() {
    let (server, _dir) = start().await;
    for bad in [r#"{"asDouble":"abc"}"#, r#"{"asInt":"1.5"}"#, r#"{"asInt":{}}"#] {
        let good = r#"{"name":"good","gauge":{"dataPoints":[{"asInt":1}]}}"#;
        let body = metrics_json(&format!(r#"{{"name":"bad","gauge":{{"dataPoints":[{bad}]}}}},{good}"#));
        let answer = export(&server, "metrics", JSON, body).await;
        assert_eq!(answer.status, 200, "{bad}: {}", answer.text());
        assert_eq!(answer.json()["partialSuccess"]["rejectedDataPoints"], "1", "{bad}");
    }
    let by_name = r#"{"name":"bad","sum":{"aggregationTemporality":"DELTA","dataPoints":[{"asInt":1},{"asInt":2}]}}"#;
    let partial = export(&server, "metrics", JSON, metrics_json(by_name)).await.json()["partialSuccess"].clone();
    assert!(partial["errorMessage"].as_str().unwrap().contains("aggregationTemporality"), "{partial}");
    let no_data = metrics("it", vec![m::Metric { name: "bad".into(), ..Default::default() }, gauge("fine", 1.0)]);
    let answer = export(&server, "metrics", PROTOBUF, no_data.encode_to_vec()).await;
    assert_eq!(rejected(&answer.body).unwrap().0, 1);
    assert_eq!(server.number("SELECT count(*) FROM metrics WHERE name = 'bad'").await, 0);
    assert_eq!(server.number("SELECT count(*) FROM metrics WHERE name = 'good'").await, 3);
}

#[tokio::test]
async fn e16_duplicate_keys_are_all_kept_and_the_first_wins() {
    let (server, _dir) = start().await;
    let attributes = vec![text("http.route", "/a"), text("http.route", "/b"), text("k", "1"), text("k", "2")];
    let spans = vec![Span { attributes, ..span(1, 0) }];
    export(&server, "traces", PROTOBUF, traces("it", spans).encode_to_vec()).await;
    let row = server.sql("SELECT http_route, attr('http.route'), attr('k') FROM spans").await.remove(0);
    assert_eq!(row, [json!("/a"), json!("/a"), json!("1")]);
    let span = given_back(&server, 1).await;
    let values: Vec<_> =
        span["attributes"].as_array().unwrap().iter().map(|a| a["value"]["stringValue"].clone()).collect();
    assert_eq!(values, ["/a", "/b", "1", "2"]);
}

#[tokio::test]
async fn e17_extremes_are_bounded_and_refuse_at_most_the_item() {
    let (server, _dir) = start().await;
    let nested = |depth: usize| {
        let mut value = any(Value::StringValue("core".into()));
        for _ in 0..depth {
            value = any(Value::ArrayValue(ArrayValue { values: vec![value] }));
        }
        vec![KeyValue { key: "deep".into(), value: Some(value), ..KeyValue::default() }]
    };
    let spans = vec![
        Span { attributes: nested(200), ..span(1, 0) },
        Span { attributes: vec![text("long", &"x".repeat(1 << 20))], ..span(1, 1) },
        Span { attributes: (0..10_000).map(|n| text(&format!("key{n}"), "v")).collect(), ..span(1, 2) },
        Span { start_time_unix_nano: 0, end_time_unix_nano: 0, ..span(1, 3) },
        Span { start_time_unix_nano: T, end_time_unix_nano: T - 5, ..span(1, 4) },
        Span { start_time_unix_nano: u64::MAX, end_time_unix_nano: u64::MAX, ..span(1, 5) },
    ];
    let body = traces("it", spans).encode_to_vec();
    assert_eq!(export(&server, "traces", PROTOBUF, body).await.body.len(), 0);
    let rows = server.sql("SELECT duration FROM spans ORDER BY span_id").await;
    assert_eq!(rows.len(), 6);
    assert_eq!((&rows[3][0], &rows[4][0], &rows[5][0]), (&json!(0), &json!(-5), &json!(0)));
    let all = server.get(&format!("/api/v1/traces/{}", hex(&trace_id(1)))).await.text();
    assert!(all.contains(r#""core""#) && all.contains(&u64::MAX.to_string()) && all.contains("key9999"));
    let answer = export(
        &server,
        "traces",
        PROTOBUF,
        traces("it", vec![Span { attributes: nested(300), ..span(2, 0) }, span(2, 1)]).encode_to_vec(),
    )
    .await;
    assert_eq!(rejected(&answer.body).unwrap().0, 1, "too deep: only that span");
    let deep = format!("{}{{}}{}", r#"{"arrayValue":{"values":["#.repeat(200), "]}}".repeat(200));
    span_row(&server, &format!(r#""attributes":[{{"key":"deep","value":{deep}}}]"#), "1").await;
    let deep = format!("{}{{}}{}", r#"{"arrayValue":{"values":["#.repeat(50_000), "]}}".repeat(50_000));
    let answer =
        export(&server, "traces", JSON, span_json(3, &format!(r#""attributes":[{{"key":"deep","value":{deep}}}]"#)))
            .await;
    assert!(answer.status == 200 && answer.json()["partialSuccess"]["rejectedSpans"] == "1", "{}", answer.text());
    let negative =
        r#"{"traceId":"4bf92f3577b34da6000000000000aaaa","spanId":"0000000000000001","startTimeUnixNano":-5}"#;
    let answer = export(&server, "traces", JSON, spans_json(negative)).await;
    assert_eq!(answer.json()["partialSuccess"]["rejectedSpans"], "1", "{}", answer.text());
}

#[tokio::test]
async fn e18_odd_documents() {
    let (server, _dir) = start().await;
    let with_bom = [b"\xef\xbb\xbf".as_slice(), span_json(1, "").as_bytes()].concat();
    assert_eq!(export(&server, "traces", JSON, with_bom).await.status, 200);
    assert_eq!(export(&server, "traces", JSON, span_json(2, r#""name":"last","name":"wins""#)).await.status, 200);
    assert_eq!(server.number("SELECT count(*) FROM spans WHERE name = 'wins'").await, 1);
    for body in
        [&format!("{}x", span_json(3, "")), "[]", "", "   ", "null", "\"x\"", "{\"resourceSpans\":[{\"\\ud800\":1}"]
    {
        assert_eq!(export(&server, "traces", JSON, body).await.status, 400, "{body}");
    }
    assert_eq!(export(&server, "traces", PROTOBUF, Vec::new()).await.status, 200);
    assert_eq!(count(&server, "spans").await, 2);
}

#[tokio::test]
async fn e19_broken_and_hostile_compression() {
    let (server, _dir) = start().await;
    let send = async |encoding: &str, body: Vec<u8>| {
        let headers = [("content-type", PROTOBUF), ("content-encoding", encoding)];
        export_with(&server, "traces", &headers, body).await.status
    };
    for encoding in ["gzip", "zstd", "deflate"] {
        let whole = client::compress(encoding, span_bytes(1, 20));
        assert_eq!(send(encoding, whole[..whole.len() / 2].to_vec()).await, 400, "{encoding}: truncated");
        assert_eq!(send(encoding, b"garbage in, error out".to_vec()).await, 400, "{encoding}: garbage");
        assert_eq!(send(encoding, client::compress(encoding, vec![0; 80 << 20])).await, 413, "{encoding}: bomb");
    }
    let members = [client::compress("gzip", span_bytes(2, 1)), client::compress("gzip", span_bytes(3, 1))].concat();
    assert_eq!(send("gzip", members).await, 200, "several members are one body");
    let frames = [client::compress("zstd", span_bytes(4, 1)), client::compress("zstd", span_bytes(5, 1))].concat();
    assert_eq!(send("zstd", frames).await, 200, "several frames are one body");
    assert_eq!(count(&server, "spans").await, 4);
    // A frame header that asks for a window of 2 GiB and more.
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 0x01, 0x00, 0x00];
    assert!([400, 413].contains(&send("zstd", window.to_vec()).await));
    assert!(server.metric("process_resident_memory_bytes").await < 600e6);
}

#[tokio::test]
async fn e20_metrics_of_all_kinds() {
    use m::metric::Data;
    let (server, _dir) = start().await;
    let exemplar = m::Exemplar {
        time_unix_nano: T,
        trace_id: trace_id(1),
        span_id: span_id(1),
        value: Some(m::exemplar::Value::AsInt(4)),
        filtered_attributes: vec![text("e", "x")],
    };
    let number = |value| m::NumberDataPoint {
        time_unix_nano: T,
        start_time_unix_nano: T - 5,
        value: Some(value),
        exemplars: vec![exemplar.clone()],
        ..Default::default()
    };
    let gone = m::NumberDataPoint { time_unix_nano: T, flags: 1, ..Default::default() };
    let histogram = m::HistogramDataPoint {
        count: 3,
        sum: Some(4.5),
        bucket_counts: vec![1, 2],
        explicit_bounds: vec![1.0],
        min: Some(0.5),
        max: None,
        ..Default::default()
    };
    let buckets = m::exponential_histogram_data_point::Buckets { offset: -3, bucket_counts: vec![1, 0, u64::MAX] };
    let exponential = m::ExponentialHistogramDataPoint {
        count: 9,
        scale: -2,
        zero_count: 1,
        zero_threshold: 0.25,
        positive: Some(buckets),
        ..Default::default()
    };
    let summary = m::SummaryDataPoint {
        count: 2,
        sum: 3.0,
        quantile_values: vec![m::summary_data_point::ValueAtQuantile { quantile: 0.5, value: 1.5 }],
        ..Default::default()
    };
    let data = [
        (
            "gauge",
            Data::Gauge(m::Gauge { data_points: vec![number(m::number_data_point::Value::AsDouble(1.5)), gone] }),
        ),
        (
            "sum",
            Data::Sum(m::Sum {
                data_points: vec![number(m::number_data_point::Value::AsInt(i64::MAX))],
                aggregation_temporality: 1,
                is_monotonic: true,
            }),
        ),
        ("histogram", Data::Histogram(m::Histogram { data_points: vec![histogram], aggregation_temporality: 2 })),
        (
            "exponential_histogram",
            Data::ExponentialHistogram(m::ExponentialHistogram {
                data_points: vec![exponential, m::ExponentialHistogramDataPoint::default()],
                aggregation_temporality: 1,
            }),
        ),
        ("summary", Data::Summary(m::Summary { data_points: vec![summary] })),
    ];
    let list = data.into_iter().map(|(name, data)| m::Metric {
        name: name.into(),
        unit: "By".into(),
        description: "d".into(),
        metadata: vec![text("m", "d")],
        data: Some(data),
    });
    let answer = export(&server, "metrics", PROTOBUF, metrics("it", list.collect()).encode_to_vec()).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    let one = async |columns: &str, name: &str| {
        server.sql(&format!("SELECT {columns} FROM metrics WHERE name = '{name}' ORDER BY flags, count DESC")).await
    };
    assert_eq!(
        one("type, value, flags, unit, description", "gauge").await[0],
        [json!("gauge"), json!(1.5), json!(0), json!("By"), json!("d")]
    );
    assert_eq!(one("value, flags", "gauge").await[1], [json!(null), json!(1)]);
    let sum = one("value_int, temporality, is_monotonic, exemplars", "sum").await.remove(0);
    assert_eq!(sum[..3], [json!(i64::MAX), json!("delta"), json!(true)]);
    assert_eq!((&sum[3][0]["value_int"], &sum[3][0]["trace_id"]), (&json!(4), &json!(hex(&trace_id(1)))));
    let row = one("count, sum, min, max, bucket_counts, explicit_bounds, temporality", "histogram").await.remove(0);
    assert_eq!(row, [json!(3), json!(4.5), json!(0.5), json!(null), json!([1, 2]), json!([1.0]), json!("cumulative")]);
    let rows = one(
        "count, scale, zero_count, zero_threshold, positive_offset, positive_bucket_counts",
        "exponential_histogram",
    )
    .await;
    assert_eq!(rows[0], [json!(9), json!(-2), json!(1), json!(0.25), json!(-3), json!([1, 0, u64::MAX])]);
    assert_eq!(rows[1][..4], [json!(0), json!(0), json!(0), json!(0.0)]);
    assert_eq!(
        one("count, sum, quantiles", "summary").await[0],
        [json!(2), json!(3.0), json!([{"quantile": 0.5, "value": 1.5}])]
    );
}

#[tokio::test]
async fn e21_log_records_of_every_shape() {
    let (server, _dir) = start().await;
    let records = format!(
        r#"{{"observedTimeUnixNano":"{T}","eventName":"device.boot"}},{{"timeUnixNano":"{}","body":{{"kvlistValue":{{"values":[{{"key":"a","value":{{"intValue":1}}}}]}}}}}}"#,
        T + 1
    );
    assert_eq!(export(&server, "logs", JSON, logs_json(&records)).await.text(), "{}");
    let rows = server
        .sql("SELECT event_name, body, body_is_json, time_is_observed, time = observed_time FROM logs ORDER BY time")
        .await;
    assert_eq!(rows[0], [json!("device.boot"), json!(null), json!(false), json!(true), json!(true)]);
    assert_eq!(rows[1][..4], [json!(""), json!(r#"{"a":1}"#), json!(true), json!(false)]);
}

#[tokio::test]
async fn e22_schema_urls_and_entity_references_are_kept() {
    let (server, _dir) = start().await;
    let mut request = traces("it", vec![span(1, 0)]);
    let spans = &mut request.resource_spans[0];
    spans.schema_url = "https://example.com/resource".into();
    spans.scope_spans[0].schema_url = "https://example.com/scope".into();
    let entity = EntityRef { r#type: "service".into(), id_keys: vec!["service.name".into()], ..EntityRef::default() };
    spans.resource.as_mut().unwrap().entity_refs = vec![entity];
    export(&server, "traces", PROTOBUF, request.encode_to_vec()).await;
    let answer = server.get(&format!("/api/v1/traces/{}", hex(&trace_id(1)))).await.json();
    let spans = &answer["resourceSpans"][0];
    assert_eq!(spans["schemaUrl"], "https://example.com/resource");
    assert_eq!(spans["scopeSpans"][0]["schemaUrl"], "https://example.com/scope");
    assert_eq!(spans["resource"]["entityRefs"][0]["idKeys"], json!(["service.name"]));
}

#[tokio::test]
async fn events_come_back_as_they_were_sent() {
    let (server, _dir) = start().await;
    let event = Event {
        time_unix_nano: T + 7,
        name: "exception".into(),
        attributes: vec![text("exception.type", "E")],
        dropped_attributes_count: 3,
    };
    let spans = vec![Span { events: vec![event], dropped_events_count: 2, ..span(1, 0) }];
    export(&server, "traces", PROTOBUF, traces("it", spans).encode_to_vec()).await;
    let span = given_back(&server, 1).await;
    assert_eq!(span["events"][0]["timeUnixNano"], (T + 7).to_string());
    assert_eq!((&span["events"][0]["droppedAttributesCount"], &span["droppedEventsCount"]), (&json!(3), &json!(2)));
    assert_eq!(server.sql("SELECT exception_type FROM spans").await[0][0], "E");
}
