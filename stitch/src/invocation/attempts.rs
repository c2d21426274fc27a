//! Which facts speak of one invocation.
//!
//! Facts with a request id are of one invocation if their function is the same and their
//! times overlap. Lambda gives the retries of an asynchronous invocation the request id
//! of the first try; they begin after the try before has ended (a minute later, by
//! default), so that times tell them apart. Two tries in different environments are two
//! even where their times touch.
//!
//! Facts without a request id belong to the one invocation that ran in their environment,
//! or in their trace, at their time. If there are several, a span is an invocation of its
//! own and a log record belongs to none.

use std::collections::{BTreeMap, BTreeSet};

use ahash::AHashMap;
use hopline_model::TraceId;

use super::Fact;
use super::words::Source;

/// How far apart the times of two facts of one invocation may be: the platform's clock
/// has milliseconds and its report comes a little after the end.
const SLACK_NS: i64 = 500_000_000;

/// The facts of one invocation.
#[derive(Debug, Clone)]
pub(super) struct Attempt<'a> {
    /// In the order of [`Fact`].
    pub(super) facts: Vec<&'a Fact>,
    /// Which of the tries with this request id it is, from 1.
    pub(super) number: u32,
    begin: i64,
    end: i64,
}

impl<'a> Attempt<'a> {
    fn of(fact: &'a Fact) -> Attempt<'a> {
        let (begin, end) = fact.interval();
        Attempt { facts: vec![fact], number: 1, begin, end }
    }

    fn take(&mut self, fact: &'a Fact) {
        let (begin, end) = fact.interval();
        self.begin = self.begin.min(begin);
        self.end = self.end.max(end);
        self.facts.push(fact);
    }

    fn overlaps(&self, (begin, end): (i64, i64), slack: i64) -> bool {
        self.begin.saturating_sub(slack) <= end && begin <= self.end.saturating_add(slack)
    }

    fn function(&self) -> Option<&'a str> {
        self.facts.iter().find_map(|fact| fact.function.as_deref())
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
            attempts.extend(split(&facts));
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

/// The tries of one request id, in the order of their begin.
fn split<'a>(facts: &[&'a Fact]) -> Vec<Attempt<'a>> {
    // What knows when the invocation began makes tries; the rest joins them.
    let (mut anchors, mut rest): (Vec<&'a Fact>, Vec<&'a Fact>) = facts.iter().partition(|f| is_anchor(f));
    anchors.sort_unstable_by_key(|f| (f.interval().0, *f));
    rest.sort_unstable_by_key(|f| (f.time_ns, *f));
    let mut attempts: Vec<Attempt<'a>> = Vec::new();
    for fact in anchors {
        let fits = |a: &&mut Attempt<'a>| a.overlaps(fact.interval(), SLACK_NS) && same_place(a, fact);
        match attempts.iter_mut().rev().find(fits) {
            Some(attempt) => attempt.take(fact),
            None => attempts.push(Attempt::of(fact)),
        }
    }
    for fact in rest {
        // The last try that had begun: a log line has no duration, and the line of an end neither.
        let begun = |a: &&mut Attempt<'a>| a.begin.saturating_sub(SLACK_NS) <= fact.time_ns && same_place(a, fact);
        if let Some(attempt) = attempts.iter_mut().rev().find(begun) {
            attempt.facts.push(fact);
            attempt.end = attempt.end.max(fact.time_ns);
        } else if let Some(attempt) = attempts.iter_mut().find(|a| same_place(a, fact)) {
            attempt.facts.push(fact);
        } else {
            attempts.push(Attempt::of(fact));
        }
    }
    attempts.sort_by_key(|a| a.begin);
    for (number, attempt) in (1..).zip(&mut attempts) {
        attempt.number = number;
    }
    attempts
}

fn is_anchor(fact: &Fact) -> bool {
    match fact.source {
        Source::Span | Source::Start => true,
        Source::RuntimeDone | Source::Report => fact.duration_ns.is_some(),
        _ => false,
    }
}

/// Whether the fact may be of the same environment. The names of two kinds of instances,
/// a log stream and an id, say nothing of each other.
fn same_place(attempt: &Attempt<'_>, fact: &Fact) -> bool {
    let is_stream = |name: &str| name.contains('/');
    let Some(here) = fact.instance.as_deref() else { return true };
    attempt.facts.iter().filter_map(|f| f.instance.as_deref()).all(|i| i == here || is_stream(i) != is_stream(here))
}

/// Gives facts without a request id to the invocations that have one. Returns how many
/// log records belong to none.
fn place<'a>(attempts: &mut Vec<Attempt<'a>>, facts: &[&'a Fact]) -> usize {
    if facts.is_empty() {
        return 0;
    }
    let index = Index::new(attempts);
    let mut unplaced = 0;
    let mut homes: Vec<(usize, &'a Fact)> = Vec::new();
    let mut alone: Vec<&'a Fact> = Vec::new();
    for fact in facts {
        match index.home(attempts, fact) {
            Some(at) => homes.push((at, fact)),
            None if fact.source == Source::Span => alone.push(fact),
            None => unplaced += 1,
        }
    }
    for (at, fact) in homes {
        if let Some(attempt) = attempts.get_mut(at) {
            attempt.facts.push(fact);
        }
    }
    attempts.extend(alone.into_iter().map(Attempt::of));
    unplaced
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

    /// The only one that fits: by its times as they are, else with some slack. In an
    /// environment that is never idle the next invocation begins at once.
    fn only(&self, attempts: &[Attempt<'_>], fact: &Fact) -> Option<usize> {
        [0, SLACK_NS].into_iter().find_map(|slack| self.only_within(attempts, fact, slack))
    }

    fn only_within(&self, attempts: &[Attempt<'_>], fact: &Fact, slack: i64) -> Option<usize> {
        let (begin, end) = fact.interval();
        let after = self.at.partition_point(|(b, _)| *b <= end.saturating_add(slack));
        let earliest = begin.saturating_sub(self.longest).saturating_sub(slack);
        let near = self.at.get(..after)?.iter().rev().take_while(|(b, _)| *b >= earliest);
        let fits = |at: &usize| {
            attempts.get(*at).is_some_and(|attempt| {
                let (here, there) = (attempt.function(), fact.function.as_deref());
                let same = here.is_none() || there.is_none() || here == there;
                same && attempt.overlaps((begin, end), slack)
            })
        };
        let mut found = near.map(|(_, at)| *at).filter(fits);
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }
}
