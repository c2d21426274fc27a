//! The columns of `spans`.

use std::sync::Arc;

use arrow::array::{ArrayRef, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{Int64Type, UInt32Type};
use arrow::error::ArrowError;
use hopline_model::{Signal, Table, names, schema};
use hopline_proto::value::{key_value, key_value_to_text};
use hopline_proto::wire::WireError;

use super::attributes::Attributes;
use super::column::{Blanks, Dict, Enumeration, Ids, Lists, Numbers, Optional, Text, Times, Values};
use super::common::Common;
use super::function::function_of_id;
use super::message::{Any, EventHead, LinkHead, SpanHead, SpanPart};
use super::verify::{is_zero, refuse_span};
use super::{Rows, Scratch, Stop};

/// The columns of `spans`.
#[derive(Debug)]
pub(super) struct Spans {
    common: Common,
    trace_id: Ids<16>,
    span_id: Ids<8>,
    parent_span_id: Optional<Ids<8>>,
    trace_state: Dict,
    flags: Numbers<UInt32Type>,
    name: Dict,
    kind: Enumeration,
    start_time: Times,
    duration: Numbers<Int64Type>,
    status_code: Enumeration,
    status_message: Dict,
    events: Optional<Lists<Events>>,
    links: Optional<Lists<Links>>,
    dropped_events: Numbers<UInt32Type>,
    dropped_links: Numbers<UInt32Type>,
    dropped_attributes: Numbers<UInt32Type>,
    // Places of promoted columns.
    exception_type: usize,
    invoked_arn: usize,
}

impl Spans {
    fn push<'a>(&mut self, head: &SpanHead<'a>, scratch: &mut Scratch<'a>) -> Result<(), Stop> {
        let row = self.common.rows();
        if let (Some(trace_id), Some(span_id)) = (head.trace_id.as_array(), head.span_id.as_array()) {
            self.trace_id.push(trace_id);
            self.span_id.push(span_id);
        }
        if let Some(parent) = head.parent_span_id.as_array()
            && !is_zero(parent)
        {
            self.parent_span_id.at(row).push(parent);
        }
        self.trace_state.push(head.trace_state);
        self.flags.push(head.flags);
        self.name.push(head.name);
        self.kind.push(head.kind);
        self.start_time.push(head.start);
        self.duration.push(head.end.wrapping_sub(head.start) as i64);
        self.status_code.push(head.status_code);
        self.status_message.push(head.status_message);
        self.dropped_events.push(head.dropped_events);
        self.dropped_links.push(head.dropped_links);
        self.dropped_attributes.push(head.dropped_attributes);

        let attributes = std::mem::take(&mut scratch.attributes);
        let pushed = self.common.attributes.push(row, &attributes, scratch);
        scratch.attributes = attributes;
        pushed?;
        if !scratch.events.is_empty() {
            self.push_events(row, scratch)?;
        }
        if !scratch.links.is_empty() {
            let links = self.links.at(row).open();
            for link in &scratch.links {
                links.push(link, &mut scratch.text)?;
            }
        }
        self.end_row(row);
        Ok(())
    }

    fn push_events(&mut self, row: usize, scratch: &mut Scratch<'_>) -> Result<(), Stop> {
        let events = self.events.at(row).open();
        let mut exception = None;
        for event in &scratch.events {
            let thrown = events.push(event, &mut scratch.text)?;
            exception = exception.or(thrown);
        }
        if let Some(exception) = exception {
            self.common.attributes.fill(self.exception_type, row, exception);
        }
        Ok(())
    }

    #[inline]
    fn end_row(&mut self, row: usize) {
        if self.common.has_function() {
            return self.common.end_row(None);
        }
        let arn = self.common.attributes.text(self.invoked_arn, row).and_then(|arn| std::str::from_utf8(arn).ok());
        match arn.and_then(function_of_id).map(str::to_owned) {
            Some(function) => self.common.end_row(Some(&function)),
            None => self.common.end_row(None),
        }
    }
}

impl Rows for Spans {
    const SIGNAL: Signal = Signal::Traces;

    fn new() -> Self {
        Spans {
            common: Common::new(Table::Spans),
            trace_id: Ids::default(),
            span_id: Ids::default(),
            parent_span_id: Optional::default(),
            trace_state: Dict::default(),
            flags: Numbers::default(),
            name: Dict::default(),
            kind: Enumeration::new(names::kind_name),
            start_time: Times::default(),
            duration: Numbers::default(),
            status_code: Enumeration::new(names::status_name),
            status_message: Dict::default(),
            events: Optional::default(),
            links: Optional::default(),
            dropped_events: Numbers::default(),
            dropped_links: Numbers::default(),
            dropped_attributes: Numbers::default(),
            exception_type: Attributes::place(Table::Spans, "exception.type"),
            invoked_arn: Attributes::place(Table::Spans, "aws.lambda.invoked_arn"),
        }
    }

    fn common(&mut self) -> &mut Common {
        &mut self.common
    }

    #[inline]
    fn push_item<'a>(&mut self, span: &'a [u8], scratch: &mut Scratch<'a>) -> Result<bool, WireError> {
        let Scratch { attributes, events, links, .. } = scratch;
        attributes.clear();
        events.clear();
        links.clear();
        let head = SpanHead::read(span, |part, bytes| {
            match part {
                SpanPart::Attribute => attributes.push(bytes),
                SpanPart::Event => events.push(bytes),
                SpanPart::Link => links.push(bytes),
            }
            Ok(())
        })?;
        if refuse_span(&head).is_some() {
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
        self.trace_id.truncate(rows);
        self.span_id.truncate(rows);
        self.parent_span_id.truncate(rows);
        self.trace_state.truncate(rows);
        self.flags.truncate(rows);
        self.name.truncate(rows);
        self.kind.truncate(rows);
        self.start_time.truncate(rows);
        self.duration.truncate(rows);
        self.status_code.truncate(rows);
        self.status_message.truncate(rows);
        self.events.truncate(rows);
        self.links.truncate(rows);
        self.dropped_events.truncate(rows);
        self.dropped_links.truncate(rows);
        self.dropped_attributes.truncate(rows);
    }

    fn bytes(&self) -> usize {
        // Two ids and six numbers of fixed size a row.
        self.common.bytes()
            + self.rows() * (16 + 8 + 4 + 8 + 8 + 4 + 4 + 4)
            + self.parent_span_id.bytes()
            + self.trace_state.bytes()
            + self.name.bytes()
            + self.kind.bytes()
            + self.status_code.bytes()
            + self.status_message.bytes()
            + self.events.bytes()
            + self.links.bytes()
    }

    fn full(&self) -> bool {
        let texts = self.name.full() || self.trace_state.full() || self.status_message.full();
        texts || self.common.full() || self.events.full() || self.links.full()
    }

    fn finish(&mut self) -> Result<Vec<ArrayRef>, ArrowError> {
        let mut blanks = Blanks::default();
        let mut columns = self.common.finish(&mut blanks, |rows, blanks, out| {
            out.push(self.trace_id.finish(None)?);
            out.push(self.span_id.finish(None)?);
            out.push(self.parent_span_id.finish(rows, blanks)?);
            out.push(self.trace_state.finish(None)?);
            out.push(self.flags.finish(None)?);
            out.push(self.name.finish(None)?);
            out.push(self.kind.finish()?);
            out.push(self.start_time.finish(None)?);
            out.push(self.duration.finish(None)?);
            out.push(self.status_code.finish()?);
            out.push(self.status_message.finish(None)?);
            out.push(self.events.finish(rows, blanks)?);
            out.push(self.links.finish(rows, blanks)?);
            out.push(self.dropped_events.finish(None)?);
            out.push(self.dropped_links.finish(None)?);
            Ok(())
        })?;
        columns.push(self.dropped_attributes.finish(None)?);
        Ok(columns)
    }
}

/// The events of all spans.
#[derive(Debug, Default)]
struct Events {
    time: Times,
    name: Text,
    attributes: Text,
    dropped_attributes: Numbers<UInt32Type>,
}

impl Events {
    /// Appends an event, and returns its `exception.type` if it has one.
    fn push<'a>(&mut self, event: &'a [u8], text: &mut String) -> Result<Option<&'a [u8]>, Stop> {
        let mut exception = None;
        text.clear();
        text.push('{');
        let head = EventHead::read::<Stop>(event, |attribute| {
            let (key, value) = key_value(attribute)?;
            if key == b"exception.type"
                && let Any::String(thrown) = Any::read(value)?
            {
                exception = exception.or(Some(thrown));
            }
            key_value_to_text(attribute, text, 0)?;
            Ok(())
        })?;
        text.push('}');
        self.time.push(head.time);
        self.name.push(head.name);
        self.attributes.push_str(text);
        self.dropped_attributes.push(head.dropped_attributes);
        Ok(exception)
    }
}

impl Values for Events {
    fn len(&self) -> usize {
        self.time.len()
    }

    fn pad(&mut self, len: usize) {
        self.time.pad(len);
        self.name.pad(len);
        self.attributes.pad(len);
        self.dropped_attributes.pad(len);
    }

    fn truncate(&mut self, len: usize) {
        self.time.truncate(len);
        self.name.truncate(len);
        self.attributes.truncate(len);
        self.dropped_attributes.truncate(len);
    }

    fn bytes(&self) -> usize {
        self.time.bytes() + self.name.bytes() + self.attributes.bytes() + self.dropped_attributes.bytes()
    }

    fn full(&self) -> bool {
        self.name.full() || self.attributes.full()
    }

    fn finish(&mut self, nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
        let columns = vec![
            self.time.finish(None)?,
            self.name.finish(None)?,
            self.attributes.finish(None)?,
            self.dropped_attributes.finish(None)?,
        ];
        Ok(Arc::new(StructArray::try_new(schema::event_fields(), columns, nulls)?))
    }
}

/// The links of all spans.
#[derive(Debug, Default)]
struct Links {
    trace_id: Optional<Ids<16>>,
    span_id: Optional<Ids<8>>,
    trace_state: Text,
    flags: Numbers<UInt32Type>,
    attributes: Text,
    dropped_attributes: Numbers<UInt32Type>,
}

impl Links {
    fn push(&mut self, link: &[u8], text: &mut String) -> Result<(), Stop> {
        let row = self.len();
        text.clear();
        text.push('{');
        let head = LinkHead::read::<Stop>(link, |attribute| {
            key_value_to_text(attribute, text, 0)?;
            Ok(())
        })?;
        text.push('}');
        if let Some(id) = head.trace_id.as_array() {
            self.trace_id.at(row).push(id);
        }
        if let Some(id) = head.span_id.as_array() {
            self.span_id.at(row).push(id);
        }
        self.trace_state.push(head.trace_state);
        self.flags.push(head.flags);
        self.attributes.push_str(text);
        self.dropped_attributes.push(head.dropped_attributes);
        Ok(())
    }
}

impl Values for Links {
    fn len(&self) -> usize {
        self.flags.len()
    }

    fn pad(&mut self, len: usize) {
        self.trace_state.pad(len);
        self.flags.pad(len);
        self.attributes.pad(len);
        self.dropped_attributes.pad(len);
    }

    fn truncate(&mut self, len: usize) {
        self.trace_id.truncate(len);
        self.span_id.truncate(len);
        self.trace_state.truncate(len);
        self.flags.truncate(len);
        self.attributes.truncate(len);
        self.dropped_attributes.truncate(len);
    }

    fn bytes(&self) -> usize {
        let ids = self.trace_id.bytes() + self.span_id.bytes();
        ids + self.trace_state.bytes() + self.attributes.bytes() + 2 * self.flags.bytes()
    }

    fn full(&self) -> bool {
        self.trace_state.full() || self.attributes.full()
    }

    fn finish(&mut self, nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
        let (len, mut blanks) = (self.len(), Blanks::default());
        let columns = vec![
            self.trace_id.finish(len, &mut blanks)?,
            self.span_id.finish(len, &mut blanks)?,
            self.trace_state.finish(None)?,
            self.flags.finish(None)?,
            self.attributes.finish(None)?,
            self.dropped_attributes.finish(None)?,
        ];
        Ok(Arc::new(StructArray::try_new(schema::link_fields(), columns, nulls)?))
    }
}
