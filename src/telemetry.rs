//! The server's own log and its own spans.
//!
//! - [`spans`]: sends spans of the server's work over OTLP, when asked to.

mod spans;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::panic::PanicHookInfo;
use std::time::Duration;

use anyhow::Context as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::config::{Log, LogFormat, Telemetry};

/// The log of commands that are not the server: warnings, for people, on standard error.
pub(crate) fn start_for_commands() {
    let log = Log { level: "warn".to_owned(), ..Log::default() };
    // The level is a constant, and nothing was started before.
    let _ = filter(&log).map(|filter| tracing_subscriber::registry().with(lines(&log).with_filter(filter)).try_init());
}

/// The log, and the spans if they are to be sent anywhere. Call it within the runtime.
///
/// `own_otlp` is where this very server takes spans. If its own spans go there, its receivers
/// and its storage make none: otherwise the work of storing a span would make the next.
pub(crate) fn start(log: &Log, telemetry: &Telemetry, own_otlp: SocketAddr) -> anyhow::Result<Running> {
    let sender = match telemetry.otlp_endpoint.as_str() {
        "" => None,
        endpoint => Some(spans::Sender::new(endpoint, own_otlp).context("start sending own spans")?),
    };
    let layer = sender.as_ref().map(|sender| sender.layer());
    tracing_subscriber::registry()
        .with(lines(log).with_filter(filter(log)?))
        .with(layer)
        .try_init()
        .context("start the log")?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(Running { sender })
}

/// The running log and spans.
#[derive(Debug)]
pub(crate) struct Running {
    sender: Option<spans::Sender>,
}

impl Running {
    /// Sends what waits.
    pub(crate) fn stop(self, grace: Duration) {
        if let Some(error) = self.sender.and_then(|sender| sender.stop(grace).err()) {
            tracing::debug!(%error, "own spans were lost");
        }
    }
}

fn filter(log: &Log) -> anyhow::Result<EnvFilter> {
    EnvFilter::builder().parse(&log.level).with_context(|| format!("log.level = {:?}", log.level))
}

fn lines(log: &Log) -> Box<dyn Layer<Registry> + Send + Sync> {
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let colour = std::io::stderr().is_terminal() && !no_colour;
    match log.format {
        LogFormat::Text => fmt::layer().with_writer(std::io::stderr).with_ansi(colour).boxed(),
        LogFormat::Json => fmt::layer().with_writer(std::io::stderr).json().flatten_event(true).boxed(),
    }
}

/// A panic is a bug of ours: it belongs in the log like any other error.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let backtrace = std::backtrace::Backtrace::capture();
    tracing::error!(place, thread, %backtrace, "panic: {}", text.unwrap_or("no message"));
}
