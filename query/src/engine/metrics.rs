//! What is counted about queries.

use std::sync::Arc;

use datafusion::execution::runtime_env::RuntimeEnv;
use prometheus::{Counter, CounterVec, HistogramOpts, HistogramVec, IntGauge, Opts, Registry};

/// The metrics of queries.
pub(super) struct Metrics {
    queries: CounterVec,
    seconds: HistogramVec,
    rows: Counter,
    scanned_bytes: Counter,
    running: IntGauge,
    memory_bytes: IntGauge,
    spill_bytes: IntGauge,
    runtime: Arc<RuntimeEnv>,
}

impl Metrics {
    pub(super) fn new(registry: &Registry, runtime: &Arc<RuntimeEnv>) -> Result<Metrics, prometheus::Error> {
        let queries = Opts::new("hopline_queries_total", "Queries, by purpose and outcome.");
        let seconds =
            HistogramOpts::new("hopline_query_duration_seconds", "Time from asking to the end of the answer.")
                .buckets(vec![0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0]);
        let metrics = Metrics {
            queries: CounterVec::new(queries, &["purpose", "outcome"])?,
            seconds: HistogramVec::new(seconds, &["purpose"])?,
            rows: Counter::new("hopline_query_rows_total", "Rows of answers.")?,
            scanned_bytes: Counter::new("hopline_query_scanned_bytes_total", "Bytes read from Parquet files.")?,
            running: IntGauge::new("hopline_queries_running", "Queries that run now.")?,
            memory_bytes: IntGauge::new("hopline_query_memory_bytes", "Memory in use for sorting, grouping, joining.")?,
            spill_bytes: IntGauge::new("hopline_query_spill_bytes", "Disk in use for spilled rows.")?,
            runtime: Arc::clone(runtime),
        };
        registry.register(Box::new(metrics.queries.clone()))?;
        registry.register(Box::new(metrics.seconds.clone()))?;
        registry.register(Box::new(metrics.rows.clone()))?;
        registry.register(Box::new(metrics.scanned_bytes.clone()))?;
        registry.register(Box::new(metrics.running.clone()))?;
        registry.register(Box::new(metrics.memory_bytes.clone()))?;
        registry.register(Box::new(metrics.spill_bytes.clone()))?;
        Ok(metrics)
    }

    pub(super) fn count(&self, purpose: &str, outcome: &str, seconds: f64) {
        self.queries.with_label_values(&[purpose, outcome]).inc();
        self.seconds.with_label_values(&[purpose]).observe(seconds);
    }

    pub(super) fn began(&self) {
        self.running.inc();
    }

    pub(super) fn ended(&self) {
        self.running.dec();
        self.look_at_memory();
    }

    pub(super) fn answered(&self, rows: usize) {
        self.rows.inc_by(rows as f64);
        self.look_at_memory();
    }

    pub(super) fn scanned(&self, bytes: usize) {
        self.scanned_bytes.inc_by(bytes as f64);
    }

    fn look_at_memory(&self) {
        let as_gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.memory_bytes.set(as_gauge(self.runtime.memory_pool.reserved() as u64));
        self.spill_bytes.set(as_gauge(self.runtime.disk_manager.used_disk_space()));
    }
}
