//! OTLP's messages as they stand in the bytes: the fields of one message each, the
//! parts that repeat handed to the caller one by one. The check of a request and the
//! building of columns both read through these, so that they see the same things.
//!
//! A field of another wire type than OTLP's is an unknown field, and ignored; of a
//! field that may not repeat, the last one counts.

mod log;
mod metric;
mod span;

pub(super) use log::LogHead;
pub(super) use metric::{Buckets, ExemplarHead, Lists, MetricHead, MetricKind, Number, Point, PointPart, Quantile};
pub(super) use span::{EventHead, LinkHead, SpanHead, SpanPart};

use std::borrow::Cow;

use hopline_proto::wire::{Reader, Value, WireError};

/// What stands around scopes or items: `ResourceSpans`, `ScopeSpans` and their likes of
/// logs and metrics have the same field numbers.
#[derive(Debug)]
pub(super) struct Envelope<'a> {
    /// The bytes of the resource or scope, empty if there is none.
    pub(super) source: Cow<'a, [u8]>,
    /// Where the schema of the telemetry is described.
    pub(super) schema_url: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Reads all but the contents, which are field 2.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut envelope = Envelope { source: Cow::Borrowed(&[]), schema_url: &[] };
        let mut reader = Reader::new(bytes);
        while let Some(field) = reader.next()? {
            match field {
                // Messages that come in several pieces are merged by joining their bytes.
                (1, Value::Bytes(more)) if envelope.source.is_empty() => envelope.source = Cow::Borrowed(more),
                (1, Value::Bytes(more)) => envelope.source.to_mut().extend_from_slice(more),
                (3, Value::Bytes(url)) => envelope.schema_url = url,
                _ => {}
            }
        }
        Ok(envelope)
    }
}

/// The next message of a repeated field.
#[inline]
pub(super) fn next_message<'a>(reader: &mut Reader<'a>, number: u32) -> Result<Option<&'a [u8]>, WireError> {
    while let Some((field, value)) = reader.next()? {
        if let Value::Bytes(bytes) = value
            && field == number
        {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

/// An attribute's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Any<'a> {
    /// None, or of a kind that is not known.
    Empty,
    /// Text, not necessarily UTF-8.
    String(&'a [u8]),
    /// True or false.
    Bool(bool),
    /// A 64-bit integer.
    Int(i64),
    /// A floating-point number.
    Double(f64),
    /// Bytes.
    Bytes,
    /// An `ArrayValue`.
    Array(&'a [u8]),
    /// A `KeyValueList`.
    Map(&'a [u8]),
}

impl<'a> Any<'a> {
    /// Reads an `AnyValue`.
    #[inline]
    pub(super) fn read(any_value: &'a [u8]) -> Result<Self, WireError> {
        let mut any = Any::Empty;
        let mut reader = Reader::new(any_value);
        while let Some(field) = reader.next()? {
            any = match field {
                (1, Value::Bytes(text)) => Any::String(text),
                (2, Value::Varint(value)) => Any::Bool(value != 0),
                (3, Value::Varint(value)) => Any::Int(value as i64),
                (4, Value::Fixed64(bits)) => Any::Double(f64::from_bits(bits)),
                (5, Value::Bytes(values)) => Any::Array(values),
                (6, Value::Bytes(values)) => Any::Map(values),
                (7, Value::Bytes(_)) => Any::Bytes,
                _ => any,
            };
        }
        Ok(any)
    }
}
