//! Rows of `function_minutes`: read in pieces, and of each function and hour (or day) only those of the last write.

use std::collections::{HashMap, HashSet};

use arrow::array::RecordBatch;
use hopline_model::{Table, schema};
use hopline_stitch::invocation::rollup::{MINUTE_NS, Rollup};
use hopline_stitch::rollups::{DAY, HOUR, KeyRef, Resolution, RollupRow, Rows};
use hopline_storage::Scan;

use crate::engine::Session;
use crate::error::Error;

/// Rows of one resolution: from the first minute to before the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Piece {
    pub(super) resolution: Resolution,
    pub(super) from: i64,
    pub(super) to: i64,
}

/// The rows of a piece, of one function or of all. Runs on the query threads.
pub(super) async fn read(session: &Session, function: Option<&str>, piece: Piece) -> Result<Vec<RecordBatch>, Error> {
    let time = |minute: i64| minute.saturating_mul(MINUTE_NS);
    let words: Vec<(&str, &str)> =
        [("resolution", piece.resolution.name())].into_iter().chain(function.map(|f| ("function", f))).collect();
    let schema = schema::of(Table::FunctionMinutes);
    let columns: Vec<&str> =
        schema.fields().iter().map(|f| f.name().as_str()).filter(|name| *name != "tenant").collect();
    let what = Scan {
        table: Table::FunctionMinutes,
        tenant: session.tenant(),
        words: &words,
        times: time(piece.from)..time(piece.to),
        columns: &columns,
    };
    let rows = session.engine().storage().scan(session.snapshot(), &what).await;
    rows.map_err(|e| Error::Read(Box::new(e)))
}

/// Pieces that do not overlap, those that follow each other as one.
pub(super) fn joined(mut pieces: Vec<Piece>) -> Vec<Piece> {
    pieces.retain(|piece| piece.from < piece.to);
    pieces.sort_by_key(|piece| (piece.resolution, piece.from));
    let mut joined: Vec<Piece> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match joined.last_mut() {
            Some(last) if last.resolution == piece.resolution && piece.from <= last.to => {
                last.to = last.to.max(piece.to);
            }
            _ => joined.push(piece),
        }
    }
    joined
}

/// The rows of batches.
pub(super) fn of(batches: &[RecordBatch]) -> Result<Vec<Rows<'_>>, Error> {
    batches.iter().map(|batch| Rows::of(batch).map_err(|e| Error::Internal(Box::new(e)))).collect()
}

/// The hour, or day, that is written as a whole with the row.
fn unit(resolution: Resolution, minute: i64) -> i64 {
    minute.div_euclid(if resolution == Resolution::Day { DAY } else { HOUR })
}

/// Calls `each` for each row of the last write of its function and hour, or day: which write, what it counts, and its
/// roll-up. A row that was written twice (the second time after a crash) counts once.
pub(super) fn newest<'a>(
    rows: &[Rows<'a>],
    wanted: impl Fn(Resolution, &KeyRef<'a>) -> bool,
    mut each: impl FnMut(Resolution, i64, KeyRef<'a>, &Rollup),
) {
    let all = || rows.iter().flat_map(|rows| (0..rows.len()).filter_map(move |at| Some((rows, at, rows.key(at)?))));
    let mut last: HashMap<(Resolution, &str, i64), i64, ahash::RandomState> = HashMap::default();
    for (_, _, (resolution, revision, key)) in all() {
        let last = last.entry((resolution, key.function, unit(resolution, key.minute))).or_insert(revision);
        *last = revision.max(*last);
    }
    let mut seen: HashSet<(Resolution, KeyRef<'a>), ahash::RandomState> = HashSet::default();
    let mut rollup = Rollup::default();
    for (rows, at, (resolution, revision, key)) in all() {
        let is_last = last.get(&(resolution, key.function, unit(resolution, key.minute))) == Some(&revision);
        if is_last && wanted(resolution, &key) && seen.insert((resolution, key)) && rows.read(at, &mut rollup) {
            each(resolution, revision, key, &rollup);
        }
    }
}

/// The newest rows of one resolution.
pub(crate) async fn newest_rows(
    session: &Session,
    resolution: Resolution,
    function: Option<&str>,
    from_minute: i64,
    to_minute: i64,
) -> Result<Vec<RollupRow>, Error> {
    let piece = Piece { resolution, from: from_minute, to: to_minute };
    let (of, function) = (session.clone(), function.map(str::to_owned));
    let read = async move { read(&of, function.as_deref(), piece).await };
    let batches = session.engine().task(session.limits(), read).await?;
    let mut found = Vec::new();
    newest(
        &self::of(&batches)?,
        |_, _| true,
        |resolution, revision, key, rollup| {
            found.push(RollupRow { resolution, revision, key: key.to_key(), rollup: rollup.clone() });
        },
    );
    found.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_that_touch_are_one() {
        let piece = |resolution, from, to| Piece { resolution, from, to };
        let (hour, day) = (Resolution::Hour, Resolution::Day);
        let pieces = vec![piece(day, 0, 5), piece(hour, 7, 9), piece(hour, 9, 12), piece(hour, 3, 8), piece(day, 5, 5)];
        assert_eq!(joined(pieces), [piece(hour, 3, 12), piece(day, 0, 5)]);
    }
}
