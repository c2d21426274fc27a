//! `/api/v1/openapi.json`: the description of the HTTP API, made from its code.

use std::sync::OnceLock;

use axum::response::{IntoResponse, Response};
use http::{Uri, header};
use utoipa::openapi::{Content, Ref, ResponseBuilder};
use utoipa::{Modify, OpenApi};

use crate::api::params::Params;
use crate::api::{catalog, flow, functions, hops, invocations, logs, metrics, search, status, tail, trace};
use crate::error::{Error, ErrorKind, Problem};
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
        sql_http::query, sql_http::query_text, trace::trace, trace::span, flow::flow, flow::find, hops::hops, functions::one::function, functions::overview::functions,
        invocations::invocations, invocations::invocation, search::search, logs::logs, metrics::metrics, metrics::query,
        catalog::services, catalog::operations, catalog::attributes, catalog::values, tail::tail, status::status,
        document,
    ),
    components(schemas(Problem)),
    modifiers(&Failures),
    tags(
        (name = "sql", description = "Queries in SQL"),
        (name = "traces", description = "Traces and spans"),
        (name = "flows", description = "Traces tied together over event hops"),
        (name = "functions", description = "Functions and their invocations"),
        (name = "logs", description = "Log records"),
        (name = "metrics", description = "Metrics and their values"),
        (name = "names", description = "Names and values, for menus and completion"),
        (name = "live", description = "Rows as they are stored"),
        (name = "server", description = "The server itself"),
    ),
)]
struct Api;

/// What may go wrong with every request, or with every one that reads rows, whatever it asks for.
struct Failures;

impl Failures {
    /// Status, the answer's name, what it means, and whether only a request that reads rows gets it.
    const ALL: [(ErrorKind, &str, &str, bool); 6] = [
        (ErrorKind::NotAcceptable, "NotAcceptable", "None of the formats asked for can be made.", false),
        (ErrorKind::Overloaded, "Overloaded", "Too many queries at once: try again after `Retry-After` seconds.", true),
        (ErrorKind::Internal, "Internal", "A fault of the server; its log tells more.", false),
        (
            ErrorKind::Unavailable,
            "Unavailable",
            "The server is starting, or a stored file is damaged or missing (`hopline verify` names it).",
            false,
        ),
        (ErrorKind::Timeout, "Timeout", "The query did not end in time.", true),
        (ErrorKind::Memory, "Memory", "The query needs more memory or disk than it may use.", true),
    ];
    /// The paths that read no rows.
    const NO_ROWS: [&str; 3] = ["/api/v1/openapi.json", "/api/v1/status", "/api/v1/tail"];
    /// The path that gives what it has, whatever is asked for.
    const TAIL: &str = "/api/v1/tail";
}

impl Modify for Failures {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let problem = || Content::new(Some(Ref::from_schema_name("Problem")));
        let responses = &mut api.components.get_or_insert_default().responses;
        for (_, name, meaning, _) in Self::ALL {
            let response = ResponseBuilder::new().description(meaning).content(Problem::CONTENT_TYPE, problem());
            responses.insert(name.to_owned(), response.build().into());
        }
        for (path, item) in &mut api.paths.paths {
            let reads = !Self::NO_ROWS.contains(&path.as_str());
            for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
                for (kind, name, _, only_reading) in Self::ALL {
                    if (only_reading && !reads) || (kind == ErrorKind::NotAcceptable && path == Self::TAIL) {
                        continue;
                    }
                    let status = kind.status().as_str().to_owned();
                    operation.responses.responses.insert(status, Ref::from_response_name(name).into());
                }
            }
        }
    }
}

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
