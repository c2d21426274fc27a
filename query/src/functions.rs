//! What SQL has beside DataFusion's own functions, registered in this one place.
//!
//! - `attr`, `resource_attr`, `scope_attr` and their typed forms: the planner
//!   (`crate::sql::plan`) turns them into columns and the functions of `attr`;
//! - [`ids`]: `hex(bytes)`, `trace_id('…')`, `span_id('…')`;
//! - [`bounded`]: DataFusion's functions that make large values of small ones, with a limit.

pub(crate) mod attr;
pub mod bounded;
pub mod ids;

use std::sync::Arc;

use datafusion::logical_expr::ScalarUDF;

/// All scalar functions of ours.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    attr::all().into_iter().chain(ids::all()).map(Arc::new).collect()
}
