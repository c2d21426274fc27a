//! `/api/v1/sql`: a query over HTTP.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, RawQuery, State};
use axum::response::Response;
use axum::routing::get;
use http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::Value;

use super::params::Params;
use super::statement::TEXT_BYTES_MAX;
use crate::engine::{Engine, Limits};
use crate::error::{Error, Problem};
use crate::render::{self, Format, Options, accept};

/// The largest request: the longest text with every character escaped, and parameters.
const BODY_BYTES_MAX: usize = 6 * TEXT_BYTES_MAX + (1 << 20);
const ACCEPTED: &str = "application/json, application/sql and text/plain";

/// The endpoint.
pub fn router(engine: Engine) -> Router {
    let methods = get(query_text)
        .post(query)
        .fallback(|| async { Error::Method("a query is sent with POST, or with GET and ?query=".to_owned()) });
    Router::new().route("/api/v1/sql", methods).layer(DefaultBodyLimit::max(BODY_BYTES_MAX)).with_state(engine)
}

/// A query and how it is to be answered.
#[derive(Debug, Clone, Deserialize, Default, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlRequest {
    /// One statement that reads: SELECT, WITH, VALUES, EXPLAIN, SHOW TABLES or DESCRIBE.
    pub query: String,
    /// An array with the values of `$1`, `$2`, …, or an object with those of `$name`.
    #[serde(default)]
    pub params: Value,
    /// How long the query may take, in milliseconds.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// The most rows to answer with. More are cut, and the answer says so.
    #[serde(default)]
    pub max_rows: Option<u64>,
    /// Whether 64-bit integers are written as JSON strings.
    #[serde(default)]
    pub int64_as_string: bool,
    /// `json`, `ndjson`, `csv` or `arrow`, in place of the header `Accept`.
    #[serde(default)]
    pub format: Option<String>,
}

/// An answer in JSON.
#[derive(Debug, Clone, serde::Serialize, utoipa::ToSchema)]
pub struct SqlAnswer {
    /// The columns.
    pub columns: Vec<SqlColumn>,
    /// The rows, each an array with a value a column.
    pub rows: Vec<Vec<Value>>,
    /// Whether these are all rows.
    pub complete: bool,
    /// Why they are not: a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why they are not: the query broke off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Problem>,
}

/// A column of an answer.
#[derive(Debug, Clone, serde::Serialize, utoipa::ToSchema)]
pub struct SqlColumn {
    /// Its name.
    pub name: String,
    /// Its type: `string`, `int64`, `float64`, `boolean`, `timestamp`, `binary(16)`, `list<…>`, …
    pub r#type: String,
}

/// Runs a query.
///
/// The body is JSON, or the plain text of the query. The answer is JSON, NDJSON, CSV or
/// an Arrow IPC stream, as `Accept` asks; ids are lower-case hexadecimal digits, times
/// RFC 3339 in UTC with nanoseconds.
#[utoipa::path(
    post,
    path = "/api/v1/sql",
    operation_id = "sql",
    tag = "sql",
    request_body(content(
        (SqlRequest = "application/json"),
        (String = "application/sql"),
        (String = "text/plain"),
    )),
    params(
        ("timeout_ms" = Option<u64>, Query, description = "How long the query may take, for bodies of plain SQL."),
        ("max_rows" = Option<u64>, Query, description = "The most rows to answer with, for bodies of plain SQL."),
        ("int64_as_string" = Option<bool>, Query, description = "Whether 64-bit integers are written as JSON strings, for bodies of plain SQL."),
        ("format" = Option<String>, Query, description = "json, ndjson, csv or arrow, in place of the header Accept."),
    ),
    responses(
        (status = 200, description = "The rows.", content(
            (SqlAnswer = "application/json"),
            (String = "application/x-ndjson"),
            (String = "text/csv"),
            (Vec<u8> = "application/vnd.apache.arrow.stream"),
        )),
        (status = 400, description = "The query is wrong.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The statement does more than read.", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The query is too long or too deep.", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is of a type that is not read.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn query(
    State(engine): State<Engine>,
    RawQuery(in_url): RawQuery,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<Response, Error> {
    let body = body.map_err(|rejection| match rejection.status() {
        http::StatusCode::PAYLOAD_TOO_LARGE => {
            Error::TooLarge { what: "the request", got: "more bytes".to_owned(), max: BODY_BYTES_MAX as u64 }
        }
        _ => Error::Invalid(rejection.body_text()),
    })?;
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("text/plain");
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let mut request = from_url(in_url.as_deref())?;
    match media_type.as_str() {
        "application/json" => {
            if in_url.is_some_and(|q| !q.is_empty()) {
                return Err(Error::Invalid("with a body of JSON, everything stands in the body".to_owned()));
            }
            // As a list of its members an object could be read too, but not by people.
            if body.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
                return Err(Error::Invalid("the body is not a JSON object".to_owned()));
            }
            request = serde_json::from_slice(&body).map_err(|e| Error::Invalid(format!("the body: {e}")))?;
        }
        "application/sql" | "text/plain" => {
            let text = std::str::from_utf8(&body).map_err(|e| Error::Invalid(format!("the body is not UTF-8: {e}")))?;
            text.clone_into(&mut request.query);
        }
        _ => return Err(Error::UnsupportedFormat { found: content_type.to_owned(), accepted: ACCEPTED }),
    }
    answer(&engine, request, &headers).await
}

/// Runs a query that stands in the URL.
#[utoipa::path(
    get,
    path = "/api/v1/sql",
    operation_id = "sql_get",
    tag = "sql",
    params(
        ("query" = String, Query, description = "One statement that reads."),
        ("params" = Option<String>, Query, description = "A JSON array or object with the values of $1 or $name."),
        ("timeout_ms" = Option<u64>, Query, description = "How long the query may take."),
        ("max_rows" = Option<u64>, Query, description = "The most rows to answer with."),
        ("int64_as_string" = Option<bool>, Query, description = "Whether 64-bit integers are written as JSON strings."),
        ("format" = Option<String>, Query, description = "json, ndjson, csv or arrow, in place of the header Accept."),
    ),
    responses(
        (status = 200, description = "The rows.", content(
            (SqlAnswer = "application/json"),
            (String = "application/x-ndjson"),
            (String = "text/csv"),
            (Vec<u8> = "application/vnd.apache.arrow.stream"),
        )),
        (status = 400, description = "The query is wrong.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The statement does more than read.", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The query is too long or too deep.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn query_text(
    State(engine): State<Engine>,
    RawQuery(in_url): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let request = from_url(in_url.as_deref())?;
    if request.query.is_empty() {
        return Err(Error::Invalid("the parameter query is missing".to_owned()));
    }
    answer(&engine, request, &headers).await
}

/// Reads the parameters of a URL strictly: an unknown one is an error.
fn from_url(in_url: Option<&str>) -> Result<SqlRequest, Error> {
    #[derive(Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    struct InUrl {
        query: String,
        params: Option<String>,
        timeout_ms: Option<u64>,
        max_rows: Option<u64>,
        int64_as_string: bool,
        format: Option<String>,
    }
    let Some(in_url) = in_url.filter(|q| !q.is_empty()) else { return Ok(SqlRequest::default()) };
    let uri = http::Uri::builder().path_and_query(format!("/?{in_url}")).build();
    let uri = uri.map_err(|e| Error::Invalid(format!("the URL: {e}")))?;
    let read = axum::extract::Query::<InUrl>::try_from_uri(&uri).map_err(|e| Error::Invalid(e.body_text()))?;
    let InUrl { query, params, timeout_ms, max_rows, int64_as_string, format } = read.0;
    let params = params.map(|text| serde_json::from_str(&text)).transpose();
    let params = params.map_err(|e| Error::Invalid(format!("params is not JSON: {e}")))?.unwrap_or(Value::Null);
    Ok(SqlRequest { query, params, timeout_ms, max_rows, int64_as_string, format })
}

async fn answer(engine: &Engine, request: SqlRequest, headers: &HeaderMap) -> Result<Response, Error> {
    let (format, options) = match &request.format {
        Some(name) => (Format::from_name(name)?, Options::default()),
        None => accept::negotiate(headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()))?,
    };
    let options = Options { int64_as_string: options.int64_as_string || request.int64_as_string };
    let limits = limits(engine, &request)?;
    let params = Params::from_json(request.params)?;
    let session = engine.session(hopline_model::DEFAULT_TENANT, limits);
    let answer = session.sql(&request.query, params).await?;
    render::respond(answer, format, options).await
}

fn limits(engine: &Engine, request: &SqlRequest) -> Result<Limits, Error> {
    let mut limits = engine.limits("sql");
    if let Some(timeout_ms) = request.timeout_ms {
        let max = engine.config().timeout_max_ms;
        if timeout_ms == 0 || timeout_ms > max {
            return Err(Error::Invalid(format!("timeout_ms is between 1 and {max}, not {timeout_ms}")));
        }
        limits.timeout = Duration::from_millis(timeout_ms);
    }
    limits.rows_max = request.max_rows.map_or(limits.rows_max, |rows| rows.min(limits.rows_max));
    Ok(limits)
}

#[cfg(test)]
mod tests;
