//! Ids of rows: bytes or text, and quickly what is none of those that are looked for.

use ahash::HashSet;
use arrow::array::{AsArray, FixedSizeBinaryArray, RecordBatch, StringArray};

use crate::error::Error;
use crate::sort::column;

/// What is remembered of an id. Of ids that differ in their last eight bytes it hardly ever is the same: ids may begin with
/// the time, but they end with chance, whether that is four bytes or eight hexadecimal digits.
pub(super) fn mark(id: &[u8]) -> u32 {
    /// An odd number with as many ones as zeros: in the upper half of the product is something of each bit.
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    let end = match id.last_chunk() {
        Some(end) => u64::from_be_bytes(*end),
        None => id.iter().fold(0, |end, byte| end << 8 | u64::from(*byte)),
    };
    (end.wrapping_mul(MIX) >> 32) as u32
}

/// The ids that are looked for.
#[derive(Debug)]
pub(super) struct Ids {
    ids: HashSet<Box<[u8]>>,
    /// A bit for each upper half of a [`mark`] that one of them has.
    halves: Vec<u64>,
}

impl Ids {
    pub(super) fn new<I: AsRef<[u8]>>(ids: &[I]) -> Ids {
        let mut halves = vec![0; (1 << 16) / 64];
        for id in ids {
            let half = mark(id.as_ref()) >> 16;
            if let Some(word) = halves.get_mut(half as usize / 64) {
                *word |= 1 << (half % 64);
            }
        }
        Ids { ids: ids.iter().map(|id| id.as_ref().into()).collect(), halves }
    }

    pub(super) fn holds(&self, id: &[u8]) -> bool {
        let half = mark(id) >> 16;
        let may = self.halves.get(half as usize / 64).is_some_and(|word| word >> (half % 64) & 1 == 1);
        may && self.ids.contains(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.ids.iter().map(|id| &**id)
    }
}

/// The column of ids of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) enum IdColumn<'a> {
    /// Ids of 16 bytes: of traces, of keys.
    Bytes(&'a FixedSizeBinaryArray),
    /// Text: of invocations.
    Text(&'a StringArray),
}

impl<'a> IdColumn<'a> {
    pub(super) fn of(batch: &'a RecordBatch, name: &str) -> Result<Self, Error> {
        let found = column(batch, name)?;
        let text = || found.as_string_opt().map(IdColumn::Text);
        let ids = found.as_fixed_size_binary_opt().map(IdColumn::Bytes).or_else(text);
        ids.ok_or_else(|| Error::corrupt("a batch", format!("{name} is neither bytes of one length nor text")))
    }

    fn each(self, mut see: impl FnMut(Option<&[u8]>)) {
        match self {
            IdColumn::Bytes(ids) => ids.iter().for_each(see),
            IdColumn::Text(ids) => ids.iter().for_each(|id| see(id.map(str::as_bytes))),
        }
    }

    /// What `of` says of each row's id, or of none, in the order of the rows.
    pub(super) fn map<T>(self, of: impl Fn(Option<&[u8]>) -> T) -> Vec<T> {
        let mut said = Vec::new();
        self.each(|id| said.push(of(id)));
        said
    }

    /// The rows with one of `ids`.
    pub(super) fn rows_with(self, ids: &Ids) -> Vec<u32> {
        let (mut rows, mut row) = (Vec::new(), 0);
        self.each(|id| {
            if id.is_some_and(|id| ids.holds(id)) {
                rows.push(row);
            }
            row += 1;
        });
        rows
    }
}
