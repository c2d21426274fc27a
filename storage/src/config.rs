//! Settings under `[storage]`.

use hopline_model::Table;
use serde::{Deserialize, Serialize};

use crate::clock::{DAY, SECOND};
use crate::error::ConfigError;

const MIB: usize = 1 << 20;

/// Settings under `[storage]`. Every field has a default that works on a laptop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// A log segment is closed when it has grown to this size.
    pub segment_bytes: usize,
    /// Rows in memory are written as Parquet when they take this much.
    pub flush_bytes: usize,
    /// … or are this many.
    pub flush_rows: usize,
    /// … or when the oldest has waited this long and there are at least `flush_small_bytes`.
    pub flush_age_s: u64,
    /// Fewer bytes than this wait for `flush_small_age_s`, so that little traffic makes few files.
    pub flush_small_bytes: usize,
    /// … or when the oldest has waited this long, however little there is.
    pub flush_small_age_s: u64,
    /// Rows in memory, being written ones included, may take this much. Beyond it,
    /// clients are told to retry.
    pub hot_bytes_max: usize,
    /// How long a retried request is recognised.
    pub retry_window_s: u64,
    /// How many requests are remembered for that at most.
    pub retry_entries_max: usize,
    /// Compression level of Parquet pages, 1 to 22.
    pub zstd_level: i32,
    /// Rows of a Parquet row group.
    pub row_group_rows: usize,
    /// Manifests are folded into a checkpoint when there are this many.
    pub checkpoint_manifests: u32,
    /// Whether small files are merged in the background.
    pub compact: bool,
    /// Files are not merged beyond this size.
    pub compact_bytes_max: u64,
    /// Files are not merged beyond this many rows.
    pub compact_rows_max: u64,
    /// How many files of a time window must have gathered before they are merged.
    pub compact_files_min: usize,
    /// How many files are merged at once at most.
    pub compact_files_max: usize,
    /// Days for which spans, and what is derived from them, are kept; 0 is for ever.
    pub retention_spans_days: u32,
    /// Days for which log records are kept; 0 is for ever.
    pub retention_logs_days: u32,
    /// Days for which metrics are kept; 0 is for ever.
    pub retention_metrics_days: u32,
    /// Bytes that all data files together may take; the oldest go first. 0 is no limit.
    pub retention_bytes_max: u64,
    /// Files that no manifest lists (left by a crash) are deleted when they are this old.
    pub orphan_age_s: u64,
    /// Memory for Parquet footers, and again for bloom filters, and twice as much for what is remembered of row groups.
    pub index_cache_bytes: usize,
    /// Memory for decompressed pages that look-ups by id read.
    pub page_cache_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            segment_bytes: 32 * MIB,
            flush_bytes: 64 * MIB,
            flush_rows: 500_000,
            flush_age_s: 60,
            flush_small_bytes: 4 * MIB,
            flush_small_age_s: 300,
            hot_bytes_max: 192 * MIB,
            retry_window_s: 600,
            retry_entries_max: 1_000_000,
            zstd_level: 1,
            row_group_rows: 65_536,
            checkpoint_manifests: 100,
            compact: true,
            compact_bytes_max: 512 * MIB as u64,
            compact_rows_max: 5_000_000,
            compact_files_min: 4,
            compact_files_max: 8,
            retention_spans_days: 30,
            retention_logs_days: 30,
            retention_metrics_days: 30,
            retention_bytes_max: 0,
            orphan_age_s: 600,
            index_cache_bytes: 32 * MIB,
            page_cache_bytes: 64 * MIB,
        }
    }
}

impl Config {
    /// Checks what the types cannot; gives the first thing that is wrong.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.problems().into_iter().next().map_or(Ok(()), Err)
    }

    /// Everything that is wrong and that the types cannot tell.
    pub fn problems(&self) -> Vec<ConfigError> {
        let mut found = Vec::new();
        let at_least: [(&'static str, u128, u128); 11] = [
            ("storage.segment_bytes", self.segment_bytes as u128, 4096),
            ("storage.flush_bytes", self.flush_bytes as u128, 1),
            ("storage.flush_rows", self.flush_rows as u128, 1),
            ("storage.flush_small_age_s", self.flush_small_age_s.into(), self.flush_age_s.into()),
            ("storage.hot_bytes_max", self.hot_bytes_max as u128, self.flush_bytes as u128),
            ("storage.retry_entries_max", self.retry_entries_max as u128, 16),
            ("storage.row_group_rows", self.row_group_rows as u128, 1024),
            ("storage.checkpoint_manifests", self.checkpoint_manifests.into(), 2),
            ("storage.compact_rows_max", self.compact_rows_max.into(), 1),
            ("storage.compact_files_min", self.compact_files_min as u128, 2),
            ("storage.compact_files_max", self.compact_files_max as u128, self.compact_files_min as u128),
        ];
        for (key, value, least) in at_least {
            if value < least {
                found.push(refuse(key, value, format!("must be at least {least}")));
            }
        }
        if !(1..=22).contains(&self.zstd_level) {
            found.push(refuse("storage.zstd_level", self.zstd_level, "must be from 1 to 22"));
        }
        if self.compact_files_max > 64 {
            found.push(refuse("storage.compact_files_max", self.compact_files_max, "must be at most 64"));
        }
        if self.row_group_rows > 1 << 20 {
            found.push(refuse("storage.row_group_rows", self.row_group_rows, "must be at most 1048576"));
        }
        found
    }

    /// How long rows of `table` are kept, in nanoseconds; nothing if for ever.
    pub(crate) fn retention_ns(&self, table: Table) -> Option<i64> {
        let days = match table {
            // What is derived from spans goes with them.
            Table::Spans | Table::HopKeys | Table::Invocations | Table::FunctionMinutes => self.retention_spans_days,
            Table::Logs => self.retention_logs_days,
            Table::Metrics => self.retention_metrics_days,
        };
        (days > 0).then(|| i64::from(days).saturating_mul(DAY))
    }
}

/// Seconds as nanoseconds, at most about 292 years.
pub(crate) fn seconds(s: u64) -> i64 {
    i64::try_from(s).unwrap_or(i64::MAX).saturating_mul(SECOND)
}

fn refuse(key: &'static str, value: impl ToString, reason: impl ToString) -> ConfigError {
    ConfigError { key, value: value.to_string(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
    }

    #[test]
    fn says_which_setting_is_wrong() {
        let config = Config { hot_bytes_max: 5, ..Config::default() };
        let error = config.validate().err().map(|e| e.to_string());
        assert_eq!(error.as_deref(), Some("storage.hot_bytes_max = 5: must be at least 67108864"));
    }

    #[test]
    fn all_that_is_wrong_is_found() {
        let config = Config { segment_bytes: 1, zstd_level: 23, compact_files_min: 1, ..Config::default() };
        let keys: Vec<_> = config.problems().iter().map(|p| p.key).collect();
        assert_eq!(keys, ["storage.segment_bytes", "storage.compact_files_min", "storage.zstd_level"]);
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(serde_json::from_str::<Config>(r#"{"flush_byte": 3}"#).is_err());
        assert_eq!(serde_json::from_str::<Config>("{}").ok(), Some(Config::default()));
    }
}
