//! Which traces belong to the story: up from what was asked for to the first causes, then
//! down to all effects.
//!
//! Up goes through every edge, down through every edge again, but not down and up again:
//! what an effect of this story received from other stories is named (a cut), not followed.
//! Batches are the guard (`batch`): of an invocation that received messages of several
//! stories, only those that the story came by count.
//!
//! The walk starts afresh whenever something was read, over edges that `matching`
//! remembers, so its outcome is that of one walk over all that was read.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use ahash::HashSet;
use hopline_model::{SpanId, TraceId};

use super::inferred;
use super::matching::{Incoming, Matcher, agree};
use super::ranges;
use super::store::{Look, Store};
use super::trace::{NESTED_MAX, Trace, Use};
use super::xray;
use super::{CutReason, KeyRow, Seed};
use crate::key::{Direction, KeyHash, Kind, Scope, hash_parts};

/// The traces of a story.
#[derive(Debug, Default)]
pub(super) struct Story {
    /// Each with its number of edges from what was asked for.
    pub(super) traces: BTreeMap<TraceId, usize>,
    /// Where it was not followed.
    pub(super) cuts: BTreeMap<(CutReason, TraceId, Option<SpanId>), Left>,
    /// Spans that sent something of other stories, by trace.
    pub(super) others: BTreeMap<TraceId, BTreeSet<usize>>,
    /// Of traces that an X-Ray root holds together and nothing else: the topmost spans whose trees belong to the story.
    trees: BTreeMap<TraceId, BTreeSet<usize>>,
}

/// What was left out at a cut.
#[derive(Debug, Default)]
pub(super) struct Left {
    pub(super) traces: BTreeSet<TraceId>,
    /// How many, where more is known than the traces.
    pub(super) count: usize,
}

/// Walks over what was read so far.
pub(super) fn walk(store: &Store, matcher: &Matcher, seeds: &[Seed]) -> Story {
    let mut walk = Walk::new(store, matcher);
    walk.climb(seeds);
    walk.descend();
    walk.name_batches();
    let mut story = walk.story;
    for ((reason, trace), traces) in store.refused() {
        story.cut(reason, trace, None).traces.extend(traces);
    }
    story
}

struct Walk<'a> {
    store: &'a Store,
    matcher: &'a Matcher,
    /// What the story came from, each trace with its number of edges from what was asked for.
    causes: BTreeMap<TraceId, usize>,
    /// Units at which climbing ended, because their messages come from several stories.
    open: HashSet<(TraceId, usize)>,
    /// Messages that belong to the story, by trace.
    reached: BTreeMap<TraceId, BTreeSet<usize>>,
    /// What is yet to be followed down: edges from what was asked for, start, trace.
    queue: BTreeSet<(usize, i64, TraceId)>,
    spans_count: usize,
    /// When the first and the last of its traces began.
    starts: Option<(i64, i64)>,
    story: Story,
}

/// A trace to be climbed from: by the span that the story goes through, if not by all of it.
type Place = (TraceId, Option<SpanId>);

impl<'a> Walk<'a> {
    fn new(store: &'a Store, matcher: &'a Matcher) -> Walk<'a> {
        Walk {
            store,
            matcher,
            causes: BTreeMap::new(),
            open: HashSet::default(),
            reached: BTreeMap::new(),
            queue: BTreeSet::new(),
            spans_count: 0,
            starts: None,
            story: Story::default(),
        }
    }

    fn seeds(&self, seed: &Seed) -> Vec<Place> {
        let hashes = match seed {
            Seed::Trace(id) => return vec![(*id, None)],
            Seed::Span(id, span) => return vec![(*id, Some(*span))],
            Seed::Keys(hashes) => hashes,
        };
        let place = |row: &KeyRow| Some((row.trace_id?, Some(row.span_id?)));
        let mut places = Vec::new();
        let of_records = hashes.iter().filter_map(|hash| self.store.rows(*hash, Direction::Out)).flatten();
        let of_records = of_records.filter(|row| row.trace_id.is_none()).filter_map(|row| row.invocation_id.as_deref());
        // Platform records name invocations, which have keys.
        let invocations: Vec<KeyHash> = of_records.map(|id| hash_parts(Kind::Lambda, id)).collect();
        for (outs, ins) in hashes.iter().chain(&invocations).filter_map(|hash| self.store.both_rows(*hash)) {
            let outs: Vec<Place> = outs.iter().filter_map(place).collect();
            // The sender's story holds its receivers. But who asks for an invocation means that one.
            let ins = ins.iter().filter(|row| row.kind != Kind::Xray && (outs.is_empty() || row.kind == Kind::Lambda));
            places.extend(ins.filter_map(place));
            places.extend(outs);
        }
        places
    }

    /// Finds what the story came from.
    fn climb(&mut self, seeds: &[Seed]) {
        let mut seen: BTreeSet<Place> = seeds.iter().flat_map(|seed| self.seeds(seed)).collect();
        let mut places: VecDeque<(Place, usize)> = seen.iter().map(|place| (*place, 0)).collect();
        while let Some((place, distance)) = places.pop_front() {
            self.store.ask_for(place.0);
            let Look::Here(trace) = self.store.trace(place.0) else { continue };
            self.causes.entry(trace.id).or_insert(distance);
            let via = place.1.and_then(|via| trace.find(via));
            if trace.tops_count > self.store.limits.xray_root_invocations_max {
                match via {
                    Some(via) => self.reach(trace, via),
                    // Who asks for all of it sees all of it, and what it set off.
                    None => {
                        let all = (0..trace.nodes.len()).filter(|index| trace.top(*index) == *index);
                        self.story.trees.entry(trace.id).or_default().extend(all);
                        continue;
                    }
                };
            }
            let mut next = self.senders(trace, via);
            next.extend(self.siblings(trace));
            if distance >= self.store.limits.depth_max {
                let left = next.into_iter().map(|(id, _)| id).filter(|id| !self.causes.contains_key(id));
                self.story.leave(CutReason::Depth, trace.id, left);
                continue;
            }
            places.extend(next.into_iter().filter(|next| seen.insert(*next)).map(|next| (next, distance + 1)));
        }
    }

    /// Who sent what the story came by into this trace.
    fn senders(&mut self, trace: &Trace, via: Option<usize>) -> BTreeSet<Place> {
        let incoming = self.matcher.all(self.store, trace);
        let by: BTreeMap<usize, Option<usize>> =
            via.into_iter().flat_map(|via| incoming.guard.causes(trace, via)).collect();
        let mut places = BTreeSet::new();
        for (root, unit) in incoming.guard.units.iter().filter(|(root, _)| self.story.holds(trace, **root)) {
            let message = by.get(root).copied().flatten().filter(|_| unit.is_batch());
            if let Some(message) = message {
                self.reached.entry(trace.id).or_default().insert(message);
            }
            let all = message.map_or(Some(&unit.senders), |message| unit.messages.get(&message));
            let Some(all) = all else { continue };
            match self.is_one_story(trace, *root, all) {
                Some(true) => {}
                Some(false) => {
                    self.open.insert((trace.id, *root));
                    continue;
                }
                None => continue,
            }
            for sender in all.iter().filter(|id| **id != trace.id) {
                let matches = incoming.from(*sender).filter(|m| trace.unit(m.to) == *root);
                let matches = matches.filter(|m| message.is_none_or(|message| m.to == message));
                places.extend(matches.map(|m| (*sender, Some(m.from.span_id))));
            }
        }
        places
    }

    /// Whether messages from these traces into one unit have a common first cause. Nothing as long as that is not known.
    fn is_one_story(&self, trace: &Trace, unit: usize, senders: &BTreeSet<TraceId>) -> Option<bool> {
        if senders.len() < 2 {
            return Some(true);
        }
        let limits = &self.store.limits;
        if senders.len() > limits.batch_traces_max {
            return Some(false);
        }
        let traces_max = limits.batch_traces_max.saturating_mul(4).saturating_add(limits.depth_max);
        let mut seen = senders.clone();
        let mut open: Vec<TraceId> = senders.iter().copied().collect();
        let mut firsts = BTreeSet::new();
        let mut is_complete = true;
        while let Some(id) = open.pop() {
            if seen.len() > traces_max || firsts.len() > 1 {
                return Some(false);
            }
            let cause = if id == trace.id { Look::Here(trace) } else { self.store.trace(id) };
            let incoming = match cause {
                Look::Here(cause) => self.matcher.all(self.store, cause),
                Look::Missing => Arc::new(Incoming { is_complete: true, ..Incoming::default() }),
                Look::Pending => {
                    is_complete = false;
                    continue;
                }
            };
            if !incoming.is_complete && id != trace.id {
                is_complete = false;
                continue;
            }
            // What led to this unit is what is being asked about.
            let units = incoming.guard.units.iter().filter(|(root, _)| id != trace.id || **root != unit);
            let next: BTreeSet<TraceId> =
                units.flat_map(|(_, unit)| &unit.senders).copied().filter(|sender| *sender != id).collect();
            if next.is_empty() {
                firsts.insert(id);
            }
            open.extend(next.into_iter().filter(|id| seen.insert(*id)));
        }
        if firsts.len() > 1 { Some(false) } else { is_complete.then_some(firsts.len() == 1) }
    }

    /// Other steps of the workflows that this trace has steps of: whether or not anybody was seen starting those, their
    /// cause is the same.
    fn siblings(&self, trace: &Trace) -> BTreeSet<Place> {
        let mut places = BTreeSet::new();
        for usage in trace.ins.iter().filter(|u| self.story.holds(trace, u.node)) {
            let Some(kind) = trace.key_of(usage).map(|k| k.key.kind).filter(|kind| is_workflow(*kind)) else {
                continue;
            };
            let Some((_, ins)) = self.store.both_rows(usage.hash) else { continue };
            for row in ins.iter().filter(|row| row.kind == kind && row.trace_id != Some(trace.id)) {
                let (Some(id), Some(span_id)) = (row.trace_id, row.span_id) else { continue };
                let Look::Here(other) = self.store.trace(id) else { continue };
                let spans = (trace.node(usage.node), other.find(span_id).and_then(|index| other.node(index)));
                let (Some(own), Some(step)) = spans else { continue };
                if kind.scope() == Scope::World || agree(&own.span, &step.span) {
                    places.insert((id, Some(span_id)));
                }
            }
        }
        places
    }

    /// Follows the story down to all its effects.
    fn descend(&mut self) {
        let mut causes: Vec<(usize, i64, TraceId)> = self
            .causes
            .iter()
            .filter_map(|(id, distance)| Some((*distance, self.store.loaded(*id)?.start_ns(), *id)))
            .collect();
        causes.sort_unstable();
        for (distance, _, id) in causes {
            if let Some(trace) = self.store.loaded(id) {
                self.admit(trace, distance, id);
            }
        }
        while let Some((distance, _, id)) = self.queue.pop_first() {
            self.store.ask_for(id);
            if let Some(trace) = self.store.loaded(id) {
                self.follow(trace, distance);
            }
        }
    }

    /// Takes a trace into the story, unless that is too large already.
    fn admit(&mut self, trace: &Trace, distance: usize, from: TraceId) -> bool {
        if self.story.traces.contains_key(&trace.id) {
            return true;
        }
        let limits = &self.store.limits;
        let start = trace.start_ns();
        let (first, last) = self.starts.map_or((start, start), |(first, last)| (first.min(start), last.max(start)));
        let spans_count = self.spans_count + trace.nodes.len();
        let reason = if distance > limits.depth_max {
            Some(CutReason::Depth)
        } else if self.story.traces.len() >= limits.traces_max {
            Some(CutReason::Traces)
        } else if last.saturating_sub(first) > limits.span_ns {
            Some(CutReason::Time)
        } else if spans_count > limits.spans_max {
            Some(CutReason::Spans)
        } else {
            None
        };
        if let Some(reason) = reason {
            self.story.leave(reason, from, [trace.id]);
            return false;
        }
        if trace.is_truncated {
            self.story.cut(CutReason::Spans, trace.id, None);
        }
        (self.starts, self.spans_count) = (Some((first, last)), spans_count);
        self.story.traces.insert(trace.id, distance);
        self.queue.insert((distance, start, trace.id));
        true
    }

    fn follow(&mut self, trace: &Trace, distance: usize) {
        let incoming = self.matcher.all(self.store, trace);
        let (outs, others): (Vec<Use>, Vec<Use>) =
            trace.outs.iter().partition(|usage| self.is_allowed(trace, &incoming, usage.node));
        self.story.others.insert(trace.id, others.iter().map(|usage| usage.node).collect());
        let (mut readers, mut is_complete) = self.readers(trace, &outs);
        let (of_ranges, are_known) = ranges::readers(self.store, trace, &outs);
        readers.extend(of_ranges.into_iter().filter(|id| *id != trace.id));
        is_complete &= are_known;
        let mut served = self.visit(trace, &incoming, distance, &readers);
        if !is_complete {
            return;
        }
        // Whom an identity or a link leads to is known; for the rest, the destination may tell.
        served.extend(trace.nodes.iter().enumerate().filter(|(_, node)| node.has_callee).map(|(index, _)| index));
        let guesses = self.guesses(trace, &outs, &served);
        self.visit(trace, &incoming, distance, &guesses.difference(&readers).copied().collect());
    }

    /// Whether what a span set off belongs to the story.
    fn is_allowed(&self, trace: &Trace, incoming: &Incoming, from: usize) -> bool {
        let batches_max = self.store.limits.batch_traces_max;
        self.story.holds(trace, from)
            && incoming.guard.causes(trace, from).all(|(root, message)| {
                let Some(unit) = incoming.guard.units.get(&root).filter(|unit| unit.is_batch()) else { return true };
                let is_small =
                    |senders| self.foreign(trace, senders).take(batches_max.saturating_add(1)).count() <= batches_max;
                match message {
                    // A range has the messages of nobody knows how many.
                    None => unit.ranges.is_empty() && is_small(&unit.senders),
                    Some(message) if unit.ranges.contains(&message) => false,
                    Some(message) => {
                        let is_reached = self.reached.get(&trace.id).is_some_and(|reached| reached.contains(&message));
                        let is_open = || self.open.contains(&(trace.id, root)) && is_small(&unit.senders);
                        // One span may have received many messages.
                        (is_reached || is_open()) && unit.messages.get(&message).is_none_or(is_small)
                    }
                }
            })
    }

    /// Those of the senders that do not belong to the story.
    fn foreign<'u>(&'u self, trace: &'u Trace, senders: &'u BTreeSet<TraceId>) -> impl Iterator<Item = TraceId> + 'u {
        let is_foreign = |id: &TraceId| *id != trace.id && !self.story.traces.contains_key(id);
        senders.iter().copied().filter(is_foreign)
    }

    /// Marks a span that the story came by, and says whether that is new. Of a trace that only an X-Ray root holds together,
    /// its tree now belongs to the story.
    fn reach(&mut self, trace: &Trace, index: usize) -> bool {
        if trace.tops_count > self.store.limits.xray_root_invocations_max {
            self.story.trees.entry(trace.id).or_default().insert(trace.top(index));
        }
        self.reached.entry(trace.id).or_default().insert(index)
    }

    /// The traces that may have received something from these sends or from any link to the trace, and whether all of
    /// them are known.
    fn readers(&self, trace: &Trace, outs: &[Use]) -> (BTreeSet<TraceId>, bool) {
        let mut readers = BTreeSet::new();
        let mut is_complete = true;
        let mut add = |rows: Option<&[KeyRow]>, kind: Kind| match rows {
            Some(rows) => readers.extend(rows.iter().filter(|row| row.kind == kind).filter_map(|row| row.trace_id)),
            None => is_complete = false,
        };
        let mut told = Vec::new();
        for usage in outs {
            match trace.key_of(usage).map(|k| &k.key) {
                Some(key) if key.kind == Kind::Link => told.extend(key.id.parse::<TraceId>()),
                Some(key) if key.kind.is_identity() => {
                    add(self.store.both_rows(usage.hash).map(|(_, ins)| ins), key.kind);
                }
                _ => {}
            }
        }
        add(self.store.linking(trace.id), Kind::Link);
        let own_root = [trace.id];
        let roots = xray::roots(self.store, trace);
        for root in roots.iter().flatten() {
            add(self.store.linking(*root), Kind::Link);
        }
        for root in roots.iter().flatten().chain(&own_root) {
            add(self.store.rows(hash_parts(Kind::Xray, &root.to_string()), Direction::In), Kind::Xray);
        }
        is_complete &= roots.is_some();
        readers.extend(told);
        readers.remove(&trace.id);
        (readers, is_complete)
    }

    /// The traces that may have received what no known receiver got.
    fn guesses(&self, trace: &Trace, outs: &[Use], served: &HashSet<usize>) -> BTreeSet<TraceId> {
        let is_served = |from: usize| {
            trace
                .in_unit_above(from)
                .take(NESTED_MAX)
                .any(|above| served.contains(&above) && trace.is_one_send(above, from))
        };
        let mut traces = BTreeSet::new();
        for usage in outs.iter().filter(|u| !is_served(u.node)) {
            let id = trace.key_of(usage).map(|k| &k.key).filter(|key| key.kind == Kind::Destination).map(|key| &key.id);
            let (Some(id), Some(node)) = (id, trace.node(usage.node)) else { continue };
            traces.extend(inferred::receivers_near(self.store, id, node.span.end_ns));
        }
        traces.remove(&trace.id);
        traces
    }

    /// Takes those of the traces into the story that received something from this one, and gives the spans that sent it.
    fn visit(
        &mut self,
        trace: &Trace,
        incoming: &Incoming,
        distance: usize,
        readers: &BTreeSet<TraceId>,
    ) -> HashSet<usize> {
        let looks: Vec<Look<'a>> = readers.iter().map(|id| self.store.trace(*id)).collect();
        let here = looks.into_iter().filter_map(|look| if let Look::Here(reader) = look { Some(reader) } else { None });
        let mut found: Vec<&Trace> = here.collect();
        found.sort_by_key(|reader| (reader.start_ns(), reader.id));
        let mut served = HashSet::default();
        for reader in found {
            let into = self.matcher.all(self.store, reader);
            let matches = into.from(trace.id).filter_map(|m| Some((trace.find(m.from.span_id)?, m.to)));
            let matches = matches.chain(ranges::between(trace, reader));
            let matches: Vec<(usize, usize)> =
                matches.filter(|(from, _)| self.is_allowed(trace, incoming, *from)).collect();
            if matches.is_empty() || !self.admit(reader, distance + 1, trace.id) {
                continue;
            }
            let news = matches.iter().filter(|(_, to)| self.reach(reader, *to)).count();
            // More of a batch belongs to the story than when it was followed: so may more of its effects.
            if news > 0
                && let Some(distance) = self.story.traces.get(&reader.id)
            {
                self.queue.insert((*distance, reader.start_ns(), reader.id));
            }
            served.extend(matches.iter().flat_map(|(from, _)| trace.in_unit_above(*from).take(NESTED_MAX)));
        }
        served
    }

    /// Names what was left out: what other stories sent into this one, and X-Ray roots that tell nothing.
    fn name_batches(&mut self) {
        let ids: Vec<TraceId> = self.story.traces.keys().copied().collect();
        let left: BTreeSet<TraceId> = self.story.cuts.values().flat_map(|left| &left.traces).copied().collect();
        for trace in ids.into_iter().filter_map(|id| self.store.loaded(id)) {
            let incoming = self.matcher.all(self.store, trace);
            for (root, unit) in &incoming.guard.units {
                if !self.story.holds(trace, *root) {
                    continue;
                }
                let is_new = |id: &TraceId| !left.contains(id) && !self.store.is_missing(*id);
                let foreign: BTreeSet<TraceId> = self.foreign(trace, &unit.senders).filter(is_new).collect();
                if !foreign.is_empty() || !unit.ranges.is_empty() {
                    let span_id = trace.node(*root).map(|node| node.span.span_id);
                    self.story.cut(CutReason::Batch, trace.id, span_id).traces.extend(foreign);
                }
            }
            if self.story.trees.contains_key(&trace.id) {
                self.story.cut(CutReason::XrayRoot, trace.id, None).count = trace.tops_count;
            }
            for (to, count) in &incoming.xray_cuts {
                if !self.story.holds(trace, *to) {
                    continue;
                }
                let span_id = trace.node(*to).map(|node| node.span.span_id);
                self.story.cut(CutReason::XrayRoot, trace.id, span_id).count = *count;
            }
        }
    }
}

impl Story {
    /// Whether a span of one of its traces belongs to the story.
    pub(super) fn holds(&self, trace: &Trace, index: usize) -> bool {
        self.trees.get(&trace.id).is_none_or(|trees| trees.contains(&trace.top(index)))
    }

    fn cut(&mut self, reason: CutReason, trace: TraceId, span: Option<SpanId>) -> &mut Left {
        self.cuts.entry((reason, trace, span)).or_default()
    }

    fn leave(&mut self, reason: CutReason, trace: TraceId, left: impl IntoIterator<Item = TraceId>) {
        let mut left = left.into_iter().peekable();
        if left.peek().is_some() {
            self.cut(reason, trace, None).traces.extend(left);
        }
    }
}

/// Whether keys of this kind name runs of a workflow: all that have one are its steps.
pub(super) fn is_workflow(kind: Kind) -> bool {
    matches!(kind, Kind::StepFunctions | Kind::Durable)
}
