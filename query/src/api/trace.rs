//! `/api/v1/traces/{trace_id}`: one trace, whole; and one span of it.
//!
//! A trace needs no time range. What is stored of it is given, and marked as partial while
//! parents are missing: they may come later, or never.

mod links;
pub(in crate::api) mod rows;

use arrow::array::RecordBatch;
use axum::extract::{Path, State};
use axum::response::Response;
use hopline_model::{SpanId, Table, TraceId};
use http::{HeaderMap, Uri};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::answer::{self, ARROW};
use super::filter::Where;
use super::params::{Params, TimeRange, refuse};
use super::stream;
use crate::error::{Error, Problem};
use crate::otlp::{self, columns};
use rows::Waterfall;

/// Most rows of a waterfall, unless fewer are asked for.
const ROWS_MAX: usize = 1_000_000;

/// What `/api/v1/traces/{trace_id}` takes.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "start and end are only checked")]
pub(crate) struct TraceParams {
    /// A hint where the trace may be; the answer does not depend on it.
    #[param(value_type = Option<String>)]
    start: Option<i64>,
    /// A hint where the trace may be; the answer does not depend on it.
    #[param(value_type = Option<String>)]
    end: Option<i64>,
    /// Arrow only: rows in the answer. Of a larger trace the upper levels are given.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000000, default = 1000000)]
    limit: usize,
}

/// A trace as OTLP's `TracesData`, with two members more.
#[derive(Serialize, ToSchema)]
#[schema(as = Trace)]
#[allow(dead_code, reason = "only described: written as text")]
pub(crate) struct TraceAnswer {
    /// OTLP's `ResourceSpans`: by resource and scope, in the order of first appearance.
    #[serde(rename = "resourceSpans")]
    #[schema(value_type = Vec<Object>)]
    resource_spans: Vec<Map<String, Value>>,
    /// Whether there is a root and every parent that a span names is there too.
    complete: bool,
    /// What is missing.
    partial: Partial,
}

/// What is known to be missing from a trace.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(crate) struct Partial {
    /// Spans whose parent is not stored.
    pub(crate) missing_parents: usize,
    /// Spans without a parent.
    pub(crate) roots: usize,
}

/// Gives a whole trace, as OTLP/JSON or as the rows of a waterfall in Arrow.
///
/// With `Accept: application/vnd.apache.arrow.stream` the rows come in pre-order, children by start
/// time, the first batch small. Columns: `parent_row` (number of the parent's row, -1 for none),
/// `depth`, `start` (ns since the trace's start), `duration` (ns), `self_time` (ns in which no child
/// ran), `service`, `function`, `name`, `kind`, `status` (dictionaries), `span_id`, `flags` (1 error,
/// 2 parent missing, 4 cold start, 8 has links, 16 has events, 32 is its own ancestor), `children`,
/// `descendants`. Metadata of the schema: `trace_id`, `start_time_unix_nano`, `duration_ns`, `spans`,
/// `rows`, `complete`, `missing_parents`, `roots`.
#[utoipa::path(
    get, path = "/api/v1/traces/{trace_id}", tag = "traces",
    params(
        ("trace_id" = String, Path, description = "32 hexadecimal digits", example = "5b8efff798038103d269b633813fc60c"),
        TraceParams,
    ),
    responses(
        (status = 200, description = "The trace",
            content((TraceAnswer = "application/json"), (Vec<u8> = "application/vnd.apache.arrow.stream"))),
        (status = 400, description = "The id or a parameter is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such trace", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn trace(
    State(state): State<ApiState>,
    headers: HeaderMap,
    Path(trace_id): Path<String>,
    uri: Uri,
) -> Result<Response, Error> {
    let trace_id = read_trace_id(&trace_id)?;
    let params = Params::of::<TraceParams>(&uri)?;
    let TimeRange { start, end } = params.range()?;
    let asked = TraceParams { start, end, limit: params.limit("limit", ROWS_MAX, ROWS_MAX)? };
    let format = Format::of(&headers)?;
    let session = answer::trace_session(&state);
    let columns = match format {
        Format::Json => format!("{}, {}", columns::all_columns(Table::Spans).join(", "), rows::HAS.join(", ")),
        Format::Arrow => rows::COLUMNS.join(", "),
    };
    let mut conditions = Where::default();
    conditions.equals("trace_id", Some(trace_id));
    let sql = format!("SELECT {columns} FROM spans {} ORDER BY start_time, span_id", conditions.text());
    let batches = answer::rows(&session, &sql, conditions.params()).await?;
    if batches.iter().all(|b| b.num_rows() == 0) {
        return Err(Error::NotFound(format!("there is no trace {trace_id}")));
    }
    match format {
        Format::Json => stream::body("application/json", move |send| write_json(&batches, send)).await,
        Format::Arrow => {
            stream::body(ARROW, move |send| Waterfall::of(&batches)?.write(trace_id, asked.limit, send)).await
        }
    }
}

/// A way to write a trace or a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) enum Format {
    Json,
    Arrow,
}

impl Format {
    /// The format that `Accept` asks for: JSON unless it says otherwise.
    pub(in crate::api) fn of(headers: &HeaderMap) -> Result<Self, Error> {
        let accept = headers.get(http::header::ACCEPT).map_or("", |accept| accept.to_str().unwrap_or("-"));
        if accept.trim().is_empty() {
            return Ok(Self::Json);
        }
        let mut best: Option<(f32, Self)> = None;
        for part in accept.split(',') {
            let mut pieces = part.split(';').map(str::trim);
            let quality = pieces.clone().find_map(|p| p.strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
            let format = match pieces.next().unwrap_or_default().to_ascii_lowercase().as_str() {
                "application/json" | "application/*" | "*/*" => Self::Json,
                ARROW => Self::Arrow,
                _ => continue,
            };
            if quality > 0.0 && best.is_none_or(|(q, _)| quality > q) {
                best = Some((quality, format));
            }
        }
        best.map(|(_, format)| format).ok_or_else(|| Error::NotAcceptable {
            accept: accept.to_owned(),
            offered: "application/json and application/vnd.apache.arrow.stream",
        })
    }
}

fn write_json(batches: &[RecordBatch], send: stream::Send<'_>) -> Result<(), Error> {
    let mut trace = otlp::Trace::new(batches)?;
    // Counted as in Arrow, so that both say the same.
    let partial = Waterfall::of(batches)?.partial();
    let complete = partial.missing_parents == 0 && partial.roots > 0;
    let partial = serde_json::to_string(&partial).map_err(|e| Error::Internal(Box::new(e)))?;
    let extra = format!(",\"complete\":{complete},\"partial\":{partial}");
    let mut sink = otlp::Sink::pieces(stream::PIECE_BYTES, |piece| send(piece.into_bytes()));
    trace.write(&extra, &mut sink)?;
    Ok(())
}

pub(in crate::api) fn read_trace_id(text: &str) -> Result<TraceId, Error> {
    text.parse().map_err(|e| refuse("trace_id", text, &format!("{e}")))
}

/// What `/api/v1/traces/{trace_id}/spans/{span_id}` takes.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SpanParams {
    /// Links to the span are looked for in spans that started then or later. Default: an hour before
    /// the span.
    #[param(value_type = Option<String>)]
    start: Option<i64>,
    /// Links to the span are looked for in spans that started earlier. Default: a day after the span.
    #[param(value_type = Option<String>)]
    end: Option<i64>,
    /// Links in the answer.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000, default = 100)]
    limit: usize,
}

/// A span as OTLP's `TracesData`, and the spans that link to it.
#[derive(Serialize, ToSchema)]
#[schema(as = Span)]
#[allow(dead_code, reason = "only described: written as text")]
pub(crate) struct SpanAnswer {
    /// OTLP's `ResourceSpans` with this span, whole: attributes, events, links out.
    #[serde(rename = "resourceSpans")]
    #[schema(value_type = Vec<Object>)]
    resource_spans: Vec<Map<String, Value>>,
    /// Links to this span from others.
    links_in: links::LinksIn,
    /// Whether `links_in` holds all links of the time that was searched.
    complete: bool,
}

/// Gives one span, whole, with its links in both directions.
#[utoipa::path(
    get, path = "/api/v1/traces/{trace_id}/spans/{span_id}", tag = "traces",
    params(
        ("trace_id" = String, Path, description = "32 hexadecimal digits", example = "5b8efff798038103d269b633813fc60c"),
        ("span_id" = String, Path, description = "16 hexadecimal digits", example = "eee19b7ec3c1b174"),
        SpanParams,
    ),
    responses(
        (status = 200, description = "The span", body = SpanAnswer),
        (status = 400, description = "An id or a parameter is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such span", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn span(
    State(state): State<ApiState>,
    Path((trace_id, span_id)): Path<(String, String)>,
    uri: Uri,
) -> Result<Response, Error> {
    let trace_id = read_trace_id(&trace_id)?;
    let span_id: SpanId = span_id.parse().map_err(|e| refuse("span_id", &span_id, &format!("{e}")))?;
    let params = Params::of::<SpanParams>(&uri)?;
    let TimeRange { start, end } = params.range()?;
    let asked = SpanParams { start, end, limit: params.limit("limit", 100, 1_000)? };
    let session = answer::session(&state, "span");
    let mut conditions = Where::default();
    conditions.equals("trace_id", Some(trace_id));
    conditions.equals("span_id", Some(span_id));
    let columns = columns::all_columns(Table::Spans).join(", ");
    let sql = format!("SELECT {columns} FROM spans {} ORDER BY start_time", conditions.text());
    let batches = answer::rows(&session, &sql, conditions.params()).await?;
    let Some(first) = batches.iter().find(|b| b.num_rows() > 0) else {
        return Err(Error::NotFound(format!("there is no span {span_id} in trace {trace_id}")));
    };
    let started = columns::time(first, "start_time")?.value(0);
    let range = TimeRange {
        start: asked.start.or(Some(started.saturating_sub(links::BEFORE))),
        end: asked.end.or(Some(started.saturating_add(links::AFTER))),
    };
    let (links_in, complete) = links::to(&session, trace_id, span_id, range, asked.limit).await?;
    let links_in = serde_json::to_string(&links_in).map_err(|e| Error::Internal(Box::new(e)))?;
    let extra = format!(",\"links_in\":{links_in},\"complete\":{complete}");
    let mut body = String::new();
    otlp::Trace::new(&batches)?.write(&extra, &mut otlp::Sink::whole(&mut body))?;
    Ok(axum::response::IntoResponse::into_response(([(http::header::CONTENT_TYPE, "application/json")], body)))
}
