//! `hopline bench stitch`: how much of what really happened Hopline finds out.
//!
//! Plays the demo's shop into servers of its own, asks for the flow of every trace and
//! for every invocation, and holds the answers against the play's truth: precision and
//! recall of edges by kind of hop, of start types, and of outcomes. Each instrumentation
//! is played as it is in stock and with Hopline's hooks, and the telemetry comes in order,
//! shuffled, receivers before senders, and twice.

mod cost;
mod score;

use std::collections::{BTreeMap, HashSet};
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;
use serde_json::Value;

use super::server::{Choice, Server};
use crate::demo::{Delivery, Fact, Options, Story, Style, deliver};
use score::{Answer, Score, Truth};

/// What is played.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Orders of each play
    #[arg(long, value_name = "NUMBER", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    orders: u64,
    /// Seeds, each of which is another story [default: 1, and one from the clock]
    #[arg(long, value_name = "NUMBER", value_delimiter = ',')]
    seed: Vec<u64>,
    /// Whose instrumentation the functions have [default: each]
    #[arg(long, value_enum, value_delimiter = ',')]
    style: Vec<Style>,
    /// In which order the telemetry comes [default: each]
    #[arg(long, value_enum, value_delimiter = ',')]
    delivery: Vec<Delivery>,
    /// Measures instead what stitching costs at ingest: so many plays with it and without it
    #[arg(long, value_name = "TIMES", conflicts_with = "details")]
    cost: Option<u64>,
    /// Writes each edge that was missed or wrong
    #[arg(long)]
    details: bool,
    /// Prints the report as JSON
    #[arg(long)]
    json: bool,
}

/// What one play came to.
#[derive(Debug, Serialize)]
struct Played {
    seed: u64,
    style: String,
    hooks: bool,
    delivery: String,
    /// Flows in which two requests of the web site stand, though they share no cause.
    merged: u64,
    scores: BTreeMap<String, Score>,
}

/// Runs the benchmark. The exit code is 1 when something was wrong, or missed though its identity was on both sides.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(times) = args.cost {
        let seed = args.seed.first().copied().unwrap_or(1);
        let style = args.style.first().copied().unwrap_or(Style::Mixed);
        let options = crate::demo::past_options(seed, style, false, args.orders);
        cost::run(&options, times, args.json).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let seeds = if args.seed.is_empty() { vec![1, crate::demo::fresh_seed()] } else { args.seed.clone() };
    let styles =
        if args.style.is_empty() { vec![Style::Python, Style::Node, Style::Mixed] } else { args.style.clone() };
    let deliveries = if args.delivery.is_empty() { Delivery::ALL.to_vec() } else { args.delivery.clone() };
    let mut played = Vec::new();
    for seed in seeds {
        for style in &styles {
            for hooks in [false, true] {
                for delivery in &deliveries {
                    let options = crate::demo::past_options(seed, *style, hooks, args.orders);
                    played.push(play(&args, options, *delivery).await?);
                }
            }
        }
    }
    print(&played, args.json)?;
    let wrong = played.iter().any(|p| p.merged > 0 || p.scores.values().any(|s| !s.reaches_goal()));
    Ok(if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn play(args: &Args, options: Options, delivery: Delivery) -> anyhow::Result<Played> {
    let (seed, style, hooks) = (options.seed, options.style, options.hooks);
    let story = Story::of(options);
    let truth = Truth::of(&story.facts);
    let traces = traces(&story.facts);
    let choice = Choice { server: None, dir: None, server_config: None, keep: false };
    let server = Server::open(&choice).await?;
    deliver(&format!("http://{}", server.grpc), story, delivery, seed).await.context("send the play")?;
    let mut answer = Answer::default();
    let mut seen = HashSet::new();
    for trace in traces {
        if seen.contains(&trace) {
            continue;
        }
        let path = format!("/api/v1/flows/{trace}?limit=1");
        // A trace none of whose spans arrived has no flow.
        let Ok(body) = server.get(&path).await else { continue };
        let flow: Value = serde_json::from_slice(&body).context("read a flow")?;
        let list = |name: &str| flow.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        // What is behind a cut is in other flows.
        let is_cut = !list("cuts").is_empty();
        let in_flow =
            list("traces").iter().filter_map(|t| t.get("trace_id")?.as_str().map(str::to_owned)).collect::<Vec<_>>();
        seen.extend(in_flow.into_iter().filter(|t| !is_cut || *t == trace));
        answer.add_flow(&flow, &truth);
    }
    server.stop().await?;
    let (scores, lines) = score::score(&truth, &answer);
    if args.details {
        let mut out = std::io::stderr().lock();
        for line in lines {
            writeln!(out, "{style:?} hooks={hooks} {delivery:?} seed={seed}: {line}").context("write details")?;
        }
    }
    Ok(Played {
        seed,
        style: format!("{style:?}").to_lowercase(),
        hooks,
        delivery: format!("{delivery:?}").to_lowercase(),
        merged: answer.merged,
        scores,
    })
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

fn print(played: &[Played], as_json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if as_json {
        serde_json::to_writer_pretty(&mut out, played).context("write the report")?;
        return writeln!(out).context("write the report");
    }
    let mut groups: BTreeMap<(String, bool), (BTreeMap<String, Score>, u64)> = BTreeMap::new();
    for play in played {
        let (scores, merged) = groups.entry((play.style.clone(), play.hooks)).or_default();
        *merged += play.merged;
        for (kind, score) in &play.scores {
            scores.entry(kind.clone()).or_default().add(score);
        }
    }
    for ((style, hooks), (scores, merged)) in groups {
        let with = if hooks { "with hooks" } else { "stock" };
        writeln!(out, "\n{style}, {with}: {merged} flows with two stories").context("write the report")?;
        writeln!(out, "{}", score::HEADER).context("write the report")?;
        for (kind, score) in scores {
            writeln!(out, "{kind:<20} {score}").context("write the report")?;
        }
    }
    Ok(())
}
