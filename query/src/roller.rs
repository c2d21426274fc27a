//! Rolls up: counts the invocations of hours that are over, by minute and hour, and of days.
//!
//! What changed is told by [`hopline_storage::Changes`]. An hour is counted anew as a whole,
//! from all that is known of its invocations, so that late data corrects it; what it was
//! counted before is replaced (`hopline_stitch::rollups`). Nothing depends on it but speed:
//! readers count hours that changed themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int32Type;
use hopline_model::Table;
use hopline_stitch::invocation::rollup::{MINUTE_NS, Rollup, RollupKey, roll_up};
use hopline_stitch::rollups::{DAY, HOUR, Resolution, RollupRow, batch, changed, coarser};
use hopline_storage::Position;
use hopline_storage::changes::Unit;

use crate::api::answer;
use crate::api::invocations::read::{FACTS_MAX, Which, known_of};
use crate::api::params::TimeRange;
use crate::api::rollups::newest_rows;
use crate::engine::{Engine, Limits, Session};
use crate::error::Error;
use crate::otlp::columns::{Text, int64, time};
use crate::sql::params::Params;

/// How often it is looked for something to do.
const PAUSE: Duration = Duration::from_secs(5);
/// How long after its end an hour is counted: invocations that began in it may run on for 15 minutes.
const SETTLE_NS: i64 = 20 * MINUTE_NS;
/// How long nothing must have come for an hour.
const QUIET_NS: i64 = 10_000_000_000;
/// What begins so many minutes from now or later is of a clock that is wrong. It is not waited for: else it would be held
/// in memory until its time comes, if ever.
const AHEAD: i64 = DAY;
/// How long nothing must have come for such an hour: what a clock that goes ahead for good fills bit by bit is counted
/// when it is full, and not after each bit.
const QUIET_AHEAD_NS: i64 = 60 * MINUTE_NS;
/// Hours, or days, that are counted in one go.
const UNITS_AT_ONCE: usize = 24;

/// Facts of several hours that are brought together in one go. What is more is counted by fewer hours: it is all held in
/// memory.
const FACTS_AT_ONCE: usize = 200_000;

/// Rolls up in the background.
pub struct Roller {
    engine: Engine,
    /// [`FACTS_AT_ONCE`], but in tests.
    facts_at_once: usize,
}

impl Roller {
    /// A roller over the storage of `engine`, which must be open for writing.
    pub fn new(engine: Engine) -> Roller {
        Roller { engine, facts_at_once: FACTS_AT_ONCE }
    }

    /// Works until it is dropped.
    pub async fn run(self) {
        while let Err(error) = self.recover().await {
            error.log();
            tokio::time::sleep(PAUSE).await;
        }
        loop {
            let now = self.engine.storage().clock().now_ns();
            // One after the other, as long as there is something to do.
            while self.roll(now).await {}
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Finds out what changed before the server started. Until then nobody relies on roll-ups.
    pub async fn recover(&self) -> Result<(), Error> {
        let (mut hours, mut days) = (Vec::new(), Vec::new());
        for tenant in self.tenants() {
            self.recover_tenant(&tenant, &mut hours, &mut days).await?;
        }
        self.engine.storage().changes().recover(hours, days);
        Ok(())
    }

    /// Counts hours and days that are due. Whether there was something to do, and it could be done.
    pub async fn roll(&self, now_ns: i64) -> bool {
        let over = i64::MIN..now_ns.saturating_sub(SETTLE_NS).div_euclid(MINUTE_NS);
        let ahead = now_ns.div_euclid(MINUTE_NS).saturating_add(AHEAD)..i64::MAX;
        let done = self.roll_within(over, now_ns.saturating_sub(QUIET_NS)).await;
        self.roll_within(ahead, now_ns.saturating_sub(QUIET_AHEAD_NS)).await || done
    }

    async fn roll_within(&self, minutes: Range<i64>, quiet_since_ns: i64) -> bool {
        let changes = self.engine.storage().changes();
        let hours = changes.take_hours(minutes.clone(), quiet_since_ns, UNITS_AT_ONCE);
        let mut done = !hours.is_empty();
        let mut runs = by_run(&hours);
        while let Some(units) = runs.pop() {
            match self.hours(&units).await {
                Ok(Counted::All) => changes.done_hours(&units),
                Ok(Counted::TooMuch) => runs.extend(halves(units)),
                Err(error) => {
                    changes.give_back(&units);
                    error.log();
                    done = false;
                }
            }
        }
        let days = changes.take_days(minutes, quiet_since_ns, UNITS_AT_ONCE);
        done |= !days.is_empty();
        for units in by_place(&days) {
            match self.day(&units).await {
                Ok(()) => changes.done_days(&units),
                Err(error) => {
                    changes.give_back(&units);
                    error.log();
                    done = false;
                }
            }
        }
        done
    }

    fn session(&self, tenant: &str) -> Session {
        let limits = Limits { rows_max: u64::MAX, bytes_max: u64::MAX, ..self.engine.limits("rollup") };
        self.engine.session(tenant, limits)
    }

    /// Counts hours that follow each other, of some functions of one tenant: what environments did in the day before is
    /// then read once for all of them.
    async fn hours(&self, units: &[Unit]) -> Result<Counted, Error> {
        let (Some((tenant, from, _)), Some((_, last, _))) = (units.first(), units.last()) else {
            return Ok(Counted::All);
        };
        let session = self.session(tenant);
        let functions: BTreeSet<&str> = units.iter().map(|(.., function)| &**function).collect();
        let only = functions.first().filter(|_| functions.len() == 1).copied();
        let Some(counted) = count(&session, only, *from, last + HOUR, self.facts_at_once).await? else {
            return Ok(Counted::TooMuch);
        };
        let of_units: BTreeSet<(i64, &str)> = units.iter().map(|(_, hour, function)| (*hour, &**function)).collect();
        let is_of_units =
            |key: &RollupKey| of_units.contains(&(key.minute.div_euclid(HOUR) * HOUR, key.function.as_str()));
        let counted: BTreeMap<RollupKey, Rollup> = counted.into_iter().filter(|(key, _)| is_of_units(key)).collect();
        let revision = revision(&session);
        let mut rows: Vec<RollupRow> = Vec::new();
        for (key, rollup) in coarser(counted.iter(), Resolution::Hour) {
            rows.push(RollupRow { resolution: Resolution::Hour, revision, key, rollup });
        }
        for (key, rollup) in counted {
            rows.push(RollupRow { resolution: Resolution::Minute, revision, key, rollup });
        }
        for resolution in [Resolution::Hour, Resolution::Minute] {
            rows.extend(empty(&rows, &of_units, HOUR, resolution, revision));
        }
        self.publish(tenant, &rows)?;
        Ok(Counted::All)
    }

    /// Adds up the hours of one day of some functions of one tenant.
    async fn day(&self, units: &[Unit]) -> Result<(), Error> {
        let Some((tenant, from, _)) = units.first() else { return Ok(()) };
        let session = self.session(tenant);
        let mut functions: BTreeSet<&str> = units.iter().map(|(.., function)| &**function).collect();
        // An hour that changed since the days were taken, before these rows were seen: its sum would be old and look new.
        let changed = self.engine.storage().changes().changed(tenant);
        for (_, function) in changed.hours_in(*from..from + DAY) {
            functions.remove(&**function);
        }
        if functions.is_empty() {
            return Ok(());
        }
        let only = functions.first().filter(|_| functions.len() == 1).copied();
        let hours = newest_rows(&session, Resolution::Hour, only, *from, from + DAY).await?;
        let hours = hours.iter().filter(|row| row.rollup.count > 0 && functions.contains(row.key.function.as_str()));
        let revision = revision(&session);
        let days = coarser(hours.map(|row| (&row.key, &row.rollup)), Resolution::Day);
        let row = |(key, rollup)| RollupRow { resolution: Resolution::Day, revision, key, rollup };
        let mut rows: Vec<RollupRow> = days.into_iter().map(row).collect();
        let of_units = functions.into_iter().map(|function| (*from, function)).collect();
        rows.extend(empty(&rows, &of_units, DAY, Resolution::Day, revision));
        self.publish(tenant, &rows)
    }

    fn publish(&self, tenant: &str, rows: &[RollupRow]) -> Result<(), Error> {
        let rows = batch(tenant, rows).map_err(|e| Error::Internal(Box::new(e)))?;
        // Not of any record of the log: what is lost in a crash is counted again.
        let batches = rows.map(|rows| (Table::FunctionMinutes, rows)).into_iter().collect();
        self.engine.storage().publish(batches, Position(0));
        self.engine.note_rolled_up();
        Ok(())
    }

    /// Tenants that have rows in `function_minutes`.
    fn tenants(&self) -> BTreeSet<String> {
        let snapshot = self.engine.storage().snapshot();
        let of_hot = |rows: &Arc<RecordBatch>| -> Vec<String> {
            let tenants = rows.column_by_name("tenant").and_then(|c| c.as_dictionary_opt::<Int32Type>());
            let tenants = tenants.and_then(|d| d.values().as_string_opt::<i32>());
            tenants.into_iter().flatten().flatten().map(str::to_owned).collect()
        };
        let hot = snapshot.hot(Table::FunctionMinutes).iter().flat_map(of_hot);
        let files = snapshot.files(Table::FunctionMinutes).iter().filter_map(|file| file.tenants.clone()).flatten();
        hot.chain(files).collect()
    }

    async fn recover_tenant(&self, tenant: &str, hours: &mut Vec<Unit>, days: &mut Vec<Unit>) -> Result<(), Error> {
        let session = self.session(tenant);
        let sql = "SELECT function, time, resolution, max(revision) AS revision FROM function_minutes \
                   WHERE resolution IN ('hour', 'day', 'changed') GROUP BY function, time, resolution";
        let mut written: BTreeMap<(Resolution, i64, Arc<str>), i64> = BTreeMap::new();
        for batch in answer::rows(&session, sql, Params::None).await? {
            let (functions, resolutions) = (Text::of(&batch, "function")?, Text::of(&batch, "resolution")?);
            let (times, revisions) = (time(&batch, "time")?, int64(&batch, "revision")?);
            for row in 0..batch.num_rows() {
                let Some(resolution) = Resolution::from_name(resolutions.or_empty(row)) else { continue };
                let minute = times.value(row).div_euclid(MINUTE_NS);
                written.insert((resolution, minute, functions.or_empty(row).into()), revisions.value(row));
            }
        }
        let tenant: Arc<str> = tenant.into();
        let is_behind = |resolution: Resolution, minute: i64, function: &Arc<str>, revision: i64| {
            written.get(&(resolution, minute, Arc::clone(function))).is_none_or(|written| *written < revision)
        };
        let mut last_of_day: BTreeMap<(i64, Arc<str>), i64> = BTreeMap::new();
        for ((_, minute, function), revision) in written.iter().filter(|((r, ..), _)| *r == Resolution::Changed) {
            let day = minute.div_euclid(DAY).saturating_mul(DAY);
            let last = last_of_day.entry((day, Arc::clone(function))).or_insert(*revision);
            *last = (*last).max(*revision);
            if is_behind(Resolution::Hour, *minute, function, *revision) {
                hours.push((Arc::clone(&tenant), *minute, Arc::clone(function)));
                *last = i64::MAX;
            }
        }
        for ((day, function), revision) in last_of_day {
            if is_behind(Resolution::Day, day, &function, revision) {
                days.push((Arc::clone(&tenant), day, function));
            }
        }
        Ok(())
    }
}

fn revision(session: &Session) -> i64 {
    i64::try_from(session.snapshot().upto().0).unwrap_or(i64::MAX)
}

/// Units of one tenant and hour, or day, together.
fn by_place(units: &[Unit]) -> Vec<Vec<Unit>> {
    let mut places: BTreeMap<(Arc<str>, i64), Vec<Unit>> = BTreeMap::new();
    for unit in units {
        places.entry((Arc::clone(&unit.0), unit.1)).or_default().push(unit.clone());
    }
    places.into_values().collect()
}

/// Hours that follow each other together, of one tenant each. Units come in order.
fn by_run(units: &[Unit]) -> Vec<Vec<Unit>> {
    let mut runs: Vec<Vec<Unit>> = Vec::new();
    for (hour, units) in by_place(units).into_iter().filter_map(|units| Some((units.first()?.clone(), units))) {
        match runs.last_mut() {
            Some(run) if run.last().is_some_and(|(t, last, _)| *t == hour.0 && last + HOUR == hour.1) => {
                run.extend(units);
            }
            _ => runs.push(units),
        }
    }
    runs
}

/// The earlier and the later hours of a run of several.
fn halves(units: Vec<Unit>) -> [Vec<Unit>; 2] {
    let hour_of = |unit: Option<&Unit>| unit.map_or(0, |(_, hour, _)| *hour);
    let hours = (hour_of(units.last()) - hour_of(units.first())) / HOUR + 1;
    let middle = hour_of(units.first()) + hours / 2 * HOUR;
    let (earlier, later) = units.into_iter().partition(|(_, hour, _)| *hour < middle);
    [earlier, later]
}

/// Whether a run of hours was counted.
enum Counted {
    All,
    /// There is too much of it for one go: it must be halved.
    TooMuch,
}

/// Counts the invocations that began in these minutes. A single hour that is too much for one go is counted in parts; of
/// several, nothing.
async fn count(
    session: &Session,
    function: Option<&str>,
    from: i64,
    to: i64,
    facts_at_once: usize,
) -> Result<Option<BTreeMap<RollupKey, Rollup>>, Error> {
    let mut counted: BTreeMap<RollupKey, Rollup> = BTreeMap::new();
    let is_hour = to - from <= HOUR;
    let mut parts = vec![(from, to)];
    while let Some((from, to)) = parts.pop() {
        let time = |minute: i64| Some(minute.saturating_mul(MINUTE_NS));
        let range = TimeRange { start: time(from), end: time(to) };
        let which = Which { functions: function.map(str::to_owned).into_iter().collect(), range };
        let known = known_of(session, &which, if is_hour { FACTS_MAX } else { facts_at_once }).await?;
        if known.reason.is_some() && !is_hour {
            return Ok(None);
        }
        if known.reason.is_some() && to - from > 1 {
            let middle = from + (to - from) / 2;
            parts.extend([(from, middle), (middle, to)]);
            continue;
        }
        for (key, rollup) in roll_up(known.within(range)) {
            counted.entry(key).or_default().merge(&rollup);
        }
    }
    Ok(Some(counted))
}

/// Rows without a count, for units (hours or days of functions) in which nothing ran after all: they replace what was
/// counted before.
fn empty(
    rows: &[RollupRow],
    units: &BTreeSet<(i64, &str)>,
    length: i64,
    resolution: Resolution,
    revision: i64,
) -> Vec<RollupRow> {
    let unit = |row: &RollupRow| row.key.minute.div_euclid(length) * length;
    let counted: BTreeSet<(i64, &str)> = rows
        .iter()
        .filter(|row| row.resolution == resolution)
        .map(|row| (unit(row), row.key.function.as_str()))
        .collect();
    let nothing = |(minute, function): &(i64, &str)| RollupRow { resolution, ..changed(function, *minute, revision) };
    units.difference(&counted).map(nothing).collect()
}

#[cfg(test)]
mod tests;
