//! Protobuf bytes to value text.

use super::DEPTH_MAX;
use crate::wire::{self, Reader, Value, WireError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Why a value has no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ToTextError {
    /// The bytes are not protobuf.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// More than [`DEPTH_MAX`] values enclose each other.
    #[error("attribute value is nested more than {DEPTH_MAX} levels deep")]
    TooDeep,
}

/// Appends the text of an `AnyValue` and returns how many strings in it were
/// repaired. `depth` says how many values enclose it: 0 for an attribute's value.
/// If several members are set, the last one counts.
///
/// On an error, `out` holds part of the text.
pub fn any_value_to_text(any_value: &[u8], out: &mut String, depth: usize) -> Result<u64, ToTextError> {
    if depth >= DEPTH_MAX {
        return Err(ToTextError::TooDeep);
    }
    let mut member = None;
    let mut reader = Reader::new(any_value);
    while let Some(field) = reader.next()? {
        if let (1 | 5 | 6 | 7, Value::Bytes(_)) | (2 | 3, Value::Varint(_)) | (4, Value::Fixed64(_)) = field {
            member = Some(field);
        }
    }
    match member {
        Some((1, Value::Bytes(text))) => return Ok(quote_bytes(text, out)),
        Some((2, Value::Varint(value))) => out.push_str(if value != 0 { "true" } else { "false" }),
        Some((3, Value::Varint(value))) => out.push_str(itoa::Buffer::new().format(value as i64)),
        Some((4, Value::Fixed64(bits))) => double_to_text(f64::from_bits(bits), out),
        Some((5, Value::Bytes(values))) => return array_to_text(values, out, depth + 1),
        Some((6, Value::Bytes(values))) => return map_to_text(values, out, depth + 1),
        Some((7, Value::Bytes(bytes))) => {
            out.push_str("{\"$bytes\":\"");
            STANDARD.encode_string(bytes, out);
            out.push_str("\"}");
        }
        _ => out.push_str("null"),
    }
    Ok(0)
}

/// Appends the text of an `ArrayValue`.
fn array_to_text(array: &[u8], out: &mut String, depth: usize) -> Result<u64, ToTextError> {
    let mut repaired = 0;
    out.push('[');
    let mut reader = Reader::new(array);
    while let Some(field) = reader.next()? {
        if let (1, Value::Bytes(value)) = field {
            if !out.ends_with('[') {
                out.push(',');
            }
            repaired += any_value_to_text(value, out, depth)?;
        }
    }
    out.push(']');
    Ok(repaired)
}

/// Appends the text of a `KeyValueList`.
fn map_to_text(list: &[u8], out: &mut String, depth: usize) -> Result<u64, ToTextError> {
    let mut repaired = 0;
    let mut wrapped = None;
    let mut reader = Reader::new(list);
    while let Some(field) = reader.next()? {
        if let (1, Value::Bytes(kv)) = field {
            if wrapped.is_none() {
                let escape = key_value(kv)?.0.starts_with(b"$");
                out.push_str(if escape { "{\"$map\":{" } else { "{" });
                wrapped = Some(escape);
            }
            repaired += key_value_to_text(kv, out, depth)?;
        }
    }
    out.push_str(match wrapped {
        None => "{}",
        Some(false) => "}",
        Some(true) => "}}",
    });
    Ok(repaired)
}

/// Appends a `KeyValue` as a member of the object that was opened last in `out`,
/// after a comma unless it is the first. `depth` as in [`any_value_to_text`].
pub fn key_value_to_text(key_value: &[u8], out: &mut String, depth: usize) -> Result<u64, ToTextError> {
    let (key, value) = self::key_value(key_value)?;
    if !out.ends_with('{') {
        out.push(',');
    }
    let repaired = quote_bytes(key, out);
    out.push(':');
    Ok(repaired + any_value_to_text(value, out, depth)?)
}

/// The key and the `AnyValue` of a `KeyValue`: empty if it has none.
#[inline]
pub fn key_value(key_value: &[u8]) -> Result<(&[u8], &[u8]), WireError> {
    let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
    let mut reader = Reader::new(key_value);
    while let Some(field) = reader.next()? {
        match field {
            (1, Value::Bytes(bytes)) => key = bytes,
            (2, Value::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    Ok((key, value))
}

/// Appends a list of `KeyValue` as an object and returns how many strings were
/// repaired.
pub fn attributes_to_text<'a>(
    key_values: impl IntoIterator<Item = &'a [u8]>,
    out: &mut String,
) -> Result<u64, ToTextError> {
    out.push('{');
    let mut repaired = 0;
    for key_value in key_values {
        repaired += key_value_to_text(key_value, out, 0)?;
    }
    out.push('}');
    Ok(repaired)
}

/// Appends the text of a `Resource` with the schema URL that stood beside it, and
/// returns how many strings were repaired.
pub fn resource_to_text(resource: &[u8], schema_url: &[u8], out: &mut String) -> Result<u64, ToTextError> {
    source_to_text(resource, SourceFields { attributes: 1, dropped: 2, entity_refs: 3 }, schema_url, out)
}

/// Appends the text of an `InstrumentationScope`, without its name and version, with
/// the schema URL that stood beside it, and returns how many strings were repaired.
pub fn scope_to_text(scope: &[u8], schema_url: &[u8], out: &mut String) -> Result<u64, ToTextError> {
    source_to_text(scope, SourceFields { attributes: 3, dropped: 4, entity_refs: 0 }, schema_url, out)
}

/// Field numbers of a resource or a scope; 0 for what it does not have.
#[derive(Clone, Copy)]
struct SourceFields {
    attributes: u32,
    dropped: u32,
    entity_refs: u32,
}

fn source_to_text(
    source: &[u8],
    fields: SourceFields,
    schema_url: &[u8],
    out: &mut String,
) -> Result<u64, ToTextError> {
    let (mut repaired, mut dropped, mut attributes, mut entity_refs) = (0, 0, false, false);
    out.push('{');
    let mut reader = Reader::new(source);
    while let Some((field, value)) = reader.next()? {
        match value {
            Value::Bytes(key_value) if field == fields.attributes => {
                if !attributes {
                    out.push_str("\"attributes\":{");
                    attributes = true;
                }
                repaired += key_value_to_text(key_value, out, 0)?;
            }
            Value::Varint(value) if field == fields.dropped => dropped = value as u32,
            Value::Bytes(_) if field == fields.entity_refs => entity_refs = true,
            _ => {}
        }
    }
    if attributes {
        out.push('}');
    }
    if dropped != 0 {
        member("dropped_attributes_count", out);
        out.push_str(itoa::Buffer::new().format(dropped));
    }
    if !schema_url.is_empty() {
        member("schema_url", out);
        repaired += quote_bytes(schema_url, out);
    }
    if entity_refs {
        member("entity_refs", out);
        out.push('[');
        let mut reader = Reader::new(source);
        while let Some((field, value)) = reader.next()? {
            if let Value::Bytes(entity_ref) = value
                && field == fields.entity_refs
            {
                if !out.ends_with('[') {
                    out.push(',');
                }
                repaired += entity_ref_to_text(entity_ref, out)?;
            }
        }
        out.push(']');
    }
    out.push('}');
    Ok(repaired)
}

fn entity_ref_to_text(entity_ref: &[u8], out: &mut String) -> Result<u64, ToTextError> {
    let mut repaired = 0;
    out.push('{');
    for (field, name) in [(1, "schema_url"), (2, "type")] {
        let mut text: &[u8] = &[];
        let mut reader = Reader::new(entity_ref);
        while let Some((number, value)) = reader.next()? {
            if let Value::Bytes(bytes) = value
                && number == field
            {
                text = bytes;
            }
        }
        if !text.is_empty() {
            member(name, out);
            repaired += quote_bytes(text, out);
        }
    }
    for (field, name) in [(3, "id_keys"), (4, "description_keys")] {
        let mut first = true;
        let mut reader = Reader::new(entity_ref);
        while let Some((number, value)) = reader.next()? {
            if let Value::Bytes(bytes) = value
                && number == field
            {
                if first {
                    member(name, out);
                }
                out.push(if first { '[' } else { ',' });
                first = false;
                repaired += quote_bytes(bytes, out);
            }
        }
        if !first {
            out.push(']');
        }
    }
    out.push('}');
    Ok(repaired)
}

/// Appends the name of a member of the object that was opened last.
fn member(name: &str, out: &mut String) {
    if !out.ends_with('{') {
        out.push(',');
    }
    out.push('"');
    out.push_str(name);
    out.push_str("\":");
}

/// Appends the text of a double.
pub fn double_to_text(value: f64, out: &mut String) {
    if value.is_finite() {
        out.push_str(ryu::Buffer::new().format_finite(value));
    } else {
        out.push_str("{\"$double\":\"");
        out.push_str(not_finite(value));
        out.push_str("\"}");
    }
}

/// Appends a double as proto3 JSON writes it: a number, or `"NaN"` and the like.
pub fn double_to_otlp_json(value: f64, out: &mut String) {
    if value.is_finite() {
        out.push_str(ryu::Buffer::new().format_finite(value));
    } else {
        out.push('"');
        out.push_str(not_finite(value));
        out.push('"');
    }
}

fn not_finite(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

/// Appends bytes as a JSON string, repaired where they are not UTF-8: 1, else 0.
fn quote_bytes(bytes: &[u8], out: &mut String) -> u64 {
    let (text, repaired) = wire::text(bytes);
    quote(&text, out);
    u64::from(repaired)
}

/// Appends `text` as a JSON string.
pub fn quote(text: &str, out: &mut String) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|b| b < 0x20 || b == b'"' || b == b'\\') {
        // The byte is ASCII, so both cuts fall between characters.
        let (plain, tail) = rest.split_at(at);
        out.push_str(plain);
        let mut chars = tail.chars();
        match chars.next() {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some(c) => {
                out.push_str("\\u00");
                out.push(char::from_digit(c as u32 >> 4, 16).unwrap_or('0'));
                out.push(char::from_digit(c as u32 & 15, 16).unwrap_or('0'));
            }
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out.push('"');
}
