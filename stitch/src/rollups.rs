//! Rows of the table `function_minutes`: [`Rollup`]s as columns, there and back.
//!
//! Invocations are counted by the minute, the minutes of an hour together by the hour, and
//! hours by the day. The rows of one function and hour (and of one function and day) are a
//! whole: they are written together with one revision, and replace those of an earlier one.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BinaryArray, BinaryBuilder, Int64Array, Int64Builder, RecordBatch, StringDictionaryBuilder,
    TimestampNanosecondArray, TimestampNanosecondBuilder,
};
use arrow::datatypes::{Int32Type, Int64Type, TimestampNanosecondType};
use arrow::error::ArrowError;
use hopline_model::{Table, schema};

use crate::columns::{ColumnsError, Text};
use crate::invocation::rollup::{MINUTE_NS, Rollup, RollupKey};
use crate::invocation::{Outcome, StartType, Trigger};

/// Minutes of an hour.
pub const HOUR: i64 = 60;
/// Minutes of a day.
pub const DAY: i64 = 24 * HOUR;

/// Over how long a row counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resolution {
    /// A minute, by version, trigger, region, start type and outcome.
    Minute,
    /// An hour, by all of these but the trigger.
    Hour,
    /// A day, as an hour.
    Day,
    /// No count: invocations of this hour came after its roll-up.
    Changed,
}

impl Resolution {
    /// All of them.
    pub const ALL: [Resolution; 4] = [Resolution::Minute, Resolution::Hour, Resolution::Day, Resolution::Changed];

    /// The word in the column `resolution`.
    pub fn name(self) -> &'static str {
        match self {
            Resolution::Minute => "minute",
            Resolution::Hour => "hour",
            Resolution::Day => "day",
            Resolution::Changed => "changed",
        }
    }

    /// The resolution with this word.
    pub fn from_name(name: &str) -> Option<Resolution> {
        Resolution::ALL.into_iter().find(|r| r.name() == name)
    }

    /// How many minutes a row counts.
    pub fn minutes(self) -> i64 {
        match self {
            Resolution::Minute => 1,
            Resolution::Hour | Resolution::Changed => HOUR,
            Resolution::Day => DAY,
        }
    }
}

/// A row of `function_minutes`.
#[derive(Debug, Clone, PartialEq)]
pub struct RollupRow {
    /// Over how long it counts.
    pub resolution: Resolution,
    /// Which write of the hour, or day, it belongs to.
    pub revision: i64,
    /// What the invocations have in common. The minute is the first of the hour or day.
    pub key: RollupKey,
    /// What they come to.
    pub rollup: Rollup,
}

/// Roll-ups by the minute as roll-ups over hours or days: triggers together.
pub fn coarser<'a>(
    rollups: impl IntoIterator<Item = (&'a RollupKey, &'a Rollup)>,
    resolution: Resolution,
) -> BTreeMap<RollupKey, Rollup> {
    let mut coarse: BTreeMap<RollupKey, Rollup> = BTreeMap::new();
    for (key, rollup) in rollups {
        let minute = key.minute.div_euclid(resolution.minutes()).saturating_mul(resolution.minutes());
        let key = RollupKey { minute, trigger: None, ..key.clone() };
        coarse.entry(key).or_default().merge(rollup);
    }
    coarse
}

/// The row that says that invocations of a function in an hour came after its roll-up.
pub fn changed(function: &str, hour_minute: i64, revision: i64) -> RollupRow {
    let key = RollupKey {
        minute: hour_minute,
        function: function.to_owned(),
        version: String::new(),
        trigger: None,
        region: String::new(),
        start_type: StartType::Unknown,
        outcome: Outcome::Unknown,
    };
    RollupRow { resolution: Resolution::Changed, revision, key, rollup: Rollup::default() }
}

type Number = (fn(&Rollup) -> u64, fn(&mut Rollup, u64));

/// In the order of [`schema::ROLLUP_NUMBERS`].
const NUMBERS: [Number; schema::ROLLUP_NUMBERS.len()] = [
    (|r| r.count, |r, n| r.count = n),
    (|r| r.timed_out, |r, n| r.timed_out = n),
    (|r| r.out_of_memory, |r, n| r.out_of_memory = n),
    (|r| r.reported, |r, n| r.reported = n),
    (|r| r.lost, |r, n| r.lost = n),
    (|r| r.retries, |r, n| r.retries = n),
    (|r| r.costed, |r, n| r.costed = n),
    (|r| r.cost_pico, |r, n| r.cost_pico = n),
    (|r| r.billed_ns, |r, n| r.billed_ns = n),
    (|r| r.memory_used_max, |r, n| r.memory_used_max = n),
    (|r| r.memory_size_max, |r, n| r.memory_size_max = n),
    (|r| r.last_start_ns.cast_unsigned(), |r, n| r.last_start_ns = n.cast_signed()),
];

/// Rows as a batch of `function_minutes`, of one tenant; nothing if there are none.
pub fn batch<'a>(
    tenant: &str,
    rows: impl IntoIterator<Item = &'a RollupRow>,
) -> Result<Option<RecordBatch>, ArrowError> {
    let mut time = TimestampNanosecondBuilder::new().with_timezone(schema::UTC);
    let mut words: [StringDictionaryBuilder<Int32Type>; 7] = Default::default();
    let mut trigger: StringDictionaryBuilder<Int32Type> = StringDictionaryBuilder::new();
    let mut revision = Int64Builder::new();
    let mut numbers: [Int64Builder; NUMBERS.len()] = Default::default();
    let (mut duration, mut init) = (BinaryBuilder::new(), BinaryBuilder::new());
    let mut count = 0;
    for RollupRow { resolution, revision: of_row, key, rollup } in rows {
        count += 1;
        time.append_value(key.minute.saturating_mul(MINUTE_NS));
        let texts = [
            tenant,
            resolution.name(),
            &key.function,
            &key.version,
            &key.region,
            key.start_type.name(),
            key.outcome.name(),
        ];
        words.iter_mut().zip(texts).for_each(|(column, text)| column.append_value(text));
        trigger.append_option(key.trigger.map(Trigger::name));
        revision.append_value(*of_row);
        numbers.iter_mut().zip(NUMBERS).for_each(|(column, (get, _))| column.append_value(get(rollup).cast_signed()));
        duration.append_value(rollup.duration.encode());
        init.append_value(rollup.init.encode());
    }
    if count == 0 {
        return Ok(None);
    }
    let [tenant, resolution, function, version, region, start_type, outcome] =
        words.each_mut().map(|column| Arc::new(column.finish()) as ArrayRef);
    let mut columns: Vec<ArrayRef> = vec![
        tenant,
        Arc::new(time.finish()),
        resolution,
        function,
        version,
        Arc::new(trigger.finish()),
        region,
        start_type,
        outcome,
        Arc::new(revision.finish()),
    ];
    columns.extend(numbers.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef));
    columns.push(Arc::new(duration.finish()));
    columns.push(Arc::new(init.finish()));
    RecordBatch::try_new(schema::of(Table::FunctionMinutes), columns).map(Some)
}

/// What the invocations of a row have in common: a [`RollupKey`] whose texts are the batch's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyRef<'a> {
    /// [`RollupKey::minute`]
    pub minute: i64,
    /// [`RollupKey::function`]
    pub function: &'a str,
    /// [`RollupKey::version`]
    pub version: &'a str,
    /// [`RollupKey::trigger`]
    pub trigger: Option<Trigger>,
    /// [`RollupKey::region`]
    pub region: &'a str,
    /// [`RollupKey::start_type`]
    pub start_type: StartType,
    /// [`RollupKey::outcome`]
    pub outcome: Outcome,
}

impl<'a> From<&'a RollupKey> for KeyRef<'a> {
    fn from(key: &'a RollupKey) -> KeyRef<'a> {
        KeyRef {
            minute: key.minute,
            function: &key.function,
            version: &key.version,
            trigger: key.trigger,
            region: &key.region,
            start_type: key.start_type,
            outcome: key.outcome,
        }
    }
}

impl KeyRef<'_> {
    /// The same with texts of its own.
    pub fn to_key(&self) -> RollupKey {
        RollupKey {
            minute: self.minute,
            function: self.function.to_owned(),
            version: self.version.to_owned(),
            trigger: self.trigger,
            region: self.region.to_owned(),
            start_type: self.start_type,
            outcome: self.outcome,
        }
    }
}

/// A column of words that are known: each word is looked at once.
struct Words<'a, T> {
    texts: Text<'a>,
    known: Vec<Option<T>>,
}

impl<'a, T: Copy> Words<'a, T> {
    fn new(texts: Text<'a>, from_name: fn(&str) -> Option<T>) -> Words<'a, T> {
        let known = (0..texts.words()).map(|key| texts.word(key).and_then(from_name)).collect();
        Words { texts, known }
    }

    /// What the row's word stands for.
    fn get(&self, row: usize) -> Option<T> {
        self.known.get(self.texts.key(row)?).copied().flatten()
    }
}

/// The rows of a batch of `function_minutes`, looked at where they are.
pub struct Rows<'a> {
    len: usize,
    resolutions: Words<'a, Resolution>,
    functions: Text<'a>,
    versions: Text<'a>,
    triggers: Words<'a, Trigger>,
    regions: Text<'a>,
    start_types: Words<'a, StartType>,
    outcomes: Words<'a, Outcome>,
    times: &'a TimestampNanosecondArray,
    revisions: &'a Int64Array,
    numbers: Vec<&'a Int64Array>,
    durations: &'a BinaryArray,
    inits: &'a BinaryArray,
}

impl<'a> Rows<'a> {
    /// Of a batch that has all columns but the tenant's.
    pub fn of(batch: &'a RecordBatch) -> Result<Rows<'a>, ColumnsError> {
        let text = |name: &'static str| Text::of(batch, name);
        let times = batch.column_by_name("time").and_then(|c| c.as_primitive_opt::<TimestampNanosecondType>());
        Ok(Rows {
            len: batch.num_rows(),
            resolutions: Words::new(text("resolution")?, Resolution::from_name),
            functions: text("function")?,
            versions: text("version")?,
            triggers: Words::new(text("trigger")?, Trigger::from_name),
            regions: text("region")?,
            start_types: Words::new(text("start_type")?, StartType::from_name),
            outcomes: Words::new(text("outcome")?, Outcome::from_name),
            times: times.ok_or(ColumnsError("time"))?,
            revisions: number(batch, "revision")?,
            numbers: schema::ROLLUP_NUMBERS.iter().map(|name| number(batch, name)).collect::<Result<_, _>>()?,
            durations: binary(batch, "duration")?,
            inits: binary(batch, "init")?,
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What the row at `at` counts, and which write of it this is; nothing if a newer server wrote it and this one does
    /// not know its words.
    pub fn key(&self, at: usize) -> Option<(Resolution, i64, KeyRef<'a>)> {
        if at >= self.len {
            return None;
        }
        let key = KeyRef {
            minute: self.times.value(at).div_euclid(MINUTE_NS),
            function: self.functions.or_empty(at),
            version: self.versions.or_empty(at),
            trigger: self.triggers.get(at),
            region: self.regions.or_empty(at),
            start_type: self.start_types.get(at)?,
            outcome: self.outcomes.get(at)?,
        };
        Some((self.resolutions.get(at)?, self.revisions.value(at), key))
    }

    /// Makes `rollup` that of the row's invocations, whatever it was; false, and it is nobody's, if the row's sketches cannot
    /// be read.
    pub fn read(&self, at: usize, rollup: &mut Rollup) -> bool {
        if at >= self.len {
            return false;
        }
        let numbers = self.numbers.iter().zip(NUMBERS);
        numbers.for_each(|(column, (_, set))| set(rollup, column.value(at).cast_unsigned()));
        let duration = rollup.duration.read(self.durations.value(at));
        duration.and_then(|()| rollup.init.read(self.inits.value(at))).is_ok()
    }
}

fn number<'a>(batch: &'a RecordBatch, name: &'static str) -> Result<&'a Int64Array, ColumnsError> {
    batch.column_by_name(name).and_then(|c| c.as_primitive_opt::<Int64Type>()).ok_or(ColumnsError(name))
}

fn binary<'a>(batch: &'a RecordBatch, name: &'static str) -> Result<&'a BinaryArray, ColumnsError> {
    batch.column_by_name(name).and_then(|c| c.as_binary_opt::<i32>()).ok_or(ColumnsError(name))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn rows(batch: &RecordBatch) -> Vec<RollupRow> {
        let rows = Rows::of(batch).unwrap();
        let row = |at| {
            let (resolution, revision, key) = rows.key(at)?;
            // What it was does not matter.
            let mut rollup = sample(9, None, 7).rollup;
            assert!(rows.read(at, &mut rollup));
            Some(RollupRow { resolution, revision, key: key.to_key(), rollup })
        };
        assert!(rows.key(rows.len()).is_none() && !rows.read(rows.len(), &mut Rollup::default()));
        (0..rows.len()).filter_map(row).collect()
    }

    fn sample(minute: i64, trigger: Option<Trigger>, count: u64) -> RollupRow {
        let mut rollup = Rollup::default();
        (1..).zip(NUMBERS).for_each(|(i, (_, set))| set(&mut rollup, i * count));
        (0..count).for_each(|i| rollup.duration.add(i * 1_000));
        rollup.init.add(7);
        let key =
            RollupKey { trigger, start_type: StartType::Cold, outcome: Outcome::Oom, ..changed("f", minute, 0).key };
        RollupRow { resolution: Resolution::Minute, revision: 3, key, rollup }
    }

    #[test]
    fn there_and_back() {
        let samples = [sample(7, Some(Trigger::Http), 5), sample(8, None, 1), changed("g", 60, -2)];
        let batch = batch("tenant", &samples).unwrap().unwrap();
        assert_eq!(rows(&batch), samples);
        assert!(super::batch("tenant", &[]).unwrap().is_none());
    }

    #[test]
    fn hours_are_the_sum_of_their_minutes() {
        let minutes = [sample(60, Some(Trigger::Http), 5), sample(119, None, 2), sample(120, None, 1)];
        let hours = coarser(minutes.iter().map(|row| (&row.key, &row.rollup)), Resolution::Hour);
        let counts: Vec<_> =
            hours.iter().map(|(key, r)| (key.minute, key.trigger, r.count, r.duration.count())).collect();
        assert_eq!(counts, [(60, None, 7, 7), (120, None, 1, 1)]);
    }
}
