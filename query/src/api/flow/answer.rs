//! A flow as JSON.

use std::collections::{BTreeMap, HashSet};

use hopline_model::{SpanId, TraceId};
use hopline_stitch::flow::{Cut, CutReason, Edge, End, Flow, FlowSpan, Half, Shape};
use hopline_stitch::key::{Direction, Key, Kind};
use serde::Serialize;
use utoipa::ToSchema;

use super::read::Story;
use super::rows::{FlowRow, FlowRows, certainty_name};
use super::unfinished::Unfinished;
use super::{ids, path};
use crate::api::answer::rfc3339;

/// All traces of one story, and the hops between them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Flow)]
pub(crate) struct FlowAnswer {
    /// The earliest first.
    traces: Vec<FlowTrace>,
    /// RFC 3339: when its first span began.
    start_time: String,
    /// RFC 3339: when its last span ended.
    end_time: String,
    /// Nanoseconds from the first cause to the last effect.
    duration_ns: i64,
    /// What people would call it: `chain`, `fan_out`, `fan_in`, `retries`, `dead_letter`, `saga`, `orchestration`.
    #[schema(value_type = Vec<String>)]
    shapes: Vec<Shape>,
    /// Who caused whom, by the start of the caused side.
    edges: Vec<FlowEdge>,
    /// What is known to be missing.
    missing: Missing,
    /// Invocations of which the platform tells and whose span never came: they ran out of time, or crashed, or run still.
    unfinished: Vec<UnfinishedAnswer>,
    /// Where the flow was not followed, and why.
    cuts: Vec<FlowCut>,
    /// The path that took the time, from first to last.
    critical_path: Vec<PathStep>,
    /// The waterfall of all traces, with a row for each hop. In Arrow the rows themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<Vec<FlowRow>>,
    /// How many rows the whole waterfall has.
    rows_count: usize,
    /// Whether all that is stored of the story is in the answer.
    complete: bool,
    /// Why the answer is not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// One trace of a flow.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FlowTrace {
    /// 32 hexadecimal digits.
    trace_id: String,
    /// RFC 3339.
    start_time: String,
    /// Nanoseconds.
    duration_ns: i64,
    /// How many it has.
    spans: usize,
    /// How many of them have status ERROR.
    errors: usize,
    /// Spans whose parent is not stored.
    missing_parents: usize,
    /// `service.name` of its first span.
    service: String,
    /// The function in which that ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<String>,
    /// The name of its first span.
    name: String,
}

/// One end of an edge.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FlowEnd {
    /// 32 hexadecimal digits.
    trace_id: String,
    /// 16 hexadecimal digits: the span that sent or received.
    span_id: String,
    /// 16 hexadecimal digits: the topmost span of the invocation or request in which that happened.
    root_span_id: String,
    /// `service.name`
    service: String,
    /// The function's name, if it runs in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<String>,
    /// The invocation, if it is one and known.
    #[serde(skip_serializing_if = "Option::is_none")]
    invocation_id: Option<String>,
    /// RFC 3339.
    start_time: String,
    /// Nanoseconds.
    duration_ns: i64,
}

/// One side caused the other.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FlowEdge {
    /// The kind of hop: `sqs`, `lambda.invoke`, …; `call`, `message` or `link` where trace context alone tells of it.
    #[schema(value_type = String)]
    hop: &'static str,
    /// What proves it: `parent`, `link`, the rule that found the key, `xray`, `inferred`.
    #[schema(value_type = String)]
    rule: &'static str,
    /// `exact`, `xray` (an X-Ray root that both sides share) or `inferred` (time and destination allow only this one).
    #[schema(value_type = String)]
    certainty: &'static str,
    /// The key that both sides have.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The queue, topic, bus, stream, bucket, table, function or state machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<String>,
    /// Who sent, called or wrote.
    from: FlowEnd,
    /// Who received, was called or read.
    to: FlowEnd,
    /// Whether the sender waited for the receiver's end.
    synchronous: bool,
    /// Nanoseconds between sending and receiving.
    wait_ns: i64,
    /// Which delivery to the same receiver it is, from 1.
    attempt: u32,
    /// Whether the same receiver had it before.
    retry: bool,
    /// Whether several receivers had it.
    fan_out: bool,
    /// Whether it came out of a dead-letter queue.
    dead_letter: bool,
    /// How many senders it could have been: 1 where it is sure.
    candidates: u32,
}

/// Hops of which only one side is known, and spans that never came.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Missing {
    /// What was sent, and nobody was seen receiving.
    sent: Vec<FlowHalf>,
    /// What was received, and its sender is not known.
    received: Vec<FlowHalf>,
    /// Spans whose parent is not stored.
    parents: usize,
}

/// An invocation whose span never came.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Unfinished)]
pub(crate) struct UnfinishedAnswer {
    /// The platform's request id.
    invocation_id: String,
    /// Which try with this id it is, from 1, of those that are known.
    attempt: u32,
    /// The function.
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<String>,
    /// RFC 3339.
    start_time: String,
    /// Nanoseconds, if the platform reported it.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ns: Option<i64>,
    /// `ok`, `error`, `timeout`, `oom`, `crash`, `unknown`.
    #[schema(value_type = String)]
    outcome: &'static str,
    /// Why it failed, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    /// The spans that it left: their parent would be its own.
    spans: Vec<SpanRef>,
    /// The span that called it.
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<SpanRef>,
}

/// Where a span is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SpanRef {
    /// 32 hexadecimal digits.
    trace_id: String,
    /// 16 hexadecimal digits.
    span_id: String,
}

/// A hop of which only one side is known.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FlowHalf {
    /// The kind of hop.
    #[schema(value_type = String)]
    hop: &'static str,
    /// The key.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The queue, topic, …
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<String>,
    /// The side that is known.
    end: FlowEnd,
}

/// Where a flow was not followed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FlowCut {
    /// `batch` (its other messages belong to other stories), `xray_root` (too many share it), or the limit that was
    /// reached: `traces`, `depth`, `time`, `spans`, `keys`.
    #[schema(value_type = String)]
    reason: CutReason,
    /// 32 hexadecimal digits: the trace at which it ends.
    trace_id: String,
    /// 16 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<String>,
    /// The traces that were not followed, at most a hundred.
    traces: Vec<String>,
    /// How many they are.
    traces_count: usize,
}

/// A piece of the critical path.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PathStep {
    /// 32 hexadecimal digits.
    trace_id: String,
    /// 16 hexadecimal digits: the span that ran; of a wait, the one that then received.
    span_id: String,
    /// Nanoseconds since the start of the flow.
    start_ns: i64,
    /// Nanoseconds.
    duration_ns: i64,
    /// Whether a message was waiting, or nothing is known of what happened.
    wait: bool,
    /// The id of an invocation whose span never came, where it is its time that no span tells of; the ids are then of a span
    /// that it left, or of its caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    invocation_id: Option<String>,
}

impl FlowAnswer {
    pub(super) fn of(story: &Story, rows: &FlowRows, list: Option<Vec<FlowRow>>) -> FlowAnswer {
        let flow = &story.flow;
        let reason = reason(flow, story.unread, rows);
        // Who was called and never sent a span is known from the platform.
        let lost: HashSet<String> =
            story.unfinished.iter().map(|u| Key::new(Kind::Lambda, u.invocation.id.as_str()).to_string()).collect();
        let missing = flow.halves.iter().filter(|half| half.key.as_ref().is_none_or(|key| !lost.contains(key)));
        let (sent, received): (Vec<_>, Vec<_>) = missing.partition(|h| h.direction == Direction::Out);
        let missing_parents = missing_parents(&flow.spans);
        let step = |piece: &path::Piece<'_>| {
            let step = piece.step;
            let (trace_id, span_id) = ids(step.trace_id, step.span_id);
            let start_ns = step.start_ns.saturating_sub(rows.start);
            let duration_ns = step.end_ns.saturating_sub(step.start_ns);
            let invocation_id = piece.lost.map(|lost| lost.invocation.id.clone());
            PathStep { trace_id, span_id, start_ns, duration_ns, wait: step.is_wait, invocation_id }
        };
        FlowAnswer {
            traces: traces(flow, &missing_parents),
            start_time: rfc3339(rows.start),
            end_time: rfc3339(rows.start.saturating_add(rows.duration)),
            duration_ns: rows.duration,
            shapes: flow.shapes.clone(),
            edges: flow.edges.iter().map(edge).collect(),
            missing: Missing {
                sent: sent.into_iter().map(half).collect(),
                received: received.into_iter().map(half).collect(),
                parents: missing_parents.values().sum(),
            },
            unfinished: story.unfinished.iter().map(unfinished).collect(),
            cuts: flow.cuts.iter().map(cut).collect(),
            critical_path: path::pieces(story).iter().map(step).collect(),
            rows: list,
            rows_count: rows.len(),
            complete: reason.is_none(),
            reason,
        }
    }
}

/// Why not all of the story is in the answer.
fn reason(flow: &Flow, unread: Option<&str>, rows: &FlowRows) -> Option<String> {
    let word = |reason: CutReason| match reason {
        // The messages of others in a batch are no part of this story.
        CutReason::Batch => None,
        CutReason::XrayRoot => Some("too many invocations share an X-Ray root"),
        CutReason::Traces => Some("the limit of traces was reached"),
        CutReason::Depth => Some("the limit of depth was reached"),
        CutReason::Time => Some("the limit of time was reached"),
        CutReason::Spans => Some("the limit of spans was reached"),
        CutReason::Keys => Some("the limit of keys was reached"),
    };
    let mut words: Vec<String> = Vec::new();
    flow.cuts.iter().filter_map(|cut| word(cut.reason)).for_each(|text| {
        if !words.iter().any(|word| word == text) {
            words.push(text.to_owned());
        }
    });
    words.extend(flow.gaps());
    words.extend(unread.map(str::to_owned));
    if rows.is_cut() {
        words.push("the limit of rows was reached".to_owned());
    }
    (!words.is_empty()).then(|| words.join("; "))
}

fn missing_parents(spans: &[FlowSpan]) -> BTreeMap<TraceId, usize> {
    let ids: HashSet<(TraceId, SpanId)> = spans.iter().map(|s| (s.trace_id, s.span_id)).collect();
    let mut missing = BTreeMap::new();
    for span in spans {
        if span.parent.is_some_and(|parent| !ids.contains(&(span.trace_id, parent))) {
            *missing.entry(span.trace_id).or_default() += 1;
        }
    }
    missing
}

fn traces(flow: &Flow, missing_parents: &BTreeMap<TraceId, usize>) -> Vec<FlowTrace> {
    let mut by_trace: BTreeMap<TraceId, Vec<&FlowSpan>> = BTreeMap::new();
    flow.spans.iter().for_each(|span| by_trace.entry(span.trace_id).or_default().push(span));
    let one = |trace_id: &TraceId| {
        let spans = by_trace.get(trace_id)?;
        let first = spans.iter().min_by_key(|s| (s.parent.is_some(), s.start_ns, s.span_id))?;
        let start = spans.iter().map(|s| s.start_ns).min()?;
        let end = spans.iter().map(|s| s.end_ns).max()?;
        Some(FlowTrace {
            trace_id: trace_id.to_string(),
            start_time: rfc3339(start),
            duration_ns: end.saturating_sub(start),
            spans: spans.len(),
            errors: spans.iter().filter(|s| s.is_error).count(),
            missing_parents: missing_parents.get(trace_id).copied().unwrap_or_default(),
            service: first.service.clone(),
            function: first.function.clone(),
            name: first.name.clone(),
        })
    };
    flow.traces.iter().filter_map(one).collect()
}

fn end(end: &End) -> FlowEnd {
    let (trace_id, span_id) = ids(end.trace_id, end.span_id);
    FlowEnd {
        trace_id,
        span_id,
        root_span_id: end.root_span_id.to_string(),
        service: end.service.clone(),
        function: end.function.clone(),
        invocation_id: end.invocation_id.clone(),
        start_time: rfc3339(end.start_ns),
        duration_ns: end.end_ns.saturating_sub(end.start_ns),
    }
}

fn edge(edge: &Edge) -> FlowEdge {
    FlowEdge {
        hop: edge.hop,
        rule: edge.rule,
        certainty: certainty_name(edge.certainty),
        key: edge.key.clone(),
        destination: edge.destination.clone(),
        from: end(&edge.from),
        to: end(&edge.to),
        synchronous: edge.is_synchronous,
        wait_ns: edge.wait_ns,
        attempt: edge.attempt,
        retry: edge.is_retry,
        fan_out: edge.is_fan_out,
        dead_letter: edge.is_dead_letter,
        candidates: edge.candidates,
    }
}

fn half(half: &Half) -> FlowHalf {
    FlowHalf { hop: half.hop, key: half.key.clone(), destination: half.destination.clone(), end: end(&half.end) }
}

fn unfinished(one: &Unfinished) -> UnfinishedAnswer {
    let of = |(trace, span): (TraceId, SpanId)| {
        let (trace_id, span_id) = ids(trace, span);
        SpanRef { trace_id, span_id }
    };
    let invocation = &one.invocation;
    UnfinishedAnswer {
        invocation_id: invocation.id.clone(),
        attempt: invocation.attempt,
        function: invocation.function.clone(),
        start_time: rfc3339(invocation.start_ns),
        duration_ns: invocation.duration_ns,
        outcome: invocation.outcome.name(),
        cause: invocation.cause.clone(),
        spans: one.spans.iter().copied().map(of).collect(),
        caller: one.caller.map(of),
    }
}

fn cut(cut: &Cut) -> FlowCut {
    FlowCut {
        reason: cut.reason,
        trace_id: cut.trace_id.to_string(),
        span_id: cut.span_id.map(|id| id.to_string()),
        traces: cut.traces.iter().map(TraceId::to_string).collect(),
        traces_count: cut.traces_count,
    }
}
