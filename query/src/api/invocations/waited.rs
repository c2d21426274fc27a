//! How long what set an invocation off had waited: the edges into it by the rules of flows (`hopline_stitch::flow`), one
//! hop far, and of those only what is exact.

use std::collections::{BTreeMap, HashSet};

use hopline_stitch::flow::{Certainty, Edge, End, Flow, Limits, Seed};
use hopline_stitch::invocation::Invocation;
use hopline_stitch::key::{Direction, Key, Kind};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::flow::flow_of;
use crate::api::hops::answer::PartyAnswer;
use crate::api::hops::count::is_call;
use crate::engine::Session;
use crate::error::Error;

/// As far as the senders of what one invocation got.
const LIMITS: Limits = Limits {
    traces_max: 50,
    depth_max: 1,
    span_ns: i64::MAX,
    batch_traces_max: 10,
    xray_root_invocations_max: 20,
    spans_max: 20_000,
    keys_max: 5_000,
};
/// The platform's clock has milliseconds, and its record of a start comes a little after the span's.
const SLACK_NS: i64 = 500_000_000;

/// How long what set a try off had waited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Waited {
    /// Which try.
    attempt: u32,
    /// Nanoseconds from the end of sending to the start of receiving: of several messages, of that which waited longest.
    wait_ns: i64,
    /// The kind of hop, as in `/api/v1/hops`.
    hop: String,
    /// The queue, topic, bus, stream, bucket or table, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<String>,
    /// The message's key, if both sides have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// Who sent it, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<PartyAnswer>,
    /// The trace of the sending span, 32 hexadecimal digits.
    trace_id: String,
    /// The sending span, 16 hexadecimal digits.
    span_id: String,
    /// How many messages it was set off by whose waiting time is known.
    messages: usize,
}

/// The waiting times before the tries of an invocation, in their order. Calls that were waited for, and edges that are
/// not exact, tell nothing.
pub(super) async fn waited(session: &Session, attempts: &[&Invocation]) -> Result<Vec<Waited>, Error> {
    let Some(first) = attempts.first() else { return Ok(Vec::new()) };
    let seed = match (first.trace_id.zip(first.span_id), has_request_id(first)) {
        // Also of the tries whose span never came: the caller has the key.
        (_, true) => Seed::Keys(vec![Key::new(Kind::Lambda, &*first.id).hash()]),
        (Some((trace_id, span_id)), false) => Seed::Span(trace_id, span_id),
        (None, false) => return Ok(Vec::new()),
    };
    let mut seeds = vec![seed];
    // Consumers that say their request id nowhere but on their spans have no key of it.
    let spans =
        attempts.iter().filter_map(|attempt| attempt.trace_id.zip(attempt.span_id).filter(|_| attempt.has_span));
    if has_request_id(first) {
        seeds.extend(spans.take(1).map(|(trace_id, span_id)| Seed::Span(trace_id, span_id)));
    }
    let mut found: BTreeMap<u32, Vec<Waited>> = BTreeMap::new();
    let mut seen = HashSet::new();
    for seed in seeds {
        let flow = flow_of(session, seed, LIMITS).await?;
        for edge in &flow.edges {
            if let Some((attempt, waited)) = of_edge(edge, attempts)
                && seen.insert((attempt, edge.from.trace_id, edge.from.span_id, edge.key.clone()))
            {
                found.entry(attempt).or_default().push(waited);
            }
        }
        for (attempt, waited) in of_calls(&flow, attempts) {
            if found.get(&attempt).is_none_or(Vec::is_empty) {
                found.entry(attempt).or_default().push(waited);
            }
        }
    }
    let longest = |messages: Vec<Waited>| {
        let count = messages.len();
        let longest = messages.into_iter().max_by_key(|waited| waited.wait_ns)?;
        Some(Waited { messages: count, ..longest })
    };
    Ok(found.into_values().filter_map(longest).collect())
}

/// Whether the id is the platform's, and not that of the span.
fn has_request_id(invocation: &Invocation) -> bool {
    invocation.span_id.is_none_or(|span| span.to_string() != invocation.id)
}

/// What an edge into one of the tries says.
fn of_edge(edge: &Edge, attempts: &[&Invocation]) -> Option<(u32, Waited)> {
    let is_waited_for = edge.is_synchronous || (is_call(edge.hop) && edge.to.start_ns < edge.from.end_ns);
    if edge.certainty != Certainty::Exact || is_waited_for {
        return None;
    }
    let of_span = |attempt: &&&Invocation| {
        attempt.trace_id == Some(edge.to.trace_id)
            && attempt.span_id.is_some_and(|span| span == edge.to.root_span_id || span == edge.to.span_id)
    };
    let of_id = |attempt: &&&Invocation| {
        edge.to.invocation_id.as_deref() == Some(&*attempt.id)
            && attempt.start_ns <= edge.to.start_ns.saturating_add(SLACK_NS)
            && attempt.trace_id.is_none_or(|trace| trace == edge.to.trace_id)
    };
    let attempt = attempts.iter().find(of_span).or_else(|| attempts.iter().rev().find(of_id))?;
    let waited = Waited {
        hop: edge.hop.to_owned(),
        destination: edge.destination.clone(),
        key: edge.key.clone(),
        ..of_sender(attempt.attempt, &edge.from, edge.wait_ns)
    };
    Some((attempt.attempt, waited))
}

/// Of tries whose span never came, what the caller's span says: their request id is the answer it got.
fn of_calls(flow: &Flow, attempts: &[&Invocation]) -> Vec<(u32, Waited)> {
    let mut found = Vec::new();
    for attempt in attempts.iter().filter(|attempt| !attempt.has_span) {
        let key = Key::new(Kind::Lambda, &*attempt.id).to_string();
        let call = flow.halves.iter().find(|half| half.direction == Direction::Out && half.key.as_ref() == Some(&key));
        // One that began before the call returned was waited for.
        let waited = call.and_then(|call| Some((call, u64::try_from(attempt.start_ns - call.end.end_ns).ok()?)));
        if let Some((call, wait_ns)) = waited {
            let wait_ns = i64::try_from(wait_ns).unwrap_or(i64::MAX);
            let waited = Waited {
                hop: call.hop.to_owned(),
                destination: call.destination.clone(),
                key: Some(key),
                ..of_sender(attempt.attempt, &call.end, wait_ns)
            };
            found.push((attempt.attempt, waited));
        }
    }
    found
}

fn of_sender(attempt: u32, from: &End, wait_ns: i64) -> Waited {
    let party = || PartyAnswer { service: from.service.clone(), function: from.function.clone() };
    Waited {
        attempt,
        wait_ns,
        hop: String::new(),
        destination: None,
        key: None,
        from: (!from.service.is_empty()).then(party),
        trace_id: from.trace_id.to_string(),
        span_id: from.span_id.to_string(),
        messages: 1,
    }
}
