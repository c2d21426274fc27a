//! Rows of `logs` as OTLP/JSON.

use arrow::array::{Array, BooleanArray, Int32Array, Int64Array, RecordBatch, UInt32Array};
use hopline_model::Table;
use hopline_proto::value as text_value;

use super::columns::{Attributes, Bytes, Error, Text, boolean, int32, time, uint32};
use super::group::{Groups, Names, Sink, id, member, number, number_text, text};
use super::spans::{attributes, count, value};

const NAMES: Names = Names { resources: "resourceLogs", scopes: "scopeLogs", items: "logRecords" };

pub(super) fn write(rows: &[RecordBatch]) -> Result<String, Error> {
    let mut batches = rows.iter().map(Logs::of).collect::<Result<Vec<_>, _>>()?;
    let mut groups = Groups::default();
    for (number, batch) in rows.iter().enumerate() {
        groups.add(number, batch, |_| Ok(true))?;
    }
    let mut out = String::new();
    groups.write(NAMES, "", &mut Sink::whole(&mut out), |rows, sink| {
        for (i, (batch, row)) in rows.iter().enumerate() {
            if i > 0 {
                sink.out().push(',');
            }
            if let Some(batch) = batches.get_mut(*batch) {
                batch.write(*row, sink.out())?;
            }
        }
        Ok(())
    })?;
    Ok(out)
}

struct Logs {
    time: Int64Array,
    time_is_observed: BooleanArray,
    observed_time: Int64Array,
    severity_number: Int32Array,
    severity_text: Text,
    event_name: Text,
    body: Text,
    body_is_json: BooleanArray,
    trace_id: Bytes,
    span_id: Bytes,
    flags: UInt32Array,
    dropped: UInt32Array,
    attributes: Attributes,
}

impl Logs {
    fn of(batch: &RecordBatch) -> Result<Self, Error> {
        Ok(Self {
            time: time(batch, "time")?,
            time_is_observed: boolean(batch, "time_is_observed")?,
            observed_time: time(batch, "observed_time")?,
            severity_number: int32(batch, "severity_number")?,
            severity_text: Text::of(batch, "severity_text")?,
            event_name: Text::of(batch, "event_name")?,
            body: Text::of(batch, "body")?,
            body_is_json: boolean(batch, "body_is_json")?,
            trace_id: Bytes::of(batch, "trace_id")?,
            span_id: Bytes::of(batch, "span_id")?,
            flags: uint32(batch, "flags")?,
            dropped: uint32(batch, "dropped_attributes_count")?,
            attributes: Attributes::of(batch, Table::Logs)?,
        })
    }

    fn write(&mut self, row: usize, out: &mut String) -> Result<(), Error> {
        out.push('{');
        if !set(&self.time_is_observed, row) {
            number_text(out, "timeUnixNano", value(&self.time, row) as u64);
        }
        if self.observed_time.is_valid(row) {
            number_text(out, "observedTimeUnixNano", value(&self.observed_time, row) as u64);
        }
        number(out, "severityNumber", i64::from(self.severity_number.value(row)));
        text(out, "severityText", self.severity_text.or_empty(row));
        if let Some(body) = self.body.get(row) {
            member(out, "body");
            if set(&self.body_is_json, row) {
                text_value::text_to_otlp_json(body, out).map_err(Error::Value)?;
            } else {
                out.push('{');
                member(out, "stringValue");
                text_value::quote(body, out);
                out.push('}');
            }
        }
        attributes(&mut self.attributes, row, out)?;
        number(out, "droppedAttributesCount", count(&self.dropped, row));
        number(out, "flags", count(&self.flags, row));
        id(out, "traceId", self.trace_id.get(row));
        id(out, "spanId", self.span_id.get(row));
        text(out, "eventName", self.event_name.or_empty(row));
        out.push('}');
        Ok(())
    }
}

fn set(column: &BooleanArray, row: usize) -> bool {
    row < column.len() && column.is_valid(row) && column.value(row)
}
