//! Retention, and deleting what is not live any more.
//!
//! The age of a file counts from when its newest rows were written, by the server's
//! clock: a client's wrong clock deletes nothing. Only whole files go.

use std::sync::Arc;

use hopline_model::Table;
use object_store::ObjectMeta;

use crate::config::seconds;
use crate::data_file::DataFile;
use crate::error::Error;
use crate::record::Position;
use crate::storage::{Done, Inner};

impl Inner {
    /// Removes files whose time is over or for which there is no room.
    pub(crate) fn expire(&self) -> Result<Done, Error> {
        self.writable()?;
        let _one_at_a_time = self.maintaining.lock();
        let removed = self.past_retention();
        let mut done = Done::default();
        for file in &removed {
            done.files_removed += 1;
            done.bytes_removed += file.size_bytes;
            done.rows_removed += file.rows;
        }
        if !removed.is_empty() {
            self.commit(Position(0), Vec::new(), &removed, None)?;
            for file in &removed {
                let labels = &[file.table.name()];
                self.metrics.expired_files.with_label_values(labels).inc();
                self.metrics.expired_bytes.with_label_values(labels).inc_by(file.size_bytes);
            }
            tracing::info!(files = done.files_removed, bytes = done.bytes_removed, "expired");
        }
        drop(removed);
        self.delete_doomed();
        self.sweep()?;
        Ok(done)
    }

    fn past_retention(&self) -> Vec<Arc<DataFile>> {
        let now = self.clock.now_ns();
        let files = self.state.lock().files.clone();
        let mut removed = Vec::new();
        let mut kept = Vec::new();
        for (table, files) in Table::ALL.iter().zip(&files) {
            let limit = self.config.retention_ns(*table);
            let is_over = |f: &&Arc<DataFile>| limit.is_some_and(|limit| now.saturating_sub(f.created_at) > limit);
            let (over, rest): (Vec<_>, Vec<_>) = files.iter().partition(is_over);
            removed.extend(over.into_iter().cloned());
            kept.extend(rest.into_iter().cloned());
        }
        let bytes_max = self.config.retention_bytes_max;
        if bytes_max > 0 {
            kept.sort_by_key(|f| f.created_at);
            let mut bytes: u64 = kept.iter().map(|f| f.size_bytes).sum();
            for file in kept {
                if bytes <= bytes_max {
                    break;
                }
                bytes -= file.size_bytes;
                removed.push(file);
            }
        }
        removed
    }

    /// Deletes the files that were removed by commits and that no snapshot holds.
    pub(crate) fn delete_doomed(&self) {
        // Nobody can take a new handle of these: they are in no list but ours.
        let is_free = |f: &Arc<DataFile>| Arc::strong_count(f) == 1;
        let free: Vec<_> = self.doomed.lock().extract_if(.., |f| is_free(f)).collect();
        for file in free {
            self.id_index.forget(&file);
            self.row_groups.forget(&file);
            self.pages.forget(&file);
            if let Err(e) = self.objects.delete(&file.path) {
                tracing::warn!(error = &e as &dyn std::error::Error, "a file that is not live stays for now");
                self.doomed.lock().push(file);
            }
        }
    }

    /// Deletes the data files that no manifest named at the start and that are known to be
    /// superfluous ([`crate::census`]), when they are old enough. Files written since are not
    /// looked at, and nothing goes while a live file is missing: something is amiss then.
    pub(crate) fn sweep(&self) -> Result<(), Error> {
        let now = self.clock.now_ns();
        let age = seconds(self.config.orphan_age_s);
        let mut census = self.census.lock();
        if !census.is_sound() {
            return Ok(());
        }
        let is_old = |object: &ObjectMeta| {
            let written = object.last_modified.timestamp_nanos_opt().unwrap_or(i64::MAX);
            now.saturating_sub(written).max(0) >= age
        };
        while let Some(at) = census.superfluous.iter().position(is_old) {
            let Some(object) = census.superfluous.get(at) else { break };
            tracing::info!(path = %object.location, "deleting a file that no manifest names and whose rows are elsewhere");
            self.objects.delete(&object.location)?;
            census.superfluous.swap_remove(at);
        }
        Ok(())
    }

    /// Deletes what a crash left of objects that were being written: the store gives them
    /// their names when they are whole. Nobody else writes here.
    pub(crate) fn sweep_unfinished(&self) {
        for path in self.objects.unfinished(&["data", "manifest", "checkpoint"], &self.writer) {
            match std::fs::remove_file(&path) {
                Ok(()) => tracing::info!(path = %path.display(), "deleted the rest of an unfinished write"),
                Err(e) => tracing::warn!(path = %path.display(), error = %e, "the rest of an unfinished write stays"),
            }
        }
    }

    /// Removes live files that are not there.
    pub(crate) fn forget_missing(&self) -> Result<Done, Error> {
        self.writable()?;
        let _one_at_a_time = self.maintaining.lock();
        let mut census = self.census.lock();
        let is_missing = |f: &&Arc<DataFile>| census.missing.contains(&f.path);
        let files = self.state.lock().files.clone();
        let removed: Vec<_> = files.iter().flat_map(|f| f.iter()).filter(is_missing).cloned().collect();
        let mut done = Done::default();
        for file in &removed {
            tracing::warn!(path = %file.path, rows = file.rows, "a missing data file is given up");
            done.files_removed += 1;
            done.bytes_removed += file.size_bytes;
            done.rows_removed += file.rows;
        }
        if !removed.is_empty() {
            self.commit(Position(0), Vec::new(), &removed, None)?;
        }
        census.missing.clear();
        Ok(done)
    }
}
