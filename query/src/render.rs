//! Answers as text or bytes: JSON, NDJSON, CSV, Arrow IPC.
//!
//! The answer is written batch by batch as it comes. What goes wrong before the first
//! batch is an HTTP error; what goes wrong later stands at the end of the answer, where
//! the format has a place for it, or breaks the transfer off. So does an answer that
//! was cut at its limit: nothing is left out in silence.
//!
//! - [`accept`]: which format a client asks for;
//! - [`value`]: one value of a column as text;
//! - `body`: a whole answer;
//! - `break_off`: what to do with one that has to be broken off.

pub mod accept;
mod body;
pub(crate) mod break_off;
mod time;
pub mod value;

pub use accept::{Format, Options};
pub use body::respond;
pub use time::write_time;

#[cfg(test)]
mod tests;
