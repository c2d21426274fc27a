//! `/api/v1/openapi.json`: the description of the HTTP API, made from its code.

use std::sync::OnceLock;

use axum::response::{IntoResponse, Response};
use http::{Uri, header};
use utoipa::OpenApi;

use crate::api::params::Params;
use crate::api::{catalog, logs, metrics, search, status, tail, trace};
use crate::error::{Error, Problem};
use crate::sql::http as sql_http;

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
        sql_http::query, sql_http::query_text, trace::trace, trace::span, search::search, logs::logs, metrics::metrics, metrics::query,
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
