//! What becomes of particular attributes, ids and resources.

use arrow::record_batch::RecordBatch;
use hopline_model::Signal;
use hopline_proto::wire::{begin, end, put_bytes, put_varint_field};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

use super::rows::{Row, rows};
use super::{Checked, DecodeError, Decoder, check, decode, finish};

fn any(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(any(value)), ..Default::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn int(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn span(attributes: Vec<KeyValue>) -> Span {
    Span { trace_id: vec![1; 16], span_id: vec![2; 8], attributes, ..Default::default() }
}

fn traces(resource: Vec<KeyValue>, spans: Vec<Span>) -> Vec<u8> {
    let resource_spans = vec![ResourceSpans {
        resource: Some(Resource { attributes: resource, ..Default::default() }),
        scope_spans: vec![ScopeSpans { spans, ..Default::default() }],
        ..Default::default()
    }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn logs(records: Vec<LogRecord>) -> Vec<u8> {
    let scope_logs = vec![ScopeLogs { log_records: records, ..Default::default() }];
    let resource_logs = vec![ResourceLogs { scope_logs, ..Default::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

/// The row of a span with these attributes.
#[track_caller]
fn with_row(attributes: Vec<KeyValue>, look: impl FnOnce(Row<'_>)) {
    let batch = decode(Signal::Traces, &traces(vec![], vec![span(attributes)])).unwrap();
    look(rows(&batch).next().unwrap());
}

/// What the span's attributes leave in a text column, and the layout.
#[track_caller]
fn check_text(attributes: Vec<KeyValue>, column: &str, expected: Option<&str>, layout: &str) {
    with_row(attributes, |row| {
        assert_eq!(row.text(column).as_deref(), expected);
        assert_eq!(row.text("attribute_layout").as_deref(), Some(layout));
    });
}

#[test]
fn a_promoted_key_of_its_type_goes_to_its_column() {
    check_text(vec![text("http.route", "/a")], "http_route", Some("/a"), r#"["S.http.route"]"#);
    check_text(vec![int("http.route", 3)], "http_route", None, r#"["i.http.route"]"#);
    let twice = vec![text("http.route", "/a"), text("http.route", "/b")];
    check_text(twice, "http_route", Some("/a"), r#"["S.http.route","s.http.route"]"#);
    with_row(
        vec![int("http.response.status_code", 404), attribute("faas.coldstart", Value::BoolValue(false))],
        |row| {
            assert_eq!(row.i64("http_response_status_code"), Some(404));
            assert_eq!(row.bool("faas_coldstart"), Some(false));
            let layout = r#"["I.http.response.status_code","B.faas.coldstart"]"#;
            assert_eq!(row.text("attribute_layout").as_deref(), Some(layout));
            assert_eq!(row.text("http_route"), None);
        },
    );
}

#[test]
fn an_alias_fills_the_column_that_the_canonical_key_left_empty() {
    let (old, new) = (|| text("http.method", "GET"), || text("http.request.method", "POST"));
    check_text(vec![old()], "http_request_method", Some("GET"), r#"["s.http.method"]"#);
    let both = r#"["s.http.method","S.http.request.method"]"#;
    check_text(vec![old(), new()], "http_request_method", Some("POST"), both);
    let both = r#"["S.http.request.method","s.http.method"]"#;
    check_text(vec![new(), old()], "http_request_method", Some("POST"), both);
    // The more trusted alias wins, wherever it stands.
    let hosts = vec![text("http.host", "b"), text("net.peer.name", "a")];
    check_text(hosts, "server_address", Some("a"), r#"["s.http.host","s.net.peer.name"]"#);
    with_row(vec![int("http.status_code", 500)], |row| assert_eq!(row.i64("http_response_status_code"), Some(500)));
    with_row(vec![text("http.status_code", "500")], |row| assert_eq!(row.i64("http_response_status_code"), None));
    check_text(vec![int("http.method", 1)], "http_request_method", None, r#"["i.http.method"]"#);
}

#[test]
fn messaging_words_are_normalised_and_the_original_is_kept() {
    let system =
        |sent, expected, layout| check_text(vec![text("messaging.system", sent)], "messaging_system", expected, layout);
    system("aws.sqs", Some("aws_sqs"), r#"["s.messaging.system"]"#);
    system("AmazonSQS", Some("aws_sqs"), r#"["s.messaging.system"]"#);
    system("aws_sqs", Some("aws_sqs"), r#"["S.messaging.system"]"#);
    let operation = |key: &str, expected, layout| {
        check_text(vec![text(key, "publish")], "messaging_operation_type", Some(expected), layout);
    };
    operation("messaging.operation", "send", r#"["s.messaging.operation"]"#);
    operation("messaging.operation.type", "publish", r#"["S.messaging.operation.type"]"#);
    let partition = vec![int("messaging.kafka.partition", 7)];
    check_text(partition, "messaging_destination_partition_id", Some("7"), r#"["i.messaging.kafka.partition"]"#);
}

#[test]
fn the_first_exception_event_names_the_exception() {
    let event = |attributes| Event { name: "exception".to_owned(), attributes, ..Default::default() };
    let events =
        vec![event(vec![]), event(vec![text("exception.type", "A")]), event(vec![text("exception.type", "B")])];
    let check = |attributes, expected, layout: &str| {
        let span = Span { events: events.clone(), ..span(attributes) };
        let batch = decode(Signal::Traces, &traces(vec![], vec![span])).unwrap();
        let row = rows(&batch).next().unwrap();
        assert_eq!(row.text("exception_type").as_deref(), Some(expected));
        assert_eq!(row.text("attribute_layout").as_deref(), Some(layout));
    };
    check(vec![], "A", "");
    check(vec![text("exception.type", "C")], "C", r#"["S.exception.type"]"#);
}

#[test]
fn service_and_function_come_from_the_resource() {
    let check = |resource: &[(&str, &str)], attributes: Vec<KeyValue>, service: &str, function: Option<&str>| {
        let resource = resource.iter().map(|(k, v)| text(k, v)).collect();
        let batch = decode(Signal::Traces, &traces(resource, vec![span(attributes)])).unwrap();
        let row = rows(&batch).next().unwrap();
        assert_eq!(row.text("service").as_deref(), Some(service));
        assert_eq!(row.text("function").as_deref(), function);
    };
    let arn = || vec![text("aws.lambda.invoked_arn", "arn:aws:lambda:eu-west-1:1:function:pay:live")];
    check(&[], vec![], "", None);
    check(&[("service.name", "shop")], vec![], "shop", None);
    check(&[("service.name", "shop"), ("faas.name", "orders")], arn(), "shop", Some("orders"));
    check(&[("service.name", "shop")], arn(), "shop", Some("pay"));
    check(&[("service.name", "shop"), ("cloud.platform", "gcp_cloud_run")], vec![], "shop", Some("shop"));
}

#[test]
fn log_records_know_their_invocation() {
    let check = |attributes: Vec<KeyValue>, expected: Option<&str>| {
        let record = LogRecord { attributes, ..Default::default() };
        let batch = decode(Signal::Logs, &logs(vec![record])).unwrap();
        assert_eq!(rows(&batch).next().unwrap().text("invocation_id").as_deref(), expected);
    };
    check(vec![], None);
    check(vec![text("faas.invocation_id", "a"), text("requestId", "b")], Some("a"));
    check(vec![text("requestId", "b"), text("faas.execution", "c")], Some("c"));
    check(vec![text("requestId", "b"), text("aws.request_id", "d")], Some("d"));
    check(vec![int("requestId", 1)], None);
}

#[test]
fn a_log_record_without_time_has_its_observed_time() {
    let record = |time_unix_nano, observed_time_unix_nano| LogRecord {
        time_unix_nano,
        observed_time_unix_nano,
        body: Some(AnyValue::default()),
        ..Default::default()
    };
    let batch = decode(Signal::Logs, &logs(vec![record(5, 9), record(0, 9), record(0, 0)])).unwrap();
    let seen: Vec<_> = rows(&batch).map(|row| (row.time("time"), row.bool("time_is_observed").unwrap())).collect();
    assert_eq!(seen, [(5, false), (9, true), (0, false)]);
    assert!(rows(&batch).all(|row| row.text("body").is_none()));
    // With neither, when it was received; what was sent is still told apart and given back.
    let sent = [record(0, 0), record(5, 0)];
    let mut decoder = Decoder::new();
    decoder.set_received_at(77);
    decoder.push(Signal::Logs, "default", &logs(sent.to_vec())).unwrap();
    let batch = finish(&mut decoder, hopline_model::Table::Logs).unwrap();
    let seen: Vec<_> = rows(&batch).map(|row| (row.time("time"), row.bool("time_is_observed").unwrap())).collect();
    assert_eq!(seen, [(77, true), (5, false)]);
    let plain = decode(Signal::Logs, &logs(sent.to_vec())).unwrap();
    assert_eq!(super::rows::stored_records(&batch), super::rows::stored_records(&plain));
}

#[track_caller]
fn check_refused(signal: Signal, body: &[u8], refused: u64, message: &str) {
    let checked = check(signal, body).unwrap();
    assert_eq!((checked.refused, checked.message.as_deref()), (refused, Some(message)));
    decode(signal, body);
}

#[test]
fn e13_spans_with_bad_ids_are_refused_and_the_rest_kept() {
    let good = || span(vec![]);
    let check = |bad: Span, message: &str| {
        let message = format!("1 of 3 spans refused; the first is span 1: its {message}");
        check_refused(Signal::Traces, &traces(vec![], vec![good(), bad, good()]), 1, &message);
    };
    check(Span { trace_id: vec![], ..good() }, "trace_id has 0 bytes, not 16");
    check(Span { trace_id: vec![1; 15], ..good() }, "trace_id has 15 bytes, not 16");
    check(Span { trace_id: vec![0; 16], ..good() }, "trace_id is all zero");
    check(Span { span_id: vec![1; 16], ..good() }, "span_id has 16 bytes, not 8");
    check(Span { span_id: vec![0; 8], ..good() }, "span_id is all zero");
    check(Span { parent_span_id: vec![1; 7], ..good() }, "parent_span_id has 7 bytes, not 8");
    let record = LogRecord { trace_id: vec![1; 15], ..Default::default() };
    let message = "1 of 1 log records refused; the first is log record 0: its trace_id has 15 bytes, not 16";
    check_refused(Signal::Logs, &logs(vec![record]), 1, message);
}

fn nested(depth: usize) -> AnyValue {
    (1..depth).fold(AnyValue::default(), |inner, _| any(Value::ArrayValue(ArrayValue { values: vec![inner] })))
}

#[test]
fn e17_values_that_are_nested_too_deep_refuse_their_item() {
    let deep = |depth| KeyValue { key: "k".to_owned(), value: Some(nested(depth)), ..Default::default() };
    assert_eq!(check(Signal::Traces, &traces(vec![], vec![span(vec![deep(256)])])).unwrap().refused, 0);
    assert_eq!(decode(Signal::Traces, &traces(vec![], vec![span(vec![deep(256)])])).unwrap().num_rows(), 1);
    let reason = "it has a value that is nested more than 256 levels deep";
    let spans = vec![span(vec![]), span(vec![text("http.route", "/"), deep(257)]), span(vec![])];
    let message = format!("1 of 3 spans refused; the first is span 1: {reason}");
    check_refused(Signal::Traces, &traces(vec![], spans), 1, &message);
    let of_event = Span { events: vec![Event { attributes: vec![deep(300)], ..Default::default() }], ..span(vec![]) };
    let of_link = Span { links: vec![Link { attributes: vec![deep(300)], ..Default::default() }], ..span(vec![]) };
    let message = format!("2 of 2 spans refused; the first is span 0: {reason}");
    check_refused(Signal::Traces, &traces(vec![], vec![of_event, of_link]), 2, &message);
    check_refused(Signal::Traces, &traces(vec![deep(300)], vec![span(vec![]), span(vec![])]), 2, &message);
    let record = LogRecord { body: Some(nested(257)), ..Default::default() };
    let message = format!("1 of 1 log records refused; the first is log record 0: {reason}");
    check_refused(Signal::Logs, &logs(vec![record]), 1, &message);
    let very_deep = traces(vec![], vec![span(vec![deep(3000)])]);
    assert_eq!(check(Signal::Traces, &very_deep).unwrap().refused, 1);
}

fn gauges(metrics: Vec<Metric>) -> Vec<u8> {
    let scope_metrics = vec![ScopeMetrics { metrics, ..Default::default() }];
    let resource_metrics = vec![ResourceMetrics { scope_metrics, ..Default::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

fn gauge(name: &str, points: Vec<Vec<KeyValue>>) -> Metric {
    let data_points = points.into_iter().map(|attributes| NumberDataPoint {
        attributes,
        value: Some(number_data_point::Value::AsInt(1)),
        ..Default::default()
    });
    let data = Some(metric::Data::Gauge(Gauge { data_points: data_points.collect() }));
    Metric { name: name.to_owned(), data, ..Default::default() }
}

#[test]
fn a_metric_without_data_is_refused() {
    let body = gauges(vec![gauge("a", vec![vec![], vec![]]), Metric { name: "b".to_owned(), ..Default::default() }]);
    let why = "the metric has no data of a known type";
    let message = format!("1 of 3 data points refused; the first is data point 2 of metric \"b\": {why}");
    check_refused(Signal::Metrics, &body, 1, &message);
    let nameless = gauges(vec![Metric::default(), Metric { name: "c".to_owned(), ..Default::default() }]);
    let message = format!("2 of 2 data points refused; the first is data point 0: {why}");
    check_refused(Signal::Metrics, &nameless, 2, &message);
}

const SERIES_ID: [u8; 8] = [171, 207, 21, 26, 40, 255, 143, 75];

#[test]
fn points_of_one_series_have_one_id() {
    let (a, b, c) = (|| text("a", "1"), || int("b", 2), || int("a", 1));
    let points = vec![vec![a(), b()], vec![b(), a()], vec![a()], vec![c(), b()], vec![]];
    let body = gauges(vec![gauge("m", points), gauge("n", vec![vec![]])]);
    let ids = |batch: &RecordBatch| rows(batch).map(|row| row.id("series_id")).collect::<Vec<_>>();
    let seen = ids(&decode(Signal::Metrics, &body).unwrap());
    assert_eq!(seen[0], seen[1]);
    let mut different = seen[1..].to_vec();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), 5);
    // The same on every machine and for ever: it stands in files.
    assert_eq!(seen[4], SERIES_ID);
}

#[test]
fn r04_what_is_repaired_is_counted_and_stored() {
    let mut body =
        traces(vec![text("service.name", "sXp")], vec![span(vec![text("kXy", "vXe"), text("http.route", "/X")])]);
    body.iter_mut().filter(|b| **b == b'X').for_each(|b| *b = 0xFF);
    let message = "4 strings were not valid UTF-8 and were repaired";
    let expected = Checked { items: 1, refused: 0, repaired: 4, message: Some(message.to_owned()) };
    assert_eq!(check(Signal::Traces, &body), Ok(expected));
    // Twice, so that words met before are looked at as well.
    let mut decoder = Decoder::new();
    decoder.push(Signal::Traces, "t", &body).unwrap();
    decoder.push(Signal::Traces, "t", &body).unwrap();
    let batch = finish(&mut decoder, hopline_model::Table::Spans).unwrap();
    for row in rows(&batch) {
        assert_eq!(row.text("service").as_deref(), Some("s\u{FFFD}p"));
        assert_eq!(row.text("http_route").as_deref(), Some("/\u{FFFD}"));
        assert_eq!(row.text("attribute_layout").as_deref(), Some("[\"s.k\u{FFFD}y\",\"S.http.route\"]"));
    }
    let link = Link { trace_id: vec![1; 3], span_id: vec![2; 8], ..Default::default() };
    let body = traces(vec![], vec![Span { links: vec![link], ..span(vec![]) }]);
    let message = "1 ids of links or exemplars had a wrong length and were left out";
    assert_eq!(check(Signal::Traces, &body).unwrap().message.as_deref(), Some(message));
    decode(Signal::Traces, &body);
}

#[test]
fn e18_an_empty_body_is_an_empty_request() {
    for signal in Signal::ALL {
        assert_eq!(check(signal, b""), Ok(Checked::default()));
        assert!(decode(signal, b"").is_none());
    }
    assert!(matches!(check(Signal::Traces, b"not protobuf"), Err(DecodeError::Wire(_))));
}

/// The message in `field` of what `content` writes.
fn message(out: &mut Vec<u8>, field: u32, content: impl FnOnce(&mut Vec<u8>)) {
    let open = begin(out, field, 1);
    content(out);
    end(out, open);
}

#[test]
fn fields_may_come_in_any_order_and_messages_in_pieces() {
    let sent = span(vec![text("http.route", "/a")]);
    let attributes = [text("service.name", "shop"), text("faas.name", "pay")];
    let mut body = Vec::new();
    message(&mut body, 1, |out| {
        put_bytes(out, 3, b"url");
        message(out, 2, |out| {
            // The span's id and trace id stand behind its attributes.
            message(out, 2, |out| {
                put_bytes(out, 9, &sent.attributes[0].encode_to_vec());
                put_bytes(out, 15, &[]);
                message(out, 15, |out| put_varint_field(out, 3, 2));
                put_bytes(out, 2, &sent.span_id);
                put_bytes(out, 5, b"not this");
                put_bytes(out, 5, b"name");
                put_bytes(out, 1, &sent.trace_id);
                // Unknown: a number far away, and a known one of another wire type.
                put_varint_field(out, 4000, 1);
                put_varint_field(out, 5, 1);
            });
            message(out, 1, |out| put_bytes(out, 1, b"scope"));
            message(out, 1, |out| put_bytes(out, 2, b"1.0"));
        });
        for attribute in &attributes {
            message(out, 1, |out| put_bytes(out, 1, &attribute.encode_to_vec()));
        }
    });
    let batch = decode(Signal::Traces, &body).unwrap();
    let row = rows(&batch).next().unwrap();
    let seen = ["name", "status_code", "http_route", "service", "function", "scope_name", "scope_version", "resource"];
    let resource = r#"{"attributes":{"service.name":"shop","faas.name":"pay"},"schema_url":"url"}"#;
    let expected = ["name", "ERROR", "/a", "shop", "pay", "scope", "1.0", resource];
    assert_eq!(seen.map(|column| row.text(column).unwrap()), expected.map(str::to_owned));
}

#[test]
fn a_resource_is_kept_over_batches() {
    let body = |name: &str| traces(vec![text("service.name", name)], vec![span(vec![]), span(vec![])]);
    let mut decoder = Decoder::new();
    for names in [["a", "b"], ["b", "a"], ["c", "a"]] {
        for name in names {
            decoder.push(Signal::Traces, name, &body(name)).unwrap();
        }
        let batch = finish(&mut decoder, hopline_model::Table::Spans).unwrap();
        let seen: Vec<_> =
            rows(&batch).map(|row| (row.text("tenant").unwrap(), row.text("service").unwrap())).collect();
        let expected: Vec<_> = names.iter().flat_map(|n| [n, n]).map(|n| (n.to_string(), n.to_string())).collect();
        assert_eq!(seen, expected);
    }
}

#[test]
fn requests_without_items_leave_nothing_behind() {
    let mut decoder = Decoder::new();
    let long = "x".repeat(10_000);
    for i in 0..2000 {
        let body = traces(vec![text("service.name", &format!("{i}{long}"))], vec![]);
        decoder.push(Signal::Traces, "t", &body).unwrap();
        assert!(decoder.finish().is_empty());
        assert!(decoder.memory_bytes() < 2 << 20, "{}", decoder.memory_bytes());
    }
}
