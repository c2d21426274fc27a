//! Reads single rows by their id, whenever they were: spans by trace, hop keys by hash.
//!
//! A query engine plans, and reads what it needs of a footer anew, for each question; a
//! flow asks dozens of these one after the other. Here the files' footers stay as they
//! were read, bloom filters say which row groups may have an id, and of those only the
//! pages with the rows are decoded, several files at once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use ahash::HashSet;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, take};
use arrow::datatypes::{Int32Type, Schema, SchemaRef};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
use hopline_model::{Table, schema};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowPredicateFn, ArrowReaderMetadata, ArrowReaderOptions, RowFilter, RowSelection, RowSelector,
};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::page_index::column_index::ColumnIndexMetaData;

use crate::data_file::DataFile;
use crate::error::Error;
use crate::snapshot::Snapshot;
use crate::sort::column;
use crate::storage::Storage;

/// An id of a table's [`Table::id_column`].
pub type RowId = [u8; 16];

/// What is looked for.
#[derive(Debug)]
struct Wanted {
    table: Table,
    tenant: String,
    ids: HashSet<RowId>,
    /// The columns of the answer.
    schema: SchemaRef,
    /// Those, the tenant and the id.
    names: Vec<&'static str>,
    id_column: &'static str,
}

impl Storage {
    /// The rows of `tenant` in `table` that have one of `ids`, with these columns of the table.
    ///
    /// Only for tables whose [`Table::id_column`] is 16 bytes. Runs on the current tokio runtime, which it keeps
    /// busy: it is for one that runs queries.
    pub async fn lookup(
        &self,
        snapshot: &Snapshot,
        table: Table,
        tenant: &str,
        ids: &[RowId],
        columns: &[&'static str],
    ) -> Result<Vec<RecordBatch>, Error> {
        let wanted = Arc::new(Wanted::new(table, tenant, ids, columns)?);
        let mut parts: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        let of_tenant =
            |file: &DataFile| file.tenants.as_ref().is_none_or(|tenants| tenants.iter().any(|t| t == tenant));
        let files: Vec<Arc<DataFile>> = snapshot.files(table).iter().filter(|f| of_tenant(f)).cloned().collect();
        for id in &wanted.ids {
            for (file, groups) in self.inner().id_index.find(&files, id).await? {
                let at = files.iter().position(|f| Arc::ptr_eq(f, &file));
                at.into_iter().for_each(|at| parts.entry(at).or_default().extend(groups.iter().copied()));
            }
        }
        let mut readers = Vec::with_capacity(parts.len());
        for (at, groups) in parts {
            let Some(file) = files.get(at).cloned() else { continue };
            let (storage, wanted) = (self.clone(), Arc::clone(&wanted));
            readers.push(tokio::spawn(async move { storage.lookup_in(&file, groups, &wanted).await }));
        }
        let mut found = Vec::new();
        for batch in snapshot.hot(table) {
            found.extend(wanted.of_memory(batch)?);
        }
        for reader in readers {
            let batches = reader.await.map_err(|e| Error::rows("look up rows")(std::io::Error::other(e)))??;
            found.extend(batches);
        }
        Ok(found)
    }

    async fn lookup_in(
        &self,
        file: &DataFile,
        groups: BTreeSet<usize>,
        wanted: &Arc<Wanted>,
    ) -> Result<Vec<RecordBatch>, Error> {
        let failed = || Error::rows(format!("look up rows in {}", file.path));
        let metadata = self.inner().metadata.arrow(file).await?;
        let (groups, selection) = pages(metadata.metadata(), groups, wanted);
        if groups.is_empty() {
            return Ok(Vec::new());
        }
        let columns = metadata.metadata().file_metadata().schema_descr_ptr();
        let mask = |names: &[&'static str]| {
            let roots = metadata.schema().fields().iter().enumerate();
            let roots = roots.filter(|(_, field)| names.contains(&field.name().as_str())).map(|(i, _)| i);
            ProjectionMask::roots(&columns, roots)
        };
        let is_wanted = {
            let wanted = Arc::clone(wanted);
            move |batch: RecordBatch| Ok(wanted.matches(batch.column(0)))
        };
        let predicate = ArrowPredicateFn::new(mask(&[wanted.id_column]), is_wanted);
        let reader =
            FileBytes { store: self.store(), path: file.path.clone(), metadata: Arc::clone(metadata.metadata()) };
        let mut builder =
            ParquetRecordBatchStreamBuilder::new_with_metadata(reader, ArrowReaderMetadata::clone(&metadata))
                .with_row_groups(groups)
                .with_projection(mask(&wanted.names))
                .with_row_filter(RowFilter::new(vec![Box::new(predicate)]));
        if let Some(selection) = selection {
            builder = builder.with_row_selection(selection);
        }
        let stream = builder.build().map_err(failed())?;
        let batches: Vec<RecordBatch> = stream.try_collect().await.map_err(failed())?;
        let mut found = Vec::with_capacity(batches.len());
        for batch in batches {
            found.extend(wanted.of_tenant(&batch)?);
        }
        Ok(found)
    }
}

/// The bytes of one file.
struct FileBytes {
    store: Arc<dyn ObjectStore>,
    path: Path,
    metadata: Arc<ParquetMetaData>,
}

impl AsyncFileReader for FileBytes {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        let read = async move { self.store.get_range(&self.path, range).await };
        read.map(|bytes| bytes.map_err(|e| ParquetError::External(Box::new(e)))).boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        let read = async move { self.store.get_ranges(&self.path, &ranges).await };
        read.map(|bytes| bytes.map_err(|e| ParquetError::External(Box::new(e)))).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        let metadata = Arc::clone(&self.metadata);
        async move { Ok(metadata) }.boxed()
    }
}

impl Wanted {
    fn new(table: Table, tenant: &str, ids: &[RowId], columns: &[&'static str]) -> Result<Wanted, Error> {
        let whole = schema::of(table);
        let missing = |name: &str| Error::corrupt("a look-up", format!("{table} has no column {name}"));
        let id_column = table.id_column().ok_or_else(|| missing("with ids"))?;
        let fields = columns.iter().map(|name| whole.field_with_name(name).cloned().map_err(|_| missing(name)));
        let schema = Arc::new(Schema::new(fields.collect::<Result<Vec<_>, _>>()?));
        let mut names = columns.to_vec();
        names.extend(["tenant", id_column]);
        Ok(Wanted { table, tenant: tenant.to_owned(), ids: ids.iter().copied().collect(), schema, names, id_column })
    }

    fn holds(&self, id: &[u8]) -> bool {
        id.try_into().is_ok_and(|id: RowId| self.ids.contains(&id))
    }

    fn matches(&self, ids: &ArrayRef) -> BooleanArray {
        let Some(ids) = ids.as_fixed_size_binary_opt() else { return BooleanArray::from(vec![false; ids.len()]) };
        (0..ids.len()).map(|row| Some(ids.is_valid(row) && self.holds(ids.value(row)))).collect()
    }

    /// The wanted rows of a batch in memory.
    fn of_memory(&self, batch: &RecordBatch) -> Result<Option<RecordBatch>, Error> {
        let ids = column(batch, self.id_column)?;
        let Some(ids) = ids.as_fixed_size_binary_opt() else {
            return Err(Error::corrupt("a batch", format!("{} of {} is not an id", self.id_column, self.table)));
        };
        let rows: Vec<u32> = (0..ids.len())
            .filter(|row| ids.is_valid(*row) && self.holds(ids.value(*row)))
            .map(|row| row as u32)
            .collect();
        if rows.is_empty() {
            return Ok(None);
        }
        let rows = UInt32Array::from(rows);
        let failed = || Error::rows("look up rows in memory");
        let mut fields = Vec::with_capacity(self.names.len());
        let mut columns = Vec::with_capacity(self.names.len());
        for name in self.names.iter().take(self.names.len() - 1) {
            let index = batch.schema().index_of(name).map_err(failed())?;
            fields.push(batch.schema().field(index).clone());
            columns.push(take(batch.column(index), &rows, None).map_err(failed())?);
        }
        let taken = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(failed())?;
        self.of_tenant(&taken)
    }

    /// The rows of the tenant, with the columns of the answer.
    fn of_tenant(&self, batch: &RecordBatch) -> Result<Option<RecordBatch>, Error> {
        let failed = || Error::rows("look up rows");
        let tenants = column(batch, "tenant")?.as_dictionary_opt::<Int32Type>();
        let words = tenants.and_then(|d| Some((d, d.values().as_string_opt::<i32>()?)));
        let (tenants, words) = words.ok_or_else(|| Error::corrupt("a batch", "its tenant is not a word"))?;
        let is_own =
            |row: usize| tenants.key(row).filter(|k| *k < words.len()).is_some_and(|k| words.value(k) == self.tenant);
        let own: BooleanArray = (0..batch.num_rows()).map(|row| Some(is_own(row))).collect();
        let batch = if own.true_count() == batch.num_rows() {
            batch.clone()
        } else {
            filter_record_batch(batch, &own).map_err(failed())?
        };
        if batch.num_rows() == 0 {
            return Ok(None);
        }
        let columns: Result<Vec<ArrayRef>, Error> = self
            .schema
            .fields()
            .iter()
            .map(|field| Ok(Arc::clone(batch.column(batch.schema().index_of(field.name()).map_err(failed())?))))
            .collect();
        RecordBatch::try_new(Arc::clone(&self.schema), columns?).map(Some).map_err(failed())
    }
}

/// Of row groups, the pages whose range of ids holds one that is wanted. Where rows are sorted by the id this is one
/// page, and where they are not, all.
fn pages(metadata: &ParquetMetaData, groups: BTreeSet<usize>, wanted: &Wanted) -> (Vec<usize>, Option<RowSelection>) {
    let groups: Vec<usize> = groups.into_iter().filter(|g| *g < metadata.num_row_groups()).collect();
    if !wanted.table.sort_columns().contains(&wanted.id_column) {
        return (groups, None);
    }
    let columns = metadata.file_metadata().schema_descr().columns();
    let Some(leaf) = columns.iter().position(|c| c.path().string() == wanted.id_column) else { return (groups, None) };
    let (Some(ranges), Some(places)) = (metadata.column_index(), metadata.offset_index()) else {
        return (groups, None);
    };
    let mut sorted: Vec<&RowId> = wanted.ids.iter().collect();
    sorted.sort_unstable();
    let mut selectors = Vec::new();
    let mut kept = Vec::with_capacity(groups.len());
    for group in groups {
        let rows = usize::try_from(metadata.row_group(group).num_rows()).unwrap_or(0);
        let range = ranges.get(group).and_then(|columns| columns.get(leaf));
        let place = places.get(group).and_then(|columns| columns.get(leaf));
        let (Some(ColumnIndexMetaData::FIXED_LEN_BYTE_ARRAY(range)), Some(place)) = (range, place) else {
            selectors.push(RowSelector::select(rows));
            kept.push(group);
            continue;
        };
        let starts: Vec<usize> =
            place.page_locations().iter().map(|p| usize::try_from(p.first_row_index).unwrap_or(0)).collect();
        let mut of_group = Vec::with_capacity(starts.len());
        for (page, start) in starts.iter().enumerate() {
            let end = starts.get(page + 1).copied().unwrap_or(rows);
            let holds = match (range.min_value(page), range.max_value(page)) {
                (Some(min), Some(max)) => {
                    let at = sorted.partition_point(|id| id.as_slice() < min);
                    sorted.get(at).is_some_and(|id| id.as_slice() <= max)
                }
                _ => true,
            };
            let length = end.saturating_sub(*start);
            of_group.push(if holds { RowSelector::select(length) } else { RowSelector::skip(length) });
        }
        if of_group.iter().any(|s| !s.skip) {
            selectors.extend(of_group);
            kept.push(group);
        }
    }
    (kept, Some(RowSelection::from(selectors)))
}
