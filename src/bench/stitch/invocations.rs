//! Invocations held against the truth: which of them are known, how each started and ended, and what it cost.
//!
//! An invocation that is given and one that is true are the same if function and request id are, and they
//! began at the same time in the same environment: the platform's retries share a request id.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::Context as _;
use serde::Serialize;
use serde_json::Value;

use super::report::percent;
use crate::demo::{Fact, Invocation, Nanos, SECOND, instant};

/// The words above a table of counts.
pub(super) const HEADER: &str = "                                           true    given    right precision    recall";

/// Clocks of spans and of the platform agree to less than this; retries are further apart.
const SAME_TIME: Nanos = SECOND;

/// Costs are given to twelve decimals: half of the last, and what doubles lose.
const COST_DIGITS: f64 = 0.5001e-12;

/// How often something is true, how often it was given, and how often it was given where it is true.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Count {
    /// How often it is true.
    truth: u64,
    /// How often it was given.
    given: u64,
    /// How often it was given where it is true.
    right: u64,
}

impl Count {
    /// Counts what was given of something that is true.
    pub(super) fn of_given(&mut self, is_right: bool) {
        self.truth += 1;
        self.given += 1;
        self.right += u64::from(is_right);
    }

    pub(super) fn add(&mut self, other: Count) {
        self.truth += other.truth;
        self.given += other.given;
        self.right += other.right;
    }

    /// Nothing true was missed and nothing else was given.
    pub(super) fn reaches_goal(self) -> bool {
        self.truth == self.right && self.given == self.right
    }

    /// What is wrong with it, in words.
    pub(super) fn in_words(self) -> String {
        format!("{} missed, {} wrong", self.truth - self.right, self.given - self.right)
    }

    /// A line of a table.
    pub(super) fn line(self, name: &str) -> String {
        let (precision, recall) = (percent(self.right, self.given), percent(self.right, self.truth));
        format!("{name:<39} {:>8} {:>8} {:>8} {precision:>9} {recall:>9}", self.truth, self.given, self.right)
    }
}

/// What was counted of invocations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// Those whose span came and those whose span was lost; and the lost ones that a flow shows with the spans they left.
    pub(super) known: BTreeMap<&'static str, Count>,
    /// By start type; `unknown` is right where nothing that was sent tells it.
    pub(super) start_types: BTreeMap<String, Count>,
    /// By outcome.
    pub(super) outcomes: BTreeMap<String, Count>,
    /// Those with a cost, and with exactly the true one.
    pub(super) costs: Count,
}

impl Counts {
    pub(super) fn add(&mut self, other: &Counts) {
        for (name, count) in &other.known {
            self.known.entry(name).or_default().add(*count);
        }
        for (name, count) in &other.start_types {
            self.start_types.entry(name.clone()).or_default().add(*count);
        }
        for (name, count) in &other.outcomes {
            self.outcomes.entry(name.clone()).or_default().add(*count);
        }
        self.costs.add(other.costs);
    }

    /// All tables: what a line of each is about, and the lines.
    pub(super) fn tables(&self) -> [(&'static str, Vec<(&str, Count)>); 4] {
        fn all(counts: &BTreeMap<String, Count>) -> Vec<(&str, Count)> {
            counts.iter().map(|(name, count)| (name.as_str(), *count)).collect()
        }
        [
            ("invocations", self.known.iter().map(|(name, count)| (*name, *count)).collect()),
            ("start types", all(&self.start_types)),
            ("outcomes", all(&self.outcomes)),
            ("costs", vec![("the very cost", self.costs)]),
        ]
    }
}

const SPAN_CAME: &str = "its span came";
const SPAN_LOST: &str = "its span was lost";
const TIED: &str = "lost, tied to what it left";

/// An invocation as the server gives it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Given {
    id: String,
    function: String,
    instance: Option<String>,
    start_ns: Nanos,
    start_type: String,
    start_evidence: String,
    outcome: String,
    has_span: bool,
    span: (Option<String>, Option<String>),
    cost: Option<f64>,
}

impl Given {
    /// Reads an invocation of `GET /api/v1/invocations`.
    pub(super) fn read(value: &Value) -> anyhow::Result<Given> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let start = text("start_time").context("an invocation without a start")?;
        Ok(Given {
            id: text("id").context("an invocation without an id")?,
            function: text("function").unwrap_or_default(),
            instance: text("instance"),
            start_ns: instant(&start, 0).map_err(anyhow::Error::msg)?,
            start_type: text("start_type").unwrap_or_default(),
            start_evidence: text("start_evidence").unwrap_or_default(),
            outcome: text("outcome").unwrap_or_default(),
            has_span: value.get("has_span").and_then(Value::as_bool).unwrap_or_default(),
            span: (text("trace_id"), text("span_id")),
            cost: value.get("cost").and_then(|cost| cost.get("amount")).and_then(Value::as_f64),
        })
    }
}

/// An invocation whose span never came, as a flow shows it: which one, and the trace of a span that it left.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Unfinished {
    id: String,
    function: String,
    start_ns: Nanos,
    trace_id: String,
}

impl Unfinished {
    /// Those of the answer of `GET /api/v1/flows/{trace_id}`.
    pub(super) fn read(flow: &Value) -> BTreeSet<Unfinished> {
        let mut all = BTreeSet::new();
        for one in flow["unfinished"].as_array().into_iter().flatten() {
            let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
            let Ok(start_ns) = instant(&text("start_time"), 0) else { continue };
            for span in one["spans"].as_array().into_iter().flatten() {
                let trace_id = span["trace_id"].as_str().unwrap_or_default().to_owned();
                all.insert(Unfinished { id: text("invocation_id"), function: text("function"), start_ns, trace_id });
            }
        }
        all
    }
}

/// The true invocations.
#[derive(Debug, Default)]
pub(super) struct Truth<'a> {
    all: Vec<&'a Invocation>,
    by_id: HashMap<(&'a str, &'a str), Vec<usize>>,
}

impl<'a> Truth<'a> {
    pub(super) fn of(facts: &'a [Fact]) -> Truth<'a> {
        let mut truth = Truth::default();
        for fact in facts {
            let Fact::Invocation(ran) = fact else { continue };
            truth.by_id.entry((ran.request_id.as_str(), ran.function)).or_default().push(truth.all.len());
            truth.all.push(ran);
        }
        truth
    }

    /// From when to when there were invocations, with an hour before and behind.
    pub(super) fn range(&self) -> (Nanos, Nanos) {
        let starts = || self.all.iter().map(|ran| ran.start_ns);
        let hour = 3_600 * SECOND;
        (starts().min().unwrap_or(0) - hour, starts().max().unwrap_or(0) + hour)
    }

    /// The true invocation, of those not taken, that one which is given can be.
    fn find(&self, id: &str, function: &str, instance: Option<&str>, start: Nanos, taken: &[bool]) -> Option<usize> {
        let apart = |at: usize| self.all.get(at).map_or(Nanos::MAX, |ran| (ran.start_ns - start).abs());
        let fits = |at: &usize| {
            let Some(ran) = self.all.get(*at) else { return false };
            let free = !taken.get(*at).copied().unwrap_or_default();
            free && apart(*at) < SAME_TIME && instance.is_none_or(|name| name == ran.instance || name == ran.extension)
        };
        let of_id = self.by_id.get(&(id, function))?;
        of_id.iter().copied().filter(fits).min_by_key(|at| apart(*at))
    }
}

/// Whether anything that is sent names the invocation, and so says how it ended.
pub(super) fn is_told(ran: &Invocation) -> bool {
    ran.reported || ran.root_span_id.is_some()
}

/// The word of a value in the truth.
fn word(value: impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

/// What one cannot know is to be called.
const UNKNOWN: &str = "unknown";

/// Counts what is given, and writes a line for each that is wrong or missed.
pub(super) fn score(truth: &Truth<'_>, given: &[Given], unfinished: &BTreeSet<Unfinished>) -> (Counts, Vec<String>) {
    let mut scoring = Scoring::default();
    let mut taken = vec![false; truth.all.len()];
    for given in given {
        let at = truth.find(&given.id, &given.function, given.instance.as_deref(), given.start_ns, &taken);
        if let Some(taken) = at.and_then(|at| taken.get_mut(at)) {
            *taken = true;
        }
        scoring.given(at.and_then(|at| truth.all.get(at)).copied(), given);
    }
    for (ran, taken) in truth.all.iter().zip(&taken) {
        scoring.truth(ran, *taken);
    }
    let mut tied = vec![false; truth.all.len()];
    for left in unfinished {
        let count = scoring.counts.known.entry(TIED).or_default();
        count.given += 1;
        let at = truth.find(&left.id, &left.function, None, left.start_ns, &tied);
        let lost = at.and_then(|at| truth.all.get(at)).filter(|ran| ran.root_span_id.is_none());
        if lost.is_some_and(|ran| ran.trace_id == left.trace_id) {
            count.right += 1;
            if let Some(tied) = at.and_then(|at| tied.get_mut(at)) {
                *tied = true;
            }
        } else {
            scoring.lines.push(format!("wrong {TIED}: {} {} {}", left.function, left.id, left.trace_id));
        }
    }
    let lost =
        truth.all.iter().zip(&tied).filter(|(ran, _)| ran.root_span_id.is_none() && is_told(ran) && ran.spans > 0);
    for (ran, tied) in lost {
        scoring.counts.known.entry(TIED).or_default().truth += 1;
        if !tied {
            scoring.lines.push(format!("missed {TIED}: {} {} {}", ran.function, ran.id, ran.trace_id));
        }
    }
    (scoring.counts, scoring.lines)
}

#[derive(Debug, Default)]
struct Scoring {
    counts: Counts,
    lines: Vec<String>,
}

impl Scoring {
    /// Counts what is true of an invocation.
    fn truth(&mut self, ran: &Invocation, is_given: bool) {
        if !is_told(ran) {
            return;
        }
        let name = if ran.root_span_id.is_some() { SPAN_CAME } else { SPAN_LOST };
        self.counts.known.entry(name).or_default().truth += 1;
        self.counts.start_types.entry(start_type(ran)).or_default().truth += 1;
        self.counts.outcomes.entry(word(ran.outcome)).or_default().truth += 1;
        self.counts.costs.truth += u64::from(cost(ran).is_some());
        if !is_given {
            self.lines.push(format!("missed invocation ({name}) {} {}", ran.function, ran.id));
        }
    }

    /// Counts what is said of an invocation; without `ran` there is none.
    fn given(&mut self, ran: Option<&Invocation>, given: &Given) {
        let about = format!("{} {}", given.function, given.id);
        // Nothing that was sent names it: what is found out all the same must be right, and need not be found out.
        let untold = ran.filter(|ran| !is_told(ran));
        if let Some(ran) = untold {
            let is_fine = |said: &str, truth: String| said == UNKNOWN || said == truth;
            if is_fine(&given.start_type, word(ran.start_type)) && is_fine(&given.outcome, word(ran.outcome)) {
                return;
            }
        }
        let (trace, span) = (given.span.0.as_deref(), given.span.1.as_deref());
        let is_it = ran.is_some_and(|ran| match ran.root_span_id.as_deref() {
            Some(root) => given.has_span && trace == Some(ran.trace_id.as_str()) && span == Some(root),
            None => !given.has_span && trace.is_none_or(|trace| trace == ran.trace_id),
        });
        let name = if given.has_span { SPAN_CAME } else { SPAN_LOST };
        count(self.counts.known.entry(name).or_default(), is_it);
        if !is_it {
            self.lines.push(format!("wrong invocation ({name}) {about} of trace {trace:?}"));
        }
        let start = ran.map(start_type);
        let is_start = start.as_ref() == Some(&given.start_type);
        count(self.counts.start_types.entry(given.start_type.clone()).or_default(), is_start);
        if !is_start {
            let (said, why) = (&given.start_type, &given.start_evidence);
            self.lines.push(format!("wrong start type {said} ({why}), not {start:?}: {about}"));
        }
        let outcome = ran.map(|ran| word(ran.outcome));
        let is_outcome = outcome.as_ref() == Some(&given.outcome);
        count(self.counts.outcomes.entry(given.outcome.clone()).or_default(), is_outcome);
        if !is_outcome {
            self.lines.push(format!("wrong outcome {}, not {outcome:?}: {about}", given.outcome));
        }
        self.cost(ran.and_then(cost), given, &about);
    }

    fn cost(&mut self, truth: Option<f64>, given: &Given, about: &str) {
        let is_cost = match (truth, given.cost) {
            (Some(truth), Some(cost)) => (cost - truth).abs() < COST_DIGITS,
            _ => false,
        };
        if given.cost.is_some() {
            count(&mut self.counts.costs, is_cost);
        }
        if !is_cost && (truth.is_some() || given.cost.is_some()) {
            self.lines.push(format!("wrong cost {:?}, not {truth:?}: {about}", given.cost));
        }
    }
}

fn count(count: &mut Count, is_right: bool) {
    count.given += 1;
    count.right += u64::from(is_right);
}

/// What the start type is to be called.
fn start_type(ran: &Invocation) -> String {
    if ran.start_known { word(ran.start_type) } else { UNKNOWN.to_owned() }
}

/// What it cost, where what is billed was sent.
fn cost(ran: &Invocation) -> Option<f64> {
    ran.cost_usd.filter(|_| ran.reported)
}

#[cfg(test)]
mod tests;
