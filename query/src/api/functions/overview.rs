//! All functions at a glance, with the range of the same length before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use futures::{StreamExt, TryStreamExt, stream};
use hopline_stitch::invocation::StartType;
use hopline_stitch::invocation::rollup::{Rollup, RollupKey, cold_rate};
use http::Uri;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::throttles::{self, Throttled, ThrottlesAnswer};
use super::{before, range_of};
use crate::api::ApiState;
use crate::api::answer::{self, json, rfc3339};
use crate::api::params::{Params, TimeRange};
use crate::api::rollups::{self, Detail, Rollups, whole_minutes};
use crate::engine::Session;
use crate::error::{Error, Problem};

/// So many functions are summed up in one go.
const FUNCTIONS_AT_ONCE: usize = 128;
/// So many of these at once.
const PARTS_AT_ONCE: usize = 4;

/// What `/api/v1/functions` takes.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "start and end are read as a range")]
pub(crate) struct FunctionsParams {
    /// From here on, from a whole minute. Default: an hour before `end`.
    #[param(value_type = Option<String>, example = "-24h")]
    start: Option<i64>,
    /// Up to here, to a whole minute. Default: now.
    #[param(value_type = Option<String>)]
    end: Option<i64>,
    /// Functions in the answer.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 10000, default = 10000)]
    limit: usize,
}

/// Functions at a glance.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FunctionsAnswer {
    /// By name. Those that ran, or were throttled, in the range or in the one before.
    functions: Vec<FunctionSummary>,
    /// RFC 3339: the range, of whole minutes.
    start: String,
    /// RFC 3339: its end.
    end: String,
    /// The version of the price table by which costs were worked out.
    price_table: String,
    /// ISO 4217.
    currency: String,
    /// How far quantiles may be from the true ones, as a share of them.
    relative_error: f64,
    /// Whether these are all.
    complete: bool,
    /// Why the answer is not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// A function at a glance.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FunctionSummary {
    /// Its name; empty if nobody says it.
    pub(super) function: String,
    /// Its versions in the range.
    pub(super) versions: Vec<String>,
    /// Its regions in the range.
    pub(super) regions: Vec<String>,
    /// RFC 3339: when its last invocation in these ranges began.
    pub(super) last_seen: Option<String>,
    /// How often it was throttled in the range: calls that the platform refused, which are no invocations. Null where
    /// nobody tells.
    pub(super) throttles: Option<ThrottlesAnswer>,
    /// How often it was throttled in the range of the same length before.
    pub(super) throttles_before: Option<ThrottlesAnswer>,
    /// The figures of the range.
    #[serde(flatten)]
    pub(super) figures: Figures,
    /// The figures of the range of the same length before.
    pub(super) before: Figures,
}

/// What a group of invocations have together. A rate is null where there is nothing to divide by.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub(crate) struct Figures {
    /// How many.
    pub(super) invocations: u64,
    /// How many failed, in any way.
    pub(super) errors: u64,
    /// `errors / invocations`.
    pub(super) error_rate: Option<f64>,
    /// How many ran out of time.
    pub(super) timeouts: u64,
    /// How many ran out of memory.
    pub(super) out_of_memory: u64,
    /// How many of each start type: `cold`, `warm`, `preinit`, `restore`, `unknown`.
    #[schema(value_type = Object)]
    pub(super) start_types: BTreeMap<&'static str, u64>,
    /// `cold / (cold + warm + preinit + restore)`.
    pub(super) cold_rate: Option<f64>,
    /// The share of invocations whose start type is known.
    pub(super) cold_rate_coverage: Option<f64>,
    /// Nanoseconds of initialisations and restores: median.
    pub(super) init_p50_ns: Option<u64>,
    /// Nanoseconds of initialisations and restores: 95 of 100 are at most this long.
    pub(super) init_p95_ns: Option<u64>,
    /// Nanoseconds: median.
    pub(super) duration_p50_ns: Option<u64>,
    /// Nanoseconds: 95 of 100 are at most this long.
    pub(super) duration_p95_ns: Option<u64>,
    /// Nanoseconds: 99 of 100 are at most this long.
    pub(super) duration_p99_ns: Option<u64>,
    /// The most memory that one was given.
    pub(super) memory_size_bytes: Option<u64>,
    /// The most memory that one used.
    pub(super) memory_used_bytes: Option<u64>,
    /// Nanoseconds that are billed.
    pub(super) billed_ns: u64,
    /// What they cost; null if no cost is known.
    pub(super) cost: Option<f64>,
    /// How many of them have a cost.
    pub(super) costed: u64,
    /// How many were tries that began at most 16 minutes after another one with the same request id.
    pub(super) retries: u64,
    /// How many the platform reported.
    pub(super) reported: u64,
    /// How many the platform reported, and their span never came.
    pub(super) lost: u64,
}

impl Figures {
    /// The figures of a group of roll-ups.
    pub(super) fn of<'a>(rollups: impl IntoIterator<Item = (&'a RollupKey, &'a Rollup)> + Clone) -> Figures {
        let mut all = Rollup::default();
        let mut errors = 0;
        let mut start_types: BTreeMap<&'static str, u64> =
            StartType::ALL.iter().map(|start_type| (start_type.name(), 0)).collect();
        for (key, rollup) in rollups.clone() {
            all.merge(rollup);
            errors += if key.outcome.is_failed() { rollup.count } else { 0 };
            *start_types.entry(key.start_type.name()).or_default() += rollup.count;
        }
        let (cold_rate, cold_rate_coverage) = cold_rate(rollups);
        let known = |bytes: u64| (bytes > 0).then_some(bytes);
        let whole = |ns: Option<f64>| ns.map(|ns| ns.round() as u64);
        Figures {
            invocations: all.count,
            errors,
            error_rate: (all.count > 0).then(|| errors as f64 / all.count as f64),
            timeouts: all.timed_out,
            out_of_memory: all.out_of_memory,
            start_types,
            cold_rate,
            cold_rate_coverage,
            init_p50_ns: whole(all.init.quantile(0.5)),
            init_p95_ns: whole(all.init.quantile(0.95)),
            duration_p50_ns: whole(all.duration.quantile(0.5)),
            duration_p95_ns: whole(all.duration.quantile(0.95)),
            duration_p99_ns: whole(all.duration.quantile(0.99)),
            memory_size_bytes: known(all.memory_size_max),
            memory_used_bytes: known(all.memory_used_max),
            billed_ns: all.billed_ns,
            cost: all.cost(),
            costed: all.costed,
            retries: all.retries,
            reported: all.reported,
            lost: all.lost,
        }
    }
}

/// Gives all functions at a glance.
#[utoipa::path(
    get, path = "/api/v1/functions", tag = "functions", params(FunctionsParams),
    responses(
        (status = 200, description = "The functions", body = FunctionsAnswer),
        (status = 400, description = "A parameter is wrong", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn functions(State(state): State<ApiState>, uri: Uri) -> Result<Response, Error> {
    let params = Params::of::<FunctionsParams>(&uri)?;
    let range = whole_minutes(range_of(&params)?);
    let limit = params.limit("limit", 10_000, 10_000)?;
    let session = answer::unlimited_session(&state, "functions");
    let ranges = [range, before(range)];
    let ([now, then], throttled) =
        tokio::try_join!(rollups::read(&session, None, ranges, Detail::Whole), throttles::read(&session, range))?;
    let mut names: BTreeSet<&str> = [&now, &then].into_iter().flat_map(Rollups::functions).collect();
    names.extend(throttled.functions());
    let cut = (names.len() > limit).then(|| format!("the limit of {limit} functions was reached"));
    let reasons = [cut, now.reason.clone(), then.reason.clone(), throttled.reason.clone()];
    let reason = reasons.into_iter().flatten().next();
    let names: Vec<String> = names.into_iter().take(limit).map(str::to_owned).collect();
    let functions = summaries(&session, names, Arc::new((now, then, throttled))).await?;
    let prices = state.engine.prices();
    let TimeRange { start, end } = range;
    json(&FunctionsAnswer {
        functions,
        start: rfc3339(start.unwrap_or_default()),
        end: rfc3339(end.unwrap_or_default()),
        price_table: prices.version().to_owned(),
        currency: prices.currency().to_owned(),
        relative_error: hopline_stitch::invocation::RELATIVE_ERROR,
        complete: reason.is_none(),
        reason,
    })
}

/// Sums up functions beside each other: of many, that is most of the work.
async fn summaries(
    session: &Session,
    names: Vec<String>,
    of: Arc<(Rollups, Rollups, Throttled)>,
) -> Result<Vec<FunctionSummary>, Error> {
    let parts: Vec<Vec<String>> = names.chunks(FUNCTIONS_AT_ONCE).map(<[String]>::to_vec).collect();
    let parts = parts.into_iter().map(|names| {
        let of = Arc::clone(&of);
        session.engine().task(session.limits(), async move {
            let (now, then, throttled) = &*of;
            Ok(names.iter().map(|name| summary(name, now, then, throttled)).collect::<Vec<_>>())
        })
    });
    let parts: Vec<Vec<FunctionSummary>> = stream::iter(parts).buffered(PARTS_AT_ONCE).try_collect().await?;
    Ok(parts.into_iter().flatten().collect())
}

pub(super) fn summary(function: &str, now: &Rollups, then: &Rollups, throttled: &Throttled) -> FunctionSummary {
    let of_range = now.of(function);
    let distinct = |of: fn(&RollupKey) -> &str| {
        let values: BTreeSet<&str> = of_range.iter().map(|(key, _)| of(key)).filter(|v| !v.is_empty()).collect();
        values.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let last = [now, then].iter().flat_map(|r| r.of(function)).map(|(_, rollup)| rollup.last_start_ns).max();
    FunctionSummary {
        function: function.to_owned(),
        versions: distinct(|key| &key.version),
        regions: distinct(|key| &key.region),
        last_seen: last.map(rfc3339),
        throttles: throttled.now.get(function).cloned(),
        throttles_before: throttled.before.get(function).cloned(),
        figures: Figures::of(of_range.iter().map(|(key, rollup)| (*key, *rollup))),
        before: Figures::of(then.of(function).iter().map(|(key, rollup)| (*key, *rollup))),
    }
}
