//! Appends groups of records to the last segment.
//!
//! A group is on disk as a whole after [`Log::append`] and [`Log::sync`], or nothing
//! of it is: what a failed call left is cut off; where cutting fails too, the segment
//! is left behind and the next one's first position says that the remains do not count.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::frame::Encoder;
use super::scan::{SEGMENT_HEADER, segment_header, segment_name};
use crate::error::Error;
use crate::files::{Files, LogFile};
use crate::metrics::Metrics;
use crate::record::{Position, Record};

/// A buffer larger than this is given back after use.
const BUFFER_KEPT: usize = 4 << 20;
/// The active segment is removed at a flush that covers it if it is larger than this.
const ACTIVE_KEPT: u64 = 1 << 20;

/// A segment that is not written to any more.
#[derive(Debug, Clone)]
pub(crate) struct Sealed {
    pub(crate) path: PathBuf,
    /// Behind the position of its last record.
    pub(crate) end: u64,
    pub(crate) bytes: u64,
}

struct Active {
    path: PathBuf,
    first: u64,
    file: Box<dyn LogFile>,
    // Invariant: synced_len <= len, synced_next <= Log::next.
    len: u64,
    synced_len: u64,
    synced_next: u64,
    /// Bytes behind `len` may be on disk and must go before the next append.
    must_cut: bool,
    /// No append goes here any more: a sync failed, and what the kernel kept is not known.
    must_roll: bool,
}

/// The writing end of the log.
pub(crate) struct Log {
    dir: PathBuf,
    files: Arc<dyn Files>,
    metrics: Arc<Metrics>,
    segment_bytes: u64,
    encoder: Encoder,
    buffer: Vec<u8>,
    sealed: VecDeque<Sealed>,
    active: Option<Active>,
    next: u64,
    /// Groups whose append succeeded are gone: the sync that was to confirm them must fail.
    lost: bool,
}

impl Log {
    pub(crate) fn new(
        dir: PathBuf,
        segment_bytes: usize,
        files: Arc<dyn Files>,
        metrics: Arc<Metrics>,
        sealed: Vec<Sealed>,
        next: u64,
    ) -> Self {
        let segment_bytes = segment_bytes as u64;
        let (encoder, sealed) = (Encoder::new(), sealed.into());
        let (buffer, active, lost) = (Vec::new(), None, false);
        let log = Self { dir, files, metrics, segment_bytes, encoder, buffer, sealed, active, next, lost };
        log.show_size();
        log
    }

    /// Where the next record goes in the active segment.
    #[cfg(test)]
    pub(super) fn active_len(&self) -> usize {
        self.active.as_ref().map_or(0, |active| active.len as usize)
    }

    /// The position of the last record that was appended.
    pub(crate) fn last(&self) -> Position {
        Position(self.next.saturating_sub(1))
    }

    /// Appends all of `records` with one write. After an error nothing of them remains.
    pub(crate) fn append(&mut self, records: &[Record]) -> Result<Position, Error> {
        let started = Instant::now();
        self.buffer.clear();
        let mut position = self.next;
        for record in records {
            self.encoder.push(record, position, &mut self.buffer)?;
            position += 1;
        }
        if records.is_empty() {
            return Ok(self.last());
        }
        let appended = self.write_buffer();
        let bytes = self.buffer.len() as u64;
        if self.buffer.capacity() > BUFFER_KEPT {
            self.buffer = Vec::new();
        }
        self.note(&appended);
        appended.map_err(Error::Append)?;
        self.next = position;
        self.metrics.log_append_seconds.observe(started.elapsed().as_secs_f64());
        self.metrics.log_bytes.inc_by(bytes);
        self.metrics.log_records.inc_by(records.len() as u64);
        self.metrics.log_size_bytes.add(bytes as i64);
        Ok(self.last())
    }

    fn write_buffer(&mut self) -> io::Result<()> {
        self.prepare()?;
        let Some(active) = &mut self.active else { return Err(io::Error::other("no segment is open")) };
        if let Err(e) = active.file.append(&self.buffer) {
            // Groups appended before, not yet synced, stay: their sync decides about them.
            active.must_cut = active.file.truncate(active.len).is_err();
            return Err(e);
        }
        active.len += self.buffer.len() as u64;
        Ok(())
    }

    /// Makes everything appended so far durable. After an error nothing remains of what was not synced before.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        let started = Instant::now();
        let synced = match std::mem::take(&mut self.lost) {
            true => Err(io::Error::other("an earlier sync did not work")),
            false => self.sync_active(),
        };
        self.note(&synced);
        self.metrics.log_sync_seconds.observe(started.elapsed().as_secs_f64());
        synced.map_err(Error::Sync)
    }

    fn sync_active(&mut self) -> io::Result<()> {
        let Some(active) = &mut self.active else { return Ok(()) };
        if active.len == active.synced_len {
            return Ok(());
        }
        match active.file.sync() {
            Ok(()) => {
                active.synced_len = active.len;
                active.synced_next = self.next;
                Ok(())
            }
            Err(e) => {
                active.len = active.synced_len;
                self.next = active.synced_next;
                active.must_cut = active.file.truncate(active.len).is_err();
                active.must_roll = true;
                Err(e)
            }
        }
    }

    /// Sees to it that there is a sound segment with room.
    fn prepare(&mut self) -> io::Result<()> {
        if let Some(active) = &mut self.active {
            let grows_to = active.len + self.buffer.len() as u64;
            let full = active.len > SEGMENT_HEADER as u64 && grows_to > self.segment_bytes;
            if active.must_cut && active.file.truncate(active.len).is_ok() {
                active.must_cut = false;
            }
            if full || active.must_cut || active.must_roll {
                self.roll()?;
            }
        }
        if self.active.is_none() {
            self.create()?;
        }
        Ok(())
    }

    /// Ends the active segment. Its records are synced first.
    fn roll(&mut self) -> io::Result<()> {
        if let Err(e) = self.sync_active() {
            self.lost = true;
            return Err(e);
        }
        let Some(active) = self.active.take() else { return Ok(()) };
        if active.first < self.next {
            self.sealed.push_back(Sealed { path: active.path, end: self.next, bytes: active.len });
            return Ok(());
        }
        // Nothing in it counts, and the next segment will have its name.
        if let Err(e) = self.files.remove(&active.path).and_then(|()| self.files.sync_dir(&self.dir)) {
            self.active = Some(active);
            return Err(e);
        }
        Ok(())
    }

    fn create(&mut self) -> io::Result<()> {
        let path = self.dir.join(segment_name(self.next));
        let created = self.files.create(&path).and_then(|mut file| {
            file.append(&segment_header(self.next))?;
            self.files.sync_dir(&self.dir)?;
            Ok(file)
        });
        match created {
            Ok(file) => {
                let len = SEGMENT_HEADER as u64;
                self.active = Some(Active {
                    path,
                    first: self.next,
                    file,
                    len,
                    synced_len: len,
                    synced_next: self.next,
                    must_cut: false,
                    must_roll: false,
                });
                self.show_size();
                Ok(())
            }
            Err(e) => {
                // It holds at most a header. If it stays, the name is taken: then try again next time.
                let _ = self.files.remove(&path);
                Err(e)
            }
        }
    }

    /// Removes the segments all of whose positions are `covered` by a commit. With
    /// `all`, the active one too, however small.
    pub(crate) fn remove_covered(&mut self, covered: Position, all: bool) -> Result<(), Error> {
        if let Some(active) = &self.active {
            let done = self.next <= covered.0 + 1 && active.len == active.synced_len;
            if done && active.first < self.next && (all || active.len > ACTIVE_KEPT) {
                self.roll().map_err(Error::io("close a segment in", &self.dir))?;
            }
        }
        let mut removed = false;
        while let Some(segment) = self.sealed.front().filter(|s| s.end <= covered.0.saturating_add(1)) {
            self.files.remove(&segment.path).map_err(Error::io("remove", &segment.path))?;
            self.sealed.pop_front();
            removed = true;
        }
        if removed {
            self.files.sync_dir(&self.dir).map_err(Error::io("sync", &self.dir))?;
            self.show_size();
        }
        Ok(())
    }

    fn show_size(&self) {
        let sealed: u64 = self.sealed.iter().map(|s| s.bytes).sum();
        let active = self.active.as_ref().map_or(0, |a| a.len);
        self.metrics.log_size_bytes.set((sealed + active) as i64);
        self.metrics.log_segments.set(self.sealed.len() as i64 + i64::from(self.active.is_some()));
    }

    fn note(&self, outcome: &io::Result<()>) {
        match outcome {
            Ok(()) => self.metrics.disk_full.set(0),
            Err(e) => {
                self.metrics.log_failures.inc();
                let full = matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
                self.metrics.disk_full.set(full.into());
            }
        }
    }
}
