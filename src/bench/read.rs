//! `hopline bench read`: how long people wait when they look at functions and flows.
//!
//! - [`overview`] fills a server with invocations of many functions over days, waits until they are
//!   rolled up, and asks for the functions at a glance.
//! - [`flow`] fills a server with spans, plays the demo's shop among them, and asks for one of its flows.
//!
//! Both start a server of their own with compaction on, ask when its background work is over, and hold each
//! answer against what was sent: a quick wrong answer is no result.
//!
//! The rooms: [`invocations`] makes up what ran, [`send`] sends it, [`timing`] waits and asks, [`report`] prints.

mod flow;
mod invocations;
mod overview;
mod report;
mod send;
mod timing;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::ValueEnum;

use super::server::{Choice, Server};
use report::Report;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// All functions at a glance, and one of them
    Overview,
    /// The flow of an order
    Flow,
}

/// What to measure, and how large.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// What is measured [default: both]
    #[arg(value_enum)]
    part: Option<Part>,
    /// Functions of the overview
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    functions: u32,
    /// Days before now over which they ran
    #[arg(long, value_name = "NUMBER", default_value_t = 14, value_parser = clap::value_parser!(u32).range(1..=3_650))]
    days: u32,
    /// Invocations of each function
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    invocations: u32,
    /// Spans among which the flow is
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000_000))]
    spans: u64,
    /// How often each question is asked [default: 30 times those of the overview, 50 times that of the flow]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    repeat: Option<u32>,
    /// The same seed makes up the same invocations and the same orders
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Seconds without a new or a merged file after which background work is over. Less than `storage.flush_age_s`
    /// may miss that rows are still to be written
    #[arg(long, value_name = "SECONDS", default_value_t = 65, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    quiet: u64,
    /// Seconds after which it is given up to wait for roll-ups, or for the end of background work
    #[arg(long, value_name = "SECONDS", default_value_t = 1_800, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    patience: u64,
    /// Where the folder of the server is made [default: the system's folder for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Prints the report as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the benchmark. The exit code is 1 when a goal was missed.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let is_asked = |part| args.part.is_none_or(|only| only == part);
    let mut report = Report::default();
    if is_asked(Part::Overview) {
        report.overview = Some(overview::run(&args).await.context("measure the overview")?);
    }
    if is_asked(Part::Flow) {
        report.flow = Some(flow::run(&args).await.context("measure the flow")?);
    }
    let missed = report.missed();
    report.print(&missed, args.json)?;
    Ok(if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Starts a server that keeps spans for at least so many days, in a folder of its own.
async fn start(dir: Option<&Path>, days: u32) -> anyhow::Result<Server> {
    let config = std::env::temp_dir().join(format!("hopline-bench-read-{}.toml", std::process::id()));
    let settings = format!("[storage]\ncompact = true\nretention_spans_days = {}\n", days.max(30));
    std::fs::write(&config, settings).context("write the settings")?;
    let dir = dir.map(Path::to_owned);
    let server = Server::open(&Choice { server: None, dir, server_config: Some(config.clone()), keep: false }).await;
    std::fs::remove_file(&config).context("remove the settings")?;
    server
}

/// Tells on standard error how far it is: a run takes minutes.
fn tell(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}
