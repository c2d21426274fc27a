//! Tells the tries of one request id apart.
//!
//! Lambda gives the retries of an asynchronous invocation the request id of the first try.
//! They begin after the try before has ended, a minute later by default, so that times
//! tell them apart. Where they are closer than clocks can be trusted, what was said does:
//!
//! - two `platform.start` records are two tries;
//! - so are a record of an end and a `platform.start` after it, whatever the time between;
//! - so are two records of an end of one kind, and an end after the bill;
//! - so are two spans of servers with ids of their own of which one ends before the other
//!   begins. Spans that overlap are one: a host's and a worker's, or a span and its copy;
//! - so is what was said in two environments: the platform's records may name one in another way than what the function
//!   says itself, so that the two are compared only where their times differ.
//!
//! One record may be told twice, as a record and as a line of text: then its times are the
//! same but for some milliseconds.

use std::collections::BTreeSet;

use hopline_model::{SpanId, TraceId};

use super::Fact;
use super::attempts::{Attempt, RUN_MAX_NS, SLACK_NS};
use super::words::Source;

/// How far apart the times of one record are that is told in two ways.
const SAME_NS: i64 = 20_000_000;

/// How far apart the durations of one record are that is told in two ways: a line has two
/// decimals of a millisecond.
const SAME_DURATION_NS: i64 = 20_000;

/// What times in whole milliseconds may hide.
const ROUNDING_NS: i64 = 2_000_000;

/// So many of the facts that follow are compared with one, and so many tries are looked at
/// for one: an id that a client never changes must not cost the square of its facts.
const NEAR_MAX: usize = 64;

/// The tries of one request id and function, in the order of their begin.
pub(super) fn of<'a>(facts: &[&'a Fact]) -> Vec<Attempt<'a>> {
    let (mut anchors, mut rest): (Vec<&'a Fact>, Vec<&'a Fact>) = facts.iter().partition(|f| knows_begin(f));
    anchors.sort_unstable_by_key(|fact| (fact.interval().0, *fact));
    // An end before the lines around it.
    rest.sort_unstable_by_key(|fact| (!is_end(fact), fact.time_ns, *fact));
    let ends: BTreeSet<i64> = facts.iter().filter(|fact| is_end(fact)).map(|fact| fact.time_ns).collect();
    let mut tries = Tries { attempts: joined(&anchors, &ends), by_begin: BTreeSet::new(), ends };
    tries.by_begin = tries.attempts.iter().enumerate().map(|(at, attempt)| (attempt.begin, at)).collect();
    for fact in rest {
        tries.put(tries.running(fact), fact);
    }
    let mut attempts = tries.attempts;
    attempts.sort_by_key(|attempt| attempt.begin);
    let mut before: Option<i64> = None;
    for (number, attempt) in (1..).zip(&mut attempts) {
        attempt.number = number;
        // Who counts an hour reads so much before it, and no more.
        let begin = before.replace(attempt.begin);
        attempt.is_retry = begin.is_some_and(|begin| attempt.begin.saturating_sub(begin) <= RUN_MAX_NS);
    }
    attempts
}

/// Whether the fact says when the invocation began.
pub(super) fn knows_begin(fact: &Fact) -> bool {
    match fact.source {
        Source::Span | Source::Start => true,
        Source::RuntimeDone | Source::Report => fact.duration_ns.is_some(),
        _ => false,
    }
}

fn is_end(fact: &Fact) -> bool {
    matches!(fact.source, Source::RuntimeDone | Source::Report)
}

/// Joins facts, which are in the order of their begin, to tries: the nearest first, and
/// none that are certainly of two. So a fact finds its own try before that of a neighbour.
fn joined<'a>(anchors: &[&'a Fact], ends: &BTreeSet<i64>) -> Vec<Attempt<'a>> {
    let mut pairs = Vec::new();
    for (i, one) in anchors.iter().enumerate() {
        let (begin, end) = one.interval();
        let reach = end.saturating_add(SLACK_NS);
        let next = anchors.iter().enumerate().skip(i + 1).take(NEAR_MAX);
        for (j, other) in next.take_while(|(_, other)| other.interval().0 <= reach) {
            let other_begin = other.interval().0;
            let gap = other_begin.saturating_sub(end).max(0);
            pairs.push((gap, other_begin.saturating_sub(begin), i, j));
        }
    }
    pairs.sort_unstable();
    let mut groups: Vec<Group<'a>> = anchors.iter().map(|fact| Group::Is(Box::new(Attempt::of(fact)))).collect();
    for (gap, _, i, j) in pairs {
        let (i, j) = (root(&mut groups, i), root(&mut groups, j));
        let (Some(Group::Is(one)), Some(Group::Is(other))) = (groups.get(i), groups.get(j)) else { continue };
        if i == j || one.marks.is_apart(&other.marks, ends, gap == 0) {
            continue;
        }
        // The larger takes the smaller.
        let (to, from) = if one.facts.len() >= other.facts.len() { (i, j) } else { (j, i) };
        let taken = groups.get_mut(from).map(|group| std::mem::replace(group, Group::Within(to)));
        if let (Some(Group::Is(attempt)), Some(Group::Is(taken))) = (groups.get_mut(to), taken) {
            attempt.absorb(*taken);
        }
    }
    groups.into_iter().filter_map(|group| if let Group::Is(attempt) = group { Some(*attempt) } else { None }).collect()
}

/// A try that is being made, or the one it went into.
enum Group<'a> {
    Is(Box<Attempt<'a>>),
    Within(usize),
}

/// The try in which the fact at `at` is now.
fn root(groups: &mut [Group<'_>], at: usize) -> usize {
    let mut top = at;
    while let Some(Group::Within(next)) = groups.get(top) {
        top = *next;
    }
    // What is asked for again finds it at once.
    let mut at = at;
    while let Some(Group::Within(next)) = groups.get_mut(at) {
        at = std::mem::replace(next, top);
    }
    top
}

struct Tries<'a> {
    attempts: Vec<Attempt<'a>>,
    // Invariant: each attempt once, by its begin.
    by_begin: BTreeSet<(i64, usize)>,
    /// When any record of an end was written.
    ends: BTreeSet<i64>,
}

impl<'a> Tries<'a> {
    /// The try that ran when something was said that tells no begin: the last that had
    /// begun, in its own trace if it has one.
    fn running(&self, fact: &Fact) -> Option<usize> {
        let in_trace = |at: usize| {
            let trace = self.attempts.get(at).and_then(|a| a.marks.trace());
            fact.trace_id.is_some() && trace == fact.trace_id
        };
        self.running_of(fact, in_trace).or_else(|| self.running_of(fact, |_| true))
    }

    fn running_of(&self, fact: &Fact, is_one: impl Fn(usize) -> bool) -> Option<usize> {
        let time = fact.time_ns;
        let mut marks = Marks::default();
        marks.take(fact);
        let may_be = |at: usize| self.attempts.get(at).is_some_and(|a| !a.marks.is_apart(&marks, &self.ends, false));
        let fits = |(_, at): &&(i64, usize)| is_one(*at) && may_be(*at);
        // At the very time of a begin, an end is that of the try before.
        let before = self.by_begin.range(..(time, 0)).rev().take(NEAR_MAX).find(fits);
        before.or_else(|| self.by_begin.range((time, 0)..).take(NEAR_MAX).find(fits)).map(|(_, at)| *at)
    }

    fn put(&mut self, home: Option<usize>, fact: &'a Fact) {
        match home.and_then(|at| self.attempts.get_mut(at)) {
            Some(attempt) => attempt.take(fact),
            None => {
                let attempt = Attempt::of(fact);
                self.by_begin.insert((attempt.begin, self.attempts.len()));
                self.attempts.push(attempt);
            }
        }
    }
}

/// What tells a try from others, as far as its facts say it.
#[derive(Debug, Clone, Default)]
pub(super) struct Marks<'a> {
    /// Its environment by the name of a log stream.
    stream: Option<&'a str>,
    /// Its environment by another name, as the platform's records say it.
    platform: Option<&'a str>,
    /// The same as its spans and lines say it.
    own: Option<&'a str>,
    start_ns: Option<i64>,
    done: Option<End>,
    report: Option<End>,
    server: Option<Spans>,
    other: Option<Spans>,
}

/// A record of an end.
#[derive(Debug, Clone, Copy)]
struct End {
    time_ns: i64,
    duration_ns: Option<i64>,
}

/// Spans that overlap.
#[derive(Debug, Clone, Copy)]
struct Spans {
    begin: i64,
    end: i64,
    span_id: Option<SpanId>,
    trace_id: Option<TraceId>,
}

impl<'a> Marks<'a> {
    /// Adds what a fact says.
    pub(super) fn take(&mut self, fact: &'a Fact) {
        if let Some(name) = fact.instance.as_deref() {
            let is_platform = matches!(fact.source, Source::Start | Source::RuntimeDone | Source::Report);
            let of_kind = match is_stream(name) {
                true => &mut self.stream,
                false if is_platform => &mut self.platform,
                false => &mut self.own,
            };
            of_kind.get_or_insert(name);
        }
        let end = End { time_ns: fact.time_ns, duration_ns: fact.duration_ns };
        match fact.source {
            Source::Start => self.start_ns = least(self.start_ns, Some(fact.time_ns)),
            Source::RuntimeDone => self.done = End::better(self.done, Some(end)),
            Source::Report => self.report = End::better(self.report, Some(end)),
            Source::Span => {
                let (begin, end) = fact.interval();
                let spans = Spans { begin, end, span_id: fact.span_id, trace_id: fact.trace_id };
                let of_kind = if fact.is_server { &mut self.server } else { &mut self.other };
                *of_kind = Spans::together(*of_kind, Some(spans));
            }
            _ => {}
        }
    }

    /// Adds what the facts of another group say, which are of the same try.
    pub(super) fn absorb(&mut self, other: Marks<'a>) {
        self.stream = self.stream.or(other.stream);
        self.platform = self.platform.or(other.platform);
        self.own = self.own.or(other.own);
        self.start_ns = least(self.start_ns, other.start_ns);
        self.done = End::better(self.done, other.done);
        self.report = End::better(self.report, other.report);
        self.server = Spans::together(self.server, other.server);
        self.other = Spans::together(self.other, other.other);
    }

    /// The names of its environment, if it has two: the other one, and that of the log stream.
    pub(super) fn names(&self) -> Option<(&'a str, &'a str)> {
        self.own.or(self.platform).zip(self.stream)
    }

    /// The trace of its span.
    fn trace(&self) -> Option<TraceId> {
        self.server.or(self.other).and_then(|spans| spans.trace_id)
    }

    /// Whether it is known when it began, and nobody tells of its end.
    pub(super) fn is_open(&self) -> bool {
        let ends = self.done.or(self.report).is_some() || self.server.or(self.other).is_some();
        self.start_ns.is_some() && !ends
    }

    /// Whether the two ran in environments that are certainly not one. The names of two kinds, a log stream and an id, say
    /// nothing of each other.
    fn is_elsewhere(&self, other: &Marks<'_>, is_at_once: bool) -> bool {
        let differ = |a: Option<&str>, b: Option<&str>| both(a, b, |a, b| a != b);
        let is_comparable = both(self.own, other.own, |_, _| true) || both(self.platform, other.platform, |_, _| true);
        differ(self.stream, other.stream)
            || differ(self.own, other.own)
            || differ(self.platform, other.platform)
            // A try never begins before the one before it has ended.
            || (!is_comparable && !is_at_once && differ(self.own.or(self.platform), other.own.or(other.platform)))
    }

    /// Whether the two are certainly of two tries. `is_at_once`: something of them ran at the same time.
    fn is_apart(&self, other: &Marks<'_>, ends: &BTreeSet<i64>, is_at_once: bool) -> bool {
        self.is_elsewhere(other, is_at_once)
            || both(self.start_ns, other.start_ns, |a, b| are_two_starts(a, b, ends))
            || both(self.done, other.done, End::is_another)
            || both(self.report, other.report, End::is_another)
            || self.ends_before(other)
            || other.ends_before(self)
            || both(self.server, other.server, |a, b| a.is_disjoint(b))
            // Parts of one trace that are no servers' may follow each other within one try.
            || both(self.other, other.other, |a, b| a.trace_id != b.trace_id && a.is_disjoint(b))
    }

    /// Whether something of this group ended before the other group's began, or after its bill.
    fn ends_before(&self, other: &Marks<'_>) -> bool {
        both(self.done, other.start_ns, End::is_before)
            || both(self.report, other.start_ns, End::is_before)
            || both(self.report, other.done, |report, done| done.is_after(report))
    }
}

/// Whether both are known and something is true of them.
fn both<A, B>(a: Option<A>, b: Option<B>, is: impl FnOnce(A, B) -> bool) -> bool {
    a.zip(b).is_some_and(|(a, b)| is(a, b))
}

fn least(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    a.into_iter().chain(b).min()
}

pub(super) fn is_stream(name: &str) -> bool {
    name.contains('/')
}

/// Whether two records of a start are of two tries: there is more than a little time
/// between them, or an end.
fn are_two_starts(a: i64, b: i64, ends: &BTreeSet<i64>) -> bool {
    let (first, second) = (a.min(b), a.max(b));
    second.saturating_sub(first) > SAME_NS || ends.range(first..second).next().is_some()
}

impl End {
    fn begin(self) -> i64 {
        self.time_ns.saturating_sub(self.duration_ns.unwrap_or(0))
    }

    /// Of two that are one, that which tells how long it took, else the first.
    fn better(a: Option<End>, b: Option<End>) -> Option<End> {
        a.into_iter().chain(b).min_by_key(|end| (end.duration_ns.is_none(), end.time_ns, end.duration_ns))
    }

    /// Whether it is the end of something that began before this start.
    fn is_before(self, start: i64) -> bool {
        self.time_ns < start || (self.time_ns == start && self.duration_ns >= Some(ROUNDING_NS))
    }

    /// Whether two records of one kind are of two tries.
    fn is_another(self, other: End) -> bool {
        let is_near = self.time_ns.abs_diff(other.time_ns) <= SAME_NS.unsigned_abs();
        let (Some(a), Some(b)) = (self.duration_ns, other.duration_ns) else { return !is_near };
        if is_near && a.abs_diff(b) <= SAME_DURATION_NS.unsigned_abs() {
            return false;
        }
        let (first, second) = if self.time_ns <= other.time_ns { (self, other) } else { (other, self) };
        second.begin() >= first.time_ns.saturating_sub(ROUNDING_NS)
    }

    /// Whether it came after the bill of another try: nothing ends after its own.
    fn is_after(self, report: End) -> bool {
        self.time_ns > report.time_ns.saturating_add(SAME_NS)
            || (self.time_ns > report.time_ns && self.duration_ns.is_some() && self.begin() >= report.time_ns)
    }
}

impl Spans {
    fn together(a: Option<Spans>, b: Option<Spans>) -> Option<Spans> {
        let (begin, end) = (|s: Spans| s.begin, |s: Spans| s.end);
        let first = a.into_iter().chain(b).min_by_key(|s| (s.begin, s.end, s.span_id))?;
        let of = |edge: fn(Spans) -> i64| a.into_iter().chain(b).map(edge);
        Some(Spans { begin: of(begin).min()?, end: of(end).max()?, ..first })
    }

    fn is_disjoint(self, other: Spans) -> bool {
        let follows = |a: Spans, b: Spans| b.begin >= a.end && b.begin > a.begin;
        self.span_id != other.span_id && (follows(self, other) || follows(other, self))
    }
}
