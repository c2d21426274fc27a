//! Reads what an [`Assembly`] wants to see.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use arrow::array::{Array, AsArray, ListArray, RecordBatch};
use hopline_model::{SpanId, Table, TraceId, promoted};
use hopline_stitch::columns::SpanRows;
use hopline_stitch::derive::{Deriver, flow_spans};
use hopline_stitch::flow::{Assembly, Flow, FlowSpan, KeyRow, Limits, Seed};
use hopline_stitch::hops::is_read;
use hopline_stitch::key::{Direction, KeyHash, Kind};

use hopline_storage::Lookup;

use super::unfinished::{Unfinished, elsewhere, unfinished};
use crate::api::trace::rows::{COLD_START, HAS_EVENTS, HAS_LINKS};
use crate::engine::Session;
use crate::error::Error;
use crate::otlp::columns::{Bytes, Text, boolean, int64, time};

/// Rows of one look-up. More are read, but the answer says that there may be more than it tells.
const ROWS_MAX: usize = 500_000;

/// So often what lost invocations left may lead to more of them.
const ROUNDS_MAX: usize = 4;

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
    let (mut seeds, mut rounds) = (vec![seed], 0);
    loop {
        let (mut flow, reader) = assembled(session, seeds.clone(), limits).await?;
        let (unfinished, is_cut) = unfinished(session, &mut flow).await?;
        // What a lost try left behind is of the same story as the try that went well, and no hop says so.
        let mut more = elsewhere(session, &flow, &unfinished).await?;
        more.retain(|seed| !seeds.contains(seed));
        if more.is_empty() || rounds >= ROUNDS_MAX {
            let unread = reader.unread.or(is_cut.then_some("of its invocations more is told than is read"));
            let unread = unread.or((!more.is_empty()).then_some("it has more lost invocations than are looked for"));
            return Ok(Story { flow, flags: reader.flags, unfinished, unread });
        }
        rounds += 1;
        seeds.extend(more);
    }
}

/// Brings the flow of `seed` together, without what the platform tells besides.
pub(in crate::api) async fn flow_of(session: &Session, seed: Seed, limits: Limits) -> Result<Flow, Error> {
    Ok(assembled(session, vec![seed], limits).await?.0)
}

async fn assembled(session: &Session, seeds: Vec<Seed>, limits: Limits) -> Result<(Flow, Reader), Error> {
    let reader = Reader { session: session.clone(), deriver: Deriver::default(), flags: HashMap::new(), unread: None };
    session.engine().task(session.limits(), assemble(reader, Assembly::of(seeds, limits))).await
}

async fn assemble(mut reader: Reader, mut assembly: Assembly) -> Result<(Flow, Reader), Error> {
    loop {
        let (back, wants) = apart(move || {
            let wants = assembly.wants();
            (assembly, wants)
        })
        .await?;
        assembly = back;
        let Some(wants) = wants else { break };
        let (keys, traces) = tokio::join!(reader.key_rows(&wants.keys), reader.trace_rows(&wants.traces));
        let (keys, traces) = (keys?, traces?);
        if keys.len() > ROWS_MAX {
            reader.unread = Some("a key has more spans than are read");
        }
        let spans = reader.derived(&traces)?;
        assembly.give(spans, keys);
    }
    let flow = apart(move || assembly.finish()).await?;
    Ok((flow, reader))
}

/// Runs work that may take long where it holds up nobody.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::Internal(Box::new(e)))
}

struct Reader {
    session: Session,
    deriver: Deriver,
    flags: HashMap<(TraceId, SpanId), u16>,
    unread: Option<&'static str>,
}

impl Reader {
    async fn lookup(
        &self,
        table: Table,
        ids: &[[u8; 16]],
        columns: &[&'static str],
    ) -> Result<Vec<RecordBatch>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let (storage, tenant) = (self.session.engine().storage(), self.session.tenant());
        let what = Lookup { table, tenant, ids, times: i64::MIN..=i64::MAX, columns };
        let rows = storage.lookup(self.session.snapshot(), &what).await;
        rows.map_err(|e| Error::Read(Box::new(e)))
    }

    /// The rows of `spans` of these traces.
    async fn trace_rows(&self, traces: &[TraceId]) -> Result<Vec<RecordBatch>, Error> {
        let ids: Vec<[u8; 16]> = traces.iter().map(|trace| trace.0).collect();
        self.lookup(Table::Spans, &ids, &SPAN_COLUMNS).await
    }

    /// The rows of `hop_keys` with these keys.
    async fn key_rows(&self, keys: &[(KeyHash, Direction)]) -> Result<Vec<KeyRow>, Error> {
        let ids: Vec<[u8; 16]> = keys.iter().map(|(hash, _)| hash.0).collect();
        let wanted: HashSet<&(KeyHash, Direction)> = keys.iter().collect();
        let mut found = Vec::new();
        for batch in self.lookup(Table::HopKeys, &ids, &KEY_COLUMNS).await? {
            add_keys(&batch, &wanted, &mut found)?;
        }
        Ok(found)
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
}

fn rows_of(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

/// The columns of `spans` from which keys are derived, and those that the waterfall shows.
static SPAN_COLUMNS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let read = |key: &str| is_read(key) || PLACE_KEYS.contains(&key);
    let promoted = promoted::PROMOTED.iter().filter(|p| read(p.key)).map(|p| p.column);
    let maps = hopline_model::AttributeType::ALL.iter().map(|kind| kind.column());
    SpanRows::COLUMNS.into_iter().chain(["events"]).chain(promoted).chain(maps).collect()
});

/// The columns of `hop_keys` that a flow needs.
const KEY_COLUMNS: [&str; 10] =
    ["key_hash", "kind", "direction", "time", "duration", "trace_id", "span_id", "invocation_id", "account", "region"];

/// Attributes that are read of each span beside those that rules read.
const PLACE_KEYS: [&str; 5] =
    ["cloud.account.id", "cloud.region", "cloud.resource_id", "aws.lambda.invoked_arn", "faas.coldstart"];

fn note_flags(batch: &RecordBatch, flags: &mut HashMap<(TraceId, SpanId), u16>) -> Result<(), Error> {
    let (traces, spans) = (Bytes::of(batch, "trace_id")?, Bytes::of(batch, "span_id")?);
    let cold = boolean(batch, "faas_coldstart")?;
    let list = |name: &str| batch.column_by_name(name).and_then(|c| c.as_list_opt::<i32>());
    let (links, events) = (list("links"), list("events"));
    let has = |list: Option<&ListArray>, row: usize| {
        list.is_some_and(|list| list.is_valid(row) && list.value_length(row) > 0)
    };
    for row in 0..batch.num_rows() {
        let bits = [
            (cold.is_valid(row) && cold.value(row), COLD_START),
            (has(links, row), HAS_LINKS),
            (has(events, row), HAS_EVENTS),
        ];
        let set = bits.iter().filter(|(is_set, _)| *is_set).fold(0, |flags, (_, bit)| flags | bit);
        let ids = traces.get(row).and_then(TraceId::from_slice).zip(spans.get(row).and_then(SpanId::from_slice));
        if let (Some(ids), true) = (ids, set != 0) {
            *flags.entry(ids).or_default() |= set;
        }
    }
    Ok(())
}

fn add_keys(
    batch: &RecordBatch,
    wanted: &HashSet<&(KeyHash, Direction)>,
    found: &mut Vec<KeyRow>,
) -> Result<(), Error> {
    let hashes = Bytes::of(batch, "key_hash")?;
    let (kinds, directions) = (Text::of(batch, "kind")?, Text::of(batch, "direction")?);
    let (times, durations) = (time(batch, "time")?, int64(batch, "duration")?);
    let (traces, spans) = (Bytes::of(batch, "trace_id")?, Bytes::of(batch, "span_id")?);
    let invocations = Text::of(batch, "invocation_id")?;
    let (accounts, regions) = (Text::of(batch, "account")?, Text::of(batch, "region")?);
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
            account: accounts.get(row).map(str::to_owned),
            region: regions.get(row).map(str::to_owned),
        });
    }
    Ok(())
}
