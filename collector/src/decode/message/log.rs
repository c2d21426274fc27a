//! `LogRecord`.

use hopline_proto::wire::{Reader, Value, WireError};

/// A log record without its attributes.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::decode) struct LogHead<'a> {
    pub(in crate::decode) time: u64,
    pub(in crate::decode) observed_time: u64,
    pub(in crate::decode) severity_number: i32,
    pub(in crate::decode) severity_text: &'a [u8],
    pub(in crate::decode) event_name: &'a [u8],
    /// An `AnyValue`, empty if there is none.
    pub(in crate::decode) body: &'a [u8],
    pub(in crate::decode) trace_id: &'a [u8],
    pub(in crate::decode) span_id: &'a [u8],
    pub(in crate::decode) flags: u32,
    pub(in crate::decode) dropped_attributes: u32,
}

impl<'a> LogHead<'a> {
    /// Reads a `LogRecord`.
    #[inline]
    pub(in crate::decode) fn read(
        record: &'a [u8],
        mut attribute: impl FnMut(&'a [u8]) -> Result<(), WireError>,
    ) -> Result<Self, WireError> {
        let mut head = LogHead::default();
        let mut reader = Reader::new(record);
        while let Some(field) = reader.next()? {
            match field {
                (1, Value::Fixed64(time)) => head.time = time,
                (2, Value::Varint(n)) => head.severity_number = n as i32,
                (3, Value::Bytes(text)) => head.severity_text = text,
                (5, Value::Bytes(any_value)) => head.body = any_value,
                (6, Value::Bytes(bytes)) => attribute(bytes)?,
                (7, Value::Varint(n)) => head.dropped_attributes = n as u32,
                (8, Value::Fixed32(flags)) => head.flags = flags,
                (9, Value::Bytes(id)) => head.trace_id = id,
                (10, Value::Bytes(id)) => head.span_id = id,
                (11, Value::Fixed64(time)) => head.observed_time = time,
                (12, Value::Bytes(text)) => head.event_name = text,
                _ => {}
            }
        }
        Ok(head)
    }
}
