//! What must not lose or double anything: kills, torn and damaged files, full disks, stops.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use crate::client::{Grpc, TRACES};
use crate::otlp::{hex, span_bytes, trace_id};
use crate::server::{Options, PATIENCE, Server, binary, start, start_with, until};

/// Flushes and compactions happen all the time.
const BUSY: &str =
    "[storage]\nflush_rows = 60\nflush_age_s = 0\nflush_small_age_s = 0\nsegment_bytes = 8192\ncompact_files_min = 2\n";

/// How many spans each stored trace has, by trace id.
async fn stored(server: &Server) -> BTreeMap<String, i64> {
    let rows = server.sql("SELECT trace_id, count(*) FROM spans GROUP BY 1").await;
    rows.iter().map(|r| (r[0].as_str().unwrap().to_string(), r[1].as_i64().unwrap())).collect()
}

/// Sends numbered traces of three spans until `stop`; gives back the numbers that were acknowledged.
/// A request without an answer is sent again, byte for byte, as exporters do.
async fn sender(address: String, next: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> (Vec<u64>, Option<u64>) {
    let mut acknowledged = Vec::new();
    let Ok(grpc) = Grpc::try_connect(&address).await else { return (acknowledged, None) };
    while !stop.load(Relaxed) {
        let n = next.fetch_add(1, Relaxed);
        match grpc.try_call(TRACES, span_bytes(n, 3), "gzip").await {
            Ok(answer) if answer.code == 0 => acknowledged.push(n),
            _ => return (acknowledged, Some(n)),
        }
    }
    (acknowledged, None)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_kills_lose_and_double_nothing() {
    let seed = 7;
    let mut random = StdRng::seed_from_u64(seed);
    let (mut server, _dir) = start_with(BUSY).await;
    let next = Arc::new(AtomicU64::new(0));
    let (mut acknowledged, mut unanswered) = (Vec::new(), Vec::new());
    for cycle in 0..100 {
        // What had no answer before the kill is tried again: stored before or not, it is there once.
        let grpc = Grpc::connect(&server.grpc).await;
        for n in std::mem::take(&mut unanswered) {
            assert_eq!(grpc.call(TRACES, span_bytes(n, 3), "gzip").await.code, 0);
            acknowledged.push(n);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let senders: Vec<_> =
            (0..4).map(|_| tokio::spawn(sender(server.grpc.clone(), next.clone(), stop.clone()))).collect();
        let target = next.load(Relaxed) + random.random_range(1..40);
        until("some are sent", async || next.load(Relaxed) >= target).await;
        server = server.kill_and_restart().await;
        stop.store(true, Relaxed);
        for sender in senders {
            let (done, lost) = sender.await.unwrap();
            acknowledged.extend(done);
            unanswered.extend(lost);
        }
        if cycle % 10 == 9 {
            let stored = stored(&server).await;
            for n in &acknowledged {
                assert_eq!(stored.get(&hex(&trace_id(*n))), Some(&3), "seed {seed}, cycle {cycle}: trace {n}");
            }
        }
    }
    assert!(stored(&server).await.values().all(|n| *n == 3));
    let files = server.number("SELECT count(*) FROM spans").await;
    assert!(files >= 300, "{files} spans");
    assert!(server.stop().await.success(), "{}", server.log());
    let verified = Command::new(binary()).args(["verify", "--data"]).arg(&server.dir).output().unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

/// The log segments of a data folder, the newest last.
fn segments(data: &Path) -> Vec<PathBuf> {
    files(&data.join("log"), "log")
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A killed server that left `count` traces of three spans in its log.
async fn killed_with(count: u64) -> (PathBuf, TempDir) {
    let (server, dir) = start().await;
    let grpc = Grpc::connect(&server.grpc).await;
    for n in 0..count {
        assert_eq!(grpc.call(TRACES, span_bytes(n, 3), "identity").await.code, 0);
    }
    let data = server.dir.clone();
    server.kill();
    (data, dir)
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_said() {
    let (data, dir) = killed_with(10).await;
    let last = segments(&data).pop().unwrap();
    let bytes = std::fs::read(&last).unwrap();
    let end = bytes.iter().rposition(|b| *b != 0).unwrap() + 1;
    std::fs::write(&last, &bytes[..end - 5]).unwrap();
    let server = Server::start(dir.path(), Options::default()).await;
    let stored = stored(&server).await;
    assert_eq!((stored.len(), stored.values().all(|n| *n == 3)), (9, true), "all but the torn one");
    assert!(server.log().contains("unfinished"), "{}", server.log());
    let grpc = Grpc::connect(&server.grpc).await;
    assert_eq!(grpc.call(TRACES, span_bytes(9, 3), "identity").await.code, 0);
    let server = server.kill_and_restart().await;
    assert_eq!(self::stored(&server).await.len(), 10, "what comes after the cut is found again");
}

#[tokio::test]
async fn a_damaged_record_in_the_middle_costs_that_record_only() {
    let (data, dir) = killed_with(10).await;
    let segment = segments(&data).pop().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.iter().rposition(|b| *b != 0).unwrap() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(&segment, bytes).unwrap();
    let server = Server::start(dir.path(), Options::default()).await;
    assert_eq!(stored(&server).await.len(), 9);
    assert!(server.log().contains("damaged"), "{}", server.log());
    assert_eq!(server.metric("hopline_log_damaged_records_total").await, 1.0);
}

#[tokio::test]
async fn a_damaged_parquet_file_is_found_by_verify_and_fails_only_queries_that_read_it() {
    let (mut server, _dir) = start().await;
    let grpc = Grpc::connect(&server.grpc).await;
    for n in 0..50 {
        assert_eq!(grpc.call(TRACES, span_bytes(n, 20), "gzip").await.code, 0);
    }
    assert!(server.stop().await.success());
    let file = files(&server.dir.join("data").join("spans"), "parquet").pop().expect("a file");
    let good = std::fs::read(&file).unwrap();
    let verify = || Command::new(binary()).args(["verify", "--data"]).arg(&server.dir).output().unwrap();
    assert!(verify().status.success());
    for at in [100, good.len() / 3, good.len() / 2, good.len() - 20] {
        let mut bytes = good.clone();
        bytes[at] ^= 0x01;
        std::fs::write(&file, bytes).unwrap();
        let output = verify();
        assert_eq!(output.status.code(), Some(3), "byte {at}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(file.file_name().unwrap().to_str().unwrap()), "{text}");
    }
    // The server goes on with a damaged file: queries over it fail with a clear error, new data is taken.
    let mut bytes = good.clone();
    let end = bytes.len() - 30;
    bytes[end..].fill(0xff);
    std::fs::write(&file, bytes).unwrap();
    let server = server.again().await;
    let answer = server.try_sql("SELECT max(length(name)), count(trace_state) FROM spans").await;
    assert!(answer.status >= 500, "{}", answer.text());
    assert!(answer.header("content-type").starts_with("application/problem+json"));
    assert_eq!(Grpc::connect(&server.grpc).await.call(TRACES, span_bytes(1000, 1), "gzip").await.code, 0);
}

/// A small file system of its own, unmounted at the end.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// Nothing where this machine does not let tests mount; the storage crate's tests inject the fault there.
    fn mount(mib: u32) -> Option<SmallDisk> {
        let dir = TempDir::new().unwrap();
        let size = format!("size={mib}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).output();
        mounted.is_ok_and(|o| o.status.success()).then_some(SmallDisk(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn r14_a_full_disk_is_retryable_loses_nothing_and_passes() {
    let Some(disk) = SmallDisk::mount(16) else {
        eprintln!("mount is not permitted here: see the storage crate's fault tests");
        return;
    };
    let server = Server::start(disk.0.path(), Options::default()).await;
    let grpc = Grpc::connect(&server.grpc).await;
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![1; 12 << 20]).unwrap();
    let noise = |n: u64| {
        // Incompressible, so that the disk is full after a few.
        let mut random = StdRng::seed_from_u64(n);
        let name: String = (0..200_000).map(|_| random.random_range(b'!'..=b'~') as char).collect();
        let span = opentelemetry_proto::tonic::trace::v1::Span { name, ..crate::otlp::span(n, 0) };
        prost::Message::encode_to_vec(&crate::otlp::traces("it", vec![span]))
    };
    let mut acknowledged = 0;
    let refused = loop {
        let answer = grpc.call(TRACES, noise(acknowledged), "identity").await;
        if answer.code != 0 {
            break answer;
        }
        acknowledged += 1;
        assert!(acknowledged < 200, "the disk never fills");
    };
    assert_eq!(refused.code, 14, "{refused:?}");
    assert!(acknowledged > 3);
    let url = format!("http://{}/v1/traces", server.http);
    let headers = [("content-type", "application/x-protobuf")];
    assert_eq!(crate::client::post(&url, &headers, noise(acknowledged)).await.status, 503);
    assert_eq!(server.number("SELECT count(*) FROM spans").await, acknowledged as i64, "queries go on");
    std::fs::remove_file(&ballast).unwrap();
    until("it recovers by itself", async || grpc.call(TRACES, noise(acknowledged), "identity").await.code == 0).await;
    let server = server.kill_and_restart().await;
    assert_eq!(server.number("SELECT count(DISTINCT trace_id) FROM spans").await, acknowledged as i64 + 1);
    assert_eq!(server.number("SELECT count(*) FROM spans").await, acknowledged as i64 + 1);
}

#[tokio::test]
async fn a_data_folder_of_a_newer_version_is_refused() {
    let (mut server, dir) = start().await;
    assert!(server.stop().await.success());
    let version = ["VERSION", "hopline.json"].map(|n| server.dir.join(n)).into_iter().find(|p| p.exists()).unwrap();
    let text = std::fs::read_to_string(&version).unwrap();
    let newer: String = text.replace(|c: char| c.is_ascii_digit(), "9");
    std::fs::write(&version, newer).unwrap();
    let (status, said) = Server::refused(dir.path(), "");
    assert!(!status.success() && said.contains("newer"), "{said}");
}

#[tokio::test]
async fn a_second_server_on_one_folder_is_refused() {
    let (server, dir) = start().await;
    let (status, said) = Server::refused(dir.path(), "");
    assert!(!status.success() && said.contains("another"), "{said}");
    assert_eq!(Grpc::connect(&server.grpc).await.call(TRACES, span_bytes(1, 1), "gzip").await.code, 0);
}

#[tokio::test]
async fn a_second_signal_ends_at_once_and_loses_nothing() {
    let (mut server, _dir) = start().await;
    let grpc = Grpc::connect(&server.grpc).await;
    for n in 0..20 {
        assert_eq!(grpc.call(TRACES, span_bytes(n, 3), "gzip").await.code, 0);
    }
    server.signal("TERM");
    server.signal("INT");
    server.ended().await;
    let server = server.again().await;
    assert_eq!(server.number("SELECT count(*) FROM spans").await, 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_loses_and_doubles_nothing() {
    let (mut server, _dir) = start_with(BUSY).await;
    let (next, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let senders: Vec<_> =
        (0..8).map(|_| tokio::spawn(sender(server.grpc.clone(), next.clone(), stop.clone()))).collect();
    until("load", async || next.load(Relaxed) > 100).await;
    let began = std::time::Instant::now();
    assert!(server.stop().await.success(), "{}", server.log());
    assert!(began.elapsed() < PATIENCE);
    stop.store(true, Relaxed);
    let (mut acknowledged, mut unanswered) = (Vec::new(), Vec::new());
    for sender in senders {
        let (done, lost) = sender.await.unwrap();
        acknowledged.extend(done);
        unanswered.extend(lost);
    }
    assert!(segments(&server.dir).iter().all(|s| std::fs::metadata(s).unwrap().len() < 9000), "flushed at the end");
    let server = server.again().await;
    let grpc = Grpc::connect(&server.grpc).await;
    for n in unanswered {
        assert_eq!(grpc.call(TRACES, span_bytes(n, 3), "gzip").await.code, 0);
        acknowledged.push(n);
    }
    let stored = stored(&server).await;
    assert_eq!(stored.len(), acknowledged.len());
    assert!(acknowledged.iter().all(|n| stored.get(&hex(&trace_id(*n))) == Some(&3)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_sees_each_row_once_while_files_are_flushed_and_merged() {
    let (server, _dir) = start_with(BUSY).await;
    let grpc = Grpc::connect(&server.grpc).await;
    for n in 0..400u64 {
        assert_eq!(grpc.call(TRACES, span_bytes(n, 3), "gzip").await.code, 0);
        if n % 4 == 0 {
            let row = server
                .sql("SELECT count(*), count(DISTINCT trace_id), count(DISTINCT span_id) FROM spans")
                .await
                .remove(0);
            let traces = n as i64 + 1;
            assert_eq!((row[0].as_i64(), row[1].as_i64(), row[2].as_i64()), (Some(traces * 3), Some(traces), Some(3)));
        }
    }
    until("a compaction happened", async || {
        server.get("/metrics").await.text().lines().any(|l| {
            l.starts_with("hopline_compaction")
                && l.rsplit_once(' ').is_some_and(|(_, v)| v.parse::<f64>().is_ok_and(|v| v > 0.0))
        })
    })
    .await;
    assert_eq!(server.number("SELECT count(*) FROM spans").await, 1200);
}
