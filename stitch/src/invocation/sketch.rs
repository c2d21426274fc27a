//! Quantiles of durations in little room: a DDSketch (Masson, Rim, Lee: DDSketch, VLDB
//! 2019) with sparse buckets.
//!
//! A quantile is within [`RELATIVE_ERROR`] of the value of that rank. Merging is exact:
//! buckets are counts, so that any order and grouping of merges gives the same sketch, and
//! the same bytes.
//!
//! The buckets' bounds are those of the crate `sketches-ddsketch`. Its own store is not
//! used: it has at least 128 counters of 8 bytes, cannot be read or written but by serde's
//! derived form, and depends on the order of merges once it is full. A minute of one
//! function has a few dozen buckets at most.
//!
//! As bytes, all numbers as LEB128 (7 bits a byte, the lowest first):
//!
//! | field | |
//! |---|---|
//! | version | one byte, 1 |
//! | zeros | values that are 0 |
//! | sum, min, max | of all values |
//! | buckets | how many |
//! | each bucket | its key less that of the one before (the first: its key), its count less 1 |

use std::sync::LazyLock;

use sketches_ddsketch::Config;

/// How far a quantile may be from the true one, as a share of it.
pub const RELATIVE_ERROR: f64 = 0.01;

const VERSION: u8 = 1;

/// So many buckets are added to others in place: each that is new moves those behind it.
const FEW_BUCKETS: usize = 32;

/// The bucket of `u64::MAX`.
const KEY_MAX: u16 = 2_219;

static BUCKETS: LazyLock<Config> = LazyLock::new(|| Config::new(RELATIVE_ERROR, 2_048, 1.0));

/// Why bytes are not a sketch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SketchError {
    /// It was written by another version.
    #[error("a sketch of version {0} cannot be read")]
    Version(u8),
    /// They end too early.
    #[error("the sketch ends too early")]
    Short,
    /// They say what cannot be.
    #[error("the sketch is damaged: {0}")]
    Damaged(&'static str),
}

/// A sketch of whole numbers, such as nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sketch {
    zeros: u64,
    sum: u64,
    min: u64,
    max: u64,
    // Invariant: keys rise, no count is 0.
    buckets: Vec<(u16, u64)>,
}

impl Sketch {
    /// An empty one.
    pub fn new() -> Sketch {
        Sketch::default()
    }

    /// Adds a value.
    pub fn add(&mut self, value: u64) {
        let is_first = self.is_empty();
        self.min = if is_first { value } else { self.min.min(value) };
        self.max = self.max.max(value);
        self.sum = self.sum.saturating_add(value);
        if value == 0 {
            self.zeros = self.zeros.saturating_add(1);
            return;
        }
        let key = key(value);
        match self.buckets.binary_search_by_key(&key, |(k, _)| *k) {
            Ok(at) => {
                if let Some((_, count)) = self.buckets.get_mut(at) {
                    *count = count.saturating_add(1);
                }
            }
            Err(at) => self.buckets.insert(at, (key, 1)),
        }
    }

    /// Adds all that another one has.
    pub fn merge(&mut self, other: &Sketch) {
        if other.is_empty() {
            return;
        }
        self.min = if self.is_empty() { other.min } else { self.min.min(other.min) };
        self.max = self.max.max(other.max);
        self.sum = self.sum.saturating_add(other.sum);
        self.zeros = self.zeros.saturating_add(other.zeros);
        if self.buckets.is_empty() {
            self.buckets.clone_from(&other.buckets);
        } else if other.buckets.len() <= FEW_BUCKETS {
            self.merge_few(&other.buckets);
        } else if !self.merge_known(&other.buckets) {
            self.buckets = merged(&self.buckets, &other.buckets);
        }
    }

    /// Adds buckets in place, if all of them are there already: of large sketches of one function they mostly are.
    fn merge_known(&mut self, all: &[(u16, u64)]) -> bool {
        let mut ours = self.buckets.iter();
        if !all.iter().all(|(key, _)| ours.any(|(k, _)| k == key)) {
            return false;
        }
        let mut ours = self.buckets.iter_mut();
        for (key, more) in all {
            if let Some((_, count)) = ours.find(|(k, _)| k == key) {
                *count = count.saturating_add(*more);
            }
        }
        true
    }

    /// Adds buckets in place: mostly a few that are there already.
    fn merge_few(&mut self, few: &[(u16, u64)]) {
        let mut at = 0;
        for (key, more) in few {
            at += self.buckets.get(at..).unwrap_or_default().partition_point(|(k, _)| k < key);
            match self.buckets.get_mut(at) {
                Some((k, count)) if k == key => *count = count.saturating_add(*more),
                _ => self.buckets.insert(at, (*key, *more)),
            }
        }
    }

    /// How many values it has.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(self.zeros, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// How much memory it takes beside itself.
    pub(crate) fn bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<(u16, u64)>()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.zeros == 0 && self.buckets.is_empty()
    }

    /// The sum of all values, exactly.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The least value, exactly.
    pub fn min(&self) -> Option<u64> {
        (!self.is_empty()).then_some(self.min)
    }

    /// The greatest value, exactly.
    pub fn max(&self) -> Option<u64> {
        (!self.is_empty()).then_some(self.max)
    }

    /// The value below which the share `q` of all values is: that of the rank
    /// `q × (count − 1)`, rounded down. None without values, or if `q` is not in 0 to 1.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        if self.is_empty() || !(0.0..=1.0).contains(&q) {
            return None;
        }
        let rank = (q * (self.count() - 1) as f64) as u64;
        // The ends are known exactly.
        if rank == 0 {
            return Some(self.min as f64);
        }
        if rank >= self.count() - 1 {
            return Some(self.max as f64);
        }
        let mut seen = self.zeros;
        if rank < seen {
            return Some(0.0);
        }
        for (key, count) in &self.buckets {
            seen = seen.saturating_add(*count);
            if rank < seen {
                return Some(BUCKETS.value(i32::from(*key)).clamp(self.min as f64, self.max as f64));
            }
        }
        Some(self.max as f64)
    }

    /// The sketch as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + self.buckets.len() * 3);
        out.push(VERSION);
        for number in [self.zeros, self.sum, self.min, self.max, self.buckets.len() as u64] {
            put(&mut out, number);
        }
        let mut before = 0;
        for (key, count) in &self.buckets {
            put(&mut out, u64::from(key.saturating_sub(before)));
            put(&mut out, count.saturating_sub(1));
            before = *key;
        }
        out
    }

    /// The sketch of these bytes.
    pub fn decode(bytes: &[u8]) -> Result<Sketch, SketchError> {
        let mut sketch = Sketch::new();
        sketch.read(bytes)?;
        Ok(sketch)
    }

    /// Becomes the sketch of these bytes, in the memory that it has. What it is after an error is not said.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<(), SketchError> {
        let Some((version, mut rest)) = bytes.split_first() else { return Err(SketchError::Short) };
        if *version != VERSION {
            return Err(SketchError::Version(*version));
        }
        let zeros = take(&mut rest)?;
        let (sum, min, max) = (take(&mut rest)?, take(&mut rest)?, take(&mut rest)?);
        let len = take(&mut rest)?;
        if len > u64::from(KEY_MAX) + 1 {
            return Err(SketchError::Damaged("it has more buckets than there are"));
        }
        self.buckets.clear();
        self.buckets.reserve(len as usize);
        let (mut key, mut count) = (0, zeros);
        for index in 0..len {
            let step = take(&mut rest)?;
            let next = step.checked_add(key).filter(|k| *k <= u64::from(KEY_MAX) && (index == 0 || step > 0));
            key = next.ok_or(SketchError::Damaged("its buckets are not in order"))?;
            let own = take(&mut rest)?.checked_add(1);
            let all = own.and_then(|own| count.checked_add(own));
            count = all.ok_or(SketchError::Damaged("it has too many values"))?;
            self.buckets.push((key as u16, own.unwrap_or(1)));
        }
        if !rest.is_empty() {
            return Err(SketchError::Damaged("something follows it"));
        }
        if min > max || (count == 0 && (sum, max) != (0, 0)) {
            return Err(SketchError::Damaged("its least value is above its greatest"));
        }
        (self.zeros, self.sum, self.min, self.max) = (zeros, sum, min, max);
        Ok(())
    }
}

/// The buckets of both, in order.
fn merged(a: &[(u16, u64)], b: &[(u16, u64)]) -> Vec<(u16, u64)> {
    let mut merged = Vec::with_capacity(a.len().max(b.len()));
    let (mut ours, mut theirs) = (a.iter().peekable(), b.iter().peekable());
    loop {
        let next = match (ours.peek(), theirs.peek()) {
            (Some((a, x)), Some((b, y))) if a == b => {
                let both = (*a, x.saturating_add(*y));
                ours.next();
                theirs.next();
                Some(both)
            }
            (Some((a, _)), Some((b, _))) if a < b => ours.next().copied(),
            (Some(_), None) => ours.next().copied(),
            _ => theirs.next().copied(),
        };
        let Some(bucket) = next else { return merged };
        merged.push(bucket);
    }
}

fn key(value: u64) -> u16 {
    u16::try_from(BUCKETS.key(value as f64)).unwrap_or(0).min(KEY_MAX)
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take(rest: &mut &[u8]) -> Result<u64, SketchError> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let Some((byte, after)) = rest.split_first() else { return Err(SketchError::Short) };
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(SketchError::Damaged("a number is too long"))
}
