//! `/api/v1/openapi.json`: the description of the HTTP API, made from its code.

use std::sync::OnceLock;

use axum::response::{IntoResponse, Response};
use http::{Uri, header};
use serde::Serialize;
use serde_json::Value;
use utoipa::{OpenApi, ToSchema};

use crate::api::params::Params;
use crate::api::{catalog, logs, metrics, search, status, tail, trace};
use crate::error::{Error, Problem};

/// The whole API.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Hopline",
        description = "Traces, logs and metrics of functions and services. Every answer says whether it is complete. \
                       Errors are `application/problem+json` (RFC 9457). Ids are lower-case hexadecimal digits, times RFC \
                       3339 in UTC with nanoseconds.",
    ),
    paths(
        sql, trace::trace, trace::span, search::search, logs::logs, metrics::metrics, metrics::query,
        catalog::services, catalog::operations, catalog::attributes, catalog::values, tail::tail, status::status,
        document,
    ),
    components(schemas(Problem)),
    tags(
        (name = "sql", description = "Queries in SQL"),
        (name = "traces", description = "Traces and spans"),
        (name = "logs", description = "Log records"),
        (name = "metrics", description = "Metrics and their values"),
        (name = "names", description = "Names and values, for menus and completion"),
        (name = "live", description = "Rows as they are stored"),
        (name = "server", description = "The server itself"),
    ),
)]
struct Api;

/// A query.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "only described: crate::sql reads it")]
struct SqlRequest {
    /// One statement that reads: `SELECT`, `WITH`, `VALUES`, `EXPLAIN`, `SHOW TABLES`, `DESCRIBE`.
    #[schema(example = "SELECT service, count(*) FROM spans GROUP BY service")]
    query: String,
    /// An array for `$1`, `$2`, …, or an object for `$name`.
    #[schema(value_type = Option<Value>)]
    params: Option<Value>,
    /// How long it may take.
    timeout_ms: Option<u64>,
}

/// The rows of a query.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "only described: crate::render writes it")]
struct SqlAnswer {
    /// The columns.
    columns: Vec<SqlColumn>,
    /// A list a row, with a value a column.
    #[schema(value_type = Vec<Vec<Value>>)]
    rows: Vec<Vec<Value>>,
    /// Whether these are all rows.
    complete: bool,
    /// Why rows are missing.
    reason: Option<String>,
}

/// A column of a query's rows.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "only described: crate::render writes it")]
struct SqlColumn {
    /// Its name.
    name: String,
    /// Its Arrow type.
    r#type: String,
}

/// Runs a query in SQL over the tables `spans`, `logs` and `metrics`.
#[utoipa::path(
    post, path = "/api/v1/sql", tag = "sql",
    request_body(
        description = "The query: JSON, or the statement alone",
        content((SqlRequest = "application/json"), (String = "application/sql"), (String = "text/plain")),
    ),
    responses(
        (status = 200, description = "The rows, in the format that `Accept` asks for", content(
            (SqlAnswer = "application/json"),
            (String = "application/x-ndjson"),
            (String = "text/csv"),
            (Vec<u8> = "application/vnd.apache.arrow.stream"),
        )),
        (status = 400, description = "The query is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The statement does not only read", body = Problem, content_type = "application/problem+json"),
        (status = 406, description = "None of the formats asked for can be made", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The query is too large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body has a format that is not read", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many queries at once", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "The query took too long", body = Problem, content_type = "application/problem+json"),
        (status = 507, description = "The query needs too much memory", body = Problem, content_type = "application/problem+json"),
    )
)]
#[allow(dead_code, reason = "only described: crate::sql answers it")]
fn sql() {}

/// Gives this description.
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "server",
    responses(
        (status = 200, description = "OpenAPI 3.1", body = Object),
        (status = 400, description = "A parameter was given", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn document(uri: Uri) -> Result<Response, Error> {
    static TEXT: OnceLock<String> = OnceLock::new();
    Params::none(&uri)?;
    let text = match TEXT.get() {
        Some(text) => text,
        None => {
            let text = Api::openapi().to_json().map_err(|e| Error::Internal(Box::new(e)))?;
            TEXT.get_or_init(|| text)
        }
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], text.as_str()).into_response())
}
