//! Invocations counted, for a range of time: from roll-ups where there are, and for hours that
//! have changed since from the invocations themselves.
//!
//! So the answer is always that of counting all invocations, only sooner.

mod kept;
mod live;
mod rows;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use hopline_model::Table;
use hopline_stitch::invocation::rollup::{MINUTE_NS, Rollup, RollupKey, roll_up};
use hopline_stitch::rollups::{DAY, HOUR, KeyRef, Resolution};
use hopline_storage::Changed;

use self::kept::{Name, Stamp};
use self::rows::Piece;
use super::invocations::read::{Which, known};
use super::params::TimeRange;
use crate::engine::Session;
use crate::error::Error;

pub(crate) use self::kept::KeptPieces;
pub(crate) use self::live::LiveCounts;
pub(crate) use self::rows::newest_rows;

/// Pieces of a range that are read at once.
const PIECES_AT_ONCE: usize = 3;

/// Counted invocations.
#[derive(Debug, Default)]
pub(crate) struct Rollups {
    by_function: BTreeMap<String, Vec<(RollupKey, Rollup)>>,
    /// And those of these, which have no parts of their own.
    parts: Vec<Arc<Rollups>>,
    /// Why these are not all.
    pub(crate) reason: Option<String>,
}

impl Rollups {
    /// The functions that ran.
    pub(crate) fn functions(&self) -> BTreeSet<&str> {
        self.all_parts().flat_map(|part| part.by_function.keys()).map(String::as_str).collect()
    }

    /// The roll-ups of a function.
    pub(crate) fn of(&self, function: &str) -> Vec<(&RollupKey, &Rollup)> {
        let of_function = self.all_parts().filter_map(|part| part.by_function.get(function)).flatten();
        of_function.map(|(key, rollup)| (key, rollup)).collect()
    }

    fn all_parts(&self) -> impl Iterator<Item = &Rollups> {
        std::iter::once(self).chain(self.parts.iter().map(|part| &**part))
    }

    /// How much memory they take, about.
    fn bytes(&self) -> usize {
        let of = |(key, rollup): &(RollupKey, Rollup)| {
            size_of::<(RollupKey, Rollup)>()
                + key.function.len()
                + key.version.len()
                + key.region.len()
                + rollup.bytes()
        };
        self.by_function.values().flatten().map(of).sum()
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
        let is_asked = |(_, f): &&(i64, Arc<str>)| function.is_none_or(|function| function == &**f);
        let of_days = changed.days_in(self.days.from..self.days.to).filter(is_asked);
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
    /// Of the hours of a piece.
    fn of(changed: &'a Changed, piece: Piece) -> ByHour<'a> {
        let mut by_hour = ByHour::default();
        for (hour, function) in changed.hours_in(piece.from..piece.to) {
            by_hour.hours.entry(*hour).or_default().insert(function);
        }
        for (day, function) in changed.days_in(piece.from.div_euclid(DAY) * DAY..piece.to) {
            by_hour.days.entry(*day).or_default().insert(function);
        }
        by_hour
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
    // First what may be kept and what changed, then the rows: what is rolled up in between is then counted by its invocations.
    let stamp =
        Stamp::new(session.engine().rolled_up(), session.engine().storage().expired_files(Table::FunctionMinutes));
    let changed = session.engine().storage().changes().changed(session.tenant());
    let session = &session.engine().session(session.tenant(), session.limits().clone());
    let wanted = ranges.map(|range| Wanted::of(range, detail));
    if !changed.is_complete {
        let mut reader = Reader { wanted: &wanted, detail, found: std::array::from_fn(|_| Rollups::default()) };
        reader.all(session, function).await?;
        return Ok(reader.found);
    }
    let changed = Arc::new(changed);
    let minutes = wanted.map(|w| w.minutes);
    let (rolled_up, live) = tokio::try_join!(
        try_join_all(wanted.map(|w| of_range(session, function, w, detail, (&changed, stamp)))),
        live::count(session, function, &changed.hours, &minutes)
    )?;
    let mut rolled_up = rolled_up.into_iter();
    let found = std::array::from_fn(|_| rolled_up.next().unwrap_or_default());
    let mut reader = Reader { wanted: &wanted, detail, found };
    for rollups in &live.rollups {
        reader.counted(rollups.iter().map(|(key, rollup)| (key, rollup)), |_| true);
    }
    reader.because(live.reason.as_ref());
    Ok(reader.found)
}

/// What is rolled up of a range and has not changed since.
async fn of_range(
    session: &Session,
    function: Option<&str>,
    wanted: Wanted,
    detail: Detail,
    (changed, stamp): (&Arc<Changed>, Stamp),
) -> Result<Rollups, Error> {
    let memory = session.engine().kept_pieces();
    // No two pieces have rows of one write: each is read and added up by itself, beside the others.
    let pieces = rows::joined(wanted.pieces(changed, function));
    let parts = pieces.into_iter().map(|piece| async move {
        let is_of_all = function.is_none() && detail == Detail::Whole;
        let name = Name::of(session.tenant(), piece, &wanted).filter(|_| is_of_all);
        let stamp = stamp.of_piece(piece, changed);
        if let Some(kept) = name.as_ref().and_then(|name| memory.find(name, stamp)) {
            return Ok(kept);
        }
        let (of, function, changed) = (session.clone(), function.map(str::to_owned), Arc::clone(changed));
        let part = async move {
            let batches = rows::read(&of, function.as_deref(), piece).await?;
            rolled_up(&batches, wanted, detail, &ByHour::of(&changed, piece))
        };
        let part = Arc::new(session.engine().task(session.limits(), part).await?);
        if let Some(name) = name {
            memory.keep(name, stamp, &part);
        }
        Ok::<_, Error>(part)
    });
    let parts = stream::iter(parts).buffered(PIECES_AT_ONCE).try_collect().await?;
    Ok(Rollups { parts, ..Rollups::default() })
}

fn rolled_up(batches: &[RecordBatch], wanted: Wanted, detail: Detail, changed: &ByHour<'_>) -> Result<Rollups, Error> {
    let mut counted: HashMap<KeyRef<'_>, Rollup, ahash::RandomState> = HashMap::default();
    rows::newest(
        &rows::of(batches)?,
        |resolution, key| wanted.takes(resolution, key.minute, key.function, changed),
        |_, _, key, rollup| counted.entry(detail.of(key)).or_default().merge(rollup),
    );
    let mut found = Rollups::default();
    counted.into_iter().for_each(|(key, rollup)| found.add(key.to_key(), rollup));
    Ok(found)
}

struct Reader<'a, const N: usize> {
    wanted: &'a [Wanted; N],
    detail: Detail,
    found: [Rollups; N],
}

impl<const N: usize> Reader<'_, N> {
    /// Adds what was counted by the minute: to each range that `is_for` what began in it.
    fn counted<'a>(
        &mut self,
        counted: impl Iterator<Item = (&'a RollupKey, &'a Rollup)> + Clone,
        is_for: impl Fn(usize) -> bool,
    ) {
        let ranges = self.wanted.iter().zip(&mut self.found).enumerate();
        for (_, (wanted, found)) in ranges.filter(|(at, _)| is_for(*at)) {
            let mut own: HashMap<KeyRef<'_>, Rollup, ahash::RandomState> = HashMap::default();
            for (key, rollup) in counted.clone().filter(|(key, _)| wanted.minutes.holds(key.minute)) {
                own.entry(self.detail.of(key.into())).or_default().merge(rollup);
            }
            own.into_iter().for_each(|(key, rollup)| found.add(key.to_key(), rollup));
        }
    }

    fn because(&mut self, reason: Option<&String>) {
        for found in &mut self.found {
            found.reason = found.reason.take().or_else(|| reason.cloned());
        }
    }

    /// Adds the invocations themselves: nobody knows yet which of them are counted.
    async fn all(&mut self, session: &Session, function: Option<&str>) -> Result<(), Error> {
        for (at, minutes) in self.wanted.iter().map(|w| w.minutes).enumerate() {
            let which = Which { functions: function.map(str::to_owned).into_iter().collect(), range: minutes.range() };
            let known = known(session, &which).await?;
            self.counted(roll_up(known.within(which.range)).iter(), |range| range == at);
            self.because(known.reason.as_ref());
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
