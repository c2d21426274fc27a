//! Requests made of a list of choices: the shorter the list and the smaller its numbers,
//! the simpler the request, so that failures shrink.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
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

const KEYS: [&str; 30] = [
    "a",
    "",
    "http.route",
    "http.request.method",
    "http.method",
    "http.response.status_code",
    "http.status_code",
    "messaging.system",
    "messaging.operation",
    "messaging.operation.type",
    "messaging.destination.partition.id",
    "messaging.kafka.partition",
    "messaging.kafka.destination.partition",
    "messaging.message.id",
    "messaging.message_id",
    "faas.coldstart",
    "faas.invocation_id",
    "faas.execution",
    "aws.request_id",
    "requestId",
    "aws.lambda.invoked_arn",
    "exception.type",
    "url.path",
    "user.id",
    "$bytes",
    "$a\"b\\c\n",
    "ключ",
    "service.name",
    "faas.name",
    "cloud.platform",
];

const TEXTS: [&str; 14] = [
    "",
    "a",
    "GET",
    "/cart/{id}",
    "aws.sqs",
    "AmazonSQS",
    "publish",
    "aws_lambda",
    "arn:aws:lambda:eu-west-1:1:function:pay:live",
    "null",
    "\"quoted\" \\ and\n\t\u{1}",
    "grün, 緑",
    "\u{1F600}",
    "3",
];

const NUMBERS: [u64; 10] =
    [0, 1, 2, 7, 99, 1_700_000_000_000_000_000, i64::MAX as u64, i64::MIN as u64, u64::MAX - 1, u64::MAX];

const DOUBLES: [f64; 10] =
    [0.0, 1.0, -1.5, 0.1, 1e300, 5e-324, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 9_007_199_254_740_993.0];

/// Choices, one after the other; 0 when there are no more.
pub(super) struct Choices<'a>(std::slice::Iter<'a, u8>);

impl<'a> Choices<'a> {
    pub(super) fn new(choices: &'a [u8]) -> Self {
        Choices(choices.iter())
    }

    fn below(&mut self, n: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0)) % n
    }

    fn flip(&mut self) -> bool {
        self.below(2) == 1
    }

    /// True once in `n`.
    fn rarely(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    fn of<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())].clone()
    }

    fn text(&mut self) -> String {
        self.of(&TEXTS).to_owned()
    }

    fn number(&mut self) -> u64 {
        self.of(&NUMBERS)
    }

    fn small(&mut self) -> u32 {
        if self.flip() { self.number() as u32 } else { 0 }
    }

    fn double(&mut self) -> f64 {
        self.of(&DOUBLES)
    }

    fn many<T>(&mut self, max: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(max + 1)).map(|_| make(self)).collect()
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.flip() { Some(make(self)) } else { None }
    }

    /// An id of `len` bytes, or now and then none, a zero one or one of a wrong length.
    fn id(&mut self, len: usize) -> Vec<u8> {
        match self.below(16) {
            12 => vec![],
            13 => vec![0; len],
            14 => vec![7; len - 1],
            15 => vec![7; len + 3],
            n => (0..len).map(|i| (n + i * 17) as u8 | 1).collect(),
        }
    }

    fn value(&mut self, depth: usize) -> AnyValue {
        let value = match self.below(if depth < 4 { 9 } else { 7 }) {
            0 | 1 => Some(Value::StringValue(self.text())),
            2 => Some(Value::IntValue(self.number() as i64)),
            3 => Some(Value::DoubleValue(self.double())),
            4 => Some(Value::BoolValue(self.flip())),
            5 => Some(Value::BytesValue(self.text().into_bytes())),
            6 => None,
            7 => Some(Value::ArrayValue(ArrayValue { values: self.many(3, |c| c.value(depth + 1)) })),
            _ => Some(Value::KvlistValue(KeyValueList { values: self.many(3, |c| c.attribute(depth + 1)) })),
        };
        AnyValue { value }
    }

    fn attribute(&mut self, depth: usize) -> KeyValue {
        let key = self.of(&KEYS).to_owned();
        let value = if self.rarely(16) { None } else { Some(self.value(depth)) };
        KeyValue { key, value, ..Default::default() }
    }

    fn attributes(&mut self, max: usize) -> Vec<KeyValue> {
        self.many(max, |c| c.attribute(0))
    }

    fn resource(&mut self) -> Resource {
        Resource {
            attributes: self.attributes(4),
            dropped_attributes_count: self.small(),
            entity_refs: self.many(2, |c| EntityRef {
                schema_url: c.text(),
                r#type: c.text(),
                id_keys: c.many(2, Self::text),
                description_keys: c.many(2, Self::text),
            }),
        }
    }

    fn scope(&mut self) -> InstrumentationScope {
        InstrumentationScope {
            name: self.text(),
            version: self.text(),
            attributes: self.attributes(2),
            dropped_attributes_count: self.small(),
        }
    }

    fn span(&mut self) -> Span {
        Span {
            trace_id: self.id(16),
            span_id: self.id(8),
            trace_state: self.text(),
            parent_span_id: self.id(8),
            flags: self.small(),
            name: self.text(),
            kind: self.number() as i32,
            start_time_unix_nano: self.number(),
            end_time_unix_nano: self.number(),
            attributes: self.attributes(8),
            dropped_attributes_count: self.small(),
            events: self.many(2, |c| Event {
                time_unix_nano: c.number(),
                name: c.text(),
                attributes: c.attributes(3),
                dropped_attributes_count: c.small(),
            }),
            dropped_events_count: self.small(),
            links: self.many(2, |c| Link {
                trace_id: c.id(16),
                span_id: c.id(8),
                trace_state: c.text(),
                attributes: c.attributes(2),
                dropped_attributes_count: c.small(),
                flags: c.small(),
            }),
            dropped_links_count: self.small(),
            status: self.maybe(|c| Status { message: c.text(), code: c.number() as i32 }),
        }
    }

    pub(super) fn traces(&mut self) -> ExportTraceServiceRequest {
        let resource_spans = self.many(3, |c| ResourceSpans {
            resource: c.maybe(Self::resource),
            schema_url: c.text(),
            scope_spans: c.many(3, |c| ScopeSpans {
                scope: c.maybe(Self::scope),
                schema_url: c.text(),
                spans: c.many(3, Self::span),
            }),
        });
        ExportTraceServiceRequest { resource_spans }
    }

    fn record(&mut self) -> LogRecord {
        LogRecord {
            time_unix_nano: self.number(),
            observed_time_unix_nano: self.number(),
            severity_number: self.number() as i32,
            severity_text: self.text(),
            body: self.maybe(|c| c.value(0)),
            attributes: self.attributes(6),
            dropped_attributes_count: self.small(),
            flags: self.small(),
            trace_id: self.id(16),
            span_id: self.id(8),
            event_name: self.text(),
        }
    }

    pub(super) fn logs(&mut self) -> ExportLogsServiceRequest {
        let resource_logs = self.many(3, |c| ResourceLogs {
            resource: c.maybe(Self::resource),
            schema_url: c.text(),
            scope_logs: c.many(3, |c| ScopeLogs {
                scope: c.maybe(Self::scope),
                schema_url: c.text(),
                log_records: c.many(3, Self::record),
            }),
        });
        ExportLogsServiceRequest { resource_logs }
    }

    fn exemplar(&mut self) -> Exemplar {
        Exemplar {
            filtered_attributes: self.attributes(2),
            time_unix_nano: self.number(),
            span_id: self.id(8),
            trace_id: self.id(16),
            value: match self.below(3) {
                0 => None,
                1 => Some(exemplar::Value::AsInt(self.number() as i64)),
                _ => Some(exemplar::Value::AsDouble(self.double())),
            },
        }
    }

    fn number_point(&mut self) -> NumberDataPoint {
        NumberDataPoint {
            attributes: self.attributes(4),
            start_time_unix_nano: self.number(),
            time_unix_nano: self.number(),
            exemplars: self.many(2, Self::exemplar),
            flags: self.small(),
            value: match self.below(3) {
                0 => Some(number_data_point::Value::AsInt(self.number() as i64)),
                1 => Some(number_data_point::Value::AsDouble(self.double())),
                _ => None,
            },
        }
    }

    fn histogram_point(&mut self) -> HistogramDataPoint {
        HistogramDataPoint {
            attributes: self.attributes(4),
            start_time_unix_nano: self.number(),
            time_unix_nano: self.number(),
            count: self.number(),
            sum: self.maybe(Self::double),
            bucket_counts: self.many(4, Self::number),
            explicit_bounds: self.many(3, Self::double),
            exemplars: self.many(2, Self::exemplar),
            flags: self.small(),
            min: self.maybe(Self::double),
            max: self.maybe(Self::double),
        }
    }

    fn buckets(&mut self) -> Buckets {
        Buckets { offset: self.number() as i32, bucket_counts: self.many(4, Self::number) }
    }

    fn exponential_point(&mut self) -> ExponentialHistogramDataPoint {
        ExponentialHistogramDataPoint {
            attributes: self.attributes(4),
            start_time_unix_nano: self.number(),
            time_unix_nano: self.number(),
            count: self.number(),
            sum: self.maybe(Self::double),
            scale: self.number() as i32,
            zero_count: self.number(),
            positive: self.maybe(Self::buckets),
            negative: self.maybe(Self::buckets),
            flags: self.small(),
            exemplars: self.many(2, Self::exemplar),
            min: self.maybe(Self::double),
            max: self.maybe(Self::double),
            zero_threshold: self.double(),
        }
    }

    fn summary_point(&mut self) -> SummaryDataPoint {
        SummaryDataPoint {
            attributes: self.attributes(4),
            start_time_unix_nano: self.number(),
            time_unix_nano: self.number(),
            count: self.number(),
            sum: self.double(),
            quantile_values: self.many(3, |c| ValueAtQuantile { quantile: c.double(), value: c.double() }),
            flags: self.small(),
        }
    }

    fn metric(&mut self) -> Metric {
        let aggregation_temporality = self.below(5) as i32;
        let data = match self.below(6) {
            0 => metric::Data::Gauge(Gauge { data_points: self.many(3, Self::number_point) }),
            1 => metric::Data::Sum(Sum {
                data_points: self.many(3, Self::number_point),
                aggregation_temporality,
                is_monotonic: self.flip(),
            }),
            2 => metric::Data::Histogram(Histogram {
                data_points: self.many(3, Self::histogram_point),
                aggregation_temporality,
            }),
            3 => metric::Data::ExponentialHistogram(ExponentialHistogram {
                data_points: self.many(3, Self::exponential_point),
                aggregation_temporality,
            }),
            4 => metric::Data::Summary(Summary { data_points: self.many(3, Self::summary_point) }),
            _ => return Metric { name: self.text(), ..Default::default() },
        };
        Metric {
            name: self.text(),
            description: self.text(),
            unit: self.text(),
            metadata: self.attributes(2),
            data: Some(data),
        }
    }

    pub(super) fn metrics(&mut self) -> ExportMetricsServiceRequest {
        let resource_metrics = self.many(3, |c| ResourceMetrics {
            resource: c.maybe(Self::resource),
            schema_url: c.text(),
            scope_metrics: c.many(3, |c| ScopeMetrics {
                scope: c.maybe(Self::scope),
                schema_url: c.text(),
                metrics: c.many(3, Self::metric),
            }),
        });
        ExportMetricsServiceRequest { resource_metrics }
    }
}
