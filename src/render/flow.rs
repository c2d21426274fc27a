//! A flow on a terminal: the spans of all its traces as one tree, with a line for each hop.
//!
//! Takes the answer of `/api/v1/flows`, whose rows are in order already. Below the tree stands
//! what is known to be missing, and where the flow was not followed.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::Value;

use super::waterfall::tree::{below, branch};
use super::waterfall::{DURATION, FREE_BAR, NARROWEST_BAR, bar};
use super::{Style, clean, count, cut, duration, pad, pad_left, width};

/// Most lines about what is missing, of each kind.
const NOTES_MAX: usize = 10;

/// A row as the API gives it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Row {
    row: String,
    parent_row: i64,
    start: i64,
    duration: i64,
    service: String,
    function: Option<String>,
    name: String,
    kind: Option<String>,
    status: Option<String>,
    hop: Option<String>,
    destination: Option<String>,
    certainty: Option<String>,
    attempt: Option<u32>,
    flags: u16,
}

const MISSING_PARENT: u16 = 2;
const COLD_START: u16 = 4;
const RETRY: u16 = 64;
const DEAD_LETTER: u16 = 256;

impl Row {
    fn is_hop(&self) -> bool {
        self.row == "hop"
    }

    fn is_error(&self) -> bool {
        self.status.as_deref() == Some("ERROR")
    }

    /// What stands in the first column.
    fn label(&self) -> String {
        if self.is_hop() {
            return self.hop_label();
        }
        let mut text = if self.is_error() { "✗ ".to_owned() } else { String::new() };
        if self.flags & MISSING_PARENT != 0 {
            text.push_str("◌ ");
        }
        text.push_str(&clean(&self.name));
        if self.flags & COLD_START != 0 {
            text.push_str(" ❄");
        }
        match self.kind.as_deref() {
            Some("PRODUCER") => text.push_str(" →"),
            Some("CONSUMER") => text.push_str(" ←"),
            _ => {}
        }
        text
    }

    fn hop_label(&self) -> String {
        let mark = match self.certainty.as_deref() {
            Some("inferred") => "≈",
            Some("xray") => "⌁",
            _ => "⇢",
        };
        let hop = self.hop.as_deref().unwrap_or("hop");
        let mut text = format!("{mark} {}", clean(hop));
        if let Some(destination) = &self.destination {
            let _ = write!(text, " {}", clean(destination));
        }
        if self.flags & RETRY != 0 {
            let _ = write!(text, ", try {}", self.attempt.unwrap_or(1));
        }
        if self.flags & DEAD_LETTER != 0 {
            text.push_str(", dead letter");
        }
        text
    }

    fn whose(&self) -> String {
        match &self.function {
            _ if self.is_hop() => "waited".to_owned(),
            Some(function) if *function != self.service => format!("{}/{}", clean(&self.service), clean(function)),
            _ => clean(&self.service).into_owned(),
        }
    }
}

/// The whole picture, each line ended.
pub(crate) fn render(flow: &Value, style: Style) -> String {
    let rows: Vec<Row> = list(flow, "rows").iter().filter_map(|row| Row::deserialize(row).ok()).collect();
    let total = flow.get("duration_ns").and_then(Value::as_i64).unwrap_or(0).max(1);
    let leads = leads(&rows);
    let layout = Layout::new(&rows, &leads, style.width);
    let mut text = head(flow, total, style);
    if layout.bar > 0 {
        let end = duration(total);
        let gap = layout.bar.saturating_sub(1 + width(&end));
        let lead = " ".repeat(layout.name + layout.service + DURATION + 6);
        let _ = writeln!(text, "{lead}{}", style.dim(&format!("0{}{end}", " ".repeat(gap))));
    }
    let mut services: Vec<&str> = Vec::new();
    for (row, lead) in rows.iter().zip(&leads) {
        if !row.is_hop() && !services.contains(&row.service.as_str()) {
            services.push(&row.service);
        }
        let hue = services.iter().position(|s| *s == row.service).unwrap_or(0);
        line(&mut text, &layout, lead, row, total, hue, style);
    }
    notes(&mut text, flow, style);
    text
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// What is drawn before each row: the rows are in pre-order.
fn leads(rows: &[Row]) -> Vec<String> {
    let parent = |row: &Row| usize::try_from(row.parent_row).ok();
    let mut last = vec![None; rows.len()];
    for (i, row) in rows.iter().enumerate() {
        if let Some(slot) = parent(row).and_then(|p| last.get_mut(p)) {
            *slot = Some(i);
        }
    }
    let mut leads: Vec<String> = Vec::with_capacity(rows.len());
    for (i, row) in rows.iter().enumerate() {
        let above = parent(row).and_then(|p| Some((leads.get(p)?, last.get(p)?)));
        let lead = above.map(|(lead, last)| branch(&below(lead), *last == Some(i)));
        leads.push(lead.unwrap_or_default());
    }
    leads
}

struct Layout {
    name: usize,
    service: usize,
    bar: usize,
    cuts: bool,
}

impl Layout {
    fn new(rows: &[Row], leads: &[String], available: Option<usize>) -> Layout {
        let name = rows.iter().zip(leads).map(|(row, lead)| width(lead) + width(&row.label())).max().unwrap_or(10);
        let service = rows.iter().map(|row| width(&row.whose())).max().unwrap_or(4);
        let Some(available) = available else {
            return Layout { name: name.min(80), service: service.min(32), bar: FREE_BAR, cuts: false };
        };
        let room = available.saturating_sub(DURATION + 6).max(20);
        let service = service.min(room / 4).max(4);
        let name = name.min((room - service) * 3 / 5).max(10);
        let bar = room.saturating_sub(name + service);
        let bar = if bar < NARROWEST_BAR { 0 } else { bar.min(100) };
        Layout { name, service, bar, cuts: true }
    }

    fn cut(&self, text: &str, columns: usize) -> String {
        if self.cuts { cut(text, columns).into_owned() } else { text.to_owned() }
    }
}

fn plural(n: usize, one: &str) -> String {
    format!("{} {one}{}", count(n as u64), if n == 1 { "" } else { "s" })
}

fn head(flow: &Value, total: i64, style: Style) -> String {
    let sum = |name: &str| list(flow, "traces").iter().filter_map(|t| t.get(name)?.as_u64()).sum::<u64>() as usize;
    let mut parts = vec![
        format!("flow of {}", style.bold(&plural(list(flow, "traces").len(), "trace"))),
        plural(sum("spans"), "span"),
        plural(list(flow, "edges").len(), "edge"),
        duration(total),
    ];
    let shapes: Vec<String> =
        list(flow, "shapes").iter().filter_map(Value::as_str).map(|s| s.replace('_', " ")).collect();
    if !shapes.is_empty() {
        parts.push(shapes.join(", "));
    }
    if sum("errors") > 0 {
        parts.push(style.red(&plural(sum("errors"), "error")));
    }
    format!("{}\n", parts.join(" · "))
}

fn line(text: &mut String, layout: &Layout, lead: &str, row: &Row, total: i64, hue: usize, style: Style) {
    let lead = layout.cut(lead, layout.name / 2);
    let room = layout.name.saturating_sub(width(&lead));
    let name = pad(&layout.cut(&row.label(), room), room);
    let paint = |text: &str| match row {
        row if row.is_error() => style.red(text),
        row if row.is_hop() => style.dim(text),
        _ => style.hue(hue, text),
    };
    let name = if row.is_error() || row.is_hop() { paint(&name) } else { name };
    let service = pad(&layout.cut(&row.whose(), layout.service), layout.service);
    let service = if row.is_hop() { style.dim(&service) } else { style.hue(hue, &service) };
    let mut line = format!(" {}{name}  {service} {}", style.dim(&lead), pad_left(&duration(row.duration), DURATION));
    if layout.bar > 0 {
        let (before, long) = bar(row.start, row.duration, total, layout.bar);
        let shape = match (row.is_hop(), long) {
            (_, 0) => "▏".to_owned(),
            (true, long) => "┄".repeat(long),
            (false, long) => "█".repeat(long),
        };
        let _ = write!(line, "  {}{}", " ".repeat(before), paint(&shape));
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

/// What is known to be missing, and where the flow was not followed.
fn notes(text: &mut String, flow: &Value, style: Style) {
    let missing = flow.get("missing").unwrap_or(&Value::Null);
    for (name, what) in [("sent", "sent, and nobody was seen receiving it"), ("received", "received, sender unknown")] {
        let halves = list(missing, name);
        for half in halves.iter().take(NOTES_MAX) {
            let of = |key: &str| half.get(key).and_then(Value::as_str).map(|t| clean(t).into_owned());
            let by = half.pointer("/end/function").or(half.pointer("/end/service")).and_then(Value::as_str);
            let parts = [of("hop"), of("destination"), of("key")].into_iter().flatten().collect::<Vec<_>>().join(" ");
            let note = format!("◌ {parts} of {}: {what}", clean(by.unwrap_or("?")));
            let _ = writeln!(text, " {}", style.yellow(&note));
        }
        if halves.len() > NOTES_MAX {
            let more = plural(halves.len() - NOTES_MAX, "more message");
            let _ = writeln!(text, " {}", style.yellow(&format!("◌ {more} {what}")));
        }
    }
    for one in list(flow, "cuts") {
        let count = one.get("traces_count").and_then(Value::as_u64).unwrap_or(0) as usize;
        let reason = one.get("reason").and_then(Value::as_str).unwrap_or_default();
        let why = match reason {
            "batch" => "the other messages of a batch are of other stories",
            "xray_root" => "too many invocations share an X-Ray root",
            _ => "a limit was reached",
        };
        let traces = list(one, "traces").iter().filter_map(Value::as_str).take(3).collect::<Vec<_>>().join(", ");
        let shown = if traces.is_empty() { String::new() } else { format!(": {}", clean(&traces)) };
        let note = format!("✂ {} not followed, {why}{shown}", plural(count, "trace"));
        let _ = writeln!(text, " {}", style.yellow(&note));
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_flow_is_drawn_with_its_hops() {
        let span = |parent: i64, start: i64, name: &str, function: &str| {
            json!({"row": "span", "parent_row": parent, "depth": parent + 1, "start": start, "duration": 10_000_000,
                "service": function, "function": function, "name": name, "kind": "SERVER", "status": "UNSET", "flags": 0})
        };
        let mut hop = span(0, 10_000_000, "orders", "api");
        for (key, value) in [("row", json!("hop")), ("hop", json!("sqs")), ("destination", json!("orders"))] {
            hop[key] = value;
        }
        hop["flags"] = json!(RETRY | DEAD_LETTER);
        hop["attempt"] = json!(2);
        hop["certainty"] = json!("exact");
        let mut failed = span(1, 20_000_000, "worker", "worker");
        failed["status"] = json!("ERROR");
        let flow = json!({
            "traces": [{"spans": 1, "errors": 0}, {"spans": 1, "errors": 1}], "edges": [{}], "duration_ns": 30_000_000,
            "shapes": ["chain", "dead_letter"], "rows": [span(-1, 0, "api", "api"), hop, failed],
            "missing": {"sent": [{"hop": "sns", "key": "sns:1", "end": {"function": "worker"}}], "received": []},
            "cuts": [{"reason": "batch", "traces": ["ab"], "traces_count": 1}],
        });
        let expected = "\
flow of 2 traces · 2 spans · 1 edge · 30.0 ms · chain, dead letter · 1 error
 api                                     api        10.0 ms
 └─ ⇢ sqs orders, try 2, dead letter  waited     10.0 ms
    └─ ✗ worker                        worker     10.0 ms
 ◌ sns sns:1 of worker: sent, and nobody was seen receiving it
 ✂ 1 trace not followed, the other messages of a batch are of other stories: ab
";
        let drawn = render(&flow, Style::plain(Some(120)));
        // The bars are those of the waterfall, and have their own tests.
        let bars = |c: char| !matches!(c, '█' | '┄' | '▏');
        let squeeze = |text: &str| {
            let lines = text.lines().filter(|line| !line.trim_start().starts_with("0 "));
            lines
                .map(|l| {
                    l.chars().filter(|c| bars(*c)).collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(squeeze(&drawn), squeeze(expected), "\n{drawn}");
    }
}
