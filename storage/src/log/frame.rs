//! One record as bytes, and back.
//!
//! ```text
//! magic    4  "\xF1HLr"
//! length   4  of what follows the checksum
//! crc32c   4  of the length and of what follows the checksum
//! position 8, received_at 8, hash 16, signal 1, encoding 1, format 1, flags 1
//! tenant length 2, tenant
//! raw length 4 (only with FLAG_COMPRESSED), body
//! ```
//! All numbers are little-endian.

use std::sync::Arc;

use bytes::Bytes;
use hopline_model::Signal;

use crate::error::Error;
use crate::record::{Encoding, Format, Position, Record};

pub(crate) const MAGIC: [u8; 4] = [0xF1, b'H', b'L', b'r'];
/// Magic, length, checksum.
pub(crate) const PREFIX: usize = 12;
const FIXED: usize = 8 + 8 + 16 + 4 + 2;
/// The largest record, its header included.
pub(crate) const RECORD_MAX: usize = 256 << 20;
/// The body was compressed by the log, with zstd; its encoding is identity.
const FLAG_COMPRESSED: u8 = 1;
/// Smaller bodies are not compressed.
const COMPRESS_MIN: usize = 256;

/// Appends records to a buffer.
pub(crate) struct Encoder {
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

impl Encoder {
    pub(crate) fn new() -> Self {
        // Without a compressor bodies are kept as they come.
        Self { zstd: zstd::bulk::Compressor::new(1).ok() }
    }

    pub(crate) fn push(&mut self, record: &Record, position: u64, out: &mut Vec<u8>) -> Result<(), Error> {
        let tenant_length = u16::try_from(record.tenant.len());
        let bytes = FIXED + record.tenant.len() + 4 + record.body.len();
        let (Ok(tenant_length), true) = (tenant_length, bytes <= RECORD_MAX) else {
            return Err(Error::RecordTooLarge { bytes, max: RECORD_MAX });
        };
        let compressed = self.compress(record);
        let start = out.len();
        out.extend_from_slice(&[0; PREFIX]);
        out.extend_from_slice(&position.to_le_bytes());
        out.extend_from_slice(&record.received_at.to_le_bytes());
        out.extend_from_slice(&record.hash.to_le_bytes());
        let flags = if compressed.is_some() { FLAG_COMPRESSED } else { 0 };
        out.extend_from_slice(&[record.signal as u8, record.encoding as u8, record.format as u8, flags]);
        out.extend_from_slice(&tenant_length.to_le_bytes());
        out.extend_from_slice(record.tenant.as_bytes());
        match compressed {
            Some(body) => {
                out.extend_from_slice(&(record.body.len() as u32).to_le_bytes());
                out.extend_from_slice(&body);
            }
            None => out.extend_from_slice(&record.body),
        }
        let length = ((out.len() - start - PREFIX) as u32).to_le_bytes();
        if let Some((prefix, content)) = out.get_mut(start..).and_then(|s| s.split_at_mut_checked(PREFIX)) {
            let crc = checksum(length, content).to_le_bytes();
            prefix.iter_mut().zip([MAGIC, length, crc].as_flattened()).for_each(|(to, from)| *to = *from);
        }
        Ok(())
    }

    fn compress(&mut self, record: &Record) -> Option<Vec<u8>> {
        if record.encoding != Encoding::Identity || record.body.len() < COMPRESS_MIN {
            return None;
        }
        let compressed = self.zstd.as_mut()?.compress(&record.body).ok()?;
        (compressed.len() + 4 < record.body.len()).then_some(compressed)
    }
}

fn checksum(length: [u8; 4], content: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length), content)
}

/// A record as it stands in a segment.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) position: Position,
    /// Bytes of the whole frame.
    pub(crate) size: usize,
    compressed: bool,
    record: Record,
}

impl Frame {
    /// The size of the frame that begins with `bytes`, by its own length field, if that is plausible.
    pub(crate) fn size(bytes: &[u8]) -> Option<usize> {
        let rest = bytes.strip_prefix(&MAGIC)?;
        let length = u32::from_le_bytes(*rest.first_chunk()?) as usize;
        (FIXED..=RECORD_MAX).contains(&length).then_some(PREFIX + length)
    }

    /// The frame at `offset`, if there is an intact one with a position in `positions`.
    pub(crate) fn read(segment: &Bytes, offset: usize, positions: &std::ops::Range<u64>) -> Option<Frame> {
        let bytes = segment.get(offset..)?;
        let size = Frame::size(bytes)?;
        let (prefix, rest) = bytes.get(..size)?.split_first_chunk::<PREFIX>()?;
        let content_start = offset + PREFIX;
        let (position, rest2) = rest.split_first_chunk::<8>()?;
        let position = u64::from_le_bytes(*position);
        if !positions.contains(&position) {
            return None;
        }
        let [_, _, _, _, l0, l1, l2, l3, c0, c1, c2, c3] = *prefix;
        if checksum([l0, l1, l2, l3], rest) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return None;
        }
        let (received_at, r) = rest2.split_first_chunk::<8>()?;
        let (hash, r) = r.split_first_chunk::<16>()?;
        let (&[signal, encoding, format, flags], r) = r.split_first_chunk::<4>()?;
        let (tenant_length, r) = r.split_first_chunk::<2>()?;
        let tenant_length = u16::from_le_bytes(*tenant_length) as usize;
        let (tenant, _) = r.split_at_checked(tenant_length)?;
        let body = segment.slice(content_start + FIXED + tenant_length..offset + size);
        let record = Record {
            tenant: Arc::from(std::str::from_utf8(tenant).ok()?),
            signal: Signal::from_code(signal)?,
            encoding: Encoding::from_code(encoding)?,
            format: Format::from_code(format)?,
            received_at: i64::from_le_bytes(*received_at),
            hash: u128::from_le_bytes(*hash),
            body,
        };
        Some(Frame { position: Position(position), size, compressed: flags & FLAG_COMPRESSED != 0, record })
    }

    /// The record with its body still as the log keeps it.
    pub(crate) fn stored(&self) -> &Record {
        &self.record
    }

    /// The record as it was appended. Nothing if its body cannot be decompressed.
    pub(crate) fn into_record(self) -> Option<Record> {
        let mut record = self.record;
        if self.compressed {
            let (raw_length, body) = record.body.split_first_chunk::<4>()?;
            let raw_length = u32::from_le_bytes(*raw_length) as usize;
            if raw_length > RECORD_MAX {
                return None;
            }
            let raw = zstd::bulk::decompress(body, raw_length).ok()?;
            if raw.len() != raw_length {
                return None;
            }
            record.body = Bytes::from(raw);
        }
        Some(record)
    }
}
