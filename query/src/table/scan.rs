//! Turns a scan of a table into a physical plan.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, DataFusionError, Result, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::parquet::{CachedParquetFileReaderFactory, ParquetAccessPlan};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::union::UnionExec;
use hopline_model::schema;
use hopline_storage::DataFile;

use super::{SnapshotTable, prune};
use crate::error::Error;

/// The name under which the storage's object store is known to the plans.
const STORE_URL: &str = "hopline://storage";

/// The name under which the storage's object store is known to the plans.
pub(crate) fn store_url() -> Result<ObjectStoreUrl> {
    ObjectStoreUrl::parse(STORE_URL)
}

/// One scan of one table.
pub(super) struct Scan<'a> {
    pub(super) table: &'a SnapshotTable,
    pub(super) state: &'a dyn Session,
    pub(super) projection: Option<&'a Vec<usize>>,
    pub(super) filters: &'a [Expr],
    pub(super) limit: Option<usize>,
}

/// A file, and the row groups of it that may have rows of the query: `None` is all.
type FilePart = (Arc<DataFile>, Option<Vec<usize>>);

impl Scan<'_> {
    /// The plan: rows in memory and rows in files, those of other tenants filtered out.
    pub(super) async fn plan(&self) -> Result<Arc<dyn ExecutionPlan>> {
        let mut parts: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        let tenant = &*self.table.tenant;
        let (own, mixed) = self.hot_batches();
        if !own.is_empty() {
            parts.push(self.memory(own, self.projection)?);
        }
        if !mixed.is_empty() {
            parts.push(self.of_tenant(|projection| self.memory(mixed, projection))?);
        }
        let only_tenant = |file: &DataFile| file.tenants.as_ref().is_some_and(|t| t.iter().all(|t| t == tenant));
        let (own, mixed): (Vec<FilePart>, Vec<FilePart>) =
            self.files().await?.into_iter().partition(|(file, _)| only_tenant(file));
        if !own.is_empty() {
            parts.push(self.parquet(own, self.projection, self.limit).await?);
        }
        if !mixed.is_empty() {
            let all_columns: Vec<usize> = (0..schema::of(self.table.table).fields().len()).collect();
            let projection = with_tenant(self.projection.unwrap_or(&all_columns));
            let plan = self.parquet(mixed, Some(&projection), None).await?;
            parts.push(self.of_tenant(|_| Ok(plan))?);
        }
        match parts.len() {
            0 => Ok(Arc::new(EmptyExec::new(self.schema()?))),
            1 => Ok(parts.swap_remove(0)),
            _ => UnionExec::try_new(parts),
        }
    }

    fn schema(&self) -> Result<SchemaRef> {
        let schema = schema::of(self.table.table);
        match self.projection {
            Some(columns) => Ok(Arc::new(schema.project(columns)?)),
            None => Ok(schema),
        }
    }

    /// The batches in memory that are of the tenant alone, and those that are also of others.
    fn hot_batches(&self) -> (Vec<RecordBatch>, Vec<RecordBatch>) {
        let (mut own, mut mixed) = (Vec::new(), Vec::new());
        for batch in self.table.snapshot.hot(self.table.table) {
            let tenants = batch.column_by_name("tenant").and_then(|c| c.as_dictionary_opt::<Int32Type>());
            let tenants = tenants.and_then(|d| d.values().as_string_opt::<i32>());
            let is_own = |tenants: &arrow::array::StringArray| {
                tenants.iter().flatten().filter(|t| *t == &*self.table.tenant).count()
            };
            match tenants.map(|t| (is_own(t), t.len())) {
                Some((0, _)) => {}
                Some((own_tenants, all)) if own_tenants == all => own.push(RecordBatch::clone(batch)),
                _ => mixed.push(RecordBatch::clone(batch)),
            }
        }
        (own, mixed)
    }

    fn memory(&self, batches: Vec<RecordBatch>, projection: Option<&Vec<usize>>) -> Result<Arc<dyn ExecutionPlan>> {
        let count = self.partitions().min(batches.len()).max(1);
        let mut partitions = vec![Vec::new(); count];
        // The newest first, each partition about the same number.
        for (partition, batch) in (0..count).cycle().zip(batches.into_iter().rev()) {
            if let Some(partition) = partitions.get_mut(partition) {
                partition.push(batch);
            }
        }
        let schema = schema::of(self.table.table);
        let source = MemorySourceConfig::try_new(&partitions, schema, projection.cloned())?;
        Ok(DataSourceExec::from_data_source(source))
    }

    /// The files that may have rows of the query, the newest first.
    async fn files(&self) -> Result<Vec<FilePart>> {
        let SnapshotTable { table, tenant, storage, snapshot } = self.table;
        let mut files = prune::prune(*table, snapshot.files(*table), tenant, self.filters, self.state)?;
        files.sort_by_key(|file| std::cmp::Reverse(file.max_time));
        let Some(ids) = prune::ids(*table, self.filters) else {
            return Ok(files.into_iter().map(|file| (file, None)).collect());
        };
        let mut parts: Vec<FilePart> = files.into_iter().map(|file| (file, Some(Vec::new()))).collect();
        for id in ids {
            let hits = storage.files_with_id(snapshot, *table, &id).await.map_err(storage_error)?;
            for (file, row_groups) in hits {
                if let Some((_, Some(wanted))) = parts.iter_mut().find(|(f, _)| f.path == file.path) {
                    wanted.extend(row_groups);
                }
            }
        }
        parts.retain(|(_, row_groups)| row_groups.as_ref().is_none_or(|r| !r.is_empty()));
        Ok(parts)
    }

    async fn parquet(
        &self,
        parts: Vec<FilePart>,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = schema::of(self.table.table);
        let count = self.partitions().min(parts.len()).max(1);
        let mut groups = vec![Vec::new(); count];
        for (group, (file, row_groups)) in (0..count).cycle().zip(parts) {
            let mut part = PartitionedFile::new(file.path.as_ref(), file.size_bytes)
                .with_statistics(Arc::new(self.statistics(&file, row_groups.is_none())));
            if let Some(row_groups) = row_groups {
                part = part.with_extension(self.access_plan(&file, row_groups).await?);
            }
            if let Some(group) = groups.get_mut(group) {
                group.push(part);
            }
        }
        let cache = self.state.runtime_env().cache_manager.get_file_metadata_cache();
        let reader = CachedParquetFileReaderFactory::new(self.table.storage.store(), cache);
        let mut options = self.state.table_options().parquet.clone();
        options.global = self.state.config_options().execution.parquet.clone();
        let source = ParquetSource::new(schema)
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(Arc::new(reader));
        let config = FileScanConfigBuilder::new(store_url()?, Arc::new(source))
            .with_file_groups(groups.into_iter().map(FileGroup::new).collect())
            .with_limit(limit)
            .with_projection_indices(projection.cloned())?
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    async fn access_plan(&self, file: &DataFile, row_groups: Vec<usize>) -> Result<ParquetAccessPlan> {
        let metadata = self.table.storage.parquet_metadata(file).await.map_err(storage_error)?;
        let mut plan = ParquetAccessPlan::new_none(metadata.num_row_groups());
        for row_group in row_groups.into_iter().filter(|r| *r < metadata.num_row_groups()) {
            plan.scan(row_group);
        }
        Ok(plan)
    }

    /// What is known of a file. Exact, unless only some of its row groups are read.
    fn statistics(&self, file: &DataFile, whole: bool) -> Statistics {
        let table = self.table.table;
        let schema = schema::of(table);
        let precise = |value: ScalarValue| if whole { Precision::Exact(value) } else { Precision::Inexact(value) };
        let time = |ns| precise(ScalarValue::TimestampNanosecond(Some(ns), Some(schema::UTC.into())));
        let column = |field: &Arc<arrow::datatypes::Field>| {
            let mut column = ColumnStatistics::new_unknown();
            if !field.is_nullable() {
                column.null_count = Precision::Exact(0);
            }
            if field.name() == table.time_column() {
                column.min_value = time(file.min_time);
                column.max_value = time(file.max_time);
            }
            column
        };
        let rows = usize::try_from(file.rows).unwrap_or(usize::MAX);
        Statistics {
            num_rows: if whole { Precision::Exact(rows) } else { Precision::Inexact(rows) },
            total_byte_size: Precision::Inexact(usize::try_from(file.size_bytes).unwrap_or(usize::MAX)),
            column_statistics: schema.fields().iter().map(column).collect(),
        }
    }

    /// The rows of the tenant among those of `source`, which is given the projection to make.
    fn of_tenant(
        &self,
        source: impl FnOnce(Option<&Vec<usize>>) -> Result<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all_columns: Vec<usize> = (0..schema::of(self.table.table).fields().len()).collect();
        let wanted = self.projection.unwrap_or(&all_columns);
        let projection = with_tenant(wanted);
        let input = source(Some(&projection))?;
        let schema = input.schema();
        let (index, field) = schema
            .fields()
            .find("tenant")
            .ok_or_else(|| DataFusionError::Internal("there is no column tenant to filter by".to_owned()))?;
        let tenant = ScalarValue::Utf8(Some(self.table.tenant.to_string())).cast_to(field.data_type())?;
        let is_own: Arc<dyn PhysicalExpr> = Arc::new(BinaryExpr::new(
            Arc::new(Column::new("tenant", index)),
            datafusion::logical_expr::Operator::Eq,
            Arc::new(Literal::new(tenant)),
        ));
        let filtered: Arc<dyn ExecutionPlan> = Arc::new(FilterExec::try_new(is_own, input)?);
        if projection.len() == wanted.len() {
            return Ok(filtered);
        }
        let columns = schema.fields().iter().enumerate().take(wanted.len()).map(|(i, field)| ProjectionExpr {
            expr: Arc::new(Column::new(field.name(), i)),
            alias: field.name().clone(),
        });
        Ok(Arc::new(ProjectionExec::try_new(columns, filtered)?))
    }

    fn partitions(&self) -> usize {
        self.state.config().target_partitions().max(1)
    }
}

/// `columns`, and behind them the tenant's (the first of every table) unless it is among them.
fn with_tenant(columns: &[usize]) -> Vec<usize> {
    let mut columns = columns.to_vec();
    if !columns.contains(&0) {
        columns.push(0);
    }
    columns
}

/// What is read of a file before its rows is told like what is read of its rows.
fn storage_error(error: hopline_storage::Error) -> DataFusionError {
    DataFusionError::External(Box::new(Error::Read(Box::new(error))))
}
