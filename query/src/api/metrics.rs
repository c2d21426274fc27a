//! `/api/v1/metrics`: which metrics there are, and their values over time.

mod buckets;
mod fold;
mod points;

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use axum::response::Response;
use futures::StreamExt;
use http::Uri;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::answer::{self, json, rfc3339};
use super::filter::{AttributeFilter, Where};
use super::params::{Params, TimeRange, bad, refuse};
use super::search::{attributes, one_of};
use crate::error::{Error, Problem};
use crate::otlp::columns::{Text, boolean};
use crate::sql::params::Param;
use fold::{Agg, Fold, Steps};

const SECOND: i64 = 1_000_000_000;
/// Most metrics in one answer.
const METRICS_MAX: usize = 10_000;
/// Most steps of one series.
const STEPS_MAX: i64 = 11_000;
/// Most series in one answer.
const SERIES_MAX: usize = 1_000;
/// Words for the types of metrics.
const TYPES: [&str; 5] = ["gauge", "sum", "histogram", "exponential_histogram", "summary"];
/// Points at least this long before the start are read, to tell what came on top of them.
const LOOK_BACK: i64 = 300 * SECOND;

/// What `/api/v1/metrics` takes.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct MetricsParams {
    /// Metrics of this service.
    service: Option<String>,
    /// Metrics whose name begins like this.
    prefix: Option<String>,
    /// Metrics with a point then or later.
    #[param(value_type = Option<String>, example = "-1h")]
    start: Option<i64>,
    /// Metrics with a point earlier.
    #[param(value_type = Option<String>)]
    end: Option<i64>,
    /// Metrics in the answer.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 10000, default = 10000)]
    limit: usize,
}

/// The metrics.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MetricsAnswer {
    /// By name.
    metrics: Vec<Metric>,
    /// Whether these are all.
    complete: bool,
    /// Why the answer is not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// A metric.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Metric {
    /// Its name.
    name: String,
    /// `gauge`, `sum`, `histogram`, `exponential_histogram` or `summary`.
    #[serde(rename = "type")]
    kind: String,
    /// Its unit.
    unit: String,
    /// `delta` or `cumulative`; absent for gauges and summaries.
    #[serde(skip_serializing_if = "Option::is_none")]
    temporality: Option<String>,
    /// Whether a sum only rises.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_monotonic: Option<bool>,
    /// What it says about itself.
    description: String,
    /// The services that send it.
    services: BTreeSet<String>,
}

/// Name, type, unit, temporality, whether it only rises.
type MetricKey = (String, String, String, Option<String>, Option<bool>);

/// Lists metrics. One that is sent with two types, units or temporalities is listed twice.
#[utoipa::path(
    get, path = "/api/v1/metrics", tag = "metrics", params(MetricsParams),
    responses(
        (status = 200, description = "Metrics", body = MetricsAnswer),
        (status = 400, description = "A parameter is wrong", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn metrics(State(state): State<ApiState>, uri: Uri) -> Result<Response, Error> {
    let params = Params::of::<MetricsParams>(&uri)?;
    let TimeRange { start, end } = params.range()?;
    let owned = |name| Ok::<_, Error>(params.text(name)?.map(str::to_owned));
    let limit = params.limit("limit", METRICS_MAX, METRICS_MAX)?;
    let asked = MetricsParams { service: owned("service")?, prefix: owned("prefix")?, start, end, limit };
    let session = answer::session(&state, "metrics");
    let mut conditions = Where::default();
    conditions.equals("service", asked.service.as_deref());
    if let Some(prefix) = &asked.prefix {
        let prefix = conditions.param(prefix.as_str());
        conditions.and(format!("starts_with(name, {prefix})"));
    }
    conditions.range("time", TimeRange { start: asked.start, end: asked.end });
    let columns = "name, type, unit, temporality, is_monotonic, description, service";
    let sql = format!("SELECT {columns} FROM metrics {} GROUP BY {columns}", conditions.text());
    let mut found: BTreeMap<MetricKey, (String, BTreeSet<String>)> = BTreeMap::new();
    for batch in answer::rows(&session, &sql, conditions.params()).await? {
        let (name, kind, unit) = (Text::of(&batch, "name")?, Text::of(&batch, "type")?, Text::of(&batch, "unit")?);
        let (temporality, is_monotonic) = (Text::of(&batch, "temporality")?, boolean(&batch, "is_monotonic")?);
        let (description, service) = (Text::of(&batch, "description")?, Text::of(&batch, "service")?);
        for row in 0..batch.num_rows() {
            let [name, kind, unit] = [&name, &kind, &unit].map(|text| text.or_empty(row).to_owned());
            let is_monotonic = is_monotonic.iter().nth(row).flatten();
            let key = (name, kind, unit, temporality.get(row).map(str::to_owned), is_monotonic);
            let (text, services) = found.entry(key).or_default();
            // Of several descriptions the longest.
            if description.or_empty(row).len() > text.len() {
                description.or_empty(row).clone_into(text);
            }
            services.insert(service.or_empty(row).to_owned());
        }
    }
    let complete = found.len() <= asked.limit;
    let metrics = found.into_iter().take(asked.limit);
    let metrics = metrics.map(|((name, kind, unit, temporality, is_monotonic), (description, services))| Metric {
        name,
        kind,
        unit,
        temporality,
        is_monotonic,
        description,
        services,
    });
    let reason = (!complete).then(|| format!("the limit of {} metrics was reached", asked.limit));
    json(&MetricsAnswer { metrics: metrics.collect(), complete, reason })
}

/// What `/api/v1/metrics/query` takes.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct QueryParams {
    /// The metric's name.
    #[param(required = true)]
    name: String,
    /// The metric's type, needed where several are sent under one name.
    #[param(rename = "type", value_type = Option<MetricType>)]
    kind: Option<&'static str>,
    /// Points of this service. Repeatable: of any of them.
    #[param(required = false, style = Form, explode)]
    service: Vec<String>,
    /// Points of this function.
    function: Option<String>,
    /// A condition on an attribute of the point: `key=value`, `key!=value`, `key>1`, `key`, `!key`. Repeatable.
    #[param(value_type = Vec<String>, required = false, style = Form, explode)]
    attr: Vec<AttributeFilter>,
    /// A condition on an attribute of the resource, written like `attr`. Repeatable.
    #[param(value_type = Vec<String>, required = false, style = Form, explode)]
    resource_attr: Vec<AttributeFilter>,
    /// How the points of a step become one value: `avg`, `sum`, `min`, `max`, `count`, `rate`, or a quantile
    /// such as `p50`, `p99` or `p99.9`. Default: `rate` for sums that rise, `p50` for distributions, else `avg`.
    #[param(value_type = Option<String>, example = "p99")]
    agg: Option<Agg>,
    /// Labels that make a series each: `service`, `function`, or an attribute's key. Repeatable, or with commas.
    #[param(value_type = Vec<String>, required = false, style = Form, explode, example = json!(["service"]))]
    by: Vec<String>,
    /// The start of the first step. Default: an hour before the end.
    #[param(value_type = Option<String>, example = "-1h")]
    start: i64,
    /// The end of the last step. Default: now.
    #[param(value_type = Option<String>)]
    end: i64,
    /// The length of a step. Default: a hundredth of the range, at least a second.
    #[param(value_type = Option<String>, example = "1m")]
    step: i64,
}

/// A type of metrics.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[allow(dead_code, reason = "only described")]
pub(crate) enum MetricType {
    Gauge,
    Sum,
    Histogram,
    ExponentialHistogram,
    Summary,
}

impl QueryParams {
    fn read(params: &Params) -> Result<Self, Error> {
        let TimeRange { start, end } = params.range()?;
        let end = end.unwrap_or(params.now());
        let start = start.unwrap_or(end.saturating_sub(3_600 * SECOND));
        let length = end.saturating_sub(start);
        if length <= 0 {
            return Err(bad("start", "must be earlier than the end, which is now if none is given"));
        }
        let step = params.duration("step")?.unwrap_or((length / 100 / SECOND).max(1) * SECOND);
        if step <= 0 {
            return Err(bad("step", "must be longer than nothing"));
        }
        if length / step >= STEPS_MAX {
            return Err(bad(
                "step",
                &format!(
                    "is too short: there would be {} steps, and {STEPS_MAX} at most can be given",
                    length / step + 1
                ),
            ));
        }
        let by = params.all("by").flat_map(|text| text.split(',')).map(str::trim).filter(|key| !key.is_empty());
        let name = params.text("name")?.ok_or_else(|| bad("name", "is needed: the name of a metric"))?;
        Ok(Self {
            name: name.to_owned(),
            kind: params.word("type", &TYPES)?,
            service: params.all("service").map(str::to_owned).collect(),
            function: params.text("function")?.map(str::to_owned),
            attr: attributes(params, "attr")?,
            resource_attr: attributes(params, "resource_attr")?,
            agg: params.value("agg", parse_agg)?,
            by: by.map(str::to_owned).collect(),
            start,
            end,
            step,
        })
    }

    fn conditions(&self, read_from: i64) -> Where {
        let mut conditions = Where::default();
        conditions.equals("name", Some(self.name.as_str()));
        conditions.equals("type", self.kind);
        one_of(&mut conditions, "service", &self.service);
        conditions.equals("function", self.function.as_deref());
        conditions.range("time", TimeRange { start: Some(read_from), end: Some(self.end) });
        self.attr.iter().for_each(|filter| conditions.attribute(filter));
        self.resource_attr.iter().for_each(|filter| conditions.resource_attribute(filter));
        conditions
    }
}

fn parse_agg(text: &str) -> Result<Agg, String> {
    let expected = || "avg, sum, min, max, count, rate or a quantile such as p99 was expected".to_owned();
    match text.to_ascii_lowercase().as_str() {
        "avg" => Ok(Agg::Avg),
        "sum" => Ok(Agg::Sum),
        "min" => Ok(Agg::Min),
        "max" => Ok(Agg::Max),
        "count" => Ok(Agg::Count),
        "rate" => Ok(Agg::Rate),
        other => {
            let percent = other.strip_prefix('p').and_then(|n| n.parse::<f64>().ok()).ok_or_else(expected)?;
            if (0.0..=100.0).contains(&percent) { Ok(Agg::Quantile(percent / 100.0)) } else { Err(expected()) }
        }
    }
}

/// The values of a metric over time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QueryAnswer {
    /// The metric's name.
    name: String,
    /// How the points of a step became one value.
    agg: String,
    /// RFC 3339: the start of the first step.
    start: String,
    /// RFC 3339: the end of the last step.
    end: String,
    /// The length of a step in nanoseconds.
    step_ns: i64,
    /// By labels.
    series: Vec<SeriesAnswer>,
    /// Whether these are all series.
    complete: bool,
    /// Why the answer is not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// A series.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SeriesAnswer {
    /// The labels of `by`; null where a point has no such attribute.
    #[schema(value_type = Object)]
    labels: BTreeMap<String, Option<String>>,
    /// `[start of the step in ms since 1970, value]`; steps without points are left out. A value that is
    /// NaN or infinite is null.
    #[schema(value_type = Vec<Vec<Option<f64>>>)]
    points: Vec<(i64, f64)>,
}

/// Gives the values of a metric over time, a value a step.
///
/// Cumulative sums and histograms are turned into what came in each step, resets included; points
/// up to a step, at least five minutes, before `start` are read for that.
#[utoipa::path(
    get, path = "/api/v1/metrics/query", tag = "metrics", params(QueryParams),
    responses(
        (status = 200, description = "Series", body = QueryAnswer),
        (status = 400, description = "A parameter is wrong", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn query(State(state): State<ApiState>, uri: Uri) -> Result<Response, Error> {
    let params = Params::of::<QueryParams>(&uri)?;
    let asked = QueryParams::read(&params)?;
    let session = answer::unlimited_session(&state, "metrics_query");
    let steps = Steps {
        start: asked.start,
        end: asked.end,
        step: asked.step,
        read_from: asked.start.saturating_sub(asked.step.max(LOOK_BACK)),
    };
    let mut conditions = asked.conditions(steps.read_from);
    let text = conditions.text();
    let labels = asked.by.iter().enumerate().map(|(i, key)| match key.as_str() {
        "service" | "function" => format!("CAST({key} AS VARCHAR) AS label_{i}"),
        key => format!("attr_text({}) AS label_{i}", conditions.param(Param::from(key))),
    });
    let columns: Vec<String> = points::COLUMNS.iter().map(|c| (*c).to_owned()).chain(labels).collect();
    let sql = format!("SELECT {} FROM metrics {text} ORDER BY series_id, time", columns.join(", "));
    let mut answer = session.sql(&sql, conditions.params()).await?;
    let mut fold: Option<Fold> = None;
    let mut agg = asked.agg;
    let mut kinds = BTreeSet::new();
    while let Some(batch) = answer.stream.next().await {
        let batch = batch?;
        points::kinds(&batch, &mut kinds)?;
        if kinds.len() > 1 {
            let kinds: Vec<_> = kinds.into_iter().collect();
            let which = format!("is sent as {}: choose with type={}", kinds.join(" and as "), kinds.join(" or type="));
            return Err(refuse("name", &asked.name, &which));
        }
        for point in points::of(&batch, asked.by.len())? {
            let agg = *agg.get_or_insert_with(|| points::usual_agg(&point));
            fold.get_or_insert_with(|| Fold::new(steps, agg, SERIES_MAX)).push(point);
        }
    }
    let agg = agg.unwrap_or(Agg::Avg);
    let fold = fold.unwrap_or_else(|| Fold::new(steps, agg, SERIES_MAX));
    if fold.levels && agg == Agg::Rate {
        return Err(bad("agg", "cannot be rate: this metric is a level, not a counter"));
    }
    if fold.numbers && matches!(agg, Agg::Quantile(_)) {
        return Err(bad("agg", "cannot be a quantile: this metric has single values, no distribution"));
    }
    let reason = fold
        .left_out
        .then(|| format!("there are more than {SERIES_MAX} series: choose fewer labels in by, or more conditions"));
    let series = fold.finish().into_iter().map(|series| SeriesAnswer {
        labels: asked.by.iter().cloned().zip(series.labels).collect(),
        points: series.points.into_iter().map(|(time, value)| (time.div_euclid(1_000_000), value)).collect(),
    });
    json(&QueryAnswer {
        name: asked.name,
        agg: agg_name(agg),
        start: rfc3339(asked.start),
        end: rfc3339(asked.end),
        step_ns: asked.step,
        series: series.collect(),
        complete: reason.is_none(),
        reason,
    })
}

fn agg_name(agg: Agg) -> String {
    match agg {
        Agg::Avg => "avg".to_owned(),
        Agg::Sum => "sum".to_owned(),
        Agg::Min => "min".to_owned(),
        Agg::Max => "max".to_owned(),
        Agg::Count => "count".to_owned(),
        Agg::Rate => "rate".to_owned(),
        Agg::Quantile(q) => format!("p{}", (q * 1e8).round() / 1e6),
    }
}
