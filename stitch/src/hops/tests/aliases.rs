//! Names that one thing has had (`docs/stitching.md`): each makes the same key.

use super::super::testing::Probe;
use super::*;
use crate::span::Value::{Int, Text};

const ID: &str = "dd3f25a2-55c8-4586-ba3d-e8286f0633f7";
const URL: &str = "https://sqs.eu-central-1.amazonaws.com/123456789012/orders";

type Attribute = (&'static str, Value<'static>);

/// A span with `attributes` and one more has the key `expected`, for each of the ones more.
#[track_caller]
fn check(kind: SpanKind, attributes: &[Attribute], each: &[Attribute], expected: &str) {
    for one in each {
        let all: Vec<Attribute> = attributes.iter().chain([one]).copied().collect();
        let lines = lines(&Probe::new(kind, &all).function("pricing").found());
        assert!(lines.iter().any(|line| line == expected), "{one:?}: {lines:?}");
    }
}

#[test]
fn of_invocations() {
    let id = [("faas.invocation_id", Text(ID)), ("faas.execution", Text(ID))];
    check(SpanKind::Server, &[], &id, &format!("lambda.invoked in lambda:{ID} @pricing"));
    let call =
        [("rpc.service", Text("Lambda")), ("rpc.method", Text("Invoke")), ("faas.invoked_name", Text("pricing"))];
    let id = [
        ("aws.request_id", Text(ID)),
        ("aws.request.id", Text(ID)),
        ("aws.requestId", Text(ID)),
        ("faas.execution", Text(ID)),
        ("faas.invocation_id", Text(ID)),
    ];
    check(SpanKind::Client, &call, &id, &format!("lambda.invoke out lambda:{ID} @pricing"));
}

#[test]
fn of_clouds() {
    // That it is another cloud's: no invocation of Lambda.
    let elsewhere = [
        ("cloud.resource_id", Text("/subscriptions/1/sites/shop")),
        ("faas.id", Text("/subscriptions/1/sites/shop")),
        ("cloud.resource.id", Text("//cloudfunctions.googleapis.com/projects/p")),
        ("faas.trigger", Text("queueTrigger")),
        ("faas.trigger", Text("serviceBusTrigger")),
    ];
    let id = [("faas.invocation_id", Text(ID))];
    check(SpanKind::Server, &id, &elsewhere, &format!("function.invoked in lambda:{ID} @pricing"));
    // That it is Lambda: then what its links name are messages of SQS.
    for key in ["cloud.resource_id", "faas.id", "cloud.resource.id", "aws.lambda.invoked_arn"] {
        let arn = [(key, Text("arn:aws:lambda:eu-central-1:123456789012:function:pricing"))];
        let link = [("messaging.message.id", Text(ID))];
        Probe::server(&arn).links(&[(0, &link)]).keys(&[&format!("sqs.receive in sqs:{ID}")]);
    }
}

#[test]
fn of_messages() {
    let queue = ("messaging.destination.name", Text("orders"));
    let id = ("messaging.message.id", Text(ID));
    let sent = format!("sqs.send out sqs:{ID} @orders");
    let systems = ["aws_sqs", "aws.sqs", "AmazonSQS"].map(|name| ("messaging.system", Text(name)));
    check(SpanKind::Producer, &[queue, id], &systems, &sent);
    let sqs = ("messaging.system", Text("aws_sqs"));
    check(SpanKind::Producer, &[sqs, queue], &[id, ("messaging.message_id", Text(ID))], &sent);
    let queues = [
        queue,
        ("messaging.destination", Text("orders")),
        ("messaging.destination", Text("arn:aws:sqs:eu-central-1:123456789012:orders")),
        ("messaging.url", Text(URL)),
        ("aws.queue_url", Text(URL)),
        ("aws.sqs.queue.url", Text(URL)),
        ("url.full", Text(URL)),
        ("http.url", Text(URL)),
        ("server.address", Text(URL)),
        ("net.peer.name", Text(URL)),
    ];
    check(SpanKind::Producer, &[sqs, id], &queues, &sent);
    let operations = [
        ("messaging.operation.type", Text("send")),
        ("messaging.operation.type", Text("publish")),
        ("messaging.operation", Text("send")),
        ("messaging.operation", Text("publish")),
        ("messaging.operation.name", Text("send")),
    ];
    check(SpanKind::Client, &[sqs, queue, id], &operations, &sent);
    let topic = ("messaging.destination.name", Text("arn:aws:sns:eu-central-1:123456789012:priced"));
    let systems = ["aws_sns", "aws.sns", "AmazonSNS"].map(|name| ("messaging.system", Text(name)));
    check(SpanKind::Producer, &[topic, id], &systems, &format!("sns.publish out sns:{ID} @priced"));
}

#[test]
fn of_records() {
    let system = ("messaging.system", Text("kafka"));
    let topic = [("messaging.destination.name", Text("t")), ("messaging.destination", Text("t"))];
    let offsets = [("messaging.kafka.offset", Int(7)), ("messaging.kafka.message.offset", Int(7))];
    let partitions = [
        ("messaging.destination.partition.id", Text("2")),
        ("messaging.kafka.partition", Int(2)),
        ("messaging.kafka.destination.partition", Int(2)),
    ];
    let expected = "kafka.receive in kafka:-:t:2:7 @t";
    check(SpanKind::Consumer, &[system, offsets[0], partitions[0]], &topic, expected);
    check(SpanKind::Consumer, &[system, topic[0], partitions[0]], &offsets, expected);
    check(SpanKind::Consumer, &[system, topic[0], offsets[0]], &partitions, expected);
    // Python's confluent-kafka.
    check(SpanKind::Consumer, &[system, topic[0]], &[("messaging.message.id", Text("t.2.7"))], expected);
}

#[test]
fn of_requests_of_s3() {
    let put = [("rpc.service", Text("S3")), ("rpc.method", Text("PutObject")), ("aws.s3.bucket", Text("files"))];
    let ids = [
        ("aws.request_id", Text("C3D1")),
        ("aws.request.id", Text("C3D1")),
        ("aws.extended_request_id", Text("C3D1")),
        ("aws.request.extended_id", Text("C3D1")),
    ];
    check(SpanKind::Client, &put, &ids, "s3.request out s3.req:C3D1 @files");
}

#[test]
fn of_tables() {
    let item = "ddb.item:7f1aee721472bcb48701d45c7c7f7821";
    let names = [
        ("aws.dynamodb.table_names", Value::Json("[\"orders\"]")),
        ("aws.dynamodb.table_names", Value::Json("[\"arn:aws:dynamodb:eu-central-1:1:table/orders\"]")),
        ("db.collection.name", Text("orders")),
        ("db.sql.table", Text("orders")),
    ];
    let out = [("hopline.link.out", Text("ddb.item:7f1aee721472bcb48701d45c7c7f7821"))];
    check(SpanKind::Client, &out, &names, &format!("hopline.link.out out {item} @orders"));
}
