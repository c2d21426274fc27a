#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::single_range_in_vec_init)]

use std::collections::BTreeSet;

use super::*;
use crate::config::Config;
use crate::record::Position;
use crate::testing::{Bench, NOW, ids, rows};

const HOUR: i64 = 3_600_000_000_000;
const IDS: std::ops::Range<u64> = 0..20_000;

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

/// What a scan of `function_minutes` finds, as the ids of the rows.
fn scan(storage: &Storage, tenant: &str, words: &[(&'static str, &str)], times: Range<i64>) -> Vec<u64> {
    let what = Scan { table: Table::FunctionMinutes, tenant, words, times, columns: &["function", "duration"] };
    let found = block_on(storage.scan(&storage.snapshot(), &what)).unwrap();
    let mut found: Vec<u64> = found
        .iter()
        .flat_map(|batch| {
            assert_eq!(batch.schema().fields().len(), 2);
            ids(batch)
        })
        .collect();
    found.sort_unstable();
    found
}

/// The same by looking at each row.
fn expected(tenant: &str, words: &[(&'static str, &str)], times: &Range<i64>) -> Vec<u64> {
    let all: Vec<u64> = IDS.collect();
    let batch = rows(Table::FunctionMinutes, &all);
    let of_time = batch.column_by_name("time").unwrap().as_primitive::<TimestampNanosecondType>().values().clone();
    let text = |name: &str, row: usize| -> String {
        let words = batch.column_by_name(name).unwrap().as_dictionary::<Int32Type>();
        words.values().as_string::<i32>().value(words.key(row).unwrap()).to_owned()
    };
    let words: Vec<_> = [("tenant", tenant)].iter().chain(words).copied().collect();
    let is_wanted =
        |row: &usize| times.contains(&of_time[*row]) && words.iter().all(|(name, word)| text(name, *row) == *word);
    (0..all.len()).filter(is_wanted).map(|row| all[row]).collect()
}

fn check(storage: &Storage, is: &str) {
    type Case = (&'static str, &'static [(&'static str, &'static str)], Range<i64>);
    let cases: [Case; 8] = [
        ("tenant-0", &[], NOW..NOW + 9 * HOUR),
        ("tenant-1", &[("resolution", "day")], NOW + HOUR..NOW + 2 * HOUR),
        ("tenant-0", &[("resolution", "minute"), ("function", "function-7")], NOW..NOW + 9 * HOUR),
        ("tenant-1", &[("resolution", "hour"), ("function", "function-10")], NOW + 7..NOW + HOUR + 7),
        ("tenant-0", &[("resolution", "hou")], NOW..NOW + 9 * HOUR),
        ("tenant", &[], NOW..NOW + 9 * HOUR),
        ("tenant-0", &[], NOW - HOUR..NOW),
        ("tenant-0", &[], NOW..NOW),
    ];
    let mut sizes = BTreeSet::new();
    for (tenant, words, times) in cases {
        let expected = expected(tenant, words, &times);
        sizes.insert(expected.len());
        assert_eq!(scan(storage, tenant, words, times.clone()), expected, "{is}: {tenant} {words:?} {times:?}");
    }
    assert!(sizes.len() >= 5, "the cases are not alike: {sizes:?}");
}

#[test]
fn rows_are_those_that_a_look_at_each_finds_in_memory_and_in_files() {
    let bench = Bench::new(Config { row_group_rows: 5_000, ..Config::default() });
    let storage = bench.open();
    let all: Vec<u64> = IDS.collect();
    for (position, part) in (1..).zip(all.chunks(4_000)) {
        if position > 1 {
            check_part(&storage, &all[..(position as usize - 1) * 4_000]);
            storage.flush().unwrap();
        }
        storage.publish(vec![(Table::FunctionMinutes, rows(Table::FunctionMinutes, part))], Position(position));
    }
    check(&storage, "in memory and in files");
    storage.flush().unwrap();
    check(&storage, "in files");
    storage.compact(&|_| {}).unwrap();
    assert_eq!(storage.snapshot().files(Table::FunctionMinutes).len(), 1);
    check(&storage, "merged");
    check(&storage, "from kept pages");
}

fn check_part(storage: &Storage, part: &[u64]) {
    let of_tenant: Vec<u64> = part.iter().copied().filter(|id| id % 2 == 0).collect();
    assert_eq!(scan(storage, "tenant-0", &[], i64::MIN..i64::MAX), of_tenant);
}

#[test]
fn pages_that_cannot_have_rows_are_not_read() {
    let bench = Bench::new(Config { row_group_rows: 20_000, ..Config::default() });
    let storage = bench.open();
    let all: Vec<u64> = IDS.collect();
    storage.publish(vec![(Table::FunctionMinutes, rows(Table::FunctionMinutes, &all))], Position(1));
    storage.flush().unwrap();
    let snapshot = storage.snapshot();
    let [file] = snapshot.files(Table::FunctionMinutes) else { panic!("one file") };
    let arrow = block_on(storage.inner().metadata.arrow(file)).unwrap();
    let rows_of = |words: &[(&'static str, &str)], times: Range<i64>| -> usize {
        let what = Scan { table: Table::FunctionMinutes, tenant: "tenant-0", words, times, columns: &["duration"] };
        let wanted = Wanted::new(&what).unwrap();
        (0..arrow.metadata().num_row_groups()).flat_map(|group| wanted.rows_in(&arrow, group)).map(|r| r.len()).sum()
    };
    // Half of the rows are the tenant's, a third of these of a resolution, and about a fifth of these of an hour: but for
    // the pages at the ends.
    assert_eq!(rows_of(&[], NOW - 9 * HOUR..NOW - 8 * HOUR), 0);
    assert!(rows_of(&[], NOW..NOW + 9 * HOUR) <= 10_000 + 2 * 1_024);
    let of_hour =
        rows_of(&[("resolution", "hour")], NOW.div_euclid(HOUR) * HOUR + HOUR..NOW.div_euclid(HOUR) * HOUR + 2 * HOUR);
    assert!((1..=5 * 1_024).contains(&of_hour), "{of_hour}");
}

#[test]
fn ranges_in_both() {
    type Ranges = &'static [Range<usize>];
    let cases: [(Ranges, Ranges, Ranges); 4] = [
        (&[0..10], &[2..4, 6..12], &[2..4, 6..10]),
        (&[0..3, 5..9], &[3..5], &[]),
        (&[0..3, 5..9], &[1..6, 6..7], &[1..3, 5..6, 6..7]),
        (&[], &[0..9], &[]),
    ];
    for (a, b, expected) in cases {
        assert_eq!(both(a, Some(b.to_vec())), expected);
        assert_eq!(both(b, Some(a.to_vec())), expected);
    }
    assert_eq!(both(&[0..9, 20..30], None), [0..9, 20..30]);
}
