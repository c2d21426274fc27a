//! Kafka, and all other brokers: RabbitMQ, ActiveMQ, JMS, Celery, …
//!
//! A record of Kafka is known by topic, partition and offset. Consumers have all three, producers only where
//! the client waits for the broker's answer. Messages of the others have an id of their own, if the
//! sender gives one. A conversation's id (`correlationId`) is none: request and answer share it.

use super::messaging::{MESSAGE_ID, MESSAGING, Operation, System, destination, is_unique, message_ids};
use super::{HopKeys, Rule};
use crate::key::{Direction, Key, Kind};
use crate::span::{Attributes, Span};

const PARTITIONS: &[&str] = &[
    "messaging.destination.partition.id",
    "messaging.kafka.destination.partition",
    "messaging.kafka.partition",
    "messaging.kafka.source.partition",
];
const CLUSTERS: &[&str] = &["messaging.kafka.cluster.id", "messaging.kafka.cluster_id"];

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "kafka.send",
        hop: "kafka",
        direction: Direction::Out,
        reads: MESSAGING,
        on_links: false,
        find: kafka,
    },
    Rule {
        name: "kafka.receive",
        hop: "kafka",
        direction: Direction::In,
        reads: MESSAGING,
        on_links: false,
        find: kafka,
    },
    Rule { name: "mq.send", hop: "mq", direction: Direction::Out, reads: MESSAGING, on_links: false, find: broker },
    Rule { name: "mq.receive", hop: "mq", direction: Direction::In, reads: MESSAGING, on_links: false, find: broker },
];

fn kafka(rule: &Rule, span: &Span<'_>, found: &mut HopKeys) {
    if System::of(span) != Some(System::Kafka) || Operation::of(span).direction() != Some(rule.direction) {
        return;
    }
    let topic = destination(span, System::Kafka);
    let cluster = span.attributes.first_text(CLUSTERS);
    for attributes in std::iter::once(span.attributes).chain(span.links.iter().map(|link| link.attributes)) {
        let record = record(attributes, topic).or_else(|| record_in_id(attributes, topic));
        if let Some((topic, partition, offset)) = record {
            let keys = kafka_keys(cluster, &topic, partition, offset);
            keys.into_iter().for_each(|key| found.push(rule, key, Some(&topic)));
        }
    }
}

fn record(attributes: &dyn Attributes, topic: Option<&str>) -> Option<(String, i64, i64)> {
    let number = |keys: &[&str]| keys.iter().find_map(|key| attributes.int(key)).filter(|number| *number >= 0);
    let own = attributes.first_text(&["messaging.destination.name", "messaging.destination"]);
    let offset = number(&["messaging.kafka.offset", "messaging.kafka.message.offset"]);
    Some((own.or(topic)?.to_owned(), number(PARTITIONS)?, offset?))
}

/// Python's confluent-kafka writes `<topic>.<partition>.<offset>` as the message's id.
fn record_in_id(attributes: &dyn Attributes, topic: Option<&str>) -> Option<(String, i64, i64)> {
    let id = attributes.first_text(&MESSAGE_ID)?;
    let mut parts = id.rsplitn(3, '.');
    let mut number = || parts.next()?.parse::<i64>().ok().filter(|number| *number >= 0);
    let (offset, partition) = (number()?, number()?);
    let of = parts.next().filter(|of| !of.is_empty() && topic.is_none_or(|topic| topic == *of))?;
    Some((of.to_owned(), partition, offset))
}

/// The keys of a record: with its cluster, and without for a side that does not know it.
fn kafka_keys(cluster: Option<&str>, topic: &str, partition: i64, offset: i64) -> Vec<Key> {
    let key = |cluster: &str| Key::new(Kind::Kafka, format!("{cluster}:{topic}:{partition}:{offset}"));
    cluster.filter(|c| *c != "-").map(key).into_iter().chain([key("-")]).collect()
}

/// The keys of an identity `<cluster or ->:<topic>:<partition>:<offset>`.
pub(super) fn kafka_forms(id: &str) -> Vec<Key> {
    let mut parts = id.rsplitn(4, ':');
    let mut number = || parts.next()?.parse().ok();
    match (number(), number(), parts.next(), parts.next()) {
        (Some(offset), Some(partition), Some(topic), Some(cluster)) => {
            kafka_keys(Some(cluster), topic, partition, offset)
        }
        _ => vec![Key::new(Kind::Kafka, id)],
    }
}

/// The keys of a range `<cluster or ->:<topic>:<partition>:<first>..<last>`, as those of its records.
pub(super) fn kafka_range_forms(id: &str) -> Vec<Key> {
    let mut parts = id.rsplitn(4, ':');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(range), Some(partition), Some(topic), Some(cluster)) => {
            let key = |cluster: &str| Key::new(Kind::KafkaRange, format!("{cluster}:{topic}:{partition}:{range}"));
            let known = (cluster != "-").then(|| key(cluster));
            known.into_iter().chain([key("-")]).collect()
        }
        _ => vec![Key::new(Kind::KafkaRange, id)],
    }
}

/// The topic in such an identity.
pub(super) fn topic_of(id: &str) -> Option<&str> {
    id.rsplit(':').nth(2)
}

fn broker(rule: &Rule, span: &Span<'_>, found: &mut HopKeys) {
    let system = match System::of(span) {
        // Not all events of Event Hubs have an id, but where a sender gave one, it is the only identity it knows.
        Some(system @ (System::Other(_) | System::EventHubs | System::Kinesis)) => system,
        _ => return,
    };
    if Operation::of(span).direction() != Some(rule.direction) {
        return;
    }
    let destination = destination(span, system);
    for id in message_ids(span) {
        for key in broker_keys(&system.word(), destination.unwrap_or("-"), &id) {
            found.push_hop(rule, system.hop(), key, destination);
        }
    }
}

/// The keys of a message: with its destination; and without, if the id is no small number, because a sender names the
/// exchange where the receiver names the queue.
fn broker_keys(system: &str, destination: &str, id: &str) -> Vec<Key> {
    let key = |destination: &str| Key::new(Kind::Broker, format!("{system}|{destination}|{id}"));
    let mut keys = vec![key(destination)];
    if destination != "-" && is_unique(id) {
        keys.push(key("-"));
    }
    keys
}

/// The keys of an identity `<system>|<destination>|<message id>`.
pub(super) fn broker_forms(id: &str) -> Vec<Key> {
    let mut parts = id.splitn(3, '|');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(system), Some(destination), Some(id)) => broker_keys(&System::named(system).word(), destination, id),
        _ => vec![Key::new(Kind::Broker, id)],
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]

    use super::super::testing::Probe;
    use super::*;
    use crate::span::Value::{Int, Text};

    #[test]
    fn records_of_kafka() {
        let span = |partition, offset| {
            [
                ("messaging.system", Text("kafka")),
                ("messaging.destination.name", Text("shipments")),
                ("messaging.operation.type", Text("process")),
                partition,
                offset,
            ]
        };
        let expected = "kafka.receive in kafka:-:shipments:2:4711 @shipments";
        let offset = ("messaging.kafka.offset", Int(4711));
        for partition in PARTITIONS {
            Probe::consumer(&span((partition, Int(2)), offset)).keys(&[expected]);
        }
        // Node's kafkajs writes both as texts.
        let texts = (("messaging.destination.partition.id", Text("2")), ("messaging.kafka.offset", Text("4711")));
        Probe::consumer(&span(texts.0, texts.1)).keys(&[expected]);
        let old = ("messaging.kafka.message.offset", Int(4711));
        Probe::consumer(&span(("messaging.kafka.partition", Int(2)), old)).keys(&[expected]);
        Probe::consumer(&span(("messaging.kafka.partition", Int(-1)), old)).keys(&[]);
    }

    #[test]
    fn records_that_javas_producer_sent() {
        let span = [
            ("messaging.system", Text("kafka")),
            ("messaging.destination.name", Text("shipments")),
            ("messaging.destination.partition.id", Text("2")),
            ("messaging.kafka.offset", Int(4711)),
            ("messaging.kafka.cluster.id", Text("c1")),
        ];
        Probe::producer(&span).keys(&[
            "kafka.send out kafka:c1:shipments:2:4711 @shipments",
            "kafka.send out kafka:-:shipments:2:4711 @shipments",
        ]);
        Probe::producer(&span[..2]).keys(&[]);
    }

    #[test]
    fn records_in_an_id() {
        let span = |id| {
            [
                ("messaging.system", Text("kafka")),
                ("messaging.destination", Text("shop.shipments")),
                ("messaging.message.id", Text(id)),
            ]
        };
        Probe::consumer(&span("shop.shipments.2.4711"))
            .keys(&["kafka.receive in kafka:-:shop.shipments:2:4711 @shop.shipments"]);
        for id in ["other.2.4711", "shop.shipments.x.4711", "shop.shipments.-1.5", "4711"] {
            Probe::consumer(&span(id)).keys(&[]);
        }
    }

    #[test]
    fn identities_of_records() {
        let keys = |id| -> Vec<String> { kafka_forms(id).iter().map(Key::to_string).collect() };
        assert_eq!(keys("b-1.msk:9092:t:0:5"), ["kafka:b-1.msk:9092:t:0:5", "kafka:-:t:0:5"]);
        assert_eq!(keys("-:t:0:5"), ["kafka:-:t:0:5"]);
        assert_eq!(topic_of("-:t:0:5"), Some("t"));
    }

    #[test]
    fn messages_of_other_brokers() {
        let span = |system, id| {
            [
                ("messaging.system", Text(system)),
                ("messaging.destination.name", Text("mails")),
                ("messaging.message.id", id),
            ]
        };
        Probe::producer(&span("rabbitmq", Text("42"))).keys(&["mq.send out mq:rabbitmq|mails|42 @mails"]);
        Probe::consumer(&span("RabbitMQ", Int(42))).keys(&["mq.receive in mq:rabbitmq|mails|42 @mails"]);
        let id = "ID:broker-1-4711-1:1:1:1:1";
        Probe::consumer(&span("jms", Text(id))).keys(&[
            &format!("mq.receive in mq:jms|mails|{id} @mails"),
            &format!("mq.receive in mq:jms|-|{id} @mails"),
        ]);
        Probe::consumer(&span("aws_sqs", Text("42"))).keys(&["sqs.receive in sqs:42 @mails"]);
        assert_eq!(broker_forms("RabbitMQ|q|1")[0].to_string(), "mq:rabbitmq|q|1");
    }
}
