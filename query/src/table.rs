//! The tables `spans`, `logs` and `metrics` over one snapshot.
//!
//! A table is the union of the rows in memory and the rows in files, each of one
//! tenant. Which files need not be read is decided here, from what is known of them
//! without opening them (`prune`) and from the trace index; the rest is up to
//! DataFusion, which pushes filters, limits and the running bound of a top-n into the
//! files' reader.
//!
//! A tenant's rows are chosen here, below the plan of the query: no text of a query can
//! choose others.

mod keys;
mod prune;
mod scan;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use futures::future::BoxFuture;
use hopline_model::{Table, schema};
use hopline_storage::{Snapshot, Storage};

pub(crate) use keys::KeyTypes;
pub(crate) use scan::store_url;

/// One table of one tenant over one snapshot.
pub(crate) struct SnapshotTable {
    pub(crate) table: Table,
    pub(crate) tenant: Arc<str>,
    pub(crate) storage: Storage,
    pub(crate) snapshot: Arc<Snapshot>,
}

impl std::fmt::Debug for SnapshotTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotTable")
            .field("table", &self.table)
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

impl TableProvider for SnapshotTable {
    fn schema(&self) -> SchemaRef {
        schema::of(self.table)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    // Filters are used to leave files out; what remains is filtered by the plan, which
    // moves its filters into the files' reader.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    // Written as the macro of crate `async-trait` would, which nothing else here needs.
    fn scan<'s, 'e, 'p, 'f, 'a>(
        &'s self,
        state: &'e dyn Session,
        projection: Option<&'p Vec<usize>>,
        filters: &'f [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, Result<Arc<dyn ExecutionPlan>>>
    where
        's: 'a,
        'e: 'a,
        'p: 'a,
        'f: 'a,
        Self: 'a,
    {
        let scan = scan::Scan { table: self, state, projection, filters, limit };
        Box::pin(async move { scan.plan().await })
    }
}
