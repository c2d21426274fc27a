//! What people would call a story.

use std::collections::{BTreeMap, BTreeSet};

use hopline_model::{SpanId, TraceId};

use super::edges::Draft;
use super::trace::{Node, Trace};
use super::walk::{Story, is_workflow};
use super::{Edge, End, Shape};
use crate::key::Direction;

/// How the names of steps begin that undo others.
const UNDOING: [&str; 9] =
    ["refund", "release", "cancel", "undo", "rollback", "compensat", "revert", "reverse", "restock"];

/// An invocation: its trace and its topmost span.
type Unit = (TraceId, SpanId);

/// All that hold.
///
/// - Chain: two edges or more, and no invocation has two causes or two effects.
/// - Fan-out: a message that several functions received, or several messages of one invocation that set off others. The
///   steps of a workflow are none.
/// - Fan-in: an invocation with several causes within the story.
/// - Retries, dead letter: an edge is one.
/// - Orchestration: two invocations or more are steps of one run of a workflow.
/// - Saga: after a step that failed, one with a name that says it undoes something.
pub(super) fn shapes(story: &Story, traces: &[&Trace], drafts: &[Draft<'_>], edges: &[Edge]) -> Vec<Shape> {
    let known: BTreeSet<TraceId> = traces.iter().map(|trace| trace.id).collect();
    let unit = |end: &End| (end.trace_id, end.root_span_id);
    let mut causes: BTreeMap<Unit, BTreeSet<Unit>> = BTreeMap::new();
    let mut effects: BTreeMap<Unit, BTreeSet<Unit>> = BTreeMap::new();
    let mut set_off: BTreeMap<Unit, BTreeSet<Unit>> = BTreeMap::new();
    for (edge, draft) in edges.iter().zip(drafts) {
        if !known.contains(&edge.from.trace_id) || unit(&edge.from) == unit(&edge.to) {
            continue;
        }
        causes.entry(unit(&edge.to)).or_default().insert(unit(&edge.from));
        effects.entry(unit(&edge.from)).or_default().insert(unit(&edge.to));
        let is_step = draft.hop_keys().any(|k| is_workflow(k.key.kind));
        if !edge.is_synchronous && !edge.is_retry && !edge.is_dead_letter && !is_step {
            set_off.entry(unit(&edge.from)).or_default().insert(unit(&edge.to));
        }
    }
    let several = |units: &BTreeMap<Unit, BTreeSet<Unit>>| units.values().any(|others| others.len() > 1);
    let has_start = effects.keys().any(|unit| !causes.contains_key(unit));
    let is_chain = causes.len() > 1 && has_start && !several(&causes) && !several(&effects);
    let holds = [
        (Shape::Chain, is_chain),
        (Shape::FanOut, edges.iter().any(|e| e.is_fan_out) || several(&set_off)),
        (Shape::FanIn, several(&causes)),
        (Shape::Retries, edges.iter().any(|e| e.is_retry)),
        (Shape::DeadLetter, edges.iter().any(|e| e.is_dead_letter)),
        (Shape::Saga, is_saga(story, traces, drafts)),
        (Shape::Orchestration, is_orchestration(story, traces)),
    ];
    holds.into_iter().filter(|(_, holds)| *holds).map(|(shape, _)| shape).collect()
}

fn is_orchestration(story: &Story, traces: &[&Trace]) -> bool {
    let mut runs: BTreeMap<&str, BTreeSet<(TraceId, usize)>> = BTreeMap::new();
    for trace in traces {
        for usage in trace.ins.iter().filter(|u| story.holds(trace, u.node)) {
            let key = trace.key_of(usage).filter(|k| k.direction == Direction::In).map(|k| &k.key);
            if let Some(key) = key.filter(|key| is_workflow(key.kind)) {
                // Behind the first `#` stands which step it is.
                let run = key.id.split('#').next().unwrap_or_default();
                runs.entry(run).or_default().insert((trace.id, trace.unit(usage.node)));
            }
        }
    }
    runs.values().any(|steps| steps.len() > 1)
}

/// Whether a step that undoes something began after a step began that failed. A story of one step has none.
fn is_saga(story: &Story, traces: &[&Trace], drafts: &[Draft<'_>]) -> bool {
    let mut steps: Vec<(i64, bool, bool)> = Vec::new();
    for trace in traces {
        let mut failed: BTreeSet<usize> = BTreeSet::new();
        failed.extend(trace.nodes.iter().filter(|n| n.span.is_error).map(|n| n.unit));
        let topmost = trace.nodes.iter().enumerate().filter(|(index, node)| node.unit == *index);
        let topmost = topmost.filter(|(index, _)| story.holds(trace, *index));
        steps.extend(topmost.map(|(index, node)| (node.span.start_ns, failed.contains(&index), undoes(node))));
    }
    // Calls of a service that is not seen itself are steps as well, if it is the caller who says so.
    steps.extend(
        drafts
            .iter()
            .filter_map(|d| d.sending())
            .filter_map(|(t, n)| t.node(n))
            .map(|n| (n.span.start_ns, false, undoes(n))),
    );
    let first_failed = steps.iter().filter(|(_, failed, undoes)| *failed && !undoes).map(|(start, ..)| *start).min();
    first_failed.is_some_and(|first| steps.iter().any(|(start, _, undoes)| *undoes && *start > first))
}

/// Whether the names of a step say that it undoes another.
fn undoes(node: &Node) -> bool {
    let span = &node.span;
    let names = [Some(span.name.as_str()), span.function.as_deref(), Some(span.service.as_str())];
    names.into_iter().flatten().flat_map(words).any(|word| UNDOING.iter().any(|undoing| word.starts_with(undoing)))
}

/// The words of a name such as `refundPayment`, `release-stock` or `POST /orders/cancel`, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && was_lower) {
            words.push(String::new());
        }
        was_lower = c.is_lowercase();
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
    }
    words
}
