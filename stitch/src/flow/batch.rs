//! Batches: one invocation that received messages of several stories.
//!
//! A unit (an invocation or request) with messages from more than one trace is a batch.
//! What happens below the span of one message belongs to that message; what happens
//! elsewhere in the unit belongs to all of them.

use std::collections::{BTreeMap, BTreeSet};

use hopline_model::TraceId;

use super::matching::Incoming;
use super::ranges;
use super::trace::Trace;

/// What came into each unit of a trace.
#[derive(Debug, Default)]
pub(super) struct Guard {
    /// By unit; those that received something.
    pub(super) units: BTreeMap<usize, Unit>,
    /// Of each span, the nearest span of its unit, itself or above, that received a message of its own. Empty if there is
    /// no batch.
    nearest: Vec<Option<usize>>,
}

/// What came into a unit.
#[derive(Debug, Default)]
pub(super) struct Unit {
    /// The traces from which each of its spans received, by span: none for a message of an unknown sender.
    pub(super) messages: BTreeMap<usize, BTreeSet<TraceId>>,
    /// All of them.
    pub(super) senders: BTreeSet<TraceId>,
    /// Its spans that received more messages than it can name.
    pub(super) ranges: BTreeSet<usize>,
    /// Whether a span that is not its topmost received something from nobody knows whom.
    has_unknown: bool,
}

impl Unit {
    /// Whether it received messages of several stories, as far as one can tell from the traces alone.
    pub(super) fn is_batch(&self) -> bool {
        self.senders.len() + usize::from(self.has_unknown) > 1 || !self.ranges.is_empty()
    }
}

impl Guard {
    pub(super) fn new(trace: &Trace, incoming: &Incoming) -> Guard {
        let mut guard = Guard::default();
        let mut add = |to: usize, sender: Option<TraceId>| {
            let unit = guard.units.entry(trace.unit(to)).or_default();
            unit.messages.entry(to).or_default().extend(sender);
            unit.senders.extend(sender);
        };
        for m in &incoming.matches {
            add(m.to, Some(m.from.trace_id));
        }
        for (to, id) in &incoming.unread {
            add(*to, Some(*id));
        }
        for (_, callee) in trace.calls() {
            add(callee, Some(trace.id));
        }
        let received = trace.ins.iter().filter(|u| trace.key_of(u).is_some_and(|k| k.key.kind.is_identity()));
        let linked = trace.nodes.iter().enumerate().filter(|(_, n)| !n.span.links.is_empty()).map(|(index, _)| index);
        for to in received.map(|u| u.node).chain(linked).filter(|to| trace.unit(*to) != *to) {
            add(to, None);
        }
        for (root, unit) in &mut guard.units {
            unit.has_unknown = unit.messages.iter().any(|(to, senders)| to != root && senders.is_empty());
        }
        for (usage, _) in ranges::ranges(trace) {
            let unit = guard.units.entry(trace.unit(usage.node)).or_default();
            unit.messages.entry(usage.node).or_default();
            unit.ranges.insert(usage.node);
        }
        guard.units.retain(|_, unit| !unit.senders.is_empty() || !unit.ranges.is_empty());
        guard.find_nearest(trace);
        guard
    }

    /// The units that `from` is an effect of, each with the message if it belongs to a single one: its own unit, the unit
    /// that called that, and so on. Only those that received something are named.
    pub(super) fn causes<'a>(
        &'a self,
        trace: &'a Trace,
        from: usize,
    ) -> impl Iterator<Item = (usize, Option<usize>)> + 'a {
        let above = |at: &usize| trace.node(trace.unit(*at))?.parent;
        let known = |at: usize| {
            let unit = trace.unit(at);
            self.units.contains_key(&unit).then(|| (unit, self.message_of(at)))
        };
        std::iter::successors(Some(from), above).filter_map(known)
    }

    /// The span of the message that a span belongs to, if it belongs to a single one.
    fn message_of(&self, index: usize) -> Option<usize> {
        self.nearest.get(index).copied().flatten()
    }

    fn find_nearest(&mut self, trace: &Trace) {
        if !self.units.values().any(Unit::is_batch) {
            return;
        }
        let own = |index: usize| {
            let unit = trace.unit(index);
            (index != unit && self.units.get(&unit).is_some_and(|u| u.messages.contains_key(&index))).then_some(index)
        };
        let mut nearest: Vec<Option<usize>> = (0..trace.nodes.len()).map(own).collect();
        for index in trace.top_down() {
            let Some(node) = trace.node(*index).filter(|node| node.unit != *index) else { continue };
            let of_parent = node.parent.and_then(|parent| nearest.get(parent).copied().flatten());
            if let Some(at) = nearest.get_mut(*index) {
                *at = at.or(of_parent);
            }
        }
        self.nearest = nearest;
    }
}
