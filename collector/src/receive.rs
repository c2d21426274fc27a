//! Receives OTLP over gRPC and HTTP, and answers when it is durable and visible.
//!
//! The way of a request: `serve` (connections) → `grpc` or `http` (framing) → `door` and
//! `admit` (may it come in) → `export` (decompress, check) → `commit` (log, rows, answer).
//!
//! - What may succeed later is refused as retryable, what never will is not: `error`.
//! - Everything in memory is bounded: bytes by `admit`, connections and time by `serve`.
//! - Storage is reached through `store` alone.

mod admit;
mod body;
mod commit;
mod config;
mod derive;
mod door;
mod error;
mod export;
mod grpc;
mod http;
mod inflate;
mod metrics;
mod pulse;
mod replay;
mod serve;
mod store;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hopline_storage::{Replay, Storage};
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::broadcast;

pub use commit::TailItem;
pub use config::{Config, ConfigError};

use commit::{Committer, Health, Queue};
use derive::Derivation;
use door::{Door, Phase};
use metrics::Metrics;
use serve::Server;
use store::{Store, StoreError};

/// Batches that a slow tail may be behind before it misses some.
const TAIL_BATCHES: usize = 64;
/// Connections get at least this long to end after the last answer.
const CLOSE_WAIT_MIN: Duration = Duration::from_millis(500);

/// Why the collector did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address cannot be listened on.
    #[error("listen on {addr} ({key})")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// The setting it comes from.
        key: &'static str,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A thread could not be started.
    #[error("start a thread")]
    Thread(#[source] std::io::Error),
    /// A metric could not be registered.
    #[error("register metrics")]
    Metrics(#[source] prometheus::Error),
    /// The log could not be read back.
    #[error("replay the log")]
    Replay(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The running receivers.
pub struct Collector {
    grpc_addr: SocketAddr,
    http_addr: SocketAddr,
    door: Arc<Door>,
    server: Server,
    health: Arc<Health>,
    tail: broadcast::Sender<TailItem>,
    committer: Mutex<Option<JoinHandle<()>>>,
}

/// Replays the log into `storage` without any receivers: for tools that read the data folder of
/// a stopped server. Blocks.
pub fn replay(storage: &Storage, records: Replay, registry: &Registry) -> Result<(), StartError> {
    let metrics = Arc::new(Metrics::new(registry).map_err(StartError::Metrics)?);
    storage.derive_with(Box::new(Derivation::new(Arc::clone(&metrics))));
    replay::replay(storage, &metrics, records).map(|_| ()).map_err(StartError::Replay)
}

impl Collector {
    /// Binds both addresses, replays the log and opens the door. During the replay exports are
    /// refused as retryable. Runs on the current tokio runtime.
    pub async fn start(
        config: Config,
        storage: Storage,
        replay: Replay,
        registry: &Registry,
    ) -> Result<Collector, StartError> {
        let collector = Self::bind(config, storage, registry).await?;
        collector.replay(replay).await?;
        Ok(collector)
    }

    /// The first half of [`Collector::start`]: binds both addresses and refuses exports as
    /// retryable, until [`Collector::replay`] is done.
    pub async fn bind(config: Config, storage: Storage, registry: &Registry) -> Result<Collector, StartError> {
        Self::bind_store(config, Arc::new(storage), registry).await
    }

    /// The second half of [`Collector::start`]: replays the log and opens the door.
    pub async fn replay(&self, replay: Replay) -> Result<(), StartError> {
        self.replay_records(replay).await
    }

    async fn bind_store(config: Config, store: Arc<dyn Store>, registry: &Registry) -> Result<Collector, StartError> {
        config.validate()?;
        let metrics = Arc::new(Metrics::new(registry).map_err(StartError::Metrics)?);
        let (grpc, grpc_addr) = listen(config.grpc_addr, "collector.grpc_addr").await?;
        let (http, http_addr) = listen(config.http_addr, "collector.http_addr").await?;
        if config.stitch {
            store.derive_with(Box::new(Derivation::new(Arc::clone(&metrics))));
        }
        let queue = Arc::new(Queue::default());
        let health = Arc::new(Health::default());
        let (tail, _) = broadcast::channel(TAIL_BATCHES);
        let committer = Committer {
            store: Arc::clone(&store),
            queue: Arc::clone(&queue),
            metrics: Arc::clone(&metrics),
            health: Arc::clone(&health),
            tail: tail.clone(),
            max_group_bytes: config.max_group_bytes,
        };
        let committer = Mutex::new(Some(committer.start().map_err(StartError::Thread)?));
        let door = Arc::new(Door::new(config, store, queue, metrics));
        let server = Server::new(Arc::clone(&door));
        server.listen(grpc);
        server.listen(http);
        Ok(Collector { grpc_addr, http_addr, door, server, health, tail, committer })
    }

    async fn replay_records<E>(
        &self,
        records: impl Iterator<Item = Result<(hopline_storage::Position, hopline_storage::Record), E>> + Send + 'static,
    ) -> Result<(), StartError>
    where
        E: Into<StoreError> + 'static,
    {
        let door = Arc::clone(&self.door);
        let work = tokio::task::spawn_blocking(move || replay::replay(door.store.as_ref(), &door.metrics, records));
        let replayed = work.await.map_err(|error| StartError::Replay(error.into()))?;
        replayed.map_err(StartError::Replay)?;
        // Not if it was told to stop meanwhile.
        self.door.open();
        Ok(())
    }

    /// Where gRPC is served.
    pub fn grpc_addr(&self) -> SocketAddr {
        self.grpc_addr
    }

    /// Where HTTP is served.
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Whether exports are taken: the log is replayed, and the collector is not being stopped.
    pub fn ready(&self) -> bool {
        self.door.phase() == Phase::Open
    }

    /// Why the last requests could not be committed, if they could not. For `/readyz`.
    pub fn degraded(&self) -> Option<String> {
        self.health.degraded()
    }

    /// Rows as they become visible, from now on. A receiver that is too slow misses batches,
    /// and is told how many.
    pub fn tail(&self) -> broadcast::Receiver<TailItem> {
        self.tail.subscribe()
    }

    /// Makes receivers as [`Collector::tail`] does, for those that outlive a borrow of this.
    pub fn tail_source(&self) -> broadcast::Sender<TailItem> {
        self.tail.clone()
    }

    /// Refuses new exports as retryable, finishes those in flight, closes all connections.
    /// Returns when everything that was acknowledged has been published, at the latest soon
    /// after `grace`. The storage can be closed then.
    pub async fn stop(&self, grace: Duration) {
        let begun = Instant::now();
        self.door.set_phase(Phase::Draining);
        if tokio::time::timeout(grace, self.door.idle()).await.is_err() {
            tracing::warn!(requests = self.door.in_flight(), "requests in flight did not end in time");
        }
        self.server.close(grace.saturating_sub(begun.elapsed()).max(CLOSE_WAIT_MIN)).await;
        self.door.queue.close();
        let committer = self.committer.lock().take();
        if let Some(committer) = committer {
            let joined = tokio::task::spawn_blocking(move || committer.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("the committer did not end in good order");
            }
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
        self.door.queue.close();
    }
}

async fn listen(addr: SocketAddr, key: &'static str) -> Result<(TcpListener, SocketAddr), StartError> {
    let error = |source| StartError::Listen { addr, key, source };
    let listener = TcpListener::bind(addr).await.map_err(error)?;
    let bound = listener.local_addr().map_err(error)?;
    Ok((listener, bound))
}
