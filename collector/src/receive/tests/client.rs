//! A client that can do what a well-behaved one never would.

use std::io::Write;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use tokio::net::TcpStream;

pub(super) const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
pub(super) const JSON: (&str, &str) = ("content-type", "application/json");
pub(super) const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
pub(super) const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
pub(super) const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// gRPC's, from the trailers or, without a message, the headers.
    pub(super) grpc_status: Option<u16>,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A trace request of `spans` spans that differs from others by `seed`.
pub(super) fn spans(seed: u64, spans: usize) -> Vec<u8> {
    let span = |i: usize| Span {
        trace_id: (u128::from(seed) << 64 | 1).to_be_bytes().to_vec(),
        span_id: (i as u64 + 1).to_be_bytes().to_vec(),
        name: "checkout".to_owned(),
        start_time_unix_nano: 1_700_000_000_000_000_000,
        end_time_unix_nano: 1_700_000_000_000_000_500,
        ..Span::default()
    };
    spans_of((0..spans).map(span).collect())
}

/// A trace request in which `bad` spans have no id.
pub(super) fn spans_with_bad(seed: u64, good: usize, bad: usize) -> Vec<u8> {
    let mut request = ExportTraceServiceRequest::decode(&spans(seed, good)[..]).unwrap();
    if request.resource_spans.is_empty() {
        request = ExportTraceServiceRequest::decode(&spans(seed, 1)[..]).unwrap();
        request.resource_spans[0].scope_spans[0].spans.clear();
    }
    let list = &mut request.resource_spans[0].scope_spans[0].spans;
    list.extend((0..bad).map(|_| Span { name: "no id".to_owned(), ..Span::default() }));
    request.encode_to_vec()
}

fn spans_of(spans: Vec<Span>) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

pub(super) fn logs(seed: u64) -> Vec<u8> {
    let log_records = vec![LogRecord { time_unix_nano: seed + 1, severity_number: 9, ..LogRecord::default() }];
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }] }
        .encode_to_vec()
}

pub(super) fn metrics(seed: u64) -> Vec<u8> {
    let value = Some(number_data_point::Value::AsInt(seed as i64));
    let data_points = vec![NumberDataPoint { time_unix_nano: 5, value, ..NumberDataPoint::default() }];
    let data = Some(metric::Data::Gauge(Gauge { data_points }));
    let metrics = vec![Metric { name: "depth".to_owned(), data, ..Metric::default() }];
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

pub(super) fn json_span(seed: u64) -> String {
    format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"{seed:032x}","spanId":"00000000000000aB","name":"x"}}]}}]}}]}}"#
    )
}

pub(super) fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn zlib(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn deflate(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn zstd(plain: &[u8]) -> Vec<u8> {
    zstd::encode_all(plain, 1).unwrap()
}

/// One HTTP/1.1 request on a connection of its own.
pub(super) async fn send(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Reply {
    let stream = TcpStream::connect(addr).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    reply(sender.send_request(request.body(Full::new(body.into())).unwrap()).await.unwrap()).await
}

pub(super) async fn post(addr: SocketAddr, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
    send(addr, "POST", path, headers, body).await
}

/// An HTTP/2 connection.
#[derive(Clone)]
pub(super) struct Channel {
    sender: http2::SendRequest<Full<Bytes>>,
}

impl Channel {
    pub(super) async fn open(addr: SocketAddr) -> Channel {
        let stream = TcpStream::connect(addr).await.unwrap();
        let handshake = http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        Channel { sender }
    }

    pub(super) async fn request(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
        self.try_request(path, headers, body).await.unwrap()
    }

    pub(super) async fn try_request(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Reply, hyper::Error> {
        let uri = format!("http://localhost{path}");
        let mut request = Request::builder().method("POST").version(Version::HTTP_2).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut sender = self.sender.clone();
        sender.ready().await?;
        Ok(reply(sender.send_request(request.body(Full::new(body.into())).unwrap()).await?).await)
    }

    /// A unary gRPC call; `encoding` is that of `message`.
    pub(super) async fn call(&self, path: &str, encoding: &str, message: &[u8]) -> Reply {
        let headers = [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-encoding", encoding)];
        let headers = if encoding.is_empty() { &headers[..2] } else { &headers[..] };
        self.request(path, headers, framed(!encoding.is_empty(), message)).await
    }
}

/// A message with gRPC's prefix.
pub(super) fn framed(is_compressed: bool, message: &[u8]) -> Vec<u8> {
    let mut framed = vec![u8::from(is_compressed)];
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(message);
    framed
}

async fn reply(response: http::Response<hyper::body::Incoming>) -> Reply {
    let (head, body) = response.into_parts();
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let grpc_status = trailers.get("grpc-status").or_else(|| head.headers.get("grpc-status"));
    let grpc_status = grpc_status.map(|status| status.to_str().unwrap().parse().unwrap());
    Reply { status: head.status, headers: head.headers, body: collected.to_bytes(), grpc_status }
}
