//! Records of a stream that a receiver names by first and last number only ([`crate::ranges`]).
//!
//! From the sender, receivers are found by the parts in which ranges lie. From a receiver, senders are not: a batch
//! that large has messages of many stories.

use std::collections::{BTreeMap, BTreeSet};

use ahash::HashMap;
use hopline_model::TraceId;

use super::Certainty;
use super::matching::{Match, Proof, agree, sender};
use super::store::Store;
use super::trace::{Trace, Use};
use crate::choose;
use crate::key::Kind;
use crate::ranges::{Number, Range, Record};

/// Of the records that a trace sent to one shard, no more than this are looked for, and of those to many shards one of each. A
/// batch that is told as a range has more than a hundred records, so those between are mostly found with them.
const PROBES_MAX: usize = 8;

/// Of the records that a trace sent to several shards, about this many are looked for.
const PROBES_OF_TRACE: usize = 32;

/// Of the traces that one record may have gone to, no more are read: the nearest in time.
const READERS_MAX: usize = 32;

/// A shard: the kind of the ranges of its records, and its name.
type Shard<'a> = (Kind, &'a str);

/// Records by number, with the time when each was sent.
type Sent<'a> = BTreeMap<Number, (Record<'a>, i64)>;

/// Traces that may have received in ranges what `outs` sent, and whether all of them are known.
pub(super) fn readers(store: &Store, trace: &Trace, outs: &[Use]) -> (BTreeSet<TraceId>, bool) {
    let mut shards: BTreeMap<Shard<'_>, Sent<'_>> = BTreeMap::new();
    for usage in outs {
        let Some(record) = trace.key_of(usage).and_then(|k| Record::of(&k.key)) else { continue };
        let sent_ns = trace.node(usage.node).map_or(0, |node| node.span.start_ns);
        shards.entry((record.ranges, record.shard)).or_default().insert(record.number, (record, sent_ns));
    }
    let probes = (PROBES_OF_TRACE / shards.len().max(1)).clamp(1, PROBES_MAX);
    let mut readers = BTreeSet::new();
    let mut is_complete = true;
    for records in shards.into_values() {
        let last = records.len().saturating_sub(1);
        let chosen: BTreeSet<usize> = (0..probes).map(|i| last * i / probes.saturating_sub(1).max(1)).collect();
        for (_, (record, sent_ns)) in records.values().enumerate().filter(|(place, _)| chosen.contains(place)) {
            let mut near = Vec::new();
            for part in record.parts() {
                match store.rows_of_part(part.hash()) {
                    Some(rows) => near.extend(
                        rows.iter()
                            .filter(|row| row.kind == Kind::RangePart)
                            .filter(|row| row.end_ns.saturating_add(choose::SKEW_NS) >= *sent_ns)
                            .filter_map(|row| {
                                Some((row.start_ns.saturating_sub(*sent_ns).saturating_abs(), row.trace_id?))
                            }),
                    ),
                    None => is_complete = false,
                }
            }
            near.sort_unstable();
            readers.extend(near.into_iter().take(READERS_MAX).map(|(_, id)| id));
        }
    }
    (readers, is_complete)
}

/// Edges into the ranges of these traces from all that they sent, with the trace that received.
pub(super) fn matches<'a>(traces: &[&'a Trace]) -> Vec<(&'a Trace, Match)> {
    let mut shards: HashMap<Shard<'_>, Vec<(Number, &'a Trace, usize)>> = HashMap::default();
    for trace in traces {
        for usage in &trace.outs {
            let Some(record) = trace.key_of(usage).and_then(|k| Record::of(&k.key)) else { continue };
            let of_shard = shards.entry((record.ranges, record.shard)).or_default();
            of_shard.push((record.number, *trace, usage.node));
        }
    }
    for shard in shards.values_mut() {
        shard.sort_by_key(|(number, trace, node)| (*number, trace.id, *node));
    }
    let mut found = Vec::new();
    for trace in traces {
        for (usage, range) in ranges(trace) {
            let kind = trace.key_of(usage).map(|k| k.key.kind);
            let Some(shard) = kind.and_then(|kind| shards.get(&(kind, range.shard))) else { continue };
            let begin = shard.partition_point(|(number, ..)| *number < range.first);
            let within = shard.iter().skip(begin).take_while(|(number, ..)| *number <= range.last);
            let matched = within.filter_map(|(_, sending, from)| matched(sending, *from, trace, usage));
            found.extend(matched.map(|m| (*trace, m)));
        }
    }
    found
}

/// The spans of `sending` that sent what `reader` received in ranges, with the spans that did.
pub(super) fn between(sending: &Trace, reader: &Trace) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (usage, range) in ranges(reader) {
        for sent in &sending.outs {
            let record = sending.key_of(sent).and_then(|k| Record::of(&k.key));
            let is_in = record.is_some_and(|record| range.holds(&record));
            if is_in && matched(sending, sent.node, reader, usage).is_some() {
                found.push((sent.node, usage.node));
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// The ranges that a trace received.
pub(super) fn ranges(trace: &Trace) -> impl Iterator<Item = (&Use, Range<'_>)> {
    trace.ins.iter().filter_map(|usage| Some((usage, Range::of(&trace.key_of(usage)?.key)?)))
}

fn matched(sending: &Trace, from: usize, trace: &Trace, usage: &Use) -> Option<Match> {
    let hop_key = trace.key_of(usage)?;
    let (sent, received) = (&sending.node(from)?.span, &trace.node(usage.node)?.span);
    let from = sender(sending, from)?;
    let is_in_time = choose::is_in_time(hop_key.key.kind, &from, received);
    (sending.id != trace.id && is_in_time && agree(sent, received)).then_some(Match {
        from,
        to: usage.node,
        proof: Proof::Key(hop_key.rule),
        keys: vec![usage.key],
        certainty: Certainty::Exact,
        candidates: 1,
    })
}
