//! OTLP requests from a seed: every field, odd values, bounded size.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

const STRINGS: [&str; 14] = [
    "",
    "a",
    "http.request.method",
    "service.name",
    "$bytes",
    "$map",
    "$",
    "with \"quotes\", \\ and /",
    "\n\r\t\u{8}\u{c}\u{0}\u{1f}\u{7f}",
    "grüße, ключ, 鍵",
    "😀🏳️‍🌈",
    "{\"json\":[1,2]}",
    "\u{2028}\u{fffd}\u{feff}",
    "null",
];
const INTS: [i64; 9] = [0, 1, -1, 127, 128, i64::MAX, i64::MIN, 1 << 53, 1_700_000_000_000_000_000];
const DOUBLES: [f64; 13] = [
    0.0,
    -0.0,
    1.0,
    -1.5,
    0.1,
    1e300,
    5e-324,
    f64::MAX,
    f64::MIN_POSITIVE,
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    9_007_199_254_740_993.0,
];

/// A small random number generator (splitmix64), so that a seed is all a failure needs.
pub(crate) struct Gen(pub(crate) u64);

impl Gen {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// True one time in `n`.
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn string(&mut self) -> String {
        match self.below(8) {
            0 => "x".repeat(self.below(300)),
            1 => format!("{:x}", self.next()),
            _ => STRINGS[self.below(STRINGS.len())].to_owned(),
        }
    }

    fn bytes(&mut self) -> Vec<u8> {
        (0..self.below(20)).map(|_| self.next() as u8).collect()
    }

    fn id(&mut self, len: usize) -> Vec<u8> {
        let len = match self.below(10) {
            0 => 0,
            1 => self.below(40),
            _ => len,
        };
        (0..len).map(|_| self.next() as u8).collect()
    }

    pub(crate) fn int(&mut self) -> i64 {
        if self.one_in(3) { self.next() as i64 } else { INTS[self.below(INTS.len())] }
    }

    fn uint(&mut self) -> u64 {
        if self.one_in(8) { u64::MAX } else { self.int() as u64 }
    }

    fn small(&mut self) -> u32 {
        match self.below(4) {
            0 => 0,
            1 => u32::MAX,
            _ => self.next() as u32 >> self.below(32),
        }
    }

    pub(crate) fn double(&mut self) -> f64 {
        let any = f64::from_bits(self.next());
        if self.one_in(3) && !any.is_nan() { any } else { DOUBLES[self.below(DOUBLES.len())] }
    }

    fn optional<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.one_in(4) { None } else { Some(make(self)) }
    }

    fn list<T>(&mut self, max: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(max + 1)).map(|_| make(self)).collect()
    }

    pub(crate) fn any_value(&mut self, depth: usize) -> AnyValue {
        let value = match self.below(if depth == 0 { 9 } else { 12 }) {
            0 => None,
            1 | 2 => Some(Value::StringValue(self.string())),
            3 => Some(Value::BoolValue(self.one_in(2))),
            4 | 5 => Some(Value::IntValue(self.int())),
            6 | 7 => Some(Value::DoubleValue(self.double())),
            8 => Some(Value::BytesValue(self.bytes())),
            9 | 10 => Some(Value::ArrayValue(ArrayValue { values: self.list(3, |g| g.any_value(depth - 1)) })),
            _ => Some(Value::KvlistValue(KeyValueList { values: self.list(3, |g| g.key_value(depth - 1)) })),
        };
        AnyValue { value }
    }

    pub(crate) fn key_value(&mut self, depth: usize) -> KeyValue {
        KeyValue { key: self.string(), value: self.optional(|g| g.any_value(depth)), ..Default::default() }
    }

    pub(crate) fn attributes(&mut self) -> Vec<KeyValue> {
        self.list(4, |g| g.key_value(3))
    }

    pub(crate) fn resource(&mut self) -> Resource {
        Resource {
            attributes: self.attributes(),
            dropped_attributes_count: self.small(),
            entity_refs: self.list(2, |g| EntityRef {
                schema_url: g.string(),
                r#type: g.string(),
                id_keys: g.list(2, Gen::string),
                description_keys: g.list(2, Gen::string),
            }),
        }
    }

    pub(crate) fn scope(&mut self) -> InstrumentationScope {
        InstrumentationScope {
            name: self.string(),
            version: self.string(),
            attributes: self.attributes(),
            dropped_attributes_count: self.small(),
        }
    }

    pub(crate) fn traces(&mut self) -> ExportTraceServiceRequest {
        ExportTraceServiceRequest {
            resource_spans: self.list(3, |g| ResourceSpans {
                resource: g.optional(Gen::resource),
                scope_spans: g.list(3, |g| ScopeSpans {
                    scope: g.optional(Gen::scope),
                    spans: g.list(4, Gen::span),
                    schema_url: g.string(),
                }),
                schema_url: g.string(),
            }),
        }
    }

    fn span(&mut self) -> Span {
        Span {
            trace_id: self.id(16),
            span_id: self.id(8),
            trace_state: self.string(),
            parent_span_id: self.id(8),
            flags: self.small(),
            name: self.string(),
            kind: self.small() as i32,
            start_time_unix_nano: self.uint(),
            end_time_unix_nano: self.uint(),
            attributes: self.attributes(),
            dropped_attributes_count: self.small(),
            events: self.list(2, |g| Event {
                time_unix_nano: g.uint(),
                name: g.string(),
                attributes: g.attributes(),
                dropped_attributes_count: g.small(),
            }),
            dropped_events_count: self.small(),
            links: self.list(2, |g| Link {
                trace_id: g.id(16),
                span_id: g.id(8),
                trace_state: g.string(),
                attributes: g.attributes(),
                dropped_attributes_count: g.small(),
                flags: g.small(),
            }),
            dropped_links_count: self.small(),
            status: self.optional(|g| Status { message: g.string(), code: g.below(4) as i32 }),
        }
    }

    pub(crate) fn logs(&mut self) -> ExportLogsServiceRequest {
        ExportLogsServiceRequest {
            resource_logs: self.list(3, |g| ResourceLogs {
                resource: g.optional(Gen::resource),
                scope_logs: g.list(3, |g| ScopeLogs {
                    scope: g.optional(Gen::scope),
                    log_records: g.list(4, Gen::log_record),
                    schema_url: g.string(),
                }),
                schema_url: g.string(),
            }),
        }
    }

    fn log_record(&mut self) -> LogRecord {
        LogRecord {
            time_unix_nano: self.uint(),
            observed_time_unix_nano: self.uint(),
            severity_number: self.small() as i32,
            severity_text: self.string(),
            body: self.optional(|g| g.any_value(4)),
            attributes: self.attributes(),
            dropped_attributes_count: self.small(),
            flags: self.small(),
            trace_id: self.id(16),
            span_id: self.id(8),
            event_name: self.string(),
        }
    }

    pub(crate) fn metrics(&mut self) -> ExportMetricsServiceRequest {
        ExportMetricsServiceRequest {
            resource_metrics: self.list(3, |g| ResourceMetrics {
                resource: g.optional(Gen::resource),
                scope_metrics: g.list(3, |g| ScopeMetrics {
                    scope: g.optional(Gen::scope),
                    metrics: g.list(4, Gen::metric),
                    schema_url: g.string(),
                }),
                schema_url: g.string(),
            }),
        }
    }

    fn metric(&mut self) -> Metric {
        let aggregation_temporality = self.below(4) as i32;
        let data = match self.below(6) {
            0 => None,
            1 => Some(Data::Gauge(Gauge { data_points: self.list(3, Gen::number_point) })),
            2 => Some(Data::Sum(Sum {
                data_points: self.list(3, Gen::number_point),
                aggregation_temporality,
                is_monotonic: self.one_in(2),
            })),
            3 => Some(Data::Histogram(Histogram {
                data_points: self.list(3, Gen::histogram_point),
                aggregation_temporality,
            })),
            4 => Some(Data::ExponentialHistogram(ExponentialHistogram {
                data_points: self.list(3, Gen::exponential_point),
                aggregation_temporality,
            })),
            _ => Some(Data::Summary(Summary { data_points: self.list(3, Gen::summary_point) })),
        };
        Metric {
            name: self.string(),
            description: self.string(),
            unit: self.string(),
            metadata: self.attributes(),
            data,
        }
    }

    fn number_point(&mut self) -> NumberDataPoint {
        NumberDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.uint(),
            time_unix_nano: self.uint(),
            exemplars: self.list(2, Gen::exemplar),
            flags: self.small(),
            value: match self.below(3) {
                0 => None,
                1 => Some(number_data_point::Value::AsDouble(self.double())),
                _ => Some(number_data_point::Value::AsInt(self.int())),
            },
        }
    }

    fn histogram_point(&mut self) -> HistogramDataPoint {
        HistogramDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.uint(),
            time_unix_nano: self.uint(),
            count: self.uint(),
            sum: self.optional(Gen::double),
            bucket_counts: self.list(20, Gen::uint),
            explicit_bounds: self.list(20, Gen::double),
            exemplars: self.list(2, Gen::exemplar),
            flags: self.small(),
            min: self.optional(Gen::double),
            max: self.optional(Gen::double),
        }
    }

    fn exponential_point(&mut self) -> ExponentialHistogramDataPoint {
        ExponentialHistogramDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.uint(),
            time_unix_nano: self.uint(),
            count: self.uint(),
            sum: self.optional(Gen::double),
            scale: self.small() as i32,
            zero_count: self.uint(),
            positive: self.optional(Gen::buckets),
            negative: self.optional(Gen::buckets),
            flags: self.small(),
            exemplars: self.list(2, Gen::exemplar),
            min: self.optional(Gen::double),
            max: self.optional(Gen::double),
            zero_threshold: self.double(),
        }
    }

    fn buckets(&mut self) -> Buckets {
        Buckets { offset: self.small() as i32, bucket_counts: self.list(20, Gen::uint) }
    }

    fn summary_point(&mut self) -> SummaryDataPoint {
        SummaryDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.uint(),
            time_unix_nano: self.uint(),
            count: self.uint(),
            sum: self.double(),
            quantile_values: self.list(3, |g| ValueAtQuantile { quantile: g.double(), value: g.double() }),
            flags: self.small(),
        }
    }

    fn exemplar(&mut self) -> Exemplar {
        Exemplar {
            filtered_attributes: self.attributes(),
            time_unix_nano: self.uint(),
            span_id: self.id(8),
            trace_id: self.id(16),
            value: match self.below(3) {
                0 => None,
                1 => Some(exemplar::Value::AsDouble(self.double())),
                _ => Some(exemplar::Value::AsInt(self.int())),
            },
        }
    }
}
