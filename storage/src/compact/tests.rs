#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use hopline_model::schema;

use super::*;
use crate::sort::sorted_rows;
use crate::testing::{Bench, ids, ids_in, ids_in_file, ingest, rows};

fn bench() -> Bench {
    Bench::new(Config { row_group_rows: 1_024, ..Config::default() })
}

fn nothing(_: Step<'_>) {}

#[test]
fn merging_keeps_every_row_and_the_order() {
    for table in Table::ALL.into_iter().filter(|t| *t != Table::Logs) {
        let bench = bench();
        let storage = bench.open();
        for file in 0..5u64 {
            let batch = rows(table, &(0..1_500).map(|i| i * 5 + file).collect::<Vec<_>>());
            storage.publish(vec![(table, batch)], Position(file + 1));
            storage.flush().unwrap();
        }
        let before = ids_in(&storage, &storage.snapshot(), table);
        let done = storage.compact(&nothing).unwrap();
        assert_eq!((done.files_removed, done.files_added, done.rows_removed), (5, 1, 0));
        let snapshot = storage.snapshot();
        let [file] = snapshot.files(table) else { panic!("one file") };
        assert_eq!(ids_in(&storage, &snapshot, table), before);
        let all = rows(table, &ids_in_file(&storage, file));
        let order: Vec<_> = sorted_rows(table, &[&all]).unwrap().into_iter().map(|(_, row)| row).collect();
        assert_eq!(order, (0..7_500).collect::<Vec<_>>(), "{table}");
        assert_eq!((file.level, file.rows), (1, 7_500));
        let services = if table == Table::FunctionMinutes { 0 } else { 7 };
        assert_eq!(file.services.as_ref().unwrap().len(), services);
        assert!(storage.verify(&nothing).unwrap().is_sound());
    }
}

#[test]
fn merging_keeps_every_value() {
    let bench = bench();
    let storage = bench.open();
    let all: Vec<u64> = (0..4_000).collect();
    for (i, part) in all.chunks(1_000).enumerate() {
        storage.publish(vec![(Table::Spans, rows(Table::Spans, part))], Position(i as u64 + 1));
        storage.flush().unwrap();
    }
    storage.compact(&nothing).unwrap();
    let snapshot = storage.snapshot();
    let mut reader =
        crate::merge::FileReader::open(&storage.inner().objects, &snapshot.files(Table::Spans)[0]).unwrap();
    let mut read = 0;
    while let Some(batch) = reader.next_batch().unwrap() {
        let expected = rows(Table::Spans, &ids(&batch));
        assert_eq!(batch.schema(), schema::of(Table::Spans));
        for (name, (a, b)) in
            schema::of(Table::Spans).fields().iter().zip(batch.columns().iter().zip(expected.columns()))
        {
            assert_eq!(a, b, "{}", name.name());
        }
        read += batch.num_rows();
    }
    assert_eq!(read, 4_000);
}

#[test]
fn exact_duplicates_of_spans_go_and_others_stay() {
    let bench = bench();
    let storage = bench.open();
    for _ in 0..4 {
        ingest(&storage, &[1, 2, 3]).unwrap();
        storage.flush().unwrap();
    }
    let done = storage.compact(&nothing).unwrap();
    assert_eq!(done.rows_removed, 9);
    assert_eq!(ids_in(&storage, &storage.snapshot(), Table::Spans), [1, 2, 3]);
}

#[test]
fn spans_that_differ_in_one_value_stay() {
    let bench = bench();
    let storage = bench.open();
    let batch = rows(Table::Spans, &[5]);
    let other = {
        let at = batch.schema().index_of("flags").unwrap();
        let mut columns = batch.columns().to_vec();
        columns[at] = Arc::new(arrow::array::UInt32Array::from(vec![1]));
        arrow::array::RecordBatch::try_new(batch.schema(), columns).unwrap()
    };
    for (i, batch) in [batch.clone(), other, batch.clone(), batch].into_iter().enumerate() {
        storage.publish(vec![(Table::Spans, batch)], Position(i as u64 + 1));
        storage.flush().unwrap();
    }
    assert_eq!(storage.compact(&nothing).unwrap().rows_removed, 2);
    assert_eq!(ids_in(&storage, &storage.snapshot(), Table::Spans), [5, 5]);
}

#[test]
fn a_snapshot_keeps_its_files() {
    let bench = bench();
    let storage = bench.open();
    for i in 0..4 {
        ingest(&storage, &[i]).unwrap();
        storage.flush().unwrap();
    }
    let before = storage.snapshot();
    storage.compact(&nothing).unwrap();
    assert_eq!(ids_in(&storage, &before, Table::Spans), [0, 1, 2, 3]);
    let paths: Vec<_> = before.files(Table::Spans).iter().map(|f| bench.dir.path().join(f.path.as_ref())).collect();
    drop(before);
    storage.expire().unwrap();
    assert!(paths.iter().all(|p| !p.exists()));
    assert_eq!(ids_in(&storage, &storage.snapshot(), Table::Spans), [0, 1, 2, 3]);
}

#[test]
fn a_damaged_file_is_not_merged_and_verify_finds_it() {
    let bench = bench();
    let storage = bench.open();
    for i in 0..5 {
        ingest(&storage, &[i]).unwrap();
        storage.flush().unwrap();
    }
    let snapshot = storage.snapshot();
    let file = &snapshot.files(Table::Spans)[2];
    let path = bench.dir.path().join(file.path.as_ref());
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let done = storage.compact(&nothing).unwrap();
    assert_eq!(done.files_removed, 4);
    let report = storage.verify(&nothing).unwrap();
    let problems: Vec<_> = report.files.iter().filter(|f| f.problem.is_some()).map(|f| f.path.clone()).collect();
    assert_eq!(problems, [file.path.to_string()]);
}

#[test]
fn files_of_one_window_are_picked_small_ones_first() {
    let file = |created_at, size_bytes| {
        Arc::new(DataFile {
            table: Table::Spans,
            path: format!("{created_at}-{size_bytes}").into(),
            rows: 1,
            size_bytes,
            min_time: 0,
            max_time: 0,
            created_at,
            level: 0,
            crc32c: 0,
            schema_version: 1,
            tenants: None,
            services: None,
            operations: None,
            attribute_keys: None,
        })
    };
    let config = Config::default();
    let now = 1_000 * 24 * HOUR;
    let sizes =
        |files: &[Arc<DataFile>]| pick(files, &config, now).map(|p| p.iter().map(|f| f.size_bytes).collect::<Vec<_>>());
    // The window that is not over waits for four.
    let fresh: Vec<_> = (1..=3).map(|n| file(now + n, 1 << 20)).collect();
    assert_eq!(sizes(&fresh), None);
    // One that is over takes two.
    let old = [file(now - 3 * HOUR, 9 << 20), file(now - 3 * HOUR + 1, 8 << 20)];
    assert_eq!(sizes(&old), Some(vec![8 << 20, 9 << 20]));
    // A large file is not rewritten for a small one.
    let unlike = [file(now - 3 * HOUR, 300 << 20), file(now - 3 * HOUR + 1, 8 << 20)];
    assert_eq!(sizes(&unlike), None);
    // Never beyond the limit.
    let large = [file(now - 3 * HOUR, 300 << 20), file(now - 3 * HOUR + 1, 301 << 20)];
    assert_eq!(sizes(&large), None);
    // Files from the future are new ones.
    let future: Vec<_> = (1..=4).map(|n| file(now + 50 * HOUR + n, 1 << 20)).collect();
    assert!(sizes(&future).is_some());
}
