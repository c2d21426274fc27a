//! Invocations: what spans and platform records say of one, brought together.
//!
//! One invocation is told several times: by the function's own span, by the platform's
//! records of its start, its end and its bill, by a line of text in its log, by points of
//! metrics. Each such source gives a [`Fact`]; [`merge()`] takes facts in any order, repeated or not, and gives
//! [`Invocation`]s and the [`Environment`]s they ran in. A time-out or a crash that never
//! sent its span is an invocation all the same.
//!
//! - [`Fact::of_span`], [`Fact::of_log`], [`Fact::of_metric`]: nearly all spans, records and
//!   points are refused after a few comparisons;
//! - [`mod@merge`]: facts become invocations, with start type, outcome and cost;
//! - [`rollup`]: counts and sketches per minute;
//! - [`insights`]: advice from what a range of time shows.
//!
//! Nothing here reads a clock or needs all of history: what is known of the time before
//! the given facts is asked for by [`Rules::past`].

mod attempts;
mod clouds;
mod environment;
mod exceptions;
pub mod insights;
mod merge;
mod of_log;
mod of_metric;
mod of_span;
mod outcome;
mod platform;
pub mod rollup;
mod sketch;
mod start;
mod tries;
mod words;

#[cfg(test)]
mod tests;

use hopline_model::{SpanId, TraceId};

pub use attempts::RUN_MAX_NS;
pub use environment::{Environment, EnvironmentKey};
pub use merge::{Invocation, LIFE_MAX_NS, Merged, Rules, merge};
pub use of_metric::{MetricView, is_of_functions};
pub use of_span::{account_of_arn, function_of_id, memory_of_extension};
pub use sketch::{RELATIVE_ERROR, Sketch, SketchError};
pub use start::{PREINIT_GAP_NS, StartEvidence};
pub use words::{Architecture, InitPhase, InitType, Oom, Outcome, Provider, Source, StartType, Status, Trigger};

use crate::span::Attributes;

/// A log record as the rules look at it.
#[derive(Clone, Copy)]
pub struct LogView<'a> {
    /// Nanoseconds since 1970.
    pub time_ns: i64,
    /// The body: its text, or the value text of a structured one.
    pub body: &'a str,
    /// Whether the body is value text (JSON).
    pub body_is_json: bool,
    /// The attribute `type`: the event of the Telemetry API that the record was made of.
    pub event_type: Option<&'a str>,
    /// The invocation that the record names.
    pub invocation_id: Option<&'a str>,
    /// The trace it was written in.
    pub trace_id: Option<TraceId>,
    /// The span it was written in.
    pub span_id: Option<SpanId>,
    /// OpenTelemetry's severity number; 17 and more are errors.
    pub severity_number: i32,
    /// `service.name`
    pub service: &'a str,
    /// The function's name, if it runs in one.
    pub function: Option<&'a str>,
    /// Its attributes.
    pub attributes: &'a dyn Attributes,
    /// Attributes of its resource.
    pub resource: &'a dyn Attributes,
}

/// An error as an `exception` event, a status text or a log record tells it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Exception<'a> {
    /// `exception.type`
    pub kind: &'a str,
    /// `exception.message`
    pub message: &'a str,
    /// `exception.stacktrace`
    pub stack: &'a str,
}

/// What one source says of an invocation, or of an environment.
///
/// All that a source does not say is `None`. Times and durations are nanoseconds, sizes
/// are bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fact {
    /// When the source says it.
    pub time_ns: i64,
    /// Who says it.
    pub source: Source,
    /// The platform's request id.
    pub invocation_id: Option<String>,
    /// The function.
    pub function: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The execution environment: `faas.instance`, else `service.instance.id`.
    pub instance: Option<String>,
    /// The account, the subscription or the project.
    pub account: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The cloud.
    pub provider: Option<Provider>,
    /// What started the invocation.
    pub trigger: Option<Trigger>,
    /// `faas.coldstart`
    pub coldstart: Option<bool>,
    /// How the environment was initialised.
    pub init_type: Option<InitType>,
    /// When the initialisation ran.
    pub init_phase: Option<InitPhase>,
    /// How long the initialisation took.
    pub init_ns: Option<i64>,
    /// How long the restore from a snapshot took.
    pub restore_ns: Option<i64>,
    /// How long the invocation took.
    pub duration_ns: Option<i64>,
    /// How long it is billed.
    pub billed_ns: Option<i64>,
    /// Memory it was given.
    pub memory_size: Option<i64>,
    /// Memory it used at most.
    pub memory_used: Option<i64>,
    /// How it ended.
    pub status: Option<Status>,
    /// By what one can tell that memory ran out.
    pub oom: Option<Oom>,
    /// The time limit, where a time-out names it.
    pub limit_ns: Option<i64>,
    /// The error's type.
    pub error_type: Option<String>,
    /// The error's text, at most [`MESSAGE_MAX`] bytes.
    pub error_message: Option<String>,
    /// What is the same of all errors of this kind ([`crate::fingerprint`]).
    pub fingerprint: Option<u64>,
    /// The trace.
    pub trace_id: Option<TraceId>,
    /// The span that says it, or in which it was written.
    pub span_id: Option<SpanId>,
    /// Whether the span is of kind SERVER.
    pub is_server: bool,
    /// When the span began.
    pub start_ns: Option<i64>,
    /// When the span ended.
    pub end_ns: Option<i64>,
    /// The X-Ray root.
    pub xray_root: Option<TraceId>,
    /// The X-Ray segment of the invocation.
    pub xray_segment: Option<SpanId>,
    /// The processor.
    pub architecture: Option<Architecture>,
    /// The status code of the answer, for HTTP triggers.
    pub http_status: Option<i64>,
    /// How often the message that started it was delivered, this time included.
    pub deliveries: Option<i64>,
    /// Log records that the platform dropped.
    pub dropped_records: Option<i64>,
}

/// Longest error text that a fact keeps.
pub const MESSAGE_MAX: usize = 1_024;

impl Fact {
    /// A fact of which nothing is known but who says it, and when.
    pub fn new(source: Source, time_ns: i64) -> Fact {
        Fact {
            time_ns,
            source,
            invocation_id: None,
            function: None,
            version: None,
            instance: None,
            account: None,
            region: None,
            provider: None,
            trigger: None,
            coldstart: None,
            init_type: None,
            init_phase: None,
            init_ns: None,
            restore_ns: None,
            duration_ns: None,
            billed_ns: None,
            memory_size: None,
            memory_used: None,
            status: None,
            oom: None,
            limit_ns: None,
            error_type: None,
            error_message: None,
            fingerprint: None,
            trace_id: None,
            span_id: None,
            is_server: false,
            start_ns: None,
            end_ns: None,
            xray_root: None,
            xray_segment: None,
            architecture: None,
            http_status: None,
            deliveries: None,
            dropped_records: None,
        }
    }

    /// The fact, with the error that the span's `exception` event (or, without one, its
    /// status) tells. A span without an error keeps its status.
    #[must_use]
    pub fn with_exception(mut self, exception: &Exception<'_>) -> Fact {
        let Exception { kind, message, stack } = *exception;
        if !kind.is_empty() {
            self.error_type = Some(kind.to_owned());
        }
        if !message.is_empty() {
            self.error_message = Some(shortened(message));
        }
        if !(kind.is_empty() && message.is_empty() && stack.is_empty()) {
            self.fingerprint = Some(crate::fingerprint::of(kind, message, stack));
        }
        if exceptions::is_out_of_memory(kind) {
            self.oom = Some(Oom::Log);
        }
        self
    }

    /// The fact's own times: from when to when it speaks of the invocation. Without a
    /// duration, both are the time it was said.
    pub(crate) fn interval(&self) -> (i64, i64) {
        match (self.start_ns, self.end_ns, self.duration_ns) {
            (Some(start), Some(end), _) => (start, end.max(start)),
            (_, _, Some(duration)) => (self.time_ns.saturating_sub(duration), self.time_ns),
            _ => (self.time_ns, self.time_ns),
        }
    }
}

/// The start of a text, cut between characters.
fn shortened(text: &str) -> String {
    let mut end = text.len().min(MESSAGE_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}
