//! What the storage tells Prometheus.

use hopline_model::Table;
use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, exponential_buckets,
};

use crate::error::Error;

/// All metrics of the storage.
pub(crate) struct Metrics {
    pub(crate) log_append_seconds: Histogram,
    pub(crate) log_sync_seconds: Histogram,
    pub(crate) log_bytes: IntCounter,
    pub(crate) log_records: IntCounter,
    pub(crate) log_failures: IntCounter,
    pub(crate) log_size_bytes: IntGauge,
    pub(crate) log_segments: IntGauge,
    pub(crate) log_torn_bytes: IntCounter,
    pub(crate) log_damaged_records: IntCounter,
    pub(crate) recent_evicted: IntCounter,
    pub(crate) hot_bytes: IntGauge,
    pub(crate) hot_rows: IntGaugeVec,
    pub(crate) flush_seconds: Histogram,
    pub(crate) flush_failures: IntCounter,
    pub(crate) flushed_rows: IntCounterVec,
    pub(crate) flushed_bytes: IntCounterVec,
    pub(crate) commit_seconds: Histogram,
    pub(crate) compaction_seconds: Histogram,
    pub(crate) compaction_failures: IntCounter,
    pub(crate) compacted_files: IntCounterVec,
    pub(crate) compacted_bytes: IntCounterVec,
    pub(crate) duplicate_rows_removed: IntCounterVec,
    pub(crate) expired_files: IntCounterVec,
    pub(crate) expired_bytes: IntCounterVec,
    pub(crate) live_files: IntGaugeVec,
    pub(crate) live_bytes: IntGaugeVec,
    pub(crate) live_rows: IntGaugeVec,
    pub(crate) damaged_files: IntCounter,
    pub(crate) disk_full: IntGauge,
    pub(crate) index_cache_bytes: IntGaugeVec,
}

/// Registers metrics one by one and remembers the first failure.
struct Register<'a> {
    registry: &'a Registry,
}

impl Register<'_> {
    fn add<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> Result<C, Error> {
        let metric = made.map_err(Error::Metrics)?;
        self.registry.register(Box::new(metric.clone())).map_err(Error::Metrics)?;
        Ok(metric)
    }

    fn seconds(&self, name: &str, help: &str, from: f64) -> Result<Histogram, Error> {
        let buckets = exponential_buckets(from, 2.0, 14).map_err(Error::Metrics)?;
        self.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets)))
    }

    fn count(&self, name: &str, help: &str) -> Result<IntCounter, Error> {
        self.add(IntCounter::new(name, help))
    }

    fn count_by_table(&self, name: &str, help: &str) -> Result<IntCounterVec, Error> {
        let counter = self.add(IntCounterVec::new(Opts::new(name, help), &["table"]))?;
        Table::ALL.iter().for_each(|t| drop(counter.with_label_values(&[t.name()])));
        Ok(counter)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, Error> {
        self.add(IntGauge::new(name, help))
    }

    fn gauge_by_table(&self, name: &str, help: &str) -> Result<IntGaugeVec, Error> {
        let gauge = self.add(IntGaugeVec::new(Opts::new(name, help), &["table"]))?;
        Table::ALL.iter().for_each(|t| drop(gauge.with_label_values(&[t.name()])));
        Ok(gauge)
    }
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Result<Self, Error> {
        let r = Register { registry };
        Ok(Self {
            log_append_seconds: r.seconds("hopline_log_append_seconds", "Time of an append to the log.", 2e-5)?,
            log_sync_seconds: r.seconds("hopline_log_sync_seconds", "Time of a sync of the log.", 1e-4)?,
            log_bytes: r.count("hopline_log_appended_bytes_total", "Bytes appended to the log.")?,
            log_records: r.count("hopline_log_appended_records_total", "Requests appended to the log.")?,
            log_failures: r.count("hopline_log_failures_total", "Appends and syncs of the log that did not work.")?,
            log_size_bytes: r.gauge("hopline_log_bytes", "Size of the log.")?,
            log_segments: r.gauge("hopline_log_segments", "Segments of the log.")?,
            log_torn_bytes: r.count("hopline_log_torn_bytes_total", "Bytes cut from the log's end at start.")?,
            log_damaged_records: r.count(
                "hopline_log_damaged_records_total",
                "Damaged places in the log, which were set aside, and gaps between its segments.",
            )?,
            recent_evicted: r
                .count("hopline_recent_evicted_total", "Requests forgotten before the retry window had passed.")?,
            hot_bytes: r.gauge("hopline_hot_bytes", "Memory of rows that are not yet in files.")?,
            hot_rows: r.gauge_by_table("hopline_hot_rows", "Rows that are not yet in files.")?,
            flush_seconds: r.seconds("hopline_flush_seconds", "Time of a flush of one generation.", 0.005)?,
            flush_failures: r.count("hopline_flush_failures_total", "Flushes that did not work and are retried.")?,
            flushed_rows: r.count_by_table("hopline_flushed_rows_total", "Rows written by flushes.")?,
            flushed_bytes: r.count_by_table("hopline_flushed_bytes_total", "Bytes of files written by flushes.")?,
            commit_seconds: r.seconds("hopline_commit_seconds", "Time of a commit to the table log.", 1e-4)?,
            compaction_seconds: r.seconds("hopline_compaction_seconds", "Time of one merge of files.", 0.01)?,
            compaction_failures: r.count("hopline_compaction_failures_total", "Merges of files that did not work.")?,
            compacted_files: r.count_by_table("hopline_compacted_files_total", "Files merged into larger ones.")?,
            compacted_bytes: r.count_by_table("hopline_compacted_bytes_total", "Bytes written by merges of files.")?,
            duplicate_rows_removed: r
                .count_by_table("hopline_duplicate_rows_removed_total", "Rows removed because the same was there.")?,
            expired_files: r.count_by_table("hopline_expired_files_total", "Files removed by retention.")?,
            expired_bytes: r.count_by_table("hopline_expired_bytes_total", "Bytes removed by retention.")?,
            live_files: r.gauge_by_table("hopline_live_files", "Data files in use.")?,
            live_bytes: r.gauge_by_table("hopline_live_bytes", "Bytes of the data files in use.")?,
            live_rows: r.gauge_by_table("hopline_live_rows", "Rows in the data files in use.")?,
            damaged_files: r.count("hopline_damaged_files_total", "Data files found damaged.")?,
            disk_full: r.gauge("hopline_disk_full", "1 while the last write found no space.")?,
            index_cache_bytes: r.add(IntGaugeVec::new(
                Opts::new(
                    "hopline_index_cache_bytes",
                    "Memory of what is kept of files to find rows quickly: footers, bloom filters, row groups, pages.",
                ),
                &["cache"],
            ))?,
        })
    }
}
