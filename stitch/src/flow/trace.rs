//! One trace, ready to be asked: who is above whom, what is one invocation, and which span
//! sent or received what.

use ahash::HashMap;
use hopline_model::{SpanId, TraceId};

use super::FlowSpan;
use crate::hops::HopKey;
use crate::key::{Direction, KeyHash};
use crate::span::SpanKind;

/// Spans of one send or receive are not nested deeper than this.
pub(super) const NESTED_MAX: usize = 64;

/// A trace.
#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) id: TraceId,
    /// Its spans, by start time; of spans that start together, the longest first.
    pub(super) nodes: Vec<Node>,
    /// What its spans sent, each key once a send.
    pub(super) outs: Vec<Use>,
    /// What its spans received, each key once a receive.
    pub(super) ins: Vec<Use>,
    /// Whether it had more spans than may be kept.
    pub(super) is_truncated: bool,
    /// Invocations and requests of which nothing above is stored. One story has few; of those that share an X-Ray root
    /// there may be any number.
    pub(super) tops_count: usize,
    /// Its spans, parents before children.
    order: Vec<usize>,
    by_id: HashMap<SpanId, usize>,
    outs_by_hash: HashMap<KeyHash, Vec<usize>>,
    ins_by_hash: HashMap<KeyHash, Vec<usize>>,
}

/// A span and its place.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) span: FlowSpan,
    /// The span above it, if that is stored.
    pub(super) parent: Option<usize>,
    /// The topmost span of its unit: of the invocation or request that it is a part of.
    pub(super) unit: usize,
    /// The span above it and all others, itself if there is none.
    pub(super) top: usize,
    /// Whether a span of another unit is below it, with only spans of its own unit between.
    pub(super) has_callee: bool,
    /// Its place in a walk that visits parents before children, and the place of the last span below it.
    enter: usize,
    leave: usize,
}

/// A span has a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Use {
    /// The span.
    pub(super) node: usize,
    /// Which of its keys.
    pub(super) key: usize,
    pub(super) hash: KeyHash,
}

impl Trace {
    /// The trace with these spans, which may come in any order and twice.
    pub(super) fn new(id: TraceId, mut spans: Vec<FlowSpan>, spans_max: usize) -> Trace {
        spans.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| key_rank(a).cmp(key_rank(b))));
        spans.dedup_by(|a, b| {
            (a.span_id, a.start_ns, a.end_ns, &a.service, &a.name)
                == (b.span_id, b.start_ns, b.end_ns, &b.service, &b.name)
        });
        let is_truncated = spans.len() > spans_max;
        spans.truncate(spans_max);
        let mut trace = Trace { id, is_truncated, ..Trace::default() };
        for (index, span) in spans.into_iter().enumerate() {
            trace.by_id.entry(span.span_id).or_insert(index);
            let node = Node { span, parent: None, unit: index, top: index, has_callee: false, enter: 0, leave: 0 };
            trace.nodes.push(node);
        }
        trace.find_parents();
        trace.order = trace.number();
        trace.find_units();
        trace.find_callers();
        let is_top = |(index, node): &(usize, &Node)| node.top == *index && node.span.kind.is_in();
        trace.tops_count = trace.nodes.iter().enumerate().filter(is_top).count();
        (trace.outs, trace.outs_by_hash) = trace.uses(Direction::Out);
        (trace.ins, trace.ins_by_hash) = trace.uses(Direction::In);
        trace
    }

    pub(super) fn node(&self, index: usize) -> Option<&Node> {
        self.nodes.get(index)
    }

    pub(super) fn find(&self, span: SpanId) -> Option<usize> {
        self.by_id.get(&span).copied()
    }

    /// Its spans, parents before children.
    pub(super) fn top_down(&self) -> &[usize] {
        &self.order
    }

    /// When its first span began.
    pub(super) fn start_ns(&self) -> i64 {
        self.nodes.first().map_or(0, |node| node.span.start_ns)
    }

    /// The unit of a span.
    pub(super) fn unit(&self, index: usize) -> usize {
        self.node(index).map_or(index, |node| node.unit)
    }

    /// The topmost span above a span.
    pub(super) fn top(&self, index: usize) -> usize {
        self.node(index).map_or(index, |node| node.top)
    }

    /// Whether `above` is `below` or an ancestor of it.
    pub(super) fn is_above(&self, above: usize, below: usize) -> bool {
        match (self.node(above), self.node(below)) {
            (Some(above), Some(below)) => above.enter <= below.enter && below.enter <= above.leave,
            _ => false,
        }
    }

    /// Whether two spans of one unit are the same or one is above the other.
    pub(super) fn are_related(&self, a: usize, b: usize) -> bool {
        self.unit(a) == self.unit(b) && (self.is_above(a, b) || self.is_above(b, a))
    }

    /// Whether two spans that send may tell of one send.
    pub(super) fn is_one_send(&self, a: usize, b: usize) -> bool {
        let sends = |index: usize| self.node(index).is_some_and(|node| node.span.kind.is_out());
        a == b || (self.are_related(a, b) && sends(a) && sends(b))
    }

    pub(super) fn key_of(&self, usage: &Use) -> Option<&HopKey> {
        self.node(usage.node)?.span.keys.get(usage.key)
    }

    /// Spans that sent this.
    pub(super) fn senders_of(&self, hash: KeyHash) -> &[usize] {
        self.outs_by_hash.get(&hash).map_or(&[], Vec::as_slice)
    }

    /// Spans that received this.
    pub(super) fn receivers_of(&self, hash: KeyHash) -> &[usize] {
        self.ins_by_hash.get(&hash).map_or(&[], Vec::as_slice)
    }

    /// The span that stands for the send of `hash` that the span `index` is a part of.
    pub(super) fn sender_for(&self, hash: KeyHash, index: usize) -> usize {
        self.senders_of(hash).iter().copied().find(|sender| self.are_related(*sender, index)).unwrap_or(index)
    }

    /// The invocation that the unit of a span is, if it is one.
    pub(super) fn invocation_of(&self, index: usize) -> Option<&str> {
        let own = |index: usize| self.node(index)?.span.invocation_id.as_deref();
        own(self.unit(index)).or_else(|| own(index))
    }

    /// The ancestors of a span, itself first, as long as they belong to its unit.
    pub(super) fn in_unit_above(&self, index: usize) -> impl Iterator<Item = usize> + '_ {
        let unit = self.unit(index);
        std::iter::successors(Some(index), move |at| {
            self.node(*at)?.parent.filter(|_| *at != unit).filter(|parent| self.unit(*parent) == unit)
        })
    }

    /// The spans of a trace whose parent is of another unit, with that parent.
    pub(super) fn calls(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let called = |(index, node): (usize, &Node)| Some((node.parent?, index)).filter(|_| node.unit == index);
        self.nodes.iter().enumerate().filter_map(called)
    }

    /// Finds parents. Of spans that are above each other in a circle, the first has none.
    fn find_parents(&mut self) {
        let parent_of = |index: usize| {
            let parent = self.nodes.get(index)?.span.parent?;
            self.find(parent).filter(|parent| *parent != index)
        };
        let mut parents: Vec<Option<usize>> = (0..self.nodes.len()).map(parent_of).collect();
        // The walk from each span up marks what it passes with the span it began at: meeting its own mark is a circle.
        let mut seen = vec![usize::MAX; parents.len()];
        for first in 0..parents.len() {
            let mut at = first;
            while let Some(mark) = seen.get_mut(at).filter(|mark| **mark == usize::MAX) {
                *mark = first;
                let Some(parent) = parents.get(at).copied().flatten() else { break };
                at = parent;
            }
            // Where the walk stopped at a span of its own, that span closes a circle, unless it is a root.
            if seen.get(at) == Some(&first)
                && let Some(parent) = parents.get_mut(at)
            {
                *parent = None;
            }
        }
        for (node, parent) in self.nodes.iter_mut().zip(parents) {
            node.parent = parent;
        }
    }

    /// Numbers the spans so that parents come before children, and gives that order.
    fn number(&mut self) -> Vec<usize> {
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        let mut stack = Vec::new();
        for (index, node) in self.nodes.iter().enumerate().rev() {
            match node.parent.and_then(|parent| children.get_mut(parent)) {
                Some(siblings) => siblings.push(index),
                None => stack.push(index),
            }
        }
        let mut order = Vec::with_capacity(self.nodes.len());
        while let Some(index) = stack.pop() {
            if let Some(node) = self.nodes.get_mut(index) {
                (node.enter, node.leave) = (order.len(), order.len());
            }
            order.push(index);
            stack.extend(children.get(index).into_iter().flatten());
        }
        for index in order.iter().rev() {
            let Some((leave, parent)) = self.node(*index).map(|node| (node.leave, node.parent)) else { continue };
            if let Some(parent) = parent.and_then(|parent| self.nodes.get_mut(parent)) {
                parent.leave = parent.leave.max(leave);
            }
        }
        order
    }

    fn find_units(&mut self) {
        for place in 0..self.order.len() {
            let Some(index) = self.order.get(place).copied() else { break };
            let unit = self.node(index).and_then(|node| {
                let parent = self.node(node.parent?)?;
                let root = self.node(parent.unit)?;
                (!begins_unit(&node.span, &parent.span, &root.span)).then_some(parent.unit)
            });
            let top = self.node(index).and_then(|node| Some(self.node(node.parent?)?.top));
            if let Some(node) = self.nodes.get_mut(index) {
                node.unit = unit.unwrap_or(index);
                node.top = top.unwrap_or(index);
            }
        }
    }

    fn find_callers(&mut self) {
        let callers: Vec<usize> = self.calls().map(|(caller, _)| caller).collect();
        for caller in callers {
            let mut at = Some(caller);
            let unit = self.unit(caller);
            while let Some(node) = at.and_then(|at| self.nodes.get_mut(at)) {
                if node.has_callee || node.unit != unit {
                    break;
                }
                node.has_callee = true;
                at = node.parent;
            }
        }
    }

    /// Who has which key on this side, nested spans that tell of one send or receive counted once.
    fn uses(&self, direction: Direction) -> (Vec<Use>, HashMap<KeyHash, Vec<usize>>) {
        let mut groups: HashMap<(usize, KeyHash), Vec<Use>> = HashMap::default();
        for (node, at) in self.nodes.iter().enumerate() {
            let of_side = at.span.keys.iter().enumerate().filter(|(_, key)| key.direction == direction);
            for (key, hop_key) in of_side {
                let hash = hop_key.key.hash();
                groups.entry((at.unit, hash)).or_default().push(Use { node, key, hash });
            }
        }
        let mut uses: Vec<Use> = groups.into_values().flat_map(|group| self.stand_for(group, direction)).collect();
        uses.sort_by_key(|u| (u.node, u.key));
        let mut by_hash: HashMap<KeyHash, Vec<usize>> = HashMap::default();
        for u in &uses {
            by_hash.entry(u.hash).or_default().push(u.node);
        }
        (uses, by_hash)
    }

    /// Of the spans of one unit that have one key, those that stand for a send or a receive each: of nested ones,
    /// the PRODUCER or the innermost CONSUMER, else the outermost.
    fn stand_for(&self, mut group: Vec<Use>, direction: Direction) -> Vec<Use> {
        if group.len() < 2 {
            return group;
        }
        let enter = |u: &Use| self.node(u.node).map_or(0, |node| node.enter);
        let kind = |u: &Use| self.node(u.node).map(|node| node.span.kind);
        group.sort_by_key(enter);
        let mut chosen = Vec::new();
        // By `chunk_by` a nest is a run: what lies below the first of it comes before what does not.
        let mut rest = group.as_slice();
        while let Some(outermost) = rest.first() {
            let nested = rest.iter().take_while(|u| self.is_above(outermost.node, u.node)).count().max(1);
            let (nest, others) = rest.split_at(nested);
            rest = others;
            let special: Vec<Use> = match direction {
                Direction::Out => {
                    nest.iter().filter(|u| kind(u) == Some(SpanKind::Producer)).take(1).copied().collect()
                }
                Direction::In => {
                    let consumers: Vec<Use> =
                        nest.iter().filter(|u| kind(u) == Some(SpanKind::Consumer)).copied().collect();
                    let next = consumers.iter().skip(1).map(Some).chain([None]);
                    let is_inner = |(u, next): (&Use, Option<&Use>)| {
                        let holds_next = next.is_some_and(|next| self.is_above(u.node, next.node));
                        (!holds_next).then_some(*u)
                    };
                    consumers.iter().zip(next).filter_map(is_inner).collect()
                }
            };
            if special.is_empty() { chosen.push(*outermost) } else { chosen.extend(special) }
        }
        chosen
    }
}

/// Whether a span begins another invocation or request than its parent's.
fn begins_unit(span: &FlowSpan, parent: &FlowSpan, root: &FlowSpan) -> bool {
    let elsewhere = span.service != parent.service || span.function != parent.function;
    // A service may call itself.
    let received = matches!(
        (parent.kind, span.kind),
        (SpanKind::Client | SpanKind::Producer, SpanKind::Server) | (SpanKind::Producer, SpanKind::Consumer)
    );
    let other = matches!((&span.invocation_id, &root.invocation_id), (Some(own), Some(of_root)) if own != of_root);
    elsewhere || received || other
}

type Rank<'a> = (
    (i64, std::cmp::Reverse<i64>, SpanId, &'a str, &'a str),
    (Option<SpanId>, Option<&'a str>, Option<&'a str>, bool, u8),
    (Option<&'a str>, Option<&'a str>, &'a [(TraceId, SpanId)]),
);

/// A total order, so that copies of a span are kept or dropped in the same way however they come.
fn rank(span: &FlowSpan) -> Rank<'_> {
    (
        (span.start_ns, std::cmp::Reverse(span.end_ns), span.span_id, &span.service, &span.name),
        (span.parent, span.function.as_deref(), span.invocation_id.as_deref(), span.is_error, span.kind as u8),
        (span.account.as_deref(), span.region.as_deref(), &span.links),
    )
}

fn key_rank(span: &FlowSpan) -> impl Iterator<Item = impl Ord + '_> {
    span.keys.iter().map(|k| (&k.key, k.direction, k.hop, &k.destination, k.rule))
}
