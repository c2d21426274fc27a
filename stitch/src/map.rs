//! Hops counted: who sends to whom, how long messages wait, and what nobody received.
//!
//! Takes the rows of `hop_keys` of a range of time, in any order, and gives an edge for
//! each sender, receiver, kind of hop and destination. The rules are those of a flow's
//! edges by key ([`crate::flow`]), without what only whole traces can tell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ahash::AHashMap;
use hopline_model::{SpanId, TraceId};

use crate::invocation::Sketch;
use crate::key::{Direction, KeyHash, Kind, Scope};

/// Clocks of sender and receiver may differ by this much.
const SKEW_NS: i64 = 5_000_000_000;

/// Who sends or receives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Party {
    /// `service.name`
    pub service: Arc<str>,
    /// The function's name, if it runs in one.
    pub function: Option<Arc<str>>,
}

/// A row of `hop_keys`.
#[derive(Debug, Clone)]
pub struct MapRow {
    /// Stands for the key.
    pub hash: KeyHash,
    /// Its kind.
    pub kind: Kind,
    /// The side.
    pub direction: Direction,
    /// The kind of hop.
    pub hop: Arc<str>,
    /// The queue, topic, …, if known.
    pub destination: Option<Arc<str>>,
    /// The span.
    pub span: (TraceId, SpanId),
    /// Whether the span is of kind PRODUCER or SERVER: the one that stands for the others.
    pub is_main: bool,
    /// Whether its status is ERROR.
    pub is_error: bool,
    /// Nanoseconds since 1970.
    pub start_ns: i64,
    /// Nanoseconds since 1970.
    pub end_ns: i64,
    /// Whose span it is.
    pub party: Party,
    /// `cloud.account.id`, if known.
    pub account: Option<Arc<str>>,
}

/// Whom an edge connects, and over what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EdgeKey {
    /// Who sends.
    pub from: Party,
    /// Who receives; none for what nobody was seen receiving.
    pub to: Option<Party>,
    /// The kind of hop.
    pub hop: Arc<str>,
    /// The queue, topic, …, if known.
    pub destination: Option<Arc<str>>,
}

/// What went over an edge.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Traffic {
    /// Deliveries, retries included; of an edge to nobody, what was sent.
    pub calls: u64,
    /// Deliveries that failed.
    pub errors: u64,
    /// Deliveries after the first to the same receiver.
    pub retries: u64,
    /// Deliveries out of a dead-letter queue.
    pub dead_letters: u64,
    /// Nanoseconds between the end of sending and the start of receiving; of a call that was waited for, between
    /// the starts.
    pub wait: Sketch,
    /// Of an edge to nobody: when the oldest was sent.
    pub oldest_ns: Option<i64>,
}

impl Traffic {
    /// Adds one delivery.
    pub fn add(&mut self, is_error: bool, wait_ns: i64) {
        self.calls += 1;
        self.errors += u64::from(is_error);
        self.wait.add(u64::try_from(wait_ns).unwrap_or(0));
    }
}

/// The hops of a range.
#[derive(Debug, Clone, Default)]
pub struct HopMap {
    /// By whom they connect.
    pub edges: BTreeMap<EdgeKey, Traffic>,
    /// The spans whose sending is in an edge: trace context says the same of them again.
    pub senders: BTreeSet<(TraceId, SpanId)>,
    /// The spans whose receiving is in an edge.
    pub receivers: BTreeSet<(TraceId, SpanId)>,
}

/// Counts hops. Receivers outside of `range` (its start, its end) only tell that something was received.
pub fn hop_map(rows: impl IntoIterator<Item = MapRow>, range: (i64, i64)) -> HopMap {
    let mut by_key: AHashMap<KeyHash, (Vec<MapRow>, Vec<MapRow>)> = AHashMap::new();
    for row in rows.into_iter().filter(|row| is_counted(row.kind)) {
        let (sent, received) = by_key.entry(row.hash).or_default();
        if row.direction == Direction::Out { sent.push(row) } else { received.push(row) }
    }
    let mut map = HopMap::default();
    let mut unseen: Vec<MapRow> = Vec::new();
    for (_, (sent, received)) in by_key {
        let (sent, received) = (one_a_trace(sent), one_a_trace(received));
        if received.is_empty() {
            unseen.extend(sent);
        } else if !sent.is_empty() {
            map.add(&sent, &received, range);
        }
    }
    map.add_unseen(unseen, range);
    map
}

/// Keys that lead somewhere else, or prove nothing, are no hops of their own.
fn is_counted(kind: Kind) -> bool {
    !matches!(kind, Kind::Link | Kind::Destination | Kind::Xray)
}

/// Whether what is sent waits until somebody takes it.
fn is_consumed(kind: Kind) -> bool {
    use Kind::{Broker, CloudTask, EventBridge, EventHub, Kafka, Kinesis, PubSub, ServiceBus, Sns, Sqs, StorageQueue};
    matches!(
        kind,
        Sqs | Sns | EventBridge | Kinesis | Kafka | Broker | PubSub | CloudTask | ServiceBus | EventHub | StorageQueue
    )
}

/// Nested spans of one party with one key are one send, or one receipt: the main one, or the earliest.
fn one_a_trace(mut rows: Vec<MapRow>) -> Vec<MapRow> {
    rows.sort_by(|a, b| {
        let key = |r: &MapRow| (r.span.0, r.party.clone(), !r.is_main, r.start_ns, r.span.1);
        key(a).cmp(&key(b))
    });
    // Several deliveries to one party may lie in one trace: those that do not overlap are different ones.
    let mut kept: Vec<MapRow> = Vec::with_capacity(rows.len());
    for row in rows {
        let nested = kept.iter().any(|other| {
            other.span.0 == row.span.0
                && other.party == row.party
                && other.start_ns <= row.end_ns
                && row.start_ns <= other.end_ns
        });
        if !nested {
            kept.push(row);
        }
    }
    kept.sort_by_key(|row| (row.start_ns, row.span));
    kept
}

impl HopMap {
    fn add(&mut self, sent: &[MapRow], received: &[MapRow], (start, end): (i64, i64)) {
        let mut tries: AHashMap<&Party, u64> = AHashMap::new();
        for to in received {
            let Some(from) = sender(sent, to) else { continue };
            let attempt = tries.entry(&to.party).or_default();
            *attempt += 1;
            self.senders.insert(from.span);
            self.receivers.insert(to.span);
            if to.start_ns < start || to.start_ns >= end {
                continue;
            }
            let key = EdgeKey {
                from: from.party.clone(),
                to: Some(to.party.clone()),
                hop: from.hop.clone(),
                destination: from.destination.clone().or_else(|| to.destination.clone()),
            };
            let is_synchronous = from.start_ns <= to.start_ns && to.end_ns <= from.end_ns;
            let since = if is_synchronous { from.start_ns } else { from.end_ns };
            let traffic = self.edges.entry(key).or_default();
            traffic.add(to.is_error, to.start_ns.saturating_sub(since));
            traffic.retries += u64::from(*attempt > 1);
            let elsewhere = matches!((&from.destination, &to.destination), (Some(a), Some(b)) if a != b);
            traffic.dead_letters += u64::from(to.kind == Kind::Sqs && elsewhere);
        }
    }

    /// What nobody was seen receiving; only where receivers tell what they received, for else nobody would be.
    fn add_unseen(&mut self, unseen: Vec<MapRow>, (start, end): (i64, i64)) {
        let telling: BTreeSet<(Arc<str>, Option<Arc<str>>)> =
            self.edges.keys().map(|key| (key.hop.clone(), key.destination.clone())).collect();
        for row in unseen {
            let is_in = row.start_ns >= start && row.start_ns < end;
            if !is_in || !is_consumed(row.kind) || !telling.contains(&(row.hop.clone(), row.destination.clone())) {
                continue;
            }
            let key = EdgeKey { from: row.party, to: None, hop: row.hop, destination: row.destination };
            let traffic = self.edges.entry(key).or_default();
            traffic.calls += 1;
            traffic.oldest_ns = Some(traffic.oldest_ns.map_or(row.end_ns, |oldest| oldest.min(row.end_ns)));
        }
    }
}

/// Who sent what `to` received: the last one before it that may have.
fn sender<'a>(sent: &'a [MapRow], to: &MapRow) -> Option<&'a MapRow> {
    let differ = |a: &Option<Arc<str>>, b: &Option<Arc<str>>| matches!((a, b), (Some(a), Some(b)) if a != b);
    let may = |from: &&MapRow| {
        from.span != to.span
            && from.start_ns <= to.end_ns.saturating_add(SKEW_NS)
            && to.start_ns.saturating_sub(from.end_ns) <= from.kind.window()
            && !(from.kind.scope() == Scope::Account && differ(&from.account, &to.account))
    };
    let mut before = sent.iter().filter(may).rev();
    let last = before.clone().find(|from| from.start_ns <= to.start_ns);
    last.or_else(|| before.next())
}

#[cfg(test)]
mod tests;
