//! The door to the server: the stock OTLP exporters over one connection.

use std::time::Duration;

use anyhow::Context as _;
use bytes::{Buf as _, BufMut as _, Bytes};
use opentelemetry_otlp::{
    LogExporter, MetricExporter, RetryPolicy, SpanExporter, WithExportConfig as _, WithTonicConfig as _,
};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::Temporality;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};

use crate::exit::Exit;

/// How long an export may take, retries included.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The first pause between two tries; each is twice as long as the one before.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The longest pause between two tries.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Makes exporters.
#[derive(Debug, Clone)]
pub(crate) struct Exporters {
    channel: Channel,
}

impl Exporters {
    /// Exporters to `endpoint`, which must answer now.
    pub(crate) async fn connect(endpoint: &str) -> anyhow::Result<Exporters> {
        let wrong = || {
            Exit::usage(format!(
                "--endpoint {endpoint:?}: a URL such as http://127.0.0.1:4317 is expected, without TLS"
            ))
        };
        let uri: http::Uri = endpoint.parse().map_err(|_| wrong())?;
        if uri.scheme_str() != Some("http") || uri.host().is_none_or(str::is_empty) {
            return Err(wrong().into());
        }
        let endpoint = Endpoint::from(uri.clone());
        let channel = endpoint.connect_timeout(Duration::from_secs(5)).connect().await;
        let channel = channel.with_context(|| format!("connect to {uri}: is `hopline serve` running?"))?;
        Ok(Exporters { channel })
    }

    /// An exporter of spans.
    pub(crate) fn spans(&self) -> anyhow::Result<SpanExporter> {
        let builder = SpanExporter::builder().with_tonic().with_channel(self.channel.clone());
        builder.with_timeout(TIMEOUT).with_retry_policy(policy()).build().context("make the span exporter")
    }

    /// An exporter of log records.
    pub(crate) fn logs(&self) -> anyhow::Result<LogExporter> {
        let builder = LogExporter::builder().with_tonic().with_channel(self.channel.clone());
        builder.with_timeout(TIMEOUT).with_retry_policy(policy()).build().context("make the log exporter")
    }

    /// An exporter of delta metrics.
    pub(crate) fn metrics(&self) -> anyhow::Result<MetricExporter> {
        let builder = MetricExporter::builder().with_tonic().with_channel(self.channel.clone());
        let builder = builder.with_timeout(TIMEOUT).with_retry_policy(policy()).with_temporality(Temporality::Delta);
        builder.build().context("make the metric exporter")
    }

    /// Exports metrics that are OTLP already, with the exporters' patience.
    pub(crate) async fn metrics_bytes(&self, request: Bytes) -> Result<(), tonic::Status> {
        let mut wait = FIRST_WAIT;
        let began = tokio::time::Instant::now();
        loop {
            let status = match self.metrics_once(request.clone()).await {
                Ok(()) => return Ok(()),
                Err(status) => status,
            };
            use tonic::Code::{
                Aborted, Cancelled, DataLoss, DeadlineExceeded, OutOfRange, ResourceExhausted, Unavailable, Unknown,
            };
            // Unknown is what tonic calls a connection that broke.
            let retryable = matches!(
                status.code(),
                Aborted
                    | Cancelled
                    | DataLoss
                    | DeadlineExceeded
                    | OutOfRange
                    | ResourceExhausted
                    | Unavailable
                    | Unknown
            );
            if !retryable || began.elapsed() + wait > TIMEOUT {
                return Err(status);
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    async fn metrics_once(&self, request: Bytes) -> Result<(), tonic::Status> {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready().await.map_err(|e| tonic::Status::unavailable(e.to_string()))?;
        let path =
            http::uri::PathAndQuery::from_static("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export");
        grpc.unary(tonic::Request::new(request), path, Raw).await.map(|_| ())
    }
}

/// Exports again while the connection is what fails, for as long as a refusal is retried.
///
/// The stock exporters retry what the server calls retryable, and give up where a connection
/// breaks (tonic calls that unknown): a server that is started again must not cost the story.
pub(crate) async fn persistently<Work>(export: impl FnMut() -> Work) -> OTelSdkResult
where
    Work: Future<Output = OTelSdkResult>,
{
    persist(TIMEOUT, FIRST_WAIT, export).await
}

async fn persist<Work>(patience: Duration, first_wait: Duration, mut export: impl FnMut() -> Work) -> OTelSdkResult
where
    Work: Future<Output = OTelSdkResult>,
{
    let began = tokio::time::Instant::now();
    let mut wait = first_wait;
    loop {
        let done = export().await;
        match &done {
            Err(error) if is_broken(&error.to_string()) && began.elapsed() + wait <= patience => {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(WAIT_MAX);
            }
            _ => return done,
        }
    }
}

/// The exporters tell of a failure in words only.
fn is_broken(error: &str) -> bool {
    ["gRPC code: Unknown", "gRPC code: Cancelled", "gRPC code: Unavailable", "transport error", "h2 protocol error"]
        .iter()
        .any(|sign| error.contains(sign))
}

/// Patient: a server that is short of room must not lose what a seed says it has.
fn policy() -> RetryPolicy {
    RetryPolicy::recommended().with_max_retries(30).with_max_delay(WAIT_MAX)
}

/// Bytes as they are.
#[derive(Debug, Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, tonic::Status> {
        Ok(Some(bytes.copy_to_bytes(bytes.remaining())))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::cell::Cell;

    use opentelemetry_sdk::error::OTelSdkError;

    use super::*;

    /// Fails `times` with `error`; gives the outcome and how often was tried.
    async fn tried(times: u32, error: &str) -> (OTelSdkResult, u32) {
        let tries = Cell::new(0);
        let done = persist(Duration::from_millis(20), Duration::from_micros(1), || {
            tries.set(tries.get() + 1);
            let done = if tries.get() > times { Ok(()) } else { Err(OTelSdkError::InternalFailure(error.to_owned())) };
            async { done }
        });
        (done.await, tries.get())
    }

    #[tokio::test]
    async fn a_broken_connection_is_tried_again_for_a_while() {
        let broken = "TonicTracesClient export failed with gRPC code: Unknown: transport error: broken pipe";
        let (done, tries) = tried(2, broken).await;
        assert!(done.is_ok() && tries == 3);
        let (done, tries) = tried(u32::MAX, broken).await;
        assert!(done.is_err() && (2..20).contains(&tries), "{tries}");
        let (done, tries) = tried(1, "TonicTracesClient export failed with gRPC code: InvalidArgument").await;
        assert!(done.is_err() && tries == 1);
    }

    #[tokio::test]
    async fn a_bad_endpoint_is_a_wrong_flag() {
        for bad in ["nonsense", "https://127.0.0.1:1", "http://", ""] {
            let error = Exporters::connect(bad).await.err().unwrap();
            assert!(error.is::<Exit>() && error.to_string().contains("--endpoint"), "{bad}: {error:#}");
        }
    }
}
