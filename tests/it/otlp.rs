//! OTLP requests for tests, and their JSON form written by hand.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
pub use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use prost::Message;

/// A time in the year 2026, in nanoseconds.
pub const T: u64 = 1_790_000_000_000_000_000;

pub fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

pub fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

pub fn resource(service: &str) -> Resource {
    Resource { attributes: vec![text("service.name", service)], ..Resource::default() }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope { name: "it".into(), version: "1".into(), ..InstrumentationScope::default() }
}

/// The trace id number `n`.
pub fn trace_id(n: u64) -> Vec<u8> {
    [0x4bf9_2f35_77b3_4da6u64.to_be_bytes(), n.to_be_bytes()].concat()
}

/// The span id number `n`.
pub fn span_id(n: u64) -> Vec<u8> {
    (n + 1).to_be_bytes().to_vec()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Span `span` of trace `trace`.
pub fn span(trace: u64, span: u64) -> Span {
    Span {
        trace_id: trace_id(trace),
        span_id: span_id(span),
        name: "op".into(),
        kind: 2,
        start_time_unix_nano: T + span,
        end_time_unix_nano: T + span + 1_000_000,
        ..Span::default()
    }
}

pub fn traces(service: &str, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope_spans = vec![ScopeSpans { scope: Some(scope()), spans, ..ScopeSpans::default() }];
    let resource = Some(resource(service));
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { resource, scope_spans, ..Default::default() }] }
}

pub fn logs(service: &str, log_records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    let scope_logs = vec![ScopeLogs { scope: Some(scope()), log_records, ..ScopeLogs::default() }];
    let resource = Some(resource(service));
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { resource, scope_logs, ..Default::default() }] }
}

pub fn metrics(service: &str, metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() }];
    let resource = Some(resource(service));
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { resource, scope_metrics, ..Default::default() }],
    }
}

pub fn log(body: &str) -> LogRecord {
    let body = Some(AnyValue { value: Some(Value::StringValue(body.into())) });
    LogRecord { time_unix_nano: T, observed_time_unix_nano: T + 5, severity_number: 9, body, ..LogRecord::default() }
}

pub fn gauge(name: &str, value: f64) -> Metric {
    let value = Some(number_data_point::Value::AsDouble(value));
    let point = NumberDataPoint { time_unix_nano: T, value, ..NumberDataPoint::default() };
    Metric { name: name.into(), data: Some(Data::Gauge(Gauge { data_points: vec![point] })), ..Metric::default() }
}

/// `count` spans of trace `trace`, encoded.
pub fn span_bytes(trace: u64, count: u64) -> Vec<u8> {
    traces("it", (0..count).map(|n| span(trace, n)).collect()).encode_to_vec()
}

pub fn log_bytes(body: &str) -> Vec<u8> {
    logs("it", vec![log(body)]).encode_to_vec()
}

pub fn metric_bytes(name: &str) -> Vec<u8> {
    metrics("it", vec![gauge(name, 1.5)]).encode_to_vec()
}

/// A JSON export with one span whose members are `members` (without braces), after ids, name and times.
pub fn span_json(trace: u64, members: &str) -> String {
    let (trace, span, end) = (hex(&trace_id(trace)), hex(&span_id(0)), T + 1_000_000);
    spans_json(&format!(
        r#"{{"traceId":"{trace}","spanId":"{span}","name":"op","kind":2,"startTimeUnixNano":"{T}","endTimeUnixNano":"{end}"{}{members}}}"#,
        if members.is_empty() { "" } else { "," }
    ))
}

/// A JSON export with these spans, each a JSON object.
pub fn spans_json(spans: &str) -> String {
    format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"it"}}}}]}},"scopeSpans":[{{"scope":{{"name":"it"}},"spans":[{spans}]}}]}}]}}"#
    )
}

pub fn metrics_json(metrics: &str) -> String {
    format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"it"}}}}]}},"scopeMetrics":[{{"scope":{{"name":"it"}},"metrics":[{metrics}]}}]}}]}}"#
    )
}

pub fn logs_json(records: &str) -> String {
    format!(r#"{{"resourceLogs":[{{"resource":{{}},"scopeLogs":[{{"logRecords":[{records}]}}]}}]}}"#)
}
