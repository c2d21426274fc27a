//! Black-box tests: the real binary on free ports with a temporary folder, spoken to over real sockets.
//!
//! One test binary, because each further one would link the query engine again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod client;
mod conformance;
mod faults;
mod flows;
mod operations;
mod otlp;
mod query;
mod server;
