//! SQL: what text is taken as a query, and the endpoint `/api/v1/sql`.
//!
//! - [`params`]: values for `$1` and `$name`;
//! - `statement`: text to one statement that only reads, of bounded size and depth;
//! - `ignored`: clauses that nobody would heed, and which are therefore refused;
//! - `rewrite`: what Hopline's SQL has beside DataFusion's, put into words that the planner knows;
//! - `name`: names for the columns of an answer;
//! - `plan`: those words to columns and functions;
//! - `http`: the endpoint.

pub mod http;
mod ignored;
pub(crate) mod name;
pub mod params;
pub(crate) mod plan;
pub(crate) mod rewrite;
pub(crate) mod statement;
