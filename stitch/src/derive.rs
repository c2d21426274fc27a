//! From rows that were sent to the rows that are derived from them: `hop_keys` and `invocations`.
//!
//! Runs once for each row at ingest, so it must cost next to nothing for rows that stand
//! on no hop: which rules may find something is decided once for each layout of
//! attributes, of which there are few.

use std::cell::OnceCell;
use std::sync::{Arc, LazyLock};

use ahash::AHashMap;
use arrow::array::{
    ArrayRef, FixedSizeBinaryBuilder, Int64Builder, RecordBatch, StringBuilder, TimestampNanosecondBuilder,
};
use arrow::error::ArrowError;
use hopline_model::{Layout, SpanId, Table, TraceId, promoted, schema};

use crate::columns::{ColumnsError, Known, LogRows, SpanRows, Text, place};
use crate::facts::{FactRows, append_id, metrics};
use crate::flow::FlowSpan;
use crate::hops::{HopKey, HopKeys, Rule, rules};
use crate::invocation::{Exception, Fact};
use crate::key::{Direction, Key, KeyHash, Kind, hash_parts};
use crate::span::{Attributes, Span, SpanKind};
use crate::words::Words;

/// Layouts that are remembered, and the longest: those of one operation are alike, and short.
const LAYOUTS_MAX: usize = 10_000;
const LAYOUT_BYTES_MAX: usize = 4_096;

/// A set of rules, a bit each, in the order of the table.
type Mask = u128;

/// Why nothing could be derived.
#[derive(Debug, thiserror::Error)]
pub enum DeriveError {
    /// The rows are not of the table.
    #[error(transparent)]
    Columns(#[from] ColumnsError),
    /// The derived rows do not make a batch.
    #[error("make a batch of derived rows")]
    Batch(#[source] ArrowError),
}

/// Derives rows, and remembers what it found out about layouts.
#[derive(Default)]
pub struct Deriver {
    masks: AHashMap<String, Mask>,
    dropped: u64,
    refused: u64,
    keys: HopKeyRows,
    facts: FactRows,
    known: Known,
    /// Which ids of X-Ray were told of which invocations of which tenants since the last batch, and the earliest time of it.
    xray: AHashMap<(String, XrayPlace), i64>,
}

/// An invocation, and its root and segment in X-Ray.
type XrayPlace = (KeyHash, TraceId, Option<SpanId>);

impl Deriver {
    /// What follows from a batch of a table.
    pub fn of(&mut self, table: Table, rows: &RecordBatch) -> Result<Derived, DeriveError> {
        self.add(table, rows)?;
        self.take()
    }

    /// Adds what follows from a batch of a table: of `spans`, `logs` and `metrics`.
    pub fn add(&mut self, table: Table, rows: &RecordBatch) -> Result<(), DeriveError> {
        let known = std::mem::take(&mut self.known);
        let added = match table {
            Table::Spans => self.add_spans(rows, &known),
            Table::Logs => self.add_logs(rows, &known),
            Table::Metrics => metrics::add(rows, &known, &mut self.facts),
            _ => Ok(()),
        };
        self.known = known;
        Ok(added?)
    }

    /// What was added since this was asked last.
    pub fn take(&mut self) -> Result<Derived, DeriveError> {
        self.xray.clear();
        let hop_keys = self.keys.finish().map_err(DeriveError::Batch)?;
        Ok(Derived { hop_keys, invocations: self.facts.finish().map_err(DeriveError::Batch)? })
    }

    fn add_spans(&mut self, spans: &RecordBatch, known: &Known) -> Result<(), ColumnsError> {
        let rows = SpanRows::of(spans, known)?;
        let tenants = Text::of(spans, "tenant")?;
        let masks: Vec<Mask> = (0..rows.layouts()).map(|number| self.mask(rows.layout(number))).collect();
        let (keys, facts) = (&mut self.keys, &mut self.facts);
        for row in 0..rows.len() {
            let mask = rows.layout_of(row).and_then(|number| masks.get(number)).copied().unwrap_or_default();
            let mask = if rows.has_links(row) { mask | *ON_LINKS } else { mask };
            let of_function = rows.has_function(row) || mask & NAMES_INVOCATION != 0;
            if mask & !NAMES_INVOCATION == 0 && !of_function {
                continue;
            }
            rows.with(row, |span| {
                let tenant = tenants.or_empty(row);
                let found = keys_by(mask, span);
                self.dropped += found.dropped as u64;
                self.refused += found.refused as u64;
                if !found.keys.is_empty() {
                    let side = Side::of_span(span);
                    found.keys.iter().for_each(|key| keys.push(tenant, &side, key, key.key.hash()));
                }
                let fact = if of_function { fact_of(&rows, row, span) } else { None };
                fact.iter().for_each(|fact| facts.push(tenant, span.service, fact));
            });
        }
        Ok(())
    }

    fn add_logs(&mut self, logs: &RecordBatch, known: &Known) -> Result<(), ColumnsError> {
        let rows = LogRows::of(logs, known)?;
        let tenants = Text::of(logs, "tenant")?;
        let (keys, facts, xray) = (&mut self.keys, &mut self.facts, &mut self.xray);
        for row in 0..rows.len() {
            rows.with(row, |log| {
                let Some(fact) = Fact::of_log(log) else { return };
                let tenant = tenants.or_empty(row);
                let side = Side::of_fact(log.service, &fact);
                xray_rows(
                    &fact,
                    &side,
                    |side, key, hash| keys.push(tenant, side, key, hash),
                    |place| is_earliest(xray, (tenant.to_owned(), place), fact.time_ns),
                );
                facts.push(tenant, log.service, &fact);
            });
        }
        Ok(())
    }

    /// Keys that were left out since the last time this was asked: a span had more than
    /// [`crate::hops::KEYS_MAX`].
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Texts given as keys or pointers that are none, since the last time this was asked.
    pub fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// Which rules may find something in spans with this layout, and whether they name an invocation.
    fn mask(&mut self, layout: &str) -> Mask {
        if let Some(mask) = self.masks.get(layout) {
            return *mask;
        }
        let mask = mask_of(layout);
        if layout.len() <= LAYOUT_BYTES_MAX {
            if self.masks.len() >= LAYOUTS_MAX {
                self.masks.clear();
            }
            self.masks.insert(layout.to_owned(), mask);
        }
        mask
    }
}

/// What follows from rows.
#[derive(Debug, Clone, Default)]
pub struct Derived {
    /// Rows of `hop_keys`, if there are any.
    pub hop_keys: Option<RecordBatch>,
    /// Rows of `invocations`, if there are any.
    pub invocations: Option<RecordBatch>,
}

/// What the span of a row says of an invocation, with its error.
fn fact_of(rows: &SpanRows<'_>, row: usize, span: &Span<'_>) -> Option<Fact> {
    let fact = Fact::of_span(span)?;
    if !span.is_error {
        return Some(fact);
    }
    let Some(exception) = rows.exception(row) else {
        let message = rows.status_message(row).filter(|_| fact.error_message.is_none());
        let Some(message) = message else { return Some(fact) };
        let kind = fact.error_type.clone().unwrap_or_default();
        return Some(fact.with_exception(&Exception { kind: &kind, message, stack: "" }));
    };
    let text = |key: &str| exception.text(key).unwrap_or_default();
    let (kind, message, stack) = (text("exception.type"), text("exception.message"), text("exception.stacktrace"));
    Some(fact.with_exception(&Exception { kind, message, stack }))
}

/// The rows by which the X-Ray ids in a platform's record lead to the invocation that it is about, and from it to them. The
/// records of its start and of its end say the same: `is_new` tells what was not said yet, or only of a later time.
fn xray_rows(
    fact: &Fact,
    side: &Side<'_>,
    mut row: impl FnMut(&Side<'_>, &HopKey, KeyHash),
    is_new: impl FnOnce(XrayPlace) -> bool,
) {
    let (Some(root), Some(invocation)) = (fact.xray_root, &fact.invocation_id) else { return };
    let of_invocation = hash_parts(Kind::Lambda, invocation);
    if !is_new((of_invocation, root, fact.xray_segment)) {
        return;
    }
    let key = |id, direction| HopKey {
        key: Key::new(Kind::Xray, id),
        direction,
        hop: "xray",
        destination: None,
        rule: "xray.platform",
    };
    let ids = std::iter::once(root.to_string()).chain(fact.xray_segment.map(|segment| format!("{root}:{segment}")));
    for key in ids.map(|id| key(id, Direction::Out)) {
        row(side, &key, key.key.hash());
    }
    // Looked for by the invocation: which root and segment it had.
    if let Some(segment) = fact.xray_segment {
        let side = Side { ids: Some((root, segment)), ..*side };
        row(&side, &key(root.to_string(), Direction::In), of_invocation);
    }
}

/// Whether nothing was told of a place yet, or only what is later: an invocation is taken for a sender only by what began
/// after it, and records come in any order.
fn is_earliest(told: &mut AHashMap<(String, XrayPlace), i64>, place: (String, XrayPlace), time_ns: i64) -> bool {
    let earliest = told.get(&place).is_none_or(|known| time_ns < *known);
    if earliest {
        told.insert(place, time_ns);
    }
    earliest
}

/// A bit that is no rule's: the layout has an attribute that names an invocation.
const NAMES_INVOCATION: Mask = 1 << (Mask::BITS - 1);

static ON_LINKS: LazyLock<Mask> =
    LazyLock::new(|| rules().enumerate().filter(|(_, rule)| rule.on_links).fold(0, |mask, (i, _)| mask | bit(i)));

/// Which rules read an attribute.
static READERS: LazyLock<AHashMap<&str, Mask>> = LazyLock::new(|| {
    let mut readers: AHashMap<&str, Mask> = AHashMap::new();
    for (i, rule) in rules().enumerate() {
        for key in rule.reads {
            let aliases = promoted::PROMOTED.iter().filter(|p| p.key == *key).flat_map(|p| p.aliases);
            for name in std::iter::once(key).chain(aliases) {
                *readers.entry(name).or_default() |= bit(i);
            }
        }
    }
    readers
});

fn bit(rule: usize) -> Mask {
    1_u128.checked_shl(rule as u32).unwrap_or_default()
}

fn mask_of(layout: &str) -> Mask {
    let layout = Layout::parse(layout).unwrap_or_default();
    let of = |key: &str| {
        let names = if matches!(key, "faas.invocation_id" | "faas.execution") { NAMES_INVOCATION } else { 0 };
        READERS.get(key).copied().unwrap_or_default() | names
    };
    layout.0.iter().fold(0, |mask, entry| mask | of(&entry.key))
}

fn keys_by(mask: Mask, span: &Span<'_>) -> HopKeys {
    let mut found = HopKeys::default();
    rules().enumerate().filter(|(i, _)| mask & bit(*i) != 0).for_each(|(_, rule): (usize, &Rule)| {
        (rule.find)(rule, span, &mut found);
    });
    found
}

/// The spans of a batch with their keys, for a flow.
pub fn flow_spans(deriver: &mut Deriver, batch: &RecordBatch) -> Result<Vec<FlowSpan>, ColumnsError> {
    let known = Known::default();
    let rows = SpanRows::of(batch, &known)?;
    let mut spans = Vec::with_capacity(rows.len());
    // A long layout is not remembered from batch to batch, but need not be read for each row.
    let masks: Vec<OnceCell<Mask>> = (0..rows.layouts()).map(|_| OnceCell::new()).collect();
    let mut mask_of = |number: usize| {
        let mask = masks.get(number)?.get_or_init(|| deriver.mask(rows.layout(number)));
        Some(*mask)
    };
    for row in 0..rows.len() {
        let mask = rows.layout_of(row).and_then(&mut mask_of).unwrap_or_default();
        let mask = if rows.has_links(row) { mask | *ON_LINKS } else { mask };
        let dropped_links = rows.dropped_links(row);
        spans.push(rows.with(row, |span| FlowSpan { dropped_links, ..flow_span(span, keys_by(mask, span)) }));
    }
    Ok(spans)
}

fn flow_span(span: &Span<'_>, found: HopKeys) -> FlowSpan {
    let (account, region) = place(span);
    FlowSpan {
        trace_id: span.trace_id,
        span_id: span.span_id,
        parent: span.parent,
        start_ns: span.start_ns,
        end_ns: span.end_ns,
        kind: span.kind,
        is_error: span.is_error,
        service: span.service.to_owned(),
        function: span.function.map(str::to_owned),
        name: span.name.to_owned(),
        invocation_id: invocation_id(span).map(str::to_owned),
        account: account.map(str::to_owned),
        region: region.map(str::to_owned),
        links: span.links.iter().filter_map(|link| Some((link.trace_id?, link.span_id?))).collect(),
        keys: found.keys,
        dropped_links: 0,
        dropped_keys: found.dropped,
    }
}

/// The invocation that a span is the span of. On the span of a call it is the callee's, which is not meant here.
fn invocation_id<'s>(span: &Span<'s>) -> Option<&'s str> {
    if span.kind.is_out() { None } else { span.attributes.text("faas.invocation_id") }
}

/// Rows of `hop_keys` that are being made.
struct HopKeyRows {
    rows: usize,
    words: [Words; 8],
    optional: [Words; 4],
    time: TimestampNanosecondBuilder,
    duration: Int64Builder,
    key_hash: FixedSizeBinaryBuilder,
    trace_id: FixedSizeBinaryBuilder,
    span_id: FixedSizeBinaryBuilder,
    invocation_id: StringBuilder,
}

impl Default for HopKeyRows {
    fn default() -> Self {
        HopKeyRows {
            rows: 0,
            words: Default::default(),
            optional: Default::default(),
            time: TimestampNanosecondBuilder::new().with_timezone(schema::UTC),
            duration: Int64Builder::new(),
            key_hash: FixedSizeBinaryBuilder::new(16),
            trace_id: FixedSizeBinaryBuilder::new(16),
            span_id: FixedSizeBinaryBuilder::new(8),
            invocation_id: StringBuilder::new(),
        }
    }
}

/// Who has a key: a span, or an invocation that a platform's record is about.
#[derive(Clone, Copy)]
struct Side<'s> {
    time_ns: i64,
    duration_ns: i64,
    ids: Option<(TraceId, SpanId)>,
    invocation_id: Option<&'s str>,
    service: &'s str,
    function: Option<&'s str>,
    kind: SpanKind,
    status: &'static str,
    account: Option<&'s str>,
    region: Option<&'s str>,
}

impl<'s> Side<'s> {
    fn of_span(span: &Span<'s>) -> Side<'s> {
        let (account, region) = place(span);
        Side {
            time_ns: span.start_ns,
            duration_ns: span.end_ns.saturating_sub(span.start_ns),
            ids: Some((span.trace_id, span.span_id)),
            invocation_id: invocation_id(span),
            service: span.service,
            function: span.function,
            kind: span.kind,
            status: if span.is_error { "ERROR" } else { "UNSET" },
            account,
            region,
        }
    }

    fn of_fact(service: &'s str, fact: &'s Fact) -> Side<'s> {
        Side {
            time_ns: fact.time_ns,
            duration_ns: 0,
            ids: None,
            invocation_id: fact.invocation_id.as_deref(),
            service,
            function: fact.function.as_deref(),
            kind: SpanKind::Internal,
            status: "UNSET",
            account: fact.account.as_deref(),
            region: fact.region.as_deref(),
        }
    }
}

impl HopKeyRows {
    fn push(&mut self, tenant: &str, side: &Side<'_>, key: &HopKey, hash: KeyHash) {
        self.rows += 1;
        let words = [
            tenant,
            key.key.kind.prefix(),
            key.direction.name(),
            key.hop,
            key.rule,
            side.service,
            side.kind.name(),
            side.status,
        ];
        self.words.iter_mut().zip(words).for_each(|(column, word)| column.append_value(word));
        let optional = [key.destination.as_deref(), side.function, side.account, side.region];
        self.optional.iter_mut().zip(optional).for_each(|(column, word)| column.append_option(word));
        self.time.append_value(side.time_ns);
        self.duration.append_value(side.duration_ns);
        append_id(&mut self.key_hash, Some(hash.0));
        append_id(&mut self.trace_id, side.ids.map(|(trace, _)| trace.0));
        append_id(&mut self.span_id, side.ids.map(|(_, span)| span.0));
        self.invocation_id.append_option(side.invocation_id);
    }

    /// The rows so far; none are left.
    fn finish(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        if std::mem::take(&mut self.rows) == 0 {
            return Ok(None);
        }
        let [tenant, kind, direction, hop, rule, service, span_kind, status] = finished(&mut self.words)?;
        let [destination, function, account, region] = finished(&mut self.optional)?;
        let columns: Vec<ArrayRef> = vec![
            tenant,
            Arc::new(self.time.finish()),
            Arc::new(self.duration.finish()),
            Arc::new(self.key_hash.finish()),
            kind,
            direction,
            hop,
            rule,
            destination,
            Arc::new(self.trace_id.finish()),
            Arc::new(self.span_id.finish()),
            Arc::new(self.invocation_id.finish()),
            service,
            function,
            span_kind,
            status,
            account,
            region,
        ];
        RecordBatch::try_new(schema::of(Table::HopKeys), columns).map(Some)
    }
}

fn finished<const N: usize>(columns: &mut [Words; N]) -> Result<[ArrayRef; N], ArrowError> {
    let columns: Vec<ArrayRef> = columns.iter_mut().map(Words::finish).collect::<Result<_, _>>()?;
    columns.try_into().map_err(|_| ArrowError::ComputeError("as many columns as there are builders".to_owned()))
}

#[cfg(test)]
mod tests;
