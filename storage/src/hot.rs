//! Rows in memory, in generations.
//!
//! The last generation takes what is published; when it is large or old enough it is
//! frozen and a new one begins. A frozen generation stays, and is part of every
//! snapshot, until its rows are in committed files.
//!
//! Small batches are merged as they gather, so that a snapshot has tens of batches, not
//! tens of thousands: whenever sixteen of a size stand in a row, as in a log-structured
//! merge tree, which copies each row two or three times in all.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::RecordBatch;
use hopline_model::Table;

use crate::config::{Config, seconds};
use crate::record::Position;

/// Batches of fewer rows than one of these are merged when there are [`FAN_IN`] in a row.
const TIERS: [usize; 3] = [16, 256, 4_096];
const FAN_IN: usize = 16;

/// The rows of one table in one generation.
pub(crate) type Batches = Vec<Arc<RecordBatch>>;

/// Rows that become files together.
#[derive(Debug, Default)]
pub(crate) struct Generation {
    pub(crate) id: u64,
    /// The last log position whose rows are in here or before.
    pub(crate) upto: Position,
    pub(crate) tables: [Batches; Table::COUNT],
    pub(crate) bytes: usize,
    pub(crate) rows: usize,
    /// When the first rows came. The clock may have gone back since.
    pub(crate) since: Option<i64>,
    /// Of how many rows was looked at what follows from them.
    pub(crate) derived: [usize; Table::COUNT],
}

impl Generation {
    fn table_mut(&mut self, table: Table) -> Option<&mut Batches> {
        self.tables.get_mut(table.index())
    }

    fn is_due(&self, config: &Config, now: i64) -> bool {
        let Some(since) = self.since else { return false };
        let age = now.saturating_sub(since);
        let age_max = if self.bytes < config.flush_small_bytes { config.flush_small_age_s } else { config.flush_age_s };
        self.is_full(config) || age >= seconds(age_max)
    }

    fn is_full(&self, config: &Config) -> bool {
        self.bytes >= config.flush_bytes || self.rows >= config.flush_rows
    }
}

/// All rows in memory.
#[derive(Debug)]
pub(crate) struct Hot {
    /// Oldest first; ready to be written.
    pub(crate) frozen: VecDeque<Arc<Generation>>,
    pub(crate) active: Generation,
    pub(crate) bytes: usize,
}

impl Hot {
    /// No rows; the records up to `upto` are in files.
    pub(crate) fn new(upto: Position) -> Self {
        let active = Generation { id: 1, upto, ..Generation::default() };
        Self { frozen: VecDeque::new(), active, bytes: 0 }
    }

    /// Takes the rows of the records up to `upto`.
    pub(crate) fn push(&mut self, batches: Vec<(Table, Arc<RecordBatch>)>, upto: Position, now: i64) {
        if upto > self.active.upto {
            self.active.upto = upto;
            self.active.since.get_or_insert(now);
        }
        self.add(batches, now);
    }

    /// Takes rows that follow from others.
    pub(crate) fn add(&mut self, batches: Vec<(Table, Arc<RecordBatch>)>, now: i64) {
        let active = &mut self.active;
        for (table, batch) in batches {
            let bytes = batch.get_array_memory_size();
            active.since.get_or_insert(now);
            active.bytes += bytes;
            active.rows += batch.num_rows();
            self.bytes += bytes;
            if let Some(to) = active.table_mut(table) {
                to.push(batch);
            }
        }
    }

    /// Whether the active generation has as many rows as should become files.
    pub(crate) fn is_full(&self, config: &Config) -> bool {
        self.active.is_full(config)
    }

    /// Whether the active generation is large or old enough.
    pub(crate) fn is_due(&mut self, now: i64, config: &Config) -> bool {
        if let Some(since) = &mut self.active.since {
            // The clock went back: rows are at least not older than that.
            *since = (*since).min(now);
        }
        self.active.is_due(config, now)
    }

    /// Ends the active generation, if anything came since it began.
    pub(crate) fn freeze(&mut self) {
        if self.active.since.is_none() {
            return;
        }
        let next = Generation { id: self.active.id + 1, upto: self.active.upto, ..Generation::default() };
        self.frozen.push_back(Arc::new(std::mem::replace(&mut self.active, next)));
    }

    /// Drops a generation whose rows are in files.
    pub(crate) fn remove(&mut self, id: u64) {
        if let Some(at) = self.frozen.iter().position(|g| g.id == id)
            && let Some(gone) = self.frozen.remove(at)
        {
            self.bytes = self.bytes.saturating_sub(gone.bytes);
        }
    }

    /// The batches of `table`, oldest first.
    pub(crate) fn batches(&self, table: Table) -> impl Iterator<Item = &Arc<RecordBatch>> {
        let generations = self.frozen.iter().map(|g| &**g).chain([&self.active]);
        generations.filter_map(move |g| g.tables.get(table.index())).flatten()
    }

    /// Rows of `table`.
    pub(crate) fn rows(&self, table: Table) -> usize {
        self.batches(table).map(|b| b.num_rows()).sum()
    }

    /// Batches at the end of `table` that should become one, with their generation.
    pub(crate) fn small_batches(&self, table: Table) -> Option<(u64, Batches)> {
        let batches = self.active.tables.get(table.index())?;
        TIERS.iter().find_map(|tier| {
            let sizes = batches.iter().rev().map(|b| b.num_rows()).take_while(|rows| rows < tier);
            let (count, sum, largest) = sizes.fold((0, 0, 0), |(n, sum, max), rows| (n + 1, sum + rows, rows.max(max)));
            // One large batch is not copied for a few small ones.
            let worth_it = count >= FAN_IN && sum >= 2 * largest;
            worth_it.then(|| (self.active.id, batches.iter().skip(batches.len() - count).cloned().collect()))
        })
    }

    /// Puts `merged` in the place of `parts`, if these still stand at the end of `table`.
    pub(crate) fn replace(&mut self, generation: u64, table: Table, parts: &[Arc<RecordBatch>], merged: RecordBatch) {
        if self.active.id != generation {
            return;
        }
        let Some(batches) = self.active.tables.get_mut(table.index()) else { return };
        let Some(start) = batches.len().checked_sub(parts.len()) else { return };
        let same = batches.iter().skip(start).zip(parts).all(|(a, b)| Arc::ptr_eq(a, b));
        if !same {
            return;
        }
        let before: usize = parts.iter().map(|b| b.get_array_memory_size()).sum();
        let after = merged.get_array_memory_size();
        batches.truncate(start);
        batches.push(Arc::new(merged));
        self.active.bytes = (self.active.bytes + after).saturating_sub(before);
        self.bytes = (self.bytes + after).saturating_sub(before);
    }
}
