//! Sides that know the destination, and at least one of the two no identity: all that is left is where and when.
//!
//! Such keys prove nothing. A flow takes them only where both sides have no better edge and there is one
//! candidate on either; it calls the edge inferred. The sender writes the minute in which sending ended, the receiver that
//! in which receiving started; who looks for the sender asks for that minute and the ones before it.
//!
//! A side that has an identity gives none, with two exceptions, because the sides of a queue do not know the same:
//!
//! - A sender to a queue gives one although it knows the message's id: Python's consumers know the queue only.
//! - A receiver from a queue that knows ids gives one under a name of its own (`sqs.batch`), under which only senders
//!   are found that know none: Node does not note the ids of a batch it sends. So two sides that both know ids,
//!   and different ones, never meet.
//!
//! None for streams, where each minute has many records. None for what the clock set off: it has no sender. None for
//! a poll that brought nothing. None for destinations that only one client has.

use super::messaging::{Operation, System, destination, is_passing};
use super::{HopKeys, Rule, azure, destination_key, lambda, objects, workflows};
use crate::key::{Direction, Kind};
use crate::span::Span;

const DESTINATIONS: &[&str] = &[
    "messaging.destination.name",
    "messaging.destination",
    "message_bus.destination",
    "aws.sqs.queue.url",
    "aws.queue_url",
    "aws.queue.url",
    "messaging.system",
    "aws.sns.topic.arn",
    "faas.invoked_name",
    "aws.lambda.invoked_arn",
    "aws.step_functions.state_machine.arn",
    "aws.stepfunctions.state_machine.arn",
    "aws.s3.key",
    "aws.object.key",
    "faas.document.collection",
];

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "destination.send",
        hop: "message",
        direction: Direction::Out,
        reads: DESTINATIONS,
        on_links: false,
        find: send,
    },
    Rule {
        name: "destination.receive",
        hop: "message",
        direction: Direction::In,
        reads: DESTINATIONS,
        on_links: false,
        find: receive,
    },
];

fn send(rule: &Rule, span: &Span<'_>, found: &mut HopKeys) {
    if is_timer(span) || is_passing(span) {
        return;
    }
    let add = |found: &mut HopKeys, hop, word: &str, key_name: &str, name: &str| {
        found.push_hop(rule, hop, destination_key(word, key_name, span.end_ns), Some(name));
    };
    let is_message = Operation::of(span).direction() == Some(rule.direction);
    if let Some((system, name)) = queue_or_topic(span).filter(|_| is_message) {
        let (word, key_name) = (system.word(), key_name(system, name));
        let has_identity = has_message(found, rule.direction);
        if !has_identity && system.is_queue() {
            add(found, system.hop(), &batch(&word), &key_name, name);
        }
        if !has_identity || system.is_queue() {
            add(found, system.hop(), &word, &key_name, name);
        }
    } else if lambda::is_invoke(span) && !has(found, rule.direction, Kind::Lambda) {
        let callee = lambda::callee(span);
        callee.into_iter().for_each(|name| add(found, "lambda.invoke", "lambda", name, name));
    } else if workflows::is_start(span) && !has(found, rule.direction, Kind::StepFunctions) {
        let machine = workflows::machine(span);
        machine.into_iter().for_each(|name| add(found, "stepfunctions", "stepfunctions", name, name));
    } else if let Some((bucket, key)) = objects::written(span) {
        // Who reads it may know no more than this.
        add(found, "s3", "s3", &format!("{bucket}/{key}"), bucket);
    }
}

fn receive(rule: &Rule, span: &Span<'_>, found: &mut HopKeys) {
    let operation = Operation::of(span);
    if operation.direction() != Some(rule.direction) || is_timer(span) || is_passing(span) {
        return;
    }
    let count = span.attributes.int("messaging.batch.message_count");
    let brought = if operation == Operation::Receive { count > Some(0) } else { count != Some(0) };
    if let Some((bucket, key)) = document(span).filter(|_| !has_message(found, rule.direction)) {
        let key = destination_key("s3", &format!("{bucket}/{key}"), span.start_ns);
        found.push_hop(rule, "s3", key, Some(bucket));
        return;
    }
    let Some((system, name)) = queue_or_topic(span).filter(|_| brought) else { return };
    let word = system.word();
    let word = match has_message(found, rule.direction) {
        false => word.into_owned(),
        true if system.is_queue() => batch(&word),
        true => return,
    };
    let key = destination_key(&word, &key_name(system, name), span.start_ns);
    found.push_hop(rule, system.hop(), key, Some(name));
}

/// The bucket and the key of the object of which a function on AWS was told (semantic conventions, "Datasource trigger").
fn document<'a>(span: &Span<'a>) -> Option<(&'a str, &'a str)> {
    let of = |key: &str| span.attributes.text(key);
    let is_object = span.kind.is_in() && of("messaging.system").is_none() && !lambda::is_elsewhere(span);
    of("faas.document.collection").zip(of("faas.document.name")).filter(|_| is_object)
}

/// Under this name meet receivers that know ids and senders that know none.
fn batch(word: &str) -> String {
    format!("{word}.batch")
}

fn queue_or_topic<'a>(span: &Span<'a>) -> Option<(System<'a>, &'a str)> {
    let system = System::of(span).filter(|system| !system.is_stream())?;
    Some((system, destination(span, system)?))
}

/// The destination as both sides call it.
fn key_name(system: System<'_>, name: &str) -> String {
    match system {
        // A topic is received from by its subscriptions. Dead letters are another queue.
        System::ServiceBus if !name.to_ascii_lowercase().contains("$deadletterqueue") => azure::entity(name),
        _ => name.to_owned(),
    }
}

fn has(found: &HopKeys, direction: Direction, kind: Kind) -> bool {
    found.keys.iter().any(|k| k.direction == direction && k.key.kind == kind)
}

/// Whether a message's identity is known. The request id of the invocation that handles it is none.
fn has_message(found: &HopKeys, direction: Direction) -> bool {
    found.keys.iter().any(|k| {
        k.direction == direction
            && k.key.kind.is_identity()
            && !matches!(k.key.kind, Kind::Lambda | Kind::LambdaOutcome)
    })
}

/// Whether the clock set it off.
fn is_timer(span: &Span<'_>) -> bool {
    span.attributes.text("faas.trigger").is_some_and(|t| matches!(t, "timer" | "timerTrigger" | "schedule"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Probe;
    use crate::span::Value;
    use crate::span::Value::{Int, Text};

    const QUEUE: [(&str, Value<'static>); 2] =
        [("messaging.system", Text("aws_sqs")), ("messaging.destination.name", Text("orders"))];
    const ID: (&str, Value<'static>) = ("messaging.message.id", Text("dd3f25a2"));

    fn with<const N: usize>(more: [(&'static str, Value<'static>); N]) -> Vec<(&'static str, Value<'static>)> {
        QUEUE.into_iter().chain(more).collect()
    }

    const SENT: &str = "destination.send out dest:sqs|orders|16666666 @orders";
    const SENT_BATCH: &str = "destination.send out dest:sqs.batch|orders|16666666 @orders";
    const RECEIVED: &str = "destination.receive in dest:sqs|orders|16666666 @orders";
    const RECEIVED_BATCH: &str = "destination.receive in dest:sqs.batch|orders|16666666 @orders";

    #[test]
    fn queues() {
        Probe::producer(&with([ID])).destinations(&[SENT]);
        Probe::producer(&with([])).destinations(&[SENT, SENT_BATCH]);
        Probe::consumer(&with([])).destinations(&[RECEIVED]);
        Probe::consumer(&with([ID])).destinations(&[RECEIVED_BATCH]);
        Probe::consumer(&with([])).links(&[(9, &[ID])]).destinations(&[RECEIVED_BATCH]);
        // A link to a trace is no message's identity: it may lead nowhere.
        Probe::consumer(&with([])).links(&[(9, &[])]).destinations(&[RECEIVED]);
    }

    #[test]
    fn queues_of_python() {
        let url = Text("https://sqs.eu-central-1.amazonaws.com/123456789012/orders");
        let span = [("rpc.service", Text("SQS")), ("rpc.method", Text("SendMessageBatch")), ("aws.queue_url", url)];
        Probe::client(&span).destinations(&[SENT, SENT_BATCH]);
        let poll = [("rpc.service", Text("SQS")), ("rpc.method", Text("ReceiveMessage")), ("aws.queue_url", url)];
        Probe::client(&poll).destinations(&[]);
    }

    #[test]
    fn polls() {
        let receive =
            |count| with([("messaging.operation.type", Text("receive")), ("messaging.batch.message_count", count)]);
        Probe::client(&receive(Int(1))).destinations(&[RECEIVED]);
        Probe::client(&receive(Int(0))).destinations(&[]);
        Probe::client(&with([("messaging.operation.type", Text("receive"))])).destinations(&[]);
        Probe::client(&with([("messaging.operation.type", Text("settle"))])).destinations(&[]);
    }

    #[test]
    fn topics() {
        let sns = [
            ("messaging.system", Text("aws.sns")),
            ("messaging.destination.name", Text("arn:aws:sns:eu-central-1:123456789012:order-priced")),
            ("hopline.link.out", Text("sns:95df01b4")),
        ];
        Probe::producer(&sns[..2]).destinations(&["destination.send out dest:sns|order-priced|16666666 @order-priced"]);
        Probe::producer(&sns).destinations(&[]);
        let bus = |name| [("messaging.system", Text("servicebus")), ("messaging.destination.name", Text(name))];
        Probe::consumer(&bus("Paid/Subscriptions/books"))
            .destinations(&["destination.receive in dest:servicebus|paid|16666666 @Paid/Subscriptions/books"]);
        Probe::consumer(&bus("paid/$DeadLetterQueue")).destinations(&[
            "destination.receive in dest:servicebus|paid/$DeadLetterQueue|16666666 @paid/$DeadLetterQueue",
        ]);
    }

    #[test]
    fn functions_and_workflows() {
        let call =
            [("rpc.service", Text("Lambda")), ("rpc.method", Text("Invoke")), ("faas.invoked_name", Text("pricing"))];
        Probe::client(&call).destinations(&["destination.send out dest:lambda|pricing|16666666 @pricing"]);
        let [a, b, c] = call;
        Probe::client(&[a, b, c, ("aws.request_id", Text("8476a536"))]).destinations(&[]);
        let start = [
            ("rpc.service", Text("SFN")),
            ("rpc.method", Text("StartExecution")),
            (
                "aws.step_functions.state_machine.arn",
                Text("arn:aws:states:eu-central-1:123456789012:stateMachine:fulfil"),
            ),
        ];
        Probe::client(&start).destinations(&["destination.send out dest:stepfunctions|fulfil|16666666 @fulfil"]);
    }

    #[test]
    fn objects_of_which_only_the_name_is_known() {
        let put = [
            ("rpc.service", Text("S3")),
            ("rpc.method", Text("PutObject")),
            ("aws.s3.bucket", Text("files")),
            ("aws.s3.key", Text("a/b.txt")),
            ("aws.request_id", Text("C3D13FE58DE4C810")),
        ];
        Probe::client(&put).destinations(&["destination.send out dest:s3|files/a/b.txt|16666666 @files"]);
        Probe::client(&put[..3]).destinations(&[]);
        let read = [("faas.document.collection", Text("files")), ("faas.document.name", Text("a/b.txt"))];
        Probe::server(&read).destinations(&["destination.receive in dest:s3|files/a/b.txt|16666666 @files"]);
        let [a, b] = read;
        Probe::server(&[a, b, ("hopline.link.in", Text("s3.req:C3D13FE58DE4C810"))]).destinations(&[]);
        Probe::server(&[a, b, ("cloud.provider", Text("gcp"))]).destinations(&[]);
    }

    #[test]
    fn never_for_streams_clocks_and_passing_destinations() {
        for system in ["kafka", "aws_kinesis", "eventhubs", "pulsar", "aws_firehose"] {
            let span = [("messaging.system", Text(system)), ("messaging.destination.name", Text("t"))];
            Probe::producer(&span).destinations(&[]);
            Probe::consumer(&span).destinations(&[]);
        }
        let table =
            [("db.system", Text("dynamodb")), ("rpc.service", Text("DynamoDB")), ("rpc.method", Text("PutItem"))];
        Probe::client(&table).destinations(&[]);
        let clock = with([("faas.trigger", Text("timer"))]);
        Probe::consumer(&clock).destinations(&[]);
        Probe::consumer(&with([("messaging.destination.temporary", Value::Bool(true))])).destinations(&[]);
    }
}
