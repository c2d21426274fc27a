//! Recognises retried requests.
//!
//! Keeps the hashes of the requests of the last minutes in slices of time, so that
//! forgetting is dropping a slice. Bounded: when there are too many, the oldest slice
//! goes early, which is counted and logged. Slices are written beside the log before
//! its segments go, so that a restart forgets nothing.
//!
//! Never decides about requests still in flight: that is the committer's part.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hopline_model::Signal;
use parking_lot::Mutex;
use twox_hash::XxHash3_128;

use crate::error::Error;
use crate::files::Files;
use crate::metrics::Metrics;
use crate::record::Record;

const MAGIC: &[u8; 8] = b"HOPRECNT";
const VERSION: u32 = 1;
const HEADER: usize = 8 + 4 + 4 + 8 + 8;
/// Slices of the window.
const SLICES: i64 = 10;

/// What a retry has in common with the first attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(u128);

impl Key {
    /// The key of a request with this body hash.
    pub fn new(tenant: &str, signal: Signal, hash: u128) -> Self {
        let mut hasher = XxHash3_128::new();
        hasher.write(&hash.to_le_bytes());
        hasher.write(&[signal as u8]);
        hasher.write(tenant.as_bytes());
        Self(hasher.finish_128())
    }

    /// The key of a record.
    pub fn of(record: &Record) -> Self {
        Self::new(&record.tenant, record.signal, record.hash)
    }
}

/// The requests of the last minutes.
pub struct Recent {
    window_ns: i64,
    entries_max: usize,
    metrics: Arc<Metrics>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    // Invariant: oldest first; `entries` is the sum of their sizes.
    slices: VecDeque<Slice>,
    entries: usize,
    // The latest time seen: a clock that goes backwards must not make us forget.
    latest: i64,
}

struct Slice {
    start: i64,
    last: i64,
    keys: HashSet<u128, ahash::RandomState>,
    saved: bool,
}

impl Recent {
    pub(crate) fn new(window_ns: i64, entries_max: usize, metrics: Arc<Metrics>) -> Self {
        Self { window_ns: window_ns.max(SLICES), entries_max, metrics, inner: Mutex::default() }
    }

    /// Whether a request with `key` was stored within the window before `now`.
    pub fn check(&self, key: &Key, now: i64) -> bool {
        let mut inner = self.inner.lock();
        inner.forget(now, self.window_ns);
        inner.slices.iter().rev().any(|slice| slice.keys.contains(&key.0))
    }

    /// Remembers that a request with `key` was stored at `now`.
    pub fn insert(&self, key: Key, now: i64) {
        let mut inner = self.inner.lock();
        inner.forget(now, self.window_ns);
        let now = inner.latest;
        let slice_max = (self.entries_max / SLICES as usize).max(1);
        let slice_ns = self.window_ns / SLICES;
        let full = |s: &Slice| s.keys.len() >= slice_max || now.saturating_sub(s.start) >= slice_ns;
        if inner.slices.back().is_none_or(full) {
            // Times of slices name their files, so no two may be equal.
            let start = inner.slices.back().map_or(now, |s| now.max(s.start.saturating_add(1)));
            inner.slices.push_back(Slice { start, last: now, keys: HashSet::default(), saved: true });
        }
        if let Some(slice) = inner.slices.back_mut() {
            slice.last = slice.last.max(now);
            if slice.keys.insert(key.0) {
                slice.saved = false;
                inner.entries += 1;
            }
        }
        self.make_room(&mut inner);
    }

    /// How many requests are remembered.
    pub fn len(&self) -> usize {
        self.inner.lock().entries
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn make_room(&self, inner: &mut Inner) {
        while inner.entries > self.entries_max && inner.slices.len() > 1 {
            if let Some(slice) = inner.slices.pop_front() {
                inner.entries -= slice.keys.len();
                self.metrics.recent_evicted.inc_by(slice.keys.len() as u64);
                tracing::warn!(
                    entries = slice.keys.len(),
                    "forgot requests early: retries of them would be stored twice (storage.retry_entries_max)"
                );
            }
        }
    }

    /// Writes the slices that changed into `dir`, and deletes the files of those that are forgotten.
    pub(crate) fn save(&self, dir: &Path, files: &dyn Files) -> Result<(), Error> {
        let (unsaved, live) = {
            let inner = self.inner.lock();
            let unsaved: Vec<_> = inner.slices.iter().filter(|s| !s.saved).map(|s| (s.start, encode(s))).collect();
            (unsaved, inner.slices.iter().map(|s| slice_path(dir, s.start)).collect::<Vec<_>>())
        };
        for (start, bytes) in unsaved {
            let path = slice_path(dir, start);
            files.write_atomic(&path, &bytes).map_err(Error::io("write", &path))?;
            let mut inner = self.inner.lock();
            let written = (bytes.len().saturating_sub(HEADER + 4)) / 16;
            if let Some(slice) = inner.slices.iter_mut().find(|s| s.start == start) {
                slice.saved = slice.keys.len() == written;
            }
        }
        for path in slice_files(dir)? {
            if !live.contains(&path) {
                files.remove(&path).map_err(Error::io("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Reads the slices in `dir`. A damaged one is skipped: it can only cause a doubled retry.
    pub(crate) fn load(&self, dir: &Path) -> Result<(), Error> {
        let mut slices = Vec::new();
        for path in slice_files(dir)? {
            let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
            match decode(&bytes) {
                Some(slice) => slices.push(slice),
                None => {
                    tracing::warn!(path = %path.display(), "the list of recent requests is damaged and was skipped")
                }
            }
        }
        slices.sort_by_key(|s| s.start);
        let mut inner = self.inner.lock();
        inner.entries += slices.iter().map(|s| s.keys.len()).sum::<usize>();
        inner.slices.extend(slices);
        self.make_room(&mut inner);
        Ok(())
    }
}

impl Inner {
    fn forget(&mut self, now: i64, window_ns: i64) {
        self.latest = self.latest.max(now);
        let horizon = self.latest.saturating_sub(window_ns);
        while let Some(slice) = self.slices.pop_front_if(|s| s.last < horizon) {
            self.entries -= slice.keys.len();
        }
    }
}

fn slice_path(dir: &Path, start: i64) -> PathBuf {
    dir.join(format!("recent-{start:020}.bin"))
}

fn slice_files(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("list", dir)(e)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("list", dir))?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|n| n.starts_with("recent-") && n.ends_with(".bin")) {
            paths.push(entry.path());
        }
    }
    Ok(paths)
}

fn encode(slice: &Slice) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + 8 + slice.keys.len() * 16 + 4);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(slice.keys.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&slice.start.to_le_bytes());
    bytes.extend_from_slice(&slice.last.to_le_bytes());
    slice.keys.iter().for_each(|key| bytes.extend_from_slice(&key.to_le_bytes()));
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Slice> {
    let (content, crc) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(content) != u32::from_le_bytes(*crc) {
        return None;
    }
    let rest = content.strip_prefix(MAGIC.as_slice())?;
    let (version, rest) = rest.split_first_chunk::<4>()?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let (start, rest) = rest.split_first_chunk::<8>()?;
    let (last, keys) = rest.split_first_chunk::<8>()?;
    let (keys, remainder) = keys.as_chunks::<16>();
    let count_is_right = keys.len() == u32::from_le_bytes(*count) as usize;
    if u32::from_le_bytes(*version) != VERSION || !count_is_right || !remainder.is_empty() {
        return None;
    }
    let (start, last) = (i64::from_le_bytes(*start), i64::from_le_bytes(*last));
    let keys = keys.iter().map(|key| u128::from_le_bytes(*key)).collect();
    Some(Slice { start, last, keys, saved: true })
}
