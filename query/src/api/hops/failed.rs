//! What failed with the invocation that received it: a message has a span of its own there, which need not say so.

use std::collections::HashMap;

use hopline_model::TraceId;
use hopline_stitch::key::Direction;
use hopline_stitch::map::MapRow;

use super::count::{ROWS_MAX, Scope};
use crate::api::answer;
use crate::api::filter::Where;
use crate::api::invocations::read::RUN_MAX;
use crate::api::params::TimeRange;
use crate::engine::Session;
use crate::error::Error;
use crate::otlp::columns::{Bytes, Text, int64, time};

/// When invocations ran that failed, by trace and function.
#[derive(Default)]
pub(super) struct Failed(HashMap<(TraceId, String), Vec<(i64, i64)>>);

/// The invocations that ran in the range and whose span says that they failed.
pub(super) async fn invocations(session: &Session, scope: &Scope) -> Result<Failed, Error> {
    let mut conditions = Where::default();
    let start = scope.range.start.map(|start| start.saturating_sub(RUN_MAX));
    conditions.range("start_time", TimeRange { start, ..scope.range });
    conditions.and("kind = 'SERVER' AND status_code = 'ERROR' AND function IS NOT NULL");
    let sql =
        format!("SELECT trace_id, function, start_time, duration FROM spans {} LIMIT {ROWS_MAX}", conditions.text());
    let mut failed = Failed::default();
    for batch in answer::rows(session, &sql, conditions.params()).await? {
        let (traces, functions) = (Bytes::of(&batch, "trace_id")?, Text::of(&batch, "function")?);
        let (starts, durations) = (time(&batch, "start_time")?, int64(&batch, "duration")?);
        for row in 0..batch.num_rows() {
            let Some(trace) = traces.get(row).and_then(TraceId::from_slice) else { continue };
            let start = starts.value(row);
            let ran = (start, start.saturating_add(durations.value(row)));
            failed.0.entry((trace, functions.or_empty(row).to_owned())).or_default().push(ran);
        }
    }
    Ok(failed)
}

impl Failed {
    /// Marks what was received in an invocation that failed.
    pub(super) fn mark(&self, rows: &mut [MapRow]) {
        if self.0.is_empty() {
            return;
        }
        for row in rows.iter_mut().filter(|row| row.direction == Direction::In && !row.is_main && !row.is_error) {
            let Some(function) = row.party.function.as_deref() else { continue };
            let ran = self.0.get(&(row.span.0, function.to_owned()));
            row.is_error = ran.is_some_and(|ran| ran.iter().any(|(start, end)| (start..=end).contains(&&row.start_ns)));
        }
    }
}
