//! Adds to decoded rows what follows from them: hop keys, facts of invocations, and which
//! hours no roll-up counts any more.
//!
//! What cannot be derived is counted, and the rows themselves are kept: they are what was
//! acknowledged.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int32Type, TimestampNanosecondType};
use arrow::record_batch::RecordBatch;
use hopline_model::Table;
use hopline_stitch::derive::{DeriveError, Deriver};
use hopline_stitch::invocation::{LIFE_MAX_NS, RUN_MAX_NS};
use hopline_stitch::rollups::{HOUR, batch, changed};
use hopline_storage::changes::Unit;
use hopline_storage::{Changes, Derive, Position};

use super::commit::Batches;
use super::metrics::Metrics;

const MINUTE_NS: i64 = 60_000_000_000;
/// An invocation may have begun so many minutes before something is said of it.
const RUN_MAX: i64 = RUN_MAX_NS / MINUTE_NS;
/// Minutes that an environment lives, about, and a run at most: so far back is looked for what it did before, when an hour
/// is counted.
const LIFE_MAX: i64 = LIFE_MAX_NS / MINUTE_NS + RUN_MAX;

/// Derives rows of one run of batches after the other.
pub(crate) struct Derivation {
    deriver: Deriver,
    metrics: Arc<Metrics>,
}

impl Derivation {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Derivation {
        Derivation { deriver: Deriver::default(), metrics }
    }

    /// What follows from these rows; nothing if that panicked.
    fn of(&mut self, rows: &[(Table, RecordBatch)]) -> Option<Batches> {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            for (table, rows) in rows {
                if let Err(error) = self.deriver.add(*table, rows) {
                    self.note_failure(*table, &error);
                }
            }
            self.deriver.take()
        }));
        match outcome {
            Ok(Ok(derived)) => {
                let keys = derived.hop_keys.map(|rows| (Table::HopKeys, rows));
                Some(keys.into_iter().chain(derived.invocations.map(|rows| (Table::Invocations, rows))).collect())
            }
            Ok(Err(error)) => {
                self.note_failure(Table::Invocations, &error);
                Some(Batches::new())
            }
            Err(_) => {
                self.deriver = Deriver::default();
                None
            }
        }
    }

    /// What follows from each of these batches, without those that make the deriver panic.
    fn of_each(&mut self, rows: &[(Table, RecordBatch)]) -> Batches {
        let mut derived = Batches::new();
        for one in rows {
            match self.of(std::slice::from_ref(one)) {
                Some(more) => derived.extend(more),
                None => {
                    self.metrics.derive_failures.inc();
                    tracing::error!(table = %one.0, rows = one.1.num_rows(), "deriving from a batch panicked");
                }
            }
        }
        derived
    }

    fn note_failure(&self, table: Table, error: &DeriveError) {
        self.metrics.derive_failures.inc();
        tracing::error!(%table, error = error as &dyn std::error::Error, "nothing was derived from a batch");
    }
}

impl Derive for Derivation {
    fn derive(
        &mut self,
        rows: &[(Table, RecordBatch)],
        upto: Position,
        changes: &Changes,
        now_ns: i64,
    ) -> Vec<(Table, RecordBatch)> {
        let mut derived = self.of(rows).unwrap_or_else(|| self.of_each(rows));
        self.metrics.hop_keys_dropped.inc_by(self.deriver.take_dropped());
        self.metrics.hop_keys_refused.inc_by(self.deriver.take_refused());
        let changed = changes.note(changes_of(&derived, now_ns), now_ns);
        derived.extend(changed_rows(changed, upto));
        for (table, rows) in &derived {
            if let Some(stored) = self.metrics.stored.get(table.index()) {
                stored.inc_by(rows.num_rows() as u64);
            }
        }
        derived
    }
}

/// The hours whose roll-ups the facts in `batches` change. How an environment came to be ready may be told by what
/// it did in the hour before, so the next hour is among them; of what comes late, all hours up to now in which the
/// environment may have lived on.
fn changes_of(batches: &Batches, now_ns: i64) -> Vec<Unit> {
    let now = now_ns.div_euclid(MINUTE_NS);
    let mut units = BTreeSet::new();
    for (_, rows) in batches.iter().filter(|(table, _)| *table == Table::Invocations) {
        let column = |name: &str| rows.column_by_name(name);
        let tenants = column("tenant").and_then(|c| c.as_dictionary_opt::<Int32Type>());
        let functions = column("function").and_then(|c| c.as_dictionary_opt::<Int32Type>());
        let times = column("time").and_then(|c| c.as_primitive_opt::<TimestampNanosecondType>());
        let (Some(tenants), Some(functions), Some(times)) = (tenants, functions, times) else { continue };
        // Many facts are of few hours: these are told apart before each is looked at.
        let mut spans: BTreeSet<(Option<usize>, Option<usize>, [i64; 2])> = BTreeSet::new();
        for row in 0..rows.num_rows() {
            let minute = times.value(row).div_euclid(MINUTE_NS);
            let last = minute.saturating_add(LIFE_MAX).min(now).max(minute.saturating_add(HOUR));
            let span = [minute - RUN_MAX, last].map(|minute| minute.div_euclid(HOUR) * HOUR);
            spans.insert((tenants.key(row), functions.key(row), span));
        }
        let mut places: BTreeSet<(Option<usize>, Option<usize>, i64)> = BTreeSet::new();
        for (tenant, function, [first, last]) in spans {
            let hours = (0..=(last - first) / HOUR).map(|n| first + n * HOUR);
            // At the ends of what a time can be there are hours that have none: their rows would be of another hour.
            let hours = hours.filter(|hour| hour.checked_mul(MINUTE_NS).is_some());
            places.extend(hours.map(|hour| (tenant, function, hour)));
        }
        let (tenants, functions) = (tenants.values().as_string_opt::<i32>(), functions.values().as_string_opt::<i32>());
        let (Some(tenants), Some(functions)) = (tenants, functions) else { continue };
        let word = |words: &arrow::array::StringArray, key: Option<usize>| -> Arc<str> {
            key.filter(|key| *key < words.len()).map_or("", |key| words.value(key)).into()
        };
        units.extend(places.into_iter().map(|(t, f, hour)| (word(tenants, t), hour, word(functions, f))));
    }
    units.into_iter().collect()
}

/// Rows that say that these hours changed.
fn changed_rows(units: Vec<Unit>, position: Position) -> Batches {
    let revision = i64::try_from(position.0).unwrap_or(i64::MAX);
    let tenants: BTreeSet<Arc<str>> = units.iter().map(|(tenant, ..)| Arc::clone(tenant)).collect();
    let of_tenant = |tenant: &Arc<str>| {
        let rows = units.iter().filter(|(t, ..)| t == tenant);
        let rows: Vec<_> = rows.map(|(_, hour, function)| changed(function, *hour, revision)).collect();
        batch(tenant, &rows).ok().flatten().map(|rows| (Table::FunctionMinutes, rows))
    };
    tenants.iter().filter_map(of_tenant).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use hopline_stitch::facts;
    use hopline_stitch::invocation::{Fact, Source};

    use super::*;

    #[test]
    fn facts_change_the_hours_in_which_their_invocation_may_have_begun_and_the_next() {
        let minute = |n: i64| n * MINUTE_NS;
        for (time, now, expected) in [
            (minute(600), minute(601), vec![540, 600, 660]),
            (minute(617), minute(617), vec![600, 660]),
            (minute(617), minute(0), vec![600, 660]),
            // What comes late may tell how environments came to be ready that ran hours later.
            (minute(617), minute(659), vec![600, 660]),
            (minute(617), minute(800), vec![600, 660, 720, 780]),
            (minute(617), minute(9_999), (10..=34).map(|hour| hour * 60).collect()),
            // The hours before the first and after the last have no time.
            (i64::MAX, minute(5), vec![i64::MAX / MINUTE_NS / HOUR * HOUR]),
            (i64::MIN, i64::MIN, vec![i64::MIN / MINUTE_NS / HOUR * HOUR]),
        ] {
            let fact = Fact { function: Some("f".to_owned()), ..Fact::new(Source::Span, time) };
            let rows = facts::batch("t", "s", &[fact]).unwrap().unwrap();
            let units = changes_of(&vec![(Table::Invocations, rows)], now);
            assert_eq!(units, expected.iter().map(|hour| ("t".into(), *hour, "f".into())).collect::<Vec<Unit>>());
        }
    }
}
