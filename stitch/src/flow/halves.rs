//! Hops of which only one side was seen.

use std::collections::BTreeMap;

use ahash::HashSet;
use hopline_model::TraceId;

use super::edges::{Draft, end, explained};
use super::store::Store;
use super::trace::{NESTED_MAX, Trace, Use};
use super::walk::Story;
use super::{Half, KeyRow};
use crate::hops::Hop;
use crate::key::{Direction, KeyHash, Kind};

/// What one span knows of one message or hop.
type Place<'a> = (usize, Hop, Option<&'a str>);

/// The halves of the story's traces. A key is only told if somebody should have the other side
/// ([`Kind::expects_other_side`]), and once for all that name one message.
pub(super) fn halves(store: &Store, story: &Story, traces: &[&Trace], drafts: &[Draft<'_>]) -> Vec<Half> {
    let shown: HashSet<(TraceId, usize, KeyHash)> = drafts
        .iter()
        .flat_map(|d| d.hop_keys().map(|k| (d.trace.id, d.to, k.key.hash())).collect::<Vec<_>>())
        .collect();
    let (served, caused) = explained(drafts);
    let mut halves = Vec::new();
    for trace in traces {
        let others = story.others.get(&trace.id);
        let outs = trace.outs.iter().filter(|u| others.is_none_or(|others| !others.contains(&u.node)));
        let is_served = |node: usize| {
            let has_edge = |at: usize| served.contains(&(trace.id, at)) && trace.is_one_send(at, node);
            trace.node(node).is_some_and(|n| n.has_callee) || trace.in_unit_above(node).take(NESTED_MAX).any(has_edge)
        };
        let is_matched = |u: &Use| is_served(u.node) || has_other_side(store, trace, u, Direction::In);
        let outs = outs.filter(|u| story.holds(trace, u.node));
        let ins = trace.ins.iter().filter(|u| story.holds(trace, u.node));
        halves.extend(unmatched(trace, outs, Direction::Out, is_matched));
        let is_matched = |u: &Use| {
            caused.contains(&(trace.id, u.node))
                || shown.contains(&(trace.id, u.node, u.hash))
                || has_other_side(store, trace, u, Direction::Out)
        };
        halves.extend(unmatched(trace, ins, Direction::In, is_matched));
    }
    halves.sort_by(|a, b| {
        let place = |h: &Half| (h.end.start_ns, h.end.trace_id, h.end.span_id, h.direction);
        place(a).cmp(&place(b)).then_with(|| (a.hop, &a.key).cmp(&(b.hop, &b.key)))
    });
    halves
}

/// Whether anybody else was seen with the other side of a key, whatever became of it: cut off is not missing.
fn has_other_side(store: &Store, trace: &Trace, usage: &Use, direction: Direction) -> bool {
    let Some(kind) = trace.key_of(usage).map(|k| k.key.kind) else { return false };
    let is_other = |row: &KeyRow| {
        let own = row.span_id.filter(|_| row.trace_id == Some(trace.id)).and_then(|id| trace.find(id));
        row.kind == kind && row.trace_id.is_some() && own.is_none_or(|own| trace.unit(own) != trace.unit(usage.node))
    };
    store.both_rows(usage.hash).is_some_and(|(outs, ins)| {
        let rows = if direction == Direction::Out { outs } else { ins };
        rows.iter().any(is_other)
    })
}

fn unmatched<'a>(
    trace: &Trace,
    uses: impl Iterator<Item = &'a Use>,
    direction: Direction,
    is_matched: impl Fn(&Use) -> bool,
) -> Vec<Half> {
    let mut places: BTreeMap<Place<'_>, Option<Use>> = BTreeMap::new();
    for usage in uses {
        let Some(hop_key) = trace.key_of(usage) else { continue };
        let kind = hop_key.key.kind;
        if !kind.expects_other_side(direction) || is_told_by_others(trace, usage.node, direction, kind) {
            continue;
        }
        let place = (usage.node, hop_key.hop, hop_key.key.message());
        let first = places.entry(place).or_insert(Some(*usage));
        if is_matched(usage) {
            *first = None;
        }
    }
    let half = |((_, hop, _), usage): (Place<'_>, Option<Use>)| {
        let usage = usage?;
        let hop_key = trace.key_of(&usage)?;
        Some(Half {
            direction,
            hop,
            key: Some(hop_key.key.to_string()),
            destination: hop_key.destination.clone(),
            end: end(trace, usage.node)?,
        })
    };
    places.into_iter().filter_map(half).collect()
}

/// Whether keys of other kinds tell of the same messages.
///
/// What a span received may be envelopes that the cloud itself sent: a topic's into a queue, a bus's, a bucket's or a
/// function's destination's into any of them. Who sent what is in them, the keys of that tell. And an event travels by
/// something that has an identity of its own.
fn is_told_by_others(trace: &Trace, node: usize, direction: Direction, kind: Kind) -> bool {
    let keys = trace.node(node).map_or(&[][..], |n| n.span.keys.as_slice());
    let has = |kind: Kind| keys.iter().filter(move |k| k.direction == direction && k.key.kind == kind).count();
    let outcomes = has(Kind::LambdaOutcome);
    let inner = outcomes + has(Kind::S3Request).max(has(Kind::S3Object));
    let is_in = direction == Direction::In;
    match kind {
        Kind::Sqs => is_in && inner + has(Kind::EventBridge) + has(Kind::Sns) >= has(kind),
        Kind::Sns => is_in && inner + has(Kind::EventBridge) >= has(kind),
        Kind::EventBridge => is_in && outcomes >= has(kind),
        Kind::CloudEvent => {
            let carriers =
                [Kind::PubSub, Kind::Kafka, Kind::CloudStorage, Kind::Blob, Kind::ServiceBus, Kind::EventHub];
            carriers.into_iter().any(|carrier| has(carrier) > 0)
        }
        _ => false,
    }
}
