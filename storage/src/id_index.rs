//! Which files and row groups may hold a row with an id: of a trace, of a key, of an invocation.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use parquet::bloom_filter::Sbbf;
use parquet::data_type::ByteArray;
use parquet::file::metadata::ParquetMetaData;

use crate::cache::{Cache, MetadataCache};
use crate::data_file::DataFile;
use crate::error::Error;
use crate::metrics::Metrics;

/// A file that may hold the rows that were looked for, and its row groups that may.
pub type IdHit = (Arc<DataFile>, Vec<usize>);

/// Tells which files and row groups may hold an id of the table's [`hopline_model::Table::id_column`].
/// May name too many, never too few.
pub trait IdIndex: Send + Sync {
    /// Those of `files` that may hold rows with `id`, in the order of `files`.
    fn find<'a>(&'a self, files: &'a [Arc<DataFile>], id: &'a [u8]) -> BoxFuture<'a, Result<Vec<IdHit>, Error>>;

    /// Forgets a file that is being deleted.
    fn forget(&self, file: &DataFile);
}

/// Files asked at once.
const CONCURRENT: usize = 8;

/// By the Parquet files' own bloom filters, kept in memory within a limit.
pub(crate) struct BloomIndex {
    metadata: Arc<MetadataCache>,
    filters: Cache<Vec<Option<Sbbf>>>,
}

impl BloomIndex {
    pub(crate) fn new(metadata: Arc<MetadataCache>, bytes_max: usize, metrics: &Metrics) -> Self {
        Self { metadata, filters: Cache::new("filters", bytes_max, metrics) }
    }

    async fn filters(&self, file: &DataFile) -> Result<Arc<Vec<Option<Sbbf>>>, Error> {
        if let Some(found) = self.filters.get(&file.path) {
            return Ok(found);
        }
        let metadata = self.metadata.get(file).await?;
        let filters = Arc::new(self.read(file, &metadata).await?);
        let bytes = filters.iter().flatten().map(|f| f.num_blocks() * 32 + 32).sum();
        self.filters.insert(&file.path, filters.clone(), bytes);
        Ok(filters)
    }

    /// One filter a row group; none where a row group has none.
    async fn read(&self, file: &DataFile, metadata: &ParquetMetaData) -> Result<Vec<Option<Sbbf>>, Error> {
        let columns = metadata.file_metadata().schema_descr();
        let Some(column) =
            columns.columns().iter().position(|c| Some(c.path().string().as_str()) == file.table.id_column())
        else {
            return Ok(vec![None; metadata.num_row_groups()]);
        };
        let mut ranges = Vec::new();
        let mut places = Vec::with_capacity(metadata.num_row_groups());
        for group in metadata.row_groups() {
            let chunk = group.columns().get(column);
            let place = chunk.and_then(|c| Some((c.bloom_filter_offset()?, c.bloom_filter_length()?)));
            let range = place.and_then(|(offset, length)| {
                let start = u64::try_from(offset).ok()?;
                Some(start..start + u64::try_from(length).ok()?)
            });
            places.push(range.as_ref().map(|_| ranges.len()));
            ranges.extend(range);
        }
        let read = self.metadata.store().get_ranges(&file.path, &ranges).await;
        let read = read.map_err(Error::store("read the bloom filters of", &file.path))?;
        let parse = |place: Option<usize>| {
            let bytes = place.and_then(|at| read.get(at));
            bytes.map(|b| Sbbf::from_bytes(b)).transpose()
        };
        places
            .into_iter()
            .map(parse)
            .collect::<Result<_, _>>()
            .map_err(Error::rows(format!("read the bloom filters of {}", file.path)))
    }

    async fn hit(&self, file: &Arc<DataFile>, id: &[u8]) -> Result<Option<IdHit>, Error> {
        let filters = self.filters(file).await?;
        // A filter hashes the bytes alone, whether their length is fixed or not.
        let id = ByteArray::from(id.to_vec());
        let may = |filter: &Option<Sbbf>| filter.as_ref().is_none_or(|f| f.check(&id));
        let groups: Vec<usize> = filters.iter().enumerate().filter(|(_, f)| may(f)).map(|(i, _)| i).collect();
        Ok((!groups.is_empty()).then(|| (file.clone(), groups)))
    }
}

impl IdIndex for BloomIndex {
    fn find<'a>(&'a self, files: &'a [Arc<DataFile>], id: &'a [u8]) -> BoxFuture<'a, Result<Vec<IdHit>, Error>> {
        let hits = stream::iter(files.iter().map(move |file| self.hit(file, id)));
        hits.buffered(CONCURRENT).try_filter_map(async |hit| Ok(hit)).try_collect().boxed()
    }

    fn forget(&self, file: &DataFile) {
        self.metadata.forget(file);
        self.filters.remove(&file.path);
    }
}
