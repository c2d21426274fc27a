//! `/api/v1/search`: spans by condition, newest or slowest first.

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
use super::params::{Params, TimeRange, bad};
use crate::error::{Error, Problem};
use crate::otlp::columns::{Attributes, Bytes, Text, int64, time};

/// Most spans that one page may have.
const LIMIT_MAX: usize = 1_000;

/// Words for span kinds.
pub(super) const KINDS: [&str; 6] = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
/// Words for status codes.
pub(super) const STATUS_CODES: [&str; 3] = ["UNSET", "OK", "ERROR"];

/// What `/api/v1/search` takes. All conditions must hold.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SearchParams {
    /// Spans of this service (`service.name`). Repeatable: of any of them.
    #[param(required = false, style = Form, explode)]
    service: Vec<String>,
    /// Spans with this name.
    operation: Option<String>,
    /// Spans of this function (`faas.name`).
    function: Option<String>,
    /// Spans of this kind.
    #[param(value_type = Option<Kind>)]
    kind: Option<&'static str>,
    /// Spans with this status.
    #[param(value_type = Option<StatusCode>)]
    status: Option<&'static str>,
    /// Spans that took at least this long: `10ms`, `1.5s`, or nanoseconds.
    #[param(value_type = Option<String>, example = "10ms")]
    min_duration: Option<i64>,
    /// Spans that took at most this long.
    #[param(value_type = Option<String>, example = "2s")]
    max_duration: Option<i64>,
    /// A condition on an attribute of the span: `key=value`, `key!=value`, `key>1`, `key>=1`, `key<1`,
    /// `key<=1`, `key` (it is there), `!key` (it is not). Repeatable.
    #[param(value_type = Vec<String>, required = false, style = Form, explode, example = json!(["http.route=/cart"]))]
    attr: Vec<AttributeFilter>,
    /// A condition on an attribute of the resource, written like `attr`. Repeatable.
    #[param(value_type = Vec<String>, required = false, style = Form, explode)]
    resource_attr: Vec<AttributeFilter>,
    /// Spans that started then or later: RFC 3339, seconds, ms or ns since 1970, or relative like `-1h`.
    #[param(value_type = Option<String>, example = "-1h")]
    start: Option<i64>,
    /// Spans that started earlier.
    #[param(value_type = Option<String>)]
    end: Option<i64>,
    /// The order of the answer; ties are broken by trace id and span id.
    #[param(value_type = Option<SearchOrder>)]
    order: SearchOrder,
    /// Spans in one answer.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000, default = 20)]
    limit: usize,
    /// Where to go on: the `cursor` of the answer before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// A span kind.
#[derive(ToSchema)]
#[schema(rename_all = "UPPERCASE")]
#[allow(dead_code, reason = "only described")]
pub(crate) enum Kind {
    Unspecified,
    Internal,
    Server,
    Client,
    Producer,
    Consumer,
}

/// A status code.
#[derive(ToSchema)]
#[schema(rename_all = "UPPERCASE")]
#[allow(dead_code, reason = "only described")]
pub(crate) enum StatusCode {
    Unset,
    Ok,
    Error,
}

/// The order of spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum SearchOrder {
    /// The latest start first.
    Newest,
    /// The longest duration first.
    Slowest,
}

impl SearchOrder {
    fn column(self) -> &'static str {
        match self {
            Self::Newest => "start_time",
            Self::Slowest => "duration",
        }
    }

    /// Whether two spans with the same ids stand at one place of the order.
    fn same_place(self, a: &FoundSpan, b: &FoundSpan) -> bool {
        match self {
            Self::Newest => a.start_time_unix_nano == b.start_time_unix_nano,
            Self::Slowest => a.duration_ns == b.duration_ns,
        }
    }
}

impl SearchParams {
    fn read(params: &Params) -> Result<Self, Error> {
        let cursor = Cursor::of(params)?;
        let range = match &cursor {
            Some(cursor) => cursor.range(),
            None => params.range()?,
        };
        let order = match params.word("order", &["newest", "slowest"])? {
            Some("slowest") => SearchOrder::Slowest,
            _ => SearchOrder::Newest,
        };
        let this = Self {
            service: params.all("service").map(str::to_owned).collect(),
            operation: params.text("operation")?.map(str::to_owned),
            function: params.text("function")?.map(str::to_owned),
            kind: params.word("kind", &KINDS)?,
            status: params.word("status", &STATUS_CODES)?,
            min_duration: params.duration("min_duration")?,
            max_duration: params.duration("max_duration")?,
            attr: attributes(params, "attr")?,
            resource_attr: attributes(params, "resource_attr")?,
            start: range.start,
            end: range.end,
            order,
            limit: params.limit("limit", 20, LIMIT_MAX)?,
            cursor,
        };
        match (this.min_duration, this.max_duration) {
            (Some(min), Some(max)) if min > max => Err(bad("max_duration", "must not be less than min_duration")),
            _ => Ok(this),
        }
    }

    fn range(&self) -> TimeRange {
        TimeRange { start: self.start, end: self.end }
    }

    fn conditions(&self) -> Result<Where, Error> {
        let mut conditions = Where::default();
        one_of(&mut conditions, "service", &self.service);
        conditions.equals("name", self.operation.as_deref());
        conditions.equals("function", self.function.as_deref());
        conditions.equals("kind", self.kind);
        conditions.equals("status_code", self.status);
        conditions.range("start_time", self.range());
        for (op, duration) in [(">=", self.min_duration), ("<=", self.max_duration)] {
            if let Some(duration) = duration {
                let duration = conditions.param(duration);
                conditions.and(format!("duration {op} {duration}"));
            }
        }
        self.attr.iter().for_each(|filter| conditions.attribute(filter));
        self.resource_attr.iter().for_each(|filter| conditions.resource_attribute(filter));
        if let Some(cursor) = &self.cursor {
            self.behind(cursor, &mut conditions)?;
        }
        Ok(conditions)
    }

    /// The rows that come behind the last one of the page before.
    fn behind(&self, cursor: &Cursor, conditions: &mut Where) -> Result<(), Error> {
        let ids = cursor.ids.split_at_checked(2 * TraceId::LEN);
        let ids = ids.and_then(|(t, s)| Some((t.parse::<TraceId>().ok()?, s.parse::<SpanId>().ok()?)));
        let (trace_id, span_id) = ids.ok_or_else(|| bad("cursor", "is not one that this server gave"))?;
        let column = self.order.column();
        let value = conditions.param(match self.order {
            SearchOrder::Newest => crate::sql::params::Param::Time(cursor.value),
            SearchOrder::Slowest => crate::sql::params::Param::Int(cursor.value),
        });
        let (trace, span) = (conditions.param(trace_id), conditions.param(span_id));
        // The first condition follows from the second: it lets files be left out.
        conditions.and(format!("{column} <= {value}"));
        conditions
            .and(format!("({column} < {value} OR trace_id > {trace} OR (trace_id = {trace} AND span_id > {span}))"));
        Ok(())
    }
}

/// `column` is one of `values`, if there are any.
pub(super) fn one_of(conditions: &mut Where, column: &str, values: &[String]) {
    match values {
        [] => {}
        [value] => conditions.equals(column, Some(value.as_str())),
        values => {
            let list: Vec<String> = values.iter().map(|v| conditions.param(v.as_str())).collect();
            conditions.and(format!("{column} IN ({})", list.join(", ")));
        }
    }
}

/// The conditions on attributes in the parameter `name`.
pub(super) fn attributes(params: &Params, name: &str) -> Result<Vec<AttributeFilter>, Error> {
    params
        .all(name)
        .map(|text| AttributeFilter::parse(text).map_err(|e| super::params::refuse(name, text, &e)))
        .collect()
}

/// Spans by condition.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SearchAnswer {
    /// The spans, in the order asked for.
    spans: Vec<FoundSpan>,
    /// Whether these are all spans that are left.
    complete: bool,
    /// Give it back to get the next spans.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    /// Why the answer is not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// A span that was found.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct FoundSpan {
    /// 32 hexadecimal digits.
    trace_id: String,
    /// 16 hexadecimal digits.
    span_id: String,
    /// 16 hexadecimal digits; absent in a root.
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    /// `service.name`
    service: String,
    /// `faas.name`, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<String>,
    /// The span's name.
    name: String,
    /// `SERVER`, `CLIENT`, …
    kind: String,
    /// RFC 3339 with nanoseconds.
    start_time: String,
    /// The same in nanoseconds since 1970, as text.
    start_time_unix_nano: String,
    /// Nanoseconds.
    duration_ns: i64,
    /// `UNSET`, `OK`, `ERROR`
    status: String,
    /// What the status says, if anything.
    status_message: String,
    /// Whether the status is `ERROR`.
    error: bool,
    /// The span's attributes, in the order in which they were sent, with their types.
    #[schema(value_type = Object)]
    attributes: Value,
}

/// Finds spans.
///
/// Every span that is stored before the request is seen, in memory or on disk. A span that was
/// stored twice by a retry is listed once.
#[utoipa::path(
    get, path = "/api/v1/search", tag = "traces", params(SearchParams),
    responses(
        (status = 200, description = "Spans", body = SearchAnswer),
        (status = 400, description = "A parameter is wrong", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn search(State(state): State<ApiState>, uri: Uri) -> Result<Response, Error> {
    let params = Params::of::<SearchParams>(&uri)?;
    let search = SearchParams::read(&params)?;
    let session = answer::session(&state, "search");
    let conditions = search.conditions()?;
    let columns: Vec<&str> = COLUMNS.iter().copied().chain(Attributes::columns(Table::Spans)).collect();
    // Room to see that there are more, and for spans that are stored twice.
    let asked = search.limit + search.limit / 4 + 4;
    let sql = format!(
        "SELECT {} FROM spans {} ORDER BY {} DESC, trace_id, span_id LIMIT {}",
        columns.join(", "),
        conditions.text(),
        search.order.column(),
        asked,
    );
    let batches = answer::rows(&session, &sql, conditions.params()).await?;
    let got: usize = batches.iter().map(arrow::array::RecordBatch::num_rows).sum();
    let mut spans: Vec<FoundSpan> = Vec::new();
    let mut last_value = 0;
    let mut more = got >= asked;
    'all: for batch in &batches {
        let mut columns = Columns::of(batch)?;
        for row in 0..batch.num_rows() {
            let span = columns.span(row)?;
            // A client's span and a server's may share their ids. The cursor cannot part such rows: they
            // stay on one page.
            let shares_ids = |s: &&FoundSpan| s.span_id == span.span_id && s.trace_id == span.trace_id;
            let mut before = spans.iter().rev().take_while(shares_ids).peekable();
            let shares_place = before.peek().is_some_and(|last| search.order.same_place(last, &span));
            if before.any(|s| *s == span) {
                continue;
            }
            if spans.len() >= search.limit && !shares_place {
                more = true;
                break 'all;
            }
            last_value = match search.order {
                SearchOrder::Newest => columns.start_time.value(row),
                SearchOrder::Slowest => span.duration_ns,
            };
            spans.push(span);
        }
    }
    let cursor = spans.last().filter(|_| more).map(|last| {
        let ids = format!("{}{}", last.trace_id, last.span_id);
        let TimeRange { start, end } = search.range();
        Cursor { fingerprint: params.fingerprint(), value: last_value, ids, given: 0, start, end }.text()
    });
    let reason = more.then(|| format!("the limit of {} spans was reached: go on with the cursor", search.limit));
    json(&SearchAnswer { spans, complete: !more, cursor, reason })
}

const COLUMNS: [&str; 11] = [
    "trace_id",
    "span_id",
    "parent_span_id",
    "service",
    "function",
    "name",
    "kind",
    "start_time",
    "duration",
    "status_code",
    "status_message",
];

/// The columns of one batch of spans.
pub(super) struct Columns {
    trace_id: Bytes,
    span_id: Bytes,
    parent_span_id: Bytes,
    service: Text,
    function: Text,
    name: Text,
    kind: Text,
    start_time: arrow::array::Int64Array,
    duration: arrow::array::Int64Array,
    status_code: Text,
    status_message: Text,
    attributes: Attributes,
}

impl Columns {
    pub(super) fn of(batch: &arrow::array::RecordBatch) -> Result<Self, Error> {
        Ok(Self {
            trace_id: Bytes::of(batch, "trace_id")?,
            span_id: Bytes::of(batch, "span_id")?,
            parent_span_id: Bytes::of(batch, "parent_span_id")?,
            service: Text::of(batch, "service")?,
            function: Text::of(batch, "function")?,
            name: Text::of(batch, "name")?,
            kind: Text::of(batch, "kind")?,
            start_time: time(batch, "start_time")?,
            duration: int64(batch, "duration")?,
            status_code: Text::of(batch, "status_code")?,
            status_message: Text::of(batch, "status_message")?,
            attributes: Attributes::of(batch, Table::Spans)?,
        })
    }

    pub(super) fn span(&mut self, row: usize) -> Result<FoundSpan, Error> {
        let mut attributes = String::new();
        self.attributes.write_object(row, &mut attributes)?;
        let start = self.start_time.value(row);
        let status = self.status_code.or_empty(row);
        Ok(FoundSpan {
            trace_id: hex(self.trace_id.get(row)),
            span_id: hex(self.span_id.get(row)),
            parent_span_id: self.parent_span_id.get(row).map(|id| hex(Some(id))),
            service: self.service.or_empty(row).to_owned(),
            function: self.function.get(row).map(str::to_owned),
            name: self.name.or_empty(row).to_owned(),
            kind: self.kind.or_empty(row).to_owned(),
            start_time: rfc3339(start),
            start_time_unix_nano: (start as u64).to_string(),
            duration_ns: self.duration.value(row),
            status: status.to_owned(),
            status_message: self.status_message.or_empty(row).to_owned(),
            error: status == "ERROR",
            attributes: answer::value(&attributes),
        })
    }
}

/// An id as lower-case hexadecimal digits.
pub(super) fn hex(id: Option<&[u8]>) -> String {
    let mut text = String::new();
    crate::otlp::hex(id.unwrap_or_default(), &mut text);
    text
}
