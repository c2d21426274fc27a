//! All rows at one instant.

use std::sync::Arc;

use arrow::array::RecordBatch;
use hopline_model::Table;

use crate::data_file::DataFile;
use crate::record::Position;

/// All rows at one instant: those in memory and those in files, each exactly once.
/// While it lives, none of its files is deleted.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub(crate) hot: [Vec<Arc<RecordBatch>>; Table::COUNT],
    pub(crate) files: [Arc<Vec<Arc<DataFile>>>; Table::COUNT],
    pub(crate) upto: Position,
}

impl Snapshot {
    /// The rows of `table` that are in memory, in the order of arrival.
    pub fn hot(&self, table: Table) -> &[Arc<RecordBatch>] {
        self.hot.get(table.index()).map_or(&[], Vec::as_slice)
    }

    /// The last record of the log whose rows are in it, with those of all before.
    pub fn upto(&self) -> Position {
        self.upto
    }

    /// The files of `table`, in the order in which they were committed.
    pub fn files(&self, table: Table) -> &[Arc<DataFile>] {
        self.files.get(table.index()).map_or(&[], |files| files.as_slice())
    }
}
