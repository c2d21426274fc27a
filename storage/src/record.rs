//! One admitted request, as the log keeps it.

use std::sync::Arc;

use bytes::Bytes;
use hopline_model::Signal;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Encoding {
    /// Not at all.
    Identity = 0,
    /// gzip (RFC 1952).
    Gzip = 1,
    /// zstd (RFC 8878).
    Zstd = 2,
}

impl Encoding {
    /// The encoding whose number in the log is `code`.
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Identity, Self::Gzip, Self::Zstd].into_iter().find(|e| *e as u8 == code)
    }
}

/// How the request in a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Format {
    /// OTLP in protobuf.
    Protobuf = 0,
    /// OTLP in JSON.
    Json = 1,
}

impl Format {
    /// The format whose number in the log is `code`.
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Protobuf, Self::Json].into_iter().find(|f| *f as u8 == code)
    }
}

/// The sequence number of a record in the log. The first is 1; 0 is before all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

/// One admitted request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Whose it is.
    pub tenant: Arc<str>,
    /// What it carries.
    pub signal: Signal,
    /// How the body is compressed.
    pub encoding: Encoding,
    /// How the body is written.
    pub format: Format,
    /// When it came, in nanoseconds since 1970.
    pub received_at: i64,
    /// Hash of the body as it came, by which a retry is recognised.
    pub hash: u128,
    /// The body as it came.
    pub body: Bytes,
}
