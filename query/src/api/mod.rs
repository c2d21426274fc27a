//! The HTTP API beside SQL: traces, search, logs, metrics, names and values, live tail.
//!
//! - `address`: what an address must be, whatever it names;
//! - `params`: parameters, read strictly;
//! - `filter`: parameters as conditions of a query;
//! - `answer`: what the answers have in common: rows, times, cursors;
//! - `tree`, `stream`: rows in the order of a waterfall; answers that are written piece by piece;
//! - `trace`: one trace, one span;
//! - `flow`, `hops`: the traces of one story, over event hops; hops counted;
//! - `invocations`, `functions`, `rollups`: what functions did, one by one and counted;
//! - `search`, `logs`, `metrics`: rows by condition;
//! - `catalog`: services, operations, attribute keys and values, without a scan where possible;
//! - `tail`: rows as they are stored;
//! - `status`: what is stored.
//!
//! Every answer says whether it is complete. Each handler's documentation is the source of
//! `/api/v1/openapi.json` (`crate::openapi`).

pub(crate) mod address;
pub(crate) mod answer;
pub(crate) mod catalog;
mod filter;
pub(crate) mod flow;
pub(crate) mod functions;
pub(crate) mod hops;
pub(crate) mod invocations;
pub(crate) mod logs;
pub(crate) mod metrics;
pub(crate) mod params;
pub(crate) mod rollups;
pub(crate) mod search;
pub(crate) mod status;
mod stream;
pub(crate) mod tail;
pub(crate) mod trace;
mod tree;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use axum::Router;
use axum::extract::FromRef;
use axum::middleware::from_fn;
use axum::routing::{MethodRouter, get};
use hopline_model::Table;
use http::Uri;
use tokio::sync::broadcast;

use crate::engine::Engine;
use crate::error::Error;
use crate::openapi;
pub use crate::otlp::{Error as OtlpError, logs as otlp_logs, metrics as otlp_metrics, spans as otlp_spans};
use crate::render::accept;

/// Subscribes to the rows that are stored from now on.
pub type Tail = Arc<dyn Fn() -> broadcast::Receiver<(Table, Arc<RecordBatch>)> + Send + Sync>;

/// What the handlers share.
#[derive(Clone)]
pub struct ApiState {
    /// Answers queries.
    pub engine: Engine,
    /// The source of `/api/v1/tail`, if there is one.
    pub tail: Option<Tail>,
    /// When the server started.
    pub started: Instant,
}

impl FromRef<ApiState> for Engine {
    fn from_ref(state: &ApiState) -> Engine {
        state.engine.clone()
    }
}

/// The answer to an address that names nothing.
pub(crate) async fn nothing_here(uri: Uri) -> Error {
    let path: String = uri.path().chars().take(200).collect();
    Error::NotFound(format!("there is nothing at {path}: /api/v1/openapi.json describes what there is"))
}

/// The API without live tail.
pub fn router(engine: Engine) -> Router {
    router_with(ApiState { engine, tail: None, started: Instant::now() })
}

/// The API.
pub fn router_with(state: ApiState) -> Router {
    let json: [(&str, MethodRouter<ApiState>); 16] = [
        ("/api/v1/traces/{trace_id}/spans/{span_id}", get(trace::span)),
        ("/api/v1/search", get(search::search)),
        ("/api/v1/services", get(catalog::services)),
        ("/api/v1/operations", get(catalog::operations)),
        ("/api/v1/attributes", get(catalog::attributes)),
        ("/api/v1/attributes/{key}/values", get(catalog::values)),
        ("/api/v1/logs", get(logs::logs)),
        ("/api/v1/metrics", get(metrics::metrics)),
        ("/api/v1/metrics/query", get(metrics::query)),
        ("/api/v1/hops", get(hops::hops)),
        ("/api/v1/functions", get(functions::functions)),
        ("/api/v1/functions/{function}", get(functions::function)),
        ("/api/v1/invocations", get(invocations::invocations)),
        ("/api/v1/invocations/{invocation_id}", get(invocations::invocation)),
        ("/api/v1/status", get(status::status)),
        ("/api/v1/openapi.json", get(openapi::document)),
    ];
    let json = json.map(|(path, methods)| (path, methods.route_layer(from_fn(accept::only_json))));
    let negotiated = [
        ("/api/v1/traces/{trace_id}", get(trace::trace)),
        ("/api/v1/flows/{trace_id}", get(flow::flow)),
        ("/api/v1/flows", get(flow::find)),
        ("/api/v1/tail", get(tail::tail)),
    ];
    let only_get = || async { Err::<(), _>(Error::Method("this is only read: with GET".to_owned())) };
    let routes = json.into_iter().chain(negotiated).map(|(path, methods)| (path, methods.fallback(only_get)));
    routes.fold(Router::new(), |router, (path, methods)| router.route(path, methods)).with_state(state)
}
