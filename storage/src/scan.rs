//! Reads the rows of a range of time without a plan, of tables whose files are ordered by periods
//! ([`Table::sort_period`](hopline_model::Table::sort_period)).
//!
//! An overview asks for a dozen pieces of such a table, a few thousand rows each: for a query engine, planning each and
//! reading the page index anew cost more than the rows. Here it is as with [`lookup`](crate::lookup): footers and
//! decompressed pages stay in memory.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Schema, SchemaRef, TimestampNanosecondType};
use hopline_model::{Table, schema};
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::file::page_index::column_index::ColumnIndexMetaData;

use crate::data_file::DataFile;
use crate::error::Error;
use crate::lookup::read;
use crate::snapshot::Snapshot;
use crate::sort::column;
use crate::storage::Storage;

/// Which rows are read.
#[derive(Debug, Clone)]
pub struct Scan<'a> {
    /// Rows of this table.
    pub table: Table,
    /// Of this tenant.
    pub tenant: &'a str,
    /// With these words in these columns, which are dictionary-encoded.
    pub words: &'a [(&'static str, &'a str)],
    /// With a time from the first to before the last, in nanoseconds since 1970.
    pub times: Range<i64>,
    /// The columns of the answer.
    pub columns: &'a [&'a str],
}

impl Storage {
    /// The rows of a snapshot that are asked for, in no order.
    ///
    /// Runs on the current tokio runtime, which it keeps busy: it is for one that runs queries.
    pub async fn scan(&self, snapshot: &Snapshot, what: &Scan<'_>) -> Result<Vec<RecordBatch>, Error> {
        let wanted = Wanted::new(what)?;
        let mut found = Vec::new();
        for batch in snapshot.hot(what.table) {
            let rows = wanted.rows_of(batch)?;
            if !rows.is_empty() {
                found.push(read::of_memory(batch, rows, &wanted.schema)?);
            }
        }
        let Range { start, end } = what.times;
        for file in snapshot.files(what.table).iter().filter(|f| f.may_have(what.tenant, start, end.saturating_sub(1)))
        {
            self.scan_file(file, &wanted, &mut found).await?;
        }
        Ok(found)
    }

    async fn scan_file(&self, file: &DataFile, wanted: &Wanted<'_>, found: &mut Vec<RecordBatch>) -> Result<(), Error> {
        let storage = self.inner();
        let arrow = storage.metadata.arrow(file).await?;
        for group in 0..arrow.metadata().num_row_groups() {
            let rows: Vec<usize> = wanted.rows_in(&arrow, group).into_iter().flatten().collect();
            if rows.is_empty() {
                continue;
            }
            // What decides is read first: of pages that may have rows, most may be of others.
            let deciding = read::rows(storage, file, group, None, &rows, &wanted.deciding).await?;
            let of_pages = wanted.rows_of(&deciding)?;
            let rows: Vec<usize> = of_pages.iter().filter_map(|row| rows.get(*row as usize).copied()).collect();
            if !rows.is_empty() {
                found.push(read::rows(storage, file, group, None, &rows, &wanted.schema).await?);
            }
        }
        Ok(())
    }
}

/// What is asked for.
struct Wanted<'a> {
    what: &'a Scan<'a>,
    words: Vec<(&'static str, &'a str)>,
    /// The columns that say whether a row is asked for.
    deciding: SchemaRef,
    /// The columns of the answer.
    schema: SchemaRef,
}

impl<'a> Wanted<'a> {
    fn new(what: &'a Scan<'a>) -> Result<Wanted<'a>, Error> {
        let all = schema::of(what.table);
        let of = |names: &mut dyn Iterator<Item = &str>| -> Result<SchemaRef, Error> {
            let field = |name: &str| {
                let field = all.field_with_name(name).cloned();
                field.map_err(|_| Error::corrupt("a scan", format!("{} has no column {name}", what.table)))
            };
            Ok(Arc::new(Schema::new(names.map(field).collect::<Result<Vec<_>, _>>()?)))
        };
        let words: Vec<_> = [("tenant", what.tenant)].into_iter().chain(what.words.iter().copied()).collect();
        let mut deciding = words.iter().map(|(name, _)| *name).chain([what.table.time_column()]);
        Ok(Wanted { what, deciding: of(&mut deciding)?, schema: of(&mut what.columns.iter().copied())?, words })
    }

    /// The rows of a row group that may be asked for, by what its pages say of theirs.
    fn rows_in(&self, arrow: &ArrowReaderMetadata, group: usize) -> Vec<Range<usize>> {
        let Range { start, end } = self.what.times;
        let all = 0..arrow.metadata().row_group(group).num_rows().max(0) as usize;
        let mut rows = Vec::from([all]);
        let time = self.what.table.time_column();
        let times = pages(arrow, group, time, |index, page| match index {
            ColumnIndexMetaData::INT64(index) => {
                index.min_value(page).is_none_or(|min| *min < end)
                    && index.max_value(page).is_none_or(|max| start <= *max)
            }
            _ => true,
        });
        rows = both(&rows, times);
        for (name, word) in &self.words {
            // Bounds may be cut: the least to less, the greatest to more.
            let of_word = pages(arrow, group, name, |index, page| match index {
                ColumnIndexMetaData::BYTE_ARRAY(index) => {
                    index.min_value(page).is_none_or(|min| min <= word.as_bytes())
                        && index.max_value(page).is_none_or(|max| word.as_bytes() <= max)
                }
                _ => true,
            });
            rows = both(&rows, of_word);
        }
        rows
    }

    /// The rows of a batch that are asked for.
    fn rows_of(&self, batch: &RecordBatch) -> Result<Vec<u32>, Error> {
        let not = |name: &str, what: &str| Error::corrupt("a batch", format!("{name} is not {what}"));
        let time = self.what.table.time_column();
        let times = column(batch, time)?.as_primitive_opt::<TimestampNanosecondType>();
        let times = times.ok_or_else(|| not(time, "a time"))?.values();
        let mut rows: Vec<u32> =
            (0..).zip(times).filter(|(_, time)| self.what.times.contains(time)).map(|(row, _)| row).collect();
        for (name, word) in &self.words {
            let words = column(batch, name)?.as_dictionary_opt::<Int32Type>();
            let texts = words.and_then(|words| Some((words, words.values().as_string_opt::<i32>()?)));
            let (words, texts) = texts.ok_or_else(|| not(name, "dictionary-encoded text"))?;
            let is_word: Vec<bool> = texts.iter().map(|text| text == Some(*word)).collect();
            let is = |row: &u32| words.key(*row as usize).and_then(|key| is_word.get(key)).copied().unwrap_or(false);
            rows.retain(is);
        }
        Ok(rows)
    }
}

/// The rows of the pages of a column that `may` have some; nothing if nothing is known of its pages.
fn pages(
    arrow: &ArrowReaderMetadata,
    group: usize,
    name: &str,
    may: impl Fn(&ColumnIndexMetaData, usize) -> bool,
) -> Option<Vec<Range<usize>>> {
    let footer = arrow.metadata();
    let leaf = arrow.parquet_schema().columns().iter().position(|column| column.path().string() == name)?;
    let index = footer.column_index()?.get(group)?.get(leaf)?;
    let places = footer.offset_index()?.get(group)?.get(leaf)?.page_locations();
    let first = |page: usize| places.get(page).map(|place| usize::try_from(place.first_row_index).unwrap_or(0));
    let rows = usize::try_from(footer.row_group(group).num_rows()).unwrap_or(0);
    let range = |page: usize| Some(first(page)?..first(page + 1).unwrap_or(rows));
    (0..places.len()).filter(|page| may(index, *page)).map(range).collect()
}

/// What lies in both: ranges that rise and do not overlap.
fn both(a: &[Range<usize>], b: Option<Vec<Range<usize>>>) -> Vec<Range<usize>> {
    let Some(b) = b else { return a.to_vec() };
    let (mut found, mut a, mut b) = (Vec::new(), a.iter().peekable(), b.iter().peekable());
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        let range = x.start.max(y.start)..x.end.min(y.end);
        if !range.is_empty() {
            found.push(range);
        }
        if x.end < y.end {
            a.next()
        } else {
            b.next()
        };
    }
    found
}

#[cfg(test)]
mod tests;
