//! `/api/v1/functions`: what functions did in a range of time, each at a glance or one in full.
//!
//! - `overview`: all of them at a glance;
//! - `one`: one in full; `errors`, `advice`, `around`: its errors, what is worth a look, what it hangs together with;
//! - `throttles`, `iterator_age`: what the platform's metrics tell, read through `cloudwatch`.

mod advice;
mod around;
mod cloudwatch;
mod errors;
mod iterator_age;
pub(crate) mod one;
pub(crate) mod overview;
mod throttles;

pub(crate) use one::function;
pub(crate) use overview::functions;

use super::params::{Params, TimeRange, bad};
use crate::error::Error;

const HOUR: i64 = 3_600_000_000_000;

/// The range of a request: the last hour, unless it says otherwise.
pub(super) fn range_of(params: &Params) -> Result<TimeRange, Error> {
    let TimeRange { start, end } = params.range()?;
    let end = end.unwrap_or_else(|| params.now());
    if start.is_some_and(|start| start >= end) {
        return Err(bad("start", "must be earlier than now, which is the end of the range unless end is given"));
    }
    Ok(TimeRange { start: Some(start.unwrap_or(end.saturating_sub(HOUR))), end: Some(end) })
}

/// The range of the same length just before.
pub(super) fn before(range: TimeRange) -> TimeRange {
    let (Some(start), Some(end)) = (range.start, range.end) else { return range };
    TimeRange { start: Some(start.saturating_sub(end.saturating_sub(start))), end: Some(start) }
}
