//! One function in full: figures over time, errors, advice.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::response::Response;
use hopline_stitch::invocation::rollup::{MINUTE_NS, Rollup, RollupKey};
use http::Uri;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::advice::{InsightAnswer, Known};
use super::around::{FunctionHops, hops};
use super::errors::{self, ErrorKindAnswer};
use super::iterator_age::{self, IteratorAgeAnswer};
use super::overview::{Figures, FunctionSummary, summary};
use super::throttles;
use super::{before, range_of};
use crate::api::ApiState;
use crate::api::answer::{self, json, rfc3339};
use crate::api::filter::Where;
use crate::api::hops::answer::WaitAnswer;
use crate::api::invocations::read::{FACTS_MAX, Which, failed, latest, memory_sizes};
use crate::api::params::{Params, TimeRange, bad};
use crate::api::rollups::{self, Detail, whole_minutes};
use crate::engine::Session;
use crate::error::{Error, Problem};

/// Most steps of a series.
const STEPS_MAX: i64 = 11_000;

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
    /// Who calls and sends to it, and to whom it sends: over a day until its last invocation in the range, or over the
    /// last 200,000 or so, if that is shorter.
    hops: FunctionHops,
    /// How long messages had waited that set it off, over the same time; null if there were none of which that is known.
    waited: Option<WaitAnswer>,
    /// How far it is behind its streams; null if it reads none, as far as anybody tells.
    iterator_age: Option<IteratorAgeAnswer>,
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
    // What went well is counted; errors are told one by one.
    let which = Which { functions: vec![name.clone()], range };
    let ([now, then], throttled, failed, latest, sizes) = tokio::try_join!(
        rollups::read(&session, Some(&name), [range, before(range)], Detail::Minutes),
        throttles::read(&session, range),
        failed(&session, &which, FACTS_MAX),
        latest(&session, &which),
        memory_sizes(&session, &which),
    )?;
    let is_known = !now.functions().is_empty() || throttled.now.contains_key(&name);
    if !is_known && !ever(&session, &name).await? {
        return Err(Error::NotFound(format!("no function {name:?} is known")));
    }
    let rollups = now.of(&name);
    let ((errors_by_kind, cut), (hops, waits, uncounted)) = tokio::try_join!(
        errors::by_kind(&session, &name, range, &failed.invocations),
        hops(&session, &name, range, &rollups),
    )?;
    let (iterator_age, age_cut) = iterator_age::read(&session, &name, range, &waits).await?;
    let prices = state.engine.prices();
    let known = Known {
        function: &name,
        rollups: &rollups,
        failed: &failed.invocations,
        latest: &latest,
        sizes: &sizes,
        prices,
    };
    let counts = [now.reason.clone(), then.reason.clone(), failed.reason, cut, uncounted, throttled.reason.clone()];
    let reason = counts.into_iter().chain([age_cut]).flatten().next();
    json(&FunctionAnswer {
        summary: summary(&name, &now, &then, &throttled),
        start: rfc3339(range.start.unwrap_or_default()),
        end: rfc3339(range.end.unwrap_or_default()),
        step_ns: step,
        series: series(&rollups, range, step),
        by_version: groups(&rollups, |key| key.version.clone()),
        by_trigger: groups(&rollups, |key| key.trigger.map(|t| t.name().to_owned()).unwrap_or_default()),
        by_region: groups(&rollups, |key| key.region.clone()),
        by_start_type: groups(&rollups, |key| key.start_type.name().to_owned()),
        errors_by_kind,
        hops,
        waited: WaitAnswer::of(&waits.all),
        iterator_age,
        insights: known.insights(),
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
