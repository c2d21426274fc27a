//! The door of this room.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use hopline_model::{Table, TraceId};
use object_store::ObjectStore;
use parquet::file::metadata::ParquetMetaData;
use prometheus::Registry;

use crate::clock::Clock;
use crate::config::Config;
use crate::data_file::DataFile;
use crate::error::Error;
use crate::log::Replay;
use crate::recent::Recent;
use crate::record::{Position, Record};
use crate::snapshot::Snapshot;
use crate::trace_index::TraceHit;
use crate::verify::VerifyReport;

/// How a data folder is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// By the one server that writes to it.
    ReadWrite,
    /// While no server runs; nothing on disk is changed.
    ReadOnly,
}

/// How far some long work has come.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// Units done.
    pub done: u64,
    /// Units in all.
    pub total: u64,
    /// What is being worked on.
    pub item: &'a str,
}

/// Is told how far some long work has come.
pub type Progress<'a> = &'a (dyn Fn(Step<'_>) + Sync);

/// What a compaction or expiry did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Files that were in use and are no more.
    pub files_removed: u64,
    /// Files made.
    pub files_added: u64,
    /// Bytes of the removed files.
    pub bytes_removed: u64,
    /// Bytes of the files made.
    pub bytes_added: u64,
    /// Rows removed: duplicates, or rows past their time.
    pub rows_removed: u64,
}

/// What admission wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pressure {
    /// Bytes of rows in memory.
    pub hot_bytes: usize,
    /// Their limit.
    pub hot_bytes_max: usize,
    /// Whether the last write to disk found no space. It clears itself.
    pub disk_full: bool,
}

/// The storage of one data folder. Cheap to clone.
#[derive(Clone)]
pub struct Storage {
    inner: Arc<()>,
}

#[allow(missing_docs, unused_variables, clippy::todo)]
impl Storage {
    pub fn open(dir: &Path, config: Config, mode: Mode, clock: Arc<dyn Clock>, registry: &Registry) -> Result<(Storage, Replay), Error> { todo!() }
    pub fn append(&self, records: &[Record]) -> Result<Position, Error> { todo!() }
    pub fn sync(&self) -> Result<(), Error> { todo!() }
    pub fn publish(&self, batches: Vec<(Table, RecordBatch)>, upto: Position) { todo!() }
    pub fn snapshot(&self) -> Snapshot { todo!() }
    pub fn recent(&self) -> &Recent { todo!() }
    pub fn hot_bytes(&self) -> usize { todo!() }
    pub fn pressure(&self) -> Pressure { todo!() }
    pub fn ready_for_writes(&self) -> Result<(), Error> { todo!() }
    pub fn store(&self) -> Arc<dyn ObjectStore> { todo!() }
    pub fn dir(&self) -> &Path { todo!() }
    pub fn config(&self) -> &Config { todo!() }
    pub fn clock(&self) -> &Arc<dyn Clock> { todo!() }
    pub fn start_background(&self) { todo!() }
    pub fn flush(&self) -> Result<(), Error> { todo!() }
    pub fn compact(&self, progress: Progress<'_>) -> Result<Done, Error> { todo!() }
    pub fn expire(&self) -> Result<Done, Error> { todo!() }
    pub fn verify(&self, progress: Progress<'_>) -> Result<VerifyReport, Error> { todo!() }
    pub fn close(&self) -> Result<(), Error> { todo!() }
    pub async fn files_with_trace(&self, snapshot: &Snapshot, table: Table, trace: TraceId) -> Result<Vec<TraceHit>, Error> { todo!() }
    pub async fn parquet_metadata(&self, file: &DataFile) -> Result<Arc<ParquetMetaData>, Error> { todo!() }
}
