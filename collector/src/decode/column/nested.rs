//! Lists and maps.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Fields};
use arrow::error::ArrowError;

use super::{Blanks, Optional, Text, Values, offset, take};

/// What stands in lists: where the lists begin, and the items of all of them.
#[derive(Debug, Default)]
pub(in crate::decode) struct Lists<V> {
    starts: Vec<i32>,
    items: V,
}

impl<V: Values> Lists<V> {
    /// Begins the next list: items pushed from now on are in it.
    #[inline]
    pub(in crate::decode) fn open(&mut self) -> &mut V {
        self.starts.push(offset(self.items.len()));
        &mut self.items
    }

    fn finish_offsets(&mut self) -> OffsetBuffer<i32> {
        self.starts.push(offset(self.items.len()));
        OffsetBuffer::new(ScalarBuffer::from(take(&mut self.starts)))
    }
}

impl<V: Values> Values for Lists<V> {
    fn len(&self) -> usize {
        self.starts.len()
    }

    fn pad(&mut self, len: usize) {
        self.starts.resize(len, offset(self.items.len()));
    }

    fn truncate(&mut self, len: usize) {
        if let Some(start) = self.starts.get(len) {
            self.items.truncate(*start as usize);
            self.starts.truncate(len);
        }
    }

    fn bytes(&self) -> usize {
        self.starts.len() * size_of::<i32>() + self.items.bytes()
    }

    fn full(&self) -> bool {
        self.items.full()
    }

    fn finish(&mut self, nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
        let offsets = self.finish_offsets();
        let items = self.items.finish(None)?;
        let of = items.data_type().clone();
        if V::ENTRIES {
            let field = Arc::new(Field::new("entries", of, false));
            return Ok(Arc::new(MapArray::try_new(field, offsets, items.as_struct().clone(), nulls, false)?));
        }
        Ok(Arc::new(ListArray::try_new(Arc::new(Field::new("item", of, true)), offsets, items, nulls)?))
    }
}

/// Keys and values of the entries of maps.
#[derive(Debug, Default)]
pub(in crate::decode) struct Entries<V> {
    keys: Text,
    values: V,
}

impl<V: Values> Entries<V> {
    /// Begins an entry: its value must be pushed.
    #[inline]
    pub(in crate::decode) fn entry(&mut self, key: &str) -> &mut V {
        self.keys.push_str(key);
        &mut self.values
    }
}

impl<V: Values> Values for Entries<V> {
    const ENTRIES: bool = true;

    fn len(&self) -> usize {
        self.keys.len()
    }

    fn pad(&mut self, len: usize) {
        self.keys.pad(len);
        self.values.pad(len);
    }

    fn truncate(&mut self, len: usize) {
        self.keys.truncate(len);
        self.values.truncate(len);
    }

    fn bytes(&self) -> usize {
        self.keys.bytes() + self.values.bytes()
    }

    fn full(&self) -> bool {
        self.keys.full() || self.values.full()
    }

    fn finish(&mut self, nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
        let (keys, values) = (self.keys.finish(None)?, self.values.finish(None)?);
        let fields = Fields::from(vec![
            Field::new("key", DataType::Utf8, false),
            Field::new("value", values.data_type().clone(), true),
        ]);
        Ok(Arc::new(StructArray::try_new(fields, vec![keys, values], nulls)?))
    }
}

/// A column of maps, null where a row has no entry.
#[derive(Debug, Default)]
pub(in crate::decode) struct Map<V>(Optional<Lists<Entries<V>>>);

impl<V: Values> Map<V> {
    /// The value of the next entry of `row`: exactly one must be pushed.
    #[inline]
    pub(in crate::decode) fn entry(&mut self, row: usize, key: &str) -> &mut V {
        let entries = if self.0.has(row) { &mut self.0.values().items } else { self.0.at(row).open() };
        entries.entry(key)
    }

    pub(in crate::decode) fn truncate(&mut self, rows: usize) {
        self.0.truncate(rows);
    }

    pub(in crate::decode) fn bytes(&self) -> usize {
        self.0.bytes()
    }

    pub(in crate::decode) fn full(&self) -> bool {
        self.0.full()
    }

    pub(in crate::decode) fn finish(&mut self, rows: usize, blanks: &mut Blanks) -> Result<ArrayRef, ArrowError> {
        self.0.finish(rows, blanks)
    }
}
