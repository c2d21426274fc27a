//! What a function hangs together with: who calls and sends to it, to whom it sends, and how long that waited.

use hopline_stitch::invocation::rollup::{MINUTE_NS, Rollup, RollupKey};
use hopline_stitch::map::{EdgeKey, HopMap};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::answer::rfc3339;
use crate::api::hops::answer::HopAnswer;
use crate::api::hops::busiest;
use crate::api::hops::count::{Counted, Scope, Waits, counted};
use crate::api::params::TimeRange;
use crate::engine::Session;
use crate::error::{Error, ErrorKind};

const DAY: i64 = 86_400_000_000_000;
/// Hops are counted over so many of the last invocations at most, about: there may be several to one.
const INVOCATIONS_MAX: u64 = 200_000;
/// Most edges on each side.
const EDGES_MAX: usize = 1_000;

/// The hops of one function, those with the most calls first.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct FunctionHops {
    /// RFC 3339: since when they are counted, up to the end of the range.
    start: String,
    /// Who calls it or sends to it, as in `/api/v1/hops`.
    incoming: Vec<HopAnswer>,
    /// Whom it calls or sends to, as in `/api/v1/hops`.
    outgoing: Vec<HopAnswer>,
}

/// The hops of a function, how long what it received waited, and why these are not all.
pub(super) async fn hops(
    session: &Session,
    function: &str,
    range: TimeRange,
    rollups: &[(&RollupKey, &Rollup)],
) -> Result<(FunctionHops, Waits, Option<String>), Error> {
    let start = since(range, rollups);
    let range = TimeRange { start: Some(start), ..range };
    let scope = Scope { range, function: Some(function.to_owned()), service: None };
    let none = |reason: &str| Counted {
        map: HopMap::default(),
        waits: Waits::default(),
        reason: Some(format!("the hops of this range {reason}: ask for a shorter one")),
    };
    // The figures are worth something without them.
    let Counted { map, waits, mut reason } = match counted(session, &scope).await {
        Err(error) if error.kind() == ErrorKind::Memory => none("need more memory than a query may use"),
        Err(error) if error.kind() == ErrorKind::Timeout => none("cannot be counted in time"),
        counted => counted?,
    };
    let mut side = |is_of: &dyn Fn(&EdgeKey) -> bool| -> Vec<HopAnswer> {
        let (edges, is_cut) = busiest(map.edges.iter().filter(|(key, _)| is_of(key)), EDGES_MAX);
        if is_cut {
            reason.get_or_insert_with(|| format!("the limit of {EDGES_MAX} edges was reached"));
        }
        edges.into_iter().map(|(key, traffic)| HopAnswer::of(key, traffic)).collect()
    };
    let incoming = side(&|key| key.to.as_ref().is_some_and(|to| scope.holds(to)));
    let outgoing = side(&|key| scope.holds(&key.from));
    Ok((FunctionHops { start: rfc3339(start), incoming, outgoing }, waits, reason))
}

/// From when on hops are counted: over a day until the last invocation, and not over too many.
fn since(range: TimeRange, rollups: &[(&RollupKey, &Rollup)]) -> i64 {
    let (start, end) = (range.start.unwrap_or_default(), range.end.unwrap_or_default());
    let last = rollups.iter().map(|(_, rollup)| rollup.last_start_ns).max().unwrap_or(end);
    let of_day = start.max(last.saturating_sub(DAY).div_euclid(MINUTE_NS).saturating_mul(MINUTE_NS));
    let mut minutes: Vec<(i64, u64)> = rollups.iter().map(|(key, rollup)| (key.minute, rollup.count)).collect();
    minutes.sort_unstable_by_key(|(minute, _)| std::cmp::Reverse(*minute));
    let (mut seen, mut first) = (0_u64, i64::MIN);
    for (minute, count) in minutes {
        // A minute is taken as a whole, and at least one is.
        if seen >= INVOCATIONS_MAX && minute < first {
            return of_day.max(first.saturating_mul(MINUTE_NS));
        }
        (seen, first) = (seen.saturating_add(count), minute);
    }
    of_day
}

#[cfg(test)]
mod tests {
    use super::*;
    use hopline_stitch::invocation::{Outcome, StartType};

    #[track_caller]
    fn check(minutes: &[(i64, u64)], expected_minute: i64) {
        let rollups: Vec<(RollupKey, Rollup)> = minutes
            .iter()
            .map(|(minute, count)| {
                let key = RollupKey {
                    minute: *minute,
                    function: "f".to_owned(),
                    version: String::new(),
                    trigger: None,
                    region: String::new(),
                    start_type: StartType::Warm,
                    outcome: Outcome::Ok,
                };
                let last_start_ns = minute * MINUTE_NS + 5;
                (key, Rollup { count: *count, last_start_ns, ..Rollup::default() })
            })
            .collect();
        let rollups: Vec<(&RollupKey, &Rollup)> = rollups.iter().map(|(key, rollup)| (key, rollup)).collect();
        let range = TimeRange { start: Some(100 * MINUTE_NS), end: Some(10_000 * MINUTE_NS) };
        assert_eq!(since(range, &rollups), expected_minute * MINUTE_NS);
    }

    #[test]
    fn hops_are_counted_over_a_day_and_not_over_too_many_invocations() {
        check(&[], 10_000 - 1_440);
        check(&[(200, 5)], 100);
        check(&[(200, 5), (5_000, 5)], 5_000 - 1_440);
        check(&[(200, 90_000), (201, 90_000), (202, 90_000), (203, 90_000), (203, 5)], 201);
        check(&[(200, 5), (201, 900_000)], 201);
        check(&[(200, 5), (201, 900_000), (201, 3)], 201);
    }
}
