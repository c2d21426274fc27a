//! What the platform itself says: the records of the Telemetry API.
//!
//! Functions in Python have the stock extension, which turns each record into a line of
//! text and makes a span of the initialisation, in a trace of its own. Functions in Node
//! have one that keeps the record's fields, the X-Ray ids among them.

use super::catalog::{Language, Spec};
use super::random::Random;
use super::words::{
    Attributes, Context, Flush, Kind, Log, MS, Nanos, Outcome, Severity, Span, StartType, Value, attrs,
};

/// Dollars for a request and for a GB-second, on x86_64 in Frankfurt, first tier (AWS Lambda pricing page).
const REQUEST_USD: f64 = 0.2 / 1e6;
const GB_SECOND_USD: f64 = 0.0000166667;

/// The instrumentation scope of the platform's records.
pub(crate) const SCOPE: (&str, &str) =
    ("github.com/open-telemetry/opentelemetry-lambda/collector/receiver/telemetryapi", "0.1.0");

/// One invocation, as the platform saw it.
#[derive(Debug)]
pub(crate) struct Ran<'a> {
    pub(crate) spec: Spec,
    pub(crate) language: Language,
    pub(crate) request_id: &'a str,
    pub(crate) version: &'a str,
    pub(crate) start: Nanos,
    pub(crate) end: Nanos,
    pub(crate) outcome: Outcome,
    pub(crate) memory_used_mb: u64,
    /// How the environment came up and how long that took, when this is its first invocation.
    pub(crate) init: Option<(StartType, Nanos)>,
    pub(crate) xray: Context,
}

/// The records of an environment's initialisation or restore.
pub(crate) fn init(
    flush: &mut Flush,
    random: &mut Random,
    spec: Spec,
    language: Language,
    start_type: StartType,
    (begin, took): (Nanos, Nanos),
    kept: bool,
) {
    let how = match (start_type, kept) {
        (StartType::Restore, _) => "snap-start",
        (_, true) => "provisioned-concurrency",
        _ => "on-demand",
    };
    let runtime = if language == Language::Node { "nodejs:24.v7" } else { "python:3.14.v9" };
    let (end, ms) = (begin + took, millis(took));
    let observed = flush.at;
    let mut say = |time, kind: &str, line: String, record| {
        flush.platform_logs.push(log(language, (time, observed), kind, None, line, record));
    };
    if start_type == StartType::Restore {
        say(
            begin,
            "platform.restoreStart",
            format!("RESTORE_START Runtime Version: {runtime}"),
            attrs!["runtimeVersion" => runtime],
        );
        let line = format!("RESTORE_REPORT Status: success Duration: {ms:.2} ms");
        say(
            end,
            "platform.restoreReport",
            line,
            attrs!["status" => "success", "metrics" => Value::Map(attrs!["durationMs" => ms])],
        );
    } else {
        let record = attrs!["initializationType" => how, "phase" => "init", "runtimeVersion" => runtime, "functionName" => spec.name];
        say(begin, "platform.initStart", format!("INIT_START Runtime Version: {runtime}"), record);
        let record = attrs![
            "initializationType" => how, "phase" => "init", "status" => "success",
            "metrics" => Value::Map(attrs!["durationMs" => ms]),
        ];
        let line = format!("INIT_REPORT Initialization Type: {how} Phase: init Status: success Duration: {ms:.2} ms");
        say(end, "platform.initReport", line, record);
    }
    if language == Language::Python {
        flush.platform_spans.push(Span {
            context: Context { trace: random.trace_id(), span: random.span_id() },
            parent: None,
            name: format!("init {}", spec.name),
            kind: Kind::Internal,
            scope: SCOPE,
            start: begin,
            end,
            attributes: attrs!["faas.coldstart" => true],
            events: Vec::new(),
            links: Vec::new(),
            error: None,
        });
    }
}

/// The records of an invocation.
pub(crate) fn ran(flush: &mut Flush, ran: &Ran<'_>) {
    let observed = flush.at;
    let Ran { request_id, version, language, .. } = *ran;
    let mut say = |time, kind: &str, line: String, record| {
        flush.platform_logs.push(log(language, (time, observed), kind, Some(request_id), line, record));
    };
    let mut record = attrs!["requestId" => request_id, "version" => version];
    record.push(tracing(ran.xray));
    say(ran.start, "platform.start", format!("START RequestId: {request_id} Version: {version}"), record);

    let (status, error) = status(ran.outcome);
    let duration = ran.end - ran.start;
    if ran.outcome == Outcome::Timeout {
        let line = format!("{request_id} Task timed out after {:.2} seconds", ran.spec.timeout_ms as f64 / 1e3);
        say(ran.end, "function", line.clone(), attrs!["message" => line]);
    }
    let mut record = attrs!["requestId" => request_id, "status" => status];
    if let Some(error) = error {
        record.push(("errorType", error.into()));
    }
    record.push(("metrics", Value::Map(attrs!["durationMs" => millis(duration), "producedBytes" => 64])));
    say(ran.end, "platform.runtimeDone", format!("END RequestId: {request_id} Version: {version}"), record);

    let (line, record) = report(ran, status, error, duration);
    say(ran.end + 2 * MS, "platform.report", line, record);
}

/// The stock extension's line tells less than the record: no status, no error, no restore.
fn report(ran: &Ran<'_>, status: &'static str, error: Option<&'static str>, duration: Nanos) -> (String, Attributes) {
    let ms = millis(duration + 2 * MS);
    let waited = match ran.init {
        Some((StartType::Cold | StartType::Restore, init)) => Some(init),
        _ => None,
    };
    let billed = billed_ms(duration, waited);
    let (size, used) = (ran.spec.memory_mb as i64, ran.memory_used_mb as i64);
    let mut line = format!(
        "REPORT RequestId: {} Duration: {ms:.2} ms Billed Duration: {billed} ms Memory Size: {size} MB Max Memory Used: {used} MB",
        ran.request_id
    );
    let mut metrics =
        attrs!["durationMs" => ms, "billedDurationMs" => billed, "memorySizeMB" => size, "maxMemoryUsedMB" => used];
    match ran.init {
        Some((StartType::Restore, init)) => {
            metrics.push(("restoreDurationMs", millis(init).into()));
        }
        Some((_, init)) => {
            line.push_str(&format!(" Init Duration: {:.2} ms", millis(init)));
            metrics.push(("initDurationMs", millis(init).into()));
        }
        None => {}
    }
    let mut record = attrs!["requestId" => ran.request_id, "status" => status];
    if let Some(error) = error {
        record.push(("errorType", error.into()));
    }
    record.push(("metrics", Value::Map(metrics)));
    record.push(tracing(ran.xray));
    (line, record)
}

/// What is billed of so long a run, whole milliseconds: with the initialisation, unless the environment was
/// made ahead.
pub(crate) fn billed_ms(duration: Nanos, waited: Option<Nanos>) -> i64 {
    (millis(duration + 2 * MS) + waited.map_or(0.0, millis)).ceil() as i64
}

/// What so much costs on demand, in US dollars.
pub(crate) fn cost_usd(billed_ms: i64, memory_mb: u64) -> f64 {
    let gb_seconds = billed_ms as f64 / 1e3 * memory_mb as f64 / 1024.0;
    REQUEST_USD + gb_seconds * GB_SECOND_USD
}

fn status(outcome: Outcome) -> (&'static str, Option<&'static str>) {
    match outcome {
        Outcome::Ok => ("success", None),
        Outcome::Error => ("error", Some("Function.Unknown")),
        Outcome::Timeout => ("timeout", None),
        Outcome::Crash => ("failure", Some("Runtime.OutOfMemory")),
    }
}

fn tracing(xray: Context) -> (&'static str, Value) {
    let trace = xray.trace_hex();
    let (seconds, rest) = trace.split_at_checked(8).unwrap_or(("", ""));
    let value = format!("Root=1-{seconds}-{rest};Parent={};Sampled=0", xray.span_hex());
    let tracing = attrs!["spanId" => xray.span_hex(), "type" => "X-Amzn-Trace-Id", "value" => value];
    ("tracing", Value::Map(tracing))
}

fn log(
    language: Language,
    (time, observed): (Nanos, Nanos),
    kind: &str,
    request_id: Option<&str>,
    line: String,
    record: Attributes,
) -> Log {
    let mut attributes = attrs!["type" => kind];
    if let Some(request_id) = request_id {
        attributes.push(("faas.invocation_id", request_id.into()));
    }
    let body = if language == Language::Node { Value::Map(record) } else { Value::Text(line) };
    Log { time, observed, severity: Severity::Info, body, context: None, attributes }
}

/// Milliseconds with two decimals, as the platform gives them.
pub(crate) fn millis(nanos: Nanos) -> f64 {
    (nanos as f64 / 1e4).round() / 100.0
}
