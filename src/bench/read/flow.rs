//! The flow of an order among many spans: fills a server, plays the shop half-way, and asks for its largest flow.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;
use serde_json::Value;

use super::timing::{Timing, Watch, ask, now, quiet};
use super::{Args, start, tell};
use crate::bench::encode::{Compression, Format};
use crate::bench::load::{self, Pace, Target};
use crate::bench::machine::Shares;
use crate::bench::server::Server;
use crate::bench::workload::Workload;
use crate::demo::{Delivery, Fact, Nanos, Options, SECOND, Story, Style, deliver, past_options};

/// A flow that has been asked for before is to take no more than this (docs/performance.md).
const GOAL_MS: f64 = 50.0;
/// How often it is asked for unless told.
const TIMES: u32 = 50;
/// Orders of the play: with fewer, some seeds have no story of twenty traces.
const ORDERS: u64 = 60;
/// From one order to the next.
const EVERY: Nanos = 5 * SECOND;
/// What is measured must have so many traces.
const TRACES_MIN: usize = 20;
/// It must go over so many hops, one after the other.
const HOPS_MIN: usize = 5;
/// Spans of a request that fills the server.
const SPANS_AT_ONCE: u64 = 512;
/// How long filling may take, each half of it.
const FILL: Duration = Duration::from_secs(24 * 3_600);

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct FlowRun {
    /// All that are stored, those of the play among them.
    pub(super) spans: u64,
    /// From the first request to the last acknowledgement, without the play.
    pub(super) sent_in_s: f64,
    /// When it was quiet.
    pub(super) files: u64,
    pub(super) trace_id: String,
    #[serde(flatten)]
    pub(super) size: Size,
    /// How long it took when it was asked for the first time.
    pub(super) first_ms: f64,
    pub(super) timing: Timing,
    /// Who used the machine's CPUs while it was asked for again and again.
    pub(super) machine: Option<Shares>,
}

/// How large a flow is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Size {
    pub(super) traces: usize,
    /// Who caused whom.
    pub(super) edges: usize,
    /// Of its waterfall.
    pub(super) rows: usize,
    /// The most that follow each other.
    pub(super) hops: usize,
}

/// Measures it with a server of its own.
pub(super) async fn run(args: &Args) -> anyhow::Result<FlowRun> {
    let server = start(args.dir.as_deref(), 0).await?;
    tell(&format!("sending {} spans, and {ORDERS} orders among them", args.spans));
    let half = args.spans / 2;
    let first = fill(&server, half, args.seed.wrapping_mul(2)).await?;
    // It happens while the others do, so that no file holds the play alone.
    let end = now();
    let options = Options {
        start: end - EVERY * ORDERS.cast_signed(),
        end,
        // With stock instrumentation alone, stories are in pieces of a few traces.
        hooks: true,
        ..past_options(args.seed, Style::Mixed, ORDERS, EVERY)
    };
    let mut story = Story::of(options);
    let facts = std::mem::take(&mut story.facts);
    deliver(&format!("http://{}", server.grpc), story, Delivery::Ordered, args.seed).await.context("send the play")?;
    let second = fill(&server, args.spans - half, args.seed.wrapping_mul(2).wrapping_add(1)).await?;
    tell("waiting until background work is over");
    let files = quiet(&server, Duration::from_secs(args.quiet), Duration::from_secs(args.patience)).await?;
    let (trace_id, size, first_time) = largest(&server, &facts).await?;
    let watch = Watch::begin(&server);
    let path = format!("/api/v1/flows/{trace_id}");
    let (timing, answers) = ask(&server, "a flow", &path, 0, args.repeat.unwrap_or(TIMES)).await?;
    let machine = watch.shares(&server);
    for answer in &answers {
        let again = Size::of(answer);
        ensure!(again == size, "asked again, the flow of {trace_id} is another one: first {size:?}, then {again:?}");
    }
    let spans = server.count_spans().await.context("count the spans")?;
    ensure!(spans > args.spans, "{spans} spans are stored, {} and those of the play were sent", args.spans);
    server.stop().await?;
    Ok(FlowRun {
        spans,
        sent_in_s: (first + second).as_secs_f64(),
        files,
        trace_id,
        size,
        first_ms: first_time.as_secs_f64() * 1e3,
        timing: Timing { goal_ms: Some(GOAL_MS), ..timing },
        machine,
    })
}

/// Sends at least so many spans of `bench ingest`; how long that took.
async fn fill(server: &Server, spans: u64, seed: u64) -> anyhow::Result<Duration> {
    let requests = spans.div_ceil(SPANS_AT_ONCE);
    let workload = Workload::new(SPANS_AT_ONCE, Format::Protobuf, seed);
    let pace = Pace { connections: 2, concurrency: 4, requests, length: FILL, rate: None };
    let target = Target { addr: server.grpc, grpc: true, format: Format::Protobuf, compression: Compression::Gzip };
    let outcome = load::run(workload, target, pace).await.context("send spans")?;
    ensure!(outcome.refused == 0, "the server refused spans: {}", outcome.first_error.unwrap_or_default());
    ensure!(outcome.acknowledged >= spans, "stopped after {} of {spans} spans", outcome.acknowledged);
    Ok(outcome.wall)
}

/// The largest flow of the play that is large enough, and how long it took to ask for it. Those that should be the largest
/// are asked for first, so that mostly nothing has been asked before.
async fn largest(server: &Server, facts: &[Fact]) -> anyhow::Result<(String, Size, Duration)> {
    let mut best = Size::default();
    for trace_id in candidates(facts) {
        let began = Instant::now();
        let body = match server.get(&format!("/api/v1/flows/{trace_id}")).await {
            Ok(body) => body,
            // A trace none of whose spans arrived has no flow.
            Err(error) if error.to_string().contains("HTTP status 404") => continue,
            Err(error) => return Err(error),
        };
        let took = began.elapsed();
        let size = Size::of(&serde_json::from_slice(&body).context("read a flow")?);
        if size.traces >= TRACES_MIN && size.hops >= HOPS_MIN {
            return Ok((trace_id, size, took));
        }
        if size.traces > best.traces {
            best = size;
        }
    }
    bail!("no flow of the play has {TRACES_MIN} traces over {HOPS_MIN} hops; the largest: {best:?}")
}

impl Size {
    /// Of an answer of `GET /api/v1/flows/{trace_id}`.
    fn of(flow: &Value) -> Size {
        let list = |name: &str| flow.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let traces: HashSet<&str> = list("traces").iter().filter_map(|t| t.get("trace_id")?.as_str()).collect();
        // Only the story's own: what others sent into the same batch comes from traces that are not of it.
        let is_own = |edge: &&Value| {
            let sender = edge.pointer("/from/trace_id").and_then(Value::as_str);
            sender.is_some_and(|id| traces.contains(id))
        };
        let own: Vec<&Value> = list("edges").iter().filter(is_own).collect();
        let rows = flow.get("rows_count").and_then(Value::as_u64).unwrap_or_default();
        Size {
            traces: traces.len(),
            edges: own.len(),
            rows: usize::try_from(rows).unwrap_or(usize::MAX),
            hops: hops(&own),
        }
    }
}

/// The most edges that follow each other, from invocation to invocation.
fn hops(edges: &[&Value]) -> usize {
    let who = |end: &Value| {
        let text = |name: &str| end[name].as_str().unwrap_or_default().to_owned();
        (text("trace_id"), text("root_span_id"))
    };
    let pairs: Vec<_> = edges.iter().map(|edge| (who(&edge["from"]), who(&edge["to"]))).collect();
    let mut behind: HashMap<&(String, String), usize> = HashMap::new();
    // Each round finds a hop more at the most; in a cycle there is no end to it.
    for _ in 0..pairs.len() {
        let before = behind.clone();
        for (from, to) in pairs.iter().filter(|(from, to)| from != to) {
            let so_many = before.get(from).copied().unwrap_or(0) + 1;
            let longest = behind.entry(to).or_insert(0);
            *longest = so_many.max(*longest);
        }
        if behind == before {
            break;
        }
    }
    behind.values().copied().max().unwrap_or(0)
}

/// A trace of each story that can be proved, those of the most traces first.
fn candidates(facts: &[Fact]) -> Vec<String> {
    let mut beside: HashMap<&str, BTreeSet<&str>> = HashMap::new();
    let mut order = Vec::new();
    for fact in facts {
        let Fact::Edge(edge) = fact else { continue };
        let (from, to) = (edge.from_trace_id.as_str(), edge.to_trace_id.as_str());
        order.extend([from, to]);
        if edge.identity {
            beside.entry(from).or_default().insert(to);
            beside.entry(to).or_default().insert(from);
        }
    }
    let mut seen = HashSet::new();
    let mut stories = Vec::new();
    for trace in order {
        let (mut size, mut open) = (0, vec![trace]);
        while let Some(next) = open.pop() {
            if seen.insert(next) {
                size += 1;
                open.extend(beside.get(next).into_iter().flatten());
            }
        }
        if size > 0 {
            stories.push((size, trace.to_owned()));
        }
    }
    stories.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
    stories.into_iter().map(|(_, trace)| trace).collect()
}

#[cfg(test)]
mod tests;
