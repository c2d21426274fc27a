//! Columns that grow row by row and become Arrow arrays: plain vectors, so that an
//! empty one costs nothing and a finished one is handed over without a copy.
//!
//! A column that is mostly null ([`Optional`]) remembers how far it was written and is
//! padded when it is next written, or at the end: a row costs nothing in the columns
//! that it does not touch.

mod dict;
mod nested;
mod plain;

pub(super) use dict::{Dict, Enumeration, hash};
pub(super) use nested::{Lists, Map};
pub(super) use plain::{Bools, Ids, Numbers, Text, Times};

use plain::Bits;

use std::any::TypeId;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::buffer::NullBuffer;
use arrow::error::ArrowError;

/// More elements than this are never reserved in advance for the next batch.
const RESERVE_MAX: usize = 256;
/// Less memory than this is not worth giving back when an array is made.
const SLACK_MAX_BYTES: usize = 4096;

/// What every column can do.
pub(super) trait Values: Default + 'static {
    /// Whether the values are the entries of maps, not the items of lists.
    const ENTRIES: bool = false;

    /// Values so far.
    fn len(&self) -> usize;

    /// Appends meaningless values until there are `len`.
    fn pad(&mut self, len: usize);

    /// Forgets all values from `len` on.
    fn truncate(&mut self, len: usize);

    /// Bytes that the values take, about.
    fn bytes(&self) -> usize;

    /// Whether a value did not fit into the 2 GiB that an Arrow array of text can hold.
    fn full(&self) -> bool {
        false
    }

    /// The values as an array; the column is empty afterwards.
    fn finish(&mut self, nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError>;
}

/// A column in which most rows may have no value.
#[derive(Debug, Default)]
pub(super) struct Optional<V> {
    values: V,
    valid: Bits,
}

impl<V: Values> Optional<V> {
    /// The column, ready for the value of `row`: exactly one must be pushed.
    #[inline]
    pub(super) fn at(&mut self, row: usize) -> &mut V {
        if self.valid.len() < row {
            self.values.pad(row);
            self.valid.zeros_to(row);
        }
        self.valid.push(true);
        &mut self.values
    }

    /// Whether `row`, the newest one, has a value.
    #[inline]
    pub(super) fn has(&self, row: usize) -> bool {
        self.valid.len() > row
    }

    /// The values.
    #[inline]
    pub(super) fn values(&mut self) -> &mut V {
        &mut self.values
    }

    /// The values, to look at.
    #[inline]
    pub(super) fn get(&self) -> &V {
        &self.values
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        if self.valid.len() > rows {
            self.values.truncate(rows);
            self.valid.truncate(rows);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.values.bytes() + self.valid.bytes()
    }

    pub(super) fn full(&self) -> bool {
        self.values.full()
    }

    /// The column as an array of `rows` rows.
    pub(super) fn finish(&mut self, rows: usize, blanks: &mut Blanks) -> Result<ArrayRef, ArrowError> {
        if self.valid.ones() == 0 {
            self.truncate(0);
            if self.values.bytes() > 0 {
                // Words of a dictionary that no row uses.
                self.values.finish(None)?;
            }
            return blanks.get::<V>(rows);
        }
        self.values.pad(rows);
        self.valid.zeros_to(rows);
        let all = self.valid.ones() == rows;
        let valid = self.valid.finish();
        self.values.finish(if all { None } else { Some(NullBuffer::new(valid)) })
    }
}

/// The all-null arrays of one batch: most promoted columns of a batch are the same one.
#[derive(Debug, Default)]
pub(super) struct Blanks(Vec<(TypeId, ArrayRef)>);

impl Blanks {
    fn get<V: Values>(&mut self, rows: usize) -> Result<ArrayRef, ArrowError> {
        let id = TypeId::of::<V>();
        if let Some((_, array)) = self.0.iter().find(|(of, _)| *of == id) {
            return Ok(array.clone());
        }
        let mut values = V::default();
        values.pad(rows);
        let array = values.finish(Some(NullBuffer::new_null(rows)))?;
        self.0.push((id, array.clone()));
        Ok(array)
    }
}

/// Takes what is in `vec`, without much unused memory, and leaves some room for the next batch.
fn take<T>(vec: &mut Vec<T>) -> Vec<T> {
    let next = Vec::with_capacity(vec.len().min(RESERVE_MAX));
    let mut full = std::mem::replace(vec, next);
    let slack = full.capacity() - full.len();
    if slack > full.len() / 4 && slack * size_of::<T>() > SLACK_MAX_BYTES {
        full.shrink_to_fit();
    }
    full
}

/// The offset of a position: columns that could exceed it refuse values before they do.
#[inline]
fn offset(position: usize) -> i32 {
    position as i32
}

/// The values of a column of bits as an array.
fn boolean_array(bits: &mut Bits, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(BooleanArray::new(bits.finish(), nulls))
}
