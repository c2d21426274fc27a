//! Items of a table: each write of an item has the same key, so which write a reader saw is told by time and order
//! ([`choose::write`]).

use super::matching::sender as sender_at;
use super::matching::{Match, Proof, READS_MAX, Sender, agree, senders};
use super::store::{Look, Store};
use super::trace::{Trace, Use};
use super::{Certainty, KeyRow};
use crate::choose;
use crate::hops::HopKey;

/// The edge into the reader `usage`; nothing as long as rows are missing.
pub(super) fn sender(store: &Store, trace: &Trace, usage: &Use, hop_key: &HopKey) -> Option<Option<Match>> {
    let (outs, ins) = store.both_rows(usage.hash)?;
    let Some(own) = sender_at(trace, usage.node) else { return Some(None) };
    let window = hop_key.key.kind.window();
    let near = |row: &&KeyRow| row.start_ns.saturating_sub(own.start_ns).saturating_abs() <= window;
    let outs: Vec<KeyRow> = outs.iter().filter(near).cloned().collect();
    let writes = senders(store, trace, usage, hop_key.key.kind, &outs)?;
    let writes: Vec<&Sender> = writes.iter().map(|(_, write)| write).collect();
    let is_one = writes.iter().filter(|write| write.start_ns <= own.start_ns).count() < 2;
    let reads = match is_one {
        true => Vec::new(),
        false => reads(store, trace, usage, &ins.iter().filter(near).collect::<Vec<_>>())?,
    };
    let Some((from, candidates)) = choose::write(&writes, &reads.iter().collect::<Vec<_>>(), &own) else {
        return Some(None);
    };
    Some(Some(Match {
        from: from.clone(),
        to: usage.node,
        proof: Proof::Key(hop_key.rule),
        keys: vec![usage.key],
        certainty: if candidates == 1 { Certainty::Exact } else { Certainty::Inferred },
        candidates: u32::try_from(candidates).unwrap_or(u32::MAX),
    }))
}

/// The reads of the item by the function that reads here; none if they are too many to look at, nothing as long as traces
/// are missing.
fn reads(store: &Store, trace: &Trace, usage: &Use, ins: &[&KeyRow]) -> Option<Vec<Sender>> {
    let mut traces: Vec<_> = ins.iter().filter_map(|row| row.trace_id).collect();
    traces.sort_unstable();
    traces.dedup();
    let Some(own) = trace.node(usage.node).filter(|_| traces.len() <= READS_MAX) else { return Some(Vec::new()) };
    let mut reads = Vec::new();
    let mut is_complete = true;
    for id in traces {
        let reader = match store.trace(id) {
            Look::Here(reader) => reader,
            Look::Missing => continue,
            Look::Pending => {
                is_complete = false;
                continue;
            }
        };
        let is_same = |index: &&usize| {
            reader.node(**index).is_some_and(|n| {
                (&n.span.service, &n.span.function) == (&own.span.service, &own.span.function)
                    && agree(&n.span, &own.span)
            })
        };
        let nodes = reader.receivers_of(usage.hash).iter().filter(is_same);
        reads.extend(nodes.filter_map(|index| sender_at(reader, *index)));
    }
    is_complete.then_some(reads)
}
