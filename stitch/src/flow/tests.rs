//! Stories, told from any of their traces.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod batches;
mod hostile;
mod limits;
mod paths;
mod properties;
mod stories;
