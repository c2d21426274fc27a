//! The three OTLP signals and the tables that keep them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What an export carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Signal {
    /// Spans.
    Traces = 1,
    /// Log records.
    Logs = 2,
    /// Metric data points.
    Metrics = 3,
}

impl Signal {
    /// All signals.
    pub const ALL: [Signal; 3] = [Signal::Traces, Signal::Logs, Signal::Metrics];

    /// The word of OTLP's paths (`/v1/traces`) and of our metrics' labels.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Traces => "traces",
            Signal::Logs => "logs",
            Signal::Metrics => "metrics",
        }
    }

    /// The signal whose number in the log is `code`.
    pub fn from_code(code: u8) -> Option<Signal> {
        Signal::ALL.into_iter().find(|s| *s as u8 == code)
    }

    /// The table that keeps this signal.
    pub fn table(self) -> Table {
        match self {
            Signal::Traces => Table::Spans,
            Signal::Logs => Table::Logs,
            Signal::Metrics => Table::Metrics,
        }
    }
}

/// Nanoseconds of an hour.
const HOUR_NS: i64 = 3_600_000_000_000;

/// A period of time by which rows are ordered ([`Table::sort_period`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortPeriod {
    /// Behind how many of the sort columns.
    pub behind: usize,
    /// Its length in nanoseconds: an hour or more. Periods begin at multiples of it since 1970.
    pub length_ns: i64,
}

/// A table of Hopline. Its schema is [`crate::schema::of`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// One row a span.
    Spans,
    /// One row a log record.
    Logs,
    /// One row a data point.
    Metrics,
    /// One row an identity that a span, or a record of the platform, has on one side of a hop.
    HopKeys,
    /// One row what one source says of an invocation or of an execution environment.
    Invocations,
    /// One row the invocations of a function in a minute, an hour or a day that have something in common, counted.
    FunctionMinutes,
}

impl Table {
    /// How many tables there are.
    pub const COUNT: usize = 6;

    /// All tables.
    pub const ALL: [Table; Table::COUNT] =
        [Table::Spans, Table::Logs, Table::Metrics, Table::HopKeys, Table::Invocations, Table::FunctionMinutes];

    /// The tables that hold what was sent, attributes and all. The others are derived from them.
    pub const SIGNALS: [Table; 3] = [Table::Spans, Table::Logs, Table::Metrics];

    /// The table's name in SQL, and of its folder.
    pub fn name(self) -> &'static str {
        match self {
            Table::Spans => "spans",
            Table::Logs => "logs",
            Table::Metrics => "metrics",
            Table::HopKeys => "hop_keys",
            Table::Invocations => "invocations",
            Table::FunctionMinutes => "function_minutes",
        }
    }

    /// Whether it holds what was sent, attributes and all.
    pub fn is_signal(self) -> bool {
        Table::SIGNALS.contains(&self)
    }

    /// The column by which rows are found in time.
    pub fn time_column(self) -> &'static str {
        match self {
            Table::Spans => "start_time",
            _ => "time",
        }
    }

    /// The order of the rows in a Parquet file (`DESIGN`: search by service and name).
    pub fn sort_columns(self) -> &'static [&'static str] {
        match self {
            Table::Spans => &["tenant", "service", "name", "start_time"],
            Table::Logs => &["tenant", "service", "time"],
            Table::Metrics => &["tenant", "service", "name", "series_id", "time"],
            Table::HopKeys => &["tenant", "key_hash"],
            Table::Invocations => &["tenant", "function", "time"],
            Table::FunctionMinutes => &["tenant", "resolution", "function", "time"],
        }
    }

    /// Where among the sort columns rows are ordered by a period of their time, if they are: who asks for all functions
    /// reads a few periods, each in one piece, and who asks for one function a piece of each period.
    pub fn sort_period(self) -> Option<SortPeriod> {
        match self {
            Table::Invocations => Some(SortPeriod { behind: 1, length_ns: 24 * HOUR_NS }),
            Table::FunctionMinutes => Some(SortPeriod { behind: 2, length_ns: HOUR_NS }),
            _ => None,
        }
    }

    /// The column by which single rows are looked up whenever they were: files have an index of it.
    pub fn id_column(self) -> Option<&'static str> {
        match self {
            Table::Spans | Table::Logs => Some("trace_id"),
            Table::Metrics | Table::FunctionMinutes => None,
            Table::HopKeys => Some("key_hash"),
            Table::Invocations => Some("invocation_id"),
        }
    }

    /// A small number for arrays with a slot a table: 0, 1, 2, …
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Table {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Table::ALL.into_iter().find(|t| t.name() == text).ok_or_else(|| {
            let names = Table::ALL.map(Table::name).join(", ");
            format!("there is no table {text:?}: the tables are {names}")
        })
    }
}
