//! The edges of a story, each hop once, as they are told.

use std::collections::BTreeMap;
use std::rc::Rc;

use ahash::{HashMap, HashSet};
use hopline_model::{SpanId, TraceId};

use super::matching::{Match, Matcher, Proof, Sender};
use super::ranges;
use super::store::Store;
use super::trace::{NESTED_MAX, Trace};
use super::walk::Story;
use super::{Certainty, Edge, End};
use crate::choose;
use crate::hops::{Hop, HopKey};
use crate::key::{Direction, Kind};
use crate::span::SpanKind;

/// Of the senders of other stories, no more than this are told for one trace.
pub(super) const FOREIGN_MAX: usize = 100;

/// Clocks of caller and callee may differ by so much that the callee seems to outlive the call.
const CALL_SKEW_NS: i64 = 10_000_000;

/// An edge before it is told.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) from: Source<'a>,
    pub(super) trace: &'a Trace,
    pub(super) to: usize,
    pub(super) proof: Proof,
    /// Keys of the receiving span that show it.
    pub(super) keys: Vec<usize>,
    pub(super) certainty: Certainty,
    pub(super) candidates: u32,
}

/// Who sent.
#[derive(Debug)]
pub(super) enum Source<'a> {
    /// A span of the story.
    Here(&'a Trace, usize),
    /// A span of another story, as far as it is known.
    Elsewhere(Option<(&'a Trace, usize)>, Sender),
}

impl<'a> Draft<'a> {
    /// The sending span, if it is known.
    pub(super) fn sending(&self) -> Option<(&'a Trace, usize)> {
        match &self.from {
            Source::Here(trace, node) => Some((trace, *node)),
            Source::Elsewhere(known, _) => *known,
        }
    }

    /// Which span sent.
    pub(super) fn sender(&self) -> (TraceId, SpanId) {
        match &self.from {
            Source::Here(trace, node) => (trace.id, trace.node(*node).map_or_else(SpanId::default, |n| n.span.span_id)),
            Source::Elsewhere(_, sender) => (sender.trace_id, sender.span_id),
        }
    }

    /// The keys that show it.
    pub(super) fn hop_keys(&self) -> impl Iterator<Item = &'a HopKey> + '_ {
        let keys = self.trace.node(self.to).map_or(&[][..], |node| node.span.keys.as_slice());
        self.keys.iter().filter_map(move |key| keys.get(*key))
    }

    /// Whether the sending span says that it sends a message.
    pub(super) fn is_from_producer(&self) -> bool {
        self.sending().and_then(|(t, n)| t.node(n)).is_some_and(|n| n.span.kind == SpanKind::Producer)
    }

    /// Whether an identity shows it, by which it can be told from others between the same spans.
    fn has_identity(&self) -> bool {
        self.hop_keys().any(|k| k.key.kind.is_identity())
    }
}

/// All edges into the traces of the story, each hop once; and how many from senders of other stories were left out.
pub(super) fn drafts<'a>(
    store: &'a Store,
    matcher: &Matcher,
    story: &Story,
    traces: &[&'a Trace],
) -> (Vec<Draft<'a>>, usize) {
    let mut groups: BTreeMap<(TraceId, usize, TraceId, usize), Vec<Draft<'a>>> = BTreeMap::new();
    let mut drafts = Vec::new();
    let mut add = |draft: Draft<'a>| match draft.from {
        Source::Here(from, node) => {
            let place = (from.id, from.unit(node), draft.trace.id, draft.trace.unit(draft.to));
            groups.entry(place).or_default().push(draft);
        }
        Source::Elsewhere(..) => drafts.push(draft),
    };
    let mut foreign_left = 0;
    for trace in traces.iter().copied() {
        for (caller, callee) in trace.calls().filter(|(_, callee)| story.holds(trace, *callee)) {
            add(Draft {
                from: Source::Here(trace, caller),
                trace,
                to: callee,
                proof: Proof::Parent,
                keys: Vec::new(),
                certainty: Certainty::Exact,
                candidates: 1,
            });
        }
        let mut foreign_count = 0;
        let incoming = matcher.all(store, trace);
        // Of a link to a trace that was not read nobody knows more.
        let is_told = |to: usize, id: TraceId| incoming.from(id).any(|m| m.to == to);
        let unread = incoming.unread.iter().filter(|(to, id)| story.holds(trace, *to) && !is_told(*to, *id));
        foreign_left += unread.count();
        for m in incoming.matches.iter().filter(|m| story.holds(trace, m.to)) {
            let draft = draft(store, story, trace, m);
            foreign_count += usize::from(matches!(draft.from, Source::Elsewhere(..)));
            if matches!(draft.from, Source::Here(..)) || foreign_count <= FOREIGN_MAX {
                add(draft);
            } else {
                foreign_left += 1;
            }
        }
    }
    for (trace, m) in ranges::matches(traces) {
        if !story.holds(trace, m.to) {
            continue;
        }
        add(draft(store, story, trace, &m));
    }
    let mut places = Places::default();
    drafts.extend(groups.into_values().flat_map(|group| merge(group, &mut places)));
    (drafts, foreign_left)
}

fn draft<'a>(store: &'a Store, story: &Story, trace: &'a Trace, m: &Match) -> Draft<'a> {
    let sending = store.loaded(m.from.trace_id).and_then(|from| Some((from, from.find(m.from.span_id)?)));
    // The span that stands for the send may be another than the one that was found before its trace was read.
    let hashes = m.keys.iter().filter_map(|key| Some(trace.node(m.to)?.span.keys.get(*key)?.key.hash()));
    let sending =
        hashes.take(1).fold(sending, |sending, hash| sending.map(|(from, node)| (from, from.sender_for(hash, node))));
    let from = match sending {
        Some((from, node)) if story.traces.contains_key(&from.id) && story.holds(from, node) => {
            Source::Here(from, node)
        }
        _ => Source::Elsewhere(sending, m.from.clone()),
    };
    let Match { to, proof, keys, certainty, candidates, .. } = m.clone();
    Draft { from, trace, to, proof, keys, certainty, candidates }
}

/// Makes one of edges between two units that tell of one hop: those between the same two spans, and those that no key
/// tells apart from one with a key between spans above or below.
fn merge<'a>(mut group: Vec<Draft<'a>>, places: &mut Places) -> Vec<Draft<'a>> {
    group.sort_by_key(|d| (d.sender(), d.to, d.proof));
    group.dedup_by(|next, kept| {
        let same = next.sender() == kept.sender() && next.to == kept.to;
        if same {
            kept.keys.append(&mut next.keys);
            kept.keys.sort_unstable();
            kept.keys.dedup();
            kept.absorb(next);
        }
        same
    });
    let (mut keyed, others): (Vec<_>, Vec<_>) = group.into_iter().partition(Draft::has_identity);
    let ends = if others.is_empty() { None } else { Ends::of(&keyed, places) };
    let mut kept: Vec<Draft<'_>> = Vec::new();
    for other in others {
        let same = ends.as_ref().map(|ends| ends.same_hop(&other)).unwrap_or_default();
        for at in &same {
            if let Some(keyed) = keyed.get_mut(*at) {
                keyed.absorb(&other);
            }
        }
        if same.is_empty() {
            kept.push(other);
        }
    }
    // Of what is left, a link or a root of X-Ray may say again what the parent said. A unit has one parent.
    let parents: Vec<(Option<(&Trace, usize)>, usize)> =
        kept.iter().filter(|d| d.proof == Proof::Parent).map(|d| (d.sending(), d.to)).collect();
    kept.retain(|d| {
        let repeats = |(from, to): &(Option<(&Trace, usize)>, usize)| match (from, d.sending()) {
            (Some((trace, from)), Some((_, other))) => {
                trace.are_related(*from, other) && d.trace.are_related(*to, d.to)
            }
            _ => false,
        };
        d.proof == Proof::Parent || !parents.iter().any(repeats)
    });
    keyed.append(&mut kept);
    keyed
}

/// Of each trace, the place of each of its spans in a walk that visits parents before children, and all that is below a span
/// right behind it.
#[derive(Default)]
struct Places(HashMap<TraceId, Rc<[usize]>>);

impl Places {
    fn of(&mut self, trace: &Trace) -> Rc<[usize]> {
        let find = || {
            let mut places = vec![0; trace.nodes.len()];
            for (place, node) in trace.top_down().iter().enumerate() {
                places.get_mut(*node).into_iter().for_each(|of_node| *of_node = place);
            }
            places.into()
        };
        Rc::clone(self.0.entry(trace.id).or_insert_with(find))
    }
}

/// Where drafts stand in a trace, by their senders or by their receivers.
struct Nest<'a> {
    trace: &'a Trace,
    places: Rc<[usize]>,
    /// Invariant: sorted by place, so that those below a span are a run.
    drafts: Vec<Placed>,
}

/// A draft whose sender or receiver is `node`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Placed {
    place: usize,
    node: usize,
    draft: usize,
}

impl<'a> Nest<'a> {
    fn of(trace: &'a Trace, nodes: impl Iterator<Item = usize>, places: &mut Places) -> Nest<'a> {
        let places = places.of(trace);
        let place = |node: usize| places.get(node).copied().unwrap_or_default();
        let mut drafts: Vec<Placed> =
            nodes.enumerate().map(|(draft, node)| Placed { place: place(node), node, draft }).collect();
        drafts.sort_unstable();
        Nest { trace, places, drafts }
    }

    /// The drafts of a span and of those below it.
    fn below(&self, node: usize) -> &[Placed] {
        let place = self.places.get(node).copied().unwrap_or_default();
        let (_, from) = self.drafts.split_at(self.drafts.partition_point(|d| d.place < place));
        from.split_at(from.partition_point(|d| self.trace.is_above(node, d.node))).0
    }

    /// The drafts of a span.
    fn at(&self, node: usize) -> &[Placed] {
        let below = self.below(node);
        below.split_at(below.partition_point(|d| d.node == node)).0
    }
}

/// Between which spans the drafts of a group are that have an identity. All are from one unit to one other.
struct Ends<'a> {
    senders: Nest<'a>,
    receivers: Nest<'a>,
    /// By draft: its sender and its receiver.
    spans: Vec<(usize, usize)>,
}

impl<'a> Ends<'a> {
    fn of(keyed: &[Draft<'a>], places: &mut Places) -> Option<Ends<'a>> {
        let first = keyed.first()?;
        let (from, _) = first.sending()?;
        let spans: Vec<(usize, usize)> = keyed.iter().filter_map(|d| Some((d.sending()?.1, d.to))).collect();
        Some(Ends {
            senders: Nest::of(from, spans.iter().map(|(from, _)| *from), places),
            receivers: Nest::of(first.trace, spans.iter().map(|(_, to)| *to), places),
            spans,
        })
    }

    /// The drafts that may tell of the same hop as `other`, which has no identity: those of the nearest receiver above its
    /// own that has any, else of those below; and of them those whose sender is above or below its own. Spans of one hop are
    /// not nested deeper than [`NESTED_MAX`].
    fn same_hop(&self, other: &Draft<'_>) -> Vec<usize> {
        let Some((_, from)) = other.sending() else { return Vec::new() };
        let (sending, receiving) = (self.senders.trace, self.receivers.trace);
        let nearest =
            receiving.in_unit_above(other.to).take(NESTED_MAX).find(|above| !self.receivers.at(*above).is_empty());
        let received = nearest.map_or_else(|| self.receivers.below(other.to), |at| self.receivers.at(at));
        let is_received = |to: usize| nearest.map_or_else(|| receiving.is_above(other.to, to), |at| at == to);
        let above: Vec<usize> = sending
            .in_unit_above(from)
            .take(NESTED_MAX)
            .skip(1)
            .filter(|above| !self.senders.at(*above).is_empty())
            .collect();
        let below = self.senders.below(from);
        let is_sent = |span: usize| sending.is_above(from, span) || above.contains(&span);
        // Of many drafts between two units, few have this receiver, or few have this sender: the fewer are looked at.
        let sent = below.len() + above.iter().map(|at| self.senders.at(*at).len()).sum::<usize>();
        let is_same =
            |draft: &usize| self.spans.get(*draft).is_some_and(|(from, to)| is_sent(*from) && is_received(*to));
        if received.len() <= sent {
            return received.iter().map(|d| d.draft).filter(is_same).collect();
        }
        let above = above.iter().flat_map(|at| self.senders.at(*at));
        below.iter().chain(above).map(|d| d.draft).filter(is_same).collect()
    }
}

impl Draft<'_> {
    fn absorb(&mut self, other: &Draft<'_>) {
        self.proof = self.proof.min(other.proof);
        self.certainty = self.certainty.min(other.certainty);
        self.candidates = self.candidates.min(other.candidates);
    }
}

/// The edge, except for what its siblings tell of it.
pub(super) fn edge(draft: &Draft<'_>) -> Option<Edge> {
    let to = end(draft.trace, draft.to)?;
    let sending = draft.sending();
    let from = match (&draft.from, sending) {
        (_, Some((trace, node))) => end(trace, node)?,
        (Source::Elsewhere(_, sender), None) => end_of(sender),
        (Source::Here(..), None) => return None,
    };
    let identities = draft.hop_keys().filter(|k| k.key.kind.is_identity());
    let shown = identities.min_by_key(|k| (k.key.kind.is_of_content(), k.key.kind, &k.key.id));
    let receiver = draft.trace.node(draft.to)?;
    let (hop, destination) = hop(draft, shown);
    let sender = sending.and_then(|(trace, node)| trace.node(node));
    let is_call = sender.is_some_and(|n| n.span.kind == SpanKind::Client) && receiver.span.kind == SpanKind::Server;
    let skew = if is_call { CALL_SKEW_NS } else { 0 };
    let is_synchronous = from.start_ns <= to.start_ns.saturating_add(skew)
        && to.start_ns < from.end_ns
        && to.end_ns <= from.end_ns.saturating_add(skew);
    let waiting_since = if is_synchronous { from.start_ns } else { from.end_ns };
    Some(Edge {
        hop,
        rule: match (draft.proof, shown) {
            (Proof::Key(_), Some(shown)) => shown.rule,
            (proof, _) => proof.name(),
        },
        certainty: draft.certainty,
        key: shown.map(|k| k.key.to_string()),
        destination,
        wait_ns: to.start_ns.saturating_sub(waiting_since).max(0),
        from,
        to,
        is_synchronous,
        attempt: 1,
        is_retry: false,
        is_fan_out: false,
        is_dead_letter: false,
        candidates: draft.candidates,
    })
}

/// What the hop is called and where it goes through: by the key that shows it, else by what the two sides say.
fn hop(draft: &Draft<'_>, shown: Option<&HopKey>) -> (Hop, Option<String>) {
    let received: Vec<&HopKey> = keys_of(draft.trace, draft.to, Direction::In);
    let sent: Vec<&HopKey> = draft.sending().map(|(t, n)| keys_of(t, n, Direction::Out)).unwrap_or_default();
    let same = |k: &&&HopKey| shown.is_none_or(|shown| k.hop == shown.hop);
    let told = shown.or_else(|| received.first().copied()).or_else(|| sent.first().copied());
    let destination = shown.and_then(|shown| {
        let sent = sent.iter().find(|k| k.key == shown.key).and_then(|k| k.destination.as_deref());
        choose::destination(shown.key.kind, false, sent, shown.destination.as_deref()).map(str::to_owned)
    });
    let destination = destination
        .or_else(|| received.iter().filter(same).find_map(|k| k.destination.clone()))
        .or_else(|| sent.iter().filter(same).find_map(|k| k.destination.clone()));
    let by_proof = match draft.proof {
        Proof::Parent if draft.is_from_producer() => "message",
        Proof::Parent => "call",
        Proof::Xray => "xray",
        _ => "link",
    };
    (told.map_or(by_proof, |k| k.hop), destination)
}

/// Keys that say what a span sent or received. The id of an invocation says it of each, however it was caused.
fn keys_of(trace: &Trace, node: usize, direction: Direction) -> Vec<&HopKey> {
    let keys = trace.node(node).map_or(&[][..], |n| n.span.keys.as_slice());
    let tells = |k: &&HopKey| match k.key.kind {
        Kind::Link | Kind::Xray | Kind::LambdaOutcome => false,
        Kind::Lambda => direction == Direction::Out,
        _ => k.direction == direction,
    };
    let mut keys: Vec<&HopKey> = keys.iter().filter(|k| k.direction == direction).filter(tells).collect();
    keys.sort_by_key(|k| !k.key.kind.is_identity());
    keys
}

/// The end of an edge at a span.
pub(super) fn end(trace: &Trace, index: usize) -> Option<End> {
    let span = &trace.node(index)?.span;
    Some(End {
        trace_id: trace.id,
        span_id: span.span_id,
        root_span_id: trace.node(trace.unit(index))?.span.span_id,
        service: span.service.clone(),
        function: span.function.clone(),
        invocation_id: trace.invocation_of(index).map(str::to_owned),
        start_ns: span.start_ns,
        end_ns: span.end_ns,
    })
}

/// The end at a span of a trace that was not read: what its row says.
fn end_of(sender: &Sender) -> End {
    End {
        trace_id: sender.trace_id,
        span_id: sender.span_id,
        root_span_id: sender.span_id,
        service: String::new(),
        function: None,
        invocation_id: sender.invocation_id.clone(),
        start_ns: sender.start_ns,
        end_ns: sender.end_ns,
    }
}

/// Spans, by trace and place in it.
type Spans = HashSet<(TraceId, usize)>;

/// Sending and receiving spans of edges that no identity tells apart, by which all that they sent or received is explained.
pub(super) fn explained(drafts: &[Draft<'_>]) -> (Spans, Spans) {
    let is_range = |d: &&Draft<'_>| d.hop_keys().any(|k| k.key.kind.is_range());
    let plain = || drafts.iter().filter(|d| !d.has_identity() || is_range(d));
    let from = plain().filter_map(|d| d.sending()).map(|(trace, node)| (trace.id, node)).collect();
    (from, plain().map(|d| (d.trace.id, d.to)).collect())
}

#[cfg(test)]
mod tests;
