//! Reads what is known of invocations, and brings it together.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hopline_model::{SpanId, Table, schema};
use hopline_stitch::facts::facts;
use hopline_stitch::invocation::{
    EnvironmentKey, Fact, Invocation, LIFE_MAX_NS, Merged, RUN_MAX_NS, Rules, Source, merge,
};
use hopline_stitch::key::{Key, Kind};

use crate::api::answer;
use crate::api::filter::Where;
use crate::api::params::TimeRange;
use crate::engine::Session;
use crate::error::Error;
use crate::otlp::columns::{Text, int64, time};
use crate::sql::params::Param;

const MINUTE: i64 = 60_000_000_000;
const HOUR: i64 = 60 * MINUTE;

/// How long an invocation may run.
pub(in crate::api) const RUN_MAX: i64 = RUN_MAX_NS;
/// Of so many facts the latest invocations are brought together.
const LATEST: usize = 200;
/// More facts than these are not brought together for one answer.
pub(crate) const FACTS_MAX: usize = 1_000_000;

/// Which invocations.
#[derive(Debug, Clone, Default)]
pub(crate) struct Which {
    /// Of these functions; of all if none is named.
    pub(crate) functions: Vec<String>,
    /// That began in this range.
    pub(crate) range: TimeRange,
}

/// Invocations, and whether these are all.
pub(crate) struct Known {
    pub(crate) merged: Merged,
    /// Log records that the platform says it dropped in the range.
    pub(crate) dropped_records: i64,
    /// Why these are not all.
    pub(crate) reason: Option<String>,
}

impl Known {
    /// The invocations that began in `range`.
    pub(crate) fn within(&self, range: TimeRange) -> impl Iterator<Item = &Invocation> {
        let is_in = move |invocation: &&Invocation| {
            range.start.is_none_or(|start| invocation.start_ns >= start)
                && range.end.is_none_or(|end| invocation.start_ns < end)
        };
        self.merged.invocations.iter().filter(is_in)
    }
}

/// All that is known of the invocations that began in a range.
pub(crate) async fn known(session: &Session, which: &Which) -> Result<Known, Error> {
    known_of(session, which, FACTS_MAX).await
}

/// The same of `facts_max` facts at most.
pub(crate) async fn known_of(session: &Session, which: &Which, facts_max: usize) -> Result<Known, Error> {
    known_with(session, Vec::new(), std::slice::from_ref(which), facts_max).await
}

/// All that is known of the invocations of each `which`, and of those of which `found` tells.
async fn known_with(
    session: &Session,
    mut found: Vec<Fact>,
    which: &[Which],
    facts_max: usize,
) -> Result<Known, Error> {
    let mut is_cut = false;
    let mut past = HashMap::new();
    let mut dropped = BTreeSet::new();
    for which in which {
        let (facts, beginnings, of_past) =
            tokio::try_join!(rows(session, which, facts_max), beginnings(session, which), self::past(session, which))?;
        is_cut |= facts.len() > facts_max || beginnings.len() > FACTS_MAX;
        dropped.extend(facts.iter().filter(|fact| which.is_dropping(fact)).cloned());
        found.extend(facts.into_iter().take(facts_max));
        found.extend(beginnings.into_iter().take(FACTS_MAX));
        past.extend(of_past);
    }
    let of_past = |key: &EnvironmentKey| {
        // What was seen before is not among the facts: then the first of these is not the first.
        past.get(key).copied()
    };
    let rules = Rules { past: &of_past, prices: Some(session.engine().prices()), ..Rules::default() };
    let merged = merge(&found, &rules);
    let reason = is_cut.then(|| {
        format!(
            "more than {facts_max} facts are known of invocations in this range: ask for a shorter one, or one function"
        )
    });
    let dropped_records = dropped.iter().filter_map(|fact| fact.dropped_records).fold(0, i64::saturating_add);
    Ok(Known { merged, dropped_records, reason })
}

impl Which {
    fn of_functions(&self, conditions: &mut Where) {
        let functions: Vec<String> = self.functions.iter().map(|f| conditions.param(f.as_str())).collect();
        match functions.as_slice() {
            [] => {}
            [function] => conditions.and(format!("function = {function}")),
            functions => conditions.and(format!("function IN ({})", functions.join(", "))),
        }
    }

    /// The facts that are told of these invocations and meet a condition, which may take up the text of the others.
    fn with(&self, condition: impl FnOnce(&str) -> String) -> Where {
        let mut conditions = Where::default();
        self.of_functions(&mut conditions);
        conditions.range("time", around(self.range));
        let own = conditions.text();
        conditions.and(condition(&own));
        conditions
    }

    /// Whether the fact tells of records that were dropped in the range.
    fn is_dropping(&self, fact: &Fact) -> bool {
        fact.source == Source::LogsDropped
            && self.range.start.is_none_or(|start| fact.time_ns >= start)
            && self.range.end.is_none_or(|end| fact.time_ns < end)
    }
}

/// The facts of one invocation, and of its environment around it. One without a request id is known by its span.
pub(super) async fn by_id(session: &Session, id: &str) -> Result<Option<Known>, Error> {
    let mut conditions = Where::default();
    conditions.equals("invocation_id", Some(id));
    let mut found = select(session, conditions).await?;
    if let (true, Ok(span)) = (found.is_empty(), id.parse::<SpanId>()) {
        let mut conditions = Where::default();
        conditions.equals("span_id", Some(span));
        conditions.and("invocation_id IS NULL AND source = 'span'");
        found = select(session, conditions).await?;
    }
    // Its start type depends on what else ran in its environment.
    let mut of_functions: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for fact in &found {
        let function = fact.function.clone().unwrap_or_default();
        let (first, last) = of_functions.entry(function).or_insert((fact.time_ns, fact.time_ns));
        (*first, *last) = ((*first).min(fact.time_ns), (*last).max(fact.time_ns));
    }
    if of_functions.is_empty() {
        return Ok(None);
    }
    let which = |(function, (first, last)): (String, (i64, i64))| {
        let range = TimeRange { start: Some(first.saturating_sub(RUN_MAX)), end: Some(last.saturating_add(RUN_MAX)) };
        Which { functions: vec![function], range }
    };
    let which: Vec<Which> = of_functions.into_iter().map(which).collect();
    known_with(session, found, &which, FACTS_MAX).await.map(Some)
}

/// An event waits for its function so long at most before its last try (AWS Lambda Developer Guide, asynchronous
/// invocation: maximum age of event).
pub(in crate::api) const AGE_MAX: i64 = 6 * HOUR;

/// What is told of the invocations with these ids that ran about in the range; of `functions` alone, if any are given.
/// One more fact than [`FACTS_MAX`] if there are more.
pub(in crate::api) async fn with_ids<'a>(
    session: &Session,
    ids: impl Iterator<Item = &'a str>,
    functions: &BTreeSet<&str>,
    range: TimeRange,
) -> Result<Vec<Fact>, Error> {
    super::by_id::told_of(session, ids, functions, widened(around(range), AGE_MAX), FACTS_MAX).await
}

/// What is told of the invocations that ran in these environments (function, instance) in the range.
pub(in crate::api) async fn in_environments(
    session: &Session,
    environments: &BTreeSet<(&str, &str)>,
    range: TimeRange,
) -> Result<Vec<Fact>, Error> {
    if environments.is_empty() {
        return Ok(Vec::new());
    }
    let mut conditions = Where::default();
    conditions.range("time", around(range));
    let functions: BTreeSet<&str> = environments.iter().map(|(function, _)| *function).collect();
    let functions: Vec<String> = functions.into_iter().map(|function| conditions.param(function)).collect();
    let instances: Vec<String> = environments.iter().map(|(_, instance)| conditions.param(*instance)).collect();
    conditions.and(format!("function IN ({})", functions.join(", ")));
    conditions.and(format!("instance IN ({})", instances.join(", ")));
    select(session, conditions).await
}

/// What is told of the invocations of a function around the range of which some try has no span; and, where an environment
/// is not named by its log stream, what else is told of it: spans may say which log stream that is.
pub(in crate::api) async fn without_spans(
    session: &Session,
    function: &str,
    range: TimeRange,
) -> Result<Vec<Fact>, Error> {
    let mut conditions = Where::default();
    conditions.equals("function", Some(function));
    conditions.range("time", around(range));
    let around_range = conditions.text();
    conditions.and(lacks_span(&around_range));
    let mut found = select(session, conditions).await?;
    let names = found.iter().filter_map(|fact| fact.instance.clone()).filter(|name| !name.contains('/'));
    let instances: BTreeSet<String> = names.collect();
    if !instances.is_empty() {
        let mut conditions = Where::default();
        conditions.equals("function", Some(function));
        conditions.range("time", widened(around(range), AGE_MAX));
        let of_function = conditions.text();
        let instances: Vec<String> = instances.iter().map(|name| conditions.param(name.as_str())).collect();
        conditions.and(format!(
            "invocation_id IN (SELECT invocation_id FROM invocations {of_function} AND instance IN ({}))",
            instances.join(", ")
        ));
        found.extend(select(session, conditions).await?);
    }
    Ok(found)
}

/// What is told of one try lies within its duration and so many nanoseconds more: tries follow each other after longer.
const ONE_TRY_SLACK: i64 = 1_000_000_000;

/// The condition that a fact is of an invocation of which some try may have no span, by what is told of it where `condition`
/// (`WHERE …`) holds. Of the tries with one id, some may have one.
pub(in crate::api) fn lacks_span(condition: &str) -> String {
    let count = |source: &str, of: &str| format!("count(DISTINCT CASE WHEN source = '{source}' THEN {of} END)");
    let (starts, reports, spans) = (count("start", "time"), count("report", "time"), count("span", "span_id"));
    // Some functions tell only by a line of their own how they ended.
    let logs = count("log", "time");
    // Of several tries some may have a span and no record, and others records and no span.
    let extent = format!(
        "(CAST(max(time) AS BIGINT) - CAST(min(time) AS BIGINT) > coalesce(max(duration), 0) + {ONE_TRY_SLACK} \
         AND {starts} + {reports} > 0)"
    );
    format!(
        "invocation_id IN (SELECT invocation_id FROM invocations {condition} AND invocation_id IS NOT NULL \
         AND source IN ('start', 'report', 'span', 'log') GROUP BY invocation_id \
         HAVING {starts} > {spans} OR {reports} > {spans} OR ({spans} = 0 AND {logs} > 0) OR {extent})"
    )
}

pub(in crate::api) fn widened(range: TimeRange, by: i64) -> TimeRange {
    TimeRange {
        start: range.start.map(|start| start.saturating_sub(by)),
        end: range.end.map(|end| end.saturating_add(by)),
    }
}

/// The range in which is told what ran in `range`.
fn around(range: TimeRange) -> TimeRange {
    TimeRange {
        start: range.start.map(|start| start.saturating_sub(RUN_MAX)),
        end: range.end.map(|end| end.saturating_add(RUN_MAX)),
    }
}

/// Whether a span is stored that ran or called the invocation with this id.
pub(in crate::api) async fn has_keys(session: &Session, id: &str) -> Result<bool, Error> {
    let mut conditions = Where::default();
    conditions.equals("key_hash", Some(Param::Bytes(Key::new(Kind::Lambda, id).hash().0.to_vec())));
    conditions.and("trace_id IS NOT NULL");
    let sql = format!("SELECT trace_id FROM hop_keys {} LIMIT 1", conditions.text());
    let rows = answer::rows(session, &sql, conditions.params()).await?;
    Ok(rows.iter().any(|batch| batch.num_rows() > 0))
}

/// The facts of the range and a little around it; one more than `facts_max` if there are more.
async fn rows(session: &Session, which: &Which, facts_max: usize) -> Result<Vec<Fact>, Error> {
    let mut conditions = Where::default();
    which.of_functions(&mut conditions);
    conditions.range("time", around(which.range));
    select_some(session, conditions, facts_max).await
}

/// The condition that a fact tells of the beginning of an environment.
const TELLS_BEGINNING: &str =
    "source IN ('init_span', 'init_start', 'init_report', 'restore_start', 'restore_report', 'init_metric')";

/// Environments that were made ready before the range.
async fn beginnings(session: &Session, which: &Which) -> Result<Vec<Fact>, Error> {
    let Some(start) = which.range.start else { return Ok(Vec::new()) };
    let start = start.saturating_sub(RUN_MAX);
    let mut conditions = Where::default();
    which.of_functions(&mut conditions);
    conditions.range("time", TimeRange { start: Some(start.saturating_sub(LIFE_MAX_NS)), end: Some(start) });
    conditions.and(TELLS_BEGINNING);
    select(session, conditions).await
}

/// Facts by which alone one can tell that an invocation failed (`hopline_stitch::invocation`), and lines without a request
/// id that may tell why. Null where that is not the case.
const TELLS_FAILURE: &str = "(status <> 'ok' OR out_of_memory IS NOT NULL OR error_type = 'Runtime.ExitError' \
                             OR (invocation_id IS NULL AND source = 'log'))";

/// The same of facts with a request id.
const NAMED_FAILURE: &str = "invocation_id IS NOT NULL AND (status <> 'ok' OR out_of_memory IS NOT NULL \
                             OR error_type = 'Runtime.ExitError')";

/// Invocations that failed, and whether these are all.
pub(crate) struct Failed {
    pub(crate) invocations: Vec<Invocation>,
    /// Why these are not all.
    pub(crate) reason: Option<String>,
}

/// The invocations that began in the range and failed. What is told of those that did not is not read, but where something
/// without a request id may be of one or the other. Of their start types nothing is said.
pub(crate) async fn failed(session: &Session, which: &Which, facts_max: usize) -> Result<Failed, Error> {
    let mut found = select_some(session, which.with(|_| TELLS_FAILURE.to_owned()), facts_max).await?;
    let mut is_cut = found.len() > facts_max;
    found.truncate(facts_max);
    let mut steps = if found.is_empty() { &[][..] } else { &OF_FAILURES[..] };
    while let Some((condition, rest)) = steps.split_first() {
        let facts = select_some(session, which.with(|of_which| condition.text(of_which)), facts_max).await?;
        is_cut |= facts.len() > facts_max;
        found.extend(facts.into_iter().take(facts_max));
        steps = rest;
        if steps.is_empty() && !condition.is_of_homes && found.iter().any(|fact| fact.invocation_id.is_none()) {
            steps = &HOMES;
        }
    }
    let merged = merge(&found, &Rules::default());
    let reason = is_cut.then(|| {
        format!("more than {facts_max} facts are known of invocations that failed in this range: ask for a shorter one")
    });
    let known = Known { merged, dropped_records: 0, reason };
    let invocations = known.within(which.range).filter(|i| i.outcome.is_failed()).cloned().collect();
    Ok(Failed { invocations, reason: known.reason })
}

/// What else is read with facts that tell of a failure.
struct Also {
    facts: &'static str,
    /// That have in common with some facts: which column, and which facts.
    common: &'static [(&'static str, &'static str)],
    is_of_homes: bool,
}

/// The other facts of the same invocations, and those without a request id that may be of one.
const OF_FAILURES: [Also; 3] = [
    Also { facts: "invocation_id IS NOT NULL", common: &[("invocation_id", TELLS_FAILURE)], is_of_homes: false },
    Also { facts: "invocation_id IS NULL", common: &[("instance", NAMED_FAILURE)], is_of_homes: false },
    Also { facts: "invocation_id IS NULL", common: &[("trace_id", NAMED_FAILURE)], is_of_homes: false },
];

/// The invocations that what has no request id may be of instead.
const HOMES: [Also; 2] = [
    Also {
        facts: "invocation_id IS NOT NULL",
        common: &[("instance", "invocation_id IS NULL"), ("instance", TELLS_FAILURE)],
        is_of_homes: true,
    },
    Also { facts: "invocation_id IS NOT NULL", common: &[("trace_id", "invocation_id IS NULL")], is_of_homes: true },
];

impl Also {
    /// The condition, beside those of `of_which`.
    fn text(&self, of_which: &str) -> String {
        let mut text = format!("{TELLS_FAILURE} IS NOT TRUE AND {}", self.facts);
        for (column, facts) in self.common {
            text += &format!(
                " AND {column} IN (SELECT {column} FROM invocations {of_which} AND {facts} AND {column} IS NOT NULL)"
            );
        }
        text
    }
}

/// Some of the last invocations of a function that began in the range, the latest at the end.
pub(crate) async fn latest(session: &Session, which: &Which) -> Result<Vec<Invocation>, Error> {
    let mut conditions = Where::default();
    which.of_functions(&mut conditions);
    conditions.range("time", which.range);
    conditions.and("source IN ('span', 'start', 'runtime_done', 'report')");
    let sql = format!("SELECT {} FROM invocations {} ORDER BY time DESC LIMIT {LATEST}", columns(), conditions.text());
    let mut found = of_rows(session, &sql, conditions).await?;
    let instances: BTreeSet<String> = found.iter().filter_map(|fact| fact.instance.clone()).collect();
    if !instances.is_empty() {
        let mut conditions = Where::default();
        which.of_functions(&mut conditions);
        let start = found.iter().map(|fact| fact.time_ns).min().map(|first| first.saturating_sub(LIFE_MAX_NS));
        conditions.range("time", TimeRange { start, ..which.range });
        let instances: Vec<String> = instances.iter().map(|instance| conditions.param(instance.as_str())).collect();
        conditions.and(format!("instance IN ({})", instances.join(", ")));
        conditions.and(TELLS_BEGINNING);
        found.extend(select(session, conditions).await?);
    }
    let known = Known { merged: merge(&found, &Rules::default()), dropped_records: 0, reason: None };
    Ok(known.within(which.range).cloned().collect())
}

/// A size of memory that a function was seen with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemorySize {
    pub(crate) bytes: u64,
    /// When it was seen last.
    pub(crate) last_ns: i64,
    /// The median duration of the invocations that had it, about.
    pub(crate) duration_p50_ns: u64,
}

/// The sizes of memory that a function was seen with in the range: by the platform's reports, else by its spans.
pub(crate) async fn memory_sizes(session: &Session, which: &Which) -> Result<Vec<MemorySize>, Error> {
    for source in [Source::Report, Source::Span] {
        let mut conditions = Where::default();
        which.of_functions(&mut conditions);
        conditions.range("time", which.range);
        conditions.equals("source", Some(source.name()));
        conditions.and("memory_size > 0");
        let sql = format!(
            "SELECT memory_size, max(time) AS last, p50(duration) AS median FROM invocations {} GROUP BY memory_size",
            conditions.text()
        );
        let mut found = Vec::new();
        for batch in answer::rows(session, &sql, conditions.params()).await? {
            let (sizes, medians) = (int64(&batch, "memory_size")?, int64(&batch, "median")?);
            let last = time(&batch, "last")?;
            let number = |value: i64| u64::try_from(value).unwrap_or(0);
            found.extend((0..batch.num_rows()).map(|row| MemorySize {
                bytes: number(sizes.value(row)),
                last_ns: last.value(row),
                duration_p50_ns: number(medians.value(row)),
            }));
        }
        if !found.is_empty() {
            found.sort_by_key(|size| size.bytes);
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// When the last invocations of environments began before the range.
async fn past(session: &Session, which: &Which) -> Result<HashMap<EnvironmentKey, i64>, Error> {
    let Some(start) = which.range.start else { return Ok(HashMap::new()) };
    let start = start.saturating_sub(RUN_MAX);
    let mut conditions = Where::default();
    which.of_functions(&mut conditions);
    conditions.range("time", TimeRange { start: Some(start.saturating_sub(LIFE_MAX_NS)), end: Some(start) });
    conditions.and("source IN ('span', 'start', 'runtime_done', 'report')");
    conditions.and("instance IS NOT NULL");
    // Records of an end tell the begin as well: whichever of them lies in the range.
    let began =
        "CAST(time AS BIGINT) - CASE WHEN source IN ('runtime_done', 'report') THEN coalesce(duration, 0) ELSE 0 END";
    let sql = format!(
        "SELECT function, instance, max({began}) AS last FROM invocations {} GROUP BY function, instance",
        conditions.text()
    );
    let mut last = HashMap::new();
    for batch in answer::rows(session, &sql, conditions.params()).await? {
        let (functions, instances) = (Text::of(&batch, "function")?, Text::of(&batch, "instance")?);
        let times = int64(&batch, "last")?;
        for row in 0..batch.num_rows() {
            let function = functions.or_empty(row).to_owned();
            let instance = instances.or_empty(row).to_owned();
            last.insert(EnvironmentKey { function, instance }, times.value(row));
        }
    }
    Ok(last)
}

/// Facts; one more than [`FACTS_MAX`] if there are more.
pub(in crate::api) async fn select(session: &Session, conditions: Where) -> Result<Vec<Fact>, Error> {
    select_some(session, conditions, FACTS_MAX).await
}

/// Facts; one more than `facts_max` if there are more.
async fn select_some(session: &Session, conditions: Where, facts_max: usize) -> Result<Vec<Fact>, Error> {
    let sql = format!("SELECT {} FROM invocations {} LIMIT {}", columns(), conditions.text(), facts_max + 1);
    of_rows(session, &sql, conditions).await
}

fn columns() -> String {
    let schema = schema::of(Table::Invocations);
    schema.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>().join(", ")
}

async fn of_rows(session: &Session, sql: &str, conditions: Where) -> Result<Vec<Fact>, Error> {
    let mut found = Vec::new();
    for batch in answer::rows(session, sql, conditions.params()).await? {
        found.extend(facts(&batch).map_err(|e| Error::Internal(Box::new(e)))?);
    }
    Ok(found)
}
