//! The crate through its door, with the types of `opentelemetry-proto` as the oracle.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod conformance;
mod generate;
mod replay;
mod roundtrip;
mod value;
mod write_json;
