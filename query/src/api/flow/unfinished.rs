//! Invocations that ran out of time or crashed before they sent their span: what the platform tells of them, the
//! spans that they left without a parent, and the span that called them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use arrow::array::RecordBatch;
use hopline_model::{SpanId, TraceId};
use hopline_stitch::flow::{Flow, FlowSpan, Seed};
use hopline_stitch::invocation::{Fact, Invocation, Merged, Rules, merge};
use hopline_stitch::key::{Direction, Key, Kind};
use hopline_stitch::span::SpanKind;

use crate::api::answer;
use crate::api::filter::Where;
use crate::api::invocations::read::{FACTS_MAX, RUN_MAX, has_keys, in_environments, with_ids, without_spans};
use crate::api::params::TimeRange;
use crate::engine::Session;
use crate::error::Error;
use crate::otlp::columns::{Bytes, Text, time};
use crate::sql::params::Param;

/// Of spans without a parent, and of calls that nobody answered, no more are looked into for one flow.
const LOOKED_AT_MAX: usize = 100;

/// Of so many lost invocations is looked for what they left in other traces, and for their other tries.
const LOST_MAX: usize = 10;

/// What began sooner after it was sent is the first try.
const AGAIN_MIN_NS: i64 = 1_000_000_000;

/// The environment in which a span ran, in SQL.
const INSTANCE: &str = "coalesce(resource_attr_text('faas.instance'), resource_attr_text('service.instance.id'))";

/// An invocation whose span never came.
pub(super) struct Unfinished {
    pub(super) invocation: Invocation,
    /// What it left: spans whose parent would be its own.
    pub(super) spans: Vec<(TraceId, SpanId)>,
    /// Who called it.
    pub(super) caller: Option<(TraceId, SpanId)>,
}

impl Unfinished {
    /// A span by which it is found: one of its own, else its caller's.
    pub(super) fn place(&self) -> Option<(TraceId, SpanId)> {
        self.spans.first().copied().or(self.caller)
    }
}

/// The invocations of a flow whose span never came, by their start, and whether more is told of them than was read. The
/// edges of the flow are told which try they led to.
pub(super) async fn unfinished(session: &Session, flow: &mut Flow) -> Result<(Vec<Unfinished>, bool), Error> {
    let (orphans, calls, tried) = (orphans(flow), calls(flow), tried(flow));
    if orphans.is_empty() && calls.is_empty() && tried.is_empty() {
        return Ok((Vec::new(), false));
    }
    let instances = instances(session, &orphans).await?;
    let all = TimeRange { start: Some(flow.start_ns), end: Some(flow.end_ns) };
    let is_tried = |span: &&FlowSpan| span.invocation_id.as_ref().is_some_and(|id| tried.contains_key(id));
    let functions: BTreeSet<&str> = flow.spans.iter().filter(is_tried).filter_map(|s| s.function.as_deref()).collect();
    let mut told = Told::default();
    told.add(with_ids(session, tried.keys().map(String::as_str), &functions, all).await?);
    // Who was called and never answered may be of any function.
    told.add(with_ids(session, calls.keys().map(String::as_str), &BTreeSet::new(), all).await?);
    of_orphans(session, &orphans, &instances, &mut told).await?;
    let mut merged = merge(&told.facts, &Rules::default());
    let left_by = |merged: &Merged, span: &FlowSpan| {
        let instance = instances.get(&(span.trace_id, span.span_id)).map_or("", String::as_str);
        merged.lost_at(span.function.as_deref()?, instance, span.start_ns).cloned()
    };
    // Other tries of what left something here were lost as well.
    let is_new = |id: &String| !id.is_empty() && !calls.contains_key(id) && !tried.contains_key(id);
    let lost: BTreeSet<String> = orphans.iter().filter_map(|span| left_by(&merged, span)).map(|i| i.id).collect();
    let lost: BTreeSet<String> = lost.into_iter().filter(is_new).collect();
    if !lost.is_empty() {
        told.add(with_ids(session, lost.iter().map(String::as_str), &BTreeSet::new(), all).await?);
        merged = merge(&told.facts, &Rules::default());
    }
    let mut found: BTreeMap<(i64, String, u32), Unfinished> = BTreeMap::new();
    let mut add = |invocation: &Invocation, span: Option<&FlowSpan>| {
        let key = (invocation.start_ns, invocation.id.clone(), invocation.attempt);
        let caller = || calls.get(&invocation.id).copied().or(tried.get(&invocation.id).copied().flatten());
        let fresh = || Unfinished { invocation: invocation.clone(), spans: Vec::new(), caller: caller() };
        let of_invocation = found.entry(key).or_insert_with(fresh);
        of_invocation.spans.extend(span.map(|span| (span.trace_id, span.span_id)));
    };
    let is_known = |id: &String| calls.contains_key(id) || tried.contains_key(id) || lost.contains(id);
    let is_sought = |i: &&Invocation| !i.has_span && is_known(&i.id);
    merged.invocations.iter().filter(is_sought).for_each(|i| add(i, None));
    for span in &orphans {
        left_by(&merged, span).iter().for_each(|lost| add(lost, Some(span)));
    }
    // Tries may be in one trace.
    let with_spans = merged.invocations.iter().filter(|i| i.has_span);
    let tries: HashMap<(TraceId, SpanId), u32> =
        with_spans.filter_map(|i| Some(((i.trace_id?, i.span_id?), i.attempt))).collect();
    flow.note_tries(|end| tries.get(&(end.trace_id, end.root_span_id)).copied());
    Ok((found.into_values().collect(), told.is_cut))
}

/// What was read of invocations.
#[derive(Default)]
struct Told {
    facts: Vec<Fact>,
    /// Whether there is more.
    is_cut: bool,
}

impl Told {
    /// Adds what one question was answered with.
    fn add(&mut self, facts: Vec<Fact>) {
        self.is_cut |= facts.len() > FACTS_MAX;
        self.facts.extend(facts);
    }
}

/// What is told of the invocations that may have left these spans.
async fn of_orphans(
    session: &Session,
    orphans: &[&FlowSpan],
    instances: &BTreeMap<(TraceId, SpanId), String>,
    told: &mut Told,
) -> Result<(), Error> {
    let environments: BTreeSet<(&str, &str)> = orphans
        .iter()
        .filter_map(|span| Some((span.function.as_deref()?, instances.get(&(span.trace_id, span.span_id))?.as_str())))
        .collect();
    let starts = || orphans.iter().map(|span| span.start_ns);
    let range = TimeRange { start: starts().min(), end: starts().max() };
    told.add(in_environments(session, &environments, range).await?);
    let functions: BTreeSet<&str> = orphans.iter().filter_map(|span| span.function.as_deref()).collect();
    for function in functions.into_iter().take(LOST_MAX) {
        let starts = || orphans.iter().filter(|s| s.function.as_deref() == Some(function)).map(|s| s.start_ns);
        let range = TimeRange { start: starts().min(), end: starts().max() };
        told.add(without_spans(session, function, range).await?);
    }
    Ok(())
}

/// What else belongs to the story of a flow: what its lost invocations left behind in other traces, and their other tries.
pub(super) async fn elsewhere(session: &Session, flow: &Flow, unfinished: &[Unfinished]) -> Result<Vec<Seed>, Error> {
    let mut seeds = Vec::new();
    for lost in unfinished.iter().take(LOST_MAX) {
        let id = &lost.invocation.id;
        if lost.spans.is_empty() {
            let trace = left(session, &lost.invocation).await?;
            seeds.extend(trace.filter(|trace| !flow.traces.contains(trace)).map(Seed::Trace));
        } else if lost.caller.is_none()
            && !flow.spans.iter().any(|span| span.invocation_id.as_ref() == Some(id))
            && has_keys(session, id).await?
        {
            seeds.push(Seed::Keys(vec![Key::new(Kind::Lambda, id).hash()]));
        }
    }
    Ok(seeds)
}

/// The trace of what the invocation with this id left whose span never came.
pub(in crate::api) async fn left_by(session: &Session, id: &str) -> Result<Option<TraceId>, Error> {
    let merged = merge(
        &with_ids(session, std::iter::once(id), &BTreeSet::new(), TimeRange::default()).await?,
        &Rules::default(),
    );
    for lost in merged.invocations.iter().filter(|i| i.id == id && !i.has_span) {
        let trace = left(session, lost).await?;
        if trace.is_some() {
            return Ok(trace);
        }
    }
    Ok(None)
}

/// The trace of what a lost invocation left: the earliest of the spans of its function that lost their parent, at its time
/// and in its environment as far as that is known.
async fn left(session: &Session, lost: &Invocation) -> Result<Option<TraceId>, Error> {
    let Some(function) = &lost.function else { return Ok(None) };
    let end = lost.start_ns.saturating_add(lost.duration_ns.unwrap_or(RUN_MAX));
    let mut conditions = Where::default();
    conditions.equals("function", Some(function.as_str()));
    let of_function = conditions.text();
    conditions.range("start_time", TimeRange { start: Some(lost.start_ns), end: Some(end) });
    let before = conditions.param(Param::Time(lost.start_ns.saturating_sub(RUN_MAX)));
    let until = conditions.param(Param::Time(end));
    conditions.and("faas_invocation_id IS NULL AND parent_span_id IS NOT NULL AND kind <> 'SERVER'");
    conditions.and(format!(
        "parent_span_id NOT IN (SELECT span_id FROM spans {of_function} AND start_time >= {before} AND start_time < {until})"
    ));
    let sql = format!(
        "SELECT trace_id, span_id, start_time, {INSTANCE} AS instance FROM spans {} ORDER BY start_time, trace_id LIMIT {LOOKED_AT_MAX}",
        conditions.text()
    );
    let mut orphans = Vec::new();
    for batch in answer::rows(session, &sql, conditions.params()).await? {
        let (traces, instances) = (Bytes::of(&batch, "trace_id")?, Text::of(&batch, "instance")?);
        let times = time(&batch, "start_time")?;
        for row in 0..batch.num_rows() {
            let trace = traces.get(row).and_then(TraceId::from_slice);
            orphans.extend(trace.map(|trace| (trace, instances.or_empty(row).to_owned(), times.value(row))));
        }
    }
    if orphans.is_empty() {
        return Ok(None);
    }
    // The way back must lead to it.
    let environments: BTreeSet<(&str, &str)> =
        orphans.iter().map(|(_, name, _)| (function.as_str(), name.as_str())).collect();
    let range = TimeRange { start: Some(lost.start_ns), end: Some(end) };
    let mut facts = in_environments(session, &environments, range).await?;
    facts.extend(without_spans(session, function, range).await?);
    let merged = merge(&facts, &Rules::default());
    let is_its = |(_, instance, at): &&(TraceId, String, i64)| {
        let owner = merged.lost_at(function, instance, *at);
        owner.is_some_and(|i| i.id == lost.id && i.attempt == lost.attempt)
    };
    Ok(orphans.iter().find(is_its).map(|(trace, ..)| *trace))
}

/// Spans of functions whose parent is not stored and that are no invocations themselves.
fn orphans(flow: &Flow) -> Vec<&FlowSpan> {
    let ids: HashSet<(TraceId, SpanId)> = flow.spans.iter().map(|s| (s.trace_id, s.span_id)).collect();
    let is_orphan = |span: &&FlowSpan| {
        span.function.is_some()
            && span.invocation_id.is_none()
            && span.kind != SpanKind::Server
            && span.parent.is_some_and(|parent| !ids.contains(&(span.trace_id, parent)))
    };
    flow.spans.iter().filter(is_orphan).take(LOOKED_AT_MAX).collect()
}

/// Who called whom without an answer: callers by the callee's invocation id.
fn calls(flow: &Flow) -> BTreeMap<String, (TraceId, SpanId)> {
    let call = |half: &hopline_stitch::flow::Half| {
        let key: Key = half.key.as_deref()?.parse().ok()?;
        let is_call = half.direction == Direction::Out && key.kind == Kind::Lambda;
        is_call.then_some((key.id, (half.end.trace_id, half.end.span_id)))
    };
    flow.halves.iter().filter_map(call).take(LOOKED_AT_MAX).collect()
}

/// What sets off functions and is not waited for: the platform tries again with the same request id (AWS Lambda Developer
/// Guide, "Error handling for asynchronous invocation").
const TRIED_AGAIN: [&str; 6] = ["lambda.invoke", "lambda.destination", "sns", "eventbridge", "s3", "message"];

/// Invocations that may be further tries, by their id, with who set them off if that is known: all but those of which an
/// edge tells that they began at once, for the platform never tries again so soon.
fn tried(flow: &Flow) -> BTreeMap<String, Option<(TraceId, SpanId)>> {
    let mut callers: HashMap<(TraceId, SpanId), Option<(TraceId, SpanId)>> = HashMap::new();
    for edge in &flow.edges {
        let is_late = !edge.is_synchronous && edge.wait_ns >= AGAIN_MIN_NS && TRIED_AGAIN.contains(&edge.hop);
        let caller = is_late.then_some((edge.from.trace_id, edge.from.span_id));
        callers.insert((edge.to.trace_id, edge.to.root_span_id), caller);
    }
    let invocations = flow.spans.iter().filter(|span| {
        let is_entry = matches!(span.kind, SpanKind::Server | SpanKind::Consumer) && span.function.is_some();
        is_entry && (span.parent.is_none() || callers.contains_key(&(span.trace_id, span.span_id)))
    });
    let tried = invocations.filter_map(|span| {
        let caller = match callers.get(&(span.trace_id, span.span_id)) {
            Some(caller) => Some((*caller)?),
            None => None,
        };
        Some((span.invocation_id.clone()?, caller))
    });
    tried.take(LOOKED_AT_MAX).collect()
}

/// The environments in which spans ran.
async fn instances(session: &Session, spans: &[&FlowSpan]) -> Result<BTreeMap<(TraceId, SpanId), String>, Error> {
    let mut found = BTreeMap::new();
    if spans.is_empty() {
        return Ok(found);
    }
    let mut conditions = Where::default();
    let traces: BTreeSet<TraceId> = spans.iter().map(|span| span.trace_id).collect();
    let traces: Vec<String> = traces.into_iter().map(|id| conditions.param(id)).collect();
    conditions.and(format!("trace_id IN ({})", traces.join(", ")));
    let ids: Vec<String> = spans.iter().map(|span| conditions.param(span.span_id)).collect();
    conditions.and(format!("span_id IN ({})", ids.join(", ")));
    let sql = format!("SELECT trace_id, span_id, {INSTANCE} AS instance FROM spans {}", conditions.text());
    for batch in answer::rows(session, &sql, conditions.params()).await? {
        note(&batch, &mut found)?;
    }
    Ok(found)
}

fn note(batch: &RecordBatch, found: &mut BTreeMap<(TraceId, SpanId), String>) -> Result<(), Error> {
    let (traces, spans) = (Bytes::of(batch, "trace_id")?, Bytes::of(batch, "span_id")?);
    let instances = Text::of(batch, "instance")?;
    for row in 0..batch.num_rows() {
        let ids = traces.get(row).and_then(TraceId::from_slice).zip(spans.get(row).and_then(SpanId::from_slice));
        let instance = instances.get(row).filter(|instance| !instance.is_empty());
        found.extend(ids.zip(instance.map(str::to_owned)));
    }
    Ok(())
}
