//! What the answers have in common: rows of a query, times as text, cursors.

use arrow::array::RecordBatch;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::ApiState;
use super::params::{Params, TimeRange, bad};
use crate::engine::{Limits, Session};
use crate::error::Error;
use crate::otlp;
use crate::render::write_time;

/// The media type of Arrow IPC streams.
pub(super) const ARROW: &str = "application/vnd.apache.arrow.stream";

/// A snapshot to answer one request from; `purpose` is a word for the metrics.
pub(super) fn session(state: &ApiState, purpose: &'static str) -> Session {
    state.engine.session(hopline_model::DEFAULT_TENANT, state.engine.limits(purpose))
}

/// The same, for a trace: it is given whole, as long as the memory for one answer suffices.
pub(super) fn trace_session(state: &ApiState) -> Session {
    let limits = Limits { rows_max: u64::MAX, ..state.engine.limits("trace") };
    state.engine.session(hopline_model::DEFAULT_TENANT, limits)
}

/// The same, for rows that are not an answer themselves.
pub(super) fn unlimited_session(state: &ApiState, purpose: &'static str) -> Session {
    let limits = Limits { rows_max: u64::MAX, bytes_max: u64::MAX, ..state.engine.limits(purpose) };
    state.engine.session(hopline_model::DEFAULT_TENANT, limits)
}

/// The rows of a statement.
pub(crate) async fn rows(
    session: &Session,
    sql: &str,
    params: crate::sql::params::Params,
) -> Result<Vec<RecordBatch>, Error> {
    session.collect(sql, params).await
}

impl From<otlp::Error> for Error {
    fn from(error: otlp::Error) -> Self {
        Error::Internal(Box::new(error))
    }
}

/// A value as a JSON answer.
pub(super) fn json(value: &impl Serialize) -> Result<Response, Error> {
    let body = serde_json::to_vec(value).map_err(|e| Error::Internal(Box::new(e)))?;
    Ok(([(http::header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// A time as RFC 3339 text with nanoseconds.
pub(crate) fn rfc3339(ns: i64) -> String {
    let mut out = String::with_capacity(30);
    let nanos = u32::try_from(ns.rem_euclid(1_000_000_000)).unwrap_or_default();
    write_time(ns.div_euclid(1_000_000_000), nanos, &mut out);
    out
}

/// Value text as a JSON value. Text that is nested too deep for that is given as a string.
pub(crate) fn value(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|_| serde_json::Value::String(text.to_owned()))
}

/// Where the next page of an answer begins. Opaque to clients.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cursor {
    /// [`Params::fingerprint`] of the request that it belongs to.
    #[serde(rename = "f")]
    pub(super) fingerprint: u64,
    /// The value by which the last row was sorted.
    #[serde(rename = "v")]
    pub(super) value: i64,
    /// Ids of the last row, or empty.
    #[serde(rename = "i", default, skip_serializing_if = "String::is_empty")]
    pub(super) ids: String,
    /// How many of the rows with this value were given.
    #[serde(rename = "n", default)]
    pub(super) given: usize,
    /// The time range, as it was when the first page was asked for.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub(super) start: Option<i64>,
    /// Its end.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub(super) end: Option<i64>,
}

/// A cursor as it is sent.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    /// [`Cursor::checksum`]: a cursor that was changed on its way would leave rows out in silence.
    #[serde(rename = "c")]
    checksum: u64,
    #[serde(rename = "p")]
    cursor: Cursor,
}

impl Cursor {
    /// The cursor of a request, if it has one.
    pub(super) fn of(params: &Params) -> Result<Option<Self>, Error> {
        let Some(text) = params.text("cursor")? else { return Ok(None) };
        let sealed = URL_SAFE_NO_PAD.decode(text).ok().and_then(|json| serde_json::from_slice::<Sealed>(&json).ok());
        let sealed = sealed.filter(|sealed| sealed.checksum == sealed.cursor.checksum());
        let cursor = sealed.ok_or_else(|| bad("cursor", "is not one that this server gave"))?.cursor;
        if cursor.fingerprint != params.fingerprint() {
            return Err(bad("cursor", "belongs to a request with other parameters"));
        }
        Ok(Some(cursor))
    }

    /// The time range of the first page.
    pub(super) fn range(&self) -> TimeRange {
        TimeRange { start: self.start, end: self.end }
    }

    pub(super) fn text(self) -> String {
        let sealed = Sealed { checksum: self.checksum(), cursor: self };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&sealed).unwrap_or_default())
    }

    fn checksum(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}
