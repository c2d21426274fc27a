//! Keys that somebody wrote: `hopline.link.out` and `hopline.link.in`, arrays of texts (or one text) on a span or on one
//! of its links. They say what stock instrumentation leaves out (`docs/stitching.md`).
//!
//! They are brought into the form that the other rules give, and where one side may know less than the other, into
//! all forms under which it may be looked for.

use super::{Hop, HopKeys, Rule, azure, brokers, cloudevents, gcp, lambda, messaging, objects, pointers};
use super::{short_name, workflows, xray};
use crate::key::{Direction, Key, Kind};
use crate::ranges::Range;
use crate::span::Span;

const OUT: &str = "hopline.link.out";
const IN: &str = "hopline.link.in";

pub(super) const RULES: &[Rule] = &[
    Rule { name: OUT, hop: "message", direction: Direction::Out, reads: &[OUT], on_links: true, find },
    Rule { name: IN, hop: "message", direction: Direction::In, reads: &[IN], on_links: true, find },
];

fn find(rule: &Rule, span: &Span<'_>, found: &mut HopKeys) {
    let links = span.links.iter().map(|link| link.attributes);
    let mut given = Vec::new();
    for text in std::iter::once(span.attributes).chain(links).flat_map(|attributes| attributes.texts(rule.name)) {
        let key = text.trim().parse::<Key>().ok();
        let forms = key.as_ref().map(|key| forms(key, rule.direction, span)).unwrap_or_default();
        match key {
            Some(key) if !forms.is_empty() => given.push((destination(&key, span), forms)),
            _ => found.refused += 1,
        }
    }
    // Each message has its first form before any has another: there may be more than a span may have.
    let most = given.iter().map(|(_, forms)| forms.len()).max().unwrap_or_default();
    for form in 0..most {
        for (destination, forms) in &given {
            if let Some(key) = forms.get(form) {
                found.push_hop(rule, hop_of(key, span), key.clone(), destination.as_deref());
            }
        }
    }
}

/// The key in all forms under which its other side may be looked for; none if it is no identity.
fn forms(key: &Key, side: Direction, span: &Span<'_>) -> Vec<Key> {
    let id = key.id.as_str();
    match key.kind {
        // Only rules may guess.
        Kind::Destination | Kind::Link | Kind::RangePart => Vec::new(),
        Kind::KinesisRange => range_forms(key.clone(), side),
        Kind::KafkaRange => brokers::kafka_range_forms(id).into_iter().flat_map(|key| range_forms(key, side)).collect(),
        Kind::Lambda if side == Direction::In => vec![lambda::received(span, id)],
        Kind::S3Object | Kind::S3Version => objects::s3_forms(key.kind, id, side),
        Kind::S3Pointer | Kind::DynamoItem => {
            pointers::valid_hash(id).map(|hash| Key::new(key.kind, hash)).into_iter().collect()
        }
        Kind::StepFunctions => workflows::forms(id, side, span.trace_id),
        Kind::Kafka => brokers::kafka_forms(id),
        Kind::Broker => brokers::broker_forms(id),
        Kind::CloudEvent => cloudevents::forms(id),
        Kind::PubSub => gcp::pub_sub_forms(id),
        Kind::CloudTask => gcp::task_forms(id),
        Kind::ServiceBus => azure::service_bus_forms(id),
        Kind::EventHub => azure::event_hub_forms(id),
        Kind::Blob => objects::blob_forms(id),
        Kind::Xray => xray::forms(id),
        _ => vec![key.clone()],
    }
}

/// A range, and the parts by which those who sent its records find it.
fn range_forms(key: Key, side: Direction) -> Vec<Key> {
    let range = Range::of(&key).filter(|_| side == Direction::In);
    let parts = range.map(|range| range.parts()).unwrap_or_default();
    std::iter::once(key).chain(parts).collect()
}

/// The kind of hop on which keys of a kind are.
fn hop_of(key: &Key, span: &Span<'_>) -> Hop {
    match key.kind {
        Kind::Lambda => "lambda.invoke",
        Kind::LambdaOutcome => "lambda.destination",
        Kind::Sqs => "sqs",
        Kind::Sns => "sns",
        Kind::EventBridge => "eventbridge",
        Kind::RangePart if key.id.starts_with(Kind::KafkaRange.prefix()) => "kafka",
        Kind::Kinesis | Kind::KinesisRange | Kind::RangePart => "kinesis",
        Kind::Firehose => "firehose",
        Kind::S3Request | Kind::S3Object | Kind::S3Version | Kind::S3Pointer => "s3",
        Kind::DynamoItem => "dynamodb.stream",
        Kind::Pointer => "pointer",
        Kind::StepFunctions | Kind::Link => "stepfunctions",
        Kind::Kafka | Kind::KafkaRange => "kafka",
        Kind::Broker => messaging::System::of(span).map_or("mq", messaging::System::hop),
        Kind::CloudEvent => "cloudevents",
        Kind::ApiGateway => "http",
        Kind::PubSub => "pubsub",
        Kind::CloudStorage => "gcs",
        Kind::CloudTask => "cloudtasks",
        Kind::ServiceBus => "servicebus",
        Kind::EventHub => "eventhubs",
        Kind::StorageQueue => "storagequeue",
        Kind::Blob | Kind::BlobRequest => "blob",
        Kind::Durable => "durable",
        Kind::Xray => "xray",
        Kind::Destination => "message",
    }
}

/// The destination that the key names, else the one that the span names.
fn destination(key: &Key, span: &Span<'_>) -> Option<String> {
    let id = key.id.as_str();
    let part = |separator: char, n: usize| id.split(separator).nth(n);
    let named = match key.kind {
        Kind::Lambda | Kind::LambdaOutcome => lambda::callee(span).filter(|_| span.kind.is_out()).or(span.function),
        // <region>:<stream>:…
        Kind::Kinesis | Kind::KinesisRange => part(':', 1),
        Kind::Firehose => part(':', 0),
        Kind::S3Object | Kind::S3Version | Kind::CloudStorage | Kind::Blob => part('|', 0),
        Kind::S3Request | Kind::S3Pointer => span.attributes.first_text(&["aws.s3.bucket", "aws.bucket.name"]),
        Kind::DynamoItem => return table(span),
        Kind::StepFunctions => workflows::machine_of(id),
        Kind::Kafka | Kind::KafkaRange => brokers::topic_of(id),
        Kind::Broker => part('|', 1).filter(|destination| *destination != "-"),
        Kind::ServiceBus | Kind::EventHub => azure::entity_of(id),
        Kind::CloudTask => gcp::queue_of(id),
        Kind::EventBridge => span.attributes.first_text(&["aws.eventbridge.bus.name", "aws.event_bridge.bus.name"]),
        _ => None,
    };
    let of_span = || {
        let system = messaging::System::of(span)?;
        messaging::destination(span, system)
    };
    named.or_else(of_span).map(str::to_owned)
}

/// The only table that a call names.
fn table(span: &Span<'_>) -> Option<String> {
    let tables = span.attributes.texts("aws.dynamodb.table_names");
    match tables.as_slice() {
        [table] => Some(short_name(table).to_owned()),
        _ => span.attributes.first_text(&["aws.table.name", "db.collection.name"]).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests;
