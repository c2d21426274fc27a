//! Hops counted: who sends to whom, how long messages wait, and what nobody received.
//!
//! Takes the rows of `hop_keys` of a range of time, in any order, and gives an edge for
//! each sender, receiver, kind of hop and destination. The rules are those of a flow's
//! edges by key ([`crate::flow`]), without what only whole traces can tell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ahash::{AHashMap, AHashSet};
use hopline_model::{SpanId, TraceId};

use crate::choose::{self, Timed, Writing};
use crate::invocation::Sketch;
use crate::key::{Direction, KeyHash, Kind, Scope, hash_parts};

/// A span's ids.
type SpanName = (TraceId, SpanId);

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
    pub span: SpanName,
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
    /// `cloud.region`, if known.
    pub region: Option<Arc<str>>,
}

impl Timed for MapRow {
    fn start_ns(&self) -> i64 {
        self.start_ns
    }

    fn end_ns(&self) -> i64 {
        self.end_ns
    }

    fn ids(&self) -> (TraceId, SpanId) {
        self.span
    }
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
    /// the starts. Without what others may have sent too.
    pub wait: Sketch,
    /// Of an edge to nobody: when the oldest was sent.
    pub oldest_ns: Option<i64>,
}

impl Traffic {
    /// Adds one delivery, and how long it waited if that is known.
    pub fn add(&mut self, is_error: bool, wait_ns: Option<i64>) {
        self.calls += 1;
        self.errors += u64::from(is_error);
        if let Some(wait_ns) = wait_ns {
            self.wait.add(u64::try_from(wait_ns).unwrap_or(0));
        }
    }
}

/// The hops of a range.
#[derive(Debug, Clone, Default)]
pub struct HopMap {
    /// By whom they connect.
    pub edges: BTreeMap<EdgeKey, Traffic>,
    /// The spans whose sending is in an edge: trace context says the same of them again.
    pub senders: BTreeSet<SpanName>,
    /// The spans whose receiving is in an edge.
    pub receivers: BTreeSet<SpanName>,
}

/// Counts hops. Receivers outside of `range` (its start, its end) only tell that something was received.
pub fn hop_map(rows: impl IntoIterator<Item = MapRow>, range: (i64, i64)) -> HopMap {
    // What names the writing comes before what names the content, for that may be written by several. By kind then: which of
    // several keys names an edge is the same each time. Links tell what no identity told.
    let mut by_key: AHashMap<(bool, bool, Kind, KeyHash), Sides> = AHashMap::new();
    let mut told = Told::default();
    for row in rows.into_iter().filter(|row| is_counted(row.kind)) {
        told.note(&row);
        if row.kind.is_range() {
            told.ranges.insert((row.hop, row.destination));
            continue;
        }
        let (sent, received) =
            by_key.entry((row.kind == Kind::Link, row.kind.is_of_content(), row.kind, row.hash)).or_default();
        if row.direction == Direction::Out { sent.push(row) } else { received.push(row) }
    }
    let mut by_key: Vec<_> = by_key.into_iter().collect();
    by_key.sort_unstable_by_key(|(key, _)| *key);
    let groups: Vec<Sides> =
        by_key.into_iter().map(|(_, (sent, received))| (one_a_trace(sent), one_a_trace(received))).collect();
    let mut deliveries: Vec<Delivery<'_>> = Vec::new();
    let is_link = |sent: &[MapRow]| sent.first().is_some_and(|row| row.kind == Kind::Link);
    let first_link = groups.iter().position(|(sent, _)| is_link(sent)).unwrap_or(groups.len());
    let (identities, links) = groups.split_at_checked(first_link).unwrap_or((&groups, &[]));
    for (sent, received) in identities.iter().filter(|(sent, _)| !sent.is_empty()) {
        deliveries.extend(received.iter().filter_map(|to| told.delivery(sent, received, to)));
    }
    if !links.is_empty() {
        let linked = told.linked(links, &deliveries);
        deliveries.extend(linked);
    }
    deliveries.sort_by_key(|(_, to, _)| (to.start_ns, to.span));
    let mut map = HopMap::default();
    map.add(&deliveries, range, &mut told);
    let unseen = groups.into_iter().filter(|(_, received)| received.is_empty()).flat_map(|(sent, _)| sent);
    map.add_unseen(unseen, range, &told);
    map
}

/// Stands for a span that a receiver's link names: the key of rows of [`Kind::Link`], which both sides need.
pub fn link_hash((trace_id, span_id): (TraceId, SpanId)) -> KeyHash {
    hash_parts(Kind::Link, &format!("{trace_id}:{span_id}"))
}

/// What sent a key and what received it.
type Sides = (Vec<MapRow>, Vec<MapRow>);

/// Sender and receiver, and whether nobody else can be the sender.
type Delivery<'a> = (&'a MapRow, &'a MapRow, bool);

/// A kind of hop and a destination.
type Place = (Arc<str>, Option<Arc<str>>);

/// What was found out so far.
#[derive(Default)]
struct Told {
    /// Of each receiving span, who sent.
    pairs: AHashMap<SpanName, BTreeSet<SpanName>>,
    /// Of each span, the names of a writing that it knows, and how many things of which kind it knows by their content; by
    /// side.
    written: AHashMap<(SpanName, Direction), Written>,
    /// Of names of a writing, the traces of those who wrote.
    writers: AHashMap<(Kind, KeyHash), BTreeSet<TraceId>>,
    /// From where something was received of which only first and last are known.
    ranges: BTreeSet<Place>,
    /// From where something was received, and what.
    telling: BTreeSet<Place>,
    /// In which traces who sent where to what a link tells of.
    linked: AHashSet<(TraceId, Party, Place)>,
}

/// What a span knows of objects.
#[derive(Default)]
struct Written {
    names: BTreeSet<(Kind, KeyHash)>,
    contents: BTreeSet<(Kind, KeyHash)>,
}

impl Written {
    /// The names of the writing of what keys of the kind `content` name.
    fn names_of(&self, content: Kind) -> Vec<(Kind, KeyHash)> {
        self.names.iter().filter(|(kind, _)| kind.is_writing_of(content)).copied().collect()
    }
}

impl Told {
    /// Notes what a row tells of an object.
    fn note(&mut self, row: &MapRow) {
        let is_name = [Kind::S3Object, Kind::Blob].into_iter().any(|content| row.kind.is_writing_of(content));
        if !is_name && !row.kind.is_of_content() {
            return;
        }
        let name = (row.kind, row.hash);
        let written = self.written.entry((row.span, row.direction)).or_default();
        (if is_name { &mut written.names } else { &mut written.contents }).insert(name);
        if is_name && row.direction == Direction::Out {
            self.writers.entry(name).or_default().insert(row.span.0);
        }
    }

    /// What else the receiver knows of what it received.
    fn writing(&self, to: &MapRow) -> Writing {
        let Some(written) = self.written.get(&(to.span, Direction::In)) else { return Writing::default() };
        let names = written.names_of(to.kind);
        Writing {
            writers: names.iter().filter_map(|name| self.writers.get(name)).flatten().copied().collect(),
            names,
            told: self.pairs.get(&to.span).cloned().unwrap_or_default(),
            contents: written.contents.iter().filter(|(kind, _)| *kind == to.kind).count(),
        }
    }

    /// Who sent what `to` received, unless another name of the same message told it already.
    fn delivery<'a>(&mut self, sent: &'a [MapRow], received: &[MapRow], to: &'a MapRow) -> Option<Delivery<'a>> {
        let (from, is_sure) = self.sender(sent, received, to)?;
        let senders = self.pairs.entry(to.span).or_default();
        (senders.insert(from.span) || to.kind.is_of_message()).then_some((from, to, is_sure))
    }

    /// What links tell and no identity: where one told of a trace's sending to a trace, the link says the same again.
    fn linked<'a>(&mut self, links: &'a [Sides], known: &[Delivery<'a>]) -> Vec<Delivery<'a>> {
        let known: AHashSet<_> = known.iter().map(|(from, to, _)| (from.span.0, to.span.0, &to.party)).collect();
        let mut deliveries = Vec::new();
        for (sent, received) in links {
            let linked = received.iter().filter_map(|to| self.delivery(sent, received, to));
            deliveries.extend(linked.filter(|(from, to, _)| !known.contains(&(from.span.0, to.span.0, &to.party))));
        }
        deliveries
    }
}

/// Of one key, no more sends than this are looked at: the last before the receiver. What has more is no identity.
const SENDS_MAX: usize = 256;

/// Keys that lead somewhere else, or prove nothing, are no hops of their own.
fn is_counted(kind: Kind) -> bool {
    kind.is_identity() || kind == Kind::Link
}

/// Whether what is sent waits until somebody takes it.
fn is_consumed(kind: Kind) -> bool {
    use Kind::{Broker, CloudTask, EventBridge, EventHub, Kafka, Kinesis, PubSub, ServiceBus, Sns, Sqs, StorageQueue};
    matches!(
        kind,
        Sqs | Sns | EventBridge | Kinesis | Kafka | Broker | PubSub | CloudTask | ServiceBus | EventHub | StorageQueue
    )
}

/// Whether it names a workflow or its steps: what one started runs once each, so that a second delivery is no retry.
fn is_workflow(kind: Kind) -> bool {
    matches!(kind, Kind::StepFunctions | Kind::Durable)
}

/// Nested spans of one party with one key are one send, or one receipt: the main one, or the earliest. Where it does not
/// name a destination, another of them does: a function's span knows the message, the span within it also the queue.
fn one_a_trace(mut rows: Vec<MapRow>) -> Vec<MapRow> {
    rows.sort_by(|a, b| {
        let key = |r: &MapRow| {
            (
                r.span.0,
                r.party.clone(),
                !r.is_main,
                r.start_ns,
                r.span.1,
                r.destination.is_none(),
                r.destination.clone(),
                r.hop.clone(),
            )
        };
        key(a).cmp(&key(b))
    });
    // Several deliveries to one party may lie in one trace: those that do not overlap are different ones.
    let mut kept: Vec<MapRow> = Vec::with_capacity(rows.len());
    for row in rows {
        let is_same = |other: &&mut MapRow| other.span.0 == row.span.0 && other.party == row.party;
        let mut same = kept.iter_mut().rev().take_while(is_same).take(SENDS_MAX);
        match same.find(|other| other.start_ns <= row.end_ns && row.start_ns <= other.end_ns) {
            Some(other) => other.destination = other.destination.take().or(row.destination),
            None => kept.push(row),
        }
    }
    kept.sort_by_key(|row| (row.start_ns, row.span));
    kept
}

/// The deliveries of a message to one party so far.
#[derive(Default)]
struct Tries {
    count: u64,
    is_delivered: bool,
}

impl Tries {
    /// Adds a delivery, and tells whether it is another try of one before it.
    fn is_retry(&mut self, to: &MapRow) -> bool {
        let is_again = match to.kind {
            // A link does not tell which of the sender's messages it is of: after one that failed it is the same.
            Kind::Link => self.count > 0 && !self.is_delivered,
            kind => self.count > 0 && !is_workflow(kind),
        };
        self.count += 1;
        self.is_delivered |= !to.is_error;
        is_again
    }
}

impl HopMap {
    /// Adds what was delivered, in the order of time.
    fn add(&mut self, deliveries: &[Delivery<'_>], (start, end): (i64, i64), told: &mut Told) {
        let mut tries: AHashMap<(SpanName, &Party, Option<KeyHash>), Tries> = AHashMap::new();
        for (from, to, is_sure) in deliveries {
            let message = to.kind.is_of_message().then_some(to.hash);
            let is_retry = tries.entry((from.span, &to.party, message)).or_default().is_retry(to);
            self.senders.insert(from.span);
            self.receivers.insert(to.span);
            if to.start_ns < start || to.start_ns >= end {
                continue;
            }
            let place = (from.hop.clone(), from.destination.clone());
            // Who links tells only of those that handed their context on.
            if from.kind == Kind::Link {
                told.linked.insert((from.span.0, from.party.clone(), place));
            } else {
                told.telling.insert(place);
            }
            let (sent, received) = (from.destination.as_deref(), to.destination.as_deref());
            let is_dead_letter =
                sent.zip(received).is_some_and(|(sent, got)| choose::is_dead_letter(Some(to.kind), sent, got));
            let key = EdgeKey {
                from: from.party.clone(),
                to: Some(to.party.clone()),
                hop: to.hop.clone(),
                destination: choose::destination(to.kind, is_dead_letter, sent, received).map(Into::into),
            };
            let is_synchronous = from.start_ns <= to.start_ns && to.end_ns <= from.end_ns;
            let since = if is_synchronous { from.start_ns } else { from.end_ns };
            let traffic = self.edges.entry(key).or_default();
            // How long what somebody else may have sent waited is not known.
            traffic.add(to.is_error, is_sure.then(|| to.start_ns.saturating_sub(since)));
            traffic.retries += u64::from(is_retry);
            traffic.dead_letters += u64::from(is_dead_letter);
        }
    }

    /// What nobody was seen receiving; only where receivers tell what they received, for else nobody would be.
    fn add_unseen(&mut self, unseen: impl Iterator<Item = MapRow>, (start, end): (i64, i64), told: &Told) {
        let mut counted = AHashSet::new();
        for row in unseen {
            let is_in = row.start_ns >= start && row.start_ns < end;
            let place = (row.hop.clone(), row.destination.clone());
            if !is_in || !is_consumed(row.kind) || !told.telling.contains(&place) || told.ranges.contains(&place) {
                continue;
            }
            // A name that only the sender knows is not another message.
            if !row.kind.is_of_message() && (self.senders.contains(&row.span) || !counted.insert(row.span)) {
                continue;
            }
            let sending = (row.span.0, row.party, place);
            if told.linked.contains(&sending) {
                continue;
            }
            let key = EdgeKey { from: sending.1, to: None, hop: row.hop, destination: row.destination };
            let traffic = self.edges.entry(key).or_default();
            traffic.calls += 1;
            traffic.oldest_ns = Some(traffic.oldest_ns.map_or(row.end_ns, |oldest| oldest.min(row.end_ns)));
        }
    }
}

impl Told {
    /// Who sent what `to` received, and whether nobody else can have.
    fn sender<'a>(&self, sent: &'a [MapRow], received: &[MapRow], to: &MapRow) -> Option<(&'a MapRow, bool)> {
        let may = |from: &&MapRow| {
            // What a function sets off in its own trace is no cause of it.
            let is_own = from.span.0 == to.span.0 && from.party == to.party;
            let agrees = to.kind.scope() == Scope::World || is_own_region(from, to);
            from.span != to.span && (!is_own || from.start_ns < to.start_ns) && agrees
        };
        // They are in the order of time.
        let begun = sent.partition_point(|from| from.start_ns <= to.end_ns.saturating_add(choose::SKEW_NS));
        let is_few = sent.len() <= SENDS_MAX;
        let begun = sent.get(begun.saturating_sub(SENDS_MAX)..begun).filter(|_| !is_few).unwrap_or(sent);
        let candidates = begun.iter().filter(may);
        if to.kind == Kind::DynamoItem {
            let is_near = |row: &&MapRow| row.start_ns.saturating_sub(to.start_ns).saturating_abs() <= to.kind.window();
            let writes: Vec<&MapRow> = candidates.filter(is_near).collect();
            return choose::write(&writes, &reads(received, to), to).map(|(write, count)| (write, count == 1));
        }
        let is_in_time = |from: &&MapRow| choose::is_in_time(to.kind, *from, to);
        let mut candidates: Vec<&MapRow> = candidates.filter(is_in_time).collect();
        if to.kind.is_of_content() {
            let names = |from: &&MapRow| {
                self.written.get(&(from.span, Direction::Out)).map(|w| w.names_of(to.kind)).unwrap_or_default()
            };
            self.writing(to).retain(&mut candidates, |from| from.span, names);
        }
        let is_one = |candidates: &[&MapRow]| {
            candidates.first().is_none_or(|first| candidates.iter().all(|other| other.span.0 == first.span.0))
        };
        let mut is_sure = is_one(&candidates);
        // What is unique in the world may come from another account or region, but not where one's own has it too.
        if candidates.iter().any(|from| is_own_region(from, to)) {
            candidates.retain(|from| is_own_region(from, to));
            is_sure |= !to.kind.is_of_content() && is_one(&candidates);
        }
        let from = choose::sender(to.kind, &candidates, to)?;
        let is_proven = to.kind.scope() == Scope::World && !to.kind.is_of_content();
        Some((from, is_sure || is_proven || from.span.0 == to.span.0))
    }
}

/// The reads of an item by the function that read it here; none if there are too many to tell anything.
fn reads<'a>(received: &'a [MapRow], to: &MapRow) -> Vec<&'a MapRow> {
    if received.len() > SENDS_MAX {
        return Vec::new();
    }
    let is_near = |row: &&MapRow| row.start_ns.saturating_sub(to.start_ns).saturating_abs() <= to.kind.window();
    let near: Vec<&MapRow> = received.iter().filter(is_near).collect();
    let traces: BTreeSet<TraceId> = near.iter().map(|row| row.span.0).collect();
    let is_same = |row: &&MapRow| row.party == to.party && agree(row, to);
    if traces.len() > choose::READS_MAX { Vec::new() } else { near.into_iter().filter(is_same).collect() }
}

/// Whether equal keys of two spans may be of one thing.
fn agree(a: &MapRow, b: &MapRow) -> bool {
    a.kind.scope() == Scope::World || is_one_region(a, b)
}

/// Whether a sender may be of the receiver's account and region. One in its own trace is, for context came from there.
fn is_own_region(from: &MapRow, to: &MapRow) -> bool {
    let is_one = || same(&from.account, &to.account) && (to.kind.is_of_any_region() || same(&from.region, &to.region));
    from.span.0 == to.span.0 || is_one()
}

/// Whether two spans may be of one account and region: where both name them, they are equal.
fn is_one_region(a: &MapRow, b: &MapRow) -> bool {
    same(&a.account, &b.account) && same(&a.region, &b.region)
}

fn same(a: &Option<Arc<str>>, b: &Option<Arc<str>>) -> bool {
    a.is_none() || b.is_none() || a == b
}

#[cfg(test)]
mod tests;
