//! Traces and edges brought together into one story.
//!
//! [`Assembly`] is driven by whoever can read rows: it says which traces and keys it
//! wants to see, is given them, and wants more, until the story is whole or a limit is
//! reached. It never reads anything itself, so tests need no storage.
//!
//! - `store`: what was read so far, and what is wanted next;
//! - `trace`: one trace: who is above whom, what is one invocation, who sent and received what;
//! - `matching`: the edges into one trace, by links and keys; `item`, `xray`, `inferred` and
//!   `ranges` know the hops that need more than equal keys;
//! - `batch`: which messages of a batch a span belongs to;
//! - `walk`: which traces belong to the story;
//! - `edges`, `deliveries`, `halves`, `steps`: the edges of the story as they are told;
//! - `critical`: the path that took the time;
//! - `gaps`: what is known to be missing from what was read;
//! - `shape`: what people would call it;
//! - `assemble`: the door.

mod assemble;
mod batch;
mod critical;
mod deliveries;
mod edges;
mod gaps;
mod halves;
mod inferred;
mod item;
mod matching;
mod ranges;
mod shape;
mod steps;
mod store;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod trace;
mod walk;
mod xray;

use hopline_model::{SpanId, TraceId};
use serde::Serialize;

pub use assemble::Assembly;
pub use critical::Step;

use crate::hops::{Hop, HopKey};
use crate::key::{Direction, KeyHash, Kind};
use crate::span::SpanKind;

/// How far a flow goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Traces of a flow.
    pub traces_max: usize,
    /// Edges between the trace that was asked for and the farthest one.
    pub depth_max: usize,
    /// Nanoseconds between the start of the first and of the last trace. A message may wait 14 days (SQS).
    pub span_ns: i64,
    /// A batch of messages from more traces than this is a cut: the flow does not go through it.
    pub batch_traces_max: usize,
    /// An X-Ray root that more invocations share than this ties nothing together.
    pub xray_root_invocations_max: usize,
    /// Spans of a flow.
    pub spans_max: usize,
    /// Keys that are looked up for a flow.
    pub keys_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            traces_max: 1_000,
            depth_max: 32,
            span_ns: 15 * 86_400_000_000_000,
            batch_traces_max: 10,
            xray_root_invocations_max: 20,
            spans_max: 200_000,
            keys_max: 20_000,
        }
    }
}

/// A span of the story, owned, with its keys.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowSpan {
    /// Its trace.
    pub trace_id: TraceId,
    /// Its id.
    pub span_id: SpanId,
    /// The span above it.
    pub parent: Option<SpanId>,
    /// Nanoseconds since 1970.
    pub start_ns: i64,
    /// Nanoseconds since 1970.
    pub end_ns: i64,
    /// Its kind.
    pub kind: SpanKind,
    /// Whether its status is ERROR.
    pub is_error: bool,
    /// `service.name`
    pub service: String,
    /// The function's name, if it runs in one.
    pub function: Option<String>,
    /// Its name.
    pub name: String,
    /// `faas.invocation_id` of the invocation it is the span of, if it is one.
    pub invocation_id: Option<String>,
    /// `cloud.account.id`, if known.
    pub account: Option<String>,
    /// `cloud.region`, if known.
    pub region: Option<String>,
    /// What its links name.
    pub links: Vec<(TraceId, SpanId)>,
    /// Its keys.
    pub keys: Vec<HopKey>,
    /// Links that its SDK dropped: there is a limit, by default 128 (OpenTelemetry specification, "Span limits").
    pub dropped_links: u32,
    /// Keys that it has beyond [`crate::hops::KEYS_MAX`] a side.
    pub dropped_keys: usize,
}

/// A row of the table `hop_keys`: somebody has a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Stands for the key.
    pub hash: KeyHash,
    /// Its kind.
    pub kind: Kind,
    /// The side.
    pub direction: Direction,
    /// Nanoseconds since 1970: start of the span, or time of the platform's record.
    pub start_ns: i64,
    /// Nanoseconds since 1970.
    pub end_ns: i64,
    /// The trace of the span; none for what a platform's record says.
    pub trace_id: Option<TraceId>,
    /// The span; none for what a platform's record says.
    pub span_id: Option<SpanId>,
    /// The invocation, where it is known.
    pub invocation_id: Option<String>,
    /// The account in which that ran, where it is known.
    pub account: Option<String>,
    /// The region in which that ran, where it is known.
    pub region: Option<String>,
}

/// What a flow is asked for by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seed {
    /// A trace.
    Trace(TraceId),
    /// A span. The flow is that of its trace, but in a batch only its own messages count.
    Span(TraceId, SpanId),
    /// Keys, any of which may be the one: of a message id there may be several kinds.
    Keys(Vec<KeyHash>),
}

/// What an [`Assembly`] wants to see next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wants {
    /// All spans of these traces.
    pub traces: Vec<TraceId>,
    /// All rows of `hop_keys` with these keys.
    pub keys: Vec<(KeyHash, Direction)>,
}

/// How sure an edge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Certainty {
    /// Trace context or an identity proves it.
    Exact,
    /// An X-Ray root that both sides share.
    Xray,
    /// Time and destination allow only this one.
    Inferred,
}

/// One end of an edge.
///
/// A sender at which the flow was cut may be of a trace that was not read. Then its service is empty, its function unknown,
/// and `root_span_id` is the span itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The trace.
    pub trace_id: TraceId,
    /// The span that sent or received.
    pub span_id: SpanId,
    /// The topmost span of the invocation or request in which that happened: itself, or above it in the same service
    /// and function.
    pub root_span_id: SpanId,
    /// `service.name`
    pub service: String,
    /// The function's name, if it runs in one.
    pub function: Option<String>,
    /// The invocation, if it is one and known.
    pub invocation_id: Option<String>,
    /// Nanoseconds since 1970.
    pub start_ns: i64,
    /// Nanoseconds since 1970.
    pub end_ns: i64,
}

/// One side caused the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// The kind of hop.
    pub hop: Hop,
    /// What proves it: `parent`, `link`, the rule of the key, `xray`, `inferred`.
    pub rule: &'static str,
    /// How sure it is.
    pub certainty: Certainty,
    /// The key that both sides have, as text, if there is one. Parents and links may be shown by a key as well.
    pub key: Option<String>,
    /// The queue, topic, …, if known.
    pub destination: Option<String>,
    /// Who sent or called.
    pub from: End,
    /// Who received or was called.
    pub to: End,
    /// Whether the sender waited for the receiver's end: the receiver lies within the sending span.
    pub is_synchronous: bool,
    /// Nanoseconds between the end of sending and the start of receiving (of a synchronous call, between the two
    /// starts), at least 0.
    pub wait_ns: i64,
    /// Which delivery to the same receiver it is, from 1.
    pub attempt: u32,
    /// Whether the same receiver had it before.
    pub is_retry: bool,
    /// Whether several receivers had it.
    pub is_fan_out: bool,
    /// Whether it came out of a dead-letter queue.
    pub is_dead_letter: bool,
    /// How many senders it could have been; 1 where it is sure.
    pub candidates: u32,
}

/// An invocation that ran out of time or crashed before it sent its span, as the platform and those around it tell of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The trace in which its span would be.
    pub trace_id: TraceId,
    /// The id of its span: what it left names that as parent.
    pub span_id: SpanId,
    /// Nanoseconds since 1970.
    pub start_ns: i64,
    /// Nanoseconds since 1970.
    pub end_ns: i64,
    /// The spans that it left.
    pub spans: Vec<(TraceId, SpanId)>,
    /// The span that called it.
    pub caller: Option<(TraceId, SpanId)>,
}

/// Only one side of a hop is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Half {
    /// The side that is known: `Out` was sent, and nobody was seen receiving; `In` was received from an unknown sender.
    pub direction: Direction,
    /// The kind of hop.
    pub hop: Hop,
    /// The key, as text, if there is one.
    pub key: Option<String>,
    /// The queue, topic, …, if known.
    pub destination: Option<String>,
    /// The side that is known.
    pub end: End,
}

/// Where a flow was not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Why.
    pub reason: CutReason,
    /// The trace at which it ends.
    pub trace_id: TraceId,
    /// The span there, if it is one.
    pub span_id: Option<SpanId>,
    /// The traces that were not followed, at most a hundred.
    pub traces: Vec<TraceId>,
    /// How many they are.
    pub traces_count: usize,
}

/// Why a flow was not followed further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CutReason {
    /// A batch has messages of several stories: only the one that was asked for is followed.
    Batch,
    /// Too many invocations share an X-Ray root.
    XrayRoot,
    /// [`Limits::traces_max`]
    Traces,
    /// [`Limits::depth_max`]
    Depth,
    /// [`Limits::span_ns`]
    Time,
    /// [`Limits::spans_max`]
    Spans,
    /// [`Limits::keys_max`]
    Keys,
}

/// What people would call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// One after the other.
    Chain,
    /// One sets off several.
    FanOut,
    /// Several lead to one.
    FanIn,
    /// A message was tried several times.
    Retries,
    /// A message went to the dead letters.
    DeadLetter,
    /// Steps that failed were undone by others.
    Saga,
    /// A workflow engine ran the steps.
    Orchestration,
}

/// The whole story.
#[derive(Debug, Clone, PartialEq)]
pub struct Flow {
    /// Its traces, the earliest first.
    pub traces: Vec<TraceId>,
    /// Their spans, by trace in that order, each trace by start time.
    pub spans: Vec<FlowSpan>,
    /// Its edges, by the start of the receiving side.
    pub edges: Vec<Edge>,
    /// Hops of which only one side is known.
    pub halves: Vec<Half>,
    /// Where it was not followed.
    pub cuts: Vec<Cut>,
    /// Sends of other stories in batches that are not among the edges: of each trace, a hundred are.
    pub foreign_left: usize,
    /// What people would call it; several may hold.
    pub shapes: Vec<Shape>,
    /// The path that took the time, from first to last.
    pub critical_path: Vec<Step>,
    /// When its first span began, nanoseconds since 1970.
    pub start_ns: i64,
    /// When its last span ended, nanoseconds since 1970.
    pub end_ns: i64,
}
