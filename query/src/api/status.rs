//! `/api/v1/status`: what is stored, and for how long the server runs.

use axum::extract::State;
use axum::response::Response;
use hopline_model::Table;
use http::Uri;
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiState;
use super::answer::{self, json, rfc3339};
use super::params::Params;
use crate::error::{Error, Problem};

/// What is stored, and for how long the server runs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StatusAnswer {
    /// Hopline's version.
    version: &'static str,
    /// Version of the tables' columns.
    schema_version: u32,
    /// Seconds since the server started.
    uptime_seconds: f64,
    /// The tables, of all tenants together.
    tables: Vec<TableStatus>,
    /// Bytes of rows in memory.
    hot_bytes: u64,
    /// Always true: the figures are of one instant.
    complete: bool,
}

/// What is stored of one table.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TableStatus {
    /// `spans`, `logs` or `metrics`.
    #[schema(value_type = String)]
    name: &'static str,
    /// Rows in files and in memory.
    rows: u64,
    /// Rows in memory only, which the log protects.
    hot_rows: u64,
    /// Files.
    files: usize,
    /// Their size.
    file_bytes: u64,
    /// RFC 3339: the earliest time in the files.
    min_time: Option<String>,
    /// RFC 3339: the latest time in the files.
    max_time: Option<String>,
}

/// Tells what is stored, and for how long the server runs.
#[utoipa::path(
    get, path = "/api/v1/status", tag = "server",
    responses(
        (status = 200, description = "The status", body = StatusAnswer),
        (status = 400, description = "A parameter was given", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn status(State(state): State<ApiState>, uri: Uri) -> Result<Response, Error> {
    Params::none(&uri)?;
    let session = answer::session(&state, "status");
    let snapshot = session.snapshot();
    let tables = Table::ALL.map(|table| {
        let (hot, files) = (snapshot.hot(table), snapshot.files(table));
        let hot_rows = hot.iter().map(|batch| batch.num_rows() as u64).sum();
        TableStatus {
            name: table.name(),
            rows: hot_rows + files.iter().map(|file| file.rows).sum::<u64>(),
            hot_rows,
            files: files.len(),
            file_bytes: files.iter().map(|file| file.size_bytes).sum(),
            min_time: files.iter().map(|file| file.min_time).min().map(rfc3339),
            max_time: files.iter().map(|file| file.max_time).max().map(rfc3339),
        }
    });
    let hot_bytes = Table::ALL.iter().flat_map(|t| snapshot.hot(*t)).map(|b| b.get_array_memory_size() as u64).sum();
    json(&StatusAnswer {
        version: env!("CARGO_PKG_VERSION"),
        schema_version: hopline_model::schema::SCHEMA_VERSION,
        uptime_seconds: state.started.elapsed().as_secs_f64(),
        tables: tables.into(),
        hot_bytes,
        complete: true,
    })
}
