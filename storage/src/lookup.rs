//! Reads single rows by their id, whenever they were: spans by trace, hop keys by hash.
//!
//! A query engine plans, and reads what it needs of a footer anew, for each question; a
//! flow asks dozens of these one after the other. Here footers stay as they were read,
//! bloom filters say which row groups may have an id, what a row group's ids are is
//! remembered ([`facts`]), and only the pages with the rows are decoded ([`read`]), of
//! which those that were read lately are kept decompressed ([`pages`]).

pub(crate) mod facts;
pub(crate) mod pages;
mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use ahash::HashSet;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, take};
use arrow::datatypes::{Int32Type, Schema, SchemaRef};
use futures::{StreamExt, TryStreamExt, stream};
use hopline_model::{Table, schema};

use crate::data_file::DataFile;
use crate::error::Error;
use crate::snapshot::Snapshot;
use crate::sort::column;
use crate::storage::Storage;

/// An id of a table's [`Table::id_column`].
pub type RowId = [u8; 16];

/// Row groups read at once.
const CONCURRENT: usize = 8;

/// Ids, and quickly what is none of them.
#[derive(Debug)]
struct Ids {
    ids: HashSet<RowId>,
    /// A bit for each end of two bytes that one of them has: ids may begin with the time, but they end with chance.
    ends: Vec<u64>,
}

impl Ids {
    fn new(ids: &[RowId]) -> Ids {
        let mut ends = vec![0; (1 << 16) / 64];
        for [.., a, b] in ids {
            let end = u16::from_be_bytes([*a, *b]);
            if let Some(word) = ends.get_mut(usize::from(end / 64)) {
                *word |= 1 << (end % 64);
            }
        }
        Ids { ids: ids.iter().copied().collect(), ends }
    }

    fn holds(&self, id: &[u8]) -> bool {
        let [.., a, b] = id else { return false };
        let end = u16::from_be_bytes([*a, *b]);
        let may = self.ends.get(usize::from(end / 64)).is_some_and(|word| word >> (end % 64) & 1 == 1);
        may && id.try_into().is_ok_and(|id: RowId| self.ids.contains(&id))
    }
}

/// What is looked for.
#[derive(Debug)]
struct Wanted {
    table: Table,
    tenant: String,
    ids: Ids,
    /// The columns of the answer.
    schema: SchemaRef,
    /// Those, the tenant and the id.
    whole: SchemaRef,
    id_column: &'static str,
}

impl Storage {
    /// The rows of `tenant` in `table` that have one of `ids`, with these columns of the table.
    ///
    /// Only for tables whose [`Table::id_column`] is 16 bytes. Runs on the current tokio runtime, which it keeps
    /// busy: it is for one that runs queries.
    pub async fn lookup(
        &self,
        snapshot: &Snapshot,
        table: Table,
        tenant: &str,
        ids: &[RowId],
        columns: &[&'static str],
    ) -> Result<Vec<RecordBatch>, Error> {
        let wanted = Arc::new(Wanted::new(table, tenant, ids, columns)?);
        let mut found = Vec::new();
        for batch in snapshot.hot(table) {
            found.extend(wanted.of_memory(batch)?);
        }
        let parts = self.parts(snapshot, &wanted).await?.into_iter().map(|((file, group), ids)| {
            let (storage, wanted) = (self.clone(), Arc::clone(&wanted));
            tokio::spawn(async move { storage.lookup_in(&file, group, &ids, &wanted).await })
        });
        let mut parts = stream::iter(parts).buffer_unordered(CONCURRENT);
        while let Some(part) = parts.next().await {
            found.extend(part.map_err(|e| Error::rows("look up rows")(std::io::Error::other(e)))??);
        }
        Ok(found)
    }

    /// The row groups that may have rows, each with the ids that it may have.
    async fn parts(
        &self,
        snapshot: &Snapshot,
        wanted: &Wanted,
    ) -> Result<Vec<((Arc<DataFile>, usize), Vec<RowId>)>, Error> {
        let of_tenant = |file: &DataFile| file.tenants.as_ref().is_none_or(|tenants| tenants.contains(&wanted.tenant));
        let files: Vec<Arc<DataFile>> = snapshot.files(wanted.table).iter().filter(|f| of_tenant(f)).cloned().collect();
        let hits = stream::iter(files).map(|file| async move {
            let mut groups: BTreeMap<usize, Vec<RowId>> = BTreeMap::new();
            for id in &wanted.ids.ids {
                for (_, hit) in self.inner().id_index.find(std::slice::from_ref(&file), id).await? {
                    hit.into_iter().for_each(|group| groups.entry(group).or_default().push(*id));
                }
            }
            Ok::<_, Error>(groups.into_iter().map(move |(group, ids)| ((Arc::clone(&file), group), ids)))
        });
        let hits: Vec<_> = hits.buffered(CONCURRENT).try_collect().await?;
        Ok(hits.into_iter().flatten().collect())
    }

    async fn lookup_in(
        &self,
        file: &DataFile,
        group: usize,
        ids: &[RowId],
        wanted: &Wanted,
    ) -> Result<Option<RecordBatch>, Error> {
        let facts = self.inner().row_groups.get(file, group).await?;
        let rows = facts.rows_with(ids);
        if rows.is_empty() {
            return Ok(None);
        }
        let batch = read::rows(self.inner(), file, group, &facts, &rows, &wanted.whole).await?;
        let ids = column(&batch, wanted.id_column)?.as_fixed_size_binary_opt();
        let ids = ids.ok_or_else(|| Error::corrupt(&file.path, format!("{} is no id", wanted.id_column)))?;
        // What is remembered of an id is less than the id.
        let is_wanted: BooleanArray =
            (0..ids.len()).map(|row| Some(ids.is_valid(row) && wanted.ids.holds(ids.value(row)))).collect();
        wanted.of_tenant(&batch, is_wanted)
    }
}

impl Wanted {
    fn new(table: Table, tenant: &str, ids: &[RowId], columns: &[&'static str]) -> Result<Wanted, Error> {
        let all = schema::of(table);
        let missing = |name: &str| Error::corrupt("a look-up", format!("{table} has no column {name}"));
        let id_column = table.id_column().ok_or_else(|| missing("with ids"))?;
        let field = |name: &str| all.field_with_name(name).cloned().map_err(|_| missing(name));
        let mut fields = columns.iter().map(|name| field(name)).collect::<Result<Vec<_>, _>>()?;
        let schema = Arc::new(Schema::new(fields.clone()));
        for name in ["tenant", id_column].into_iter().filter(|name| !columns.contains(name)) {
            fields.push(field(name)?);
        }
        let whole = Arc::new(Schema::new(fields));
        Ok(Wanted { table, tenant: tenant.to_owned(), ids: Ids::new(ids), schema, whole, id_column })
    }

    /// The wanted rows of a batch in memory.
    fn of_memory(&self, batch: &RecordBatch) -> Result<Option<RecordBatch>, Error> {
        let ids = column(batch, self.id_column)?;
        let Some(ids) = ids.as_fixed_size_binary_opt() else {
            return Err(Error::corrupt("a batch", format!("{} of {} is not an id", self.id_column, self.table)));
        };
        let rows: Vec<u32> = (0..ids.len())
            .filter(|row| ids.is_valid(*row) && self.ids.holds(ids.value(*row)))
            .map(|row| row as u32)
            .collect();
        if rows.is_empty() {
            return Ok(None);
        }
        let rows = UInt32Array::from(rows);
        let failed = || Error::rows("look up rows in memory");
        let mut columns = Vec::with_capacity(self.whole.fields().len());
        for field in self.whole.fields() {
            let index = batch.schema().index_of(field.name()).map_err(failed())?;
            columns.push(take(batch.column(index), &rows, None).map_err(failed())?);
        }
        let taken = RecordBatch::try_new(Arc::clone(&self.whole), columns).map_err(failed())?;
        self.of_tenant(&taken, BooleanArray::from(vec![true; taken.num_rows()]))
    }

    /// Of the rows of `batch` that `is_wanted` names those of the tenant, with the columns of the answer.
    fn of_tenant(&self, batch: &RecordBatch, is_wanted: BooleanArray) -> Result<Option<RecordBatch>, Error> {
        let failed = || Error::rows("look up rows");
        let tenants = column(batch, "tenant")?.as_dictionary_opt::<Int32Type>();
        let words = tenants.and_then(|d| Some((d, d.values().as_string_opt::<i32>()?)));
        let (tenants, words) = words.ok_or_else(|| Error::corrupt("a batch", "its tenant is not a word"))?;
        let is_own =
            |row: usize| tenants.key(row).filter(|k| *k < words.len()).is_some_and(|k| words.value(k) == self.tenant);
        let kept: BooleanArray =
            is_wanted.values().iter().enumerate().map(|(row, is)| Some(is && is_own(row))).collect();
        let batch = if kept.true_count() == batch.num_rows() {
            batch.clone()
        } else {
            filter_record_batch(batch, &kept).map_err(failed())?
        };
        if batch.num_rows() == 0 {
            return Ok(None);
        }
        let columns: Vec<ArrayRef> = batch.columns().iter().take(self.schema.fields().len()).cloned().collect();
        RecordBatch::try_new(Arc::clone(&self.schema), columns).map(Some).map_err(failed())
    }
}
