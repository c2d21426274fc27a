//! The spans that link to one span.

use hopline_model::{SpanId, TraceId};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::answer::{self, rfc3339};
use crate::api::filter::Where;
use crate::api::params::TimeRange;
use crate::api::search::hex;
use crate::engine::Session;
use crate::error::Error;
use crate::otlp::columns::{Bytes, Text, int64, time};

/// How long before a span others that link to it are looked for.
pub(super) const BEFORE: i64 = 3_600_000_000_000;
/// How long after it.
pub(super) const AFTER: i64 = 86_400_000_000_000;

/// Links to a span.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LinksIn {
    /// The spans that have them, the earliest first.
    spans: Vec<LinkingSpan>,
    /// RFC 3339: spans that started then or later were searched.
    searched_from: Option<String>,
    /// RFC 3339: spans that started earlier were searched.
    searched_to: Option<String>,
}

/// A span that links to another.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct LinkingSpan {
    /// 32 hexadecimal digits.
    trace_id: String,
    /// 16 hexadecimal digits.
    span_id: String,
    /// `service.name`
    service: String,
    /// `faas.name`, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<String>,
    /// The span's name.
    name: String,
    /// `SERVER`, `CONSUMER`, …
    kind: String,
    /// RFC 3339 with nanoseconds.
    start_time: String,
    /// Nanoseconds.
    duration_ns: i64,
}

/// The spans that link to a span, and whether these are all within `range`.
pub(super) async fn to(
    session: &Session,
    trace_id: TraceId,
    span_id: SpanId,
    range: TimeRange,
    limit: usize,
) -> Result<(LinksIn, bool), Error> {
    let mut conditions = Where::default();
    conditions.range("start_time", range);
    conditions.and("array_length(links) > 0");
    let spans = conditions.text();
    let (trace, span) = (conditions.param(trace_id), conditions.param(span_id));
    let columns = "trace_id, span_id, service, function, name, kind, start_time, duration";
    let sql = format!(
        "SELECT DISTINCT {columns} FROM (SELECT {columns}, unnest(links) AS link FROM spans {spans}) \
         WHERE link['trace_id'] = {trace} AND link['span_id'] = {span} \
         ORDER BY start_time, trace_id, span_id LIMIT {}",
        limit + 1
    );
    let mut found = Vec::new();
    for batch in answer::rows(session, &sql, conditions.params()).await? {
        let (trace_ids, span_ids) = (Bytes::of(&batch, "trace_id")?, Bytes::of(&batch, "span_id")?);
        let (service, function) = (Text::of(&batch, "service")?, Text::of(&batch, "function")?);
        let (name, kind) = (Text::of(&batch, "name")?, Text::of(&batch, "kind")?);
        let (start, duration) = (time(&batch, "start_time")?, int64(&batch, "duration")?);
        found.extend((0..batch.num_rows()).map(|row| LinkingSpan {
            trace_id: hex(trace_ids.get(row)),
            span_id: hex(span_ids.get(row)),
            service: service.or_empty(row).to_owned(),
            function: function.get(row).map(str::to_owned),
            name: name.or_empty(row).to_owned(),
            kind: kind.or_empty(row).to_owned(),
            start_time: rfc3339(start.value(row)),
            duration_ns: duration.value(row),
        }));
    }
    let complete = found.len() <= limit;
    found.truncate(limit);
    let links = LinksIn { spans: found, searched_from: range.start.map(rfc3339), searched_to: range.end.map(rfc3339) };
    Ok((links, complete))
}
