//! Why an export was refused, and how each protocol says so.
//!
//! The rule that must not break: what may succeed later is answered with a status that OTLP
//! clients retry (`UNAVAILABLE`, `DEADLINE_EXCEEDED`; 503), what never will with one they do
//! not retry. A wrong one loses data or makes clients send the same bytes for ever.

use std::time::Duration;

use hopline_proto::status::{Code, Detail, Status};
use http::StatusCode;

/// Why an export was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExportError {
    /// With the path of what is wrong, as far as it is known.
    #[error("{message}")]
    Malformed { message: String, field: String },
    #[error("{0}")]
    Framing(&'static str),
    #[error("the request has {bytes} bytes or more; the limit is {limit}")]
    TooLarge { bytes: usize, limit: usize },
    #[error("{given:?} is not a supported encoding; supported: {supported}")]
    Encoding { given: String, supported: &'static str },
    #[error("{given:?} is not a supported content type; supported: application/x-protobuf, application/json")]
    ContentType { given: String },
    #[error("gRPC needs HTTP/2")]
    GrpcVersion,
    #[error("the method is not allowed here; allowed: POST")]
    Method,
    #[error("{0}")]
    NotFound(String),
    #[error("{bytes} bytes are already waiting for the log; retry later")]
    Overloaded { bytes: usize },
    #[error("storage takes no writes at the moment: {0}; retry later")]
    Storage(String),
    #[error("the server is starting; retry later")]
    Starting,
    #[error("the server is stopping; retry later")]
    Draining,
    #[error("the request took too long; retry later")]
    Deadline,
    #[error("the client went away")]
    Disconnected,
    #[error("the server could not process the request")]
    Internal,
}

/// What the caller can do about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Mend the request.
    Invalid,
    /// Mend the client: its framing of messages is broken.
    Framing,
    /// Send less at once.
    TooLarge,
    /// Use another encoding.
    Encoding,
    /// Use another content type.
    ContentType,
    /// Use another version of HTTP.
    Version,
    /// Use another method.
    Method,
    /// Use another path or service.
    NotFound,
    /// Retry later.
    Unavailable,
    /// Retry; the time was too short.
    Deadline,
    /// Report a bug.
    Internal,
}

impl ExportError {
    /// Something is wrong with a body, it is not known where.
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::Malformed { message: message.into(), field: String::new() }
    }

    /// What the caller can do about it.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Malformed { .. } => Kind::Invalid,
            Self::Framing(_) => Kind::Framing,
            Self::TooLarge { .. } => Kind::TooLarge,
            Self::Encoding { .. } => Kind::Encoding,
            Self::ContentType { .. } => Kind::ContentType,
            Self::GrpcVersion => Kind::Version,
            Self::Method => Kind::Method,
            Self::NotFound(_) => Kind::NotFound,
            Self::Overloaded { .. } | Self::Storage(_) | Self::Starting | Self::Draining | Self::Disconnected => {
                Kind::Unavailable
            }
            Self::Deadline => Kind::Deadline,
            Self::Internal => Kind::Internal,
        }
    }

    /// What the client is told, the same over both protocols.
    pub(crate) fn status(&self, retry_after: Duration) -> Status {
        let kind = self.kind();
        let message = self.to_string();
        if let Self::Malformed { field, .. } = self {
            return Status::bad_request(message, field.as_str());
        }
        let status = Status::new(kind.code(), message);
        if kind.is_retryable() { status.with(Detail::RetryInfo(retry_after)) } else { status }
    }

    /// The word for it in metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed",
            Self::Framing(_) => "framing",
            Self::TooLarge { .. } => "too_large",
            Self::Encoding { .. } => "encoding",
            Self::ContentType { .. } => "content_type",
            Self::GrpcVersion => "grpc_version",
            Self::Method => "method",
            Self::NotFound(_) => "not_found",
            Self::Overloaded { .. } => "overloaded",
            Self::Storage(_) => "storage",
            Self::Starting => "starting",
            Self::Draining => "draining",
            Self::Deadline => "deadline",
            Self::Disconnected => "disconnected",
            Self::Internal => "internal",
        }
    }
}

impl Kind {
    /// All kinds.
    #[cfg(test)]
    pub(crate) const ALL: [Kind; 11] = [
        Kind::Invalid,
        Kind::Framing,
        Kind::TooLarge,
        Kind::Encoding,
        Kind::ContentType,
        Kind::Version,
        Kind::Method,
        Kind::NotFound,
        Kind::Unavailable,
        Kind::Deadline,
        Kind::Internal,
    ];

    /// The status over gRPC, and the `code` of a `google.rpc.Status` over HTTP.
    pub(crate) fn code(self) -> Code {
        match self {
            Kind::Invalid | Kind::ContentType => Code::InvalidArgument,
            Kind::TooLarge => Code::ResourceExhausted,
            Kind::Encoding | Kind::Version | Kind::Method | Kind::NotFound => Code::Unimplemented,
            Kind::Unavailable => Code::Unavailable,
            Kind::Deadline => Code::DeadlineExceeded,
            Kind::Framing | Kind::Internal => Code::Internal,
        }
    }

    /// The status over HTTP.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Kind::Invalid | Kind::Framing => StatusCode::BAD_REQUEST,
            Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Kind::Encoding | Kind::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Kind::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Kind::Method => StatusCode::METHOD_NOT_ALLOWED,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Unavailable | Kind::Deadline => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whether the same request may succeed later. Clients are then told when.
    pub(crate) fn is_retryable(self) -> bool {
        matches!(self, Kind::Unavailable | Kind::Deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OTLP's tables of what clients retry. `RESOURCE_EXHAUSTED` is retried only with a
    /// `RetryInfo`, which is sent for [`Kind::is_retryable`] alone.
    #[test]
    fn r13_r14_r15_statuses_are_retried_exactly_when_that_helps() {
        // ABORTED and DATA_LOSS are never answered.
        let codes = [Code::Cancelled, Code::DeadlineExceeded, Code::OutOfRange, Code::Unavailable];
        for kind in Kind::ALL {
            assert_eq!(codes.contains(&kind.code()), kind.is_retryable(), "gRPC, {kind:?}");
            let retried_over_http = [429, 502, 503, 504].contains(&kind.status().as_u16());
            assert_eq!(retried_over_http, kind.is_retryable(), "HTTP, {kind:?}");
        }
    }
}
