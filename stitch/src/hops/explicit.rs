//! Keys that somebody wrote: `hopline.link.out` and `hopline.link.in`, arrays of texts (or one text) on a span or on one
//! of its links. They say what stock instrumentation leaves out (`docs/stitching.md`).
//!
//! They are brought into the form that the other rules give, and where one side may know less than the other, into
//! all forms under which it may be looked for.

use ahash::AHashSet;

use super::{Hop, HopKeys, KEYS_MAX, Rule, azure, brokers, cloudevents, gcp, lambda, messaging, objects, pointers};
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

/// Texts that are no keys are refused, and counted. Of the keys, each once, the first [`KEYS_MAX`] are looked at: a span keeps
/// no more. What comes behind them is dropped, and counted once a text whatever it is, because to find out more of each of
/// them would cost more than the span is worth.
fn find(rule: &Rule, span: &Span<'_>, found: &mut HopKeys) {
    let links = span.links.iter().map(|link| link.attributes);
    let mut given: Vec<(Key, Vec<Key>)> = Vec::new();
    let mut seen: AHashSet<Key> = AHashSet::new();
    for text in std::iter::once(span.attributes).chain(links).flat_map(|attributes| attributes.texts(rule.name)) {
        let Ok(key) = text.trim().parse::<Key>() else {
            found.refused += 1;
            continue;
        };
        if seen.contains(&key) {
            continue;
        }
        if given.len() >= KEYS_MAX {
            found.dropped += 1;
            continue;
        }
        let forms = forms(&key, rule.direction, span);
        if forms.is_empty() {
            found.refused += 1;
        } else {
            seen.insert(key.clone());
            given.push((key, forms));
        }
    }
    push(rule, span, &given, found);
}

/// Adds keys in their forms, until there are as many as a span may have.
fn push(rule: &Rule, span: &Span<'_>, given: &[(Key, Vec<Key>)], found: &mut HopKeys) {
    let mut destinations = Destinations { span, known: Vec::new() };
    let mut beyond = Vec::new();
    let mut is_full = false;
    // Each message has its first form before any has another: there may be more than a span may have.
    let most = given.iter().map(|(_, forms)| forms.len()).max().unwrap_or_default();
    for form in 0..most {
        for (key, forms) in given {
            let Some(form) = forms.get(form) else { continue };
            is_full = is_full || of_side(found, rule.direction).count() >= KEYS_MAX;
            if is_full {
                beyond.push(form);
            } else {
                found.push_hop(rule, hop_of(form, span), form.clone(), destinations.of(key));
            }
        }
    }
    let kept: AHashSet<&Key> = of_side(found, rule.direction).collect();
    let dropped = beyond.iter().filter(|key| !kept.contains(**key)).count();
    found.dropped += dropped;
}

fn of_side(found: &HopKeys, side: Direction) -> impl Iterator<Item = &Key> {
    found.keys.iter().filter(move |k| k.direction == side).map(|k| &k.key)
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

/// Where the keys of a span lead.
struct Destinations<'r, 's> {
    span: &'r Span<'s>,
    /// What the span names for keys of a kind. To find it may take as long as the span is large, so it is done once a kind.
    known: Vec<(Kind, Option<String>)>,
}

impl Destinations<'_, '_> {
    /// The destination that the key names, else the one that the span names.
    fn of<'k>(&'k mut self, key: &'k Key) -> Option<&'k str> {
        let named = named(key);
        if named.is_some() {
            return named;
        }
        let place = self.known.iter().position(|(kind, _)| *kind == key.kind);
        let place = place.unwrap_or_else(|| {
            self.known.push((key.kind, of_span(key.kind, self.span)));
            self.known.len() - 1
        });
        self.known.get(place)?.1.as_deref()
    }
}

/// The destination that the key itself names.
fn named(key: &Key) -> Option<&str> {
    let id = key.id.as_str();
    let part = |separator: char, n: usize| id.split(separator).nth(n);
    match key.kind {
        // <region>:<stream>:…
        Kind::Kinesis | Kind::KinesisRange => part(':', 1),
        Kind::Firehose => part(':', 0),
        Kind::S3Object | Kind::S3Version | Kind::CloudStorage | Kind::Blob => part('|', 0),
        Kind::StepFunctions => workflows::machine_of(id),
        Kind::Kafka | Kind::KafkaRange => brokers::topic_of(id),
        Kind::Broker => part('|', 1).filter(|destination| *destination != "-"),
        Kind::ServiceBus | Kind::EventHub => azure::entity_of(id),
        Kind::CloudTask => gcp::queue_of(id),
        _ => None,
    }
}

/// The destination that the span names, for keys of a kind.
fn of_span(kind: Kind, span: &Span<'_>) -> Option<String> {
    let named = match kind {
        Kind::Lambda | Kind::LambdaOutcome => lambda::callee(span).filter(|_| span.kind.is_out()).or(span.function),
        Kind::S3Request | Kind::S3Pointer => span.attributes.first_text(&["aws.s3.bucket", "aws.bucket.name"]),
        Kind::DynamoItem => return table(span),
        Kind::EventBridge => span.attributes.first_text(&["aws.eventbridge.bus.name", "aws.event_bridge.bus.name"]),
        _ => None,
    };
    let of_messages = || messaging::destination(span, messaging::System::of(span)?);
    named.or_else(of_messages).map(str::to_owned)
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
