//! Reads rows, or small columns, of one row group.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchReader, UInt32Array, new_null_array};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::{Field, SchemaRef};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, RowGroups as _, RowSelection,
};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_field_levels};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;

use super::facts::GroupFacts;
use super::pages::GroupPages;
use crate::cache::MetadataCache;
use crate::data_file::DataFile;
use crate::error::Error;
use crate::storage::Inner;

/// These rows, in ascending order, with the columns of `schema`. What `facts` knows of the row group is not read.
pub(crate) async fn rows(
    storage: &Inner,
    file: &DataFile,
    group: usize,
    facts: Option<&GroupFacts>,
    rows: &[usize],
    schema: &SchemaRef,
) -> Result<RecordBatch, Error> {
    let arrow = storage.metadata.arrow(file).await?;
    let constant = |name: &str| facts.and_then(|facts| facts.constant(name));
    let is_read = |name: &str| schema.field_with_name(name).is_ok() && constant(name).is_none();
    let mask = projection(&arrow, is_read);
    let leaves = (0..arrow.parquet_schema().num_columns()).filter(|leaf| mask.leaf_included(*leaf));
    let pages = storage.pages.of_rows(file, arrow.metadata(), group, leaves, rows).await?;
    let batch = decode(&arrow, mask, &pages, rows).map_err(Error::rows(format!("look up rows in {}", file.path)))?;
    let failed = || Error::rows(format!("look up rows in {}", file.path));
    let column = |field: &Arc<Field>| -> Result<ArrayRef, Error> {
        if let Some(column) = batch.column_by_name(field.name()) {
            return Ok(Arc::clone(column));
        }
        match constant(field.name()) {
            Some(one) => take(one, &UInt32Array::from(vec![0; batch.num_rows()]), None).map_err(failed()),
            // The file is older than the column.
            None if field.is_nullable() => Ok(new_null_array(field.data_type(), batch.num_rows())),
            None => Err(Error::corrupt(&file.path, format!("has no column {}", field.name()))),
        }
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(failed())
}

/// These rows of a batch in memory, with the columns of `schema`.
pub(crate) fn of_memory(batch: &RecordBatch, rows: Vec<u32>, schema: &SchemaRef) -> Result<RecordBatch, Error> {
    let rows = UInt32Array::from(rows);
    let failed = || Error::rows("look up rows in memory");
    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let index = batch.schema().index_of(field.name()).map_err(failed())?;
        columns.push(take(batch.column(index), &rows, None).map_err(failed())?);
    }
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(failed())
}

fn projection(arrow: &ArrowReaderMetadata, is_read: impl Fn(&str) -> bool) -> ProjectionMask {
    let fields = arrow.schema().fields().iter().enumerate();
    let roots = fields.filter(|(_, field)| is_read(field.name())).map(|(i, _)| i);
    ProjectionMask::roots(arrow.parquet_schema(), roots)
}

fn decode(
    arrow: &ArrowReaderMetadata,
    mask: ProjectionMask,
    pages: &GroupPages,
    rows: &[usize],
) -> Result<RecordBatch, ParquetError> {
    let levels = parquet_to_arrow_field_levels(arrow.parquet_schema(), mask, Some(arrow.schema().fields()))?;
    let ranges = rows.iter().map(|row| *row..*row + 1);
    let selection = RowSelection::from_consecutive_ranges(ranges, pages.num_rows());
    let reader = ParquetRecordBatchReader::try_new_with_row_groups(&levels, pages, rows.len().max(1), Some(selection))?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<Vec<_>, _>>()?;
    match batches.as_slice() {
        [one] => Ok(one.clone()),
        several => Ok(concat_batches(&schema, several)?),
    }
}

/// All rows of a row group, with the column of ids and those of at most `bytes_max` each.
pub(super) async fn all_of_small(
    metadata: &MetadataCache,
    file: &DataFile,
    group: usize,
    id_column: &str,
    bytes_max: i64,
) -> Result<RecordBatch, Error> {
    let arrow = metadata.arrow(file).await?;
    let footer = arrow.metadata();
    let chunks = footer.row_groups().get(group).map_or(&[][..], |group| group.columns());
    let is_read = |name: &str| {
        let leaves = chunks.iter().filter(|c| c.column_path().parts().first().is_some_and(|root| root == name));
        name == id_column || leaves.map(|c| c.uncompressed_size()).sum::<i64>() <= bytes_max
    };
    read(metadata, file, &arrow, group, projection(&arrow, is_read)).await
}

async fn read(
    metadata: &MetadataCache,
    file: &DataFile,
    arrow: &ArrowReaderMetadata,
    group: usize,
    mask: ProjectionMask,
) -> Result<RecordBatch, Error> {
    let failed = || Error::rows(format!("look up rows in {}", file.path));
    let footer = arrow.metadata();
    let Some(rows) = footer.row_groups().get(group).map(|group| group.num_rows()) else {
        return Err(Error::corrupt(&file.path, format!("has no row group {group}")));
    };
    let bytes =
        FileBytes { store: Arc::clone(metadata.store()), path: file.path.clone(), metadata: Arc::clone(footer) };
    let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(bytes, arrow.clone())
        .with_row_groups(vec![group])
        .with_batch_size(usize::try_from(rows).unwrap_or(0).max(1))
        .with_projection(mask);
    let stream = builder.build().map_err(failed())?;
    let schema = Arc::clone(stream.schema());
    let batches: Vec<RecordBatch> = stream.try_collect().await.map_err(failed())?;
    match batches.as_slice() {
        [one] => Ok(one.clone()),
        several => concat_batches(&schema, several).map_err(Error::rows(format!("look up rows in {}", file.path))),
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
