//! Data folders that are not as they should be: lost manifests and files, foreign folders; and
//! what only looks at a folder leaves it as it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;

use tempfile::TempDir;

use crate::client::{Grpc, LOGS, TRACES};
use crate::otlp::span_bytes;
use crate::server::{Server, binary, start, start_with};

/// Runs a command of the binary on a folder.
fn hopline(args: &[&str], data: &Path) -> Output {
    let mut command = Command::new(binary());
    command.args(args).arg("--data").arg(data).env_remove("HOPLINE_SERVER").current_dir(std::env::temp_dir());
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Every file and folder below `dir`: size, time of change, content.
fn tree(dir: &Path) -> BTreeMap<PathBuf, (u64, SystemTime, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let about = std::fs::metadata(&path).unwrap();
        let content = if about.is_dir() { Vec::new() } else { std::fs::read(&path).unwrap() };
        let size = if about.is_dir() { 0 } else { about.len() };
        found.insert(path.clone(), (size, about.modified().unwrap(), content));
        if about.is_dir() {
            found.extend(tree(&path));
        }
    }
    found
}

fn parquet(data: &Path) -> Vec<PathBuf> {
    tree(&data.join("data")).into_keys().filter(|p| p.extension().is_some_and(|e| e == "parquet")).collect()
}

/// A folder with several files of spans, whose server was stopped.
async fn stopped() -> (PathBuf, TempDir) {
    let (mut server, dir) =
        start_with("[storage]\nflush_rows = 20\nflush_small_age_s = 0\nflush_age_s = 0\ncompact = false\n").await;
    let grpc = Grpc::connect(&server.grpc).await;
    for n in 0..60 {
        assert_eq!(grpc.call(TRACES, span_bytes(n, 3), "gzip").await.code, 0);
    }
    assert!(server.stop().await.success(), "{}", server.log());
    (server.dir.clone(), dir)
}

const READERS: [&[&str]; 3] = [&["sql", "SELECT count(*) FROM spans"], &["search"], &["verify"]];

#[tokio::test]
async fn lost_manifests_are_refused_and_no_file_is_deleted() {
    let (data, dir) = stopped().await;
    let before = parquet(&data);
    assert!(!before.is_empty());
    std::fs::rename(data.join("manifest"), dir.path().join("manifest")).unwrap();
    // No age keeps them.
    let (status, text) = Server::refused(dir.path(), "[storage]\norphan_age_s = 0\n");
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("manifests are lost") && text.contains("from a backup"), "{text}");
    for (args, code) in [(READERS[0], 1), (READERS[1], 1), (READERS[2], 3), (&["compact"][..], 1), (&["expire"], 1)] {
        let output = hopline(args, &data);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", said(&output));
        assert!(said(&output).contains("manifests are lost"), "{args:?}: {}", said(&output));
    }
    assert_eq!(parquet(&data), before);
    std::fs::remove_dir_all(data.join("manifest")).ok();
    std::fs::rename(dir.path().join("manifest"), data.join("manifest")).unwrap();
    assert!(hopline(READERS[2], &data).status.success());
}

#[tokio::test]
async fn a_missing_data_file_is_named_and_can_be_given_up() {
    let (data, dir) = stopped().await;
    let lost = parquet(&data).remove(0);
    std::fs::remove_file(&lost).unwrap();
    let name = lost.file_name().unwrap().to_str().unwrap();
    let verify = hopline(&["verify"], &data);
    assert_eq!(verify.status.code(), Some(3));
    assert!(said(&verify).contains(name) && said(&verify).contains("the file is missing"), "{}", said(&verify));
    assert!(said(&verify).contains("expire --missing"), "{}", said(&verify));
    let query = hopline(&["sql", "SELECT count(*), max(name) FROM spans"], &data);
    assert_eq!(query.status.code(), Some(1));
    assert!(said(&query).contains(name) && said(&query).contains("from a backup"), "{}", said(&query));
    // The server starts, says so and takes what comes.
    let server = Server::start(dir.path(), crate::server::Options::default()).await;
    assert!(server.log().contains(name), "{}", server.log());
    assert_eq!(Grpc::connect(&server.grpc).await.call(TRACES, span_bytes(1000, 3), "gzip").await.code, 0);
    server.kill();
    let expire = hopline(&["expire", "--missing"], &data);
    assert!(expire.status.success() && said(&expire).contains("given up"), "{}", said(&expire));
    let query = hopline(&["sql", "--format", "csv", "SELECT count(*), max(name) FROM spans"], &data);
    assert!(query.status.success(), "{}", said(&query));
    assert!(hopline(&["verify"], &data).status.success());
}

#[tokio::test]
async fn files_that_no_manifest_names_are_a_warning_of_verify() {
    let (data, _dir) = stopped().await;
    let folder = parquet(&data)[0].parent().unwrap().to_owned();
    std::fs::write(folder.join("abc-000000000001-spans.parquet"), "not ours").unwrap();
    let verify = hopline(&["verify"], &data);
    assert_eq!(verify.status.code(), Some(0));
    assert!(said(&verify).contains("abc-000000000001-spans.parquet"), "{}", said(&verify));
}

#[tokio::test]
async fn what_is_no_data_folder_is_refused_and_left_alone() {
    let dir = TempDir::new().unwrap();
    let foreign = dir.path().join("data");
    std::fs::create_dir(&foreign).unwrap();
    let commands = READERS.into_iter().chain([&["compact"][..], &["expire"], &["tail"]]);
    for args in commands.clone() {
        let output = hopline(args, &foreign);
        assert_eq!(output.status.code(), Some(3), "{args:?}: {}", said(&output));
        assert!(said(&output).contains("is not a Hopline data folder"), "{args:?}: {}", said(&output));
        assert!(tree(&foreign).is_empty(), "{args:?} left something");
    }
    std::fs::write(foreign.join("letter.txt"), "Dear …").unwrap();
    let before = tree(&foreign);
    for args in commands {
        assert_eq!(hopline(args, &foreign).status.code(), Some(3), "{args:?}");
    }
    let (status, text) = Server::refused(dir.path(), "");
    assert_eq!(status.code(), Some(3), "{text}");
    assert!(text.contains("is not a Hopline data folder") && text.contains("letter.txt"), "{text}");
    assert_eq!(tree(&foreign), before);

    let file = foreign.join("letter.txt");
    for args in [&["serve"][..], &["verify"], READERS[0]] {
        let output = hopline(args, &file);
        assert_eq!(output.status.code(), Some(3), "{args:?}: {}", said(&output));
        assert!(said(&output).contains("it is a file, not a folder"), "{args:?}: {}", said(&output));
    }
    for args in READERS {
        let output = hopline(args, &dir.path().join("nowhere"));
        assert_eq!(output.status.code(), Some(3), "{args:?}: {}", said(&output));
        assert!(!dir.path().join("nowhere").exists());
    }
}

#[tokio::test]
async fn what_file_systems_and_operators_put_into_a_new_folder_does_not_matter() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir_all(data.join("lost+found")).unwrap();
    std::fs::write(data.join(".keep"), "").unwrap();
    let mut server = Server::start(dir.path(), crate::server::Options::default()).await;
    assert!(server.stop().await.success());
}

#[tokio::test]
async fn reading_a_folder_leaves_it_as_it_is() {
    let (server, _dir) = start().await;
    let grpc = Grpc::connect(&server.grpc).await;
    for n in 0..20 {
        assert_eq!(grpc.call(TRACES, span_bytes(n, 3), "gzip").await.code, 0);
    }
    // Killed: some is in the log only, and server.json is left.
    let data = server.dir.clone();
    server.kill();
    let (stopped, _other) = stopped().await;
    let trace = crate::otlp::hex(&crate::otlp::trace_id(3));
    for folder in [&data, &stopped] {
        let before = tree(folder);
        let trace: &[&str] = &["trace", &trace];
        let spill: &[&str] = &["sql", "SELECT name, span_id FROM spans ORDER BY span_id, name"];
        for args in READERS.into_iter().chain([trace, spill]) {
            let output = hopline(args, folder);
            assert!(output.status.success(), "{args:?}: {}", said(&output));
            assert_eq!(tree(folder), before, "after {args:?}");
        }
    }
}

#[tokio::test]
async fn a_log_record_without_any_time_is_found_now_and_given_back_without() {
    let (server, _dir) = start().await;
    let record = opentelemetry_proto::tonic::logs::v1::LogRecord { severity_text: "it".into(), ..Default::default() };
    let request = crate::otlp::logs("it", vec![record]);
    let grpc = Grpc::connect(&server.grpc).await;
    assert_eq!(grpc.call(LOGS, prost::Message::encode_to_vec(&request), "identity").await.code, 0);
    let recent = "SELECT count(*) FROM logs WHERE time > now() - INTERVAL '1 hour' AND observed_time IS NULL";
    let time = "SELECT CAST(time AS BIGINT) FROM logs";
    assert_eq!(server.number(recent).await, 1);
    let before = server.number(time).await;
    // The replay gives the same time.
    let server = server.kill_and_restart().await;
    assert_eq!(server.number(time).await, before);
}
