//! Looks a key up in all rows of a batch.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StringBuilder, UInt32Array};
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::Target;
use super::condition::{Condition, outcomes};
use super::source::{NONE, Source};

fn sources(key: &str, letters: &str, columns: &[ArrayRef]) -> Result<Vec<Source>> {
    letters.chars().zip(columns).map(|(letter, column)| Source::new(letter, column, key)).collect()
}

/// Whether `condition` holds of the value of `key` in each row; null where there is none, or it is no number.
pub(super) fn test(
    key: &str,
    letters: &str,
    columns: &[ArrayRef],
    rows: usize,
    condition: &Condition,
) -> Result<BooleanArray> {
    let sources = sources(key, letters, columns)?;
    let value = |row| sources.iter().find_map(|source| source.get(row))?.to_number();
    Ok(outcomes((0..rows).map(value), condition))
}

/// The value of `key` in each row, from the first of `columns` that has it.
pub(super) fn look_up(key: &str, letters: &str, columns: &[ArrayRef], rows: usize, target: Target) -> Result<ArrayRef> {
    let sources = sources(key, letters, columns)?;
    if let ([Source::Map { entries, .. }], [column]) = (sources.as_slice(), columns)
        && let DataType::Map(entries_field, _) = column.data_type()
        && let DataType::Struct(fields) = entries_field.data_type()
        && fields.get(1).is_some_and(|value| *value.data_type() == target.data_type())
    {
        // One map of the very type: the values are taken as they are.
        let indices = UInt32Array::from_iter(entries.iter().map(|e| (*e != NONE).then_some(*e)));
        return Ok(arrow::compute::take(column.as_map().values(), &indices, None)?);
    }
    let value = |row| sources.iter().find_map(|source| source.get(row));
    Ok(match target {
        Target::Text => {
            let (mut builder, mut text) = (StringBuilder::new(), String::new());
            for row in 0..rows {
                match value(row) {
                    Some(value) => {
                        text.clear();
                        value.write_text(&mut text);
                        builder.append_value(&text);
                    }
                    None => builder.append_null(),
                }
            }
            Arc::new(builder.finish())
        }
        Target::Int => Arc::new(Int64Array::from_iter((0..rows).map(|row| value(row)?.to_int()))),
        Target::Double => Arc::new(Float64Array::from_iter((0..rows).map(|row| value(row)?.to_double()))),
        Target::Bool => Arc::new(BooleanArray::from_iter((0..rows).map(|row| value(row)?.to_bool()))),
    })
}
