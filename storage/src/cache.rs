//! Footers of Parquet files, kept in memory within a limit.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::MetadataFetch;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use prometheus::IntGauge;

use crate::data_file::DataFile;
use crate::error::Error;
use crate::metrics::Metrics;

/// First read from the end of a file: nearly always the whole footer with the page index.
const FOOTER_GUESS: usize = 256 << 10;

/// A map that forgets what was used longest ago when it grows beyond its limit.
pub(crate) struct Cache<V, K = Path> {
    bytes_max: usize,
    gauge: IntGauge,
    inner: Mutex<Entries<V, K>>,
}

struct Entries<V, K> {
    entries: HashMap<K, Entry<V>>,
    bytes: usize,
    uses: u64,
}

struct Entry<V> {
    value: Arc<V>,
    bytes: usize,
    used: u64,
}

impl<V, K: Clone + Eq + Hash> Cache<V, K> {
    pub(crate) fn new(name: &str, bytes_max: usize, metrics: &Metrics) -> Self {
        let gauge = metrics.index_cache_bytes.with_label_values(&[name]);
        let inner = Mutex::new(Entries { entries: HashMap::new(), bytes: 0, uses: 0 });
        Self { bytes_max, gauge, inner }
    }

    pub(crate) fn get(&self, name: &K) -> Option<Arc<V>> {
        let mut inner = self.inner.lock();
        inner.uses += 1;
        let used = inner.uses;
        let entry = inner.entries.get_mut(name)?;
        entry.used = used;
        Some(entry.value.clone())
    }

    pub(crate) fn insert(&self, name: &K, value: Arc<V>, bytes: usize) {
        let mut inner = self.inner.lock();
        inner.uses += 1;
        let entry = Entry { value, bytes, used: inner.uses };
        inner.bytes += bytes;
        if let Some(before) = inner.entries.insert(name.clone(), entry) {
            inner.bytes -= before.bytes;
        }
        if inner.bytes > self.bytes_max {
            inner.evict(self.bytes_max - self.bytes_max / 8);
        }
        self.gauge.set(inner.bytes as i64);
    }

    pub(crate) fn remove(&self, name: &K) {
        self.remove_if(|other| other == name);
    }

    pub(crate) fn remove_if(&self, is_gone: impl Fn(&K) -> bool) {
        let mut inner = self.inner.lock();
        let Entries { entries, bytes, .. } = &mut *inner;
        entries.retain(|name, entry| {
            let is_kept = !is_gone(name);
            *bytes -= if is_kept { 0 } else { entry.bytes };
            is_kept
        });
        self.gauge.set(inner.bytes as i64);
    }
}

impl<V, K: Clone + Eq + Hash> Entries<V, K> {
    /// Forgets the entries that were used longest ago, until no more than `keep` bytes are left.
    fn evict(&mut self, keep: usize) {
        let mut by_use: Vec<_> = self.entries.iter().map(|(name, e)| (e.used, name.clone())).collect();
        by_use.sort_unstable_by_key(|(used, _)| *used);
        for (_, name) in by_use {
            if self.bytes <= keep {
                break;
            }
            if let Some(gone) = self.entries.remove(&name) {
                self.bytes -= gone.bytes;
            }
        }
    }
}

/// Footers of Parquet files.
pub(crate) struct MetadataCache {
    store: Arc<dyn ObjectStore>,
    cache: Cache<ParquetMetaData>,
    /// The same, with Arrow's schema.
    arrow: Cache<ArrowReaderMetadata>,
}

impl MetadataCache {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, bytes_max: usize, metrics: &Metrics) -> Self {
        let arrow = Cache::new("schemas", bytes_max, metrics);
        Self { store, cache: Cache::new("footers", bytes_max, metrics), arrow }
    }

    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// The footer of `file` with its page index.
    pub(crate) async fn get(&self, file: &DataFile) -> Result<Arc<ParquetMetaData>, Error> {
        if let Some(found) = self.cache.get(&file.path) {
            return Ok(found);
        }
        let metadata = Arc::new(read_metadata(&self.store, file).await?);
        self.cache.insert(&file.path, metadata.clone(), metadata.memory_size());
        Ok(metadata)
    }

    /// The footer of `file`, ready for reading rows.
    pub(crate) async fn arrow(&self, file: &DataFile) -> Result<Arc<ArrowReaderMetadata>, Error> {
        // Of a schema: some bytes a column.
        const SCHEMA_BYTES: usize = 32 << 10;
        if let Some(found) = self.arrow.get(&file.path) {
            return Ok(found);
        }
        let footer = self.get(file).await?;
        let arrow = ArrowReaderMetadata::try_new(footer, ArrowReaderOptions::new())
            .map_err(Error::rows(format!("read the schema of {}", file.path)))?;
        let arrow = Arc::new(arrow);
        self.arrow.insert(&file.path, Arc::clone(&arrow), SCHEMA_BYTES);
        Ok(arrow)
    }

    pub(crate) fn forget(&self, file: &DataFile) {
        self.arrow.remove(&file.path);
        self.cache.remove(&file.path);
    }
}

/// Reads a footer without keeping it.
pub(crate) async fn read_metadata(store: &Arc<dyn ObjectStore>, file: &DataFile) -> Result<ParquetMetaData, Error> {
    let fetch = Fetch { store, path: &file.path };
    let reader = ParquetMetaDataReader::new()
        .with_page_index_policy(PageIndexPolicy::Optional)
        .with_prefetch_hint(Some(FOOTER_GUESS));
    reader.load_and_finish(fetch, file.size_bytes).await.map_err(|e| match is_missing(&e) {
        true => Error::Missing { path: file.path.to_string() },
        false => Error::rows(format!("read the footer of {}", file.path))(e),
    })
}

/// Reads the footer of an object that no manifest describes, without its page index.
pub(crate) async fn read_footer(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    size: u64,
) -> Result<ParquetMetaData, ParquetError> {
    ParquetMetaDataReader::new().load_and_finish(Fetch { store, path }, size).await
}

fn is_missing(error: &ParquetError) -> bool {
    let ParquetError::External(e) = error else { return false };
    matches!(e.downcast_ref(), Some(object_store::Error::NotFound { .. }))
}

struct Fetch<'a> {
    store: &'a Arc<dyn ObjectStore>,
    path: &'a Path,
}

impl MetadataFetch for Fetch<'_> {
    fn fetch(&mut self, range: std::ops::Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        async move {
            let read = self.store.get_range(self.path, range).await;
            read.map_err(|e| ParquetError::External(Box::new(e)))
        }
        .boxed()
    }
}
