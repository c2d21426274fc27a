//! Reads what an [`Assembly`] wants to see.

use std::collections::HashMap;
use std::sync::LazyLock;

use arrow::array::{Array, RecordBatch};
use hopline_model::{SpanId, TraceId, promoted};
use hopline_stitch::columns::SpanRows;
use hopline_stitch::derive::{Deriver, flow_spans};
use hopline_stitch::flow::{Assembly, Flow, FlowSpan, KeyRow, Limits, Seed};
use hopline_stitch::hops::rules;
use hopline_stitch::key::{Direction, KeyHash, Kind};

use super::unfinished::{Unfinished, unfinished};
use crate::api::answer;
use crate::api::filter::Where;
use crate::api::trace::rows::{COLD_START, HAS, HAS_EVENTS, HAS_LINKS};
use crate::engine::Session;
use crate::error::Error;
use crate::otlp::columns::{Bytes, Text, boolean, int64, time};
use crate::sql::params::Param;

/// Traces that are read by one query.
const TRACES_AT_ONCE: usize = 100;
/// Keys that are looked up by one query.
const KEYS_AT_ONCE: usize = 200;

/// Rows of one trace that are read, and rows of one look-up of keys: of more, the first.
const ROWS_MAX: usize = 500_000;

/// A flow, and what of its spans only the waterfall shows.
pub(super) struct Story {
    pub(super) flow: Flow,
    /// Flags of spans, as in the waterfall of a trace.
    pub(super) flags: HashMap<(TraceId, SpanId), u16>,
    /// Its invocations whose span never came.
    pub(super) unfinished: Vec<Unfinished>,
    /// Why not all was read that belongs to it.
    pub(super) unread: Option<&'static str>,
}

/// Brings the flow of `seed` together from what is stored.
pub(super) async fn story(session: &Session, seed: Seed, limits: Limits) -> Result<Story, Error> {
    let mut reader = Reader { session, deriver: Deriver::default(), flags: HashMap::new(), unread: None };
    let mut assembly = Assembly::new(seed, limits);
    loop {
        let (back, wants) = apart(move || {
            let wants = assembly.wants();
            (assembly, wants)
        })
        .await?;
        assembly = back;
        let Some(wants) = wants else { break };
        let mut keys = Vec::new();
        for some in wants.keys.chunks(KEYS_AT_ONCE) {
            keys.extend(reader.key_rows(some).await?);
        }
        let mut spans = Vec::new();
        for some in wants.traces.chunks(TRACES_AT_ONCE) {
            spans.extend(reader.spans(some).await?);
        }
        assembly.give(spans, keys);
    }
    let flow = apart(move || assembly.finish()).await?;
    let unfinished = unfinished(session, &flow).await?;
    Ok(Story { flow, flags: reader.flags, unfinished, unread: reader.unread })
}

/// Runs work that may take long where it holds up nobody.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::Internal(Box::new(e)))
}

struct Reader<'a> {
    session: &'a Session,
    deriver: Deriver,
    flags: HashMap<(TraceId, SpanId), u16>,
    unread: Option<&'static str>,
}

impl Reader<'_> {
    /// The spans of these traces.
    async fn spans(&mut self, traces: &[TraceId]) -> Result<Vec<FlowSpan>, Error> {
        let batches = trace_rows(self.session, traces).await?;
        if traces.len() < 2 || rows_of(&batches) <= ROWS_MAX {
            return self.derived(&batches);
        }
        // One of them is so large that it leaves no room for the others.
        let mut spans = Vec::new();
        for trace in traces {
            let batches = trace_rows(self.session, std::slice::from_ref(trace)).await?;
            spans.extend(self.derived(&batches)?);
        }
        Ok(spans)
    }

    fn derived(&mut self, batches: &[RecordBatch]) -> Result<Vec<FlowSpan>, Error> {
        if rows_of(batches) > ROWS_MAX {
            self.unread = Some("a trace has more spans than are read");
        }
        let mut spans = Vec::new();
        for batch in batches {
            spans.extend(flow_spans(&mut self.deriver, batch).map_err(|e| Error::Internal(Box::new(e)))?);
            note_flags(batch, &mut self.flags)?;
        }
        Ok(spans)
    }

    /// The rows of `hop_keys` with these keys.
    async fn key_rows(&mut self, keys: &[(KeyHash, Direction)]) -> Result<Vec<KeyRow>, Error> {
        let found = key_rows(self.session, keys).await?;
        if found.len() > ROWS_MAX {
            self.unread = Some("a key has more spans than are read");
        }
        Ok(found)
    }
}

fn rows_of(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

/// The columns of `spans` from which keys are derived, and those that the waterfall shows.
static SPAN_COLUMNS: LazyLock<String> = LazyLock::new(|| {
    let read = |key: &str| rules().any(|rule| rule.reads.contains(&key)) || PLACE_KEYS.contains(&key);
    let promoted = promoted::PROMOTED.iter().filter(|p| read(p.key)).map(|p| p.column);
    let maps = hopline_model::AttributeType::ALL.iter().map(|kind| kind.column());
    SpanRows::COLUMNS.into_iter().chain(promoted).chain(maps).chain(HAS).collect::<Vec<_>>().join(", ")
});

/// Attributes that are read of each span beside those that rules read.
const PLACE_KEYS: [&str; 5] =
    ["cloud.account.id", "cloud.region", "cloud.resource_id", "aws.lambda.invoked_arn", "faas.coldstart"];

async fn trace_rows(session: &Session, traces: &[TraceId]) -> Result<Vec<RecordBatch>, Error> {
    let mut conditions = Where::default();
    let ids: Vec<String> = traces.iter().map(|trace| conditions.param(*trace)).collect();
    conditions.and(format!("trace_id IN ({})", ids.join(", ")));
    let sql = format!("SELECT {} FROM spans {} LIMIT {}", *SPAN_COLUMNS, conditions.text(), ROWS_MAX + 1);
    answer::rows(session, &sql, conditions.params()).await
}

fn note_flags(batch: &RecordBatch, flags: &mut HashMap<(TraceId, SpanId), u16>) -> Result<(), Error> {
    let (traces, spans) = (Bytes::of(batch, "trace_id")?, Bytes::of(batch, "span_id")?);
    let bits = [
        (boolean(batch, "faas_coldstart")?, COLD_START),
        (boolean(batch, "has_links")?, HAS_LINKS),
        (boolean(batch, "has_events")?, HAS_EVENTS),
    ];
    for row in 0..batch.num_rows() {
        let set = bits.iter().filter(|(column, _)| column.is_valid(row) && column.value(row));
        let set = set.fold(0, |flags, (_, bit)| flags | bit);
        let ids = traces.get(row).and_then(TraceId::from_slice).zip(spans.get(row).and_then(SpanId::from_slice));
        if let (Some(ids), true) = (ids, set != 0) {
            *flags.entry(ids).or_default() |= set;
        }
    }
    Ok(())
}

async fn key_rows(session: &Session, keys: &[(KeyHash, Direction)]) -> Result<Vec<KeyRow>, Error> {
    let mut conditions = Where::default();
    let hashes: Vec<String> = keys.iter().map(|(hash, _)| conditions.param(Param::Bytes(hash.0.to_vec()))).collect();
    conditions.and(format!("key_hash IN ({})", hashes.join(", ")));
    let columns = "key_hash, kind, direction, time, duration, trace_id, span_id, invocation_id";
    let sql = format!("SELECT {columns} FROM hop_keys {} LIMIT {}", conditions.text(), ROWS_MAX + 1);
    let wanted: std::collections::HashSet<&(KeyHash, Direction)> = keys.iter().collect();
    let mut found = Vec::new();
    for batch in answer::rows(session, &sql, conditions.params()).await? {
        let hashes = Bytes::of(&batch, "key_hash")?;
        let (kinds, directions) = (Text::of(&batch, "kind")?, Text::of(&batch, "direction")?);
        let (times, durations) = (time(&batch, "time")?, int64(&batch, "duration")?);
        let (traces, spans) = (Bytes::of(&batch, "trace_id")?, Bytes::of(&batch, "span_id")?);
        let invocations = Text::of(&batch, "invocation_id")?;
        for row in 0..batch.num_rows() {
            let hash = hashes.get(row).and_then(|bytes| bytes.try_into().ok()).map(KeyHash);
            let direction = Direction::from_name(directions.or_empty(row));
            // A kind that is not known was stored by a newer server.
            let kind = Kind::from_prefix(kinds.or_empty(row));
            let (Some(hash), Some(direction), Some(kind)) = (hash, direction, kind) else { continue };
            if !wanted.contains(&(hash, direction)) {
                continue;
            }
            let start_ns = times.value(row);
            found.push(KeyRow {
                hash,
                kind,
                direction,
                start_ns,
                end_ns: start_ns.saturating_add(durations.value(row)),
                trace_id: traces.get(row).and_then(TraceId::from_slice),
                span_id: spans.get(row).and_then(SpanId::from_slice),
                invocation_id: invocations.get(row).map(str::to_owned),
            });
        }
    }
    Ok(found)
}
