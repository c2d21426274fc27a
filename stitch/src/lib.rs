//! Ties traces together over event hops, and says what spans and platform records tell
//! of functions. Pure: no clock, no I/O, no async.
//!
//! Modules in reading order:
//! - [`key`]: the identity that both sides of a hop know;
//! - [`span`]: a span as the rules look at it;
//! - [`hops`]: the table of hops: which span has which keys;
//! - [`invocation`], [`cost`], [`fingerprint`]: what is known of functions;
//! - [`columns`]: rows of the tables `spans` and `logs`, as the rules look at them;
//! - [`facts`], [`rollups`]: rows of the tables `invocations` and `function_minutes`;
//! - [`mod@derive`]: the rows that are derived from them at ingest;
//! - [`flow`]: traces and edges brought together into one story;
//! - [`map`]: hops counted between functions, queues and topics;
//! - `choose`, `ranges`: which of several senders it was, for both.

mod choose;
pub mod columns;
pub mod cost;
pub mod derive;
pub mod facts;
pub mod fingerprint;
pub mod flow;
pub mod hops;
pub mod invocation;
pub mod key;
pub mod map;
mod ranges;
pub mod rollups;
pub mod span;
mod words;
