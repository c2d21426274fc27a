//! Merges sorted files into one stream of sorted rows, within bounded memory.
//!
//! Of each input, one compressed row group and one batch of decoded rows are in memory.
//! Exact duplicates of spans are left out on the way.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, DictionaryArray, RecordBatch};
use arrow::datatypes::{Int32Type, SchemaRef};
use bytes::{Buf, Bytes};
use hopline_model::{Table, schema};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use crate::cache::read_metadata;
use crate::data_file::DataFile;
use crate::error::Error;
use crate::flush::CHUNK_ROWS;
use crate::gather::{RowIndex, gather};
use crate::object::Objects;
use crate::parquet_file::text_at;
use crate::sort::{column, is_text, minor, periods};

/// Rows decoded at once from each input.
const BATCH_ROWS: usize = 2_048;
/// Rows with one sort key that are compared with each other; beyond it duplicates stay.
const DUPLICATES_MAX: usize = 4_096;

/// One row group's bytes, read like a file.
struct RowGroupBytes {
    start: u64,
    bytes: Bytes,
}

impl Length for RowGroupBytes {
    fn len(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl RowGroupBytes {
    fn from(&self, start: u64) -> parquet::errors::Result<Bytes> {
        let offset = start.checked_sub(self.start).and_then(|o| usize::try_from(o).ok());
        let offset = offset.filter(|o| *o <= self.bytes.len());
        offset.map(|o| self.bytes.slice(o..)).ok_or_else(|| ParquetError::EOF("outside of the row group".into()))
    }
}

impl ChunkReader for RowGroupBytes {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let bytes = self.from(start)?;
        if length > bytes.len() {
            return Err(ParquetError::EOF("a page ends behind its row group".into()));
        }
        Ok(bytes.slice(..length))
    }
}

/// Reads the rows of one file, a row group at a time.
pub(crate) struct FileReader {
    objects: Arc<Objects>,
    file: Arc<DataFile>,
    metadata: ArrowReaderMetadata,
    next_group: usize,
    reader: Option<ParquetRecordBatchReader>,
}

impl FileReader {
    pub(crate) fn open(objects: &Arc<Objects>, file: &Arc<DataFile>) -> Result<Self, Error> {
        let (store, of) = (objects.store().clone(), file.clone());
        let metadata = objects.wait(async move { read_metadata(&store, &of).await })??;
        let metadata = ArrowReaderMetadata::try_new(Arc::new(metadata), ArrowReaderOptions::new())
            .map_err(Error::rows(format!("read the schema of {}", file.path)))?;
        Ok(Self { objects: objects.clone(), file: file.clone(), metadata, next_group: 0, reader: None })
    }

    /// The next rows; nothing at the end.
    pub(crate) fn next_batch(&mut self) -> Result<Option<RecordBatch>, Error> {
        loop {
            if let Some(reader) = &mut self.reader
                && let Some(batch) = reader.next()
            {
                let batch = batch.map_err(Error::rows(format!("read rows of {}", self.file.path)))?;
                return Ok(Some(batch));
            }
            self.reader = None;
            if !self.open_group()? {
                return Ok(None);
            }
        }
    }

    fn open_group(&mut self) -> Result<bool, Error> {
        let index = self.next_group;
        let Some(group) = self.metadata.metadata().row_groups().get(index) else { return Ok(false) };
        let ranges = group.columns().iter().map(|c| c.byte_range());
        let (start, end) = ranges
            .fold((u64::MAX, 0), |(start, end), (from, len)| (start.min(from), end.max(from.saturating_add(len))));
        if start >= end || end > self.file.size_bytes {
            return Err(Error::corrupt(&self.file.path, format!("row group {index} is not inside of the file")));
        }
        let bytes = self.objects.get_range(&self.file.path, start..end)?;
        let reader =
            ParquetRecordBatchReaderBuilder::new_with_metadata(RowGroupBytes { start, bytes }, self.metadata.clone())
                .with_row_groups(vec![index])
                .with_batch_size(BATCH_ROWS)
                .build()
                .map_err(Error::rows(format!("read rows of {}", self.file.path)))?;
        self.reader = Some(reader);
        self.next_group += 1;
        Ok(true)
    }
}

/// The batch of an input whose rows are being taken.
struct Head {
    /// Its index among the batches that are held.
    slot: usize,
    row: usize,
    rows: usize,
    text: Vec<DictionaryArray<Int32Type>>,
    /// The rows' periods, and behind how many columns of text they order the rows.
    periods: Vec<u32>,
    period_at: Option<usize>,
    minor: Vec<u128>,
}

impl Head {
    fn new(table: Table, batch: &RecordBatch, slot: usize) -> Result<Self, Error> {
        let (text, rest): (Vec<&str>, Vec<&str>) = table.sort_columns().iter().partition(|c| is_text(c));
        let dictionary = |name: &&str| {
            let found = column(batch, name)?.as_dictionary_opt::<Int32Type>().cloned();
            let is_text = |d: &DictionaryArray<Int32Type>| d.values().as_string_opt::<i32>().is_some();
            found
                .filter(is_text)
                .ok_or_else(|| Error::corrupt("a file", format!("{name} is not dictionary-encoded text")))
        };
        let text = text.iter().map(dictionary).collect::<Result<_, _>>()?;
        let (periods, period_at) = (periods(table, batch)?, table.sort_period().map(|period| period.behind));
        Ok(Self { slot, row: 0, rows: batch.num_rows(), text, periods, period_at, minor: minor(batch, &rest)? })
    }

    fn minor_at(&self, row: usize) -> u128 {
        self.minor.get(row).copied().unwrap_or(0)
    }

    fn compare_text(&self, row: usize, other: &Head, other_row: usize) -> Ordering {
        let pairs = self.text.iter().zip(&other.text).enumerate();
        let periods = || self.periods.get(row).cmp(&other.periods.get(other_row));
        let compare = |(at, (a, b))| {
            let before = if self.period_at == Some(at) { periods() } else { Ordering::Equal };
            before.then_with(|| text_at(a, row).cmp(text_at(b, other_row)))
        };
        pairs.map(compare).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    }

    fn compare(&self, row: usize, other: &Head, other_row: usize) -> Ordering {
        self.compare_text(row, other, other_row).then_with(|| self.minor_at(row).cmp(&other.minor_at(other_row)))
    }

    fn same_keys(&self, row: usize, other_row: usize) -> bool {
        self.periods.get(row) == self.periods.get(other_row) && self.text.iter().all(|t| t.key(row) == t.key(other_row))
    }

    /// How many rows from the current one on come before `other`'s current row; with
    /// `or_equal`, those equal to it too. At most `max`.
    fn run(&self, other: &Head, or_equal: bool, max: usize) -> usize {
        let bound = other.minor_at(other.row);
        let mut text = None;
        let mut count = 0;
        while count < max && self.row + count < self.rows {
            let row = self.row + count;
            // Rows of one operation stand together: mostly only the times are compared.
            let known = text.filter(|_| count > 0 && self.same_keys(row, row - 1));
            let ordering = known.unwrap_or_else(|| self.compare_text(row, other, other.row));
            text = Some(ordering);
            let ordering = ordering.then_with(|| self.minor_at(row).cmp(&bound));
            if ordering.is_gt() || (ordering.is_eq() && !or_equal) {
                break;
            }
            count += 1;
        }
        count
    }
}

/// A sorted stream of the rows of several sorted files.
pub(crate) struct Merge {
    table: Table,
    schema: SchemaRef,
    inputs: Vec<FileReader>,
    /// One an input; none when it has ended.
    heads: Vec<Option<Head>>,
    /// The batches that heads and pending rows refer to.
    held: Vec<Arc<RecordBatch>>,
    rows: Vec<RowIndex>,
    duplicates: Option<Duplicates>,
}

impl Merge {
    pub(crate) fn new(table: Table, objects: &Arc<Objects>, files: &[Arc<DataFile>]) -> Result<Self, Error> {
        let inputs = files.iter().map(|f| FileReader::open(objects, f)).collect::<Result<Vec<_>, _>>()?;
        let mut merge = Self {
            table,
            schema: schema::of(table),
            heads: Vec::new(),
            held: Vec::new(),
            rows: Vec::new(),
            duplicates: (table == Table::Spans).then(Duplicates::default),
            inputs,
        };
        for input in 0..merge.inputs.len() {
            let head = merge.load(input)?;
            merge.heads.push(head);
        }
        Ok(merge)
    }

    /// Rows left out because the same was there.
    pub(crate) fn duplicates(&self) -> u64 {
        self.duplicates.as_ref().map_or(0, |d| d.removed)
    }

    fn load(&mut self, input: usize) -> Result<Option<Head>, Error> {
        let Some(reader) = self.inputs.get_mut(input) else { return Ok(None) };
        let Some(batch) = reader.next_batch()? else { return Ok(None) };
        let head = Head::new(self.table, &batch, self.held.len())?;
        self.held.push(Arc::new(batch));
        Ok(Some(head))
    }

    /// The next rows; nothing at the end.
    pub(crate) fn next_chunk(&mut self) -> Result<Option<RecordBatch>, Error> {
        while self.rows.len() < CHUNK_ROWS {
            let Some((first, second)) = self.two_smallest() else { break };
            self.take_run(first, second)?;
        }
        if self.rows.is_empty() {
            return Ok(None);
        }
        let batches: Vec<&RecordBatch> = self.held.iter().map(|b| &**b).collect();
        let chunk = gather(&self.schema, &batches, &self.rows).map_err(Error::rows("merge rows"))?;
        self.rows.clear();
        self.let_go();
        Ok(Some(chunk))
    }

    fn two_smallest(&self) -> Option<(usize, Option<usize>)> {
        type Best<'a> = Option<(usize, &'a Head)>;
        let (mut first, mut second): (Best<'_>, Best<'_>) = (None, None);
        for (i, head) in self.heads.iter().enumerate() {
            let Some(head) = head else { continue };
            let before = |of: Best<'_>| of.is_none_or(|(_, o)| head.compare(head.row, o, o.row).is_lt());
            if before(first) {
                second = first.replace((i, head));
            } else if before(second) {
                second = Some((i, head));
            }
        }
        first.map(|(i, _)| (i, second.map(|(i, _)| i)))
    }

    /// Takes rows from input `first` as long as they come before those of `second`.
    fn take_run(&mut self, first: usize, second: Option<usize>) -> Result<(), Error> {
        let max = CHUNK_ROWS.saturating_sub(self.rows.len());
        let Some(head) = self.heads.get(first).and_then(Option::as_ref) else { return Ok(()) };
        let other = second.and_then(|i| Some((i, self.heads.get(i)?.as_ref()?)));
        let count = match other {
            // Of equal rows, those of the earlier file come first.
            Some((i, other)) => head.run(other, first < i, max).max(1),
            None => max.min(head.rows - head.row),
        };
        for row in head.row..head.row + count {
            let is_new = match (&mut self.duplicates, self.held.get(head.slot)) {
                (Some(duplicates), Some(batch)) => duplicates.is_new(head, batch, row)?,
                _ => true,
            };
            if is_new {
                self.rows.push((head.slot, row));
            }
        }
        let ended = head.row + count >= head.rows;
        let next = if ended { Some(self.load(first)?) } else { None };
        if let Some(slot) = self.heads.get_mut(first) {
            match (next, slot) {
                (Some(next), slot) => *slot = next,
                (None, Some(head)) => head.row += count,
                (None, None) => {}
            }
        }
        Ok(())
    }

    /// Lets go of the batches to which nothing refers any more.
    fn let_go(&mut self) {
        let mut held = Vec::with_capacity(self.heads.len());
        for head in self.heads.iter_mut().flatten() {
            if let Some(batch) = self.held.get(head.slot) {
                head.slot = held.len();
                held.push(batch.clone());
            }
        }
        self.held = held;
    }
}

/// A row of a batch that is kept for comparison.
type Seen = (Arc<RecordBatch>, usize);

/// Finds spans that are there already. Exact duplicates have one sort key, so only rows
/// with the current one are remembered.
#[derive(Default)]
struct Duplicates {
    key: Option<(u128, [String; 3])>,
    seen: HashMap<[u8; 24], Vec<Seen>, ahash::RandomState>,
    removed: u64,
}

impl Duplicates {
    fn is_new(&mut self, head: &Head, batch: &Arc<RecordBatch>, row: usize) -> Result<bool, Error> {
        let minor = head.minor_at(row);
        let same_text = |texts: &[String; 3]| head.text.iter().zip(texts).all(|(t, text)| text_at(t, row) == text);
        if !self.key.as_ref().is_some_and(|(m, texts)| *m == minor && same_text(texts)) {
            self.seen.clear();
            let text = |i: usize| head.text.get(i).map_or("", |t| text_at(t, row)).to_owned();
            self.key = Some((minor, [text(0), text(1), text(2)]));
        }
        let id = span_id(batch, row)?;
        let before = self.seen.entry(id).or_default();
        if before.iter().any(|(other, other_row)| same_row(batch, row, other, *other_row)) {
            self.removed += 1;
            return Ok(false);
        }
        before.push((batch.clone(), row));
        if self.seen.len() > DUPLICATES_MAX {
            self.seen.clear();
        }
        Ok(true)
    }
}

fn span_id(batch: &RecordBatch, row: usize) -> Result<[u8; 24], Error> {
    let mut id = [0; 24];
    let trace = column(batch, "trace_id")?.as_fixed_size_binary_opt();
    let span = column(batch, "span_id")?.as_fixed_size_binary_opt();
    let (Some(trace), Some(span)) = (trace, span) else {
        return Err(Error::corrupt("a file", "its ids are not of a fixed size"));
    };
    let bytes = trace.value(row).iter().chain(span.value(row));
    id.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    Ok(id)
}

fn same_row(a: &RecordBatch, a_row: usize, b: &RecordBatch, b_row: usize) -> bool {
    a.num_columns() == b.num_columns()
        && a.columns().iter().zip(b.columns()).all(|(a, b)| *a.slice(a_row, 1) == *b.slice(b_row, 1))
}
