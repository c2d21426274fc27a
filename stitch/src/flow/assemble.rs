//! Asks for what is missing until the story is whole, and tells it.

use super::edges::{self, Draft};
use super::matching::Matcher;
use super::store::Store;
use super::trace::Trace;
use super::walk::{Story, walk};
use super::{
    Cut, Edge, Flow, FlowSpan, KeyRow, Limits, Seed, Shape, Wants, critical, deliveries, halves, shape, steps,
};

/// Most traces that a cut names.
const CUT_TRACES_MAX: usize = 100;

/// Brings a flow together.
///
/// ```text
/// while let Some(wants) = assembly.wants() { assembly.give(spans of wants.traces, rows of wants.keys) }
/// assembly.finish()
/// ```
#[derive(Debug)]
pub struct Assembly {
    seeds: Vec<Seed>,
    store: Store,
    matcher: Matcher,
}

impl Assembly {
    /// A flow that is asked for by `seed` and goes no further than `limits`.
    pub fn new(seed: Seed, limits: Limits) -> Assembly {
        Assembly::of(vec![seed], limits)
    }

    /// One flow of all that is asked for: more than one seed where something else than a hop says that they are one story.
    pub fn of(seeds: Vec<Seed>, limits: Limits) -> Assembly {
        Assembly { seeds, store: Store::new(limits), matcher: Matcher::default() }
    }

    /// What to read next; nothing when the story is whole. Each trace and each side of a key is wanted once.
    pub fn wants(&mut self) -> Option<Wants> {
        self.store.settle();
        walk(&self.store, &self.matcher, &self.seeds);
        self.store.take_wants()
    }

    /// Takes what was read for the last wants, in any order and parts. Spans and rows may come twice. What is not stored
    /// is left out.
    pub fn give(&mut self, spans: Vec<FlowSpan>, keys: Vec<KeyRow>) {
        self.store.give(spans, keys);
    }

    /// The flow, of what was given so far.
    pub fn finish(mut self) -> Flow {
        self.store.settle();
        let story = walk(&self.store, &self.matcher, &self.seeds);
        let mut traces: Vec<&Trace> = story.traces.keys().filter_map(|id| self.store.loaded(*id)).collect();
        traces.sort_by_key(|trace| (trace.start_ns(), trace.id));
        let (drafts, mut edges, foreign_left) = edges(&self.store, &self.matcher, &story, &traces);
        let mut halves = halves::halves(&self.store, &story, &traces, &drafts);
        let mut shapes = shape::shapes(&story, &traces, &drafts, &edges);
        steps::chain(&story, &traces, &drafts, &mut edges, &mut halves);
        // That a step was tried again, its key says.
        if edges.iter().any(|edge| edge.is_retry) && !shapes.contains(&Shape::Retries) {
            shapes.push(Shape::Retries);
            shapes.sort_unstable();
        }
        let spans: Vec<FlowSpan> = traces.iter().flat_map(|trace| told(&story, trace)).cloned().collect();
        Flow {
            critical_path: critical::path(&spans, &edges, &[]),
            shapes,
            traces: traces.iter().map(|trace| trace.id).collect(),
            start_ns: spans.iter().map(|span| span.start_ns).min().unwrap_or(0),
            end_ns: spans.iter().map(|span| span.end_ns).max().unwrap_or(0),
            spans,
            cuts: cuts(story),
            foreign_left,
            edges,
            halves,
        }
    }
}

/// The spans of a trace that belong to the story.
fn told<'a>(story: &'a Story, trace: &'a Trace) -> impl Iterator<Item = &'a FlowSpan> {
    let nodes = trace.nodes.iter().enumerate().filter(|(index, _)| story.holds(trace, *index));
    nodes.map(|(_, node)| &node.span)
}

/// The edges in the order in which they are told, and how many are not told.
fn edges<'a>(
    store: &'a Store,
    matcher: &Matcher,
    story: &Story,
    traces: &[&'a Trace],
) -> (Vec<Draft<'a>>, Vec<Edge>, usize) {
    let (drafts, foreign_left) = edges::drafts(store, matcher, story, traces);
    let told = drafts.into_iter().filter_map(|draft| edges::edge(&draft).map(|edge| (edge, draft)));
    let mut told: Vec<(Edge, Draft<'a>)> = told.collect();
    told.sort_by(|(a, _), (b, _)| {
        let place =
            |e: &Edge| (e.to.start_ns, e.to.trace_id, e.to.span_id, e.from.start_ns, e.from.trace_id, e.from.span_id);
        place(a).cmp(&place(b)).then_with(|| (a.rule, &a.key).cmp(&(b.rule, &b.key)))
    });
    let (mut edges, drafts): (Vec<Edge>, Vec<Draft<'a>>) = told.into_iter().unzip();
    deliveries::tell(&drafts, &mut edges);
    (drafts, edges, foreign_left)
}

fn cuts(story: Story) -> Vec<Cut> {
    let cut = |((reason, trace_id, span_id), left): (_, super::walk::Left)| Cut {
        reason,
        trace_id,
        span_id,
        traces_count: left.count.max(left.traces.len()),
        traces: left.traces.into_iter().take(CUT_TRACES_MAX).collect(),
    };
    story.cuts.into_iter().map(cut).collect()
}
