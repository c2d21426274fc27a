//! Which hours, and days, of which functions have invocations that no roll-up counts yet.
//!
//! Who publishes facts of invocations notes their hours here first; who rolls up takes
//! what is due, and says when it is done. Between the two, and whenever something comes
//! anew, the hour counts as changed: who reads must count its invocations themselves.
//!
//! Kept in memory. That an hour changed is also a row of `function_minutes`, written with
//! the facts, so that it is found out again after a restart ([`Changes::recover`]).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

/// Minutes of an hour, and of a day.
const HOUR: i64 = 60;
const DAY: i64 = 24 * HOUR;

/// A function's hour or day: tenant, first minute since 1970, function.
pub type Unit = (Arc<str>, i64, Arc<str>);

/// What is known of a changed hour or day.
#[derive(Debug, Clone, Copy, Default)]
struct Change {
    /// When something of it came last, in nanoseconds since 1970.
    touched_at: i64,
    /// Rises each time that something of it comes.
    version: u64,
    /// Whether it is being rolled up.
    is_taken: bool,
    /// Whether something came since it was taken.
    is_again: bool,
    /// Whether no row that says that it changed is surely newer than its roll-up.
    is_unwritten: bool,
}

#[derive(Debug, Default)]
struct Inner {
    hours: BTreeMap<Unit, Change>,
    days: BTreeMap<Unit, Change>,
    is_recovered: bool,
    /// The last version that was given.
    version: u64,
}

/// Hours and days of functions that have changed.
#[derive(Debug, Default)]
pub struct Changes {
    inner: Mutex<Inner>,
}

/// What has changed, of one tenant, at one instant.
#[derive(Debug, Clone, Default)]
pub struct Changed {
    /// Changed hours: first minute, function. With a number that is never the same again once something has come for the
    /// hour: who took a snapshot afterwards has counted all that the number stands for.
    pub hours: BTreeMap<(i64, Arc<str>), u64>,
    /// Changed days: first minute, function.
    pub days: BTreeSet<(i64, Arc<str>)>,
    /// Whether what changed before the server started is among them. If not, no roll-up can be relied on.
    pub is_complete: bool,
}

impl Changed {
    /// Changed hours that begin from the first to before the last minute.
    pub fn hours_in(&self, minutes: Range<i64>) -> impl Iterator<Item = &(i64, Arc<str>)> {
        self.hours.range(firsts(minutes)).map(|(hour, _)| hour)
    }

    /// Changed days that begin from the first to before the last minute.
    pub fn days_in(&self, minutes: Range<i64>) -> impl Iterator<Item = &(i64, Arc<str>)> {
        self.days.range(firsts(minutes))
    }
}

/// From the first place of a minute to the first of another.
fn firsts(minutes: Range<i64>) -> Range<(i64, Arc<str>)> {
    (minutes.start, "".into())..(minutes.end.max(minutes.start), "".into())
}

impl Changes {
    /// Notes that invocations of these hours came. Gives those of the hours of which that must be written: those of which
    /// it was not known yet, and of those that are being rolled up each time. Who rolls them up may see what came a moment
    /// ago and not what comes now: one row for both would look older than the roll-up.
    pub fn note(&self, hours: impl IntoIterator<Item = Unit>, now_ns: i64) -> Vec<Unit> {
        let mut inner = self.inner.lock();
        inner.version += 1;
        let version = inner.version;
        let mut news = Vec::new();
        for unit in hours {
            let (tenant, hour, function) = unit.clone();
            let day = hour.div_euclid(DAY).saturating_mul(DAY);
            touch(&mut inner.days, (tenant, day, function), now_ns, version);
            if touch(&mut inner.hours, unit.clone(), now_ns, version) {
                news.push(unit);
            }
        }
        news
    }

    /// Adds what changed before the server started.
    pub fn recover(&self, hours: impl IntoIterator<Item = Unit>, days: impl IntoIterator<Item = Unit>) {
        let mut inner = self.inner.lock();
        for unit in hours {
            inner.hours.entry(unit).or_default();
        }
        for unit in days {
            inner.days.entry(unit).or_default();
        }
        inner.is_recovered = true;
    }

    /// What has changed. Take a snapshot of the rows afterwards, not before.
    pub fn changed(&self, tenant: &str) -> Changed {
        let inner = self.inner.lock();
        let own = |((t, ..), _): &(&Unit, &Change)| **t == *tenant;
        let place = |(_, minute, function): &Unit| (*minute, function.clone());
        Changed {
            hours: inner.hours.iter().filter(own).map(|(unit, change)| (place(unit), change.version)).collect(),
            days: inner.days.iter().filter(own).map(|(unit, _)| place(unit)).collect(),
            is_complete: inner.is_recovered,
        }
    }

    /// Takes changed hours that lie within `minutes` and in which nothing came since `quiet_since_ns`: at most `hours_max`
    /// different ones. They stay changed until [`Changes::done_hours`].
    pub fn take_hours(&self, minutes: Range<i64>, quiet_since_ns: i64, hours_max: usize) -> Vec<Unit> {
        take(&mut self.inner.lock().hours, HOUR, &minutes, quiet_since_ns, hours_max)
    }

    /// Takes changed days, as [`Changes::take_hours`] takes hours: those none of whose hours is changed.
    pub fn take_days(&self, minutes: Range<i64>, quiet_since_ns: i64, days_max: usize) -> Vec<Unit> {
        let mut inner = self.inner.lock();
        let Inner { hours, days, .. } = &mut *inner;
        let open: BTreeSet<Unit> = hours
            .keys()
            .map(|(tenant, hour, function)| {
                (tenant.clone(), hour.div_euclid(DAY).saturating_mul(DAY), function.clone())
            })
            .collect();
        let whole = std::mem::take(days);
        let (mut closed, left): (BTreeMap<_, _>, BTreeMap<_, _>) =
            whole.into_iter().partition(|(u, _)| !open.contains(u));
        let taken = take(&mut closed, DAY, &minutes, quiet_since_ns, days_max);
        *days = left;
        days.append(&mut closed);
        taken
    }

    /// These hours are rolled up, as they were when they were taken.
    pub fn done_hours(&self, units: &[Unit]) {
        done(&mut self.inner.lock().hours, units);
    }

    /// These days are rolled up, as they were when they were taken.
    pub fn done_days(&self, units: &[Unit]) {
        done(&mut self.inner.lock().days, units);
    }

    /// These could not be rolled up: they are due again.
    pub fn give_back(&self, units: &[Unit]) {
        let mut inner = self.inner.lock();
        let Inner { hours, days, .. } = &mut *inner;
        for unit in units {
            for changes in [&mut *hours, &mut *days] {
                if let Some(change) = changes.get_mut(unit) {
                    change.is_taken = false;
                }
            }
        }
    }
}

/// Notes a change; whether that is news to who finds out after a restart what changed.
fn touch(units: &mut BTreeMap<Unit, Change>, unit: Unit, now_ns: i64, version: u64) -> bool {
    let change = units.entry(unit);
    let is_new = matches!(change, std::collections::btree_map::Entry::Vacant(_));
    let change = change.or_default();
    (change.touched_at, change.version) = (now_ns, version);
    let is_news = is_new || change.is_taken || change.is_unwritten;
    change.is_again |= change.is_taken;
    change.is_unwritten &= change.is_taken;
    is_news
}

fn take(
    units: &mut BTreeMap<Unit, Change>,
    length: i64,
    within: &Range<i64>,
    quiet_since_ns: i64,
    units_max: usize,
) -> Vec<Unit> {
    let mut taken = Vec::new();
    let mut places: BTreeSet<(Arc<str>, i64)> = BTreeSet::new();
    for (unit, change) in units.iter_mut() {
        let (tenant, minute, _) = unit;
        let is_within = *minute >= within.start && minute.saturating_add(length) <= within.end;
        let is_due = is_within && !change.is_taken && change.touched_at <= quiet_since_ns;
        let place = (tenant.clone(), *minute);
        if !is_due || (places.len() >= units_max && !places.contains(&place)) {
            continue;
        }
        places.insert(place);
        (change.is_taken, change.is_again) = (true, false);
        taken.push(unit.clone());
    }
    taken
}

fn done(units: &mut BTreeMap<Unit, Change>, finished: &[Unit]) {
    for unit in finished {
        match units.get_mut(unit) {
            // What came may be in the roll-up, and its row as old as that.
            Some(change) if change.is_again => {
                let Change { touched_at, version, .. } = *change;
                *change = Change { touched_at, version, is_unwritten: true, ..Change::default() };
            }
            Some(_) => drop(units.remove(unit)),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(hour: i64, function: &str) -> Unit {
        ("t".into(), hour * HOUR, function.into())
    }

    fn hours(changes: &Changes) -> Vec<i64> {
        changes.changed("t").hours.keys().map(|(minute, _)| minute / HOUR).collect()
    }

    #[test]
    fn an_hour_is_changed_until_it_is_rolled_up() {
        let changes = Changes::default();
        assert_eq!(changes.note([unit(1, "f"), unit(1, "f"), unit(2, "f")], 5), [unit(1, "f"), unit(2, "f")]);
        assert!(changes.note([unit(1, "f")], 6).is_empty());
        assert!(changes.take_hours(0..HOUR, 10, 9).is_empty(), "no hour has ended");
        assert!(changes.take_hours(0..2 * HOUR, 5, 9).is_empty(), "something came lately");
        assert_eq!(changes.take_hours(0..2 * HOUR, 6, 9), [unit(1, "f")]);
        assert!(changes.take_hours(0..2 * HOUR, 6, 9).is_empty(), "it is taken");
        assert_eq!(hours(&changes), [1, 2]);
        changes.done_hours(&[unit(1, "f")]);
        assert_eq!(hours(&changes), [2]);
        assert!(changes.changed("other").hours.is_empty());
    }

    #[test]
    fn an_hour_s_version_is_never_the_same_again() {
        let changes = Changes::default();
        let version = || changes.changed("t").hours.get(&(HOUR, "f".into())).copied();
        let mut seen = BTreeSet::new();
        changes.recover([unit(1, "f")], []);
        assert!(seen.insert(version()));
        changes.note([unit(1, "f")], 5);
        assert!(seen.insert(version()));
        changes.note([unit(2, "f")], 5);
        assert!(!seen.insert(version()), "nothing of it came");
        let taken = changes.take_hours(0..2 * HOUR, 6, 9);
        changes.note([unit(1, "f")], 7);
        assert!(seen.insert(version()));
        changes.done_hours(&taken);
        assert!(!seen.insert(version()), "it is rolled up, and changed since");
        changes.done_hours(&changes.take_hours(0..2 * HOUR, 7, 9));
        changes.note([unit(1, "f")], 8);
        assert!(seen.insert(version()));
    }

    #[test]
    fn what_comes_while_it_is_rolled_up_changes_it_again() {
        let changes = Changes::default();
        changes.note([unit(1, "f")], 5);
        let taken = changes.take_hours(0..9 * HOUR, 9, 9);
        for at in [6, 7] {
            assert_eq!(
                changes.note([unit(1, "f")], at),
                [unit(1, "f")],
                "each is news: the count may lie between them"
            );
        }
        changes.done_hours(&taken);
        assert_eq!(hours(&changes), [1]);
        assert_eq!(changes.note([unit(1, "f")], 8), [unit(1, "f")], "what came before may be in the roll-up");
        assert!(changes.note([unit(1, "f")], 9).is_empty());
        let taken = changes.take_hours(0..9 * HOUR, 9, 9);
        changes.give_back(&taken);
        assert_eq!(changes.take_hours(0..9 * HOUR, 9, 9), taken);
    }

    #[test]
    fn only_what_lies_within_is_taken() {
        let changes = Changes::default();
        changes.note([unit(1, "f"), unit(2, "f"), unit(3, "f"), unit(30, "f")], 5);
        assert_eq!(changes.take_hours(2 * HOUR..4 * HOUR, 9, 9), [unit(2, "f"), unit(3, "f")]);
        assert_eq!(changes.take_hours(4 * HOUR..i64::MAX, 9, 9), [unit(30, "f")]);
    }

    #[test]
    fn a_day_waits_for_its_hours() {
        let changes = Changes::default();
        changes.note([unit(1, "f"), unit(2, "f"), unit(25, "f")], 5);
        assert!(changes.take_days(0..9 * DAY, 9, 9).is_empty());
        let taken = changes.take_hours(0..DAY, 9, 1);
        assert_eq!(taken, [unit(1, "f")], "one hour at a time");
        changes.done_hours(&taken);
        assert!(changes.take_days(0..9 * DAY, 9, 9).is_empty());
        changes.done_hours(&changes.take_hours(0..DAY, 9, 9));
        let days = changes.take_days(0..9 * DAY, 9, 9);
        assert_eq!(days, [unit(0, "f")]);
        changes.done_days(&days);
        assert_eq!(changes.changed("t").days.iter().map(|(m, _)| *m).collect::<Vec<_>>(), [DAY]);
    }

    #[test]
    fn only_after_recovery_it_is_all_known() {
        let changes = Changes::default();
        assert!(!changes.changed("t").is_complete);
        changes.recover([unit(3, "f")], []);
        assert!(changes.changed("t").is_complete);
        assert_eq!(hours(&changes), [3]);
    }
}
