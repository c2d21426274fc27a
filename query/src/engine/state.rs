//! DataFusion's state: what all queries share, and one session's tables on top.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemoryCatalogProviderList, MemorySchemaProvider};
use datafusion::catalog::{CatalogProviderList, SchemaProvider};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::prelude::SessionConfig;
use hopline_model::Table;
use hopline_storage::Storage;

use super::Config;
use crate::error::Error;
use crate::functions;
use crate::sql::plan::Planner;
use crate::table::{KeyTypes, SnapshotTable, store_url};

const CATALOG: &str = "hopline";
const SCHEMA: &str = "public";
/// How DataFusion names its folders of spilled rows.
const SPILL_PREFIX: &str = "datafusion-";

/// Everything but tables.
pub(super) fn shared(storage: &Storage, config: &Config) -> Result<SessionState, Error> {
    let disk = DiskManagerBuilder::default()
        .with_mode(spill(storage).map_err(Error::Start)?)
        .with_max_temp_directory_size(config.spill_bytes);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(config.memory_bytes)))
        .with_disk_manager_builder(disk)
        .with_metadata_cache_limit(config.footer_cache_bytes)
        .build_arc()?;
    runtime.register_object_store(store_url()?.as_ref(), storage.store());

    let mut state = SessionStateBuilder::new()
        .with_config(settings(config))
        .with_runtime_env(runtime)
        .with_default_features()
        // These are for tables made from files, which no query may do.
        .with_table_factories(HashMap::new())
        .with_file_formats(Vec::new())
        .build();
    let bounded: Vec<_> = state.scalar_functions().values().map(|f| functions::bounded::bound(Arc::clone(f))).collect();
    for function in bounded.into_iter().chain(functions::all()) {
        datafusion::execution::FunctionRegistry::register_udf(&mut state, function)?;
    }
    Ok(state)
}

/// Where queries put what does not fit in memory. Nothing is written to a folder that is only read.
fn spill(storage: &Storage) -> std::io::Result<DiskManagerMode> {
    if matches!(storage.ready_for_writes(), Err(hopline_storage::Error::ReadOnly)) {
        return Ok(DiskManagerMode::OsTmpDirectory);
    }
    let dir = storage.dir().join("tmp");
    std::fs::create_dir_all(&dir)?;
    // What a server that was killed left behind: no other runs on this folder.
    for entry in std::fs::read_dir(&dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(SPILL_PREFIX) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(DiskManagerMode::Directories(vec![dir]))
}

fn settings(config: &Config) -> SessionConfig {
    let mut settings = SessionConfig::new()
        .with_target_partitions(config.threads())
        .with_information_schema(true)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, SCHEMA);
    let options = settings.options_mut();
    // Without these two a search reads every column of every row: five times slower.
    options.execution.parquet.pushdown_filters = true;
    options.execution.parquet.reorder_filters = true;
    options.execution.parquet.enable_page_index = true;
    options.execution.parquet.bloom_filter_on_read = true;
    // The tables' types are Utf8, not views.
    options.execution.parquet.schema_force_view_types = false;
    options.execution.time_zone = Some(hopline_model::schema::UTC.to_owned());
    // A sort keeps this much back for merging; several run within the budget.
    options.execution.sort_spill_reservation_bytes = (config.memory_bytes / 64).clamp(1 << 20, 10 << 20);
    settings
}

/// `shared` with the tables of one session.
pub(super) fn with_tables(
    shared: &SessionState,
    tables: [SnapshotTable; Table::COUNT],
    keys: Arc<KeyTypes>,
) -> Result<SessionState, Error> {
    let schema = MemorySchemaProvider::new();
    for table in tables {
        schema.register_table(table.table.name().to_owned(), Arc::new(table))?;
    }
    let catalog = MemoryCatalogProvider::new();
    catalog.register_schema(SCHEMA, Arc::new(schema))?;
    let catalogs = MemoryCatalogProviderList::new();
    catalogs.register_catalog(CATALOG.to_owned(), Arc::new(catalog));

    let mut planners: Vec<Arc<dyn ExprPlanner>> = vec![Arc::new(Planner { keys })];
    planners.extend(shared.expr_planners().iter().cloned());
    let state = SessionStateBuilder::new_from_existing(shared.clone())
        .with_catalog_list(Arc::new(catalogs))
        .with_expr_planners(planners)
        .build();
    Ok(state)
}
