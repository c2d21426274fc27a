//! The parts of the server, each with a start and a stop.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use hopline_collector::Collector;
use hopline_query::api::ApiState;
use hopline_query::{Engine, Roller};
use hopline_storage::{Mode, Replay, Storage, SystemClock, is_data_folder};
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::api::{self, Shared};
use super::health::{Health, Phase};
use super::process;
use crate::config::Config;
use crate::render;
use crate::server_file::ServerFile;

/// How long answers that are being given hold up a stop.
const API_GRACE: Duration = Duration::from_millis(1_500);

/// How much of the time for a stop the exports in flight may take; the rest is for writing out.
const COLLECTOR_SHARE: u32 = 3;

type Stop = Box<dyn FnOnce(Duration) -> BoxFuture<'static, anyhow::Result<()>> + Send>;

/// A part that runs.
struct Part {
    name: &'static str,
    stop: Stop,
}

/// All parts that run, in the order of their start.
pub(super) struct App {
    parts: Vec<Part>,
    health: Health,
    ended: CancellationToken,
}

impl App {
    /// Starts all parts, or none. `ended` fires when one ends by itself.
    pub(super) async fn start(config: Arc<Config>, ended: CancellationToken) -> anyhow::Result<App> {
        let mut app = App { parts: Vec::new(), health: Health::new(), ended };
        match app.start_parts(&config).await {
            Ok(()) => Ok(app),
            Err(error) => {
                // The reason why the start did not work is what counts.
                let _ = app.stop(super::GRACE).await;
                Err(error)
            }
        }
    }

    async fn start_parts(&mut self, config: &Arc<Config>) -> anyhow::Result<()> {
        let started = Instant::now();
        let registry = Registry::new();
        process::register(&registry)?;
        let shared = Arc::new(Shared::new(self.health.clone(), registry.clone())?);

        if !is_data_folder(Path::new(&config.data)) {
            try_addresses(config).await?;
        }
        let (storage, replay) = self.start_storage(config, &registry).await?;
        let api = api::Server::start(config.api.addr, Arc::clone(&shared), &self.ended).await?;
        let api_addr = api.addr;
        self.add("api", move |grace| api.stop(grace.min(API_GRACE)).boxed());
        tracing::info!(addr = %api_addr, "API");

        let to_replay = replay.report().records;
        let collector = self.start_collector(config, &storage, &registry).await?;
        let (grpc_addr, http_addr) = (collector.grpc_addr(), collector.http_addr());
        tracing::info!(addr = %grpc_addr, "OTLP/gRPC");
        tracing::info!(addr = %http_addr, "OTLP/HTTP");
        // They are set once, here.
        let _ = shared.otlp.set((grpc_addr, http_addr));
        let _ = shared.degraded.set(degraded(storage.clone(), Arc::clone(&collector)));
        self.write_server_file(&storage, &[api_addr, grpc_addr, http_addr], shared.instance.clone())?;

        let engine = Engine::new(storage.clone(), config.query.clone(), &registry).context("start the query engine")?;
        let tail = Arc::clone(&collector);
        let tail: hopline_query::api::Tail = Arc::new(move || tail.tail());
        let roller = Roller::new(engine.clone());
        let _ = shared.query.set(hopline_query::router_with(ApiState { engine, tail: Some(tail), started }));

        collector.replay(replay).await.context("start the receivers")?;
        storage.start_background();
        self.start_roller(roller);
        self.health.set(Phase::Ready);
        let took_ms = started.elapsed().as_millis();
        tracing::info!(replayed = to_replay, took_ms, "ready");
        Ok(())
    }

    async fn start_storage(&mut self, config: &Config, registry: &Registry) -> anyhow::Result<(Storage, Replay)> {
        let (dir, settings, registry) = (PathBuf::from(&config.data), config.storage.clone(), registry.clone());
        // Reading manifests and looking through the log takes a while.
        let open = move || {
            Storage::open(&dir, settings, Mode::ReadWrite, Arc::new(SystemClock), &registry)
                .with_context(|| format!("open the data folder {}", dir.display()))
        };
        let (storage, replay) = tokio::task::spawn_blocking(open).await.context("open the data folder")??;
        let report = replay.report();
        if report.torn_bytes > 0 {
            tracing::warn!(
                bytes = report.torn_bytes,
                "an unfinished write was cut from the log; it was not acknowledged"
            );
        }
        for damage in &report.damaged {
            let segment = damage.segment.display();
            tracing::error!(%segment, offset = damage.offset, bytes = damage.bytes, "the log is damaged; kept in log/damaged");
        }
        let closing = storage.clone();
        self.add("storage", move |_| {
            let close = tokio::task::spawn_blocking(move || closing.close());
            async move { close.await.context("close the storage")?.context("close the storage") }.boxed()
        });
        Ok((storage, replay))
    }

    /// Binds the receivers. Until the log is replayed they refuse exports as retryable.
    async fn start_collector(
        &mut self,
        config: &Config,
        storage: &Storage,
        registry: &Registry,
    ) -> anyhow::Result<Arc<Collector>> {
        let collector = Collector::bind(config.collector.clone(), storage.clone(), registry).await;
        let collector = Arc::new(collector.context("start the receivers")?);
        let stopping = Arc::clone(&collector);
        self.add("collector", move |grace| {
            async move {
                stopping.stop(grace / COLLECTOR_SHARE).await;
                Ok(())
            }
            .boxed()
        });
        Ok(collector)
    }

    /// Counts invocations in the background. What it has not done when it is stopped, it does after the next start.
    fn start_roller(&mut self, roller: Roller) {
        let task = tokio::spawn(roller.run());
        self.add("roller", move |_| {
            task.abort();
            async { Ok(()) }.boxed()
        });
    }

    fn write_server_file(
        &mut self,
        storage: &Storage,
        addrs: &[std::net::SocketAddr; 3],
        instance: String,
    ) -> anyhow::Result<()> {
        let [api, otlp_grpc, otlp_http] = addrs.map(|addr| addr.to_string());
        let (pid, version) = (std::process::id(), env!("CARGO_PKG_VERSION").to_owned());
        let file = ServerFile {
            pid,
            version,
            api,
            otlp_grpc,
            otlp_http,
            started_at: render::utc(std::time::SystemTime::now()),
            instance,
        };
        let dir = storage.dir().to_path_buf();
        file.write(&dir).context("write server.json")?;
        self.add("server.json", move |_| async move { ServerFile::remove(&dir).context("remove server.json") }.boxed());
        Ok(())
    }

    fn add(
        &mut self,
        name: &'static str,
        stop: impl FnOnce(Duration) -> BoxFuture<'static, anyhow::Result<()>> + Send + 'static,
    ) {
        self.parts.push(Part { name, stop: Box::new(stop) });
    }

    /// Stops every part, the last started first, within about `grace`; then gives the first error.
    pub(super) async fn stop(self, grace: Duration) -> anyhow::Result<()> {
        self.health.set(Phase::Draining);
        let until = Instant::now() + grace;
        let mut first = Ok(());
        for Part { name, stop } in self.parts.into_iter().rev() {
            let left = until.saturating_duration_since(Instant::now());
            // A part that panics must not keep the others from stopping.
            let result = std::panic::AssertUnwindSafe(stop(left)).catch_unwind().await;
            let result = result.unwrap_or_else(|_| Err(anyhow!("{name} panicked while stopping")));
            tracing::debug!(part = name, "stopped");
            if let Err(error) = result {
                tracing::error!(part = name, error = format!("{error:#}"), "did not stop cleanly");
                first = first.and(Err(error));
            }
        }
        first
    }
}

/// Sees that all addresses are free. A new folder is not made for a server that cannot start.
async fn try_addresses(config: &Config) -> anyhow::Result<()> {
    let mut held = Vec::new();
    for (addr, key) in [
        (config.api.addr, "api.addr"),
        (config.collector.grpc_addr, "collector.grpc_addr"),
        (config.collector.http_addr, "collector.http_addr"),
    ] {
        held.push(TcpListener::bind(addr).await.with_context(|| format!("listen on {addr} ({key})"))?);
    }
    Ok(())
}

/// Why exports are refused although the server is ready, if they are.
fn degraded(storage: Storage, collector: Arc<Collector>) -> Box<dyn Fn() -> Option<String> + Send + Sync> {
    Box::new(move || {
        if storage.pressure().disk_full {
            return Some("the disk is full: exports are refused until there is space".to_owned());
        }
        collector.degraded()
    })
}
