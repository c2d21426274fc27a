//! How often functions were throttled: calls that the platform refused because too many ran.
//!
//! They are no invocations. The platform counts them in a metric; of functions for which there is none, callers' spans
//! tell the calls that failed for it. Never both of one function: the metric has all of them, a caller its own.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::Array;
use hopline_stitch::hops::function_name;
use serde::Serialize;
use utoipa::ToSchema;

use super::before;
use super::cloudwatch::{self, LABEL_NAMES, LABELS, Labels, PERIOD_MAX, THROTTLES};
use crate::api::answer;
use crate::api::filter::Where;
use crate::api::params::TimeRange;
use crate::engine::Session;
use crate::error::Error;
use crate::otlp::columns::{Bytes, Text, float64, time};

/// The attribute by which a span says which function it calls.
const INVOKED: &str = "faas.invoked_name";
/// How long before a range the points of totals are read that it is counted from, as for `/metrics/query`.
const LOOK_BACK: i64 = 300_000_000_000;
/// In so long before the end of a range a metric tells of all functions that it tells of.
const NAMED_WITHIN: i64 = 3_600_000_000_000;
/// More rows than these are not counted for one answer.
const ROWS_MAX: usize = 1_000_000;
/// What AWS Lambda says to a call that it throttles (API reference, `Invoke`: `TooManyRequestsException`, status 429).
const IS_THROTTLED: &str = "(http_response_status_code = 429 OR error_type LIKE '%TooManyRequests%' \
                            OR exception_type LIKE '%TooManyRequests%' OR status_message LIKE '%TooManyRequests%')";

/// How often a function was throttled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Throttles)]
pub(crate) struct ThrottlesAnswer {
    /// How many calls were refused.
    pub(super) count: u64,
    /// Who says it: `metric` (CloudWatch's `Throttles`), or `spans` of callers, which know only of their own calls.
    #[schema(value_type = String)]
    pub(super) source: &'static str,
}

/// How often functions were throttled, by name.
pub(super) type ByFunction = BTreeMap<String, ThrottlesAnswer>;

/// Throttled calls in a range and in the one of the same length before.
#[derive(Debug)]
pub(super) struct Throttled {
    pub(super) now: ByFunction,
    pub(super) before: ByFunction,
    /// Why these are not all.
    pub(super) reason: Option<String>,
}

impl Throttled {
    /// The functions that were throttled.
    pub(super) fn functions(&self) -> impl Iterator<Item = &str> {
        let of_ranges = self.now.iter().chain(&self.before);
        of_ranges.filter(|(_, throttles)| throttles.count > 0).map(|(function, _)| function.as_str())
    }
}

/// Reads who was throttled in `range` and in the range before. Where nothing of the kind is stored, no row is read.
pub(super) async fn read(session: &Session, range: TimeRange) -> Result<Throttled, Error> {
    let mut counts = Counts { ranges: [range, before(range)], found: Default::default(), rows: 0 };
    if cloudwatch::may_be_stored(session, THROTTLES, reach(counts.whole(), LOOK_BACK)) {
        counts.metric(session).await?;
    }
    let metric = std::mem::take(&mut counts.found);
    if cloudwatch::may_have(session, INVOKED, counts.whole()) {
        counts.spans(session).await?;
    }
    let [mut now, mut before] = std::mem::take(&mut counts.found).map(|found| answers(found, "spans"));
    let [metric_now, metric_before] = metric.map(|found| answers(found, "metric"));
    now.extend(metric_now);
    before.extend(metric_before);
    let too_many = || format!("more than {ROWS_MAX} throttled calls are in this range: ask for a shorter one");
    Ok(Throttled { now, before, reason: (counts.rows > ROWS_MAX).then(too_many) })
}

fn answers(found: BTreeMap<String, f64>, source: &'static str) -> ByFunction {
    let answer = |(function, count): (String, f64)| (function, ThrottlesAnswer { count: count.round() as u64, source });
    found.into_iter().map(answer).collect()
}

/// The range, from so long before it until the end of periods that began in it.
fn reach(range: TimeRange, back: i64) -> TimeRange {
    TimeRange {
        start: range.start.map(|start| start.saturating_sub(back)),
        end: range.end.map(|end| end.saturating_add(PERIOD_MAX)),
    }
}

struct Counts {
    /// The one that is asked for, and the one before.
    ranges: [TimeRange; 2],
    found: [BTreeMap<String, f64>; 2],
    rows: usize,
}

impl Counts {
    fn whole(&self) -> TimeRange {
        let [now, before] = self.ranges;
        TimeRange { start: before.start, end: now.end }
    }

    /// Counts what was at a time.
    fn add(&mut self, function: String, at: i64, count: f64) {
        let is_in =
            |range: &TimeRange| range.start.is_none_or(|start| at >= start) && range.end.is_none_or(|end| at < end);
        let found = self.ranges.iter().zip(&mut self.found).find(|(range, _)| is_in(range));
        if let Some((_, found)) = found {
            *found.entry(function).or_default() += count;
        }
    }

    async fn metric(&mut self, session: &Session) -> Result<(), Error> {
        self.periods(session).await?;
        self.totals(session).await?;
        for at in 0..self.ranges.len() {
            let Some(range) = self.ranges.get(at).copied() else { continue };
            for function in named(session, range).await? {
                if let Some(found) = self.found.get_mut(at) {
                    found.entry(function).or_default();
                }
            }
        }
        Ok(())
    }

    /// Points that tell of a period of their own. One that came twice counts once.
    async fn periods(&mut self, session: &Session) -> Result<(), Error> {
        let mut conditions = Where::default();
        conditions.equals("name", Some(THROTTLES));
        conditions.range("time", reach(self.whole(), 0));
        conditions.and("(temporality IS NULL OR temporality = 'delta') AND (sum > 0 OR value > 0)");
        let sql = format!(
            "SELECT type, began, {LABEL_NAMES}, max(total) AS total FROM (SELECT type, series_id, time, \
             coalesce(start_time, time) AS began, coalesce(sum, value) AS total, {LABELS} FROM metrics {}) p \
             GROUP BY type, series_id, time, began, {LABEL_NAMES} LIMIT {}",
            conditions.text(),
            ROWS_MAX + 1
        );
        for batch in answer::rows(session, &sql, conditions.params()).await? {
            let (labels, kinds) = (Labels::of(&batch)?, Text::of(&batch, "type")?);
            let (began, totals) = (time(&batch, "began")?, float64(&batch, "total")?);
            self.rows += batch.num_rows();
            for row in 0..batch.num_rows() {
                // A gauge is one statistic of several.
                let is_sum = kinds.get(row) != Some("gauge") || labels.stat(row) == Some("Sum");
                if let (Some(function), true, true) = (labels.function(row), is_sum, totals.is_valid(row)) {
                    self.add(function, began.value(row), totals.value(row));
                }
            }
        }
        Ok(())
    }

    /// Points that tell a total since their start: what a collector makes of the others.
    async fn totals(&mut self, session: &Session) -> Result<(), Error> {
        let read = reach(self.whole(), LOOK_BACK);
        let mut conditions = Where::default();
        conditions.equals("name", Some(THROTTLES));
        conditions.range("time", read);
        conditions.and("temporality = 'cumulative'");
        let sql = format!(
            "SELECT series_id, time, start_time, coalesce(sum, value) AS total, {LABELS} FROM metrics {} \
             ORDER BY series_id, time LIMIT {}",
            conditions.text(),
            ROWS_MAX + 1
        );
        let mut last: Option<Total> = None;
        for batch in answer::rows(session, &sql, conditions.params()).await? {
            let (labels, series) = (Labels::of(&batch)?, Bytes::of(&batch, "series_id")?);
            let (times, starts) = (time(&batch, "time")?, time(&batch, "start_time")?);
            let totals = float64(&batch, "total")?;
            self.rows += batch.num_rows();
            for row in (0..batch.num_rows()).filter(|row| totals.is_valid(*row)) {
                let total = Total {
                    series: series.get(row).unwrap_or_default().to_vec(),
                    at: times.value(row),
                    since: starts.is_valid(row).then(|| starts.value(row)),
                    value: totals.value(row),
                };
                let rise = total.rise(last.as_ref(), read.start.unwrap_or(i64::MIN));
                if let (Some(function), Some(rise)) = (labels.function(row), rise) {
                    self.add(function, total.at, rise);
                }
                last = Some(total);
            }
        }
        Ok(())
    }

    /// Calls that failed because they were throttled. A span that was stored twice is one, and so are two of one request.
    async fn spans(&mut self, session: &Session) -> Result<(), Error> {
        let mut conditions = Where::default();
        conditions.range("start_time", self.whole());
        conditions.and("status_code = 'ERROR' AND faas_invoked_name IS NOT NULL");
        conditions.and(IS_THROTTLED);
        let columns = "faas_invoked_name, start_time, aws_request_id, trace_id, span_id";
        let sql = format!("SELECT {columns} FROM spans {} LIMIT {}", conditions.text(), ROWS_MAX + 1);
        let mut seen = BTreeSet::new();
        for batch in answer::rows(session, &sql, conditions.params()).await? {
            let (callees, requests) = (Text::of(&batch, "faas_invoked_name")?, Text::of(&batch, "aws_request_id")?);
            let (traces, spans) = (Bytes::of(&batch, "trace_id")?, Bytes::of(&batch, "span_id")?);
            let times = time(&batch, "start_time")?;
            self.rows += batch.num_rows();
            for row in 0..batch.num_rows() {
                let request = match requests.get(row).filter(|id| !id.is_empty()) {
                    Some(request) => request.as_bytes().to_vec(),
                    None => [traces.get(row), spans.get(row)].into_iter().flatten().flatten().copied().collect(),
                };
                if seen.insert(request) {
                    self.add(function_name(callees.or_empty(row)).to_owned(), times.value(row), 1.0);
                }
            }
        }
        Ok(())
    }
}

/// The functions that the metric tells of in the last hour of a range: of those it tells that nothing was throttled.
async fn named(session: &Session, range: TimeRange) -> Result<BTreeSet<String>, Error> {
    let start = range.end.map(|end| end.saturating_sub(NAMED_WITHIN)).max(range.start);
    let mut conditions = Where::default();
    conditions.equals("name", Some(THROTTLES));
    conditions.range("time", TimeRange { start, ..range });
    let sql = format!(
        "SELECT DISTINCT {LABEL_NAMES} FROM (SELECT {LABELS} FROM metrics {}) p LIMIT {ROWS_MAX}",
        conditions.text()
    );
    let mut names = BTreeSet::new();
    for batch in answer::rows(session, &sql, conditions.params()).await? {
        let labels = Labels::of(&batch)?;
        names.extend((0..batch.num_rows()).filter_map(|row| labels.function(row)));
    }
    Ok(names)
}

/// A total since a start.
struct Total {
    series: Vec<u8>,
    at: i64,
    since: Option<i64>,
    value: f64,
}

impl Total {
    /// What came on top of the point before, as `/metrics/query` takes it: all of it after a new start or a fall, nothing
    /// that is known of the first point unless it began within what was read.
    fn rise(&self, before: Option<&Total>, read_from: i64) -> Option<f64> {
        match before.filter(|before| before.series == self.series) {
            None => self.since.filter(|since| *since >= read_from && *since > 0).map(|_| self.value),
            Some(before) if self.since.is_some_and(|since| since >= before.at && before.at < self.at) => {
                Some(self.value)
            }
            Some(before) if self.value >= before.value => Some(self.value - before.value),
            Some(_) => Some(self.value),
        }
    }
}
