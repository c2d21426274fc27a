//! Settings under `[query]`.

use hopline_stitch::cost::PriceTable;
use serde::{Deserialize, Serialize};

/// More threads than that cannot help, and each takes a stack of its own.
const THREADS_MAX: usize = 1_024;

/// Settings under `[query]`. Every field has a default that works on a laptop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Threads that run queries, and parts into which a query is split, up to 1024. 0: as many as there are cores.
    pub threads: usize,
    /// Memory that all queries together may use for sorting, grouping and joining. Beyond it they spill to disk.
    pub memory_bytes: usize,
    /// Disk that they may use for that, in the folder `tmp` of the data.
    pub spill_bytes: u64,
    /// Memory for the footers of Parquet files.
    pub footer_cache_bytes: usize,
    /// Queries that may run at once; more wait for `queue_ms` and are then told to come again.
    pub concurrent_max: usize,
    /// How long a query waits for its turn.
    pub queue_ms: u64,
    /// How long a query may take that does not say how long.
    pub timeout_ms: u64,
    /// How long a query may take at most.
    pub timeout_max_ms: u64,
    /// Rows of an answer; a larger one is cut, and says so.
    pub rows_max: u64,
    /// Bytes of an answer's rows, as they are in memory; a larger one is cut, and says so.
    pub answer_bytes_max: u64,
    /// File with the prices by which costs are worked out (`docs/functions.md`). Empty: the built-in ones.
    pub prices: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            threads: 0,
            memory_bytes: 256 << 20,
            spill_bytes: 8 << 30,
            footer_cache_bytes: 32 << 20,
            concurrent_max: 16,
            queue_ms: 2_000,
            timeout_ms: 30_000,
            timeout_max_ms: 600_000,
            rows_max: 1_000_000,
            answer_bytes_max: 1 << 30,
            prices: String::new(),
        }
    }
}

impl Config {
    /// Checks what types cannot.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let at_least = |key, value: u64, min: u64| {
            let reason = format!("must be at least {min}");
            if value < min { Err(ConfigError { key, value: value.to_string(), reason }) } else { Ok(()) }
        };
        if self.threads > THREADS_MAX {
            let reason = format!("must be at most {THREADS_MAX}; 0 is as many as there are cores");
            return Err(ConfigError { key: "query.threads", value: self.threads.to_string(), reason });
        }
        at_least("query.memory_bytes", self.memory_bytes as u64, 16 << 20)?;
        at_least("query.concurrent_max", self.concurrent_max as u64, 1)?;
        at_least("query.timeout_ms", self.timeout_ms, 1)?;
        at_least("query.timeout_max_ms", self.timeout_max_ms, self.timeout_ms)?;
        at_least("query.rows_max", self.rows_max, 1)?;
        at_least("query.answer_bytes_max", self.answer_bytes_max, 1 << 20)?;
        self.price_table().map(drop)
    }

    /// The prices by which costs are worked out: from the file, if there is one.
    pub(crate) fn price_table(&self) -> Result<PriceTable, ConfigError> {
        if self.prices.is_empty() {
            return Ok(PriceTable::builtin());
        }
        let refuse = |reason: String| ConfigError { key: "query.prices", value: self.prices.clone(), reason };
        let text = std::fs::read_to_string(&self.prices).map_err(|e| refuse(format!("cannot be read: {e}")))?;
        PriceTable::parse(&text).map_err(|e| refuse(e.to_string()))
    }

    /// Threads that run queries.
    pub(crate) fn threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(2, usize::from),
            threads => threads,
        }
    }
}

/// A setting that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} = {value}: {reason}")]
pub struct ConfigError {
    /// The setting.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// What is wrong with it.
    pub reason: String,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn prices_come_from_a_file_that_is_checked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("prices.json");
        let config = || Config { prices: path.display().to_string(), ..Config::default() };
        let error = config().validate().unwrap_err();
        assert!(error.key == "query.prices" && error.reason.contains("cannot be read"), "{error}");
        std::fs::write(&path, "{").unwrap();
        assert!(config().validate().unwrap_err().reason.contains("the price table is not valid"));
        std::fs::write(&path, include_str!("../../../stitch/src/cost/prices.json")).unwrap();
        assert_eq!(config().price_table().unwrap(), PriceTable::builtin());
    }

    #[test]
    fn threads_have_an_upper_bound() {
        let config = |threads| Config { threads, ..Config::default() };
        assert_eq!(config(1_024).validate(), Ok(()));
        let error = config(1_025).validate().unwrap_err().to_string();
        assert_eq!(error, "query.threads = 1025: must be at most 1024; 0 is as many as there are cores");
    }
}
