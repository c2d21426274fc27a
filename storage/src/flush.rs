//! From the hot tier to files, and the commits that make it so.
//!
//! The order of steps is what keeps each row exactly once, whatever stops us:
//! data files, then the manifest, then (in one lock) the swap of memory for files, then
//! the list of recent requests, then the log segments.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use hopline_model::Table;
use object_store::path::Path;

use crate::clock;
use crate::data_file::{DataFile, Names};
use crate::error::Error;
use crate::gather::gather;
use crate::hot::Generation;
use crate::object::is_disk_full;
use crate::parquet_file::{FileFacts, FileWriter, collect_names};
use crate::record::Position;
use crate::sort::sorted_rows;
use crate::storage::Inner;
use crate::table_log::{Pending, TableLog};

/// Rows brought together at once.
pub(crate) const CHUNK_ROWS: usize = 16_384;

impl Inner {
    /// Writes everything in memory to files.
    pub(crate) fn flush_all(&self) -> Result<(), Error> {
        self.writable()?;
        let _one_at_a_time = self.flushing.lock();
        self.settle()?;
        self.freeze(|_| true);
        while self.flush_one()? {}
        self.free_log(false);
        Ok(())
    }

    /// Writes what is large or old enough.
    pub(crate) fn flush_due(&self) -> Result<(), Error> {
        let _one_at_a_time = self.flushing.lock();
        self.settle()?;
        let now = self.clock.now_ns();
        let mut flushed = false;
        while self.tick(now) {
            flushed |= self.flush_one()?;
        }
        if flushed {
            self.free_log(false);
        }
        Ok(())
    }

    /// Freezes what is large or old enough. Gives whether there is something to flush.
    fn tick(&self, now: i64) -> bool {
        let (is_due, is_frozen) = {
            let hot = &mut self.state.lock().hot;
            (hot.is_due(now, &self.config), !hot.frozen.is_empty())
        };
        if is_due { self.freeze(|hot| hot.is_due(now, &self.config)) } else { is_frozen }
    }

    /// Writes the oldest frozen generation, if there is one.
    fn flush_one(&self) -> Result<bool, Error> {
        let Some(generation) = self.state.lock().hot.frozen.front().cloned() else { return Ok(false) };
        let started = Instant::now();
        let flushed = self.write_generation(&generation);
        self.note_disk(flushed.as_ref().err());
        if flushed.is_err() {
            self.metrics.flush_failures.inc();
        } else {
            self.metrics.flush_seconds.observe(started.elapsed().as_secs_f64());
        }
        flushed.map(|()| true)
    }

    fn write_generation(&self, generation: &Generation) -> Result<(), Error> {
        let mut files = Vec::new();
        for table in Table::ALL {
            let batches: Vec<&RecordBatch> =
                generation.tables.get(table.index()).into_iter().flatten().map(|b| &**b).collect();
            if batches.iter().all(|b| b.num_rows() == 0) {
                continue;
            }
            match self.write_table(table, &batches, generation.upto) {
                Ok(file) => files.push(file),
                Err(e) => {
                    self.discard(&files);
                    return Err(e);
                }
            }
        }
        for file in &files {
            self.metrics.flushed_rows.with_label_values(&[file.table.name()]).inc_by(file.rows);
            self.metrics.flushed_bytes.with_label_values(&[file.table.name()]).inc_by(file.size_bytes);
        }
        self.commit(generation.upto, files, &[], Some(generation.id))
    }

    fn write_table(&self, table: Table, batches: &[&RecordBatch], upto: Position) -> Result<DataFile, Error> {
        let rows = sorted_rows(table, batches)?;
        let facts = self.new_file(table, self.clock.now_ns(), 0, upto);
        let mut writer = FileWriter::new(self.objects.clone(), &self.config, facts)?;
        let mut names = Names::default();
        for chunk in rows.chunks(CHUNK_ROWS) {
            let batch =
                gather(writer.schema(), batches, chunk).map_err(Error::rows(format!("sort rows of {table}")))?;
            collect_names(table, &batch, &mut names)?;
            writer.write(&batch)?;
        }
        writer.finish(names)
    }

    /// The facts of a file that is to be written, with a name that no file ever had.
    pub(crate) fn new_file(&self, table: Table, created_at: i64, level: u8, upto: Position) -> FileFacts {
        let sequence = self.next_sequence();
        let date = clock::date(created_at);
        let path = Path::from(format!("data/{table}/{date}/{}-{sequence:012}-{table}.parquet", self.writer));
        FileFacts { table, path, writer: self.writer.clone(), created_at, level, upto }
    }

    /// Deletes files that were written and will not be committed.
    pub(crate) fn discard(&self, files: &[DataFile]) {
        for file in files {
            if let Err(e) = self.objects.delete(&file.path) {
                tracing::debug!(path = %file.path, error = &e as &dyn std::error::Error, "left for the sweep");
            }
        }
    }

    /// Makes `added` live and `removed` not, and drops the generation, all at once and durably.
    ///
    /// After an error the outcome may be unknown: the commit stays pending and is
    /// settled before the next one.
    pub(crate) fn commit(
        &self,
        covered: Position,
        added: Vec<DataFile>,
        removed: &[Arc<DataFile>],
        generation: Option<u64>,
    ) -> Result<(), Error> {
        let mut table = self.table_log.lock();
        self.settle_with(&mut table)?;
        if added.is_empty() && removed.is_empty() && covered <= table.covered {
            if let Some(id) = generation {
                self.state.lock().hot.remove(id);
            }
            return Ok(());
        }
        let started = Instant::now();
        table.prepare(self.next_sequence(), self.clock.now_ns(), covered, added, removed, generation)?;
        self.settle_with(&mut table)?;
        self.metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
        if table.manifests.len() >= self.config.checkpoint_manifests as usize {
            self.checkpoint(&mut table);
        }
        Ok(())
    }

    /// Brings a commit whose outcome is not known to an end.
    pub(crate) fn settle(&self) -> Result<(), Error> {
        self.settle_with(&mut self.table_log.lock())
    }

    fn settle_with(&self, table: &mut TableLog) -> Result<(), Error> {
        if let Some(done) = table.put_pending(&self.objects)? {
            self.apply(done);
        }
        Ok(())
    }

    /// The swap: one lock, so that no snapshot sees a row twice or not at all.
    fn apply(&self, done: Pending) {
        let mut state = self.state.lock();
        let mut gone = Vec::new();
        for table in Table::ALL {
            let Some(files) = state.files.get_mut(table.index()) else { continue };
            let is_gone = |f: &Arc<DataFile>| done.manifest.removed.iter().any(|path| *path == f.path.as_ref());
            let (removed, mut kept): (Vec<_>, Vec<_>) = files.iter().cloned().partition(is_gone);
            kept.extend(done.manifest.added.iter().filter(|f| f.table == table).cloned().map(Arc::new));
            *files = Arc::new(kept);
            gone.extend(removed);
        }
        if let Some(id) = done.generation {
            state.hot.remove(id);
        }
        self.show_state(&state);
        // Before the state is let go: a file is always in one of the two lists.
        self.doomed.lock().extend(gone);
    }

    fn checkpoint(&self, table: &mut TableLog) {
        let files: Vec<DataFile> = {
            let state = self.state.lock();
            state.files.iter().flat_map(|files| files.iter()).map(|f| DataFile::clone(f)).collect()
        };
        if let Err(e) = table.checkpoint(&self.objects, files, self.clock.now_ns()) {
            // The manifests are there: the next commit tries again.
            tracing::warn!(error = &e as &dyn std::error::Error, "checkpoint not written");
        }
    }

    /// Removes the log segments that are covered by files; with `all` the last one too.
    pub(crate) fn free_log(&self, all: bool) {
        let covered = self.table_log.lock().covered;
        let freed = self.recent.save(&self.log_dir, &*self.files).and_then(|()| {
            let mut log = self.log.lock();
            log.as_mut().map_or(Ok(()), |log| log.remove_covered(covered, all))
        });
        if let Err(e) = freed {
            tracing::warn!(error = &e as &dyn std::error::Error, "log segments stay until the next flush");
        }
    }

    pub(crate) fn note_disk(&self, error: Option<&Error>) {
        match error {
            None => self.metrics.disk_full.set(0),
            Some(e) if is_disk_full(e) => self.metrics.disk_full.set(1),
            Some(_) => {}
        }
    }
}
