//! A trace on a terminal: its spans as a tree, each with a bar for its time.
//!
//! Takes the OTLP JSON of a trace as it is served, complete or not. A span whose parent has
//! not arrived stands under a line that says so; spans that are each other's ancestors are
//! shown once, and marked. Where client and server share a span's id, as Zipkin's do, the server's
//! stands below the client's. No trace is too deep, too wide or too odd to be shown.
//!
//! - [`tree`]: which span stands below which.

pub(super) mod tree;

use std::collections::HashSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::{Style, clean, count, cut, duration, pad, pad_left, width};

/// In a file or a pipe nothing is cut. Longer names and services only push the rest of their line to the right.
const ALIGNED: (usize, usize) = (64, 24);

/// Columns of the longest bar where there is no terminal to fit.
pub(super) const FREE_BAR: usize = 60;

/// The narrowest bar that still tells something.
pub(super) const NARROWEST_BAR: usize = 12;

/// Columns of a duration.
pub(super) const DURATION: usize = 11;

/// What the waterfall shows of a span.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Span {
    id: String,
    parent: Option<String>,
    name: String,
    kind: String,
    service: String,
    function: Option<String>,
    start: i64,
    duration: i64,
    /// The status message of a span with status ERROR.
    error: Option<String>,
    cold: bool,
}

/// The spans of an `ExportTraceServiceRequest` or `TracesData` in OTLP JSON. One that was stored twice is given once.
pub(crate) fn from_otlp(trace: &Value) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut seen = HashSet::new();
    for resource in list(trace, "resourceSpans") {
        let attributes = resource.pointer("/resource/attributes");
        let service = attribute(attributes, "service.name").unwrap_or_default();
        let function = attribute(attributes, "faas.name").filter(|f| *f != service);
        for span in list(resource, "scopeSpans").iter().flat_map(|scope| list(scope, "spans")) {
            let span = one(span, service, function);
            if seen.insert(span.clone()) {
                spans.push(span);
            }
        }
    }
    spans
}

fn one(span: &Value, service: &str, function: Option<&str>) -> Span {
    let text = |key: &str| span.get(key).and_then(Value::as_str).unwrap_or_default();
    let start = number(span.get("startTimeUnixNano"));
    let is_error = span.pointer("/status/code").is_some_and(|c| *c == 2 || *c == "STATUS_CODE_ERROR");
    let message = span.pointer("/status/message").and_then(Value::as_str).unwrap_or_default();
    let kinds = ["", "internal", "server", "client", "producer", "consumer"];
    let kind = span.get("kind").and_then(Value::as_u64).and_then(|k| kinds.get(usize::try_from(k).ok()?));
    let cold = list(span, "attributes")
        .iter()
        .find(|a| a.get("key").is_some_and(|k| k == "faas.coldstart"))
        .is_some_and(|a| a.pointer("/value/boolValue") == Some(&Value::Bool(true)));
    Span {
        id: text("spanId").to_lowercase(),
        parent: Some(text("parentSpanId").to_lowercase()).filter(|p| p.bytes().any(|b| b != b'0')),
        name: text("name").to_owned(),
        kind: kind.copied().unwrap_or_default().to_owned(),
        service: service.to_owned(),
        function: function.map(str::to_owned),
        start,
        duration: number(span.get("endTimeUnixNano")).saturating_sub(start),
        error: is_error.then(|| message.to_owned()),
        cold,
    }
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn attribute<'a>(attributes: Option<&'a Value>, key: &str) -> Option<&'a str> {
    let found = attributes?.as_array()?.iter().find(|a| a.get("key").is_some_and(|k| k == key))?;
    found.pointer("/value/stringValue")?.as_str()
}

/// 64-bit numbers are strings in OTLP JSON.
fn number(value: Option<&Value>) -> i64 {
    match value {
        Some(Value::String(text)) => text.parse::<u64>().map_or(0, u64::cast_signed),
        Some(Value::Number(n)) => n.as_u64().map_or(0, u64::cast_signed),
        _ => 0,
    }
}

/// What stands before a span's name, and what it is.
#[derive(Debug)]
enum Row<'a> {
    Span { lead: String, span: &'a Span, in_circle: bool },
    Missing { id: &'a str },
}

/// The whole picture, each line ended.
pub(crate) fn render(trace_id: &str, spans: &[Span], style: Style) -> String {
    let rows = tree::rows(spans);
    let first = spans.iter().map(|s| s.start).min().unwrap_or(0);
    let last = spans.iter().map(|s| s.start.saturating_add(s.duration.max(0))).max().unwrap_or(first);
    let total = last.saturating_sub(first).max(1);
    let mut text = head(trace_id, spans, &rows, total, style);
    let layout = Layout::new(&rows, style.width);
    if layout.bar > 0 {
        let end = duration(total);
        let gap = layout.bar.saturating_sub(1 + width(&end));
        let scale = format!("0{}{end}", " ".repeat(gap));
        let lead = " ".repeat(layout.name + layout.service + DURATION + 6);
        let _ = writeln!(text, "{lead}{}", style.dim(&scale));
    }
    let services = services(spans);
    for row in &rows {
        match row {
            Row::Missing { id } => {
                let note = layout.cut(&missing(id), layout.name + layout.service);
                let _ = writeln!(text, " {}", style.yellow(&note));
            }
            Row::Span { lead, span, in_circle } => {
                let hue = services.iter().position(|s| *s == span.service).unwrap_or(0);
                line(&mut text, &layout, lead, span, *in_circle, (first, total), hue, style);
            }
        }
    }
    text
}

/// How wide each part of a line is.
struct Layout {
    name: usize,
    service: usize,
    bar: usize,
    /// Whether what is longer is cut.
    cuts: bool,
}

impl Layout {
    fn new(rows: &[Row<'_>], available: Option<usize>) -> Layout {
        let (mut name, mut service) = (10, 4);
        for row in rows {
            match row {
                Row::Span { lead, span, in_circle } => {
                    name = name.max(width(lead) + width(&label(span, *in_circle)));
                    service = service.max(width(&whose(span)));
                }
                Row::Missing { .. } => name = name.max(30),
            }
        }
        let Some(available) = available else {
            return Layout { name: name.min(ALIGNED.0), service: service.min(ALIGNED.1), bar: FREE_BAR, cuts: false };
        };
        let fixed = DURATION + 6;
        let room = available.saturating_sub(fixed).max(20);
        let service = service.min(room / 4).max(4);
        let name = name.min((room - service) * 3 / 5).max(10);
        let bar = room.saturating_sub(name + service);
        if bar < NARROWEST_BAR {
            return Layout { name: room.saturating_sub(service).max(10), service, bar: 0, cuts: true };
        }
        Layout { name, service, bar: bar.min(100), cuts: true }
    }

    fn cut(&self, text: &str, columns: usize) -> String {
        if self.cuts { cut(text, columns).into_owned() } else { text.to_owned() }
    }
}

fn head(trace_id: &str, spans: &[Span], rows: &[Row<'_>], total: i64, style: Style) -> String {
    let plural = |n: usize, one: &str| format!("{} {one}{}", count(n as u64), if n == 1 { "" } else { "s" });
    let mut parts = vec![
        format!("trace {}", style.bold(&clean(trace_id))),
        plural(spans.len(), "span"),
        plural(services(spans).len(), "service"),
        duration(total),
    ];
    let errors = spans.iter().filter(|s| s.error.is_some()).count();
    if errors > 0 {
        parts.push(style.red(&plural(errors, "error")));
    }
    let missing = rows.iter().filter(|row| matches!(row, Row::Missing { .. })).count();
    if missing > 0 {
        parts.push(style.yellow(&format!("incomplete: {} missing", plural(missing, "parent"))));
    }
    format!("{}\n", parts.join(" · "))
}

fn services(spans: &[Span]) -> Vec<&str> {
    let mut found: Vec<&str> = Vec::new();
    for span in spans {
        if !found.contains(&span.service.as_str()) {
            found.push(&span.service);
        }
    }
    found
}

/// Says that a parent is missing.
fn missing(id: &str) -> String {
    format!("◌ span {} has not arrived", clean(id))
}

/// A span's name, and what is special about it.
fn label(span: &Span, in_circle: bool) -> String {
    let mut text = match &span.error {
        Some(message) if message.is_empty() => format!("✗ {}", clean(&span.name)),
        Some(message) => format!("✗ {}: {}", clean(&span.name), clean(message)),
        None => clean(&span.name).into_owned(),
    };
    if span.cold {
        text.push_str(" ❄");
    }
    if matches!(span.kind.as_str(), "producer" | "consumer") {
        text.push_str(if span.kind == "producer" { " →" } else { " ←" });
    }
    if in_circle {
        text.push_str(" (its own ancestor)");
    }
    text
}

/// The service, and the function where it is called differently.
fn whose(span: &Span) -> String {
    match &span.function {
        Some(function) => format!("{}/{}", clean(&span.service), clean(function)),
        None => clean(&span.service).into_owned(),
    }
}

#[expect(clippy::too_many_arguments, reason = "one line has this many parts")]
fn line(
    text: &mut String,
    layout: &Layout,
    lead: &str,
    span: &Span,
    in_circle: bool,
    (first, total): (i64, i64),
    hue: usize,
    style: Style,
) {
    let lead = layout.cut(lead, layout.name / 2);
    let room = layout.name.saturating_sub(width(&lead));
    let name = pad(&layout.cut(&label(span, in_circle), room), room);
    let name = if span.error.is_some() { style.red(&name) } else { name };
    let service = style.hue(hue, &pad(&layout.cut(&whose(span), layout.service), layout.service));
    let time = pad_left(&duration(span.duration), DURATION);
    let mut line = format!(" {}{name}  {service} {time}", style.dim(&lead));
    if layout.bar > 0 {
        let (before, long) = bar(span.start.saturating_sub(first), span.duration, total, layout.bar);
        let shape = if long == 0 { "▏".to_owned() } else { "█".repeat(long) };
        let shape = if span.error.is_some() { style.red(&shape) } else { style.hue(hue, &shape) };
        let _ = write!(line, "  {}{shape}", " ".repeat(before));
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

/// Columns before the bar, and columns of the bar, of what began `start` after the beginning.
pub(super) fn bar(start: i64, duration: i64, total: i64, columns: usize) -> (usize, usize) {
    let scale = columns as f64 / total as f64;
    let from = (start as f64 * scale).floor().max(0.0) as usize;
    let long = (duration.max(0) as f64 * scale).round() as usize;
    let from = from.min(columns.saturating_sub(1));
    (from, long.min(columns - from))
}
