//! Which format a client asks for (RFC 9110, section 12.5.1).

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::header;

use crate::error::Error;

/// The formats of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON document: columns and rows.
    Json,
    /// A JSON object a row, one a line.
    NdJson,
    /// Comma-separated values with a header (RFC 4180).
    Csv,
    /// An Arrow IPC stream.
    Arrow,
}

/// How values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// 64-bit integers as JSON strings, for readers that have no such numbers.
    pub int64_as_string: bool,
}

/// All that can be made.
pub const OFFERED: &str = "application/json, application/x-ndjson, text/csv, application/vnd.apache.arrow.stream";

impl Format {
    /// The media type of an answer.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::NdJson => "application/x-ndjson",
            Format::Csv => "text/csv; charset=utf-8; header=present",
            Format::Arrow => "application/vnd.apache.arrow.stream",
        }
    }

    /// The format that a short name stands for.
    pub fn from_name(name: &str) -> Result<Format, Error> {
        match name {
            "json" => Ok(Format::Json),
            "ndjson" => Ok(Format::NdJson),
            "csv" => Ok(Format::Csv),
            "arrow" => Ok(Format::Arrow),
            _ => {
                Err(Error::Invalid(format!("there is no format {name:?}: the formats are json, ndjson, csv and arrow")))
            }
        }
    }

    fn from_range(range: &str) -> Option<Format> {
        match range {
            "*/*" | "application/*" | "application/json" => Some(Format::Json),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Some(Format::NdJson),
            "text/csv" | "text/*" => Some(Format::Csv),
            "application/vnd.apache.arrow.stream" => Some(Format::Arrow),
            _ => None,
        }
    }
}

/// Refuses a request for something else than JSON, where nothing else is made.
pub(crate) async fn only_json(request: Request, next: Next) -> Result<Response, Error> {
    let accept = request.headers().get(header::ACCEPT).map(|accept| accept.to_str().unwrap_or_default());
    match accept {
        Some(accept) if !takes_json(accept) => {
            Err(Error::NotAcceptable { accept: accept.to_owned(), offered: "application/json" })
        }
        _ => Ok(next.run(request).await),
    }
}

fn takes_json(accept: &str) -> bool {
    let takes = |range: &str| {
        let mut parts = range.split(';').map(|part| part.trim().to_ascii_lowercase());
        let is_json = parts.next().as_deref().and_then(Format::from_range) == Some(Format::Json);
        is_json && parts.all(|part| part.strip_prefix("q=").is_none_or(|q| q.parse().unwrap_or(0.0) > 0.0))
    };
    accept.trim().is_empty() || accept.split(',').any(takes)
}

/// The format that `accept` likes best. Without it, JSON.
pub fn negotiate(accept: Option<&str>) -> Result<(Format, Options), Error> {
    let Some(accept) = accept.filter(|a| !a.trim().is_empty()) else { return Ok((Format::Json, Options::default())) };
    let mut best: Option<(f32, Format, Options)> = None;
    for range in accept.split(',') {
        let mut parts = range.split(';').map(|part| part.trim().to_ascii_lowercase());
        let Some(format) = parts.next().as_deref().and_then(Format::from_range) else { continue };
        let (mut quality, mut options) = (1.0, Options::default());
        for parameter in parts {
            match parameter.split_once('=') {
                Some(("q", value)) => quality = value.parse().unwrap_or(0.0),
                Some(("int64", value)) => options.int64_as_string = value == "string",
                _ => {}
            }
        }
        if quality > best.map_or(0.0, |(q, ..)| q) {
            best = Some((quality, format, options));
        }
    }
    match best {
        Some((_, format, options)) => Ok((format, options)),
        None => Err(Error::NotAcceptable { accept: accept.to_owned(), offered: OFFERED }),
    }
}
