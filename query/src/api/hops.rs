//! `/api/v1/hops`: who sends to whom, over what, and how long it waits there.
//!
//! Edges with an identity are counted from `hop_keys`; those that trace context alone tells,
//! from spans and their parents.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use axum::extract::State;
use axum::response::Response;
use hopline_model::{SpanId, TraceId};
use hopline_stitch::key::{Direction, KeyHash, Kind};
use hopline_stitch::map::{EdgeKey, HopMap, MapRow, Party, Traffic, hop_map};
use http::Uri;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::answer::{self, json, rfc3339};
use super::filter::Where;
use super::functions::range_of;
use super::params::{Params, TimeRange};
use crate::engine::Session;
use crate::error::{Error, Problem};
use crate::otlp::columns::{Bytes, Text, int64, time};
use crate::sql::params::Param;

const DAY: i64 = 86_400_000_000_000;
/// How long before the range senders are looked for, and how long behind it receivers.
const LOOK_AROUND: i64 = DAY;
/// Of so many messages whose other side was not seen that near, it is looked for at any time.
const FAR_MAX: usize = 2_000;
/// Keys that are looked up by one query.
const FAR_AT_ONCE: usize = 200;
/// More keys, and more calls, than these are not counted for one answer.
const ROWS_MAX: usize = 2_000_000;

/// What `/api/v1/hops` takes.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "start and end are read as a range")]
pub(crate) struct HopsParams {
    /// What was received, or sent to nobody, from here on. Default: an hour before `end`. Its other side is looked for a
    /// day around the range, and of up to 2,000 messages at any time.
    #[param(value_type = Option<String>, example = "-1h")]
    start: Option<i64>,
    /// Up to here. Default: now.
    #[param(value_type = Option<String>)]
    end: Option<i64>,
    /// Only edges from or to this function.
    #[param(value_type = Option<String>)]
    function: Option<String>,
    /// Only edges from or to this service.
    #[param(value_type = Option<String>)]
    service: Option<String>,
    /// Edges in the answer: those with the most calls.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 10000, default = 1000)]
    limit: usize,
}

/// Hops between functions and services.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HopsAnswer {
    /// Those with the most calls first.
    hops: Vec<HopAnswer>,
    /// RFC 3339: the range.
    start: String,
    /// RFC 3339: the range.
    end: String,
    /// How far quantiles may be from the true ones, as a share of them.
    relative_error: f64,
    /// Whether these are all.
    complete: bool,
    /// Why the answer is not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// One edge of the map.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Hop)]
pub(crate) struct HopAnswer {
    /// Who sends or calls.
    from: PartyAnswer,
    /// Who receives or is called; null for what nobody was seen receiving.
    to: Option<PartyAnswer>,
    /// The kind of hop: `sqs`, `lambda.invoke`, …; `call` or `message` where a span's parent alone tells of it.
    hop: String,
    /// The queue, topic, bus, stream, bucket, table, function or state machine.
    destination: Option<String>,
    /// Deliveries, retries included; to nobody: what was sent.
    calls: u64,
    /// Deliveries that failed.
    errors: u64,
    /// Deliveries after the first to the same receiver.
    retries: u64,
    /// Deliveries out of a dead-letter queue.
    dead_letters: u64,
    /// Nanoseconds from sending to receiving: median.
    wait_p50_ns: Option<u64>,
    /// Nanoseconds from sending to receiving: 95 of 100 waited at most this long.
    wait_p95_ns: Option<u64>,
    /// Nanoseconds from sending to receiving: 99 of 100 waited at most this long.
    wait_p99_ns: Option<u64>,
    /// RFC 3339: when the oldest was sent that nobody was seen receiving.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_unconsumed: Option<String>,
}

/// Who sends or receives.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Party)]
pub(crate) struct PartyAnswer {
    /// `service.name`
    service: String,
    /// The function's name, if it runs in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<String>,
}

/// Counts hops between functions, services, queues, topics, streams, buckets and tables.
#[utoipa::path(
    get, path = "/api/v1/hops", tag = "flows", params(HopsParams),
    responses(
        (status = 200, description = "The hops", body = HopsAnswer),
        (status = 400, description = "A parameter is wrong", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn hops(State(state): State<ApiState>, uri: Uri) -> Result<Response, Error> {
    let params = Params::of::<HopsParams>(&uri)?;
    let range = range_of(&params)?;
    let limit = params.limit("limit", 1_000, 10_000)?;
    let (function, service) = (params.text("function")?, params.text("service")?);
    let session = answer::unlimited_session(&state, "hops");
    let (map, mut reason) = counted(&session, range).await?;
    let is_of = |party: &Party| {
        function.is_none_or(|f| party.function.as_deref() == Some(f)) && service.is_none_or(|s| *party.service == *s)
    };
    let wanted = map.edges.iter().filter(|(key, _)| is_of(&key.from) || key.to.as_ref().is_some_and(is_of));
    let mut edges: Vec<(&EdgeKey, &Traffic)> = wanted.collect();
    edges.sort_by(|(a, x), (b, y)| (std::cmp::Reverse(x.calls), a).cmp(&(std::cmp::Reverse(y.calls), b)));
    if edges.len() > limit {
        reason.get_or_insert_with(|| format!("the limit of {limit} edges was reached"));
        edges.truncate(limit);
    }
    json(&HopsAnswer {
        hops: edges.into_iter().map(|(key, traffic)| hop(key, traffic)).collect(),
        start: rfc3339(range.start.unwrap_or_default()),
        end: rfc3339(range.end.unwrap_or_default()),
        relative_error: hopline_stitch::invocation::RELATIVE_ERROR,
        complete: reason.is_none(),
        reason,
    })
}

fn hop(key: &EdgeKey, traffic: &Traffic) -> HopAnswer {
    let party = |party: &Party| PartyAnswer {
        service: party.service.to_string(),
        function: party.function.as_deref().map(str::to_owned),
    };
    let wait = |q: f64| traffic.wait.quantile(q).map(|ns| ns.round() as u64);
    HopAnswer {
        from: party(&key.from),
        to: key.to.as_ref().map(party),
        hop: key.hop.to_string(),
        destination: key.destination.as_deref().map(str::to_owned),
        calls: traffic.calls,
        errors: traffic.errors,
        retries: traffic.retries,
        dead_letters: traffic.dead_letters,
        wait_p50_ns: wait(0.5),
        wait_p95_ns: wait(0.95),
        wait_p99_ns: wait(0.99),
        oldest_unconsumed: traffic.oldest_ns.map(rfc3339),
    }
}

/// The edges of a range, and why these are not all.
async fn counted(session: &Session, range: TimeRange) -> Result<(HopMap, Option<String>), Error> {
    let mut names = Names::default();
    let mut rows = key_rows(session, range, &mut names).await?;
    let too_many = |what: &str| format!("more than {ROWS_MAX} {what} are in this range: ask for a shorter one");
    let mut reason = (rows.len() > ROWS_MAX).then(|| too_many("keys"));
    let range_ns = (range.start.unwrap_or(i64::MIN), range.end.unwrap_or(i64::MAX));
    if reason.is_none() {
        rows.extend(far_rows(session, range, &rows, &mut names).await?);
    }
    let mut map = hop_map(rows.into_iter().take(ROWS_MAX), range_ns);
    let calls = add_calls(session, range, &mut map, &mut names).await?;
    if calls > ROWS_MAX {
        reason.get_or_insert_with(|| too_many("calls"));
    }
    Ok((map, reason))
}

/// Each different text once.
#[derive(Default)]
struct Names(HashSet<Arc<str>>);

impl Names {
    fn get(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return Arc::clone(known);
        }
        let name: Arc<str> = text.into();
        self.0.insert(Arc::clone(&name));
        name
    }

    fn party(&mut self, service: &str, function: Option<&str>) -> Party {
        let function = function.filter(|f| !f.is_empty()).map(|f| self.get(f));
        Party { service: self.get(service), function }
    }
}

/// The keys of the range and a day around it.
async fn key_rows(session: &Session, range: TimeRange, names: &mut Names) -> Result<Vec<MapRow>, Error> {
    let mut conditions = Where::default();
    let around = TimeRange {
        start: range.start.map(|start| start.saturating_sub(LOOK_AROUND)),
        end: range.end.map(|end| end.saturating_add(LOOK_AROUND)),
    };
    conditions.range("time", around);
    select(session, conditions, names).await
}

/// The other sides of what was received or sent in the range, where a day around it has none: messages may wait for long.
async fn far_rows(
    session: &Session,
    range: TimeRange,
    near: &[MapRow],
    names: &mut Names,
) -> Result<Vec<MapRow>, Error> {
    let sides: HashSet<(KeyHash, Direction)> = near.iter().map(|row| (row.hash, row.direction)).collect();
    let is_alone = |row: &&MapRow| {
        row.kind.expects_other_side(row.direction)
            && range.start.is_none_or(|start| row.start_ns >= start)
            && range.end.is_none_or(|end| row.start_ns < end)
            && !sides.contains(&(row.hash, row.direction.opposite()))
    };
    let alone: BTreeSet<KeyHash> = near.iter().filter(is_alone).map(|row| row.hash).take(FAR_MAX).collect();
    let alone: Vec<KeyHash> = alone.into_iter().collect();
    let mut found = Vec::new();
    for some in alone.chunks(FAR_AT_ONCE) {
        let mut conditions = Where::default();
        let hashes: Vec<String> = some.iter().map(|hash| conditions.param(Param::Bytes(hash.0.to_vec()))).collect();
        conditions.and(format!("key_hash IN ({})", hashes.join(", ")));
        let rows = select(session, conditions, names).await?;
        found.extend(rows.into_iter().filter(|row| !sides.contains(&(row.hash, row.direction))));
    }
    Ok(found)
}

async fn select(session: &Session, mut conditions: Where, names: &mut Names) -> Result<Vec<MapRow>, Error> {
    conditions.and("kind NOT IN ('link', 'dest', 'xray') AND trace_id IS NOT NULL");
    let columns = "key_hash, kind, direction, hop, destination, trace_id, span_id, span_kind, status_code, time, \
                   duration, service, function, account";
    let sql = format!("SELECT {columns} FROM hop_keys {} LIMIT {}", conditions.text(), ROWS_MAX + 1);
    let mut found = Vec::new();
    for batch in answer::rows(session, &sql, conditions.params()).await? {
        let hashes = Bytes::of(&batch, "key_hash")?;
        let texts =
            ["kind", "direction", "hop", "destination", "span_kind", "status_code", "service", "function", "account"];
        let [kind, direction, hop, destination, span_kind, status, service, function, account] =
            texts.map(|name| Text::of(&batch, name));
        let (kind, direction, hop, destination) = (kind?, direction?, hop?, destination?);
        let (span_kind, status, service, function, account) = (span_kind?, status?, service?, function?, account?);
        let (traces, spans) = (Bytes::of(&batch, "trace_id")?, Bytes::of(&batch, "span_id")?);
        let (times, durations) = (time(&batch, "time")?, int64(&batch, "duration")?);
        for row in 0..batch.num_rows() {
            let hash = hashes.get(row).and_then(|bytes| bytes.try_into().ok()).map(KeyHash);
            let span = traces.get(row).and_then(TraceId::from_slice).zip(spans.get(row).and_then(SpanId::from_slice));
            let kind = Kind::from_prefix(kind.or_empty(row));
            let direction = Direction::from_name(direction.or_empty(row));
            let (Some(hash), Some(span), Some(kind), Some(direction)) = (hash, span, kind, direction) else { continue };
            let start_ns = times.value(row);
            found.push(MapRow {
                hash,
                kind,
                direction,
                hop: names.get(hop.or_empty(row)),
                destination: destination.get(row).map(|d| names.get(d)),
                span,
                is_main: matches!(span_kind.or_empty(row), "PRODUCER" | "SERVER"),
                is_error: status.or_empty(row) == "ERROR",
                start_ns,
                end_ns: start_ns.saturating_add(durations.value(row)),
                party: names.party(service.or_empty(row), function.get(row)),
                account: account.get(row).map(|a| names.get(a)),
            });
        }
    }
    Ok(found)
}

/// The kind of hop of a messaging system, whatever it is called (`docs/stitching.md`).
fn hop_of(system: &str) -> &'static str {
    let system = system.to_ascii_lowercase();
    let known = [
        ("sqs", "sqs"),
        ("sns", "sns"),
        ("eventbridge", "eventbridge"),
        ("kinesis", "kinesis"),
        ("kafka", "kafka"),
        ("servicebus", "servicebus"),
        ("eventhub", "eventhubs"),
        ("azqueue", "storagequeue"),
        ("azure_queue", "storagequeue"),
        ("storage", "storagequeue"),
        ("pubsub", "pubsub"),
    ];
    known.iter().find(|(word, _)| system.contains(word)).map_or("mq", |(_, hop)| *hop)
}

/// Adds the calls that trace context tells, unless their keys told them already. Gives how many rows there were.
async fn add_calls(session: &Session, range: TimeRange, map: &mut HopMap, names: &mut Names) -> Result<usize, Error> {
    let mut conditions = Where::default();
    conditions.range("c.start_time", range);
    // The caller began before: mostly seconds, at most as long as a function may run.
    let callers = TimeRange { start: range.start.map(|start| start.saturating_sub(DAY / 96)), end: range.end };
    conditions.range("p.start_time", callers);
    let sql = format!(
        "SELECT p.trace_id AS trace_id, p.span_id AS from_id, c.span_id AS to_id, p.service AS from_service, \
         p.function AS from_function, c.service AS to_service, c.function AS to_function, c.status_code AS status, \
         p.kind AS from_kind, c.messaging_system AS messaging, c.messaging_destination_name AS destination, \
         p.start_time AS sent, p.duration AS sending, c.start_time AS received, c.duration AS receiving \
         FROM spans c JOIN spans p ON c.trace_id = p.trace_id AND c.parent_span_id = p.span_id {} \
         AND (c.service <> p.service OR coalesce(c.function, '') <> coalesce(p.function, '')) LIMIT {}",
        conditions.text(),
        ROWS_MAX + 1,
    );
    let mut count = 0;
    // A span that was stored twice was called once.
    let mut seen = HashSet::new();
    for batch in answer::rows(session, &sql, conditions.params()).await? {
        count += batch.num_rows();
        add_batch(&batch, map, names, &mut seen)?;
    }
    Ok(count)
}

/// Caller and callee.
type Pair = ((TraceId, SpanId), (TraceId, SpanId));

fn add_batch(batch: &RecordBatch, map: &mut HopMap, names: &mut Names, seen: &mut HashSet<Pair>) -> Result<(), Error> {
    let HopMap { edges, senders, receivers } = map;
    let traces = Bytes::of(batch, "trace_id")?;
    let (from_ids, to_ids) = (Bytes::of(batch, "from_id")?, Bytes::of(batch, "to_id")?);
    let text = |name: &str| Text::of(batch, name);
    let (from_service, from_function) = (text("from_service")?, text("from_function")?);
    let (to_service, to_function) = (text("to_service")?, text("to_function")?);
    let (from_kind, status) = (text("from_kind")?, text("status")?);
    let (messaging, destination) = (text("messaging")?, text("destination")?);
    let (sent, sending) = (time(batch, "sent")?, int64(batch, "sending")?);
    let (received, receiving) = (time(batch, "received")?, int64(batch, "receiving")?);
    for row in 0..batch.num_rows() {
        let id = |ids: &Bytes| {
            let ids = traces.get(row).and_then(TraceId::from_slice).zip(ids.get(row).and_then(SpanId::from_slice));
            ids.unwrap_or_default()
        };
        let (from_id, to_id) = (id(&from_ids), id(&to_ids));
        if senders.contains(&from_id) || receivers.contains(&to_id) || !seen.insert((from_id, to_id)) {
            continue;
        }
        let hop = match messaging.get(row).filter(|system| !system.is_empty()) {
            Some(system) => hop_of(system),
            None if from_kind.get(row) == Some("PRODUCER") => "message",
            None => "call",
        };
        let key = EdgeKey {
            from: names.party(from_service.or_empty(row), from_function.get(row)),
            to: Some(names.party(to_service.or_empty(row), to_function.get(row))),
            hop: names.get(hop),
            destination: destination.get(row).filter(|d| !d.is_empty()).map(|d| names.get(d)),
        };
        let sent_until = sent.value(row).saturating_add(sending.value(row));
        let is_synchronous = received.value(row).saturating_add(receiving.value(row)) <= sent_until;
        let since = if is_synchronous { sent.value(row) } else { sent_until };
        let traffic = edges.entry(key).or_default();
        traffic.add(status.or_empty(row) == "ERROR", received.value(row).saturating_sub(since));
    }
    Ok(())
}
