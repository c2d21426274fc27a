//! Wrong flags: exit code 2, and a message that says which flag, which value and what is expected.

use std::process::Command;

use crate::server::{binary, start};

/// Runs the binary: its exit code, and what it said.
fn run(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(binary()).args(args).env_remove("HOPLINE_SERVER").output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

#[track_caller]
fn refused(args: &[&str], says: &[&str]) {
    let (code, text) = run(args);
    assert_eq!(code, Some(2), "{args:?}: {text}");
    assert!(says.iter().all(|s| text.contains(s)), "{args:?}: {says:?} in {text}");
}

#[test]
fn bad_values_are_refused_before_a_server_is_asked() {
    // Nothing listens there.
    let server = "--server=http://127.0.0.1:9";
    for (args, says) in [
        (&["search", "--min-duration", "soon"][..], ["--min-duration", "soon", "such as 10ms"]),
        (&["search", "--max-duration=-1s"], ["--max-duration", "-1s", "such as 10ms"]),
        (&["search", "--start", "yesterday"], ["--start", "yesterday", "or -1h"]),
        (&["search", "--end", "-5"], ["--end", "-5", "or -1h"]),
        (&["search", "--limit", "0"], ["--limit", "0", "1..=1000000"]),
        (&["search", "--kind", "x"], ["--kind", "'x'", "consumer"]),
        (&["search", "--order", "x"], ["--order", "'x'", "slowest"]),
        (&["tail", "--min-duration", "x"], ["--min-duration", "'x'", "such as 10ms"]),
        (&["tail", "logs", "--severity-min", "loud"], ["--severity-min", "loud", "FATAL"]),
        (&["tail", "traces"], ["traces", "spans", "metrics"]),
        (&["trace", "xyz"], ["xyz", "ID", "32"]),
        (&["sql", "--timeout", "0", "SELECT 1"], ["--timeout", "0", "1..=86400"]),
        (&["sql", "--format", "xml", "SELECT 1"], ["--format", "xml", "ndjson"]),
    ] {
        refused(&[args, &[server]].concat(), &says);
    }
    refused(&["search", "--server", "ftp://x"], &["ftp://x", "URL"]);
    refused(&["serve", "--otlp-grpc", "here"], &["--otlp-grpc", "here"]);
    refused(&["serve", "--log-level", "loud"], &["log.level", "loud", "warn"]);
}

#[test]
fn bad_values_of_the_demo_are_refused() {
    refused(&["demo", "--from", "yesterday"], &["--from", "yesterday", "-24h"]);
    refused(&["demo", "--from", "-1h", "--to", "x"], &["--to", "\"x\"", "-24h"]);
    refused(&["demo", "--from", "-1h", "--to", "-2h"], &["--from -1h", "--to -2h"]);
    refused(&["demo", "--for", "long"], &["--for", "long", "90s"]);
    for bad in ["0", "-1", "NaN", "1e300", "many"] {
        refused(&["demo", &format!("--rate={bad}")], &["--rate", bad, "0.001 to 10000"]);
    }
    refused(&["demo", "--orders", "0"], &["--orders", "0", "1.."]);
    refused(&["demo", "--endpoint", "nonsense"], &["--endpoint", "nonsense", "http://127.0.0.1:4317"]);
    refused(&["demo", "--style", "x"], &["--style", "'x'", "mixed"]);
}

#[tokio::test]
async fn what_only_the_server_can_refuse_is_a_wrong_flag_too() {
    let (server, _dir) = start().await;
    let server = format!("--server=http://{}", server.api);
    for (args, says) in [
        (&["search", "--attr", "=1"][..], &["--attr", "=1"][..]),
        (&["search", "--start", "2026-99-99"], &["--start 2026-99-99", "expected"]),
        (&["search", "--start", "-1h", "--end", "-2h"], &["--end", "later than start"]),
        (&["tail", "metrics", "--kind", "server"], &["--kind", "metrics"]),
    ] {
        refused(&[args, &[server.as_str()]].concat(), says);
    }
    // What the flags take, the server takes.
    for value in ["10ms", "1.5s", "2h", "500", "3 s", "1w"] {
        let (code, text) = run(&["search", "--min-duration", value, &server]);
        assert_eq!(code, Some(0), "{value}: {text}");
    }
    for value in
        ["now", "-1h", "now-1.5d", "1769860800", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00+01:00", "2026-01-31"]
    {
        let (code, text) = run(&["search", "--start", value, &server]);
        assert_eq!(code, Some(0), "{value}: {text}");
    }
    // A query that is wrong is an answer, not a wrong flag.
    let (code, text) = run(&["sql", "SELECT nothing FROM spans", &server]);
    assert_eq!(code, Some(1), "{text}");
}

#[test]
fn all_wrong_settings_are_told_at_once() {
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("h.toml");
    std::fs::write(&file, "[storage]\nzstd_level = 99\nsegment_bytes = 1\n[query]\nrows_max = 0\n[api]\naddr = 5\n")
        .unwrap();
    let keys = ["zstd_level", "segment_bytes", "query.rows_max", "api.addr", "4 errors"];
    refused(&["config", "check", "--config", file.to_str().unwrap()], &keys);
    refused(&["config", "check", "--config", dir.path().to_str().unwrap()], &["is a folder, not a file"]);
    std::fs::create_dir(dir.path().join("hopline.toml")).unwrap();
    let output = Command::new(binary()).args(["config", "check"]).current_dir(dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("hopline.toml is a folder"));
}

#[test]
fn a_file_with_settings_that_is_named_must_be_there() {
    for args in [
        &["sql", "SELECT 1"][..],
        &["sql", "SELECT 1", "--data", "/nonexistent"],
        &["trace", "0af7651916cd43dd8448eb211c80319c"],
        &["search"],
        &["tail"],
        &["demo", "--from", "-1h"],
        &["verify"],
        &["completions", "bash"],
    ] {
        refused(&[args, &["--config", "/nonexistent.toml"]].concat(), &["configuration", "/nonexistent.toml"]);
    }
    // Where settings are used, wrong ones are told, whoever answers.
    let dir = tempfile::TempDir::new().unwrap();
    let mut command = Command::new(binary());
    command.args(["sql", "SELECT 1", "--data"]).arg(dir.path()).env("HOPLINE_QUERY__ROWS_MAX", "many");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("HOPLINE_QUERY__ROWS_MAX"));
}

#[test]
fn no_folder_is_made_for_a_server_whose_port_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let dir = tempfile::TempDir::new().unwrap();
    let data = dir.path().join("new");
    for (flag, key) in
        [("--api", "api.addr"), ("--otlp-grpc", "collector.grpc_addr"), ("--otlp-http", "collector.http_addr")]
    {
        let free = ["--api", "--otlp-grpc", "--otlp-http"].into_iter().filter(|f| *f != flag);
        let mut command = Command::new(binary());
        command.args(["serve", flag, &taken, "--data"]).arg(&data).args(free.flat_map(|f| [f, "127.0.0.1:0"]));
        let output = command.output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(&format!("listen on {taken} ({key})")), "{text}");
        assert!(!data.exists(), "{flag}");
    }
}
