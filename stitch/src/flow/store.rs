//! What was read so far, and what is wanted next.
//!
//! Asking for a trace or a key that was not read yet puts it on the list of wants. So the
//! story is worked out again and again from what is there, until nothing is missing:
//! the outcome depends on what was read, never on the order in which it came.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use ahash::{HashMap, HashSet};
use hopline_model::TraceId;

use super::trace::Trace;
use super::{CutReason, FlowSpan, KeyRow, Limits, Wants};
use crate::key::{Direction, KeyHash, Kind, hash_parts};

/// Rows and traces, and what is wanted.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) limits: Limits,
    traces: BTreeMap<TraceId, Trace>,
    rows: HashMap<(KeyHash, Direction), Vec<KeyRow>>,
    asked: Wanted,
    /// Spans and rows that were given since the last wants.
    given: Given,
    spans_count: usize,
    wanted: RefCell<Wanted>,
    /// What limits forbade to read, ever: who could not be told may have been remembered as nobody.
    refused: RefCell<BTreeMap<(CutReason, TraceId), BTreeSet<TraceId>>>,
    /// For whose sake things are wanted now.
    asker: Cell<TraceId>,
}

#[derive(Debug, Default)]
struct Wanted {
    traces: HashSet<TraceId>,
    keys: HashSet<(KeyHash, Direction)>,
}

#[derive(Debug, Default)]
struct Given {
    spans: BTreeMap<TraceId, Vec<FlowSpan>>,
    rows: Vec<KeyRow>,
}

/// A trace that was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Look<'a> {
    Here(&'a Trace),
    /// None of its spans is stored, or a limit forbids to read it.
    Missing,
    /// It is wanted.
    Pending,
}

impl Store {
    pub(super) fn new(limits: Limits) -> Store {
        Store {
            limits,
            traces: BTreeMap::new(),
            rows: HashMap::default(),
            asked: Wanted::default(),
            given: Given::default(),
            spans_count: 0,
            wanted: RefCell::default(),
            refused: RefCell::default(),
            asker: Cell::default(),
        }
    }

    pub(super) fn give(&mut self, spans: Vec<FlowSpan>, rows: Vec<KeyRow>) {
        for span in spans {
            self.given.spans.entry(span.trace_id).or_default().push(span);
        }
        self.given.rows.extend(rows);
    }

    /// Takes what was given into use. What was not asked for, or comes after its answer, is left out.
    pub(super) fn settle(&mut self) {
        let Given { spans, rows } = std::mem::take(&mut self.given);
        for (id, spans) in spans {
            if self.asked.traces.contains(&id) && !self.traces.contains_key(&id) {
                let trace = Trace::new(id, spans, self.limits.spans_max);
                self.spans_count += trace.nodes.len();
                self.traces.insert(id, trace);
            }
        }
        let mut touched = BTreeSet::new();
        for row in rows {
            let place = (row.hash, row.direction);
            if self.asked.keys.contains(&place) {
                self.rows.entry(place).or_default().push(row);
                touched.insert(place);
            }
        }
        for place in touched {
            if let Some(rows) = self.rows.get_mut(&place) {
                rows.sort_by(|a, b| rank(a).cmp(&rank(b)));
                rows.dedup();
            }
        }
    }

    /// What is wanted and was never asked for; from now on it counts as asked.
    pub(super) fn take_wants(&mut self) -> Option<Wants> {
        let wanted = self.wanted.take();
        let mut wants = Wants { traces: wanted.traces.into_iter().collect(), keys: wanted.keys.into_iter().collect() };
        wants.traces.sort_unstable();
        wants.keys.sort_unstable();
        self.asked.traces.extend(&wants.traces);
        self.asked.keys.extend(&wants.keys);
        (!wants.traces.is_empty() || !wants.keys.is_empty()).then_some(wants)
    }

    /// Says for which trace's sake things are wanted from here on: it is named where a limit is hit.
    pub(super) fn ask_for(&self, trace: TraceId) {
        self.asker.set(trace);
    }

    pub(super) fn trace(&self, id: TraceId) -> Look<'_> {
        if let Some(trace) = self.traces.get(&id) {
            return Look::Here(trace);
        }
        if self.asked.traces.contains(&id) || id.is_zero() {
            return Look::Missing;
        }
        let mut wanted = self.wanted.borrow_mut();
        // What was looked at and turned out to belong to other stories counts as well.
        let traces_max = self.limits.traces_max.saturating_mul(2).saturating_add(self.limits.batch_traces_max);
        if self.spans_count > self.limits.spans_max.saturating_mul(2) {
            return self.refuse(CutReason::Spans, Some(id));
        }
        if !wanted.traces.contains(&id) && self.asked.traces.len() + wanted.traces.len() >= traces_max {
            return self.refuse(CutReason::Traces, Some(id));
        }
        wanted.traces.insert(id);
        Look::Pending
    }

    /// Whether so many traces more may be read for the sake of one: at most half of what may be read goes there.
    pub(super) fn has_room_for(&self, traces: usize) -> bool {
        self.asked.traces.len().saturating_add(traces) <= self.limits.traces_max
    }

    /// Whether a trace was read, be it that none of its spans is stored.
    pub(super) fn is_read(&self, id: TraceId) -> bool {
        self.asked.traces.contains(&id)
    }

    /// A trace, if it was read already.
    pub(super) fn loaded(&self, id: TraceId) -> Option<&Trace> {
        self.traces.get(&id)
    }

    /// Whether a trace was read and none of its spans is stored.
    pub(super) fn is_missing(&self, id: TraceId) -> bool {
        self.asked.traces.contains(&id) && !self.traces.contains_key(&id)
    }

    /// The rows of a key; nothing if they are yet to be read. Rows of records that are no spans are among them.
    pub(super) fn rows(&self, hash: KeyHash, direction: Direction) -> Option<&[KeyRow]> {
        self.rows_within(hash, direction, self.limits.keys_max)
    }

    /// As [`Store::rows`], for keys of which there may be so many that half of the limit is left for others.
    pub(super) fn rows_of_part(&self, hash: KeyHash) -> Option<&[KeyRow]> {
        self.rows_within(hash, Direction::In, self.limits.keys_max / 2)
    }

    fn rows_within(&self, hash: KeyHash, direction: Direction, keys_max: usize) -> Option<&[KeyRow]> {
        let place = (hash, direction);
        if self.asked.keys.contains(&place) {
            return Some(self.rows.get(&place).map_or(&[], Vec::as_slice));
        }
        let mut wanted = self.wanted.borrow_mut();
        if !wanted.keys.contains(&place) && self.asked.keys.len() + wanted.keys.len() >= keys_max {
            self.refuse(CutReason::Keys, None);
            return Some(&[]);
        }
        wanted.keys.insert(place);
        None
    }

    /// As [`Store::rows`], of both sides: who needs one will soon need the other.
    pub(super) fn both_rows(&self, hash: KeyHash) -> Option<(&[KeyRow], &[KeyRow])> {
        let (outs, ins) = (self.rows(hash, Direction::Out), self.rows(hash, Direction::In));
        Some((outs?, ins?))
    }

    /// Spans with links to a trace.
    pub(super) fn linking(&self, trace: TraceId) -> Option<&[KeyRow]> {
        self.rows(hash_parts(Kind::Link, &trace.to_string()), Direction::In)
    }

    /// Spans that knew that they would set off a trace.
    pub(super) fn linked(&self, trace: TraceId) -> Option<&[KeyRow]> {
        self.rows(hash_parts(Kind::Link, &trace.to_string()), Direction::Out)
    }

    /// Where limits forbade to read on.
    pub(super) fn refused(&self) -> BTreeMap<(CutReason, TraceId), BTreeSet<TraceId>> {
        self.refused.borrow().clone()
    }

    fn refuse(&self, reason: CutReason, trace: Option<TraceId>) -> Look<'_> {
        self.refused.borrow_mut().entry((reason, self.asker.get())).or_default().extend(trace);
        Look::Missing
    }
}

type Rank<'a> = (i64, Option<TraceId>, Option<hopline_model::SpanId>, Option<&'a str>, i64, Kind);

fn rank(row: &KeyRow) -> Rank<'_> {
    (row.start_ns, row.trace_id, row.span_id, row.invocation_id.as_deref(), row.end_ns, row.kind)
}
