//! Waits until a server is quiet, asks again and again, and says what that took.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use crate::bench::machine::{Machine, Shares};
use crate::bench::server::{Server, Usage, usage};
use crate::demo::Nanos;

/// How often it is looked whether the server is quiet.
const LOOK: Duration = Duration::from_secs(1);
/// A server that uses more of a core than this is not quiet.
const QUIET_CPU: f64 = 0.1;

/// How long the answers to one question took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Timing {
    /// What was asked.
    pub(super) what: String,
    /// How often.
    pub(super) requests: usize,
    /// Half were as quick.
    pub(super) median_ms: f64,
    /// 90 of 100 were as quick.
    pub(super) p90_ms: f64,
    /// The slowest.
    pub(super) max_ms: f64,
    /// CPU of the server for each, whatever it did besides; none where that is not known.
    pub(super) server_cpu_ms: Option<f64>,
    /// The median is to be no more than this.
    pub(super) goal_ms: Option<f64>,
}

impl Timing {
    fn of(what: &str, mut times: Vec<Duration>, cpu_s: Option<f64>) -> Timing {
        times.sort_unstable();
        let requests = times.len();
        let ms = |q| quantile(&times, q).as_secs_f64() * 1e3;
        Timing {
            what: what.to_owned(),
            requests,
            median_ms: ms(0.5),
            p90_ms: ms(0.9),
            max_ms: ms(1.0),
            server_cpu_ms: cpu_s.map(|s| s * 1e3 / requests.max(1) as f64),
            goal_ms: None,
        }
    }

    /// The goal that was missed, in words.
    pub(super) fn missed(&self) -> Option<String> {
        let goal = self.goal_ms.filter(|goal| self.median_ms > *goal)?;
        Some(format!("{}: median {:.1} ms, the goal is {goal:.0} ms", self.what, self.median_ms))
    }
}

/// The least of sorted values that a share of `q` does not exceed; nothing of none.
fn quantile(sorted: &[Duration], q: f64) -> Duration {
    let rank = (sorted.len() as f64 * q).ceil().max(1.0) as usize;
    sorted.get(rank.min(sorted.len()).saturating_sub(1)).copied().unwrap_or_default()
}

/// Asks for a path `times` times, after `warm_ups` that do not count. Gives the answers besides.
pub(super) async fn ask(
    server: &Server,
    what: &str,
    path: &str,
    warm_ups: u32,
    times: u32,
) -> anyhow::Result<(Timing, Vec<Value>)> {
    for _ in 0..warm_ups {
        server.get(path).await?;
    }
    let before = server.usage();
    let mut took = Vec::new();
    let mut bodies: Vec<Bytes> = Vec::new();
    for _ in 0..times {
        let began = Instant::now();
        let body = server.get(path).await?;
        took.push(began.elapsed());
        bodies.push(body);
    }
    let cpu_s = before.zip(server.usage()).map(|(before, after)| after.cpu_s - before.cpu_s);
    let read = |body: &Bytes| serde_json::from_slice(body).with_context(|| format!("read the answer to {path}"));
    let answers = bodies.iter().map(read).collect::<anyhow::Result<Vec<Value>>>()?;
    Ok((Timing::of(what, took, cpu_s), answers))
}

/// The wall clock, in nanoseconds since 1970.
pub(super) fn now() -> Nanos {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Nanos::try_from(since.as_nanos()).unwrap_or(Nanos::MAX)
}

/// CPU time that was used until now, by whom.
#[derive(Debug)]
pub(super) struct Watch {
    all: Option<(Machine, Usage, Usage)>,
}

impl Watch {
    /// From now on.
    pub(super) fn begin(server: &Server) -> Watch {
        Watch { all: Watch::now(server) }
    }

    fn now(server: &Server) -> Option<(Machine, Usage, Usage)> {
        Some((Machine::now()?, server.usage()?, usage(std::process::id())?))
    }

    /// How the machine's CPU time was shared since it began; none where there is no `/proc`.
    pub(super) fn shares(&self, server: &Server) -> Option<Shares> {
        let ((from, of_server, of_load), (to, to_server, to_load)) = self.all.zip(Watch::now(server))?;
        from.shares(to, (of_server, to_server), (of_load, to_load))
    }
}

/// Waits until files neither came nor were merged for so long, and the server does next to nothing. How many files there
/// are then.
pub(super) async fn quiet(server: &Server, for_so_long: Duration, patience: Duration) -> anyhow::Result<u64> {
    let began = Instant::now();
    let (mut since, mut last) = (Instant::now(), None);
    loop {
        let before = server.usage();
        let looked = Instant::now();
        tokio::time::sleep(LOOK).await;
        let used = before.zip(server.usage()).map_or(0.0, |(before, after)| after.cpu_s - before.cpu_s);
        let status = serde_json::from_slice(&server.get("/api/v1/status").await?).context("read the status")?;
        let files = files(&status).context("a status without files")?;
        if last != Some(files) || used > QUIET_CPU * looked.elapsed().as_secs_f64() {
            (since, last) = (Instant::now(), Some(files));
        }
        if since.elapsed() >= for_so_long {
            return Ok(files);
        }
        if began.elapsed() > patience {
            bail!(
                "the server was not quiet after {} s: it has {files} files and used {used:.1} CPU-seconds in the last second",
                patience.as_secs()
            );
        }
    }
}

/// The files of all tables, of a status.
fn files(status: &Value) -> Option<u64> {
    status.get("tables")?.as_array()?.iter().map(|table| table.get("files")?.as_u64()).sum()
}

#[cfg(test)]
mod tests;
