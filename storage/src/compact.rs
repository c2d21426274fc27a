//! Merges small files into larger ones.
//!
//! Files of one table are gathered by windows of time, which widen as they age: ten
//! minutes, an hour, a day. In a window, files of similar size are merged, so that a row
//! is rewritten only a few times in its life. Killing us leaves files that no manifest
//! lists, and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hopline_model::Table;

use crate::clock::SECOND;
use crate::config::Config;
use crate::data_file::{DataFile, Names};
use crate::error::Error;
use crate::merge::Merge;
use crate::object::Objects;
use crate::parquet_file::FileWriter;
use crate::record::Position;
use crate::storage::{Done, Inner, Progress, Step};
use crate::verify::FILE_MISSING;

const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
/// A larger file waits until the others together have a quarter of its size.
const SIZE_RATIO: u64 = 4;
/// Files of up to this size are merged whatever their ratio.
const SMALL_BYTES: u64 = 4 << 20;
/// Bytes read at once for a checksum.
const READ_BYTES: u64 = 4 << 20;
/// How long a merge waits between two chunks while rows wait to be flushed.
const YIELD: Duration = Duration::from_millis(20);

impl Inner {
    /// Merges until there is nothing to merge.
    pub(crate) fn compact_all(&self, progress: Progress<'_>) -> Result<Done, Error> {
        self.writable()?;
        let mut done = Done::default();
        for table in Table::ALL {
            while let Some(one) = self.compact_one(table, progress)? {
                done.files_removed += one.files_removed;
                done.files_added += one.files_added;
                done.bytes_removed += one.bytes_removed;
                done.bytes_added += one.bytes_added;
                done.rows_removed += one.rows_removed;
            }
        }
        self.delete_doomed();
        Ok(done)
    }

    pub(crate) fn compact_in_background(&self) -> Result<(), Error> {
        if self.config.compact {
            self.compact_all(&|_| {})?;
        }
        Ok(())
    }

    /// Makes one merge, if there is one to make.
    fn compact_one(&self, table: Table, progress: Progress<'_>) -> Result<Option<Done>, Error> {
        let _one_at_a_time = self.maintaining.lock();
        self.settle()?;
        loop {
            let Some(files) = self.pick(table) else { return Ok(None) };
            // A damaged file is left alone: merging it would give its damage a right checksum.
            let damaged = self.damaged_of(&files)?;
            if damaged.is_empty() {
                let started = Instant::now();
                let merged = self.merge(table, &files, progress);
                self.note_disk(merged.as_ref().err());
                if merged.is_err() {
                    self.metrics.compaction_failures.inc();
                }
                self.metrics.compaction_seconds.observe(started.elapsed().as_secs_f64());
                return merged.map(Some);
            }
            self.damaged.lock().extend(damaged);
        }
    }

    fn pick(&self, table: Table) -> Option<Vec<Arc<DataFile>>> {
        let files = {
            let state = self.state.lock();
            state.files.get(table.index()).cloned().unwrap_or_default()
        };
        let damaged = self.damaged.lock();
        let sound: Vec<_> = files.iter().filter(|f| !damaged.contains(&f.path)).cloned().collect();
        pick(&sound, &self.config, self.clock.now_ns())
    }

    fn damaged_of(&self, files: &[Arc<DataFile>]) -> Result<Vec<object_store::path::Path>, Error> {
        let mut damaged = Vec::new();
        for file in files {
            if let Some(problem) = checksum_problem(&self.objects, file)? {
                tracing::error!(path = %file.path, problem, "a data file is damaged");
                self.metrics.damaged_files.inc();
                damaged.push(file.path.clone());
            }
        }
        Ok(damaged)
    }

    fn merge(&self, table: Table, files: &[Arc<DataFile>], progress: Progress<'_>) -> Result<Done, Error> {
        let created_at = files.iter().map(|f| f.created_at).max().unwrap_or(0);
        let level = files.iter().map(|f| f.level).max().unwrap_or(0).saturating_add(1);
        let covered = self.table_log.lock().covered;
        let facts = self.new_file(table, created_at, level, covered);
        let name = facts.path.to_string();
        let total = files.iter().map(|f| f.rows).sum();
        let mut merge = Merge::new(table, &self.objects, files)?;
        let mut writer = FileWriter::new(self.objects.clone(), &self.config, facts)?;
        let mut rows = 0;
        while let Some(chunk) = merge.next_chunk()? {
            self.give_way()?;
            writer.write(&chunk)?;
            rows += chunk.num_rows() as u64;
            progress(Step { done: rows + merge.duplicates(), total, item: &name });
        }
        if rows + merge.duplicates() != total {
            let reason = format!("{total} rows were to be merged, but {rows} were read");
            return Err(Error::corrupt(name, reason));
        }
        let merged = writer.finish(Names::of_files(files.iter().map(|f| &**f)))?;
        let done = Done {
            files_removed: files.len() as u64,
            files_added: 1,
            bytes_removed: files.iter().map(|f| f.size_bytes).sum(),
            bytes_added: merged.size_bytes,
            rows_removed: merge.duplicates(),
        };
        self.commit(Position(0), vec![merged], files, None)?;
        let labels = &[table.name()];
        self.metrics.compacted_files.with_label_values(labels).inc_by(done.files_removed);
        self.metrics.compacted_bytes.with_label_values(labels).inc_by(done.bytes_added);
        self.metrics.duplicate_rows_removed.with_label_values(labels).inc_by(done.rows_removed);
        tracing::debug!(%table, files = done.files_removed, rows, bytes = done.bytes_added, "merged files");
        Ok(done)
    }

    /// Ends a merge when the storage is closing, and slows it while rows wait to be flushed.
    fn give_way(&self) -> Result<(), Error> {
        if self.background.is_stopped() {
            return Err(Error::Closed);
        }
        if !self.state.lock().hot.frozen.is_empty() {
            std::thread::sleep(YIELD);
        }
        Ok(())
    }
}

/// What the size and the checksum say against a file; nothing if it is as it was written.
/// An error is one of reading it.
pub(crate) fn checksum_problem(objects: &Objects, file: &DataFile) -> Result<Option<String>, Error> {
    match checksum_problem_of_existing(objects, file) {
        Err(Error::Store { source: object_store::Error::NotFound { .. }, .. }) => Ok(Some(FILE_MISSING.into())),
        other => other,
    }
}

fn checksum_problem_of_existing(objects: &Objects, file: &DataFile) -> Result<Option<String>, Error> {
    // First: a store refuses to read what lies behind a file's end, and does not see what is too much.
    let size = objects.size(&file.path)?;
    if size != file.size_bytes {
        return Ok(Some(format!("the file has {size} bytes, not {}", file.size_bytes)));
    }
    let mut crc = 0;
    let mut from = 0;
    while from < file.size_bytes {
        let to = file.size_bytes.min(from + READ_BYTES);
        let bytes = objects.get_range(&file.path, from..to)?;
        crc = crc32c::crc32c_append(crc, &bytes);
        from = to;
    }
    let wrong = crc != file.crc32c;
    Ok(wrong.then(|| format!("the checksum is {crc:08x}, not {:08x}", file.crc32c)))
}

/// The window of a file: its length, and which one of that length. A file from the
/// future (the clock went back) is a new one.
fn window(file: &DataFile, now: i64) -> (i64, i64) {
    let age = now.saturating_sub(file.created_at);
    let length = match age {
        age if age < HOUR => 10 * MINUTE,
        age if age < 24 * HOUR => HOUR,
        _ => 24 * HOUR,
    };
    (length, file.created_at.div_euclid(length))
}

/// Files that should become one.
fn pick(files: &[Arc<DataFile>], config: &Config, now: i64) -> Option<Vec<Arc<DataFile>>> {
    let mut windows: BTreeMap<(i64, i64), Vec<&Arc<DataFile>>> = BTreeMap::new();
    for file in files {
        windows.entry(window(file, now)).or_default().push(file);
    }
    windows.into_iter().find_map(|((length, index), mut files)| {
        files.sort_by_key(|f| f.size_bytes);
        let is_over = now.div_euclid(length) != index;
        let least = if is_over { 2 } else { config.compact_files_min };
        let (mut bytes, mut rows) = (0, 0);
        let fits = |f: &&&Arc<DataFile>| {
            let similar = f.size_bytes <= SMALL_BYTES || bytes == 0 || f.size_bytes <= SIZE_RATIO * bytes;
            bytes += f.size_bytes;
            rows += f.rows;
            similar && bytes <= config.compact_bytes_max && rows <= config.compact_rows_max
        };
        let chosen: Vec<_> =
            files.iter().take(config.compact_files_max).take_while(fits).map(|f| Arc::clone(f)).collect();
        (chosen.len() >= least).then_some(chosen)
    })
}

#[cfg(test)]
mod tests;
