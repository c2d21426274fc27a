//! One function in full: figures over time, errors, advice.

use std::collections::{BTreeMap, HashMap};

use arrow::array::Array;
use axum::extract::{Path, State};
use axum::response::Response;
use hopline_stitch::cost::Usage;
use hopline_stitch::fingerprint;
use hopline_stitch::invocation::insights::{self, FunctionStats, Thresholds};
use hopline_stitch::invocation::rollup::{MINUTE_NS, Rollup, RollupKey};
use hopline_stitch::invocation::{Invocation, Outcome, StartType};
use http::Uri;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::overview::{Figures, FunctionSummary, summary};
use super::{before, range_of};
use crate::api::ApiState;
use crate::api::answer::{self, json, rfc3339};
use crate::api::filter::Where;
use crate::api::invocations::read::{Which, known};
use crate::api::params::{Params, TimeRange, bad};
use crate::api::rollups::{self, whole_minutes};
use crate::engine::Session;
use crate::error::{Error, Problem};
use crate::otlp::columns::{Bytes, time};
use crate::sql::params::Param;

/// Most steps of a series.
const STEPS_MAX: i64 = 11_000;
/// Most kinds of errors in one answer.
const ERRORS_MAX: usize = 100;

/// What `/api/v1/functions/{function}` takes.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "only described: read one by one")]
pub(crate) struct FunctionParams {
    /// From here on, from a whole minute. Default: an hour before `end`.
    #[param(value_type = Option<String>, example = "-24h")]
    start: Option<i64>,
    /// Up to here, to a whole minute. Default: now.
    #[param(value_type = Option<String>)]
    end: Option<i64>,
    /// The length of a step of the series, in whole minutes. Default: a hundredth of the range, at least a minute.
    #[param(value_type = Option<String>, example = "5m")]
    step: Option<i64>,
}

/// One function in full.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FunctionAnswer {
    /// At a glance, with the range of the same length before.
    #[serde(flatten)]
    summary: FunctionSummary,
    /// RFC 3339: the range, of whole minutes.
    start: String,
    /// RFC 3339: its end.
    end: String,
    /// Nanoseconds of a step of the series.
    step_ns: i64,
    /// Figures over time, by whole minutes. Steps without invocations are left out.
    series: Vec<Step>,
    /// Figures by version.
    by_version: Vec<Group>,
    /// Figures by trigger: `http`, `pubsub`, `datasource`, `timer`, `other`.
    by_trigger: Vec<Group>,
    /// Figures by region.
    by_region: Vec<Group>,
    /// Figures by start type: `cold`, `warm`, `preinit`, `restore`, `unknown`.
    by_start_type: Vec<Group>,
    /// Errors by kind, the most frequent first: a hundred at most.
    errors_by_kind: Vec<ErrorKindAnswer>,
    /// What is worth a look, the worst first.
    insights: Vec<InsightAnswer>,
    /// The version of the price table by which costs were worked out.
    price_table: String,
    /// ISO 4217.
    currency: String,
    /// How far quantiles may be from the true ones, as a share of them.
    relative_error: f64,
    /// Whether all invocations of the range are counted.
    complete: bool,
    /// Why the answer is not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// The figures of one step of time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Step {
    /// RFC 3339: its start, a whole minute.
    time: String,
    #[serde(flatten)]
    figures: Figures,
}

/// The figures of the invocations that have something in common.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Group {
    /// What they have in common; empty if nobody says it.
    value: String,
    #[serde(flatten)]
    figures: Figures,
}

/// Errors of one kind.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ErrorKind)]
pub(crate) struct ErrorKindAnswer {
    /// 16 hexadecimal digits: the same for all errors of this kind.
    fingerprint: String,
    /// The type of the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_type: Option<String>,
    /// The text of the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// How the latest ended: `error`, `timeout`, `oom`, `crash`.
    #[schema(value_type = String)]
    outcome: &'static str,
    /// How many invocations failed with it.
    count: u64,
    /// RFC 3339: the first time, as far as anything is kept.
    first_seen: String,
    /// RFC 3339: the last time in the range.
    last_seen: String,
    /// Whether it was never seen before the range.
    is_new: bool,
    /// The latest invocation that failed with it.
    invocation_id: String,
    /// Its trace, 32 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

/// Something worth a look.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Insight)]
pub(crate) struct InsightAnswer {
    /// `out_of_memory`, `timed_out`, `high_errors`, `errors`, `near_memory`, `near_timeout`, `cold_starts`,
    /// `lost_telemetry`, `over_provisioned`.
    #[schema(value_type = String)]
    kind: &'static str,
    /// It in one sentence.
    text: String,
    /// The numbers that it rests on, by name; the unit stands last.
    #[schema(value_type = Object)]
    evidence: BTreeMap<&'static str, f64>,
}

/// Tells of one function.
#[utoipa::path(
    get, path = "/api/v1/functions/{function}", tag = "functions",
    params(("function" = String, Path, description = "Its name", example = "orders-api"), FunctionParams),
    responses(
        (status = 200, description = "The function", body = FunctionAnswer),
        (status = 400, description = "A parameter is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "Nothing ran under this name", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn function(
    State(state): State<ApiState>,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Response, Error> {
    let params = Params::of::<FunctionParams>(&uri)?;
    let range = whole_minutes(range_of(&params)?);
    let step = step_of(&params, range)?;
    let session = answer::unlimited_session(&state, "function");
    let now = rollups::read(&session, Some(&name), range).await?;
    let then = rollups::read(&session, Some(&name), before(range)).await?;
    if now.functions().next().is_none() && !ever(&session, &name).await? {
        return Err(Error::NotFound(format!("no function {name:?} is known")));
    }
    let rollups = now.of(&name);
    // Errors are told one by one: from the invocations themselves.
    let invocations = known(&session, &Which { function: Some(name.clone()), range }).await?;
    let failed: Vec<&Invocation> = invocations.within(range).filter(|i| i.outcome.is_failed()).collect();
    let all: Vec<&Invocation> = invocations.within(range).collect();
    let (errors_by_kind, cut) = errors(&session, &name, range, &failed).await?;
    let reason = now.reason.clone().or(then.reason.clone()).or(invocations.reason.clone()).or(cut);
    let stats = stats(&state, &name, range, &rollups, &all);
    let found = insights::of(&stats, &Thresholds::default()).into_iter().map(|insight| InsightAnswer {
        kind: insight.kind.name(),
        text: insight.text,
        evidence: insight.evidence.iter().map(|e| (e.name, e.value)).collect(),
    });
    let prices = state.engine.prices();
    json(&FunctionAnswer {
        summary: summary(&name, &now, &then),
        start: rfc3339(range.start.unwrap_or_default()),
        end: rfc3339(range.end.unwrap_or_default()),
        step_ns: step,
        series: series(&rollups, range, step),
        by_version: groups(&rollups, |key| key.version.clone()),
        by_trigger: groups(&rollups, |key| key.trigger.map(|t| t.name().to_owned()).unwrap_or_default()),
        by_region: groups(&rollups, |key| key.region.clone()),
        by_start_type: groups(&rollups, |key| key.start_type.name().to_owned()),
        errors_by_kind,
        insights: found.collect(),
        price_table: prices.version().to_owned(),
        currency: prices.currency().to_owned(),
        relative_error: hopline_stitch::invocation::RELATIVE_ERROR,
        complete: reason.is_none(),
        reason,
    })
}

fn step_of(params: &Params, range: TimeRange) -> Result<i64, Error> {
    let length = range.end.unwrap_or_default().saturating_sub(range.start.unwrap_or_default());
    let step = match params.duration("step")? {
        Some(step) if step < MINUTE_NS || step % MINUTE_NS != 0 => {
            return Err(bad("step", "must be one minute or several: invocations are counted by the minute"));
        }
        Some(step) => step,
        None => (length / 100 / MINUTE_NS).max(1) * MINUTE_NS,
    };
    if length / step >= STEPS_MAX {
        let steps = length / step + 1;
        let text = format!("is too short: there would be {steps} steps, and {STEPS_MAX} at most can be given");
        return Err(bad("step", &text));
    }
    Ok(step)
}

/// Whether anything is kept of a function, whenever it was.
async fn ever(session: &Session, name: &str) -> Result<bool, Error> {
    let mut conditions = Where::default();
    conditions.equals("function", Some(name));
    let sql = format!("SELECT time FROM invocations {} LIMIT 1", conditions.text());
    let rows = answer::rows(session, &sql, conditions.params()).await?;
    Ok(rows.iter().any(|batch| batch.num_rows() > 0))
}

type Counted<'a> = (&'a RollupKey, &'a Rollup);

fn series(rollups: &[Counted<'_>], range: TimeRange, step: i64) -> Vec<Step> {
    let start = range.start.unwrap_or_default();
    let mut steps: BTreeMap<i64, Vec<Counted<'_>>> = BTreeMap::new();
    for (key, rollup) in rollups {
        let at = key.minute.saturating_mul(MINUTE_NS).saturating_sub(start).div_euclid(step);
        steps.entry(at).or_default().push((key, rollup));
    }
    let step_of = |(at, rollups): (i64, Vec<Counted<'_>>)| Step {
        time: rfc3339(start.saturating_add(at.saturating_mul(step))),
        figures: Figures::of(rollups.iter().copied()),
    };
    steps.into_iter().map(step_of).collect()
}

fn groups(rollups: &[Counted<'_>], value: impl Fn(&RollupKey) -> String) -> Vec<Group> {
    let mut groups: BTreeMap<String, Vec<Counted<'_>>> = BTreeMap::new();
    rollups.iter().for_each(|(key, rollup)| groups.entry(value(key)).or_default().push((key, rollup)));
    let group =
        |(value, rollups): (String, Vec<Counted<'_>>)| Group { value, figures: Figures::of(rollups.iter().copied()) };
    groups.into_iter().map(group).collect()
}

/// The errors by kind, with when each was first seen.
async fn errors(
    session: &Session,
    name: &str,
    range: TimeRange,
    failed: &[&Invocation],
) -> Result<(Vec<ErrorKindAnswer>, Option<String>), Error> {
    let mut kinds: HashMap<u64, Vec<&Invocation>> = HashMap::new();
    for invocation in failed {
        if let Some(fingerprint) = invocation.fingerprint {
            kinds.entry(fingerprint).or_default().push(invocation);
        }
    }
    let mut kinds: Vec<(u64, Vec<&Invocation>)> = kinds.into_iter().collect();
    kinds.sort_by_key(|(fingerprint, of_kind)| (std::cmp::Reverse(of_kind.len()), *fingerprint));
    let reason = (kinds.len() > ERRORS_MAX).then(|| format!("the limit of {ERRORS_MAX} kinds of errors was reached"));
    kinds.truncate(ERRORS_MAX);
    let mut first_seen = first_seen(session, name, kinds.iter().map(|(fingerprint, _)| *fingerprint)).await?;
    for (fingerprint, of_kind) in &kinds {
        let outcome = of_kind.first().map(|i| i.outcome);
        if let (false, Some(outcome)) = (first_seen.contains_key(fingerprint), outcome) {
            first_seen.extend(first_told(session, name, outcome).await?.map(|first| (*fingerprint, first)));
        }
    }
    let kind = |(fingerprint, of_kind): &(u64, Vec<&Invocation>)| {
        let latest = of_kind.iter().max_by_key(|i| i.start_ns)?;
        let earliest = of_kind.iter().map(|i| i.start_ns).min()?;
        let before = first_seen.get(fingerprint).copied().filter(|first| *first < earliest);
        let is_new = before.is_none_or(|first| range.start.is_some_and(|start| first >= start));
        Some(ErrorKindAnswer {
            fingerprint: fingerprint::to_text(*fingerprint),
            error_type: latest.error_type.clone(),
            message: latest.error_message.clone(),
            outcome: latest.outcome.name(),
            count: of_kind.len() as u64,
            first_seen: rfc3339(before.unwrap_or(earliest)),
            last_seen: rfc3339(latest.start_ns),
            is_new,
            invocation_id: latest.id.clone(),
            trace_id: latest.trace_id.map(|id| id.to_string()),
        })
    };
    Ok((kinds.iter().filter_map(kind).collect(), reason))
}

/// When an end was first told of which no source gives an error: its fingerprint is that of the outcome.
async fn first_told(session: &Session, name: &str, outcome: Outcome) -> Result<Option<i64>, Error> {
    let mut conditions = Where::default();
    conditions.equals("function", Some(name));
    conditions.and(match outcome {
        Outcome::Timeout => "status = 'timeout'",
        Outcome::Oom => "out_of_memory IS NOT NULL",
        Outcome::Crash => "status = 'crash'",
        _ => "status = 'error' AND fingerprint IS NULL",
    });
    let sql = format!("SELECT min(time) AS first FROM invocations {}", conditions.text());
    for batch in answer::rows(session, &sql, conditions.params()).await? {
        let first = time(&batch, "first")?;
        if batch.num_rows() > 0 && first.is_valid(0) {
            return Ok(Some(first.value(0)));
        }
    }
    Ok(None)
}

async fn first_seen(
    session: &Session,
    name: &str,
    fingerprints: impl Iterator<Item = u64>,
) -> Result<HashMap<u64, i64>, Error> {
    let mut conditions = Where::default();
    conditions.equals("function", Some(name));
    let list: Vec<String> = fingerprints.map(|f| conditions.param(Param::Bytes(f.to_be_bytes().to_vec()))).collect();
    if list.is_empty() {
        return Ok(HashMap::new());
    }
    conditions.and(format!("fingerprint IN ({})", list.join(", ")));
    let sql =
        format!("SELECT fingerprint, min(time) AS first FROM invocations {} GROUP BY fingerprint", conditions.text());
    let mut first = HashMap::new();
    for batch in answer::rows(session, &sql, conditions.params()).await? {
        let (ids, times) = (Bytes::of(&batch, "fingerprint")?, time(&batch, "first")?);
        for row in 0..batch.num_rows() {
            let id = ids.get(row).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
            first.extend(id.map(|id| (id, times.value(row))));
        }
    }
    Ok(first)
}

/// What the advice is made of.
fn stats(
    state: &ApiState,
    name: &str,
    range: TimeRange,
    rollups: &[Counted<'_>],
    invocations: &[&Invocation],
) -> FunctionStats {
    let sum = |of: fn(&RollupKey, &Rollup) -> u64| rollups.iter().map(|(key, rollup)| of(key, rollup)).sum();
    let largest = |of: fn(&Rollup) -> u64| rollups.iter().map(|(_, rollup)| of(rollup)).max().unwrap_or(0);
    let latest = invocations.iter().max_by_key(|i| i.start_ns);
    let memory_size = invocations.iter().max_by_key(|i| (i.memory_size.is_some(), i.start_ns));
    let ran = invocations.iter().filter(|i| !i.timed_out).filter_map(|i| u64::try_from(i.duration_ns?).ok());
    let first = invocations.iter().map(|i| i.start_ns).min();
    let usage = latest.map(|i| Usage {
        provider: i.provider,
        region: i.region.as_deref(),
        architecture: i.architecture,
        init_type: i.init_type,
        start_ns: i.start_ns,
        billed_ns: i.billed_ns,
        memory_size: i.memory_size,
        memory_used: i.memory_used,
    });
    FunctionStats {
        function: name.to_owned(),
        range_ns: latest
            .zip(first)
            .map_or(0, |(latest, first)| latest.start_ns - first)
            .min(range.end.unwrap_or_default().saturating_sub(range.start.unwrap_or_default())),
        invocations: sum(|_, rollup| rollup.count),
        failed: sum(|key, rollup| if key.outcome.is_failed() { rollup.count } else { 0 }),
        timed_out: sum(|_, rollup| rollup.timed_out),
        out_of_memory: sum(|_, rollup| rollup.out_of_memory),
        starts_known: sum(|key, rollup| if key.start_type == StartType::Unknown { 0 } else { rollup.count }),
        cold: sum(|key, rollup| if key.start_type == StartType::Cold { rollup.count } else { 0 }),
        reported: sum(|_, rollup| rollup.reported),
        lost: sum(|_, rollup| rollup.lost),
        memory_size: memory_size.and_then(|i| u64::try_from(i.memory_size?).ok()).unwrap_or(0),
        memory_used_max: largest(|rollup| rollup.memory_used_max),
        duration_max_ns: ran.max(),
        limit_ns: invocations.iter().filter_map(|i| u64::try_from(i.limit_ns?).ok()).max(),
        billed_ns: sum(|_, rollup| rollup.billed_ns),
        gb_second: usage.and_then(|usage| state.engine.prices().gb_second(&usage)),
        other_sizes: other_sizes(invocations, memory_size.and_then(|i| i.memory_size)),
    }
}

/// Other sizes of memory that the function was seen with, and the median duration then.
fn other_sizes(invocations: &[&Invocation], size: Option<i64>) -> Vec<(u64, u64)> {
    let mut by_size: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for invocation in invocations.iter().filter(|i| i.memory_size.is_some() && i.memory_size != size) {
        let of = invocation.memory_size.zip(invocation.duration_ns);
        if let Some((Ok(size), Ok(took))) = of.map(|(size, took)| (u64::try_from(size), u64::try_from(took))) {
            by_size.entry(size).or_default().push(took);
        }
    }
    let median = |(size, mut took): (u64, Vec<u64>)| {
        took.sort_unstable();
        (size, took.get(took.len() / 2).copied().unwrap_or(0))
    };
    by_size.into_iter().map(median).collect()
}
