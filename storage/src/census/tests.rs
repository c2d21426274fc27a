#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hopline_model::Table;

use crate::config::Config;
use crate::error::Error;
use crate::storage::{Mode, Step, Storage};
use crate::testing::{Bench, ids_in, ingest};

fn nothing(_: Step<'_>) {}

/// Orphans go at once, and two files are merged.
fn bench() -> Bench {
    let config = Config {
        row_group_rows: 1_024,
        orphan_age_s: 0,
        compact_files_min: 2,
        segment_bytes: 4_096,
        ..Config::default()
    };
    Bench::new(config)
}

fn ids(storage: &Storage) -> Vec<u64> {
    ids_in(storage, &storage.snapshot(), Table::Spans)
}

/// All files below `dir` with their content.
fn tree(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(tree(&entry.path())),
            false => drop(found.insert(entry.path(), std::fs::read(entry.path()).unwrap())),
        }
    }
    found
}

fn data(bench: &Bench) -> Vec<PathBuf> {
    tree(&bench.dir.path().join("data")).into_keys().collect()
}

/// What must not change when a folder is refused. The lock has the last one's process id.
fn valuables(bench: &Bench) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = tree(bench.dir.path());
    all.remove(&bench.dir.path().join("lock"));
    all
}

/// Both ways of opening refuse the folder, say `why`, and change nothing.
#[track_caller]
fn refused(bench: &Bench, why: &str) {
    let before = valuables(bench);
    for mode in [Mode::ReadWrite, Mode::ReadOnly] {
        let error = bench.try_open(mode).err().expect("it is refused");
        assert!(matches!(error, Error::LostManifests { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(why) && text.contains("from a backup"), "{text}");
        assert!(valuables(bench) == before, "something was changed");
    }
}

/// Flushes of one span each, then a clean end: no log is left.
fn stopped_after(bench: &Bench, flushes: std::ops::Range<u64>) {
    let storage = bench.open();
    for id in flushes {
        ingest(&storage, &[id]).unwrap();
        storage.flush().unwrap();
    }
    storage.close().unwrap();
}

fn remove(bench: &Bench, folder: &str) {
    std::fs::remove_dir_all(bench.dir.path().join(folder)).unwrap();
}

#[test]
fn a_folder_without_its_manifests_is_refused_and_nothing_is_deleted() {
    let bench = bench();
    stopped_after(&bench, 1..4);
    remove(&bench, "manifest");
    refused(&bench, "but no manifest and no checkpoint");
    std::fs::create_dir(bench.dir.path().join("manifest")).unwrap();
    refused(&bench, "but no manifest and no checkpoint");
}

#[test]
fn a_folder_whose_log_begins_late_is_refused() {
    let bench = bench();
    stopped_after(&bench, 1..3);
    ingest(&bench.open(), &[3]).unwrap();
    let manifests = tree(&bench.dir.path().join("manifest"));
    remove(&bench, "manifest");
    refused(&bench, "the log begins with record 3, but there is no manifest and no checkpoint");
    // Also when nothing else is left.
    remove(&bench, "data");
    refused(&bench, "the log begins with record 3");
    // And when only the newest commit is lost.
    let (first, content) = manifests.first_key_value().unwrap();
    std::fs::create_dir_all(first.parent().unwrap()).unwrap();
    std::fs::write(first, content).unwrap();
    refused(&bench, "the manifests cover only those up to 1");
}

#[test]
fn a_folder_without_its_newest_manifest_is_refused() {
    let bench = bench();
    stopped_after(&bench, 1..4);
    let manifests = tree(&bench.dir.path().join("manifest"));
    let (last, content) = manifests.last_key_value().unwrap();
    std::fs::remove_file(last).unwrap();
    refused(&bench, "holds records up to 3, which are not in the log");
    std::fs::write(last, content).unwrap();
    assert_eq!(ids(&bench.open()), [1, 2, 3]);
}

#[test]
fn a_folder_without_its_checkpoint_is_refused() {
    let mut bench = bench();
    bench.config.checkpoint_manifests = 2;
    stopped_after(&bench, 1..5);
    assert!(tree(&bench.dir.path().join("manifest")).is_empty());
    remove(&bench, "checkpoint");
    refused(&bench, "but no manifest and no checkpoint");
}

/// A commit of a merge that is lost shows in its inputs, which are gone: nothing is deleted then.
#[test]
fn a_lost_merge_deletes_nothing_and_its_inputs_are_missing() {
    let bench = bench();
    stopped_after(&bench, 1..3);
    let before = tree(&bench.dir.path().join("manifest"));
    let storage = bench.open();
    assert_eq!(storage.compact(&nothing).unwrap().files_removed, 2);
    storage.close().unwrap();
    let merged = data(&bench);
    assert_eq!(merged.len(), 1);
    for path in tree(&bench.dir.path().join("manifest")).into_keys().filter(|p| !before.contains_key(p)) {
        std::fs::remove_file(path).unwrap();
    }
    let storage = bench.open();
    storage.expire().unwrap();
    assert_eq!(data(&bench), merged, "the only copy of the rows stays");
    let report = storage.verify(&nothing).unwrap();
    let missing = report.files.iter().filter(|f| f.problem.as_deref() == Some("the file is missing")).count();
    assert_eq!((missing, report.unlisted.len()), (2, 1));
}

#[test]
fn a_missing_file_is_named_and_can_be_given_up() {
    let bench = bench();
    stopped_after(&bench, 1..4);
    let lost = data(&bench).remove(1);
    std::fs::remove_file(&lost).unwrap();
    let name = lost.strip_prefix(bench.dir.path()).unwrap().display().to_string();
    let storage = bench.open();
    ingest(&storage, &[4]).unwrap();
    storage.flush().unwrap();
    let snapshot = storage.snapshot();
    let file = snapshot.files(Table::Spans).iter().find(|f| f.path.as_ref() == name).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(storage.parquet_metadata(file)).unwrap_err();
    assert!(matches!(&error, Error::Missing { path } if *path == name), "{error}");
    assert!(error.to_string().contains("restore it from a backup"), "{error}");
    drop(snapshot);
    let report = storage.verify(&nothing).unwrap();
    assert!(report.files.iter().any(|f| f.path == name && f.problem.as_deref() == Some("the file is missing")));
    assert_eq!(storage.forget_missing().unwrap().rows_removed, 1);
    assert_eq!(ids(&storage), [1, 3, 4]);
    storage.close().unwrap();
    drop(storage);
    assert_eq!(ids(&bench.open()), [1, 3, 4]);
}

/// What a crash left goes; what nobody knows stays and is reported.
#[test]
fn only_what_was_never_committed_is_deleted() {
    let bench = bench();
    let storage = bench.open();
    ingest(&storage, &[1]).unwrap();
    storage.flush().unwrap();
    ingest(&storage, &[2]).unwrap();
    // Dies after the data file, before the manifest.
    bench.faults.crash_after(1, false);
    storage.flush().unwrap_err();
    bench.faults.heal();
    drop(storage);
    let folder = data(&bench)[0].parent().unwrap().to_owned();
    let (live, orphan) = (data(&bench)[0].clone(), data(&bench)[1].clone());
    let broken = folder.join(live.file_name().unwrap().to_str().unwrap().replace("000001-", "000000-"));
    let others = [broken, folder.join("abc-000000000001-spans.parquet"), folder.join("notes.txt")];
    for path in &others {
        std::fs::write(path, "not Parquet").unwrap();
    }
    let unfinished = folder.join(format!("{}#1", orphan.file_name().unwrap().to_str().unwrap()));
    std::fs::write(&unfinished, "half").unwrap();

    let (reader, _) = bench.try_open(Mode::ReadOnly).unwrap();
    let report = reader.verify(&nothing).unwrap();
    assert!(report.is_sound(), "{report:?}");
    let of = |superfluous| report.unlisted.iter().filter(|u| u.superfluous == superfluous).count();
    assert_eq!((of(true), of(false)), (1, 3), "{report:?}");
    drop(reader);

    let storage = bench.open();
    assert_eq!(ids(&storage), [1, 2]);
    storage.flush().unwrap();
    storage.expire().unwrap();
    let left = data(&bench);
    assert!(!left.contains(&orphan) && !left.contains(&unfinished), "{left:?}");
    assert!(left.contains(&live) && others.iter().all(|path| left.contains(path)), "{left:?}");
    assert_eq!(ids(&storage), [1, 2]);
}

/// A segment whose end is damaged stays until what follows it is covered: else the log would
/// seem to have lost its beginning.
#[test]
fn a_damaged_log_is_not_taken_for_lost_manifests() {
    let bench = bench();
    bench.open().close().unwrap();
    let log = bench.dir.path().join("log");
    for id in 1..4 {
        ingest(&bench.open(), &[id]).unwrap();
    }
    for segment in tree(&log).into_keys().filter(|p| p.extension().is_some_and(|e| e == "log")).take(2) {
        let mut bytes = std::fs::read(&segment).unwrap();
        let end = bytes.len() - 1;
        bytes[end] ^= 1;
        std::fs::write(&segment, bytes).unwrap();
    }
    for _ in 0..3 {
        let (storage, replay) = bench.try_open(Mode::ReadWrite).unwrap();
        assert_eq!(replay.report().records, 1);
        drop(storage);
    }
    let storage = bench.open();
    assert_eq!(ids(&storage), [3]);
    storage.flush().unwrap();
    storage.close().unwrap();
    drop(storage);
    assert_eq!(ids(&bench.open()), [3]);
}

#[test]
fn what_is_no_data_folder_is_refused_and_left_alone() {
    let open = |bench: &Bench, mode| {
        Storage::open(bench.dir.path(), bench.config.clone(), mode, bench.clock.clone(), &prometheus::Registry::new())
            .err()
    };
    let bench = bench();
    let foreign = bench.dir.path().join("letter.txt");
    std::fs::write(&foreign, "Dear …").unwrap();
    for (mode, why) in [(Mode::ReadWrite, "letter.txt"), (Mode::ReadOnly, "it has no hopline.json")] {
        let error = open(&bench, mode).unwrap();
        assert!(matches!(error, Error::NotADataFolder { .. }) && error.to_string().contains(why), "{error}");
        assert_eq!(tree(bench.dir.path()).len(), 1);
    }
    let file =
        Storage::open(&foreign, Config::default(), Mode::ReadWrite, bench.clock.clone(), &prometheus::Registry::new());
    assert!(file.err().unwrap().to_string().contains("it is a file, not a folder"));
    // What file systems and operators put there does not matter, nor what a start that was cut short left.
    std::fs::remove_file(foreign).unwrap();
    assert!(matches!(open(&bench, Mode::ReadOnly), Some(Error::NotADataFolder { .. })), "empty");
    std::fs::create_dir(bench.dir.path().join("lost+found")).unwrap();
    for harmless in ["lock", ".keep", "hopline.toml", "hopline.json#1"] {
        std::fs::write(bench.dir.path().join(harmless), "").unwrap();
    }
    assert!(open(&bench, Mode::ReadWrite).is_none());
    // A data folder that has lost its hopline.json is not foreign.
    stopped_after(&bench, 1..2);
    for gone in ["hopline.json", "manifest"] {
        let path = bench.dir.path().join(gone);
        std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path)).unwrap();
        let error = open(&bench, Mode::ReadWrite).unwrap();
        assert!(matches!(error, Error::Corrupt { .. }) && error.to_string().contains("restore it"), "{error}");
    }
}
