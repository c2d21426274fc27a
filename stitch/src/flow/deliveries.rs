//! What the deliveries of one message say of each other: retries, fan-out, dead letters.
//!
//! A message is the key that an edge shows. Where none is shown (links of a sender that
//! knows no id), it is what the receiver calls it; and where that says nothing either,
//! deliveries to one function count as retries only after one that failed.

use std::collections::{BTreeMap, BTreeSet};

use hopline_model::{SpanId, TraceId};

use super::edges::{Draft, Source};
use super::walk::is_workflow;
use super::{Edge, End, Flow, Shape};
use crate::choose;
use crate::hops::HopKey;
use crate::key::{Direction, Kind};
use crate::span::SpanKind;

/// What two deliveries have in common if they are of one message.
type Message = (TraceId, SpanId, Option<String>);

impl Flow {
    /// Tells which try of an invocation the receivers are, where that is known from elsewhere: of the tries before it the spans
    /// may never have come. `try_of` is asked for the invocation's try, counted from 1.
    pub fn note_tries(&mut self, try_of: impl Fn(&End) -> Option<u32>) {
        let mut is_any = false;
        for edge in &mut self.edges {
            let attempt = try_of(&edge.to).filter(|attempt| *attempt > edge.attempt);
            if let Some(attempt) = attempt {
                (edge.attempt, edge.is_retry, is_any) = (attempt, true, true);
            }
        }
        if is_any && !self.shapes.contains(&Shape::Retries) {
            self.shapes.push(Shape::Retries);
            self.shapes.sort_unstable();
        }
    }
}

/// Tells of the edges which delivery each is. `drafts` and `edges` are the same, in the same order.
pub(super) fn tell(drafts: &[Draft<'_>], edges: &mut [Edge]) {
    for (draft, edge) in drafts.iter().zip(edges.iter_mut()) {
        edge.is_dead_letter = is_dead_letter(draft);
        if edge.is_dead_letter {
            // The queue it came out of says more than the one it was sent to.
            edge.destination = of_receiver(draft).map(str::to_owned).or(edge.destination.take());
        }
    }
    let mut messages: BTreeMap<Message, Vec<usize>> = BTreeMap::new();
    for (index, draft) in drafts.iter().enumerate() {
        for message in messages_of(draft) {
            messages.entry(message).or_default().push(index);
        }
    }
    for ((.., id), deliveries) in messages {
        number(drafts, edges, &deliveries, id.is_some());
        spread(drafts, edges, &deliveries, id.is_some());
    }
}

/// The messages that an edge delivered.
fn messages_of(draft: &Draft<'_>) -> Vec<Message> {
    let (trace_id, span_id) = draft.sender();
    let message = |id: Option<String>| (trace_id, span_id, id);
    let shown: Vec<_> = draft.hop_keys().filter(|k| k.key.kind.is_identity()).collect();
    if !shown.is_empty() {
        let steps = shown.iter().filter(|k| !is_workflow(k.key.kind));
        return steps.map(|k| message(Some(k.key.to_string()))).collect();
    }
    let keys = draft.trace.node(draft.to).map_or(&[][..], |n| n.span.keys.as_slice());
    let is_message = |kind: Kind| kind.is_identity() && kind != Kind::Lambda && !is_workflow(kind);
    let received = keys.iter().filter(|k| k.direction == Direction::In && is_message(k.key.kind));
    let received: Vec<Message> = received.map(|k| message(Some(k.key.to_string()))).collect();
    let sends = draft.sending().and_then(|(t, n)| t.node(n)).is_some_and(|n| n.span.kind.is_out());
    match received.as_slice() {
        [] if sends && matches!(draft.from, Source::Here(..)) => vec![message(None)],
        _ => received,
    }
}

/// Numbers the deliveries to each function, one an invocation.
fn number(drafts: &[Draft<'_>], edges: &mut [Edge], deliveries: &[usize], is_known: bool) {
    let mut receivers: BTreeMap<Receiver, Vec<usize>> = BTreeMap::new();
    for index in deliveries {
        let Some(edge) = edges.get(*index) else { continue };
        receivers.entry((edge.to.service.clone(), edge.to.function.clone())).or_default().push(*index);
    }
    for mut tries in receivers.into_values().filter(|tries| tries.len() > 1) {
        tries.sort_by_key(|index| edges.get(*index).map(|e| (e.to.start_ns, e.to.trace_id, e.to.span_id)));
        let mut invocations = BTreeSet::new();
        let mut have_failed = true;
        for index in tries {
            let (Some(draft), Some(edge)) = (drafts.get(index), edges.get_mut(index)) else { continue };
            let attempt = invocations.len() + 1;
            let is_new = invocations.insert((edge.to.trace_id, edge.to.root_span_id));
            if is_new && (is_known || have_failed) {
                edge.attempt = edge.attempt.max(u32::try_from(attempt).unwrap_or(u32::MAX));
                edge.is_retry = edge.attempt > 1;
            }
            have_failed &= has_failed(draft);
        }
    }
}

/// Marks the deliveries of a message that several functions had. What went to dead letters was not meant for two.
fn spread(drafts: &[Draft<'_>], edges: &mut [Edge], deliveries: &[usize], is_known: bool) {
    let meant: Vec<usize> =
        deliveries.iter().copied().filter(|index| edges.get(*index).is_some_and(|e| !e.is_dead_letter)).collect();
    let receivers: BTreeSet<Receiver> =
        meant.iter().filter_map(|i| edges.get(*i)).map(|e| (e.to.service.clone(), e.to.function.clone())).collect();
    if receivers.len() < 2 {
        return;
    }
    for index in meant {
        let (Some(draft), Some(edge)) = (drafts.get(index), edges.get_mut(index)) else { continue };
        // A call without a message that reached two is two calls.
        let is_message = is_known || draft.is_from_producer();
        edge.is_fan_out |= is_message;
    }
}

/// The service and the function.
type Receiver = (String, Option<String>);

fn has_failed(draft: &Draft<'_>) -> bool {
    let is_error = |index: usize| draft.trace.node(index).is_some_and(|n| n.span.is_error);
    is_error(draft.to) || is_error(draft.trace.unit(draft.to))
}

fn is_dead_letter(draft: &Draft<'_>) -> bool {
    let (Some(sent), Some(received)) = (of_sender(draft), of_receiver(draft)) else { return false };
    let kind = draft.hop_keys().any(|k| k.key.kind == Kind::Sqs).then_some(Kind::Sqs);
    choose::is_dead_letter(kind, sent, received)
}

fn of_receiver<'a>(draft: &Draft<'a>) -> Option<&'a str> {
    let shown = draft.hop_keys().find_map(|k| k.destination.as_deref());
    let keys = &draft.trace.node(draft.to)?.span.keys;
    // Of an invocation the destination is the function, which is no queue.
    let mut queues = keys.iter().filter(|k| k.direction == Direction::In && k.key.kind != Kind::Lambda);
    shown.or_else(|| queues.find_map(|k| k.destination.as_deref())).or_else(|| of_consumer(draft))
}

/// The queue that a consuming span of the same invocation names, where the span that has the key does not.
fn of_consumer<'a>(draft: &Draft<'a>) -> Option<&'a str> {
    if !draft.hop_keys().any(|k| k.key.kind == Kind::Sqs) {
        return None;
    }
    let unit = draft.trace.unit(draft.to);
    let consumers = draft.trace.nodes.iter().enumerate();
    let consumers = consumers.filter(|(i, n)| n.span.kind == SpanKind::Consumer && draft.trace.unit(*i) == unit);
    let names = |k: &&HopKey| k.direction == Direction::In && matches!(k.key.kind, Kind::Sqs | Kind::Destination);
    let keys = consumers.flat_map(|(_, node)| &node.span.keys).filter(names);
    keys.filter_map(|k| k.destination.as_deref()).next()
}

fn of_sender<'a>(draft: &Draft<'a>) -> Option<&'a str> {
    let (trace, node) = draft.sending()?;
    let sent = || trace.node(node).into_iter().flat_map(|n| &n.span.keys).filter(|k| k.direction == Direction::Out);
    let same = sent().filter(|k| draft.hop_keys().any(|shown| shown.key == k.key));
    let queues = sent().filter(|k| !matches!(k.key.kind, Kind::Lambda | Kind::LambdaOutcome));
    same.chain(queues).find_map(|k| k.destination.as_deref())
}
