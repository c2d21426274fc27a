//! Rows given back as OTLP, and what they should be equal to.
//!
//! An item is compared as the protobuf bytes of a request that holds nothing else.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimestampNanosecondType, UInt32Type, UInt64Type};
use arrow::record_batch::RecordBatch;
use hopline_model::names::{kind_number, status_number, temporality_number};
use hopline_model::{AttributeType, Layout, promoted};
use hopline_proto::value::{
    attributes_text_to_wire, resource_text_to_wire, schema_url, scope_text_to_wire, text_to_wire,
};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar, metric,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;

/// Where an item came from: resource, its schema URL, scope, its schema URL.
type Source = (Resource, String, InstrumentationScope, String);

fn of_span((resource, resource_url, scope, scope_url): Source, span: Span) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans: vec![span], schema_url: scope_url }];
    let resource = ResourceSpans { resource: Some(resource), scope_spans, schema_url: resource_url };
    ExportTraceServiceRequest { resource_spans: vec![resource] }.encode_to_vec()
}

fn of_record((resource, resource_url, scope, scope_url): Source, record: LogRecord) -> Vec<u8> {
    let scope_logs = vec![ScopeLogs { scope: Some(scope), log_records: vec![record], schema_url: scope_url }];
    let resource = ResourceLogs { resource: Some(resource), scope_logs, schema_url: resource_url };
    ExportLogsServiceRequest { resource_logs: vec![resource] }.encode_to_vec()
}

fn of_metric((resource, resource_url, scope, scope_url): Source, metric: Metric) -> Vec<u8> {
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics: vec![metric], schema_url: scope_url }];
    let resource = ResourceMetrics { resource: Some(resource), scope_metrics, schema_url: resource_url };
    ExportMetricsServiceRequest { resource_metrics: vec![resource] }.encode_to_vec()
}

// ---- what was sent, with what the documentation says is not kept left out ----

fn plain_value(value: &mut AnyValue) {
    match &mut value.value {
        Some(Value::ArrayValue(array)) => array.values.iter_mut().for_each(plain_value),
        Some(Value::KvlistValue(list)) => plain(&mut list.values),
        _ => {}
    }
}

/// An attribute without a value is one with an empty value.
fn plain(attributes: &mut [KeyValue]) {
    for attribute in attributes {
        plain_value(attribute.value.get_or_insert_default());
    }
}

fn plain_source(resource: Option<Resource>, url: &str, scope: Option<InstrumentationScope>, scope_url: &str) -> Source {
    let (mut resource, mut scope) = (resource.unwrap_or_default(), scope.unwrap_or_default());
    plain(&mut resource.attributes);
    plain(&mut scope.attributes);
    (resource, url.to_owned(), scope, scope_url.to_owned())
}

fn is_zero(id: &[u8]) -> bool {
    id.iter().all(|b| *b == 0)
}

/// An id of an exemplar or a link that has a wrong length is none.
fn plain_id(id: &mut Vec<u8>, len: usize) {
    if id.len() != len {
        id.clear();
    }
}

/// The spans that should be stored.
pub(super) fn sent_spans(request: ExportTraceServiceRequest) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for resource in request.resource_spans {
        for scope in resource.scope_spans {
            let source = plain_source(resource.resource.clone(), &resource.schema_url, scope.scope, &scope.schema_url);
            all.extend(scope.spans.into_iter().filter_map(plain_span).map(|span| of_span(source.clone(), span)));
        }
    }
    all
}

fn plain_span(mut span: Span) -> Option<Span> {
    let id = |id: &[u8], len| id.len() == len && !is_zero(id);
    if !id(&span.trace_id, 16) || !id(&span.span_id, 8) || ![0, 8].contains(&span.parent_span_id.len()) {
        return None;
    }
    if is_zero(&span.parent_span_id) {
        span.parent_span_id.clear();
    }
    plain(&mut span.attributes);
    span.events.iter_mut().for_each(|event| plain(&mut event.attributes));
    for link in &mut span.links {
        plain(&mut link.attributes);
        plain_id(&mut link.trace_id, 16);
        plain_id(&mut link.span_id, 8);
    }
    span.status.get_or_insert_default();
    Some(span)
}

/// The log records that should be stored.
pub(super) fn sent_records(request: ExportLogsServiceRequest) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for resource in request.resource_logs {
        for scope in resource.scope_logs {
            let source = plain_source(resource.resource.clone(), &resource.schema_url, scope.scope, &scope.schema_url);
            let records = scope.log_records.into_iter().filter_map(plain_record);
            all.extend(records.map(|record| of_record(source.clone(), record)));
        }
    }
    all
}

fn plain_record(mut record: LogRecord) -> Option<LogRecord> {
    for (id, len) in [(&mut record.trace_id, 16), (&mut record.span_id, 8)] {
        if ![0, len].contains(&id.len()) {
            return None;
        }
        if is_zero(id) {
            id.clear();
        }
    }
    plain(&mut record.attributes);
    record.body = record.body.filter(|body| body.value.is_some());
    record.body.iter_mut().for_each(plain_value);
    Some(record)
}

/// The data points that should be stored, each as a metric of its own.
pub(super) fn sent_points(request: ExportMetricsServiceRequest) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for resource in request.resource_metrics {
        for scope in resource.scope_metrics {
            let source = plain_source(resource.resource.clone(), &resource.schema_url, scope.scope, &scope.schema_url);
            for metric in scope.metrics {
                all.extend(single_points(metric).into_iter().map(|metric| of_metric(source.clone(), metric)));
            }
        }
    }
    all
}

fn single_points(mut metric: Metric) -> Vec<Metric> {
    use metric::Data;
    plain(&mut metric.metadata);
    let data: Vec<Data> = match metric.data.take() {
        None => vec![],
        Some(Data::Gauge(gauge)) => {
            let points = gauge.data_points.into_iter().map(plain_number);
            points.map(|point| Data::Gauge(Gauge { data_points: vec![point] })).collect()
        }
        Some(Data::Sum(sum)) => {
            let points = sum.data_points.clone().into_iter().map(plain_number);
            points.map(|point| Data::Sum(Sum { data_points: vec![point], ..sum.clone() })).collect()
        }
        Some(Data::Histogram(histogram)) => {
            let points = histogram.data_points.clone().into_iter().map(|mut point| {
                plain(&mut point.attributes);
                point.exemplars.iter_mut().for_each(plain_exemplar);
                point
            });
            points.map(|point| Data::Histogram(Histogram { data_points: vec![point], ..histogram.clone() })).collect()
        }
        Some(Data::ExponentialHistogram(histogram)) => {
            let points = histogram.data_points.clone().into_iter().map(|mut point| {
                plain(&mut point.attributes);
                point.exemplars.iter_mut().for_each(plain_exemplar);
                point
            });
            let one = |point| ExponentialHistogram { data_points: vec![point], ..histogram.clone() };
            points.map(|point| Data::ExponentialHistogram(one(point))).collect()
        }
        Some(Data::Summary(summary)) => {
            let points = summary.data_points.into_iter().map(|mut point| {
                plain(&mut point.attributes);
                point
            });
            points.map(|point| Data::Summary(Summary { data_points: vec![point] })).collect()
        }
    };
    data.into_iter().map(|data| Metric { data: Some(data), ..metric.clone() }).collect()
}

fn plain_number(mut point: NumberDataPoint) -> NumberDataPoint {
    plain(&mut point.attributes);
    point.exemplars.iter_mut().for_each(plain_exemplar);
    point
}

fn plain_exemplar(exemplar: &mut Exemplar) {
    plain(&mut exemplar.filtered_attributes);
    plain_id(&mut exemplar.trace_id, 16);
    plain_id(&mut exemplar.span_id, 8);
}

// ---- what the rows say ----

/// One row of a batch, or of the items of a list.
#[derive(Clone)]
pub(super) struct Row<'a> {
    names: Vec<&'a str>,
    columns: &'a [ArrayRef],
    row: usize,
}

/// The rows of a batch.
pub(super) fn rows(batch: &RecordBatch) -> impl Iterator<Item = Row<'_>> {
    let names: Vec<&str> = batch.schema_ref().fields().iter().map(|f| f.name().as_str()).collect();
    (0..batch.num_rows()).map(move |row| Row { names: names.clone(), columns: batch.columns(), row })
}

impl<'a> Row<'a> {
    #[track_caller]
    fn array(&self, name: &str) -> Option<&'a ArrayRef> {
        let at = self.names.iter().position(|n| *n == name).unwrap_or_else(|| panic!("no column {name}"));
        let array = &self.columns[at];
        if array.is_null(self.row) { None } else { Some(array) }
    }

    /// The text in a column, dictionary-encoded or not.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let array = self.array(name)?;
        let text = match array.data_type() {
            DataType::Dictionary(..) => {
                let dictionary = array.as_dictionary::<Int32Type>();
                dictionary.values().as_string::<i32>().value(dictionary.keys().value(self.row) as usize)
            }
            _ => array.as_string::<i32>().value(self.row),
        };
        Some(text.to_owned())
    }

    fn word(&self, name: &str) -> String {
        self.text(name).unwrap_or_else(|| panic!("{name} is null"))
    }

    pub(super) fn id(&self, name: &str) -> Vec<u8> {
        self.array(name).map_or(vec![], |a| a.as_fixed_size_binary().value(self.row).to_vec())
    }

    pub(super) fn time(&self, name: &str) -> u64 {
        self.array(name).map_or(0, |a| a.as_primitive::<TimestampNanosecondType>().value(self.row) as u64)
    }

    fn u32(&self, name: &str) -> u32 {
        self.array(name).unwrap().as_primitive::<UInt32Type>().value(self.row)
    }

    fn u64(&self, name: &str) -> u64 {
        self.array(name).unwrap().as_primitive::<UInt64Type>().value(self.row)
    }

    fn i32(&self, name: &str) -> Option<i32> {
        Some(self.array(name)?.as_primitive::<Int32Type>().value(self.row))
    }

    pub(super) fn i64(&self, name: &str) -> Option<i64> {
        Some(self.array(name)?.as_primitive::<Int64Type>().value(self.row))
    }

    fn f64(&self, name: &str) -> Option<f64> {
        Some(self.array(name)?.as_primitive::<Float64Type>().value(self.row))
    }

    pub(super) fn bool(&self, name: &str) -> Option<bool> {
        Some(self.array(name)?.as_boolean().value(self.row))
    }

    fn list(&self, name: &str) -> Option<ArrayRef> {
        Some(self.array(name)?.as_list::<i32>().value(self.row))
    }

    fn counts(&self, name: &str) -> Vec<u64> {
        self.list(name).map_or(vec![], |list| list.as_primitive::<UInt64Type>().values().to_vec())
    }

    fn items<T>(&self, name: &str, make: impl FnMut(Row<'_>) -> T) -> Vec<T> {
        let Some(list) = self.list(name) else { return vec![] };
        let list = list.as_struct();
        assert!(!list.is_empty(), "{name}: an empty list should be null");
        let names: Vec<&str> = list.fields().iter().map(|f| f.name().as_str()).collect();
        (0..list.len()).map(|row| Row { names: names.clone(), columns: list.columns(), row }).map(make).collect()
    }

    fn texts(&self, name: &str) -> Vec<KeyValue> {
        attributes_of(&self.word(name))
    }

    fn source(&self) -> Source {
        let (mut resource, mut scope) = (Vec::new(), Vec::new());
        let (resource_text, scope_text) = (self.word("resource"), self.word("scope"));
        resource_text_to_wire(&resource_text, &mut resource).unwrap();
        let (name, version) = (self.word("scope_name"), self.word("scope_version"));
        scope_text_to_wire(&scope_text, &name, &version, &mut scope).unwrap();
        let mut resource = Resource::decode(&*resource).unwrap();
        let mut scope = InstrumentationScope::decode(&*scope).unwrap();
        plain(&mut resource.attributes);
        plain(&mut scope.attributes);
        (resource, schema_url(&resource_text).into_owned(), scope, schema_url(&scope_text).into_owned())
    }

    /// The attributes of the row, by its layout.
    fn attributes(&self) -> Vec<KeyValue> {
        let layout = Layout::parse(&self.word("attribute_layout")).unwrap();
        let mut next = [0; 5];
        let mut all = Vec::new();
        for entry in layout.0 {
            let value = if entry.promoted {
                self.promoted(&entry.key, entry.kind)
            } else {
                let at = &mut next[AttributeType::ALL.iter().position(|t| *t == entry.kind).unwrap()];
                *at += 1;
                self.entry(entry.kind, *at - 1, &entry.key)
            };
            all.push(KeyValue { key: entry.key, value: Some(value), ..Default::default() });
        }
        for (kind, used) in AttributeType::ALL.into_iter().zip(next) {
            let entries = self.array(kind.column()).map_or(0, |map| map.as_map().value(self.row).len());
            assert_eq!(entries, used, "{} has entries that are in no layout", kind.column());
        }
        plain(&mut all);
        all
    }

    fn promoted(&self, key: &str, kind: AttributeType) -> AnyValue {
        let (promoted, is_alias) = promoted::find(key).unwrap();
        assert!(!is_alias, "{key}");
        let value = match kind {
            AttributeType::String => Value::StringValue(self.word(promoted.column)),
            AttributeType::Int => Value::IntValue(self.i64(promoted.column).unwrap()),
            AttributeType::Bool => Value::BoolValue(self.bool(promoted.column).unwrap()),
            AttributeType::Double | AttributeType::Other => panic!("no such promoted column"),
        };
        AnyValue { value: Some(value) }
    }

    fn entry(&self, kind: AttributeType, at: usize, key: &str) -> AnyValue {
        let entries = self.array(kind.column()).unwrap().as_map().value(self.row);
        assert_eq!(entries.column(0).as_string::<i32>().value(at), key);
        let values = entries.column(1);
        let value = match kind {
            AttributeType::String => Value::StringValue(values.as_string::<i32>().value(at).to_owned()),
            AttributeType::Int => Value::IntValue(values.as_primitive::<Int64Type>().value(at)),
            AttributeType::Double => Value::DoubleValue(values.as_primitive::<Float64Type>().value(at)),
            AttributeType::Bool => Value::BoolValue(values.as_boolean().value(at)),
            AttributeType::Other => return value_of(values.as_string::<i32>().value(at)),
        };
        AnyValue { value: Some(value) }
    }
}

fn value_of(text: &str) -> AnyValue {
    let mut wire = Vec::new();
    text_to_wire(text, &mut wire).unwrap();
    AnyValue::decode(&*wire).unwrap()
}

fn attributes_of(text: &str) -> Vec<KeyValue> {
    let mut wire = Vec::new();
    attributes_text_to_wire(text, 1, &mut wire).unwrap();
    let mut list = KeyValueList::decode(&*wire).unwrap().values;
    plain(&mut list);
    list
}

/// The spans that a batch holds.
pub(super) fn stored_spans(batch: &RecordBatch) -> Vec<Vec<u8>> {
    rows(batch).map(|row| of_span(row.source(), span_of(&row))).collect()
}

fn span_of(row: &Row<'_>) -> Span {
    let start = row.time("start_time");
    Span {
        trace_id: row.id("trace_id"),
        span_id: row.id("span_id"),
        trace_state: row.word("trace_state"),
        parent_span_id: row.id("parent_span_id"),
        flags: row.u32("flags"),
        name: row.word("name"),
        kind: kind_number(&row.word("kind")),
        start_time_unix_nano: start,
        end_time_unix_nano: start.wrapping_add(row.i64("duration").unwrap() as u64),
        attributes: row.attributes(),
        dropped_attributes_count: row.u32("dropped_attributes_count"),
        events: row.items("events", |event| Event {
            time_unix_nano: event.time("time"),
            name: event.word("name"),
            attributes: event.texts("attributes"),
            dropped_attributes_count: event.u32("dropped_attributes_count"),
        }),
        dropped_events_count: row.u32("dropped_events_count"),
        links: row.items("links", |link| Link {
            trace_id: link.id("trace_id"),
            span_id: link.id("span_id"),
            trace_state: link.word("trace_state"),
            attributes: link.texts("attributes"),
            dropped_attributes_count: link.u32("dropped_attributes_count"),
            flags: link.u32("flags"),
        }),
        dropped_links_count: row.u32("dropped_links_count"),
        status: Some(Status { message: row.word("status_message"), code: status_number(&row.word("status_code")) }),
    }
}

/// The log records that a batch holds.
pub(super) fn stored_records(batch: &RecordBatch) -> Vec<Vec<u8>> {
    rows(batch).map(|row| of_record(row.source(), record_of(&row))).collect()
}

fn record_of(row: &Row<'_>) -> LogRecord {
    let body = row.text("body").map(|text| match row.bool("body_is_json").unwrap() {
        true => value_of(&text),
        false => AnyValue { value: Some(Value::StringValue(text)) },
    });
    let mut record = LogRecord {
        time_unix_nano: if row.bool("time_is_observed").unwrap() { 0 } else { row.time("time") },
        observed_time_unix_nano: row.time("observed_time"),
        severity_number: row.i32("severity_number").unwrap(),
        severity_text: row.word("severity_text"),
        body,
        attributes: row.attributes(),
        dropped_attributes_count: row.u32("dropped_attributes_count"),
        flags: row.u32("flags"),
        trace_id: row.id("trace_id"),
        span_id: row.id("span_id"),
        event_name: row.word("event_name"),
    };
    record.body.iter_mut().for_each(plain_value);
    record
}

/// The data points that a batch holds, each as a metric of its own.
pub(super) fn stored_points(batch: &RecordBatch) -> Vec<Vec<u8>> {
    rows(batch).map(|row| of_metric(row.source(), metric_of(&row))).collect()
}

fn metric_of(row: &Row<'_>) -> Metric {
    let kind = row.word("type");
    let aggregation_temporality = row.text("temporality").map_or(0, |word| temporality_number(&word));
    let data = match kind.as_str() {
        "gauge" => metric::Data::Gauge(Gauge { data_points: vec![number_of(row)] }),
        "sum" => metric::Data::Sum(Sum {
            data_points: vec![number_of(row)],
            aggregation_temporality,
            is_monotonic: row.bool("is_monotonic").unwrap(),
        }),
        "histogram" => {
            metric::Data::Histogram(Histogram { data_points: vec![histogram_of(row)], aggregation_temporality })
        }
        "exponential_histogram" => metric::Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![exponential_of(row)],
            aggregation_temporality,
        }),
        "summary" => metric::Data::Summary(Summary { data_points: vec![summary_of(row)] }),
        other => panic!("{other}"),
    };
    Metric {
        name: row.word("name"),
        description: row.word("description"),
        unit: row.word("unit"),
        metadata: row.text("metadata").map_or(vec![], |text| attributes_of(&text)),
        data: Some(data),
    }
}

fn number_of(row: &Row<'_>) -> NumberDataPoint {
    let double = || row.f64("value").map(number_data_point::Value::AsDouble);
    NumberDataPoint {
        attributes: row.attributes(),
        start_time_unix_nano: row.time("start_time"),
        time_unix_nano: row.time("time"),
        exemplars: row.items("exemplars", exemplar_of),
        flags: row.u32("flags"),
        value: row.i64("value_int").map(number_data_point::Value::AsInt).or_else(double),
    }
}

fn exemplar_of(row: Row<'_>) -> Exemplar {
    let double = || row.f64("value").map(exemplar::Value::AsDouble);
    Exemplar {
        filtered_attributes: row.texts("attributes"),
        time_unix_nano: row.time("time"),
        span_id: row.id("span_id"),
        trace_id: row.id("trace_id"),
        value: row.i64("value_int").map(exemplar::Value::AsInt).or_else(double),
    }
}

fn histogram_of(row: &Row<'_>) -> HistogramDataPoint {
    let bounds = row.list("explicit_bounds");
    HistogramDataPoint {
        attributes: row.attributes(),
        start_time_unix_nano: row.time("start_time"),
        time_unix_nano: row.time("time"),
        count: row.u64("count"),
        sum: row.f64("sum"),
        bucket_counts: row.counts("bucket_counts"),
        explicit_bounds: bounds.map_or(vec![], |list| list.as_primitive::<Float64Type>().values().to_vec()),
        exemplars: row.items("exemplars", exemplar_of),
        flags: row.u32("flags"),
        min: row.f64("min"),
        max: row.f64("max"),
    }
}

fn exponential_of(row: &Row<'_>) -> ExponentialHistogramDataPoint {
    let side = |side: &str| {
        let offset = row.i32(&format!("{side}_offset"))?;
        Some(Buckets { offset, bucket_counts: row.counts(&format!("{side}_bucket_counts")) })
    };
    ExponentialHistogramDataPoint {
        attributes: row.attributes(),
        start_time_unix_nano: row.time("start_time"),
        time_unix_nano: row.time("time"),
        count: row.u64("count"),
        sum: row.f64("sum"),
        scale: row.i32("scale").unwrap(),
        zero_count: row.u64("zero_count"),
        positive: side("positive"),
        negative: side("negative"),
        flags: row.u32("flags"),
        exemplars: row.items("exemplars", exemplar_of),
        min: row.f64("min"),
        max: row.f64("max"),
        zero_threshold: row.f64("zero_threshold").unwrap(),
    }
}

fn summary_of(row: &Row<'_>) -> SummaryDataPoint {
    SummaryDataPoint {
        attributes: row.attributes(),
        start_time_unix_nano: row.time("start_time"),
        time_unix_nano: row.time("time"),
        count: row.u64("count"),
        sum: row.f64("sum").unwrap(),
        quantile_values: row.items("quantiles", |quantile| ValueAtQuantile {
            quantile: quantile.f64("quantile").unwrap(),
            value: quantile.f64("value").unwrap(),
        }),
        flags: row.u32("flags"),
    }
}
