//! Answers held against the truth.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::invocations::{Count, is_told};
use super::report::percent;
use crate::demo::{Edge, Fact};

/// The words above a table of scores.
pub(super) const HEADER: &str = "edges                    true identity    recall    of all |  exact wrong precision |  xray wrong precision | infer. wrong precision";

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

    /// No exact edge is wrong, none whose identity is there is missed, and of a hundred others at most two are wrong.
    pub(super) fn reaches_goal(&self) -> bool {
        let few = |wrong: u64, right: u64| wrong * 98 <= right * 2;
        self.wrong_exact == 0
            && self.missed_identity == 0
            && few(self.wrong_xray, self.xray)
            && few(self.wrong_inferred, self.inferred)
    }

    /// What is wrong with it, in words.
    pub(super) fn in_words(&self) -> String {
        let Score { missed_identity, wrong_exact, wrong_xray, wrong_inferred, .. } = self;
        format!(
            "{missed_identity} missed, wrong: {wrong_exact} exact, {wrong_xray} by X-Ray, {wrong_inferred} inferred"
        )
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let recall = percent(self.identity - self.missed_identity, self.identity);
        let of_all = percent(self.truth - self.missed, self.truth);
        write!(f, "{:>8} {:>8} {recall:>9} {of_all:>9}", self.truth, self.identity)?;
        let by = [(self.exact, self.wrong_exact), (self.xray, self.wrong_xray), (self.inferred, self.wrong_inferred)];
        for (right, wrong) in by {
            write!(f, " | {right:>6} {wrong:>5} {:>9}", percent(right, right + wrong))?;
        }
        Ok(())
    }
}

/// What is said of exact edges: of how many, and of how many rightly.
pub(super) type Said = BTreeMap<&'static str, Count>;

/// Who caused whom: names of invocations, or of requests of the web site.
type Pair = (String, String);

/// One caused the other.
#[derive(Debug, Clone, PartialEq)]
struct TrueEdge {
    /// The kind of hop.
    kind: String,
    /// Whether its identity, or trace context, is on both sides.
    identity: bool,
    /// Which delivery it is, if something tells of each that was before.
    attempt: Option<u32>,
}

/// What really happened.
#[derive(Debug, Default)]
pub(super) struct Truth {
    edges: BTreeMap<Pair, TrueEdge>,
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
        let attempts = Attempts::of(facts);
        let mut truth = Truth::default();
        for fact in facts {
            match fact {
                Fact::Edge(edge) => {
                    let attempt = attempts.is_told(edge).then_some(edge.attempt);
                    let fresh = || TrueEdge { kind: kind(&edge.kind), identity: false, attempt };
                    let pair = (edge.from.clone(), edge.to.clone());
                    // Two messages of one batch make one edge.
                    truth.edges.entry(pair).or_insert_with(fresh).identity |= edge.identity;
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

/// The deliveries of each message, by its sender and its identity.
struct Attempts<'a> {
    of_message: HashMap<(&'a str, &'a str), Vec<&'a Edge>>,
    /// Invocations that something which is sent names.
    told: HashSet<&'a str>,
}

impl<'a> Attempts<'a> {
    fn of(facts: &'a [Fact]) -> Attempts<'a> {
        let mut attempts = Attempts { of_message: HashMap::new(), told: HashSet::new() };
        for fact in facts {
            match fact {
                Fact::Edge(edge) => {
                    let message = (edge.from.as_str(), edge.message_id.as_str());
                    attempts.of_message.entry(message).or_default().push(edge);
                }
                Fact::Invocation(ran) if is_told(ran) => {
                    attempts.told.insert(&ran.id);
                }
                Fact::Invocation(_) | Fact::Send(_) => {}
            }
        }
        attempts
    }

    /// Whether something tells of every delivery before this one.
    fn is_told(&self, edge: &Edge) -> bool {
        let all = self.of_message.get(&(edge.from.as_str(), edge.message_id.as_str()));
        let mut before = all.into_iter().flatten().filter(|e| e.kind == edge.kind && e.attempt < edge.attempt);
        before.all(|e| self.told.contains(e.to.as_str()))
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
    attempt: u64,
    retry: bool,
    dead_letter: bool,
}

impl Given {
    fn read(edge: &Value) -> Given {
        let text = |name: &str| edge[name].as_str().unwrap_or_default().to_owned();
        let is = |name: &str| edge[name].as_bool().unwrap_or_default();
        Given {
            certainty: text("certainty"),
            hop: text("hop"),
            rule: text("rule"),
            attempt: edge["attempt"].as_u64().unwrap_or_default(),
            retry: is("retry"),
            dead_letter: is("dead_letter"),
        }
    }
}

/// What Hopline calls a kind of hop of the truth.
fn hops(kind: &str) -> &[&str] {
    match kind {
        // The parent alone does not say what kind of call it was.
        "http" => &["http", "call"],
        "lambda.invoke.async" => &["lambda.invoke"],
        "sns.sqs" => &["sns"],
        "sqs.dlq" => &["sqs"],
        _ => &[],
    }
}

/// Counts what is said of an edge that is right.
fn say(said: &mut Said, truth: &TrueEdge, given: &Given, lines: &mut Vec<String>, about: &str) {
    let kind = truth.kind.as_str();
    let mut judge = |what: &'static str, is_right: bool| {
        said.entry(what).or_default().of_given(is_right);
        if !is_right {
            lines.push(format!("wrong {what} of {about}: {given:?}"));
        }
    };
    judge("hop", given.hop == kind || hops(kind).contains(&given.hop.as_str()));
    judge("dead letter", given.dead_letter == (kind == "sqs.dlq"));
    if let Some(attempt) = truth.attempt {
        judge("attempt", given.attempt == u64::from(attempt) && given.retry == (attempt > 1));
    }
}

impl Answer {
    /// Takes note of the edges of a flow.
    pub(super) fn add_flow(&mut self, flow: &Value, truth: &Truth) {
        let mut requests = BTreeSet::new();
        for edge in flow["edges"].as_array().into_iter().flatten() {
            let pair = (truth.who(&edge["from"]), truth.who(&edge["to"]));
            // Within an invocation nobody causes anybody.
            if pair.0 == pair.1 {
                continue;
            }
            let given = Given::read(edge);
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

/// The scores by kind of hop, what is said of exact edges, and a line for each that was missed or is wrong.
pub(super) fn score(truth: &Truth, answer: &Answer) -> (BTreeMap<String, Score>, Said, Vec<String>) {
    let mut scores: BTreeMap<String, Score> = BTreeMap::new();
    let (mut said, mut lines) = (Said::new(), Vec::new());
    for (pair, edge) in &truth.edges {
        let score = scores.entry(edge.kind.clone()).or_default();
        score.truth += 1;
        score.identity += u64::from(edge.identity);
        let given = answer.edges.get(pair);
        let about = format!("{} {} -> {}", edge.kind, pair.0, pair.1);
        match given.map(|given| given.certainty.as_str()) {
            Some("exact") => score.exact += 1,
            Some("xray") => score.xray += 1,
            Some(_) => score.inferred += 1,
            None => {
                score.missed += 1;
                score.missed_identity += u64::from(edge.identity);
                if edge.identity {
                    lines.push(format!("missed {about}"));
                }
            }
        }
        if let Some(given) = given.filter(|given| given.certainty == "exact") {
            say(&mut said, edge, given, &mut lines, &about);
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
    (scores, said, lines)
}

#[cfg(test)]
mod tests;
