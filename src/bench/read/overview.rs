//! All functions at a glance: fills a server, waits until the hours that are over are rolled up, and asks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;
use serde_json::Value;

use super::invocations::{Invocation, Plan, Starts, counted_until};
use super::timing::{Timing, Watch, ask, now, quiet};
use super::{Args, send, start, tell};
use crate::bench::machine::Shares;
use crate::bench::server::{Server, Usage};
use crate::demo::{Nanos, SECOND, instant};

const HOUR: Nanos = 3_600 * SECOND;
const DAY: Nanos = 24 * HOUR;
/// An overview of a week is to take no more than this (docs/performance.md).
const GOAL_MS: f64 = 100.0;
/// How often each question is asked unless told.
const TIMES: u32 = 30;
/// How often a question is asked before it counts.
const WARM_UPS: u32 = 3;
/// How often it is looked what is rolled up.
const LOOK: Duration = Duration::from_secs(1);
/// What is asked: how it is called, the path, whether of one function only, the goal.
const QUESTIONS: [(&str, &str, bool, Option<f64>); 4] = [
    ("all functions, 7 days", "?start=-7d", false, Some(GOAL_MS)),
    ("all functions, 24 hours", "?start=-24h", false, None),
    ("all functions, 1 hour", "?start=-1h", false, None),
    ("one function, 24 hours", "?start=-24h", true, None),
];

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Overview {
    pub(super) functions: u32,
    pub(super) days: u32,
    pub(super) invocations: u64,
    pub(super) requests: u64,
    /// From the first request to the last acknowledgement.
    pub(super) sent_in_s: f64,
    /// CPU of the server in that time.
    pub(super) sent_server_cpu_s: Option<f64>,
    /// From the last acknowledgement until all hours and days that were over then were rolled up.
    pub(super) rolled_up_after_s: f64,
    /// CPU of the server in that time, with what compaction took.
    pub(super) rolled_up_server_cpu_s: Option<f64>,
    /// When it was quiet.
    pub(super) files: u64,
    pub(super) timings: Vec<Timing>,
    /// Who used the machine's CPUs while it was asked.
    pub(super) machine: Option<Shares>,
}

/// Measures it with a server of its own.
pub(super) async fn run(args: &Args) -> anyhow::Result<Overview> {
    // What begins now would end in the future.
    let to = now() - 5 * SECOND;
    let from = to - i64::from(args.days) * DAY;
    let plan = Plan { seed: args.seed, functions: args.functions, each: args.invocations, from, to };
    let all = Arc::new(plan.invocations());
    let server = start(args.dir.as_deref(), args.days + 2).await?;
    tell(&format!("sending {} invocations of {} functions over {} days", all.len(), args.functions, args.days));
    let (began, before) = (Instant::now(), server.usage());
    let requests = send::send(&server, plan, &all).await.context("send invocations")?;
    let (sent, acknowledged, last) = (server.usage(), Instant::now(), now());
    let used = |from: Option<Usage>, to: Option<Usage>| from.zip(to).map(|(from, to)| to.cpu_s - from.cpu_s);
    tell("waiting until the hours that are over are rolled up");
    rolled_up(&server, &all, last, Duration::from_secs(args.patience)).await?;
    let rolled_up_after_s = acknowledged.elapsed().as_secs_f64();
    let rolled_up_server_cpu_s = used(sent, server.usage());
    tell("waiting until background work is over");
    let files = quiet(&server, Duration::from_secs(args.quiet), Duration::from_secs(args.patience)).await?;
    let watch = Watch::begin(&server);
    let timings = timings(&server, &plan, &all, args.repeat.unwrap_or(TIMES)).await?;
    let machine = watch.shares(&server);
    server.stop().await?;
    Ok(Overview {
        functions: args.functions,
        days: args.days,
        invocations: all.len() as u64,
        requests,
        sent_in_s: acknowledged.duration_since(began).as_secs_f64(),
        sent_server_cpu_s: used(before, sent),
        rolled_up_after_s,
        rolled_up_server_cpu_s,
        files,
        timings,
        machine,
    })
}

/// Waits until the hours and days that were over at `last` are rolled up, with all their invocations.
async fn rolled_up(server: &Server, all: &[Invocation], last: Nanos, patience: Duration) -> anyhow::Result<()> {
    let began = Instant::now();
    let starts = Starts::of(all, |_| true);
    for (resolution, length) in [("hour", HOUR), ("day", DAY)] {
        let until = counted_until(last, length);
        let expected = starts.within(0, until);
        loop {
            let [cheap, exact] = counts(resolution, until);
            // The exact count reads each row twice: it would be felt in what rolling up costs.
            let mut counted = count(server, &cheap).await?;
            if counted >= expected {
                counted = count(server, &exact).await?;
                ensure!(
                    counted <= expected,
                    "{counted} invocations are rolled up by the {resolution}, only {expected} were sent"
                );
            }
            if counted == expected {
                break;
            }
            if began.elapsed() > patience {
                bail!(
                    "after {} s, {counted} of {expected} invocations were rolled up by the {resolution}",
                    patience.as_secs()
                );
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(())
}

/// Queries for how many invocations before a time are rolled up: also those that have been counted anew since, and without.
fn counts(resolution: &str, until: Nanos) -> [String; 2] {
    let rows = format!("resolution = '{resolution}' AND time < to_timestamp_nanos({until})");
    [
        format!("SELECT sum(count) FROM function_minutes WHERE {rows}"),
        format!(
            "SELECT sum(c.count) FROM function_minutes c JOIN \
             (SELECT function, time, max(revision) AS newest FROM function_minutes WHERE {rows} GROUP BY function, time) n \
             ON c.function = n.function AND c.time = n.time AND c.revision = n.newest \
             WHERE c.resolution = '{resolution}' AND c.time < to_timestamp_nanos({until})"
        ),
    ]
}

async fn count(server: &Server, query: &str) -> anyhow::Result<u64> {
    let rows = server.sql(query).await.context("ask what is rolled up")?;
    let cell = rows.first().and_then(|row| row.first()).context("an answer without a count")?;
    // The sum of nothing is null.
    let count = if cell.is_null() { Some(0) } else { cell.as_u64().or_else(|| cell.as_str()?.parse().ok()) };
    count.with_context(|| format!("{cell} is no count"))
}

async fn timings(server: &Server, plan: &Plan, all: &[Invocation], times: u32) -> anyhow::Result<Vec<Timing>> {
    let mut timings = Vec::new();
    for (what, range, is_of_one, goal_ms) in QUESTIONS {
        let is_asked = |one: &Invocation| !is_of_one || one.function == 0;
        let sent = Sent {
            invocations: Starts::of(all, is_asked),
            errors: Starts::of(all, |one| is_asked(one) && plan.failed(one)),
        };
        let of_one = if is_of_one { format!("/{}", Plan::name(0)) } else { String::new() };
        let path = format!("/api/v1/functions{of_one}{range}");
        let (timing, answers) = ask(server, what, &path, WARM_UPS, times).await?;
        for answer in &answers {
            sent.check(answer).with_context(|| format!("the answer to {path} is wrong"))?;
        }
        timings.push(Timing { goal_ms, ..timing });
    }
    Ok(timings)
}

/// When what was sent began.
struct Sent {
    invocations: Starts,
    errors: Starts,
}

impl Sent {
    /// An error unless the answer counts exactly what was sent, in its range and in the one before.
    fn check(&self, answer: &Value) -> anyhow::Result<()> {
        if answer.get("complete").and_then(Value::as_bool) != Some(true) {
            bail!("it is not complete: {}", answer.get("reason").unwrap_or(&Value::Null));
        }
        let time = |name: &str| -> anyhow::Result<Nanos> {
            let text = answer.get(name).and_then(Value::as_str).with_context(|| format!("it has no {name}"))?;
            instant(text, 0).map_err(anyhow::Error::msg)
        };
        let (start, end) = (time("start")?, time("end")?);
        let before = start - (end - start);
        let expected = [
            ("invocations", "", self.invocations.within(start, end)),
            ("errors", "", self.errors.within(start, end)),
            ("invocations", "before", self.invocations.within(before, start)),
            ("errors", "before", self.errors.within(before, start)),
        ];
        for (figure, place, expected) in expected {
            let range = if place.is_empty() { "its range" } else { "the range before" };
            let given = sum(answer, place, figure).with_context(|| format!("it has no {figure} of {range}"))?;
            ensure!(given == expected, "it counts {given} {figure} in {range}, {expected} were sent");
        }
        Ok(())
    }
}

/// A figure of all functions of an answer, or of the one that it is about; of the range, or of what is at `place`.
fn sum(answer: &Value, place: &str, figure: &str) -> Option<u64> {
    let of = |function: &Value| {
        let figures = if place.is_empty() { function } else { function.get(place)? };
        figures.get(figure)?.as_u64()
    };
    match answer.get("functions").and_then(Value::as_array) {
        Some(functions) => functions.iter().map(of).sum(),
        None => of(answer),
    }
}

#[cfg(test)]
mod tests;
