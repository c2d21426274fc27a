//! Rows of the table `logs`, seen as [`LogView`]s.

use arrow::array::{AsArray, BooleanArray, FixedSizeBinaryArray, Int32Array, RecordBatch, TimestampNanosecondArray};
use arrow::datatypes::TimestampNanosecondType;
use hopline_model::{SpanId, TraceId};

use super::{Attached, ColumnsError, Known, RowAttributes, Text, id};
use crate::invocation::LogView;
use crate::span::Attributes;

/// The rows of a batch of `logs`.
pub struct LogRows<'a> {
    rows: usize,
    times: &'a TimestampNanosecondArray,
    bodies: Text<'a>,
    is_json: &'a BooleanArray,
    severities: &'a Int32Array,
    trace_ids: &'a FixedSizeBinaryArray,
    span_ids: &'a FixedSizeBinaryArray,
    invocations: Text<'a>,
    services: Text<'a>,
    functions: Text<'a>,
    attached: Attached<'a>,
}

impl<'a> LogRows<'a> {
    /// Looks at the columns of `batch`.
    pub(crate) fn of(batch: &'a RecordBatch, known: &'a Known) -> Result<Self, ColumnsError> {
        let ids = |name: &'static str| {
            let column = batch.column_by_name(name).and_then(|c| c.as_fixed_size_binary_opt());
            column.ok_or(ColumnsError(name))
        };
        let times = batch.column_by_name("time").and_then(|c| c.as_primitive_opt::<TimestampNanosecondType>());
        let is_json = batch.column_by_name("body_is_json").and_then(|c| c.as_boolean_opt());
        let severities = batch.column_by_name("severity_number").and_then(|c| c.as_primitive_opt());
        Ok(LogRows {
            rows: batch.num_rows(),
            times: times.ok_or(ColumnsError("time"))?,
            bodies: Text::of(batch, "body")?,
            is_json: is_json.ok_or(ColumnsError("body_is_json"))?,
            severities: severities.ok_or(ColumnsError("severity_number"))?,
            trace_ids: ids("trace_id")?,
            span_ids: ids("span_id")?,
            invocations: Text::of(batch, "invocation_id")?,
            services: Text::of(batch, "service")?,
            functions: Text::of(batch, "function")?,
            attached: Attached::of(batch, known)?,
        })
    }

    /// Rows of the batch.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether the batch has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Shows the log record of a row to `look`.
    pub fn with<T>(&self, row: usize, look: impl FnOnce(&LogView<'_>) -> T) -> T {
        let attributes = RowAttributes { attached: &self.attached, row };
        look(&LogView {
            time_ns: self.times.values().get(row).copied().unwrap_or_default(),
            body: self.bodies.or_empty(row),
            body_is_json: row < self.is_json.len() && self.is_json.value(row),
            event_type: attributes.text("type"),
            invocation_id: self.invocations.get(row).filter(|id| !id.is_empty()),
            trace_id: id(self.trace_ids, row).map(TraceId),
            span_id: id(self.span_ids, row).map(SpanId),
            severity_number: self.severities.values().get(row).copied().unwrap_or_default(),
            service: self.services.or_empty(row),
            function: self.functions.get(row).filter(|f| !f.is_empty()),
            attributes: &attributes,
            resource: self.attached.resources.get(row),
        })
    }
}
