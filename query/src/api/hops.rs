//! `/api/v1/hops`: who sends to whom, over what, and how long it waits there.
//!
//! Edges with an identity are counted from `hop_keys`; those that trace context alone tells,
//! from spans and their parents or links.
//!
//! - `read`: the keys that a count needs;
//! - `links`: what span links tell where no identity does;
//! - `lost`: what the platform tells of functions that were called and never sent their span;
//! - `failed`: which invocations failed, with all that they had received;
//! - `calls`: what trace context alone tells;
//! - `count`: the edges of a range;
//! - `answer`: an edge as it is told.

pub(super) mod answer;
mod calls;
pub(super) mod count;
mod failed;
mod links;
mod lost;
mod read;

use axum::extract::State;
use axum::response::Response;
use hopline_stitch::map::{EdgeKey, Traffic};
use http::Uri;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::answer::{self as answers, json, rfc3339};
use super::functions::range_of;
use super::params::Params;
use crate::error::{Error, Problem};
use answer::HopAnswer;
use count::{Scope, counted};

/// What `/api/v1/hops` takes.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "start and end are read as a range")]
pub(crate) struct HopsParams {
    /// What was received, or sent to nobody, from here on. Default: an hour before `end`. Its other side is looked for a
    /// day around the range, and of the latest 2,000 messages without one at any time.
    #[param(value_type = Option<String>, example = "-1h")]
    start: Option<i64>,
    /// Up to here. Default: now.
    #[param(value_type = Option<String>)]
    end: Option<i64>,
    /// Only edges from or to this function.
    #[param(value_type = Option<String>)]
    function: Option<String>,
    /// Only edges from or to this service.
    #[param(value_type = Option<String>)]
    service: Option<String>,
    /// Edges in the answer: those with the most calls.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 10000, default = 1000)]
    limit: usize,
}

/// Hops between functions and services.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HopsAnswer {
    /// Those with the most calls first.
    hops: Vec<HopAnswer>,
    /// RFC 3339: the range.
    start: String,
    /// RFC 3339: the range.
    end: String,
    /// How far quantiles may be from the true ones, as a share of them.
    relative_error: f64,
    /// Whether these are all.
    complete: bool,
    /// Why the answer is not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Counts hops between functions, services, queues, topics, streams, buckets and tables.
#[utoipa::path(
    get, path = "/api/v1/hops", tag = "flows", params(HopsParams),
    responses(
        (status = 200, description = "The hops", body = HopsAnswer),
        (status = 400, description = "A parameter is wrong", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn hops(State(state): State<ApiState>, uri: Uri) -> Result<Response, Error> {
    let params = Params::of::<HopsParams>(&uri)?;
    let range = range_of(&params)?;
    let limit = params.limit("limit", 1_000, 10_000)?;
    let owned = |name| Ok::<_, Error>(params.text(name)?.map(str::to_owned));
    let scope = Scope { range, function: owned("function")?, service: owned("service")? };
    let session = answers::unlimited_session(&state, "hops");
    let counted = counted(&session, &scope).await?;
    let mut reason = counted.reason;
    let is_wanted = |key: &EdgeKey| scope.holds(&key.from) || key.to.as_ref().is_some_and(|to| scope.holds(to));
    let (edges, is_cut) = busiest(counted.map.edges.iter().filter(|(key, _)| is_wanted(key)), limit);
    if is_cut {
        reason.get_or_insert_with(|| format!("the limit of {limit} edges was reached"));
    }
    json(&HopsAnswer {
        hops: edges.into_iter().map(|(key, traffic)| HopAnswer::of(key, traffic)).collect(),
        start: rfc3339(range.start.unwrap_or_default()),
        end: rfc3339(range.end.unwrap_or_default()),
        relative_error: hopline_stitch::invocation::RELATIVE_ERROR,
        complete: reason.is_none(),
        reason,
    })
}

/// The edges with the most calls, and whether there are more than `limit`.
pub(super) fn busiest<'a>(
    edges: impl Iterator<Item = (&'a EdgeKey, &'a Traffic)>,
    limit: usize,
) -> (Vec<(&'a EdgeKey, &'a Traffic)>, bool) {
    let mut edges: Vec<(&EdgeKey, &Traffic)> = edges.collect();
    edges.sort_by(|(a, x), (b, y)| (std::cmp::Reverse(x.calls), a).cmp(&(std::cmp::Reverse(y.calls), b)));
    let is_cut = edges.len() > limit;
    edges.truncate(limit);
    (edges, is_cut)
}
