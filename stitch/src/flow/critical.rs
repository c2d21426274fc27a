//! The path that took the time.
//!
//! Walked backwards from the span that ended last. Within a span: the last child or awaited
//! callee that ended before is what the span waited for; between those, the span ran itself.
//! From the beginning of a span: to its parent, or to whoever sent what it received; the time
//! between the end of sending and the beginning of receiving is a wait.

use std::cmp::Reverse;

use ahash::{HashMap, HashMapExt};
use hopline_model::{SpanId, TraceId};

use super::{Edge, Flow, FlowSpan, Lost};

/// A child whose clock says that it outlived its parent by no more than this is taken to have ended with it.
const SKEW_NS: i64 = 10_000_000;

/// A piece of the critical path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The trace of the span that ran, or that was waited for.
    pub trace_id: TraceId,
    /// The span that ran; of a wait, the span that then received.
    pub span_id: SpanId,
    /// Nanoseconds since 1970.
    pub start_ns: i64,
    /// Nanoseconds since 1970.
    pub end_ns: i64,
    /// Whether a message was waiting, or nothing is known of what happened.
    pub is_wait: bool,
}

impl Flow {
    /// The critical path, with the invocations whose span never came. Steps of these name the span that is missing.
    pub fn path_with(&self, lost: &[Lost]) -> Vec<Step> {
        path(&self.spans, &self.edges, lost)
    }
}

/// The path to the end of the last of these spans.
pub(super) fn path(spans: &[FlowSpan], edges: &[Edge], lost: &[Lost]) -> Vec<Step> {
    let mut plan = Plan::new(spans, edges, lost);
    let places = plan.places.iter().enumerate();
    let last = places.max_by_key(|(index, p)| (p.end_ns, Reverse(p.start_ns), Reverse(*index)));
    let Some((last, at_ns)) = last.map(|(index, place)| (index, place.end_ns)) else { return Vec::new() };
    plan.walk(last, at_ns)
}

/// All spans, and how time passes between them.
#[derive(Default)]
struct Plan {
    places: Vec<Place>,
}

struct Place {
    trace_id: TraceId,
    span_id: SpanId,
    start_ns: i64,
    end_ns: i64,
    parent: Option<usize>,
    /// The last of those that sent what it received, if it has no parent.
    cause: Option<usize>,
    /// What it waited for: when that ended, and what it is. The last to end comes last.
    awaited: Vec<(i64, usize)>,
    was_entered: bool,
    was_left: bool,
}

impl Plan {
    fn new(spans: &[FlowSpan], edges: &[Edge], lost: &[Lost]) -> Plan {
        let mut plan = Plan::default();
        let mut by_span: HashMap<(TraceId, SpanId), usize> = HashMap::new();
        let of_spans = spans.iter().map(|s| (s.trace_id, s.span_id, s.start_ns, s.end_ns));
        for (trace_id, span_id, start_ns, end_ns) in
            of_spans.chain(lost.iter().map(|l| (l.trace_id, l.span_id, l.start_ns, l.end_ns)))
        {
            by_span.entry((trace_id, span_id)).or_insert(plan.places.len());
            plan.places.push(Place {
                trace_id,
                span_id,
                start_ns,
                end_ns: end_ns.max(start_ns),
                parent: None,
                cause: None,
                awaited: Vec::new(),
                was_entered: false,
                was_left: false,
            });
        }
        for (index, span) in spans.iter().enumerate() {
            let parent = span.parent.and_then(|parent| by_span.get(&(span.trace_id, parent)).copied());
            plan.put_below(index, parent);
        }
        for (index, lost) in lost.iter().enumerate() {
            let at = spans.len() + index;
            for left in lost.spans.iter().filter_map(|left| by_span.get(left)).filter(|left| **left != at) {
                plan.put_below(*left, Some(at));
            }
            let caller = lost.caller.and_then(|caller| by_span.get(&caller)).copied();
            if let Some((caller, ended)) = caller.and_then(|caller| Some((caller, plan.get(caller)?.end_ns))) {
                plan.link(caller, at, lost.end_ns <= ended);
            }
        }
        for edge in edges {
            let from = by_span.get(&(edge.from.trace_id, edge.from.span_id));
            let to = by_span.get(&(edge.to.trace_id, edge.to.root_span_id));
            let (Some(from), Some(to)) = (from.copied(), to.copied()) else { continue };
            // What a span received that its lost invocation left, that invocation received.
            let to = plan.get(to).and_then(|p| p.parent).filter(|above| *above >= spans.len()).unwrap_or(to);
            if from != to && plan.get(to).is_some_and(|p| p.parent.is_none()) {
                plan.link(from, to, edge.is_synchronous);
            }
        }
        for place in &mut plan.places {
            place.awaited.sort_unstable();
        }
        plan
    }

    fn get(&self, index: usize) -> Option<&Place> {
        self.places.get(index)
    }

    /// Puts a span below another, unless it is below one already.
    fn put_below(&mut self, index: usize, parent: Option<usize>) {
        let Some(parent) = parent.filter(|parent| *parent != index) else { return };
        let Some(place) = self.places.get_mut(index).filter(|place| place.parent.is_none()) else { return };
        place.parent = Some(parent);
        self.wait_for(parent, index);
    }

    fn wait_for(&mut self, waiting: usize, awaited: usize) {
        let Some(end_ns) = self.get(awaited).map(|p| p.end_ns) else { return };
        if let Some(place) = self.places.get_mut(waiting) {
            let is_late = end_ns > place.end_ns && end_ns.saturating_sub(place.end_ns) <= SKEW_NS;
            place.awaited.push((if is_late { place.end_ns } else { end_ns }, awaited));
        }
    }

    fn link(&mut self, from: usize, to: usize, is_synchronous: bool) {
        if is_synchronous {
            self.wait_for(from, to);
        }
        let rank = |index: usize| self.get(index).map(|p| (p.end_ns, p.start_ns, p.trace_id, p.span_id));
        let other = self.get(to).and_then(|p| p.cause);
        if other.is_none_or(|other| rank(from) > rank(other))
            && let Some(place) = self.places.get_mut(to)
        {
            place.cause = Some(from);
        }
    }

    /// Walks back from a span at a time.
    fn walk(&mut self, mut at: usize, mut now: i64) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        while let Some(place) = self.places.get_mut(at).filter(|place| !place.was_left) {
            place.was_entered = true;
            if let Some((ended, awaited)) = self.next_awaited(at, now) {
                self.step(&mut steps, at, (ended, now), false);
                (at, now) = (awaited, ended);
                continue;
            }
            let Some(place) = self.places.get_mut(at) else { break };
            place.was_left = true;
            let (start_ns, before) = (place.start_ns, place.parent.or(place.cause));
            self.step(&mut steps, at, (start_ns, now), false);
            now = now.min(start_ns);
            let Some((before, end_ns)) = before.and_then(|before| Some((before, self.get(before)?.end_ns))) else {
                break;
            };
            if end_ns < now {
                self.step(&mut steps, at, (end_ns, now), true);
                now = end_ns;
            }
            at = before;
        }
        steps.reverse();
        steps
    }

    /// What the span waited for last before `now`, and until when. Time only goes back, so the rest is never looked at again.
    fn next_awaited(&mut self, at: usize, now: i64) -> Option<(i64, usize)> {
        loop {
            let place = self.places.get_mut(at)?;
            let (ended, awaited) = place.awaited.pop()?;
            let is_within = ended <= now && ended > place.start_ns;
            if is_within && self.get(awaited).is_some_and(|p| !p.was_entered && p.start_ns <= ended) {
                return Some((ended, awaited));
            }
        }
    }

    fn step(&self, steps: &mut Vec<Step>, at: usize, (start_ns, end_ns): (i64, i64), is_wait: bool) {
        let Some(place) = self.get(at).filter(|_| start_ns < end_ns) else { return };
        let (trace_id, span_id) = (place.trace_id, place.span_id);
        match steps.last_mut() {
            Some(later) if later.span_id == span_id && later.trace_id == trace_id && later.is_wait == is_wait => {
                later.start_ns = start_ns;
            }
            _ => steps.push(Step { trace_id, span_id, start_ns, end_ns, is_wait }),
        }
    }
}
