//! `hopline serve`: a list of parts, each with a start and a stop.
//!
//! Started in the order in which they need each other, stopped the other way round: first the
//! door, so that nothing new comes in, last the storage, which writes out what it has. A part
//! that ends by itself ends the app. Nothing that was acknowledged depends on a clean stop.
//!
//! - [`api`]: the HTTP server with the API, metrics and health;
//! - [`health`]: what `/readyz` says;
//! - [`process`]: metrics of the process itself.

mod api;
mod health;
mod parts;
mod process;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{self, Loaded, LogFormat, Sources};
use crate::telemetry;
use parts::App;

pub(crate) const EXAMPLES: &str = "\
Examples:
  hopline serve
  hopline serve --data /var/lib/hopline --config /etc/hopline.toml
  hopline serve --otlp-grpc 0.0.0.0:4317 --otlp-http 0.0.0.0:4318
  HOPLINE_LOG__FORMAT=json hopline serve --api 127.0.0.1:0     port 0: see DIR/server.json

SIGTERM or SIGINT stops it cleanly in under 10 seconds, a second one at once; neither loses what was acknowledged.";

/// A clean stop takes at most this long.
const GRACE: Duration = Duration::from_secs(9);

/// What `hopline serve` is asked.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Folder with all data [default: ./hopline-data]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Where OTLP/gRPC is served [default: 127.0.0.1:4317]
    #[arg(long, value_name = "ADDR")]
    otlp_grpc: Option<SocketAddr>,
    /// Where OTLP/HTTP is served [default: 127.0.0.1:4318]
    #[arg(long, value_name = "ADDR")]
    otlp_http: Option<SocketAddr>,
    /// Where the API, /metrics, /healthz and /readyz are served [default: 127.0.0.1:4320]
    #[arg(long, value_name = "ADDR")]
    api: Option<SocketAddr>,
    /// What is logged: error, warn, info, debug or trace, also a part at a time [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// How it is logged [default: text]
    #[arg(long, value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

impl Args {
    fn sources(&self, file: Option<PathBuf>) -> Sources {
        let format = self.log_format.map(|f| if f == LogFormat::Json { "json" } else { "text" });
        Sources::new(file)
            .flag("data", "--data", self.data.as_ref())
            .flag("collector.grpc_addr", "--otlp-grpc", self.otlp_grpc)
            .flag("collector.http_addr", "--otlp-http", self.otlp_http)
            .flag("api.addr", "--api", self.api)
            .flag("log.level", "--log-level", self.log_level.as_ref())
            .flag("log.format", "--log-format", format)
    }
}

/// Starts the server and returns when it has stopped.
pub(crate) fn run(args: &Args, file: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let loaded = config::load(&args.sources(file))?;
    // Receivers and the API share these threads; queries, the committer, flushes and large requests have their
    // own. Waking a second thread on two cores costs more than it does (docs/performance.md).
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.div_ceil(2))
        .enable_all()
        .thread_name("hopline-io")
        .build()
        .context("start the runtime")?;
    let result = runtime.block_on(serve(loaded));
    // What still hangs on a connection is not waited for.
    runtime.shutdown_background();
    result
}

async fn serve(loaded: Loaded) -> anyhow::Result<ExitCode> {
    let Loaded { config, file, .. } = loaded;
    let spans = telemetry::start(&config.log, &config.telemetry, config.collector.grpc_addr)?;
    let file = file.map(|f| f.display().to_string());
    tracing::info!(version = env!("CARGO_PKG_VERSION"), data = config.data, config = file, "starting");
    // Listened to from the first moment, so that a signal during the start is not lost.
    let mut signals = Signals::listen()?;
    let ended = CancellationToken::new();
    let starting = App::start(Arc::new(config), ended.clone());
    let app = tokio::select! {
        app = starting => app?,
        name = signals.next() => {
            // Nothing was acknowledged that is not in the log.
            tracing::info!(signal = name, "stopped while starting");
            return Ok(ExitCode::SUCCESS);
        }
    };
    let by_itself = tokio::select! {
        name = signals.next() => {
            tracing::info!(signal = name, "stopping");
            false
        }
        () = ended.cancelled() => {
            tracing::error!("a part ended by itself; stopping");
            true
        }
    };
    tokio::spawn(async move {
        let name = signals.next().await;
        tracing::warn!(signal = name, "stopping at once");
        std::process::exit(i32::from(crate::exit::FAILURE));
    });
    let stopped = tokio::time::timeout(GRACE, app.stop(GRACE)).await;
    let result = match stopped {
        Ok(Ok(())) => {
            tracing::info!("stopped");
            Ok(if by_itself { ExitCode::from(crate::exit::FAILURE) } else { ExitCode::SUCCESS })
        }
        Ok(Err(error)) => Err(error),
        Err(_) => Err(anyhow::anyhow!("the stop took longer than {GRACE:?}; what was acknowledged is in the log")),
    };
    let _ = tokio::task::spawn_blocking(move || spans.stop(Duration::from_millis(500))).await;
    result
}

/// The signals that ask for a stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Signals> {
        let listen = |kind| signal(kind).context("listen for signals");
        Ok(Signals { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Waits for the next one. Cancel safe.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
