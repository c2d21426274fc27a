//! Answers questions about the stored telemetry: SQL, traces, search. The only room
//! that names DataFusion.
//!
//! What goes in: a query and a tenant. What comes out: a stream of Arrow batches, or an
//! HTTP answer made of it. Every query sees one snapshot of hot and cold rows, has a
//! deadline, a memory budget and a limit on its answer, and ends when its client goes
//! away. Nothing here writes telemetry, or files other than spilled rows.
//!
//! Modules in reading order:
//! - [`engine`]: [`Engine`], [`Session`] and the limits of a query;
//! - `table`: the tables over a snapshot, and which files a query need not read;
//! - [`functions`]: what SQL has beside DataFusion's own functions;
//! - [`sql`]: what text is taken as a query, and `/api/v1/sql`;
//! - [`render`]: answers as JSON, NDJSON, CSV and Arrow IPC;
//! - [`error`]: errors, and the HTTP status of each;
//! - `roller`: counts invocations in the background;
//! - [`api`]: the HTTP API beside SQL; `otlp`: rows given back as OTLP; `openapi`: its description.

pub mod api;
pub mod engine;
pub mod error;
pub mod functions;
mod openapi;
mod otlp;
pub mod render;
mod roller;
pub mod sql;
mod table;

pub use engine::{Answer, AnswerStream, Config, ConfigError, Engine, Limits, Session};
pub use error::{Error, ErrorKind};
pub use roller::Roller;
pub use sql::params::{Param, Params};

/// Everything under `/api/v1`: SQL and the API, compressed as the client asks.
pub fn router(engine: Engine) -> axum::Router {
    router_with(api::ApiState { engine, tail: None, started: std::time::Instant::now() })
}

/// As [`router`], with what the API needs beside the engine.
pub fn router_with(state: api::ApiState) -> axum::Router {
    use axum::middleware::{from_fn, map_response};
    axum::Router::new()
        .merge(sql::http::router(state.engine.clone()))
        .merge(api::router_with(state))
        .fallback(api::nothing_here)
        .layer(from_fn(api::address::check))
        .layer(tower_http::compression::CompressionLayer::new())
        .layer(map_response(render::break_off::after_sending))
}
