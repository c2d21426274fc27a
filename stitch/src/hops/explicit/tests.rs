#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::cell::RefCell;

use super::super::testing::Probe;
use super::super::workflows::sfn_trace_id;
use super::*;
use crate::span::Value::{Json, Text};
use crate::span::{Attributes, SpanKind, Value};

/// Checks the keys of a span that has `key` as its only attribute, on both sides.
#[track_caller]
fn check(key: &str, expected: &[&str]) {
    for (name, kind, side) in [(OUT, SpanKind::Client, "out"), (IN, SpanKind::Server, "in")] {
        let expected: Vec<String> = expected.iter().map(|e| format!("{name} {side} {e}")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        Probe::new(kind, &[(name, Text(key))]).keys(&expected);
    }
}

#[test]
fn one_of_each_kind() {
    let hash = "7f1aee721472bcb48701d45c7c7f7821";
    check("lambda:8476a536", &["lambda:8476a536"]);
    check("lambda.outcome:8476a536", &["lambda.outcome:8476a536"]);
    check("sqs:dd3f25a2", &["sqs:dd3f25a2"]);
    check("sns:95df01b4", &["sns:95df01b4"]);
    check("eb:17793124-05d4-b198-2fde-7ededc63b103", &["eb:17793124-05d4-b198-2fde-7ededc63b103"]);
    check("kinesis:eu-central-1:clicks:shardId-0:4959", &["kinesis:eu-central-1:clicks:shardId-0:4959 @clicks"]);
    check("firehose:lake:r1", &["firehose:lake:r1 @lake"]);
    check("s3.req:C3D13FE58DE4C810", &["s3.req:C3D13FE58DE4C810"]);
    check("s3.ver:audit|a.txt|v1", &["s3.ver:audit|a.txt|v1 @audit"]);
    check(
        "s3.obj:mybucket|mykey|\"123abc\"",
        &["s3.obj:mybucket|mykey|123abc @mybucket", "s3.ptr:8d49f5b0b742484159d4cd572bae1ce5 @mybucket"],
    );
    check(&format!("s3.ptr:{hash}"), &[&format!("s3.ptr:{hash}")]);
    check(&format!("ddb.item:{}", hash.to_uppercase()), &[&format!("ddb.item:{hash}")]);
    check("ptr:kind|hash", &["ptr:kind|hash"]);
    check("kafka:c1:t:0:5", &["kafka:c1:t:0:5 @t", "kafka:-:t:0:5 @t"]);
    check("mq:rabbitmq|mails|42", &["mq:rabbitmq|mails|42 @mails"]);
    check("ce:/shop|A234", &["ce:/shop|A234"]);
    check("apigw:JKJa", &["apigw:JKJa"]);
    check("gps:shop:42", &["gps:shop:42", "gps:-:42"]);
    check("gcs:b|n|7", &["gcs:b|n|7 @b"]);
    check("task:projects/p/locations/l/queues/mails/tasks/t", &["task:mails/t @mails"]);
    check("asb:Shop.servicebus.windows.net/Payments:42", &["asb:shop/payments:42 @Payments"]);
    check("aeh:shop/clicks:0:7", &["aeh:shop/clicks:0:7 @clicks"]);
    check("asq:3f2504e0", &["asq:3f2504e0"]);
    check("blob:c|n|\"0x8D4\"", &["blob:c|n|0x8D4 @c"]);
    check("blob.req:831e1650", &["blob.req:831e1650"]);
    check("durable:42", &["durable:42"]);
    let root = "5759e988bd862e3fe1be46a994272793";
    check(
        "xray:1-5759e988-bd862e3fe1be46a994272793:53995c3f42cd8ad8",
        &[&format!("xray:{root}"), &format!("xray:{root}:53995c3f42cd8ad8")],
    );
    let arn = "arn:aws:states:eu-central-1:123456789012:execution:fulfil:42";
    check(&format!("sfn:{arn}"), &[&format!("sfn:{arn} @fulfil"), &format!("link:{} @fulfil", sfn_trace_id(arn))]);
}

#[test]
fn every_kind_of_key_is_tried_here() {
    let text = include_str!("tests.rs");
    let guessed = [Kind::Link, Kind::RangePart, Kind::Destination];
    let written = Kind::ALL.iter().filter(|kind| !guessed.contains(kind));
    for kind in written {
        assert!(text.contains(&format!("\"{}:", kind.prefix())), "{kind:?}");
    }
}

#[test]
fn a_range_is_found_by_its_parts() {
    let of = |attribute, kind, text| Probe::new(kind, &[(attribute, Text(text))]).found();
    let lines = |text| super::super::testing::lines(&of(IN, SpanKind::Server, text));
    let range = "kinesis.range:eu-central-1:clicks:shardId-0:100..300";
    let part = |node| format!("{IN} in range:kinesis.range:eu-central-1:clicks:shardId-0:47:{node} @clicks");
    let mut expected = vec![format!("{IN} in {range} @clicks")];
    expected.extend((6..=18).map(|n| part(format!("{n:x}"))));
    expected.sort();
    assert_eq!(lines(range), expected);
    // Nobody sends ranges.
    assert_eq!(of(OUT, SpanKind::Client, range).keys.len(), 1);
    let range = "kafka.range:c1:t:0:7..7";
    let part = |cluster| format!("{IN} in range:kafka.range:{cluster}:t:0:48:7 @t");
    let whole = |cluster| format!("{IN} in kafka.range:{cluster}:t:0:7..7 @t");
    assert_eq!(lines(range), [whole("-"), whole("c1"), part("-"), part("c1")]);
    let hops: Vec<_> = of(IN, SpanKind::Server, range).keys.iter().map(|k| k.hop).collect();
    assert_eq!(hops, ["kafka"; 4]);
}

#[test]
fn what_is_no_key_is_counted() {
    for text in [
        "",
        "sqs",
        "sqs:",
        "queue:1",
        "dest:sqs|orders|1",
        "link:ab",
        "range:kinesis.range:a:1:1",
        "ddb.item:HashingFailure1",
        "xray:1-2-3",
    ] {
        let found = Probe::client(&[(OUT, Text(text))]).found();
        assert_eq!((found.keys.len(), found.refused), (0, 1), "{text}");
    }
    let found = Probe::client(&[(OUT, Json("[\"sqs:1\",7,\"x\",\"sqs:2\"]"))]).found();
    assert_eq!((found.keys.len(), found.refused), (2, 1));
}

#[test]
fn arrays_and_links() {
    Probe::client(&[(OUT, Json("[\"sns:a\",\"sns:b\",\"sns:a\"]"))])
        .keys(&["hopline.link.out out sns:a", "hopline.link.out out sns:b"]);
    let links: &[(u128, &[_])] = &[(0, &[(IN, Text("sqs:a"))]), (0, &[(IN, Json("[\"sqs:b\"]"))])];
    Probe::server(&[]).links(links).keys(&["hopline.link.in in sqs:a", "hopline.link.in in sqs:b"]);
}

#[test]
fn an_invocation_is_told_of_itself_and_of_another() {
    let span = |link| [("faas.invocation_id", Text("own")), (IN, Text(link))];
    Probe::server(&span("lambda:other")).keys(&[
        "hopline.link.in in lambda.outcome:other",
        "lambda.invoked in lambda:own",
        "lambda.outcome out lambda.outcome:own",
    ]);
    Probe::server(&span("lambda:own")).keys(&["lambda.invoked in lambda:own", "lambda.outcome out lambda.outcome:own"]);
    // Who takes the outcome from a queue is no invocation.
    Probe::consumer(&[(IN, Text("lambda:other"))]).keys(&["hopline.link.in in lambda.outcome:other"]);
    Probe::server(&span("lambda:other")).with(|span| {
        let found = super::super::keys_of(span);
        let outcome = found.keys.iter().find(|k| k.rule == IN).unwrap();
        assert_eq!(outcome.hop, "lambda.destination");
    });
}

#[test]
fn a_step_is_one_of_its_execution() {
    let arn = "arn:aws:states:eu-central-1:123456789012:execution:fulfil:42";
    let step = format!("sfn:{arn}#reserve#2026-11-21T10:00:00Z");
    Probe::server(&[(IN, Text(&step))]).keys(&[
        &format!("hopline.link.in in {step} @fulfil"),
        &format!("hopline.link.in in sfn:{arn} @fulfil"),
        &format!("hopline.link.in in link:{} @fulfil", sfn_trace_id(arn)),
    ]);
}

#[test]
fn a_notifications_key_is_decoded() {
    Probe::server(&[(IN, Text("s3.obj:mybucket|red+flower.jpg|123abc"))]).keys(&[
        "hopline.link.in in s3.obj:mybucket|red+flower.jpg|123abc @mybucket",
        "hopline.link.in in s3.obj:mybucket|red flower.jpg|123abc @mybucket",
        "hopline.link.in in s3.ptr:c99278931dfbfc73b3a5362c1450247b @mybucket",
        "hopline.link.in in s3.ptr:59a7ed2269d917b09ce623c4eb416d2c @mybucket",
    ]);
}

#[test]
fn the_span_tells_the_destination() {
    let tables =
        [("aws.dynamodb.table_names", Json("[\"orders\"]")), (OUT, Text("ddb.item:7f1aee721472bcb48701d45c7c7f7821"))];
    Probe::client(&tables).keys(&["hopline.link.out out ddb.item:7f1aee721472bcb48701d45c7c7f7821 @orders"]);
    let topic = [
        ("messaging.system", Text("aws.sns")),
        ("messaging.destination", Text("arn:aws:sns:eu-central-1:123456789012:order-priced")),
        (OUT, Text("sns:a")),
    ];
    Probe::producer(&topic).keys(&["hopline.link.out out sns:a @order-priced"]);
}

#[test]
fn an_invocation_keeps_its_id_however_many_messages_it_has() {
    let records: Vec<String> = (0..200).map(|i| format!("\"kafka:c:t:0:{i}\"")).collect();
    let records = format!("[{}]", records.join(","));
    let found = Probe::server(&[("faas.invocation_id", Text("own")), (IN, Json(&records))]).found();
    let count = |kind| found.keys.iter().filter(|k| k.key.kind == kind).count();
    assert_eq!((count(Kind::Lambda), count(Kind::LambdaOutcome)), (1, 1));
    // The forms without the cluster come after all those with it: all messages have the first.
    let first = found.keys.iter().filter(|k| k.key.kind == Kind::Kafka && k.key.id.starts_with("c:")).count();
    assert_eq!((first, found.dropped), (200, 400 + 1 - super::super::KEYS_MAX));
}

/// Attributes that note what they were asked for.
struct Noting<'a> {
    inner: &'a dyn Attributes,
    asked: RefCell<Vec<String>>,
}

impl Attributes for Noting<'_> {
    fn get(&self, key: &str) -> Option<Value<'_>> {
        self.asked.borrow_mut().push(key.to_owned());
        self.inner.get(key)
    }
}

/// What the rule for `hopline.link.out` finds, and what it asked for.
fn asked(attributes: &[(&str, Value<'_>)]) -> (HopKeys, Vec<String>) {
    Probe::producer(attributes).with(|span| {
        let noting = Noting { inner: span.attributes, asked: RefCell::default() };
        let mut found = HopKeys::default();
        find(&RULES[0], &Span { attributes: &noting, ..*span }, &mut found);
        (found, noting.asked.into_inner())
    })
}

fn array(texts: impl Iterator<Item = String>) -> String {
    let texts: Vec<String> = texts.map(|text| format!("\"{text}\"")).collect();
    format!("[{}]", texts.join(","))
}

#[test]
fn a_span_is_asked_for_its_destination_once() {
    let items = array((0..20_000).map(|i| format!("ddb.item:{i:032x}")));
    let tables = array((0..20_000).map(|i| format!("t{i}")));
    let (found, asked) =
        asked(&[(OUT, Json(&items)), ("aws.dynamodb.table_names", Json(&tables)), ("db.collection.name", Text("t"))]);
    assert_eq!((found.keys.len(), found.dropped, found.refused), (KEYS_MAX, 20_000 - KEYS_MAX, 0));
    assert!(found.keys.iter().all(|k| k.destination.as_deref() == Some("t")));
    assert_eq!(asked, [OUT, "aws.dynamodb.table_names", "aws.table.name", "db.collection.name"]);
    // Whatever the kind, what is asked does not grow with what is given.
    for kind in Kind::ALL {
        let keys = array((0..20_000).map(|i| format!("{}:{i}", kind.prefix())));
        let (_, asked) = self::asked(&[(OUT, Json(&keys)), ("messaging.system", Text("x"))]);
        assert!(asked.len() < 2 * KEYS_MAX, "{kind:?} {}", asked.len());
    }
}

#[test]
fn what_is_beyond_the_most_keys_is_counted() {
    let (own, other) = (KEYS_MAX / 2, KEYS_MAX + 100);
    // Given twice, and with what is no key before, between and behind.
    let texts = (0..own).map(|i| format!("sqs:{i}")).chain(["x".to_owned()]);
    let texts = texts.chain((0..other).map(|i| format!("sqs:{i}"))).chain(["x".to_owned(), "sqs:0".to_owned()]);
    let (found, _) = asked(&[(OUT, Json(&array(texts)))]);
    assert_eq!((found.keys.len(), found.dropped, found.refused), (KEYS_MAX, 100, 2));
    // Of what is dropped without a look, nobody knows whether it would have been refused, or how many forms it has.
    let texts = (0..KEYS_MAX).map(|i| format!("sqs:{i}"));
    let texts = texts.chain(["ddb.item:x", "dest:sqs|a|1", "kafka:c:t:0:1"].map(str::to_owned));
    let (found, _) = asked(&[(OUT, Json(&array(texts)))]);
    assert_eq!((found.keys.len(), found.dropped, found.refused), (KEYS_MAX, 3, 0));
    // A range is dropped in each of its forms that has no room.
    let ranges = array((0..KEYS_MAX).map(|i| format!("kinesis.range:eu:s:{i}:0..15")));
    let found = Probe::server(&[(IN, Json(&ranges))]).found();
    assert_eq!((found.keys.len(), found.dropped), (KEYS_MAX, 16 * KEYS_MAX));
    assert!(found.keys.iter().all(|k| k.key.kind == Kind::KinesisRange));
}
