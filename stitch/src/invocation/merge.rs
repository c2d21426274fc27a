//! Facts become invocations.

use std::collections::BTreeMap;

use ahash::AHashMap;
use hopline_model::{SpanId, TraceId};

use super::attempts::{self, Attempt, RUN_MAX_NS};
use super::environment::{self, Environment, EnvironmentKey, Reinit};
use super::outcome::End;
use super::start::{self, PREINIT_GAP_NS, Signs, StartEvidence};
use super::words::{Architecture, InitType, Outcome, Provider, Source, StartType, Status, Trigger};
use super::{Fact, outcome, tries};
use crate::cost::{Cost, PriceTable, Usage};

/// An environment lives so long at most, about: AWS replaces them every few hours (Lambda Developer Guide, life cycle of the
/// execution environment). What was told of it longer before an invocation, or what it served then, says nothing of that
/// one's start.
pub const LIFE_MAX_NS: i64 = 24 * 3_600_000_000_000;

/// By what rules facts are merged.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// After so long between initialisation and invocation, nobody waited for it.
    pub preinit_gap_ns: i64,
    /// When the last invocation that is known of an environment before the given facts began.
    pub past: &'a dyn Fn(&EnvironmentKey) -> Option<i64>,
    /// What things cost; without it, nothing does.
    pub prices: Option<&'a PriceTable>,
}

impl Default for Rules<'_> {
    fn default() -> Self {
        Rules { preinit_gap_ns: PREINIT_GAP_NS, past: &|_| None, prices: None }
    }
}

/// An invocation, as all that is known of it tells. Times and durations are nanoseconds,
/// sizes are bytes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Invocation {
    /// The platform's request id; the span's id if there is none.
    pub id: String,
    /// Which try with this id it is, from 1, among those known.
    pub attempt: u32,
    /// Whether it began at most 16 minutes after the try before, as long as an invocation may run. By how many hours are
    /// looked at together, tries that lie further apart would be known of each other or not.
    pub is_retry: bool,
    /// The function.
    pub function: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Its execution environment.
    pub instance: Option<String>,
    /// The account, the subscription or the project.
    pub account: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The cloud.
    pub provider: Option<Provider>,
    /// The processor.
    pub architecture: Option<Architecture>,
    /// What started it.
    pub trigger: Option<Trigger>,
    /// When the handler was called.
    pub start_ns: i64,
    /// How long it took: as the platform reports it, with what its extensions did after
    /// the answer; else as `runtime_ns`.
    pub duration_ns: Option<i64>,
    /// How long the handler took.
    pub runtime_ns: Option<i64>,
    /// How long it is billed, the initialisation included where that is billed.
    pub billed_ns: Option<i64>,
    /// How long its environment's initialisation took, if it is the first there.
    pub init_ns: Option<i64>,
    /// How long its environment's restore took, if it is the first there.
    pub restore_ns: Option<i64>,
    /// Memory it was given.
    pub memory_size: Option<i64>,
    /// Memory it used at most.
    pub memory_used: Option<i64>,
    /// How its environment was initialised.
    pub init_type: Option<InitType>,
    /// How its environment came to be ready.
    pub start_type: StartType,
    /// Why the start type is what it is.
    pub start_evidence: StartEvidence,
    /// Whether its environment was initialised again for it, after a failure.
    pub reinit: bool,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether anyone tells of a time-out.
    pub timed_out: bool,
    /// Whether anyone tells that memory ran out. A function may go on after that.
    pub out_of_memory: bool,
    /// Its time limit, where a time-out named it.
    pub limit_ns: Option<i64>,
    /// Why it failed, in words.
    pub cause: Option<String>,
    /// The type of its error.
    pub error_type: Option<String>,
    /// The text of its error.
    pub error_message: Option<String>,
    /// What is the same of all errors of this kind.
    pub fingerprint: Option<u64>,
    /// Its trace.
    pub trace_id: Option<TraceId>,
    /// Its span.
    pub span_id: Option<SpanId>,
    /// The extension's span of the initialisation that it waited for or was first after.
    pub init_span: Option<(TraceId, SpanId)>,
    /// Whether its span is there.
    pub has_span: bool,
    /// Whether the platform's report of it is there.
    pub has_report: bool,
    /// The status code it answered with.
    pub http_status: Option<i64>,
    /// How often the message that started it was delivered.
    pub deliveries: Option<i64>,
    /// The X-Ray root.
    pub xray_root: Option<TraceId>,
    /// Its X-Ray segment.
    pub xray_segment: Option<SpanId>,
    /// What it cost.
    pub cost: Option<Cost>,
}

impl Invocation {
    /// When it ended, if that is known.
    pub fn end_ns(&self) -> Option<i64> {
        self.duration_ns.map(|duration| self.start_ns.saturating_add(duration))
    }

    /// The environment it ran in.
    pub fn environment(&self) -> Option<EnvironmentKey> {
        let function = self.function.clone().unwrap_or_default();
        self.instance.clone().map(|instance| EnvironmentKey { function, instance })
    }

    /// What it is billed by.
    pub fn usage(&self) -> Usage<'_> {
        Usage {
            provider: self.provider,
            region: self.region.as_deref(),
            architecture: self.architecture,
            init_type: self.init_type,
            start_ns: self.start_ns,
            billed_ns: self.billed_ns,
            memory_size: self.memory_size,
            memory_used: self.memory_used,
        }
    }

    /// Whether the platform reported it and its span never came.
    pub fn is_lost(&self) -> bool {
        self.has_report && !self.has_span
    }
}

/// What facts say together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Merged {
    /// In the order of their start.
    pub invocations: Vec<Invocation>,
    /// In the order of their keys.
    pub environments: Vec<Environment>,
    /// Log records that the platform says it dropped: what is told is not complete.
    pub dropped_records: i64,
    /// Facts without a request id of which one cannot tell to which invocation they belong.
    pub unplaced: usize,
    by_instance: AHashMap<String, Vec<usize>>,
    /// The log streams of environments that have another name too.
    streams: AHashMap<String, String>,
}

impl Merged {
    /// The one invocation that ran in an environment at a time: the owner of a span
    /// without a root, or of a log record without a request id.
    pub fn at(&self, instance: &str, time_ns: i64) -> Option<&Invocation> {
        // More than so many at once share an environment only where no time can tell them apart.
        const CONCURRENT_MAX: usize = 32;
        let of_instance = self.by_instance.get(instance)?;
        let started = |at: &usize| self.invocations.get(*at).is_some_and(|i| i.start_ns <= time_ns);
        let before = of_instance.get(..of_instance.partition_point(started))?;
        let near = before.iter().rev().take(CONCURRENT_MAX).filter_map(|at| self.invocations.get(*at));
        // One whose end nobody knows has ended when the next began.
        let mut running = near.enumerate().filter(|(before, i)| match i.end_ns() {
            Some(end) => end >= time_ns,
            None => *before == 0 && time_ns <= i.start_ns.saturating_add(RUN_MAX_NS),
        });
        let (_, first) = running.next()?;
        running.next().is_none().then_some(first)
    }

    /// The lost invocation that left a span of `function` behind, which ran in an environment at a time: the one that
    /// ran there; else the only one of the function that ran then and whose environment nobody knows by the name of
    /// its log stream, as the spans do. OpenTelemetry's Lambda extension names environments in its own way.
    pub fn lost_at(&self, function: &str, instance: &str, time_ns: i64) -> Option<&Invocation> {
        let is_of = |i: &&Invocation| i.function.as_deref() == Some(function);
        if let Some(here) = self.at(instance, time_ns) {
            return Some(here).filter(|i| is_of(i) && !i.has_span);
        }
        let is_unnamed = |i: &&Invocation| {
            i.instance.as_deref().is_none_or(|name| !tries::is_stream(name) && !self.streams.contains_key(name))
        };
        let ran = |i: &&Invocation| {
            let end = i.end_ns().unwrap_or(i.start_ns.saturating_add(RUN_MAX_NS));
            (i.start_ns..=end).contains(&time_ns)
        };
        let mut lost = self.invocations.iter().filter(|i| !i.has_span && is_of(i) && is_unnamed(i) && ran(i));
        let first = lost.next()?;
        lost.next().is_none().then_some(first)
    }
}

/// Brings facts together: in any order and any number of copies they give the same.
pub fn merge<'a>(facts: impl IntoIterator<Item = &'a Fact>, rules: &Rules<'_>) -> Merged {
    let mut facts: Vec<&Fact> = facts.into_iter().collect();
    facts.sort_unstable();
    facts.dedup();
    let (of_environments, rest): (Vec<&Fact>, Vec<&Fact>) =
        facts.iter().partition(|fact| fact.source.is_of_environment());
    let (dropped, of_invocations): (Vec<&Fact>, Vec<&Fact>) =
        rest.iter().partition(|fact| fact.source == Source::LogsDropped);

    let (attempts, unplaced) = attempts::group(&of_invocations);
    let mut streams: AHashMap<String, String> = AHashMap::new();
    for (name, stream) in attempts.iter().filter_map(|attempt| attempt.marks.names()) {
        let known = streams.entry(name.to_owned()).or_insert_with(|| stream.to_owned());
        // Whatever the order.
        if stream < known.as_str() {
            stream.clone_into(known);
        }
    }
    let mut found: Vec<(Invocation, Signs)> = attempts.iter().map(of_attempt).collect();
    found.sort_by(|(a, _), (b, _)| (a.start_ns, &a.id, a.attempt).cmp(&(b.start_ns, &b.id, b.attempt)));
    let environments = settle(&mut found, environment::of_facts(&of_environments), rules);
    let mut merged = Merged {
        invocations: found.into_iter().map(|(invocation, _)| invocation).collect(),
        environments,
        dropped_records: dropped.iter().filter_map(|fact| fact.dropped_records).fold(0, i64::saturating_add),
        unplaced,
        by_instance: AHashMap::new(),
        streams,
    };
    for (at, invocation) in merged.invocations.iter_mut().enumerate() {
        invocation.cost = rules.prices.and_then(|prices| prices.cost(&invocation.usage()));
        let stream = invocation.instance.as_ref().and_then(|name| merged.streams.get(name));
        for name in invocation.instance.iter().chain(stream) {
            merged.by_instance.entry(name.clone()).or_default().push(at);
        }
    }
    merged
}

/// Gives each invocation its start type, and each environment its first invocation.
fn settle(
    found: &mut [(Invocation, Signs)],
    mut told: BTreeMap<EnvironmentKey, Vec<&Fact>>,
    rules: &Rules<'_>,
) -> Vec<Environment> {
    let mut served: BTreeMap<EnvironmentKey, Vec<usize>> = BTreeMap::new();
    for (at, (invocation, signs)) in found.iter_mut().enumerate() {
        match invocation.environment() {
            Some(key) => served.entry(key).or_default().push(at),
            None => (invocation.start_type, invocation.start_evidence) = start::without_instance(signs),
        }
    }
    for key in served.keys() {
        told.entry(key.clone()).or_default();
    }
    let settle = |(key, facts): (EnvironmentKey, Vec<&Fact>)| {
        let of_environment = served.get(&key).map_or(&[][..], Vec::as_slice);
        settle_one(found, key, &facts, of_environment, rules)
    };
    told.into_iter().map(settle).collect()
}

/// The same of one environment, of its invocations in the order of time.
fn settle_one(
    found: &mut [(Invocation, Signs)],
    key: EnvironmentKey,
    facts: &[&Fact],
    of_environment: &[usize],
    rules: &Rules<'_>,
) -> Environment {
    let mut before = if of_environment.is_empty() { None } else { (rules.past)(&key) };
    let (mut environment, reinits) = environment::begin(key, facts);
    environment.invocations = of_environment.len();
    let mut views = Views::new(facts, environment.clone());
    for at in of_environment {
        let Some((invocation, signs)) = found.get_mut(*at) else { continue };
        let start_ns = invocation.start_ns;
        let is_later = before.is_some_and(|before: i64| start_ns.saturating_sub(before) <= LIFE_MAX_NS);
        before = Some(start_ns);
        let seen = views.at(start_ns);
        (invocation.start_type, invocation.start_evidence) = start::of(signs, is_later, seen, rules.preinit_gap_ns);
        invocation.init_type = seen.init_type.or(invocation.init_type);
        if !is_later {
            environment.first = environment.first.or(Some(*at));
            invocation.init_ns = seen.init_ns.or(signs.init_ns);
            invocation.restore_ns = seen.restore_ns.or(signs.restore_ns);
            invocation.init_span = seen.init_span;
        }
    }
    for reinit in &reinits {
        mark(found, of_environment, reinit);
    }
    environment
}

/// An environment as its invocations see it: by what is told from [`LIFE_MAX_NS`] before them to [`RUN_MAX_NS`] after. Of
/// ever so long a range, the same is then said of an invocation as of a short one around it.
struct Views<'a> {
    facts: &'a [&'a Fact],
    /// Which of them were taken last: from, to.
    taken: (usize, usize),
    view: Environment,
}

impl<'a> Views<'a> {
    fn new(facts: &'a [&'a Fact], whole: Environment) -> Views<'a> {
        Views { facts, taken: (0, facts.len()), view: whole }
    }

    fn at(&mut self, start_ns: i64) -> &Environment {
        let (first, last) = (start_ns.saturating_sub(LIFE_MAX_NS), start_ns.saturating_add(RUN_MAX_NS));
        // Facts are in the order of time.
        let begin = self.facts.partition_point(|fact| fact.time_ns < first);
        let end = self.facts.partition_point(|fact| fact.time_ns <= last);
        if self.taken != (begin, end) {
            self.taken = (begin, end);
            let taken = self.facts.get(begin..end).unwrap_or_default();
            self.view = environment::begin(self.view.key.clone(), taken).0;
        }
        &self.view
    }
}

/// Marks the invocation within which the environment was initialised again: the one that
/// the record names, else the one that ran when that ended, else the next.
fn mark(found: &mut [(Invocation, Signs)], of_environment: &[usize], reinit: &Reinit<'_>) {
    let of = |at: &usize| found.get(*at).map(|(invocation, _)| invocation);
    let named = |at: &&usize| {
        of(at).is_some_and(|i| Some(i.id.as_str()) == reinit.invocation_id && i.start_ns <= reinit.end_ns)
    };
    let runs = |at: &&usize| {
        of(at).is_some_and(|i| i.start_ns <= reinit.end_ns && i.end_ns().is_some_and(|end| reinit.end_ns <= end))
    };
    let follows = |at: &&usize| of(at).is_some_and(|i| i.start_ns >= reinit.start_ns);
    let list = of_environment.iter();
    let at = list.clone().rev().find(named).or_else(|| list.clone().find(runs)).or_else(|| list.clone().find(follows));
    let Some(at) = at.copied() else { return };
    if let Some((invocation, _)) = found.get_mut(at) {
        invocation.reinit = true;
    }
}

/// When an invocation began and how long it took.
struct Times {
    start_ns: i64,
    runtime_ns: Option<i64>,
    duration_ns: Option<i64>,
    limit_ns: Option<i64>,
}

/// The facts of one source.
fn from<'a>(facts: &[&'a Fact], source: Source) -> impl Iterator<Item = &'a Fact> {
    facts.iter().copied().filter(move |fact| fact.source == source)
}

/// The invocation's own span: a server's before others, then the outermost.
fn own_span<'a>(facts: &[&'a Fact]) -> Option<&'a Fact> {
    from(facts, Source::Span).min_by_key(|f| (!f.is_server, f.start_ns, std::cmp::Reverse(f.end_ns), *f))
}

fn times(facts: &[&Fact], span: Option<&Fact>, timed_out: bool) -> Times {
    let report = from(facts, Source::Report).next();
    let done = from(facts, Source::RuntimeDone).find(|f| f.duration_ns.is_some());
    let began = from(facts, Source::Start).map(|f| f.time_ns).min();
    // A line `END` has no duration, but it stands at the end.
    let ended = from(facts, Source::RuntimeDone).map(|f| f.time_ns).max();
    let between = || Some(ended?.saturating_sub(began?)).filter(|ns| *ns >= 0);
    let runtime_ns = done.or(span).and_then(|f| f.duration_ns).or_else(between);
    let limit_ns = facts.iter().find_map(|fact| fact.limit_ns);
    let reported = report.and_then(|f| f.duration_ns);
    let platform = done.or(report).map(|f| f.interval().0);
    // The line of a time-out comes at its end.
    let before_limit =
        || from(facts, Source::Log).find_map(|f| f.limit_ns.map(|limit| f.time_ns.saturating_sub(limit)));
    // A metric's point speaks of the time since the one before.
    let said = facts.iter().filter(|f| f.source != Source::Metric);
    let earliest = || said.map(|f| f.interval().0).min().unwrap_or(0);
    let begins = began.or(span.and_then(|f| f.start_ns)).or(platform).or_else(before_limit);
    Times {
        start_ns: begins.unwrap_or_else(earliest),
        runtime_ns,
        duration_ns: reported.or(runtime_ns).or(limit_ns.filter(|_| timed_out)),
        limit_ns,
    }
}

/// What the facts of one invocation say together. Its start type is still to come.
fn of_attempt(attempt: &Attempt<'_>) -> (Invocation, Signs) {
    use Source::{Metric, Report, RuntimeDone, Span, Start};
    let facts = &attempt.facts;
    // The platform's own names first: the records of an environment's beginning have them too.
    let ordered: Vec<&Fact> = [Start, RuntimeDone, Report, Span, Source::Log, Metric]
        .into_iter()
        .flat_map(|source| from(facts, source))
        .collect();
    let text = |of: fn(&Fact) -> &Option<String>| ordered.iter().find_map(|fact| of(fact).clone());
    let first = |of: fn(&Fact) -> Option<i64>| ordered.iter().find_map(|fact| of(fact));
    let span = own_span(facts);
    let report = from(facts, Report).next();
    let end = outcome::of(facts);
    let times = times(facts, span, end.timed_out);
    let is_aws = facts.iter().any(|f| matches!(f.source, Start | RuntimeDone | Report));
    let traced = span.or_else(|| facts.iter().copied().find(|f| f.trace_id.is_some()));
    let signs = Signs {
        start_ns: times.start_ns,
        coldstart: from(facts, Span).find_map(|f| f.coldstart),
        init_type: facts.iter().find_map(|f| f.init_type),
        init_ns: report.and_then(|f| f.init_ns),
        restore_ns: report.and_then(|f| f.restore_ns),
    };
    let id = text(|f| &f.invocation_id).or_else(|| span.and_then(|f| f.span_id).map(|id| id.to_string()));
    let mut invocation = Invocation {
        id: id.unwrap_or_default(),
        attempt: attempt.number,
        is_retry: attempt.is_retry,
        function: text(|f| &f.function),
        version: text(|f| &f.version),
        instance: text(|f| &f.instance),
        account: text(|f| &f.account),
        region: text(|f| &f.region),
        provider: ordered.iter().find_map(|f| f.provider).or(is_aws.then_some(Provider::Aws)),
        architecture: ordered.iter().find_map(|f| f.architecture),
        trigger: span.and_then(|f| f.trigger).or_else(|| ordered.iter().find_map(|f| f.trigger)),
        start_ns: times.start_ns,
        duration_ns: times.duration_ns,
        runtime_ns: times.runtime_ns,
        billed_ns: report.and_then(|f| f.billed_ns),
        memory_size: report.and_then(|f| f.memory_size).or_else(|| first(|f| f.memory_size)),
        memory_used: report.and_then(|f| f.memory_used).or_else(|| first(|f| f.memory_used)),
        init_type: signs.init_type,
        limit_ns: times.limit_ns,
        trace_id: traced.and_then(|f| f.trace_id),
        span_id: span.and_then(|f| f.span_id),
        has_span: span.is_some(),
        has_report: report.is_some(),
        http_status: span.and_then(|f| f.http_status).or_else(|| first(|f| f.http_status)),
        deliveries: facts.iter().filter_map(|f| f.deliveries).max(),
        xray_root: ordered.iter().find_map(|f| f.xray_root),
        xray_segment: ordered.iter().find_map(|f| f.xray_segment),
        ..Invocation::default()
    };
    conclude(&mut invocation, end, facts);
    (invocation, signs)
}

/// Says how an invocation ended, and why if it failed.
fn conclude(invocation: &mut Invocation, end: End, facts: &[&Fact]) {
    (invocation.outcome, invocation.timed_out, invocation.out_of_memory) =
        (end.outcome, end.timed_out, end.out_of_memory);
    if end.outcome.is_failed() {
        blame(invocation, facts);
    }
}

/// Says why an invocation failed.
fn blame(invocation: &mut Invocation, facts: &[&Fact]) {
    if let Some(error) = outcome::error(facts) {
        invocation.error_type = error.error_type.clone();
        invocation.error_message = error.error_message.clone();
        invocation.fingerprint = error.fingerprint;
    }
    if invocation.fingerprint.is_none() || invocation.outcome == Outcome::Timeout {
        // A time-out is one kind of error, whatever was logged before it.
        let kind = outcome::kind_of(invocation.outcome).unwrap_or("Error");
        let message = invocation.error_message.as_deref().unwrap_or_default();
        let message = if invocation.outcome == Outcome::Error { message } else { "" };
        invocation.fingerprint = Some(crate::fingerprint::of(kind, message, ""));
    }
    let says = |status: Status| facts.iter().any(|f| f.status == Some(status));
    invocation.cause = Some(match invocation.outcome {
        Outcome::Timeout => match invocation.limit_ns.or(invocation.duration_ns) {
            Some(limit) => format!("timed out after {:.2} s", limit as f64 / 1e9),
            None => "timed out".to_owned(),
        },
        Outcome::Oom => match (invocation.memory_used, invocation.memory_size) {
            (Some(used), Some(size)) => {
                format!("out of memory: {} of {} MB used", used / 1_048_576, size / 1_048_576)
            }
            _ => "out of memory".to_owned(),
        },
        Outcome::Crash if says(Status::Crash) => "the process ended".to_owned(),
        _ => match (&invocation.error_type, &invocation.error_message) {
            (Some(kind), Some(message)) => format!("{kind}: {message}"),
            (Some(text), None) | (None, Some(text)) => text.clone(),
            (None, None) => "an error".to_owned(),
        },
    });
}
