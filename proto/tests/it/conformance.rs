//! The rows of OTLP's JSON encoding, each test named after its row.

use hopline_proto::json::{JsonError, Message, Refused, transcode};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric, number_data_point};
use opentelemetry_proto::tonic::trace::v1::Span;

fn read<M: prost::Message + Default>(message: Message, json: &[u8]) -> Result<(M, Refused), JsonError> {
    let mut bytes = Vec::new();
    let refused = transcode(message, json, &mut bytes)?;
    Ok((M::decode(&bytes[..]).expect("what the transcoder writes is protobuf"), refused))
}

/// The spans of a request with these objects as its spans.
#[track_caller]
fn spans(spans: &str) -> (Vec<Span>, Refused) {
    let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#);
    let (mut request, refused) = read::<ExportTraceServiceRequest>(Message::Traces, json.as_bytes()).unwrap();
    (request.resource_spans.remove(0).scope_spans.remove(0).spans, refused)
}

/// The span made of these members, which must be taken.
#[track_caller]
fn span(members: &str) -> Span {
    let (mut spans, refused) = spans(&format!("{{{members}}}"));
    assert_eq!(refused, Refused::default());
    spans.remove(0)
}

/// The span made of these members is refused, with this message; the one after it is not.
#[track_caller]
fn check_refused(members: &str, message: &str) {
    let (kept, refused) = spans(&format!(r#"{{"name":"before"}},{{{members}}},{{"name":"after"}}"#));
    let names: Vec<_> = kept.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["before", "after"]);
    let message = format!("resourceSpans[0].scopeSpans[0].spans[1].{message}");
    assert_eq!(refused, Refused { items: 1, message: Some(message), ..Refused::default() });
}

#[track_caller]
fn record(members: &str) -> LogRecord {
    let json = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{{members}}}]}}]}}]}}"#);
    let (mut request, refused) = read::<ExportLogsServiceRequest>(Message::Logs, json.as_bytes()).unwrap();
    assert_eq!(refused, Refused::default());
    request.resource_logs.remove(0).scope_logs.remove(0).log_records.remove(0)
}

#[track_caller]
fn body(json: &str) -> Option<Value> {
    record(&format!(r#""body":{json}"#)).body.expect("a body").value
}

#[track_caller]
fn metrics(metrics: &str) -> (Vec<Metric>, Refused) {
    let json = format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{metrics}]}}]}}]}}"#);
    let (mut request, refused) = read::<ExportMetricsServiceRequest>(Message::Metrics, json.as_bytes()).unwrap();
    (request.resource_metrics.remove(0).scope_metrics.remove(0).metrics, refused)
}

#[track_caller]
fn error(json: impl AsRef<[u8]>) -> String {
    let mut out = b"kept".to_vec();
    let error = transcode(Message::Traces, json.as_ref(), &mut out).unwrap_err();
    assert_eq!(out, b"kept", "nothing stays of a refused body");
    error.to_string()
}

#[test]
fn e01_ids_are_hexadecimal_in_any_case() {
    let id: Vec<u8> = (0..16).map(|i| i * 16 + 10).collect();
    let lower: String = id.iter().map(|b| format!("{b:02x}")).collect();
    let mixed: String =
        lower.char_indices().map(|(i, c)| if i % 3 == 0 { c.to_ascii_uppercase() } else { c }).collect();
    for text in [lower.clone(), lower.to_uppercase(), mixed] {
        let half = &text[..16];
        let members = format!(
            r#""traceId":"{text}","spanId":"{half}","parentSpanId":"{half}","links":[{{"traceId":"{text}","spanId":"{half}"}}]"#
        );
        let span = span(&members);
        assert_eq!((&span.trace_id, &span.span_id, &span.parent_span_id), (&id, &id[..8].to_vec(), &id[..8].to_vec()));
        assert_eq!((&span.links[0].trace_id, &span.links[0].span_id), (&id, &id[..8].to_vec()));
        let record = record(&format!(r#""traceId":"{text}","spanId":"{half}""#));
        assert_eq!((record.trace_id, record.span_id), (id.clone(), id[..8].to_vec()));
    }
    // Their length is for the decoder to judge.
    assert_eq!(span(r#""traceId":"","spanId":"ab""#).span_id, [0xab]);
    check_refused(r#""traceId":"xyz""#, r#"traceId: "xyz" is not hexadecimal"#);
    check_refused(r#""spanId":"abc""#, r#"spanId: "abc" is not hexadecimal"#);
    check_refused(r#""spanId":"0xab""#, r#"spanId: "0xab" is not hexadecimal"#);
    check_refused(r#""spanId":"é""#, r#"spanId: "é" is not hexadecimal"#);
    check_refused(r#""links":[{},{"traceId":7}]"#, "links[1].traceId: 7 is not a hexadecimal string");
    assert_eq!(span(r#""spanId":"\u0061b""#).span_id, [0xab]);
}

#[test]
fn e02_bytes_are_base64_of_any_kind() {
    let value = Some(Value::BytesValue(vec![0xfb, 0xff, 0xfe, 0x01]));
    for text in ["+//+AQ==", "-__-AQ==", "+//+AQ", "-__-AQ"] {
        assert_eq!(body(&format!(r#"{{"bytesValue":"{text}"}}"#)), value, "{text}");
    }
    assert_eq!(body(r#"{"bytesValue":""}"#), Some(Value::BytesValue(vec![])));
    let attribute = |value: &str| format!(r#""attributes":[{{"key":"k","value":{{"bytesValue":{value}}}}}]"#);
    check_refused(&attribute(r#""a b""#), r#"attributes[0].value.bytesValue: "a b" is not base64"#);
    check_refused(&attribute("[1]"), "attributes[0].value.bytesValue: a list is not a base64 string");
}

#[test]
fn e03_unknown_enumeration_numbers_are_kept() {
    assert_eq!(span(r#""kind":99,"status":{"code":-7}"#).kind, 99);
    assert_eq!(span(r#""kind":99,"status":{"code":-7}"#).status.unwrap().code, -7);
    assert_eq!(record(r#""severityNumber":77"#).severity_number, 77);
}

#[test]
fn e04_enumeration_names_refuse_the_item() {
    let why = "is not an integer, and OTLP/JSON has no names for enumerations";
    check_refused(r#""kind":"SPAN_KIND_SERVER""#, &format!(r#"kind: "SPAN_KIND_SERVER" {why}"#));
    check_refused(r#""status":{"code":"STATUS_CODE_OK"}"#, &format!(r#"status.code: "STATUS_CODE_OK" {why}"#));
    check_refused(r#""kind":3000000000"#, "kind: 3000000000 is not between -2147483648 and 2147483647");
    check_refused(r#""kind":true"#, "kind: true is not an integer");
}

#[test]
fn e05_unknown_fields_of_any_type_and_depth_are_ignored() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let objects = format!("{}1{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
    for unknown in ["1", "-0.5e-7", "\"\\u00e9\\n\"", "true", "null", "{}", "[]", "[{\"a\":[]},2]", &deep, &objects] {
        let span = span(&format!(r#""name":"a","new":{unknown},"kind":2"#));
        assert_eq!((span.name.as_str(), span.kind), ("a", 2));
    }
    assert_eq!(body(r#"{"newValue":{"x":1}}"#), None);
    assert_eq!(body(r#"{"newValue":[1],"intValue":4}"#), Some(Value::IntValue(4)));
}

#[test]
fn e06_snake_case_is_unknown() {
    let span = span(r#""trace_id":"00","start_time_unix_nano":"5","name":"n""#);
    assert_eq!(span, Span { name: "n".into(), ..Span::default() });
}

#[test]
fn e07_integers_as_strings_or_numbers() {
    for (text, value) in [
        ("5", 5),
        ("\"5\"", 5),
        ("1e3", 1000),
        ("\"1e3\"", 1000),
        ("2.50E1", 25),
        ("1000e-3", 1),
        ("1.0", 1),
        ("-0", 0),
        ("0.0e9999999999999999999999", 0),
        ("\"18446744073709551615\"", u64::MAX),
        ("18446744073709551615", u64::MAX),
        ("1844674407370955161.5e1", u64::MAX),
    ] {
        assert_eq!(span(&format!(r#""startTimeUnixNano":{text}"#)).start_time_unix_nano, value, "{text}");
    }
    for (text, value) in [("\"-9223372036854775808\"", i64::MIN), ("9223372036854775807", i64::MAX), ("-1e0", -1)] {
        assert_eq!(body(&format!(r#"{{"intValue":{text}}}"#)), Some(Value::IntValue(value)), "{text}");
    }
    assert_eq!(span(r#""flags":"768","droppedEventsCount":4294967295"#).flags, 768);
    let range = "is not between 0 and 18446744073709551615";
    for text in ["18446744073709551616", "-1", "\"-1\"", "1e20"] {
        check_refused(&format!(r#""startTimeUnixNano":{text}"#), &format!("startTimeUnixNano: {text} {range}"));
    }
    for text in ["1.5", "\"\"", "\"x\"", "\" 1\"", "\"+1\"", "\"1e\"", "1e-1", "1e400", "\"1\\u0000\""] {
        check_refused(&format!(r#""endTimeUnixNano":{text}"#), &format!("endTimeUnixNano: {text} is not an integer"));
    }
    check_refused(r#""flags":4294967296"#, "flags: 4294967296 is not between 0 and 4294967295");
    check_refused(r#""flags":{}"#, "flags: an object is not an integer");
}

/// Node's exporter writes every number without a fraction as an `intValue`.
#[test]
fn e07_r04_a_number_that_is_no_64_bit_integer_is_kept_as_a_double() {
    let attribute = |value: &str| format!(r#"{{"attributes":[{{"key":"k","value":{{"intValue":{value}}}}}]}}"#);
    let value = |span: &Span| span.attributes[0].value.clone().unwrap().value.unwrap();
    for (text, double) in [
        ("1e300", 1e300),
        ("10000000000000000000", 1e19),
        ("-9.3e18", -9.3e18),
        ("9223372036854775808", 9_223_372_036_854_775_808.0),
        ("1.5", 1.5),
    ] {
        let (kept, refused) = spans(&attribute(text));
        assert_eq!(value(&kept[0]), Value::DoubleValue(double), "{text}");
        let first = "resourceSpans[0].scopeSpans[0].spans[0].attributes[0].value.intValue";
        let warning = format!(
            "1 numbers in intValue are no 64-bit integers and were stored as doubles; the first is {text}, at {first}"
        );
        assert_eq!(refused, Refused { changed: 1, warning: Some(warning), ..Refused::default() });
    }
    for (text, int) in [("9223372036854775807", i64::MAX), ("-9223372036854775808", i64::MIN), ("1e3", 1_000)] {
        let (kept, refused) = spans(&attribute(text));
        assert_eq!((value(&kept[0]), refused), (Value::IntValue(int), Refused::default()), "{text}");
    }
    let refused = |value: &str, why: &str| {
        let members = format!(r#""attributes":[{{"key":"k","value":{{"intValue":{value}}}}}]"#);
        check_refused(&members, &format!("attributes[0].value.intValue: {value} is not {why}"));
    };
    refused(r#""1e300""#, "an integer");
    refused(r#""1.5""#, "an integer");
    refused(r#""9223372036854775808""#, "between -9223372036854775808 and 9223372036854775807");
    refused("1e400", "an integer");
    refused("true", "an integer");
    // Of the last of several members, and not of items that are refused.
    let (kept, _) = spans(r#"{"attributes":[{"key":"k","value":{"intValue":1e300,"intValue":7}}]}"#);
    assert_eq!(value(&kept[0]), Value::IntValue(7));
    let bad = r#"{"attributes":[{"key":"k","value":{"intValue":1e300}}],"kind":"SERVER"}"#;
    let (kept, refused) = spans(&format!("{bad},{},{bad}", attribute("2e300")));
    assert_eq!((kept.len(), refused.items, refused.changed), (1, 2, 1));
    assert!(refused.warning.unwrap().contains("is 2e300, at resourceSpans[0].scopeSpans[0].spans[1]."));
}

#[test]
fn e05_r04_a_body_of_another_signal_is_a_warning() {
    let read = |message, json: &str| {
        let mut bytes = Vec::new();
        let refused = transcode(message, json.as_bytes(), &mut bytes).unwrap();
        assert_eq!((refused.items, refused.changed), (0, 0));
        refused.warning
    };
    let traces = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a"}]}]}],"more":1}"#;
    let warning = "the body has resourceSpans, but this is /v1/logs: nothing was stored; send it to /v1/traces";
    assert_eq!(read(Message::Logs, traces).as_deref(), Some(warning));
    let warning = "the body has resourceMetrics, but this is /v1/traces: nothing was stored; send it to /v1/metrics";
    assert_eq!(read(Message::Traces, r#"{"x":{},"resourceMetrics":[{}]}"#).as_deref(), Some(warning));
    // Nothing is said where something of the right signal is, or nothing of another at the top level.
    for json in [traces, "{}", r#"{"resourceSpans":[{"resourceLogs":[]}],"resourceLogs":[{}]}"#, r#"{"spans":[]}"#] {
        assert_eq!(read(Message::Traces, json), None, "{json}");
    }
}

#[test]
fn e08_doubles_in_all_spellings() {
    for (text, value) in [
        ("1.5", 1.5),
        ("\"1.5\"", 1.5),
        ("7", 7.0),
        ("-0.0", -0.0),
        ("\"-1e-3\"", -0.001),
        ("\"Infinity\"", f64::INFINITY),
        ("\"-Infinity\"", f64::NEG_INFINITY),
        ("1e-999", 0.0),
    ] {
        let Some(Value::DoubleValue(read)) = body(&format!(r#"{{"doubleValue":{text}}}"#)) else { panic!("{text}") };
        assert_eq!(read.to_bits(), value.to_bits(), "{text}");
    }
    let Some(Value::DoubleValue(nan)) = body(r#"{"doubleValue":"NaN"}"#) else { panic!("no double") };
    assert!(nan.is_nan());
    let attribute = |value: &str| format!(r#""attributes":[{{"value":{{"doubleValue":{value}}}}}]"#);
    for text in ["\"inf\"", "\"nan\"", "\"\"", "\"1.\"", "\"0x1\"", "\"+1\""] {
        check_refused(&attribute(text), &format!("attributes[0].value.doubleValue: {text} is not a number"));
    }
    check_refused(&attribute("1e999"), "attributes[0].value.doubleValue: 1e999 is not within the range of a double");
}

#[test]
fn e09_null_is_the_default_of_any_field() {
    let names = [
        "traceId",
        "spanId",
        "traceState",
        "parentSpanId",
        "flags",
        "name",
        "kind",
        "startTimeUnixNano",
        "endTimeUnixNano",
        "attributes",
        "droppedAttributesCount",
        "events",
        "droppedEventsCount",
        "links",
        "droppedLinksCount",
        "status",
    ];
    let members: Vec<_> = names.iter().map(|name| format!("\"{name}\":null")).collect();
    assert_eq!(span(&members.join(",")), Span::default());
    assert_eq!(body(r#"{"stringValue":null}"#), None);
    assert_eq!(body(r#"{"stringValue":null,"boolValue":false}"#), Some(Value::BoolValue(false)));
    let json = r#"{"resourceSpans":[{"resource":null,"scopeSpans":null,"schemaUrl":null}]}"#;
    let (request, _) = read::<ExportTraceServiceRequest>(Message::Traces, json.as_bytes()).unwrap();
    assert_eq!(request.resource_spans, [Default::default()]);
    let json = br#"{"resourceSpans":null}"#;
    assert_eq!(read::<ExportTraceServiceRequest>(Message::Traces, json).unwrap().0, Default::default());
    // As an element it keeps its place.
    let values = vec![AnyValue { value: None }, AnyValue { value: Some(Value::IntValue(1)) }];
    let array = Some(Value::ArrayValue(ArrayValue { values }));
    assert_eq!(body(r#"{"arrayValue":{"values":[null,{"intValue":1}]}}"#), array);
    assert_eq!(spans("null,{}").0, [Span::default(), Span::default()]);
}

#[test]
fn e10_empty_values() {
    let span = span(
        r#""attributes":[{"key":"a","value":{}},{"key":"b","value":{"arrayValue":{}}},
           {"key":"c","value":{"kvlistValue":{}}},{"key":"d"},{}]"#,
    );
    let values: Vec<_> = span.attributes.iter().map(|a| a.value.clone()).collect();
    assert_eq!(
        values,
        [
            Some(AnyValue { value: None }),
            Some(AnyValue { value: Some(Value::ArrayValue(ArrayValue::default())) }),
            Some(AnyValue { value: Some(Value::KvlistValue(KeyValueList::default())) }),
            None,
            None,
        ]
    );
}

#[test]
fn e11_defaults_of_a_value_are_kept() {
    assert_eq!(body(r#"{"intValue":"0"}"#), Some(Value::IntValue(0)));
    assert_eq!(body(r#"{"stringValue":""}"#), Some(Value::StringValue(String::new())));
    assert_eq!(body(r#"{"boolValue":false}"#), Some(Value::BoolValue(false)));
    assert_eq!(body(r#"{"doubleValue":0}"#), Some(Value::DoubleValue(0.0)));
    assert_eq!(body(r#"{"stringValue":"a","intValue":2}"#), Some(Value::IntValue(2)));
    let (metrics, _) = metrics(
        r#"{"name":"m","gauge":{"dataPoints":[{"asInt":"0"},{"asDouble":0},{}]}},
           {"histogram":{"dataPoints":[{"sum":0,"min":null}]}}"#,
    );
    let Some(metric::Data::Gauge(gauge)) = &metrics[0].data else { panic!("no gauge") };
    let values: Vec<_> = gauge.data_points.iter().map(|p| p.value).collect();
    let expected = [Some(number_data_point::Value::AsInt(0)), Some(number_data_point::Value::AsDouble(0.0)), None];
    assert_eq!(values, expected);
    let Some(metric::Data::Histogram(histogram)) = &metrics[1].data else { panic!("no histogram") };
    assert_eq!((histogram.data_points[0].sum, histogram.data_points[0].min), (Some(0.0), None));
}

#[test]
fn e12_members_of_profiles_are_unset() {
    assert_eq!(body(r#"{"stringValueStrindex":3}"#), None);
    let span = span(r#""attributes":[{"keyStrindex":2,"value":{"intValue":1}}]"#);
    assert_eq!((span.attributes[0].key.as_str(), span.attributes[0].key_strindex), ("", 0));
}

#[test]
fn e15_a_metric_that_cannot_be_read_counts_its_points() {
    let (kept, refused) = metrics(
        r#"{"name":"a"},
           {"name":"b","sum":{"aggregationTemporality":"DELTA","dataPoints":[{},{"asInt":[1]},{}]}},
           {"name":"c","gauge":7},
           {"name":"d","gauge":{"dataPoints":[{"asDouble":"x"}]},"unknown":{"dataPoints":[1,2]}},
           {"name":"e","gauge":{"dataPoints":[{"attributes":{}}]}},
           12,
           {"name":"f"}"#,
    );
    assert_eq!(kept.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["a", "f"]);
    assert_eq!(refused.items, 3 + 1 + 1 + 1 + 1);
    assert_eq!(
        refused.message.unwrap(),
        "resourceMetrics[0].scopeMetrics[0].metrics[1].sum.aggregationTemporality: \"DELTA\" is not an integer, and \
         OTLP/JSON has no names for enumerations"
    );
    let (kept, refused) = spans(r#"[],{"name":"a"},"x""#);
    assert_eq!((kept.len(), refused.items), (1, 2));
    assert_eq!(refused.message.unwrap(), "resourceSpans[0].scopeSpans[0].spans[0]: a list is not an object");
    let point = r#"{"exponentialHistogram":{"dataPoints":[{"positive":{"bucketCounts":["1","x"]}}]}}"#;
    assert_eq!(
        metrics(point).1.message.unwrap(),
        "resourceMetrics[0].scopeMetrics[0].metrics[0].exponentialHistogram.dataPoints[0].positive.bucketCounts[1]: \
         \"x\" is not an integer"
    );
}

#[test]
fn e17_deep_values_are_taken_up_to_256_levels() {
    // On the stack that a thread of the server has.
    let work = || {
        let nest = |levels: usize| {
            let arrays = r#"{"arrayValue":{"values":["#.repeat(levels - 1);
            format!(
                r#"{{"name":"deep","attributes":[{{"key":"k","value":{arrays}{{"intValue":1}}{}}}]}}"#,
                "]}}".repeat(levels - 1)
            )
        };
        let read = |levels: usize| {
            let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{},{{}}]}}]}}]}}"#, nest(levels));
            let mut out = Vec::new();
            (transcode(Message::Traces, json.as_bytes(), &mut out).unwrap(), out)
        };
        let (refused, bytes) = read(256);
        assert_eq!(refused, Refused::default());
        assert!(bytes.len() > 256 * 2);
        let (refused, bytes) = read(257);
        assert_eq!(refused.items, 1);
        assert!(refused.message.unwrap().ends_with("attribute value is nested more than 256 levels deep"));
        assert!(!bytes.windows(4).any(|w| w == b"deep"));
        assert_eq!(read(50_000).0.items, 1);
    };
    std::thread::Builder::new().stack_size(256 << 10).spawn(work).unwrap().join().unwrap();
}

#[test]
fn e17_large_and_odd_values() {
    let long = "x".repeat(1 << 20);
    assert_eq!(span(&format!(r#""name":"{long}""#)).name, long);
    let many: Vec<_> = (0..10_000).map(|i| format!(r#"{{"key":"k{i}","value":{{"intValue":{i}}}}}"#)).collect();
    assert_eq!(span(&format!(r#""attributes":[{}]"#, many.join(","))).attributes.len(), 10_000);
    let span = span(r#""startTimeUnixNano":"9223372036854775808","endTimeUnixNano":0"#);
    assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (1 << 63, 0));
}

#[test]
fn e17_strings_that_are_not_utf8_are_left_to_the_decoder() {
    let mut bytes = Vec::new();
    let json = b"{\"resourceSpans\":[{\"schemaUrl\":\"a\xffb\"},{\"schemaUrl\":\"\\ud800\"}]}";
    transcode(Message::Traces, json, &mut bytes).unwrap();
    let valid =
        transcode(Message::Traces, br#"{"resourceSpans":[{"schemaUrl":"\ud83d\ude00\u20ac\/\b\f"}]}"#, &mut Vec::new());
    assert!(valid.is_ok());
    assert!(bytes.windows(3).any(|w| w == b"a\xffb"));
    assert!(bytes.ends_with(b"\x1a\x01\xff"), "an unpaired surrogate is a byte that is never UTF-8");
}

#[test]
fn e18_byte_order_mark_duplicates_and_rubbish() {
    let (request, _) =
        read::<ExportTraceServiceRequest>(Message::Traces, b"\xef\xbb\xbf {\"resourceSpans\":[]} \r\n\t").unwrap();
    assert_eq!(request, ExportTraceServiceRequest::default());
    assert_eq!(span(r#""name":"a","kind":3,"name":"b","kind":0"#).kind, 0);
    assert_eq!(span(r#""name":"a","name":"b""#).name, "b");
    assert_eq!(span(r#""\u006eame":"escaped""#).name, "escaped");

    assert_eq!(error(""), "the body ends too early (at byte 0)");
    assert_eq!(error(" \n"), "the body ends too early (at byte 2)");
    assert_eq!(error("[]"), "the body is a list, not an object (at byte 0)");
    assert_eq!(error("null"), "the body is null, not an object (at byte 0)");
    assert_eq!(error("{} x"), "unexpected bytes behind the value (at byte 3)");
    assert_eq!(error("{}{}"), "unexpected bytes behind the value (at byte 2)");
    assert_eq!(error(b"\xff"), "expected a value (at byte 0)");
}

#[test]
fn e18_what_is_not_json_refuses_the_request() {
    for (json, message) in [
        ("{", "the body ends too early (at byte 1)"),
        ("{,}", "expected a key in double quotes (at byte 1)"),
        ("{\"a\":1,}", "expected a key in double quotes (at byte 7)"),
        ("{\"a\" 1}", "expected `:` (at byte 5)"),
        ("{\"a\":1 \"b\":2}", "expected `,` or `}` (at byte 7)"),
        ("{\"a\":[1 2]}", "expected `,` or `]` (at byte 8)"),
        ("{\"a\":[1,]}", "expected a value (at byte 8)"),
        ("{\"a\":[}]}", "expected a value (at byte 6)"),
        ("{\"a\":{]}", "expected a key in double quotes (at byte 6)"),
        ("{\"a\":01}", "expected `,` or `}` (at byte 6)"),
        ("{\"a\":-}", "malformed number (at byte 5)"),
        ("{\"a\":1.}", "malformed number (at byte 5)"),
        ("{\"a\":1e}", "malformed number (at byte 5)"),
        ("{\"a\":.5}", "expected a value (at byte 5)"),
        ("{\"a\":tru}", "expected `true`, `false` or `null` (at byte 5)"),
        ("{\"a\":NaN}", "expected a value (at byte 5)"),
        ("{\"a\":\"\n\"}", "control character in a string (at byte 6)"),
        ("{\"a\":\"\\x\"}", "unknown escape in a string (at byte 6)"),
        ("{\"a\":\"\\u12g4\"}", "`\\u` needs four hexadecimal digits (at byte 6)"),
        ("{'a':1}", "expected a key in double quotes (at byte 1)"),
        (
            "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"name\":\"a\",",
            "resourceSpans[0].scopeSpans[0].spans[0]: the body ends too early (at byte 55)",
        ),
        // Also behind a value for which the item is refused.
        (
            "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"name\":1,}]}]}]}",
            "resourceSpans[0].scopeSpans[0].spans[0]: expected a key in double quotes (at byte 53)",
        ),
    ] {
        assert_eq!(error(json), message, "{json}");
    }
}

#[test]
fn a_wrong_value_outside_of_items_refuses_the_request() {
    for (json, message) in [
        ("{\"resourceSpans\":{}}", "resourceSpans: an object is not a list (at byte 17)"),
        ("{\"resourceSpans\":[1]}", "resourceSpans[0]: 1 is not an object (at byte 18)"),
        ("{\"resourceSpans\":[{\"schemaUrl\":7}]}", "resourceSpans[0].schemaUrl: 7 is not a string (at byte 31)"),
        (
            "{\"resourceSpans\":[{},{\"resource\":{\"attributes\":[{\"value\":\"bare\"}]}}]}",
            "resourceSpans[1].resource.attributes[0].value: \"bare\" is not an object (at byte 57)",
        ),
        (
            "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":7}]}]}",
            "resourceSpans[0].scopeSpans[0].spans: 7 is not a list (at byte 42)",
        ),
    ] {
        assert_eq!(error(json), message, "{json}");
    }
}

#[test]
fn messages_stay_short() {
    let long = "y".repeat(10_000);
    let (_, refused) = spans(&format!(r#"{{"kind":"{long}"}}"#));
    assert!(refused.message.unwrap().len() < 250);
    let deep = r#"{"arrayValue":{"values":["#.repeat(200);
    let (_, refused) = spans(&format!(r#"{{"attributes":[{{"value":{deep}7{}}}]}}"#, "]}}".repeat(200)));
    let message = refused.message.unwrap();
    assert!(message.starts_with("resourceSpans[0].scopeSpans[0].spans[0].attributes[0].value.arrayValue"));
    assert!(message.ends_with("arrayValue.values[0]: 7 is not an object") && message.len() < 400, "{message}");
}
