//! Rows that follow from published ones.
//!
//! What follows from a row costs little, but starting to look costs more than a tiny export's rows. So rows are looked at
//! when many of them have come, when somebody takes a [`Snapshot`](crate::Snapshot), and before they become files: nobody
//! sees rows without what follows from them, and both are in the same files' commit. What was not looked at when the
//! server died is published again from the log.

use std::sync::Arc;

use arrow::array::RecordBatch;
use hopline_model::Table;
use parking_lot::MutexGuard;

use crate::changes::Changes;
use crate::hot::Generation;
use crate::record::Position;
use crate::storage::{Inner, State, slim};

/// So many rows are looked at together: enough that starting is nothing, and that the rows that follow need no merging,
/// and few enough that who takes a snapshot waits for some ten milliseconds at most.
const ROWS_MAX: usize = 8_192;

/// If so many times as many have come, who publishes looks at them itself.
const BEHIND_MAX: usize = 8;

/// Says what follows from rows.
pub trait Derive: Send {
    /// The rows that follow from `rows`, which are of the log's records up to `upto`, each of them given once. `changes` is
    /// [`Storage::changes`](crate::Storage::changes). It must not call the storage, which waits for it.
    fn derive(
        &mut self,
        rows: &[(Table, RecordBatch)],
        upto: Position,
        changes: &Changes,
        now_ns: i64,
    ) -> Vec<(Table, RecordBatch)>;
}

impl Generation {
    /// How many rows of signals were not looked at yet.
    fn pending_rows(&self) -> usize {
        let tables = self.tables.iter().zip(self.derived).zip(Table::ALL).filter(|(_, table)| table.is_signal());
        tables.map(|((batches, derived), _)| rows_of(batches).saturating_sub(derived)).sum()
    }

    /// The rows of signals that were not looked at yet; from now on they were.
    fn take_pending(&mut self) -> Vec<(Table, RecordBatch)> {
        let mut pending = Vec::new();
        for table in Table::ALL.into_iter().filter(|table| table.is_signal()) {
            let (Some(batches), Some(derived)) = (self.tables.get(table.index()), self.derived.get_mut(table.index()))
            else {
                continue;
            };
            let mut skip = *derived;
            for batch in batches {
                let rows = batch.num_rows();
                if skip == 0 {
                    pending.push((table, RecordBatch::clone(batch)));
                } else if skip < rows {
                    pending.push((table, batch.slice(skip, rows - skip)));
                }
                skip = skip.saturating_sub(rows);
            }
            *derived = rows_of(batches);
        }
        pending
    }
}

fn rows_of(batches: &[Arc<RecordBatch>]) -> usize {
    batches.iter().map(|batch| batch.num_rows()).sum()
}

impl Inner {
    /// Whether many rows of signals were not looked at yet; and whether they are too many to leave them to another thread.
    pub(crate) fn is_much_pending(&self) -> (bool, bool) {
        let rows = self.state.lock().hot.active.pending_rows();
        (rows >= ROWS_MAX, rows >= ROWS_MAX * BEHIND_MAX)
    }

    /// Looks at the rows of signals, if there are many that were not looked at yet.
    pub(crate) fn derive_many(&self) {
        let mut derive = self.derive.lock();
        if let Some(derive) = derive.as_mut().filter(|_| self.is_much_pending().0) {
            self.derive_aside(&mut **derive);
        }
    }

    /// The state, with what follows from all its rows.
    pub(crate) fn derived_state(&self) -> MutexGuard<'_, State> {
        let mut derive = self.derive.lock();
        if let Some(derive) = derive.as_mut() {
            self.derive_aside(&mut **derive);
            // The few rows that came meanwhile.
            let mut state = self.state.lock();
            let (pending, upto) = (state.hot.active.take_pending(), state.hot.active.upto);
            if !pending.is_empty() {
                let derived = derive.derive(&pending, upto, &self.changes, self.clock.now_ns());
                self.add_derived(&mut state, derived);
            }
            return state;
        }
        self.state.lock()
    }

    /// Looks at the rows of signals, while others may publish. Nothing is frozen meanwhile, for that needs `derive` too.
    fn derive_aside(&self, derive: &mut dyn Derive) {
        let (pending, upto) = {
            let active = &mut self.state.lock().hot.active;
            (active.take_pending(), active.upto)
        };
        if !pending.is_empty() {
            let derived = derive.derive(&pending, upto, &self.changes, self.clock.now_ns());
            self.add_derived(&mut self.state.lock(), derived);
        }
    }

    fn add_derived(&self, state: &mut State, derived: Vec<(Table, RecordBatch)>) {
        let derived = derived.into_iter().filter(|(_, batch)| batch.num_rows() > 0);
        let derived: Vec<_> = derived.map(|(table, batch)| (table, Arc::new(slim(batch)))).collect();
        if !derived.is_empty() {
            state.hot.add(derived, self.clock.now_ns());
            self.show_hot(state);
        }
    }
}
