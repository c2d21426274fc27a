//! A server whose wall clock is set back under load, by hours and by more than a year.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;

use crate::client::{self, Grpc, TRACES};
use crate::otlp::span_bytes;
use crate::server::{PATIENCE, binary, until};

const CONFIG: &str =
    "[storage]\nflush_rows = 30\nflush_age_s = 0\nflush_small_age_s = 0\nsegment_bytes = 8192\ncompact_files_min = 2\n";

/// The shim, compiled; nothing where there is no C compiler or no way to preload.
fn shim(dir: &Path) -> Option<PathBuf> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let (source, made) = (dir.join("clock.c"), dir.join("clock.so"));
    std::fs::write(&source, include_str!("clock.c")).unwrap();
    let cc = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&made).arg(source).arg("-ldl").output();
    let cc = cc.ok()?;
    assert!(cc.status.success(), "{}", String::from_utf8_lossy(&cc.stderr));
    Some(made)
}

/// A server that has the shim.
struct Shifted {
    child: Child,
    data: PathBuf,
    api: String,
    grpc: Grpc,
}

impl Drop for Shifted {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Shifted {
    async fn start(dir: &Path, shim: &Path) -> Shifted {
        let (data, config) = (dir.join("data"), dir.join("h.toml"));
        let _ = std::fs::remove_file(data.join("server.json"));
        std::fs::write(&config, CONFIG).unwrap();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("server.log")).unwrap();
        let mut command = Command::new(binary());
        command.arg("serve").arg("--data").arg(&data).arg("--config").arg(config);
        command.args(["--otlp-grpc", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0", "--api", "127.0.0.1:0"]);
        command.env("LD_PRELOAD", shim).env("CLOCK_OFFSET_FILE", dir.join("offset")).env_remove("RUST_LOG");
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let read = || serde_json::from_slice::<Value>(&std::fs::read(data.join("server.json")).ok()?).ok();
        until("server.json is there", async || read().is_some()).await;
        let addresses = read().unwrap();
        let address = |key: &str| addresses[key].as_str().unwrap().to_owned();
        let api = address("api");
        let is_ready =
            async || client::try_get(&format!("http://{api}/readyz"), &[]).await.is_ok_and(|a| a.status == 200);
        until("the server is ready", is_ready).await;
        let grpc = Grpc::connect(&address("otlp_grpc")).await;
        Shifted { child, data, api, grpc }
    }

    async fn number(&self, query: &str) -> i64 {
        let headers = [("content-type", "application/sql"), ("accept", "application/json")];
        let url = format!("http://{}/api/v1/sql", self.api);
        let answer = client::post(&url, &headers, query.as_bytes().to_vec()).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        answer.json()["rows"][0][0].as_i64().unwrap_or_else(|| panic!("{query}: {}", answer.text()))
    }

    async fn send(&self, traces: std::ops::Range<u64>) {
        for n in traces {
            assert_eq!(self.grpc.call(TRACES, span_bytes(n, 3), "gzip").await.code, 0);
        }
    }

    /// Every trace up to `traces` is there, each span once.
    async fn has(&self, traces: i64) {
        assert_eq!(self.number("SELECT count(DISTINCT trace_id) FROM spans").await, traces);
        assert_eq!(self.number("SELECT count(*) FROM spans").await, traces * 3);
    }

    async fn now_s(&self) -> i64 {
        self.number("SELECT CAST(extract(epoch FROM now()) AS BIGINT)").await
    }

    async fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the server does not end");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn a_clock_that_goes_backwards_loses_and_doubles_nothing() {
    let dir = TempDir::new().unwrap();
    let Some(shim) = shim(dir.path()) else {
        eprintln!("SKIPPED: no cc here, or not Linux: the storage crate's test with a clock of its own stands alone");
        return;
    };
    let offset = dir.path().join("offset");
    let set = |seconds: i64| std::fs::write(&offset, seconds.to_string()).unwrap();
    set(0);
    let server = Shifted::start(dir.path(), &shim).await;
    let start = server.now_s().await;
    server.send(0..20).await;
    set(-3_600);
    assert!(server.now_s().await < start - 3_000, "the shim does not work");
    // Retries are recognised although they seem to come before the first try.
    server.send(15..40).await;
    set(-400 * 86_400);
    server.send(35..60).await;
    let merged = async || {
        let metrics = client::try_get(&format!("http://{}/metrics", server.api), &[]).await.unwrap().text();
        let is_merge = |l: &str| l.starts_with("hopline_compaction_seconds_count") && !l.ends_with(" 0");
        metrics.lines().any(is_merge)
    };
    until("files are merged", merged).await;
    server.has(60).await;
    // kill -9, and a start with the clock still back.
    drop(server);
    let server = Shifted::start(dir.path(), &shim).await;
    server.has(60).await;
    server.send(55..80).await;
    // Before 1970 there is nothing: the clock of a board without a battery.
    set(-start);
    server.send(80..90).await;
    server.has(90).await;
    let data = server.data.clone();
    server.stop().await;
    let verify = Command::new(binary()).args(["verify", "--data"]).arg(&data).output().unwrap();
    assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stdout));
    let server = Shifted::start(dir.path(), &shim).await;
    server.has(90).await;
}
