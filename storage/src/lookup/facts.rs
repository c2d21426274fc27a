//! What is remembered of a row group, so that looking up rows again costs little: a mark
//! of each row's id, and the columns that say the same in every row.
//!
//! Rows are sorted by service first, so in a row group most columns are constant: null, or
//! one service, function or resource. To read them for one row costs as much as others,
//! and there are dozens.

use std::sync::Arc;

use ahash::AHashMap;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::Int32Type;
use object_store::path::Path;

use super::ids::{IdColumn, mark};
use super::read;
use crate::cache::{Cache, MetadataCache};
use crate::data_file::DataFile;
use crate::error::Error;
use crate::metrics::Metrics;

/// Columns of at most so many bytes, uncompressed, are looked at: one value, its count and what Parquet puts around it.
const SMALL_BYTES: i64 = 4 << 10;

/// What is remembered of a row group.
#[derive(Debug)]
pub(crate) struct GroupFacts {
    /// The [`mark`] of the id of each row, zero where there is none.
    marks: Vec<u32>,
    /// One row of each column that says the same in every row, by name.
    constants: AHashMap<String, ArrayRef>,
}

impl GroupFacts {
    fn of(batch: &RecordBatch, id_column: &str) -> Result<GroupFacts, Error> {
        let marks = IdColumn::of(batch, id_column)?.map(|id| id.map_or(0, mark));
        let schema = batch.schema();
        let columns = schema.fields().iter().zip(batch.columns());
        let constants = columns.filter_map(|(field, column)| Some((field.name().clone(), constant(column)?)));
        Ok(GroupFacts { marks, constants: constants.collect() })
    }

    /// The rows that may have one of the ids with these marks, in their order.
    pub(super) fn rows_with(&self, marks: &[u32]) -> Vec<usize> {
        /// Rows looked at together.
        const STRIDE: usize = 64;
        let mut rows = Vec::new();
        for wanted in marks {
            for (at, marks) in self.marks.chunks(STRIDE).enumerate() {
                if marks.iter().fold(false, |any, mark| any | (mark == wanted)) {
                    let found = marks.iter().enumerate().filter(|(_, mark)| *mark == wanted);
                    rows.extend(found.map(|(row, _)| at * STRIDE + row));
                }
            }
        }
        rows.sort_unstable();
        rows.dedup();
        rows
    }

    /// What the column `name` says in every row, in one row, if that is known.
    pub(super) fn constant(&self, name: &str) -> Option<&ArrayRef> {
        self.constants.get(name)
    }

    fn bytes(&self) -> usize {
        let constants = self.constants.iter().map(|(name, value)| name.len() + value.get_array_memory_size());
        self.marks.len() * 4 + constants.sum::<usize>()
    }
}

/// One row of a column that says the same in every row.
fn constant(column: &ArrayRef) -> Option<ArrayRef> {
    let is_constant = if column.is_empty() {
        false
    } else if column.null_count() > 0 {
        column.null_count() == column.len()
    } else if let Some(list) = column.as_list_opt::<i32>() {
        list.value_offsets().first() == list.value_offsets().last()
    } else if let Some(map) = column.as_map_opt() {
        map.value_offsets().first() == map.value_offsets().last()
    } else if let Some(words) = column.as_dictionary_opt::<Int32Type>() {
        let keys = words.keys().values();
        keys.iter().all(|key| Some(key) == keys.first())
    } else {
        false
    };
    let one = take(column, &UInt32Array::from(vec![0]), None);
    is_constant.then_some(one.ok()).flatten()
}

/// A row group of a file.
type GroupName = (Path, usize);

/// What is remembered of row groups, within a limit.
pub(crate) struct RowGroups {
    metadata: Arc<MetadataCache>,
    facts: Cache<GroupFacts, GroupName>,
}

impl RowGroups {
    pub(crate) fn new(metadata: Arc<MetadataCache>, bytes_max: usize, metrics: &Metrics) -> Self {
        Self { metadata, facts: Cache::new("row_groups", bytes_max, metrics) }
    }

    pub(super) async fn get(&self, file: &DataFile, group: usize) -> Result<Arc<GroupFacts>, Error> {
        let name = (file.path.clone(), group);
        if let Some(known) = self.facts.get(&name) {
            return Ok(known);
        }
        let missing = || Error::corrupt(&file.path, format!("{} has no ids", file.table));
        let id_column = file.table.id_column().ok_or_else(missing)?;
        let batch = read::all_of_small(&self.metadata, file, group, id_column, SMALL_BYTES).await?;
        let facts = Arc::new(GroupFacts::of(&batch, id_column)?);
        self.facts.insert(&name, Arc::clone(&facts), facts.bytes());
        Ok(facts)
    }

    pub(crate) fn forget(&self, file: &DataFile) {
        self.facts.remove_if(|(path, _)| *path == file.path);
    }
}
