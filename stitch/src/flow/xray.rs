//! What X-Ray's ids tell where context was lost: links and parents that name segments which
//! AWS keeps for itself.
//!
//! Platform records say which invocation had which root and segment. A link or a missing
//! parent that names a segment thus names the invocation that sent, if not the span. A
//! root alone tells something only if two invocations share it, and nothing if many do.

use std::collections::BTreeSet;

use ahash::{HashMap, HashSet};
use hopline_model::{SpanId, TraceId};

use super::matching::{Incoming, Match, Proof, SKEW_NS, Sender, later, sender};
use super::store::{Look, Store};
use super::trace::Trace;
use super::{Certainty, KeyRow};
use crate::hops::short_name;
use crate::key::{Direction, Kind, hash_parts};

/// Something that a receiver knows of its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Clue {
    to: usize,
    root: TraceId,
    segment: Option<SpanId>,
}

/// Who has a root or segment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    Invocation(String),
    Span(TraceId, SpanId),
}

/// What became of a clue.
enum Outcome {
    /// Rows or traces are missing.
    Pending,
    /// It tells nothing.
    Nothing,
    /// So many invocations share the root.
    TooMany(usize),
    Found(Sender),
}

/// Adds the edges that X-Ray's ids show. `dangling` are links to spans that are not stored.
pub(super) fn add(store: &Store, trace: &Trace, dangling: &[(usize, TraceId, SpanId)], incoming: &mut Incoming) {
    let mut roots = Vec::new();
    for clue in clues(trace, dangling, incoming) {
        match resolve(store, trace, clue) {
            Outcome::Pending => incoming.is_complete = false,
            Outcome::Found(from) => incoming.matches.push(matched(from, clue.to)),
            Outcome::TooMany(count) => incoming.xray_cuts.push((clue.to, count)),
            Outcome::Nothing => roots.push(Clue { segment: None, ..clue }),
        }
    }
    incoming.xray_cuts.sort_unstable();
    incoming.xray_cuts.dedup();
    // A root alone is the last resort: for units of which nothing else is known.
    roots.sort_unstable();
    roots.dedup();
    let mut known: HashSet<usize> = incoming.matches.iter().map(|m| trace.unit(m.to)).collect();
    known.extend(trace.calls().map(|(_, callee)| callee));
    if !incoming.is_complete {
        return;
    }
    for clue in roots {
        if known.contains(&trace.unit(clue.to)) {
            continue;
        }
        match resolve(store, trace, clue) {
            Outcome::Pending => incoming.is_complete = false,
            Outcome::Found(from) => {
                known.insert(trace.unit(clue.to));
                incoming.matches.push(matched(from, clue.to));
            }
            Outcome::TooMany(_) | Outcome::Nothing => {}
        }
    }
}

fn matched(from: Sender, to: usize) -> Match {
    Match { from, to, proof: Proof::Xray, keys: Vec::new(), certainty: Certainty::Xray, candidates: 1 }
}

fn clues(trace: &Trace, dangling: &[(usize, TraceId, SpanId)], incoming: &Incoming) -> Vec<Clue> {
    // Where each message of a span was told by its key, the links have nothing to add.
    let mut keys: HashMap<usize, usize> = HashMap::default();
    for m in &incoming.matches {
        *keys.entry(m.to).or_default() += m.keys.len().max(1);
    }
    let links = |to: usize| trace.node(to).map_or(0, |node| node.span.links.len());
    let is_told = |to: usize| keys.get(&to).is_some_and(|told| *told >= links(to));
    let mut clues: BTreeSet<Clue> = dangling
        .iter()
        .filter(|(to, ..)| !is_told(*to))
        .map(|(to, root, segment)| Clue { to: *to, root: *root, segment: Some(*segment) })
        .collect();
    let told: HashSet<usize> = incoming.matches.iter().map(|m| trace.unit(m.to)).collect();
    for usage in &trace.ins {
        let Some(key) = trace.key_of(usage).map(|k| &k.key).filter(|key| key.kind == Kind::Xray) else { continue };
        if let Some((root, segment)) = parse(&key.id).filter(|_| !told.contains(&trace.unit(usage.node))) {
            clues.insert(Clue { to: usage.node, root, segment });
        }
    }
    for (to, node) in trace.nodes.iter().enumerate() {
        let is_invocation = node.span.kind.is_in() || node.span.invocation_id.is_some();
        if node.unit == to
            && node.parent.is_none()
            && is_invocation
            && !told.contains(&to)
            && node.span.parent.is_some()
        {
            clues.insert(Clue { to, root: trace.id, segment: node.span.parent });
        }
    }
    clues.into_iter().collect()
}

/// The root and the segment of the key `xray:<root>[:<segment>]`.
pub(super) fn parse(id: &str) -> Option<(TraceId, Option<SpanId>)> {
    let (root, segment) = id.split_once(':').map_or((id, None), |(root, segment)| (root, Some(segment)));
    Some((root.parse().ok()?, segment.and_then(|segment| segment.parse().ok())))
}

/// The rows of a root, or of a segment of it.
fn rows(store: &Store, root: TraceId, segment: Option<SpanId>) -> Option<&[KeyRow]> {
    let id = segment.map_or_else(|| root.to_string(), |segment| format!("{root}:{segment}"));
    store.rows(hash_parts(Kind::Xray, &id), Direction::Out)
}

fn resolve(store: &Store, trace: &Trace, clue: Clue) -> Outcome {
    let Some(receiver) = trace.node(clue.to).map(|node| &node.span) else { return Outcome::Nothing };
    let of_segment = clue.segment.map(|segment| rows(store, clue.root, Some(segment)));
    let (Some(of_root), true) = (rows(store, clue.root, None), of_segment.is_none_or(|rows| rows.is_some())) else {
        return Outcome::Pending;
    };
    let own = trace.invocation_of(clue.to);
    let sharing = origins(of_root);
    if sharing.len() > store.limits.xray_root_invocations_max {
        return Outcome::TooMany(sharing.len());
    }
    let is_other = |row: &&KeyRow| {
        let is_own_unit = row.trace_id == Some(trace.id)
            && row.span_id.and_then(|id| trace.find(id)).is_some_and(|at| trace.unit(at) == trace.unit(clue.to));
        !is_own_unit && (own.is_none() || row.invocation_id.as_deref() != own)
    };
    let others: Vec<KeyRow> = match of_segment.flatten() {
        Some(rows) => rows.iter().filter(is_other).cloned().collect(),
        // All others, also later ones, count against it: of three that share a root, nobody knows who called whom.
        None => of_root.iter().filter(is_other).cloned().collect(),
    };
    let mut origins = origins(&others).into_iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else { return Outcome::Nothing };
    let latest = if clue.segment.is_some() { later(receiver.end_ns, SKEW_NS) } else { receiver.start_ns };
    if others.iter().all(|row| row.start_ns > latest) {
        return Outcome::Nothing;
    }
    sender_of(store, trace, clue.to, origin)
}

/// Invocations, by what platform records say; only where there are none, the spans that sent such an id themselves.
fn origins(rows: &[KeyRow]) -> BTreeSet<Origin> {
    let rows = || rows.iter().filter(|row| row.kind == Kind::Xray);
    let of_records: BTreeSet<Origin> =
        rows().filter_map(|row| row.invocation_id.clone()).map(Origin::Invocation).collect();
    if of_records.is_empty() {
        rows().filter_map(|row| Some(Origin::Span(row.trace_id?, row.span_id?))).collect()
    } else {
        of_records
    }
}

/// The span of the origin that sent: the only one to the destination that the receiver names, else its topmost.
fn sender_of(store: &Store, trace: &Trace, to: usize, origin: Origin) -> Outcome {
    let Some(receiver) = trace.node(to).map(|node| &node.span) else { return Outcome::Nothing };
    let is_span = matches!(origin, Origin::Span(..));
    let (id, span_id) = match origin {
        Origin::Span(id, span_id) => (id, span_id),
        Origin::Invocation(invocation) => {
            let Some((_, ins)) = store.both_rows(hash_parts(Kind::Lambda, &invocation)) else {
                return Outcome::Pending;
            };
            let spans = ins.iter().filter(|row| row.kind == Kind::Lambda);
            let earlier = spans.filter(|row| row.start_ns <= later(receiver.start_ns, SKEW_NS));
            let last = earlier.max_by_key(|row| (row.start_ns, row.trace_id, row.span_id));
            let Some(found) = last.and_then(|row| Some((row.trace_id?, row.span_id?))) else { return Outcome::Nothing };
            found
        }
    };
    let origin = if id == trace.id { Look::Here(trace) } else { store.trace(id) };
    let origin = match origin {
        Look::Here(origin) => origin,
        Look::Missing => return Outcome::Nothing,
        Look::Pending => return Outcome::Pending,
    };
    let found = origin.find(span_id);
    let Some(unit) = found.map(|at| origin.unit(at)) else { return Outcome::Nothing };
    if origin.id == trace.id && unit == trace.unit(to) {
        return Outcome::Nothing;
    }
    let wanted: HashSet<&str> = receiver
        .keys
        .iter()
        .filter(|k| k.direction == Direction::In)
        .filter_map(|k| k.destination.as_deref())
        .collect();
    let wanted: HashSet<&str> = wanted.into_iter().map(short_name).collect();
    let mut sends: Vec<usize> = origin
        .outs
        .iter()
        .filter(|u| origin.unit(u.node) == unit)
        .filter(|u| {
            let destination = origin.key_of(u).and_then(|k| k.destination.as_deref());
            destination.is_some_and(|d| wanted.contains(short_name(d)))
        })
        .map(|u| u.node)
        .collect();
    sends.dedup();
    let from = match sends.as_slice() {
        _ if is_span => found.unwrap_or(unit),
        [only] => *only,
        _ => unit,
    };
    sender(origin, from).map_or(Outcome::Nothing, Outcome::Found)
}

/// The roots by which X-Ray knows a trace: its own id, what its spans say, and what platform records say of its
/// invocations. Of those, a row with the key of the invocation and the kind [`Kind::Xray`] names the root as its trace.
pub(super) fn roots(store: &Store, trace: &Trace) -> Option<BTreeSet<TraceId>> {
    let mut roots = BTreeSet::new();
    let mut is_complete = true;
    for usage in trace.outs.iter().chain(&trace.ins) {
        let Some(hop_key) = trace.key_of(usage) else { continue };
        match (hop_key.key.kind, hop_key.direction) {
            // What a receiver knows is the root of its sender, which the sender may share with it.
            (Kind::Xray, _) => roots.extend(parse(&hop_key.key.id).map(|(root, _)| root)),
            (Kind::Lambda, Direction::In) => match store.both_rows(usage.hash) {
                Some((_, ins)) => {
                    roots.extend(ins.iter().filter(|row| row.kind == Kind::Xray).filter_map(|row| row.trace_id));
                }
                None => is_complete = false,
            },
            _ => {}
        }
    }
    roots.remove(&trace.id);
    is_complete.then_some(roots)
}
