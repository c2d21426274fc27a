//! Edges that nothing proves, but that time and destination leave no choice about.
//!
//! A receiver without any sender and a send without any receiver, at one destination and
//! close in time, each the only candidate of the other. Destinations of streams have no such keys.

use std::collections::BTreeSet;

use ahash::HashSet;
use hopline_model::{SpanId, TraceId};

use super::matching::{Incoming, Match, Matcher, Proof, READS_MAX, Sender, agree, sender};
use super::store::{Look, Store};
use super::trace::Trace;
use super::{Certainty, FlowSpan};
use crate::key::{Direction, Kind, hash_parts};

/// A receiver is looked for in the minute (of the clock) in which the sender ended and in the next four.
pub(super) const MINUTES: i64 = 5;

/// A destination that more traces use in that time is too busy for inferring.
const CANDIDATES_MAX: usize = 8;

const MINUTE_NS: i64 = 60_000_000_000;

/// A destination, in minutes.
struct Place<'a> {
    name: &'a str,
}

impl<'a> Place<'a> {
    /// The place of a key `<system>|<destination>|<minute>`.
    fn of(id: &'a str) -> Option<Place<'a>> {
        id.rsplit_once('|').map(|(name, _)| Place { name })
    }

    /// The traces of those who used it in the minutes `from` up to and with `from + MINUTES - 1`.
    fn users(&self, store: &Store, from: i64, direction: Direction) -> Option<BTreeSet<TraceId>> {
        let mut traces = BTreeSet::new();
        let mut is_complete = true;
        for minute in from..from.saturating_add(MINUTES) {
            match store.rows(hash_parts(Kind::Destination, &format!("{}|{minute}", self.name)), direction) {
                Some(rows) => {
                    let known = rows.iter().filter(|row| row.kind == Kind::Destination);
                    traces.extend(known.filter_map(|row| row.trace_id));
                }
                None => is_complete = false,
            }
        }
        is_complete.then_some(traces)
    }
}

/// Edges into what `trace` received without a known sender; nothing as long as rows or traces are missing.
pub(super) fn senders(store: &Store, matcher: &Matcher, trace: &Trace, known: &Incoming) -> Option<Vec<Match>> {
    let mut found = Vec::new();
    let mut is_complete = true;
    for (to, key) in lone(trace, known) {
        match sender_to(store, matcher, trace, to, key) {
            Some(m) => found.extend(m),
            None => is_complete = false,
        }
    }
    is_complete.then_some(found)
}

/// Spans that received from a destination, of units that nothing is known to have caused, and the key.
fn lone(trace: &Trace, known: &Incoming) -> Vec<(usize, usize)> {
    let mut caused: HashSet<usize> = known.matches.iter().map(|m| trace.unit(m.to)).collect();
    caused.extend(known.unread.iter().map(|(to, _)| trace.unit(*to)));
    caused.extend(trace.calls().map(|(_, callee)| callee));
    let is_destination = |kind: Kind| kind == Kind::Destination;
    let lone = trace.ins.iter().filter(|u| !caused.contains(&trace.unit(u.node)));
    lone.filter(|u| trace.key_of(u).is_some_and(|k| is_destination(k.key.kind))).map(|u| (u.node, u.key)).collect()
}

fn sender_to(store: &Store, matcher: &Matcher, trace: &Trace, to: usize, key: usize) -> Option<Option<Match>> {
    let Some(receiver) = trace.node(to).map(|node| &node.span) else { return Some(None) };
    let Some(place) = receiver.keys.get(key).and_then(|k| Place::of(&k.key.id)) else { return Some(None) };
    let minute = receiver.start_ns.div_euclid(MINUTE_NS);
    let users = place.users(store, minute.saturating_sub(MINUTES - 1), Direction::Out)?;
    let Some(senders) = sends(store, matcher, &place, &users, receiver)? else { return Some(None) };
    let [from] = senders.as_slice() else { return Some(None) };
    let users = place.users(store, from.end_ns.div_euclid(MINUTE_NS), Direction::In)?;
    if receivers(store, matcher, &place, &users, from)? != 1 {
        return Some(None);
    }
    Some(Some(Match {
        from: from.clone(),
        to,
        proof: Proof::Inferred,
        keys: vec![key],
        certainty: Certainty::Inferred,
        candidates: 1,
    }))
}

/// The spans of these traces, if they are few enough to be read.
fn read<'a>(store: &'a Store, traces: &BTreeSet<TraceId>) -> Option<Vec<&'a Trace>> {
    let looks: Vec<Look<'_>> = traces.iter().map(|id| store.trace(*id)).collect();
    if looks.iter().any(|look| matches!(look, Look::Pending)) {
        return None;
    }
    let here = |look| if let Look::Here(trace) = look { Some(trace) } else { None };
    Some(looks.into_iter().filter_map(here).collect())
}

/// What was sent to the place before the receiver began, and has no known receiver. `Some(None)`: too much to tell.
fn sends(
    store: &Store,
    matcher: &Matcher,
    place: &Place<'_>,
    users: &BTreeSet<TraceId>,
    receiver: &FlowSpan,
) -> Option<Option<Vec<Sender>>> {
    if users.len() > CANDIDATES_MAX {
        return Some(None);
    }
    let mut found = Vec::new();
    let mut is_complete = true;
    for trace in read(store, users)? {
        for from in used(trace, place, Direction::Out) {
            let Some(span) = trace.node(from).map(|node| &node.span) else { continue };
            let minutes = receiver.start_ns.div_euclid(MINUTE_NS) - span.end_ns.div_euclid(MINUTE_NS);
            let is_near = span.end_ns <= receiver.start_ns && minutes < MINUTES && agree(span, receiver);
            if !is_near || trace.id == receiver.trace_id && is_self(trace, from, receiver.span_id) {
                continue;
            }
            match has_receiver(store, matcher, trace, from) {
                Some(false) => found.extend(sender(trace, from)),
                Some(true) => {}
                None => is_complete = false,
            }
        }
    }
    is_complete.then_some(Some(found))
}

/// Whether a receiver is in the unit that sent: a function that sends to its own queue is not its own cause.
fn is_self(trace: &Trace, from: usize, receiver: SpanId) -> bool {
    trace.find(receiver).is_some_and(|to| trace.unit(to) == trace.unit(from))
}

/// How many receivers without a known sender the send may have reached; many, if there are too many to look at.
fn receivers(
    store: &Store,
    matcher: &Matcher,
    place: &Place<'_>,
    users: &BTreeSet<TraceId>,
    from: &Sender,
) -> Option<usize> {
    if users.len() > CANDIDATES_MAX {
        return Some(usize::MAX);
    }
    let mut count = 0;
    let mut is_complete = true;
    for trace in read(store, users)? {
        let known = matcher.exact(store, trace);
        is_complete &= known.is_complete;
        let at_place: HashSet<usize> = used(trace, place, Direction::In).into_iter().collect();
        let lone = lone(trace, &known).into_iter().filter(|(to, _)| at_place.contains(to));
        count += lone
            .filter_map(|(to, _)| trace.node(to))
            .filter(|n| {
                let minutes = n.span.start_ns.div_euclid(MINUTE_NS) - from.end_ns.div_euclid(MINUTE_NS);
                from.end_ns <= n.span.start_ns && minutes < MINUTES
            })
            .count();
    }
    is_complete.then_some(count)
}

/// The spans of a trace that used the place on one side.
fn used(trace: &Trace, place: &Place<'_>, direction: Direction) -> Vec<usize> {
    let uses = if direction == Direction::Out { &trace.outs } else { &trace.ins };
    let is_here = |key: &crate::key::Key| {
        key.kind == Kind::Destination && Place::of(&key.id).is_some_and(|other| other.name == place.name)
    };
    let mut nodes: Vec<usize> =
        uses.iter().filter(|u| trace.key_of(u).is_some_and(|k| is_here(&k.key))).map(|u| u.node).collect();
    nodes.dedup();
    nodes
}

/// Whether anybody is known to have received what a span sent.
fn has_receiver(store: &Store, matcher: &Matcher, trace: &Trace, from: usize) -> Option<bool> {
    let Some(node) = trace.node(from) else { return Some(true) };
    if node.has_callee {
        return Some(true);
    }
    let mut readers = BTreeSet::new();
    let mut is_complete = true;
    for usage in trace.outs.iter().filter(|u| u.node == from) {
        let kind = trace.key_of(usage).map(|k| k.key.kind);
        match store.both_rows(usage.hash).filter(|_| kind.is_some_and(Kind::is_identity)) {
            Some((_, ins)) => readers.extend(ins.iter().filter(|r| Some(r.kind) == kind).filter_map(|r| r.trace_id)),
            None => is_complete &= !kind.is_some_and(Kind::is_identity),
        }
    }
    match store.linking(trace.id) {
        Some(rows) => readers.extend(rows.iter().filter_map(|row| row.trace_id)),
        None => is_complete = false,
    }
    if !is_complete {
        return None;
    }
    // Many readers: what is used so much is nothing to guess about.
    if readers.len() > READS_MAX {
        return Some(true);
    }
    for reader in read(store, &readers)? {
        let known = matcher.exact(store, reader);
        let is_ours = |m: &Match| trace.find(m.from.span_id).is_some_and(|other| trace.is_one_send(other, from));
        // An edge that is known stays known, whatever else is yet to be read.
        if known.from(trace.id).any(is_ours) {
            return Some(true);
        }
        is_complete &= known.is_complete;
    }
    is_complete.then_some(false)
}

/// Traces that received from the destination of a key in the minutes after a send ended; none as long as rows are missing.
pub(super) fn receivers_near(store: &Store, id: &str, end_ns: i64) -> BTreeSet<TraceId> {
    let users = Place::of(id).and_then(|place| place.users(store, end_ns.div_euclid(MINUTE_NS), Direction::In));
    users.filter(|users| users.len() <= CANDIDATES_MAX).unwrap_or_default()
}
