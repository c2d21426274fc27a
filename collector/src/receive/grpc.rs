//! Unary gRPC, served straight on HTTP/2.
//!
//! A gRPC library would inflate a body before we see it, and answer a message over the limit
//! with a status that clients retry. The log wants the body as it came, so the framing is
//! read here: a flag, a length, the message; the status goes into the trailers.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use hopline_model::Signal;
use hopline_proto::status::{PartialSuccess, response_to_protobuf};
use hopline_storage::Format;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body;

use super::admit::{Admission, Permit};
use super::body::{Answer, Gather, next_piece};
use super::door::Door;
use super::error::{ExportError, Kind};
use super::export::{Upload, export};
use super::inflate::Coding;
use super::metrics::Protocol;

const PREFIX_BYTES: usize = 5;
const SUPPORTED: &str = "identity,gzip,zstd";
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");
const PATH_START: &str = "/opentelemetry.proto.collector.";

/// Whether a content type is gRPC's (`application/grpc`, `application/grpc+proto`, ...).
pub(crate) fn is_grpc(content_type: &[u8]) -> bool {
    const NAME: &[u8] = b"application/grpc";
    let Some((start, rest)) = content_type.split_at_checked(NAME.len()) else { return false };
    start.eq_ignore_ascii_case(NAME) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// Answers one call.
pub(crate) async fn serve<B>(door: &Arc<Door>, request: Request<B>) -> Response<Answer>
where
    B: Body<Data = Bytes> + Unpin,
{
    let coding = coding_of(request.headers());
    match call(door, request, coding.clone()).await {
        Ok(partial) => {
            door.metrics.count_answered(Protocol::Grpc, coding.unwrap_or(Coding::Identity));
            success(partial.as_ref())
        }
        Err(error) => {
            let coding = coding.map_or("other", Coding::name);
            door.metrics.count_refused(Protocol::Grpc, coding, &error);
            refusal(&error, door.config.retry_after())
        }
    }
}

async fn call<B>(
    door: &Arc<Door>,
    request: Request<B>,
    coding: Result<Coding, ExportError>,
) -> Result<Option<PartialSuccess>, ExportError>
where
    B: Body<Data = Bytes> + Unpin,
{
    if request.version() != Version::HTTP_2 {
        return Err(ExportError::GrpcVersion);
    }
    if request.method() != Method::POST {
        return Err(ExportError::Method);
    }
    let signal = signal_of(request.uri().path())?;
    check_subtype(request.headers())?;
    let coding = coding?;
    let tenant = door.authorize(request.headers())?;
    let timeout = timeout_of(request.headers())?;
    let _entered = door.enter()?;
    let work = async {
        let mut body = request.into_body();
        let reading = read_message(&mut body, door.config.max_request_bytes, &door.admission);
        let read = tokio::time::timeout(door.config.request_timeout(), reading).await;
        let (is_compressed, message, permit) = read.map_err(|_| ExportError::Deadline)??;
        let coding = match (is_compressed, coding) {
            (false, _) => Coding::Identity,
            (true, Coding::Identity) => {
                return Err(ExportError::Framing("a message is marked as compressed, but there is no grpc-encoding"));
            }
            (true, coding) => coding,
        };
        export(door, Upload { signal, coding, format: Format::Protobuf, tenant, body: message, permit }).await
    };
    match timeout {
        Some(timeout) => tokio::time::timeout(timeout, work).await.map_err(|_| ExportError::Deadline)?,
        None => work.await,
    }
}

/// Reads the one message of a unary call: whether it is compressed, and its bytes.
async fn read_message<B>(
    body: &mut B,
    limit: usize,
    admission: &Admission,
) -> Result<(bool, Bytes, Permit), ExportError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut gather = Gather::default();
    let (is_compressed, length) = loop {
        if let [flag, a, b, c, d, ..] = *gather.bytes() {
            break (flag, u32::from_be_bytes([a, b, c, d]) as usize);
        }
        match next_piece(body).await? {
            Some(piece) => gather.push(piece, 0),
            None if gather.len() == 0 => return Err(ExportError::Framing("the call has no message")),
            None => return Err(ExportError::Framing("the message ends within its length")),
        }
    };
    if is_compressed > 1 {
        return Err(ExportError::Framing("the message starts with a flag that is neither 0 nor 1"));
    }
    if length > limit {
        return Err(ExportError::TooLarge { bytes: length, limit });
    }
    let permit = admission.admit(length).await?;
    let total = PREFIX_BYTES + length;
    while !body.is_end_stream() {
        let Some(piece) = next_piece(body).await? else { break };
        if gather.len() + piece.len() > total {
            return Err(ExportError::Framing("the call has more than one message"));
        }
        gather.push(piece, total);
    }
    match gather.len() {
        bytes if bytes < total => Err(ExportError::Framing("the message is shorter than its length")),
        bytes if bytes > total => Err(ExportError::Framing("the call has more than one message")),
        _ => Ok((is_compressed == 1, gather.into_bytes().slice(PREFIX_BYTES..), permit)),
    }
}

fn signal_of(path: &str) -> Result<Signal, ExportError> {
    match path.strip_prefix(PATH_START) {
        Some("trace.v1.TraceService/Export") => Ok(Signal::Traces),
        Some("logs.v1.LogsService/Export") => Ok(Signal::Logs),
        Some("metrics.v1.MetricsService/Export") => Ok(Signal::Metrics),
        _ => Err(ExportError::NotFound(format!("there is no method {path}"))),
    }
}

fn check_subtype(headers: &HeaderMap) -> Result<(), ExportError> {
    let content_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let kind = content_type.split(|byte| matches!(byte, b';' | b' ')).next().unwrap_or_default();
    let is_protobuf = [&b"application/grpc"[..], b"application/grpc+proto"];
    if is_protobuf.iter().any(|known| kind.eq_ignore_ascii_case(known)) {
        return Ok(());
    }
    let given = String::from_utf8_lossy(kind);
    Err(ExportError::NotFound(format!("{given} is not supported; supported: application/grpc+proto")))
}

fn coding_of(headers: &HeaderMap) -> Result<Coding, ExportError> {
    let Some(name) = headers.get("grpc-encoding") else { return Ok(Coding::Identity) };
    match name.as_bytes() {
        b"" | b"identity" => Ok(Coding::Identity),
        b"gzip" => Ok(Coding::Gzip),
        b"zstd" => Ok(Coding::Zstd),
        other => Err(ExportError::Encoding { given: String::from_utf8_lossy(other).into(), supported: SUPPORTED }),
    }
}

/// `grpc-timeout`: up to eight digits and a unit.
fn timeout_of(headers: &HeaderMap) -> Result<Option<Duration>, ExportError> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let parse = |value: &HeaderValue| {
        let text = value.to_str().ok()?;
        let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let number: u64 = digits.parse().ok()?;
        match unit {
            "H" => Some(Duration::from_secs(number * 3600)),
            "M" => Some(Duration::from_secs(number * 60)),
            "S" => Some(Duration::from_secs(number)),
            "m" => Some(Duration::from_millis(number)),
            "u" => Some(Duration::from_micros(number)),
            "n" => Some(Duration::from_nanos(number)),
            _ => None,
        }
    };
    parse(value).map(Some).ok_or(ExportError::Framing("grpc-timeout is malformed"))
}

fn success(partial: Option<&PartialSuccess>) -> Response<Answer> {
    let message = match partial {
        None => Bytes::from_static(&[0; PREFIX_BYTES]),
        Some(partial) => {
            let message = response_to_protobuf(Some(partial));
            let mut framed = Vec::with_capacity(PREFIX_BYTES + message.len());
            framed.push(0);
            framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
            framed.extend_from_slice(&message);
            framed.into()
        }
    };
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let mut response = Response::new(Answer::new(message).with_trailers(trailers));
    response.headers_mut().insert(header::CONTENT_TYPE, CONTENT_TYPE);
    response
}

/// An answer without a message: its trailers are its headers.
fn refusal(error: &ExportError, retry_after: Duration) -> Response<Answer> {
    let kind = error.kind();
    let status = error.status(retry_after);
    let mut response = Response::new(Answer::default());
    match kind {
        // These clients do not speak gRPC, so they are answered in HTTP's words.
        Kind::Version => *response.status_mut() = StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        Kind::Method => {
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        _ => {}
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
    headers.insert("grpc-status", HeaderValue::from(status.code as i32));
    if let Ok(message) = HeaderValue::from_str(&percent_encode(&status.message)) {
        headers.insert("grpc-message", message);
    }
    if !status.details.is_empty()
        && let Ok(details) = HeaderValue::from_str(&STANDARD_NO_PAD.encode(status.to_protobuf()))
    {
        headers.insert("grpc-status-details-bin", details);
    }
    if kind == Kind::Encoding {
        headers.insert("grpc-accept-encoding", HeaderValue::from_static(SUPPORTED));
    }
    response
}

/// Longest `grpc-message`: clients limit the size of headers.
const MESSAGE_MAX: usize = 1024;

/// `grpc-message` holds printable ASCII; all else, and `%`, stands as `%XX`.
fn percent_encode(message: &str) -> String {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    let mut out = String::with_capacity(message.len());
    for byte in message.bytes().take(MESSAGE_MAX) {
        if (0x20..=0x7e).contains(&byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or('0');
            out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    out
}

#[cfg(test)]
#[path = "grpc/tests.rs"]
mod tests;
