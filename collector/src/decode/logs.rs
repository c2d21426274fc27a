//! The columns of `logs`.

use arrow::array::ArrayRef;
use arrow::datatypes::{Int32Type, UInt32Type};
use arrow::error::ArrowError;
use hopline_model::{Signal, Table};
use hopline_proto::value::any_value_to_text;
use hopline_proto::wire::WireError;

use super::attributes::Attributes;
use super::column::{Blanks, Bools, Dict, Ids, Numbers, Optional, Text, Times, Values};
use super::common::Common;
use super::message::{Any, LogHead};
use super::verify::{is_zero, refuse_log};
use super::{Rows, Scratch, Stop};

/// The columns of `logs`.
#[derive(Debug)]
pub(super) struct Logs {
    /// When the request that is being pushed was received; 0 if that is not known.
    pub(super) received_at: u64,
    common: Common,
    time: Times,
    time_is_observed: Bools,
    observed_time: Optional<Times>,
    severity_number: Numbers<Int32Type>,
    severity_text: Dict,
    event_name: Dict,
    body: Optional<Text>,
    body_is_json: Bools,
    trace_id: Optional<Ids<16>>,
    span_id: Optional<Ids<8>>,
    flags: Numbers<UInt32Type>,
    invocation_id: Optional<Text>,
    dropped_attributes: Numbers<UInt32Type>,
    // Place of a promoted column.
    faas_invocation_id: usize,
}

impl Logs {
    fn push<'a>(&mut self, head: &LogHead<'a>, scratch: &mut Scratch<'a>) -> Result<(), Stop> {
        let row = self.common.rows();
        // Without any time, when it was received: not lost in 1970, and told apart by having no observed_time.
        let instead = if head.observed_time != 0 { head.observed_time } else { self.received_at };
        let is_observed = head.time == 0 && instead != 0;
        self.time.push(if is_observed { instead } else { head.time });
        self.time_is_observed.push(is_observed);
        if head.observed_time != 0 {
            self.observed_time.at(row).push(head.observed_time);
        }
        self.severity_number.push(head.severity_number);
        self.severity_text.push(head.severity_text);
        self.event_name.push(head.event_name);
        self.flags.push(head.flags);
        self.dropped_attributes.push(head.dropped_attributes);
        if let Some(id) = head.trace_id.as_array()
            && !is_zero(id)
        {
            self.trace_id.at(row).push(id);
        }
        if let Some(id) = head.span_id.as_array()
            && !is_zero(id)
        {
            self.span_id.at(row).push(id);
        }
        self.push_body(row, head.body, scratch)?;

        scratch.request_id = None;
        let attributes = std::mem::take(&mut scratch.attributes);
        let pushed = self.common.attributes.push(row, &attributes, scratch);
        scratch.attributes = attributes;
        pushed?;
        let invocation = self.common.attributes.text(self.faas_invocation_id, row);
        if let Some(id) = invocation.or(scratch.request_id.map(|(_, id)| id)) {
            self.invocation_id.at(row).push(id);
        }
        self.common.end_row(None);
        Ok(())
    }

    fn push_body(&mut self, row: usize, body: &[u8], scratch: &mut Scratch<'_>) -> Result<(), Stop> {
        let is_json = match Any::read(body)? {
            Any::Empty => false,
            Any::String(text) => {
                self.body.at(row).push(text);
                false
            }
            _ => {
                scratch.text.clear();
                any_value_to_text(body, &mut scratch.text, 0)?;
                self.body.at(row).push_str(&scratch.text);
                true
            }
        };
        self.body_is_json.push(is_json);
        Ok(())
    }
}

impl Rows for Logs {
    const SIGNAL: Signal = Signal::Logs;

    fn new() -> Self {
        Logs {
            received_at: 0,
            common: Common::new(Table::Logs),
            time: Times::default(),
            time_is_observed: Bools::default(),
            observed_time: Optional::default(),
            severity_number: Numbers::default(),
            severity_text: Dict::default(),
            event_name: Dict::default(),
            body: Optional::default(),
            body_is_json: Bools::default(),
            trace_id: Optional::default(),
            span_id: Optional::default(),
            flags: Numbers::default(),
            invocation_id: Optional::default(),
            dropped_attributes: Numbers::default(),
            faas_invocation_id: Attributes::place(Table::Logs, "faas.invocation_id"),
        }
    }

    fn common(&mut self) -> &mut Common {
        &mut self.common
    }

    #[inline]
    fn push_item<'a>(&mut self, record: &'a [u8], scratch: &mut Scratch<'a>) -> Result<bool, WireError> {
        let attributes = &mut scratch.attributes;
        attributes.clear();
        let head = LogHead::read(record, |attribute| {
            attributes.push(attribute);
            Ok(())
        })?;
        if refuse_log(&head).is_some() {
            return Ok(false);
        }
        match self.push(&head, scratch) {
            Ok(()) => Ok(true),
            Err(Stop::Wire(error)) => Err(error),
            Err(Stop::TooDeep) => {
                self.truncate(self.common.rows());
                Ok(false)
            }
        }
    }

    fn rows(&self) -> usize {
        self.common.rows()
    }

    fn truncate(&mut self, rows: usize) {
        self.common.truncate(rows);
        self.time.truncate(rows);
        self.time_is_observed.truncate(rows);
        self.observed_time.truncate(rows);
        self.severity_number.truncate(rows);
        self.severity_text.truncate(rows);
        self.event_name.truncate(rows);
        self.body.truncate(rows);
        self.body_is_json.truncate(rows);
        self.trace_id.truncate(rows);
        self.span_id.truncate(rows);
        self.flags.truncate(rows);
        self.invocation_id.truncate(rows);
        self.dropped_attributes.truncate(rows);
    }

    fn bytes(&self) -> usize {
        // Four numbers a row.
        self.common.bytes()
            + self.rows() * (8 + 4 + 4 + 4)
            + self.observed_time.bytes()
            + self.severity_text.bytes()
            + self.event_name.bytes()
            + self.body.bytes()
            + self.trace_id.bytes()
            + self.span_id.bytes()
            + self.invocation_id.bytes()
    }

    fn full(&self) -> bool {
        let texts = self.severity_text.full() || self.event_name.full() || self.body.full();
        texts || self.common.full() || self.invocation_id.full()
    }

    fn finish(&mut self) -> Result<Vec<ArrayRef>, ArrowError> {
        let mut blanks = Blanks::default();
        let mut columns = self.common.finish(&mut blanks, |rows, blanks, out| {
            out.push(self.time.finish(None)?);
            out.push(self.time_is_observed.finish(None)?);
            out.push(self.observed_time.finish(rows, blanks)?);
            out.push(self.severity_number.finish(None)?);
            out.push(self.severity_text.finish(None)?);
            out.push(self.event_name.finish(None)?);
            out.push(self.body.finish(rows, blanks)?);
            out.push(self.body_is_json.finish(None)?);
            out.push(self.trace_id.finish(rows, blanks)?);
            out.push(self.span_id.finish(rows, blanks)?);
            out.push(self.flags.finish(None)?);
            out.push(self.invocation_id.finish(rows, blanks)?);
            Ok(())
        })?;
        columns.push(self.dropped_attributes.finish(None)?);
        Ok(columns)
    }
}
