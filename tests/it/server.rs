//! The binary under test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::client;

/// How long a condition may take to come true on a busy machine before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running `hopline serve`. Dropping it kills the process; the folder goes with its [`TempDir`].
pub struct Server {
    child: Child,
    pub dir: PathBuf,
    pub api: String,
    pub grpc: String,
    pub http: String,
    options: Options,
}

/// What differs between the servers of the tests.
#[derive(Clone, Default)]
pub struct Options {
    /// Text of `hopline.toml`.
    pub config: String,
    /// Do not wait until the server says that it is ready.
    pub do_not_wait: bool,
}

pub fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_hopline")
}

/// A fresh server in a fresh folder.
pub async fn start() -> (Server, TempDir) {
    start_with("").await
}

/// A fresh server in a fresh folder, with this `hopline.toml`.
pub async fn start_with(config: &str) -> (Server, TempDir) {
    let temp = TempDir::new().unwrap();
    let server = Server::start(temp.path(), Options { config: config.into(), ..Options::default() }).await;
    (server, temp)
}

fn command(dir: &Path, options: &Options) -> Command {
    std::fs::create_dir_all(dir).unwrap();
    let file = dir.parent().unwrap().join(format!("{}.toml", dir.file_name().unwrap().to_string_lossy()));
    std::fs::write(&file, &options.config).unwrap();
    let mut command = Command::new(binary());
    command.arg("serve").arg("--data").arg(dir).arg("--config").arg(file);
    command.args(["--otlp-grpc", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0", "--api", "127.0.0.1:0"]);
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

impl Server {
    /// Starts a server with its data in `dir`/data.
    pub async fn start(dir: &Path, options: Options) -> Server {
        let data = dir.join("data");
        let _ = std::fs::remove_file(data.join("server.json"));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("server.log")).unwrap();
        let mut command = command(&data, &options);
        let mut child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().expect("the binary starts");
        let deadline = Instant::now() + PATIENCE;
        let addresses = loop {
            if let Ok(text) = std::fs::read(data.join("server.json")) {
                break serde_json::from_slice::<Value>(&text).expect("server.json is written at once");
            }
            let log = || std::fs::read_to_string(dir.join("server.log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "no server.json: {}", log());
            assert!(child.try_wait().unwrap().is_none(), "the server ended: {}", log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let address = |key: &str| addresses[key].as_str().unwrap_or_else(|| panic!("{key} in {addresses}")).to_string();
        let wait = !options.do_not_wait;
        let (api, grpc, http) = (address("api"), address("otlp_grpc"), address("otlp_http"));
        let server = Server { child, dir: data, api, grpc, http, options };
        if wait {
            server.until_ready().await;
        }
        server
    }

    /// Runs `serve` where it is expected to refuse to start: its exit status and what it said.
    pub fn refused(dir: &Path, config: &str) -> (ExitStatus, String) {
        let options = Options { config: config.into(), ..Options::default() };
        let mut command = command(&dir.join("data"), &options);
        let output = command.output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status, text)
    }

    pub async fn until_ready(&self) {
        until("the server is ready", async || {
            let answer = client::try_get(&format!("http://{}/readyz", self.api), &[]).await;
            answer.is_ok_and(|a| a.status == 200)
        })
        .await;
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, and what is left is started again.
    pub async fn kill_and_restart(mut self) -> Server {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.again().await
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// SIGTERM, and waits for the end.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended().await
    }

    /// Waits until the process has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the server does not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A new process on the same folder.
    pub async fn again(self) -> Server {
        let dir = self.dir.parent().unwrap().to_path_buf();
        let options = self.options.clone();
        drop(self);
        Server::start(&dir, options).await
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.parent().unwrap().join("server.log")).unwrap_or_default()
    }

    /// The rows of a query, as lists of JSON values.
    pub async fn sql(&self, query: &str) -> Vec<Vec<Value>> {
        let answer = self.try_sql(query).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        let answer = answer.json();
        assert_eq!(answer["complete"], true, "{answer}");
        serde_json::from_value(answer["rows"].clone()).unwrap()
    }

    pub async fn try_sql(&self, query: &str) -> client::Answer {
        let headers = [("content-type", "application/sql"), ("accept", "application/json")];
        client::post(&format!("http://{}/api/v1/sql", self.api), &headers, query.as_bytes().to_vec()).await
    }

    /// The single number of a query.
    pub async fn number(&self, query: &str) -> i64 {
        self.sql(query).await[0][0].as_i64().unwrap_or_else(|| panic!("{query}: not a number"))
    }

    pub async fn get(&self, path: &str) -> client::Answer {
        client::try_get(&format!("http://{}{path}", self.api), &[]).await.unwrap()
    }

    /// The value of one series of `/metrics`, 0 if it is not there.
    pub async fn metric(&self, series: &str) -> f64 {
        let text = self.get("/metrics").await.text();
        let line = text.lines().find(|l| l.rsplit_once(' ').is_some_and(|(name, _)| name == series));
        line.and_then(|l| l.rsplit_once(' ')).map_or(0.0, |(_, value)| value.parse().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Polls until `condition` holds.
pub async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "still not so: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
