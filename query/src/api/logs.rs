//! `/api/v1/logs`: log records by condition, newest or oldest first.

use arrow::array::{Array, BooleanArray, Int32Array, Int64Array, RecordBatch};
use axum::extract::State;
use axum::response::Response;
use hopline_model::{SpanId, Table, TraceId};
use http::Uri;
use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::answer::{self, Cursor, json, rfc3339};
use super::filter::{AttributeFilter, Where};
use super::params::{Params, TimeRange};
use super::search::{attributes, hex, one_of};
use crate::error::{Error, Problem};
use crate::otlp::columns::{Attributes, Bytes, Text, boolean, int32, time};
use crate::sql::params::Param;

/// Most records that one page may have.
const LIMIT_MAX: usize = 5_000;
/// Most records of one and the same nanosecond that pages may go through.
const TIES_MAX: usize = 100_000;

/// The least severity number of each word.
const SEVERITIES: [(&str, i64); 6] =
    [("TRACE", 1), ("DEBUG", 5), ("INFO", 9), ("WARN", 13), ("ERROR", 17), ("FATAL", 21)];

/// What `/api/v1/logs` takes. All conditions must hold.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogsParams {
    /// Records of this service. Repeatable: of any of them.
    #[param(required = false, style = Form, explode)]
    service: Vec<String>,
    /// Records of this function (`faas.name`).
    function: Option<String>,
    /// Records at least this severe: `TRACE`, `DEBUG`, `INFO`, `WARN`, `ERROR`, `FATAL`, or a number from 1 to 24.
    #[param(value_type = Option<String>, example = "WARN")]
    severity_min: Option<i64>,
    /// Records whose body contains this text, in upper or lower case.
    text: Option<String>,
    /// Records of this trace.
    #[param(value_type = Option<String>)]
    trace_id: Option<TraceId>,
    /// Records of this span.
    #[param(value_type = Option<String>)]
    span_id: Option<SpanId>,
    /// Records of this function invocation.
    invocation_id: Option<String>,
    /// A condition on an attribute of the record: `key=value`, `key!=value`, `key>1`, `key`, `!key`. Repeatable.
    #[param(value_type = Vec<String>, required = false, style = Form, explode)]
    attr: Vec<AttributeFilter>,
    /// A condition on an attribute of the resource, written like `attr`. Repeatable.
    #[param(value_type = Vec<String>, required = false, style = Form, explode)]
    resource_attr: Vec<AttributeFilter>,
    /// Records of then or later: RFC 3339, seconds, ms or ns since 1970, or relative like `-1h`.
    #[param(value_type = Option<String>, example = "-1h")]
    start: Option<i64>,
    /// Records of earlier.
    #[param(value_type = Option<String>)]
    end: Option<i64>,
    /// The order of the answer.
    #[param(value_type = Option<LogOrder>)]
    order: LogOrder,
    /// Records in one answer.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 5000, default = 100)]
    limit: usize,
    /// Where to go on: the `cursor` of the answer before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// The order of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum LogOrder {
    /// The latest first.
    Newest,
    /// The earliest first.
    Oldest,
}

/// The severity number that a parameter stands for.
pub(super) fn severity(text: &str) -> Result<i64, String> {
    let word = SEVERITIES.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, number)| *number);
    let number = word.or_else(|| text.parse().ok().filter(|n| (1..=24).contains(n)));
    number.ok_or_else(|| "TRACE, DEBUG, INFO, WARN, ERROR, FATAL or a number from 1 to 24 was expected".to_owned())
}

impl LogsParams {
    fn read(params: &Params) -> Result<Self, Error> {
        let cursor = Cursor::of(params)?;
        let range = match &cursor {
            Some(cursor) => cursor.range(),
            None => params.range()?,
        };
        Ok(Self {
            service: params.all("service").map(str::to_owned).collect(),
            function: params.text("function")?.map(str::to_owned),
            severity_min: params.value("severity_min", severity)?,
            text: params.text("text")?.map(str::to_lowercase),
            trace_id: params.trace_id("trace_id")?,
            span_id: params.span_id("span_id")?,
            invocation_id: params.text("invocation_id")?.map(str::to_owned),
            attr: attributes(params, "attr")?,
            resource_attr: attributes(params, "resource_attr")?,
            start: range.start,
            end: range.end,
            order: match params.word("order", &["newest", "oldest"])? {
                Some("oldest") => LogOrder::Oldest,
                _ => LogOrder::Newest,
            },
            limit: params.limit("limit", 100, LIMIT_MAX)?,
            cursor,
        })
    }

    fn range(&self) -> TimeRange {
        TimeRange { start: self.start, end: self.end }
    }

    fn conditions(&self) -> Where {
        let mut conditions = Where::default();
        one_of(&mut conditions, "service", &self.service);
        conditions.equals("function", self.function.as_deref());
        conditions.equals("trace_id", self.trace_id);
        conditions.equals("span_id", self.span_id);
        conditions.equals("invocation_id", self.invocation_id.as_deref());
        conditions.range("time", self.range());
        if let Some(severity) = self.severity_min {
            let severity = conditions.param(severity);
            conditions.and(format!("severity_number >= {severity}"));
        }
        self.attr.iter().for_each(|filter| conditions.attribute(filter));
        self.resource_attr.iter().for_each(|filter| conditions.resource_attribute(filter));
        if let Some(text) = &self.text {
            let text = conditions.param(text.as_str());
            conditions.and(format!("contains(lower(body), {text})"));
        }
        if let Some(cursor) = &self.cursor {
            let time = conditions.param(Param::Time(cursor.value));
            conditions.and(match self.order {
                LogOrder::Newest => format!("time <= {time}"),
                LogOrder::Oldest => format!("time >= {time}"),
            });
        }
        conditions
    }
}

/// Log records by condition.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LogsAnswer {
    /// The records, in the order asked for.
    logs: Vec<FoundLog>,
    /// Whether these are all records that are left.
    complete: bool,
    /// Give it back to get the next records.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    /// Why the answer is not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// A log record.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FoundLog {
    /// RFC 3339 with nanoseconds. The observed time where the record has none of its own.
    time: String,
    /// The same in nanoseconds since 1970, as text.
    time_unix_nano: String,
    /// RFC 3339 with nanoseconds, if it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_time: Option<String>,
    /// 1 to 24; 0 if unknown.
    severity_number: i32,
    /// The severity as the source calls it.
    severity_text: String,
    /// The event's name, if the record is an event.
    event_name: String,
    /// A text, or a structured value.
    #[schema(value_type = Value)]
    body: Value,
    /// 32 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    /// 16 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<String>,
    /// `service.name`
    service: String,
    /// `faas.name`, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<String>,
    /// The function invocation that wrote it, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    invocation_id: Option<String>,
    /// The instrumentation scope.
    scope: String,
    /// The record's attributes, in the order in which they were sent, with their types.
    #[schema(value_type = Object)]
    attributes: Value,
}

/// Finds log records.
///
/// Records of the same nanosecond stand in the order of service, trace, span, severity and body.
#[utoipa::path(
    get, path = "/api/v1/logs", tag = "logs", params(LogsParams),
    responses(
        (status = 200, description = "Log records", body = LogsAnswer),
        (status = 400, description = "A parameter is wrong", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn logs(State(state): State<ApiState>, uri: Uri) -> Result<Response, Error> {
    let params = Params::of::<LogsParams>(&uri)?;
    let asked = LogsParams::read(&params)?;
    let session = answer::session(&state, "logs");
    let conditions = asked.conditions();
    let columns: Vec<&str> = COLUMNS.iter().copied().chain(Attributes::columns(Table::Logs)).collect();
    let given = asked.cursor.as_ref().map_or(0, |cursor| cursor.given);
    if given > TIES_MAX {
        return Err(super::params::bad(
            "cursor",
            "stands among more records of one nanosecond than can be paged through",
        ));
    }
    let sql = format!(
        "SELECT {} FROM logs {} ORDER BY time {}, service, trace_id, span_id, severity_number, body LIMIT {}",
        columns.join(", "),
        conditions.text(),
        match asked.order {
            LogOrder::Newest => "DESC",
            LogOrder::Oldest => "ASC",
        },
        given + asked.limit + 1,
    );
    let batches = answer::rows(&session, &sql, conditions.params()).await?;
    let mut logs = Vec::new();
    let mut times = Vec::new();
    let mut skip = given;
    let mut more = false;
    for batch in &batches {
        let mut columns = Columns::of(batch)?;
        for row in 0..batch.num_rows() {
            let time = columns.time.value(row);
            // Of the cursor's nanosecond some were given already.
            if skip > 0 && asked.cursor.as_ref().is_some_and(|cursor| cursor.value == time) {
                skip -= 1;
                continue;
            }
            if logs.len() == asked.limit {
                more = true;
                break;
            }
            logs.push(columns.log(row)?);
            times.push(time);
        }
    }
    let cursor = times.last().filter(|_| more).map(|last| {
        let same = times.iter().rev().take_while(|time| *time == last).count();
        let before = asked.cursor.as_ref().filter(|cursor| cursor.value == *last).map_or(0, |cursor| cursor.given);
        let TimeRange { start, end } = asked.range();
        let ids = String::new();
        Cursor { fingerprint: params.fingerprint(), value: *last, ids, given: before + same, start, end }.text()
    });
    let reason = more.then(|| format!("the limit of {} records was reached: go on with the cursor", asked.limit));
    json(&LogsAnswer { logs, complete: !more, cursor, reason })
}

const COLUMNS: [&str; 14] = [
    "time",
    "observed_time",
    "severity_number",
    "severity_text",
    "event_name",
    "body",
    "body_is_json",
    "trace_id",
    "span_id",
    "service",
    "function",
    "invocation_id",
    "scope_name",
    "time_is_observed",
];

/// The columns of one batch of log records.
pub(super) struct Columns {
    time: Int64Array,
    observed_time: Int64Array,
    severity_number: Int32Array,
    severity_text: Text,
    event_name: Text,
    body: Text,
    body_is_json: BooleanArray,
    trace_id: Bytes,
    span_id: Bytes,
    service: Text,
    function: Text,
    invocation_id: Text,
    scope: Text,
    attributes: Attributes,
}

impl Columns {
    pub(super) fn of(batch: &RecordBatch) -> Result<Self, Error> {
        Ok(Self {
            time: time(batch, "time")?,
            observed_time: time(batch, "observed_time")?,
            severity_number: int32(batch, "severity_number")?,
            severity_text: Text::of(batch, "severity_text")?,
            event_name: Text::of(batch, "event_name")?,
            body: Text::of(batch, "body")?,
            body_is_json: boolean(batch, "body_is_json")?,
            trace_id: Bytes::of(batch, "trace_id")?,
            span_id: Bytes::of(batch, "span_id")?,
            service: Text::of(batch, "service")?,
            function: Text::of(batch, "function")?,
            invocation_id: Text::of(batch, "invocation_id")?,
            scope: Text::of(batch, "scope_name")?,
            attributes: Attributes::of(batch, Table::Logs)?,
        })
    }

    pub(super) fn log(&mut self, row: usize) -> Result<FoundLog, Error> {
        let mut attributes = String::new();
        self.attributes.write_object(row, &mut attributes)?;
        let time = self.time.value(row);
        let is_json = self.body_is_json.is_valid(row) && self.body_is_json.value(row);
        let owned = |text: &Text| text.get(row).map(str::to_owned);
        Ok(FoundLog {
            time: rfc3339(time),
            time_unix_nano: (time as u64).to_string(),
            observed_time: self.observed_time.is_valid(row).then(|| rfc3339(self.observed_time.value(row))),
            severity_number: self.severity_number.value(row),
            severity_text: self.severity_text.or_empty(row).to_owned(),
            event_name: self.event_name.or_empty(row).to_owned(),
            body: match self.body.get(row) {
                None => Value::Null,
                Some(text) if is_json => answer::value(text),
                Some(text) => Value::String(text.to_owned()),
            },
            trace_id: self.trace_id.get(row).map(|id| hex(Some(id))),
            span_id: self.span_id.get(row).map(|id| hex(Some(id))),
            service: self.service.or_empty(row).to_owned(),
            function: owned(&self.function),
            invocation_id: owned(&self.invocation_id),
            scope: self.scope.or_empty(row).to_owned(),
            attributes: answer::value(&attributes),
        })
    }
}
