//! Retention, and deleting what is not live any more.
//!
//! The age of a file counts from when its newest rows were written, by the server's
//! clock: a client's wrong clock deletes nothing. Only whole files go.

use std::collections::HashSet;
use std::sync::Arc;

use hopline_model::Table;

use crate::config::seconds;
use crate::data_file::DataFile;
use crate::error::Error;
use crate::record::Position;
use crate::storage::{Done, Inner, sequence_of};

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
            self.trace_index.forget(&file);
            if let Err(e) = self.objects.delete(&file.path) {
                tracing::warn!(error = &e as &dyn std::error::Error, "a file that is not live stays for now");
                self.doomed.lock().push(file);
            }
        }
    }

    /// Deletes data files of ours that no manifest lists, left by a crash before this
    /// start, when they are old enough. Files written since are not looked at.
    pub(crate) fn sweep(&self) -> Result<(), Error> {
        // While a commit's outcome is not known, its files are neither live nor orphans;
        // they are ours of this run, so their sequences keep them safe too.
        let live: HashSet<_> = {
            let state = self.state.lock();
            let doomed = self.doomed.lock();
            state.files.iter().flat_map(|f| f.iter()).chain(doomed.iter()).map(|f| f.path.clone()).collect()
        };
        let now = self.clock.now_ns();
        for object in self.objects.list(&"data".into())? {
            let ours = sequence_of(&object.location, &self.writer).is_some_and(|s| s < self.first_sequence);
            let written = object.last_modified.timestamp_nanos_opt().unwrap_or(i64::MAX);
            let old = now.saturating_sub(written).max(0) >= seconds(self.config.orphan_age_s);
            if ours && old && !live.contains(&object.location) {
                tracing::info!(path = %object.location, "deleting a file that was never committed");
                self.objects.delete(&object.location)?;
            }
        }
        Ok(())
    }
}
