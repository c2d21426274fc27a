//! Hours that no roll-up counts: counted by their invocations, and remembered until something more of them comes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use hopline_stitch::invocation::rollup::{Rollup, RollupKey, roll_up};
use hopline_stitch::rollups::HOUR;
use parking_lot::Mutex;

use super::Minutes;
use crate::api::invocations::read::{Which, known};
use crate::engine::Session;
use crate::error::Error;

/// Of so many functions, what is told of them alone is read; of more, of all.
const FEW_FUNCTIONS: usize = 16;
/// Roll-ups that are remembered of a tenant, of some hundred bytes each. What is more is counted each time.
const ROLLUPS_MAX: usize = 100_000;

/// A function's hour: its first minute, the function.
type Hour = (i64, Arc<str>);
/// The roll-ups of a function's hour, by the minute.
type Rollups = Arc<[(RollupKey, Rollup)]>;

/// What was counted of hours that no roll-up counts.
#[derive(Debug, Default)]
pub(crate) struct LiveCounts {
    of_tenants: Mutex<HashMap<Arc<str>, OfTenant>>,
}

#[derive(Debug, Default)]
struct OfTenant {
    /// Of which version of the hour ([`hopline_storage::Changed`]), and what.
    hours: BTreeMap<Hour, (u64, Rollups)>,
    rollups: usize,
}

impl LiveCounts {
    /// What is remembered of these hours. What is remembered of others is forgotten, if they have not this version any more.
    fn find(&self, tenant: &str, changed: &BTreeMap<Hour, u64>, hours: &[&Hour]) -> HashMap<Hour, Rollups> {
        let mut of_tenants = self.of_tenants.lock();
        let Some(OfTenant { hours: known, rollups }) = of_tenants.get_mut(tenant) else { return HashMap::new() };
        known.retain(|hour, (version, counted)| {
            let is_valid = changed.get(hour) == Some(version);
            *rollups -= if is_valid { 0 } else { counted.len() };
            is_valid
        });
        let found = hours.iter().filter_map(|hour| Some(((*hour).clone(), Arc::clone(&known.get(*hour)?.1))));
        found.collect()
    }

    /// Remembers what was counted of an hour, from a snapshot that was taken after its version was known.
    fn keep(&self, tenant: &str, hour: Hour, version: u64, counted: Rollups) {
        let mut of_tenants = self.of_tenants.lock();
        let of_tenant = of_tenants.entry(tenant.into()).or_default();
        if of_tenant.rollups + counted.len() > ROLLUPS_MAX {
            return;
        }
        of_tenant.rollups += counted.len();
        if let Some((_, before)) = of_tenant.hours.insert(hour, (version, counted)) {
            of_tenant.rollups -= before.len();
        }
    }
}

#[cfg(test)]
impl LiveCounts {
    /// How many hours, and roll-ups, are remembered of a tenant.
    pub(crate) fn remembered(&self, tenant: &str) -> (usize, usize) {
        let of_tenants = self.of_tenants.lock();
        of_tenants.get(tenant).map_or((0, 0), |of_tenant| (of_tenant.hours.len(), of_tenant.rollups))
    }
}

/// Counted hours.
pub(super) struct Counted {
    pub(super) rollups: Vec<Rollups>,
    /// Why these are not all.
    pub(super) reason: Option<String>,
}

/// Counts those of the hours of `changed` that lie in `minutes`, of one function or of all. `session` must be of a snapshot
/// that was taken after `changed`. Of an hour that begins before the range, what is before may be left out.
pub(super) async fn count(
    session: &Session,
    function: Option<&str>,
    changed: &BTreeMap<Hour, u64>,
    minutes: &[Minutes],
) -> Result<Counted, Error> {
    let is_in = |hour: i64| minutes.iter().any(|m| hour < m.to && hour + HOUR > m.from);
    let is_asked = |(hour, f): &&Hour| is_in(*hour) && function.is_none_or(|function| function == &**f);
    let asked: Vec<&Hour> = changed.keys().filter(is_asked).collect();
    let memory = session.engine().live_counts();
    let found = memory.find(session.tenant(), changed, &asked);
    let missing: Vec<&Hour> = asked.into_iter().filter(|hour| !found.contains_key(*hour)).collect();
    let mut counted = Counted { rollups: found.into_values().collect(), reason: None };
    let from = minutes.iter().map(|m| m.from).min().unwrap_or_default();
    for (run, hours) in runs(&missing) {
        let within = Minutes { from: run.from.max(from), to: run.to };
        let functions: BTreeSet<&str> = hours.iter().map(|(_, function)| &**function).collect();
        let is_few = functions.len() <= FEW_FUNCTIONS;
        let functions = functions.into_iter().filter(|_| is_few).map(str::to_owned).collect();
        let (mut by_hour, reason) = of_run(session, Which { functions, range: within.range() }).await?;
        for hour in hours {
            let rollups: Rollups = by_hour.remove(hour).unwrap_or_default().into();
            if let (None, true, Some(version)) = (&reason, hour.0 >= within.from, changed.get(hour)) {
                memory.keep(session.tenant(), hour.clone(), *version, Arc::clone(&rollups));
            }
            counted.rollups.push(rollups);
        }
        counted.reason = counted.reason.or(reason);
    }
    Ok(counted)
}

/// Hours that follow each other together.
fn runs<'a>(hours: &[&'a Hour]) -> Vec<(Minutes, Vec<&'a Hour>)> {
    let mut runs: Vec<(Minutes, Vec<&Hour>)> = Vec::new();
    for hour in hours {
        match runs.last_mut() {
            Some((run, hours)) if hour.0 <= run.to => {
                run.to = run.to.max(hour.0 + HOUR);
                hours.push(hour);
            }
            _ => runs.push((Minutes { from: hour.0, to: hour.0 + HOUR }, vec![hour])),
        }
    }
    runs
}

type ByHour = HashMap<Hour, Vec<(RollupKey, Rollup)>>;

async fn of_run(session: &Session, which: Which) -> Result<(ByHour, Option<String>), Error> {
    let known = known(session, &which).await?;
    let mut by_hour: ByHour = HashMap::new();
    for (key, rollup) in roll_up(known.within(which.range)) {
        let hour = (key.minute.div_euclid(HOUR) * HOUR, key.function.as_str().into());
        by_hour.entry(hour).or_default().push((key, rollup));
    }
    Ok((by_hour, known.reason))
}
