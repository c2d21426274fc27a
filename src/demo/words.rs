//! The words the played shop is told in: spans, log records, measurements, facts.
//!
//! All of it is plain data. Times are nanoseconds since 1970, ids are numbers, and
//! nothing here knows an SDK, a clock or a socket.

use std::sync::Arc;

use serde::Serialize;

use super::catalog::{Func, Hop};

/// Nanoseconds since 1970-01-01 UTC.
pub(crate) type Nanos = i64;

/// Nanoseconds in a millisecond.
pub(crate) const MS: Nanos = 1_000_000;

/// Nanoseconds in a second.
pub(crate) const SECOND: Nanos = 1_000 * MS;

/// Attributes in the order in which they were set.
pub(crate) type Attributes = Vec<(&'static str, Value)>;

/// An attribute's value, or a log record's body.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// Any number.
    Double(f64),
    /// Yes or no.
    Bool(bool),
    /// A list of texts.
    Texts(Vec<String>),
    /// Named values; in bodies only.
    Map(Attributes),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Value::Text(text.clone())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Int(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Value::Double(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Value::Bool(truth)
    }
}

impl From<Vec<String>> for Value {
    fn from(texts: Vec<String>) -> Self {
        Value::Texts(texts)
    }
}

/// Attributes written as `attrs!["key" => value, …]`.
macro_rules! attrs {
    ($($key:expr => $value:expr),* $(,)?) => {
        vec![$(($key, $crate::demo::words::Value::from($value))),*]
    };
}
pub(crate) use attrs;

/// A trace id and a span id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Context {
    /// The trace.
    pub(crate) trace: u128,
    /// The span in it.
    pub(crate) span: u64,
}

impl Context {
    /// The trace id as hex.
    pub(crate) fn trace_hex(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// The span id as hex.
    pub(crate) fn span_hex(&self) -> String {
        format!("{:016x}", self.span)
    }
}

/// OpenTelemetry's span kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Work inside.
    Internal,
    /// A request is answered.
    Server,
    /// A request is made.
    Client,
    /// A message is sent.
    Producer,
    /// A message is handled.
    Consumer,
}

/// A finished span.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Span {
    /// Its ids.
    pub(crate) context: Context,
    /// The span above it, and whether that one is of another process.
    pub(crate) parent: Option<(u64, bool)>,
    /// Its name.
    pub(crate) name: String,
    /// Its kind.
    pub(crate) kind: Kind,
    /// The instrumentation's name and version.
    pub(crate) scope: (&'static str, &'static str),
    /// When it began.
    pub(crate) start: Nanos,
    /// When it ended.
    pub(crate) end: Nanos,
    /// Its attributes.
    pub(crate) attributes: Attributes,
    /// What happened within.
    pub(crate) events: Vec<Event>,
    /// Other spans it names.
    pub(crate) links: Vec<Link>,
    /// The status' description when the status is ERROR.
    pub(crate) error: Option<String>,
}

/// Something that happened within a span.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    /// Its name.
    pub(crate) name: &'static str,
    /// When.
    pub(crate) time: Nanos,
    /// Its attributes.
    pub(crate) attributes: Attributes,
}

/// A span that another one names.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Link {
    /// The named span.
    pub(crate) context: Context,
    /// The link's attributes.
    pub(crate) attributes: Attributes,
}

/// How bad a log record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// Nothing is wrong.
    Info,
    /// Something may be.
    Warn,
    /// Something is.
    Error,
}

/// A log record.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Log {
    /// When it was written.
    pub(crate) time: Nanos,
    /// When it was seen by whoever sends it.
    pub(crate) observed: Nanos,
    /// How bad it is.
    pub(crate) severity: Severity,
    /// What it says.
    pub(crate) body: Value,
    /// The span in which it was written.
    pub(crate) context: Option<Context>,
    /// Its attributes.
    pub(crate) attributes: Attributes,
}

/// What one invocation adds to its environment's metrics.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measure {
    /// `faas.trigger`.
    pub(crate) trigger: &'static str,
    /// Seconds it ran.
    pub(crate) duration_s: f64,
    /// Whether it failed.
    pub(crate) error: bool,
    /// Seconds of initialisation, when the invocation had to wait for it.
    pub(crate) cold_init_s: Option<f64>,
    /// Bytes of memory used.
    pub(crate) memory_bytes: u64,
}

/// An execution environment: one resource, one set of providers.
#[derive(Debug, PartialEq)]
pub(crate) struct Environment {
    /// Unique in one play.
    pub(crate) id: u64,
    /// What it runs; none for the web shop, which is no function.
    pub(crate) func: Option<Func>,
    /// `faas.version`.
    pub(crate) version: &'static str,
    /// `faas.instance`.
    pub(crate) instance: String,
    /// What the platform's records call it: `service.instance.id` of the stock extension, else as the function does.
    pub(crate) extension: String,
    /// The resource of the function's own SDK.
    pub(crate) resource: Attributes,
    /// The resource of the platform's records (Telemetry API); empty when it has none.
    pub(crate) platform_resource: Attributes,
}

/// What an environment sends at one moment: one tiny export for each signal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Flush {
    /// Who sends it.
    pub(crate) environment: Arc<Environment>,
    /// When.
    pub(crate) at: Nanos,
    /// Finished spans.
    pub(crate) spans: Vec<Span>,
    /// Spans of the platform's extension, which has a resource of its own.
    pub(crate) platform_spans: Vec<Span>,
    /// The function's own log records.
    pub(crate) logs: Vec<Log>,
    /// The platform's log records.
    pub(crate) platform_logs: Vec<Log>,
    /// Metrics of the period from the first time on.
    pub(crate) measures: Vec<Measure>,
    /// When the metrics' period began.
    pub(crate) measured_from: Nanos,
}

impl Flush {
    /// An empty flush.
    pub(crate) fn new(environment: Arc<Environment>, at: Nanos) -> Flush {
        Flush {
            environment,
            at,
            spans: Vec::new(),
            platform_spans: Vec::new(),
            logs: Vec::new(),
            platform_logs: Vec::new(),
            measures: Vec::new(),
            measured_from: at,
        }
    }
}

/// How an environment was ready for an invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StartType {
    /// The invocation waited for the initialisation.
    Cold,
    /// The environment had served before.
    Warm,
    /// Initialised ahead: provisioned concurrency, or proactively.
    Preinit,
    /// Restored from a snapshot.
    Restore,
}

/// How an invocation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// It returned.
    Ok,
    /// The handler raised an error.
    Error,
    /// It was stopped by the platform; its root span is lost.
    Timeout,
    /// It ran out of memory; its root span is lost.
    #[serde(rename = "oom")]
    Crash,
}

/// What trace context alone says about an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Carried {
    /// The consumer's span has the producer's as its parent.
    Parent,
    /// The consumer links to the producer's span.
    Link,
    /// The consumer has a link, to a span that nobody sends.
    Dangling,
    /// The consumer has a parent that nobody sends.
    Phantom,
    /// Nothing.
    Broken,
}

/// A true thing, for `--truth`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Fact {
    /// A function ran.
    Invocation(Invocation),
    /// One invocation caused another.
    Edge(Edge),
    /// A message was sent.
    Send(Sent),
}

/// A function ran.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Invocation {
    /// Unique: the request id, and `#` with the attempt from the second on.
    pub(crate) id: String,
    /// The platform's request id: the same for each attempt of an asynchronous invocation.
    pub(crate) request_id: String,
    /// The function.
    pub(crate) function: &'static str,
    /// Its `faas.instance`.
    pub(crate) instance: String,
    /// The name of the same environment in the platform's records.
    pub(crate) extension: String,
    /// How the environment was ready.
    pub(crate) start_type: StartType,
    /// Whether what is sent tells that: the platform's records, an earlier invocation, or the span itself.
    pub(crate) start_known: bool,
    /// Initialisation or restore of the environment, when this is its first invocation.
    pub(crate) init_ms: Option<f64>,
    /// When the handler was called.
    pub(crate) start_ns: Nanos,
    /// How long it ran.
    pub(crate) duration_ms: f64,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// The trace in which its spans are.
    pub(crate) trace_id: String,
    /// Its root span; null when it never arrives.
    pub(crate) root_span_id: Option<String>,
    /// How many spans of it are sent.
    pub(crate) spans: usize,
    /// Whether the platform's records of it are sent.
    pub(crate) reported: bool,
    /// Memory it was given.
    pub(crate) memory_mb: u64,
    /// What the platform bills; null where it says nothing of that.
    pub(crate) billed_ms: Option<i64>,
    /// What it cost, in US dollars; null where no price is known.
    pub(crate) cost_usd: Option<f64>,
    /// Which try it is, from 1.
    pub(crate) attempt: u32,
    /// What started it.
    pub(crate) trigger: &'static str,
}

/// One invocation caused another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Edge {
    /// The kind of hop.
    pub(crate) kind: Hop,
    /// The causing invocation's id; `web-…` is a request of the shop's web site.
    pub(crate) from: String,
    /// The caused invocation's id.
    pub(crate) to: String,
    /// The identity both sides could know.
    pub(crate) message_id: String,
    /// The trace of the span that sent it.
    pub(crate) from_trace_id: String,
    /// The span that sent it.
    pub(crate) from_span_id: String,
    /// The trace of the caused invocation.
    pub(crate) to_trace_id: String,
    /// The caused invocation's root span; null when it never arrives.
    pub(crate) to_span_id: Option<String>,
    /// Which delivery it is, from 1.
    pub(crate) attempt: u32,
    /// What trace context alone says.
    pub(crate) context: Carried,
    /// Whether trace context or the message's identity is on spans of both sides, so that the edge can be proved.
    pub(crate) identity: bool,
}

/// A message was sent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Sent {
    /// The kind of hop.
    pub(crate) kind: Hop,
    /// Who sent it.
    pub(crate) from: String,
    /// The queue, topic, stream, bus, bucket, function or state machine.
    pub(crate) destination: String,
    /// Its identity.
    pub(crate) message_id: String,
    /// The trace of the span that sent it.
    pub(crate) trace_id: String,
    /// The span that sent it.
    pub(crate) span_id: String,
    /// When.
    pub(crate) time_ns: Nanos,
}
