//! What the benchmarks measure with.
//!
//! - [`workload`]: telemetry shaped like the real thing, the same in every run.

pub mod workload;
