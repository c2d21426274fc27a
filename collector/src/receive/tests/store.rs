//! A storage in memory, with faults.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arrow::record_batch::RecordBatch;
use hopline_model::Table;
use hopline_storage::recent::Key;
use hopline_storage::{Changes, Derive, Position, Record};
use parking_lot::{Condvar, Mutex};

use super::super::store::{Store, StoreError};

#[derive(Default)]
pub(super) struct FakeStore {
    pub(super) fail_append: AtomicBool,
    pub(super) fail_sync: AtomicBool,
    pub(super) refuses: AtomicBool,
    pub(super) flushes: AtomicUsize,
    log: Mutex<Log>,
    recent: Mutex<HashSet<Key>>,
    rows: Mutex<Vec<(Table, RecordBatch)>>,
    gate: Mutex<bool>,
    opened: Condvar,
    derive: Mutex<Option<Box<dyn Derive>>>,
}

#[derive(Default)]
struct Log {
    synced: Vec<Record>,
    appended: Vec<Record>,
    groups: usize,
}

impl FakeStore {
    /// Records that are durable.
    pub(super) fn records(&self) -> Vec<Record> {
        self.log.lock().synced.clone()
    }

    pub(super) fn groups(&self) -> usize {
        self.log.lock().groups
    }

    /// Rows that are visible.
    pub(super) fn rows(&self, table: Table) -> usize {
        self.rows.lock().iter().filter(|(t, _)| *t == table).map(|(_, batch)| batch.num_rows()).sum()
    }

    pub(super) fn batches(&self) -> Vec<(Table, RecordBatch)> {
        self.rows.lock().clone()
    }

    /// Lets syncs wait until [`FakeStore::open_gate`].
    pub(super) fn close_gate(&self) {
        *self.gate.lock() = true;
    }

    pub(super) fn open_gate(&self) {
        *self.gate.lock() = false;
        self.opened.notify_all();
    }
}

impl Store for FakeStore {
    fn append(&self, records: &[Record]) -> Result<Position, StoreError> {
        if self.fail_append.load(Ordering::SeqCst) {
            return Err("no space left".into());
        }
        let mut log = self.log.lock();
        log.groups += 1;
        log.appended.extend_from_slice(records);
        Ok(Position((log.synced.len() + log.appended.len()) as u64))
    }

    fn sync(&self) -> Result<(), StoreError> {
        let mut gate = self.gate.lock();
        while *gate {
            self.opened.wait(&mut gate);
        }
        drop(gate);
        let mut log = self.log.lock();
        let appended = std::mem::take(&mut log.appended);
        if self.fail_sync.load(Ordering::SeqCst) {
            return Err("input/output error".into());
        }
        log.synced.extend(appended);
        Ok(())
    }

    fn publish(&self, batches: Vec<(Table, RecordBatch)>, upto: Position) {
        assert!(upto.0 as usize <= self.log.lock().synced.len() || self.log.lock().groups == 0, "not durable");
        let derived = self.derive.lock().as_mut().map(|d| d.derive(&batches, upto, &Changes::default(), self.now_ns()));
        self.rows.lock().extend(batches.into_iter().chain(derived.unwrap_or_default()));
    }

    fn was_stored(&self, record: &Record) -> bool {
        self.recent.lock().contains(&Key::of(record))
    }

    fn remember(&self, record: &Record) {
        self.recent.lock().insert(Key::of(record));
    }

    fn refusal(&self) -> Option<String> {
        self.refuses.load(Ordering::SeqCst).then(|| "it is full".to_owned())
    }

    fn is_full(&self) -> bool {
        !self.rows.lock().is_empty()
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn derive_with(&self, derive: Box<dyn Derive>) {
        *self.derive.lock() = Some(derive);
    }

    fn derive_many(&self) {}

    fn now_ns(&self) -> i64 {
        1_800_000_000_000_000_000
    }
}
