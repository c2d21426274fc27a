//! CloudEvents: an event is known by its source and its id together (CloudEvents 1.0, "id"), wherever it comes from:
//! Knative, Eventarc, Event Grid.

use super::messaging::header;
use super::{HopKeys, Rule};
use crate::key::{Direction, Key, Kind};
use crate::span::Span;

/// Names of the event's id.
pub(super) const IDS: &[&str] = &[
    "cloudevents.event_id",
    "cloudevents.id",
    "http.request.header.ce-id",
    "http.request.header.ce_id",
    "messaging.header.ce_id",
    "messaging.header.ce-id",
];
const SOURCES: &[&str] = &[
    "cloudevents.event_source",
    "cloudevents.source",
    "http.request.header.ce-source",
    "http.request.header.ce_source",
    "messaging.header.ce_source",
    "messaging.header.ce-source",
];

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "cloudevent.sent",
        hop: "cloudevents",
        direction: Direction::Out,
        reads: IDS,
        on_links: false,
        find: |rule, span, found| {
            if span.kind.is_out() {
                add(rule, span, found)
            }
        },
    },
    Rule {
        name: "cloudevent.received",
        hop: "cloudevents",
        direction: Direction::In,
        reads: IDS,
        on_links: false,
        find: |rule, span, found| {
            if span.kind.is_in() {
                add(rule, span, found)
            }
        },
    },
];

fn add(rule: &Rule, span: &Span<'_>, found: &mut HopKeys) {
    if let Some((source, id)) = event(span) {
        let destination = span.attributes.text("messaging.destination.name");
        found.push(rule, Key::new(Kind::CloudEvent, format!("{source}|{id}")), destination);
    }
}

/// The source and the id of the event of which the span speaks.
pub(super) fn event(span: &Span<'_>) -> Option<(String, String)> {
    Some((header(span, SOURCES)?, header(span, IDS)?))
}

/// The keys of an identity `<source>|<id>`.
pub(super) fn forms(id: &str) -> Vec<Key> {
    let mut keys = vec![Key::new(Kind::CloudEvent, id)];
    if let Some((source, id)) = id.rsplit_once('|') {
        keys.extend(super::gcp::event_keys(source, id));
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::super::testing::Probe;
    use crate::span::SpanKind;
    use crate::span::Value::{Int, Json, Text};

    #[test]
    fn source_and_id_together() {
        let span = [("cloudevents.event_id", Text("A234")), ("cloudevents.event_source", Text("/shop/orders"))];
        Probe::producer(&span).keys(&["cloudevent.sent out ce:/shop/orders|A234"]);
        Probe::client(&span).keys(&["cloudevent.sent out ce:/shop/orders|A234"]);
        Probe::server(&span).keys(&["cloudevent.received in ce:/shop/orders|A234"]);
        Probe::consumer(&span).keys(&["cloudevent.received in ce:/shop/orders|A234"]);
        Probe::new(SpanKind::Internal, &span).keys(&[]);
        Probe::server(&span[..1]).keys(&[]);
    }

    #[test]
    fn in_headers() {
        let span = [
            ("http.request.header.ce-id", Json("[\"A234\"]")),
            ("http.request.header.ce-source", Json("[\"/shop/orders\"]")),
        ];
        Probe::server(&span).keys(&["cloudevent.received in ce:/shop/orders|A234"]);
        // Over Kafka, in the headers of the record.
        let span = [
            ("messaging.system", Text("kafka")),
            ("messaging.destination.name", Text("orders")),
            ("messaging.destination.partition.id", Text("0")),
            ("messaging.kafka.offset", Int(7)),
            ("messaging.header.ce_id", Json("[\"A234\"]")),
            ("messaging.header.ce_source", Json("[\"/shop/orders\"]")),
        ];
        Probe::consumer(&span).keys(&[
            "kafka.receive in kafka:-:orders:0:7 @orders",
            "cloudevent.received in ce:/shop/orders|A234 @orders",
        ]);
    }
}
