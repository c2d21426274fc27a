//! What stock Python and Node instrumentation was recorded sending, hop by hop, and what follows from it.
//!
//! Python: opentelemetry-instrumentation-aws-lambda, -botocore, -boto3sqs, -kafka-python; Node: instrumentation-aws-lambda,
//! -aws-sdk. Attributes that no rule looks at are left out.

use super::super::testing::Probe;
use super::*;
use crate::span::Value::{Int, Text};

const ID: &str = "dd3f25a2-55c8-4586-ba3d-e8286f0633f7";
const REQUEST: &str = "8476a536-e9f4-11e8-9739-2dfe598c3fcd";
const URL: &str = "https://sqs.eu-central-1.amazonaws.com/123456789012/orders";
const TOPIC: &str = "arn:aws:sns:eu-central-1:123456789012:order-priced";

/// The attributes of a call that Python's botocore or Node's SDK makes.
fn call(service: &'static str, method: &'static str) -> [(&'static str, Value<'static>); 3] {
    [("rpc.system", Text("aws-api")), ("rpc.service", Text(service)), ("rpc.method", Text(method))]
}

/// The span has all of these keys, and no other that stands for an identity or a destination.
#[track_caller]
fn check(span: Probe<'_>, expected: &[&str]) {
    let mut expected: Vec<&str> = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(lines(&span.found()), expected);
}

#[test]
fn a_request_to_the_api() {
    let client =
        [("http.method", Text("POST")), ("http.url", Text("https://abc.execute-api.eu-central-1.amazonaws.com"))];
    check(Probe::client(&client), &[]);
    let served =
        [("faas.invocation_id", Text(REQUEST)), ("faas.trigger", Text("http")), ("http.route", Text("/orders"))];
    let expected = [
        format!("lambda.invoked in lambda:{REQUEST} @orders-api"),
        format!("lambda.outcome out lambda.outcome:{REQUEST} @orders-api"),
    ];
    check(Probe::server(&served).function("orders-api"), &[&expected[0], &expected[1]]);
}

#[test]
fn an_item_is_put() {
    let [a, b, c] = call("DynamoDB", "PutItem");
    let tables = ("aws.dynamodb.table_names", Value::Json("[\"orders\"]"));
    check(Probe::client(&[a, b, c, tables, ("aws.request_id", Text(REQUEST)), ("db.system", Text("dynamodb"))]), &[]);
    check(Probe::client(&[a, b, c, ("aws.request.id", Text(REQUEST)), ("db.system.name", Text("aws.dynamodb"))]), &[]);
}

#[test]
fn a_message_is_sent() {
    let [a, b, c] = call("SQS", "SendMessage");
    let python = [
        a,
        b,
        c,
        ("messaging.system", Text("aws.sqs")),
        ("messaging.destination", Text("orders")),
        ("messaging.url", Text(URL)),
        ("aws.queue_url", Text(URL)),
        ("messaging.message.id", Text(ID)),
        ("aws.request_id", Text(REQUEST)),
    ];
    let sent = format!("sqs.send out sqs:{ID} @orders");
    let place = "destination.send out dest:sqs|orders|16666666 @orders";
    check(Probe::client(&python), &[&sent, place]);
    // boto3sqs puts a PRODUCER around it.
    check(Probe::producer(&python[3..8]), &[&sent, place]);
    let node = [
        a,
        b,
        c,
        ("messaging.system", Text("aws_sqs")),
        ("messaging.destination.name", Text("orders")),
        ("url.full", Text(URL)),
        ("messaging.message.id", Text(ID)),
        ("aws.request.id", Text(REQUEST)),
    ];
    check(Probe::producer(&node), &[&sent, place]);
    // Node notes no id of a batch: what it was sent to is all that is left.
    let [a, b, _] = call("SQS", "SendMessageBatch");
    let batch = [a, b, ("rpc.method", Text("SendMessageBatch")), node[3], node[4], node[5]];
    check(Probe::producer(&batch), &[place, "destination.send out dest:sqs.batch|orders|16666666 @orders"]);
}

#[test]
fn messages_are_processed() {
    let consumer = [
        ("messaging.system", Text("aws_sqs")),
        ("messaging.destination.name", Text("orders")),
        ("messaging.operation.type", Text("process")),
    ];
    let link = [("messaging.message.id", Text(ID))];
    let links: &[(u128, &[_])] = &[(0xa, &link)];
    check(
        Probe::consumer(&consumer).links(links),
        &[
            &format!("sqs.receive in sqs:{ID} @orders"),
            "link in link:0000000000000000000000000000000a",
            "destination.receive in dest:sqs.batch|orders|16666666 @orders",
        ],
    );
    // Python that found no context has no links.
    let several = [consumer[0], consumer[1], consumer[2], ("messaging.batch.message_count", Int(2))];
    check(Probe::consumer(&several), &["destination.receive in dest:sqs|orders|16666666 @orders"]);
    // The invocation above it.
    let above = [("faas.invocation_id", Text(REQUEST)), ("faas.trigger", Text("pubsub"))];
    Probe::server(&above).destinations(&[]);
}

#[test]
fn a_function_is_called() {
    let [a, b, c] = call("Lambda", "Invoke");
    let called = format!("lambda.invoke out lambda:{REQUEST} @pricing");
    let name = ("faas.invoked_name", Text("pricing"));
    check(Probe::client(&[a, b, c, name, ("aws.request_id", Text(REQUEST))]).name("Lambda.Invoke"), &[&called]);
    let node = [a, b, c, name, ("faas.execution", Text(REQUEST)), ("aws.request.id", Text(REQUEST))];
    check(Probe::client(&node).name("pricing Invoke"), &[&called]);
}

#[test]
fn a_notification_is_published() {
    let [a, b, c] = call("SNS", "Publish");
    let python = [a, b, c, ("messaging.system", Text("aws.sns")), ("messaging.destination.name", Text(TOPIC))];
    let place = "destination.send out dest:sns|order-priced|16666666 @order-priced";
    check(Probe::producer(&python).name("order-priced send"), &[place]);
    let node = [a, b, c, ("messaging.system", Text("aws.sns")), ("messaging.destination", Text(TOPIC))];
    check(Probe::producer(&node), &[place]);
}

#[test]
fn an_event_is_put() {
    let [a, b, c] = call("EventBridge", "PutEvents");
    check(Probe::client(&[a, b, c, ("aws.request_id", Text(REQUEST))]).name("EventBridge.PutEvents"), &[]);
}

#[test]
fn an_object_is_put() {
    let [a, b, c] = call("S3", "PutObject");
    let python = [a, b, c, ("aws.request_id", Text("C3D13FE58DE4C810"))];
    check(Probe::client(&python).name("S3.PutObject"), &["s3.request out s3.req:C3D13FE58DE4C810"]);
    let extended = "FMyUVURIY8/IgAtTv8xRjskZQpcIZ9KG4V5Wp6S7S/JRWeUWerMUE5JgHvANOjpD";
    let node = [
        a,
        b,
        c,
        ("aws.s3.bucket", Text("audit")),
        ("aws.request.id", Text("C3D13FE58DE4C810")),
        ("aws.request.extended_id", Text(extended)),
    ];
    let expected = format!("s3.request out s3.req:{extended} @audit");
    check(Probe::client(&node), &["s3.request out s3.req:C3D13FE58DE4C810 @audit", &expected]);
}

#[test]
fn a_record_is_sent() {
    // Python's kafka-python notes no offset, and a stream's minutes tell nothing.
    let python = [("messaging.system", Text("kafka")), ("messaging.destination", Text("shipments"))];
    check(Probe::producer(&python).name("shipments send"), &[]);
}

#[test]
fn what_an_environment_or_a_clock_sets_off_has_no_sender() {
    let scheduled = [
        ("faas.trigger", Text("timer")),
        ("messaging.system", Text("aws_sqs")),
        ("messaging.destination.name", Text("q")),
    ];
    check(Probe::server(&scheduled), &[]);
    check(Probe::new(SpanKind::Internal, &[("faas.coldstart", Value::Bool(true))]).name("init worker"), &[]);
}
