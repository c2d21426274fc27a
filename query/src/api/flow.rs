//! `/api/v1/flows`: the traces of one story, over event hops.
//!
//! A flow is asked for by one of its traces, a span, an invocation, or the id of a message.
//! It is brought together on read (`hopline_stitch::flow`), so that what arrives late is in
//! the next answer.

mod answer;
mod path;
mod read;
mod rows;
mod unfinished;

pub(super) use read::flow_of;
pub(super) use unfinished::left_by;

use axum::extract::{Path, State};
use axum::response::Response;
use hopline_model::{SpanId, TraceId};
use hopline_stitch::flow::{Limits, Seed};
use hopline_stitch::key::{Key, Kind};
use http::{HeaderMap, Uri};
use utoipa::IntoParams;

use super::ApiState;
use super::answer::ARROW;
use super::params::{Params, refuse};
use super::stream;
use super::trace::{Format, read_trace_id};
use crate::engine::Session;
use crate::error::{Error, Problem};
use answer::FlowAnswer;
use rows::FlowRows;

/// Most rows of a waterfall in Arrow.
const ROWS_MAX: usize = 1_000_000;
/// Rows of a waterfall in JSON, unless more are asked for.
const JSON_ROWS: usize = 10_000;

/// What `/api/v1/flows/{trace_id}` takes.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "only described: made into a seed and limits")]
pub(crate) struct FlowParams {
    /// The span that is meant: where its trace took several messages together, only its own count.
    #[param(value_type = Option<String>, example = "eee19b7ec3c1b174")]
    span_id: Option<SpanId>,
    /// Traces of a flow. What is not followed is told in `cuts`.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000, default = 1000)]
    max_traces: usize,
    /// Rows in the answer: 10,000 in JSON, a million in Arrow. Of a larger flow the upper levels are given.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000000)]
    limit: usize,
}

/// What `/api/v1/flows` takes: one of the first three.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "only described: made into a seed")]
pub(crate) struct FindFlowParams {
    /// The request id of an invocation.
    #[param(value_type = Option<String>, example = "8476a536-e9f4-11e8-9739-2dfe598c3fcd")]
    invocation_id: Option<String>,
    /// The id of a message or an event: of SQS, SNS, EventBridge, Pub/Sub, Storage Queue, RabbitMQ, ActiveMQ; of a request
    /// to S3 or through API Gateway; the name of a Cloud Task; a run of Durable Functions. For others there is `key`.
    #[param(value_type = Option<String>, example = "dd3f25a2-55c8-4586-ba3d-e8286f0633f7")]
    message_id: Option<String>,
    /// A key, as in `hopline.link.out`: whatever kind of identity it is.
    #[param(value_type = Option<String>, example = "s3.obj:photos|cat.jpg|0123456789abcdef")]
    key: Option<String>,
    /// Traces of a flow. What is not followed is told in `cuts`.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000, default = 1000)]
    max_traces: usize,
    /// Rows in the answer: 10,000 in JSON, a million in Arrow. Of a larger flow the upper levels are given.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000000)]
    limit: usize,
}

/// Gives the flow of a trace: all traces of its story, and the hops between them.
///
/// With `Accept: application/vnd.apache.arrow.stream` the rows of the waterfall come in Arrow, in the order of
/// `rows` and with its members as columns; the schema's metadata `flow` is the rest of the JSON answer.
#[utoipa::path(
    get, path = "/api/v1/flows/{trace_id}", tag = "flows",
    params(
        ("trace_id" = String, Path, description = "32 hexadecimal digits", example = "5b8efff798038103d269b633813fc60c"),
        FlowParams,
    ),
    responses(
        (status = 200, description = "The flow",
            content((FlowAnswer = "application/json"), (Vec<u8> = "application/vnd.apache.arrow.stream"))),
        (status = 400, description = "The id or a parameter is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such trace", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn flow(
    State(state): State<ApiState>,
    headers: HeaderMap,
    Path(trace_id): Path<String>,
    uri: Uri,
) -> Result<Response, Error> {
    let trace_id = read_trace_id(&trace_id)?;
    let params = Params::of::<FlowParams>(&uri)?;
    let span_id = params.value("span_id", |text| text.parse::<SpanId>().map_err(|e| e.to_string()))?;
    let seed = match span_id {
        Some(span_id) => Seed::Span(trace_id, span_id),
        None => Seed::Trace(trace_id),
    };
    let missing = || match span_id {
        Some(span_id) => format!("there is no span {span_id} in trace {trace_id}"),
        None => format!("there is no trace {trace_id}"),
    };
    respond(&state, &headers, &params, seed, missing).await
}

/// Finds the flow of an invocation or a message.
#[utoipa::path(
    get, path = "/api/v1/flows", tag = "flows",
    params(FindFlowParams),
    responses(
        (status = 200, description = "The flow",
            content((FlowAnswer = "application/json"), (Vec<u8> = "application/vnd.apache.arrow.stream"))),
        (status = 400, description = "A parameter is wrong, or there is none to find a flow by", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "Nothing is known of it", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn find(State(state): State<ApiState>, headers: HeaderMap, uri: Uri) -> Result<Response, Error> {
    let params = Params::of::<FindFlowParams>(&uri)?;
    let (what, keys) = sought(&params)?;
    let mut seed = Seed::Keys(keys.iter().map(Key::hash).collect());
    if let Some(id) = params.text("invocation_id")? {
        let session = super::answer::unlimited_session(&state, "flow");
        if !super::invocations::read::has_keys(&session, id).await?
            && let Some(trace) = left_by(&session, id).await?
        {
            seed = Seed::Trace(trace);
        }
    }
    respond(&state, &headers, &params, seed, || format!("no span is known with {what}")).await
}

/// Kinds whose identity is a message's id as people see it, and what stands before it in the key.
const MESSAGE_KINDS: [(Kind, &str); 11] = [
    (Kind::Sqs, ""),
    (Kind::Sns, ""),
    (Kind::EventBridge, ""),
    (Kind::PubSub, "-:"),
    (Kind::Broker, "rabbitmq|-|"),
    (Kind::Broker, "activemq|-|"),
    (Kind::StorageQueue, ""),
    (Kind::S3Request, ""),
    (Kind::ApiGateway, ""),
    (Kind::CloudTask, ""),
    (Kind::Durable, ""),
];

/// What a flow is looked for by: in words, and as the keys that it may have.
fn sought(params: &Params) -> Result<(String, Vec<Key>), Error> {
    let (invocation, message, key) = (params.text("invocation_id")?, params.text("message_id")?, params.text("key")?);
    match (invocation, message, key) {
        (Some(id), None, None) => Ok((format!("the invocation id {id}"), vec![Key::new(Kind::Lambda, id)])),
        (None, Some(id), None) => {
            let keys = MESSAGE_KINDS.iter().map(|(kind, before)| Key::new(*kind, format!("{before}{id}")));
            Ok((format!("the message id {id}"), keys.collect()))
        }
        (None, None, Some(text)) => {
            let key: Key = text.parse().map_err(|e| refuse("key", text, &format!("{e}")))?;
            if matches!(key.kind, Kind::Link | Kind::Destination) {
                return Err(refuse("key", text, "a key that names one message, call or object was expected"));
            }
            Ok((format!("the key {key}"), vec![key]))
        }
        (None, None, None) => {
            Err(Error::Invalid("one of invocation_id, message_id and key is needed to find a flow".to_owned()))
        }
        _ => Err(Error::Invalid("only one of invocation_id, message_id and key can be looked for at once".to_owned())),
    }
}

async fn respond(
    state: &ApiState,
    headers: &HeaderMap,
    params: &Params,
    seed: Seed,
    missing: impl Fn() -> String,
) -> Result<Response, Error> {
    let format = Format::of(headers)?;
    let rows_default = if format == Format::Json { JSON_ROWS } else { ROWS_MAX };
    let limit = params.limit("limit", rows_default, ROWS_MAX)?;
    let default = Limits::default();
    let limits = Limits { traces_max: params.limit("max_traces", default.traces_max, default.traces_max)?, ..default };
    let session: Session = super::answer::unlimited_session(state, "flow");
    let story = read::story(&session, seed.clone(), limits).await?;
    let is_there = match seed {
        Seed::Span(trace, span) => story.flow.spans.iter().any(|s| (s.trace_id, s.span_id) == (trace, span)),
        Seed::Trace(_) | Seed::Keys(_) => !story.flow.spans.is_empty(),
    };
    if !is_there {
        return Err(Error::NotFound(missing()));
    }
    match format {
        Format::Json => {
            stream::body("application/json", move |send| {
                let rows = FlowRows::of(&story, limit);
                let answer = FlowAnswer::of(&story, &rows, Some(rows.list()));
                send(serde_json::to_vec(&answer).map_err(|e| Error::Internal(Box::new(e)))?);
                Ok(())
            })
            .await
        }
        Format::Arrow => {
            stream::body(ARROW, move |send| {
                let rows = FlowRows::of(&story, limit);
                let answer = FlowAnswer::of(&story, &rows, None);
                let text = serde_json::to_string(&answer).map_err(|e| Error::Internal(Box::new(e)))?;
                rows.write([("flow".to_owned(), text)].into(), send)
            })
            .await
        }
    }
}

/// Ids as text, for answers.
fn ids(trace_id: TraceId, span_id: SpanId) -> (String, String) {
    (trace_id.to_string(), span_id.to_string())
}
