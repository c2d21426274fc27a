//! Rows of many batches, in any order, as one batch.
//!
//! Dictionaries are merged: the result's dictionary holds each value that is used once,
//! and each distinct value of each batch is hashed at most once.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryArray, Int32Array, RecordBatch, StringBuilder, new_null_array,
};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Int32Type, SchemaRef};
use arrow::error::ArrowError;

/// A row of one of several batches: (batch, row).
pub(crate) type RowIndex = (usize, usize);

/// The rows at `rows` of `batches`, all of which have `schema`.
pub(crate) fn gather(
    schema: &SchemaRef,
    batches: &[&RecordBatch],
    rows: &[RowIndex],
) -> Result<RecordBatch, ArrowError> {
    let columns = schema.fields().iter().enumerate().map(|(i, field)| {
        let arrays: Vec<&dyn Array> = batches
            .iter()
            .map(|b| b.columns().get(i).map(|a| a.as_ref()))
            .collect::<Option<_>>()
            .ok_or_else(|| ArrowError::SchemaError(format!("a batch lacks the column {}", field.name())))?;
        gather_column(field.data_type(), &arrays, rows)
    });
    RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>()?)
}

/// All rows of `batches`, one after the other.
pub(crate) fn concat(schema: &SchemaRef, batches: &[&RecordBatch]) -> Result<RecordBatch, ArrowError> {
    let rows: Vec<RowIndex> =
        batches.iter().enumerate().flat_map(|(i, batch)| (0..batch.num_rows()).map(move |row| (i, row))).collect();
    gather(schema, batches, &rows)
}

fn gather_column(kind: &DataType, arrays: &[&dyn Array], rows: &[RowIndex]) -> Result<ArrayRef, ArrowError> {
    if arrays.iter().any(|a| a.data_type() != kind) {
        return Err(ArrowError::SchemaError(format!("a batch has not the type {kind}")));
    }
    if arrays.iter().all(|a| a.null_count() == a.len()) {
        return Ok(new_null_array(kind, rows.len()));
    }
    match kind {
        DataType::Dictionary(key, value) if **key == DataType::Int32 && **value == DataType::Utf8 => {
            gather_dictionary(arrays, rows)
        }
        DataType::FixedSizeBinary(width) => gather_fixed(*width, arrays, rows),
        _ => interleave(arrays, rows),
    }
}

fn out_of_range() -> ArrowError {
    ArrowError::InvalidArgumentError("a row or dictionary key is out of range".into())
}

fn gather_dictionary(arrays: &[&dyn Array], rows: &[RowIndex]) -> Result<ArrayRef, ArrowError> {
    const UNKNOWN: i32 = -1;
    let dictionaries: Vec<_> = arrays.iter().map(|a| a.as_dictionary::<Int32Type>()).collect();
    let values: Vec<_> = dictionaries.iter().map(|d| d.values().as_string::<i32>()).collect();
    // For each batch: from its key to the merged one.
    let mut merged_keys: Vec<Vec<i32>> = values.iter().map(|v| vec![UNKNOWN; v.len()]).collect();
    let mut by_value: HashMap<&str, i32, ahash::RandomState> = HashMap::default();
    let mut merged = StringBuilder::new();
    let mut keys: Vec<Option<i32>> = Vec::with_capacity(rows.len());
    for &(batch, row) in rows {
        let dictionary = dictionaries.get(batch).filter(|d| row < d.len()).ok_or_else(out_of_range)?;
        let Some(key) = dictionary.key(row) else {
            keys.push(None);
            continue;
        };
        let values = values.get(batch).filter(|v| key < v.len()).ok_or_else(out_of_range)?;
        if values.is_null(key) {
            keys.push(None);
            continue;
        }
        let known = merged_keys.get_mut(batch).and_then(|k| k.get_mut(key)).ok_or_else(out_of_range)?;
        if *known == UNKNOWN {
            let next = by_value.len() as i32;
            let value = values.value(key);
            *known = *by_value.entry(value).or_insert_with(|| {
                merged.append_value(value);
                next
            });
        }
        keys.push(Some(*known));
    }
    let keys = Int32Array::from(keys);
    Ok(Arc::new(arrow::array::DictionaryArray::<Int32Type>::try_new(keys, Arc::new(merged.finish()))?))
}

fn gather_fixed(width: i32, arrays: &[&dyn Array], rows: &[RowIndex]) -> Result<ArrayRef, ArrowError> {
    let arrays: Vec<_> = arrays.iter().map(|a| a.as_fixed_size_binary()).collect();
    let mut bytes = Vec::with_capacity(rows.len() * width as usize);
    for &(batch, row) in rows {
        let array = arrays.get(batch).filter(|a| row < a.len()).ok_or_else(out_of_range)?;
        bytes.extend_from_slice(array.value(row));
    }
    let nulls = arrays.iter().any(|a| a.null_count() > 0).then(|| {
        let valid = |&(batch, row): &RowIndex| arrays.get(batch).is_some_and(|a| a.is_valid(row));
        rows.iter().map(valid).collect::<NullBuffer>()
    });
    Ok(Arc::new(FixedSizeBinaryArray::try_new(width, Buffer::from_vec(bytes), nulls)?))
}

/// The same rows without the room that its builders kept for more.
pub(crate) fn compacted(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    concat(&batch.schema(), &[batch])
}
