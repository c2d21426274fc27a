//! The server under test: started as a child of our own, or one that runs already.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::server_file::ServerFile;

/// How long a server may take to start, and to stop.
const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(300);

/// Linux counts CPU time for programs in hundredths of a second, whatever its own clock does.
pub(super) const TICKS_PER_SECOND: f64 = 100.0;

/// Which server to use.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Choice {
    /// Uses the running server of this data folder, instead of starting one
    #[arg(long, value_name = "DIR")]
    pub(crate) server: Option<PathBuf>,
    /// Where the folder of the server that is started is made [default: the system's folder for temporary files]
    #[arg(long, value_name = "DIR", conflicts_with = "server")]
    pub(crate) dir: Option<PathBuf>,
    /// Settings of the server that is started
    #[arg(long, value_name = "FILE", conflicts_with = "server")]
    pub(crate) server_config: Option<PathBuf>,
    /// Keeps the folder of the server that is started
    #[arg(long, conflicts_with = "server")]
    pub(crate) keep: bool,
}

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Server {
    /// Where OTLP/gRPC is.
    pub(crate) grpc: SocketAddr,
    /// Where OTLP/HTTP is.
    pub(crate) http: SocketAddr,
    /// From start to ready; none when it ran already.
    pub(crate) started_in: Option<Duration>,
    api: SocketAddr,
    pid: u32,
    own: Option<Own>,
}

/// What is ours of a server that we started.
#[derive(Debug)]
struct Own {
    child: Child,
    dir: PathBuf,
    keep: bool,
}

/// What a server has used so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Usage {
    /// CPU time, in user and system mode.
    pub(crate) cpu_s: f64,
    /// Memory held now.
    pub(crate) rss_bytes: Option<u64>,
    /// The most it ever held.
    pub(crate) peak_rss_bytes: Option<u64>,
}

/// What a server that we started leaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Left {
    /// CPU time from its start to its end.
    pub(crate) cpu_s: Option<f64>,
    /// Bytes of Parquet in its folder.
    pub(crate) parquet_bytes: u64,
}

impl Server {
    /// Starts a server, or finds the one that was chosen; ready when this returns.
    pub(crate) async fn open(choice: &Choice) -> anyhow::Result<Server> {
        match &choice.server {
            Some(dir) => {
                let file = ServerFile::read(dir);
                let file = file.with_context(|| format!("no server runs on {}", dir.display()))?;
                let server = Server::at(&file, None)?;
                server.get("/readyz").await.with_context(|| format!("ask the server of {}", dir.display()))?;
                Ok(server)
            }
            None => Server::start(choice).await,
        }
    }

    fn at(file: &ServerFile, own: Option<Own>) -> anyhow::Result<Server> {
        let addr = |text: &str| text.parse::<SocketAddr>().with_context(|| format!("{text:?} in server.json"));
        let (grpc, http, api) = (addr(&file.otlp_grpc)?, addr(&file.otlp_http)?, addr(&file.api)?);
        Ok(Server { grpc, http, api, pid: file.pid, started_in: None, own })
    }

    async fn start(choice: &Choice) -> anyhow::Result<Server> {
        let parent = choice.dir.clone().unwrap_or_else(std::env::temp_dir);
        let dir = parent.join(format!("hopline-bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        let mut command = Command::new(std::env::current_exe().context("find this program")?);
        if let Some(config) = &choice.server_config {
            command.arg("--config").arg(config);
        }
        command.args(["serve", "--otlp-grpc", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0", "--api", "127.0.0.1:0"]);
        command.args(["--log-level", "warn", "--data"]).arg(&dir).stdin(Stdio::null()).stdout(Stdio::null());
        let began = Instant::now();
        let child = command.spawn().context("start a server")?;
        let mut own = Own { child, dir, keep: choice.keep };
        loop {
            if let Some(status) = own.child.try_wait().context("look after the server")? {
                bail!("the server ended while it started: {status}");
            }
            if began.elapsed() > START {
                bail!("the server did not start within {} s", START.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            let Some(file) = ServerFile::read(&own.dir).filter(|f| f.pid == own.child.id()) else { continue };
            let mut server = Server::at(&file, None)?;
            if server.get("/readyz").await.is_ok() {
                server.started_in = Some(began.elapsed());
                server.own = Some(own);
                return Ok(server);
            }
        }
    }

    /// What it has used so far; none where that cannot be known.
    pub(crate) fn usage(&self) -> Option<Usage> {
        usage(self.pid)
    }

    /// Asks a SQL query: the rows of its answer.
    pub(crate) async fn sql(&self, query: &str) -> anyhow::Result<Vec<Vec<serde_json::Value>>> {
        let body = serde_json::json!({ "query": query, "timeout_ms": 120_000 }).to_string();
        let answer = request(self.api, Method::POST, "/api/v1/sql", Some(body)).await?;
        #[derive(serde::Deserialize)]
        struct Answer {
            rows: Vec<Vec<serde_json::Value>>,
        }
        let answer: Answer = serde_json::from_slice(&answer).context("read the answer to a query")?;
        Ok(answer.rows)
    }

    /// How many spans it has.
    pub(crate) async fn count_spans(&self) -> anyhow::Result<u64> {
        let rows = self.sql("select count(*) from spans").await?;
        let cell = rows.first().and_then(|row| row.first()).context("an answer without a count")?;
        let count = cell.as_u64().or_else(|| cell.as_str()?.parse().ok());
        count.with_context(|| format!("{cell} is no count"))
    }

    /// Gets a path of its API.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Bytes> {
        request(self.api, Method::GET, path, None).await
    }

    /// Stops a server that we started and says what it leaves; none for another one.
    pub(crate) async fn stop(mut self) -> anyhow::Result<Option<Left>> {
        let Some(own) = &mut self.own else { return Ok(None) };
        terminate(self.pid)?;
        let began = Instant::now();
        // Not reaped before its figures are read: what has ended still shows its CPU time until then.
        while !ended(self.pid) {
            if began.elapsed() > STOP {
                bail!("the server did not stop within {} s", STOP.as_secs());
            }
            if !cfg!(target_os = "linux") && own.child.try_wait().context("wait for the server")?.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let cpu_s = usage(self.pid).map(|u| u.cpu_s);
        let status = own.child.wait().context("wait for the server")?;
        let parquet_bytes = parquet_bytes(&own.dir).context("measure the data folder")?;
        if !status.success() {
            bail!("the server ended with {status}");
        }
        Ok(Some(Left { cpu_s, parquet_bytes }))
    }
}

impl Drop for Own {
    /// Leaves nothing behind, however the benchmark ends.
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
        if !self.keep {
            drop(std::fs::remove_dir_all(&self.dir));
        }
    }
}

/// Sends SIGTERM, without a library for it: every shell can.
fn terminate(pid: u32) -> anyhow::Result<()> {
    let status = Command::new("sh").arg("-c").arg(format!("kill -TERM {pid}")).status().context("stop the server")?;
    anyhow::ensure!(status.success(), "stop the server: kill said {status}");
    Ok(())
}

fn ended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    match stat {
        Ok(stat) => matches!(stat.rsplit_once(") ").map(|(_, rest)| rest.as_bytes().first()), Some(Some(b'Z' | b'X'))),
        Err(_) => cfg!(target_os = "linux"),
    }
}

/// What the process `pid` has used; `None` where there is no `/proc`.
pub(super) fn usage(pid: u32) -> Option<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold spaces and brackets: the fields are counted from behind it, where the third is.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11).map(str::parse::<f64>);
    let (user, system) = (fields.next()?.ok()?, fields.next()?.ok()?);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name))?;
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    Some(Usage {
        cpu_s: (user + system) / TICKS_PER_SECOND,
        rss_bytes: kib("VmRSS").map(|k| k * 1024),
        peak_rss_bytes: kib("VmHWM").map(|k| k * 1024),
    })
}

fn parquet_bytes(dir: &Path) -> std::io::Result<u64> {
    let mut total = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let (path, metadata) = (entry.path(), entry.metadata()?);
        if metadata.is_dir() {
            total += parquet_bytes(&path)?;
        } else if path.extension().is_some_and(|e| e == "parquet") {
            total += metadata.len();
        }
    }
    Ok(total)
}

/// One request on a connection of its own.
async fn request(addr: SocketAddr, method: Method, path: &str, json: Option<String>) -> anyhow::Result<Bytes> {
    let stream = TcpStream::connect(addr).await.with_context(|| format!("connect to {addr}"))?;
    let (mut send, connection) = http1::handshake(TokioIo::new(stream)).await.context("begin HTTP/1.1")?;
    tokio::spawn(async move { drop(connection.await) });
    let request = Request::builder().method(method).uri(path).header(HOST, addr.to_string());
    let request = request.header(ACCEPT, "application/json").header(CONTENT_TYPE, "application/json");
    let request = request.body(Full::new(Bytes::from(json.unwrap_or_default()))).context("make a request")?;
    let response = send.send_request(request).await.with_context(|| format!("ask for {path}"))?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.with_context(|| format!("read {path}"))?.to_bytes();
    if parts.status != StatusCode::OK {
        bail!("{path}: HTTP status {}: {}", parts.status, String::from_utf8_lossy(&body));
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_can_be_watched() {
        let me = usage(std::process::id()).unwrap();
        assert!(me.rss_bytes.unwrap() > 100_000 && me.peak_rss_bytes >= me.rss_bytes, "{me:?}");
        assert!(!ended(std::process::id()));
        let mut child = Command::new("sh").args(["-c", "exit 0"]).spawn().unwrap();
        while !ended(child.id()) {
            std::thread::sleep(Duration::from_millis(1));
        }
        // Ended, not yet reaped: its CPU time still shows.
        assert!(usage(child.id()).is_some());
        child.wait().unwrap();
    }

    #[test]
    fn parquet_is_summed_through_folders() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join("a/b/x.parquet"), [0; 70]).unwrap();
        std::fs::write(dir.path().join("a/y.parquet"), [0; 7]).unwrap();
        std::fs::write(dir.path().join("a/z.log"), [0; 1000]).unwrap();
        assert_eq!(parquet_bytes(dir.path()).unwrap(), 77);
    }
}
