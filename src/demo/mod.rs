//! `hopline demo`: a serverless shop.
//!
//! [`world`] makes up what happens, from a seed: pure, the same for everybody. [`play`]
//! sends it through the OpenTelemetry SDK and its OTLP exporters, live or into the past,
//! and `--truth` writes down what really caused what.
//!
//! - [`catalog`]: the functions, the hops, and which hop carries trace context.
//! - [`world`], [`environments`], [`mod@run`]: the simulation: events, environments, one invocation.
//! - [`handlers`], [`sends`], [`dialect`], [`hooks`], [`platform`]: what functions do and what instrumentations say about it.
//! - [`station`], [`meters`], [`export`], [`play`]: the SDK and the wire.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use crate::exit::Exit;
use play::{Player, now, sleep_until};
use words::MS;
use world::World;

pub(crate) use catalog::Style;
pub(crate) use story::{Delivery, Story, deliver, fresh_seed, past_options};
pub(crate) use when::instant;
pub(crate) use words::{Edge, Fact, Invocation, Nanos, SECOND};
#[cfg(test)]
pub(crate) use words::{Outcome, StartType};
pub(crate) use world::Options;

mod catalog;
mod dialect;
mod environments;
mod export;
mod handlers;
mod hooks;
mod meters;
mod platform;
mod play;
mod random;
mod run;
mod sends;
mod station;
mod story;
mod when;
mod words;
mod world;

/// What `hopline demo` is asked to play.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Where the telemetry goes (OTLP over gRPC)
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4317")]
    pub(crate) endpoint: String,
    /// Whose instrumentation the functions have
    #[arg(long, value_enum, default_value = "mixed")]
    pub(crate) style: Style,
    /// Functions have Hopline's hooks, which note what stock instrumentation leaves out
    #[arg(long)]
    pub(crate) hooks: bool,
    /// Functions on AWS have no extension: nothing is sent of what the platform says of them
    #[arg(long)]
    pub(crate) bare: bool,
    /// The same seed plays the same story, with the same ids [default: another one each time]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
    /// Orders a second, when played live
    #[arg(long, value_name = "ORDERS", default_value = "2", conflicts_with = "from", value_parser = rate)]
    pub(crate) rate: f64,
    /// How long orders come in, when played live: 90s, 10m
    #[arg(long = "for", value_name = "DURATION", default_value = "60s", conflicts_with = "from")]
    pub(crate) length: String,
    /// Fills in the past from here on, as fast as it goes: -24h, 2026-11-01T00:00:00Z
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) from: Option<String>,
    /// Up to here: now, -1h, 2026-11-02T00:00:00Z
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, default_value = "now", requires = "from")]
    pub(crate) to: String,
    /// Orders in all [default: what --rate and --for make, or 1000 in the past]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub(crate) orders: Option<u64>,
    /// Writes what really happened, a JSON object a line: invocations, sends, edges
    #[arg(long, value_name = "FILE")]
    pub(crate) truth: Option<PathBuf>,
    /// Sends nothing: for the truth alone
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Plays the shop. The exit code is 1 when the server did not take everything.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let options = options(&args, now())?;
    let seed = options.seed;
    let live = args.from.is_none();
    let mut truth = args.truth.as_deref().map(Truth::create).transpose()?;
    let mut player = match args.dry_run {
        true => None,
        false => Some(Player::new(export::Exporters::connect(&args.endpoint).await?, live)?),
    };
    let mut steps = 0_u64;
    let mut stop = std::pin::pin!(tokio::signal::ctrl_c());
    let mut stopped = false;
    for step in World::new(options) {
        if let Some(truth) = &mut truth {
            truth.write(&step.facts)?;
        }
        let Some(player) = &mut player else { continue };
        let play = async {
            if live {
                sleep_until(step.at).await;
            }
            for flush in step.flushes {
                player.play(flush).await?;
            }
            anyhow::Ok(())
        };
        tokio::select! {
            biased;
            _ = &mut stop => stopped = true,
            played = play => played?,
        }
        if stopped {
            break;
        }
        steps += 1;
    }
    if let Some(truth) = truth {
        truth.finish()?;
    }
    let Some(mut player) = player else { return Ok(ExitCode::SUCCESS) };
    let totals = player.finish().await;
    let mut out = std::io::stdout().lock();
    totals.report(&mut out).context("write the report")?;
    writeln!(out, "the seed was {seed}").context("write the report")?;
    if stopped {
        writeln!(out, "stopped after {steps} steps").context("write the report")?;
    }
    let lost = totals.lost.load(std::sync::atomic::Ordering::Relaxed) > 0;
    Ok(if lost { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn options(args: &Args, now: Nanos) -> anyhow::Result<Options> {
    let wrong = |flag: &'static str| move |text: String| Exit::usage(format!("{flag}: {text}"));
    let (start, end, orders, patience, schedule);
    if let Some(from) = &args.from {
        start = when::instant(from, now).map_err(wrong("--from"))?;
        let to = when::instant(&args.to, now).map_err(wrong("--to"))?;
        if start >= to {
            let text = format!("--from {from} is not before --to {}: there is no time to fill", args.to);
            return Err(Exit::usage(text).into());
        }
        // The last orders need a few minutes to go through.
        end = if to - start > 1_800 * SECOND { to - 300 * SECOND } else { to };
        (orders, patience, schedule) = (args.orders.unwrap_or(1_000), 30 * SECOND, 3_600 * SECOND);
    } else {
        let length = when::duration(&args.length).map_err(wrong("--for"))?;
        let planned = (args.rate * length as f64 / 1e9).ceil() as u64;
        orders = args.orders.unwrap_or(planned.max(1));
        start = now + 200 * MS;
        end = start.saturating_add((orders as f64 / args.rate * 1e9) as Nanos);
        (patience, schedule) = (3 * SECOND, 20 * SECOND);
    }
    let seed = args.seed.unwrap_or_else(fresh_seed);
    let (style, hooks, bare) = (args.style, args.hooks, args.bare);
    Ok(Options { seed, style, hooks, bare, start, end, orders, patience, schedule })
}

/// Orders a second.
fn rate(text: &str) -> Result<f64, String> {
    let expected = || "a number of orders a second from 0.001 to 10000 is expected, such as 2 or 0.5".to_owned();
    text.parse().ok().filter(|rate| (0.001..=10_000.0).contains(rate)).ok_or_else(expected)
}

/// The file of true facts.
#[derive(Debug)]
struct Truth {
    file: BufWriter<File>,
}

impl Truth {
    fn create(path: &Path) -> anyhow::Result<Truth> {
        let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
        Ok(Truth { file: BufWriter::new(file) })
    }

    fn write(&mut self, facts: &[Fact]) -> anyhow::Result<()> {
        for fact in facts {
            serde_json::to_writer(&mut self.file, fact).context("write the truth")?;
            self.file.write_all(b"\n").context("write the truth")?;
        }
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<()> {
        self.file.flush().context("write the truth")
    }
}
