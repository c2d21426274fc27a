//! The door to the server: the stock OTLP exporters over one connection.

use std::time::Duration;

use anyhow::Context as _;
use bytes::{Buf as _, BufMut as _, Bytes};
use opentelemetry_otlp::{
    LogExporter, MetricExporter, RetryPolicy, SpanExporter, WithExportConfig as _, WithTonicConfig as _,
};
use opentelemetry_sdk::metrics::Temporality;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};

/// How long an export may take, retries included.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Makes exporters.
#[derive(Debug, Clone)]
pub(crate) struct Exporters {
    channel: Channel,
}

impl Exporters {
    /// Exporters to `endpoint`, which must answer now.
    pub(crate) async fn connect(endpoint: &str) -> anyhow::Result<Exporters> {
        let endpoint = Endpoint::from_shared(endpoint.to_owned()).context("read --endpoint")?;
        let uri = endpoint.uri().clone();
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
        let mut wait = Duration::from_millis(100);
        let began = tokio::time::Instant::now();
        loop {
            let status = match self.metrics_once(request.clone()).await {
                Ok(()) => return Ok(()),
                Err(status) => status,
            };
            use tonic::Code::{
                Aborted, Cancelled, DataLoss, DeadlineExceeded, OutOfRange, ResourceExhausted, Unavailable,
            };
            let retryable = matches!(
                status.code(),
                Aborted | Cancelled | DataLoss | DeadlineExceeded | OutOfRange | ResourceExhausted | Unavailable
            );
            if !retryable || began.elapsed() + wait > TIMEOUT {
                return Err(status);
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(5));
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

/// Patient: a server that is short of room must not lose what a seed says it has.
fn policy() -> RetryPolicy {
    RetryPolicy::recommended().with_max_retries(30).with_max_delay(Duration::from_secs(5))
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
