//! An environment's metrics: counted and put into buckets by the SDK, as deltas.
//!
//! The SDK stamps metrics with its own clock. In a live play that is the right one, and
//! the stock exporter sends them. When the past is filled in, the times must be those of
//! the play: then what the SDK aggregated is written as OTLP here, with these times.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hopline_proto::wire::{Open, begin, end, put_bytes, put_double, put_fixed64, put_varint_field};
use opentelemetry::metrics::{Counter, Histogram, MeterProvider as _};
use opentelemetry::{InstrumentationScope, KeyValue, Value as SdkValue};
use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::{
    AggregatedMetrics, Histogram as HistogramData, Metric, MetricData, ResourceMetrics, Sum,
};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use tokio::runtime::Handle;

use super::export::persistently;
use super::station::sdk_resource;
use super::words::{Attributes, Measure, Nanos};

/// Seconds, as the conventions of functions have them.
const SECONDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Bytes from 32 MiB to 4 GiB.
const MEMORY: [f64; 8] = [
    33_554_432.0,
    67_108_864.0,
    134_217_728.0,
    268_435_456.0,
    536_870_912.0,
    1_073_741_824.0,
    2_147_483_648.0,
    4_294_967_296.0,
];

/// The instruments of one environment.
#[derive(Debug)]
pub(crate) struct Meters {
    provider: SdkMeterProvider,
    outlet: Outlet,
    invocations: Counter<u64>,
    errors: Counter<u64>,
    cold_starts: Counter<u64>,
    duration: Histogram<f64>,
    init: Histogram<f64>,
    memory: Histogram<u64>,
    // Held while one flush is recorded and collected: deltas of two must not mix.
    turn: Mutex<()>,
}

impl Meters {
    /// Instruments whose metrics go out by `live`, or are given back when there is none.
    pub(crate) fn new(resource: &Attributes, live: Option<(Arc<MetricExporter>, Handle)>) -> Meters {
        let outlet = Outlet { live, written: Arc::default(), period: Arc::default() };
        // Nobody waits for the interval: each flush is asked for.
        let reader = PeriodicReader::builder(outlet.clone()).with_interval(Duration::from_secs(86_400)).build();
        let provider = SdkMeterProvider::builder().with_resource(sdk_resource(resource)).with_reader(reader).build();
        let scope = InstrumentationScope::builder("shop.faas").with_version("1.0.0").build();
        let meter = provider.meter_with_scope(scope);
        let counter = |name, unit, text| meter.u64_counter(name).with_unit(unit).with_description(text).build();
        let seconds = |name, text| {
            meter.f64_histogram(name).with_unit("s").with_description(text).with_boundaries(SECONDS.to_vec()).build()
        };
        Meters {
            invocations: counter("faas.invocations", "{invocation}", "Number of successful invocations"),
            errors: counter("faas.errors", "{error}", "Number of invocation errors"),
            cold_starts: counter("faas.coldstarts", "{coldstart}", "Number of invocation cold starts"),
            duration: seconds("faas.invoke_duration", "Time the function's logic took"),
            init: seconds("faas.init_duration", "Time the function's initialisation took"),
            memory: meter.u64_histogram("faas.mem_usage").with_unit("By").with_boundaries(MEMORY.to_vec()).build(),
            provider,
            outlet,
            turn: Mutex::default(),
        }
    }

    /// Records and sends; blocks until that is done. Gives the request when the caller has to send it.
    pub(crate) fn flush(&self, measures: &[Measure], from: Nanos, to: Nanos) -> Result<Bytes, String> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        for measure in measures {
            let trigger = [KeyValue::new("faas.trigger", measure.trigger)];
            if measure.error {
                self.errors.add(1, &trigger);
            } else {
                self.invocations.add(1, &trigger);
            }
            if let Some(init) = measure.cold_init_s {
                self.cold_starts.add(1, &trigger);
                self.init.record(init, &trigger);
            }
            self.duration.record(measure.duration_s, &trigger);
            self.memory.record(measure.memory_bytes, &trigger);
        }
        *self.outlet.period.lock().unwrap_or_else(PoisonError::into_inner) = (from, to);
        self.provider.force_flush().map_err(|e| e.to_string())?;
        let mut written = self.outlet.written.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Bytes::from(std::mem::take(&mut *written)))
    }
}

/// Where the reader's collections go.
#[derive(Debug, Clone)]
struct Outlet {
    live: Option<(Arc<MetricExporter>, Handle)>,
    written: Arc<Mutex<Vec<u8>>>,
    period: Arc<Mutex<(Nanos, Nanos)>>,
}

impl PushMetricExporter for Outlet {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        match &self.live {
            // The reader has a thread of its own, where waiting is no harm.
            Some((exporter, runtime)) => runtime.block_on(persistently(|| exporter.export(metrics))),
            None => {
                let period = *self.period.lock().unwrap_or_else(PoisonError::into_inner);
                let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
                written.clear();
                write_request(&mut written, metrics, period);
                Ok(())
            }
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Delta
    }
}

/// Writes an `ExportMetricsServiceRequest` whose points are all of `period`.
fn write_request(out: &mut Vec<u8>, metrics: &ResourceMetrics, period: (Nanos, Nanos)) {
    let of_resource = open(out, 1);
    let resource = open(out, 1);
    for (key, value) in metrics.resource().iter() {
        write_attribute(out, 1, key.as_str(), value);
    }
    end(out, resource);
    for scope_metrics in metrics.scope_metrics() {
        let of_scope = open(out, 2);
        let scope = open(out, 1);
        put_bytes(out, 1, scope_metrics.scope().name().as_bytes());
        put_bytes(out, 2, scope_metrics.scope().version().unwrap_or_default().as_bytes());
        end(out, scope);
        for metric in scope_metrics.metrics() {
            write_metric(out, metric, period);
        }
        end(out, of_scope);
    }
    end(out, of_resource);
}

fn write_metric(out: &mut Vec<u8>, metric: &Metric, period: (Nanos, Nanos)) {
    let opened = open(out, 2);
    put_bytes(out, 1, metric.name().as_bytes());
    put_bytes(out, 2, metric.description().as_bytes());
    put_bytes(out, 3, metric.unit().as_bytes());
    match metric.data() {
        AggregatedMetrics::U64(MetricData::Sum(sum)) => write_sum(out, sum, period),
        AggregatedMetrics::U64(MetricData::Histogram(data)) => write_histogram(out, data, period, |v| v as f64),
        AggregatedMetrics::F64(MetricData::Histogram(data)) => write_histogram(out, data, period, |v| v),
        // There are no other instruments above.
        _ => {}
    }
    end(out, opened);
}

fn write_sum(out: &mut Vec<u8>, sum: &Sum<u64>, (from, to): (Nanos, Nanos)) {
    let opened = open(out, 7);
    for point in sum.data_points() {
        let number = open(out, 1);
        put_fixed64(out, 2, from as u64);
        put_fixed64(out, 3, to as u64);
        put_fixed64(out, 6, point.value());
        for attribute in point.attributes() {
            write_attribute(out, 7, attribute.key.as_str(), &attribute.value);
        }
        end(out, number);
    }
    put_varint_field(out, 2, temporality(sum.temporality()));
    put_varint_field(out, 3, u64::from(sum.is_monotonic()));
    end(out, opened);
}

fn write_histogram<T: Copy>(
    out: &mut Vec<u8>,
    data: &HistogramData<T>,
    (from, to): (Nanos, Nanos),
    number: fn(T) -> f64,
) {
    let opened = open(out, 9);
    for point in data.data_points() {
        let of_point = open(out, 1);
        put_fixed64(out, 2, from as u64);
        put_fixed64(out, 3, to as u64);
        put_fixed64(out, 4, point.count());
        put_double(out, 5, number(point.sum()));
        let counts: Vec<u8> = point.bucket_counts().flat_map(u64::to_le_bytes).collect();
        put_bytes(out, 6, &counts);
        let bounds: Vec<u8> = point.bounds().flat_map(f64::to_le_bytes).collect();
        put_bytes(out, 7, &bounds);
        for attribute in point.attributes() {
            write_attribute(out, 9, attribute.key.as_str(), &attribute.value);
        }
        for (field, value) in [(11, point.min()), (12, point.max())] {
            if let Some(value) = value {
                put_double(out, field, number(value));
            }
        }
        end(out, of_point);
    }
    put_varint_field(out, 2, temporality(data.temporality()));
    end(out, opened);
}

fn temporality(temporality: Temporality) -> u64 {
    match temporality {
        Temporality::Cumulative => 2,
        _ => 1,
    }
}

fn write_attribute(out: &mut Vec<u8>, field: u32, key: &str, value: &SdkValue) {
    let opened = open(out, field);
    put_bytes(out, 1, key.as_bytes());
    let any = open(out, 2);
    match value {
        SdkValue::Bool(truth) => put_varint_field(out, 2, u64::from(*truth)),
        SdkValue::I64(number) => put_varint_field(out, 3, *number as u64),
        SdkValue::F64(number) => put_double(out, 4, *number),
        SdkValue::Array(opentelemetry::Array::String(texts)) => {
            let array = open(out, 5);
            for text in texts {
                let item = open(out, 1);
                put_bytes(out, 1, text.as_str().as_bytes());
                end(out, item);
            }
            end(out, array);
        }
        other => put_bytes(out, 1, other.as_str().as_bytes()),
    }
    end(out, any);
    end(out, opened);
}

fn open(out: &mut Vec<u8>, field: u32) -> Open {
    begin(out, field, 2)
}
