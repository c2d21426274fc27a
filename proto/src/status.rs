//! The answers of an OTLP receiver, in protobuf and in JSON: `google.rpc.Status` for
//! a refused request, `Export…ServiceResponse` for an accepted one.

use crate::json::Message;
use crate::value::quote;
use crate::wire::{self, Reader, Value, WireError};
use std::time::Duration;

const TYPE_BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";
const TYPE_RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// The codes of `google.rpc.Code` that Hopline answers with; gRPC uses the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Code {
    /// Not an error.
    Ok = 0,
    /// The client gave up.
    Cancelled = 1,
    /// Something that fits no other code.
    Unknown = 2,
    /// The request is wrong, whatever the state of the server.
    InvalidArgument = 3,
    /// The request took too long.
    DeadlineExceeded = 4,
    /// There is no such thing.
    NotFound = 5,
    /// The caller is known and may not.
    PermissionDenied = 7,
    /// Too large, or over a quota.
    ResourceExhausted = 8,
    /// Beyond a valid range.
    OutOfRange = 11,
    /// Not offered here.
    Unimplemented = 12,
    /// A defect of the server.
    Internal = 13,
    /// Not now: the same request may succeed later.
    Unavailable = 14,
    /// The caller is not known.
    Unauthenticated = 16,
}

/// Something about an error that a program can act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detail {
    /// `google.rpc.BadRequest`: what is wrong with which field.
    BadRequest(Vec<FieldViolation>),
    /// `google.rpc.RetryInfo`: wait this long before trying again.
    RetryInfo(Duration),
}

/// One entry of `google.rpc.BadRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// Path of the field, such as `resourceSpans[0].schemaUrl`; empty where it is not known, and then left out.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

/// `google.rpc.Status`: why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Kind of the error.
    pub code: Code,
    /// Text for the person who reads the client's log.
    pub message: String,
    /// What a program can act on.
    pub details: Vec<Detail>,
}

impl Status {
    /// A status without details.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Status { code, message: message.into(), details: Vec::new() }
    }

    /// An undecodable request: `INVALID_ARGUMENT` with a `BadRequest` of one field.
    pub fn bad_request(message: impl Into<String>, field: impl Into<String>) -> Self {
        let message = message.into();
        let violation = FieldViolation { field: field.into(), description: message.clone() };
        Status { code: Code::InvalidArgument, message, details: vec![Detail::BadRequest(vec![violation])] }
    }

    /// The same status with one more detail.
    #[must_use]
    pub fn with(mut self, detail: Detail) -> Self {
        self.details.push(detail);
        self
    }

    /// As protobuf: an HTTP error body, or gRPC's `grpc-status-details-bin`.
    pub fn to_protobuf(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.message.len() + 16);
        if self.code != Code::Ok {
            wire::put_varint_field(&mut out, 1, self.code as u64);
        }
        if !self.message.is_empty() {
            wire::put_bytes(&mut out, 2, self.message.as_bytes());
        }
        for detail in &self.details {
            let any = wire::begin(&mut out, 3, 1);
            let (type_url, value) = match detail {
                Detail::BadRequest(violations) => (TYPE_BAD_REQUEST, bad_request_to_protobuf(violations)),
                Detail::RetryInfo(delay) => (TYPE_RETRY_INFO, retry_info_to_protobuf(*delay)),
            };
            wire::put_bytes(&mut out, 1, type_url.as_bytes());
            wire::put_bytes(&mut out, 2, &value);
            wire::end(&mut out, any);
        }
        out
    }

    /// As JSON: an HTTP error body.
    pub fn to_json(&self) -> String {
        let mut out = String::with_capacity(self.message.len() + 64);
        out.push_str("{\"code\":");
        out.push_str(itoa::Buffer::new().format(self.code as i32));
        out.push_str(",\"message\":");
        quote(&self.message, &mut out);
        for (i, detail) in self.details.iter().enumerate() {
            out.push_str(if i == 0 { ",\"details\":[" } else { "," });
            match detail {
                Detail::BadRequest(violations) => bad_request_to_json(violations, &mut out),
                Detail::RetryInfo(delay) => {
                    out.push_str("{\"@type\":\"");
                    out.push_str(TYPE_RETRY_INFO);
                    out.push_str("\",\"retryDelay\":\"");
                    duration_to_json(*delay, &mut out);
                    out.push_str("\"}");
                }
            }
        }
        out.push_str(if self.details.is_empty() { "}" } else { "]}" });
        out
    }
}

fn bad_request_to_protobuf(violations: &[FieldViolation]) -> Vec<u8> {
    let mut out = Vec::new();
    for FieldViolation { field, description } in violations {
        let violation = wire::begin(&mut out, 1, 1);
        if !field.is_empty() {
            wire::put_bytes(&mut out, 1, field.as_bytes());
        }
        if !description.is_empty() {
            wire::put_bytes(&mut out, 2, description.as_bytes());
        }
        wire::end(&mut out, violation);
    }
    out
}

fn bad_request_to_json(violations: &[FieldViolation], out: &mut String) {
    out.push_str("{\"@type\":\"");
    out.push_str(TYPE_BAD_REQUEST);
    out.push_str("\",\"fieldViolations\":[");
    for (i, FieldViolation { field, description }) in violations.iter().enumerate() {
        out.push_str(if i == 0 { "{" } else { ",{" });
        if !field.is_empty() {
            out.push_str("\"field\":");
            quote(field, out);
            out.push(',');
        }
        out.push_str("\"description\":");
        quote(description, out);
        out.push('}');
    }
    out.push_str("]}");
}

/// `RetryInfo { Duration retry_delay = 1 }`, `Duration { int64 seconds = 1; int32 nanos = 2 }`.
fn retry_info_to_protobuf(delay: Duration) -> Vec<u8> {
    let mut out = Vec::new();
    let duration = wire::begin(&mut out, 1, 1);
    if delay.as_secs() != 0 {
        wire::put_varint_field(&mut out, 1, delay.as_secs());
    }
    if delay.subsec_nanos() != 0 {
        wire::put_varint_field(&mut out, 2, u64::from(delay.subsec_nanos()));
    }
    wire::end(&mut out, duration);
    out
}

/// Seconds with 0, 3, 6 or 9 digits after the point, as proto3 JSON writes them.
fn duration_to_json(delay: Duration, out: &mut String) {
    out.push_str(itoa::Buffer::new().format(delay.as_secs()));
    let nanos = delay.subsec_nanos();
    if nanos != 0 {
        let fraction = format!("{nanos:09}");
        let fraction = fraction.strip_suffix("000").unwrap_or(&fraction);
        out.push('.');
        out.push_str(fraction.strip_suffix("000").unwrap_or(fraction));
    }
    out.push('s');
}

/// Part of a request was refused for good, or (`rejected` 0) there is a warning.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartialSuccess {
    /// Spans, log records or data points that were refused.
    pub rejected: u64,
    /// Why, and what to change.
    pub message: String,
}

/// `Export{Trace,Logs,Metrics}ServiceResponse` in protobuf: the three are alike.
/// Empty when everything was accepted.
pub fn response_to_protobuf(partial: Option<&PartialSuccess>) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(PartialSuccess { rejected, message }) = partial {
        let inner = wire::begin(&mut out, 1, 1);
        if *rejected != 0 {
            wire::put_varint_field(&mut out, 1, *rejected);
        }
        if !message.is_empty() {
            wire::put_bytes(&mut out, 2, message.as_bytes());
        }
        wire::end(&mut out, inner);
    }
    out
}

/// `Export{Trace,Logs,Metrics}ServiceResponse` in JSON: `{}` when everything was
/// accepted.
pub fn response_to_json(request: Message, partial: Option<&PartialSuccess>) -> String {
    let Some(PartialSuccess { rejected, message }) = partial else { return "{}".to_owned() };
    let mut out = String::from("{\"partialSuccess\":{\"");
    out.push_str(match request {
        Message::Traces => "rejectedSpans",
        Message::Logs => "rejectedLogRecords",
        Message::Metrics => "rejectedDataPoints",
    });
    out.push_str("\":\"");
    out.push_str(itoa::Buffer::new().format(*rejected));
    out.push_str("\",\"errorMessage\":");
    quote(message, &mut out);
    out.push_str("}}");
    out
}

/// Reads what [`response_to_protobuf`] wrote: the client's side.
pub fn response_from_protobuf(response: &[u8]) -> Result<Option<PartialSuccess>, WireError> {
    let mut partial = None;
    let mut reader = Reader::new(response);
    while let Some(field) = reader.next()? {
        if let (1, Value::Bytes(inner)) = field {
            let mut found = PartialSuccess::default();
            let mut inner = Reader::new(inner);
            while let Some(field) = inner.next()? {
                match field {
                    (1, Value::Varint(rejected)) => found.rejected = rejected,
                    (2, Value::Bytes(message)) => found.message = wire::text(message).0.into_owned(),
                    _ => {}
                }
            }
            partial = Some(found);
        }
    }
    Ok(partial)
}

#[cfg(test)]
mod tests;
