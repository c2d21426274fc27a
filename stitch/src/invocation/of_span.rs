//! What a span says: the function's own span of an invocation, and the extension's span
//! of an initialisation.

use super::words::{Architecture, InitType, Provider, Source, Status, Trigger};
use super::{Exception, Fact};
use crate::span::{Attributes, Span, SpanKind, Value};

/// Bytes of a MiB, the unit in which the platforms size memory and call it MB.
pub(super) const MIB: i64 = 1_048_576;

/// Names under which `AWS_LAMBDA_INITIALIZATION_TYPE` is recorded; no convention has one yet.
const INIT_TYPES: [&str; 6] = [
    "aws.lambda.initialization_type",
    "faas.initialization_type",
    "faas.init_type",
    "init_type",
    "aws_lambda_initialization_type",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
];

/// Names of the processor's architecture: the convention's, and what is seen besides it.
const ARCHITECTURES: [&str; 5] =
    ["host.arch", "faas.architecture", "faas.arch", "aws.lambda.architecture", "architecture"];

/// How often a message was delivered (semantic conventions, messaging spans).
const DELIVERIES: [&str; 3] = [
    "messaging.servicebus.message.delivery_count",
    "messaging.gcp_pubsub.message.delivery_attempt",
    "messaging.message.delivery_attempt",
];

impl Fact {
    /// What a span says of an invocation or an initialisation; nothing if it is any other
    /// span. An error's exception is added by [`Fact::with_exception`].
    ///
    /// A client span is never one: `faas.invocation_id` on it is the callee's.
    pub fn of_span(span: &Span<'_>) -> Option<Fact> {
        if span.kind.is_out() {
            return None;
        }
        if span.kind == SpanKind::Internal && span.parent.is_none() && is_init(span) {
            return Some(init(span));
        }
        let id = span.attributes.text("faas.invocation_id");
        let is_invocation = match (span.kind, id) {
            (SpanKind::Server, Some(_)) | (SpanKind::Consumer, Some(_)) => true,
            // Azure's worker calls the invocation's span internal; other internal spans with
            // the id are parts of an invocation.
            (SpanKind::Internal, Some(_)) => {
                span.parent.is_none() || span.attributes.text("faas.trigger").is_some() || is_durable(span)
            }
            (SpanKind::Server, None) => span.function.is_some(),
            _ => false,
        };
        if !is_invocation {
            return None;
        }
        let mut fact = Fact::new(Source::Span, span.start_ns);
        identify(&mut fact, span.function, span.attributes, span.resource);
        fact.invocation_id = id.map(str::to_owned);
        fact.trigger = trigger(span);
        fact.coldstart = span.attributes.bool("faas.coldstart");
        fact.status = Some(if span.is_error { Status::Error } else { Status::Ok });
        fact.http_status = span.attributes.int("http.response.status_code");
        fact.deliveries = DELIVERIES.iter().find_map(|key| span.attributes.int(key));
        fact.is_server = span.kind == SpanKind::Server;
        place(&mut fact, span);
        let attributes = span.attributes;
        let error = Exception {
            kind: attributes.first_text(&["exception.type", "error.type"]).unwrap_or_default(),
            message: attributes.text("exception.message").unwrap_or_default(),
            stack: attributes.text("exception.stacktrace").unwrap_or_default(),
        };
        Some(if span.is_error { fact.with_exception(&error) } else { fact })
    }
}

/// The span that the Lambda extension of OpenTelemetry makes of an initialisation: a root
/// called `init <function>` (before 2025: after the event) that says `faas.coldstart`.
fn is_init(span: &Span<'_>) -> bool {
    (span.name.starts_with("init ") || span.name == "platform.initRuntimeDone")
        && span.attributes.bool("faas.coldstart") == Some(true)
        && span.attributes.text("faas.invocation_id").is_none()
}

fn init(span: &Span<'_>) -> Fact {
    let mut fact = Fact::new(Source::InitSpan, span.start_ns);
    let function = span.function.or_else(|| span.name.strip_prefix("init "));
    identify(&mut fact, function, span.attributes, span.resource);
    fact.coldstart = Some(true);
    fact.init_ns = Some(span.end_ns.saturating_sub(span.start_ns).max(0));
    fact.status = Some(if span.is_error { Status::Error } else { Status::Ok });
    fact.error_type = span.attributes.text("error.type").map(str::to_owned);
    place(&mut fact, span);
    fact.duration_ns = None;
    fact
}

fn place(fact: &mut Fact, span: &Span<'_>) {
    fact.trace_id = Some(span.trace_id);
    fact.span_id = Some(span.span_id);
    fact.start_ns = Some(span.start_ns);
    fact.end_ns = Some(span.end_ns.max(span.start_ns));
    fact.duration_ns = Some(span.end_ns.saturating_sub(span.start_ns).max(0));
}

fn is_durable(span: &Span<'_>) -> bool {
    span.attributes.text("durabletask.task.instance_id").is_some()
}

/// What started the invocation: as the span says, else by the marks of a web request or
/// of a CloudEvent.
fn trigger(span: &Span<'_>) -> Option<Trigger> {
    let attributes = span.attributes;
    if let Some(trigger) = attributes.text("faas.trigger").and_then(Trigger::of) {
        return Some(trigger);
    }
    if is_durable(span) {
        return Some(Trigger::Other);
    }
    // Google's functions framework says in the path which kind of event it unwraps.
    let path = attributes.text("url.path").unwrap_or_default();
    let is_event = path.contains("__GCP_CloudEventsMode=") || attributes.text("cloudevents.event_id").is_some();
    if is_event {
        return Some(Trigger::Pubsub);
    }
    let web = ["http.request.method", "http.route", "url.full", "url.path"];
    attributes.first_text(&web).map(|_| Trigger::Http)
}

/// Who, where and in which environment: from the resource, and from what the span or the
/// record has of it. What the fact knows already stays.
pub(super) fn identify(
    fact: &mut Fact,
    function: Option<&str>,
    attributes: &dyn Attributes,
    resource: &dyn Attributes,
) {
    let id = attributes
        .first_text(&["cloud.resource_id", "aws.lambda.invoked_arn"])
        .or_else(|| resource.first_text(&["cloud.resource_id", "cloud.resource.id", "faas.id"]))
        .unwrap_or_default();
    let (region, account) = account_of_arn(id).unzip();
    let either = |key: &str| resource.text(key).or_else(|| attributes.text(key));
    fill_text(&mut fact.function, function.or_else(|| resource.text("faas.name")).or_else(|| function_of_id(id)));
    fill_text(&mut fact.version, either("faas.version"));
    fill_text(&mut fact.account, either("cloud.account.id").or(account));
    let copied = || resource.first_text(&["faas.invoked_region", "aws.region"]);
    let region = resource.text("cloud.region").or(region).or_else(copied);
    fill_text(&mut fact.region, region.or_else(|| attributes.text("cloud.region")));
    fill(&mut fact.instance, || instance(resource));
    fill(&mut fact.provider, || {
        let text = resource.first_text(&["cloud.provider", "cloud.platform", "faas.invoked_provider"]);
        text.and_then(Provider::of).or_else(|| id.starts_with("arn:aws").then_some(Provider::Aws))
    });
    fill(&mut fact.memory_size, || memory_size(resource).or_else(|| memory_size(attributes)));
    let first = |keys: &[&str]| resource.first_text(keys).or_else(|| attributes.first_text(keys)).map(str::to_owned);
    fill(&mut fact.architecture, || first(&ARCHITECTURES).and_then(|text| Architecture::of(&text)));
    fill(&mut fact.init_type, || first(&INIT_TYPES).and_then(|text| InitType::from_name(&text)));
}

fn fill<T>(slot: &mut Option<T>, value: impl FnOnce() -> Option<T>) {
    if slot.is_none() {
        *slot = value();
    }
}

fn fill_text(slot: &mut Option<String>, text: Option<&str>) {
    fill(slot, || text.map(str::to_owned));
}

/// `faas.instance` is the name of the log stream, which some send under its own key only.
fn instance(resource: &dyn Attributes) -> Option<String> {
    if let Some(instance) = resource.text("faas.instance") {
        return Some(instance.to_owned());
    }
    let stream = resource.texts("aws.log.stream.names").into_iter().next().filter(|name| !name.is_empty());
    stream.or_else(|| resource.text("service.instance.id").map(str::to_owned))
}

/// `faas.max_memory` is a number of bytes; OpenTelemetry's Lambda extension copies the
/// environment variable instead, a text in MB. No function has less than 1 MiB, none more
/// than 1 TiB.
fn memory_size(attributes: &dyn Attributes) -> Option<i64> {
    let number = match attributes.get("faas.max_memory")? {
        Value::Int(number) => number,
        Value::Double(number) if number.is_finite() => number as i64,
        Value::Text(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    match number {
        ..=0 => None,
        1..MIB => number.checked_mul(MIB),
        _ => Some(number),
    }
}

/// Bytes for a point of the metric `faas.mem_usage` as OpenTelemetry's Lambda extension
/// makes it: it multiplies the platform's MB, which are MiB, by a million.
pub fn memory_of_extension(value: f64) -> i64 {
    (value / 1e6 * MIB as f64).round() as i64
}

/// The region and the account of an ARN, such as
/// `arn:aws:lambda:eu-central-1:123456789012:function:orders`.
pub fn account_of_arn(arn: &str) -> Option<(&str, &str)> {
    let mut parts = arn.strip_prefix("arn:")?.split(':').skip(2);
    let (region, account) = (parts.next()?, parts.next()?);
    (!region.is_empty() && !account.is_empty()).then_some((region, account))
}

/// The function's name in an ARN (a version or alias may follow it), or in an id of Azure
/// or Google.
pub fn function_of_id(id: &str) -> Option<&str> {
    let name = if let Some((_, rest)) = id.split_once(":function:") {
        rest.split(':').next()
    } else if let Some((_, rest)) = id.rsplit_once("/functions/") {
        rest.split('/').next()
    } else {
        None
    };
    name.filter(|name| !name.is_empty())
}
