//! Answers held against the truth.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::demo::Fact;

/// The words above a table of scores.
pub(super) const HEADER: &str =
    "kind                    true identity    exact     xray inferred   missed  missed!   wrong: exact  xray inferred";

/// How one kind of hop was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Score {
    /// Edges that are true.
    truth: u64,
    /// Those of them whose identity, or trace context, is on both sides.
    identity: u64,
    /// True edges that were found, by certainty.
    exact: u64,
    xray: u64,
    inferred: u64,
    /// True edges that were not found.
    missed: u64,
    /// Those of them whose identity is on both sides.
    missed_identity: u64,
    /// Edges that were given and are not true, by certainty.
    wrong_exact: u64,
    wrong_xray: u64,
    wrong_inferred: u64,
}

impl Score {
    pub(super) fn add(&mut self, other: &Score) {
        let Score { truth, identity, exact, xray, inferred, missed, missed_identity, .. } = other;
        self.truth += truth;
        self.identity += identity;
        self.exact += exact;
        self.xray += xray;
        self.inferred += inferred;
        self.missed += missed;
        self.missed_identity += missed_identity;
        self.wrong_exact += other.wrong_exact;
        self.wrong_xray += other.wrong_xray;
        self.wrong_inferred += other.wrong_inferred;
    }

    /// No exact edge is wrong, none whose identity is there is missed, and of a hundred inferred ones at most two are wrong.
    pub(super) fn reaches_goal(&self) -> bool {
        self.wrong_exact == 0 && self.missed_identity == 0 && self.wrong_inferred * 98 <= self.inferred * 2
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>14} {:>5} {:>8}",
            self.truth,
            self.identity,
            self.exact,
            self.xray,
            self.inferred,
            self.missed,
            self.missed_identity,
            self.wrong_exact,
            self.wrong_xray,
            self.wrong_inferred
        )
    }
}

/// Who caused whom: names of invocations, or of requests of the web site.
type Pair = (String, String);

/// What really happened.
#[derive(Debug, Default)]
pub(super) struct Truth {
    /// The kind of hop, and whether its identity is on both sides.
    edges: BTreeMap<Pair, (String, bool)>,
    /// Whose root span a span is.
    roots: HashMap<(String, String), String>,
    /// Who sent with a span.
    senders: HashMap<(String, String), String>,
    /// Invocations without a root span, by trace and function.
    lost: HashMap<(String, String), Vec<String>>,
    /// Invocations by request id.
    requests: HashMap<String, Vec<String>>,
}

impl Truth {
    pub(super) fn of(facts: &[Fact]) -> Truth {
        let mut truth = Truth::default();
        for fact in facts {
            match fact {
                Fact::Edge(edge) => {
                    let kind = kind(&edge.kind);
                    truth.edges.insert((edge.from.clone(), edge.to.clone()), (kind, edge.identity));
                }
                Fact::Send(sent) => {
                    truth.senders.insert((sent.trace_id.clone(), sent.span_id.clone()), sent.from.clone());
                }
                Fact::Invocation(ran) => {
                    truth.requests.entry(ran.request_id.clone()).or_default().push(ran.id.clone());
                    match &ran.root_span_id {
                        Some(root) => {
                            truth.roots.insert((ran.trace_id.clone(), root.clone()), ran.id.clone());
                        }
                        None => {
                            let lost = (ran.trace_id.clone(), ran.function.to_owned());
                            truth.lost.entry(lost).or_default().push(ran.id.clone());
                        }
                    }
                }
            }
        }
        truth
    }

    /// Who one end of an edge is.
    fn who(&self, end: &Value) -> String {
        let text = |name: &str| end[name].as_str().unwrap_or_default().to_owned();
        let trace = text("trace_id");
        let root = self.roots.get(&(trace.clone(), text("root_span_id")));
        let sender = || self.senders.get(&(trace.clone(), text("span_id")));
        let only = |ids: &Vec<String>| if let [id] = ids.as_slice() { Some(id.clone()) } else { None };
        let lost = || self.lost.get(&(trace.clone(), text("function"))).and_then(only);
        let request = || self.requests.get(&text("invocation_id")).and_then(only);
        let known = root.or_else(sender).cloned().or_else(lost).or_else(request);
        known.unwrap_or_else(|| format!("{} {} {}", text("service"), trace, text("span_id")))
    }
}

/// The word of a kind of hop in the truth.
fn kind(kind: &impl Serialize) -> String {
    serde_json::to_value(kind).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

/// What the server says.
#[derive(Debug, Default)]
pub(super) struct Answer {
    edges: BTreeMap<Pair, Given>,
    pub(super) merged: u64,
}

/// How an edge was given.
#[derive(Debug, Clone)]
struct Given {
    certainty: String,
    hop: String,
    rule: String,
}

impl Answer {
    /// Takes note of the edges of a flow.
    pub(super) fn add_flow(&mut self, flow: &Value, truth: &Truth) {
        let mut requests = BTreeSet::new();
        for edge in flow["edges"].as_array().into_iter().flatten() {
            let text = |name: &str| edge[name].as_str().unwrap_or_default().to_owned();
            let pair = (truth.who(&edge["from"]), truth.who(&edge["to"]));
            // Within an invocation nobody causes anybody.
            if pair.0 == pair.1 {
                continue;
            }
            let given = Given { certainty: text("certainty"), hop: text("hop"), rule: text("rule") };
            let best = self.edges.entry(pair).or_insert_with(|| given.clone());
            if given.certainty == "exact" {
                *best = given;
            }
        }
        let web = |t: &&Value| t["service"].as_str() == Some("shop-web");
        for trace in flow["traces"].as_array().into_iter().flatten().filter(web) {
            requests.insert(trace["trace_id"].as_str().unwrap_or_default().to_owned());
        }
        self.merged += u64::from(requests.len() > 1);
    }
}

/// The scores by kind of hop, and a line for each edge that was missed or wrong.
pub(super) fn score(truth: &Truth, answer: &Answer) -> (BTreeMap<String, Score>, Vec<String>) {
    let mut scores: BTreeMap<String, Score> = BTreeMap::new();
    let mut lines = Vec::new();
    for (pair, (kind, identity)) in &truth.edges {
        let score = scores.entry(kind.clone()).or_default();
        score.truth += 1;
        score.identity += u64::from(*identity);
        match answer.edges.get(pair).map(|given| given.certainty.as_str()) {
            Some("exact") => score.exact += 1,
            Some("xray") => score.xray += 1,
            Some(_) => score.inferred += 1,
            None => {
                score.missed += 1;
                score.missed_identity += u64::from(*identity);
                if *identity {
                    lines.push(format!("missed {kind} {} -> {}", pair.0, pair.1));
                }
            }
        }
    }
    for (pair, given) in answer.edges.iter().filter(|(pair, _)| !truth.edges.contains_key(*pair)) {
        let score = scores.entry(given.hop.clone()).or_default();
        match given.certainty.as_str() {
            "exact" => score.wrong_exact += 1,
            "xray" => score.wrong_xray += 1,
            _ => score.wrong_inferred += 1,
        }
        lines.push(format!("wrong {} ({} by {}) {} -> {}", given.hop, given.certainty, given.rule, pair.0, pair.1));
    }
    (scores, lines)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_wrong_exact_edge_misses_the_goal() {
        let good = Score { truth: 100, identity: 1, exact: 1, inferred: 98, missed: 1, ..Score::default() };
        assert!(good.reaches_goal());
        assert!(Score { wrong_inferred: 2, ..good }.reaches_goal());
        assert!(!Score { wrong_inferred: 3, ..good }.reaches_goal());
        assert!(!Score { wrong_exact: 1, ..good }.reaches_goal());
        assert!(!Score { missed_identity: 1, ..good }.reaches_goal());
    }
}
