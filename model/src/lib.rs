//! The words all rooms of Hopline share: ids, signals, tenants, attributes, and
//! the Arrow schemas of the tables. Small and pure: no I/O, no clock, no async.
//!
//! - [`id`]: trace and span ids, and their hexadecimal form.
//! - [`signal`]: the three OTLP signals and the tables that keep them.
//! - [`promoted`]: semantic-convention keys that have a column of their own.
//! - [`layout`]: how the attributes of one row stood when they were sent.
//! - [`schema`]: the columns of `spans`, `logs` and `metrics`.
//! - [`names`]: words for OTLP's enumerations.

pub mod id;
pub mod layout;
pub mod names;
pub mod promoted;
pub mod schema;
pub mod signal;

pub use id::{SpanId, TraceId};
pub use layout::{AttributeType, Entry, Layout};
pub use promoted::{Cardinality, Promoted, PromotedType};
pub use signal::{Signal, SortPeriod, Table};

/// The tenant of everything that came without one.
pub const DEFAULT_TENANT: &str = "default";
