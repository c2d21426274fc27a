//! Invocations counted, for a range of time: from roll-ups where there are, and for hours that
//! have changed since from the invocations themselves.
//!
//! So the answer is always that of counting all invocations, only sooner.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use hopline_model::{Table, schema};
use hopline_stitch::invocation::rollup::{MINUTE_NS, Rollup, RollupKey, roll_up};
use hopline_stitch::rollups::{DAY, HOUR, Resolution, RollupRow, rows};
use hopline_storage::Changed;

use super::answer;
use super::filter::Where;
use super::invocations::read::{Which, known};
use super::params::TimeRange;
use crate::engine::Session;
use crate::error::Error;
use crate::sql::params::Param;

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

/// The roll-ups over the invocations that began in the whole minutes around `range`: of one function by the minute, of
/// all by whatever is quickest.
pub(crate) async fn read(session: &Session, function: Option<&str>, range: TimeRange) -> Result<Rollups, Error> {
    let minutes = minutes_of(range);
    // First what changed, then the rows: what is rolled up in between is then counted by its invocations.
    let changed = session.engine().storage().changes().changed(session.tenant());
    let session = &session.engine().session(session.tenant(), session.limits().clone());
    if !changed.is_complete {
        return live(session, function, minutes).await;
    }
    let mut reader = Reader { session, function, changed: &changed, found: Rollups::default() };
    let is_fine = function.is_some();
    let whole_hours = if is_fine { Minutes { from: minutes.from, to: minutes.from } } else { minutes.inner(HOUR) };
    let whole_days = whole_hours.inner(DAY);
    reader.days(whole_days).await?;
    for hours in whole_hours.edges(whole_days) {
        reader.hours(hours).await?;
    }
    for edge in minutes.edges(whole_hours) {
        reader.minutes(edge).await?;
    }
    reader.changed_hours(minutes).await?;
    Ok(reader.found)
}

/// Counts the invocations themselves.
async fn live(session: &Session, function: Option<&str>, minutes: Minutes) -> Result<Rollups, Error> {
    let range = minutes.range();
    let which = Which { function: function.map(str::to_owned), range };
    let known = known(session, &which).await?;
    let mut found = Rollups { reason: known.reason.clone(), ..Rollups::default() };
    roll_up(known.within(range)).into_iter().for_each(|(key, rollup)| found.add(key, rollup));
    Ok(found)
}

struct Reader<'a> {
    session: &'a Session,
    function: Option<&'a str>,
    changed: &'a Changed,
    found: Rollups,
}

impl Reader<'_> {
    fn is_changed(&self, minute: i64, function: &str) -> bool {
        let hour = minute.div_euclid(HOUR) * HOUR;
        self.changed.hours.contains(&(hour, Arc::from(function)))
    }

    /// Days from their own roll-ups; those that changed from those of their hours.
    async fn days(&mut self, days: Minutes) -> Result<(), Error> {
        if days.is_empty() {
            return Ok(());
        }
        let changed =
            |key: &RollupKey, changed: &Changed| changed.days.contains(&(key.minute, Arc::from(key.function.as_str())));
        for row in newest(self.session, Resolution::Day, self.function, days).await? {
            if !changed(&row.key, self.changed) {
                self.found.add(row.key, row.rollup);
            }
        }
        let wanted = |f: &str| self.function.is_none_or(|function| function == f);
        let of_range: BTreeSet<i64> =
            self.changed.days.iter().filter(|(day, f)| days.holds(*day) && wanted(f)).map(|(day, _)| *day).collect();
        for day in of_range {
            for row in
                newest(self.session, Resolution::Hour, self.function, Minutes { from: day, to: day + DAY }).await?
            {
                let is_of_changed = self.changed.days.contains(&(day, Arc::from(row.key.function.as_str())));
                if is_of_changed && !self.is_changed(row.key.minute, &row.key.function) {
                    self.found.add(row.key, row.rollup);
                }
            }
        }
        Ok(())
    }

    async fn hours(&mut self, hours: Minutes) -> Result<(), Error> {
        if hours.is_empty() {
            return Ok(());
        }
        for row in newest(self.session, Resolution::Hour, self.function, hours).await? {
            if !self.is_changed(row.key.minute, &row.key.function) {
                self.found.add(row.key, row.rollup);
            }
        }
        Ok(())
    }

    async fn minutes(&mut self, minutes: Minutes) -> Result<(), Error> {
        if minutes.is_empty() {
            return Ok(());
        }
        // Whole hours are looked at: which rows are the newest, the others of the hour may tell.
        let hours = Minutes { from: minutes.from.div_euclid(HOUR) * HOUR, to: -(-minutes.to).div_euclid(HOUR) * HOUR };
        for row in newest(self.session, Resolution::Minute, self.function, hours).await? {
            if minutes.holds(row.key.minute) && !self.is_changed(row.key.minute, &row.key.function) {
                self.found.add(row.key, row.rollup);
            }
        }
        Ok(())
    }

    /// Hours that changed since they were rolled up, or never were: counted by their invocations, several at once
    /// where they follow each other.
    async fn changed_hours(&mut self, minutes: Minutes) -> Result<(), Error> {
        let is_wanted = |(hour, function): &&(i64, Arc<str>)| {
            *hour < minutes.to && hour + HOUR > minutes.from && self.function.is_none_or(|f| f == &**function)
        };
        let wanted: Vec<&(i64, Arc<str>)> = self.changed.hours.iter().filter(is_wanted).collect();
        let mut runs: Vec<(Minutes, BTreeSet<&str>)> = Vec::new();
        for (hour, function) in wanted {
            match runs.last_mut() {
                Some((run, functions)) if *hour <= run.to => {
                    run.to = run.to.max(hour + HOUR);
                    functions.insert(function);
                }
                _ => runs.push((Minutes { from: *hour, to: hour + HOUR }, BTreeSet::from([&**function]))),
            }
        }
        for (run, functions) in runs {
            let within = Minutes { from: run.from.max(minutes.from), to: run.to.min(minutes.to) };
            let only = match functions.first() {
                Some(only) if functions.len() == 1 => Some(*only),
                _ => self.function,
            };
            let counted = live(self.session, only, within).await?;
            self.found.reason = self.found.reason.take().or(counted.reason);
            for (key, rollup) in counted.by_function.into_values().flatten() {
                if self.is_changed(key.minute, &key.function) {
                    self.found.add(key, rollup);
                }
            }
        }
        Ok(())
    }
}

/// Rows of one resolution, of each function and hour (or day) only those of the last write.
pub(crate) async fn newest_rows(
    session: &Session,
    resolution: Resolution,
    function: Option<&str>,
    from_minute: i64,
    to_minute: i64,
) -> Result<Vec<RollupRow>, Error> {
    newest(session, resolution, function, Minutes { from: from_minute, to: to_minute }).await
}

async fn newest(
    session: &Session,
    resolution: Resolution,
    function: Option<&str>,
    minutes: Minutes,
) -> Result<Vec<RollupRow>, Error> {
    let mut conditions = Where::default();
    conditions.equals("function", function);
    conditions.equals("resolution", Some(resolution.name()));
    for (op, minute) in [(">=", minutes.from), ("<", minutes.to)] {
        let time = conditions.param(Param::Time(minute.saturating_mul(MINUTE_NS)));
        conditions.and(format!("time {op} {time}"));
    }
    let schema = schema::of(Table::FunctionMinutes);
    let columns: Vec<&str> =
        schema.fields().iter().map(|f| f.name().as_str()).filter(|name| *name != "tenant").collect();
    let sql = format!("SELECT {} FROM function_minutes {}", columns.join(", "), conditions.text());
    let mut found = Vec::new();
    for batch in answer::rows(session, &sql, conditions.params()).await? {
        found.extend(rows(&batch).map_err(|e| Error::Internal(Box::new(e)))?);
    }
    let length = if resolution == Resolution::Day { DAY } else { HOUR };
    let unit = |row: &RollupRow| row.key.minute.div_euclid(length);
    let mut last: HashMap<(&str, i64), i64> = HashMap::new();
    for row in &found {
        let last = last.entry((&row.key.function, unit(row))).or_insert(row.revision);
        *last = row.revision.max(*last);
    }
    let is_last: Vec<bool> =
        found.iter().map(|row| last.get(&(row.key.function.as_str(), unit(row))) == Some(&row.revision)).collect();
    let mut is_last = is_last.into_iter();
    found.retain(|_| is_last.next().unwrap_or(false));
    // A row that was written twice (the second time after a crash) counts once.
    found.sort_by(|a, b| a.key.cmp(&b.key));
    found.dedup_by(|a, b| a.key == b.key);
    Ok(found)
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
