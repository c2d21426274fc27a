//! Decompressed pages, kept in memory within a limit.
//!
//! A flow reads the same row groups over and over: a few rows a trace, trace after trace,
//! and so does the next flow of the same functions. Most of the time then went into
//! decompressing the same pages.

use std::ops::Range;
use std::sync::Arc;

use ahash::AHashMap;
use bytes::{Buf, Bytes};
use parquet::arrow::arrow_reader::RowGroups as ParquetRowGroups;
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use twox_hash::XxHash3_128;

use crate::cache::{Cache, MetadataCache};
use crate::data_file::DataFile;
use crate::error::Error;
use crate::metrics::Metrics;

/// A page: its file by the hash of the path, its row group, its column, and its number; none is the dictionary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct PageName {
    file: u128,
    group: usize,
    leaf: usize,
    page: Option<usize>,
}

/// Decompressed pages.
pub(crate) struct Pages {
    metadata: Arc<MetadataCache>,
    cache: Cache<Page, PageName>,
}

impl Pages {
    pub(crate) fn new(metadata: Arc<MetadataCache>, bytes_max: usize, metrics: &Metrics) -> Self {
        Self { metadata, cache: Cache::new("pages", bytes_max, metrics) }
    }

    pub(crate) fn forget(&self, file: &DataFile) {
        let gone = hash(file);
        self.cache.remove_if(|name| name.file == gone);
    }

    /// The pages of these columns of a row group that hold these rows, which are in ascending order.
    pub(super) async fn of_rows(
        &self,
        file: &DataFile,
        footer: &Arc<ParquetMetaData>,
        group: usize,
        leaves: impl Iterator<Item = usize>,
        rows: &[usize],
    ) -> Result<GroupPages, Error> {
        let failed = || Error::rows(format!("look up rows in {}", file.path));
        let path = hash(file);
        let mut columns = AHashMap::new();
        let mut missing: Vec<(usize, Option<usize>)> = Vec::new();
        for leaf in leaves {
            let mut column = Column::of(footer, group, leaf, rows)
                .ok_or_else(|| Error::corrupt(&file.path, format!("row group {group} has no page index")))?;
            for (page, held) in &mut column.pages {
                *held = self.cache.get(&PageName { file: path, group, leaf, page: *page });
                if held.is_none() {
                    missing.push((leaf, *page));
                }
            }
            columns.insert(leaf, column);
        }
        let ranges: Vec<Range<u64>> =
            missing.iter().filter_map(|(leaf, page)| columns.get(leaf)?.range(*page)).collect();
        if !ranges.is_empty() {
            let read = self.metadata.store().get_ranges(&file.path, &ranges).await;
            let read = read.map_err(Error::store("look up rows in", &file.path))?;
            let bytes = Arc::new(Sparse(ranges.iter().map(|range| range.start).zip(read).collect()));
            for column in columns.values_mut() {
                column.decode(&bytes).map_err(failed())?;
            }
        }
        for (leaf, page) in missing {
            let held = columns.get(&leaf).and_then(|column| column.page(page));
            if let Some(held) = held {
                // What a page costs beside its bytes is little against them, save that of columns with hardly any.
                let bytes = held.buffer().len() + size_of::<Page>() + size_of::<PageName>();
                self.cache.insert(&PageName { file: path, group, leaf, page }, Arc::clone(held), bytes);
            }
        }
        Ok(GroupPages { footer: Arc::clone(footer), group, columns })
    }
}

fn hash(file: &DataFile) -> u128 {
    XxHash3_128::oneshot(file.path.as_ref().as_bytes())
}

/// The pages of one column that are needed.
struct Column {
    chunk: ColumnChunkMetaData,
    places: Vec<PageLocation>,
    rows: usize,
    /// By number, the dictionary (none) first.
    pages: Vec<(Option<usize>, Option<Arc<Page>>)>,
}

impl Column {
    fn of(footer: &ParquetMetaData, group: usize, leaf: usize, wanted: &[usize]) -> Option<Column> {
        let metadata = footer.row_groups().get(group)?;
        let chunk = metadata.columns().get(leaf)?.clone();
        let places = footer.offset_index()?.get(group)?.get(leaf)?.page_locations().clone();
        let mut needed: Vec<usize> = Vec::new();
        for row in wanted {
            let row = i64::try_from(*row).ok()?;
            let page = places.partition_point(|place| place.first_row_index <= row).checked_sub(1)?;
            if needed.last() != Some(&page) {
                needed.push(page);
            }
        }
        let dictionary = chunk.dictionary_page_offset().map(|_| (None, None));
        let pages = dictionary.into_iter().chain(needed.into_iter().map(|page| (Some(page), None))).collect();
        let rows = usize::try_from(metadata.num_rows()).ok()?;
        Some(Column { chunk, places, rows, pages })
    }

    fn page(&self, page: Option<usize>) -> Option<&Arc<Page>> {
        self.pages.iter().find(|(number, _)| *number == page)?.1.as_ref()
    }

    /// Where a page is in the file.
    fn range(&self, page: Option<usize>) -> Option<Range<u64>> {
        let start = |place: &PageLocation| u64::try_from(place.offset).ok();
        match page {
            Some(page) => {
                let place = self.places.get(page)?;
                Some(start(place)?..start(place)? + u64::try_from(place.compressed_page_size).ok()?)
            }
            None => Some(u64::try_from(self.chunk.dictionary_page_offset()?).ok()?..start(self.places.first()?)?),
        }
    }

    /// Decompresses the pages that are not held yet.
    fn decode(&mut self, bytes: &Arc<Sparse>) -> Result<(), ParquetError> {
        if self.pages.iter().all(|(_, held)| held.is_some()) {
            return Ok(());
        }
        let places = Some(self.places.clone());
        let mut reader = SerializedPageReader::new(Arc::clone(bytes), &self.chunk, self.rows, places)?;
        let mut next = 0;
        for (page, held) in &mut self.pages {
            if let Some(page) = page {
                while next < *page {
                    reader.skip_next_page()?;
                    next += 1;
                }
                next += 1;
            }
            if held.is_some() {
                reader.skip_next_page()?;
            } else {
                *held = reader.get_next_page()?.map(Arc::new);
            }
        }
        Ok(())
    }

    /// The rows of a page.
    fn rows_of(&self, page: usize) -> usize {
        let start = |page: usize| self.places.get(page).and_then(|p| usize::try_from(p.first_row_index).ok());
        start(page + 1).unwrap_or(self.rows).saturating_sub(start(page).unwrap_or(0))
    }

    fn reader(&self) -> ColumnPages {
        let held = |page: Option<usize>| self.page(page).map(|page| Page::clone(page));
        let dictionary = held(None).map(|page| (Some(page), None));
        let data = (0..self.places.len()).map(|page| (held(Some(page)), Some(self.rows_of(page))));
        let steps: Vec<_> = dictionary.into_iter().chain(data).collect();
        ColumnPages { steps: steps.into_iter().peekable() }
    }
}

/// Parts of a file, by where they begin.
struct Sparse(Vec<(u64, Bytes)>);

impl Length for Sparse {
    fn len(&self) -> u64 {
        self.0.iter().map(|(start, bytes)| start + bytes.len() as u64).max().unwrap_or(0)
    }
}

impl ChunkReader for Sparse {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        self.get_bytes(start, 0).map(Buf::reader)
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let part = self.0.iter().find_map(|(begin, bytes)| {
            let from = usize::try_from(start.checked_sub(*begin)?).ok()?;
            (from < bytes.len() && from + length <= bytes.len()).then(|| match length {
                0 => bytes.slice(from..),
                _ => bytes.slice(from..from + length),
            })
        });
        part.ok_or_else(|| ParquetError::General(format!("bytes {start}.. of the file were not read")))
    }
}

/// Pages of one row group, as readers of columns want them.
pub(super) struct GroupPages {
    footer: Arc<ParquetMetaData>,
    group: usize,
    columns: AHashMap<usize, Column>,
}

impl ParquetRowGroups for GroupPages {
    fn num_rows(&self) -> usize {
        self.row_groups().map(|group| usize::try_from(group.num_rows()).unwrap_or(0)).sum()
    }

    fn column_chunks(&self, leaf: usize) -> parquet::errors::Result<Box<dyn PageIterator>> {
        let column = self.columns.get(&leaf);
        let column = column.ok_or_else(|| ParquetError::General(format!("column {leaf} was not read")))?;
        Ok(Box::new(OneChunk(Some(column.reader()))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(self.footer.row_groups().get(self.group).into_iter())
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.footer
    }
}

struct OneChunk(Option<ColumnPages>);

impl Iterator for OneChunk {
    type Item = parquet::errors::Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(|pages| Ok(Box::new(pages) as Box<dyn PageReader>))
    }
}

impl PageIterator for OneChunk {}

/// A page, if it was read, and how many rows it has; none of a dictionary.
type Place = (Option<Page>, Option<usize>);

/// The pages of one column chunk in order. Those that were not read can only be skipped.
struct ColumnPages {
    steps: std::iter::Peekable<std::vec::IntoIter<Place>>,
}

impl Iterator for ColumnPages {
    type Item = parquet::errors::Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for ColumnPages {
    fn get_next_page(&mut self) -> parquet::errors::Result<Option<Page>> {
        match self.steps.next() {
            None => Ok(None),
            Some((Some(page), _)) => Ok(Some(page)),
            Some((None, _)) => Err(ParquetError::General("a page without wanted rows was not read".to_owned())),
        }
    }

    fn peek_next_page(&mut self) -> parquet::errors::Result<Option<PageMetadata>> {
        let metadata = |(_, rows): &Place| PageMetadata { num_rows: *rows, num_levels: None, is_dict: rows.is_none() };
        Ok(self.steps.peek().map(metadata))
    }

    fn skip_next_page(&mut self) -> parquet::errors::Result<()> {
        self.steps.next();
        Ok(())
    }

    fn at_record_boundary(&mut self) -> parquet::errors::Result<bool> {
        // Pages of the offset index begin with a row ("Parquet: Page Index", PageLocation.first_row_index).
        Ok(true)
    }
}
