//! Runs queries: each in a session over one snapshot, within limits, on threads of its own.
//!
//! - [`Engine`] holds what queries share: threads, memory budget, spill folder, functions.
//! - [`Session`] is one snapshot as one tenant sees it; all its queries see the same rows.
//! - [`Answer`] is a query that has begun: columns, then batches as they come.
//!
//! Queries run on threads apart from those that receive telemetry. A query ends when
//! its [`Answer`] is dropped, at its deadline, or when its answer has grown to its limit.

mod answer;
mod config;
mod guard;
mod metrics;
mod run;
mod state;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use datafusion::execution::SessionState;
use hopline_model::Table;
use hopline_stitch::cost::PriceTable;
use hopline_storage::{Snapshot, Storage};
use prometheus::Registry;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

pub use answer::{Answer, AnswerStream};
pub use config::{Config, ConfigError};

use crate::api::rollups::{KeptPieces, LiveCounts};
use crate::error::Error;
use crate::sql::params::Params;
use crate::table::KeyTypes;
use metrics::Metrics;

/// Stack of a query thread. Planning calls itself once for each level of a statement,
/// whose depth `sql::statement` bounds; memory is taken only as far as it is used.
pub(crate) const STACK_BYTES: usize = 64 << 20;

/// What all queries share. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    storage: Storage,
    metrics: Metrics,
    /// Functions, rules, settings, memory budget: without tables.
    state: SessionState,
    running: Arc<Semaphore>,
    prices: PriceTable,
    live_counts: LiveCounts,
    kept_pieces: KeptPieces,
    /// How often something was rolled up.
    rolled_up: AtomicU64,
    /// `None` only while being dropped.
    threads: Option<Runtime>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The last engine may be dropped on a thread that must not wait.
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

/// How far one query may go.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// When it must have ended, answer included.
    pub timeout: Duration,
    /// Rows of its answer.
    pub rows_max: u64,
    /// Bytes of its answer's batches in memory.
    pub bytes_max: u64,
    /// What asks: a word for the metrics (`sql`, `trace`, `search`, …).
    pub purpose: &'static str,
}

impl Default for Limits {
    fn default() -> Self {
        Limits::of(&Config::default(), "api")
    }
}

impl Limits {
    fn of(config: &Config, purpose: &'static str) -> Limits {
        Limits {
            timeout: Duration::from_millis(config.timeout_ms),
            rows_max: config.rows_max,
            bytes_max: config.answer_bytes_max,
            purpose,
        }
    }
}

impl Engine {
    /// An engine over `storage`; its metrics are put into `registry`.
    pub fn new(storage: Storage, config: Config, registry: &Registry) -> Result<Engine, Error> {
        config.validate()?;
        let state = state::shared(&storage, &config)?;
        let prices = config.price_table()?;
        let metrics = Metrics::new(registry, state.runtime_env()).map_err(Error::Metrics)?;
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(config.threads())
            .thread_name("query")
            .thread_stack_size(STACK_BYTES)
            .enable_time()
            .build()
            .map_err(Error::Start)?;
        let running = Arc::new(Semaphore::new(config.concurrent_max));
        let inner = Inner {
            config,
            storage,
            metrics,
            state,
            running,
            prices,
            live_counts: LiveCounts::default(),
            kept_pieces: KeptPieces::default(),
            rolled_up: AtomicU64::new(0),
            threads: Some(threads),
        };
        Ok(Engine { inner: Arc::new(inner) })
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The prices by which costs are worked out.
    pub fn prices(&self) -> &PriceTable {
        &self.inner.prices
    }

    /// What was counted of hours that no roll-up counts.
    pub(crate) fn live_counts(&self) -> &LiveCounts {
        &self.inner.live_counts
    }

    /// Days and hours of all functions, added up.
    pub(crate) fn kept_pieces(&self) -> &KeptPieces {
        &self.inner.kept_pieces
    }

    /// How often something was rolled up. A snapshot that is taken afterwards has all of it.
    pub(crate) fn rolled_up(&self) -> u64 {
        self.inner.rolled_up.load(Ordering::Acquire)
    }

    /// Notes that something was rolled up, and is in the storage.
    pub(crate) fn note_rolled_up(&self) {
        self.inner.rolled_up.fetch_add(1, Ordering::AcqRel);
    }

    /// The storage that is asked.
    pub fn storage(&self) -> &Storage {
        &self.inner.storage
    }

    /// The limits of a query that sets none, asked by `purpose`.
    pub fn limits(&self, purpose: &'static str) -> Limits {
        Limits::of(&self.inner.config, purpose)
    }

    /// The rows of `tenant` as they are now.
    pub fn session(&self, tenant: &str, limits: Limits) -> Session {
        let snapshot = Arc::new(self.inner.storage.snapshot());
        let keys = Arc::new(KeyTypes::new(Arc::clone(&snapshot)));
        Session { engine: self.clone(), tenant: tenant.into(), limits, snapshot, keys }
    }

    /// Runs work on the query threads, in its turn and within its time, and counts it as a query. The work must not
    /// wait for a query of its own: there may be no turn left for it.
    pub(crate) async fn task<T: Send + 'static>(
        &self,
        limits: &Limits,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        run::task(self, limits, work).await
    }

    /// Counts a query that was answered without DataFusion.
    pub fn count(&self, purpose: &'static str, outcome: &'static str, seconds: f64) {
        self.inner.metrics.count(purpose, outcome, seconds);
    }
}

/// The rows of one tenant at one instant. Cheap to clone.
#[derive(Clone)]
pub struct Session {
    engine: Engine,
    tenant: Arc<str>,
    limits: Limits,
    snapshot: Arc<Snapshot>,
    keys: Arc<KeyTypes>,
}

impl Session {
    /// Begins a query: it is planned, and waits to be read. Dropping the answer ends it.
    pub async fn sql(&self, query: &str, params: impl Into<Params>) -> Result<Answer, Error> {
        run::begin(self, query, params.into()).await
    }

    /// Runs a query to its end. An answer that is larger than the limits is an error.
    pub async fn collect(&self, query: &str, params: impl Into<Params>) -> Result<Vec<RecordBatch>, Error> {
        let (batches, incomplete) = self.sql(query, params).await?.collect().await?;
        match incomplete {
            None => Ok(batches),
            Some(reason) => Err(Error::AnswerTooLarge(reason)),
        }
    }

    /// The snapshot that all queries of this session see.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The tenant whose rows they see.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// How far each of them may go.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// DataFusion's state with this session's tables.
    fn state(&self) -> Result<SessionState, Error> {
        let tables = Table::ALL.map(|table| crate::table::SnapshotTable {
            table,
            tenant: Arc::clone(&self.tenant),
            storage: self.engine.inner.storage.clone(),
            snapshot: Arc::clone(&self.snapshot),
        });
        state::with_tables(&self.engine.inner.state, tables, Arc::clone(&self.keys))
    }
}

#[cfg(test)]
pub(crate) mod tests;
