//! Advice from what a range of time shows of one function.
//!
//! An insight is no alarm: it says what is worth a look, and the numbers that say so. The
//! thresholds are those that teams know from other products' warnings, and can be set
//! ([`Thresholds`]). A share of few invocations says nothing: each share has a least number
//! of invocations below which it is not looked at.

const DAY_NS: i64 = 86_400_000_000_000;
const MIB: u64 = 1_048_576;

/// What a range of time shows of one function.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FunctionStats {
    /// The function.
    pub function: String,
    /// From the first invocation looked at to the last, in nanoseconds.
    pub range_ns: i64,
    /// How many invocations.
    pub invocations: u64,
    /// How many failed, in any way ([`super::Outcome::is_failed`]).
    pub failed: u64,
    /// How many ran out of time.
    pub timed_out: u64,
    /// How many ran out of memory.
    pub out_of_memory: u64,
    /// How many have a known start type.
    pub starts_known: u64,
    /// How many waited for an initialisation.
    pub cold: u64,
    /// How many have a report of the platform.
    pub reported: u64,
    /// How many have a report and no span.
    pub lost: u64,
    /// Memory that it has now, in bytes; 0 if not known.
    pub memory_size: u64,
    /// The most memory that an invocation used, in bytes; 0 if not known.
    pub memory_used_max: u64,
    /// The longest duration that was no time-out, in nanoseconds.
    pub duration_max_ns: Option<u64>,
    /// Its time limit, in nanoseconds.
    pub limit_ns: Option<u64>,
    /// How long all were billed, in nanoseconds.
    pub billed_ns: u64,
    /// The price of a GB-second ([`crate::cost::PriceTable::gb_second`]).
    pub gb_second: Option<f64>,
    /// Other sizes of memory that it was seen with, in bytes, and the median duration
    /// then, in nanoseconds.
    pub other_sizes: Vec<(u64, u64)>,
}

/// What other sources than invocations show of one function: the cloud's own metrics, and
/// the initialisations of its environments. What is not known is 0 or `None`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Signals {
    /// The function.
    pub function: String,
    /// How many invocations.
    pub invocations: u64,
    /// How many calls were refused as too many. They are no invocations.
    pub throttled: u64,
    /// The greatest age of a record of a stream when it was read, in nanoseconds.
    pub iterator_age_max_ns: Option<u64>,
    /// The greatest share of the provisioned environments that was in use.
    pub provisioned_used_share: Option<f64>,
    /// How many invocations waited for an initialisation.
    pub cold: u64,
    /// Of initialisations that were waited for, the 95th percentile, in nanoseconds.
    pub init_p95_ns: Option<u64>,
    /// The longest of all initialisations, in nanoseconds.
    pub init_max_ns: Option<u64>,
}

/// From where on something is worth a look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// Share of failed invocations.
    pub errors: f64,
    /// Share of failed invocations that is high.
    pub errors_high: f64,
    /// Invocations below which no share of failed or lost ones is looked at.
    pub errors_min_count: u64,
    /// Share of cold starts.
    pub cold: f64,
    /// Known starts below which the share of cold ones is not looked at.
    pub cold_min_count: u64,
    /// Share of the time limit.
    pub near_limit: f64,
    /// Share of the memory.
    pub near_memory: f64,
    /// Share of reported invocations without a span.
    pub lost: f64,
    /// Time below which no advice on memory is given.
    pub memory_range_ns: i64,
    /// Invocations below which no advice on memory is given.
    pub memory_min_count: u64,
    /// Memory to leave free above the most that was used, as a share of that.
    pub memory_headroom: f64,
    /// Share of calls that were refused.
    pub throttled: f64,
    /// Age of a stream's records, in nanoseconds.
    pub iterator_age_ns: u64,
    /// Share of the provisioned environments in use below which there are too many.
    pub provisioned_used: f64,
    /// Initialisations, in nanoseconds at the 95th percentile.
    pub init_p95_ns: u64,
    /// Cold starts below which that is not looked at.
    pub init_min_count: u64,
    /// The longest initialisation, in nanoseconds: near the 10 s after which it is stopped.
    pub init_max_ns: u64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Thresholds {
            errors: 0.01,
            errors_high: 0.10,
            errors_min_count: 20,
            cold: 0.01,
            cold_min_count: 100,
            near_limit: 0.95,
            near_memory: 0.95,
            lost: 0.01,
            memory_range_ns: 7 * DAY_NS,
            memory_min_count: 100,
            memory_headroom: 0.3,
            throttled: 0.10,
            iterator_age_ns: 7_200_000_000_000,
            provisioned_used: 0.60,
            init_p95_ns: 2_000_000_000,
            init_min_count: 5,
            init_max_ns: 8_000_000_000,
        }
    }
}

/// What an insight is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Memory ran out.
    OutOfMemory,
    /// The time limit was reached.
    TimedOut,
    /// Very many invocations failed.
    HighErrors,
    /// Many invocations failed.
    Errors,
    /// An invocation nearly used all memory.
    NearMemory,
    /// An invocation nearly reached the time limit.
    NearTimeout,
    /// Many invocations waited for an initialisation.
    ColdStarts,
    /// Reports without spans.
    LostTelemetry,
    /// Less memory would do.
    OverProvisioned,
    /// Many calls were refused as too many.
    Throttled,
    /// A stream is read late.
    IteratorAge,
    /// Fewer provisioned environments would do.
    ProvisionedUnused,
    /// Initialisations take long.
    SlowInit,
}

impl Kind {
    /// The word in answers.
    pub fn name(self) -> &'static str {
        match self {
            Kind::OutOfMemory => "out_of_memory",
            Kind::TimedOut => "timed_out",
            Kind::HighErrors => "high_errors",
            Kind::Errors => "errors",
            Kind::NearMemory => "near_memory",
            Kind::NearTimeout => "near_timeout",
            Kind::ColdStarts => "cold_starts",
            Kind::LostTelemetry => "lost_telemetry",
            Kind::OverProvisioned => "over_provisioned",
            Kind::Throttled => "throttled",
            Kind::IteratorAge => "iterator_age",
            Kind::ProvisionedUnused => "provisioned_unused",
            Kind::SlowInit => "slow_init",
        }
    }
}

/// A number that an insight rests on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evidence {
    /// What it counts or measures; the unit stands last.
    pub name: &'static str,
    /// The number.
    pub value: f64,
}

/// Something worth a look.
#[derive(Debug, Clone, PartialEq)]
pub struct Insight {
    /// The function.
    pub function: String,
    /// What it is about.
    pub kind: Kind,
    /// It in one sentence.
    pub text: String,
    /// The numbers.
    pub evidence: Vec<Evidence>,
}

/// What is worth a look, the worst first.
pub fn of(stats: &FunctionStats, thresholds: &Thresholds) -> Vec<Insight> {
    let rules = [out_of_memory, timed_out, errors, near_memory, near_timeout, cold_starts, lost, over_provisioned];
    let found = rules.iter().filter_map(|rule| rule(stats, thresholds));
    let insight = |(kind, text, evidence)| Insight { function: stats.function.clone(), kind, text, evidence };
    found.map(insight).collect()
}

/// What is worth a look of what other sources show, the worst first.
pub fn of_signals(signals: &Signals, thresholds: &Thresholds) -> Vec<Insight> {
    let rules = [throttled, iterator_age, slow_init, provisioned_unused];
    let found = rules.iter().filter_map(|rule| rule(signals, thresholds));
    let insight = |(kind, text, evidence)| Insight { function: signals.function.clone(), kind, text, evidence };
    found.map(insight).collect()
}

type Found = Option<(Kind, String, Vec<Evidence>)>;

fn out_of_memory(stats: &FunctionStats, _: &Thresholds) -> Found {
    let text = format!("{} of {} invocations ran out of memory", stats.out_of_memory, stats.invocations);
    let evidence = vec![
        number("out_of_memory", stats.out_of_memory),
        number("invocations", stats.invocations),
        number("memory_size_bytes", stats.memory_size),
    ];
    (stats.out_of_memory > 0).then_some((Kind::OutOfMemory, text, evidence))
}

fn timed_out(stats: &FunctionStats, _: &Thresholds) -> Found {
    let text = format!("{} of {} invocations ran out of time", stats.timed_out, stats.invocations);
    let mut evidence = vec![number("timed_out", stats.timed_out), number("invocations", stats.invocations)];
    evidence.extend(stats.limit_ns.map(|limit| number("limit_ns", limit)));
    (stats.timed_out > 0).then_some((Kind::TimedOut, text, evidence))
}

fn errors(stats: &FunctionStats, thresholds: &Thresholds) -> Found {
    let share = share(stats.failed, stats.invocations, thresholds.errors_min_count)?;
    let kind = if share > thresholds.errors_high { Kind::HighErrors } else { Kind::Errors };
    let text = format!("{} of invocations failed ({} of {})", percent(share), stats.failed, stats.invocations);
    let evidence =
        vec![number("failed", stats.failed), number("invocations", stats.invocations), part("failed_share", share)];
    (share > thresholds.errors).then_some((kind, text, evidence))
}

fn near_memory(stats: &FunctionStats, thresholds: &Thresholds) -> Found {
    let share = share(stats.memory_used_max, stats.memory_size, 1)?;
    let text = format!(
        "an invocation used {} of {} MB of memory ({})",
        stats.memory_used_max / MIB,
        stats.memory_size / MIB,
        percent(share)
    );
    let evidence = vec![
        number("memory_used_max_bytes", stats.memory_used_max),
        number("memory_size_bytes", stats.memory_size),
        part("memory_used_share", share),
    ];
    (share > thresholds.near_memory).then_some((Kind::NearMemory, text, evidence))
}

fn near_timeout(stats: &FunctionStats, thresholds: &Thresholds) -> Found {
    let (longest, limit) = (stats.duration_max_ns?, stats.limit_ns?);
    let share = share(longest, limit, 1)?;
    let text = format!(
        "an invocation took {:.1} of {:.1} s that it may take ({})",
        longest as f64 / 1e9,
        limit as f64 / 1e9,
        percent(share)
    );
    let evidence = vec![number("duration_max_ns", longest), number("limit_ns", limit), part("limit_share", share)];
    (share > thresholds.near_limit).then_some((Kind::NearTimeout, text, evidence))
}

fn cold_starts(stats: &FunctionStats, thresholds: &Thresholds) -> Found {
    let share = share(stats.cold, stats.starts_known, thresholds.cold_min_count)?;
    let text =
        format!("{} of invocations waited for a cold start ({} of {})", percent(share), stats.cold, stats.starts_known);
    let evidence = vec![
        number("cold", stats.cold),
        number("starts_known", stats.starts_known),
        number("invocations", stats.invocations),
        part("cold_share", share),
    ];
    (share > thresholds.cold).then_some((Kind::ColdStarts, text, evidence))
}

fn lost(stats: &FunctionStats, thresholds: &Thresholds) -> Found {
    let share = share(stats.lost, stats.reported, thresholds.errors_min_count)?;
    let text = format!(
        "{} of the invocations that the platform reports have no span ({} of {})",
        percent(share),
        stats.lost,
        stats.reported
    );
    let evidence = vec![
        number("lost", stats.lost),
        number("reported", stats.reported),
        number("timed_out", stats.timed_out),
        number("out_of_memory", stats.out_of_memory),
        part("lost_share", share),
    ];
    (share > thresholds.lost).then_some((Kind::LostTelemetry, text, evidence))
}

/// A candidate, not an order: the processor's share grows with memory, so that less of it
/// may take longer. What was seen with other sizes is given with it.
fn over_provisioned(stats: &FunctionStats, thresholds: &Thresholds) -> Found {
    let is_known = stats.memory_size > 0 && stats.memory_used_max > 0;
    let is_enough = stats.range_ns >= thresholds.memory_range_ns && stats.invocations >= thresholds.memory_min_count;
    if !is_known || !is_enough || stats.out_of_memory > 0 {
        return None;
    }
    let proposed = proposed_size(stats.memory_used_max, thresholds.memory_headroom);
    if proposed >= stats.memory_size {
        return None;
    }
    let mut text = format!(
        "at most {} of {} MB of memory were used in {} days: {} MB are a candidate",
        stats.memory_used_max / MIB,
        stats.memory_size / MIB,
        stats.range_ns / DAY_NS,
        proposed / MIB
    );
    let mut evidence = vec![
        number("memory_used_max_bytes", stats.memory_used_max),
        number("memory_size_bytes", stats.memory_size),
        number("memory_proposed_bytes", proposed),
        number("invocations", stats.invocations),
        part("range_days", stats.range_ns as f64 / DAY_NS as f64),
    ];
    if let Some(price) = stats.gb_second {
        let gib = (stats.memory_size - proposed) as f64 / (1_024 * MIB) as f64;
        let saved = stats.billed_ns as f64 / 1e9 * gib * price;
        let a_month = saved * (30 * DAY_NS) as f64 / stats.range_ns as f64;
        text.push_str(&format!(", which would save {a_month:.2} in 30 days if it took no longer"));
        evidence.push(part("saving_in_range_usd", saved));
        evidence.push(part("saving_in_30_days_usd", a_month));
    }
    for (size, median) in &stats.other_sizes {
        evidence.push(number("other_size_bytes", *size));
        evidence.push(number("other_size_duration_p50_ns", *median));
    }
    Some((Kind::OverProvisioned, text, evidence))
}

fn throttled(signals: &Signals, thresholds: &Thresholds) -> Found {
    let calls = signals.invocations.saturating_add(signals.throttled);
    let share = share(signals.throttled, calls, 1)?;
    let text = format!("{} of calls were refused as too many ({} of {calls})", percent(share), signals.throttled);
    let evidence = vec![number("throttled", signals.throttled), number("calls", calls), part("throttled_share", share)];
    (share > thresholds.throttled).then_some((Kind::Throttled, text, evidence))
}

fn iterator_age(signals: &Signals, thresholds: &Thresholds) -> Found {
    let age = signals.iterator_age_max_ns?;
    let text = format!("records of its stream waited for up to {:.1} h", age as f64 / 3.6e12);
    let evidence = vec![number("iterator_age_max_ns", age)];
    (age > thresholds.iterator_age_ns).then_some((Kind::IteratorAge, text, evidence))
}

fn slow_init(signals: &Signals, thresholds: &Thresholds) -> Found {
    let enough = signals.cold >= thresholds.init_min_count;
    let slow = signals.init_p95_ns.filter(|p95| enough && *p95 > thresholds.init_p95_ns);
    let longest = signals.init_max_ns.filter(|longest| *longest > thresholds.init_max_ns);
    let seconds = |ns: u64| ns as f64 / 1e9;
    let text = match (longest, slow) {
        (Some(longest), _) => {
            format!("an initialisation took {:.1} s: it is stopped and begun again after 10 s", seconds(longest))
        }
        (None, Some(slow)) => format!("95 % of {} cold starts wait for up to {:.1} s", signals.cold, seconds(slow)),
        (None, None) => return None,
    };
    let mut evidence = vec![number("cold", signals.cold)];
    evidence.extend(signals.init_p95_ns.map(|p95| number("init_p95_ns", p95)));
    evidence.extend(signals.init_max_ns.map(|longest| number("init_max_ns", longest)));
    Some((Kind::SlowInit, text, evidence))
}

fn provisioned_unused(signals: &Signals, thresholds: &Thresholds) -> Found {
    let share = signals.provisioned_used_share?;
    let text = format!("at most {} of the provisioned environments were in use", percent(share));
    let evidence = vec![part("provisioned_used_share", share)];
    (share < thresholds.provisioned_used).then_some((Kind::ProvisionedUnused, text, evidence))
}

/// What was used and some headroom, in steps of 64 MB, and at least the 128 MB that AWS
/// has for the smallest function.
fn proposed_size(used: u64, headroom: f64) -> u64 {
    let wanted = (used as f64 * (1.0 + headroom)) as u64;
    wanted.div_ceil(64 * MIB).saturating_mul(64 * MIB).max(128 * MIB)
}

/// The share, if there is enough to take it of.
fn share(part: u64, whole: u64, least: u64) -> Option<f64> {
    (whole >= least.max(1)).then(|| part as f64 / whole as f64)
}

fn number(name: &'static str, value: u64) -> Evidence {
    Evidence { name, value: value as f64 }
}

fn part(name: &'static str, value: f64) -> Evidence {
    Evidence { name, value }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
