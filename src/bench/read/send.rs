//! Sends made-up invocations, over several connections at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::task::JoinSet;

use super::invocations::{Invocation, Plan};
use crate::bench::client::{Answer, Client};
use crate::bench::encode::{Compression, Compressor};
use crate::bench::server::Server;

/// Connections, each with one request at a time.
const SENDERS: usize = 8;
/// Invocations of a request.
const AT_ONCE: usize = 200;
/// How long a request is sent again before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a server that says no time is left alone before a request is sent again.
const PAUSE: Duration = Duration::from_millis(100);

/// Sends all invocations, by time; how many requests that took. It is an error if one is not taken.
pub(super) async fn send(server: &Server, plan: Plan, all: &Arc<Vec<Invocation>>) -> anyhow::Result<u64> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut senders = JoinSet::new();
    for _ in 0..SENDERS {
        let client = Client::grpc(server.grpc, Compression::Gzip).await?;
        senders.spawn(sender(client, plan, Arc::clone(all), Arc::clone(&next)));
    }
    let mut requests = 0;
    while let Some(sent) = senders.join_next().await {
        requests += sent.context("a sender ended by itself")??;
    }
    Ok(requests)
}

async fn sender(
    mut client: Client,
    plan: Plan,
    all: Arc<Vec<Invocation>>,
    next: Arc<AtomicUsize>,
) -> anyhow::Result<u64> {
    let mut compressor = Compressor::new(Compression::Gzip).context("make a compressor")?;
    let (mut body, mut requests) = (Vec::new(), 0);
    loop {
        let from = next.fetch_add(AT_ONCE, Ordering::Relaxed).min(all.len());
        let some = all.get(from..(from + AT_ONCE).min(all.len())).unwrap_or_default();
        if some.is_empty() {
            return Ok(requests);
        }
        plan.write(some, &mut body);
        let mut request = client.open().to_vec();
        compressor.append(&body, &mut request).context("compress a request")?;
        let request = client.seal(request);
        let began = Instant::now();
        loop {
            match client.send(request.clone()).await? {
                Answer::Accepted { rejected: 0 } => break,
                Answer::Accepted { rejected } => bail!("the server rejected {rejected} spans of a request"),
                Answer::Refused(why) => bail!("the server refused a request: {why}"),
                Answer::Retry(_) if began.elapsed() > PATIENCE => {
                    bail!("the server told to come again for {} s", PATIENCE.as_secs())
                }
                Answer::Retry(after) => tokio::time::sleep(after.unwrap_or(PAUSE)).await,
            }
        }
        requests += 1;
    }
}
