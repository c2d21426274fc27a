//! A flow on a terminal: the spans of all its traces as one tree, with a line for each hop.
//!
//! Takes the answer of `/api/v1/flows`, whose rows are in order already, and what its failed
//! spans said. Below the tree stands where the time went, what failed, and what is known to
//! be missing, so that the end of a long picture tells what to look for in it.
//!
//! - [`layout`]: how a deep tree fits a narrow terminal;
//! - [`notes`]: what stands below the tree.

mod layout;
mod notes;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::Value;

use self::layout::Layout;
use super::waterfall::{DURATION, bar};
use super::{Style, clean, count, duration, pad, pad_left, width};

/// What failed spans said, by trace id and span id.
pub(crate) type Messages = HashMap<(String, String), String>;

/// So many digits of a span's id tell it from the others of a flow.
const SHORT_ID: usize = 8;

const MISSING_PARENT: u16 = 2;
const COLD_START: u16 = 4;
const CIRCLE: u16 = 32;
const RETRY: u16 = 64;
const DEAD_LETTER: u16 = 256;
const UNFINISHED: u16 = 512;

/// A row as the API gives it, and what other parts of the answer say of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Row {
    row: String,
    parent_row: i64,
    start: i64,
    duration: i64,
    trace_id: String,
    span_id: String,
    service: String,
    function: Option<String>,
    name: String,
    kind: Option<String>,
    status: Option<String>,
    hop: Option<String>,
    destination: Option<String>,
    certainty: Option<String>,
    attempt: Option<u32>,
    cause: Option<String>,
    flags: u16,
    children: u32,
    /// What it said when it failed, unless the row above says the same.
    #[serde(skip)]
    message: Option<String>,
    /// Whether it failed, and no row above or below it tells more of that.
    #[serde(skip)]
    is_source: bool,
    /// How many senders it could have been.
    #[serde(skip)]
    candidates: u64,
    /// Whether the other side of one of its hops is not known.
    #[serde(skip)]
    is_half: bool,
    /// Of a hop whose receiver stands under another sender: who that is.
    #[serde(skip)]
    elsewhere: Option<String>,
    /// Whether it is on the path that took the time.
    #[serde(skip)]
    is_on_path: bool,
    /// Whether it runs elsewhere than what stands above, and its name does not say where.
    #[serde(skip)]
    is_elsewhere: bool,
}

impl Row {
    fn is_hop(&self) -> bool {
        self.row == "hop"
    }

    fn is_unfinished(&self) -> bool {
        self.flags & UNFINISHED != 0
    }

    fn is_error(&self) -> bool {
        self.status.as_deref() == Some("ERROR")
    }

    fn place(&self) -> (&str, &str) {
        (&self.trace_id, &self.span_id)
    }

    fn above(&self) -> Option<usize> {
        usize::try_from(self.parent_row).ok()
    }

    /// What stands in the first column, and where it runs if `is_whole`, as no other column says it then.
    fn label(&self, is_whole: bool) -> String {
        if self.is_hop() {
            let receiver = self.elsewhere.as_ref().map(|receiver| format!(", to {receiver}")).unwrap_or_default();
            return format!("{} {}{receiver}", self.certainty_mark(), self.hop_name());
        }
        let mut text = if self.is_error() { "✗ ".to_owned() } else { String::new() };
        if self.flags & MISSING_PARENT != 0 || self.is_unfinished() {
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
        if self.is_half {
            text.push_str(" ◌");
        }
        if self.flags & CIRCLE != 0 {
            text.push_str(" (its own ancestor)");
        }
        if is_whole && self.is_elsewhere {
            let _ = write!(text, " ({})", self.whose());
        }
        if let Some(message) = self.cause.as_ref().or(self.message.as_ref()) {
            let _ = write!(text, ": {}", clean(message));
        }
        text
    }

    fn certainty_mark(&self) -> &'static str {
        match self.certainty.as_deref() {
            Some("inferred") => "≈",
            Some("xray") => "⌁",
            _ => "⇢",
        }
    }

    fn hop_name(&self) -> String {
        let mut text = clean(self.hop.as_deref().unwrap_or("hop")).into_owned();
        if let Some(destination) = &self.destination {
            let _ = write!(text, " {}", clean(destination));
        }
        if self.flags & RETRY != 0 {
            let _ = write!(text, ", try {}", self.attempt.unwrap_or(1));
        }
        if self.flags & DEAD_LETTER != 0 {
            text.push_str(", dead letter");
        }
        if self.candidates > 1 {
            let _ = write!(text, ", one of {}", self.candidates);
        }
        text
    }

    /// The service, and the function where it is called differently.
    fn whose(&self) -> String {
        match &self.function {
            Some(function) if *function != self.service => format!("{}/{}", clean(&self.service), clean(function)),
            _ => clean(&self.service).into_owned(),
        }
    }

    /// Whether its name says where it runs.
    fn names_itself(&self) -> bool {
        self.name == self.service || self.function.as_ref() == Some(&self.name)
    }
}

/// The rows, and what is known of the flow as a whole.
struct Story<'a> {
    flow: &'a Value,
    rows: Vec<Row>,
    /// Nanoseconds, at least one.
    total: i64,
}

impl<'a> Story<'a> {
    fn of(flow: &'a Value, messages: &Messages) -> Story<'a> {
        let rows: Vec<Row> = list(flow, "rows").iter().filter_map(|row| Row::deserialize(row).ok()).collect();
        let total = flow.get("duration_ns").and_then(Value::as_i64).unwrap_or(0).max(1);
        let mut story = Story { flow, rows, total };
        story.note_edges();
        story.note_receivers();
        story.note_failures(messages);
        story.note_places();
        let path: Vec<usize> = notes::path(&story).into_iter().map(|(row, _)| row).collect();
        path.into_iter().for_each(|row| story.note_path(row));
        story
    }

    fn row(&self, number: Option<usize>) -> Option<&Row> {
        self.rows.get(number?)
    }

    /// Marks a row, and all that led to it.
    fn note_path(&mut self, row: usize) {
        let mut at = Some(row);
        while let Some(row) = at.and_then(|at| self.rows.get_mut(at)).filter(|row| !row.is_on_path) {
            row.is_on_path = true;
            at = row.above();
        }
    }

    fn note_edges(&mut self) {
        let mut candidates: HashMap<(&str, &str, &str), u64> = HashMap::new();
        for edge in list(self.flow, "edges") {
            let most =
                candidates.entry((at(edge, "/to/trace_id"), at(edge, "/to/span_id"), at(edge, "/hop"))).or_default();
            *most = (*most).max(edge.get("candidates").and_then(Value::as_u64).unwrap_or(1));
        }
        let missing = self.flow.get("missing").unwrap_or(&Value::Null);
        let halves = list(missing, "sent").iter().chain(list(missing, "received"));
        let halves: HashSet<_> = halves.map(|half| (at(half, "/end/trace_id"), at(half, "/end/span_id"))).collect();
        for row in &mut self.rows {
            row.is_half = row.row == "span" && halves.contains(&row.place());
            let hop = row.hop.as_deref().unwrap_or_default();
            row.candidates = candidates.get(&(row.trace_id.as_str(), row.span_id.as_str(), hop)).copied().unwrap_or(1);
        }
    }

    /// A trace that several messages reach stands under the first: the hops of the others say whom they lead to.
    fn note_receivers(&mut self) {
        let ends = list(self.flow, "edges").iter().filter_map(|edge| edge.get("to"));
        let mut receivers: HashMap<(String, String), String> = HashMap::new();
        let mut add = |trace: &str, span: &str, whose: String| {
            receivers.insert((trace.to_owned(), span.to_owned()), whose);
        };
        for end in ends {
            let by = [at(end, "/function"), at(end, "/service")].into_iter().find(|by| !by.is_empty());
            add(at(end, "/trace_id"), at(end, "/span_id"), clean(by.unwrap_or_default()).into_owned());
        }
        for row in self.rows.iter().filter(|row| row.row == "span") {
            let by = row.function.as_ref().filter(|by| !by.is_empty()).unwrap_or(&row.service);
            add(&row.trace_id, &row.span_id, clean(by).into_owned());
        }
        let leading: HashSet<usize> = self.rows.iter().filter_map(Row::above).collect();
        for (i, row) in self.rows.iter_mut().enumerate() {
            // What a limit left out stands below it all the same.
            if !row.is_hop() || row.children > 0 || leading.contains(&i) || row.span_id.is_empty() {
                continue;
            }
            let span: String = row.span_id.chars().take(SHORT_ID).collect();
            let place = (row.trace_id.clone(), row.span_id.clone());
            let whose = receivers.get(&place).filter(|whose| !whose.is_empty()).map(|whose| format!("{whose} "));
            row.elsewhere = Some(format!("{}(span {})", whose.unwrap_or_default(), clean(&span)));
        }
    }

    /// How many edges it has: in a batch, those of other stories are told too.
    fn edges_count(&self) -> usize {
        let traces: HashSet<&str> = list(self.flow, "traces").iter().map(|trace| at(trace, "/trace_id")).collect();
        let is_own = |edge: &&Value| {
            let from = at(edge, "/from/trace_id");
            from.is_empty() || traces.contains(from)
        };
        list(self.flow, "edges").iter().filter(is_own).count()
    }

    /// A failure is handed up from span to span: it is told once, where it is first met.
    fn note_failures(&mut self, messages: &Messages) {
        let said = |row: &Row| {
            let message = messages.get(&(row.trace_id.clone(), row.span_id.clone()));
            message.filter(|message| row.row == "span" && row.is_error() && !message.is_empty()).cloned()
        };
        let said: Vec<Option<String>> = self.rows.iter().map(said).collect();
        let mut has_failed_child = vec![false; self.rows.len()];
        for row in self.rows.iter().filter(|row| row.is_error()) {
            row.above().and_then(|above| has_failed_child.get_mut(above)).into_iter().for_each(|slot| *slot = true);
        }
        let above_says: Vec<Option<&String>> = self.rows.iter().map(|row| said.get(row.above()?)?.as_ref()).collect();
        let told: Vec<(Option<String>, bool)> = self
            .rows
            .iter()
            .enumerate()
            .map(|(i, row)| {
                let own = said.get(i).and_then(Option::as_ref);
                let above_says = above_says.get(i).copied().flatten();
                let is_repeated = own.is_some() && own == above_says;
                let is_blank = own.is_none() && (has_failed_child.get(i) == Some(&true) || above_says.is_some());
                let is_source = row.is_error() && row.row == "span" && !is_repeated && !is_blank;
                (own.filter(|_| !is_repeated).cloned(), is_source)
            })
            .collect();
        for (row, (message, is_source)) in self.rows.iter_mut().zip(told) {
            (row.message, row.is_source) = (message, is_source);
        }
    }

    fn note_places(&mut self) {
        let mut whose: Vec<Option<String>> = Vec::with_capacity(self.rows.len());
        for i in 0..self.rows.len() {
            let Some(row) = self.rows.get_mut(i) else { break };
            let above = row.above().and_then(|above| whose.get(above)).cloned().flatten();
            if row.is_hop() {
                whose.push(above);
                continue;
            }
            let own = row.whose();
            row.is_elsewhere = above.as_ref() != Some(&own) && !row.names_itself();
            whose.push(Some(own));
        }
    }
}

/// The whole picture, each line ended.
pub(crate) fn render(flow: &Value, messages: &Messages, style: Style) -> String {
    let story = Story::of(flow, messages);
    let layout = Layout::of(&story.rows, style.width);
    let mut text = head(&story, style);
    if layout.bar > 0 && !story.rows.is_empty() {
        let end = duration(story.total);
        let gap = layout.bar.saturating_sub(1 + width(&end));
        let lead = " ".repeat(layout.name + layout.service_width() + DURATION + 4);
        let _ = writeln!(text, "{lead}{}", style.dim(&format!("0{}{end}", " ".repeat(gap))));
    }
    let mut services: Vec<&str> = Vec::new();
    for (row, lead) in story.rows.iter().zip(&layout.leads) {
        if !row.is_hop() && !services.contains(&row.service.as_str()) {
            services.push(&row.service);
        }
        let hue = services.iter().position(|s| *s == row.service).unwrap_or(0);
        line(&mut text, &layout, lead, row, story.total, hue, style);
    }
    notes::write(&mut text, &story, style);
    text
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The text at a place, empty if there is none.
fn at<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn plural(n: usize, one: &str) -> String {
    format!("{} {one}{}", count(n as u64), if n == 1 { "" } else { "s" })
}

fn head(story: &Story<'_>, style: Style) -> String {
    let flow = story.flow;
    let sum = |name: &str| list(flow, "traces").iter().filter_map(|t| t.get(name)?.as_u64()).sum::<u64>() as usize;
    let mut parts = vec![
        format!("flow of {}", style.bold(&plural(list(flow, "traces").len(), "trace"))),
        plural(sum("spans"), "span"),
        plural(story.edges_count(), "edge"),
        duration(story.total),
    ];
    let shapes: Vec<String> =
        list(flow, "shapes").iter().filter_map(Value::as_str).map(|s| clean(s).replace('_', " ")).collect();
    if !shapes.is_empty() {
        parts.push(shapes.join(", "));
    }
    if sum("errors") > 0 {
        parts.push(style.red(&plural(sum("errors"), "error")));
    }
    let unfinished = list(flow, "unfinished").len();
    if unfinished > 0 {
        parts.push(style.red(&format!("{} never finished", plural(unfinished, "invocation"))));
    }
    // Seconds are enough to find the hour in question elsewhere.
    let start: String = at(flow, "/start_time").chars().take(19).collect();
    if !start.is_empty() {
        parts.push(format!("from {} UTC", clean(&start.replace('T', " "))));
    }
    let mut text = String::new();
    notes::wrap(&mut text, "", &parts, " · ", style);
    text
}

fn line(text: &mut String, layout: &Layout, lead: &str, row: &Row, total: i64, hue: usize, style: Style) {
    let paint = |text: &str| match row {
        row if row.is_error() => style.red(text),
        row if row.is_hop() => style.dim(text),
        _ => style.hue(hue, text),
    };
    let room = layout.name.saturating_sub(width(lead));
    let name = pad(&layout.cut(&row.label(layout.service.is_none()), room), room);
    let name = if row.is_error() || row.is_hop() { paint(&name) } else { name };
    let mark = if row.is_on_path { style.yellow("┃") } else { " ".to_owned() };
    let mut line = format!("{mark}{}{name}", style.dim(lead));
    if let Some(columns) = layout.service {
        let whose = if row.is_hop() { "waited".to_owned() } else { row.whose() };
        let whose = pad(&layout.cut(&whose, columns), columns);
        let whose = if row.is_hop() { style.dim(&whose) } else { style.hue(hue, &whose) };
        let _ = write!(line, "  {whose}");
    }
    let _ = write!(line, " {}", pad_left(&duration(row.duration), DURATION));
    if layout.bar > 0 {
        let (before, long) = bar(row.start, row.duration, total, layout.bar);
        let shape = match row {
            _ if long == 0 => "▏".to_owned(),
            row if row.is_hop() => "┄".repeat(long),
            row if row.is_unfinished() => "▒".repeat(long),
            _ => "█".repeat(long),
        };
        let _ = write!(line, "  {}{}", " ".repeat(before), paint(&shape));
    }
    text.push_str(line.trim_end());
    text.push('\n');
}
