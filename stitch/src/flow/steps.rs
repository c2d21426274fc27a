//! Steps of a workflow, one after the other.
//!
//! All steps of one execution have its ARN, and so has whoever started it. But a step is
//! caused by the one before it: the last of those that had ended when it began. A try after
//! a failure is caused by what the first try was caused by. Steps that ran side by side
//! before it leave open which of them it waited for: then the edge says that it is inferred.
//! (Amazon States Language: a state is entered when the one before it has ended.)

use std::collections::BTreeMap;

use hopline_model::{SpanId, TraceId};

use super::edges::{Draft, end};
use super::trace::Trace;
use super::walk::Story;
use super::{Certainty, Edge, End, Half};
use crate::hops::HopKey;
use crate::key::{Direction, Kind};

/// A step begins within this after the one before it ended, by clocks that differ.
const SKEW_NS: i64 = 10_000_000;

/// A step of an execution.
struct Step<'a> {
    /// Its edge, if somebody was seen starting the execution.
    edge: Option<usize>,
    /// The key that says the most.
    key: &'a HopKey,
    /// The state, if the key names it, when it was entered, and which try of it, from 0.
    state: Option<(&'a str, &'a str, u64)>,
    /// The span that has the key.
    to: End,
    /// The invocation in which it ran.
    unit: End,
}

/// Where a span is.
type Place = (TraceId, SpanId);

/// Gives each step the one before it as its cause. `drafts` and the first of `edges` are the same, in the same order.
pub(super) fn chain(
    story: &Story,
    traces: &[&Trace],
    drafts: &[Draft<'_>],
    edges: &mut Vec<Edge>,
    halves: &mut Vec<Half>,
) {
    let mut caused: BTreeMap<Place, usize> = BTreeMap::new();
    for (index, draft) in drafts.iter().enumerate() {
        let is_step = draft.hop_keys().any(|k| k.key.kind == Kind::StepFunctions);
        if let (true, Some(unit)) = (is_step, end(draft.trace, draft.trace.unit(draft.to))) {
            caused.insert((unit.trace_id, unit.span_id), index);
        }
    }
    let mut executions: BTreeMap<&str, BTreeMap<Place, Step<'_>>> = BTreeMap::new();
    for trace in traces {
        for (index, node) in trace.nodes.iter().enumerate().filter(|(index, _)| story.holds(trace, *index)) {
            let keys = node.span.keys.iter();
            let keys = keys.filter(|k| k.key.kind == Kind::StepFunctions && k.direction == Direction::In);
            // The longest form says the most.
            let Some(key) = keys.max_by_key(|k| k.key.id.len()) else { continue };
            let (Some(to), Some(unit)) = (end(trace, index), end(trace, trace.unit(index))) else { continue };
            let place = (unit.trace_id, unit.span_id);
            let execution = key.key.id.split('#').next().unwrap_or_default();
            let step = Step { edge: caused.get(&place).copied(), key, state: state_of(&key.key.id), to, unit };
            executions.entry(execution).or_default().entry(place).or_insert(step);
        }
    }
    for steps in executions.into_values().filter(|steps| steps.len() > 1) {
        let mut steps: Vec<Step<'_>> = steps.into_values().collect();
        steps.sort_by_key(|step| (step.unit.start_ns, step.unit.trace_id, step.unit.span_id));
        follow(&mut steps, edges, halves);
    }
    edges.sort_by_key(|e| (e.to.start_ns, e.to.trace_id, e.to.span_id));
}

/// The state and the try in `<execution>#<state>#<entered>[#<retry>]`.
fn state_of(id: &str) -> Option<(&str, &str, u64)> {
    let mut parts = id.split('#').skip(1);
    let state = parts.next()?;
    let entered = parts.next().unwrap_or_default();
    let retry = parts.next().and_then(|retry| retry.parse().ok()).unwrap_or(0);
    Some((state, entered, retry))
}

fn follow(steps: &mut [Step<'_>], edges: &mut Vec<Edge>, halves: &mut Vec<Half>) {
    for index in 0..steps.len() {
        let (earlier, rest) = steps.split_at_mut(index);
        let Some(step) = rest.first_mut() else { continue };
        let cause = first_try(step, earlier).and_then(|first| edges.get(first.edge?));
        let cause = cause.map(|e| (e.from.clone(), e.certainty, e.candidates)).or_else(|| before(step, earlier));
        let Some((from, certainty, candidates)) = cause else { continue };
        let at = *step.edge.get_or_insert(edges.len());
        if at == edges.len() {
            halves.retain(|half| half.direction == Direction::Out || half.end != step.to);
            edges.push(edge(step, from.clone()));
        }
        let Some(edge) = edges.get_mut(at) else { continue };
        edge.wait_ns = edge.to.start_ns.saturating_sub(from.end_ns).max(0);
        edge.certainty = edge.certainty.max(certainty);
        edge.candidates = candidates;
        edge.is_synchronous = false;
        if let Some((.., retry)) = &step.state {
            edge.attempt = u32::try_from(retry.saturating_add(1)).unwrap_or(u32::MAX);
            edge.is_retry = *retry > 0;
        }
        edge.from = from;
    }
}

/// The edge of a step that nobody was seen starting.
fn edge(step: &Step<'_>, from: End) -> Edge {
    Edge {
        hop: step.key.hop,
        rule: step.key.rule,
        certainty: Certainty::Exact,
        key: Some(step.key.key.to_string()),
        destination: step.key.destination.clone(),
        from,
        to: step.to.clone(),
        is_synchronous: false,
        wait_ns: 0,
        attempt: 1,
        is_retry: false,
        is_fan_out: false,
        is_dead_letter: false,
        candidates: 1,
    }
}

/// The first try of the state of which this is a later one.
fn first_try<'e, 'a>(step: &Step<'_>, earlier: &'e [Step<'a>]) -> Option<&'e Step<'a>> {
    let (state, entered, _) = step.state.filter(|(.., retry)| *retry > 0)?;
    let is_first = |other: &&Step<'_>| other.state.is_some_and(|(of, _, retry)| of == state && retry == 0);
    // A state that runs side by side with itself is entered once for each; all tries have the same time of it.
    let is_same = |other: &&Step<'_>| is_first(other) && other.state.is_some_and(|(_, at, _)| at == entered);
    earlier.iter().rev().find(is_same).or_else(|| earlier.iter().rev().find(is_first))
}

/// The step that ended last before this one began: its end, how sure that is, and how many it could have been.
fn before(step: &Step<'_>, earlier: &[Step<'_>]) -> Option<(End, Certainty, u32)> {
    let began = step.unit.start_ns.saturating_add(SKEW_NS);
    let ended = || earlier.iter().filter(|other| other.unit.end_ns <= began);
    let last = ended().max_by_key(|other| (other.unit.end_ns, other.unit.span_id))?;
    // Those that still ran when the last one began are of branches beside it.
    let beside = ended().filter(|other| other.unit.end_ns > last.unit.start_ns.saturating_add(SKEW_NS)).count();
    let certainty = if beside > 1 { Certainty::Inferred } else { Certainty::Exact };
    Some((last.unit.clone(), certainty, u32::try_from(beside.max(1)).unwrap_or(u32::MAX)))
}
