#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeSet;

use hopline_model::{Table, schema};

use super::*;
use crate::config::Config;
use crate::testing::{Bench, ids, ingest, rows, trace_of};

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

const COLUMNS: [&str; 7] =
    ["span_id", "trace_id", "service", "kind", "attributes_string", "attributes_double", "http_route"];

/// Row ids of the spans of the traces of these ids, as the tenant of even ones sees them.
fn look(storage: &Storage, of: &[u64]) -> Vec<u64> {
    let traces: Vec<RowId> = of.iter().map(|id| trace_of(*id).try_into().unwrap()).collect();
    let found = block_on(storage.lookup(&storage.snapshot(), Table::Spans, "tenant-0", &traces, &COLUMNS)).unwrap();
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
    let found = block_on(storage.lookup(&snapshot, Table::Spans, "tenant-0", &[other], &COLUMNS)).unwrap();
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
