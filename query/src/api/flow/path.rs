//! The critical path, with invocations whose span never came.

use std::collections::HashMap;

use hopline_model::{SpanId, TraceId};
use hopline_stitch::flow::{FlowSpan, Lost, Step};

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
    if story.unfinished.is_empty() {
        return story.flow.critical_path.iter().map(|step| Piece { step: *step, lost: None }).collect();
    }
    let spans: HashMap<Place, &FlowSpan> =
        story.flow.spans.iter().map(|span| ((span.trace_id, span.span_id), span)).collect();
    let numbered = story.unfinished.iter().enumerate();
    let lost: Vec<(Lost, &Unfinished)> =
        numbered.filter_map(|(number, u)| Some((lost(number, u, &spans)?, u))).collect();
    let named: HashMap<Place, &Unfinished> = lost.iter().map(|(l, u)| ((l.trace_id, l.span_id), *u)).collect();
    let lost: Vec<Lost> = lost.into_iter().map(|(lost, _)| lost).collect();
    let piece = |step: Step| {
        let lost = named.get(&(step.trace_id, step.span_id)).copied();
        let (trace_id, span_id) = lost.and_then(Unfinished::place).unwrap_or((step.trace_id, step.span_id));
        Piece { step: Step { trace_id, span_id, ..step }, lost: lost.filter(|_| !step.is_wait) }
    };
    story.flow.path_with(&lost).into_iter().map(piece).collect()
}

/// An invocation as the path wants it. Its span's id is what the spans name that it left, else one of its own.
fn lost(number: usize, unfinished: &Unfinished, spans: &HashMap<Place, &FlowSpan>) -> Option<Lost> {
    let left = || unfinished.spans.iter().filter_map(|place| spans.get(place));
    let number = SpanId((u64::MAX - number as u64).to_be_bytes());
    let start_ns = unfinished.invocation.start_ns;
    let ran_until = unfinished.invocation.duration_ns.map(|duration| start_ns.saturating_add(duration));
    Some(Lost {
        trace_id: unfinished.place()?.0,
        span_id: left().find_map(|span| span.parent).unwrap_or(number),
        start_ns,
        end_ns: ran_until.or(left().map(|span| span.end_ns).max()).unwrap_or(start_ns),
        spans: unfinished.spans.clone(),
        caller: unfinished.caller,
    })
}
