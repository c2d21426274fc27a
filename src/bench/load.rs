//! Keeps the pace: sends a workload over several connections until a bound is reached.
//!
//! Closed loop: each sender sends again as soon as it is answered. Open loop (`--rate`):
//! request `n` is due at a fixed time and its latency counts from then, so that a slow
//! server cannot hide its slowness by slowing the load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use bytes::Bytes;
use tokio::task::JoinSet;

use super::client::{Answer, Client};
use super::encode::{Compression, Compressor, Format};
use super::histogram::Histogram;
use super::workload::Workload;

/// How long a request is sent again before it counts as refused.
const PATIENCE: Duration = Duration::from_secs(30);

/// Timers are as coarse as this.
const TIMER: Duration = Duration::from_millis(2);

/// Where to and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    /// The receiver's address.
    pub(crate) addr: SocketAddr,
    /// gRPC, or else HTTP.
    pub(crate) grpc: bool,
    /// How requests are written.
    pub(crate) format: Format,
    /// How they are compressed.
    pub(crate) compression: Compression,
}

/// How much and when to stop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Connections.
    pub(crate) connections: usize,
    /// Requests at once on each.
    pub(crate) concurrency: usize,
    /// No more requests than these.
    pub(crate) requests: u64,
    /// None begins later than this.
    pub(crate) length: Duration,
    /// Requests a second; none for as many as go.
    pub(crate) rate: Option<f64>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// From the first request to the last answer.
    pub(crate) wall: Duration,
    /// Spans that were acknowledged.
    pub(crate) acknowledged: u64,
    /// Requests that were acknowledged.
    pub(crate) requests: u64,
    /// Times a server said to come again.
    pub(crate) retried: u64,
    /// Spans that were not taken.
    pub(crate) refused: u64,
    /// Why the first of them was not.
    pub(crate) first_error: Option<String>,
    /// Body bytes of the acknowledged requests, as they were on the wire.
    pub(crate) bytes: u64,
    /// How long acknowledgements took.
    pub(crate) latencies: Histogram,
}

/// What all senders share.
#[derive(Debug)]
struct Shared {
    workload: Workload,
    target: Target,
    pace: Pace,
    next: AtomicU64,
    began: Instant,
    stop: AtomicBool,
}

/// Sends until a bound of `pace` is reached, or ctrl-C.
pub(crate) async fn run(workload: Workload, target: Target, pace: Pace) -> anyhow::Result<Outcome> {
    let mut clients = Vec::new();
    for _ in 0..pace.connections.max(1) {
        let first = client(target).await?;
        for _ in 1..pace.concurrency.max(1) {
            clients.push(match first.share() {
                Some(shared) => shared,
                None => client(target).await?,
            });
        }
        clients.push(first);
    }
    let shared =
        Shared { workload, target, pace, next: AtomicU64::new(0), began: Instant::now(), stop: AtomicBool::new(false) };
    let shared = Arc::new(shared);
    let mut senders = JoinSet::new();
    for client in clients {
        senders.spawn(sender(Arc::clone(&shared), client));
    }
    let mut total = Outcome::new();
    loop {
        tokio::select! {
            done = senders.join_next() => match done {
                Some(done) => total.merge(done.context("a sender ended by itself")??),
                None => break,
            },
            _ = tokio::signal::ctrl_c() => shared.stop.store(true, Ordering::Relaxed),
        }
    }
    total.wall = shared.began.elapsed();
    Ok(total)
}

/// Waits until `due`, and gives how much later than that it is. What the timer is off by does not count.
async fn wait_for(due: Instant, paced: bool) -> Duration {
    if !paced {
        return Duration::ZERO;
    }
    tokio::time::sleep_until(due.into()).await;
    let late = due.elapsed();
    if late > TIMER { late } else { Duration::ZERO }
}

async fn client(target: Target) -> anyhow::Result<Client> {
    match target.grpc {
        true => Client::grpc(target.addr, target.compression).await,
        false => Client::http(target.addr, target.compression, target.format).await,
    }
}

async fn sender(shared: Arc<Shared>, mut client: Client) -> anyhow::Result<Outcome> {
    let Shared { workload, target, pace, began, .. } = &*shared;
    let mut compressor = Compressor::new(target.compression).context("make a compressor")?;
    let mut outcome = Outcome::new();
    let mut body = Vec::new();
    loop {
        let n = shared.next.fetch_add(1, Ordering::Relaxed);
        if n >= pace.requests || shared.stop.load(Ordering::Relaxed) {
            return Ok(outcome);
        }
        let due = match pace.rate {
            Some(rate) => *began + Duration::from_secs_f64(n as f64 / rate),
            None => Instant::now(),
        };
        if due.duration_since(*began) >= pace.length || began.elapsed() >= pace.length {
            return Ok(outcome);
        }
        let late = wait_for(due, pace.rate.is_some()).await;
        workload.write(n, now(), &mut body);
        let mut request = Vec::with_capacity(body.len() / 2 + 64);
        request.extend_from_slice(client.open());
        compressor.append(&body, &mut request).context("compress a request")?;
        let begun = Instant::now().checked_sub(late).unwrap_or(due);
        let request = client.seal(request);
        if !outcome.one(&mut client, workload.spans, &request, begun).await {
            // The connection is gone: a fresh one, or the end when there is none.
            client = self::client(*target).await?;
        }
    }
}

impl Outcome {
    fn new() -> Outcome {
        Outcome {
            wall: Duration::ZERO,
            acknowledged: 0,
            requests: 0,
            retried: 0,
            refused: 0,
            first_error: None,
            bytes: 0,
            latencies: Histogram::new(),
        }
    }

    /// Sends one request until it is taken or refused for good. False when the connection broke.
    async fn one(&mut self, client: &mut Client, spans: u64, request: &Bytes, begun: Instant) -> bool {
        let mut wait = Duration::from_millis(50);
        let sent = request.len() as u64;
        loop {
            let answer = match client.send(request.clone()).await {
                Ok(answer) => answer,
                Err(error) => {
                    self.refuse(spans, format!("{error:#}"));
                    return false;
                }
            };
            match answer {
                Answer::Accepted { rejected } => {
                    self.latencies.record(begun.elapsed());
                    self.requests += 1;
                    self.bytes += sent;
                    self.acknowledged += spans.saturating_sub(rejected);
                    if rejected > 0 {
                        self.refuse(rejected, "rejected by a partial success".to_owned());
                    }
                    return true;
                }
                Answer::Retry(after) => {
                    self.retried += 1;
                    let pause = after.unwrap_or(wait);
                    if begun.elapsed() + pause > PATIENCE {
                        self.refuse(spans, "told to come again for 30 s".to_owned());
                        return true;
                    }
                    tokio::time::sleep(pause).await;
                    wait = (wait * 2).min(Duration::from_secs(1));
                }
                Answer::Refused(why) => {
                    self.refuse(spans, why);
                    return true;
                }
            }
        }
    }

    fn refuse(&mut self, spans: u64, why: String) {
        self.refused += spans;
        self.first_error.get_or_insert(why);
    }

    fn merge(&mut self, other: Outcome) {
        self.acknowledged += other.acknowledged;
        self.requests += other.requests;
        self.retried += other.retried;
        self.refused += other.refused;
        self.bytes += other.bytes;
        self.first_error = self.first_error.take().or(other.first_error);
        self.latencies.merge(&other.latencies);
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
