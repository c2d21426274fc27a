//! Settings under `[collector]`.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

const MIB: usize = 1 << 20;
/// The log's records hold a body as it came, and may be 256 MiB with all that belongs to it.
pub(crate) const REQUEST_BYTES_MAX: usize = 192 * MIB;

/// Settings under `[collector]`. Every field has a default that works on a laptop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where OTLP/gRPC is served. Both ports speak both protocols; there are two because
    /// clients expect two. Port 0 takes a free one.
    pub grpc_addr: SocketAddr,
    /// Where OTLP/HTTP is served.
    pub http_addr: SocketAddr,
    /// Largest request taken, as sent and after decompression; at most 192 MiB.
    pub max_request_bytes: usize,
    /// Bytes of requests that may be read, decompressed or wait for the log at once; beyond
    /// it, clients are told to retry.
    pub max_pending_bytes: usize,
    /// How long a request may wait for its share of `max_pending_bytes` before it is refused.
    pub admission_wait_ms: u64,
    /// What clients that are told to retry are told to wait.
    pub retry_after_ms: u64,
    /// Longest time from the head of a request to the last byte of its body.
    pub request_timeout_ms: u64,
    /// Longest time from the first byte of an HTTP/1 request, or of a connection, to the end
    /// of the request's head.
    pub header_timeout_ms: u64,
    /// A connection without a request for this long is closed.
    pub idle_timeout_ms: u64,
    /// Connections held at once, both ports together; further ones are closed when accepted.
    pub max_connections: usize,
    /// Requests at once on one HTTP/2 connection.
    pub max_concurrent_streams: u32,
    /// Pause between the pings by which dead HTTP/2 connections are found.
    pub keepalive_interval_ms: u64,
    /// How long such a ping may stay unanswered.
    pub keepalive_timeout_ms: u64,
    /// Decompressed bytes that share one append and one sync of the log. A larger request
    /// makes a group of its own.
    pub max_group_bytes: usize,
    /// Whether hop keys and facts of invocations are derived from what comes. Without them there are no flows over
    /// hops, no functions and no invocations of what came meanwhile.
    pub stitch: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            grpc_addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 4317)),
            http_addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 4318)),
            max_request_bytes: 64 * MIB,
            max_pending_bytes: 192 * MIB,
            admission_wait_ms: 50,
            retry_after_ms: 1_000,
            request_timeout_ms: 60_000,
            header_timeout_ms: 60_000,
            idle_timeout_ms: 300_000,
            max_connections: 10_000,
            max_concurrent_streams: 256,
            keepalive_interval_ms: 60_000,
            keepalive_timeout_ms: 20_000,
            max_group_bytes: 8 * MIB,
            stitch: true,
        }
    }
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} = {value}: {reason}")]
pub struct ConfigError {
    /// The key, with its section.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Config {
    /// Checks what types cannot.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let at_least = |key: &'static str, value: u64, least: u64, why: &str| {
            if value >= least {
                return Ok(());
            }
            let reason = format!("must be at least {least}{why}");
            Err(ConfigError { key, value: value.to_string(), reason })
        };
        let request = self.max_request_bytes as u64;
        at_least("collector.max_request_bytes", request, 1024, "")?;
        if self.max_request_bytes > REQUEST_BYTES_MAX {
            let reason = format!("must be at most {REQUEST_BYTES_MAX}: the log takes no larger records");
            return Err(ConfigError { key: "collector.max_request_bytes", value: request.to_string(), reason });
        }
        let pending = self.max_pending_bytes as u64;
        let why = ": a largest request and what it decompresses to";
        at_least("collector.max_pending_bytes", pending, 2 * request + super::admit::OVERHEAD as u64, why)?;
        at_least("collector.request_timeout_ms", self.request_timeout_ms, 1, "")?;
        at_least("collector.header_timeout_ms", self.header_timeout_ms, 1, "")?;
        at_least("collector.idle_timeout_ms", self.idle_timeout_ms, 1, "")?;
        at_least("collector.max_connections", self.max_connections as u64, 1, "")?;
        at_least("collector.max_concurrent_streams", self.max_concurrent_streams.into(), 1, "")?;
        at_least("collector.keepalive_interval_ms", self.keepalive_interval_ms, 1, "")?;
        at_least("collector.keepalive_timeout_ms", self.keepalive_timeout_ms, 1, "")?;
        at_least("collector.max_group_bytes", self.max_group_bytes as u64, 1, "")
    }

    pub(crate) fn retry_after(&self) -> Duration {
        Duration::from_millis(self.retry_after_ms)
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }
}
