//! What is known to be missing from what was read: links that an SDK dropped, keys and edges beyond a limit.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use hopline_model::{SpanId, TraceId};

use super::edges::FOREIGN_MAX;
use super::{Flow, FlowSpan};
use crate::hops::KEYS_MAX;

/// Most spans that are named for one reason.
const NAMED_MAX: usize = 3;

impl Flow {
    /// What is missing, and how much of it: reasons for which the story may have more edges than are told.
    pub fn gaps(&self) -> Vec<String> {
        let links = self.lacking(|span| span.dropped_links as usize);
        let keys = self.lacking(|span| span.dropped_keys);
        let mut gaps = Vec::new();
        if let Some(links) = links {
            gaps.push(format!(
                "links that an SDK dropped ({links}): the senders of those messages are not known from them"
            ));
        }
        if let Some(keys) = keys {
            gaps.push(format!("keys beyond {KEYS_MAX} on one side of a span ({keys}): they were not looked for"));
        }
        if self.foreign_left > 0 {
            gaps.push(format!(
                "edges of other stories in a batch beyond {FOREIGN_MAX} of one trace ({} left out)",
                self.foreign_left
            ));
        }
        gaps
    }

    /// Which spans lack something, and how much, those that lack most first; nothing if none does.
    fn lacking(&self, count: impl Fn(&FlowSpan) -> usize) -> Option<String> {
        // A span may be stored twice.
        let mut of_spans: BTreeMap<(TraceId, SpanId), usize> = BTreeMap::new();
        for span in self.spans.iter().filter(|span| count(span) > 0) {
            let known = of_spans.entry((span.trace_id, span.span_id)).or_default();
            *known = count(span).max(*known);
        }
        let mut found: Vec<((TraceId, SpanId), usize)> = of_spans.into_iter().collect();
        // Of equal ones in the order of their ids.
        found.sort_by_key(|(_, count)| Reverse(*count));
        let (named, others) = found.split_at(found.len().min(NAMED_MAX));
        let mut parts: Vec<String> = named.iter().map(|((_, span), count)| format!("{count} of span {span}")).collect();
        if !others.is_empty() {
            let count = others.iter().map(|(_, count)| count).fold(0, |sum: usize, count| sum.saturating_add(*count));
            parts.push(format!("{count} of {} more", others.len()));
        }
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}
