//! Telemetry written as lines, and what Lambda's stock instrumentations would send for it.
//!
//! A span: `trace span parent kind service start end words…`, times in seconds after [`T`]. Words:
//!
//! - `inv=ID`: it is the span of this invocation; `cold`;
//! - `send=QUEUE:ID`, `publish=TOPIC:ID`: it sent a message; `receive=`, `notified=`: it received one;
//! - `link=ID`: a link to a span that nobody sends, with the id of a message, as of Node's functions;
//! - `call=FUNCTION:ID`: it called a function; `out=KEY`, `in=KEY`: as the hooks note it;
//! - `acct=ID`, `on=INSTANCE`, `error=MESSAGE`.

use serde_json::{Map, Value, json};

/// Seconds since 1970 at which the stories begin: 2026-09-21T14:13:20Z.
pub const T: u64 = 1_790_000_000;

/// A name as an id: its characters, and zeros.
fn id(name: &str, digits: usize) -> String {
    let digits_of_name: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{digits_of_name:0<digits$}")
}

pub fn trace_id(name: &str) -> String {
    id(name, 32)
}

pub fn span_id(name: &str) -> String {
    id(name, 16)
}

/// The name that an id was made of.
pub fn name_of(id: &str) -> String {
    let bytes = (0..id.len() / 2).map(|i| u8::from_str_radix(&id[2 * i..2 * i + 2], 16).unwrap());
    bytes.take_while(|byte| *byte != 0).map(char::from).collect()
}

/// Nanoseconds since 1970, as OTLP/JSON has them.
pub fn nanos(seconds: &str) -> String {
    let (whole, part) = seconds.split_once('.').unwrap_or((seconds, "0"));
    format!("{}{part:0<9}", T + whole.parse::<u64>().unwrap())
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

fn texts(key: &str, value: &str) -> Value {
    let values: Vec<Value> = value.split(',').map(|one| json!({"stringValue": one})).collect();
    json!({"key": key, "value": {"arrayValue": {"values": values}}})
}

fn message(system: &str, operation: &str, value: &str) -> Vec<Value> {
    let (destination, id) = value.split_once(':').unwrap();
    vec![
        text("messaging.system", system),
        text("messaging.operation.type", operation),
        text("messaging.destination.name", destination),
        text("messaging.message.id", id),
    ]
}

/// A line, and the resource that sends it.
fn span(line: &str) -> (Value, Value) {
    let mut words = line.split_whitespace();
    let mut next = || words.next().unwrap_or_else(|| panic!("{line}"));
    let (trace, span, parent, kind, service, start, end) = (next(), next(), next(), next(), next(), next(), next());
    let mut resource = vec![text("service.name", service)];
    if kind != "client" || service != "shop" {
        resource.extend([
            text("faas.name", service),
            text("cloud.provider", "aws"),
            text("cloud.region", "eu-central-1"),
        ]);
    }
    let (mut attributes, mut more, mut links) = (Vec::new(), Map::new(), Vec::new());
    for word in words {
        let (what, value) = word.split_once('=').unwrap_or((word, ""));
        match what {
            "inv" => attributes.push(text("faas.invocation_id", value)),
            "cold" => attributes.push(json!({"key": "faas.coldstart", "value": {"boolValue": true}})),
            "send" => attributes.extend(message("aws_sqs", "send", value)),
            "receive" => attributes.extend(message("aws_sqs", "process", value)),
            "publish" => attributes.extend(message("aws.sns", "send", value)),
            "notified" => attributes.extend(message("aws.sns", "process", value)),
            "queue" => {
                let about = [("messaging.system", "aws_sqs"), ("messaging.operation.type", "process")];
                attributes.extend(about.map(|(key, value)| text(key, value)));
                attributes.push(text("messaging.destination.name", value));
            }
            "link" => links.push(json!({
                "traceId": trace_id("nobody"), "spanId": span_id("never"),
                "attributes": [text("messaging.message.id", value)],
            })),
            "call" => {
                let (function, request) = value.split_once(':').unwrap();
                attributes.extend([text("faas.invoked_name", function), text("aws.request_id", request)]);
            }
            "out" => attributes.push(texts("hopline.link.out", value)),
            "in" => attributes.push(texts("hopline.link.in", value)),
            "acct" => resource.push(text("cloud.account.id", value)),
            "on" => resource.push(text("faas.instance", value)),
            "error" => drop(more.insert("status".into(), json!({"code": 2, "message": value}))),
            _ => panic!("{word}"),
        }
    }
    let kind = ["internal", "server", "client", "producer", "consumer"].iter().position(|k| *k == kind).unwrap() + 1;
    let mut made = json!({
        "traceId": trace_id(trace), "spanId": span_id(span), "name": format!("{trace}.{span}"), "kind": kind,
        "startTimeUnixNano": nanos(start), "endTimeUnixNano": nanos(end), "attributes": attributes, "links": links,
    });
    made.as_object_mut().unwrap().extend(more);
    if parent != "-" {
        made["parentSpanId"] = json!(span_id(parent));
    }
    (json!({"attributes": resource}), made)
}

fn lines(script: &str) -> impl Iterator<Item = &str> {
    script.lines().map(str::trim).filter(|line| !line.is_empty())
}

/// An export of spans.
pub fn spans(script: &str) -> Value {
    let of_line = |line| {
        let (resource, span) = span(line);
        json!({"resource": resource, "scopeSpans": [{"scope": {"name": "it"}, "spans": [span]}]})
    };
    json!({"resourceSpans": lines(script).map(of_line).collect::<Vec<_>>()})
}

/// The lines of a script that are of one trace.
pub fn of_trace(script: &str, trace: &str) -> String {
    let own = lines(script).filter(|line| line.split_whitespace().next() == Some(trace));
    own.map(|line| format!("{line}\n")).collect()
}

/// An export of the platform's records, one a line: `function instance time event line of text`.
pub fn records(script: &str) -> Value {
    let of_line = |line: &str| {
        let mut words = line.splitn(5, ' ');
        let mut next = || words.next().unwrap_or_else(|| panic!("{line}"));
        let (function, instance, time, event, body) = (next(), next(), next(), next(), next());
        let named = [("service.name", function), ("faas.name", function), ("faas.instance", instance)];
        let resource: Vec<Value> = named.iter().map(|(key, value)| text(key, value)).collect();
        let record = json!({
            "timeUnixNano": nanos(time), "severityNumber": 9, "body": {"stringValue": body}, "attributes": [text("type", event)],
        });
        json!({"resource": {"attributes": resource}, "scopeLogs": [{"logRecords": [record]}]})
    };
    json!({"resourceLogs": lines(script).map(of_line).collect::<Vec<_>>()})
}
