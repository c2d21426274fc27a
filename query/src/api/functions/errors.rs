//! Errors by kind, from the invocations that failed, and when each kind was first seen.

use std::collections::HashMap;

use arrow::array::Array;
use hopline_stitch::fingerprint;
use hopline_stitch::invocation::{Invocation, Outcome};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::answer::{self, rfc3339};
use crate::api::filter::Where;
use crate::api::params::TimeRange;
use crate::engine::Session;
use crate::error::Error;
use crate::otlp::columns::{Bytes, time};
use crate::sql::params::Param;

/// Most kinds of errors in one answer.
const ERRORS_MAX: usize = 100;

/// Errors of one kind.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ErrorKind)]
pub(crate) struct ErrorKindAnswer {
    /// 16 hexadecimal digits: the same for all errors of this kind.
    fingerprint: String,
    /// The type of the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_type: Option<String>,
    /// The text of the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// How the latest ended: `error`, `timeout`, `oom`, `crash`.
    #[schema(value_type = String)]
    outcome: &'static str,
    /// How many invocations failed with it.
    count: u64,
    /// RFC 3339: the first time, as far as anything is kept.
    first_seen: String,
    /// RFC 3339: the last time in the range.
    last_seen: String,
    /// Whether it was never seen before the range.
    is_new: bool,
    /// The latest invocation that failed with it.
    invocation_id: String,
    /// Its trace, 32 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

/// The errors by kind, with when each was first seen.
pub(super) async fn by_kind(
    session: &Session,
    name: &str,
    range: TimeRange,
    failed: &[Invocation],
) -> Result<(Vec<ErrorKindAnswer>, Option<String>), Error> {
    let mut kinds: HashMap<u64, Vec<&Invocation>> = HashMap::new();
    for invocation in failed {
        if let Some(fingerprint) = invocation.fingerprint {
            kinds.entry(fingerprint).or_default().push(invocation);
        }
    }
    let mut kinds: Vec<(u64, Vec<&Invocation>)> = kinds.into_iter().collect();
    kinds.sort_by_key(|(fingerprint, of_kind)| (std::cmp::Reverse(of_kind.len()), *fingerprint));
    let reason = (kinds.len() > ERRORS_MAX).then(|| format!("the limit of {ERRORS_MAX} kinds of errors was reached"));
    kinds.truncate(ERRORS_MAX);
    let mut first_seen = first_seen(session, name, kinds.iter().map(|(fingerprint, _)| *fingerprint)).await?;
    for (fingerprint, of_kind) in &kinds {
        let outcome = of_kind.first().map(|i| i.outcome);
        if let (false, Some(outcome)) = (first_seen.contains_key(fingerprint), outcome) {
            first_seen.extend(first_told(session, name, outcome).await?.map(|first| (*fingerprint, first)));
        }
    }
    let kind = |(fingerprint, of_kind): &(u64, Vec<&Invocation>)| {
        let latest = of_kind.iter().max_by_key(|i| i.start_ns)?;
        let earliest = of_kind.iter().map(|i| i.start_ns).min()?;
        let before = first_seen.get(fingerprint).copied().filter(|first| *first < earliest);
        let is_new = before.is_none_or(|first| range.start.is_some_and(|start| first >= start));
        Some(ErrorKindAnswer {
            fingerprint: fingerprint::to_text(*fingerprint),
            error_type: latest.error_type.clone(),
            message: latest.error_message.clone(),
            outcome: latest.outcome.name(),
            count: of_kind.len() as u64,
            first_seen: rfc3339(before.unwrap_or(earliest)),
            last_seen: rfc3339(latest.start_ns),
            is_new,
            invocation_id: latest.id.clone(),
            trace_id: latest.trace_id.map(|id| id.to_string()),
        })
    };
    Ok((kinds.iter().filter_map(kind).collect(), reason))
}

/// When an end was first told of which no source gives an error: its fingerprint is that of the outcome.
async fn first_told(session: &Session, name: &str, outcome: Outcome) -> Result<Option<i64>, Error> {
    let mut conditions = Where::default();
    conditions.equals("function", Some(name));
    conditions.and(match outcome {
        Outcome::Timeout => "status = 'timeout'",
        Outcome::Oom => "out_of_memory IS NOT NULL",
        Outcome::Crash => "status = 'crash'",
        _ => "status = 'error' AND fingerprint IS NULL",
    });
    let sql = format!("SELECT min(time) AS first FROM invocations {}", conditions.text());
    for batch in answer::rows(session, &sql, conditions.params()).await? {
        let first = time(&batch, "first")?;
        if batch.num_rows() > 0 && first.is_valid(0) {
            return Ok(Some(first.value(0)));
        }
    }
    Ok(None)
}

async fn first_seen(
    session: &Session,
    name: &str,
    fingerprints: impl Iterator<Item = u64>,
) -> Result<HashMap<u64, i64>, Error> {
    let mut conditions = Where::default();
    conditions.equals("function", Some(name));
    let list: Vec<String> = fingerprints.map(|f| conditions.param(Param::Bytes(f.to_be_bytes().to_vec()))).collect();
    if list.is_empty() {
        return Ok(HashMap::new());
    }
    conditions.and(format!("fingerprint IN ({})", list.join(", ")));
    let sql =
        format!("SELECT fingerprint, min(time) AS first FROM invocations {} GROUP BY fingerprint", conditions.text());
    let mut first = HashMap::new();
    for batch in answer::rows(session, &sql, conditions.params()).await? {
        let (ids, times) = (Bytes::of(&batch, "fingerprint")?, time(&batch, "first")?);
        for row in 0..batch.num_rows() {
            let id = ids.get(row).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
            first.extend(id.map(|id| (id, times.value(row))));
        }
    }
    Ok(first)
}
