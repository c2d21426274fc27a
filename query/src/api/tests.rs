#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod damaged;
mod flows;
mod functions;
mod hops;
mod http_rules;
mod invocations;
mod live;
mod metrics;
mod names;
mod openapi;
mod rows;
mod traces;

use axum::body::Body;
use hopline_model::Signal;
use hopline_stitch::derive::Deriver;
use hopline_storage::{Encoding, Format, Record};
use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::engine::tests::engine;
use crate::engine::tests::rows::{Kept, SECOND, T0};
use crate::otlp::testing::batch;

const TRACE: &str = "01010101010101010101010101010101";

/// The API over some rows.
struct Api {
    kept: Kept,
    router: Router,
}

impl Api {
    fn new() -> Self {
        let kept = Kept::new();
        let router = crate::router_with(ApiState { engine: engine(&kept), tail: None, started: Instant::now() });
        Self { kept, router }
    }

    fn with(table: Table, rows: &[Value]) -> Self {
        let api = Self::new();
        api.add(table, rows);
        api
    }

    fn add(&self, table: Table, rows: &[Value]) {
        self.kept.add_batch(table, batch(table, rows));
    }

    /// Adds spans and log records, with the rows that the collector derives from them.
    fn ingest(&self, spans: &[Value], logs: &[Value]) {
        let mut deriver = Deriver::default();
        for (signal, rows) in [(Signal::Traces, spans), (Signal::Logs, logs)] {
            if rows.is_empty() {
                continue;
            }
            let sent = batch(signal.table(), rows);
            let derived = deriver.of(signal.table(), &sent).unwrap();
            let keys = derived.hop_keys.map(|rows| (Table::HopKeys, rows));
            let invocations = derived.invocations.map(|rows| (Table::Invocations, rows));
            let batches = [(signal.table(), sent)].into_iter().chain(keys).chain(invocations).collect();
            self.publish(signal, batches);
        }
    }

    fn publish(&self, signal: Signal, batches: Vec<(Table, RecordBatch)>) {
        let record = Record {
            tenant: "default".into(),
            signal,
            encoding: Encoding::Identity,
            format: Format::Protobuf,
            received_at: T0,
            hash: 0,
            body: bytes::Bytes::from_static(b"x"),
        };
        let storage = &self.kept.storage;
        let position = storage.append(&[record]).unwrap();
        storage.sync().unwrap();
        storage.publish(batches, position);
    }

    fn flush(&self) {
        self.kept.storage.flush().unwrap();
    }

    /// Status, content type and body of an answer.
    async fn ask(&self, path: &str, accept: Option<&str>) -> (StatusCode, String, Vec<u8>) {
        let mut request = Request::get(path.replace('<', "%3C").replace('>', "%3E"));
        if let Some(accept) = accept {
            request = request.header(header::ACCEPT, accept);
        }
        let answer = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = answer.status();
        let content_type = answer.headers().get(header::CONTENT_TYPE).map(|t| t.to_str().unwrap().to_owned());
        let body = answer.into_body().collect().await.unwrap().to_bytes().to_vec();
        (status, content_type.unwrap_or_default(), body)
    }

    /// The JSON of an answer that must be good.
    #[track_caller]
    fn get(&self, path: &str) -> impl Future<Output = Value> {
        let caller = std::panic::Location::caller();
        async move {
            let (status, content_type, body) = self.ask(path, None).await;
            assert_eq!(status, StatusCode::OK, "{caller}: {path}: {}", String::from_utf8_lossy(&body));
            assert_eq!(content_type, "application/json", "{path}");
            serde_json::from_slice(&body).expect("JSON")
        }
    }

    /// Asserts that an answer is a problem whose detail contains `expected`.
    async fn refused(&self, path: &str, status: u16, expected: &str) {
        let (got, content_type, body) = self.ask(path, None).await;
        let text = String::from_utf8_lossy(&body);
        assert_eq!(got.as_u16(), status, "{path}: {text}");
        assert_eq!(content_type, "application/problem+json", "{path}");
        let problem: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(problem["status"], json!(status), "{path}");
        assert!(problem["detail"].as_str().unwrap().contains(expected), "{path}: {text}");
    }
}

/// A span, number `id`, `at` seconds after [`T0`].
fn span(id: u8, service: &str, name: &str, at: i64, duration: i64) -> Value {
    json!({
        "trace_id": TRACE, "span_id": format!("{id:02x}").repeat(8), "service": service, "name": name,
        "kind": "SERVER", "status_code": "UNSET", "start_time": T0 + at * SECOND, "duration": duration,
        "resource": format!(r#"{{"attributes":{{"service.name":"{service}","k8s.pod.name":"pod-{id}","cpus":4}}}}"#),
    })
}

/// `row` with other members.
fn with(mut row: Value, members: Value) -> Value {
    for (name, value) in members.as_object().unwrap() {
        row[name] = value.clone();
    }
    row
}

/// Runs a check over rows in memory, in a file, and half and half.
async fn everywhere(table: Table, rows: &[Value], check: impl AsyncFn(&Api)) {
    for cold in [0, rows.len(), rows.len() / 2] {
        let api = Api::new();
        if cold > 0 {
            api.add(table, &rows[..cold]);
            api.flush();
        }
        if cold < rows.len() {
            api.add(table, &rows[cold..]);
        }
        check(&api).await;
    }
}

/// The members `name` of a list of objects.
fn pick(list: &Value, name: &str) -> Vec<String> {
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    list.as_array().unwrap().iter().map(|item| text(&item[name])).collect()
}

/// Runs a check over spans and log records, and what follows from them: in memory, in files, in both, and in several files.
async fn ingested_everywhere(spans: &[Value], logs: &[Value], check: impl AsyncFn(&Api)) {
    let half = (spans.len() / 2, logs.len() / 2);
    let all = (spans.len(), logs.len());
    for (in_files, is_all_flushed) in [((0, 0), false), (all, false), (half, false), (half, true)] {
        let api = Api::new();
        api.ingest(&spans[..in_files.0], &logs[..in_files.1]);
        if in_files != (0, 0) {
            api.flush();
        }
        api.ingest(&spans[in_files.0..], &logs[in_files.1..]);
        if is_all_flushed {
            api.flush();
        }
        check(&api).await;
    }
}

/// The id of `length` bytes that is called `name`.
fn id(name: &str, length: usize) -> String {
    let mut bytes = name.as_bytes().to_vec();
    assert!(bytes.len() <= length, "{name}");
    bytes.resize(length, 0);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn trace_id(name: &str) -> String {
    id(name, 16)
}

fn span_id(name: &str) -> String {
    id(name, 8)
}

/// The name of such an id.
fn name_of(id: &str) -> String {
    String::from_utf8(crate::otlp::testing::bytes(id)).unwrap().trim_end_matches('\0').to_owned()
}

/// Seconds after [`T0`], as nanoseconds since 1970.
fn at(seconds: &str) -> i64 {
    T0 + (seconds.parse::<f64>().unwrap() * 1e3).round() as i64 * 1_000_000
}

/// Spans, one a line: `trace span parent kind service[/function] start end [word…]`, times in seconds after [`T0`].
///
/// | word | |
/// |---|---|
/// | `inv=id` | it is the span of this invocation |
/// | `send=queue:id`, `receive=queue:id` | a message of SQS |
/// | `publish=topic:id`, `notified=topic:id` | a notification of SNS |
/// | `call=function:id` | it calls a function, and the answer has this request id |
/// | `out=key`, `in=key` | as a hook writes it |
/// | `link=trace.span` | it has a link |
/// | `on=instance`, `version=`, `region=`, `trigger=` | where it ran, and what started it |
/// | `error[=type:message]`, `cold`, `warm`, `tenant=name` | |
fn story(script: &str) -> Vec<Value> {
    let lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(story_span).collect()
}

fn story_span(line: &str) -> Value {
    let mut words = line.split_whitespace();
    let mut next = || words.next().unwrap_or_else(|| panic!("{line}"));
    let (trace, span, parent, kind, party, start, end) = (next(), next(), next(), next(), next(), next(), next());
    let (service, function) = party.split_once('/').map_or((party, None), |(s, f)| (s, Some(f)));
    let (start, end) = (at(start), at(end));
    let mut row = json!({
        "trace_id": trace_id(trace), "span_id": span_id(span), "service": service, "function": function,
        "name": format!("{trace}.{span}"), "kind": kind.to_uppercase(), "status_code": "UNSET",
        "start_time": start, "duration": end - start,
    });
    if parent != "-" {
        row["parent_span_id"] = json!(span_id(parent));
    }
    let mut resource = json!({"service.name": service});
    let mut attributes: Vec<Value> = Vec::new();
    let text = |key: &str, value: &str| json!([key, "s", value]);
    for word in words {
        let (what, value) = word.split_once('=').unwrap_or((word, ""));
        let pair = || value.split_once(':').unwrap_or_else(|| panic!("{word}"));
        match what {
            "inv" => attributes.push(text("faas.invocation_id", value)),
            "send" | "receive" | "publish" | "notified" => {
                let system = if matches!(what, "send" | "receive") { "aws_sqs" } else { "aws.sns" };
                let operation = if matches!(what, "send" | "publish") { "send" } else { "process" };
                attributes.push(text("messaging.system", system));
                attributes.push(text("messaging.operation.type", operation));
                attributes.push(text("messaging.destination.name", pair().0));
                attributes.push(text("messaging.message.id", pair().1));
            }
            "call" => {
                attributes.push(text("faas.invoked_name", pair().0));
                attributes.push(text("aws.request_id", pair().1));
            }
            "out" => attributes.push(text("hopline.link.out", value)),
            "in" => attributes.push(text("hopline.link.in", value)),
            "link" => {
                let (trace, span) = value.split_once('.').unwrap();
                row["links"] = json!([{"trace_id": trace_id(trace), "span_id": span_id(span), "attributes": "{}"}]);
            }
            "on" => resource["faas.instance"] = json!(value),
            "version" => resource["faas.version"] = json!(value),
            "region" => resource["cloud.region"] = json!(value),
            "trigger" => attributes.push(text("faas.trigger", value)),
            "cold" | "warm" => attributes.push(json!(["faas.coldstart", "b", what == "cold"])),
            "error" => {
                row["status_code"] = json!("ERROR");
                if let Some((kind, message)) = value.split_once(':') {
                    let attributes = json!({"exception.type": kind, "exception.message": message}).to_string();
                    row["events"] = json!([{"time": end, "name": "exception", "attributes": attributes}]);
                }
            }
            "tenant" => row["tenant"] = json!(value),
            _ => panic!("{word}"),
        }
    }
    row["resource"] = json!(json!({"attributes": resource}).to_string());
    row["attributes"] = json!(attributes);
    row
}

/// Records of Lambda's platform, one a line: `function instance time event line of text`, the time in seconds after [`T0`].
fn platform(script: &str) -> Vec<Value> {
    let lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
    let row = |line: &str| {
        let mut rest = line;
        let mut next = || {
            let (word, behind) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            rest = behind.trim_start();
            word
        };
        let (function, instance, time, event) = (next(), next(), next(), next());
        let body = rest;
        let resource = json!({"attributes": {
            "service.name": function, "faas.name": function, "faas.instance": instance, "cloud.region": "eu-central-1",
        }});
        json!({
            "time": at(time), "service": function, "function": function, "body": body, "severity_number": 9,
            "resource": resource.to_string(), "attributes": [["type", "s", event]],
        })
    };
    lines.map(row).collect()
}
