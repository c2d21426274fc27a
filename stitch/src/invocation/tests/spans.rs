use super::*;
use crate::span::{Span, SpanKind, Value};

struct Known<'a>(&'a [(&'a str, Value<'a>)]);

impl Attributes for Known<'_> {
    fn get(&self, key: &str) -> Option<Value<'_>> {
        let of = |key: &str| self.0.iter().find(|(k, _)| *k == key).map(|(_, value)| *value);
        of(key).or_else(|| {
            let (promoted, _) = hopline_model::promoted::find(key).filter(|(p, _)| p.key == key)?;
            promoted.aliases.iter().find_map(|alias| of(alias))
        })
    }
}

fn text<'a>(key: &'a str, value: &'a str) -> (&'a str, Value<'a>) {
    (key, Value::Text(value))
}

#[derive(Default)]
struct Case<'a> {
    name: &'a str,
    has_parent: bool,
    is_error: bool,
    function: Option<&'a str>,
    attributes: &'a [(&'a str, Value<'a>)],
    resource: &'a [(&'a str, Value<'a>)],
}

fn read(kind: SpanKind, case: &Case<'_>) -> Option<Fact> {
    Fact::of_span(&Span {
        trace_id: TraceId([1; 16]),
        span_id: SpanId([2; 8]),
        parent: case.has_parent.then_some(SpanId([3; 8])),
        name: case.name,
        kind,
        is_error: case.is_error,
        start_ns: 1_000 * MS,
        end_ns: 1_250 * MS,
        service: "shop",
        function: case.function,
        attributes: &Known(case.attributes),
        resource: &Known(case.resource),
        links: &[],
    })
}

#[track_caller]
fn check(kind: SpanKind, case: &Case<'_>, expected: &str) {
    assert_eq!(read(kind, case).as_ref().map(told).unwrap_or_default(), expected);
}

#[test]
fn the_span_of_a_lambda_in_python() {
    let attributes = [
        text("cloud.resource_id", "arn:aws:lambda:eu-central-1:123456789012:function:orders:live"),
        text("faas.invocation_id", "r1"),
        text("faas.trigger", "http"),
        ("http.status_code", Value::Int(503)),
    ];
    let resource = [
        text("cloud.provider", "aws"),
        text("faas.instance", "2026/11/21/[7]ab"),
        text("service.instance.id", "x"),
        ("faas.max_memory", Value::Int(536_870_912)),
    ];
    let case = Case { attributes: &attributes, resource: &resource, ..Case::default() };
    check(
        SpanKind::Server,
        &case,
        "span id=r1 fn=orders in=2026/11/21/[7]ab account=123456789012 region=eu-central-1 provider=aws trigger=http \
         took=250 size=512 status=ok http=503",
    );
}

#[test]
fn the_span_of_a_lambda_in_node() {
    let attributes = [
        text("faas.invocation_id", "r1"),
        text("cloud.account.id", "123456789012"),
        text("url.full", "https://api.shop.example/orders"),
        ("faas.coldstart", Value::Bool(true)),
    ];
    let resource = [
        text("aws.log.stream.names", "2026/11/21/[7]ab"),
        text("AWS_LAMBDA_INITIALIZATION_TYPE", "provisioned-concurrency"),
    ];
    let case = Case { function: Some("orders"), attributes: &attributes, resource: &resource, ..Case::default() };
    check(
        SpanKind::Server,
        &case,
        "span id=r1 fn=orders in=2026/11/21/[7]ab account=123456789012 trigger=http cold=true \
         type=provisioned-concurrency took=250 status=ok",
    );
}

#[test]
fn spans_of_other_clouds() {
    let attributes = [text("faas.execution", "e1"), text("faas.trigger", "serviceBusTrigger")];
    let resource = [text("cloud.platform", "azure_functions"), text("service.instance.id", "i-1")];
    let case = Case { has_parent: true, attributes: &attributes, resource: &resource, ..Case::default() };
    let expected = "span id=e1 in=i-1 provider=azure trigger=pubsub took=250 status=ok";
    check(SpanKind::Internal, &case, expected);
    check(SpanKind::Server, &case, expected);
    let attributes = [
        text("faas.invocation_id", "g1"),
        text("http.method", "POST"),
        text("http.target", "/?__GCP_CloudEventsMode=CE_PUBSUB_BINDING"),
        ("messaging.gcp_pubsub.message.delivery_attempt", Value::Int(3)),
    ];
    let case = Case { function: Some("loyalty"), attributes: &attributes, ..Case::default() };
    check(SpanKind::Server, &case, "span id=g1 fn=loyalty trigger=pubsub took=250 status=ok deliveries=3");
    // Without an id, the function's server span is the invocation.
    let case = Case { function: Some("loyalty"), ..Case::default() };
    check(SpanKind::Server, &case, "span fn=loyalty took=250 status=ok");
    check(SpanKind::Consumer, &case, "");
}

#[test]
fn the_span_of_an_initialisation() {
    let attributes = [("faas.coldstart", Value::Bool(true))];
    let case = Case { name: "init orders", attributes: &attributes, ..Case::default() };
    check(SpanKind::Internal, &case, "init_span fn=orders cold=true init=250 status=ok");
    check(SpanKind::Internal, &Case { has_parent: true, ..case }, "");
}

#[test]
fn spans_that_are_none() {
    let attributes = [text("faas.execution", "callee"), text("faas.invoked_name", "pricing")];
    let case = Case { function: Some("orders"), attributes: &attributes, ..Case::default() };
    check(SpanKind::Client, &case, "");
    check(SpanKind::Producer, &case, "");
    check(SpanKind::Server, &Case::default(), "");
    let part = Case { has_parent: true, function: Some("f"), ..Case::default() };
    check(SpanKind::Internal, &part, "");
    let attributes = [text("faas.invocation_id", "r1")];
    check(SpanKind::Internal, &Case { attributes: &attributes, ..part }, "");
}

#[test]
fn an_exception_names_the_error() {
    let attributes = [text("faas.invocation_id", "r1")];
    let case = Case { is_error: true, attributes: &attributes, ..Case::default() };
    let exception = Exception { kind: "MemoryError", message: "all of it", stack: "" };
    let fact = read(SpanKind::Server, &case).unwrap().with_exception(&exception);
    assert_eq!(told(&fact), "span id=r1 took=250 status=error oom=log error=MemoryError message=\"all of it\"");
    assert_eq!(fact.fingerprint, Some(crate::fingerprint::of("MemoryError", "all of it", "")));
}

#[test]
fn sizes_of_memory() {
    let check = |value: Value<'_>, expected: Option<i64>| {
        let (resource, attributes) = ([("faas.max_memory", value)], [text("faas.invocation_id", "r")]);
        let case = Case { attributes: &attributes, resource: &resource, ..Case::default() };
        assert_eq!(read(SpanKind::Server, &case).unwrap().memory_size, expected, "{value:?}");
    };
    check(Value::Int(134_217_728), Some(134_217_728));
    check(Value::Text("128"), Some(134_217_728));
    check(Value::Text("134217728"), Some(134_217_728));
    check(Value::Int(128), Some(134_217_728));
    check(Value::Int(-1), None);
    check(Value::Text("much"), None);
    assert_eq!(memory_of_extension(96e6), 96 << 20);
}

#[test]
fn names_in_ids() {
    assert_eq!(account_of_arn("arn:aws:lambda:eu-west-1:1:function:f"), Some(("eu-west-1", "1")));
    assert_eq!(account_of_arn("arn:aws:s3:::bucket"), None);
    assert_eq!(account_of_arn(""), None);
    assert_eq!(function_of_id("arn:aws:lambda:eu-west-1:1:function:f:7"), Some("f"));
    assert_eq!(function_of_id("/subscriptions/1/sites/app/functions/resize"), Some("resize"));
    assert_eq!(function_of_id("arn:aws:lambda:x:1:function:"), None);
}
