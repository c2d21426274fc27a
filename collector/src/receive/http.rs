//! OTLP over HTTP: `POST /v1/{traces,logs,metrics}` in protobuf or JSON.
//!
//! Every error has a `google.rpc.Status` for a body, in the encoding of the request, or in
//! JSON when that is not known.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hopline_model::Signal;
use hopline_proto::status::{PartialSuccess, response_to_json, response_to_protobuf};
use hopline_storage::Format;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body;

use super::body::{Answer, next_piece, read_whole};
use super::door::Door;
use super::error::{ExportError, Kind};
use super::export::{Upload, export, message_of};
use super::inflate::Coding;
use super::metrics::Protocol;

const SUPPORTED: &str = "identity, gzip, zstd, deflate";
/// How long a refused HTTP/1 client may go on sending before the connection is closed.
const LINGER: Duration = Duration::from_secs(5);
/// The same, once the server ends its connections.
const LINGER_CLOSING: Duration = Duration::from_millis(250);
/// How the paths of OTLP/HTTP begin.
pub(crate) const PATHS: &str = "/v1/";

/// Answers one request.
pub(crate) async fn serve<B>(door: &Arc<Door>, request: Request<B>) -> Response<Answer>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
{
    let format = format_of(request.headers());
    let coding = coding_of(request.headers());
    let signal = signal_of(request.uri().path());
    let lingers = request.version() < Version::HTTP_2 && !request.headers().contains_key(header::EXPECT);
    let (head, mut body) = request.into_parts();
    let answered = async {
        let signal = signal?;
        if head.method != Method::POST {
            return Err(ExportError::Method);
        }
        let (format, coding) = (format.clone()?, coding.clone()?);
        let tenant = door.authorize(&head.headers)?;
        let _entered = door.enter()?;
        let reading = read_whole(&mut body, door.config.max_request_bytes, &door.admission);
        let read = tokio::time::timeout(door.config.request_timeout(), reading).await;
        let (bytes, permit) = read.map_err(|_| ExportError::Deadline)??;
        let partial = export(door, Upload { signal, coding, format, tenant, body: bytes, permit }).await?;
        Ok(success(signal, format, coding, partial.as_ref(), door))
    };
    let error = match answered.await {
        Ok(response) => return response,
        Err(error) => error,
    };
    let format = format.unwrap_or(Format::Json);
    door.metrics.count_refused(protocol_of(format), coding.map_or("other", Coding::name), &error);
    if lingers && !body.is_end_stream() {
        tokio::spawn(linger(body, Arc::clone(door)));
    }
    refusal(&error, format, door.config.retry_after())
}

/// Reads on for a while what a refused client still sends. HTTP/1 clients often send all of a
/// body before they look at the answer; closed at once, they would see a reset instead of it.
async fn linger<B>(mut body: B, door: Arc<Door>)
where
    B: Body<Data = Bytes> + Unpin,
{
    let max_bytes = door.config.max_request_bytes.saturating_mul(2);
    let closing = async {
        door.closing.cancelled().await;
        tokio::time::sleep(LINGER_CLOSING).await;
    };
    let read_on = async {
        let mut bytes = 0_usize;
        while let Ok(Some(piece)) = next_piece(&mut body).await {
            bytes = bytes.saturating_add(piece.len());
            if bytes > max_bytes {
                return;
            }
        }
    };
    // Then the body is dropped, and what is not read yet closes the connection.
    tokio::select! {
        () = read_on => {}
        () = closing => {}
        () = tokio::time::sleep(LINGER) => {}
    }
}

fn signal_of(path: &str) -> Result<Signal, ExportError> {
    match path {
        "/v1/traces" => Ok(Signal::Traces),
        "/v1/logs" => Ok(Signal::Logs),
        "/v1/metrics" => Ok(Signal::Metrics),
        _ => {
            let path: String = path.chars().take(200).collect();
            Err(ExportError::NotFound(format!("there is no {path}; there are /v1/traces, /v1/logs and /v1/metrics")))
        }
    }
}

fn format_of(headers: &HeaderMap) -> Result<Format, ExportError> {
    let given = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let kind = given.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if kind.eq_ignore_ascii_case(b"application/x-protobuf") {
        Ok(Format::Protobuf)
    } else if kind.eq_ignore_ascii_case(b"application/json") {
        Ok(Format::Json)
    } else {
        let given: String = String::from_utf8_lossy(given).chars().take(200).collect();
        Err(ExportError::ContentType { given })
    }
}

fn coding_of(headers: &HeaderMap) -> Result<Coding, ExportError> {
    let mut found = Coding::Identity;
    for value in headers.get_all(header::CONTENT_ENCODING) {
        for name in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let unsupported = || {
                let given = String::from_utf8_lossy(value.as_bytes()).chars().take(200).collect();
                ExportError::Encoding { given, supported: SUPPORTED }
            };
            let coding = match name.to_ascii_lowercase().as_slice() {
                b"" | b"identity" => continue,
                b"gzip" | b"x-gzip" => Coding::Gzip,
                b"zstd" => Coding::Zstd,
                b"deflate" | b"zlib" => Coding::Deflate,
                _ => return Err(unsupported()),
            };
            if found != Coding::Identity {
                return Err(unsupported());
            }
            found = coding;
        }
    }
    Ok(found)
}

fn protocol_of(format: Format) -> Protocol {
    match format {
        Format::Protobuf => Protocol::HttpProtobuf,
        Format::Json => Protocol::HttpJson,
    }
}

fn content_type_of(format: Format) -> HeaderValue {
    HeaderValue::from_static(match format {
        Format::Protobuf => "application/x-protobuf",
        Format::Json => "application/json",
    })
}

fn success(
    signal: Signal,
    format: Format,
    coding: Coding,
    partial: Option<&PartialSuccess>,
    door: &Door,
) -> Response<Answer> {
    door.metrics.count_answered(protocol_of(format), coding);
    let body = match format {
        Format::Protobuf => response_to_protobuf(partial),
        Format::Json => response_to_json(message_of(signal), partial).into_bytes(),
    };
    let mut response = Response::new(Answer::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, content_type_of(format));
    response
}

fn refusal(error: &ExportError, format: Format, retry_after: Duration) -> Response<Answer> {
    let kind = error.kind();
    let status = error.status(retry_after);
    let body = match format {
        Format::Protobuf => status.to_protobuf(),
        Format::Json => status.to_json().into_bytes(),
    };
    let mut response = Response::new(Answer::new(body));
    *response.status_mut() = kind.status();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type_of(format));
    if kind.is_retryable() {
        // Whole seconds, rounded up: a client that came early would be refused again.
        let seconds = retry_after.as_millis().div_ceil(1000).max(1);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)));
    }
    match response.status() {
        StatusCode::METHOD_NOT_ALLOWED => {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        StatusCode::UNSUPPORTED_MEDIA_TYPE if kind == Kind::Encoding => {
            response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static(SUPPORTED));
        }
        _ => {}
    }
    response
}
