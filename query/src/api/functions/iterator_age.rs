//! How far a function is behind its streams.
//!
//! Two sources, which measure not quite the same: the platform tells the age of the last record of each batch when the
//! function gets it; hops tell of each record whose sender is known how long it waited.

use arrow::array::Array;
use serde::Serialize;
use utoipa::ToSchema;

use super::cloudwatch::{self, ITERATOR_AGE, LABELS, Labels, PERIOD_MAX};
use crate::api::answer;
use crate::api::filter::Where;
use crate::api::hops::answer::WaitAnswer;
use crate::api::hops::count::Waits;
use crate::api::params::TimeRange;
use crate::engine::Session;
use crate::error::Error;
use crate::otlp::columns::{Items, Text, float64, time};

/// More points than these are not looked at for one answer.
const POINTS_MAX: usize = 1_000_000;

/// How far a function is behind its streams.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IteratorAge)]
pub(crate) struct IteratorAgeAnswer {
    /// By the platform's metric, over the whole range.
    metric: Option<MetricAge>,
    /// By the hops whose sender is known, since `hops.start`: how long their records waited.
    hops: Option<WaitAnswer>,
}

/// The age of a stream's records by a metric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct MetricAge {
    /// The metric's name.
    #[schema(value_type = String)]
    name: &'static str,
    /// Nanoseconds: the oldest.
    max_ns: u64,
}

/// The ages of what the function got in the range, nothing if it reads no stream, as far as anybody tells; and why not all
/// was looked at.
pub(super) async fn read(
    session: &Session,
    function: &str,
    range: TimeRange,
    waits: &Waits,
) -> Result<(Option<IteratorAgeAnswer>, Option<String>), Error> {
    let ends = range.end.map(|end| end.saturating_add(PERIOD_MAX));
    let reach = TimeRange { end: ends, ..range };
    let (metric, is_cut) = match cloudwatch::may_be_stored(session, ITERATOR_AGE, reach) {
        true => of_metric(session, function, range, reach, POINTS_MAX).await?,
        false => (None, false),
    };
    let hops = WaitAnswer::of(&waits.streams);
    let too_many =
        || format!("more than {POINTS_MAX} points of {ITERATOR_AGE} are in this range: ask for a shorter one");
    let age = (metric.is_some() || hops.is_some()).then_some(IteratorAgeAnswer { metric, hops });
    Ok((age, is_cut.then(too_many)))
}

/// The age that the points of the range tell. At most `points_max` are looked at, and whether there are more is told.
async fn of_metric(
    session: &Session,
    function: &str,
    range: TimeRange,
    reach: TimeRange,
    points_max: usize,
) -> Result<(Option<MetricAge>, bool), Error> {
    let mut conditions = Where::default();
    conditions.equals("name", Some(ITERATOR_AGE));
    conditions.range("time", reach);
    is_of(&mut conditions, function);
    let sql = format!(
        "SELECT type, unit, coalesce(start_time, time) AS began, value, max, quantiles, {LABELS} FROM metrics {} LIMIT {}",
        conditions.text(),
        points_max.saturating_add(1)
    );
    let mut oldest: Option<f64> = None;
    let mut points = 0_usize;
    for batch in answer::rows(session, &sql, conditions.params()).await? {
        points = points.saturating_add(batch.num_rows());
        let (labels, kinds, units) = (Labels::of(&batch)?, Text::of(&batch, "type")?, Text::of(&batch, "unit")?);
        let (began, values, greatest) = (time(&batch, "began")?, float64(&batch, "value")?, float64(&batch, "max")?);
        let quantiles = Items::of(&batch, "quantiles")?;
        let (quantile, of_quantile) = (quantiles.float64("quantile")?, quantiles.float64("value")?);
        for row in 0..batch.num_rows() {
            let at = began.value(row);
            let is_in = range.start.is_none_or(|start| at >= start) && range.end.is_none_or(|end| at < end);
            if !is_in || labels.function(row).as_deref() != Some(function) {
                continue;
            }
            let given = match kinds.or_empty(row) {
                "gauge" if labels.stat(row).is_some_and(|stat| stat != "Maximum") => None,
                "gauge" | "sum" => values.is_valid(row).then(|| values.value(row)),
                "summary" => {
                    let last = quantiles.range(row).find(|i| quantile.value(*i) >= 1.0);
                    last.map(|i| of_quantile.value(i))
                }
                _ => greatest.is_valid(row).then(|| greatest.value(row)),
            };
            let age = given.map(|age| age * unit_ns(units.or_empty(row))).filter(|age| age.is_finite());
            oldest = oldest.into_iter().chain(age).reduce(f64::max);
        }
    }
    let age = oldest.map(|age| MetricAge { name: ITERATOR_AGE, max_ns: age.max(0.0).round() as u64 });
    Ok((age, points > points_max))
}

/// The condition that a point is of the function, or may be: [`Labels`] tell for sure.
fn is_of(conditions: &mut Where, function: &str) {
    let name = conditions.param(function);
    // Names of AWS Lambda (API reference, `CreateFunction`: letters, digits, `-`, `_`) are the same in JSON.
    let is_plain = function.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    let dimensions = match is_plain {
        true => format!("strpos(attr_text('Dimensions'), {}) > 0", conditions.param(format!("\"{function}\""))),
        false => "attr_text('Dimensions') IS NOT NULL".to_owned(),
    };
    conditions.and(format!("(attr_text('FunctionName') = {name} OR {dimensions})"));
}

/// Nanoseconds of a unit; CloudWatch has milliseconds.
fn unit_ns(unit: &str) -> f64 {
    match unit {
        "s" => 1e9,
        "us" => 1e3,
        "ns" => 1.0,
        _ => 1e6,
    }
}

#[cfg(test)]
mod tests;
