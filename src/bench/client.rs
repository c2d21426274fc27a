//! Sends requests: OTLP/gRPC over HTTP/2 with many at once on a connection, or OTLP/HTTP/1.1.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use hopline_proto::wire::{Reader, Value};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, RETRY_AFTER, TE};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::encode::{Compression, Format};

const GRPC_PATH: &str = "http://bench/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// What a server said to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Taken, except for so many spans.
    Accepted {
        /// Spans it refused.
        rejected: u64,
    },
    /// Come again, after the given time if there is one.
    Retry(Option<Duration>),
    /// Not taken, and why.
    Refused(String),
}

/// A connection over which requests are sent.
pub(crate) enum Client {
    /// gRPC; clones share the connection.
    Grpc(h2::client::SendRequest<Bytes>, Compression),
    /// HTTP/1.1: one request at a time.
    Http(Box<http1::SendRequest<Full<Bytes>>>, SocketAddr, Compression, Format),
}

impl Client {
    /// Connects for gRPC.
    pub(crate) async fn grpc(addr: SocketAddr, compression: Compression) -> anyhow::Result<Client> {
        let stream = connect(addr).await?;
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(1 << 20).initial_connection_window_size(1 << 22).max_send_buffer_size(64 << 20);
        let (send, connection) = builder.handshake(stream).await.context("begin HTTP/2")?;
        tokio::spawn(async move { drop(connection.await) });
        Ok(Client::Grpc(send, compression))
    }

    /// Connects for HTTP.
    pub(crate) async fn http(addr: SocketAddr, compression: Compression, format: Format) -> anyhow::Result<Client> {
        let stream = connect(addr).await?;
        let (send, connection) = http1::handshake(TokioIo::new(stream)).await.context("begin HTTP/1.1")?;
        tokio::spawn(async move { drop(connection.await) });
        Ok(Client::Http(Box::new(send), addr, compression, format))
    }

    /// A client on the same connection, where several can share one.
    pub(crate) fn share(&self) -> Option<Client> {
        match self {
            Client::Grpc(send, compression) => Some(Client::Grpc(send.clone(), *compression)),
            Client::Http(..) => None,
        }
    }

    /// Begins a request: leaves room for what stands before the body.
    pub(crate) fn open(&self) -> &'static [u8] {
        match self {
            Client::Grpc(..) => &[0; 5],
            Client::Http(..) => &[],
        }
    }

    /// Ends a request that began with [`Client::open`]: fills in what stands before the body.
    pub(crate) fn seal(&self, mut request: Vec<u8>) -> Bytes {
        if let Client::Grpc(_, compression) = self {
            let compressed = u8::from(*compression != Compression::None);
            let len = u32::try_from(request.len().saturating_sub(5)).unwrap_or(u32::MAX);
            let head = std::iter::once(compressed).chain(len.to_be_bytes());
            request.iter_mut().zip(head).for_each(|(byte, value)| *byte = value);
        }
        Bytes::from(request)
    }

    /// Sends a request.
    pub(crate) async fn send(&mut self, request: Bytes) -> anyhow::Result<Answer> {
        match self {
            Client::Grpc(send, compression) => grpc(send, *compression, request).await,
            Client::Http(send, addr, compression, format) => http(send, *addr, *compression, *format, request).await,
        }
    }
}

async fn connect(addr: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(addr).await.with_context(|| format!("connect to {addr}"))?;
    stream.set_nodelay(true).context("switch off Nagle's algorithm")?;
    Ok(stream)
}

async fn grpc(
    send: &h2::client::SendRequest<Bytes>,
    compression: Compression,
    request: Bytes,
) -> anyhow::Result<Answer> {
    let mut head = Request::post(GRPC_PATH).header(CONTENT_TYPE, "application/grpc").header(TE, "trailers");
    if let Some(name) = compression.name() {
        head = head.header("grpc-encoding", name);
    }
    let mut send = send.clone().ready().await.context("open a stream")?;
    let (response, mut stream) =
        send.send_request(head.body(()).context("make a request")?, false).context("send a request")?;
    stream.send_data(request, true).context("send a request")?;
    let response = response.await.context("wait for an answer")?;
    let headers = response.headers().clone();
    let mut body = response.into_body();
    let mut answer = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.context("read an answer")?;
        body.flow_control().release_capacity(data.len()).context("read an answer")?;
        answer.extend_from_slice(&data);
    }
    let trailers = body.trailers().await.context("read an answer's end")?;
    Ok(grpc_answer(trailers.as_ref().unwrap_or(&headers), answer.get(5..).unwrap_or_default()))
}

fn grpc_answer(trailers: &HeaderMap, message: &[u8]) -> Answer {
    let text = |name| trailers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    match text("grpc-status") {
        "0" => Answer::Accepted { rejected: rejected(message) },
        // RESOURCE_EXHAUSTED, ABORTED, UNAVAILABLE and their like: what OTLP tells clients to send again.
        "1" | "4" | "8" | "10" | "11" | "14" | "15" => Answer::Retry(None),
        status => Answer::Refused(format!("gRPC status {status}: {}", text("grpc-message"))),
    }
}

async fn http(
    send: &mut http1::SendRequest<Full<Bytes>>,
    addr: SocketAddr,
    compression: Compression,
    format: Format,
    request: Bytes,
) -> anyhow::Result<Answer> {
    let kind = if format == Format::Json { "application/json" } else { "application/x-protobuf" };
    let mut head = Request::post("/v1/traces").header(HOST, addr.to_string()).header(CONTENT_TYPE, kind);
    if let Some(name) = compression.name() {
        head = head.header(CONTENT_ENCODING, name);
    }
    let request = head.body(Full::new(request)).context("make a request")?;
    send.ready().await.context("wait for the connection")?;
    let response = send.send_request(request).await.context("send a request")?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.context("read an answer")?.to_bytes();
    Ok(match parts.status {
        StatusCode::OK if format == Format::Json => Answer::Accepted { rejected: rejected_json(&body) },
        StatusCode::OK => Answer::Accepted { rejected: rejected(&body) },
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {
            let after = parts.headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
            Answer::Retry(after.map(Duration::from_secs))
        }
        status => Answer::Refused(format!("HTTP status {status}: {}", String::from_utf8_lossy(&body))),
    })
}

/// `partial_success.rejected_spans` of an answer.
fn rejected(message: &[u8]) -> u64 {
    let field = |bytes, wanted| {
        let mut reader = Reader::new(bytes);
        while let Ok(Some((field, value))) = reader.next() {
            if field == wanted {
                return Some(value);
            }
        }
        None
    };
    match field(message, 1) {
        Some(Value::Bytes(partial)) => match field(partial, 1) {
            Some(Value::Varint(rejected)) => rejected,
            _ => 0,
        },
        _ => 0,
    }
}

fn rejected_json(body: &[u8]) -> u64 {
    let answer: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let rejected = answer.pointer("/partialSuccess/rejectedSpans");
    rejected.and_then(|v| v.as_u64().or_else(|| v.as_str()?.parse().ok())).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        assert_eq!(rejected(&[]), 0);
        assert_eq!(rejected(&[0x0a, 2, 8, 7]), 7);
        assert_eq!(rejected(&[0x0a, 200]), 0);
        assert_eq!(rejected_json(b"{}"), 0);
        assert_eq!(rejected_json(br#"{"partialSuccess":{"rejectedSpans":"12"}}"#), 12);
        let mut trailers = HeaderMap::new();
        assert!(matches!(grpc_answer(&trailers, &[]), Answer::Refused(_)));
        trailers.insert("grpc-status", http::HeaderValue::from_static("14"));
        assert_eq!(grpc_answer(&trailers, &[]), Answer::Retry(None));
        trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
        assert_eq!(grpc_answer(&trailers, &[0x0a, 2, 8, 1]), Answer::Accepted { rejected: 1 });
    }
}
