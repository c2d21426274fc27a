//! Reads what is known of invocations, and brings it together.

use std::collections::HashMap;

use hopline_model::{Table, schema};
use hopline_stitch::facts::facts;
use hopline_stitch::invocation::{EnvironmentKey, Fact, Invocation, Merged, Past, Rules, merge};

use crate::api::answer;
use crate::api::filter::Where;
use crate::api::params::TimeRange;
use crate::engine::Session;
use crate::error::Error;
use crate::otlp::columns::{Text, time};

const MINUTE: i64 = 60_000_000_000;
const HOUR: i64 = 60 * MINUTE;

/// How long an invocation may run (AWS Lambda quotas: 15 minutes), and a minute for clocks.
const RUN_MAX: i64 = 16 * MINUTE;
/// How long before its first invocation an environment may be made ready.
const AHEAD_MAX: i64 = 6 * HOUR;
/// How long an environment lives, about: what came earlier in the same one is looked for this far back.
const LIFE_MAX: i64 = 24 * HOUR;
/// More facts than these are not brought together for one answer.
const FACTS_MAX: usize = 1_000_000;

/// Which invocations.
#[derive(Debug, Clone, Default)]
pub(in crate::api) struct Which {
    /// Of this function.
    pub(in crate::api) function: Option<String>,
    /// That began in this range.
    pub(in crate::api) range: TimeRange,
}

/// Invocations, and whether these are all.
pub(in crate::api) struct Known {
    pub(in crate::api) merged: Merged,
    /// Why these are not all.
    pub(in crate::api) reason: Option<String>,
}

impl Known {
    /// The invocations that began in `range`.
    pub(in crate::api) fn within(&self, range: TimeRange) -> impl Iterator<Item = &Invocation> {
        let is_in = move |invocation: &&Invocation| {
            range.start.is_none_or(|start| invocation.start_ns >= start)
                && range.end.is_none_or(|end| invocation.start_ns < end)
        };
        self.merged.invocations.iter().filter(is_in)
    }
}

/// All that is known of the invocations that began in a range.
pub(in crate::api) async fn known(session: &Session, which: &Which) -> Result<Known, Error> {
    let (mut found, reason) = rows(session, which).await?;
    found.extend(beginnings(session, which).await?);
    let past = past(session, which).await?;
    let of_past = |key: &EnvironmentKey| {
        // What was seen before is not among the facts: then the first of these is not the first.
        Past { first_start_ns: past.get(key).copied(), init_type: None }
    };
    let rules = Rules { past: &of_past, prices: Some(session.engine().prices()), ..Rules::default() };
    let merged = merge(&found, &rules);
    Ok(Known { merged, reason })
}

/// The facts of one invocation, and of its environment around it.
pub(in crate::api) async fn by_id(session: &Session, id: &str) -> Result<Option<Known>, Error> {
    let mut conditions = Where::default();
    conditions.equals("invocation_id", Some(id));
    let found = select(session, conditions, usize::MAX).await?;
    let Some(first) = found.iter().map(|fact| fact.time_ns).min() else { return Ok(None) };
    let last = found.iter().map(|fact| fact.time_ns).max().unwrap_or(first);
    // Its start type depends on what else ran in its environment.
    let function = found.iter().find_map(|fact| fact.function.clone());
    let range = TimeRange { start: Some(first - RUN_MAX), end: Some(last + RUN_MAX) };
    known(session, &Which { function, range }).await.map(Some)
}

async fn rows(session: &Session, which: &Which) -> Result<(Vec<Fact>, Option<String>), Error> {
    let mut conditions = Where::default();
    conditions.equals("function", which.function.as_deref());
    let range = TimeRange {
        start: which.range.start.map(|start| start.saturating_sub(RUN_MAX)),
        end: which.range.end.map(|end| end.saturating_add(RUN_MAX)),
    };
    conditions.range("time", range);
    let mut found = select(session, conditions, FACTS_MAX + 1).await?;
    let reason = (found.len() > FACTS_MAX).then(|| {
        format!(
            "more than {FACTS_MAX} facts are known of invocations in this range: ask for a shorter one, or one function"
        )
    });
    found.truncate(FACTS_MAX);
    Ok((found, reason))
}

/// Environments that were made ready before the range.
async fn beginnings(session: &Session, which: &Which) -> Result<Vec<Fact>, Error> {
    let Some(start) = which.range.start else { return Ok(Vec::new()) };
    let start = start.saturating_sub(RUN_MAX);
    let mut conditions = Where::default();
    conditions.equals("function", which.function.as_deref());
    conditions.range("time", TimeRange { start: Some(start.saturating_sub(AHEAD_MAX)), end: Some(start) });
    conditions.and("source IN ('init_span', 'init_start', 'init_report', 'restore_start', 'restore_report')");
    select(session, conditions, FACTS_MAX).await
}

/// When environments were first seen, of those that were seen before the range.
async fn past(session: &Session, which: &Which) -> Result<HashMap<EnvironmentKey, i64>, Error> {
    let Some(start) = which.range.start else { return Ok(HashMap::new()) };
    let start = start.saturating_sub(RUN_MAX);
    let mut conditions = Where::default();
    conditions.equals("function", which.function.as_deref());
    conditions.range("time", TimeRange { start: Some(start.saturating_sub(LIFE_MAX)), end: Some(start) });
    conditions.and("source IN ('span', 'start', 'runtime_done', 'report')");
    conditions.and("instance IS NOT NULL");
    let sql = format!(
        "SELECT function, instance, min(time) AS first FROM invocations {} GROUP BY function, instance",
        conditions.text()
    );
    let mut first = HashMap::new();
    for batch in answer::rows(session, &sql, conditions.params()).await? {
        let (functions, instances) = (Text::of(&batch, "function")?, Text::of(&batch, "instance")?);
        let times = time(&batch, "first")?;
        for row in 0..batch.num_rows() {
            let function = functions.or_empty(row).to_owned();
            let instance = instances.or_empty(row).to_owned();
            first.insert(EnvironmentKey { function, instance }, times.value(row));
        }
    }
    Ok(first)
}

async fn select(session: &Session, conditions: Where, limit: usize) -> Result<Vec<Fact>, Error> {
    let schema = schema::of(Table::Invocations);
    let columns: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let limit = if limit == usize::MAX { String::new() } else { format!("LIMIT {limit}") };
    let sql = format!("SELECT {} FROM invocations {} {limit}", columns.join(", "), conditions.text());
    let mut found = Vec::new();
    for batch in answer::rows(session, &sql, conditions.params()).await? {
        found.extend(facts(&batch).map_err(|e| Error::Internal(Box::new(e)))?);
    }
    Ok(found)
}
