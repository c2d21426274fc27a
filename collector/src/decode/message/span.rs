//! `Span`, its events and its links.

use hopline_proto::wire::{Reader, Value, WireError};

/// What may occur several times in a span.
#[derive(Debug, Clone, Copy)]
pub(in crate::decode) enum SpanPart {
    Attribute,
    Event,
    Link,
}

/// A span without its repeated parts.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::decode) struct SpanHead<'a> {
    pub(in crate::decode) trace_id: &'a [u8],
    pub(in crate::decode) span_id: &'a [u8],
    pub(in crate::decode) parent_span_id: &'a [u8],
    pub(in crate::decode) trace_state: &'a [u8],
    pub(in crate::decode) name: &'a [u8],
    pub(in crate::decode) status_message: &'a [u8],
    pub(in crate::decode) start: u64,
    pub(in crate::decode) end: u64,
    pub(in crate::decode) kind: i32,
    pub(in crate::decode) status_code: i32,
    pub(in crate::decode) flags: u32,
    pub(in crate::decode) dropped_attributes: u32,
    pub(in crate::decode) dropped_events: u32,
    pub(in crate::decode) dropped_links: u32,
}

impl<'a> SpanHead<'a> {
    /// Reads a `Span`; `part` takes the repeated parts in the order in which they stand.
    #[inline]
    pub(in crate::decode) fn read(
        span: &'a [u8],
        mut part: impl FnMut(SpanPart, &'a [u8]) -> Result<(), WireError>,
    ) -> Result<Self, WireError> {
        let mut head = SpanHead::default();
        let mut reader = Reader::new(span);
        while let Some(field) = reader.next()? {
            match field {
                (1, Value::Bytes(id)) => head.trace_id = id,
                (2, Value::Bytes(id)) => head.span_id = id,
                (3, Value::Bytes(text)) => head.trace_state = text,
                (4, Value::Bytes(id)) => head.parent_span_id = id,
                (5, Value::Bytes(text)) => head.name = text,
                (6, Value::Varint(kind)) => head.kind = kind as i32,
                (7, Value::Fixed64(time)) => head.start = time,
                (8, Value::Fixed64(time)) => head.end = time,
                (9, Value::Bytes(bytes)) => part(SpanPart::Attribute, bytes)?,
                (10, Value::Varint(n)) => head.dropped_attributes = n as u32,
                (11, Value::Bytes(bytes)) => part(SpanPart::Event, bytes)?,
                (12, Value::Varint(n)) => head.dropped_events = n as u32,
                (13, Value::Bytes(bytes)) => part(SpanPart::Link, bytes)?,
                (14, Value::Varint(n)) => head.dropped_links = n as u32,
                (15, Value::Bytes(bytes)) => head.status(bytes)?,
                (16, Value::Fixed32(flags)) => head.flags = flags,
                _ => {}
            }
        }
        Ok(head)
    }

    fn status(&mut self, status: &'a [u8]) -> Result<(), WireError> {
        let mut reader = Reader::new(status);
        while let Some(field) = reader.next()? {
            match field {
                (2, Value::Bytes(text)) => self.status_message = text,
                (3, Value::Varint(code)) => self.status_code = code as i32,
                _ => {}
            }
        }
        Ok(())
    }
}

/// An event without its attributes.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::decode) struct EventHead<'a> {
    pub(in crate::decode) time: u64,
    pub(in crate::decode) name: &'a [u8],
    pub(in crate::decode) dropped_attributes: u32,
}

impl<'a> EventHead<'a> {
    /// Reads a `Span.Event`.
    pub(in crate::decode) fn read<E: From<WireError>>(
        event: &'a [u8],
        mut attribute: impl FnMut(&'a [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut head = EventHead::default();
        let mut reader = Reader::new(event);
        while let Some(field) = reader.next()? {
            match field {
                (1, Value::Fixed64(time)) => head.time = time,
                (2, Value::Bytes(text)) => head.name = text,
                (3, Value::Bytes(bytes)) => attribute(bytes)?,
                (4, Value::Varint(n)) => head.dropped_attributes = n as u32,
                _ => {}
            }
        }
        Ok(head)
    }
}

/// A link without its attributes.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::decode) struct LinkHead<'a> {
    pub(in crate::decode) trace_id: &'a [u8],
    pub(in crate::decode) span_id: &'a [u8],
    pub(in crate::decode) trace_state: &'a [u8],
    pub(in crate::decode) flags: u32,
    pub(in crate::decode) dropped_attributes: u32,
}

impl<'a> LinkHead<'a> {
    /// Reads a `Span.Link`.
    pub(in crate::decode) fn read<E: From<WireError>>(
        link: &'a [u8],
        mut attribute: impl FnMut(&'a [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut head = LinkHead::default();
        let mut reader = Reader::new(link);
        while let Some(field) = reader.next()? {
            match field {
                (1, Value::Bytes(id)) => head.trace_id = id,
                (2, Value::Bytes(id)) => head.span_id = id,
                (3, Value::Bytes(text)) => head.trace_state = text,
                (4, Value::Bytes(bytes)) => attribute(bytes)?,
                (5, Value::Varint(n)) => head.dropped_attributes = n as u32,
                (6, Value::Fixed32(flags)) => head.flags = flags,
                _ => {}
            }
        }
        Ok(head)
    }
}
