//! Reads single rows by their id, whenever they were: spans by trace, hop keys by hash, what is told of invocations by
//! request id.
//!
//! A query engine plans, and reads what it needs of a footer anew, for each question; a
//! flow asks dozens of these one after the other. Here footers stay as they were read,
//! bloom filters say which row groups may have an id, what a row group's ids are is
//! remembered ([`facts`]), and only the pages with the rows are decoded ([`read`]), of
//! which those that were read lately are kept decompressed ([`pages`]).

pub(crate) mod facts;
mod ids;
pub(crate) mod pages;
pub(crate) mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, Schema, SchemaRef};
use futures::{StreamExt, TryStreamExt, stream};
use hopline_model::{Table, schema};

use crate::data_file::DataFile;
use crate::error::Error;
use crate::snapshot::Snapshot;
use crate::sort::column;
use crate::storage::Storage;
use ids::{IdColumn, Ids, mark};

/// Which rows are looked up.
#[derive(Debug, Clone)]
pub struct Lookup<'a, I> {
    /// Rows of this table, which has a [`Table::id_column`].
    pub table: Table,
    /// Of this tenant.
    pub tenant: &'a str,
    /// With one of these ids, as the column has them: bytes or text.
    pub ids: &'a [I],
    /// Files without a row of these times, in nanoseconds, are left out. Of other files rows of other times are found, too.
    pub times: RangeInclusive<i64>,
    /// The columns of the answer.
    pub columns: &'a [&'a str],
}

/// Row groups read at once.
const CONCURRENT: usize = 8;

/// A row group of a file.
type Part = (Arc<DataFile>, usize);

/// What is looked for.
#[derive(Debug)]
struct Wanted {
    table: Table,
    tenant: String,
    ids: Ids,
    times: RangeInclusive<i64>,
    /// The columns of the answer.
    schema: SchemaRef,
    /// Those, the tenant and the id.
    whole: SchemaRef,
    id_column: &'static str,
}

impl Storage {
    /// The rows of a snapshot that are looked up, in no order.
    ///
    /// Runs on the current tokio runtime, which it keeps busy: it is for one that runs queries.
    pub async fn lookup<I: AsRef<[u8]>>(
        &self,
        snapshot: &Snapshot,
        what: &Lookup<'_, I>,
    ) -> Result<Vec<RecordBatch>, Error> {
        self.look_up(snapshot, Arc::new(Wanted::new(what)?)).await
    }

    async fn look_up(&self, snapshot: &Snapshot, wanted: Arc<Wanted>) -> Result<Vec<RecordBatch>, Error> {
        let mut found = Vec::new();
        for batch in snapshot.hot(wanted.table) {
            found.extend(wanted.of_memory(batch)?);
        }
        let parts = self.parts(snapshot, &wanted).await?.into_iter().map(|(part, marks)| {
            let (storage, wanted) = (self.clone(), Arc::clone(&wanted));
            tokio::spawn(async move { storage.lookup_in(&part, &marks, &wanted).await })
        });
        let mut parts = stream::iter(parts).buffer_unordered(CONCURRENT);
        while let Some(part) = parts.next().await {
            found.extend(part.map_err(|e| Error::rows("look up rows")(std::io::Error::other(e)))??);
        }
        Ok(found)
    }

    /// The row groups that may have rows, each with the marks of the ids that it may have.
    async fn parts(&self, snapshot: &Snapshot, wanted: &Wanted) -> Result<Vec<(Part, Vec<u32>)>, Error> {
        let files = snapshot
            .files(wanted.table)
            .iter()
            .filter(|file| file.may_have(&wanted.tenant, *wanted.times.start(), *wanted.times.end()))
            .cloned();
        let hits = stream::iter(files.collect::<Vec<_>>()).map(|file| async move {
            let mut groups: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
            for id in wanted.ids.iter() {
                for (_, hit) in self.inner().id_index.find(std::slice::from_ref(&file), id).await? {
                    hit.into_iter().for_each(|group| groups.entry(group).or_default().push(mark(id)));
                }
            }
            Ok::<_, Error>(groups.into_iter().map(move |(group, marks)| ((Arc::clone(&file), group), marks)))
        });
        let hits: Vec<_> = hits.buffered(CONCURRENT).try_collect().await?;
        Ok(hits.into_iter().flatten().collect())
    }

    async fn lookup_in(
        &self,
        (file, group): &Part,
        marks: &[u32],
        wanted: &Wanted,
    ) -> Result<Option<RecordBatch>, Error> {
        let facts = self.inner().row_groups.get(file, *group).await?;
        let rows = facts.rows_with(marks);
        if rows.is_empty() {
            return Ok(None);
        }
        let batch = read::rows(self.inner(), file, *group, Some(&facts), &rows, &wanted.whole).await?;
        // What is remembered of an id is less than the id.
        let is_wanted = |id: Option<&[u8]>| id.is_some_and(|id| wanted.ids.holds(id));
        let is_wanted = IdColumn::of(&batch, wanted.id_column)?.map(is_wanted);
        wanted.of_tenant(&batch, is_wanted.into())
    }
}

impl Wanted {
    fn new<I: AsRef<[u8]>>(what: &Lookup<'_, I>) -> Result<Wanted, Error> {
        let Lookup { table, tenant, ids, ref times, columns } = *what;
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
        let (tenant, ids) = (tenant.to_owned(), Ids::new(ids));
        Ok(Wanted { table, tenant, ids, times: times.clone(), schema, whole, id_column })
    }

    /// The wanted rows of a batch in memory.
    fn of_memory(&self, batch: &RecordBatch) -> Result<Option<RecordBatch>, Error> {
        let rows = IdColumn::of(batch, self.id_column)?.rows_with(&self.ids);
        if rows.is_empty() {
            return Ok(None);
        }
        let taken = read::of_memory(batch, rows, &self.whole)?;
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
