//! The protobuf wire format, field by field, over borrowed bytes.
//!
//! [`Reader`] walks one message and yields `(field number, value)`; the caller
//! matches on what it knows and ignores the rest. No message types, no
//! allocation. Groups (wire types 3 and 4), which OTLP never uses, are skipped.
//! Wire types 6 and 7, field number 0, and everything cut short are errors.
//!
//! The `put_*` functions append fields to a `Vec<u8>`; [`begin`] and [`end`] write
//! a message in place whose length is not known beforehand.

use std::borrow::Cow;

/// Groups may be nested this deep; OTLP has none at all.
const GROUP_DEPTH_MAX: usize = 32;

/// What is wrong with a message, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {offset} of the message{}", InField(*.field))]
pub struct WireError {
    /// What is wrong.
    pub kind: WireErrorKind,
    /// Offset within the message that the reader was given.
    pub offset: usize,
    /// Number of the field that was being read, 0 if its tag could not be read.
    pub field: u32,
}

struct InField(u32);

impl std::fmt::Display for InField {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 == 0 { Ok(()) } else { write!(f, ", field {}", self.0) }
    }
}

/// The ways in which bytes can fail to be a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireErrorKind {
    /// A value reaches beyond the end of the message.
    #[error("value is cut short")]
    Truncated,
    /// A varint of more than ten bytes, or beyond 64 bits.
    #[error("varint is too long")]
    Varint,
    /// Field number 0, or a tag beyond 32 bits.
    #[error("field number is invalid")]
    FieldNumber,
    /// Wire type 6 or 7.
    #[error("wire type is unknown")]
    WireType,
    /// A group that is not closed, closed twice, or nested too deep.
    #[error("group is malformed")]
    Group,
    /// A packed list of fixed-width values has a length that they do not divide.
    #[error("packed list is cut short")]
    Packed,
}

/// The value of one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// int32, int64, uint32, uint64, sint32, sint64, bool and enumerations.
    Varint(u64),
    /// fixed64, sfixed64 and double.
    Fixed64(u64),
    /// string, bytes, messages and packed lists.
    Bytes(&'a [u8]),
    /// fixed32, sfixed32 and float.
    Fixed32(u32),
}

/// Walks the fields of one message.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    len: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the first field of `message`.
    #[inline]
    pub fn new(message: &'a [u8]) -> Self {
        Reader { rest: message, len: message.len() }
    }

    /// Bytes read so far.
    #[inline]
    pub fn offset(&self) -> usize {
        self.len - self.rest.len()
    }

    /// The next field, or nothing at the end of the message.
    // Always inlined, with what it calls: 5.2 instead of 3.4 million spans/s were walked,
    // since neither the value nor the error then goes through memory.
    #[inline(always)]
    #[expect(
        clippy::should_implement_trait,
        reason = "`while let Some(..) = r.next()?` reads best, and is no Iterator"
    )]
    pub fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, WireError> {
        loop {
            if self.rest.is_empty() {
                return Ok(None);
            }
            let tag = self.varint(0)?;
            let field = (tag >> 3) as u32;
            if field == 0 || tag > u64::from(u32::MAX) {
                return Err(self.error(WireErrorKind::FieldNumber, 0));
            }
            let value = match tag & 7 {
                2 => Value::Bytes(self.bytes(field)?),
                0 => Value::Varint(self.varint(field)?),
                1 => Value::Fixed64(u64::from_le_bytes(self.fixed(field)?)),
                5 => Value::Fixed32(u32::from_le_bytes(self.fixed(field)?)),
                3 => {
                    self.skip_group(field)?;
                    continue;
                }
                4 => return Err(self.error(WireErrorKind::Group, field)),
                _ => return Err(self.error(WireErrorKind::WireType, field)),
            };
            return Ok(Some((field, value)));
        }
    }

    #[inline(always)]
    fn varint(&mut self, field: u32) -> Result<u64, WireError> {
        match *self.rest {
            [a, ref rest @ ..] if a < 0x80 => {
                self.rest = rest;
                Ok(u64::from(a))
            }
            [a, b, ref rest @ ..] if b < 0x80 => {
                self.rest = rest;
                Ok(u64::from(a & 0x7f) | u64::from(b) << 7)
            }
            _ => self.long_varint(field),
        }
    }

    #[cold]
    fn long_varint(&mut self, field: u32) -> Result<u64, WireError> {
        match split_varint(self.rest) {
            Ok((value, rest)) => {
                self.rest = rest;
                Ok(value)
            }
            Err(kind) => Err(self.error(kind, field)),
        }
    }

    #[inline(always)]
    fn bytes(&mut self, field: u32) -> Result<&'a [u8], WireError> {
        let len = self.varint(field)?;
        // A length beyond usize is beyond the message as well.
        let (value, rest) = usize::try_from(len)
            .ok()
            .and_then(|len| self.rest.split_at_checked(len))
            .ok_or_else(|| self.error(WireErrorKind::Truncated, field))?;
        self.rest = rest;
        Ok(value)
    }

    #[inline(always)]
    fn fixed<const N: usize>(&mut self, field: u32) -> Result<[u8; N], WireError> {
        let (value, rest) =
            self.rest.split_first_chunk::<N>().ok_or_else(|| self.error(WireErrorKind::Truncated, field))?;
        self.rest = rest;
        Ok(*value)
    }

    #[cold]
    fn skip_group(&mut self, field: u32) -> Result<(), WireError> {
        let mut open = vec![field];
        while let Some(&innermost) = open.last() {
            let tag = self.varint(innermost)?;
            let field = (tag >> 3) as u32;
            if field == 0 || tag > u64::from(u32::MAX) {
                return Err(self.error(WireErrorKind::FieldNumber, innermost));
            }
            match tag & 7 {
                0 => drop(self.varint(field)?),
                1 => drop(self.fixed::<8>(field)?),
                2 => drop(self.bytes(field)?),
                5 => drop(self.fixed::<4>(field)?),
                3 if open.len() < GROUP_DEPTH_MAX => open.push(field),
                4 if field == innermost => drop(open.pop()),
                3 | 4 => return Err(self.error(WireErrorKind::Group, field)),
                _ => return Err(self.error(WireErrorKind::WireType, field)),
            }
        }
        Ok(())
    }

    #[cold]
    fn error(&self, kind: WireErrorKind, field: u32) -> WireError {
        WireError { kind, offset: self.offset(), field }
    }
}

/// Reads one varint from the start of `bytes`.
fn split_varint(bytes: &[u8]) -> Result<(u64, &[u8]), WireErrorKind> {
    let mut value = 0;
    for (i, &byte) in bytes.iter().take(10).enumerate() {
        // The tenth byte holds the 64th bit and nothing else.
        if i == 9 && byte > 1 {
            return Err(WireErrorKind::Varint);
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Ok((value, bytes.get(i + 1..).unwrap_or_default()));
        }
    }
    Err(if bytes.len() < 10 { WireErrorKind::Truncated } else { WireErrorKind::Varint })
}

/// The values of a packed list of varints.
pub fn varints(packed: &[u8]) -> impl Iterator<Item = Result<u64, WireError>> + '_ {
    let mut rest = packed;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let offset = packed.len() - rest.len();
        Some(match split_varint(rest) {
            Ok((value, after)) => {
                rest = after;
                Ok(value)
            }
            Err(kind) => {
                rest = &[];
                Err(WireError { kind, offset, field: 0 })
            }
        })
    })
}

/// The values of a packed list of fixed64, sfixed64 or double.
pub fn fixed64s(packed: &[u8]) -> Result<impl ExactSizeIterator<Item = u64> + '_, WireError> {
    let (values, rest) = packed.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(WireError { kind: WireErrorKind::Packed, offset: packed.len() - rest.len(), field: 0 });
    }
    Ok(values.iter().map(|v| u64::from_le_bytes(*v)))
}

/// `bytes` as text: as they are where they are UTF-8, else with each invalid part
/// replaced by U+FFFD. The flag says whether anything had to be repaired.
#[inline]
pub fn text(bytes: &[u8]) -> (Cow<'_, str>, bool) {
    match simdutf8::basic::from_utf8(bytes) {
        Ok(text) => (Cow::Borrowed(text), false),
        Err(_) => (Cow::Owned(String::from_utf8_lossy(bytes).into_owned()), true),
    }
}

/// The value of a sint32 or sint64 varint.
#[inline]
pub fn zigzag_decode(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// The varint of a sint32 or sint64.
#[inline]
pub fn zigzag_encode(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

/// Appends a bare varint.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The wire types that [`put_tag`] takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum WireType {
    /// Varint.
    Varint = 0,
    /// Eight bytes.
    Fixed64 = 1,
    /// Length and bytes.
    Bytes = 2,
    /// Four bytes.
    Fixed32 = 5,
}

/// Appends the tag of a field.
#[inline]
pub fn put_tag(out: &mut Vec<u8>, field: u32, wire_type: WireType) {
    put_varint(out, u64::from(field) << 3 | wire_type as u64);
}

/// Appends a varint field: int32 and int64 sign-extended to 64 bits (`as u64`).
#[inline]
pub fn put_varint_field(out: &mut Vec<u8>, field: u32, value: u64) {
    put_tag(out, field, WireType::Varint);
    put_varint(out, value);
}

/// Appends a field of bytes: a string, bytes, a finished message or a packed list.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    put_tag(out, field, WireType::Bytes);
    put_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Appends a fixed64 or (`as u64`) sfixed64 field.
#[inline]
pub fn put_fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    put_tag(out, field, WireType::Fixed64);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a double field.
#[inline]
pub fn put_double(out: &mut Vec<u8>, field: u32, value: f64) {
    put_fixed64(out, field, value.to_bits());
}

/// Appends a fixed32 field.
#[inline]
pub fn put_fixed32(out: &mut Vec<u8>, field: u32, value: u32) {
    put_tag(out, field, WireType::Fixed32);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Where a message begun with [`begin`] stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// Offset of the first byte behind the room left for the length.
    content: usize,
    /// Bytes left for the length.
    room: usize,
    /// Fill the room instead of moving the content to the length's size.
    padded: bool,
}

/// Begins a message whose length is not known yet, for [`end`] to fill in. `room`
/// is the expected size of the length in bytes (1 below 128 bytes, 2 below 16 KiB):
/// where it is right, nothing has to be moved.
#[inline]
pub fn begin(out: &mut Vec<u8>, field: u32, room: usize) -> Open {
    put_tag(out, field, WireType::Bytes);
    leave_room(out, room, false)
}

/// Up to this depth the content of nested messages is moved to fit its length.
const MOVED_DEPTH: usize = 8;

/// Like [`begin`] for a message that stands `depth` levels deep in others like it. A
/// deep one gets a length of five bytes, whatever its value, so that nothing is
/// moved: at each level of many that would be quadratic. Readers take such a length
/// like any other.
#[inline]
pub fn begin_nested(out: &mut Vec<u8>, field: u32, depth: usize) -> Open {
    put_tag(out, field, WireType::Bytes);
    if depth > MOVED_DEPTH { leave_room(out, 5, true) } else { leave_room(out, 1, false) }
}

/// Begins a length-delimited value after a tag that stands already.
fn leave_room(out: &mut Vec<u8>, room: usize, padded: bool) -> Open {
    out.resize(out.len() + room, 0);
    Open { content: out.len(), room, padded }
}

/// Ends the innermost open message: everything in `out` since its [`begin`].
pub fn end(out: &mut Vec<u8>, open: Open) {
    let content = open.content;
    let len = out.len() - content;
    let start = content - open.room;
    let size = if open.padded { open.room } else { varint_len(len as u64) };
    if size > open.room {
        let old_end = out.len();
        out.resize(old_end + size - open.room, 0);
        out.copy_within(content..old_end, start + size);
    } else if size < open.room {
        out.copy_within(content.., start + size);
        out.truncate(start + size + len);
    }
    let mut rest = len as u64;
    for (i, byte) in out.iter_mut().skip(start).take(size).enumerate() {
        *byte = rest as u8 & 0x7f | if i + 1 < size { 0x80 } else { 0 };
        rest >>= 7;
    }
}

/// Bytes that a varint takes.
#[inline]
fn varint_len(value: u64) -> usize {
    (63 - (value | 1).leading_zeros() as usize) / 7 + 1
}

#[cfg(test)]
mod tests;
