//! Records of Lambda's Telemetry API, in each form in which they are seen:
//!
//! - a line of text, as OpenTelemetry's Lambda extension writes it (the attribute `type`
//!   names the event) and as it stands in the function's log group, with tabs or spaces
//!   between the fields;
//! - the record itself as the body, with the attribute `type`;
//! - the whole event as the body: `{"time":…,"type":…,"record":…}`.
//!
//! Fields: AWS Lambda documentation, Telemetry API schema reference (2022-12-13).

use serde_json::Value;

use super::of_span::MIB;
use super::words::{InitPhase, InitType, Oom, Source, Status};
use super::{Fact, LogView};
use crate::hops::xray::{xray_header, xray_root};

/// Labels of the fields of a line. A label that begins with another stands before it.
const LABELS: [&str; 21] = [
    "RequestId",
    "Version",
    "Billed Restore Duration",
    "Billed Duration",
    "Init Duration",
    "Restore Duration",
    "Duration",
    "Memory Size",
    "Max Memory Used",
    "Status",
    "Error Type",
    "XRAY TraceId",
    "SegmentId",
    "Sampled",
    "Initialization Type",
    "Phase",
    "Runtime Version ARN",
    "Runtime Version",
    "DroppedRecords",
    "DroppedBytes",
    "Reason",
];

/// What the platform's record says, if the log record is one that counts.
pub(super) fn read(log: &LogView<'_>) -> Option<Fact> {
    let of_attribute = match log.event_type {
        Some(event) if event.starts_with("platform.") => Some(source(event)?),
        _ => None,
    };
    let body = log.body.trim_start();
    let fact = if body.starts_with('{') {
        if of_attribute.is_none() && !body.contains("\"platform.") {
            return None;
        }
        record(log, of_attribute, body)?
    } else {
        line(log, of_attribute.or_else(|| source_of_line(body))?, body)
    };
    Some(normal(fact))
}

/// Which source an event of the Telemetry API is, if it counts.
fn source(event: &str) -> Option<Source> {
    Some(match event.strip_prefix("platform.")? {
        "start" => Source::Start,
        "runtimeDone" => Source::RuntimeDone,
        "report" => Source::Report,
        "initStart" => Source::InitStart,
        "initReport" => Source::InitReport,
        "restoreStart" => Source::RestoreStart,
        "restoreReport" => Source::RestoreReport,
        "logsDropped" => Source::LogsDropped,
        _ => return None,
    })
}

/// Which source a line is that no attribute tells of.
fn source_of_line(line: &str) -> Option<Source> {
    let heads = [
        ("REPORT RequestId: ", Source::Report),
        ("START RequestId: ", Source::Start),
        ("END RequestId: ", Source::RuntimeDone),
        ("INIT_START ", Source::InitStart),
        ("INIT_REPORT ", Source::InitReport),
        ("RESTORE_START ", Source::RestoreStart),
        ("RESTORE_REPORT ", Source::RestoreReport),
        ("LOGS_DROPPED ", Source::LogsDropped),
    ];
    heads.iter().find(|(head, _)| line.starts_with(head)).map(|(_, source)| *source)
}

/// A record as JSON, alone or within its event.
fn record(log: &LogView<'_>, of_attribute: Option<Source>, body: &str) -> Option<Fact> {
    let body: Value = serde_json::from_str(body).ok()?;
    let event = body.get("type").and_then(Value::as_str).and_then(source);
    let within = body.get("record").filter(|_| event.is_some());
    let source = event.filter(|_| within.is_some()).or(of_attribute)?;
    let mut fact = Fact::new(source, log.time_ns);
    if let Some(time) = body.get("time").filter(|_| within.is_some()).and_then(Value::as_str) {
        fact.time_ns = time_of_rfc3339(time).unwrap_or(log.time_ns);
    }
    let record = within.unwrap_or(&body);
    // The record of an event may be a line of text.
    if let Value::String(text) = record {
        let time_ns = fact.time_ns;
        return Some(Fact { time_ns, ..line(log, source, text) });
    }
    let text = |key: &str| record.get(key).and_then(Value::as_str).filter(|t| !t.is_empty());
    let metrics = record.get("metrics");
    let metric = |key: &str| metrics.and_then(|m| m.get(key)).and_then(Value::as_f64);
    fact.invocation_id = text("requestId").map(str::to_owned);
    fact.version = text("version").or_else(|| text("functionVersion")).map(str::to_owned);
    if log.function.is_none() {
        fact.function = text("functionName").map(str::to_owned);
    }
    fact.init_type = text("initializationType").and_then(InitType::from_name);
    fact.init_phase = text("phase").and_then(InitPhase::from_name);
    fact.status = text("status").and_then(Status::of_platform);
    fact.error_type = text("errorType").map(str::to_owned);
    fact.duration_ns = metric("durationMs").and_then(nanos);
    fact.billed_ns = metric("billedDurationMs").and_then(nanos);
    fact.init_ns = metric("initDurationMs").and_then(nanos);
    fact.restore_ns = metric("restoreDurationMs").and_then(nanos);
    fact.memory_size = metric("memorySizeMB").and_then(bytes);
    fact.memory_used = metric("maxMemoryUsedMB").and_then(bytes);
    fact.dropped_records = record.get("droppedRecords").and_then(Value::as_f64).map(|n| n as i64);
    let header = record.get("tracing").and_then(|t| t.get("value")).and_then(Value::as_str);
    let header = header.and_then(xray_header);
    fact.xray_root = header.map(|header| header.root);
    // The invocation's own segment; the header names the same where it is missing.
    let segment = record.get("tracing").and_then(|t| t.get("spanId")).and_then(Value::as_str);
    fact.xray_segment = segment.and_then(|s| s.parse().ok()).or(header.and_then(|header| header.parent));
    Some(fact)
}

/// A line of text.
fn line(log: &LogView<'_>, source: Source, line: &str) -> Fact {
    let mut fact = Fact::new(source, log.time_ns);
    fields(line, |label, value| {
        let number = || value.split_whitespace().next().and_then(|n| n.parse::<f64>().ok());
        let text = || (!value.is_empty()).then(|| value.to_owned());
        match label {
            "RequestId" => fact.invocation_id = text(),
            "Version" => fact.version = text(),
            "Duration" => fact.duration_ns = number().and_then(nanos),
            "Billed Duration" => fact.billed_ns = number().and_then(nanos),
            "Init Duration" => fact.init_ns = number().and_then(nanos),
            "Restore Duration" => fact.restore_ns = number().and_then(nanos),
            "Memory Size" => fact.memory_size = number().and_then(bytes),
            "Max Memory Used" => fact.memory_used = number().and_then(bytes),
            "Status" => fact.status = Status::of_platform(value),
            "Error Type" => fact.error_type = text(),
            "XRAY TraceId" => fact.xray_root = xray_root(value),
            "SegmentId" => fact.xray_segment = value.parse().ok(),
            "Initialization Type" => fact.init_type = InitType::from_name(value),
            "Phase" => fact.init_phase = InitPhase::from_name(value),
            "DroppedRecords" => fact.dropped_records = number().map(|n| n as i64),
            _ => {}
        }
    });
    fact
}

/// Gives each label of a line and its value, which ends where the next label begins.
fn fields<'a>(line: &'a str, mut each: impl FnMut(&'static str, &'a str)) {
    let label_at = |at: usize| {
        let rest = line.get(at..)?;
        // Most words are no labels, which begin with capitals.
        if !rest.as_bytes().first()?.is_ascii_uppercase() {
            return None;
        }
        let fits = |label: &&&str| rest.as_bytes().get(label.len()) == Some(&b':') && rest.starts_with(**label);
        LABELS.iter().find(fits).copied()
    };
    let mut open: Option<(&'static str, usize)> = None;
    let mut at = 0;
    let close = |open: Option<(&'static str, usize)>, end: usize, each: &mut dyn FnMut(&'static str, &'a str)| {
        if let Some((label, start)) = open {
            each(label, line.get(start..end).unwrap_or_default().trim());
        }
    };
    while at < line.len() {
        if let Some(label) = label_at(at) {
            close(open, at, &mut each);
            at += label.len() + 1;
            open = Some((label, at));
            continue;
        }
        // On to the next word.
        let rest = line.get(at..).unwrap_or_default();
        let word = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let space = rest.get(word..).and_then(|r| r.find(|c: char| !c.is_whitespace()));
        at += word + space.unwrap_or(rest.len() - word);
        if word == 0 && space.is_none() {
            break;
        }
    }
    close(open, line.len(), &mut each);
}

/// Brings what the forms say differently into one form.
fn normal(mut fact: Fact) -> Fact {
    match fact.source {
        Source::InitReport => {
            fact.init_ns = fact.duration_ns.take().or(fact.init_ns);
        }
        Source::RestoreReport => {
            fact.restore_ns = fact.duration_ns.take().or(fact.restore_ns);
            fact.init_type = Some(InitType::SnapStart);
        }
        Source::RestoreStart => fact.init_type = Some(InitType::SnapStart),
        Source::Report | Source::RuntimeDone => {
            // The error that callers get of a time-out names it, whatever the status.
            if fact.error_type.as_deref() == Some("Sandbox.Timedout") {
                fact.status = Some(Status::Timeout);
            }
            if fact.error_type.as_deref().is_some_and(super::exceptions::is_out_of_memory) {
                fact.oom = Some(Oom::Record);
            } else if fact.memory_size.is_some() && fact.memory_used >= fact.memory_size {
                fact.oom = Some(Oom::Report);
            }
        }
        _ => {}
    }
    if let Some(kind) = &fact.error_type {
        fact.fingerprint = Some(crate::fingerprint::of(kind, "", ""));
    }
    fact
}

/// Nanoseconds of milliseconds, if they are a duration.
fn nanos(ms: f64) -> Option<i64> {
    (0.0..1e12).contains(&ms).then(|| (ms * 1e6).round() as i64)
}

/// Bytes of the platform's MB, which are MiB.
fn bytes(mb: f64) -> Option<i64> {
    (1.0..1e9).contains(&mb).then(|| (mb * MIB as f64).round() as i64)
}

/// Nanoseconds since 1970 of a time as the Telemetry API writes it, `2026-11-21T10:00:00.123Z`.
fn time_of_rfc3339(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z')?;
    let (date, time) = text.split_once('T')?;
    let days = crate::cost::days_of_date(date)?;
    let mut parts = time.split(':');
    let (hours, minutes) = (parts.next()?.parse::<u32>().ok()?, parts.next()?.parse::<u32>().ok()?);
    let (seconds, fraction) = match parts.next()?.split_once('.') {
        Some((seconds, fraction)) => (seconds.parse::<u32>().ok()?, format!("{fraction:0<9}")),
        None => return None,
    };
    let nanos = fraction.get(..9)?.parse::<u32>().ok()?;
    if hours > 23 || minutes > 59 || seconds > 60 || parts.next().is_some() {
        return None;
    }
    let seconds = days.checked_mul(86_400)? + i64::from(hours * 3_600 + minutes * 60 + seconds);
    seconds.checked_mul(1_000_000_000)?.checked_add(i64::from(nanos))
}
