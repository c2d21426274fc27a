//! Reads a segment, whatever happened to it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::frame::{Frame, MAGIC};
use crate::error::Error;

pub(crate) const SEGMENT_MAGIC: [u8; 8] = *b"HOPLOG\r\n";
pub(crate) const SEGMENT_VERSION: u32 = 1;
/// Magic 8, version 4, first position 8, crc32c 4 of all before.
pub(crate) const SEGMENT_HEADER: usize = 24;

/// The header of a segment.
pub(crate) fn segment_header(first: u64) -> [u8; SEGMENT_HEADER] {
    let mut header = [0; SEGMENT_HEADER];
    let content = SEGMENT_MAGIC.into_iter().chain(SEGMENT_VERSION.to_le_bytes()).chain(first.to_le_bytes());
    let content: Vec<u8> = content.collect();
    let crc = crc32c::crc32c(&content).to_le_bytes();
    header.iter_mut().zip(content.into_iter().chain(crc)).for_each(|(to, from)| *to = from);
    header
}

/// The file name of the segment whose first record has position `first`.
pub(crate) fn segment_name(first: u64) -> String {
    format!("{first:020}.log")
}

/// A segment file and the positions that count in it. Records with later positions
/// were refused: a write whose remains could not be cut.
#[derive(Debug, Clone)]
pub(crate) struct SegmentFile {
    pub(crate) path: PathBuf,
    pub(crate) first: u64,
    pub(crate) limit: u64,
}

/// The segments in `dir`, oldest first.
pub(crate) fn segments(dir: &Path) -> Result<Vec<SegmentFile>, Error> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("list", dir)(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io("list", dir))?.path();
        let stem = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".log"));
        if let Some(first) = stem.filter(|s| s.len() == 20).and_then(|s| s.parse().ok()) {
            found.push(SegmentFile { path, first, limit: u64::MAX });
        }
    }
    found.sort_by_key(|s| s.first);
    let firsts: Vec<u64> = found.iter().skip(1).map(|s| s.first).collect();
    found.iter_mut().zip(firsts).for_each(|(segment, next)| segment.limit = next);
    Ok(found)
}

/// What stands at some place of a segment.
#[derive(Debug)]
pub(crate) enum Found {
    /// An intact record.
    Record(Frame),
    /// Bytes that are no intact record, with records behind them or of a whole record's length.
    Damaged(Range<usize>),
    /// Bytes up to the end, or to the zeros there, that are no whole record: a write that was cut short.
    Torn(Range<usize>),
}

/// A record that ends with so many zeros was not written to its end: what is written ends otherwise,
/// but for the few zeros of a number.
const ZEROS_AT_END_MAX: usize = 16;

/// Walks over a segment. Never fails: what is not a record is skipped, and so are the zeros
/// at its end, which were written ahead of records that never came.
pub(crate) struct Scanner {
    bytes: Bytes,
    /// Behind the last byte that is not zero.
    written: usize,
    offset: usize,
    positions: Range<u64>,
}

impl Scanner {
    /// A scanner over the segment's bytes. A newer version is refused.
    pub(crate) fn new(segment: &SegmentFile, bytes: Bytes) -> Result<Self, Error> {
        let header = segment_header(segment.first);
        let start = match bytes.first_chunk::<SEGMENT_HEADER>() {
            Some(found) if *found == header => SEGMENT_HEADER,
            Some(found) => {
                refuse_newer(segment, found)?;
                0
            }
            None => 0,
        };
        let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        // A few may be a record's own.
        let written = if bytes.len() - written <= ZEROS_AT_END_MAX { bytes.len() } else { written };
        Ok(Self { bytes, written, offset: start, positions: segment.first..segment.limit })
    }

    /// Bytes without the zeros at the end.
    pub(crate) fn written(&self) -> usize {
        self.written
    }

    fn frame_at(&self, offset: usize) -> Option<Frame> {
        Frame::read(&self.bytes, offset, &self.positions)
    }

    /// The next place behind `from` where an intact record begins.
    fn resync(&self, from: usize) -> Option<usize> {
        let rest = |offset: usize| self.bytes.get(offset..);
        // The length may be right although something behind it is not: then records
        // that lie inside a damaged body are not taken for ours.
        if let Some(next) = rest(from).and_then(Frame::size).map(|size| from + size)
            && self.frame_at(next).is_some()
        {
            return Some(next);
        }
        let mut at = from + 1;
        while let Some(found) = rest(at).and_then(|bytes| find(bytes, &MAGIC)) {
            if self.frame_at(at + found).is_some() {
                return Some(at + found);
            }
            at += found + 1;
        }
        None
    }
}

/// A header with a right checksum and a version that we do not know.
fn refuse_newer(segment: &SegmentFile, header: &[u8; SEGMENT_HEADER]) -> Result<(), Error> {
    let Some((content, crc)) = header.split_last_chunk::<4>() else { return Ok(()) };
    let version = content.strip_prefix(&SEGMENT_MAGIC).and_then(|rest| rest.first_chunk::<4>());
    let intact = crc32c::crc32c(content) == u32::from_le_bytes(*crc);
    match version.map(|v| u32::from_le_bytes(*v)) {
        Some(found) if intact && found > SEGMENT_VERSION => {
            Err(Error::Newer { what: segment.path.display().to_string(), found, known: SEGMENT_VERSION })
        }
        _ => Ok(()),
    }
}

fn find(bytes: &[u8], pattern: &[u8; 4]) -> Option<usize> {
    let [first, ..] = *pattern;
    let mut from = 0;
    loop {
        let at = from + bytes.get(from..)?.iter().position(|b| *b == first)?;
        if bytes.get(at..)?.starts_with(pattern) {
            return Some(at);
        }
        from = at + 1;
    }
}

impl Iterator for Scanner {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        let start = self.offset;
        if start >= self.bytes.len() {
            return None;
        }
        if let Some(frame) = self.frame_at(start) {
            self.offset = start + frame.size;
            self.positions.start = frame.position.0 + 1;
            return Some(Found::Record(frame));
        }
        if start >= self.written {
            self.offset = self.bytes.len();
            return None;
        }
        if let Some(next) = self.resync(start) {
            self.offset = next;
            return Some(Found::Damaged(start..next));
        }
        let size = self.bytes.get(start..).and_then(Frame::size);
        let end = self.bytes.len().min(self.written + ZEROS_AT_END_MAX);
        let whole = size.map(|size| start + size).filter(|next| *next <= end);
        self.offset = whole.unwrap_or(self.bytes.len());
        Some(match whole {
            Some(next) => Found::Damaged(start..next),
            None => Found::Torn(start..self.written),
        })
    }
}
