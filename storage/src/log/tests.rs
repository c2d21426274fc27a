#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hopline_model::Signal;
use proptest::prelude::*;

use super::*;
use crate::config::{Config, seconds};
use crate::error::ErrorKind;
use crate::files::OsFiles;
use crate::metrics::Metrics;
use crate::record::{Encoding, Format};
use crate::testing::{Faults, FaultyFiles, NOW, record, record_ids};

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new(&prometheus::Registry::new()).unwrap())
}

fn recent() -> Recent {
    Recent::new(seconds(600), 1_000, metrics())
}

struct Disk {
    dir: tempfile::TempDir,
    faults: Arc<Faults>,
}

impl Disk {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), faults: Arc::default() }
    }

    fn open(&self, segment_bytes: usize) -> (Log, Replay) {
        let opened = super::open(self.dir.path(), Position(0), &recent(), Some(&OsFiles)).unwrap();
        let files = Arc::new(FaultyFiles { faults: self.faults.clone() });
        let log = Log::new(self.dir.path().to_owned(), segment_bytes, files, metrics(), opened.sealed, opened.next);
        (log, opened.replay)
    }

    fn read(&self) -> Vec<(u64, Record)> {
        let opened = super::open(self.dir.path(), Position(0), &recent(), Some(&OsFiles)).unwrap();
        opened.replay.map(|r| r.unwrap()).map(|(p, r)| (p.0, r)).collect()
    }

    fn read_ids(&self) -> Vec<u64> {
        self.read().iter().flat_map(|(_, r)| record_ids(r)).collect()
    }
}

fn any_record() -> impl Strategy<Value = Record> {
    let body = prop_oneof![prop::collection::vec(any::<u8>(), 0..600), (0usize..5_000).prop_map(|n| vec![7; n])];
    let encoding = prop_oneof![Just(Encoding::Identity), Just(Encoding::Gzip), Just(Encoding::Zstd)];
    let signal = prop_oneof![Just(Signal::Traces), Just(Signal::Logs), Just(Signal::Metrics)];
    ("[a-zäö]{0,20}", signal, encoding, any::<bool>(), any::<i64>(), any::<u128>(), body).prop_map(
        |(tenant, signal, encoding, json, received_at, hash, body)| Record {
            tenant: tenant.into(),
            signal,
            encoding,
            format: if json { Format::Json } else { Format::Protobuf },
            received_at,
            hash,
            body: body.into(),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_was_appended_is_read_back(groups in prop::collection::vec(prop::collection::vec(any_record(), 0..4), 0..8)) {
        let disk = Disk::new();
        let (mut log, _) = disk.open(4_096);
        for group in &groups {
            log.append(group).unwrap();
            log.sync().unwrap();
        }
        let expected: Vec<_> = (1..).zip(groups.into_iter().flatten()).collect();
        prop_assert_eq!(disk.read(), expected);
    }

    /// Cut or changed anywhere: every record whose bytes are untouched comes back, in order.
    #[test]
    fn intact_records_survive_any_damage(
        records in prop::collection::vec(any_record(), 1..8),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 0..3),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
        killed in any::<bool>(),
    ) {
        let disk = Disk::new();
        let (mut log, _) = disk.open(1 << 20);
        let mut ends = vec![24];
        let path = disk.dir.path().join("00000000000000000001.log");
        for record in &records {
            log.append(std::slice::from_ref(record)).unwrap();
            ends.push(log.active_len());
        }
        // A process that is killed leaves the zeros that were written ahead.
        let with_zeros = std::fs::read(&path).unwrap();
        drop(log);
        let mut bytes = if killed { with_zeros } else { std::fs::read(&path).unwrap() };
        let places: Vec<usize> = damage.iter().map(|(at, _)| at.index(bytes.len())).collect();
        for (at, (_, flip)) in places.iter().zip(&damage) {
            bytes[*at] ^= flip;
        }
        // Two flips of one byte may cancel out: then nothing is asserted of it.
        let end = if cuts { cut.index(bytes.len() + 1) } else { bytes.len() };
        bytes.truncate(end);
        std::fs::write(&path, &bytes).unwrap();
        let intact: Vec<_> = (1u64..).zip(records).zip(ends.windows(2)).filter(|(_, place)| {
            place[1] <= end && !places.iter().any(|at| (place[0]..place[1]).contains(at))
        }).map(|(record, _)| record).collect();
        let read = disk.read();
        for record in &intact {
            prop_assert!(read.contains(record));
        }
        prop_assert!(read.windows(2).all(|w| w[0].0 < w[1].0));
        // What was read the second time is the same: cutting is done once.
        prop_assert_eq!(disk.read(), read);
        // And the log goes on.
        let (mut log, _) = disk.open(1 << 20);
        log.append(&[record(&[77])]).unwrap();
        log.sync().unwrap();
        prop_assert_eq!(record_ids(&disk.read().last().unwrap().1), vec![77]);
    }
}

#[test]
fn a_torn_tail_is_cut_and_reported() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(1 << 20);
    log.append(&[record(&[1]), record(&[2])]).unwrap();
    drop(log);
    let path = disk.dir.path().join("00000000000000000001.log");
    let len = std::fs::metadata(&path).unwrap().len();
    OsFiles.truncate(&path, len - 5).unwrap();
    let (_, replay) = disk.open(1 << 20);
    assert_eq!((replay.report().torn_bytes, replay.report().records), (len / 2 - 12 - 5, 1));
    assert!(replay.report().damaged.is_empty());
    assert_eq!(disk.read_ids(), [1]);
}

/// What a power cut leaves of a write into zeros: its first pages.
#[test]
fn a_record_whose_end_is_zeros_is_torn_and_zeros_are_nothing() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(1 << 20);
    let large = Record { body: vec![0x5A; 9_000].into(), encoding: Encoding::Gzip, ..record(&[2]) };
    log.append(&[record(&[1])]).unwrap();
    let first = log.active_len();
    log.append(&[large]).unwrap();
    let end = log.active_len();
    let path = disk.dir.path().join("00000000000000000001.log");
    let mut bytes = std::fs::read(&path).unwrap();
    drop(log);
    assert!(bytes.len() > end && bytes[end..].iter().all(|byte| *byte == 0));

    bytes[8_192..].fill(0);
    std::fs::write(&path, &bytes).unwrap();
    let (_, replay) = disk.open(1 << 20);
    assert_eq!((replay.report().torn_bytes, replay.report().records), ((8_192 - first) as u64, 1));
    assert!(replay.report().damaged.is_empty());
    assert_eq!(std::fs::metadata(&path).unwrap().len(), first as u64);

    bytes[first..].fill(0);
    std::fs::write(&path, &bytes).unwrap();
    let (_, replay) = disk.open(1 << 20);
    assert_eq!(replay.report(), &ReplayReport { records: 1, ..ReplayReport::default() });

    // Nothing but a header: the segment goes, and its position is used again.
    bytes[24..].fill(0);
    std::fs::write(&path, &bytes).unwrap();
    let (mut log, _) = disk.open(1 << 20);
    assert_eq!(log.append(&[record(&[3])]).unwrap(), Position(1));
    assert_eq!(disk.read_ids(), [3]);
}

#[test]
fn a_damaged_record_is_set_aside() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(1 << 20);
    log.append(&[record(&[1]), record(&[2]), record(&[3])]).unwrap();
    drop(log);
    let path = disk.dir.path().join("00000000000000000001.log");
    let mut bytes = std::fs::read(&path).unwrap();
    let size = (bytes.len() - 24) / 3;
    // Its length field, the hardest case.
    bytes[24 + size + 5] ^= 0xFF;
    std::fs::write(&path, &bytes).unwrap();
    let (_, replay) = disk.open(1 << 20);
    let expected = Damage { segment: path, offset: 24 + size as u64, bytes: size as u64 };
    assert_eq!(replay.report().damaged, [expected]);
    let kept = disk.dir.path().join(format!("damaged/00000000000000000001-{}.bin", 24 + size));
    assert_eq!(std::fs::read(kept).unwrap(), bytes[24 + size..24 + 2 * size]);
    assert_eq!(disk.read_ids(), [1, 3]);
}

#[test]
fn a_full_disk_refuses_and_recovers_by_itself() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(1 << 20);
    log.append(&[record(&[1])]).unwrap();
    log.sync().unwrap();
    for cut_fails in [false, true] {
        disk.faults.log_full.store(true, Ordering::SeqCst);
        disk.faults.log_cut_fails.store(cut_fails, Ordering::SeqCst);
        for _ in 0..3 {
            let refused = log.append(&[record(&[100]), record(&[101])]);
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unavailable);
        }
        disk.faults.log_full.store(false, Ordering::SeqCst);
        disk.faults.log_cut_fails.store(false, Ordering::SeqCst);
        log.append(&[record(&[2])]).unwrap();
        log.sync().unwrap();
    }
    assert_eq!(disk.read_ids(), [1, 2, 2]);
}

#[test]
fn nothing_of_a_group_whose_sync_failed_comes_back() {
    for cut_fails in [false, true] {
        let disk = Disk::new();
        let (mut log, _) = disk.open(1 << 20);
        log.append(&[record(&[1])]).unwrap();
        log.sync().unwrap();
        log.append(&[record(&[100]), record(&[101])]).unwrap();
        disk.faults.log_sync_fails.store(true, Ordering::SeqCst);
        disk.faults.log_cut_fails.store(cut_fails, Ordering::SeqCst);
        assert_eq!(log.sync().unwrap_err().kind(), ErrorKind::Unavailable);
        disk.faults.log_sync_fails.store(false, Ordering::SeqCst);
        // Also where the remains could not be cut: the next segment bounds them.
        assert_eq!(log.append(&[record(&[2])]).unwrap(), Position(2));
        log.sync().unwrap();
        assert_eq!(disk.read_ids(), [1, 2], "cut fails: {cut_fails}");
    }
}

#[test]
fn segments_go_when_they_are_covered() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(4_096);
    for i in 1..=200 {
        log.append(&[record(&[i])]).unwrap();
        log.sync().unwrap();
    }
    let count = || segments(disk.dir.path()).unwrap().len();
    let all = count();
    assert!(all > 3);
    log.remove_covered(Position(100), false).unwrap();
    assert!(count() < all);
    let left = disk.read_ids();
    assert!(left.first().is_some_and(|first| *first <= 101) && left.last() == Some(&200), "{left:?}");
    log.remove_covered(Position(200), true).unwrap();
    assert_eq!(count(), 0);
    assert_eq!(log.append(&[record(&[201])]).unwrap(), Position(201));
}

#[test]
fn a_newer_segment_is_refused() {
    let disk = Disk::new();
    let mut header = Vec::from(*b"HOPLOG\r\n");
    header.extend(2u32.to_le_bytes());
    header.extend(1u64.to_le_bytes());
    header.extend(crc32c::crc32c(&header).to_le_bytes());
    std::fs::write(disk.dir.path().join("00000000000000000001.log"), header).unwrap();
    let error = super::open(disk.dir.path(), Position(0), &recent(), Some(&OsFiles)).err().unwrap();
    assert!(matches!(error, Error::Newer { found: 2, known: 1, .. }), "{error}");
}

#[test]
fn bodies_are_compressed_by_the_log_and_come_back_as_they_came() {
    let disk = Disk::new();
    let (mut log, _) = disk.open(1 << 20);
    let large = Record { body: vec![42; 1 << 20].into(), ..record(&[1]) };
    log.append(std::slice::from_ref(&large)).unwrap();
    assert!(log.active_len() < 2_000);
    assert_eq!(disk.read(), [(1, large)]);
}

#[test]
fn recent_requests_survive_a_restart_and_are_forgotten_in_time() {
    let disk = Disk::new();
    let recent = recent();
    let key = |n| Key::new("tenant", Signal::Traces, n);
    recent.insert(key(1), NOW);
    recent.insert(key(2), NOW + seconds(300));
    recent.save(disk.dir.path(), &OsFiles).unwrap();
    let again = self::recent();
    again.load(disk.dir.path()).unwrap();
    // The clock may have gone back meanwhile.
    assert!(again.check(&key(1), NOW - seconds(9_000)));
    assert!(again.check(&key(1), NOW + seconds(599)));
    assert!(!again.check(&Key::new("other", Signal::Traces, 1), NOW));
    assert!(!again.check(&Key::new("tenant", Signal::Logs, 1), NOW));
    assert!(!again.check(&key(1), NOW + seconds(700)));
    assert!(again.check(&key(2), NOW + seconds(700)));
    again.save(disk.dir.path(), &OsFiles).unwrap();
    assert_eq!(std::fs::read_dir(disk.dir.path()).unwrap().count(), 1);
}

#[test]
fn recent_requests_are_bounded() {
    let metrics = metrics();
    let recent = Recent::new(seconds(600), 100, metrics.clone());
    for n in 0..1_000 {
        recent.insert(Key::new("tenant", Signal::Traces, n), NOW);
    }
    assert!(recent.len() <= 100);
    assert!(recent.check(&Key::new("tenant", Signal::Traces, 999), NOW));
    assert_eq!(metrics.recent_evicted.get(), 1_000 - recent.len() as u64);
    assert_eq!(Config::default().retry_window_s, 600);
}
