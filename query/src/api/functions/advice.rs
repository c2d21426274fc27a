//! What the advice of one function is made of: its roll-ups, its failures, and its latest invocations.

use std::collections::BTreeMap;

use hopline_stitch::cost::PriceTable;
use hopline_stitch::invocation::insights::{self, FunctionStats, Thresholds};
use hopline_stitch::invocation::rollup::{MINUTE_NS, Rollup, RollupKey};
use hopline_stitch::invocation::{Invocation, Outcome, StartType};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::invocations::read::MemorySize;

/// Something worth a look.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Insight)]
pub(crate) struct InsightAnswer {
    /// `out_of_memory`, `timed_out`, `high_errors`, `errors`, `near_memory`, `near_timeout`, `cold_starts`,
    /// `lost_telemetry`, `over_provisioned`.
    #[schema(value_type = String)]
    kind: &'static str,
    /// It in one sentence.
    text: String,
    /// The numbers that it rests on, by name; the unit stands last.
    #[schema(value_type = Object)]
    evidence: BTreeMap<&'static str, f64>,
}

/// What is known of a function in a range.
pub(super) struct Known<'a> {
    pub(super) function: &'a str,
    /// All its invocations, counted.
    pub(super) rollups: &'a [(&'a RollupKey, &'a Rollup)],
    /// Those that failed.
    pub(super) failed: &'a [Invocation],
    /// The last ones, the latest at the end.
    pub(super) latest: &'a [Invocation],
    /// The sizes of memory that it was seen with.
    pub(super) sizes: &'a [MemorySize],
    pub(super) prices: &'a PriceTable,
}

impl Known<'_> {
    /// What is worth a look, the worst first.
    pub(super) fn insights(&self) -> Vec<InsightAnswer> {
        let found = insights::of(&self.stats(), &Thresholds::default()).into_iter().map(|insight| InsightAnswer {
            kind: insight.kind.name(),
            text: insight.text,
            evidence: insight.evidence.iter().map(|e| (e.name, e.value)).collect(),
        });
        found.collect()
    }

    fn stats(&self) -> FunctionStats {
        let sum = |of: fn(&RollupKey, &Rollup) -> u64| self.rollups.iter().map(|(key, rollup)| of(key, rollup)).sum();
        let largest = |of: fn(&Rollup) -> u64| self.rollups.iter().map(|(_, rollup)| of(rollup)).max().unwrap_or(0);
        let ran = self.rollups.iter().filter(|(key, _)| key.outcome != Outcome::Timeout);
        let size = self.size();
        FunctionStats {
            function: self.function.to_owned(),
            range_ns: self.range_ns(),
            invocations: sum(|_, rollup| rollup.count),
            failed: sum(|key, rollup| if key.outcome.is_failed() { rollup.count } else { 0 }),
            timed_out: sum(|_, rollup| rollup.timed_out),
            out_of_memory: sum(|_, rollup| rollup.out_of_memory),
            starts_known: sum(|key, rollup| if key.start_type == StartType::Unknown { 0 } else { rollup.count }),
            cold: sum(|key, rollup| if key.start_type == StartType::Cold { rollup.count } else { 0 }),
            reported: sum(|_, rollup| rollup.reported),
            lost: sum(|_, rollup| rollup.lost),
            memory_size: size.unwrap_or(0),
            memory_used_max: largest(|rollup| rollup.memory_used_max),
            duration_max_ns: ran.filter_map(|(_, rollup)| rollup.duration.max()).max(),
            // Only a time-out names the limit.
            limit_ns: self.failed.iter().filter_map(|i| u64::try_from(i.limit_ns?).ok()).max(),
            billed_ns: sum(|_, rollup| rollup.billed_ns),
            gb_second: self.latest.last().and_then(|latest| self.prices.gb_second(&latest.usage())),
            other_sizes: self
                .sizes
                .iter()
                .filter(|other| Some(other.bytes) != size)
                .map(|other| (other.bytes, other.duration_p50_ns))
                .collect(),
        }
    }

    /// From the first minute with invocations to the last, both whole.
    fn range_ns(&self) -> i64 {
        let minutes = || self.rollups.iter().map(|(key, _)| key.minute);
        let length = minutes().max().zip(minutes().min()).map_or(0, |(last, first)| last - first + 1);
        length.saturating_mul(MINUTE_NS)
    }

    /// The memory that it has now.
    fn size(&self) -> Option<u64> {
        let of_latest = self.latest.iter().rev().find_map(|i| u64::try_from(i.memory_size?).ok());
        of_latest.or_else(|| self.sizes.iter().max_by_key(|size| size.last_ns).map(|size| size.bytes))
    }
}
