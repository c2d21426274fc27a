//! Gives stored rows back as OTLP/JSON, exactly as they were sent.
//!
//! Takes batches with the columns of the tables (`hopline_model::schema`, the tenant is
//! not needed), from the hot tier or from a query, and returns the JSON of OTLP's
//! `TracesData`, `LogsData` and `MetricsData`.
//!
//! - Items are grouped by resource, then by scope (then by metric), each in the order of
//!   first appearance; the items of a group keep the order of the rows.
//! - 64-bit integers are strings, ids lower-case hex, bytes base64, enumerations numbers.
//! - Attributes stand in the order in which they were sent, duplicates included.
//! - What the rows cannot tell apart is not told apart: a resource without any content
//!   and no resource are both `{}`.

pub(crate) mod columns;
mod group;
mod logs;
mod metrics;
mod spans;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use arrow::array::RecordBatch;

pub use columns::Error;
pub(crate) use group::{Sink, hex};
pub(crate) use spans::Trace;

/// The spans as `TracesData`.
pub fn spans(batches: &[RecordBatch]) -> Result<String, Error> {
    let mut out = String::new();
    spans::Trace::new(batches)?.write("", &mut Sink::whole(&mut out))?;
    Ok(out)
}

/// The log records as `LogsData`.
pub fn logs(batches: &[RecordBatch]) -> Result<String, Error> {
    logs::write(batches)
}

/// The data points as `MetricsData`.
pub fn metrics(batches: &[RecordBatch]) -> Result<String, Error> {
    metrics::write(batches)
}
