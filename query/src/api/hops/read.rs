//! Reads the keys that a count needs: those of the range, and those they may belong together with.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use hopline_model::{SpanId, TraceId};
use hopline_stitch::key::{Direction, KeyHash, Kind};
use hopline_stitch::map::{MapRow, Party};

use super::count::{ROWS_MAX, Scope};
use crate::api::answer;
use crate::api::filter::Where;
use crate::api::params::TimeRange;
use crate::engine::Session;
use crate::error::Error;
use crate::otlp::columns::{Bytes, Text, int64, time};
use crate::sql::params::Param;

/// How long before the range senders are looked for, and how long behind it receivers.
const LOOK_AROUND: i64 = 86_400_000_000_000;
/// Of so many messages whose other side was not seen that near, the latest, it is looked for at any time.
pub(super) const FAR_MAX: usize = 2_000;
/// Keys that are looked up by one query.
const FAR_AT_ONCE: usize = 200;
/// So many messages of others are looked at to find out whether receivers tell what they received.
const WITNESSES_MAX: usize = 10_000;
/// Kinds that lead somewhere else, or prove nothing, and rows of the platform's records are no sides of hops.
const IS_SIDE: &str = "kind NOT IN ('link', 'dest', 'xray') AND trace_id IS NOT NULL";

/// Each different text once.
#[derive(Default)]
pub(super) struct Names(HashSet<Arc<str>>);

impl Names {
    pub(super) fn get(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return Arc::clone(known);
        }
        let name: Arc<str> = text.into();
        self.0.insert(Arc::clone(&name));
        name
    }

    pub(super) fn party(&mut self, service: &str, function: Option<&str>) -> Party {
        let function = function.filter(|f| !f.is_empty()).map(|f| self.get(f));
        Party { service: self.get(service), function }
    }
}

/// The rows of a count, and why some are missing, if so.
pub(super) async fn rows(
    session: &Session,
    scope: &Scope,
    names: &mut Names,
) -> Result<(Vec<MapRow>, Option<String>), Error> {
    let too_many = |rows: &[MapRow]| (rows.len() > ROWS_MAX).then(|| too_many("keys"));
    let mut rows = near_rows(session, scope, names).await?;
    let mut reason = too_many(&rows);
    if reason.is_none() {
        let (far, are_more) = far_rows(session, scope, &rows, names).await?;
        rows.extend(far);
        if scope.is_of_party() && rows.len() <= ROWS_MAX {
            rows.extend(witnesses(session, scope, &rows, names).await?);
        }
        reason = too_many(&rows).or_else(|| are_more.then(more_than_far));
    }
    rows.truncate(ROWS_MAX);
    Ok((rows, reason))
}

/// Why not all rows of a kind were read.
pub(super) fn too_many(what: &str) -> String {
    format!("more than {ROWS_MAX} {what} are in this range: ask for a shorter one")
}

fn more_than_far() -> String {
    format!(
        "more than {FAR_MAX} messages have no other side within a day of this range: it was looked for at any time of \
         the latest {FAR_MAX} only"
    )
}

/// Both sides of what was sent or received in the range (by a party: what it sent or received), in the range and a day
/// around it.
async fn near_rows(session: &Session, scope: &Scope, names: &mut Names) -> Result<Vec<MapRow>, Error> {
    let mut values = Where::default();
    // What a party sent before the range may be received in it.
    let range = if scope.is_of_party() { around(scope.range) } else { scope.range };
    let mut wanted = vec![within(&mut values, range)];
    for (column, value) in [("function", &scope.function), ("service", &scope.service)] {
        wanted.extend(value.as_deref().map(|value| format!("{column} = {}", values.param(value))));
    }
    both_sides(session, scope.range, &wanted.join(" AND "), "", values, names).await
}

/// The other sides of what was received or sent in the range, where a day around it has none: messages may wait for long.
/// And whether there are more than were looked for.
async fn far_rows(
    session: &Session,
    scope: &Scope,
    near: &[MapRow],
    names: &mut Names,
) -> Result<(Vec<MapRow>, bool), Error> {
    let sides = sides(near);
    let mut latest: HashMap<KeyHash, i64> = HashMap::new();
    for row in alone(scope, near, &sides) {
        let time = latest.entry(row.hash).or_insert(row.start_ns);
        *time = row.start_ns.max(*time);
    }
    // The same ones each time: rows come in any order.
    let mut hashes: Vec<(Reverse<i64>, KeyHash)> =
        latest.into_iter().map(|(hash, time)| (Reverse(time), hash)).collect();
    hashes.sort_unstable();
    let are_more = hashes.len() > FAR_MAX;
    let hashes: Vec<KeyHash> = hashes.into_iter().map(|(_, hash)| hash).take(FAR_MAX).collect();
    let mut found = of_keys(session, &hashes, names).await?;
    found.retain(|row| !sides.contains(&(row.hash, row.direction)));
    Ok((found, are_more))
}

/// Messages of others through the places to which the party sent what nobody was seen receiving: whether that is known of
/// anybody there decides whether it is told.
async fn witnesses(session: &Session, scope: &Scope, rows: &[MapRow], names: &mut Names) -> Result<Vec<MapRow>, Error> {
    let sides = sides(rows);
    let sent = alone(scope, rows, &sides).filter(|row| row.direction == Direction::Out && scope.holds(&row.party));
    let places: BTreeSet<(Arc<str>, Option<Arc<str>>)> =
        sent.map(|row| (Arc::clone(&row.hop), row.destination.clone())).collect();
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let mut values = Where::default();
    let mut place = |(hop, destination): &(Arc<str>, Option<Arc<str>>)| {
        let destination = match destination {
            Some(destination) => format!("= {}", values.param(&**destination)),
            None => "IS NULL".to_owned(),
        };
        format!("(hop = {} AND destination {destination})", values.param(&**hop))
    };
    let places: Vec<String> = places.iter().map(&mut place).collect();
    let wanted = format!("({}) AND {}", places.join(" OR "), within(&mut values, scope.range));
    let limit = format!("ORDER BY key_hash LIMIT {WITNESSES_MAX}");
    let found = both_sides(session, scope.range, &wanted, &limit, values, names).await?;
    let known: HashSet<KeyHash> = rows.iter().map(|row| row.hash).collect();
    Ok(found.into_iter().filter(|row| !known.contains(&row.hash)).collect())
}

pub(super) fn around(range: TimeRange) -> TimeRange {
    TimeRange {
        start: range.start.map(|start| start.saturating_sub(LOOK_AROUND)),
        end: range.end.map(|end| end.saturating_add(LOOK_AROUND)),
    }
}

pub(super) fn within(values: &mut Where, range: TimeRange) -> String {
    let ends = [(">=", range.start), ("<", range.end)];
    let ends = ends.into_iter().filter_map(|(op, time)| Some((op, time?)));
    let conditions: Vec<String> =
        ends.map(|(op, time)| format!("time {op} {}", values.param(Param::Time(time)))).collect();
    if conditions.is_empty() { "TRUE".to_owned() } else { conditions.join(" AND ") }
}

type Sides = HashSet<(KeyHash, Direction)>;

fn sides(rows: &[MapRow]) -> Sides {
    rows.iter().map(|row| (row.hash, row.direction)).collect()
}

/// What was sent or received in the range and has no other side, though it should.
fn alone<'a>(scope: &'a Scope, rows: &'a [MapRow], sides: &'a Sides) -> impl Iterator<Item = &'a MapRow> {
    rows.iter().filter(move |row| {
        row.kind.expects_other_side(row.direction)
            && scope.range.start.is_none_or(|start| row.start_ns >= start)
            && scope.range.end.is_none_or(|end| row.start_ns < end)
            && !sides.contains(&(row.hash, row.direction.opposite()))
    })
}

/// All rows, a day around the range, of the keys that rows of which `wanted` holds have.
async fn both_sides(
    session: &Session,
    range: TimeRange,
    wanted: &str,
    limit: &str,
    mut values: Where,
    names: &mut Names,
) -> Result<Vec<MapRow>, Error> {
    let near = within(&mut values, around(range));
    let columns: Vec<String> = COLUMNS.iter().map(|name| format!("k.{name} AS {name}")).collect();
    let sql = format!(
        "SELECT {} FROM (SELECT DISTINCT key_hash FROM hop_keys WHERE {wanted} AND {IS_SIDE} {limit}) w \
         JOIN (SELECT {} FROM hop_keys WHERE {near} AND {IS_SIDE}) k ON w.key_hash = k.key_hash LIMIT {}",
        columns.join(", "),
        COLUMNS.join(", "),
        ROWS_MAX + 1
    );
    select(session, &sql, values, names).await
}

/// All rows of these keys, of whatever time.
pub(super) async fn of_keys(session: &Session, hashes: &[KeyHash], names: &mut Names) -> Result<Vec<MapRow>, Error> {
    let mut found = Vec::new();
    for some in hashes.chunks(FAR_AT_ONCE) {
        let mut values = Where::default();
        let hashes: Vec<String> = some.iter().map(|hash| values.param(Param::Bytes(hash.0.to_vec()))).collect();
        let sql = format!(
            "SELECT {} FROM hop_keys WHERE key_hash IN ({}) AND {IS_SIDE} LIMIT {}",
            COLUMNS.join(", "),
            hashes.join(", "),
            ROWS_MAX + 1
        );
        found.extend(select(session, &sql, values, names).await?);
    }
    Ok(found)
}

const COLUMNS: [&str; 15] = [
    "key_hash",
    "kind",
    "direction",
    "hop",
    "destination",
    "trace_id",
    "span_id",
    "span_kind",
    "status_code",
    "time",
    "duration",
    "service",
    "function",
    "account",
    "region",
];

async fn select(session: &Session, sql: &str, values: Where, names: &mut Names) -> Result<Vec<MapRow>, Error> {
    let mut found = Vec::new();
    for batch in answer::rows(session, sql, values.params()).await? {
        add(&batch, names, &mut found)?;
    }
    Ok(found)
}

fn add(batch: &RecordBatch, names: &mut Names, found: &mut Vec<MapRow>) -> Result<(), Error> {
    let hashes = Bytes::of(batch, "key_hash")?;
    let text = |name: &str| Text::of(batch, name);
    let (kind, direction, hop, destination) = (text("kind")?, text("direction")?, text("hop")?, text("destination")?);
    let (span_kind, status) = (text("span_kind")?, text("status_code")?);
    let (account, region) = (text("account")?, text("region")?);
    let (service, function) = (text("service")?, text("function")?);
    let (traces, spans) = (Bytes::of(batch, "trace_id")?, Bytes::of(batch, "span_id")?);
    let (times, durations) = (time(batch, "time")?, int64(batch, "duration")?);
    for row in 0..batch.num_rows() {
        let hash = hashes.get(row).and_then(|bytes| bytes.try_into().ok()).map(KeyHash);
        let span = traces.get(row).and_then(TraceId::from_slice).zip(spans.get(row).and_then(SpanId::from_slice));
        let kind = Kind::from_prefix(kind.or_empty(row));
        let direction = Direction::from_name(direction.or_empty(row));
        // A kind that is not known was stored by a newer server.
        let (Some(hash), Some(span), Some(kind), Some(direction)) = (hash, span, kind, direction) else { continue };
        let start_ns = times.value(row);
        found.push(MapRow {
            hash,
            kind,
            direction,
            hop: names.get(hop.or_empty(row)),
            destination: destination.get(row).map(|d| names.get(d)),
            span,
            is_main: matches!(span_kind.or_empty(row), "PRODUCER" | "SERVER"),
            is_error: status.or_empty(row) == "ERROR",
            start_ns,
            end_ns: start_ns.saturating_add(durations.value(row)),
            party: names.party(service.or_empty(row), function.get(row)),
            account: account.get(row).map(|a| names.get(a)),
            region: region.get(row).map(|r| names.get(r)),
        });
    }
    Ok(())
}
