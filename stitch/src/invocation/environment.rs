//! Execution environments: when one came up, how, and for which invocation.

use std::collections::BTreeMap;

use hopline_model::{SpanId, TraceId};

use super::Fact;
use super::words::{InitPhase, InitType, Source, Status};

/// An environment: one instance of one function. The function is empty if nobody says it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnvironmentKey {
    /// The function.
    pub function: String,
    /// `faas.instance`, else `service.instance.id`.
    pub instance: String,
}

/// What is known of an environment's beginning. One beginning is told by many sources; it
/// is one all the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Environment {
    /// Which one.
    pub key: EnvironmentKey,
    /// How it was initialised.
    pub init_type: Option<InitType>,
    /// When its initialisation began.
    pub init_start_ns: Option<i64>,
    /// When its initialisation ended.
    pub init_end_ns: Option<i64>,
    /// How long its initialisation took.
    pub init_ns: Option<i64>,
    /// How its initialisation ended.
    pub init_status: Option<Status>,
    /// The error of an initialisation that failed.
    pub init_error_type: Option<String>,
    /// When its restore from a snapshot began.
    pub restore_start_ns: Option<i64>,
    /// How long its restore took.
    pub restore_ns: Option<i64>,
    /// The extension's span of the initialisation, in a trace of its own.
    pub init_span: Option<(TraceId, SpanId)>,
    /// When it was initialised again, within an invocation, after one that failed.
    pub reinits: u32,
    /// Who tells of its beginning.
    pub told_by: Vec<Source>,
    /// The first of its invocations, as an index into [`super::Merged::invocations`]; none
    /// if an earlier one is known that was not given, or if it never had one.
    pub first: Option<usize>,
    /// Its invocations among those given.
    pub invocations: usize,
}

/// A re-initialisation: from when to when, and the invocation that the record names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reinit<'a> {
    pub(super) start_ns: i64,
    pub(super) end_ns: i64,
    pub(super) invocation_id: Option<&'a str>,
}

/// What is told of the beginnings of each environment, in the order of [`Fact`].
pub(super) fn of_facts<'a>(facts: &[&'a Fact]) -> BTreeMap<EnvironmentKey, Vec<&'a Fact>> {
    let mut of_key: BTreeMap<EnvironmentKey, Vec<&'a Fact>> = BTreeMap::new();
    for fact in facts {
        let Some(instance) = fact.instance.clone() else { continue };
        let function = fact.function.clone().unwrap_or_default();
        of_key.entry(EnvironmentKey { function, instance }).or_default().push(fact);
    }
    of_key
}

impl Environment {
    pub(super) fn new(key: EnvironmentKey) -> Environment {
        Environment {
            key,
            init_type: None,
            init_start_ns: None,
            init_end_ns: None,
            init_ns: None,
            init_status: None,
            init_error_type: None,
            restore_start_ns: None,
            restore_ns: None,
            init_span: None,
            reinits: 0,
            told_by: Vec::new(),
            first: None,
            invocations: 0,
        }
    }

    /// Whether a record tells of its beginning: a metric only counts it.
    pub(super) fn is_recorded(&self) -> bool {
        self.told_by.iter().any(|source| *source != Source::InitMetric)
    }

    /// Whether it came up and never served, as far as the given facts tell.
    pub fn is_unused(&self) -> bool {
        self.invocations == 0
    }
}

/// Brings the facts of one environment together; they are in order.
pub(super) fn begin<'a>(key: EnvironmentKey, facts: &[&'a Fact]) -> (Environment, Vec<Reinit<'a>>) {
    let again: Vec<Reinit<'a>> = reinits(facts);
    let is_again = |fact: &Fact| {
        let (begin, end) = interval(fact);
        again.iter().any(|r| begin <= r.end_ns && r.start_ns <= end)
    };
    let of = |source: Source| {
        facts.iter().copied().filter(move |f| f.source == source && f.init_phase != Some(InitPhase::Invoke))
    };
    // The first of each: a record that comes later is of a re-initialisation.
    let start = of(Source::InitStart).find(|f| !is_again(f));
    let report = of(Source::InitReport).next();
    let span = of(Source::InitSpan).find(|f| !is_again(f));
    let restore_start = of(Source::RestoreStart).next();
    let restore_report = of(Source::RestoreReport).next();
    // The points of two metrics: that there was an initialisation, and how long it took.
    let counted = of(Source::InitMetric).min_by_key(|f| (f.init_ns.is_none(), *f));

    let mut environment = Environment::new(key);
    let told = [start, report, span, restore_start, restore_report, counted];
    environment.told_by = told.iter().flatten().map(|f| f.source).collect();
    environment.init_type = told.iter().flatten().find_map(|f| f.init_type);
    environment.init_ns = [report, span, counted].iter().flatten().find_map(|f| f.init_ns);
    environment.init_end_ns = report.map(|f| f.time_ns).or(span.and_then(|f| f.end_ns));
    let before_end = || Some(environment.init_end_ns?.saturating_sub(environment.init_ns?));
    environment.init_start_ns = start.map(|f| f.time_ns).or(span.and_then(|f| f.start_ns)).or_else(before_end);
    environment.init_status = [report, span].iter().flatten().find_map(|f| f.status);
    environment.init_error_type = [report, span].iter().flatten().find_map(|f| f.error_type.clone());
    environment.init_span = span.and_then(|f| f.trace_id.zip(f.span_id));
    environment.restore_ns = restore_report.and_then(|f| f.restore_ns);
    let before_report = || restore_report.map(|f| f.time_ns.saturating_sub(f.restore_ns.unwrap_or(0)));
    environment.restore_start_ns = restore_start.map(|f| f.time_ns).or_else(before_report);
    environment.reinits = again.len().try_into().unwrap_or(u32::MAX);
    (environment, again)
}

/// The re-initialisations among the facts: those of the phase `invoke`, and those of which
/// nobody says the phase that come after the environment's first: it has only one.
fn reinits<'a>(facts: &[&'a Fact]) -> Vec<Reinit<'a>> {
    /// How far apart the times of one record are that is told in two ways.
    const SAME_NS: i64 = 20_000_000;
    let begin = |fact: &Fact| fact.start_ns.unwrap_or(fact.time_ns);
    let mut again: Vec<Reinit<'a>> = Vec::new();
    // A report tells both ends; one re-initialisation may be told by all of them.
    for source in [Source::InitReport, Source::InitSpan, Source::InitStart] {
        let of_source = || facts.iter().copied().filter(|f| f.source == source);
        let first = of_source().filter(|f| f.init_phase != Some(InitPhase::Invoke)).map(begin).min();
        let is_later = |fact: &Fact| first.is_some_and(|first| begin(fact) > first.saturating_add(SAME_NS));
        let is_again = |fact: &&'a Fact| match fact.init_phase {
            Some(phase) => phase == InitPhase::Invoke,
            None => is_later(fact),
        };
        for fact in of_source().filter(is_again) {
            let (start_ns, end_ns) = interval(fact);
            let found = Reinit { start_ns, end_ns, invocation_id: fact.invocation_id.as_deref() };
            if !again.iter().any(|r| r.start_ns <= end_ns && start_ns <= r.end_ns) {
                again.push(found);
            }
        }
    }
    again.sort_unstable();
    again
}

/// From when to when a record of an initialisation speaks, with the milliseconds that the
/// platform's rounding may take away.
fn interval(fact: &Fact) -> (i64, i64) {
    const ROUNDING_NS: i64 = 5_000_000;
    let start = fact.start_ns.unwrap_or(fact.time_ns.saturating_sub(fact.init_ns.unwrap_or(0)));
    let end = fact.end_ns.unwrap_or(fact.time_ns);
    (start.saturating_sub(ROUNDING_NS), end.saturating_add(ROUNDING_NS))
}
