//! Deliveries that span links tell: of receivers that know no identity, but link to the span that sent.

use arrow::array::RecordBatch;
use hopline_model::{SpanId, TraceId};
use hopline_stitch::key::{Direction, Kind};
use hopline_stitch::map::{MapRow, link_hash};

use super::count::{ROWS_MAX, Scope};
use super::read::{Names, around, within};
use crate::api::answer;
use crate::api::filter::Where;
use crate::engine::Session;
use crate::error::Error;
use crate::otlp::columns::{Bytes, Text, int64, time};

/// Whether a span received something: who asks a broker for messages is its client (OpenTelemetry's semantic conventions
/// for messaging spans, span kind).
const RECEIVES: &str = "(kind IN ('SERVER', 'CONSUMER') OR (kind = 'CLIENT' AND (array_length(links) > 0 OR dropped_links_count > 0) \
                        AND coalesce(attr_text('messaging.operation.type'), attr_text('messaging.operation')) \
                        IN ('receive', 'process')))";

/// Both sides of the links of spans that received in the range, to spans of other traces that sent something; more than
/// `ROWS_MAX` if there are too many.
pub(super) async fn rows(session: &Session, scope: &Scope, names: &mut Names) -> Result<Vec<MapRow>, Error> {
    let mut conditions = Where::default();
    conditions.range("start_time", scope.range);
    conditions.and("array_length(links) > 0");
    conditions.and(RECEIVES);
    let spans = conditions.text();
    let near = within(&mut conditions, around(scope.range));
    let mut party = |side: &str| {
        let wanted = [("function", &scope.function), ("service", &scope.service)];
        let wanted = wanted.into_iter().filter_map(|(column, value)| Some((column, value.as_deref()?)));
        let wanted = wanted.map(|(column, value)| format!("{side}.{column} = {}", conditions.param(value)));
        std::iter::once("TRUE".to_owned()).chain(wanted).collect::<Vec<_>>().join(" AND ")
    };
    let (to, from) = (party("r"), party("k"));
    let received = "trace_id, span_id, service, function, kind, status_code, start_time, duration, \
                    messaging_destination_name";
    let sql = format!(
        "SELECT DISTINCT k.trace_id AS from_trace, k.span_id AS from_id, k.service AS from_service, \
         k.function AS from_function, k.span_kind AS from_kind, k.time AS sent, k.duration AS sending, k.hop AS hop, \
         k.destination AS destination, r.trace_id AS to_trace, r.span_id AS to_id, r.service AS to_service, \
         r.function AS to_function, r.kind AS to_kind, r.status_code AS status, r.start_time AS received, \
         r.duration AS receiving, r.messaging_destination_name AS received_from \
         FROM (SELECT {received}, link['trace_id'] AS link_trace, link['span_id'] AS link_span \
         FROM (SELECT {received}, unnest(links) AS link FROM spans {spans})) r \
         JOIN (SELECT * FROM hop_keys WHERE {near} AND direction = 'out' AND kind NOT IN ('link', 'xray', 'range')) k \
         ON r.link_trace = k.trace_id AND r.link_span = k.span_id \
         WHERE r.trace_id <> k.trace_id AND (({to}) OR ({from})) LIMIT {}",
        ROWS_MAX + 1
    );
    let mut found = Vec::new();
    for batch in answer::rows(session, &sql, conditions.params()).await? {
        add(&batch, names, &mut found)?;
    }
    Ok(found)
}

/// Why deliveries may be missing: spans that received in the range, of the party if one is asked for, and of whose links an
/// SDK dropped some.
pub(super) async fn dropped(session: &Session, scope: &Scope) -> Result<Option<String>, Error> {
    let mut conditions = Where::default();
    conditions.range("start_time", scope.range);
    conditions.and("dropped_links_count > 0");
    conditions.and(RECEIVES);
    conditions.equals("function", scope.function.as_deref());
    conditions.equals("service", scope.service.as_deref());
    // A span may be stored twice.
    let sql = format!(
        "SELECT count(*) AS spans, CAST(sum(dropped) AS BIGINT) AS links FROM (SELECT max(dropped_links_count) AS dropped \
         FROM spans {} GROUP BY trace_id, span_id)",
        conditions.text()
    );
    for batch in answer::rows(session, &sql, conditions.params()).await? {
        let (spans, links) = (int64(&batch, "spans")?, int64(&batch, "links")?);
        if let Some(spans) = spans.iter().next().flatten().filter(|spans| *spans > 0) {
            let links = links.iter().next().flatten().unwrap_or(0);
            return Ok(Some(format!(
                "links that an SDK dropped ({links} of {spans} spans in this range): what only they tell is not counted"
            )));
        }
    }
    Ok(None)
}

fn add(batch: &RecordBatch, names: &mut Names, found: &mut Vec<MapRow>) -> Result<(), Error> {
    let text = |name: &str| Text::of(batch, name);
    let bytes = |name: &str| Bytes::of(batch, name);
    let (from_traces, from_ids, to_traces, to_ids) =
        (bytes("from_trace")?, bytes("from_id")?, bytes("to_trace")?, bytes("to_id")?);
    let (from_service, from_function, from_kind) = (text("from_service")?, text("from_function")?, text("from_kind")?);
    let (to_service, to_function, to_kind) = (text("to_service")?, text("to_function")?, text("to_kind")?);
    let (hop, destination, received_from) = (text("hop")?, text("destination")?, text("received_from")?);
    let status = text("status")?;
    let (sent, sending) = (time(batch, "sent")?, int64(batch, "sending")?);
    let (received, receiving) = (time(batch, "received")?, int64(batch, "receiving")?);
    for row in 0..batch.num_rows() {
        let id = |traces: &Bytes, spans: &Bytes| {
            traces.get(row).and_then(TraceId::from_slice).zip(spans.get(row).and_then(SpanId::from_slice))
        };
        let (Some(from), Some(to)) = (id(&from_traces, &from_ids), id(&to_traces, &to_ids)) else { continue };
        let name = |text: &Text, names: &mut Names| text.get(row).filter(|t| !t.is_empty()).map(|t| names.get(t));
        let (sent_ns, received_ns) = (sent.value(row), received.value(row));
        let sender = MapRow {
            hash: link_hash(from),
            kind: Kind::Link,
            direction: Direction::Out,
            hop: names.get(hop.or_empty(row)),
            destination: name(&destination, names),
            span: from,
            is_main: from_kind.or_empty(row) == "PRODUCER",
            is_error: false,
            start_ns: sent_ns,
            end_ns: sent_ns.saturating_add(sending.value(row)),
            party: names.party(from_service.or_empty(row), from_function.get(row)),
            // A span's ids need neither.
            account: None,
            region: None,
        };
        found.push(MapRow {
            direction: Direction::In,
            destination: name(&received_from, names),
            span: to,
            is_main: to_kind.or_empty(row) == "SERVER",
            is_error: status.or_empty(row) == "ERROR",
            start_ns: received_ns,
            end_ns: received_ns.saturating_add(receiving.value(row)),
            party: names.party(to_service.or_empty(row), to_function.get(row)),
            ..sender.clone()
        });
        found.push(sender);
    }
    Ok(())
}
