//! Which facts speak of one invocation.
//!
//! Facts with a request id are of one invocation if their function is the same and their
//! times overlap; how the tries of one request id are told apart stands in
//! [`super::tries`].
//!
//! Facts without a request id belong to the one invocation that ran in their environment,
//! or in their trace, at their time. If there are several, a span is an invocation of its
//! own and a log record belongs to none.

use std::collections::{BTreeMap, BTreeSet};

use ahash::AHashMap;
use hopline_model::TraceId;

use super::tries::Marks;
use super::words::Source;
use super::{Fact, tries};

/// How far apart the times of two facts of one invocation may be: the platform's clock
/// has milliseconds and its report comes a little after the end.
pub(super) const SLACK_NS: i64 = 500_000_000;

/// An invocation may run so long (AWS Lambda quotas: 15 minutes), and a minute for clocks.
pub const RUN_MAX_NS: i64 = 960_000_000_000;

/// The facts of one invocation.
#[derive(Debug, Clone)]
pub(super) struct Attempt<'a> {
    /// In the order of [`Fact`].
    pub(super) facts: Vec<&'a Fact>,
    /// Which of the tries with this request id it is, from 1.
    pub(super) number: u32,
    /// Whether it began soon after the one before.
    pub(super) is_retry: bool,
    /// When the first of them speaks of.
    pub(super) begin: i64,
    /// When the last of them speaks of.
    pub(super) end: i64,
    pub(super) marks: Marks<'a>,
}

impl<'a> Attempt<'a> {
    pub(super) fn of(fact: &'a Fact) -> Attempt<'a> {
        let (begin, end) = fact.interval();
        let mut attempt =
            Attempt { facts: Vec::new(), number: 1, is_retry: false, begin, end, marks: Marks::default() };
        attempt.take(fact);
        attempt
    }

    /// Adds a fact. One that knows no begin does not move the attempt's.
    pub(super) fn take(&mut self, fact: &'a Fact) {
        let (begin, end) = fact.interval();
        if tries::knows_begin(fact) {
            self.begin = self.begin.min(begin);
        }
        self.end = self.end.max(end);
        self.marks.take(fact);
        self.facts.push(fact);
    }

    /// Adds the facts of another, which is the same.
    pub(super) fn absorb(&mut self, other: Attempt<'a>) {
        self.begin = self.begin.min(other.begin);
        self.end = self.end.max(other.end);
        self.marks.absorb(other.marks);
        self.facts.extend(other.facts);
    }

    fn overlaps(&self, (begin, end): (i64, i64), slack: i64) -> bool {
        self.begin.saturating_sub(slack) <= end && begin <= self.end.saturating_add(slack)
    }

    /// Whether nobody says that the fact is of another function.
    fn may_be_of(&self, fact: &Fact) -> bool {
        let here = self.facts.iter().find_map(|fact| fact.function.as_deref());
        let there = fact.function.as_deref();
        here.is_none() || there.is_none() || here == there
    }
}

/// The facts' invocations, and how many log records belong to none.
pub(super) fn group<'a>(facts: &[&'a Fact]) -> (Vec<Attempt<'a>>, usize) {
    let mut of_id: BTreeMap<&str, Vec<&'a Fact>> = BTreeMap::new();
    let mut without_id = Vec::new();
    for fact in facts {
        match fact.invocation_id.as_deref() {
            Some(id) => of_id.entry(id).or_default().push(fact),
            None => without_id.push(*fact),
        }
    }
    let mut attempts: Vec<Attempt<'a>> = Vec::new();
    for facts in of_id.into_values() {
        for facts in by_function(facts) {
            attempts.extend(tries::of(&facts));
        }
    }
    let unplaced = place(&mut attempts, &without_id);
    for attempt in &mut attempts {
        attempt.facts.sort_unstable();
    }
    (attempts, unplaced)
}

/// One list for each function that is named; what names none goes to the first.
fn by_function<'a>(facts: Vec<&'a Fact>) -> Vec<Vec<&'a Fact>> {
    let mut of_function: BTreeMap<&str, Vec<&'a Fact>> = BTreeMap::new();
    let mut rest = Vec::new();
    for fact in facts {
        match fact.function.as_deref() {
            Some(function) => of_function.entry(function).or_default().push(fact),
            None => rest.push(fact),
        }
    }
    let mut lists: Vec<Vec<&'a Fact>> = of_function.into_values().collect();
    match lists.first_mut() {
        Some(first) => first.extend(rest),
        None if !rest.is_empty() => lists.push(rest),
        None => {}
    }
    lists
}

/// Gives facts without a request id to the invocations that they tell of. Returns how many
/// log records belong to none.
fn place<'a>(attempts: &mut Vec<Attempt<'a>>, facts: &[&'a Fact]) -> usize {
    let (spans, rest): (Vec<&'a Fact>, Vec<&'a Fact>) = facts.iter().partition(|fact| fact.source == Source::Span);
    // Spans first: one that fits nowhere is an invocation to which records may belong.
    let alone = take_home(attempts, &spans);
    attempts.extend(alone.into_iter().map(Attempt::of));
    take_home(attempts, &rest).len()
}

/// Gives facts to the invocations they belong to; returns those that belong to none.
fn take_home<'a>(attempts: &mut [Attempt<'a>], facts: &[&'a Fact]) -> Vec<&'a Fact> {
    if facts.is_empty() {
        return Vec::new();
    }
    let index = Index::new(attempts);
    let homes: Vec<Option<usize>> = facts.iter().map(|fact| index.home(attempts, fact)).collect();
    let mut alone = Vec::new();
    for (fact, home) in facts.iter().zip(homes) {
        match home.and_then(|at| attempts.get_mut(at)) {
            Some(attempt) => attempt.facts.push(fact),
            None => alone.push(*fact),
        }
    }
    alone
}

/// Invocations by where they ran and by their traces.
struct Index<'a> {
    by_instance: AHashMap<&'a str, Running>,
    by_trace: AHashMap<TraceId, Running>,
}

/// Invocations in the order of their begin.
#[derive(Default)]
struct Running {
    at: Vec<(i64, usize)>,
    longest: i64,
}

impl<'a> Index<'a> {
    fn new(attempts: &[Attempt<'a>]) -> Index<'a> {
        let mut index = Index { by_instance: AHashMap::new(), by_trace: AHashMap::new() };
        for (at, attempt) in attempts.iter().enumerate() {
            let entry = (attempt.begin, at);
            let long = attempt.end.saturating_sub(attempt.begin);
            let instances: BTreeSet<&str> = attempt.facts.iter().filter_map(|f| f.instance.as_deref()).collect();
            for instance in instances {
                index.by_instance.entry(instance).or_default().add(entry, long);
            }
            let traces: BTreeSet<TraceId> = attempt.facts.iter().filter_map(|f| f.trace_id).collect();
            for trace in traces {
                index.by_trace.entry(trace).or_default().add(entry, long);
            }
        }
        for running in index.by_instance.values_mut().chain(index.by_trace.values_mut()) {
            running.at.sort_unstable();
        }
        index
    }

    /// The one invocation of the fact's function that ran then, in its trace or else in
    /// its environment.
    fn home(&self, attempts: &[Attempt<'_>], fact: &Fact) -> Option<usize> {
        let by_trace = fact.trace_id.and_then(|trace| self.by_trace.get(&trace));
        let by_instance = fact.instance.as_deref().and_then(|instance| self.by_instance.get(instance));
        let only = |running: &Running| running.only(attempts, fact);
        by_trace.and_then(only).or_else(|| by_instance.and_then(only))
    }
}

impl Running {
    fn add(&mut self, entry: (i64, usize), long: i64) {
        self.at.push(entry);
        self.longest = self.longest.max(long);
    }

    /// The only one that fits: by its times as they are, else the one that had begun and
    /// whose end nobody tells, else with some slack. In an environment that is never idle
    /// the next invocation begins at once.
    fn only(&self, attempts: &[Attempt<'_>], fact: &Fact) -> Option<usize> {
        let within = |slack| self.only_within(attempts, fact, slack);
        within(0).or_else(|| self.open(attempts, fact)).or_else(|| within(SLACK_NS))
    }

    /// The last that had begun, if its end is not known: it has ended when the next began.
    fn open(&self, attempts: &[Attempt<'_>], fact: &Fact) -> Option<usize> {
        let (begin, _) = fact.interval();
        let (_, at) = self.at.get(..self.at.partition_point(|(b, _)| *b <= begin))?.last()?;
        let attempt = attempts.get(*at)?;
        let is_near = begin.saturating_sub(attempt.begin) <= RUN_MAX_NS;
        (is_near && attempt.marks.is_open() && attempt.may_be_of(fact)).then_some(*at)
    }

    fn only_within(&self, attempts: &[Attempt<'_>], fact: &Fact, slack: i64) -> Option<usize> {
        let (begin, end) = fact.interval();
        let after = self.at.partition_point(|(b, _)| *b <= end.saturating_add(slack));
        let earliest = begin.saturating_sub(self.longest).saturating_sub(slack);
        let near = self.at.get(..after)?.iter().rev().take_while(|(b, _)| *b >= earliest);
        let fits = |at: &usize| attempts.get(*at).is_some_and(|a| a.may_be_of(fact) && a.overlaps((begin, end), slack));
        let mut found = near.map(|(_, at)| *at).filter(fits);
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }
}
