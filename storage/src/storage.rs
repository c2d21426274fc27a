//! The door of this room.

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arrow::array::RecordBatch;
use hopline_model::Table;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use parking_lot::Mutex;
use parquet::file::metadata::ParquetMetaData;
use prometheus::Registry;

use crate::background::Background;
use crate::cache::MetadataCache;
use crate::census::{self, Census, LogSpan};
use crate::changes::Changes;
use crate::clock::Clock;
use crate::config::{Config, seconds};
use crate::data_file::DataFile;
use crate::derive::Derive;
use crate::error::Error;
use crate::files::{Files, OsFiles};
use crate::folder;
use crate::gather::{compacted, concat};
use crate::hot::Hot;
use crate::id_index::{BloomIndex, IdHit, IdIndex};
use crate::log::{self, Log, Replay};
use crate::lookup::facts::RowGroups;
use crate::lookup::pages::Pages;
use crate::metrics::Metrics;
use crate::object::Objects;
use crate::recent::Recent;
use crate::record::{Position, Record};
use crate::snapshot::Snapshot;
use crate::table_log::TableLog;
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

/// A batch of fewer rows than this is copied if its builders kept much more room than it needs.
const SMALL_BATCH_ROWS: usize = 1_024;
/// What a row is expected to take at most.
const ROW_BYTES: usize = 2_048;

/// The storage of one data folder. Cheap to clone.
#[derive(Clone)]
pub struct Storage {
    inner: Arc<Inner>,
}

/// What changes together: rows in memory and the list of files.
pub(crate) struct State {
    pub(crate) hot: Hot,
    pub(crate) files: [Arc<Vec<Arc<DataFile>>>; Table::COUNT],
}

// Locks are taken in this order: flushing or maintaining, census, table_log, derive, state, doomed; log and damaged alone.
pub(crate) struct Inner {
    pub(crate) dir: PathBuf,
    pub(crate) log_dir: PathBuf,
    pub(crate) config: Config,
    mode: Mode,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) objects: Arc<Objects>,
    pub(crate) files: Arc<dyn Files>,
    pub(crate) writer: String,
    /// The next one; behind every sequence that was ever given, also to files that were never committed.
    sequence: AtomicU64,
    pub(crate) log: Mutex<Option<Log>>,
    pub(crate) recent: Recent,
    pub(crate) changes: Changes,
    pub(crate) derive: Mutex<Option<Box<dyn Derive>>>,
    pub(crate) state: Mutex<State>,
    pub(crate) table_log: Mutex<TableLog>,
    pub(crate) flushing: Mutex<()>,
    pub(crate) maintaining: Mutex<()>,
    /// Files that are not live any more; deleted when no snapshot holds them.
    pub(crate) doomed: Mutex<Vec<Arc<DataFile>>>,
    /// Files found damaged, which are not merged.
    pub(crate) damaged: Mutex<HashSet<object_store::path::Path>>,
    /// What was found on disk at the start that is not live.
    pub(crate) census: Mutex<Census>,
    pub(crate) metadata: Arc<MetadataCache>,
    pub(crate) id_index: Box<dyn IdIndex>,
    pub(crate) row_groups: RowGroups,
    pub(crate) pages: Pages,
    pub(crate) background: Background,
    closed: AtomicBool,
    lock: Mutex<Option<File>>,
}

/// What lies below the storage; tests put faulty ones here.
pub(crate) struct Below {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The folder of the objects, if they are local files.
    pub(crate) root: Option<PathBuf>,
    pub(crate) files: Arc<dyn Files>,
}

impl Storage {
    /// Opens a data folder: takes its lock, checks its version, reads the table log and
    /// scans the log. The records that are in no file yet are in the [`Replay`]: decode
    /// and [`Storage::publish`] them before anything is appended.
    pub fn open(
        dir: &Path,
        config: Config,
        mode: Mode,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> Result<(Storage, Replay), Error> {
        folder::find(dir, mode)?;
        let dir = dir.canonicalize().map_err(Error::io("open", dir))?;
        let local = LocalFileSystem::new_with_prefix(&dir)
            .map_err(Error::store("open", &object_store::path::Path::default()))?;
        let below = Below { store: Arc::new(local), root: Some(dir.clone()), files: Arc::new(OsFiles) };
        Self::open_on(&dir, below, config, mode, clock, registry)
    }

    pub(crate) fn open_on(
        dir: &Path,
        below: Below,
        config: Config,
        mode: Mode,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> Result<(Storage, Replay), Error> {
        config.validate()?;
        let objects = Arc::new(Objects::new(below.store, below.root)?);
        folder::check(dir, &objects, mode)?;
        let lock = folder::lock(dir, mode)?;
        let metrics = Arc::new(Metrics::new(registry)?);
        let writer = folder::open(&objects, clock.now_ns())?;
        let loaded = TableLog::load(&objects, &writer)?;
        let log_dir = dir.join("log");
        let first = log::segments(&log_dir)?.first().map(|s| s.first);
        census::check_log(first, &loaded)?;
        let recent = Recent::new(seconds(config.retry_window_s), config.retry_entries_max, metrics.clone());
        let files = (mode == Mode::ReadWrite).then_some(&below.files);
        let (log, replay, span) = open_log(&log_dir, &config, loaded.log.covered, &recent, files, &metrics)?;
        let census = census::take(&objects, &writer, &loaded, span)?;
        census::report(&census);
        metrics.damaged_files.inc_by(census.missing.len() as u64);
        let metadata = Arc::new(MetadataCache::new(objects.store().clone(), config.index_cache_bytes, &metrics));
        let id_index = Box::new(BloomIndex::new(metadata.clone(), config.index_cache_bytes, &metrics));
        let row_groups = RowGroups::new(metadata.clone(), config.index_cache_bytes.saturating_mul(2), &metrics);
        let pages = Pages::new(metadata.clone(), config.page_cache_bytes, &metrics);
        let state = State { hot: Hot::new(loaded.log.covered), files: by_table(loaded.files) };
        let inner = Inner {
            dir: dir.to_owned(),
            log_dir,
            config,
            mode,
            clock,
            metrics,
            objects,
            files: below.files,
            writer,
            sequence: AtomicU64::new(census.last_sequence + 1),
            log: Mutex::new(log),
            recent,
            changes: Changes::default(),
            derive: Mutex::default(),
            state: Mutex::new(state),
            table_log: Mutex::new(loaded.log),
            flushing: Mutex::default(),
            maintaining: Mutex::default(),
            doomed: Mutex::default(),
            damaged: Mutex::default(),
            census: Mutex::new(census),
            metadata,
            id_index,
            row_groups,
            pages,
            background: Background::default(),
            closed: AtomicBool::new(false),
            lock: Mutex::new(lock),
        };
        inner.show_state(&inner.state.lock());
        if mode == Mode::ReadWrite {
            inner.free_log(false);
            inner.sweep_unfinished();
            inner.sweep()?;
        }
        Ok((Storage { inner: Arc::new(inner) }, replay))
    }

    /// Appends a group of records to the log with one write, and gives the position of
    /// the last. Durable after [`Storage::sync`]. After an error nothing of them remains.
    pub fn append(&self, records: &[Record]) -> Result<Position, Error> {
        self.inner.writable()?;
        let mut log = self.inner.log.lock();
        log.as_mut().ok_or(Error::Closed)?.append(records)
    }

    /// Makes all appended records durable. After an error nothing remains of what was not synced before.
    pub fn sync(&self) -> Result<(), Error> {
        self.inner.writable()?;
        let mut log = self.inner.log.lock();
        log.as_mut().ok_or(Error::Closed)?.sync()
    }

    /// Makes rows visible: those decoded from the records up to and including `upto`,
    /// behind what was published before. Called in the order of the log by one committer,
    /// after it has told [`Storage::recent`] of the records.
    pub fn publish(&self, batches: Vec<(Table, RecordBatch)>, upto: Position) {
        let batches = batches.into_iter().filter(|(_, b)| b.num_rows() > 0);
        let batches: Vec<_> = batches.map(|(table, batch)| (table, Arc::new(slim(batch)))).collect();
        let inner = &self.inner;
        let is_full = {
            let mut state = inner.state.lock();
            state.hot.push(batches, upto, inner.clock.now_ns());
            inner.show_hot(&state);
            state.hot.is_full(&inner.config)
        };
        if is_full {
            inner.freeze(|hot| hot.is_full(&inner.config));
        }
        if !inner.state.lock().hot.frozen.is_empty() {
            inner.background.wake_flusher();
        }
        Table::ALL.iter().for_each(|table| inner.merge_small(*table));
    }

    /// Sets what says what follows from rows that are published from now on.
    pub fn derive_with(&self, derive: Box<dyn Derive>) {
        *self.inner.derive.lock() = Some(derive);
    }

    /// Lets a thread look at what follows from the rows that were published, if they are many. Else that is done when
    /// it is needed.
    pub fn derive_many(&self) {
        match self.inner.is_much_pending() {
            (_, true) => self.inner.derive_many(),
            (true, false) => self.inner.background.wake_deriver(),
            (false, false) => {}
        }
    }

    /// All rows at this instant. While it lives, its files stay.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.inner.derived_state();
        Snapshot {
            hot: Table::ALL.map(|table| state.hot.batches(table).cloned().collect()),
            files: state.files.clone(),
            upto: state.hot.active.upto,
        }
    }

    /// The requests of the last minutes, to recognise retries.
    pub fn recent(&self) -> &Recent {
        &self.inner.recent
    }

    /// Which hours of which functions no roll-up counts yet.
    pub fn changes(&self) -> &Changes {
        drop(self.inner.derived_state());
        &self.inner.changes
    }

    /// How many files of a table were removed by retention since the start. A snapshot that is taken afterwards is without
    /// all of them.
    pub fn expired_files(&self, table: Table) -> u64 {
        self.inner.metrics.expired_files.with_label_values(&[table.name()]).get()
    }

    /// Bytes of rows in memory.
    pub fn hot_bytes(&self) -> usize {
        self.inner.state.lock().hot.bytes
    }

    /// What admission wants to know.
    pub fn pressure(&self) -> Pressure {
        Pressure {
            hot_bytes: self.hot_bytes(),
            hot_bytes_max: self.inner.config.hot_bytes_max,
            disk_full: self.inner.metrics.disk_full.get() != 0,
        }
    }

    /// Whether more rows may come. The error says whether to try again. A full disk is
    /// found out by [`Storage::append`], which works again by itself when space returns.
    pub fn ready_for_writes(&self) -> Result<(), Error> {
        self.inner.writable()?;
        let Pressure { hot_bytes, hot_bytes_max, .. } = self.pressure();
        if hot_bytes >= hot_bytes_max {
            self.inner.background.wake_flusher();
            return Err(Error::HotFull { bytes: hot_bytes, max: hot_bytes_max });
        }
        Ok(())
    }

    /// Where the files are.
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        self.inner.objects.store().clone()
    }

    /// The data folder.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// Starts the threads that flush, merge and expire by themselves. They end with
    /// [`Storage::close`], or when the storage is dropped.
    pub fn start_background(&self) {
        if self.inner.mode == Mode::ReadWrite {
            self.inner.background.start(&self.inner);
        }
    }

    /// Writes all rows in memory to files.
    pub fn flush(&self) -> Result<(), Error> {
        self.inner.flush_all()
    }

    /// Merges small files until there is nothing to merge.
    pub fn compact(&self, progress: Progress<'_>) -> Result<Done, Error> {
        self.inner.compact_all(progress)
    }

    /// Removes files whose time is over or for which there is no room, and what was left by a crash.
    pub fn expire(&self) -> Result<Done, Error> {
        self.inner.expire()
    }

    /// Removes the data files that are missing on disk from the manifests: their rows are given up.
    pub fn forget_missing(&self) -> Result<Done, Error> {
        self.inner.forget_missing()
    }

    /// Reads everything back.
    pub fn verify(&self, progress: Progress<'_>) -> Result<VerifyReport, Error> {
        self.inner.verify(progress)
    }

    /// Ends the background threads, writes all rows in memory to files and gives the
    /// folder free. Nothing can be appended any more, also if it fails: then the log
    /// has what is in no file.
    pub fn close(&self) -> Result<(), Error> {
        let inner = &self.inner;
        inner.background.stop();
        if inner.closed.load(Ordering::SeqCst) {
            return Ok(());
        }
        let flushed = match inner.mode {
            Mode::ReadWrite => inner.flush_all(),
            Mode::ReadOnly => Ok(()),
        };
        inner.closed.store(true, Ordering::SeqCst);
        if inner.mode == Mode::ReadWrite {
            inner.free_log(flushed.is_ok());
            inner.delete_doomed();
        }
        *inner.log.lock() = None;
        *inner.lock.lock() = None;
        flushed
    }

    /// The files of a snapshot and their row groups that may hold rows with an id of the
    /// table's [`Table::id_column`]. A table without one gives all.
    pub async fn files_with_id(&self, snapshot: &Snapshot, table: Table, id: &[u8]) -> Result<Vec<IdHit>, Error> {
        self.inner.id_index.find(snapshot.files(table), id).await
    }

    /// The footer of a file, page index included, from memory if it was read before.
    pub async fn parquet_metadata(&self, file: &DataFile) -> Result<Arc<ParquetMetaData>, Error> {
        self.inner.metadata.get(file).await
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }
}

impl Inner {
    pub(crate) fn writable(&self) -> Result<(), Error> {
        match self.mode {
            Mode::ReadOnly => Err(Error::ReadOnly),
            Mode::ReadWrite if self.closed.load(Ordering::SeqCst) => Err(Error::Closed),
            Mode::ReadWrite => Ok(()),
        }
    }

    pub(crate) fn next_sequence(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::SeqCst)
    }

    /// Ends the active generation if `is_due`: what follows from its rows is in it. Gives whether there is something to flush.
    pub(crate) fn freeze(&self, is_due: impl FnOnce(&mut Hot) -> bool) -> bool {
        let mut state = self.derived_state();
        if is_due(&mut state.hot) {
            state.hot.freeze();
        }
        !state.hot.frozen.is_empty()
    }

    /// Merges small batches at the end of a table, outside of the lock.
    fn merge_small(&self, table: Table) {
        loop {
            let Some((generation, parts)) = self.state.lock().hot.small_batches(table) else { return };
            let batches: Vec<_> = parts.iter().map(|b| &**b).collect();
            match concat(&hopline_model::schema::of(table), &batches) {
                Ok(merged) => self.state.lock().hot.replace(generation, table, &parts, merged),
                Err(e) => {
                    tracing::error!(%table, error = &e as &dyn std::error::Error, "small batches stay apart");
                    return;
                }
            }
        }
    }

    pub(crate) fn show_hot(&self, state: &State) {
        self.metrics.hot_bytes.set(state.hot.bytes as i64);
        for table in Table::ALL {
            self.metrics.hot_rows.with_label_values(&[table.name()]).set(state.hot.rows(table) as i64);
        }
    }

    pub(crate) fn show_state(&self, state: &State) {
        self.show_hot(state);
        for (table, files) in Table::ALL.iter().zip(&state.files) {
            let labels = &[table.name()];
            self.metrics.live_files.with_label_values(labels).set(files.len() as i64);
            let sum = |of: fn(&DataFile) -> u64| files.iter().map(|f| of(f)).sum::<u64>() as i64;
            self.metrics.live_bytes.with_label_values(labels).set(sum(|f| f.size_bytes));
            self.metrics.live_rows.with_label_values(labels).set(sum(|f| f.rows));
        }
    }
}

/// Opens the log; for writing, if `files` are given.
fn open_log(
    dir: &Path,
    config: &Config,
    covered: Position,
    recent: &Recent,
    files: Option<&Arc<dyn Files>>,
    metrics: &Arc<Metrics>,
) -> Result<(Option<Log>, Replay, LogSpan), Error> {
    if files.is_some() {
        std::fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
    }
    recent.load(dir)?;
    let opened = log::open(dir, covered, recent, files.map(|f| &**f))?;
    let report = opened.replay.report();
    metrics.log_torn_bytes.inc_by(report.torn_bytes);
    metrics.log_damaged_records.inc_by((report.damaged.len() + report.gaps.len()) as u64);
    let (dir, bytes) = (dir.to_owned(), config.segment_bytes);
    let gap = report.gaps.first().map(|gap| gap.first);
    let span = LogSpan { first: opened.first, next: opened.next, gap };
    let log = files.map(|files| Log::new(dir, bytes, files.clone(), metrics.clone(), opened.sealed, opened.next));
    Ok((log, opened.replay, span))
}

fn by_table(files: Vec<DataFile>) -> [Arc<Vec<Arc<DataFile>>>; Table::COUNT] {
    let mut tables: [Vec<Arc<DataFile>>; Table::COUNT] = Default::default();
    for file in files {
        if let Some(list) = tables.get_mut(file.table.index()) {
            list.push(Arc::new(file));
        }
    }
    tables.map(Arc::new)
}

/// The sequence in the name of a data file of `writer`.
pub(crate) fn sequence_of(path: &object_store::path::Path, writer: &str) -> Option<u64> {
    let rest = path.filename()?.strip_prefix(writer)?.strip_prefix('-')?;
    rest.split('-').next()?.parse().ok()
}

/// Gives back the room that builders kept for more rows, where it is much.
pub(crate) fn slim(batch: RecordBatch) -> RecordBatch {
    let rows = batch.num_rows();
    if rows >= SMALL_BATCH_ROWS || batch.get_array_memory_size() <= rows * ROW_BYTES + (64 << 10) {
        return batch;
    }
    compacted(&batch).unwrap_or(batch)
}

#[cfg(test)]
mod tests;
