//! What a span says of messages, whatever its instrumentation calls it.
//!
//! System, operation, destination and message ids have several names and forms
//! (`docs/stitching.md`); here they get one.

use std::borrow::Cow;

use super::aws_call::{AwsCall, Service};
use super::{Hop, short_name};
use crate::key::Direction;
use crate::span::{Attributes, Span, SpanKind, Value};

/// A messaging system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum System<'a> {
    Sqs,
    Sns,
    EventBridge,
    Kinesis,
    Kafka,
    ServiceBus,
    EventHubs,
    StorageQueue,
    PubSub,
    /// Any other, as the span calls it.
    Other(&'a str),
}

/// Names in `messaging.system` and, of Azure's SDKs, in `az.namespace`.
const SYSTEMS: &[(&str, System<'static>)] = &[
    ("aws_sqs", System::Sqs),
    ("aws.sqs", System::Sqs),
    ("AmazonSQS", System::Sqs),
    ("sqs", System::Sqs),
    ("aws_sns", System::Sns),
    ("aws.sns", System::Sns),
    ("AmazonSNS", System::Sns),
    ("sns", System::Sns),
    ("aws_eventbridge", System::EventBridge),
    ("aws.eventbridge", System::EventBridge),
    ("AmazonEventBridge", System::EventBridge),
    ("eventbridge", System::EventBridge),
    ("aws_kinesis", System::Kinesis),
    ("aws.kinesis", System::Kinesis),
    ("AmazonKinesis", System::Kinesis),
    ("kinesis", System::Kinesis),
    ("kafka", System::Kafka),
    ("servicebus", System::ServiceBus),
    ("azure_servicebus", System::ServiceBus),
    ("azservicebus", System::ServiceBus),
    ("Microsoft.ServiceBus", System::ServiceBus),
    ("eventhubs", System::EventHubs),
    ("eventhub", System::EventHubs),
    ("azure_eventhubs", System::EventHubs),
    ("Microsoft.EventHub", System::EventHubs),
    ("azqueue", System::StorageQueue),
    ("azure_queue", System::StorageQueue),
    ("storagequeue", System::StorageQueue),
    ("azure_storage_queue", System::StorageQueue),
    ("gcp_pubsub", System::PubSub),
    ("gcp.pubsub", System::PubSub),
    ("google_pubsub", System::PubSub),
    ("pubsub", System::PubSub),
];

/// Other systems whose messages come in a stream.
const STREAMS: &[&str] = &["pulsar", "nats_jetstream", "redis_stream", "firehose", "aws_firehose", "dynamodb"];

impl<'a> System<'a> {
    /// The system that is called `name`.
    pub(super) fn named(name: &'a str) -> Self {
        let known = SYSTEMS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        known.map_or(System::Other(name), |(_, system)| *system)
    }

    /// The system of which the span speaks.
    pub(super) fn of(span: &Span<'a>) -> Option<Self> {
        if let Some(name) = span.attributes.text("messaging.system") {
            return Some(Self::named(name));
        }
        if let Some(name) = span.attributes.text("az.namespace") {
            return Some(Self::named(name)).filter(|system| !matches!(system, System::Other(_)));
        }
        match AwsCall::of(span)?.service {
            Service::Sqs => Some(System::Sqs),
            Service::Sns => Some(System::Sns),
            _ => None,
        }
    }

    /// Its name in keys.
    pub(super) fn word(self) -> Cow<'a, str> {
        match self {
            System::Sqs => "sqs".into(),
            System::Sns => "sns".into(),
            System::EventBridge => "eventbridge".into(),
            System::Kinesis => "kinesis".into(),
            System::Kafka => "kafka".into(),
            System::ServiceBus => "servicebus".into(),
            System::EventHubs => "eventhubs".into(),
            System::StorageQueue => "storagequeue".into(),
            System::PubSub => "pubsub".into(),
            System::Other(name) => name.to_ascii_lowercase().into(),
        }
    }

    /// Its kind of hop.
    pub(super) fn hop(self) -> Hop {
        match self {
            System::Sqs => "sqs",
            System::Sns => "sns",
            System::EventBridge => "eventbridge",
            System::Kinesis => "kinesis",
            System::Kafka => "kafka",
            System::ServiceBus => "servicebus",
            System::EventHubs => "eventhubs",
            System::StorageQueue => "storagequeue",
            System::PubSub => "pubsub",
            System::Other(_) => "mq",
        }
    }

    /// Whether its messages come in a stream, where time and destination tell nothing.
    pub(super) fn is_stream(self) -> bool {
        match self {
            System::Kinesis | System::Kafka | System::EventHubs => true,
            System::Other(name) => STREAMS.iter().any(|stream| stream.eq_ignore_ascii_case(name)),
            _ => false,
        }
    }

    /// Whether a message goes from one sender to one receiver, who both call the destination the same.
    pub(super) fn is_queue(self) -> bool {
        matches!(self, System::Sqs | System::ServiceBus | System::StorageQueue | System::Other(_)) && !self.is_stream()
    }
}

/// What the span does with messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Send,
    /// Asks for messages; perhaps there are none.
    Receive,
    Process,
    /// Acknowledges, deletes, peeks, manages.
    Other,
}

/// Operations that are calls of AWS's APIs.
const AWS_OPERATIONS: &[(&str, Operation)] = &[
    ("SendMessage", Operation::Send),
    ("SendMessageBatch", Operation::Send),
    ("Publish", Operation::Send),
    ("PublishBatch", Operation::Send),
    ("PutEvents", Operation::Send),
    ("ReceiveMessage", Operation::Receive),
];

impl Operation {
    /// The operation of a span.
    pub(super) fn of(span: &Span<'_>) -> Operation {
        let keys = ["messaging.operation.type", "messaging.operation", "messaging.operation.name"];
        if let Some(operation) = keys.iter().find_map(|key| Self::named(span.attributes.text(key)?)) {
            return operation;
        }
        if let Some(call) = AwsCall::of(span) {
            let known = AWS_OPERATIONS.iter().find(|(name, _)| *name == call.operation);
            return known.map_or(Operation::Other, |(_, operation)| *operation);
        }
        match span.kind {
            SpanKind::Producer => Operation::Send,
            SpanKind::Consumer | SpanKind::Server => Operation::Process,
            SpanKind::Client | SpanKind::Internal => Operation::Other,
        }
    }

    fn named(name: &str) -> Option<Operation> {
        Some(match name {
            "send" | "publish" | "create" | "enqueue" | "produce" => Operation::Send,
            "receive" | "poll" | "dequeue" | "pull" | "fetch" => Operation::Receive,
            "process" | "deliver" | "consume" => Operation::Process,
            "settle" | "ack" | "nack" | "modack" | "delete" | "complete" | "abandon" | "commit" | "peek" => {
                Operation::Other
            }
            _ => return None,
        })
    }

    /// The side that it is on.
    pub(super) fn direction(self) -> Option<Direction> {
        match self {
            Operation::Send => Some(Direction::Out),
            Operation::Receive | Operation::Process => Some(Direction::In),
            Operation::Other => None,
        }
    }
}

/// Where the URL of a queue stands.
const QUEUE_URLS: &[&str] = &["aws.sqs.queue.url", "aws.queue_url", "aws.queue.url", "messaging.url"];

/// The destination's name, as the system's sides agree on it: of an ARN, a URL or a path the last part.
pub(super) fn destination<'a>(span: &Span<'a>, system: System<'_>) -> Option<&'a str> {
    let of = |keys: &[&str]| span.attributes.first_text(keys);
    let named = of(&["messaging.destination.name", "messaging.destination", "message_bus.destination"]);
    let name = match system {
        System::Sqs => named.or_else(|| of(QUEUE_URLS)).map(short_name).or_else(|| {
            // Node and Go put the queue's URL where that of the request is expected.
            ["url.full", "server.address"].iter().find_map(|key| queue_of_url(span.attributes.text(key)?))
        }),
        System::Sns => named.or_else(|| of(&["aws.sns.topic.arn"])).map(short_name),
        System::EventBridge | System::PubSub => named.map(short_name),
        System::Kinesis => named.or_else(|| of(&["aws.kinesis.stream_name"])).map(short_name),
        _ => named,
    };
    name.filter(|name| !name.is_empty())
}

/// The queue in `https://<host>/<account>/<queue>`.
fn queue_of_url(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let mut parts = rest.split('?').next()?.rsplit('/');
    let (queue, account) = (parts.next()?, parts.next()?);
    let is_account = !account.is_empty() && account.bytes().all(|b| b.is_ascii_digit());
    (is_account && !queue.is_empty()).then_some(queue)
}

/// Whether the destination is one that only this sender or receiver has.
pub(super) fn is_passing(span: &Span<'_>) -> bool {
    ["messaging.destination.temporary", "messaging.destination.anonymous"]
        .iter()
        .any(|key| span.attributes.bool(key) == Some(true))
}

/// What a span has that speaks of messages: the system, or a message's id where the system is told in another way. Ids
/// may also stand on its links alone.
pub(super) const MESSAGING: &[&str] =
    &["messaging.system", "az.namespace", "messaging.message.id", "messaging.message_id"];

/// What a message's id is called.
pub(super) const MESSAGE_ID: [&str; 2] = ["messaging.message.id", "messaging.message_id"];

/// The ids of the messages of which the span speaks, and those of its links: of a batch, each is linked.
pub(super) fn message_ids(span: &Span<'_>) -> Vec<String> {
    let mut ids = ids_in(span.attributes);
    span.links.iter().for_each(|link| ids.extend(ids_in(link.attributes)));
    ids
}

fn ids_in(attributes: &dyn Attributes) -> Vec<String> {
    let id = MESSAGE_ID.iter().find_map(|key| attributes.get(key).map(|value| (key, value)));
    match id {
        Some((key, Value::Json(_))) => attributes.texts(key),
        Some((key, _)) => attributes.display(key).into_iter().collect(),
        None => Vec::new(),
    }
}

/// Whether an id is so long that no two senders choose the same by counting: the length of a written UUID is 32 and more,
/// of one in base64 22.
pub(super) fn is_unique(id: &str) -> bool {
    id.len() >= 20
}

/// The first value of a header that was recorded (`http.request.header.<name>`: an array of texts).
pub(super) fn header(span: &Span<'_>, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| span.attributes.texts(key).into_iter().find(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Probe;
    use super::*;
    use crate::span::Value::Text;

    #[test]
    fn systems_under_all_their_names() {
        let named = System::named;
        for name in ["aws_sqs", "aws.sqs", "AmazonSQS", "amazonsqs"] {
            assert_eq!(named(name), System::Sqs, "{name}");
        }
        for name in ["aws_sns", "aws.sns"] {
            assert_eq!(named(name), System::Sns, "{name}");
        }
        assert_eq!(named("RabbitMQ").word(), "rabbitmq");
        assert_eq!(named("Microsoft.ServiceBus"), System::ServiceBus);
        let streams = ["kafka", "aws_kinesis", "eventhubs", "pulsar"];
        assert!(streams.iter().all(|name| named(name).is_stream() && !named(name).is_queue()));
    }

    #[track_caller]
    fn queue(attributes: &[(&str, &str)], expected: Option<&str>) {
        let attributes: Vec<_> = attributes.iter().map(|(key, value)| (*key, Text(value))).collect();
        Probe::client(&attributes).with(|span| assert_eq!(destination(span, System::Sqs), expected));
    }

    #[test]
    fn queues_under_all_their_names() {
        let url = "https://sqs.eu-central-1.amazonaws.com/123456789012/orders";
        let keys = ["messaging.url", "aws.queue_url", "url.full", "aws.sqs.queue.url", "server.address"];
        keys.iter().for_each(|key| queue(&[(*key, url)], Some("orders")));
        queue(&[("messaging.destination", "orders")], Some("orders"));
        queue(&[("messaging.destination.name", "arn:aws:sqs:eu-central-1:123456789012:orders")], Some("orders"));
        queue(&[("url.full", "https://sqs.eu-central-1.amazonaws.com/")], None);
        queue(&[("server.address", "sqs.eu-central-1.amazonaws.com")], None);
    }

    #[test]
    fn streams_under_all_their_names() {
        let stream = |attributes: &[(&str, Value<'_>)]| {
            Probe::client(attributes).with(|span| assert_eq!(destination(span, System::Kinesis), Some("clicks")));
        };
        for key in ["aws.kinesis.stream_name", "aws.kinesis.stream.name", "messaging.destination.name"] {
            stream(&[(key, Text("clicks"))]);
        }
        stream(&[("messaging.destination", Text("arn:aws:kinesis:eu-central-1:123456789012:stream/clicks"))]);
    }

    #[test]
    fn operations() {
        let check = |kind, attributes: &[(&str, &str)], expected| {
            let attributes: Vec<_> = attributes.iter().map(|(key, value)| (*key, Text(value))).collect();
            Probe::new(kind, &attributes).with(|span| assert_eq!(Operation::of(span), expected, "{attributes:?}"));
        };
        check(SpanKind::Client, &[("messaging.operation", "publish")], Operation::Send);
        check(SpanKind::Client, &[("messaging.operation.type", "create")], Operation::Send);
        check(SpanKind::Client, &[("messaging.operation.type", "settle")], Operation::Other);
        check(SpanKind::Client, &[("rpc.service", "SQS"), ("rpc.method", "SendMessage")], Operation::Send);
        check(SpanKind::Client, &[("rpc.service", "SQS"), ("rpc.method", "ReceiveMessage")], Operation::Receive);
        check(SpanKind::Client, &[("rpc.service", "SQS"), ("rpc.method", "DeleteMessage")], Operation::Other);
        check(SpanKind::Producer, &[], Operation::Send);
        check(SpanKind::Consumer, &[], Operation::Process);
        check(SpanKind::Client, &[], Operation::Other);
    }
}
