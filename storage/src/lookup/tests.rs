#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use arrow::array::StringArray;
use arrow::compute::take;
use arrow::datatypes::Int64Type;
use hopline_model::{Table, schema};

use super::*;
use crate::config::Config;
use crate::record::Position;
use crate::testing::{Bench, NOW, ids, ingest, rows, trace_of};

/// An id as `trace_id` has it.
type RowId = [u8; 16];

const EVER: RangeInclusive<i64> = i64::MIN..=i64::MAX;

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

const COLUMNS: [&str; 7] =
    ["span_id", "trace_id", "service", "kind", "attributes_string", "attributes_double", "http_route"];

fn spans(ids: &[RowId]) -> Lookup<'_, RowId> {
    Lookup { table: Table::Spans, tenant: "tenant-0", ids, times: EVER, columns: &COLUMNS }
}

/// Row ids of the spans of the traces of these ids, as the tenant of even ones sees them.
fn look(storage: &Storage, of: &[u64]) -> Vec<u64> {
    let traces: Vec<RowId> = of.iter().map(|id| trace_of(*id).try_into().unwrap()).collect();
    let found = block_on(storage.lookup(&storage.snapshot(), &spans(&traces))).unwrap();
    let whole = rows(Table::Spans, &found.iter().flat_map(ids).collect::<Vec<_>>());
    let mut at = 0;
    for batch in &found {
        for (name, column) in COLUMNS.iter().zip(batch.columns()) {
            assert_eq!(
                batch.schema().field_with_name(name).unwrap(),
                schema::of(Table::Spans).field_with_name(name).unwrap()
            );
            let expected = whole.column_by_name(name).unwrap().slice(at, batch.num_rows());
            let plain = |array: &ArrayRef| match array.as_dictionary_opt::<Int32Type>() {
                Some(words) => take(words.values(), words.keys(), None).unwrap(),
                None => Arc::clone(array),
            };
            // A map without entries and none at all are the same.
            if *name != "attributes_double" {
                assert_eq!(plain(column).as_ref(), plain(&expected).as_ref(), "{name}");
            }
        }
        at += batch.num_rows();
    }
    let mut found: Vec<u64> = found.iter().flat_map(ids).collect();
    found.sort_unstable();
    found
}

fn bench() -> Bench {
    Bench::new(Config { row_group_rows: 1_024, ..Config::default() })
}

#[test]
fn rows_are_found_in_memory_in_files_and_in_both() {
    let bench = bench();
    let storage = bench.open();
    let all: Vec<u64> = (0..5_000).collect();
    for part in all.chunks(1_000) {
        ingest(&storage, part).unwrap();
    }
    // Ids of one trace are four; half of them are another tenant's.
    let few = [0, 777, 4_999];
    let expected = [0, 2, 776, 778, 4_996, 4_998];
    assert_eq!(look(&storage, &few), expected, "in memory");
    storage.flush().unwrap();
    assert!(storage.snapshot().files(Table::Spans).iter().any(|f| f.rows > 1_024), "several row groups");
    for _ in 0..2 {
        // The second time from what is remembered.
        assert_eq!(look(&storage, &few), expected, "in files");
    }
    // More of a trace comes later.
    ingest(&storage, &[1_000_000]).unwrap();
    assert_eq!(look(&storage, &[1_000_000]), [1_000_000]);
    assert_eq!(look(&storage, &[0, 1_000_000]), [0, 2, 1_000_000]);
    assert_eq!(look(&storage, &all), all.iter().copied().filter(|id| id % 2 == 0).collect::<Vec<_>>());
    assert_eq!(look(&storage, &[9_000_000]), [0_u64; 0]);
    assert_eq!(look(&storage, &[]), [0_u64; 0]);
}

#[test]
fn what_is_remembered_of_a_row_group_is_right() {
    let bench = bench();
    let storage = bench.open();
    ingest(&storage, &(0..3_000).collect::<Vec<_>>()).unwrap();
    storage.flush().unwrap();
    let snapshot = storage.snapshot();
    let file = &snapshot.files(Table::Spans)[0];
    let facts = block_on(storage.inner().row_groups.get(file, 0)).unwrap();
    let constant: BTreeSet<&str> = COLUMNS.into_iter().filter(|name| facts.constant(name).is_some()).collect();
    // Of seven services the first row group has at least two; nobody sends these attributes.
    assert_eq!(constant, BTreeSet::from(["attributes_double", "http_route", "kind"]));
    let words = facts.constant("kind").unwrap().as_dictionary::<Int32Type>();
    assert_eq!(
        words.downcast_dict::<arrow::array::StringArray>().unwrap().into_iter().collect::<Vec<_>>(),
        [Some("server")]
    );
    // Another id with the same end is not taken for it.
    let mut other: RowId = trace_of(0).try_into().unwrap();
    other[0] ^= 1;
    let found = block_on(storage.lookup(&snapshot, &spans(&[other]))).unwrap();
    assert_eq!(found.len(), 0);
}

#[test]
fn a_file_that_is_gone_is_forgotten() {
    let bench = bench();
    let storage = bench.open();
    ingest(&storage, &(0..100).collect::<Vec<_>>()).unwrap();
    storage.flush().unwrap();
    let file = storage.snapshot().files(Table::Spans)[0].clone();
    let first = block_on(storage.inner().row_groups.get(&file, 0)).unwrap();
    assert!(Arc::ptr_eq(&first, &block_on(storage.inner().row_groups.get(&file, 0)).unwrap()));
    storage.inner().row_groups.forget(&file);
    assert!(!Arc::ptr_eq(&first, &block_on(storage.inner().row_groups.get(&file, 0)).unwrap()));
    assert!(block_on(storage.inner().row_groups.get(&file, 9)).is_err());
}

#[test]
fn rows_of_several_pages_are_found_whether_pages_are_kept_or_not() {
    for page_cache_bytes in [0, 100_000, 64 << 20] {
        let bench = Bench::new(Config { page_cache_bytes, ..Config::default() });
        let storage = bench.open();
        let all: Vec<u64> = (0..30_000).collect();
        ingest(&storage, &all).unwrap();
        storage.flush().unwrap();
        assert_eq!(storage.snapshot().files(Table::Spans).iter().map(|f| f.rows).collect::<Vec<_>>(), [30_000]);
        for of in [vec![12_345], vec![1, 29_998], (0..30_000).step_by(1_000).collect(), vec![1, 12_345], all.clone()] {
            let mut expected: Vec<u64> = of.iter().flat_map(|id| [id / 4 * 4, id / 4 * 4 + 2]).collect();
            expected.sort_unstable();
            expected.dedup();
            assert_eq!(look(&storage, &of), expected, "{page_cache_bytes} bytes");
        }
    }
}

/// The request id of the row `id`: four rows have one, two of each tenant. Some are the beginning of others, some end like
/// others, some rows have none.
fn request(id: u64) -> Option<String> {
    match id / 4 {
        0 => None,
        1 => Some(String::new()),
        call if call % 5 == 0 => Some(format!("{call:08}-0123-4567-89ab")),
        call => Some(format!("req-{call}")),
    }
}

/// Rows of `invocations`, whose durations are their ids.
fn invocations(ids: &[u64]) -> RecordBatch {
    let batch = rows(Table::Invocations, ids);
    let at = batch.schema().index_of("invocation_id").unwrap();
    let mut columns = batch.columns().to_vec();
    columns[at] = Arc::new(ids.iter().map(|id| request(*id)).collect::<StringArray>());
    RecordBatch::try_new(batch.schema(), columns).unwrap()
}

fn invocations_with(storage: &Storage, tenant: &str, ids: &[&str], times: RangeInclusive<i64>) -> Vec<u64> {
    let columns = ["duration", "function", "invocation_id", "error_message"];
    let what = Lookup { table: Table::Invocations, tenant, ids, times, columns: &columns };
    let batches = block_on(storage.lookup(&storage.snapshot(), &what)).unwrap();
    let mut found = Vec::new();
    for batch in &batches {
        assert_eq!(batch.schema().fields().iter().map(|field| field.name()).collect::<Vec<_>>(), columns);
        let texts = batch.column(2).as_string::<i32>();
        for (row, id) in batch.column(0).as_primitive::<Int64Type>().values().iter().enumerate() {
            let id = u64::try_from(*id).unwrap();
            assert_eq!(Some(texts.value(row).to_owned()), request(id), "{id}");
            found.push(id);
        }
    }
    found.sort_unstable();
    found
}

#[track_caller]
fn check_invocations(storage: &Storage, state: &str) {
    for (tenant, ids, expected) in [
        ("tenant-0", &["req-3"][..], &[12, 14][..]),
        ("tenant-1", &["req-3"], &[13, 15]),
        ("tenant-2", &["req-3"], &[]),
        // Beginnings of others, and what ends like others.
        ("tenant-0", &["req-1"], &[]),
        ("tenant-0", &["req-11"], &[44, 46]),
        ("tenant-0", &["req-111"], &[444, 446]),
        ("tenant-1", &["req-11", "req-111", "req-1", "req-"], &[45, 47, 445, 447]),
        ("tenant-0", &["00000100-0123-4567-89ab"], &[400, 402]),
        ("tenant-0", &["00000005-0123-4567-89ab", "00000995-0123-4567-89ab"], &[20, 22, 3_980, 3_982]),
        ("tenant-0", &["00000101-0123-4567-89ab", "0123-4567-89ab", "req-4000", "é"], &[]),
        // No id is not the empty one.
        ("tenant-0", &[""], &[4, 6]),
        ("tenant-0", &["req-3", "req-3", "", "nothing", "req-999"], &[4, 6, 12, 14, 3_996, 3_998]),
        ("tenant-0", &[], &[]),
    ] {
        assert_eq!(invocations_with(storage, tenant, ids, EVER), expected, "{ids:?} of {tenant}, {state}");
    }
}

#[test]
fn rows_are_found_by_text() {
    let bench = bench();
    let storage = bench.open();
    let all: Vec<u64> = (0..4_000).collect();
    let of = |part: u64| all.iter().copied().filter(|id| id % 8 / 2 == part).collect::<Vec<_>>();
    for part in 0..4 {
        storage.publish(vec![(Table::Invocations, invocations(&of(part)))], Position(part + 1));
        if part == 1 {
            storage.flush().unwrap();
        }
    }
    check_invocations(&storage, "half in a file, half in memory");
    storage.flush().unwrap();
    for _ in 0..2 {
        check_invocations(&storage, "in files");
    }
    storage.compact(&|_| {}).unwrap();
    let snapshot = storage.snapshot();
    assert!(snapshot.files(Table::Invocations).iter().any(|file| file.rows > 1_024), "several row groups");
    check_invocations(&storage, "compacted");
    drop(storage);
    check_invocations(&bench.open(), "opened again");
}

#[test]
fn rows_in_memory_are_found_by_text() {
    let storage = bench().open();
    storage.publish(vec![(Table::Invocations, invocations(&(0..4_000).collect::<Vec<_>>()))], Position(1));
    check_invocations(&storage, "in memory");
}

#[test]
fn files_of_other_times_are_left_out() {
    let bench = bench();
    let storage = bench.open();
    storage.publish(vec![(Table::Invocations, invocations(&(0..400).collect::<Vec<_>>()))], Position(1));
    storage.flush().unwrap();
    let (first, last) = {
        let snapshot = storage.snapshot();
        let [file] = snapshot.files(Table::Invocations) else { panic!("one file") };
        (file.min_time, file.max_time)
    };
    assert!(NOW <= first && first < last);
    let found = |times| invocations_with(&storage, "tenant-0", &["req-3"], times);
    for times in [EVER, first..=last, i64::MIN..=first, last..=i64::MAX, last - 1..=last, first..=first] {
        assert_eq!(found(times.clone()), [12, 14], "{times:?}");
    }
    for times in [i64::MIN..=first - 1, last + 1..=i64::MAX, i64::MIN..=i64::MIN, i64::MAX..=i64::MAX] {
        assert_eq!(found(times.clone()), [0_u64; 0], "{times:?}");
    }
    // What is in memory is looked at anyway.
    storage.publish(vec![(Table::Invocations, invocations(&[13, 12]))], Position(2));
    assert_eq!(invocations_with(&storage, "tenant-0", &["req-3"], last + 1..=i64::MAX), [12]);
}

#[test]
fn what_cannot_be_looked_up_is_refused() {
    let storage = bench().open();
    for (table, column) in [(Table::Metrics, "name"), (Table::Spans, "no_such_column")] {
        let what = Lookup { table, tenant: "tenant-0", ids: &["a"], times: EVER, columns: &[column] };
        assert!(block_on(storage.lookup(&storage.snapshot(), &what)).is_err(), "{table}");
    }
}

#[test]
fn marks_of_ids_that_differ_in_their_end_differ() {
    let ids = (0..100_000_u32).flat_map(|n| [format!("{n:08x}"), format!("8476a536-e9f4-11e8-9739-2dfe{n:08x}")]);
    let marks: BTreeSet<u32> = (0..100_000_u32).map(|n| mark(format!("{n:08x}").as_bytes())).collect();
    // By chance, one pair in 2^32 is the same.
    assert!(marks.len() > 99_980, "{}", marks.len());
    for id in ids.step_by(997) {
        let wanted = Ids::new(&[&id]);
        assert!(wanted.holds(id.as_bytes()));
        assert!(!wanted.holds(&id.as_bytes()[1..]) && !wanted.holds(format!("0{id}").as_bytes()) && !wanted.holds(b""));
    }
}
