//! Rows of many batches, in any order, as one batch.
//!
//! Rows are copied in runs: rows that stand together in a batch are copied together, and the
//! items of a list or the entries of a map always do. Dictionaries are merged: the result's
//! dictionary holds each value that is used once, and each distinct value of each batch is
//! hashed at most once.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, BooleanBufferBuilder, DictionaryArray,
    FixedSizeBinaryArray, ListArray, MapArray, PrimitiveArray, RecordBatch, StringArray, StringBuilder, StructArray,
    new_null_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::interleave;
use arrow::datatypes::{
    DataType, FieldRef, Fields, Float64Type, Int32Type, Int64Type, SchemaRef, TimeUnit, TimestampNanosecondType,
    UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;

/// A row of one of several batches: (batch, row).
pub(crate) type RowIndex = (usize, usize);

/// Rows, items or entries that stand together in one array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    array: usize,
    start: usize,
    len: usize,
}

impl Run {
    fn end(self) -> usize {
        self.start + self.len
    }
}

/// What to copy, in order.
#[derive(Debug, Default)]
struct Runs {
    runs: Vec<Run>,
    /// Elements in all of them.
    len: usize,
}

impl Runs {
    #[inline]
    fn push(&mut self, run: Run) {
        self.len += run.len;
        match self.runs.last_mut() {
            Some(last) if last.array == run.array && last.end() == run.start => last.len += run.len,
            _ if run.len > 0 => self.runs.push(run),
            _ => {}
        }
    }
}

/// The rows at `rows` of `batches`, all of which have `schema`.
pub(crate) fn gather(
    schema: &SchemaRef,
    batches: &[&RecordBatch],
    rows: &[RowIndex],
) -> Result<RecordBatch, ArrowError> {
    let mut runs = Runs::default();
    for &(array, start) in rows {
        runs.push(Run { array, start, len: 1 });
    }
    gather_runs(schema, batches, &runs)
}

/// All rows of `batches`, one after the other.
pub(crate) fn concat(schema: &SchemaRef, batches: &[&RecordBatch]) -> Result<RecordBatch, ArrowError> {
    let mut runs = Runs::default();
    for (array, batch) in batches.iter().enumerate() {
        runs.push(Run { array, start: 0, len: batch.num_rows() });
    }
    gather_runs(schema, batches, &runs)
}

/// The same rows without the room that its builders kept for more.
pub(crate) fn compacted(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    concat(&batch.schema(), &[batch])
}

fn gather_runs(schema: &SchemaRef, batches: &[&RecordBatch], runs: &Runs) -> Result<RecordBatch, ArrowError> {
    let sizes: Vec<usize> = batches.iter().map(|b| b.num_rows()).collect();
    if runs.runs.iter().any(|run| sizes.get(run.array).is_none_or(|rows| run.end() > *rows)) {
        return Err(out_of_range());
    }
    let columns = schema.fields().iter().enumerate().map(|(i, field)| {
        let arrays: Vec<&dyn Array> = batches
            .iter()
            .map(|b| b.columns().get(i).map(|a| a.as_ref()))
            .collect::<Option<_>>()
            .ok_or_else(|| ArrowError::SchemaError(format!("a batch lacks the column {}", field.name())))?;
        if arrays.iter().any(|a| a.data_type() != field.data_type()) {
            return Err(ArrowError::SchemaError(format!("a batch has not the type {}", field.data_type())));
        }
        column(field.data_type(), &arrays, runs)
    });
    RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>()?)
}

/// `runs` of `arrays`, all of which are of type `kind` and long enough.
fn column(kind: &DataType, arrays: &[&dyn Array], runs: &Runs) -> Result<ArrayRef, ArrowError> {
    if arrays.iter().all(|a| a.null_count() == a.len()) {
        return Ok(new_null_array(kind, runs.len));
    }
    match kind {
        DataType::Dictionary(key, value) if **key == DataType::Int32 && **value == DataType::Utf8 => {
            dictionary(arrays, runs)
        }
        DataType::Utf8 => text(arrays, runs),
        DataType::FixedSizeBinary(width) => fixed(*width, arrays, runs),
        DataType::Boolean => booleans(arrays, runs),
        DataType::Int32 => numbers::<Int32Type>(kind, arrays, runs),
        DataType::Int64 => numbers::<Int64Type>(kind, arrays, runs),
        DataType::UInt32 => numbers::<UInt32Type>(kind, arrays, runs),
        DataType::UInt64 => numbers::<UInt64Type>(kind, arrays, runs),
        DataType::Float64 => numbers::<Float64Type>(kind, arrays, runs),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => numbers::<TimestampNanosecondType>(kind, arrays, runs),
        DataType::List(item) => list(item, arrays, runs),
        DataType::Map(entries, ordered) => map(entries, *ordered, arrays, runs),
        DataType::Struct(fields) => structs(fields, arrays, runs),
        _ => interleave(arrays, &rows(runs)),
    }
}

fn rows(runs: &Runs) -> Vec<RowIndex> {
    runs.runs.iter().flat_map(|run| (run.start..run.end()).map(|row| (run.array, row))).collect()
}

fn out_of_range() -> ArrowError {
    ArrowError::InvalidArgumentError("a row or dictionary key is out of range".into())
}

/// Which of the elements are null, if any array has nulls.
fn nulls(arrays: &[&dyn Array], runs: &Runs) -> Option<NullBuffer> {
    if arrays.iter().all(|a| a.nulls().is_none()) {
        return None;
    }
    let valid: Vec<Option<&BooleanBuffer>> = arrays.iter().map(|a| a.nulls().map(NullBuffer::inner)).collect();
    let bits = bits(runs, |array| valid.get(array).copied().flatten());
    Some(NullBuffer::new(bits)).filter(|nulls| nulls.null_count() > 0)
}

/// The bits of `runs`; those of an array that gives none are set.
fn bits<'a>(runs: &Runs, of: impl Fn(usize) -> Option<&'a BooleanBuffer>) -> BooleanBuffer {
    let mut bits = BooleanBufferBuilder::new(runs.len);
    for run in &runs.runs {
        match of(run.array) {
            None => bits.append_n(run.len, true),
            Some(from) if run.len == 1 => bits.append(from.value(run.start)),
            Some(from) => bits.append_buffer(&from.slice(run.start, run.len)),
        }
    }
    bits.finish()
}

fn booleans(arrays: &[&dyn Array], runs: &Runs) -> Result<ArrayRef, ArrowError> {
    let values: Vec<_> = arrays.iter().map(|a| a.as_boolean().values()).collect();
    let bits = bits(runs, |array| values.get(array).copied());
    Ok(Arc::new(BooleanArray::new(bits, nulls(arrays, runs))))
}

fn numbers<T: ArrowPrimitiveType>(kind: &DataType, arrays: &[&dyn Array], runs: &Runs) -> Result<ArrayRef, ArrowError> {
    let arrays_of: Vec<&[T::Native]> = arrays.iter().map(|a| &a.as_primitive::<T>().values()[..]).collect();
    let mut values = Vec::with_capacity(runs.len);
    for run in &runs.runs {
        let from = arrays_of.get(run.array).and_then(|a| a.get(run.start..run.end())).ok_or_else(out_of_range)?;
        values.extend_from_slice(from);
    }
    let array = PrimitiveArray::<T>::try_new(ScalarBuffer::from(values), nulls(arrays, runs))?;
    Ok(Arc::new(array.with_data_type(kind.clone())))
}

fn fixed(width: i32, arrays: &[&dyn Array], runs: &Runs) -> Result<ArrayRef, ArrowError> {
    let arrays_of: Vec<&[u8]> = arrays.iter().map(|a| a.as_fixed_size_binary().value_data()).collect();
    let size = usize::try_from(width).map_err(|_| out_of_range())?;
    let mut bytes = Vec::with_capacity(runs.len * size);
    for run in &runs.runs {
        let from = arrays_of.get(run.array).and_then(|a| a.get(run.start * size..run.end() * size));
        bytes.extend_from_slice(from.ok_or_else(out_of_range)?);
    }
    Ok(Arc::new(FixedSizeBinaryArray::try_new(width, Buffer::from_vec(bytes), nulls(arrays, runs))?))
}

fn text(arrays: &[&dyn Array], runs: &Runs) -> Result<ArrayRef, ArrowError> {
    let arrays_of: Vec<&StringArray> = arrays.iter().map(|a| a.as_string::<i32>()).collect();
    let offsets_of: Vec<&[i32]> = arrays_of.iter().map(|a| a.value_offsets()).collect();
    let (offsets, inner) = offsets(&offsets_of, runs)?;
    let mut bytes = Vec::with_capacity(inner.len);
    for run in &inner.runs {
        let from = arrays_of.get(run.array).and_then(|a| a.value_data().get(run.start..run.end()));
        bytes.extend_from_slice(from.ok_or_else(out_of_range)?);
    }
    Ok(Arc::new(StringArray::try_new(offsets, Buffer::from_vec(bytes), nulls(arrays, runs))?))
}

/// The offsets of what is variable in length, and the runs of its bytes, items or entries.
fn offsets(arrays: &[&[i32]], runs: &Runs) -> Result<(OffsetBuffer<i32>, Runs), ArrowError> {
    let mut offsets = Vec::with_capacity(runs.len + 1);
    let mut inner = Runs { runs: Vec::with_capacity(runs.runs.len()), len: 0 };
    offsets.push(0);
    for run in &runs.runs {
        let from = arrays.get(run.array).and_then(|a| a.get(run.start..=run.end())).ok_or_else(out_of_range)?;
        let (Some(&first), Some(&last)) = (from.first(), from.last()) else { continue };
        let (start, len) = (first as usize, (last - first) as usize);
        let end = i32::try_from(inner.len + len).map_err(|_| ArrowError::OffsetOverflowError(inner.len + len))?;
        let shift = end - last;
        offsets.extend(from.iter().skip(1).map(|offset| offset + shift));
        inner.push(Run { array: run.array, start, len });
    }
    Ok((OffsetBuffer::new(ScalarBuffer::from(offsets)), inner))
}

fn list(item: &FieldRef, arrays: &[&dyn Array], runs: &Runs) -> Result<ArrayRef, ArrowError> {
    let lists: Vec<&ListArray> = arrays.iter().map(|a| a.as_list::<i32>()).collect();
    let offsets_of: Vec<&[i32]> = lists.iter().map(|a| a.value_offsets()).collect();
    let items: Vec<&dyn Array> = lists.iter().map(|a| a.values().as_ref()).collect();
    let (offsets, inner) = offsets(&offsets_of, runs)?;
    let items = column(item.data_type(), &items, &inner)?;
    Ok(Arc::new(ListArray::try_new(item.clone(), offsets, items, nulls(arrays, runs))?))
}

fn map(field: &FieldRef, ordered: bool, arrays: &[&dyn Array], runs: &Runs) -> Result<ArrayRef, ArrowError> {
    let maps: Vec<&MapArray> = arrays.iter().map(|a| a.as_map()).collect();
    let offsets_of: Vec<&[i32]> = maps.iter().map(|a| a.value_offsets()).collect();
    let entries: Vec<&dyn Array> = maps.iter().map(|a| a.entries() as &dyn Array).collect();
    let (offsets, inner) = offsets(&offsets_of, runs)?;
    let entries = column(field.data_type(), &entries, &inner)?;
    let entries = entries.as_struct().clone();
    Ok(Arc::new(MapArray::try_new(field.clone(), offsets, entries, nulls(arrays, runs), ordered)?))
}

fn structs(fields: &Fields, arrays: &[&dyn Array], runs: &Runs) -> Result<ArrayRef, ArrowError> {
    let structs: Vec<&StructArray> = arrays.iter().map(|a| a.as_struct()).collect();
    let columns = fields.iter().enumerate().map(|(i, field)| {
        let arrays: Option<Vec<&dyn Array>> = structs.iter().map(|s| s.columns().get(i).map(|a| a.as_ref())).collect();
        column(field.data_type(), &arrays.ok_or_else(out_of_range)?, runs)
    });
    let columns = columns.collect::<Result<_, _>>()?;
    Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls(arrays, runs), runs.len)?))
}

fn dictionary(arrays: &[&dyn Array], runs: &Runs) -> Result<ArrayRef, ArrowError> {
    const UNKNOWN: i32 = -1;
    let dictionaries: Vec<_> = arrays.iter().map(|a| a.as_dictionary::<Int32Type>()).collect();
    let values: Vec<_> = dictionaries.iter().map(|d| d.values().as_string::<i32>()).collect();
    // For each batch: from its key to the merged one.
    let mut merged_keys: Vec<Vec<i32>> = values.iter().map(|v| vec![UNKNOWN; v.len()]).collect();
    let mut by_value: HashMap<&str, i32, ahash::RandomState> = HashMap::default();
    let mut merged = StringBuilder::new();
    let mut keys: Vec<i32> = Vec::with_capacity(runs.len);
    // Rows whose key leads to a null.
    let mut null_values: Vec<usize> = Vec::new();
    for run in &runs.runs {
        let dictionary = dictionaries.get(run.array).ok_or_else(out_of_range)?;
        let from = dictionary.keys().values().get(run.start..run.end()).ok_or_else(out_of_range)?;
        let values = values.get(run.array).ok_or_else(out_of_range)?;
        let known = merged_keys.get_mut(run.array).ok_or_else(out_of_range)?;
        let valid = dictionary.nulls();
        for (row, &key) in (run.start..).zip(from) {
            if valid.is_some_and(|valid| valid.is_null(row)) {
                keys.push(0);
                continue;
            }
            let slot = known.get_mut(key as usize).ok_or_else(out_of_range)?;
            if *slot == UNKNOWN {
                if values.is_null(key as usize) {
                    null_values.push(keys.len());
                    keys.push(0);
                    continue;
                }
                let next = by_value.len() as i32;
                let value = values.value(key as usize);
                *slot = *by_value.entry(value).or_insert_with(|| {
                    merged.append_value(value);
                    next
                });
            }
            keys.push(*slot);
        }
    }
    let nulls = with_nulls(nulls(arrays, runs), &null_values, keys.len());
    let keys = PrimitiveArray::<Int32Type>::try_new(ScalarBuffer::from(keys), nulls)?;
    Ok(Arc::new(DictionaryArray::try_new(keys, Arc::new(merged.finish()))?))
}

/// `nulls`, and those at `more`.
fn with_nulls(nulls: Option<NullBuffer>, more: &[usize], len: usize) -> Option<NullBuffer> {
    if more.is_empty() {
        return nulls;
    }
    let mut bits = BooleanBufferBuilder::new(len);
    match nulls {
        Some(nulls) => bits.append_buffer(nulls.inner()),
        None => bits.append_n(len, true),
    }
    more.iter().for_each(|row| bits.set_bit(*row, false));
    Some(NullBuffer::new(bits.finish()))
}

#[cfg(test)]
mod tests;
