//! Looks up what is told of invocations by their ids, without a plan ([`hopline_storage::Lookup`]).

use std::collections::BTreeSet;

use hopline_model::{Table, schema};
use hopline_stitch::facts::facts;
use hopline_stitch::invocation::Fact;
use hopline_storage::Lookup;

use crate::api::params::TimeRange;
use crate::engine::Session;
use crate::error::Error;

/// What is told in the range of the invocations with these ids; of `functions` alone, if any are given. One more fact than
/// `facts_max` if there are more.
pub(in crate::api) async fn told_of<'a>(
    session: &Session,
    ids: impl Iterator<Item = &'a str>,
    functions: &BTreeSet<&str>,
    range: TimeRange,
    facts_max: usize,
) -> Result<Vec<Fact>, Error> {
    let ids: Vec<String> = ids.map(str::to_owned).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let functions: BTreeSet<String> = functions.iter().map(|function| (*function).to_owned()).collect();
    let told = told(session.clone(), ids, functions, range, facts_max);
    session.engine().task(session.limits(), told).await
}

async fn told(
    session: Session,
    ids: Vec<String>,
    functions: BTreeSet<String>,
    range: TimeRange,
    facts_max: usize,
) -> Result<Vec<Fact>, Error> {
    let times = range.start.unwrap_or(i64::MIN)..=range.end.map_or(i64::MAX, |end| end.saturating_sub(1));
    let schema = schema::of(Table::Invocations);
    let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let what = Lookup { table: Table::Invocations, tenant: session.tenant(), ids: &ids, times, columns: &columns };
    let rows = session.engine().storage().lookup(session.snapshot(), &what).await;
    let is_in_range = |fact: &Fact| {
        range.start.is_none_or(|start| fact.time_ns >= start) && range.end.is_none_or(|end| fact.time_ns < end)
    };
    let is_of_function =
        |fact: &Fact| functions.is_empty() || functions.contains(fact.function.as_deref().unwrap_or_default());
    let mut found = Vec::new();
    for batch in rows.map_err(|e| Error::Read(Box::new(e)))? {
        let facts = facts(&batch).map_err(|e| Error::Internal(Box::new(e)))?;
        let room = facts_max.saturating_add(1).saturating_sub(found.len());
        found.extend(facts.into_iter().filter(|fact| is_in_range(fact) && is_of_function(fact)).take(room));
    }
    Ok(found)
}
