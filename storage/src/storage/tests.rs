#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;

use arrow::array::{Array, AsArray};
use arrow::datatypes::DataType;
use hopline_model::TraceId;
use hopline_model::schema;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Encoding, Type};
use parquet::file::reader::{FileReader as _, SerializedFileReader};

use super::*;
use crate::error::ErrorKind;
use crate::testing::{Bench, NOW, ids_in, ids_in_file, ingest, record, rows, trace_of};

fn nothing(_: Step<'_>) {}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

fn bench() -> Bench {
    Bench::new(Config { row_group_rows: 1_024, orphan_age_s: 0, ..Config::default() })
}

fn ids(storage: &Storage) -> Vec<u64> {
    ids_in(storage, &storage.snapshot(), Table::Spans)
}

fn files_below(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files_below(&entry.path())),
            false => found.push(entry.path().display().to_string()),
        }
    }
    found
}

#[test]
fn rows_are_there_at_once_after_a_flush_and_after_a_restart() {
    let bench = bench();
    let storage = bench.open();
    ingest(&storage, &[1, 2]).unwrap();
    assert_eq!(ids(&storage), [1, 2]);
    storage.flush().unwrap();
    assert!(storage.snapshot().hot(Table::Spans).is_empty());
    assert_eq!((ids(&storage), storage.hot_bytes()), (vec![1, 2], 0));
    ingest(&storage, &[3]).unwrap();
    drop(storage);
    let storage = bench.open();
    assert_eq!(storage.snapshot().files(Table::Spans).len(), 1);
    assert_eq!(ids(&storage), [1, 2, 3]);
    storage.close().unwrap();
    assert_eq!(storage.append(&[record(&[4])]).unwrap_err().kind(), ErrorKind::Unavailable);
    let (storage, replay) = bench.try_open(Mode::ReadWrite).unwrap();
    assert_eq!(replay.count(), 0);
    assert_eq!(ids(&storage), [1, 2, 3]);
}

/// Stops everything after each single change to the disk, with the last one made or not.
#[test]
fn a_crash_at_any_step_loses_and_doubles_nothing() {
    for lost_answer in [false, true] {
        let mut changes = 0;
        loop {
            let bench = Bench::new(Config {
                checkpoint_manifests: 2,
                compact_files_min: 2,
                row_group_rows: 1_024,
                orphan_age_s: 0,
                segment_bytes: 4_096,
                ..Config::default()
            });
            bench.open().close().unwrap();
            bench.faults.crash_after(changes, lost_answer);
            let mut acknowledged = BTreeSet::new();
            if let Ok((storage, _)) = bench.try_open(Mode::ReadWrite) {
                for id in 1..=12 {
                    if ingest(&storage, &[id]).is_ok() {
                        acknowledged.insert(id);
                    }
                    if id % 3 == 0 {
                        let _ = storage.flush();
                    }
                    if id % 6 == 0 {
                        let _ = storage.compact(&nothing);
                        let _ = storage.expire();
                    }
                }
            }
            let crashed = bench.faults.heal();
            for _ in 0..2 {
                let storage = bench.open();
                let found = ids(&storage);
                let once: BTreeSet<_> = found.iter().copied().collect();
                assert_eq!(once.len(), found.len(), "doubled after {changes} changes: {found:?}");
                assert!(once.is_superset(&acknowledged), "lost after {changes} changes: {found:?}");
                // An append whose answer was lost may come back: it was never refused for good.
                assert!(once.len() <= acknowledged.len() + 1, "{found:?} {acknowledged:?}");
                storage.flush().unwrap();
                storage.compact(&nothing).unwrap();
                storage.expire().unwrap();
                assert_eq!(ids(&storage), found, "after {changes} changes");
                let report = storage.verify(&nothing).unwrap();
                assert!(report.is_sound(), "{report:?}");
                let parquet = files_below(bench.dir.path()).iter().filter(|f| f.ends_with(".parquet")).count();
                assert_eq!(parquet, storage.snapshot().files(Table::Spans).len(), "orphans after {changes} changes");
            }
            if !crashed {
                assert!(changes > 30, "the workload makes only {changes} changes");
                break;
            }
            changes += 1;
        }
    }
}

/// A commit whose answer is lost, while the process goes on.
#[test]
fn a_lost_answer_of_the_store_is_settled_before_the_next_commit() {
    for changes in 0..4 {
        let bench = bench();
        let storage = bench.open();
        ingest(&storage, &[1, 2]).unwrap();
        bench.faults.crash_after(changes, true);
        let _ = storage.flush();
        bench.faults.heal();
        ingest(&storage, &[3]).unwrap();
        assert_eq!(ids(&storage), [1, 2, 3]);
        storage.flush().unwrap();
        assert_eq!(ids(&storage), [1, 2, 3]);
        drop(storage);
        let storage = bench.open();
        assert_eq!(ids(&storage), [1, 2, 3], "after {changes} changes");
    }
}

#[test]
fn a_full_store_keeps_rows_in_memory_until_space_returns() {
    let bench = Bench::new(Config { flush_bytes: 1, hot_bytes_max: 200_000, ..Config::default() });
    let storage = bench.open();
    bench.faults.store_full.store(true, Ordering::SeqCst);
    let mut id = 0;
    let refused = loop {
        if let Err(e) = storage.ready_for_writes() {
            break e;
        }
        id += 1;
        ingest(&storage, &[id]).unwrap();
        assert_eq!(storage.flush().unwrap_err().kind(), ErrorKind::Unavailable);
        assert!(storage.pressure().disk_full);
    };
    assert_eq!(refused.kind(), ErrorKind::Overloaded);
    bench.faults.store_full.store(false, Ordering::SeqCst);
    storage.flush().unwrap();
    storage.ready_for_writes().unwrap();
    assert!(!storage.pressure().disk_full);
    assert_eq!(ids(&storage), (1..=id).collect::<Vec<_>>());
}

#[test]
fn a_full_log_refuses_as_retryable() {
    let bench = bench();
    let storage = bench.open();
    ingest(&storage, &[1]).unwrap();
    bench.faults.log_full.store(true, Ordering::SeqCst);
    assert_eq!(ingest(&storage, &[2]).unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(storage.pressure().disk_full);
    storage.ready_for_writes().unwrap();
    bench.faults.log_full.store(false, Ordering::SeqCst);
    ingest(&storage, &[2]).unwrap();
    assert!(!storage.pressure().disk_full);
    drop(storage);
    assert_eq!(ids(&bench.open()), [1, 2]);
}

/// Ends the loops of a test's threads, also when one of them panics.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn every_snapshot_has_each_row_exactly_once() {
    let bench = Bench::new(Config {
        flush_bytes: 300_000,
        compact_files_min: 2,
        checkpoint_manifests: 3,
        row_group_rows: 1_024,
        ..Config::default()
    });
    let storage = bench.open();
    let published = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ends = Ends(&done);
            for n in 0..300 {
                let ids: Vec<u64> = (n * 7..n * 7 + 7).collect();
                ingest(&storage, &ids).unwrap();
                published.store(n * 7 + 7, Ordering::SeqCst);
            }
        });
        scope.spawn(|| {
            let _ends = Ends(&done);
            while !done.load(Ordering::SeqCst) {
                storage.inner.flush_due().unwrap();
                storage.flush().unwrap();
            }
        });
        scope.spawn(|| {
            let _ends = Ends(&done);
            while !done.load(Ordering::SeqCst) {
                storage.compact(&nothing).unwrap();
                storage.expire().unwrap();
            }
        });
        while !done.load(Ordering::SeqCst) {
            let at_least = published.load(Ordering::SeqCst);
            let found = ids(&storage);
            assert!(found.len() as u64 >= at_least);
            assert_eq!(found, (0..found.len() as u64).collect::<Vec<_>>());
        }
    });
    storage.close().unwrap();
    drop(storage);
    assert_eq!(ids(&bench.open()), (0..2_100).collect::<Vec<_>>());
}

#[test]
fn small_batches_are_merged() {
    let bench = bench();
    let storage = bench.open();
    for id in 0..2_000 {
        storage.publish(vec![(Table::Spans, rows(Table::Spans, &[id]))], Position(id + 1));
    }
    let snapshot = storage.snapshot();
    assert!(snapshot.hot(Table::Spans).len() < 40, "{}", snapshot.hot(Table::Spans).len());
    // In the order of arrival.
    let in_order: Vec<_> = snapshot.hot(Table::Spans).iter().flat_map(|b| crate::testing::ids(b)).collect();
    assert_eq!(in_order, (0..2_000).collect::<Vec<_>>());
    assert!(storage.hot_bytes() < 2_000 * 2_048, "{}", storage.hot_bytes());
    let sum: usize = snapshot.hot(Table::Spans).iter().map(|b| b.get_array_memory_size()).sum();
    assert_eq!(storage.hot_bytes(), sum);
}

#[test]
fn a_second_server_and_a_reader_beside_a_server_are_refused() {
    let bench = bench();
    let storage = bench.open();
    for mode in [Mode::ReadWrite, Mode::ReadOnly] {
        let error = bench.try_open(mode).err().unwrap();
        assert!(matches!(&error, Error::Locked { holder, .. } if *holder == std::process::id().to_string()), "{error}");
    }
    storage.close().unwrap();
    // Closed is free, although the handle lives.
    let (reader, _) = bench.try_open(Mode::ReadOnly).unwrap();
    let (_another, _) = bench.try_open(Mode::ReadOnly).unwrap();
    assert!(bench.try_open(Mode::ReadWrite).is_err());
    drop(reader);
}

#[test]
fn reading_only_changes_nothing() {
    let bench = bench();
    let storage = bench.open();
    ingest(&storage, &[1]).unwrap();
    storage.flush().unwrap();
    ingest(&storage, &[2]).unwrap();
    drop(storage);
    // A torn tail, which only a server may cut.
    let segment = files_below(&bench.dir.path().join("log")).into_iter().find(|f| f.ends_with(".log")).unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes.extend([1, 2, 3]);
    std::fs::write(&segment, &bytes).unwrap();
    let tree = || {
        let files = files_below(bench.dir.path()).into_iter();
        files.map(|f| (std::fs::read(&f).unwrap(), f)).collect::<BTreeSet<_>>()
    };
    let before = tree();
    let (storage, replay) = bench.try_open(Mode::ReadOnly).unwrap();
    assert_eq!(replay.report().torn_bytes, 3);
    for (position, record) in replay.map(|r| r.unwrap()) {
        storage.publish(vec![(Table::Spans, rows(Table::Spans, &crate::testing::record_ids(&record)))], position);
    }
    assert_eq!(ids(&storage), [1, 2]);
    for refused in [storage.flush().err(), storage.append(&[record(&[3])]).err(), storage.expire().err()] {
        assert!(matches!(refused, Some(Error::ReadOnly)), "{refused:?}");
    }
    storage.close().unwrap();
    assert_eq!(tree(), before);
}

#[test]
fn a_newer_folder_and_damaged_manifests_are_refused() {
    let bench = bench();
    let storage = bench.open();
    for id in 1..=3 {
        ingest(&storage, &[id]).unwrap();
        storage.flush().unwrap();
    }
    storage.close().unwrap();
    let refused = |what: &str| {
        let error = bench.try_open(Mode::ReadWrite).err().unwrap().to_string();
        assert!(error.contains(what), "{error}");
    };
    let folder = bench.dir.path().join("hopline.json");
    let original = std::fs::read_to_string(&folder).unwrap();
    std::fs::write(&folder, original.replace("\"format\": 1", "\"format\": 2")).unwrap();
    refused("the data folder has format version 2, this hopline reads up to 1");
    std::fs::remove_file(&folder).unwrap();
    refused("is missing, but the folder has data");
    std::fs::write(&folder, original).unwrap();

    let mut manifests = files_below(&bench.dir.path().join("manifest"));
    manifests.sort();
    let text = std::fs::read_to_string(&manifests[1]).unwrap();
    std::fs::write(&manifests[1], text.replace("\"rows\":1", "\"rows\":7")).unwrap();
    refused("the checksum is wrong");
    std::fs::remove_file(&manifests[1]).unwrap();
    refused("a manifest is missing");
    std::fs::write(&manifests[1], text).unwrap();
    assert_eq!(ids(&bench.open()), [1, 2, 3]);
}

#[test]
fn a_clock_that_goes_backwards_breaks_nothing() {
    let bench = bench();
    let storage = bench.open();
    ingest(&storage, &[1]).unwrap();
    storage.flush().unwrap();
    for back in [1, 3_600, 86_400 * 400] {
        bench.clock.advance(-back);
        ingest(&storage, &[back as u64 + 1]).unwrap();
        storage.inner.flush_due().unwrap();
        // Its age counts from the new time.
        bench.clock.advance(bench.config.flush_small_age_s as i64);
        storage.inner.flush_due().unwrap();
        assert_eq!(storage.hot_bytes(), 0, "back by {back} s");
        storage.compact(&nothing).unwrap();
        assert_eq!(storage.expire().unwrap(), Done::default());
    }
    assert_eq!(ids(&storage).len(), 4);
    bench.clock.set(-5);
    ingest(&storage, &[5]).unwrap();
    storage.flush().unwrap();
    storage.close().unwrap();
    assert_eq!(ids(&bench.open()).len(), 5);
}

#[test]
fn retention_by_days_counts_from_the_server_s_clock() {
    let config = Config { retention_spans_days: 2, ..bench().config };
    let bench = Bench::new(config);
    let storage = bench.open();
    for id in 1..=3 {
        // The rows' own time stays where it is: a client's clock deletes nothing.
        ingest(&storage, &[id]).unwrap();
        storage.flush().unwrap();
        bench.clock.advance(86_400);
    }
    assert_eq!(storage.expire().unwrap().files_removed, 1);
    assert_eq!(ids(&storage), [2, 3]);
    bench.clock.advance(86_400 * 10);
    assert_eq!(storage.expire().unwrap().rows_removed, 2);
    assert!(files_below(&bench.dir.path().join("data")).is_empty());
}

#[test]
fn retention_by_bytes_takes_the_oldest_first() {
    let config = Config { retention_spans_days: 0, retention_bytes_max: 1, ..bench().config };
    let mut bench = Bench::new(config);
    let storage = bench.open();
    for id in 1..=4 {
        ingest(&storage, &[id]).unwrap();
        storage.flush().unwrap();
        bench.clock.advance(60);
    }
    let size = storage.snapshot().files(Table::Spans)[0].size_bytes;
    storage.close().unwrap();
    bench.config.retention_bytes_max = size * 5 / 2;
    let storage = bench.open();
    assert_eq!(storage.expire().unwrap().files_removed, 2);
    assert_eq!(ids(&storage), [3, 4]);
}

#[test]
fn the_background_flushes_by_size_and_age() {
    let mut bench = bench();
    bench.config.flush_bytes = 1;
    let storage = bench.open();
    storage.start_background();
    ingest(&storage, &[1]).unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while storage.hot_bytes() > 0 {
        assert!(std::time::Instant::now() < until);
        std::thread::yield_now();
    }
    storage.close().unwrap();
    drop(storage);
    assert_eq!(ids(&bench.open()), [1]);
}

#[test]
fn recent_requests_survive_the_removal_of_the_log() {
    let bench = bench();
    let storage = bench.open();
    let key = crate::recent::Key::of(&record(&[1]));
    storage.recent().insert(key, NOW);
    ingest(&storage, &[1]).unwrap();
    storage.close().unwrap();
    assert!(!files_below(&bench.dir.path().join("log")).iter().any(|f| f.ends_with(".log")));
    drop(storage);
    assert!(bench.open().recent().check(&key, NOW));
    // Without a clean end the log itself tells.
    ingest(&bench.open(), &[2]).unwrap();
    assert!(bench.open().recent().check(&crate::recent::Key::of(&record(&[2])), NOW));
}

#[test]
fn a_trace_is_found_by_the_bloom_filters() {
    let bench = bench();
    let storage = bench.open();
    for file in 0..3u64 {
        let ids: Vec<u64> = (file * 4_000..file * 4_000 + 4_000).collect();
        ingest(&storage, &ids).unwrap();
        storage.flush().unwrap();
    }
    let snapshot = storage.snapshot();
    for id in [0, 4_001, 11_999] {
        let trace = TraceId::from_slice(&trace_of(id)).unwrap();
        let found = block_on(storage.files_with_id(&snapshot, Table::Spans, &trace.0)).unwrap();
        let right = &snapshot.files(Table::Spans)[id as usize / 4_000];
        assert!(found.iter().any(|(file, groups)| Arc::ptr_eq(file, right) && !groups.is_empty()));
        let groups: usize = found.iter().map(|(_, groups)| groups.len()).sum();
        assert!(groups <= 5, "{groups} of 12 row groups");
    }
    let unknown = TraceId([9; 16]);
    let found = block_on(storage.files_with_id(&snapshot, Table::Spans, &unknown.0)).unwrap();
    assert!(found.iter().map(|(_, groups)| groups.len()).sum::<usize>() <= 1);
    let metadata = block_on(storage.parquet_metadata(&snapshot.files(Table::Spans)[0])).unwrap();
    assert!(metadata.offset_index().is_some() && metadata.column_index().is_some());
}

#[test]
fn the_files_are_plain_parquet() {
    let bench = bench();
    let storage = bench.open();
    for table in Table::ALL {
        storage
            .publish(vec![(table, rows(table, &(0..3_000).collect::<Vec<_>>()))], Position(table.index() as u64 + 1));
    }
    storage.flush().unwrap();
    for table in Table::ALL {
        let snapshot = storage.snapshot();
        let file = &snapshot.files(table)[0];
        let open = || File::open(bench.dir.path().join(file.path.as_ref())).unwrap();
        // As another engine reads it: without the Arrow schema that only Arrow knows.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(open(), options).unwrap().build().unwrap();
        let mut rows = 0;
        for batch in reader {
            let batch = batch.unwrap();
            rows += batch.num_rows();
            if let Some(service) = batch.column_by_name("service") {
                assert_eq!(service.data_type(), &DataType::Utf8);
                assert!(service.as_string::<i32>().value(0).starts_with("service-"));
            }
            assert_eq!(batch.column_by_name(table.time_column()).unwrap().data_type(), &schema::time_type());
        }
        assert_eq!((rows, file.rows), (3_000, 3_000));
        let reader = SerializedFileReader::new(open()).unwrap();
        let facts = reader.metadata().file_metadata();
        let about = facts.key_value_metadata().unwrap();
        assert!(about.iter().any(|kv| kv.key == "hopline.table" && kv.value.as_deref() == Some(table.name())));
        let group = &reader.metadata().row_groups()[0];
        let sorted = table.sort_period().map_or(table.sort_columns().len(), |period| period.behind);
        assert_eq!(group.sorting_columns().unwrap().len(), sorted);
        for column in group.columns() {
            let encodings: Vec<_> = column.encodings().collect();
            let name = column.column_path().string();
            assert_eq!(column.bloom_filter_offset().is_some(), Some(name.as_str()) == table.id_column(), "{name}");
            match name.as_str() {
                // A sketch of durations is no number.
                "duration" | "time" | "start_time" if column.column_type() == Type::INT64 => {
                    assert!(encodings.contains(&Encoding::DELTA_BINARY_PACKED), "{encodings:?}");
                }
                "body" | "url_path" => assert!(encodings.contains(&Encoding::DELTA_LENGTH_BYTE_ARRAY)),
                "trace_id" | "key_hash" => assert!(column.dictionary_page_offset().is_none()),
                _ => {}
            }
        }
    }
    let snapshot = storage.snapshot();
    let file = &snapshot.files(Table::Spans)[0];
    assert_eq!(file.services.as_ref().unwrap().len(), 7);
    assert_eq!(file.operations.as_ref().unwrap().len(), 7 * 13);
    assert_eq!(file.attribute_keys.as_deref(), Some(&[("color".to_owned(), 's')][..]));
    assert_eq!(file.tenants.as_deref().unwrap(), ["tenant-0", "tenant-1"]);
    assert_eq!(ids_in_file(&storage, file).len(), 3_000);
}
