//! Calls that trace context alone tells: spans and their parents in another service or function.

use std::collections::HashSet;

use arrow::array::RecordBatch;
use hopline_model::{SpanId, TraceId};
use hopline_stitch::map::{EdgeKey, HopMap};

use super::count::{ROWS_MAX, Scope, Waits};
use super::read::Names;
use crate::api::answer;
use crate::api::filter::Where;
use crate::api::params::TimeRange;
use crate::engine::Session;
use crate::error::Error;
use crate::otlp::columns::{Bytes, Text, int64, time};

/// How long before the range callers may have begun: mostly seconds, at most as long as a function may run (AWS Lambda
/// quotas: 15 minutes).
const CALL_MAX: i64 = 900_000_000_000;

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

/// Adds calls to what keys told.
pub(super) struct Calls<'a> {
    pub(super) map: &'a mut HopMap,
    pub(super) waits: &'a mut Waits,
    pub(super) names: &'a mut Names,
    /// The function of which is asked how long it waited for.
    pub(super) function: Option<&'a str>,
    /// A span that was stored twice was called once.
    pub(super) seen: HashSet<Pair>,
}

/// Caller and callee.
type Pair = ((TraceId, SpanId), (TraceId, SpanId));

/// The calls that trace context tells; more than `ROWS_MAX` if there are too many.
pub(super) async fn rows(session: &Session, scope: &Scope) -> Result<Vec<RecordBatch>, Error> {
    if !scope.is_of_party() {
        return rows_of(session, scope, None).await;
    }
    // Once those to the party, once those from it: so that one side of the join is small.
    let (to, from) = tokio::try_join!(rows_of(session, scope, Some("c")), rows_of(session, scope, Some("p")))?;
    Ok([to, from].concat())
}

async fn rows_of(session: &Session, scope: &Scope, party: Option<&str>) -> Result<Vec<RecordBatch>, Error> {
    let mut conditions = Where::default();
    conditions.range("c.start_time", scope.range);
    let start = scope.range.start.map(|start| start.saturating_sub(CALL_MAX));
    conditions.range("p.start_time", TimeRange { start, ..scope.range });
    if let Some(side) = party {
        conditions.equals(&format!("{side}.function"), scope.function.as_deref());
        conditions.equals(&format!("{side}.service"), scope.service.as_deref());
    }
    let (small, large) = if party == Some("p") { ("p", "c") } else { ("c", "p") };
    let sql = format!(
        "SELECT p.trace_id AS trace_id, p.span_id AS from_id, c.span_id AS to_id, p.service AS from_service, \
         p.function AS from_function, c.service AS to_service, c.function AS to_function, \
         c.status_code AS status, p.kind AS from_kind, c.messaging_system AS messaging, \
         c.messaging_destination_name AS destination, p.start_time AS sent, p.duration AS sending, \
         c.start_time AS received, c.duration AS receiving \
         FROM spans {small} JOIN spans {large} ON c.trace_id = p.trace_id AND c.parent_span_id = p.span_id {} \
         AND (c.service <> p.service OR coalesce(c.function, '') <> coalesce(p.function, '')) LIMIT {}",
        conditions.text(),
        ROWS_MAX + 1,
    );
    answer::rows(session, &sql, conditions.params()).await
}

impl Calls<'_> {
    /// Adds the calls that trace context tells, unless their keys told them already. Gives how many rows there were.
    pub(super) fn add(&mut self, batches: &[RecordBatch]) -> Result<usize, Error> {
        for batch in batches {
            self.add_batch(batch)?;
        }
        Ok(batches.iter().map(RecordBatch::num_rows).sum())
    }

    fn add_batch(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let HopMap { edges, senders, receivers } = &mut *self.map;
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
            if senders.contains(&from_id) || receivers.contains(&to_id) || !self.seen.insert((from_id, to_id)) {
                continue;
            }
            let hop = match messaging.get(row).filter(|system| !system.is_empty()) {
                Some(system) => hop_of(system),
                None if from_kind.get(row) == Some("PRODUCER") => "message",
                None => "call",
            };
            let key = EdgeKey {
                from: self.names.party(from_service.or_empty(row), from_function.get(row)),
                to: Some(self.names.party(to_service.or_empty(row), to_function.get(row))),
                hop: self.names.get(hop),
                destination: destination.get(row).filter(|d| !d.is_empty()).map(|d| self.names.get(d)),
            };
            let sent_until = sent.value(row).saturating_add(sending.value(row));
            let is_synchronous = received.value(row).saturating_add(receiving.value(row)) <= sent_until;
            let since = if is_synchronous { sent.value(row) } else { sent_until };
            let wait_ns = received.value(row).saturating_sub(since);
            if !is_synchronous && self.function.is_some() && to_function.get(row) == self.function {
                self.waits.add(hop, wait_ns);
            }
            edges.entry(key).or_default().add(status.or_empty(row) == "ERROR", Some(wait_ns));
        }
        Ok(())
    }
}
