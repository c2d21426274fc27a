//! Deliveries of which only the platform tells: functions that were called and ran out of time, or crashed, before they
//! sent their span.
//!
//! The caller's span has the request id of the call, and so have the platform's records of the invocation. The receiving
//! side is made of those as if it were a span, so that it is counted like any other.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};

use hopline_model::{SpanId, TraceId};
use hopline_stitch::hops::function_name;
use hopline_stitch::invocation::{Fact, Invocation, Rules, merge};
use hopline_stitch::key::{Direction, KeyHash, Kind, hash_parts};
use hopline_stitch::map::MapRow;

use super::count::Scope;
use super::read::{self, FAR_MAX, Names, within};
use crate::api::answer;
use crate::api::filter::Where;
use crate::api::invocations::read::{AGE_MAX, FACTS_MAX, RUN_MAX, lacks_span, select, widened};
use crate::api::params::TimeRange;
use crate::engine::Session;
use crate::error::Error;
use crate::otlp::columns::Text;

/// The receiving sides of calls in the range whose span never came, with the other rows of their keys as far as `known` has
/// none; and why some are missing, if so.
pub(super) async fn rows(
    session: &Session,
    scope: &Scope,
    known: &[MapRow],
    names: &mut Names,
) -> Result<(Vec<MapRow>, Option<String>), Error> {
    let Some(callees) = callees(session, scope).await? else { return Ok((Vec::new(), None)) };
    let mut facts = facts_without_spans(session, scope.range, &callees).await?;
    let mut reason = (facts.len() > FACTS_MAX).then(|| too_many(FACTS_MAX));
    facts.truncate(FACTS_MAX);
    let merged = merge(&facts, &Rules::default());
    let lost: Vec<(KeyHash, &Invocation)> = merged
        .invocations
        .iter()
        .filter(|i| !i.has_span && !i.id.is_empty())
        .map(|i| (hash_parts(Kind::Lambda, &i.id), i))
        .collect();
    let (mut rows, are_more) = of_keys(session, scope.range, &lost, known, names).await?;
    if are_more {
        reason.get_or_insert_with(more_than_far);
    }
    let mut senders: HashMap<KeyHash, &MapRow> = HashMap::new();
    for row in known.iter().chain(&rows).filter(|row| row.direction == Direction::Out && row.kind == Kind::Lambda) {
        let first = senders.entry(row.hash).or_insert(row);
        // The same one in whatever order.
        if (row.start_ns, row.span) < (first.start_ns, first.span) {
            *first = row;
        }
    }
    let called = lost.iter().filter_map(|(hash, i)| Some((senders.get(hash).copied()?.clone(), *i)));
    let called: Vec<(MapRow, &Invocation)> = called.collect();
    let services = services(session, scope.range, &called).await?;
    rows.extend(called.iter().map(|(sender, invocation)| receiver(sender, invocation, &services, names)));
    Ok((rows, reason))
}

fn too_many(facts_max: usize) -> String {
    format!("more than {facts_max} facts are known of calls without a span in this range: ask for a shorter one")
}

fn more_than_far() -> String {
    format!(
        "more than {FAR_MAX} invocations without a span have no caller within a day of this range: it was looked for at any \
         time of the latest {FAR_MAX} only"
    )
}

/// The functions that somebody called by a request id; of a party, those that it called, and itself. Without any, nothing
/// was called; with [`Callees::Any`], nobody said which.
async fn callees(session: &Session, scope: &Scope) -> Result<Option<Callees>, Error> {
    let mut values = Where::default();
    let range = TimeRange { start: scope.range.start.map(|start| start.saturating_sub(AGE_MAX)), ..scope.range };
    let near = within(&mut values, range);
    let sql = format!(
        "SELECT DISTINCT function, destination FROM hop_keys WHERE {near} AND kind = 'lambda' AND direction = 'out' \
         AND trace_id IS NOT NULL"
    );
    let mut callees = BTreeSet::new();
    for batch in answer::rows(session, &sql, values.params()).await? {
        let (functions, destinations) = (Text::of(&batch, "function")?, Text::of(&batch, "destination")?);
        for row in 0..batch.num_rows() {
            let function = scope.function.as_deref();
            let is_caller = function.is_none_or(|function| functions.get(row) == Some(function));
            match destinations.get(row).filter(|name| !name.is_empty()) {
                Some(name) if is_caller || function == Some(function_name(name)) => {
                    callees.insert(function_name(name).to_owned());
                }
                Some(_) => {}
                None if is_caller => return Ok(Some(Callees::Any)),
                // It may be the party that was called.
                None => callees.extend(function.map(str::to_owned)),
            }
        }
    }
    Ok((!callees.is_empty()).then_some(Callees::Named(callees)))
}

/// Which functions were called.
#[derive(Debug, PartialEq, Eq)]
enum Callees {
    Any,
    Named(BTreeSet<String>),
}

impl Callees {
    /// The condition that a fact is of one of them, or nobody says of which function it is.
    fn condition(&self, values: &mut Where) -> String {
        let Callees::Named(names) = self else { return "TRUE".to_owned() };
        let names: Vec<String> = names.iter().map(|name| values.param(name.as_str())).collect();
        format!("function IN ('', {})", names.join(", "))
    }
}

/// What is told of the invocations in the range of which some try has no span, their tries before the range included; one
/// fact more than [`FACTS_MAX`] if there are more.
async fn facts_without_spans(session: &Session, range: TimeRange, callees: &Callees) -> Result<Vec<Fact>, Error> {
    let mut values = Where::default();
    let of_callees = callees.condition(&mut values);
    let near = widened(range, RUN_MAX);
    let inner = within(&mut values, near);
    let outer = within(&mut values, TimeRange { start: near.start.map(|start| start.saturating_sub(AGE_MAX)), ..near });
    for condition in [of_callees.clone(), outer, lacks_span(&format!("WHERE {of_callees} AND {inner}"))] {
        values.and(condition);
    }
    select(session, values).await
}

/// The rows of the keys of lost invocations of which `known` has none, of the latest; and whether there are more. Those that
/// began before the range are no deliveries of it.
async fn of_keys(
    session: &Session,
    range: TimeRange,
    lost: &[(KeyHash, &Invocation)],
    known: &[MapRow],
    names: &mut Names,
) -> Result<(Vec<MapRow>, bool), Error> {
    let known: HashSet<KeyHash> = known.iter().map(|row| row.hash).collect();
    let is_in = |i: &Invocation| {
        range.start.is_none_or(|start| i.start_ns >= start) && range.end.is_none_or(|end| i.start_ns < end)
    };
    let unknown = lost.iter().filter(|(hash, i)| is_in(i) && !known.contains(hash));
    let unknown: BTreeSet<(Reverse<i64>, KeyHash)> = unknown.map(|(hash, i)| (Reverse(i.start_ns), *hash)).collect();
    let hashes: Vec<KeyHash> = unknown.iter().map(|(_, hash)| *hash).take(FAR_MAX).collect();
    let rows = read::of_keys(session, &hashes, names).await?;
    Ok((rows.into_iter().filter(|row| row.kind == Kind::Lambda).collect(), unknown.len() > FAR_MAX))
}

/// The service of each function: as most of its spans say it, else as most of what the platform tells.
async fn services(
    session: &Session,
    range: TimeRange,
    called: &[(MapRow, &Invocation)],
) -> Result<HashMap<String, String>, Error> {
    let functions: BTreeSet<&str> = called.iter().filter_map(|(_, i)| i.function.as_deref()).collect();
    let mut found: HashMap<String, String> = HashMap::new();
    for (table, time) in [("spans", "start_time"), ("invocations", "time")] {
        let functions = functions.iter().filter(|function| !found.contains_key(**function));
        let mut values = Where::default();
        let functions: Vec<String> = functions.map(|function| values.param(*function)).collect();
        if functions.is_empty() {
            break;
        }
        values.and(format!("function IN ({})", functions.join(", ")));
        values.range(time, widened(range, RUN_MAX));
        let sql = format!(
            "SELECT function, service, count(*) AS rows FROM {table} {} GROUP BY function, service ORDER BY rows, service DESC",
            values.text()
        );
        for batch in answer::rows(session, &sql, values.params()).await? {
            let (functions, services) = (Text::of(&batch, "function")?, Text::of(&batch, "service")?);
            // The last one is that of most.
            let of_rows = (0..batch.num_rows()).map(|row| (functions.or_empty(row), services.or_empty(row)));
            found.extend(of_rows.map(|(function, service)| (function.to_owned(), service.to_owned())));
        }
    }
    Ok(found)
}

/// The side of a lost invocation, as if it were a span.
fn receiver(sender: &MapRow, invocation: &Invocation, services: &HashMap<String, String>, names: &mut Names) -> MapRow {
    let told = invocation.function.as_deref().filter(|function| !function.is_empty());
    let function = told.or(sender.destination.as_deref().map(function_name)).unwrap_or_default();
    let service = services.get(function).filter(|service| !service.is_empty()).map_or(function, String::as_str);
    // Each try has ids of its own, which no span has.
    let KeyHash(id) = hash_parts(Kind::Lambda, &format!("{}#{}", invocation.id, invocation.attempt));
    MapRow {
        direction: Direction::In,
        destination: Some(names.get(function)),
        span: (TraceId(id), SpanId(u64::from(invocation.attempt).to_be_bytes())),
        is_main: true,
        is_error: invocation.outcome.is_failed(),
        start_ns: invocation.start_ns,
        end_ns: invocation.end_ns().unwrap_or(invocation.start_ns),
        party: names.party(service, Some(function)),
        account: invocation.account.as_deref().map(|account| names.get(account)),
        region: invocation.region.as_deref().map(|region| names.get(region)),
        ..sender.clone()
    }
}
