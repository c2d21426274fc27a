//! Functions that call functions, and what becomes of a call.
//!
//! The answer to a Lambda Invoke has the request id under which the callee runs, also
//! where the caller does not wait and where the platform tries again.

use super::aws_call::{AwsCall, Service};
use super::{HopKeys, Rule, short_name};
use crate::key::{Direction, Key, Kind};
use crate::span::{Span, SpanKind};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "lambda.invoke",
        hop: "lambda.invoke",
        direction: Direction::Out,
        reads: CALLEE_IDS,
        on_links: false,
        find: invoke,
    },
    Rule {
        name: "lambda.invoked",
        hop: "lambda.invoke",
        direction: Direction::In,
        reads: INVOCATION_IDS,
        on_links: false,
        find: |rule, span, found| {
            if is_lambda(span) {
                invoked(rule, span, found, Kind::Lambda)
            }
        },
    },
    // The ids of other clouds look alike. Nobody calls by them, but whoever looks for an invocation has only its id.
    Rule {
        name: "function.invoked",
        hop: "function.invoke",
        direction: Direction::In,
        reads: INVOCATION_IDS,
        on_links: false,
        find: |rule, span, found| {
            if !is_lambda(span) {
                invoked(rule, span, found, Kind::Lambda)
            }
        },
    },
    // Destinations and dead-letter queues get this id as that of the request that failed or succeeded.
    Rule {
        name: "lambda.outcome",
        hop: "lambda.destination",
        direction: Direction::Out,
        reads: INVOCATION_IDS,
        on_links: false,
        find: |rule, span, found| {
            if is_lambda(span) {
                invoked(rule, span, found, Kind::LambdaOutcome)
            }
        },
    },
];

const INVOCATION_IDS: &[&str] = &["faas.invocation_id", "faas.execution"];

/// On the span of a call, an invocation id is the callee's.
const CALLEE_IDS: &[&str] =
    &["aws.request_id", "aws.request.id", "aws.requestId", "faas.invocation_id", "faas.execution"];

/// The name of the function that the span calls, if it calls one on AWS and that is known.
pub(super) fn callee<'a>(span: &Span<'a>) -> Option<&'a str> {
    let names = ["faas.invoked_name", "aws.lambda.function.name", "aws.lambda.invoked_arn", "aws.lambda.function.arn"];
    span.attributes.first_text(&names).map(short_name)
}

/// Whether the span is that of a call of a Lambda function.
pub(super) fn is_invoke(span: &Span<'_>) -> bool {
    if !span.kind.is_out() || span.attributes.text("faas.invoked_provider").is_some_and(|cloud| cloud != "aws") {
        return false;
    }
    match AwsCall::of(span) {
        Some(call) => call.service == Service::Lambda && call.operation.starts_with("Invoke"),
        None => span.attributes.text("faas.invoked_name").is_some(),
    }
}

fn invoke(rule: &Rule, span: &Span<'_>, found: &mut HopKeys) {
    if !is_invoke(span) {
        return;
    }
    let callee = callee(span);
    for id in CALLEE_IDS.iter().filter_map(|key| span.attributes.text(key)) {
        found.push(rule, Key::new(Kind::Lambda, id), callee);
    }
}

fn invoked(rule: &Rule, span: &Span<'_>, found: &mut HopKeys, kind: Kind) {
    if span.kind.is_out() {
        return;
    }
    if let Some(id) = span.attributes.first_text(INVOCATION_IDS) {
        found.push(rule, Key::new(kind, id), span.function);
    }
}

/// Whether the span is that of an invocation on AWS, where it is a SERVER span. Unless another cloud is named, it is AWS.
fn is_lambda(span: &Span<'_>) -> bool {
    span.kind == SpanKind::Server && !is_elsewhere(span)
}

/// Whether the span says that it is of another cloud.
pub(super) fn is_elsewhere(span: &Span<'_>) -> bool {
    let of = |key: &str| span.attributes.text(key).or_else(|| span.resource.text(key));
    if let Some(cloud) = of("cloud.provider") {
        return cloud != "aws";
    }
    let starts = |key: &str, with: &[&str]| of(key).is_some_and(|text| with.iter().any(|w| text.starts_with(w)));
    starts("cloud.platform", &["azure", "gcp"])
        || starts("cloud.resource_id", &["/subscriptions/", "//"])
        || of("faas.trigger").is_some_and(|trigger| trigger.ends_with("Trigger"))
        || ["az.schema_url", "durabletask.type", "gcp.project_id"].iter().any(|key| span.attributes.get(key).is_some())
}

/// The keys by which a span received an id of an invocation of Lambda: its own invocation, or the outcome of another one.
///
/// A hook writes both as `lambda:<id>`; what is known of the span itself tells them apart.
pub(super) fn received(span: &Span<'_>, id: &str) -> Key {
    let own = span.attributes.first_text(INVOCATION_IDS);
    let is_own = own.map_or(span.kind == SpanKind::Server, |own| own == id);
    Key::new(if is_own { Kind::Lambda } else { Kind::LambdaOutcome }, id)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Probe;
    use super::*;
    use crate::span::Value::Text;

    const ID: &str = "8476a536-e9f4-11e8-9739-2dfe598c3fcd";

    #[test]
    fn python_calls() {
        let call = [
            ("rpc.system", Text("aws-api")),
            ("rpc.service", Text("Lambda")),
            ("rpc.method", Text("Invoke")),
            ("faas.invoked_name", Text("pricing")),
            ("aws.lambda.invoked_arn", Text("arn:aws:lambda:eu-central-1:123456789012:function:pricing")),
            ("aws.request_id", Text(ID)),
        ];
        Probe::client(&call).keys(&[&format!("lambda.invoke out lambda:{ID} @pricing")]);
    }

    #[test]
    fn node_calls() {
        let call = [
            ("rpc.service", Text("Lambda")),
            ("rpc.method", Text("Invoke")),
            ("faas.invoked_name", Text("pricing")),
            ("faas.execution", Text(ID)),
            ("aws.request.id", Text(ID)),
        ];
        Probe::client(&call).keys(&[&format!("lambda.invoke out lambda:{ID} @pricing")]);
    }

    #[test]
    fn calls_in_other_words() {
        let expected = format!("lambda.invoke out lambda:{ID}");
        Probe::client(&[("aws.requestId", Text(ID))]).name("AWSLambda.Invoke").keys(&[&expected]);
        let java = [("rpc.service", Text("AWSLambda")), ("rpc.method", Text("Invoke")), ("aws.request_id", Text(ID))];
        Probe::client(&java).keys(&[&expected]);
        let arn = [
            ("rpc.method", Text("Lambda/Invoke")),
            ("aws.request_id", Text(ID)),
            ("aws.lambda.invoked_arn", Text("arn:aws:lambda:eu-central-1:123456789012:function:pricing:live")),
        ];
        Probe::client(&arn).keys(&[&format!("{expected} @pricing")]);
        Probe::client(&[("faas.invoked_name", Text("f")), ("faas.invocation_id", Text(ID))])
            .keys(&[&format!("{expected} @f")]);
    }

    #[test]
    fn request_ids_of_other_calls_are_no_invocations() {
        let call = |service, method| {
            Probe::client(&[
                ("rpc.service", Text(service)),
                ("rpc.method", Text(method)),
                ("aws.request_id", Text(ID)),
            ])
            .keys(&[]);
        };
        call("DynamoDB", "PutItem");
        call("Lambda", "GetFunction");
        let elsewhere =
            [("faas.invoked_provider", Text("gcp")), ("faas.invoked_name", Text("f")), ("faas.execution", Text(ID))];
        Probe::client(&elsewhere).keys(&[]);
    }

    #[test]
    fn invocations() {
        let called = format!("lambda.invoked in lambda:{ID} @pricing");
        let outcome = format!("lambda.outcome out lambda.outcome:{ID} @pricing");
        for key in INVOCATION_IDS {
            Probe::server(&[(key, Text(ID))]).function("pricing").keys(&[&called, &outcome]);
        }
        // A span inside has the id too; the invocation is told by its own.
        let inside = [("faas.invocation_id", Text(ID)), ("cloud.provider", Text("aws"))];
        Probe::new(SpanKind::Client, &inside).keys(&[]);
    }

    #[test]
    fn invocations_on_other_clouds_only_have_an_id() {
        let expected = format!("function.invoked in lambda:{ID}");
        let azure = [("faas.execution", Text(ID)), ("faas.trigger", Text("serviceBusTrigger"))];
        for kind in [SpanKind::Server, SpanKind::Internal, SpanKind::Consumer] {
            Probe::new(kind, &azure).keys(&[&expected]);
        }
        let google = [("cloud.provider", Text("gcp"))];
        Probe::server(&[("faas.invocation_id", Text(ID))]).resource(&google).keys(&[&expected]);
    }
}
