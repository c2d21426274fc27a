//! An edge as it is told.

use hopline_stitch::invocation::Sketch;
use hopline_stitch::map::{EdgeKey, Party, Traffic};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::answer::rfc3339;

/// One edge of the map.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Hop)]
pub(crate) struct HopAnswer {
    /// Who sends or calls.
    from: PartyAnswer,
    /// Who receives or is called; null for what nobody was seen receiving.
    to: Option<PartyAnswer>,
    /// The kind of hop: `sqs`, `lambda.invoke`, …; `call` or `message` where a span's parent alone tells of it.
    hop: String,
    /// The queue, topic, bus, stream, bucket, table, function or state machine.
    destination: Option<String>,
    /// Deliveries, retries included; to nobody: what was sent.
    calls: u64,
    /// Deliveries that failed.
    errors: u64,
    /// Deliveries after the first to the same receiver.
    retries: u64,
    /// Deliveries out of a dead-letter queue.
    dead_letters: u64,
    /// Nanoseconds from sending to receiving: median.
    wait_p50_ns: Option<u64>,
    /// Nanoseconds from sending to receiving: 95 of 100 waited at most this long.
    wait_p95_ns: Option<u64>,
    /// Nanoseconds from sending to receiving: 99 of 100 waited at most this long.
    wait_p99_ns: Option<u64>,
    /// RFC 3339: when the oldest was sent that nobody was seen receiving.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_unconsumed: Option<String>,
}

/// Who sends or receives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Party)]
pub(crate) struct PartyAnswer {
    /// `service.name`
    pub(crate) service: String,
    /// The function's name, if it runs in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) function: Option<String>,
}

impl HopAnswer {
    pub(crate) fn of(key: &EdgeKey, traffic: &Traffic) -> HopAnswer {
        let party = |party: &Party| PartyAnswer {
            service: party.service.to_string(),
            function: party.function.as_deref().map(str::to_owned),
        };
        let [wait_p50_ns, wait_p95_ns, wait_p99_ns] = quantiles(&traffic.wait);
        HopAnswer {
            from: party(&key.from),
            to: key.to.as_ref().map(party),
            hop: key.hop.to_string(),
            destination: key.destination.as_deref().map(str::to_owned),
            calls: traffic.calls,
            errors: traffic.errors,
            retries: traffic.retries,
            dead_letters: traffic.dead_letters,
            wait_p50_ns,
            wait_p95_ns,
            wait_p99_ns,
            oldest_unconsumed: traffic.oldest_ns.map(rfc3339),
        }
    }
}

/// The median, and below what 95 and 99 of 100 are, in whole nanoseconds.
fn quantiles(sketch: &Sketch) -> [Option<u64>; 3] {
    [0.5, 0.95, 0.99].map(|q| sketch.quantile(q).map(|ns| ns.round() as u64))
}

/// How long messages waited, in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Wait)]
pub(crate) struct WaitAnswer {
    /// Messages, or records, that were received.
    count: u64,
    /// Median.
    p50_ns: Option<u64>,
    /// 95 of 100 waited at most this long.
    p95_ns: Option<u64>,
    /// 99 of 100 waited at most this long.
    p99_ns: Option<u64>,
    /// The longest.
    max_ns: Option<u64>,
}

impl WaitAnswer {
    /// What a sketch says; nothing if it is empty.
    pub(crate) fn of(waits: &Sketch) -> Option<WaitAnswer> {
        let [p50_ns, p95_ns, p99_ns] = quantiles(waits);
        let answer = WaitAnswer { count: waits.count(), p50_ns, p95_ns, p99_ns, max_ns: waits.max() };
        (!waits.is_empty()).then_some(answer)
    }
}
