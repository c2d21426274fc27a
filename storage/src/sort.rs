//! The order of the rows in a file.
//!
//! Sort columns that are text are dictionaries: their values are ranked once, and rows
//! are compared by ranks.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, TimestampNanosecondType};
use hopline_model::Table;

use crate::error::Error;
use crate::gather::RowIndex;

/// A row's place: ranks of the text columns (and a period among them), then what follows them, then its arrival.
type Key = (u128, u128, u32, u32);

/// The rows of all `batches` in the order of `table`'s files. Rows that are equal in
/// the sort columns stay in the order in which they came.
pub(crate) fn sorted_rows(table: Table, batches: &[&RecordBatch]) -> Result<Vec<RowIndex>, Error> {
    let (text, rest): (Vec<&str>, Vec<&str>) = table.sort_columns().iter().partition(|c| is_text(c));
    let period_at = table.sort_period().map(|period| period.behind);
    let ranks: Vec<Vec<Vec<u32>>> = text.iter().map(|c| rank(c, batches)).collect::<Result<_, _>>()?;
    let mut keys: Vec<Key> = Vec::with_capacity(batches.iter().map(|b| b.num_rows()).sum());
    for (i, batch) in batches.iter().enumerate() {
        let columns: Vec<_> = text
            .iter()
            .map(|name| column(batch, name).map(|c| c.as_dictionary::<Int32Type>()))
            .collect::<Result<_, _>>()?;
        let columns: Vec<_> = columns.iter().zip(&ranks).filter_map(|(c, r)| Some((c.keys(), r.get(i)?))).collect();
        let minor = minor(batch, &rest)?;
        let periods = periods(table, batch)?;
        for (row, minor) in minor.into_iter().enumerate() {
            let group = columns.iter().enumerate().fold(0u128, |group, (at, (keys, ranks))| {
                let rank = usize::try_from(keys.value(row)).ok().and_then(|key| ranks.get(key));
                let period = periods.get(row).filter(|_| period_at == Some(at));
                let group = period.map_or(group, |period| group << 32 | u128::from(*period));
                group << 32 | u128::from(rank.copied().unwrap_or(0))
            });
            keys.push((group, minor, i as u32, row as u32));
        }
    }
    keys.sort_unstable();
    Ok(keys.into_iter().map(|(_, _, batch, row)| (batch as usize, row as usize)).collect())
}

/// Whether a sort column is text. The others are times and ids.
pub(crate) fn is_text(column: &str) -> bool {
    !is_time(column) && !matches!(column, "series_id" | "key_hash")
}

fn is_time(column: &str) -> bool {
    matches!(column, "time" | "start_time")
}

pub(crate) fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a dyn Array, Error> {
    let found = batch.column_by_name(name).map(|c| c.as_ref());
    found.ok_or_else(|| Error::corrupt("a batch", format!("has no column {name}")))
}

/// For each batch, the rank of each of its dictionary's values among those of all batches.
fn rank(name: &str, batches: &[&RecordBatch]) -> Result<Vec<Vec<u32>>, Error> {
    let mut values = Vec::with_capacity(batches.len());
    for batch in batches {
        let dictionary = column(batch, name)?.as_dictionary_opt::<Int32Type>();
        let strings = dictionary.and_then(|d| d.values().as_string_opt::<i32>());
        values
            .push(strings.ok_or_else(|| Error::corrupt("a batch", format!("{name} is not dictionary-encoded text")))?);
    }
    let mut ranks: HashMap<&str, u32, ahash::RandomState> = HashMap::default();
    values.iter().flat_map(|v| v.iter().flatten()).for_each(|value| {
        ranks.insert(value, 0);
    });
    let mut sorted: Vec<_> = ranks.keys().copied().collect();
    sorted.sort_unstable();
    sorted.iter().zip(0..).for_each(|(value, rank)| {
        ranks.insert(value, rank);
    });
    let rank_of = |value: Option<&str>| value.and_then(|v| ranks.get(v)).copied().unwrap_or(0);
    Ok(values.iter().map(|v| v.iter().map(rank_of).collect()).collect())
}

/// What a row is sorted by behind the text columns: its time, its series and time, or its key.
pub(crate) fn minor(batch: &RecordBatch, columns: &[&str]) -> Result<Vec<u128>, Error> {
    let mut minor = vec![0u128; batch.num_rows()];
    for name in columns {
        let column = column(batch, name)?;
        if is_time(name) {
            let times = column
                .as_primitive_opt::<TimestampNanosecondType>()
                .ok_or_else(|| Error::corrupt("a batch", format!("{name} is not a time")))?;
            minor.iter_mut().zip(times.values()).for_each(|(m, t)| *m = *m << 64 | u128::from(ordered(*t)));
        } else {
            let ids = column
                .as_fixed_size_binary_opt()
                .filter(|ids| matches!(ids.value_length(), 8 | 16))
                .ok_or_else(|| Error::corrupt("a batch", format!("{name} is neither 8 nor 16 bytes")))?;
            let id = |row| ids.value(row).iter().fold(0_u128, |id, byte| id << 8 | u128::from(*byte));
            // An id of 16 bytes stands alone: nothing is left of what would stand before it.
            let bits = ids.value_length() as u32 * 8;
            minor.iter_mut().enumerate().for_each(|(row, m)| *m = m.checked_shl(bits).unwrap_or(0) | id(row));
        }
    }
    Ok(minor)
}

/// The period of each row, as a number of the same order, where rows are ordered by it ([`Table::sort_period`]).
pub(crate) fn periods(table: Table, batch: &RecordBatch) -> Result<Vec<u32>, Error> {
    let Some(period) = table.sort_period() else { return Ok(Vec::new()) };
    let times = column(batch, table.time_column())?.as_primitive_opt::<TimestampNanosecondType>();
    let times = times.ok_or_else(|| Error::corrupt("a batch", "its time column is not a time"))?;
    // All hours that nanoseconds in 64 bits can tell are fewer than 2^23 from 1970.
    let number = |time: &i64| (time.div_euclid(period.length_ns) as i32 as u32) ^ (1 << 31);
    Ok(times.values().iter().map(number).collect())
}

/// A signed number as an unsigned one of the same order.
fn ordered(time: i64) -> u64 {
    (time as u64) ^ (1 << 63)
}
