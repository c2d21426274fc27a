//! What can go wrong with a query, and what the caller can do about it.
//!
//! An [`Error`] becomes an HTTP answer in one place: `application/problem+json`
//! (RFC 9457), its status taken from its [`ErrorKind`].

mod from_datafusion;
mod message;

pub(crate) use from_datafusion::from_parser;

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

/// What the caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is wrong; repeating it does not help.
    Invalid,
    /// The request asks for what this API does not do: writing, above all.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// The method is not one of this path.
    Method,
    /// None of the formats asked for can be made.
    NotAcceptable,
    /// The request's body has a format that is not read.
    UnsupportedFormat,
    /// The request is larger than allowed.
    TooLarge,
    /// Too many queries at once: try again later.
    Overloaded,
    /// The query took longer than it may: make it smaller, or allow more time.
    Timeout,
    /// The query needs more memory or disk than it may use: make it smaller.
    Memory,
    /// Something outside does not work now: try again later.
    Unavailable,
    /// A fault of ours, or of the data on disk.
    Internal,
}

impl ErrorKind {
    /// All kinds.
    pub const ALL: [ErrorKind; 12] = [
        Self::Invalid,
        Self::Forbidden,
        Self::NotFound,
        Self::Method,
        Self::NotAcceptable,
        Self::UnsupportedFormat,
        Self::TooLarge,
        Self::Overloaded,
        Self::Timeout,
        Self::Memory,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The HTTP status that stands for this kind, everywhere.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Invalid => StatusCode::BAD_REQUEST,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::UnsupportedFormat => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Overloaded => StatusCode::TOO_MANY_REQUESTS,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Memory => StatusCode::INSUFFICIENT_STORAGE,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A word for metrics and for the member `kind` of a problem.
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Method => "method_not_allowed",
            Self::NotAcceptable => "not_acceptable",
            Self::UnsupportedFormat => "unsupported_format",
            Self::TooLarge => "too_large",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::Memory => "memory",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }
}

/// An error of a query or of the HTTP API.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not SQL.
    #[error("{message}")]
    Parse {
        /// What was expected and what was found.
        message: String,
        /// Line and column, from 1, where it was noticed.
        position: Option<(u64, u64)>,
    },
    /// The SQL names what is not there, or does with it what cannot be done.
    #[error("{message}")]
    Plan {
        /// What is wrong.
        message: String,
        /// What may have been meant.
        hint: Option<String>,
    },
    /// The statement is not one that reads.
    #[error("{what} is not allowed: queries only read (SELECT, WITH, VALUES, EXPLAIN, SHOW TABLES, DESCRIBE)")]
    ReadOnly {
        /// The statement.
        what: String,
    },
    /// A value of the rows could not be computed with.
    #[error("{0}")]
    Execution(String),
    /// A request that is wrong in some other way.
    #[error("{0}")]
    Invalid(String),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// The path has no such method.
    #[error("{0}")]
    Method(String),
    /// None of the formats asked for can be made.
    #[error("none of the formats in \"Accept: {accept}\" can be made: {offered} can")]
    NotAcceptable {
        /// What was asked for.
        accept: String,
        /// What there is.
        offered: &'static str,
    },
    /// The body has a format that is not read.
    #[error("a body of type {found:?} is not read: {accepted} are")]
    UnsupportedFormat {
        /// The request's content type.
        found: String,
        /// What can be read.
        accepted: &'static str,
    },
    /// Something is larger than it may be.
    #[error("{what} has {got}, at most {max} are allowed")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size, with the unit.
        got: String,
        /// The largest size.
        max: u64,
    },
    /// The answer is larger than the caller takes, and it takes no part of it.
    #[error("the answer is larger than it may be: {0}")]
    AnswerTooLarge(String),
    /// Too many queries at once.
    #[error("{running} queries are running already")]
    Overloaded {
        /// How many run.
        running: usize,
        /// When to try again.
        retry_after: Duration,
    },
    /// The deadline has passed.
    #[error("the query did not end within {} ms", timeout.as_millis())]
    Timeout {
        /// The time that it had.
        timeout: Duration,
    },
    /// The memory or disk for queries does not suffice.
    #[error("the query needs more memory than is left: {0}")]
    Memory(String),
    /// A stored file could not be read.
    #[error("a stored file could not be read ({0}): `hopline verify` names every file that is damaged or missing")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A fault of ours.
    #[error("the query stopped by a fault of the server")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A metric could not be registered.
    #[error("register metrics")]
    Metrics(#[source] prometheus::Error),
    /// The threads for queries could not be started.
    #[error("start the query threads")]
    Start(#[source] std::io::Error),
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] crate::engine::ConfigError),
}

impl Error {
    /// A fault of ours, described in words.
    pub fn internal(message: impl Into<String>) -> Error {
        Error::Internal(message.into().into())
    }

    /// What the caller can do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Parse { .. } | Self::Plan { .. } | Self::Execution(_) | Self::Invalid(_) => ErrorKind::Invalid,
            Self::ReadOnly { .. } => ErrorKind::Forbidden,
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Method(_) => ErrorKind::Method,
            Self::NotAcceptable { .. } => ErrorKind::NotAcceptable,
            Self::UnsupportedFormat { .. } => ErrorKind::UnsupportedFormat,
            Self::TooLarge { .. } => ErrorKind::TooLarge,
            Self::AnswerTooLarge(_) | Self::Memory(_) => ErrorKind::Memory,
            Self::Overloaded { .. } => ErrorKind::Overloaded,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Read(_) => ErrorKind::Unavailable,
            Self::Internal(_) | Self::Metrics(_) | Self::Start(_) | Self::Config(_) => ErrorKind::Internal,
        }
    }

    /// The error as a client reads it.
    pub fn problem(&self) -> Problem {
        let kind = self.kind();
        let (line, column) = match self {
            Self::Parse { position: Some((line, column)), .. } => (Some(*line), Some(*column)),
            _ => (None, None),
        };
        Problem {
            title: kind.status().canonical_reason().unwrap_or("error").to_lowercase(),
            status: kind.status().as_u16(),
            kind: kind.name().to_owned(),
            detail: self.to_string(),
            hint: self.hint(),
            line,
            column,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Plan { hint, .. } => hint.clone(),
            Self::Timeout { .. } => Some("narrow the time range, or set timeout_ms".to_owned()),
            Self::Memory(_) | Self::AnswerTooLarge(_) => {
                Some("narrow the time range, select fewer columns, or add a LIMIT".to_owned())
            }
            _ => None,
        }
    }

    /// Writes faults of ours to the log, with their causes; others are the client's.
    pub(crate) fn log(&self) {
        if !matches!(self.kind(), ErrorKind::Internal | ErrorKind::Unavailable) {
            return;
        }
        let mut chain = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            chain.push_str(": ");
            chain.push_str(&cause.to_string());
            source = cause.source();
        }
        tracing::error!(error = chain, "a query failed");
    }
}

/// A problem as RFC 9457 describes it, with members of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What the caller can do: `invalid`, `forbidden`, `not_found`, `timeout`, `memory`, `overloaded`, …
    pub kind: String,
    /// What is wrong with this request.
    pub detail: String,
    /// What may help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The line of the SQL text, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The column of the SQL text, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
}

impl Problem {
    /// The media type of a problem.
    pub const CONTENT_TYPE: &'static str = "application/problem+json";
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        self.log();
        let body = serde_json::to_vec(&self.problem()).unwrap_or_default();
        let mut response = (self.kind().status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(Problem::CONTENT_TYPE));
        if let Error::Overloaded { retry_after, .. } = self {
            let seconds = retry_after.as_secs().max(1);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
