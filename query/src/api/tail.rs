//! `/api/v1/tail`: rows as they are stored, until the client leaves.
//!
//! Nothing is kept for a client that reads slowly: what it missed is counted and said.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::RecordBatch;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{StreamExt, stream};
use hopline_model::{DEFAULT_TENANT, Table};
use http::{HeaderMap, Uri, header};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Duration, timeout};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::catalog::{TableName, table};
use super::logs::{self, severity};
use super::params::Params;
use super::search::{self, KINDS, STATUS_CODES};
use crate::error::{Error, Problem};
use crate::otlp;
use crate::otlp::columns::{Text, int32, int64};

const NDJSON: &str = "application/x-ndjson";
const EVENTS: &str = "text/event-stream";
/// How often something is sent when nothing is stored, so that nobody takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What `/api/v1/tail` takes. All conditions must hold.
#[derive(Debug, Clone, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct TailParams {
    /// The table whose rows are followed.
    #[param(value_type = Option<TableName>, default = "spans")]
    table: Table,
    /// Rows of this service.
    service: Option<String>,
    /// Rows of this function.
    function: Option<String>,
    /// Spans with this name, data points of this metric.
    name: Option<String>,
    /// Spans of this kind.
    #[param(value_type = Option<search::Kind>)]
    kind: Option<&'static str>,
    /// Spans with this status.
    #[param(value_type = Option<search::StatusCode>)]
    status: Option<&'static str>,
    /// Spans that took at least this long: `10ms`, `1.5s`, or nanoseconds.
    #[param(value_type = Option<String>)]
    min_duration: Option<i64>,
    /// Log records at least this severe.
    #[param(value_type = Option<String>, example = "WARN")]
    severity_min: Option<i64>,
    /// Log records whose body contains this text, in upper or lower case.
    text: Option<String>,
}

impl TailParams {
    fn read(params: &Params) -> Result<Self, Error> {
        let owned = |name| Ok::<_, Error>(params.text(name)?.map(str::to_owned));
        let this = Self {
            table: table(params)?,
            service: owned("service")?,
            function: owned("function")?,
            name: owned("name")?,
            kind: params.word("kind", &KINDS)?,
            status: params.word("status", &STATUS_CODES)?,
            min_duration: params.duration("min_duration")?,
            severity_min: params.value("severity_min", severity)?,
            text: params.text("text")?.map(str::to_lowercase),
        };
        let of_others: [(&str, bool, &[Table]); 6] = [
            ("name", this.name.is_some(), &[Table::Spans, Table::Metrics]),
            ("kind", this.kind.is_some(), &[Table::Spans]),
            ("status", this.status.is_some(), &[Table::Spans]),
            ("min_duration", this.min_duration.is_some(), &[Table::Spans]),
            ("severity_min", this.severity_min.is_some(), &[Table::Logs]),
            ("text", this.text.is_some(), &[Table::Logs]),
        ];
        match of_others.iter().find(|(_, given, tables)| *given && !tables.contains(&this.table)) {
            Some((name, ..)) => Err(super::params::bad(name, &format!("is not for table {}", this.table))),
            None => Ok(this),
        }
    }

    /// The rows of `batch` that are wanted.
    fn rows(&self, batch: &RecordBatch) -> Result<Vec<usize>, Error> {
        let mut texts = vec![(Text::of(batch, "tenant")?, DEFAULT_TENANT)];
        let wanted = [
            ("service", self.service.as_deref()),
            ("function", self.function.as_deref()),
            ("name", self.name.as_deref()),
            ("kind", self.kind),
            ("status_code", self.status),
        ];
        for (column, value) in wanted {
            if let Some(value) = value {
                texts.push((Text::of(batch, column)?, value));
            }
        }
        let durations = self.min_duration.map(|min| Ok::<_, Error>((int64(batch, "duration")?, min))).transpose()?;
        let severities =
            self.severity_min.map(|min| Ok::<_, Error>((int32(batch, "severity_number")?, min))).transpose()?;
        let body = self.text.as_ref().map(|text| Ok::<_, Error>((Text::of(batch, "body")?, text))).transpose()?;
        let is_wanted = |row: &usize| {
            texts.iter().all(|(column, value)| column.get(*row) == Some(*value))
                && durations.as_ref().is_none_or(|(column, min)| column.value(*row) >= *min)
                && severities.as_ref().is_none_or(|(column, min)| i64::from(column.value(*row)) >= *min)
                && body.as_ref().is_none_or(|(column, text)| column.or_empty(*row).to_lowercase().contains(*text))
        };
        Ok((0..batch.num_rows()).filter(is_wanted).collect())
    }
}

/// One thing that `/api/v1/tail` sends. In server-sent events, `table` is the event's name and `row` its data.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TailItem {
    /// `spans`, `logs`, `metrics`, or `missed`.
    table: &'static str,
    /// A span as of `/search`, a log record as of `/logs`, data points as OTLP's `MetricsData`, or
    /// `{"batches": n}`: so many requests' rows were missed because the client reads too slowly.
    #[schema(value_type = Object)]
    row: Value,
}

/// Follows a table: sends each row as soon as it is stored, until the client leaves.
///
/// Server-sent events; with `Accept: application/x-ndjson` a JSON object a line. When nothing is
/// stored, a comment or an empty line is sent every 15 seconds.
#[utoipa::path(
    get, path = "/api/v1/tail", tag = "live", params(TailParams),
    responses(
        (status = 200, description = "Rows as they are stored; the answer does not end",
            content((String = "text/event-stream"), (TailItem = "application/x-ndjson"))),
        (status = 400, description = "A parameter is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "This server stores nothing", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn tail(State(state): State<ApiState>, headers: HeaderMap, uri: Uri) -> Result<Response, Error> {
    let params = Params::of::<TailParams>(&uri)?;
    let filter = TailParams::read(&params)?;
    let source =
        state.tail.as_ref().ok_or_else(|| Error::NotFound("this server stores nothing to follow".to_owned()))?;
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let lines = ["ndjson", "jsonl"].iter().any(|word| accept.contains(word));
    let follower = Follower { source: source(), filter, lines, waiting: VecDeque::new(), greeted: false };
    let pieces = stream::unfold(follower, |mut follower| async {
        let piece = follower.next().await?;
        Some((Ok::<_, std::convert::Infallible>(piece), follower))
    });
    // Compression polls once more after the end.
    let body = Body::from_stream(pieces.fuse());
    let content_type = if lines { NDJSON } else { EVENTS };
    // Compression would hold lines back until there are enough of them.
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_ENCODING, "identity"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::VARY, "accept"),
    ];
    Ok((headers, body).into_response())
}

struct Follower {
    source: Receiver<(Table, Arc<RecordBatch>)>,
    filter: TailParams,
    lines: bool,
    waiting: VecDeque<TailItem>,
    /// Whether the first piece was sent: it lets clients know that they are connected.
    greeted: bool,
}

impl Follower {
    /// The next piece to send; nothing when the server stops.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(item) = self.waiting.pop_front() {
                return Some(self.write(&item));
            }
            if !self.greeted {
                self.greeted = true;
                return Some(self.keep_alive());
            }
            match timeout(KEEP_ALIVE, self.source.recv()).await {
                Err(_) => return Some(self.keep_alive()),
                Ok(Ok((table, batch))) if table == self.filter.table => match items(&self.filter, &batch) {
                    Ok(items) => self.waiting.extend(items),
                    Err(error) => {
                        error.log();
                        return None;
                    }
                },
                Ok(Ok(_)) => {}
                Ok(Err(RecvError::Lagged(batches))) => {
                    self.waiting
                        .push_back(TailItem { table: "missed", row: serde_json::json!({ "batches": batches }) });
                }
                Ok(Err(RecvError::Closed)) => return None,
            }
        }
    }

    fn keep_alive(&self) -> Bytes {
        Bytes::from_static(if self.lines { b"\n" } else { b": nothing yet\n\n" })
    }

    fn write(&self, item: &TailItem) -> Bytes {
        if self.lines {
            let mut line = serde_json::to_vec(item).unwrap_or_default();
            line.push(b'\n');
            line.into()
        } else {
            // JSON text holds no line break.
            format!("event: {}\ndata: {}\n\n", item.table, item.row).into()
        }
    }
}

fn items(filter: &TailParams, batch: &RecordBatch) -> Result<Vec<TailItem>, Error> {
    let rows = filter.rows(batch)?;
    let table = filter.table.name();
    let json = |value: Result<Value, serde_json::Error>| value.map_err(|e| Error::Internal(Box::new(e)));
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    match filter.table {
        Table::Spans => {
            let mut columns = search::Columns::of(batch)?;
            let rows = rows
                .into_iter()
                .map(|row| Ok(TailItem { table, row: json(serde_json::to_value(columns.span(row)?))? }));
            rows.collect()
        }
        Table::Logs => {
            let mut columns = logs::Columns::of(batch)?;
            let rows =
                rows.into_iter().map(|row| Ok(TailItem { table, row: json(serde_json::to_value(columns.log(row)?))? }));
            rows.collect()
        }
        Table::Metrics => {
            let rows = rows.into_iter().map(|row| {
                let points = otlp::metrics(&[batch.slice(row, 1)])?;
                Ok(TailItem { table, row: json(serde_json::from_str(&points))? })
            });
            rows.collect()
        }
        // Only tables of signals can be asked for.
        Table::HopKeys | Table::Invocations | Table::FunctionMinutes => Ok(Vec::new()),
    }
}
