//! Invocations counted, for a range of time: from roll-ups where there are, and for hours that
//! have changed since from the invocations themselves.
//!
//! So the answer is always that of counting all invocations, only sooner.

mod rows;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use hopline_stitch::invocation::rollup::{MINUTE_NS, Rollup, RollupKey, roll_up};
use hopline_stitch::rollups::{DAY, HOUR, KeyRef, Resolution};
use hopline_storage::Changed;

use self::rows::Piece;
use super::invocations::read::{Which, known};
use super::params::TimeRange;
use crate::engine::Session;
use crate::error::Error;

pub(crate) use self::rows::newest_rows;

/// Counted invocations.
#[derive(Debug, Default)]
pub(crate) struct Rollups {
    by_function: BTreeMap<String, Vec<(RollupKey, Rollup)>>,
    /// Why these are not all.
    pub(crate) reason: Option<String>,
}

impl Rollups {
    /// The functions that ran.
    pub(crate) fn functions(&self) -> impl Iterator<Item = &str> {
        self.by_function.keys().map(String::as_str)
    }

    /// The roll-ups of a function.
    pub(crate) fn of(&self, function: &str) -> Vec<(&RollupKey, &Rollup)> {
        let of_function = self.by_function.get(function).into_iter().flatten();
        of_function.map(|(key, rollup)| (key, rollup)).collect()
    }

    fn add(&mut self, key: RollupKey, rollup: Rollup) {
        if rollup.count == 0 {
            return;
        }
        match self.by_function.get_mut(&key.function) {
            Some(of_function) => of_function.push((key, rollup)),
            None => drop(self.by_function.insert(key.function.clone(), vec![(key, rollup)])),
        }
    }
}

/// Whole minutes: from the first to before the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Minutes {
    from: i64,
    to: i64,
}

impl Minutes {
    /// The whole of `length` minutes each that lie within.
    fn inner(self, length: i64) -> Minutes {
        let from = -(-self.from).div_euclid(length) * length;
        Minutes { from, to: (self.to.div_euclid(length) * length).max(from) }
    }

    /// What is before and behind `inner`.
    fn edges(self, inner: Minutes) -> [Minutes; 2] {
        if inner.is_empty() {
            return [self, Minutes { from: self.to, to: self.to }];
        }
        [Minutes { from: self.from, to: inner.from }, Minutes { from: inner.to, to: self.to }]
    }

    fn is_empty(self) -> bool {
        self.from >= self.to
    }

    fn holds(self, minute: i64) -> bool {
        minute >= self.from && minute < self.to
    }

    fn range(self) -> TimeRange {
        let time = |minute: i64| Some(minute.saturating_mul(MINUTE_NS));
        TimeRange { start: time(self.from), end: time(self.to) }
    }
}

/// The range of whole minutes around `range`: invocations are counted by the minute.
pub(crate) fn whole_minutes(range: TimeRange) -> TimeRange {
    minutes_of(range).range()
}

fn minutes_of(range: TimeRange) -> Minutes {
    let from = range.start.unwrap_or(0).div_euclid(MINUTE_NS);
    let to = -(range.end.unwrap_or(i64::MAX - MINUTE_NS).saturating_neg()).div_euclid(MINUTE_NS);
    Minutes { from, to: to.max(from) }
}

/// How finely invocations are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// By the minute, and by what triggered them.
    Minutes,
    /// Not by when they were, nor by what triggered them: the key's minute is 0.
    Whole,
}

impl Detail {
    fn of<'a>(self, key: KeyRef<'a>) -> KeyRef<'a> {
        match self {
            Detail::Minutes => key,
            Detail::Whole => KeyRef { minute: 0, trigger: None, ..key },
        }
    }

    fn of_key(self, key: &RollupKey) -> RollupKey {
        match self {
            Detail::Minutes => key.clone(),
            Detail::Whole => RollupKey { minute: 0, trigger: None, ..key.clone() },
        }
    }
}

/// A range that is read, and where in it roll-ups of hours and days are read.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    minutes: Minutes,
    hours: Minutes,
    days: Minutes,
}

impl Wanted {
    fn of(range: TimeRange, detail: Detail) -> Wanted {
        let minutes = minutes_of(range);
        let none = Minutes { from: minutes.from, to: minutes.from };
        let hours = if detail == Detail::Minutes { none } else { minutes.inner(HOUR) };
        Wanted { minutes, hours, days: hours.inner(DAY) }
    }

    /// Whether the row counts for this range, and no other does for the same invocations.
    fn takes(&self, resolution: Resolution, minute: i64, function: &str, changed: &ByHour<'_>) -> bool {
        if !self.minutes.holds(minute) || changed.has_hour(minute, function) && resolution != Resolution::Day {
            return false;
        }
        let of_day = self.days.holds(minute) && !changed.has_day(minute, function);
        match resolution {
            Resolution::Day => of_day,
            Resolution::Hour => self.hours.holds(minute) && !of_day,
            Resolution::Minute => !self.hours.holds(minute),
            Resolution::Changed => false,
        }
    }

    /// Rows among which are all those that [`Wanted::takes`].
    fn pieces(&self, changed: &Changed, function: Option<&str>) -> Vec<Piece> {
        let of = |resolution| move |minutes: Minutes| Piece { resolution, from: minutes.from, to: minutes.to };
        let mut pieces = vec![of(Resolution::Day)(self.days)];
        pieces.extend(self.hours.edges(self.days).map(of(Resolution::Hour)));
        let is_asked = |f: &str| function.is_none_or(|function| function == f);
        let of_days = changed.days.iter().filter(|(day, f)| self.days.holds(*day) && is_asked(f));
        let of_days: BTreeSet<i64> = of_days.map(|(day, _)| *day).collect();
        pieces.extend(of_days.into_iter().map(|day| of(Resolution::Hour)(Minutes { from: day, to: day + DAY })));
        // Whole hours are looked at: which rows are the newest, the others of the hour may tell.
        let whole = |m: Minutes| Minutes { from: m.from.div_euclid(HOUR) * HOUR, to: -(-m.to).div_euclid(HOUR) * HOUR };
        let edges = self.minutes.edges(self.hours).into_iter().filter(|edge| !edge.is_empty());
        pieces.extend(edges.map(whole).map(of(Resolution::Minute)));
        pieces
    }
}

/// What has changed, by the hour and day.
#[derive(Debug, Default)]
struct ByHour<'a> {
    hours: HashMap<i64, HashSet<&'a str, ahash::RandomState>>,
    days: HashMap<i64, HashSet<&'a str, ahash::RandomState>>,
}

impl<'a> ByHour<'a> {
    fn of(changed: &'a Changed) -> ByHour<'a> {
        let of = |units: &'a BTreeSet<(i64, Arc<str>)>| {
            let mut by_minute: HashMap<i64, HashSet<&str, ahash::RandomState>> = HashMap::new();
            for (minute, function) in units {
                by_minute.entry(*minute).or_default().insert(function);
            }
            by_minute
        };
        ByHour { hours: of(&changed.hours), days: of(&changed.days) }
    }

    fn has_hour(&self, minute: i64, function: &str) -> bool {
        self.hours.get(&(minute.div_euclid(HOUR) * HOUR)).is_some_and(|functions| functions.contains(function))
    }

    fn has_day(&self, minute: i64, function: &str) -> bool {
        self.days.get(&(minute.div_euclid(DAY) * DAY)).is_some_and(|functions| functions.contains(function))
    }
}

/// The roll-ups over the invocations that began in the whole minutes around each range, of one function or of all.
pub(crate) async fn read<const N: usize>(
    session: &Session,
    function: Option<&str>,
    ranges: [TimeRange; N],
    detail: Detail,
) -> Result<[Rollups; N], Error> {
    // First what changed, then the rows: what is rolled up in between is then counted by its invocations.
    let changed = session.engine().storage().changes().changed(session.tenant());
    let session = &session.engine().session(session.tenant(), session.limits().clone());
    let wanted = ranges.map(|range| Wanted::of(range, detail));
    let by_hour = ByHour::of(&changed);
    let mut reader =
        Reader { session, function, wanted: &wanted, detail, found: std::array::from_fn(|_| Rollups::default()) };
    if !changed.is_complete {
        for (at, minutes) in wanted.iter().map(|w| w.minutes).enumerate() {
            reader.live(function, minutes, |range, _| range == at).await?;
        }
        return Ok(reader.found);
    }
    let pieces = wanted.iter().flat_map(|w| w.pieces(&changed, function)).collect();
    reader.rolled_up(&rows::read(session, function, pieces).await?, &by_hour)?;
    reader.changed_hours(&changed, &by_hour).await?;
    Ok(reader.found)
}

struct Reader<'a, const N: usize> {
    session: &'a Session,
    function: Option<&'a str>,
    wanted: &'a [Wanted; N],
    detail: Detail,
    found: [Rollups; N],
}

impl<const N: usize> Reader<'_, N> {
    /// Adds what is rolled up and has not changed since.
    fn rolled_up(&mut self, batches: &[RecordBatch], changed: &ByHour<'_>) -> Result<(), Error> {
        let rows = rows::of(batches)?;
        let mut counted: [HashMap<KeyRef<'_>, Rollup, ahash::RandomState>; N] =
            std::array::from_fn(|_| HashMap::default());
        let takes =
            |wanted: &Wanted, resolution, key: &KeyRef<'_>| wanted.takes(resolution, key.minute, key.function, changed);
        rows::newest(
            &rows,
            |resolution, key| self.wanted.iter().any(|wanted| takes(wanted, resolution, key)),
            |resolution, _, key, rollup| {
                for (wanted, counted) in self.wanted.iter().zip(&mut counted) {
                    if takes(wanted, resolution, &key) {
                        counted.entry(self.detail.of(key)).or_default().merge(&rollup);
                    }
                }
            },
        );
        for (found, counted) in self.found.iter_mut().zip(counted) {
            counted.into_iter().for_each(|(key, rollup)| found.add(key.to_key(), rollup));
        }
        Ok(())
    }

    /// Adds hours that changed since they were rolled up, or never were: counted by their invocations, several at once
    /// where they follow each other.
    async fn changed_hours(&mut self, changed: &Changed, by_hour: &ByHour<'_>) -> Result<(), Error> {
        let is_in = |hour: i64| self.wanted.iter().any(|w| hour < w.minutes.to && hour + HOUR > w.minutes.from);
        let is_wanted =
            |(hour, function): &&(i64, Arc<str>)| is_in(*hour) && self.function.is_none_or(|f| f == &**function);
        let mut runs: Vec<(Minutes, BTreeSet<&str>)> = Vec::new();
        for (hour, function) in changed.hours.iter().filter(is_wanted) {
            match runs.last_mut() {
                Some((run, functions)) if *hour <= run.to => {
                    run.to = run.to.max(hour + HOUR);
                    functions.insert(function);
                }
                _ => runs.push((Minutes { from: *hour, to: hour + HOUR }, BTreeSet::from([&**function]))),
            }
        }
        let from = self.wanted.iter().map(|w| w.minutes.from).min().unwrap_or_default();
        let to = self.wanted.iter().map(|w| w.minutes.to).max().unwrap_or_default();
        for (run, functions) in runs {
            let within = Minutes { from: run.from.max(from), to: run.to.min(to) };
            let only = match functions.first() {
                Some(only) if functions.len() == 1 => Some(*only),
                _ => self.function,
            };
            self.live(only, within, |_, key| by_hour.has_hour(key.minute, &key.function)).await?;
        }
        Ok(())
    }

    /// Adds the invocations themselves: to each range those of its minutes that `counts`.
    async fn live(
        &mut self,
        function: Option<&str>,
        minutes: Minutes,
        counts: impl Fn(usize, &RollupKey) -> bool,
    ) -> Result<(), Error> {
        let range = minutes.range();
        let known = known(self.session, &Which { function: function.map(str::to_owned), range }).await?;
        let counted = roll_up(known.within(range));
        for (at, (wanted, found)) in self.wanted.iter().zip(&mut self.found).enumerate() {
            let of_range = |(key, _): &(&RollupKey, &Rollup)| wanted.minutes.holds(key.minute) && counts(at, key);
            let mut own: BTreeMap<RollupKey, Rollup> = BTreeMap::new();
            for (key, rollup) in counted.iter().filter(of_range) {
                own.entry(self.detail.of_key(key)).or_default().merge(rollup);
            }
            own.into_iter().for_each(|(key, rollup)| found.add(key, rollup));
            found.reason = found.reason.take().or_else(|| known.reason.clone());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_at_whole_hours_and_days() {
        let all = Minutes { from: 30, to: 3 * DAY + 90 };
        let hours = all.inner(HOUR);
        assert_eq!(hours, Minutes { from: 60, to: 3 * DAY + 60 });
        assert_eq!(hours.inner(DAY), Minutes { from: DAY, to: 3 * DAY });
        assert_eq!(all.edges(hours), [Minutes { from: 30, to: 60 }, Minutes { from: 3 * DAY + 60, to: 3 * DAY + 90 }]);
        let short = Minutes { from: 70, to: 80 };
        assert!(short.inner(HOUR).is_empty());
        assert_eq!(short.edges(short.inner(HOUR)).map(|m| m.to - m.from), [10, 0]);
    }

    #[test]
    fn minutes_lie_around_a_range() {
        let range = TimeRange { start: Some(61_000_000_000), end: Some(120_000_000_001) };
        assert_eq!(minutes_of(range), Minutes { from: 1, to: 3 });
        let whole = TimeRange { start: Some(60_000_000_000), end: Some(120_000_000_000) };
        assert_eq!(whole_minutes(whole).start, whole.start);
        assert_eq!(whole_minutes(whole).end, whole.end);
    }
}
