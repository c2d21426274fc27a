//! Requests as OTLP/JSON, every field written out.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, SummaryDataPoint, exemplar,
    metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;

use base64::Engine as _;
use hopline_proto::value::{double_to_otlp_json, quote};

fn text(text: &str) -> String {
    let mut out = String::new();
    quote(text, &mut out);
    out
}

fn double(value: f64) -> String {
    let mut out = String::new();
    double_to_otlp_json(value, &mut out);
    out
}

/// An object of what is given, `name: JSON`; members without JSON are left out.
fn object(members: &[(&str, Option<String>)]) -> String {
    let set = members.iter().filter_map(|(name, json)| Some(format!("\"{name}\":{}", json.as_ref()?)));
    format!("{{{}}}", set.collect::<Vec<_>>().join(","))
}

fn list<T>(items: &[T], json: impl FnMut(&T) -> String) -> Option<String> {
    Some(format!("[{}]", items.iter().map(json).collect::<Vec<_>>().join(",")))
}

fn hex(bytes: &[u8]) -> Option<String> {
    let digits: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    Some(format!("\"{digits}\""))
}

/// A 64-bit number, as a string.
fn long(value: impl std::fmt::Display) -> Option<String> {
    Some(format!("\"{value}\""))
}

fn short(value: impl std::fmt::Display) -> Option<String> {
    Some(value.to_string())
}

fn any(value: &AnyValue) -> String {
    let Some(value) = &value.value else { return "{}".to_owned() };
    let (name, json) = match value {
        Value::StringValue(string) => ("stringValue", text(string)),
        Value::BoolValue(bool) => ("boolValue", bool.to_string()),
        Value::IntValue(int) => ("intValue", format!("\"{int}\"")),
        Value::DoubleValue(value) => ("doubleValue", double(*value)),
        Value::ArrayValue(array) => ("arrayValue", object(&[("values", list(&array.values, any))])),
        Value::KvlistValue(map) => ("kvlistValue", object(&[("values", attributes(&map.values))])),
        Value::BytesValue(bytes) => ("bytesValue", text(&base64::engine::general_purpose::STANDARD.encode(bytes))),
        Value::StringValueStrindex(_) => panic!("not of these signals"),
    };
    object(&[(name, Some(json))])
}

fn attributes(attributes: &[KeyValue]) -> Option<String> {
    list(attributes, |a| object(&[("key", Some(text(&a.key))), ("value", a.value.as_ref().map(any))]))
}

fn resource(resource: &Resource) -> String {
    object(&[
        ("attributes", attributes(&resource.attributes)),
        ("droppedAttributesCount", short(resource.dropped_attributes_count)),
        (
            "entityRefs",
            list(&resource.entity_refs, |entity| {
                object(&[
                    ("schemaUrl", Some(text(&entity.schema_url))),
                    ("type", Some(text(&entity.r#type))),
                    ("idKeys", list(&entity.id_keys, |key| text(key))),
                    ("descriptionKeys", list(&entity.description_keys, |key| text(key))),
                ])
            }),
        ),
    ])
}

fn scope(scope: &InstrumentationScope) -> String {
    object(&[
        ("name", Some(text(&scope.name))),
        ("version", Some(text(&scope.version))),
        ("attributes", attributes(&scope.attributes)),
        ("droppedAttributesCount", short(scope.dropped_attributes_count)),
    ])
}

/// One `ResourceSpans` or the like: what it holds is called `scopes`, and `items` therein.
fn source<S>(
    of: &Option<Resource>,
    schema_url: &str,
    (name, scopes): (&str, &[S]),
    each: impl Fn(&S) -> (&Option<InstrumentationScope>, &str, (&'static str, Option<String>)),
) -> String {
    object(&[
        ("resource", of.as_ref().map(resource)),
        ("schemaUrl", Some(text(schema_url))),
        (
            name,
            list(scopes, |s| {
                let (of, schema_url, (items, json)) = each(s);
                object(&[("scope", of.as_ref().map(scope)), (items, json), ("schemaUrl", Some(text(schema_url)))])
            }),
        ),
    ])
}

pub(super) fn traces(request: &ExportTraceServiceRequest) -> String {
    let all = list(&request.resource_spans, |r| {
        source(&r.resource, &r.schema_url, ("scopeSpans", &r.scope_spans), |s| {
            (&s.scope, &s.schema_url, ("spans", list(&s.spans, span)))
        })
    });
    object(&[("resourceSpans", all)])
}

fn span(span: &Span) -> String {
    object(&[
        ("traceId", hex(&span.trace_id)),
        ("spanId", hex(&span.span_id)),
        ("traceState", Some(text(&span.trace_state))),
        ("parentSpanId", hex(&span.parent_span_id)),
        ("flags", short(span.flags)),
        ("name", Some(text(&span.name))),
        ("kind", short(span.kind)),
        ("startTimeUnixNano", long(span.start_time_unix_nano)),
        ("endTimeUnixNano", long(span.end_time_unix_nano)),
        ("attributes", attributes(&span.attributes)),
        ("droppedAttributesCount", short(span.dropped_attributes_count)),
        (
            "events",
            list(&span.events, |event| {
                object(&[
                    ("timeUnixNano", long(event.time_unix_nano)),
                    ("name", Some(text(&event.name))),
                    ("attributes", attributes(&event.attributes)),
                    ("droppedAttributesCount", short(event.dropped_attributes_count)),
                ])
            }),
        ),
        ("droppedEventsCount", short(span.dropped_events_count)),
        (
            "links",
            list(&span.links, |link| {
                object(&[
                    ("traceId", hex(&link.trace_id)),
                    ("spanId", hex(&link.span_id)),
                    ("traceState", Some(text(&link.trace_state))),
                    ("attributes", attributes(&link.attributes)),
                    ("droppedAttributesCount", short(link.dropped_attributes_count)),
                    ("flags", short(link.flags)),
                ])
            }),
        ),
        ("droppedLinksCount", short(span.dropped_links_count)),
        (
            "status",
            span.status.as_ref().map(|s| object(&[("message", Some(text(&s.message))), ("code", short(s.code))])),
        ),
    ])
}

pub(super) fn logs(request: &ExportLogsServiceRequest) -> String {
    let all = list(&request.resource_logs, |r| {
        source(&r.resource, &r.schema_url, ("scopeLogs", &r.scope_logs), |s| {
            let records = list(&s.log_records, |record| {
                object(&[
                    ("timeUnixNano", long(record.time_unix_nano)),
                    ("observedTimeUnixNano", long(record.observed_time_unix_nano)),
                    ("severityNumber", short(record.severity_number)),
                    ("severityText", Some(text(&record.severity_text))),
                    ("body", record.body.as_ref().map(any)),
                    ("attributes", attributes(&record.attributes)),
                    ("droppedAttributesCount", short(record.dropped_attributes_count)),
                    ("flags", short(record.flags)),
                    ("traceId", hex(&record.trace_id)),
                    ("spanId", hex(&record.span_id)),
                    ("eventName", Some(text(&record.event_name))),
                ])
            });
            (&s.scope, &s.schema_url, ("logRecords", records))
        })
    });
    object(&[("resourceLogs", all)])
}

pub(super) fn metrics(request: &ExportMetricsServiceRequest) -> String {
    let all = list(&request.resource_metrics, |r| {
        source(&r.resource, &r.schema_url, ("scopeMetrics", &r.scope_metrics), |s| {
            (&s.scope, &s.schema_url, ("metrics", list(&s.metrics, metric)))
        })
    });
    object(&[("resourceMetrics", all)])
}

fn metric(metric: &Metric) -> String {
    use metric::Data;
    let (name, data) = match &metric.data {
        None => ("gauge", None),
        Some(Data::Gauge(gauge)) => ("gauge", Some(object(&[("dataPoints", list(&gauge.data_points, number))]))),
        Some(Data::Sum(sum)) => {
            let data = object(&[
                ("dataPoints", list(&sum.data_points, number)),
                ("aggregationTemporality", short(sum.aggregation_temporality)),
                ("isMonotonic", short(sum.is_monotonic)),
            ]);
            ("sum", Some(data))
        }
        Some(Data::Histogram(histogram)) => {
            let data = object(&[
                ("dataPoints", list(&histogram.data_points, histogram_point)),
                ("aggregationTemporality", short(histogram.aggregation_temporality)),
            ]);
            ("histogram", Some(data))
        }
        Some(Data::ExponentialHistogram(histogram)) => {
            let data = object(&[
                ("dataPoints", list(&histogram.data_points, exponential_point)),
                ("aggregationTemporality", short(histogram.aggregation_temporality)),
            ]);
            ("exponentialHistogram", Some(data))
        }
        Some(Data::Summary(summary)) => {
            ("summary", Some(object(&[("dataPoints", list(&summary.data_points, summary_point))])))
        }
    };
    object(&[
        ("name", Some(text(&metric.name))),
        ("description", Some(text(&metric.description))),
        ("unit", Some(text(&metric.unit))),
        ("metadata", attributes(&metric.metadata)),
        (name, data),
    ])
}

fn number(point: &NumberDataPoint) -> String {
    let value = match point.value {
        None => ("asInt", None),
        Some(number_data_point::Value::AsInt(int)) => ("asInt", long(int)),
        Some(number_data_point::Value::AsDouble(value)) => ("asDouble", Some(double(value))),
    };
    object(&[
        ("attributes", attributes(&point.attributes)),
        ("startTimeUnixNano", long(point.start_time_unix_nano)),
        ("timeUnixNano", long(point.time_unix_nano)),
        ("exemplars", list(&point.exemplars, exemplar)),
        ("flags", short(point.flags)),
        value,
    ])
}

fn exemplar(exemplar: &Exemplar) -> String {
    let value = match exemplar.value {
        None => ("asInt", None),
        Some(exemplar::Value::AsInt(int)) => ("asInt", long(int)),
        Some(exemplar::Value::AsDouble(value)) => ("asDouble", Some(double(value))),
    };
    object(&[
        ("filteredAttributes", attributes(&exemplar.filtered_attributes)),
        ("timeUnixNano", long(exemplar.time_unix_nano)),
        value,
        ("spanId", hex(&exemplar.span_id)),
        ("traceId", hex(&exemplar.trace_id)),
    ])
}

fn histogram_point(point: &HistogramDataPoint) -> String {
    object(&[
        ("attributes", attributes(&point.attributes)),
        ("startTimeUnixNano", long(point.start_time_unix_nano)),
        ("timeUnixNano", long(point.time_unix_nano)),
        ("count", long(point.count)),
        ("sum", point.sum.map(double)),
        ("bucketCounts", list(&point.bucket_counts, |n| format!("\"{n}\""))),
        ("explicitBounds", list(&point.explicit_bounds, |bound| double(*bound))),
        ("exemplars", list(&point.exemplars, exemplar)),
        ("flags", short(point.flags)),
        ("min", point.min.map(double)),
        ("max", point.max.map(double)),
    ])
}

fn exponential_point(point: &ExponentialHistogramDataPoint) -> String {
    let buckets = |b: &Buckets| {
        object(&[("offset", short(b.offset)), ("bucketCounts", list(&b.bucket_counts, |n| format!("\"{n}\"")))])
    };
    object(&[
        ("attributes", attributes(&point.attributes)),
        ("startTimeUnixNano", long(point.start_time_unix_nano)),
        ("timeUnixNano", long(point.time_unix_nano)),
        ("count", long(point.count)),
        ("sum", point.sum.map(double)),
        ("scale", short(point.scale)),
        ("zeroCount", long(point.zero_count)),
        ("positive", point.positive.as_ref().map(buckets)),
        ("negative", point.negative.as_ref().map(buckets)),
        ("flags", short(point.flags)),
        ("exemplars", list(&point.exemplars, exemplar)),
        ("min", point.min.map(double)),
        ("max", point.max.map(double)),
        ("zeroThreshold", Some(double(point.zero_threshold))),
    ])
}

fn summary_point(point: &SummaryDataPoint) -> String {
    object(&[
        ("attributes", attributes(&point.attributes)),
        ("startTimeUnixNano", long(point.start_time_unix_nano)),
        ("timeUnixNano", long(point.time_unix_nano)),
        ("count", long(point.count)),
        ("sum", Some(double(point.sum))),
        (
            "quantileValues",
            list(&point.quantile_values, |q| {
                object(&[("quantile", Some(double(q.quantile))), ("value", Some(double(q.value)))])
            }),
        ),
        ("flags", short(point.flags)),
    ])
}
