//! What the collector tells about itself on `/metrics`.

use hopline_model::Signal;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::error::{ExportError, Kind};
use super::inflate::Coding;

/// The protocol of a request, for metrics and for the shape of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Grpc,
    HttpProtobuf,
    HttpJson,
}

impl Protocol {
    const ALL: [Protocol; 3] = [Protocol::Grpc, Protocol::HttpProtobuf, Protocol::HttpJson];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Protocol::Grpc => "grpc",
            Protocol::HttpProtobuf => "http/protobuf",
            Protocol::HttpJson => "http/json",
        }
    }
}

const CODINGS: [Coding; 4] = [Coding::Identity, Coding::Gzip, Coding::Zstd, Coding::Deflate];

/// The collector's metrics. Labels on the path of each request are looked up once, here.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) requests: IntCounterVec,
    pub(crate) answered: [[IntCounter; 4]; 3],
    pub(crate) refused_requests: IntCounterVec,
    pub(crate) request_bytes: [IntCounter; 3],
    pub(crate) plain_bytes: [IntCounter; 3],
    pub(crate) accepted: [IntCounter; 3],
    pub(crate) refused: [IntCounter; 3],
    pub(crate) repaired: [IntCounter; 3],
    pub(crate) stored: [IntCounter; 3],
    pub(crate) duplicates: [IntCounter; 3],
    pub(crate) in_flight: IntGauge,
    pub(crate) pending_bytes: IntGauge,
    pub(crate) connections: IntGauge,
    pub(crate) connections_refused: IntCounter,
    pub(crate) ack_seconds: Histogram,
    pub(crate) group_requests: Histogram,
    pub(crate) commit_errors: IntCounterVec,
    pub(crate) hop_keys_dropped: IntCounter,
    pub(crate) hop_keys_refused: IntCounter,
    pub(crate) derive_failures: IntCounter,
    pub(crate) replayed_requests: IntCounter,
    pub(crate) replay_skipped: IntCounter,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let requests = vec(
            registry,
            "requests_total",
            "Export requests answered, by protocol, content encoding and outcome.",
            &["protocol", "encoding", "outcome"],
        )?;
        let refused_requests =
            vec(registry, "requests_refused_total", "Export requests refused as a whole.", &["protocol", "reason"])?;
        let by_signal = |name, help| -> Result<[IntCounter; 3], prometheus::Error> {
            let vec = vec(registry, name, help, &["signal"])?;
            Ok(Signal::ALL.map(|signal| vec.with_label_values(&[signal.name()])))
        };
        let refused_items = vec(
            registry,
            "items_refused_total",
            "Spans, log records and data points refused in accepted requests.",
            &["signal", "reason"],
        )?;
        let answered = Protocol::ALL
            .map(|protocol| CODINGS.map(|coding| requests.with_label_values(&[protocol.name(), coding.name(), "ok"])));
        Ok(Metrics {
            requests,
            answered,
            refused_requests,
            request_bytes: by_signal("request_bytes_total", "Bytes of export requests as sent.")?,
            plain_bytes: by_signal("plain_bytes_total", "Bytes of export requests after decompression.")?,
            accepted: by_signal("items_accepted_total", "Spans, log records and data points acknowledged.")?,
            refused: Signal::ALL.map(|signal| refused_items.with_label_values(&[signal.name(), "invalid"])),
            repaired: by_signal("values_repaired_total", "Strings and ids stored in a repaired form.")?,
            stored: by_signal("items_stored_total", "Rows handed to the hot tier, replayed ones included.")?,
            duplicates: by_signal("requests_duplicate_total", "Retried requests acknowledged and not stored again.")?,
            in_flight: gauge(registry, "in_flight_requests", "Export requests being processed.")?,
            pending_bytes: gauge(registry, "pending_bytes", "Bytes of requests held in memory.")?,
            connections: gauge(registry, "connections", "Open connections of OTLP clients.")?,
            connections_refused: counter(
                registry,
                "connections_refused_total",
                "Connections closed for being too many.",
            )?,
            ack_seconds: histogram(
                registry,
                "ack_seconds",
                "Time from the hand-over of a request to its durable acknowledgement.",
                vec![0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 2.0, 5.0],
            )?,
            group_requests: histogram(
                registry,
                "group_requests",
                "Requests that shared one append and sync of the log.",
                vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0],
            )?,
            commit_errors: vec(registry, "commit_errors_total", "Groups that could not be committed.", &["step"])?,
            hop_keys_dropped: counter(
                registry,
                "hop_keys_dropped_total",
                "Hop keys left out because a span had more than a span may have.",
            )?,
            hop_keys_refused: counter(
                registry,
                "hop_keys_refused_total",
                "Texts sent as hop keys or span pointers that are none.",
            )?,
            derive_failures: counter(
                registry,
                "derive_failures_total",
                "Batches from which hop keys and facts of invocations could not be derived.",
            )?,
            replayed_requests: counter(
                registry,
                "requests_replayed_total",
                "Requests read back from the log at start.",
            )?,
            replay_skipped: counter(
                registry,
                "replay_skipped_records_total",
                "Records of the log that could not be read or decoded at start.",
            )?,
        })
    }
}

/// The slot of a signal in the arrays above.
pub(crate) fn of<T>(counters: &[T; 3], signal: Signal) -> &T {
    let [traces, logs, metrics] = counters;
    match signal {
        Signal::Traces => traces,
        Signal::Logs => logs,
        Signal::Metrics => metrics,
    }
}

impl Metrics {
    /// Counts a request that was answered with success.
    pub(crate) fn count_answered(&self, protocol: Protocol, coding: Coding) {
        let by_coding = self.answered.get(protocol as usize);
        if let Some(counter) = by_coding.and_then(|by_coding| by_coding.get(coding as usize)) {
            counter.inc();
        }
    }

    /// Counts a request that was refused as a whole. What nobody can mend but us is logged.
    pub(crate) fn count_refused(&self, protocol: Protocol, coding: &str, error: &ExportError) {
        self.requests.with_label_values(&[protocol.name(), coding, "refused"]).inc();
        self.refused_requests.with_label_values(&[protocol.name(), error.reason()]).inc();
        if error.kind() == Kind::Internal {
            tracing::error!(protocol = protocol.name(), "an export was answered with an internal error");
        }
    }
}

const PREFIX: &str = "hopline_collector_";

fn vec(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
    let vec = IntCounterVec::new(Opts::new(format!("{PREFIX}{name}"), help), labels)?;
    registry.register(Box::new(vec.clone()))?;
    Ok(vec)
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    let counter = IntCounter::new(format!("{PREFIX}{name}"), help)?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    let gauge = IntGauge::new(format!("{PREFIX}{name}"), help)?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

fn histogram(registry: &Registry, name: &str, help: &str, buckets: Vec<f64>) -> Result<Histogram, prometheus::Error> {
    let histogram = Histogram::with_opts(HistogramOpts::new(format!("{PREFIX}{name}"), help).buckets(buckets))?;
    registry.register(Box::new(histogram.clone()))?;
    Ok(histogram)
}
