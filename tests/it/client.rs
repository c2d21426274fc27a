//! Small clients over real sockets: HTTP/1.1, HTTP/2, unary gRPC by hand, and raw bytes.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// An HTTP answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

pub async fn request(method: Method, url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Result<Answer, Error> {
    let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = client.request(request.body(Full::new(Bytes::from(body)))?).await?;
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
}

pub async fn post(url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    request(Method::POST, url, headers, body).await.unwrap()
}

pub async fn try_get(url: &str, headers: &[(&str, &str)]) -> Result<Answer, Error> {
    request(Method::GET, url, headers, Vec::new()).await
}

/// Writes `bytes` to a new connection and gives back all that comes until the peer closes or `limit` bytes.
pub async fn raw(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// One HTTP/2 connection for unary gRPC calls.
#[derive(Clone)]
pub struct Grpc {
    sender: hyper::client::conn::http2::SendRequest<Full<Bytes>>,
    authority: String,
}

/// The answer to a unary gRPC call.
#[derive(Debug)]
pub struct GrpcAnswer {
    pub code: i32,
    pub message: String,
    /// The bytes of `grpc-status-details-bin`.
    pub details: Vec<u8>,
    pub body: Bytes,
    pub headers: HeaderMap,
}

pub const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
pub const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
pub const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

impl Grpc {
    pub async fn connect(address: &str) -> Grpc {
        Grpc::try_connect(address).await.unwrap()
    }

    pub async fn try_connect(address: &str) -> Result<Grpc, Error> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Grpc { sender, authority: address.to_string() })
    }

    /// A call whose message is `message`, after `encoding` (identity, gzip, zstd) was applied to it.
    pub async fn call(&self, path: &str, message: Vec<u8>, encoding: &str) -> GrpcAnswer {
        self.try_call(path, message, encoding).await.unwrap()
    }

    pub async fn try_call(&self, path: &str, message: Vec<u8>, encoding: &str) -> Result<GrpcAnswer, Error> {
        let message = compress(encoding, message);
        let mut frame = BytesMut::new();
        frame.put_u8(u8::from(encoding != "identity"));
        frame.put_u32(message.len() as u32);
        frame.extend_from_slice(&message);
        self.send(path, encoding, frame.freeze()).await
    }

    /// A call whose frame is `frame` as it is.
    pub async fn send(&self, path: &str, encoding: &str, frame: Bytes) -> Result<GrpcAnswer, Error> {
        let mut request = Request::post(format!("http://{}{path}", self.authority))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if encoding != "identity" {
            request = request.header("grpc-encoding", encoding);
        }
        let mut sender = self.sender.clone();
        sender.ready().await?;
        let response = sender.send_request(request.body(Full::new(frame))?).await?;
        assert_eq!(response.status(), 200, "gRPC answers are HTTP 200");
        let (head, body) = response.into_parts();
        let body = body.collect().await?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        let find = |name: &str| trailers.get(name).or_else(|| head.headers.get(name)).and_then(|v| v.to_str().ok());
        let code = find("grpc-status").ok_or("no grpc-status")?.parse()?;
        let message = percent_decode(find("grpc-message").unwrap_or(""));
        let details = find("grpc-status-details-bin").unwrap_or("");
        let details =
            base64::Engine::decode(&base64::engine::general_purpose::STANDARD_NO_PAD, details.trim_end_matches('='))?;
        let body = body.to_bytes();
        Ok(GrpcAnswer { code, message, details, body: body.slice(body.len().min(5)..), headers: head.headers })
    }
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'%', [a, b, after @ ..]) => {
                let hex = |c: &u8| (*c as char).to_digit(16).unwrap() as u8;
                bytes.push(hex(a) << 4 | hex(b));
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap()
}

pub fn compress(encoding: &str, bytes: Vec<u8>) -> Vec<u8> {
    use std::io::Write;
    match encoding {
        "gzip" => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
            out.write_all(&bytes).unwrap();
            out.finish().unwrap()
        }
        "deflate" => {
            let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(6));
            out.write_all(&bytes).unwrap();
            out.finish().unwrap()
        }
        "zstd" => zstd::bulk::compress(&bytes, 1).unwrap(),
        _ => bytes,
    }
}
