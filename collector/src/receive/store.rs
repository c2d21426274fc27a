//! What the collector asks of storage, as a trait, so that tests can make it fail.

use arrow::record_batch::RecordBatch;
use hopline_model::Table;
use hopline_storage::recent::Key;
use hopline_storage::{Derive, Error, Position, Record, Storage};

/// Why storage could not do something.
pub(crate) type StoreError = Box<dyn std::error::Error + Send + Sync>;

/// What the collector asks of storage.
pub(crate) trait Store: Send + Sync + 'static {
    /// Appends to the log in one write. On an error nothing of it remains.
    fn append(&self, records: &[Record]) -> Result<Position, StoreError>;
    /// Makes what was appended durable. On an error it is gone from the log.
    fn sync(&self) -> Result<(), StoreError>;
    /// Makes rows visible, in the order of the log.
    fn publish(&self, batches: Vec<(Table, RecordBatch)>, upto: Position);
    /// Whether a request with the same bytes was stored within the last minutes.
    fn was_stored(&self, record: &Record) -> bool;
    /// Remembers a request that is stored.
    fn remember(&self, record: &Record);
    /// Why writes are refused at the moment, if they are.
    fn refusal(&self) -> Option<String>;
    /// Whether the hot tier is so full that more should wait for a flush.
    fn is_full(&self) -> bool;
    /// Writes the hot tier out.
    fn flush(&self) -> Result<(), StoreError>;
    /// Sets what says what follows from published rows.
    fn derive_with(&self, derive: Box<dyn Derive>);
    /// Looks at what follows from the rows that were published, if they are many.
    fn derive_many(&self);
    /// The time, in nanoseconds since 1970.
    fn now_ns(&self) -> i64;
}

impl Store for Storage {
    fn append(&self, records: &[Record]) -> Result<Position, StoreError> {
        Storage::append(self, records).map_err(Into::into)
    }

    fn sync(&self) -> Result<(), StoreError> {
        Storage::sync(self).map_err(Into::into)
    }

    fn publish(&self, batches: Vec<(Table, RecordBatch)>, upto: Position) {
        Storage::publish(self, batches, upto);
    }

    fn was_stored(&self, record: &Record) -> bool {
        self.recent().check(&Key::of(record), self.clock().now_ns())
    }

    fn remember(&self, record: &Record) {
        self.recent().insert(Key::of(record), self.clock().now_ns());
    }

    fn refusal(&self) -> Option<String> {
        self.ready_for_writes().err().map(|error| match error {
            // Others name paths and causes, which are not the client's business.
            Error::HotFull { .. } => error.to_string(),
            _ => "it is not ready for writes".to_owned(),
        })
    }

    fn is_full(&self) -> bool {
        let pressure = self.pressure();
        // Half of it, so that a replay leaves room for new exports.
        pressure.hot_bytes > pressure.hot_bytes_max / 2
    }

    fn flush(&self) -> Result<(), StoreError> {
        Storage::flush(self).map_err(Into::into)
    }

    fn derive_with(&self, derive: Box<dyn Derive>) {
        Storage::derive_with(self, derive);
    }

    fn derive_many(&self) {
        Storage::derive_many(self);
    }

    fn now_ns(&self) -> i64 {
        self.clock().now_ns()
    }
}
