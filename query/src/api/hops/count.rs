//! The edges of a range, of all parties or of one.

use std::collections::{HashMap, HashSet};

use hopline_stitch::invocation::Sketch;
use hopline_stitch::key::{Direction, KeyHash};
use hopline_stitch::map::{HopMap, MapRow, Party, hop_map};

use super::calls::{self, Calls};
use super::failed;
use super::links;
use super::lost;
use super::read::{self, Names};
use crate::api::params::TimeRange;
use crate::engine::Session;
use crate::error::Error;

/// More keys, and more calls, than these are not counted for one answer.
pub(super) const ROWS_MAX: usize = 2_000_000;

/// Which hops are counted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    /// What was received, or sent to nobody, in this range.
    pub(crate) range: TimeRange,
    /// From or to this function.
    pub(crate) function: Option<String>,
    /// From or to this service.
    pub(crate) service: Option<String>,
}

impl Scope {
    /// Whether a party is the one that is meant; each is, if none is.
    pub(crate) fn holds(&self, party: &Party) -> bool {
        let Scope { function, service, .. } = self;
        function.as_deref().is_none_or(|f| party.function.as_deref() == Some(f))
            && service.as_deref().is_none_or(|s| *party.service == *s)
    }

    /// Whether the hops of one party are asked for.
    pub(super) fn is_of_party(&self) -> bool {
        self.function.is_some() || self.service.is_some()
    }
}

/// How long what was sent to a function, and not called, waited for it. In nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    /// Over all hops.
    pub(crate) all: Sketch,
    /// Of records of streams.
    pub(crate) streams: Sketch,
}

impl Waits {
    /// Adds a delivery that trace context tells. What began before the call returned did not wait.
    pub(super) fn add(&mut self, hop: &str, wait_ns: i64) {
        if wait_ns < 0 && is_call(hop) {
            return;
        }
        let wait_ns = u64::try_from(wait_ns).unwrap_or(0);
        self.all.add(wait_ns);
        if matches!(hop, "kinesis" | "kafka" | "eventhubs") {
            self.streams.add(wait_ns);
        }
    }
}

/// Whether a hop of this kind is a call: it waits only if the caller did not.
pub(crate) fn is_call(hop: &str) -> bool {
    matches!(hop, "call" | "http" | "lambda.invoke" | "function.invoke")
}

/// Hops, counted.
#[derive(Debug)]
pub(crate) struct Counted {
    /// The edges; of one party, also some of others that go through the same places.
    pub(crate) map: HopMap,
    /// How long what set the function off had waited, if the hops of one were counted.
    pub(crate) waits: Waits,
    /// Why these are not all.
    pub(crate) reason: Option<String>,
}

/// Counts the hops of a range.
pub(crate) async fn counted(session: &Session, scope: &Scope) -> Result<Counted, Error> {
    // What depends on nothing is read at once.
    let (mut names, mut names_of_links) = (Names::default(), Names::default());
    let ((mut rows, mut reason), linked, dropped, called, failed) = tokio::try_join!(
        read::rows(session, scope, &mut names),
        links::rows(session, scope, &mut names_of_links),
        links::dropped(session, scope),
        calls::rows(session, scope),
        failed::invocations(session, scope),
    )?;
    let (lost, why) = lost::rows(session, scope, &rows, &mut names).await?;
    reason = reason.or(why);
    rows.extend(lost);
    if linked.len() > ROWS_MAX {
        reason.get_or_insert_with(|| read::too_many("links"));
    }
    rows.extend(linked);
    failed.mark(&mut rows);
    reason = reason.or(dropped);
    let range_ns = (scope.range.start.unwrap_or(i64::MIN), scope.range.end.unwrap_or(i64::MAX));
    let function = scope.function.as_deref();
    let mut waits = function.map(|function| waits_of(&rows, range_ns, function)).unwrap_or_default();
    let mut map = hop_map(rows, range_ns);
    let (map_of, waits_of) = (&mut map, &mut waits);
    let mut calls = Calls { map: map_of, waits: waits_of, names: &mut names, function, seen: HashSet::new() };
    if calls.add(&called)? > ROWS_MAX {
        reason.get_or_insert_with(|| read::too_many("calls"));
    }
    Ok(Counted { map, waits, reason })
}

/// How long what a function received had waited, without the calls that were waited for.
fn waits_of(rows: &[MapRow], range_ns: (i64, i64), function: &str) -> Waits {
    let mut senders: HashMap<KeyHash, Vec<&MapRow>> = HashMap::new();
    for row in rows.iter().filter(|row| row.direction == Direction::Out) {
        senders.entry(row.hash).or_default().push(row);
    }
    let is_waited_for = |to: &MapRow| {
        let is_within = |from: &&&MapRow| {
            from.span != to.span
                && from.start_ns <= to.start_ns
                && (to.end_ns <= from.end_ns || (is_call(&to.hop) && to.start_ns < from.end_ns))
        };
        senders.get(&to.hash).is_some_and(|senders| senders.iter().any(|from| is_within(&from)))
    };
    let is_meant = |row: &MapRow| {
        row.direction == Direction::Out || (row.party.function.as_deref() == Some(function) && !is_waited_for(row))
    };
    let waits = |rows: &mut dyn Iterator<Item = &MapRow>| {
        let mut all = Sketch::new();
        for (key, traffic) in hop_map(rows.cloned(), range_ns).edges {
            if key.to.is_some_and(|to| to.function.as_deref() == Some(function)) {
                all.merge(&traffic.wait);
            }
        }
        all
    };
    Waits {
        all: waits(&mut rows.iter().filter(|row| is_meant(row))),
        streams: waits(&mut rows.iter().filter(|row| row.kind.is_stream() && is_meant(row))),
    }
}
