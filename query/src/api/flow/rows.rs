//! The rows of a flow's waterfall: the spans of all its traces, and between them a row for each hop.
//!
//! Under the span that sent stands a row for the hop, which lasts as long as the message
//! waited, and under that the receiver's trace. A receiver that several senders reach
//! stands under the first; the hops of the others have no rows below them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeBinaryArray, Int32Array, Int64Array, RecordBatch, UInt16Array, UInt32Array};
use arrow::datatypes::{Field, Schema};
use hopline_model::{SpanId, TraceId};
use hopline_stitch::flow::{Certainty, Edge, FlowSpan};
use hopline_stitch::invocation::Invocation;
use serde::Serialize;
use utoipa::ToSchema;

use super::read::Story;
use super::unfinished::Unfinished;
use crate::api::stream::Send;
use crate::api::trace::rows::{ERROR, Words, internal, place_flag, upper_levels, write_batches};
use crate::api::tree::{Above, Placed, Timed, arrange};
use crate::error::Error;

const RETRY: u16 = 64;
const FAN_OUT: u16 = 128;
const DEAD_LETTER: u16 = 256;
const UNFINISHED: u16 = 512;

/// What a row stands for.
const SPAN: &str = "span";
const INVOCATION: &str = "invocation";
const HOP: &str = "hop";

/// The columns of text, in the order in which they stand in Arrow.
const WORDS: [&str; 11] =
    ["row", "trace_id", "service", "function", "name", "kind", "status", "hop", "destination", "certainty", "cause"];

/// The columns that have no value in some rows.
const NULLABLE: [&str; 8] = ["function", "kind", "status", "hop", "destination", "certainty", "cause", "attempt"];

/// A row of a flow's waterfall.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FlowRow {
    /// `span`; `hop`: a message, an event or a call on its way, between the span that sent it and what received it; or
    /// `invocation`: one whose span never came, above the spans that it left.
    row: &'static str,
    /// Number of the parent's row, -1 for none.
    parent_row: i32,
    /// How many rows enclose it.
    depth: u32,
    /// Nanoseconds since the start of the flow.
    start: i64,
    /// Nanoseconds. Of a hop: how long it waited.
    duration: i64,
    /// Nanoseconds that no child covers, nor anything that was waited for. Of a hop: all.
    self_time: i64,
    /// 32 hexadecimal digits. Of a hop: the receiver's; of an invocation: that of a span it left, else the caller's.
    trace_id: String,
    /// 16 hexadecimal digits: as `trace_id`.
    span_id: String,
    /// `service.name`; of a hop the sender's.
    service: String,
    /// The function's name, if it runs in one; of a hop the sender's.
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<String>,
    /// The span's name; of a hop its destination, or the receiver.
    name: String,
    /// `SERVER`, `CONSUMER`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    /// `UNSET` or `ERROR`.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    /// The kind of hop: `sqs`, `lambda.invoke`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    hop: Option<&'static str>,
    /// The queue, topic, …
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<String>,
    /// `exact`, `xray` or `inferred`.
    #[serde(skip_serializing_if = "Option::is_none")]
    certainty: Option<&'static str>,
    /// Which delivery it is, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    /// Why an invocation failed whose span never came.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    /// 1 error, 2 parent missing, 4 cold start, 8 has links, 16 has events, 32 is its own ancestor, 64 retry,
    /// 128 one of several receivers, 256 came out of a dead-letter queue, 512 an invocation whose span never came.
    flags: u16,
    /// Number of direct children, of the whole flow, whatever the limit.
    children: u32,
    /// Number of rows below, of the whole flow.
    descendants: u32,
}

pub(super) fn certainty_name(certainty: Certainty) -> &'static str {
    match certainty {
        Certainty::Exact => "exact",
        Certainty::Xray => "xray",
        Certainty::Inferred => "inferred",
    }
}

/// The rows of a story, arranged.
pub(super) struct FlowRows {
    rows: Vec<FlowRow>,
    placed: Vec<Placed>,
    pub(super) start: i64,
    pub(super) duration: i64,
}

impl FlowRows {
    /// At most `limit` rows of the story: the upper levels.
    pub(super) fn of(story: &Story, limit: usize) -> FlowRows {
        let flow = &story.flow;
        let lost = || story.unfinished.iter().map(|u| &u.invocation);
        let start = lost().map(|i| i.start_ns).fold(flow.start_ns, i64::min);
        let end = lost().filter_map(Invocation::end_ns).fold(flow.end_ns, i64::max);
        let mut forest = Forest::of(story, start);
        story.unfinished.iter().for_each(|unfinished| forest.add_unfinished(unfinished));
        // A cause stands above its effect, also where both set off each other.
        let (forward, backward): (Vec<&Edge>, Vec<&Edge>) =
            flow.edges.iter().partition(|edge| edge.from.start_ns <= edge.to.start_ns);
        forward.into_iter().chain(backward).for_each(|edge| forest.add(edge));
        let Forest { rows, times, above, .. } = forest;
        let placed = upper_levels(arrange(&times, &above), limit);
        FlowRows { rows, placed, start, duration: end.saturating_sub(start) }
    }

    /// Whether rows were left out.
    pub(super) fn is_cut(&self) -> bool {
        self.placed.len() < self.rows.len()
    }

    /// How many rows the story has.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The rows in order.
    pub(super) fn list(&self) -> Vec<FlowRow> {
        let row = |placed: &Placed| {
            let row = self.rows.get(placed.node)?.clone();
            Some(FlowRow {
                parent_row: placed.parent_row,
                depth: placed.depth,
                self_time: self.self_time(placed),
                flags: row.flags | place_flag(placed.place),
                children: placed.children,
                descendants: placed.descendants,
                ..row
            })
        };
        self.placed.iter().filter_map(row).collect()
    }

    /// Time in which no child ran; a hop waits as long as it lasts.
    fn self_time(&self, placed: &Placed) -> i64 {
        let hop = self.rows.get(placed.node).filter(|row| row.row == HOP);
        hop.map_or(placed.self_time, |hop| hop.duration)
    }

    /// Writes the rows as an Arrow IPC stream.
    pub(super) fn write(&self, metadata: HashMap<String, String>, send: Send<'_>) -> Result<(), Error> {
        write_batches(&self.batch(metadata)?, send)
    }

    fn batch(&self, metadata: HashMap<String, String>) -> Result<RecordBatch, Error> {
        let mut words: [Words; WORDS.len()] = Default::default();
        for row in &self.rows {
            let texts = [
                Some(row.row),
                Some(row.trace_id.as_str()),
                Some(row.service.as_str()),
                row.function.as_deref(),
                Some(row.name.as_str()),
                row.kind,
                row.status,
                row.hop,
                row.destination.as_deref(),
                row.certainty,
                row.cause.as_deref(),
            ];
            words.iter_mut().zip(texts).for_each(|(words, text)| words.push(text));
        }
        let rows = || self.placed.iter().map(|p| self.rows.get(p.node));
        let ids = rows().map(|r| r.and_then(|r| r.span_id.parse().ok()).unwrap_or(SpanId::default()).0);
        let ids = FixedSizeBinaryArray::try_from_iter(ids).map_err(internal)?;
        let flags = self.placed.iter().map(|p| self.rows.get(p.node).map(|r| r.flags | place_flag(p.place)));
        let placed = || self.placed.iter();
        let mut columns: Vec<(&str, ArrayRef)> = vec![
            ("parent_row", Arc::new(placed().map(|p| Some(p.parent_row)).collect::<Int32Array>())),
            ("depth", Arc::new(placed().map(|p| Some(p.depth)).collect::<UInt32Array>())),
            ("start", Arc::new(rows().map(|r| r.map(|r| r.start)).collect::<Int64Array>())),
            ("duration", Arc::new(rows().map(|r| r.map(|r| r.duration)).collect::<Int64Array>())),
            ("self_time", Arc::new(placed().map(|p| Some(self.self_time(p))).collect::<Int64Array>())),
        ];
        for (name, words) in WORDS.iter().zip(&words) {
            columns.push((name, words.array(&self.placed)?));
        }
        columns.push(("attempt", Arc::new(rows().map(|r| r.and_then(|r| r.attempt)).collect::<UInt32Array>())));
        columns.push(("span_id", Arc::new(ids)));
        columns.push(("flags", Arc::new(flags.collect::<UInt16Array>())));
        columns.push(("children", Arc::new(placed().map(|p| Some(p.children)).collect::<UInt32Array>())));
        columns.push(("descendants", Arc::new(placed().map(|p| Some(p.descendants)).collect::<UInt32Array>())));
        let fields: Vec<Field> =
            columns.iter().map(|(name, a)| Field::new(*name, a.data_type().clone(), NULLABLE.contains(name))).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
        RecordBatch::try_new(schema, columns.into_iter().map(|(_, a)| a).collect()).map_err(internal)
    }
}

/// The rows, and what stands above each.
struct Forest {
    /// When the flow began.
    start_ns: i64,
    rows: Vec<FlowRow>,
    times: Vec<Timed>,
    above: Vec<Above>,
    at: HashMap<(TraceId, SpanId), usize>,
    /// The topmost row of the tree in which each row stands, of a span that of its own trace.
    tops: Vec<usize>,
    /// Topmost rows that stand below another tree, and the spans that led to them.
    hung: HashMap<usize, usize>,
    /// Spans between which and their parents a hop stands.
    parted: HashSet<usize>,
}

impl Forest {
    /// The spans, each trace by itself.
    fn of(story: &Story, start_ns: i64) -> Forest {
        let spans = &story.flow.spans;
        let rows: Vec<FlowRow> = spans.iter().map(|span| span_row(span, story, start_ns)).collect();
        let above = parents(spans);
        Forest {
            start_ns,
            times: rows.iter().map(|r| Timed { start: r.start, duration: r.duration }).collect(),
            rows,
            tops: tops(&above),
            above,
            // Of spans with one id the earliest stands for all.
            at: spans.iter().enumerate().map(|(i, s)| ((s.trace_id, s.span_id), i)).rev().collect(),
            hung: HashMap::new(),
            parted: HashSet::new(),
        }
    }

    /// Adds an invocation without a span: above what it left, below who called it.
    fn add_unfinished(&mut self, unfinished: &Unfinished) {
        let service = unfinished.spans.first().and_then(|place| self.rows.get(*self.at.get(place)?));
        let row = unfinished_row(unfinished, service.map(|row| row.service.clone()), self.start_ns);
        let own = self.push(row, Above::Nothing);
        let orphans: Vec<usize> = unfinished.spans.iter().filter_map(|place| self.at.get(place).copied()).collect();
        for orphan in orphans {
            if let Some(above) = self.above.get_mut(orphan).filter(|above| **above == Above::Missing) {
                *above = Above::Row(own);
                self.tops.iter_mut().filter(|top| **top == orphan).for_each(|top| *top = own);
            }
        }
        if let Some(caller) = unfinished.caller.and_then(|place| self.at.get(&place)).copied() {
            self.hang(own, caller, caller);
        }
    }

    /// Adds the hop of an edge, and puts below it what received.
    fn add(&mut self, edge: &Edge) {
        let Some(from) = self.at.get(&(edge.from.trace_id, edge.from.span_id)).copied() else { return };
        if edge.rule == "parent" {
            self.part(edge);
            return;
        }
        let hop = self.push_hop(edge, from);
        let to = self.at.get(&(edge.to.trace_id, edge.to.span_id)).and_then(|to| self.tops.get(*to)).copied();
        if let Some(top) = to {
            self.hang(top, hop, from);
        }
    }

    /// Within a trace the parent stands above already: a hop stands between only where a message waited.
    fn part(&mut self, edge: &Edge) {
        if edge.is_synchronous || matches!(edge.hop, "call" | "http") {
            return;
        }
        let Some(to) = self.at.get(&(edge.to.trace_id, edge.to.root_span_id)).copied() else { return };
        let Some(Above::Row(parent)) = self.above.get(to).copied() else { return };
        if self.parted.insert(to) {
            let hop = self.push_hop(edge, parent);
            self.above.get_mut(to).into_iter().for_each(|above| *above = Above::Row(hop));
        }
    }

    /// Puts a tree below a row to which a span led. The first that reaches a tree has it; nothing stands below itself.
    fn hang(&mut self, top: usize, below: usize, from: usize) {
        let is_free = !self.hung.contains_key(&top) && !self.is_below(from, top);
        if let Some(above) = self.above.get_mut(top).filter(|above| is_free && !matches!(above, Above::Row(_))) {
            *above = Above::Row(below);
            self.hung.insert(top, from);
        }
    }

    fn push(&mut self, row: FlowRow, above: Above) -> usize {
        let number = self.rows.len();
        self.times.push(Timed { start: row.start, duration: row.duration });
        self.rows.push(row);
        self.above.push(above);
        self.tops.push(number);
        number
    }

    fn push_hop(&mut self, edge: &Edge, below: usize) -> usize {
        let row = hop_row(edge, self.start_ns);
        // Whoever waited for the receiver's end did nothing else meanwhile.
        let until = edge.to.end_ns.saturating_sub(self.start_ns);
        let covers = if edge.is_synchronous { until.saturating_sub(row.start).max(row.duration) } else { row.duration };
        let hop = self.push(row, Above::Row(below));
        self.times.get_mut(hop).into_iter().for_each(|times| times.duration = covers);
        hop
    }

    /// Whether a span stands in the tree of `top`, or in one that hangs below it.
    fn is_below(&self, span: usize, top: usize) -> bool {
        let mut at = self.tops.get(span).copied();
        // A tree hangs once, and never below itself: the way up ends.
        while let Some(tree) = at {
            if tree == top {
                return true;
            }
            at = self.hung.get(&tree).and_then(|from| self.tops.get(*from)).copied();
        }
        false
    }
}

/// The row of an invocation whose span never came.
fn unfinished_row(unfinished: &Unfinished, service: Option<String>, start_ns: i64) -> FlowRow {
    let invocation = &unfinished.invocation;
    let function = invocation.function.clone();
    let is_failed = invocation.outcome.is_failed();
    let (trace, span) = unfinished.place().unwrap_or_default();
    FlowRow {
        row: INVOCATION,
        start: invocation.start_ns.saturating_sub(start_ns),
        duration: invocation.duration_ns.unwrap_or(0),
        trace_id: trace.to_string(),
        span_id: span.to_string(),
        service: service.or_else(|| function.clone()).unwrap_or_default(),
        name: function.clone().unwrap_or_else(|| invocation.id.clone()),
        function,
        status: Some(if is_failed { "ERROR" } else { "UNSET" }),
        cause: Some(invocation.cause.clone().unwrap_or_else(|| "its span never came".to_owned())),
        flags: if is_failed { UNFINISHED | ERROR } else { UNFINISHED },
        ..FlowRow::default()
    }
}

fn span_row(span: &FlowSpan, story: &Story, start_ns: i64) -> FlowRow {
    let flags = story.flags.get(&(span.trace_id, span.span_id)).copied().unwrap_or_default();
    FlowRow {
        row: SPAN,
        start: span.start_ns.saturating_sub(start_ns),
        duration: span.end_ns.saturating_sub(span.start_ns),
        trace_id: span.trace_id.to_string(),
        span_id: span.span_id.to_string(),
        service: span.service.clone(),
        function: span.function.clone(),
        name: span.name.clone(),
        kind: Some(span.kind.name()),
        status: Some(if span.is_error { "ERROR" } else { "UNSET" }),
        flags: if span.is_error { flags | ERROR } else { flags },
        ..FlowRow::default()
    }
}

fn hop_row(edge: &Edge, start_ns: i64) -> FlowRow {
    let bits = [(edge.is_retry, RETRY), (edge.is_fan_out, FAN_OUT), (edge.is_dead_letter, DEAD_LETTER)];
    let flags = bits.iter().filter(|(set, _)| *set).fold(0, |flags, (_, bit)| flags | bit);
    let receiver = edge.to.function.as_deref().unwrap_or(&edge.to.service);
    FlowRow {
        row: HOP,
        // A message waits until it is received; a clock may say that it was received before.
        start: edge.to.start_ns.saturating_sub(edge.wait_ns).saturating_sub(start_ns),
        duration: edge.wait_ns,
        trace_id: edge.to.trace_id.to_string(),
        span_id: edge.to.span_id.to_string(),
        service: edge.from.service.clone(),
        function: edge.from.function.clone(),
        name: edge.destination.clone().unwrap_or_else(|| receiver.to_owned()),
        hop: Some(edge.hop),
        destination: edge.destination.clone(),
        certainty: Some(certainty_name(edge.certainty)),
        attempt: Some(edge.attempt),
        flags,
        ..FlowRow::default()
    }
}

/// What stands above each span in its own trace.
fn parents(spans: &[FlowSpan]) -> Vec<Above> {
    let mut by_id: HashMap<(TraceId, SpanId), usize> = HashMap::with_capacity(spans.len());
    for (i, span) in spans.iter().enumerate() {
        // Of spans with one id the earliest gets the children.
        let first = by_id.entry((span.trace_id, span.span_id)).or_insert(i);
        if spans.get(*first).is_some_and(|s| span.start_ns < s.start_ns) {
            *first = i;
        }
    }
    let above = |span: &FlowSpan| match span.parent.map(|parent| by_id.get(&(span.trace_id, parent))) {
        None => Above::Nothing,
        Some(None) => Above::Missing,
        Some(Some(parent)) => Above::Row(*parent),
    };
    spans.iter().map(above).collect()
}

/// The topmost span above each span; itself where there is none, or only a circle.
fn tops(above: &[Above]) -> Vec<usize> {
    let mut tops: Vec<Option<usize>> = vec![None; above.len()];
    for start in 0..above.len() {
        let mut path = Vec::new();
        let mut at = start;
        let top = loop {
            if let Some(Some(top)) = tops.get(at) {
                break *top;
            }
            path.push(at);
            match above.get(at) {
                // A path that is longer than there are spans goes round in a circle.
                Some(Above::Row(parent)) if path.len() <= above.len() => at = *parent,
                _ => break at,
            }
        };
        for on_path in path {
            if let Some(slot) = tops.get_mut(on_path) {
                *slot = Some(top);
            }
        }
    }
    tops.into_iter().enumerate().map(|(i, top)| top.unwrap_or(i)).collect()
}
