#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use hopline_stitch::facts;
use hopline_stitch::invocation::{Fact, InitType, RELATIVE_ERROR, Source, StartType, Status};
use hopline_storage::Changed;

use super::*;
use crate::api::invocations::read::known;
use crate::api::rollups::{self, Detail, Rollups};
use crate::engine::tests::engine;
use crate::engine::tests::rows::Kept;

/// 2026-11-18T00:00:00Z, in minutes.
const DAY0: i64 = 1_794_960_000 / 60;
const FUNCTIONS: u64 = 7;
const SECOND: i64 = 1_000_000_000;

/// A small random number generator: the same numbers everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// Facts of an invocation: its span and, mostly, its report.
fn invocation(random: &mut Random, number: u64, from_minute: i64, minutes: u64) -> Vec<Fact> {
    let start = (from_minute * 60 + random.below(minutes * 60) as i64) * SECOND;
    let took = 1_000_000 + (random.below(2_000_000) as i64) * 1_000;
    let function = format!("f{}", random.below(FUNCTIONS));
    let mut span = Fact::new(Source::Span, start);
    span.invocation_id = Some(format!("id-{number}"));
    span.instance = Some(format!("{function}-{}", random.below(3)));
    span.function = Some(function);
    (span.start_ns, span.end_ns, span.duration_ns) = (Some(start), Some(start + took), Some(took));
    span.status = Some(if random.below(20) == 0 { Status::Error } else { Status::Ok });
    let mut report =
        Fact { source: Source::Report, time_ns: start + took, start_ns: None, end_ns: None, ..span.clone() };
    report.billed_ns = Some(took);
    report.memory_size = Some(512 << 20);
    if random.below(10) == 0 { vec![span] } else { vec![span, report] }
}

struct Bench {
    kept: Kept,
    roller: Roller,
    position: u64,
}

impl Bench {
    fn new() -> Bench {
        let kept = Kept::new();
        let roller = Roller::new(engine(&kept));
        Bench { kept, roller, position: 0 }
    }

    /// Stores facts as the collector does: with rows that say which hours changed.
    fn add(&mut self, facts: &[Fact]) {
        self.position += 1;
        let storage = &self.kept.storage;
        let mut batches: Vec<_> =
            facts::batch("default", "s", facts).unwrap().map(|rows| (Table::Invocations, rows)).into_iter().collect();
        let units = facts.iter().flat_map(|fact| {
            let minute = fact.time_ns.div_euclid(MINUTE_NS);
            [minute - 16, minute, minute + HOUR].map(|m| {
                let function: Arc<str> = fact.function.as_deref().unwrap().into();
                ("default".into(), m.div_euclid(HOUR) * HOUR, function)
            })
        });
        let news = storage.changes().note(units.collect::<BTreeSet<Unit>>(), 0);
        let rows: Vec<_> = news.iter().map(|(_, hour, f)| changed(f, *hour, self.position as i64)).collect();
        batches.extend(batch("default", &rows).unwrap().map(|rows| (Table::FunctionMinutes, rows)));
        storage.publish(batches, Position(self.position));
    }

    /// Rolls up all there is.
    async fn roll(&self) {
        while self.roller.roll((DAY0 + 30 * DAY) * MINUTE_NS).await {}
        assert!(self.changed().hours.is_empty() && self.changed().days.is_empty());
    }

    /// Forgets what is in memory only, as a restart does, and finds out again what changed.
    async fn restart(&self) {
        self.kept.storage.flush().unwrap();
        // What came since it was taken needs to be done twice.
        for _ in 0..2 {
            let Changed { hours, days, .. } = self.changed();
            self.kept.storage.changes().done_hours(&units(hours.keys()));
            self.kept.storage.changes().done_days(&units(&days));
        }
        assert!(self.changed().hours.is_empty() && self.changed().days.is_empty());
        self.roller.recover().await.unwrap();
    }

    fn changed(&self) -> Changed {
        self.kept.storage.changes().changed("default")
    }

    /// Compares what the roll-ups say of a range with a count of all its invocations.
    async fn check(&self, function: Option<&str>, from: i64, to: i64) {
        let session = self.roller.session("default");
        let range = TimeRange { start: Some(from * MINUTE_NS), end: Some(to * MINUTE_NS) };
        let detail = if function.is_some() { Detail::Minutes } else { Detail::Whole };
        let earlier = TimeRange { start: Some((from - 777) * MINUTE_NS), end: range.start };
        let [read, before] = rollups::read(&session, function, [range, earlier], detail).await.unwrap();
        let [alone] = rollups::read(&session, function, [earlier], detail).await.unwrap();
        let sums =
            |read: &Rollups| read.functions().into_iter().map(|f| (f.to_owned(), of(read, f))).collect::<Vec<_>>();
        assert_eq!(sums(&before), sums(&alone), "{from} to {to}");
        assert_eq!(read.reason, None);
        let which = Which { functions: function.map(str::to_owned).into_iter().collect(), range };
        let known = known(&session, &which).await.unwrap();
        let mut by_function: BTreeMap<String, (Rollup, Vec<u64>)> = BTreeMap::new();
        for (key, rollup) in roll_up(known.within(range)) {
            by_function.entry(key.function).or_default().0.merge(&rollup);
        }
        for invocation in known.within(range) {
            let (_, took) = by_function.get_mut(invocation.function.as_deref().unwrap()).unwrap();
            took.extend(invocation.duration_ns.map(|ns| ns as u64));
        }
        let functions: Vec<&str> = read.functions().into_iter().collect();
        assert_eq!(functions, by_function.keys().collect::<Vec<_>>(), "{from} to {to}");
        for (function, (counted, mut took)) in by_function {
            let sum = of(&read, &function);
            assert_eq!(sum, counted, "{function}, {from} to {to}");
            took.sort_unstable();
            for q in [0.0, 0.5, 0.95, 0.99, 1.0] {
                let exact = took[(q * (took.len() - 1) as f64) as usize] as f64;
                let told = sum.duration.quantile(q).unwrap();
                assert!((told - exact).abs() <= RELATIVE_ERROR * exact, "{function} q={q}: {told} of {exact}");
            }
        }
    }

    async fn check_ranges(&self) {
        for (from, to) in [
            (DAY0, DAY0 + 3 * DAY),
            (DAY0 - 5, DAY0 + 3 * DAY + 17),
            (DAY0 + 333, DAY0 + 2 * DAY + 777),
            (DAY0 + 61, DAY0 + 65),
            (DAY0 + 50, DAY0 + 130),
        ] {
            self.check(None, from, to).await;
            self.check(Some("f1"), from, to).await;
        }
    }
}

fn units<'a>(of: impl IntoIterator<Item = &'a (i64, Arc<str>)>) -> Vec<Unit> {
    of.into_iter().map(|(minute, function)| ("default".into(), *minute, Arc::clone(function))).collect()
}

fn of(read: &Rollups, function: &str) -> Rollup {
    let mut sum = Rollup::default();
    read.of(function).iter().for_each(|(_, rollup)| sum.merge(rollup));
    sum
}

#[tokio::test]
async fn roll_ups_are_equal_to_a_full_count_also_after_late_data() {
    equal_to_a_full_count(FACTS_AT_ONCE).await;
}

#[tokio::test]
async fn hours_that_are_too_much_for_one_go_are_counted_in_parts() {
    equal_to_a_full_count(40).await;
}

async fn equal_to_a_full_count(facts_at_once: usize) {
    let mut bench = Bench::new();
    bench.roller.facts_at_once = facts_at_once;
    let mut random = Random(5);
    for part in 0..6 {
        let facts: Vec<Fact> =
            (0..200).flat_map(|n| invocation(&mut random, part * 1_000 + n, DAY0, 3 * DAY as u64)).collect();
        bench.add(&facts);
    }
    bench.roller.recover().await.unwrap();
    bench.check(None, DAY0, DAY0 + 3 * DAY).await;
    bench.roll().await;
    bench.check_ranges().await;
    bench.kept.storage.flush().unwrap();
    bench.check_ranges().await;
    // Late: whole invocations, and reports of which the span was counted.
    let late: Vec<Fact> = (0..60).flat_map(|n| invocation(&mut random, 90_000 + n, DAY0 + 200, 90)).collect();
    let (spans, reports): (Vec<Fact>, Vec<Fact>) = late.into_iter().partition(|fact| fact.source == Source::Span);
    bench.add(&spans);
    bench.check_ranges().await;
    bench.roll().await;
    bench.add(&reports);
    bench.check_ranges().await;
    bench.roll().await;
    bench.check_ranges().await;
}

/// Facts of an environment: mostly its beginning, and some invocations in the four days after.
fn environment(random: &mut Random, number: u64) -> Vec<Fact> {
    let began = (DAY0 * 60 + random.below(4 * 3_600) as i64) * SECOND;
    let instance = Some(format!("e{number}"));
    let mut init = Fact::new(Source::InitReport, began);
    (init.function, init.instance, init.init_ns) = (Some("f1".into()), instance, Some(SECOND));
    init.init_type = Some(if random.below(2) == 0 { InitType::OnDemand } else { InitType::Provisioned });
    let mut at = began;
    let mut facts: Vec<Fact> = (0..=random.below(4))
        .map(|n| {
            // Seconds, hours or days later.
            let most = [20, 12 * 3_600, 40 * 3_600][random.below(3) as usize];
            at += (1 + random.below(most) as i64) * SECOND;
            let mut span = Fact { source: Source::Span, time_ns: at, ..init.clone() };
            (span.init_type, span.init_ns) = (None, None);
            (span.start_ns, span.end_ns, span.duration_ns) = (Some(at), Some(at + SECOND), Some(SECOND));
            span.invocation_id = Some(format!("id-{number}-{n}"));
            span
        })
        .collect();
    if random.below(5) > 0 {
        facts.push(init);
    }
    facts
}

#[tokio::test]
async fn start_types_are_the_same_however_many_hours_are_looked_at() {
    let mut bench = Bench::new();
    let mut random = Random(17);
    let mut facts: Vec<Fact> = (0..80).flat_map(|n| environment(&mut random, n)).collect();
    // One that ran into the day before, and began before it.
    for (n, (at, took)) in [(-1, 2), (24 * 3_600, 1), (-800, 900), (24 * 3_600 + 5, 1)].into_iter().enumerate() {
        let start = (DAY0 * 60 + 20 * 3_600 + at) * SECOND;
        let mut record = Fact::new(Source::Start, start);
        (record.function, record.instance) = (Some("f1".into()), Some(format!("daily{}", n / 2)));
        record.invocation_id = Some(format!("daily-{n}"));
        let took = took * SECOND;
        let end = Fact { source: Source::Report, time_ns: start + took, duration_ns: Some(took), ..record.clone() };
        facts.extend([record, end]);
    }
    bench.add(&facts);
    bench.roller.recover().await.unwrap();
    bench.roll().await;
    let session = bench.roller.session("default");
    let (from, to) = (DAY0, DAY0 + 9 * DAY);
    let minutes = |from: i64, to: i64| TimeRange { start: Some(from * MINUTE_NS), end: Some(to * MINUTE_NS) };
    let mut counts: Vec<BTreeMap<StartType, u64>> = Vec::new();
    let [rolled_up] = rollups::read(&session, None, [minutes(from, to)], Detail::Whole).await.unwrap();
    let rolled_up: Vec<(StartType, u64)> =
        rolled_up.of("f1").iter().map(|(key, rollup)| (key.start_type, rollup.count)).collect();
    let told = async |range: TimeRange| -> Vec<(StartType, u64)> {
        let known = known(&session, &Which { functions: Vec::new(), range }).await.unwrap();
        known.within(range).map(|invocation| (invocation.start_type, 1)).collect()
    };
    let whole = told(minutes(from, to)).await;
    let mut by_hour = Vec::new();
    for hour in (from..to).step_by(HOUR as usize) {
        by_hour.extend(told(minutes(hour, hour + HOUR)).await);
    }
    for found in [rolled_up, whole, by_hour] {
        let mut count = BTreeMap::new();
        found.into_iter().for_each(|(start_type, more)| *count.entry(start_type).or_default() += more);
        counts.push(count);
    }
    assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
    assert!(counts[0].len() == 4 && counts[0].values().all(|count| *count >= 5), "{counts:?}");
}

#[tokio::test]
async fn what_changed_is_found_out_again_after_a_restart() {
    let mut bench = Bench::new();
    let mut random = Random(9);
    let mut add = |bench: &mut Bench, from: u64| {
        let facts: Vec<Fact> = (0..100).flat_map(|n| invocation(&mut random, from + n, DAY0, DAY as u64)).collect();
        bench.add(&facts);
    };
    add(&mut bench, 0);
    bench.roller.recover().await.unwrap();
    bench.roll().await;
    add(&mut bench, 1_000);
    let before = bench.changed();
    assert!(!before.hours.is_empty());
    bench.restart().await;
    assert!(bench.changed().hours.keys().eq(before.hours.keys()));
    assert_eq!(bench.changed().days, before.days);
    bench.check(None, DAY0, DAY0 + DAY).await;
    bench.roll().await;
    bench.check(None, DAY0, DAY0 + DAY).await;
}

/// Some invocations of one function that all began in one hour.
fn of_one(number: u64) -> Vec<Fact> {
    let random = &mut Random(number);
    let facts = (0..3).flat_map(|n| invocation(random, number * 10 + n, DAY0 + 610, 20));
    facts.map(|fact| Fact { function: Some("f1".to_owned()), ..fact }).collect()
}

#[tokio::test]
async fn what_comes_after_its_hour_was_counted_is_found_out_again_after_a_restart() {
    let all = DAY0..DAY0 + DAY;
    // What comes after the count: before it is done, or after.
    for is_before_done in [true, false] {
        let mut bench = Bench::new();
        bench.roller.recover().await.unwrap();
        bench.add(&of_one(1));
        let changes = bench.kept.storage.changes();
        let taken = changes.take_hours(all.clone(), 0, 9);
        assert_eq!(taken.len(), 3);
        bench.add(&of_one(2));
        for units in by_place(&taken) {
            assert!(matches!(bench.roller.hours(&units).await.unwrap(), Counted::All));
        }
        if is_before_done {
            bench.add(&of_one(3));
        }
        bench.kept.storage.changes().done_hours(&taken);
        if !is_before_done {
            bench.add(&of_one(3));
        }
        bench.restart().await;
        assert_eq!(bench.changed().hours.len(), 3, "{is_before_done}");
        bench.check(None, all.start, all.end).await;
        bench.roll().await;
        bench.check(None, all.start, all.end).await;
    }
}

#[tokio::test]
async fn a_day_is_not_added_up_while_an_hour_of_it_changes() {
    let mut bench = Bench::new();
    bench.roller.recover().await.unwrap();
    bench.add(&of_one(1));
    let (all, changes) = (DAY0..DAY0 + DAY, bench.kept.storage.changes());
    let hours = changes.take_hours(all.clone(), 0, 9);
    for units in by_place(&hours) {
        assert!(matches!(bench.roller.hours(&units).await.unwrap(), Counted::All));
    }
    changes.done_hours(&hours);
    let days = changes.take_days(all.clone(), 0, 9);
    assert_eq!(days.len(), 1);
    bench.add(&of_one(2));
    bench.roller.day(&days).await.unwrap();
    let rows = newest_rows(&bench.roller.session("default"), Resolution::Day, None, DAY0, DAY0 + DAY).await.unwrap();
    assert!(rows.is_empty(), "{rows:?}");
    bench.kept.storage.changes().done_days(&days);
    bench.check(None, all.start, all.end).await;
    bench.restart().await;
    assert_eq!((bench.changed().hours.len(), bench.changed().days.len()), (3, 1));
    bench.check(None, all.start, all.end).await;
    bench.roll().await;
    bench.check(None, all.start, all.end).await;
}

#[tokio::test]
async fn what_is_far_ahead_is_counted_and_not_waited_for() {
    let mut bench = Bench::new();
    bench.roller.recover().await.unwrap();
    bench.add(&of_one(1));
    let now = (DAY0 - 2 * DAY) * MINUTE_NS;
    let check = async |bench: &Bench| bench.check(None, DAY0 - DAY, DAY0 + 3 * DAY).await;
    check(&bench).await;
    // As long as something comes now and then, it is not over.
    let touched: Vec<Unit> = units(bench.changed().hours.keys());
    bench.kept.storage.changes().note(touched, now - QUIET_AHEAD_NS / 2);
    assert!(!bench.roller.roll(now).await);
    while bench.roller.roll(now + QUIET_AHEAD_NS).await {}
    assert!(bench.changed().hours.is_empty() && bench.changed().days.is_empty());
    check(&bench).await;
    // When its time comes, the rest of the hour is counted with it.
    bench.add(&of_one(2));
    check(&bench).await;
    bench.roll().await;
    check(&bench).await;
}

#[tokio::test]
async fn an_hour_of_the_day_that_comes_is_waited_for() {
    let mut bench = Bench::new();
    bench.roller.recover().await.unwrap();
    bench.add(&of_one(1));
    assert!(!bench.roller.roll((DAY0 - DAY / 2) * MINUTE_NS).await);
    assert_eq!(bench.changed().hours.len(), 3);
    bench.check(None, DAY0, DAY0 + DAY).await;
}

#[tokio::test]
async fn what_is_not_rolled_up_is_counted_once_until_more_comes() {
    let mut bench = Bench::new();
    bench.roller.recover().await.unwrap();
    let mut random = Random(11);
    let mut add = |bench: &mut Bench, from: u64| {
        let facts: Vec<Fact> = (0..60).flat_map(|n| invocation(&mut random, from + n, DAY0, 120)).collect();
        bench.add(&facts);
    };
    add(&mut bench, 0);
    let remembered = |bench: &Bench| bench.roller.engine.live_counts().remembered("default");
    // An hour that is not asked for as a whole is not remembered.
    let session = bench.roller.session("default");
    let range = TimeRange { start: Some((DAY0 + 5) * MINUTE_NS), end: Some((DAY0 + 60) * MINUTE_NS) };
    let [_] = rollups::read(&session, None, [range], Detail::Whole).await.unwrap();
    assert_eq!(remembered(&bench), (0, 0));
    for _ in 0..2 {
        bench.check(None, DAY0, DAY0 + 180).await;
        assert_eq!(remembered(&bench).0, bench.changed().hours.len());
        bench.check(Some("f2"), DAY0 + 7, DAY0 + 90).await;
    }
    // Few functions changed: only theirs is read again.
    let one = Fact { function: Some("f3".into()), ..invocation(&mut Random(3), 5_000, DAY0, 60).remove(0) };
    bench.add(&[one]);
    bench.check(None, DAY0, DAY0 + 180).await;
    add(&mut bench, 1_000);
    bench.check(None, DAY0, DAY0 + 180).await;
    let (hours, rollups) = remembered(&bench);
    assert!(hours == bench.changed().hours.len() && rollups > 60);
    bench.roll().await;
    bench.check(None, DAY0, DAY0 + 180).await;
    assert_eq!(remembered(&bench), (0, 0), "what is rolled up needs not be remembered");
}

#[tokio::test]
async fn kept_days_and_hours_are_those_of_now() {
    let mut bench = Bench::new();
    bench.roller.recover().await.unwrap();
    let mut random = Random(13);
    for part in 0..4 {
        let facts: Vec<Fact> =
            (0..80).flat_map(|n| invocation(&mut random, part * 1_000 + n, DAY0, 3 * DAY as u64)).collect();
        bench.add(&facts);
        // Changed, rolled up in part, and as a whole; each asked for twice.
        for _ in 0..3 {
            for _ in 0..2 {
                bench.check(None, DAY0 - 30, DAY0 + 3 * DAY + 45).await;
            }
            bench.roller.roll((DAY0 + DAY + 90 + 300 * part as i64) * MINUTE_NS).await;
        }
        if part % 2 == 1 {
            bench.roll().await;
            bench.check(None, DAY0 - 30, DAY0 + 3 * DAY + 45).await;
        }
    }
    assert!(bench.roller.engine.kept_pieces().count() > 3);
}
