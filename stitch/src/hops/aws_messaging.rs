//! Amazon SQS, SNS and EventBridge.
//!
//! SQS: both sides know the message's id, which survives the move to a dead-letter queue.
//! SNS and EventBridge: stock instrumentation has the id on neither side; who writes it as
//! `messaging.message.id`, or by a hook, is matched.

use super::messaging::{MESSAGING, Operation, System, destination, message_ids};
use super::{HopKeys, Rule};
use crate::key::{Direction, Key, Kind};
use crate::span::Span;

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "sqs.send",
        hop: "sqs",
        direction: Direction::Out,
        reads: MESSAGING,
        on_links: false,
        find: |rule, span, found| messages(rule, span, found, Kind::Sqs),
    },
    Rule {
        name: "sqs.receive",
        hop: "sqs",
        direction: Direction::In,
        reads: MESSAGING,
        on_links: true,
        find: |rule, span, found| messages(rule, span, found, Kind::Sqs),
    },
    Rule {
        name: "sns.publish",
        hop: "sns",
        direction: Direction::Out,
        reads: MESSAGING,
        on_links: false,
        find: |rule, span, found| messages(rule, span, found, Kind::Sns),
    },
    Rule {
        name: "sns.receive",
        hop: "sns",
        direction: Direction::In,
        reads: MESSAGING,
        on_links: false,
        find: |rule, span, found| messages(rule, span, found, Kind::Sns),
    },
    Rule {
        name: "eventbridge.put",
        hop: "eventbridge",
        direction: Direction::Out,
        reads: MESSAGING,
        on_links: false,
        find: |rule, span, found| messages(rule, span, found, Kind::EventBridge),
    },
    Rule {
        name: "eventbridge.receive",
        hop: "eventbridge",
        direction: Direction::In,
        reads: MESSAGING,
        on_links: false,
        find: |rule, span, found| messages(rule, span, found, Kind::EventBridge),
    },
];

fn messages(rule: &Rule, span: &Span<'_>, found: &mut HopKeys, kind: Kind) {
    let system = match kind_of(span) {
        Some((system, of)) if of == kind => system,
        _ => return,
    };
    if Operation::of(span).direction() != Some(rule.direction) {
        return;
    }
    let destination = destination(span, system);
    for id in message_ids(span) {
        found.push(rule, Key::new(kind, id), destination);
    }
}

fn kind_of<'a>(span: &Span<'a>) -> Option<(System<'a>, Kind)> {
    // Of the function's event sources on AWS, instrumentations link the messages of SQS alone, some without its name.
    let system = System::of(span).or_else(|| is_aws_invocation(span).then_some(System::Sqs))?;
    let kind = match system {
        System::Sqs => Kind::Sqs,
        System::Sns => Kind::Sns,
        System::EventBridge => Kind::EventBridge,
        _ => return None,
    };
    Some((system, kind))
}

fn is_aws_invocation(span: &Span<'_>) -> bool {
    let of = |key: &str| span.attributes.text(key).or_else(|| span.resource.text(key));
    span.kind.is_in()
        && (of("cloud.provider") == Some("aws")
            || ["cloud.resource_id", "aws.lambda.invoked_arn"]
                .iter()
                .any(|key| of(key).is_some_and(|arn| arn.starts_with("arn:aws"))))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Probe;
    use crate::span::Value::{Int, Json, Text};

    const ID: &str = "dd3f25a2-55c8-4586-ba3d-e8286f0633f7";
    const OTHER: &str = "059f36b4-87a3-44ab-83d2-661975830a7d";
    const URL: &str = "https://sqs.eu-central-1.amazonaws.com/123456789012/orders";

    #[test]
    fn python_sends() {
        let span = [
            ("rpc.system", Text("aws-api")),
            ("rpc.service", Text("SQS")),
            ("rpc.method", Text("SendMessage")),
            ("messaging.system", Text("aws.sqs")),
            ("messaging.destination", Text("orders")),
            ("messaging.url", Text(URL)),
            ("aws.queue_url", Text(URL)),
            ("messaging.message.id", Text(ID)),
            ("aws.request_id", Text(OTHER)),
        ];
        Probe::client(&span).keys(&[&format!("sqs.send out sqs:{ID} @orders")]);
        Probe::producer(&span).keys(&[&format!("sqs.send out sqs:{ID} @orders")]);
    }

    #[test]
    fn node_sends() {
        let span = [
            ("rpc.service", Text("SQS")),
            ("rpc.method", Text("SendMessage")),
            ("messaging.system", Text("aws_sqs")),
            ("messaging.destination.name", Text("orders")),
            ("messaging.operation.type", Text("send")),
            ("url.full", Text(URL)),
            ("messaging.message.id", Text(ID)),
        ];
        Probe::producer(&span).keys(&[&format!("sqs.send out sqs:{ID} @orders")]);
    }

    #[test]
    fn a_function_processes_a_batch() {
        let span = [
            ("messaging.system", Text("aws_sqs")),
            ("messaging.destination.name", Text("orders")),
            ("messaging.operation.type", Text("process")),
            ("messaging.batch.message_count", Int(2)),
        ];
        let (one, two) = ([("messaging.message.id", Text(ID))], [("messaging.message_id", Text(OTHER))]);
        Probe::consumer(&span).links(&[(0xa, &one), (0xb, &two)]).keys(&[
            &format!("sqs.receive in sqs:{ID} @orders"),
            &format!("sqs.receive in sqs:{OTHER} @orders"),
            "link in link:0000000000000000000000000000000a",
            "link in link:0000000000000000000000000000000b",
        ]);
    }

    #[test]
    fn a_function_of_which_the_system_is_not_told() {
        let arn = [("cloud.resource_id", Text("arn:aws:lambda:eu-central-1:123456789012:function:worker"))];
        let link = [("messaging.message.id", Text(ID))];
        Probe::server(&arn).links(&[(0, &link)]).keys(&[&format!("sqs.receive in sqs:{ID}")]);
        Probe::server(&[]).links(&[(0, &link)]).keys(&[]);
    }

    #[test]
    fn polled() {
        let span = |method| {
            [
                ("rpc.service", Text("SQS")),
                ("rpc.method", Text(method)),
                ("aws.queue_url", Text(URL)),
                ("messaging.message.id", Text(ID)),
            ]
        };
        Probe::client(&span("ReceiveMessage")).keys(&[&format!("sqs.receive in sqs:{ID} @orders")]);
        Probe::client(&span("DeleteMessage")).keys(&[]);
        let ids = format!("[\"{ID}\",\"{OTHER}\"]");
        let many = [
            ("messaging.system", Text("AmazonSQS")),
            ("messaging.operation", Text("receive")),
            ("messaging.message.id", Json(&ids)),
        ];
        Probe::consumer(&many).keys(&[&format!("sqs.receive in sqs:{ID}"), &format!("sqs.receive in sqs:{OTHER}")]);
    }

    #[test]
    fn topics_and_buses() {
        let arn = "arn:aws:sns:eu-central-1:123456789012:order-priced";
        let sns = [
            ("messaging.system", Text("aws.sns")),
            ("messaging.destination", Text(arn)),
            ("messaging.message.id", Text(ID)),
        ];
        Probe::producer(&sns).keys(&[&format!("sns.publish out sns:{ID} @order-priced")]);
        Probe::consumer(&sns).keys(&[&format!("sns.receive in sns:{ID} @order-priced")]);
        Probe::producer(&sns[..2]).keys(&[]);
        let bus = [("messaging.system", Text("aws_eventbridge")), ("messaging.message.id", Text(ID))];
        Probe::producer(&bus).keys(&[&format!("eventbridge.put out eb:{ID}")]);
        Probe::consumer(&bus).keys(&[&format!("eventbridge.receive in eb:{ID}")]);
    }
}
