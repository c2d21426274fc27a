#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::path::{Path, PathBuf};

use super::*;
use crate::config::Config;
use crate::storage::{Mode, Storage};
use crate::testing::{Bench, ids_in, ingest};

fn nothing(_: Step<'_>) {}

/// Each record begins a segment, and two files are merged.
fn bench() -> Bench {
    Bench::new(Config { segment_bytes: 4_096, compact_files_min: 2, orphan_age_s: 0, ..Config::default() })
}

/// Three data files of one span each.
fn with_files() -> (Bench, Storage, Vec<PathBuf>) {
    let bench = bench();
    let storage = bench.open();
    for id in 1..4 {
        ingest(&storage, &[id]).unwrap();
        storage.flush().unwrap();
    }
    let root = bench.dir.path().canonicalize().unwrap();
    let files = storage.snapshot().files(Table::Spans).iter().map(|f| root.join(f.path.as_ref())).collect();
    (bench, storage, files)
}

/// The problems of the data files, in their order; each file is reported.
#[track_caller]
fn problems(storage: &Storage) -> Vec<Option<String>> {
    let report = storage.verify(&nothing).unwrap();
    let data: Vec<_> = report.files.into_iter().filter(|f| f.path.starts_with("data/")).collect();
    assert_eq!(data.len(), 3, "{data:?}");
    data.into_iter().map(|f| f.problem).collect()
}

#[test]
fn each_file_that_cannot_be_read_is_a_finding_and_not_the_end() {
    let (bench, storage, files) = with_files();
    let whole = std::fs::read(&files[1]).unwrap();
    let size = whole.len();
    #[track_caller]
    fn check(storage: &Storage, problem: &str) {
        let found = problems(storage);
        assert_eq!((&found[0], &found[2]), (&None, &None));
        assert_eq!(found[1].as_deref(), Some(problem));
    }
    for cut in [0, 10, size - 1] {
        std::fs::write(&files[1], &whole[..cut]).unwrap();
        check(&storage, &format!("the file has {cut} bytes, not {size}"));
    }
    std::fs::write(&files[1], [&whole[..], b"more"].concat()).unwrap();
    check(&storage, &format!("the file has {} bytes, not {size}", size + 4));
    std::fs::remove_file(&files[1]).unwrap();
    std::fs::create_dir(&files[1]).unwrap();
    check(&storage, FILE_MISSING);
    std::fs::remove_dir(&files[1]).unwrap();
    std::fs::write(&files[1], &whole).unwrap();
    assert_eq!(problems(&storage), [None, None, None]);

    let path = storage.snapshot().files(Table::Spans)[1].path.clone();
    *bench.faults.unreadable.lock() = Some(path.clone());
    check(&storage, &format!("read {path}: Generic faulty error: permission denied"));
}

/// A file of a wrong size is damaged for good: it must not end each merge of its table.
#[test]
fn a_cut_file_does_not_keep_the_others_from_being_merged() {
    let (_bench, storage, files) = with_files();
    std::fs::write(&files[1], "").unwrap();
    assert_eq!(storage.compact(&nothing).unwrap().files_removed, 2);
    assert!(files[1].exists());
}

/// Records 1 to 5, each in a segment of its own, the first covered by a commit.
fn with_segments(bench: &Bench) -> Vec<PathBuf> {
    let storage = bench.open();
    ingest(&storage, &[1]).unwrap();
    storage.flush().unwrap();
    drop(storage);
    for id in 2..6 {
        ingest(&bench.open(), &[id]).unwrap();
    }
    segments(&bench.dir.path().join("log")).unwrap().into_iter().map(|s| s.path).collect()
}

fn segment(all: &[PathBuf], position: u64) -> &Path {
    let name = segment_name(position);
    all.iter().find(|path| path.ends_with(&name)).expect("there is such a segment")
}

fn ids(storage: &Storage) -> Vec<u64> {
    ids_in(storage, &storage.snapshot(), Table::Spans)
}

#[test]
fn a_lost_segment_of_the_log_is_found() {
    let bench = bench();
    let all = with_segments(&bench);
    let (reader, replay) = bench.try_open(Mode::ReadOnly).unwrap();
    assert!(reader.verify(&nothing).unwrap().is_sound() && replay.report().gaps.is_empty());
    drop((reader, replay));

    for position in [3, 4] {
        std::fs::remove_file(segment(&all, position)).unwrap();
    }
    let (reader, replay) = bench.try_open(Mode::ReadOnly).unwrap();
    assert_eq!(replay.report().gaps, [crate::log::Gap { first: 3, last: 4 }]);
    let report = reader.verify(&nothing).unwrap();
    let found: Vec<_> = report.files.iter().filter_map(|f| Some((f.path.as_str(), f.problem.as_deref()?))).collect();
    let problem =
        "lost before it: records 3 to 4; restore log/00000000000000000003.log from a backup before a server starts";
    assert_eq!(found, [("log/00000000000000000005.log", problem)]);
    drop((reader, replay));

    // The server starts with what is left, and what is covered is missed no more.
    let storage = bench.open();
    assert_eq!(storage.inner().metrics.log_damaged_records.get(), 1);
    assert_eq!(ids(&storage), [1, 2, 5]);
    storage.flush().unwrap();
    ingest(&storage, &[6]).unwrap();
    assert!(storage.verify(&nothing).unwrap().is_sound());
    drop(storage);
    assert_eq!(bench.try_open(Mode::ReadWrite).unwrap().1.report().gaps, []);
}

/// What damage took at the end of a segment is reported once, as damage.
#[test]
fn a_damaged_end_of_a_segment_is_no_gap() {
    let bench = bench();
    let all = with_segments(&bench);
    let mut bytes = std::fs::read(segment(&all, 3)).unwrap();
    let end = bytes.len() - 1;
    bytes[end] ^= 1;
    std::fs::write(segment(&all, 3), bytes).unwrap();
    let (reader, replay) = bench.try_open(Mode::ReadOnly).unwrap();
    assert_eq!((replay.report().gaps.len(), replay.report().damaged.len()), (0, 1));
    let report = reader.verify(&nothing).unwrap();
    assert_eq!(report.files.iter().filter(|f| f.problem.is_some()).count(), 1, "{report:?}");
}

/// A data file that was never committed is the only one that has the rows of a lost segment.
#[test]
fn a_file_behind_a_gap_of_the_log_stays() {
    let bench = bench();
    with_segments(&bench);
    let storage = bench.open();
    bench.faults.crash_after(1, false);
    storage.flush().unwrap_err();
    bench.faults.heal();
    drop(storage);
    let log = bench.dir.path().join("log");
    std::fs::remove_file(log.join(segment_name(3))).unwrap();
    let (reader, _) = bench.try_open(Mode::ReadOnly).unwrap();
    let unlisted = reader.verify(&nothing).unwrap().unlisted;
    assert_eq!(unlisted.iter().map(|u| u.superfluous).collect::<Vec<_>>(), [false]);
}
