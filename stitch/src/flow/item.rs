//! Items of a table: each write of an item has the same key, so which write a reader saw is told by time and order.
//!
//! A stream keeps its records for 24 hours and hands out the changes of an item in order.
//! One write before the read: that is it. Several: if the reading function saw as many
//! changes as there were writes, the k-th saw the k-th; else it was the last before it.

use super::matching::{Match, Proof, READS_MAX, Sender, nearest, senders};
use super::store::{Look, Store};
use super::trace::{Trace, Use};
use super::{Certainty, KeyRow};
use crate::hops::HopKey;

/// The edge into the reader `usage`; nothing as long as rows are missing.
pub(super) fn sender(store: &Store, trace: &Trace, usage: &Use, hop_key: &HopKey) -> Option<Option<Match>> {
    let (outs, ins) = store.both_rows(usage.hash)?;
    let Some(read_ns) = trace.node(usage.node).map(|node| node.span.start_ns) else { return Some(None) };
    let window = hop_key.key.kind.window();
    let near = |row: &&KeyRow| row.start_ns.saturating_sub(read_ns).saturating_abs() <= window;
    let outs: Vec<KeyRow> = outs.iter().filter(near).cloned().collect();
    let writes = senders(store, trace, usage, hop_key.key.kind, &outs)?;
    let before: Vec<&Sender> = writes.iter().filter(|w| w.start_ns <= read_ns).collect();
    let from = match before.as_slice() {
        [] => return Some(None),
        [only] => *only,
        several => {
            let nearest = nearest(several, read_ns);
            let ins: Vec<&KeyRow> = ins.iter().filter(near).collect();
            match in_order(store, trace, usage, &writes, &ins)?.or(nearest) {
                Some(from) => from,
                None => return Some(None),
            }
        }
    };
    let candidates = u32::try_from(before.len()).unwrap_or(u32::MAX);
    Some(Some(Match {
        from: from.clone(),
        to: usage.node,
        proof: Proof::Key(hop_key.rule),
        keys: vec![usage.key],
        certainty: if candidates == 1 { Certainty::Exact } else { Certainty::Inferred },
        candidates,
    }))
}

/// The write with the number that the read has among the reads of its function, if there are as many of both.
/// Nothing as long as traces are missing.
fn in_order<'a>(
    store: &Store,
    trace: &Trace,
    usage: &Use,
    writes: &'a [Sender],
    ins: &[&KeyRow],
) -> Option<Option<&'a Sender>> {
    let mut traces: Vec<_> = ins.iter().filter_map(|row| row.trace_id).collect();
    traces.sort_unstable();
    traces.dedup();
    if traces.len() > READS_MAX {
        return Some(None);
    }
    let Some(own) = trace.node(usage.node) else { return Some(None) };
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
        let nodes = reader.receivers_of(usage.hash).iter().filter_map(|index| reader.node(*index));
        let same = nodes.filter(|n| (&n.span.service, &n.span.function) == (&own.span.service, &own.span.function));
        reads.extend(same.map(|n| (n.span.start_ns, id, n.span.span_id)));
    }
    if !is_complete {
        return None;
    }
    reads.sort_unstable();
    let mut writes: Vec<&Sender> = writes.iter().collect();
    writes.sort_by_key(|w| (w.start_ns, w.trace_id, w.span_id));
    let fits = reads.len() == writes.len() && reads.iter().zip(&writes).all(|(read, write)| write.start_ns <= read.0);
    let place = reads.iter().position(|read| (read.1, read.2) == (trace.id, own.span.span_id));
    Some(place.filter(|_| fits).and_then(|place| writes.get(place).copied()))
}
