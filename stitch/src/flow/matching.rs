//! Who caused what a trace received: the edges into one trace, before anything is said of
//! whether they belong to the story.
//!
//! In the order of trust: span links and keys that both sides have (here), the X-Ray root
//! (`xray`), time and destination (`inferred`). Parents within the trace are no matter of
//! matching; `report` adds them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use ahash::{HashMap, HashSet};
use hopline_model::{SpanId, TraceId};

use super::batch::Guard;
use super::edges::FOREIGN_MAX;
use super::store::{Look, Store};
use super::trace::{Trace, Use};
use super::{Certainty, FlowSpan, KeyRow, inferred, item, xray};
use crate::choose::{self, Timed, Writing};
pub(super) use crate::choose::{READS_MAX, SKEW_NS};
use crate::hops::HopKey;
use crate::key::{KeyHash, Kind, Scope};

/// A sender, as far as it is known before its trace is read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sender {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    pub(super) start_ns: i64,
    pub(super) end_ns: i64,
    pub(super) invocation_id: Option<String>,
}

impl Sender {
    fn of_row(row: &KeyRow) -> Option<Sender> {
        Some(Sender {
            trace_id: row.trace_id?,
            span_id: row.span_id?,
            start_ns: row.start_ns,
            end_ns: row.end_ns,
            invocation_id: row.invocation_id.clone(),
        })
    }
}

impl Timed for Sender {
    fn start_ns(&self) -> i64 {
        self.start_ns
    }

    fn end_ns(&self) -> i64 {
        self.end_ns
    }

    fn ids(&self) -> (TraceId, SpanId) {
        (self.trace_id, self.span_id)
    }
}

impl Timed for FlowSpan {
    fn start_ns(&self) -> i64 {
        self.start_ns
    }

    fn end_ns(&self) -> i64 {
        self.end_ns
    }

    fn ids(&self) -> (TraceId, SpanId) {
        (self.trace_id, self.span_id)
    }
}

/// What proves an edge, the most trusted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Proof {
    Parent,
    Link,
    /// A key, by this rule.
    Key(&'static str),
    Xray,
    Inferred,
}

impl Proof {
    pub(super) fn name(self) -> &'static str {
        match self {
            Proof::Parent => "parent",
            Proof::Link => "link",
            Proof::Key(rule) => rule,
            Proof::Xray => "xray",
            Proof::Inferred => "inferred",
        }
    }
}

/// An edge into a trace.
#[derive(Debug, Clone)]
pub(super) struct Match {
    pub(super) from: Sender,
    /// The span that received.
    pub(super) to: usize,
    pub(super) proof: Proof,
    /// Which keys of the receiving span show it.
    pub(super) keys: Vec<usize>,
    pub(super) certainty: Certainty,
    pub(super) candidates: u32,
}

/// All edges into a trace.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// By sender.
    pub(super) matches: Vec<Match>,
    /// Links to traces that were not read, because there are too many.
    pub(super) unread: BTreeSet<(usize, TraceId)>,
    /// Receivers of X-Ray roots that too many invocations share, and how many.
    pub(super) xray_cuts: Vec<(usize, usize)>,
    /// What came into each unit; only of [`Matcher::all`].
    pub(super) guard: Guard,
    /// Whether nothing is yet to be read.
    pub(super) is_complete: bool,
}

impl Incoming {
    /// The edges from one trace.
    pub(super) fn from(&self, trace: TraceId) -> impl Iterator<Item = &Match> {
        let begin = self.matches.partition_point(|m| m.from.trace_id < trace);
        self.matches.iter().skip(begin).take_while(move |m| m.from.trace_id == trace)
    }
}

/// Finds edges, and remembers what can no longer change.
#[derive(Debug, Default)]
pub(super) struct Matcher {
    exact: RefCell<HashMap<TraceId, Arc<Incoming>>>,
    all: RefCell<HashMap<TraceId, Arc<Incoming>>>,
}

impl Matcher {
    /// The edges into `trace` that an identity proves.
    pub(super) fn exact(&self, store: &Store, trace: &Trace) -> Arc<Incoming> {
        remembered(&self.exact, trace.id, || exact(store, trace))
    }

    /// All edges into `trace`.
    pub(super) fn all(&self, store: &Store, trace: &Trace) -> Arc<Incoming> {
        remembered(&self.all, trace.id, || {
            let known = self.exact(store, trace);
            let mut incoming = Incoming {
                matches: known.matches.clone(),
                unread: known.unread.clone(),
                xray_cuts: known.xray_cuts.clone(),
                is_complete: known.is_complete,
                guard: Guard::default(),
            };
            // What is exact must be known before anything is inferred.
            if known.is_complete {
                let found = inferred::senders(store, self, trace, &known);
                incoming.is_complete = found.is_some();
                incoming.matches.extend(found.into_iter().flatten());
                tidy(&mut incoming.matches);
            }
            incoming.guard = Guard::new(trace, &incoming);
            incoming
        })
    }
}

fn remembered(
    cache: &RefCell<HashMap<TraceId, Arc<Incoming>>>,
    trace: TraceId,
    find: impl FnOnce() -> Incoming,
) -> Arc<Incoming> {
    if let Some(known) = cache.borrow().get(&trace) {
        return Arc::clone(known);
    }
    let found = Arc::new(find());
    if found.is_complete {
        cache.borrow_mut().insert(trace, Arc::clone(&found));
    }
    found
}

fn exact(store: &Store, trace: &Trace) -> Incoming {
    let mut incoming = Incoming { is_complete: true, ..Incoming::default() };
    let dangling = by_links(store, trace, &mut incoming);
    for usage in &trace.ins {
        let Some(hop_key) = trace.key_of(usage) else { continue };
        let found = match hop_key.key.kind {
            kind if kind.is_range() => continue,
            Kind::DynamoItem => item::sender(store, trace, usage, hop_key),
            kind if kind.is_identity() => by_key(store, trace, usage, hop_key),
            _ => continue,
        };
        incoming.is_complete &= found.is_some();
        incoming.matches.extend(found.flatten());
    }
    tidy(&mut incoming.matches);
    by_trace(store, trace, &mut incoming);
    xray::add(store, trace, &dangling, &mut incoming);
    tidy(&mut incoming.matches);
    incoming
}

/// Sorts edges, and makes one of those between the same two spans.
fn tidy(matches: &mut Vec<Match>) {
    matches.sort_by(|a, b| {
        (&a.from, a.to, a.proof, a.candidates, &a.keys).cmp(&(&b.from, b.to, b.proof, b.candidates, &b.keys))
    });
    matches.dedup_by(|next, kept| {
        let same = (next.from.trace_id, next.from.span_id, next.to) == (kept.from.trace_id, kept.from.span_id, kept.to);
        if same {
            kept.keys.append(&mut next.keys);
            kept.keys.sort_unstable();
            kept.keys.dedup();
            kept.certainty = kept.certainty.min(next.certainty);
            kept.candidates = kept.candidates.min(next.candidates);
        }
        same
    });
}

/// Adds the edges that links show, and gives the links that name no stored span.
fn by_links(store: &Store, trace: &Trace, incoming: &mut Incoming) -> Vec<(usize, TraceId, SpanId)> {
    let mut dangling = Vec::new();
    let mut foreign = HashSet::default();
    let few_max = READS_MAX.max(store.limits.batch_traces_max.saturating_add(1));
    // Who sent is told from its trace alone.
    let reads_max = if store.has_room_for(FOREIGN_MAX) { few_max.max(FOREIGN_MAX + 1) } else { few_max };
    for (to, node) in trace.nodes.iter().enumerate() {
        for (id, span_id) in &node.span.links {
            if id.is_zero() || span_id.is_zero() {
                continue;
            }
            let linked = if *id == trace.id {
                Some(trace)
            } else if foreign.contains(id) || foreign.len() < reads_max || store.is_read(*id) {
                foreign.insert(*id);
                match store.trace(*id) {
                    Look::Here(linked) => Some(linked),
                    Look::Missing => None,
                    Look::Pending => {
                        incoming.is_complete = false;
                        continue;
                    }
                }
            } else {
                incoming.unread.insert((to, *id));
                continue;
            };
            let Some((linked, from)) = linked.and_then(|linked| Some((linked, linked.find(*span_id)?))) else {
                dangling.push((to, *id, *span_id));
                continue;
            };
            let is_below = linked.id == trace.id && trace.is_above(to, from);
            let sender = sender(linked, from).filter(|s| !is_below && s.start_ns <= later(node.span.end_ns, SKEW_NS));
            incoming.matches.extend(sender.map(|from| Match {
                from,
                to,
                proof: Proof::Link,
                keys: Vec::new(),
                certainty: Certainty::Exact,
                candidates: 1,
            }));
        }
    }
    dangling
}

/// Adds the edges from those who knew which trace they would set off: ids of steps of a workflow follow from its run. Whatever
/// stands topmost there and has no other sender is theirs.
fn by_trace(store: &Store, trace: &Trace, incoming: &mut Incoming) {
    let Some(rows) = store.linked(trace.id) else {
        incoming.is_complete = false;
        return;
    };
    let rows = rows.iter().filter(|row| row.kind == Kind::Link && row.trace_id != Some(trace.id));
    let senders: Vec<Sender> = rows.filter_map(Sender::of_row).collect();
    if senders.is_empty() {
        return;
    }
    let caused: HashSet<usize> = incoming.matches.iter().map(|m| trace.unit(m.to)).collect();
    for (to, node) in trace.nodes.iter().enumerate() {
        if node.top != to || caused.contains(&to) || !node.span.kind.is_in() {
            continue;
        }
        let before: Vec<&Sender> = senders.iter().filter(|s| s.start_ns <= later(node.span.end_ns, SKEW_NS)).collect();
        let from = choose::sender(Kind::Link, &before, &node.span);
        let certainty = Certainty::Exact;
        incoming.matches.extend(from.map(|from| Match {
            from: from.clone(),
            to,
            proof: Proof::Link,
            keys: Vec::new(),
            certainty,
            candidates: 1,
        }));
    }
    tidy(&mut incoming.matches);
}

/// The edge that a key proves; nothing as long as rows are missing.
fn by_key(store: &Store, trace: &Trace, usage: &Use, hop_key: &HopKey) -> Option<Option<Match>> {
    let (outs, _) = store.both_rows(usage.hash)?;
    let kind = hop_key.key.kind;
    let Some(receiver) = trace.node(usage.node).map(|node| &node.span) else { return Some(None) };
    let candidates = senders(store, trace, usage, kind, outs)?;
    let mut candidates: Vec<&(bool, Sender)> =
        candidates.iter().filter(|(_, sender)| choose::is_in_time(kind, sender, receiver)).collect();
    if kind.is_of_content() {
        let names_of = |sender: &&(bool, Sender)| names(store, &sender.1, kind);
        writing(store, trace, usage, kind)?.retain(&mut candidates, |(_, sender)| sender.ids(), names_of);
    }
    let traces_of =
        |candidates: &[&(bool, Sender)]| candidates.iter().map(|(_, s)| s.trace_id).collect::<BTreeSet<_>>();
    let mut traces = traces_of(&candidates);
    // What is unique in the world may come from another account, but not where one's own has it too.
    if candidates.iter().any(|(is_own, _)| *is_own) {
        candidates.retain(|(is_own, _)| *is_own);
        // Of those who wrote the same, an account proves none.
        if !kind.is_of_content() {
            traces = traces_of(&candidates);
        }
    }
    let candidates: Vec<&Sender> = candidates.into_iter().map(|(_, sender)| sender).collect();
    // An identity that is unique in the world may be handed on: then the last who had it is the sender. One that is
    // unique only in an account that nobody named may be another.
    let Some(from) = choose::sender(kind, &candidates, receiver) else { return Some(None) };
    let is_proven = (kind.scope() == Scope::World && !kind.is_of_content()) || from.trace_id == trace.id;
    let is_sure = traces.len() < 2 || is_proven;
    Some(Some(Match {
        from: from.clone(),
        to: usage.node,
        proof: Proof::Key(hop_key.rule),
        keys: vec![usage.key],
        certainty: if is_sure { Certainty::Exact } else { Certainty::Inferred },
        candidates: if is_sure { 1 } else { u32::try_from(traces.len()).unwrap_or(u32::MAX) },
    }))
}

/// What else the receiving span knows of what it received, which a key of this kind names by its content; nothing as long as
/// rows are missing.
fn writing(store: &Store, trace: &Trace, usage: &Use, content: Kind) -> Option<Writing> {
    let mut writing = Writing::default();
    for other in trace.ins.iter().filter(|other| other.node == usage.node) {
        let Some(kind) = trace.key_of(other).map(|k| k.key.kind).filter(|kind| kind.is_identity()) else { continue };
        if kind.is_of_content() {
            writing.contents += usize::from(kind == content);
            continue;
        }
        let (outs, _) = store.both_rows(other.hash)?;
        let spans = outs.iter().filter(|row| row.kind == kind).filter_map(|row| row.trace_id.zip(row.span_id));
        writing.told.extend(spans.clone());
        if kind.is_writing_of(content) {
            writing.names.push((kind, other.hash));
            writing.writers.extend(spans.map(|(trace, _)| trace));
        }
    }
    Some(writing)
}

/// By which names a sender wrote what keys of the kind `content` name; none as long as its trace was not read.
fn names(store: &Store, sender: &Sender, content: Kind) -> Vec<(Kind, KeyHash)> {
    let Some(trace) = store.loaded(sender.trace_id) else { return Vec::new() };
    let Some(node) = trace.find(sender.span_id) else { return Vec::new() };
    let of_node = trace.outs.iter().filter(|usage| usage.node == node);
    let kind = |usage: &Use| trace.key_of(usage).map(|k| k.key.kind).filter(|kind| kind.is_writing_of(content));
    of_node.filter_map(|usage| Some((kind(usage)?, usage.hash))).collect()
}

/// Whether the receiving span knows names of the writing of what it knows by its content.
fn knows_writing(trace: &Trace, usage: &Use, content: Kind) -> bool {
    let is_name = |other: &Use| trace.key_of(other).is_some_and(|k| k.key.kind.is_writing_of(content));
    content.is_of_content() && trace.ins.iter().any(|other| other.node == usage.node && is_name(other))
}

/// Who may have sent what `usage` received, by the rows of the key, and whether from the receiver's account as far as is known;
/// nothing as long as traces are missing.
pub(super) fn senders(
    store: &Store,
    trace: &Trace,
    usage: &Use,
    kind: Kind,
    rows: &[KeyRow],
) -> Option<Vec<(bool, Sender)>> {
    let mut rows: Vec<(TraceId, &KeyRow)> =
        rows.iter().filter(|row| row.kind == kind).filter_map(|row| Some((row.trace_id?, row))).collect();
    // Of one trace, rows stay by time.
    rows.sort_by_key(|(id, _)| *id);
    let traces_count = rows.chunk_by(|(a, _), (b, _)| a == b).count();
    // How often it wrote an item stands in a sender's spans only, and which of its names it is called by; and by which names
    // it wrote.
    let fewest = if kind == Kind::DynamoItem || knows_writing(trace, usage, kind) { 1 } else { 2 };
    let must_read = (fewest..=READS_MAX).contains(&traces_count);
    let mut found: Vec<(bool, Sender)> = Vec::new();
    let mut is_complete = true;
    for of_trace in rows.chunk_by(|(a, _), (b, _)| a == b) {
        let Some((id, _)) = of_trace.first().copied() else { continue };
        if id == trace.id {
            found.extend(own_senders(trace, usage).into_iter().map(|sender| (true, sender)));
            continue;
        }
        let foreign = match store.loaded(id) {
            None if must_read => store.trace(id),
            known => known.map_or(Look::Missing, Look::Here),
        };
        match foreign {
            Look::Here(foreign) => found.extend(foreign.senders_of(usage.hash).iter().filter_map(|from| {
                let agrees = may_send(kind, &foreign.node(*from)?.span, &trace.node(usage.node)?.span);
                Some((agrees, sender(foreign, *from)?))
            })),
            Look::Missing if must_read => {}
            Look::Missing => {
                let receiver = trace.node(usage.node).map(|node| &node.span);
                for is_own in [true, false] {
                    let rows = of_trace.iter().map(|(_, row)| *row);
                    let rows =
                        rows.filter(|row| receiver.is_none_or(|receiver| row_agrees(kind, row, receiver)) == is_own);
                    found.extend(unread_senders(rows).map(|sender| (is_own, sender)));
                }
            }
            Look::Pending => is_complete = false,
        }
    }
    if kind.scope() == Scope::Account {
        found.retain(|(is_own, _)| *is_own);
    }
    is_complete.then_some(found)
}

/// The sends of a trace that was not read, by its rows in the order of time: those that overlap are nested spans of one.
fn unread_senders<'a>(rows: impl Iterator<Item = &'a KeyRow>) -> impl Iterator<Item = Sender> {
    let mut until = None;
    rows.filter_map(Sender::of_row).filter(move |sender| {
        let is_next = until.is_none_or(|until| sender.start_ns > until);
        if is_next {
            until = Some(sender.end_ns);
        }
        is_next
    })
}

/// Senders in the receiver's own trace: not what it set off itself.
fn own_senders(trace: &Trace, usage: &Use) -> Vec<Sender> {
    let may_send = |from: &usize| {
        let is_effect = trace.is_above(usage.node, *from) || trace.unit(usage.node) == trace.unit(*from);
        let is_before = match (trace.node(*from), trace.node(usage.node)) {
            (Some(from), Some(to)) => from.span.start_ns < to.span.start_ns,
            _ => false,
        };
        *from != usage.node && !trace.is_above(usage.node, *from) && (!is_effect || is_before)
    };
    trace.senders_of(usage.hash).iter().filter(|from| may_send(from)).filter_map(|from| sender(trace, *from)).collect()
}

/// A span of a trace that was read, as a sender.
pub(super) fn sender(trace: &Trace, from: usize) -> Option<Sender> {
    let span = &trace.node(from)?.span;
    Some(Sender {
        trace_id: trace.id,
        span_id: span.span_id,
        start_ns: span.start_ns,
        end_ns: span.end_ns,
        invocation_id: trace.invocation_of(from).map(str::to_owned),
    })
}

/// Whether two spans may belong to one account and region: where both name them, they are equal.
pub(super) fn agree(a: &FlowSpan, b: &FlowSpan) -> bool {
    same(&a.account, &b.account) && same(&a.region, &b.region)
}

/// Whether a sender may belong to the receiver's account and region.
fn may_send(kind: Kind, from: &FlowSpan, to: &FlowSpan) -> bool {
    same(&from.account, &to.account) && (kind.is_of_any_region() || same(&from.region, &to.region))
}

/// The same of a sender that was not read, by the row of its key.
fn row_agrees(kind: Kind, from: &KeyRow, to: &FlowSpan) -> bool {
    same(&from.account, &to.account) && (kind.is_of_any_region() || same(&from.region, &to.region))
}

fn same(a: &Option<String>, b: &Option<String>) -> bool {
    a.is_none() || b.is_none() || a == b
}

pub(super) fn later(ns: i64, by: i64) -> i64 {
    ns.saturating_add(by)
}
