//! Walks over OTLP protobuf bytes straight into Arrow columns.
//!
//! - [`check`] looks at a whole request without keeping anything: it finds every breach
//!   of the wire format, and counts the items and those that will not be stored.
//! - [`Decoder`] takes one request after the other, of any signal and tenant, and gives
//!   a batch a table, whose schema is [`hopline_model::schema::of`].
//!
//! There is no tree of objects between the bytes and the columns, and both walks read
//! messages by the same code ([`message`]) and decide by the same rules ([`verify`]).
//! Never does I/O, reads a clock or waits.
//!
//! Everything that OTLP can say is kept, but for this:
//! - an empty message is none (a resource, scope, status or body; an attribute without
//!   value has an empty one), and so are resources, scopes and metrics without items;
//! - an all-zero parent, or an all-zero id of a log record, is none, as are ids of links
//!   and exemplars that have a wrong length;
//! - invalid UTF-8 becomes U+FFFD, and a NaN inside a structured value loses its payload;
//! - unknown fields, and members of `AnyValue` that only profiles use, are left out.

mod attributes;
mod column;
mod common;
mod function;
mod logs;
mod message;
mod metrics;
mod spans;
mod verify;

use arrow::array::ArrayRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use hopline_model::{Signal, Table, schema};
use hopline_proto::value::ToTextError;
use hopline_proto::wire::{Reader, WireError};

use self::attributes::Pending;
use self::common::Common;
use self::logs::Logs;
use self::message::{Envelope, Lists, MetricHead, next_message};
use self::metrics::Metrics;
use self::spans::Spans;
use self::verify::{Found, Refusal};

/// Only a batch of more request bytes than this is looked at for columns that are full:
/// nothing grows more than sixfold on its way into a column (`\u0000`).
const ROOMY_BYTES: usize = i32::MAX as usize / 8;

/// As many characters of a metric's name are shown.
const NAME_MAX: usize = 100;

/// A table without rows is made anew if there is more than this in it.
const LITTER_MAX_BYTES: usize = 1 << 20;

/// What a walk over a request found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// Spans, log records or data points of the request, refused ones included.
    pub items: u64,
    /// Items that will not be stored.
    pub refused: u64,
    /// Strings that are not UTF-8 and ids of links and exemplars that have a wrong
    /// length: the former are stored with U+FFFD in place of what is wrong, the latter
    /// as none.
    pub repaired: u64,
    /// What was refused or repaired, in words for the sender; nothing if all is well.
    pub message: Option<String>,
}

/// Why a request is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not an OTLP export request.
    #[error("the request is not OTLP protobuf: {0}")]
    Wire(WireError),
    /// The batch has no room for the request: finish it, then push again.
    #[error("the batch has no room for the request")]
    Full,
}

/// Walks over a request without keeping anything.
pub fn check(signal: Signal, body: &[u8]) -> Result<Checked, DecodeError> {
    check_walk(signal, body).map_err(DecodeError::Wire)
}

fn check_walk(signal: Signal, body: &[u8]) -> Result<Checked, WireError> {
    let mut tally = Tally::default();
    let mut request = Reader::new(body);
    while let Some(resource) = next_message(&mut request, 1)? {
        let envelope = Envelope::read(resource)?;
        let mut outside = Found::default();
        outside.resource(&envelope.source, envelope.schema_url)?;
        tally.add_source(outside);
        let resource_refusal = refusal_of(outside);
        let mut scopes = Reader::new(resource);
        while let Some(scope) = next_message(&mut scopes, 2)? {
            let envelope = Envelope::read(scope)?;
            let mut outside = Found::default();
            outside.scope(&envelope.source, envelope.schema_url)?;
            tally.add_source(outside);
            let refusal = resource_refusal.or(refusal_of(outside));
            let mut items = Reader::new(scope);
            while let Some(item) = next_message(&mut items, 2)? {
                let verdict = verify::item(signal, item, refusal)?;
                if verdict.refusal.is_some() {
                    tally.note_metric(signal, item)?;
                }
                tally.add(verdict);
            }
        }
    }
    Ok(tally.checked(signal))
}

fn refusal_of(outside: Found) -> Option<Refusal> {
    if outside.too_deep { Some(Refusal::TooDeep) } else { None }
}

/// What the items of a request come to.
#[derive(Debug, Default)]
struct Tally {
    items: u64,
    refused: u64,
    first: Option<(u64, Refusal)>,
    /// The name of the metric that the first one belongs to, in quotes.
    metric: Option<String>,
    strings: u64,
    ids: u64,
}

impl Tally {
    fn add_source(&mut self, found: Found) {
        self.strings += found.strings;
        self.ids += found.ids;
    }

    /// Before the first refused item is added: takes note of the metric that it is or belongs to.
    #[cold]
    fn note_metric(&mut self, signal: Signal, item: &[u8]) -> Result<(), WireError> {
        if signal == Signal::Metrics && self.first.is_none() {
            let head = MetricHead::read::<WireError>(item, |_| Ok(()))?;
            let name: String = String::from_utf8_lossy(head.name).chars().take(NAME_MAX).collect();
            self.metric = (!name.is_empty()).then(|| format!("{name:?}"));
        }
        Ok(())
    }

    #[inline]
    fn add(&mut self, verdict: verify::Verdict) {
        if let (None, Some(refusal)) = (self.first, verdict.refusal) {
            self.first = Some((self.items, refusal));
        }
        self.items += verdict.items;
        self.refused += verdict.refused;
        self.strings += verdict.strings;
        self.ids += verdict.ids;
    }

    fn checked(self, signal: Signal) -> Checked {
        let Tally { items, refused, first, metric, strings, ids } = self;
        let (one, many) = match signal {
            Signal::Traces => ("span", "spans"),
            Signal::Logs => ("log record", "log records"),
            Signal::Metrics => ("data point", "data points"),
        };
        let mut parts = Vec::new();
        if let Some((index, refusal)) = first {
            let of = metric.map(|name| format!(" of metric {name}")).unwrap_or_default();
            parts.push(format!("{refused} of {items} {many} refused; the first is {one} {index}{of}: {refusal}"));
        }
        if strings > 0 {
            parts.push(format!("{strings} strings were not valid UTF-8 and were repaired"));
        }
        if ids > 0 {
            parts.push(format!("{ids} ids of links or exemplars had a wrong length and were left out"));
        }
        let message = if parts.is_empty() { None } else { Some(parts.join("; ")) };
        Checked { items, refused, repaired: strings + ids, message }
    }
}

/// Reusable builders of the batches of all tables.
#[derive(Debug)]
pub struct Decoder {
    spans: Spans,
    logs: Logs,
    metrics: Metrics,
    // Bytes of the requests since the last `finish`.
    body_bytes: usize,
    received_at: u64,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder with nothing in it.
    pub fn new() -> Self {
        Decoder { spans: Spans::new(), logs: Logs::new(), metrics: Metrics::new(), body_bytes: 0, received_at: 0 }
    }

    /// When what is pushed from now on was received, in nanoseconds since 1970: the time of
    /// log records that have neither a time nor an observed one. Without it, theirs is 0.
    pub fn set_received_at(&mut self, ns: i64) {
        self.received_at = u64::try_from(ns).unwrap_or(0);
    }

    /// Appends the items of one request that [`check`] would not refuse. On an error
    /// nothing of the request is kept.
    pub fn push(&mut self, signal: Signal, tenant: &str, body: &[u8]) -> Result<(), DecodeError> {
        self.body_bytes = self.body_bytes.saturating_add(body.len());
        let crowded = self.body_bytes > ROOMY_BYTES;
        match signal {
            Signal::Traces => push(&mut self.spans, tenant, body, crowded),
            Signal::Logs => {
                self.logs.received_at = self.received_at;
                push(&mut self.logs, tenant, body, crowded)
            }
            Signal::Metrics => push(&mut self.metrics, tenant, body, crowded),
        }
    }

    /// Rows that wait for [`Decoder::finish`].
    pub fn rows(&self, table: Table) -> usize {
        match table {
            Table::Spans => self.spans.rows(),
            Table::Logs => self.logs.rows(),
            Table::Metrics => self.metrics.rows(),
            // Derived from the others.
            Table::HopKeys | Table::Invocations | Table::FunctionMinutes => 0,
        }
    }

    /// Bytes that these rows take, about.
    pub fn memory_bytes(&self) -> usize {
        self.spans.bytes() + self.logs.bytes() + self.metrics.bytes()
    }

    /// The batches of the tables that have rows; the decoder is empty afterwards.
    pub fn finish(&mut self) -> Vec<(Table, RecordBatch)> {
        self.body_bytes = 0;
        let mut batches = Vec::new();
        finish(&mut self.spans, &mut batches);
        finish(&mut self.logs, &mut batches);
        finish(&mut self.metrics, &mut batches);
        batches
    }
}

/// The builders of one table.
trait Rows {
    /// The signal that the table keeps.
    const SIGNAL: Signal;

    /// No rows.
    fn new() -> Self;

    /// The columns that all tables have.
    fn common(&mut self) -> &mut Common;

    /// Appends a `Span`, a `LogRecord` or the points of a `Metric`. False if anything of
    /// it was refused, and then there may be breaches of the wire format in the rest.
    fn push_item<'a>(&mut self, item: &'a [u8], scratch: &mut Scratch<'a>) -> Result<bool, WireError>;

    /// Complete rows.
    fn rows(&self) -> usize;

    /// Forgets all rows from `rows` on, and what was begun of the next.
    fn truncate(&mut self, rows: usize);

    /// Bytes that the rows take, about.
    fn bytes(&self) -> usize;

    /// Whether something did not fit.
    fn full(&self) -> bool;

    /// All columns; the table is empty afterwards.
    fn finish(&mut self) -> Result<Vec<ArrayRef>, ArrowError>;
}

fn push<T: Rows>(table: &mut T, tenant: &str, body: &[u8], crowded: bool) -> Result<(), DecodeError> {
    let rows = table.rows();
    let pushed = push_walk(table, tenant, body).map_err(DecodeError::Wire);
    let pushed = if crowded && table.full() { Err(DecodeError::Full) } else { pushed };
    if pushed.is_err() {
        table.truncate(rows);
    }
    pushed
}

fn push_walk<T: Rows>(table: &mut T, tenant: &str, body: &[u8]) -> Result<(), WireError> {
    let mut scratch = Scratch::default();
    table.common().enter_tenant(tenant);
    let mut request = Reader::new(body);
    while let Some(resource) = next_message(&mut request, 1)? {
        table.common().enter_resource(&Envelope::read(resource)?)?;
        let mut scopes = Reader::new(resource);
        while let Some(scope) = next_message(&mut scopes, 2)? {
            table.common().enter_scope(&Envelope::read(scope)?)?;
            let refusal = table.common().refusal();
            let mut items = Reader::new(scope);
            while let Some(item) = next_message(&mut items, 2)? {
                if refusal.is_some() || !table.push_item(item, &mut scratch)? {
                    verify::item(T::SIGNAL, item, refusal)?;
                }
            }
        }
    }
    Ok(())
}

/// Appends the batch of `table`, if it has rows.
fn finish<T: Rows>(table: &mut T, batches: &mut Vec<(Table, RecordBatch)>) {
    if table.rows() == 0 {
        // Requests without items, or refused ones, leave words in the dictionaries.
        if table.full() || table.bytes() > LITTER_MAX_BYTES {
            *table = T::new();
        }
        return;
    }
    let of = T::SIGNAL.table();
    let batch = table.finish().and_then(|columns| RecordBatch::try_new(schema::of(of), columns));
    #[expect(clippy::expect_used, reason = "the columns are built to the schema; a test compares them")]
    let batch = batch.expect("the columns are those of the schema");
    batches.push((of, batch));
}

/// Why an item is not appended.
#[derive(Debug)]
enum Stop {
    /// It is not protobuf.
    Wire(WireError),
    /// A value in it is nested too deep.
    TooDeep,
}

impl From<WireError> for Stop {
    fn from(error: WireError) -> Self {
        Stop::Wire(error)
    }
}

impl From<ToTextError> for Stop {
    fn from(error: ToTextError) -> Self {
        match error {
            ToTextError::Wire(error) => Stop::Wire(error),
            ToTextError::TooDeep => Stop::TooDeep,
        }
    }
}

/// Vectors that are used again for each item of a request.
#[derive(Debug, Default)]
struct Scratch<'a> {
    attributes: Vec<&'a [u8]>,
    // Of a data point: its exemplars.
    events: Vec<&'a [u8]>,
    // Of a data point: its quantiles.
    links: Vec<&'a [u8]>,
    pending: Vec<Pending<'a>>,
    codes: Vec<u32>,
    lists: Lists,
    text: String,
    // The most trusted attribute that names the invocation of a log record, and its rank.
    request_id: Option<(u8, &'a [u8])>,
}

impl<'a> Scratch<'a> {
    fn offer_request_id(&mut self, rank: u8, id: &'a [u8]) {
        if self.request_id.is_none_or(|(best, _)| rank < best) {
            self.request_id = Some((rank, id));
        }
    }
}

#[cfg(test)]
mod tests;
