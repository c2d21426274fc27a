//! The critical path, with invocations whose span never came.
//!
//! Spans that lost their parent are all that is left of such an invocation, so the path
//! over spans begins at one of them, and ends before the platform ended the invocation.
//! Here the time between is given to the invocation.

use std::collections::HashMap;

use hopline_model::{SpanId, TraceId};
use hopline_stitch::flow::{FlowSpan, Step};

use super::read::Story;
use super::unfinished::Unfinished;

type Place = (TraceId, SpanId);

/// A piece of the critical path.
pub(super) struct Piece<'a> {
    pub(super) step: Step,
    /// The invocation whose span never came, if it is its time that no span tells of.
    pub(super) lost: Option<&'a Unfinished>,
}

/// The critical path from first to last.
pub(super) fn pieces(story: &Story) -> Vec<Piece<'_>> {
    let path = &story.flow.critical_path;
    let spans: HashMap<Place, &FlowSpan> =
        story.flow.spans.iter().map(|span| ((span.trace_id, span.span_id), span)).collect();
    let (Some(first), Some(last)) = (path.first(), path.last()) else { return Vec::new() };
    let of = |step: &Step| {
        let top = top(&spans, (step.trace_id, step.span_id));
        story.unfinished.iter().find(|lost| lost.spans.contains(&top))
    };
    let latest = story.unfinished.iter().filter_map(|lost| Some((end(lost)?, lost))).max_by_key(|(end, _)| *end);
    let rest = latest.filter(|(ended, _)| *ended > last.end_ns);
    if let Some((ended, lost)) = rest.filter(|(_, lost)| !of(last).is_some_and(|other| std::ptr::eq(other, *lost))) {
        return before(lost, &spans, ended);
    }
    let mut pieces = of(first).map(|lost| before(lost, &spans, first.start_ns)).unwrap_or_default();
    for step in path {
        // What was waiting for its first span was received when the invocation began.
        match of(step).filter(|lost| step.is_wait && (step.start_ns..step.end_ns).contains(&lost.invocation.start_ns)) {
            Some(lost) => {
                let (place, start) = ((step.trace_id, step.span_id), lost.invocation.start_ns);
                pieces.extend(piece(place, (step.start_ns, start), true));
                pieces.extend(own(lost, start, step.end_ns));
            }
            None => pieces.push(Piece { step: *step, lost: None }),
        }
    }
    pieces.extend(rest.and_then(|(ended, lost)| own(lost, last.end_ns, ended)));
    pieces
}

/// When the platform ended an invocation.
fn end(lost: &Unfinished) -> Option<i64> {
    Some(lost.invocation.start_ns.saturating_add(lost.invocation.duration_ns?))
}

/// The topmost span above a span.
fn top(spans: &HashMap<Place, &FlowSpan>, mut place: Place) -> Place {
    // A trace has no more levels than spans, unless parents go round.
    for _ in 0..spans.len() {
        let parent = spans.get(&place).and_then(|span| span.parent).map(|parent| (place.0, parent));
        match parent.filter(|parent| spans.contains_key(parent)) {
            Some(parent) => place = parent,
            None => break,
        }
    }
    place
}

/// The path through an invocation up to a time: its caller, the spans that it left one after the other, and itself between.
fn before<'a>(lost: &'a Unfinished, spans: &HashMap<Place, &FlowSpan>, until: i64) -> Vec<Piece<'a>> {
    let start = lost.invocation.start_ns;
    let mut left: Vec<&FlowSpan> = lost.spans.iter().filter_map(|place| spans.get(place).copied()).collect();
    left.sort_by_key(|span| (span.end_ns, span.start_ns, span.span_id));
    let mut now = until;
    let mut pieces = Vec::new();
    for span in left.into_iter().rev() {
        if span.end_ns <= now && span.start_ns >= start && span.start_ns < span.end_ns {
            pieces.extend(own(lost, span.end_ns, now));
            pieces.extend(piece((span.trace_id, span.span_id), (span.start_ns, span.end_ns), false));
            now = span.start_ns;
        }
    }
    pieces.extend(own(lost, start, now));
    if let Some(caller) = lost.caller.and_then(|place| spans.get(&place)) {
        let place = (caller.trace_id, caller.span_id);
        pieces.extend(lost.place().and_then(|lost| piece(lost, (caller.end_ns, start.min(now)), true)));
        pieces.extend(piece(place, (caller.start_ns, caller.end_ns.min(start).min(now)), false));
    }
    pieces.reverse();
    pieces
}

fn own(lost: &Unfinished, start_ns: i64, end_ns: i64) -> Option<Piece<'_>> {
    Some(Piece { lost: Some(lost), ..piece(lost.place()?, (start_ns, end_ns), false)? })
}

fn piece<'a>((trace_id, span_id): Place, (start_ns, end_ns): (i64, i64), is_wait: bool) -> Option<Piece<'a>> {
    (start_ns < end_ns).then_some(Piece { step: Step { trace_id, span_id, start_ns, end_ns, is_wait }, lost: None })
}
