//! Rules that hold of the whole table.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod aliases;
mod recorded;

use proptest::prelude::*;

use super::testing::{Probe, lines};
use super::*;
use crate::span::{SpanKind, Value};

#[test]
fn names_differ() {
    let mut names: Vec<_> = rules().map(|rule| rule.name).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn every_rule_can_be_asked() {
    assert!(rules().all(|rule| rule.on_links || !rule.reads.is_empty()));
}

#[test]
fn every_rule_has_a_test() {
    let tests = [
        include_str!("aws_messaging.rs"),
        include_str!("azure.rs"),
        include_str!("brokers.rs"),
        include_str!("cloudevents.rs"),
        include_str!("destinations.rs"),
        include_str!("explicit/tests.rs"),
        include_str!("gcp.rs"),
        include_str!("http.rs"),
        include_str!("lambda.rs"),
        include_str!("objects.rs"),
        include_str!("pointers/tests.rs"),
        include_str!("workflows.rs"),
        include_str!("xray.rs"),
    ];
    let written: Vec<&str> = tests.iter().map(|text| text.split("#[cfg(test)]").last().unwrap()).collect();
    for rule in rules() {
        assert!(
            written
                .iter()
                .any(|text| text.contains(&format!("{} ", rule.name)) || text.contains(&format!("\"{}\"", rule.name))),
            "{}",
            rule.name
        );
    }
}

/// The sources of the rules.
const SOURCES: &[&str] = &[
    include_str!("aws_call.rs"),
    include_str!("aws_messaging.rs"),
    include_str!("azure.rs"),
    include_str!("brokers.rs"),
    include_str!("cloudevents.rs"),
    include_str!("destinations.rs"),
    include_str!("explicit.rs"),
    include_str!("gcp.rs"),
    include_str!("http.rs"),
    include_str!("lambda.rs"),
    include_str!("messaging.rs"),
    include_str!("objects.rs"),
    include_str!("pointers.rs"),
    include_str!("workflows.rs"),
    include_str!("xray.rs"),
];

#[test]
fn every_column_that_a_rule_looks_at_is_known() {
    for key in hopline_model::promoted::PROMOTED.iter().map(|p| p.key) {
        let quoted = format!("\"{key}\"");
        let is_used = SOURCES.iter().any(|text| text.split("#[cfg(test)]").next().unwrap().contains(&quoted));
        assert!(!is_used || is_read(key), "{key}");
    }
}

#[test]
fn names_of_destinations() {
    for (text, name) in [
        ("arn:aws:lambda:eu-central-1:123456789012:function:pricing:live", "pricing"),
        ("arn:aws:lambda:eu-central-1:123456789012:function:pricing", "pricing"),
        ("arn:aws:sqs:eu-central-1:123456789012:orders", "orders"),
        ("https://sqs.eu-central-1.amazonaws.com/123456789012/orders", "orders"),
        ("arn:aws:kinesis:eu-central-1:123456789012:stream/clicks", "clicks"),
        ("arn:aws:dynamodb:eu-central-1:123456789012:table/orders", "orders"),
        ("arn:aws:events:eu-central-1:123456789012:event-bus/shop", "shop"),
        ("orders", "orders"),
        ("", ""),
    ] {
        assert_eq!(short_name(text), name);
    }
}

#[test]
fn a_span_has_a_bounded_number_of_keys() {
    let ids: Vec<String> = (0..300).map(|i| format!("m{i}")).collect();
    let attributes: Vec<[(&str, Value<'_>); 1]> =
        ids.iter().map(|id| [("messaging.message.id", Value::Text(id))]).collect();
    let links: Vec<(u128, &[(&str, Value<'_>)])> = attributes.iter().map(|a| (0, a.as_slice())).collect();
    let system = [("messaging.system", Value::Text("aws_sqs"))];
    let found = Probe::consumer(&system).links(&links).found();
    assert_eq!((found.keys.len(), found.dropped), (KEYS_MAX, 300 - KEYS_MAX));
}

#[test]
fn what_is_too_long_is_no_key() {
    let long = "x".repeat(ID_BYTES_MAX + 1);
    let span = [("messaging.system", Value::Text("aws_sqs")), ("messaging.message.id", Value::Text(&long))];
    let found = Probe::producer(&span).found();
    assert_eq!((found.keys.len(), found.refused), (0, 1));
    let name = [
        ("messaging.system", Value::Text("aws_sqs")),
        ("messaging.message.id", Value::Text("m")),
        ("messaging.destination.name", Value::Text(&long[..1_500])),
    ];
    Probe::producer(&name).keys(&["sqs.send out sqs:m"]);
}

/// Values that rules take apart.
const TEXTS: &[&str] = &[
    "",
    "-",
    ":",
    "|",
    "|||",
    "#",
    "/",
    "é|ü:/",
    "aws_sqs",
    "aws.sns",
    "kafka",
    "servicebus",
    "eventhubs",
    "gcp_pubsub",
    "rabbitmq",
    "send",
    "process",
    "receive",
    "Lambda",
    "S3",
    "SQS",
    "SFN",
    "Invoke",
    "PutObject",
    "StartExecution",
    "S3/PutObject",
    "arn:aws:sqs:eu-central-1:123456789012:orders",
    "arn:aws:lambda:x:1:function:",
    "arn:aws:states:x:1:execution:m:n#s#t#1",
    "https://sqs.eu-central-1.amazonaws.com/123456789012/orders",
    "sb://shop.servicebus.windows.net/",
    "topic.1.2",
    ".1.2",
    "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
    "//pubsub.googleapis.com/projects/p/topics/t",
    "projects/p/locations/l/queues/q/tasks/t",
    "payments/Subscriptions/s",
    "7f1aee721472bcb48701d45c7c7f7821",
    "s3.obj:b|a+%zz%e4|\"e\"",
    "kafka:a:b:c:d",
    "lambda:x",
    "sfn:arn:x#s",
    "task:a/b",
    "asb:/:",
    "xray:1-2-3:x",
    "u",
    "d",
    "orchestration",
    "activity",
    "aws",
    "gcp",
    "timer",
];

const JSONS: &[&str] = &["[]", "[1,null]", "[\"sqs:a\",\"x\",\"é\"]", "{\"$bytes\":\"AP8=\"}", "[", "[\"\"]"];

/// Attributes that no rule asks for, but which say something to those that are asked.
const MORE: &[&str] = &[
    "rpc.system",
    "rpc.service",
    "rpc.method",
    "messaging.operation.type",
    "messaging.operation",
    "server.address",
    "net.peer.name",
    "url.full",
    "az.namespace",
    "messaging.destination.partition.id",
    "messaging.kafka.partition",
    "messaging.batch.message_count",
    "durabletask.type",
    "durabletask.task.task_id",
    "faas.trigger",
    "cloud.provider",
    "cloud.resource_id",
    "aws.s3.bucket",
    "aws.s3.key",
    "hopline.ptr.kind",
    "hopline.ptr.dir",
    "link.kind",
    "ptr.kind",
    "ptr.dir",
    "ptr.hash",
    "cloudevents.event_source",
    "faas.invoked_provider",
    "gcp.project_id",
    "aws.dynamodb.table_names",
];

fn attribute() -> impl Strategy<Value = (&'static str, Value<'static>)> {
    let mut keys: Vec<&'static str> =
        rules().flat_map(|rule| rule.reads.iter().copied()).chain(MORE.iter().copied()).collect();
    keys.sort_unstable();
    keys.dedup();
    let value = prop_oneof![
        6 => proptest::sample::select(TEXTS).prop_map(Value::Text),
        2 => proptest::sample::select(JSONS).prop_map(Value::Json),
        1 => any::<i64>().prop_map(Value::Int),
        1 => any::<f64>().prop_map(Value::Double),
        1 => any::<bool>().prop_map(Value::Bool),
    ];
    (proptest::sample::select(keys), value)
}

/// Attributes with different keys.
fn attributes(most: usize) -> impl Strategy<Value = Vec<(&'static str, Value<'static>)>> {
    proptest::collection::vec(attribute(), 0..most).prop_map(|mut attributes| {
        attributes.sort_by_key(|(key, _)| *key);
        attributes.dedup_by_key(|(key, _)| *key);
        attributes
    })
}

fn kind() -> impl Strategy<Value = SpanKind> {
    use SpanKind::{Client, Consumer, Internal, Producer, Server};
    proptest::sample::select(vec![Internal, Server, Client, Producer, Consumer])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn nothing_makes_a_rule_panic_and_the_order_of_attributes_is_nothing(
        kind in kind(),
        (first, other) in attributes(24).prop_flat_map(|a| (Just(a.clone()), Just(a).prop_shuffle())),
        links in proptest::collection::vec((0_u128..3, attributes(6)), 0..4),
        name in proptest::sample::select(TEXTS),
    ) {
        let links: Vec<(u128, &[(&str, Value<'_>)])> = links.iter().map(|(t, a)| (*t, a.as_slice())).collect();
        let keys = |attributes| Probe::new(kind, attributes).name(name).links(&links).found();
        let found = keys(&first);
        prop_assert_eq!(lines(&found), lines(&keys(&other)));
        prop_assert!(found.keys.len() <= 2 * KEYS_MAX);
        for (i, key) in found.keys.iter().enumerate() {
            prop_assert!(!key.key.id.is_empty());
            let again = |k: &HopKey| k.key == key.key && k.direction == key.direction;
            prop_assert!(!found.keys.iter().skip(i + 1).any(again), "{} twice", key.key);
            prop_assert_eq!(key.key.to_string().parse::<Key>().unwrap(), key.key.clone());
        }
    }

    #[test]
    fn no_text_makes_an_explicit_key_panic(kind in proptest::sample::select(Kind::ALL), id in "\\PC{0,60}") {
        let text = format!("{}:{id}", kind.prefix());
        for (key, kind) in [("hopline.link.out", SpanKind::Client), ("hopline.link.in", SpanKind::Server)] {
            Probe::new(kind, &[(key, Value::Text(&text))]).found();
        }
    }
}
