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
type Place = (usize, Hop, Option<KeyHash>);

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
    let mut places: BTreeMap<Place, Option<Use>> = BTreeMap::new();
    for usage in uses {
        let Some(hop_key) = trace.key_of(usage) else { continue };
        let kind = hop_key.key.kind;
        if !kind.expects_other_side(direction) || (direction == Direction::In && is_envelope(trace, usage.node, kind)) {
            continue;
        }
        let place = (usage.node, hop_key.hop, is_of_message(kind).then_some(usage.hash));
        let first = places.entry(place).or_insert(Some(*usage));
        if is_matched(usage) {
            *first = None;
        }
    }
    let half = |((_, hop, _), usage): (Place, Option<Use>)| {
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

/// Whether what a span received by keys of this kind are envelopes that the cloud itself sent: a topic's into a queue, a
/// bus's or a bucket's into either. Who sent what is in them, the keys of that tell.
fn is_envelope(trace: &Trace, node: usize, kind: Kind) -> bool {
    let keys = trace.node(node).map_or(&[][..], |n| n.span.keys.as_slice());
    let count = |kind: Kind| keys.iter().filter(|k| k.direction == Direction::In && k.key.kind == kind).count();
    let inner = count(Kind::EventBridge) + count(Kind::S3Request).max(count(Kind::S3Object));
    match kind {
        Kind::Sqs => inner + count(Kind::Sns) >= count(kind),
        Kind::Sns => inner >= count(kind),
        _ => false,
    }
}

/// Whether each key of this kind on a span is another message. Of other kinds, several keys are several names of one thing.
fn is_of_message(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Sqs
            | Kind::Sns
            | Kind::EventBridge
            | Kind::Kinesis
            | Kind::KinesisRange
            | Kind::Kafka
            | Kind::EventHub
            | Kind::StorageQueue
    )
}
