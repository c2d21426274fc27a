//! What a point of a metric says (OpenTelemetry semantic conventions, FaaS metrics).
//!
//! | metric | taken where | what it tells |
//! |---|---|---|
//! | `faas.coldstarts` | it counted one or more | the environment was initialised |
//! | `faas.init_duration` | it has one value | how long the initialisation took |
//! | `faas.mem_usage` | it has one value | memory that the invocation used |
//! | `faas.timeouts` | it counted one | the invocation ran out of time |
//!
//! A point has no request id: it is taken only if it names its environment, and belongs to
//! the one invocation that ran there in its time; where there were several, to none.
//!
//! A count of cold starts is an upper bound: OpenTelemetry's Lambda extension counts every
//! initialisation, also one that was made ahead. So it says that there was one and never
//! that an invocation waited for it.
//!
//! Not taken: `faas.errors`, which counts failed initialisations too; `faas.invocations`
//! and `faas.invoke_duration`, which tell nothing that the span or the report does not tell
//! better; the network and the processor, which nobody asks for by invocation.

use super::Fact;
use super::of_span::{identify, memory_of_extension};
use super::words::{Source, Status};
use crate::span::Attributes;

/// The extension's scope. Its points have the time of the event that they count, and sizes
/// in millions of bytes where the platform means MiB.
const EXTENSION: &str = "opentelemetry-lambda/collector/receiver/telemetryapi";

/// So long after its begin a running total is read: later it says nothing new of the
/// environment's beginning (AWS Lambda quotas: an invocation takes 15 minutes at most).
const TOTAL_MAX_NS: i64 = 960_000_000_000;

/// A point of a metric as the rules look at it.
#[derive(Clone, Copy)]
pub struct MetricView<'a> {
    /// Nanoseconds since 1970.
    pub time_ns: i64,
    /// From when on it counts.
    pub start_ns: Option<i64>,
    /// The metric.
    pub name: &'a str,
    /// Its unit.
    pub unit: &'a str,
    /// Whether it is a running total since `start_ns`.
    pub is_cumulative: bool,
    /// Of a sum: its value.
    pub value: Option<f64>,
    /// Of a histogram: how many values it has.
    pub count: Option<u64>,
    /// Of a histogram: their sum.
    pub sum: Option<f64>,
    /// The scope's name.
    pub scope: &'a str,
    /// The function's name, if it runs in one.
    pub function: Option<&'a str>,
    /// Attributes of its resource.
    pub resource: &'a dyn Attributes,
}

/// Whether points of this metric may say something: cheap.
pub fn is_of_functions(name: &str) -> bool {
    matches!(name, "faas.coldstarts" | "faas.init_duration" | "faas.mem_usage" | "faas.timeouts")
}

impl Fact {
    /// What a point of a metric says of an environment or an invocation; nothing for most.
    pub fn of_metric(metric: &MetricView<'_>) -> Option<Fact> {
        let began = metric.start_ns.unwrap_or(metric.time_ns);
        let is_late = metric.is_cumulative && metric.time_ns.saturating_sub(began) > TOTAL_MAX_NS;
        if !is_of_functions(metric.name) || is_late {
            return None;
        }
        let of_extension = metric.scope.ends_with(EXTENSION);
        let fact = |source| Fact::new(source, metric.time_ns);
        let single = metric.sum.filter(|sum| metric.count == Some(1) && sum.is_finite() && *sum >= 0.0);
        let mut fact = match metric.name {
            "faas.coldstarts" if metric.value >= Some(1.0) => {
                Fact { coldstart: Some(true), ..fact(Source::InitMetric) }
            }
            "faas.init_duration" => Fact { init_ns: nanos(single?, metric.unit), ..fact(Source::InitMetric) },
            "faas.mem_usage" => {
                let bytes = |value: f64| if of_extension { memory_of_extension(value) } else { value.round() as i64 };
                Fact { memory_used: Some(bytes(single?)).filter(|b| *b > 0), ..fact(Source::Metric) }
            }
            "faas.timeouts" if metric.value == Some(1.0) => {
                Fact { status: Some(Status::Timeout), ..fact(Source::Metric) }
            }
            _ => return None,
        };
        if fact.source == Source::Metric && !of_extension {
            fact.start_ns = metric.start_ns;
            fact.end_ns = metric.start_ns.and(Some(metric.time_ns));
        }
        identify(&mut fact, metric.function, &(), metric.resource);
        fact.instance.is_some().then_some(fact)
    }
}

/// Nanoseconds of a value in a unit of the conventions, which is seconds.
fn nanos(value: f64, unit: &str) -> Option<i64> {
    let scale = match unit {
        "" | "s" => 1e9,
        "ms" => 1e6,
        "us" => 1e3,
        "ns" => 1.0,
        _ => return None,
    };
    let nanos = value * scale;
    (0.0..1e18).contains(&nanos).then(|| nanos.round() as i64)
}
