//! Invocations counted by the minute.
//!
//! A [`Rollup`] is what a group of invocations have together; two are merged into one of
//! both groups, in any order. A minute is counted again when late data changes one of its
//! invocations: the invocations are merged anew, and their roll-ups replace the old ones.

use std::collections::BTreeMap;

use super::Invocation;
use super::sketch::Sketch;
use super::words::{Outcome, StartType, Trigger};

/// Nanoseconds of a minute.
pub const MINUTE_NS: i64 = 60_000_000_000;

/// What the invocations of one roll-up have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RollupKey {
    /// The minute in which they began, in minutes since 1970.
    pub minute: i64,
    /// The function; empty if nobody says it.
    pub function: String,
    /// Its version; empty if nobody says it.
    pub version: String,
    /// What started them.
    pub trigger: Option<Trigger>,
    /// The region; empty if nobody says it.
    pub region: String,
    /// How their environments came to be ready.
    pub start_type: StartType,
    /// How they ended.
    pub outcome: Outcome,
}

/// What a group of invocations have together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rollup {
    /// How many there are.
    pub count: u64,
    /// How many ran out of time.
    pub timed_out: u64,
    /// How many ran out of memory, be it that they went on.
    pub out_of_memory: u64,
    /// How many have a report of the platform.
    pub reported: u64,
    /// How many have a report and no span.
    pub lost: u64,
    /// How many were tries soon after another ([`Invocation::is_retry`]).
    pub retries: u64,
    /// How many have a cost.
    pub costed: u64,
    /// What they cost, in 10⁻¹² of the price table's currency: whole numbers add up to the
    /// same in any order.
    pub cost_pico: u64,
    /// How long they are billed, in nanoseconds.
    pub billed_ns: u64,
    /// The most memory that one of them used, in bytes.
    pub memory_used_max: u64,
    /// The most memory that one of them was given, in bytes.
    pub memory_size_max: u64,
    /// When the last one began.
    pub last_start_ns: i64,
    /// Their durations, in nanoseconds.
    pub duration: Sketch,
    /// The initialisations and restores before them, in nanoseconds.
    pub init: Sketch,
}

impl RollupKey {
    /// The key of an invocation.
    pub fn of(invocation: &Invocation) -> RollupKey {
        RollupKey {
            minute: invocation.start_ns.div_euclid(MINUTE_NS),
            function: invocation.function.clone().unwrap_or_default(),
            version: invocation.version.clone().unwrap_or_default(),
            trigger: invocation.trigger,
            region: invocation.region.clone().unwrap_or_default(),
            start_type: invocation.start_type,
            outcome: invocation.outcome,
        }
    }
}

impl Rollup {
    /// The roll-up of one invocation.
    pub fn of(invocation: &Invocation) -> Rollup {
        let number = |value: Option<i64>| value.and_then(|v| u64::try_from(v).ok());
        let mut duration = Sketch::new();
        if let Some(ns) = number(invocation.duration_ns) {
            duration.add(ns);
        }
        let mut init = Sketch::new();
        if let Some(ns) = number(invocation.restore_ns.or(invocation.init_ns)) {
            init.add(ns);
        }
        let cost = invocation.cost.as_ref().map(|cost| cost.usd);
        Rollup {
            count: 1,
            timed_out: u64::from(invocation.timed_out),
            out_of_memory: u64::from(invocation.out_of_memory),
            reported: u64::from(invocation.has_report),
            lost: u64::from(invocation.is_lost()),
            retries: u64::from(invocation.is_retry),
            costed: u64::from(cost.is_some()),
            cost_pico: cost.map_or(0, |cost| (cost * 1e12).round() as u64),
            billed_ns: number(invocation.billed_ns).unwrap_or(0),
            memory_used_max: number(invocation.memory_used).unwrap_or(0),
            memory_size_max: number(invocation.memory_size).unwrap_or(0),
            last_start_ns: invocation.start_ns,
            duration,
            init,
        }
    }

    /// Adds another group.
    pub fn merge(&mut self, other: &Rollup) {
        if other.count == 0 {
            return;
        }
        let is_empty = self.count == 0;
        let add = |to: &mut u64, more: u64| *to = to.saturating_add(more);
        add(&mut self.count, other.count);
        add(&mut self.timed_out, other.timed_out);
        add(&mut self.out_of_memory, other.out_of_memory);
        add(&mut self.reported, other.reported);
        add(&mut self.lost, other.lost);
        add(&mut self.retries, other.retries);
        add(&mut self.costed, other.costed);
        add(&mut self.cost_pico, other.cost_pico);
        add(&mut self.billed_ns, other.billed_ns);
        self.memory_used_max = self.memory_used_max.max(other.memory_used_max);
        self.memory_size_max = self.memory_size_max.max(other.memory_size_max);
        self.last_start_ns = if is_empty { other.last_start_ns } else { self.last_start_ns.max(other.last_start_ns) };
        self.duration.merge(&other.duration);
        self.init.merge(&other.init);
    }

    /// How much memory their sketches take beside the roll-up itself, in bytes.
    pub fn bytes(&self) -> usize {
        self.duration.bytes() + self.init.bytes()
    }

    /// What they cost, in the price table's currency; none if no cost is known.
    pub fn cost(&self) -> Option<f64> {
        (self.costed > 0).then(|| self.cost_pico as f64 / 1e12)
    }
}

/// Invocations, counted.
pub fn roll_up<'a>(invocations: impl IntoIterator<Item = &'a Invocation>) -> BTreeMap<RollupKey, Rollup> {
    let mut rollups: BTreeMap<RollupKey, Rollup> = BTreeMap::new();
    for invocation in invocations {
        rollups.entry(RollupKey::of(invocation)).or_default().merge(&Rollup::of(invocation));
    }
    rollups
}

/// The share of cold starts among the invocations whose start type is known, and the share
/// of those whose start type is known among all; `None` where there is nothing to divide by.
pub fn cold_rate<'a>(rollups: impl IntoIterator<Item = (&'a RollupKey, &'a Rollup)>) -> (Option<f64>, Option<f64>) {
    let (mut cold, mut known, mut all) = (0u64, 0u64, 0u64);
    for (key, rollup) in rollups {
        all = all.saturating_add(rollup.count);
        match key.start_type {
            StartType::Unknown => continue,
            StartType::Cold => cold = cold.saturating_add(rollup.count),
            _ => {}
        }
        known = known.saturating_add(rollup.count);
    }
    let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
    (share(cold, known), share(known, all))
}

/// What a cold start costs whoever waits for it, in nanoseconds: the median initialisation,
/// and how much longer the median invocation takes than a warm one. None unless both kinds
/// of invocations have durations, and cold ones initialisations.
pub fn cold_start_wait<'a>(rollups: impl IntoIterator<Item = (&'a RollupKey, &'a Rollup)>) -> Option<f64> {
    let (mut cold, mut warm, mut init) = (Sketch::new(), Sketch::new(), Sketch::new());
    for (key, rollup) in rollups {
        match key.start_type {
            StartType::Cold => {
                cold.merge(&rollup.duration);
                init.merge(&rollup.init);
            }
            StartType::Warm => warm.merge(&rollup.duration),
            _ => {}
        }
    }
    Some(init.quantile(0.5)? + cold.quantile(0.5)? - warm.quantile(0.5)?)
}
