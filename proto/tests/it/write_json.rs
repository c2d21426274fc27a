//! OTLP/JSON of a request, in all the spellings that a sender may choose.

use crate::generate::Gen;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, SummaryDataPoint, exemplar,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::{Map, Value, json};

/// Writes requests, with choices taken from a seed.
pub(crate) struct Writer(pub(crate) Gen);

/// An object that is being written.
struct Object<'w> {
    w: &'w mut Writer,
    members: Vec<(String, Value)>,
}

impl Object<'_> {
    /// A field whose default is `default`, which may be left out or null.
    fn field(mut self, name: &str, value: Value, default: bool) -> Self {
        if self.w.0.one_in(12) {
            self = self.unknown(name);
        }
        match self.w.0.below(4) {
            0 | 1 if default => self,
            2 if default => self.always(name, Value::Null),
            _ => self.always(name, value),
        }
    }

    /// A field that knows whether it is set.
    fn set(self, name: &str, value: Option<Value>) -> Self {
        match value {
            Some(value) => self.always(name, value),
            None => self.field(name, Value::Null, true),
        }
    }

    fn always(mut self, name: &str, value: Value) -> Self {
        self.members.push((name.to_owned(), value));
        self
    }

    /// A field that nobody knows: of the future, or in snake_case.
    fn unknown(self, name: &str) -> Self {
        let value = match self.w.0.below(4) {
            0 => json!({"a": [1, {"b": null}, "c", [[]]], "d": {}}),
            1 => json!([true, -1.5e9, {}]),
            2 => json!("text \\ \" {"),
            _ => json!(17),
        };
        self.always(&format!("{name}_of_the_future"), value)
    }

    fn string(self, name: &str, value: &str) -> Self {
        self.field(name, json!(value), value.is_empty())
    }

    fn uint(self, name: &str, value: u64) -> Self {
        let json = self.w.uint(value);
        self.field(name, json, value == 0)
    }

    fn int(self, name: &str, value: i64) -> Self {
        let json = self.w.int(value);
        self.field(name, json, value == 0)
    }

    fn id(self, name: &str, value: &[u8]) -> Self {
        let upper = self.w.0.below(3);
        let hex: String = value
            .iter()
            .enumerate()
            .map(|(i, b)| if upper == 0 || upper == 1 && i % 2 == 0 { format!("{b:02X}") } else { format!("{b:02x}") })
            .collect();
        self.field(name, json!(hex), value.is_empty())
    }

    fn double(self, name: &str, value: f64) -> Self {
        let json = self.w.double(value);
        self.field(name, json, value.to_bits() == 0)
    }

    fn list<T>(mut self, name: &str, values: &[T], mut each: impl FnMut(&mut Writer, &T) -> Value) -> Self {
        let list: Vec<Value> = values.iter().map(|v| each(self.w, v)).collect();
        self = self.field(name, Value::Array(list), values.is_empty());
        self
    }

    fn attributes(self, name: &str, values: &[KeyValue]) -> Self {
        self.list(name, values, Writer::key_value)
    }

    /// In any order: fields of a message have none.
    fn end(mut self) -> Value {
        if self.w.0.one_in(2) {
            self.members.reverse();
        }
        Value::Object(Map::from_iter(self.members))
    }
}

impl Writer {
    fn object(&mut self) -> Object<'_> {
        Object { w: self, members: Vec::new() }
    }

    fn uint(&mut self, value: u64) -> Value {
        if self.0.one_in(2) { json!(value) } else { json!(value.to_string()) }
    }

    fn int(&mut self, value: i64) -> Value {
        if self.0.one_in(2) { json!(value) } else { json!(value.to_string()) }
    }

    fn double(&mut self, value: f64) -> Value {
        let integral = value.fract() == 0.0 && value.abs() < 1e15 && !(value == 0.0 && value.is_sign_negative());
        match value {
            _ if value.is_nan() => json!("NaN"),
            f64::INFINITY => json!("Infinity"),
            f64::NEG_INFINITY => json!("-Infinity"),
            _ if integral && self.0.one_in(2) => json!(value as i64),
            _ if self.0.one_in(4) => json!(format!("{value:e}")),
            _ => json!(value),
        }
    }

    pub(crate) fn any_value(&mut self, value: &AnyValue) -> Value {
        let (name, json) = match &value.value {
            None => return self.object().field("stringValue", Value::Null, true).end(),
            Some(Any::StringValue(v)) => ("stringValue", json!(v)),
            Some(Any::BoolValue(v)) => ("boolValue", json!(v)),
            Some(Any::IntValue(v)) => ("intValue", self.int(*v)),
            Some(Any::DoubleValue(v)) => ("doubleValue", self.double(*v)),
            Some(Any::BytesValue(v)) => {
                let engines = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD];
                ("bytesValue", json!(engines[self.0.below(4)].encode(v)))
            }
            Some(Any::ArrayValue(v)) => {
                ("arrayValue", self.object().list("values", &v.values, Writer::any_value).end())
            }
            Some(Any::KvlistValue(v)) => ("kvlistValue", self.object().attributes("values", &v.values).end()),
            Some(other) => panic!("{other:?} is for profiles only"),
        };
        self.object().always(name, json).end()
    }

    fn key_value(&mut self, kv: &KeyValue) -> Value {
        let value = kv.value.as_ref().map(|v| self.any_value(v));
        self.object().string("key", &kv.key).set("value", value).end()
    }

    pub(crate) fn resource(&mut self, resource: &Resource) -> Value {
        self.object()
            .attributes("attributes", &resource.attributes)
            .uint("droppedAttributesCount", resource.dropped_attributes_count.into())
            .list("entityRefs", &resource.entity_refs, |w, r| {
                w.object()
                    .string("schemaUrl", &r.schema_url)
                    .string("type", &r.r#type)
                    .list("idKeys", &r.id_keys, |_, k| json!(k))
                    .list("descriptionKeys", &r.description_keys, |_, k| json!(k))
                    .end()
            })
            .end()
    }

    pub(crate) fn scope(&mut self, scope: &InstrumentationScope) -> Value {
        self.object()
            .string("name", &scope.name)
            .string("version", &scope.version)
            .attributes("attributes", &scope.attributes)
            .uint("droppedAttributesCount", scope.dropped_attributes_count.into())
            .end()
    }

    /// The two levels that all signals share.
    fn levels(&mut self, resource: Option<&Resource>, scopes: (&str, Vec<Value>), schema_url: &str) -> Value {
        let resource = resource.map(|r| self.resource(r));
        self.object()
            .set("resource", resource)
            .always(scopes.0, Value::Array(scopes.1))
            .string("schemaUrl", schema_url)
            .end()
    }

    fn scope_level(&mut self, scope: Option<&InstrumentationScope>, items: (&str, Vec<Value>), url: &str) -> Value {
        let scope = scope.map(|s| self.scope(s));
        self.object().set("scope", scope).always(items.0, Value::Array(items.1)).string("schemaUrl", url).end()
    }

    pub(crate) fn traces(&mut self, request: &ExportTraceServiceRequest) -> Value {
        let mut resources = Vec::new();
        for r in &request.resource_spans {
            let mut scopes = Vec::new();
            for s in &r.scope_spans {
                let spans = s.spans.iter().map(|span| self.span(span)).collect();
                scopes.push(self.scope_level(s.scope.as_ref(), ("spans", spans), &s.schema_url));
            }
            resources.push(self.levels(r.resource.as_ref(), ("scopeSpans", scopes), &r.schema_url));
        }
        json!({"resourceSpans": resources})
    }

    fn span(&mut self, span: &Span) -> Value {
        let status =
            span.status.as_ref().map(|s| self.object().string("message", &s.message).int("code", s.code.into()).end());
        self.object()
            .id("traceId", &span.trace_id)
            .id("spanId", &span.span_id)
            .string("traceState", &span.trace_state)
            .id("parentSpanId", &span.parent_span_id)
            .uint("flags", span.flags.into())
            .string("name", &span.name)
            .int("kind", span.kind.into())
            .uint("startTimeUnixNano", span.start_time_unix_nano)
            .uint("endTimeUnixNano", span.end_time_unix_nano)
            .attributes("attributes", &span.attributes)
            .uint("droppedAttributesCount", span.dropped_attributes_count.into())
            .list("events", &span.events, |w, e| {
                w.object()
                    .uint("timeUnixNano", e.time_unix_nano)
                    .string("name", &e.name)
                    .attributes("attributes", &e.attributes)
                    .uint("droppedAttributesCount", e.dropped_attributes_count.into())
                    .end()
            })
            .uint("droppedEventsCount", span.dropped_events_count.into())
            .list("links", &span.links, |w, l| {
                w.object()
                    .id("traceId", &l.trace_id)
                    .id("spanId", &l.span_id)
                    .string("traceState", &l.trace_state)
                    .attributes("attributes", &l.attributes)
                    .uint("droppedAttributesCount", l.dropped_attributes_count.into())
                    .uint("flags", l.flags.into())
                    .end()
            })
            .uint("droppedLinksCount", span.dropped_links_count.into())
            .set("status", status)
            .end()
    }

    pub(crate) fn logs(&mut self, request: &ExportLogsServiceRequest) -> Value {
        let mut resources = Vec::new();
        for r in &request.resource_logs {
            let mut scopes = Vec::new();
            for s in &r.scope_logs {
                let records = s.log_records.iter().map(|record| self.log_record(record)).collect();
                scopes.push(self.scope_level(s.scope.as_ref(), ("logRecords", records), &s.schema_url));
            }
            resources.push(self.levels(r.resource.as_ref(), ("scopeLogs", scopes), &r.schema_url));
        }
        json!({"resourceLogs": resources})
    }

    fn log_record(&mut self, record: &LogRecord) -> Value {
        let body = record.body.as_ref().map(|b| self.any_value(b));
        self.object()
            .uint("timeUnixNano", record.time_unix_nano)
            .uint("observedTimeUnixNano", record.observed_time_unix_nano)
            .int("severityNumber", record.severity_number.into())
            .string("severityText", &record.severity_text)
            .set("body", body)
            .attributes("attributes", &record.attributes)
            .uint("droppedAttributesCount", record.dropped_attributes_count.into())
            .uint("flags", record.flags.into())
            .id("traceId", &record.trace_id)
            .id("spanId", &record.span_id)
            .string("eventName", &record.event_name)
            .end()
    }

    pub(crate) fn metrics(&mut self, request: &ExportMetricsServiceRequest) -> Value {
        let mut resources = Vec::new();
        for r in &request.resource_metrics {
            let mut scopes = Vec::new();
            for s in &r.scope_metrics {
                let metrics = s.metrics.iter().map(|metric| self.metric(metric)).collect();
                scopes.push(self.scope_level(s.scope.as_ref(), ("metrics", metrics), &s.schema_url));
            }
            resources.push(self.levels(r.resource.as_ref(), ("scopeMetrics", scopes), &r.schema_url));
        }
        json!({"resourceMetrics": resources})
    }

    fn metric(&mut self, metric: &Metric) -> Value {
        let data = metric.data.as_ref().map(|data| self.data(data));
        let mut object = self
            .object()
            .string("name", &metric.name)
            .string("description", &metric.description)
            .string("unit", &metric.unit)
            .attributes("metadata", &metric.metadata);
        if let Some((name, data)) = data {
            object = object.always(name, data);
        }
        object.end()
    }

    fn data(&mut self, data: &Data) -> (&'static str, Value) {
        match data {
            Data::Gauge(d) => ("gauge", self.object().list("dataPoints", &d.data_points, Writer::number_point).end()),
            Data::Sum(d) => (
                "sum",
                self.object()
                    .list("dataPoints", &d.data_points, Writer::number_point)
                    .int("aggregationTemporality", d.aggregation_temporality.into())
                    .field("isMonotonic", json!(d.is_monotonic), !d.is_monotonic)
                    .end(),
            ),
            Data::Histogram(d) => (
                "histogram",
                self.object()
                    .list("dataPoints", &d.data_points, Writer::histogram_point)
                    .int("aggregationTemporality", d.aggregation_temporality.into())
                    .end(),
            ),
            Data::ExponentialHistogram(d) => (
                "exponentialHistogram",
                self.object()
                    .list("dataPoints", &d.data_points, Writer::exponential_point)
                    .int("aggregationTemporality", d.aggregation_temporality.into())
                    .end(),
            ),
            Data::Summary(d) => {
                ("summary", self.object().list("dataPoints", &d.data_points, Writer::summary_point).end())
            }
        }
    }

    fn number_point(&mut self, point: &NumberDataPoint) -> Value {
        let value = match point.value {
            None => None,
            Some(number_data_point::Value::AsDouble(v)) => Some(("asDouble", self.double(v))),
            Some(number_data_point::Value::AsInt(v)) => Some(("asInt", self.int(v))),
        };
        let mut object = self
            .object()
            .attributes("attributes", &point.attributes)
            .uint("startTimeUnixNano", point.start_time_unix_nano)
            .uint("timeUnixNano", point.time_unix_nano)
            .list("exemplars", &point.exemplars, Writer::exemplar)
            .uint("flags", point.flags.into());
        if let Some((name, value)) = value {
            object = object.always(name, value);
        }
        object.end()
    }

    fn histogram_point(&mut self, point: &HistogramDataPoint) -> Value {
        let [sum, min, max] = [point.sum, point.min, point.max].map(|v| v.map(|v| self.double(v)));
        self.object()
            .attributes("attributes", &point.attributes)
            .uint("startTimeUnixNano", point.start_time_unix_nano)
            .uint("timeUnixNano", point.time_unix_nano)
            .uint("count", point.count)
            .set("sum", sum)
            .list("bucketCounts", &point.bucket_counts, |w, c| w.uint(*c))
            .list("explicitBounds", &point.explicit_bounds, |w, b| w.double(*b))
            .list("exemplars", &point.exemplars, Writer::exemplar)
            .uint("flags", point.flags.into())
            .set("min", min)
            .set("max", max)
            .end()
    }

    fn exponential_point(&mut self, point: &ExponentialHistogramDataPoint) -> Value {
        let [sum, min, max] = [point.sum, point.min, point.max].map(|v| v.map(|v| self.double(v)));
        let [positive, negative] = [&point.positive, &point.negative].map(|b| b.as_ref().map(|b| self.buckets(b)));
        self.object()
            .attributes("attributes", &point.attributes)
            .uint("startTimeUnixNano", point.start_time_unix_nano)
            .uint("timeUnixNano", point.time_unix_nano)
            .uint("count", point.count)
            .set("sum", sum)
            .int("scale", point.scale.into())
            .uint("zeroCount", point.zero_count)
            .set("positive", positive)
            .set("negative", negative)
            .uint("flags", point.flags.into())
            .list("exemplars", &point.exemplars, Writer::exemplar)
            .set("min", min)
            .set("max", max)
            .double("zeroThreshold", point.zero_threshold)
            .end()
    }

    fn buckets(&mut self, buckets: &Buckets) -> Value {
        self.object()
            .int("offset", buckets.offset.into())
            .list("bucketCounts", &buckets.bucket_counts, |w, c| w.uint(*c))
            .end()
    }

    fn summary_point(&mut self, point: &SummaryDataPoint) -> Value {
        self.object()
            .attributes("attributes", &point.attributes)
            .uint("startTimeUnixNano", point.start_time_unix_nano)
            .uint("timeUnixNano", point.time_unix_nano)
            .uint("count", point.count)
            .double("sum", point.sum)
            .list("quantileValues", &point.quantile_values, |w, q| {
                w.object().double("quantile", q.quantile).double("value", q.value).end()
            })
            .uint("flags", point.flags.into())
            .end()
    }

    fn exemplar(&mut self, exemplar: &Exemplar) -> Value {
        let value = match exemplar.value {
            None => None,
            Some(exemplar::Value::AsDouble(v)) => Some(("asDouble", self.double(v))),
            Some(exemplar::Value::AsInt(v)) => Some(("asInt", self.int(v))),
        };
        let mut object = self
            .object()
            .attributes("filteredAttributes", &exemplar.filtered_attributes)
            .uint("timeUnixNano", exemplar.time_unix_nano)
            .id("spanId", &exemplar.span_id)
            .id("traceId", &exemplar.trace_id);
        if let Some((name, value)) = value {
            object = object.always(name, value);
        }
        object.end()
    }
}
