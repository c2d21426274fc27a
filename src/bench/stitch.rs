//! `hopline bench stitch`: how much of what really happened Hopline finds out.
//!
//! Plays the demo's shop into servers of its own, asks for the flow of every trace and
//! for every invocation, and holds the answers against the play's truth: precision and
//! recall of edges by kind of hop ([`score`]), of start types, outcomes and costs
//! ([`invocations`]). Each instrumentation is played as it is in stock, with Hopline's
//! hooks, and without the platform's records; and the telemetry comes in order, shuffled,
//! receivers before senders, and twice.

mod cost;
mod invocations;
mod report;
mod score;

use std::collections::{BTreeSet, HashSet};
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::ValueEnum;
use serde_json::Value;

use super::server::{Choice, Server};
use crate::demo::{Delivery, Fact, Options, SECOND, Story, Style, deliver, past_options};
use invocations::{Given, Unfinished};
use report::Played;
use score::{Answer, Truth};

/// What the functions have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Setup {
    /// Stock instrumentation and the platform's records
    Stock,
    /// Hopline's hooks besides
    Hooks,
    /// Stock instrumentation alone: nothing of what the platform says is sent
    Bare,
}

impl Setup {
    const ALL: [Setup; 3] = [Setup::Stock, Setup::Hooks, Setup::Bare];

    fn name(self) -> &'static str {
        match self {
            Setup::Stock => "stock",
            Setup::Hooks => "hooks",
            Setup::Bare => "bare",
        }
    }
}

/// What is played.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Orders of each play
    #[arg(long, value_name = "NUMBER", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    orders: u64,
    /// Seconds from one order to the next: orders that come together are harder to tell apart, and where it is quiet
    /// what nothing proves may be inferred
    #[arg(long, value_name = "SECONDS", value_delimiter = ',', default_values_t = [1, 400], value_parser = clap::value_parser!(u32).range(1..=3_600))]
    every: Vec<u32>,
    /// Seeds, each of which is another story [default: 1, and one from the clock]
    #[arg(long, value_name = "NUMBER", value_delimiter = ',')]
    seed: Vec<u64>,
    /// Whose instrumentation the functions have [default: each]
    #[arg(long, value_enum, value_delimiter = ',')]
    style: Vec<Style>,
    /// What the functions have [default: each]
    #[arg(long, value_enum, value_delimiter = ',')]
    setup: Vec<Setup>,
    /// In which order the telemetry comes [default: each]
    #[arg(long, value_enum, value_delimiter = ',')]
    delivery: Vec<Delivery>,
    /// Measures instead what stitching costs at ingest: so many plays with it and without it
    #[arg(long, value_name = "TIMES", conflicts_with = "details")]
    cost: Option<u64>,
    /// Writes each edge and each invocation that was missed or wrong
    #[arg(long)]
    details: bool,
    /// Prints the report as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the benchmark. The exit code is 1 when a goal was missed.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(times) = args.cost {
        let seed = args.seed.first().copied().unwrap_or(1);
        let style = args.style.first().copied().unwrap_or(Style::Mixed);
        let options = past_options(seed, style, args.orders, SECOND);
        cost::run(&options, times, args.json).await?;
        return Ok(ExitCode::SUCCESS);
    }
    fn or<T: Clone>(chosen: &[T], all: &[T]) -> Vec<T> {
        if chosen.is_empty() { all.to_vec() } else { chosen.to_vec() }
    }
    let seeds = if args.seed.is_empty() { vec![1, crate::demo::fresh_seed()] } else { args.seed.clone() };
    let mut played = Vec::new();
    for seed in seeds {
        for style in or(&args.style, &[Style::Python, Style::Node, Style::Mixed]) {
            for setup in or(&args.setup, &Setup::ALL) {
                for every in &args.every {
                    for delivery in or(&args.delivery, &Delivery::ALL) {
                        let past = past_options(seed, style, args.orders, i64::from(*every) * SECOND);
                        let options = Options { hooks: setup == Setup::Hooks, bare: setup == Setup::Bare, ..past };
                        let mut play = play(options, delivery, args.details).await?;
                        (play.setup, play.every_s) = (setup.name(), *every);
                        played.push(play);
                    }
                }
            }
        }
    }
    let missed = report::missed(&played);
    report::print(&played, &missed, args.json)?;
    Ok(if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn play(options: Options, delivery: Delivery, with_details: bool) -> anyhow::Result<Played> {
    let (seed, style, hooks, bare) = (options.seed, options.style, options.hooks, options.bare);
    let mut story = Story::of(options);
    let facts = std::mem::take(&mut story.facts);
    let truth = Truth::of(&facts);
    let choice = Choice { server: None, dir: None, server_config: None, keep: false };
    let server = Server::open(&choice).await?;
    deliver(&format!("http://{}", server.grpc), story, delivery, seed).await.context("send the play")?;
    let (answer, unfinished) = flows(&server, &facts, &truth).await?;
    let ran = invocations::Truth::of(&facts);
    let given = given(&server, &ran).await?;
    server.stop().await?;
    let (edges, said, lines) = score::score(&truth, &answer);
    let (invocations, more) = invocations::score(&ran, &given, &unfinished);
    if with_details {
        let mut out = std::io::stderr().lock();
        for line in lines.iter().chain(&more) {
            writeln!(out, "{style:?} hooks={hooks} bare={bare} {delivery:?} seed={seed}: {line}")
                .context("write details")?;
        }
    }
    Ok(Played {
        seed,
        style: format!("{style:?}").to_lowercase(),
        delivery: format!("{delivery:?}").to_lowercase(),
        merged: answer.merged,
        edges,
        said,
        invocations,
        ..Played::default()
    })
}

/// Asks for the flow of every trace, each flow once.
async fn flows(server: &Server, facts: &[Fact], truth: &Truth) -> anyhow::Result<(Answer, BTreeSet<Unfinished>)> {
    let mut answer = Answer::default();
    let mut unfinished = BTreeSet::new();
    let mut seen = HashSet::new();
    for trace in traces(facts) {
        if seen.contains(&trace) {
            continue;
        }
        let path = format!("/api/v1/flows/{trace}?limit=1");
        let body = match server.get(&path).await {
            Ok(body) => body,
            // A trace none of whose spans arrived has no flow.
            Err(error) if error.to_string().contains("HTTP status 404") => continue,
            Err(error) => return Err(error),
        };
        let flow: Value = serde_json::from_slice(&body).context("read a flow")?;
        let list = |name: &str| flow.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        // What is behind a cut is in other flows.
        let is_cut = !list("cuts").is_empty();
        let in_flow =
            list("traces").iter().filter_map(|t| t.get("trace_id")?.as_str().map(str::to_owned)).collect::<Vec<_>>();
        seen.extend(in_flow.into_iter().filter(|t| !is_cut || *t == trace));
        answer.add_flow(&flow, truth);
        unfinished.extend(Unfinished::read(&flow));
    }
    Ok((answer, unfinished))
}

/// Asks for every invocation, page by page.
async fn given(server: &Server, truth: &invocations::Truth<'_>) -> anyhow::Result<Vec<Given>> {
    let (start, end) = truth.range();
    let first = format!("/api/v1/invocations?order=oldest&limit=500&start={start}&end={end}");
    let (mut all, mut path) = (Vec::new(), first.clone());
    loop {
        let page: Value = serde_json::from_slice(&server.get(&path).await?).context("read a page of invocations")?;
        let list = page.get("invocations").and_then(Value::as_array).context("an answer without invocations")?;
        for one in list {
            all.push(Given::read(one)?);
        }
        let Some(cursor) = page.get("cursor").and_then(Value::as_str) else {
            let count = page.get("count").and_then(Value::as_u64).unwrap_or_default();
            anyhow::ensure!(count == all.len() as u64, "{count} invocations are said to be there, {} came", all.len());
            return Ok(all);
        };
        path = format!("{first}&cursor={cursor}");
    }
}

/// The traces of the truth, as the web site's requests come first.
fn traces(facts: &[Fact]) -> Vec<String> {
    let mut seen = HashSet::new();
    let sent = facts.iter().filter_map(|fact| match fact {
        Fact::Send(sent) => Some(sent.trace_id.clone()),
        _ => None,
    });
    let ran = facts.iter().filter_map(|fact| match fact {
        Fact::Invocation(invocation) => Some(invocation.trace_id.clone()),
        _ => None,
    });
    sent.chain(ran).filter(|trace| seen.insert(trace.clone())).collect()
}
