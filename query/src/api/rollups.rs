//! Invocations counted by minute and function, for a range of time.

use std::collections::BTreeMap;

use hopline_stitch::invocation::rollup::{Rollup, RollupKey, roll_up};

use super::invocations::read::{Which, known};
use super::params::TimeRange;
use crate::engine::Session;
use crate::error::Error;

/// Counted invocations.
#[derive(Debug, Default)]
pub(super) struct Rollups {
    by_function: BTreeMap<String, Vec<(RollupKey, Rollup)>>,
    /// Why these are not all.
    pub(super) reason: Option<String>,
}

impl Rollups {
    /// The functions that ran.
    pub(super) fn functions(&self) -> impl Iterator<Item = &str> {
        self.by_function.keys().map(String::as_str)
    }

    /// The roll-ups of a function.
    pub(super) fn of(&self, function: &str) -> Vec<(&RollupKey, &Rollup)> {
        let of_function = self.by_function.get(function).into_iter().flatten();
        of_function.map(|(key, rollup)| (key, rollup)).collect()
    }
}

/// The roll-ups of all functions, or of one, over the invocations that began in `range`.
pub(super) async fn read(session: &Session, function: Option<&str>, range: TimeRange) -> Result<Rollups, Error> {
    let which = Which { function: function.map(str::to_owned), range };
    let known = known(session, &which).await?;
    let mut rollups = Rollups { by_function: BTreeMap::new(), reason: known.reason.clone() };
    for (key, rollup) in roll_up(known.within(range)) {
        rollups.by_function.entry(key.function.clone()).or_default().push((key, rollup));
    }
    Ok(rollups)
}
