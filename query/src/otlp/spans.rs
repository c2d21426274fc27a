//! Rows of `spans` as OTLP/JSON.

use std::collections::HashMap;

use arrow::array::{Array, Int64Array, RecordBatch, UInt32Array};
use hopline_model::{SpanId, Table, TraceId, names};

use super::columns::{Attributes, Bytes, Error, Items, Text, column, int64, time, uint32};
use super::group::{Groups, Names, Row, Sink, attributes_text, id, member, number, number_text, text};

const NAMES: Names = Names { resources: "resourceSpans", scopes: "scopeSpans", items: "spans" };

/// The spans of some batches, each once.
pub(crate) struct Trace {
    batches: Vec<Spans>,
    groups: Groups,
}

impl Trace {
    /// Groups the rows. Of rows that are equal in every field the first is kept.
    pub(crate) fn new(rows: &[RecordBatch]) -> Result<Self, Error> {
        let mut batches = rows.iter().map(Spans::of).collect::<Result<Vec<_>, _>>()?;
        let mut groups = Groups::default();
        let mut seen: HashMap<(TraceId, SpanId), Vec<Row>> = HashMap::new();
        for (number, batch) in rows.iter().enumerate() {
            groups.add(number, batch, |row| {
                let Some(key) = batches.get(number).and_then(|b| b.ids(row)) else { return Ok(true) };
                let same = seen.entry(key).or_default();
                for other in same.iter() {
                    if equal(&mut batches, rows, (number, row), *other)? {
                        return Ok(false);
                    }
                }
                same.push((number, row));
                Ok(true)
            })?;
        }
        Ok(Self { batches, groups })
    }

    /// Number of spans.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.groups.rows()
    }

    /// Writes `TracesData`, with `extra` members behind it (empty, or starting with a comma).
    pub(crate) fn write(&mut self, extra: &str, sink: &mut Sink<'_>) -> Result<(), Error> {
        let batches = &mut self.batches;
        self.groups.write(NAMES, extra, sink, |rows, sink| {
            for (i, (batch, row)) in rows.iter().enumerate() {
                if i > 0 {
                    sink.out().push(',');
                }
                if let Some(batch) = batches.get_mut(*batch) {
                    batch.write(*row, sink.out())?;
                }
                sink.item_written()?;
            }
            Ok(())
        })
    }
}

/// Whether two rows with the same ids are equal in everything that was sent.
fn equal(batches: &mut [Spans], rows: &[RecordBatch], a: Row, b: Row) -> Result<bool, Error> {
    let mut source = |(batch, row): Row| -> Result<Vec<String>, Error> {
        let mut out = String::new();
        if let Some(batch) = batches.get_mut(batch) {
            batch.write(row, &mut out)?;
        }
        let mut parts = vec![out];
        if let Some(batch) = rows.get(batch) {
            for name in ["resource", "scope", "scope_name", "scope_version"] {
                parts.push(Text::from_array(column(batch, name)?, name)?.or_empty(row).to_owned());
            }
        }
        Ok(parts)
    };
    Ok(source(a)? == source(b)?)
}

/// The columns of one batch.
struct Spans {
    trace_id: Bytes,
    span_id: Bytes,
    parent_span_id: Bytes,
    trace_state: Text,
    flags: UInt32Array,
    name: Text,
    kind: Text,
    start_time: Int64Array,
    duration: Int64Array,
    status_code: Text,
    status_message: Text,
    events: Events,
    links: Links,
    dropped_events: UInt32Array,
    dropped_links: UInt32Array,
    dropped_attributes: UInt32Array,
    attributes: Attributes,
}

impl Spans {
    fn of(batch: &RecordBatch) -> Result<Self, Error> {
        Ok(Self {
            trace_id: Bytes::of(batch, "trace_id")?,
            span_id: Bytes::of(batch, "span_id")?,
            parent_span_id: Bytes::of(batch, "parent_span_id")?,
            trace_state: Text::of(batch, "trace_state")?,
            flags: uint32(batch, "flags")?,
            name: Text::of(batch, "name")?,
            kind: Text::of(batch, "kind")?,
            start_time: time(batch, "start_time")?,
            duration: int64(batch, "duration")?,
            status_code: Text::of(batch, "status_code")?,
            status_message: Text::of(batch, "status_message")?,
            events: Events::of(batch)?,
            links: Links::of(batch)?,
            dropped_events: uint32(batch, "dropped_events_count")?,
            dropped_links: uint32(batch, "dropped_links_count")?,
            dropped_attributes: uint32(batch, "dropped_attributes_count")?,
            attributes: Attributes::of(batch, Table::Spans)?,
        })
    }

    fn ids(&self, row: usize) -> Option<(TraceId, SpanId)> {
        Some((TraceId::from_slice(self.trace_id.get(row)?)?, SpanId::from_slice(self.span_id.get(row)?)?))
    }

    fn write(&mut self, row: usize, out: &mut String) -> Result<(), Error> {
        out.push('{');
        id(out, "traceId", self.trace_id.get(row));
        id(out, "spanId", self.span_id.get(row));
        text(out, "traceState", self.trace_state.or_empty(row));
        id(out, "parentSpanId", self.parent_span_id.get(row));
        number(out, "flags", count(&self.flags, row));
        text(out, "name", self.name.or_empty(row));
        number(out, "kind", i64::from(names::kind_number(self.kind.or_empty(row))));
        let start = value(&self.start_time, row);
        number_text(out, "startTimeUnixNano", start as u64);
        number_text(out, "endTimeUnixNano", start.wrapping_add(value(&self.duration, row)) as u64);
        attributes(&mut self.attributes, row, out)?;
        number(out, "droppedAttributesCount", count(&self.dropped_attributes, row));
        self.events.write(row, out)?;
        number(out, "droppedEventsCount", count(&self.dropped_events, row));
        self.links.write(row, out)?;
        number(out, "droppedLinksCount", count(&self.dropped_links, row));
        // Always there: readers of OTLP/JSON take it for granted.
        member(out, "status");
        out.push('{');
        text(out, "message", self.status_message.or_empty(row));
        number(out, "code", i64::from(names::status_number(self.status_code.or_empty(row))));
        out.push_str("}}");
        Ok(())
    }
}

/// Appends the member `attributes`, unless there are none.
pub(crate) fn attributes(attributes: &mut Attributes, row: usize, out: &mut String) -> Result<(), Error> {
    let before = out.len();
    member(out, "attributes");
    if !attributes.write_otlp(row, out)? {
        out.truncate(before);
    }
    Ok(())
}

pub(crate) fn value(column: &Int64Array, row: usize) -> i64 {
    if row < column.len() && column.is_valid(row) { column.value(row) } else { 0 }
}

pub(crate) fn count(column: &UInt32Array, row: usize) -> i64 {
    if row < column.len() && column.is_valid(row) { i64::from(column.value(row)) } else { 0 }
}

struct Events {
    items: Items,
    time: Int64Array,
    name: Text,
    attributes: Text,
    dropped: UInt32Array,
}

impl Events {
    fn of(batch: &RecordBatch) -> Result<Self, Error> {
        let items = Items::of(batch, "events")?;
        Ok(Self {
            time: items.time("time")?,
            name: items.text("name")?,
            attributes: items.text("attributes")?,
            dropped: items.uint32("dropped_attributes_count")?,
            items,
        })
    }

    fn write(&self, row: usize, out: &mut String) -> Result<(), Error> {
        list(out, "events", self.items.range(row), |i, out| {
            number_text(out, "timeUnixNano", value(&self.time, i) as u64);
            text(out, "name", self.name.or_empty(i));
            attributes_text(out, "attributes", self.attributes.or_empty(i))?;
            number(out, "droppedAttributesCount", count(&self.dropped, i));
            Ok(())
        })
    }
}

struct Links {
    items: Items,
    trace_id: Bytes,
    span_id: Bytes,
    trace_state: Text,
    flags: UInt32Array,
    attributes: Text,
    dropped: UInt32Array,
}

impl Links {
    fn of(batch: &RecordBatch) -> Result<Self, Error> {
        let items = Items::of(batch, "links")?;
        Ok(Self {
            trace_id: items.bytes("trace_id")?,
            span_id: items.bytes("span_id")?,
            trace_state: items.text("trace_state")?,
            flags: items.uint32("flags")?,
            attributes: items.text("attributes")?,
            dropped: items.uint32("dropped_attributes_count")?,
            items,
        })
    }

    fn write(&self, row: usize, out: &mut String) -> Result<(), Error> {
        list(out, "links", self.items.range(row), |i, out| {
            id(out, "traceId", self.trace_id.get(i));
            id(out, "spanId", self.span_id.get(i));
            text(out, "traceState", self.trace_state.or_empty(i));
            attributes_text(out, "attributes", self.attributes.or_empty(i))?;
            number(out, "droppedAttributesCount", count(&self.dropped, i));
            number(out, "flags", count(&self.flags, i));
            Ok(())
        })
    }
}

/// Appends a member with a list of objects, unless it is empty.
pub(crate) fn list(
    out: &mut String,
    name: &str,
    range: std::ops::Range<usize>,
    mut write: impl FnMut(usize, &mut String) -> Result<(), Error>,
) -> Result<(), Error> {
    if range.is_empty() {
        return Ok(());
    }
    member(out, name);
    out.push('[');
    let start = range.start;
    for i in range {
        out.push_str(if i == start { "{" } else { ",{" });
        write(i, out)?;
        out.push('}');
    }
    out.push(']');
    Ok(())
}
