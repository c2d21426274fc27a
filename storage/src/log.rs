//! The durable log: segments of records, written in groups, read back after a crash.
//!
//! - `frame`: one record as bytes;
//! - `scan`: reading a segment, whatever happened to it;
//! - `write`: appending;
//! - here: opening the log of a data folder, and replaying it.
//!
//! A damaged place in the middle of a segment is skipped, copied to `log/damaged` and
//! reported; an unfinished write at the end is cut and reported. Neither is fatal.

mod frame;
mod scan;
#[cfg(test)]
mod tests;
mod write;

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::error::Error;
use crate::files::Files;
use crate::recent::{Key, Recent};
use crate::record::{Position, Record};

pub(crate) use scan::{Found, Scanner, SegmentFile, segment_name, segments};
pub(crate) use write::{Log, Sealed};

use scan::SEGMENT_HEADER;

/// One damaged place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The segment.
    pub segment: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// Records behind the last commit that are in no segment, although others behind them are:
/// segments were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The first of them.
    pub first: u64,
    /// The last of them.
    pub last: u64,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last - self.first {
            0 => write!(f, "record {}", self.first),
            _ => write!(f, "records {} to {}", self.first, self.last),
        }
    }
}

/// Finds gaps between segments, which are told of in their order.
pub(crate) struct Gaps {
    covered: Position,
    /// Where the next segment should begin, if that is known.
    expected: Option<u64>,
}

impl Gaps {
    pub(crate) fn new(covered: Position) -> Self {
        Self { covered, expected: None }
    }

    /// What is missing before a segment.
    pub(crate) fn before(&self, segment: &SegmentFile) -> Option<Gap> {
        // Covered segments may go, and after a lost end the log goes on behind what is covered.
        let first = self.expected?.max(self.covered.0 + 1);
        (first < segment.first).then(|| Gap { first, last: segment.first - 1 })
    }

    /// Takes note of a segment: its last position, 0 if it has no record. If it ends in damage,
    /// that is what is missing, and reported as such.
    pub(crate) fn after(&mut self, segment: &SegmentFile, last: u64, ends_whole: bool) {
        self.expected = ends_whole.then(|| segment.first.max(last + 1));
    }

    /// The next segment may begin anywhere.
    pub(crate) fn forget(&mut self) {
        self.expected = None;
    }
}

/// What was found when the log was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReplayReport {
    /// Records that are in no file yet and will be replayed.
    pub records: u64,
    /// Bytes of an unfinished write that were cut from the end.
    pub torn_bytes: u64,
    /// Damaged places, copied to `log/damaged`.
    pub damaged: Vec<Damage>,
    /// What is missing between segments.
    pub gaps: Vec<Gap>,
}

/// The log of a data folder as it was found.
pub(crate) struct Opened {
    pub(crate) sealed: Vec<Sealed>,
    /// The first position of the first segment, if there is one.
    pub(crate) first: Option<u64>,
    pub(crate) next: u64,
    pub(crate) replay: Replay,
}

/// Reads all segments: cuts torn tails, sets damaged places aside (both only with
/// `files`, that is when writing is allowed), and tells `recent` what came lately.
pub(crate) fn open(dir: &Path, covered: Position, recent: &Recent, files: Option<&dyn Files>) -> Result<Opened, Error> {
    let mut report = ReplayReport::default();
    let (mut sealed, mut pending) = (Vec::new(), VecDeque::new());
    let mut next = covered.0 + 1;
    let found = segments(dir)?;
    let mut gaps = Gaps::new(covered);
    for segment in &found {
        if let Some(gap) = gaps.before(segment) {
            let lost = dir.join(segment_name(gap.first));
            let segment = lost.display();
            tracing::error!(%gap, %segment, "a segment of the log is lost: its records, which are in no file, are not replayed");
            report.gaps.push(gap);
        }
        let is_last = found.last().is_some_and(|last| last.first == segment.first);
        let read = read_segment(dir, segment, covered, is_last, recent, files, &mut report)?;
        gaps.after(segment, read.last, read.ends_whole);
        if read.last == 0 && read.bytes <= SEGMENT_HEADER as u64 {
            if let Some(files) = files {
                files.remove(&segment.path).map_err(Error::io("remove", &segment.path))?;
                files.sync_dir(dir).map_err(Error::io("sync", dir))?;
            }
            continue;
        }
        // Never below the segment's own position, so that no two segments get one name.
        next = next.max(read.last + 1).max(segment.first + 1);
        if read.last > covered.0 {
            pending.push_back(segment.clone());
        }
        // Up to where the next one begins, also if its end is damaged: otherwise it could go
        // before that is covered, and the log seem to have lost its beginning.
        let end = if is_last { next } else { segment.limit };
        sealed.push(Sealed { path: segment.path.clone(), end, bytes: read.bytes });
    }
    let replay = Replay { report, covered, segments: pending, scanner: None };
    Ok(Opened { sealed, first: found.first().map(|s| s.first), next, replay })
}

struct ReadSegment {
    /// Its last position; 0 if it has no record.
    last: u64,
    bytes: u64,
    /// No damage stands behind its last record.
    ends_whole: bool,
}

fn read_segment(
    dir: &Path,
    segment: &SegmentFile,
    covered: Position,
    is_last: bool,
    recent: &Recent,
    files: Option<&dyn Files>,
    report: &mut ReplayReport,
) -> Result<ReadSegment, Error> {
    let content = Bytes::from(std::fs::read(&segment.path).map_err(Error::io("read", &segment.path))?);
    let scanner = Scanner::new(segment, content.clone())?;
    let mut read = ReadSegment { last: 0, bytes: scanner.written() as u64, ends_whole: true };
    for found in scanner {
        read.ends_whole = matches!(found, Found::Record(_));
        match found {
            Found::Record(frame) => {
                read.last = frame.position.0;
                report.records += u64::from(frame.position > covered);
                let key = Key::of(frame.stored());
                let received_at = frame.stored().received_at;
                if !recent.check(&key, received_at) {
                    recent.insert(key, received_at);
                }
            }
            Found::Torn(place) if is_last => {
                report.torn_bytes += place.len() as u64;
                read.bytes = place.start as u64;
                if let Some(files) = files {
                    files.truncate(&segment.path, read.bytes).map_err(Error::io("cut", &segment.path))?;
                }
                tracing::warn!(segment = %segment.path.display(), bytes = place.len(), "cut an unfinished write");
            }
            Found::Damaged(place) | Found::Torn(place) => {
                if let (Some(files), Some(bytes)) = (files, content.get(place.clone())) {
                    set_aside(dir, segment, place.start, bytes, files)?;
                }
                let (offset, bytes) = (place.start as u64, place.len() as u64);
                tracing::error!(segment = %segment.path.display(), offset, bytes, "the log is damaged here");
                report.damaged.push(Damage { segment: segment.path.clone(), offset, bytes });
            }
        }
    }
    Ok(read)
}

/// Copies damaged bytes to a file of their own, once.
fn set_aside(dir: &Path, segment: &SegmentFile, offset: usize, bytes: &[u8], files: &dyn Files) -> Result<(), Error> {
    let damaged = dir.join("damaged");
    std::fs::create_dir_all(&damaged).map_err(Error::io("create", &damaged))?;
    let path = damaged.join(format!("{:020}-{offset}.bin", segment.first));
    if !path.exists() {
        files.write_atomic(&path, bytes).map_err(Error::io("write", &path))?;
    }
    Ok(())
}

/// The records behind the last commit, oldest first.
///
/// Segments are read one at a time; an error is one of reading a file, never of a
/// damaged record: those were skipped and reported.
pub struct Replay {
    report: ReplayReport,
    covered: Position,
    segments: VecDeque<SegmentFile>,
    scanner: Option<Scanner>,
}

impl Replay {
    /// What was found when the log was opened.
    pub fn report(&self) -> &ReplayReport {
        &self.report
    }

    fn next_record(&mut self) -> Option<(Position, Record)> {
        let covered = self.covered;
        self.scanner.as_mut()?.find_map(|found| match found {
            Found::Record(frame) if frame.position > covered => {
                let position = frame.position;
                let record = frame.into_record();
                if record.is_none() {
                    tracing::error!(position = position.0, "the body of a record in the log cannot be decompressed");
                }
                Some((position, record?))
            }
            _ => None,
        })
    }

    fn open_segment(&mut self, segment: &SegmentFile) -> Result<(), Error> {
        // The one before is dropped first: it may take tens of megabytes.
        self.scanner = None;
        let content = std::fs::read(&segment.path).map_err(Error::io("read", &segment.path))?;
        self.scanner = Some(Scanner::new(segment, Bytes::from(content))?);
        Ok(())
    }
}

impl Iterator for Replay {
    type Item = Result<(Position, Record), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.next_record() {
                return Some(Ok(record));
            }
            self.scanner = None;
            let segment = self.segments.pop_front()?;
            if let Err(e) = self.open_segment(&segment) {
                return Some(Err(e));
            }
        }
    }
}
