//! The columns of `spans`, `logs` and `metrics`.
//!
//! Conventions, for every table:
//! - times are `Timestamp(ns, UTC)`; OTLP's unsigned nanoseconds are kept bit by bit, so
//!   a time after the year 2262 reads as one before 1970, and is given back as it came;
//! - ids are `FixedSizeBinary`, null where OTLP has an empty id;
//! - low-cardinality text is `Dictionary(Int32, Utf8)`;
//! - `resource` and `scope` hold everything of the resource and of the scope (attributes,
//!   dropped count, schema URL, entity references) as one text, dictionary-encoded: a row
//!   costs one key, and each distinct resource is looked at once;
//! - attributes of the row itself: promoted columns ([`crate::promoted`]), a map a type,
//!   and the order of sending in `attribute_layout` ([`crate::layout`]);
//! - "value text" is JSON that keeps OTLP's types: see `hopline_proto::value`.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

use crate::layout::AttributeType;
use crate::promoted::{self, Cardinality, Promoted, PromotedType};
use crate::signal::Table;

/// Version of the tables' columns, written into every Parquet file and manifest.
pub const SCHEMA_VERSION: u32 = 1;

/// The time zone of all times.
pub const UTC: &str = "UTC";

/// `Timestamp(ns, UTC)`.
pub fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some(UTC.into()))
}

/// `Dictionary(Int32, Utf8)`.
pub fn dictionary_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// A map from `Utf8` keys to `value`s, entries `entries: {key, value}`, unsorted, as Arrow's map builder names them.
pub fn map_type(value: DataType) -> DataType {
    let entries = Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", value, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

/// The type of the values in the map of `kind`.
pub fn map_value_type(kind: AttributeType) -> DataType {
    match kind {
        AttributeType::String | AttributeType::Other => DataType::Utf8,
        AttributeType::Int => DataType::Int64,
        AttributeType::Double => DataType::Float64,
        AttributeType::Bool => DataType::Boolean,
    }
}

/// A list whose items are called `item`.
pub fn list_type(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, true)))
}

/// The fields of one span event.
pub fn event_fields() -> Fields {
    Fields::from(vec![
        Field::new("time", time_type(), false),
        Field::new("name", DataType::Utf8, false),
        Field::new("attributes", DataType::Utf8, false),
        Field::new("dropped_attributes_count", DataType::UInt32, false),
    ])
}

/// The fields of one span link.
pub fn link_fields() -> Fields {
    Fields::from(vec![
        Field::new("trace_id", DataType::FixedSizeBinary(16), true),
        Field::new("span_id", DataType::FixedSizeBinary(8), true),
        Field::new("trace_state", DataType::Utf8, false),
        Field::new("flags", DataType::UInt32, false),
        Field::new("attributes", DataType::Utf8, false),
        Field::new("dropped_attributes_count", DataType::UInt32, false),
    ])
}

/// The fields of one exemplar. `value` is set for both kinds of number; `value_int` for integers.
pub fn exemplar_fields() -> Fields {
    Fields::from(vec![
        Field::new("time", time_type(), false),
        Field::new("value", DataType::Float64, true),
        Field::new("value_int", DataType::Int64, true),
        Field::new("trace_id", DataType::FixedSizeBinary(16), true),
        Field::new("span_id", DataType::FixedSizeBinary(8), true),
        Field::new("attributes", DataType::Utf8, false),
    ])
}

/// The fields of one quantile of a summary.
pub fn quantile_fields() -> Fields {
    Fields::from(vec![Field::new("quantile", DataType::Float64, false), Field::new("value", DataType::Float64, false)])
}

/// The Arrow type of a promoted column.
pub fn promoted_type(promoted: &Promoted) -> DataType {
    match (promoted.kind, promoted.cardinality) {
        (PromotedType::String, Cardinality::Low) => dictionary_type(),
        (PromotedType::String, Cardinality::High) => DataType::Utf8,
        (PromotedType::Int, _) => DataType::Int64,
        (PromotedType::Bool, _) => DataType::Boolean,
    }
}

/// The schema of `table`.
pub fn of(table: Table) -> SchemaRef {
    static SCHEMAS: LazyLock<[SchemaRef; Table::COUNT]> = LazyLock::new(|| {
        Table::ALL.map(|table| {
            let mut fields = vec![dictionary("tenant")];
            fields.extend(match table {
                Table::Spans => span_fields(),
                Table::Logs => log_fields(),
                Table::Metrics => metric_fields(),
                Table::HopKeys => hop_key_fields(),
                Table::Invocations => invocation_fields(),
                Table::FunctionMinutes => function_minute_fields(),
            });
            if table.is_signal() {
                fields.extend(common_fields(table));
            }
            Arc::new(Schema::new(fields))
        })
    });
    let [spans, logs, metrics, hop_keys, invocations, function_minutes] = &*SCHEMAS;
    match table {
        Table::Spans => spans.clone(),
        Table::Logs => logs.clone(),
        Table::Metrics => metrics.clone(),
        Table::HopKeys => hop_keys.clone(),
        Table::Invocations => invocations.clone(),
        Table::FunctionMinutes => function_minutes.clone(),
    }
}

fn dictionary(name: &str) -> Field {
    Field::new(name, dictionary_type(), false)
}

fn time(name: &str) -> Field {
    Field::new(name, time_type(), false)
}

fn optional(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

fn count(name: &str) -> Field {
    Field::new(name, DataType::UInt32, false)
}

fn span_fields() -> Vec<Field> {
    vec![
        Field::new("trace_id", DataType::FixedSizeBinary(16), false),
        Field::new("span_id", DataType::FixedSizeBinary(8), false),
        optional("parent_span_id", DataType::FixedSizeBinary(8)),
        dictionary("trace_state"),
        count("flags"),
        dictionary("name"),
        dictionary("kind"),
        time("start_time"),
        Field::new("duration", DataType::Int64, false),
        dictionary("status_code"),
        dictionary("status_message"),
        optional("events", list_type(DataType::Struct(event_fields()))),
        optional("links", list_type(DataType::Struct(link_fields()))),
        count("dropped_events_count"),
        count("dropped_links_count"),
    ]
}

fn log_fields() -> Vec<Field> {
    vec![
        // The record's own time, or the observed time where it has none: then time_is_observed.
        // Where there is no observed time either, it is the time the record was received.
        time("time"),
        Field::new("time_is_observed", DataType::Boolean, false),
        optional("observed_time", time_type()),
        Field::new("severity_number", DataType::Int32, false),
        dictionary("severity_text"),
        dictionary("event_name"),
        // A string body as it is; any other body as value text, and then body_is_json.
        optional("body", DataType::Utf8),
        Field::new("body_is_json", DataType::Boolean, false),
        optional("trace_id", DataType::FixedSizeBinary(16)),
        optional("span_id", DataType::FixedSizeBinary(8)),
        count("flags"),
        optional("invocation_id", DataType::Utf8),
    ]
}

fn metric_fields() -> Vec<Field> {
    let counts = || list_type(DataType::UInt64);
    vec![
        time("time"),
        optional("start_time", time_type()),
        dictionary("name"),
        dictionary("description"),
        dictionary("unit"),
        // gauge, sum, histogram, exponential_histogram, summary.
        dictionary("type"),
        optional("temporality", dictionary_type()),
        optional("is_monotonic", DataType::Boolean),
        optional("metadata", dictionary_type()),
        // Hash of name, resource, scope and attributes: equal for the points of one series.
        Field::new("series_id", DataType::FixedSizeBinary(8), false),
        count("flags"),
        // Of gauges and sums. Integers are in both columns.
        optional("value", DataType::Float64),
        optional("value_int", DataType::Int64),
        // Of histograms and summaries.
        optional("count", DataType::UInt64),
        optional("sum", DataType::Float64),
        optional("min", DataType::Float64),
        optional("max", DataType::Float64),
        optional("bucket_counts", counts()),
        optional("explicit_bounds", list_type(DataType::Float64)),
        // Of exponential histograms.
        optional("scale", DataType::Int32),
        optional("zero_count", DataType::UInt64),
        optional("zero_threshold", DataType::Float64),
        optional("positive_offset", DataType::Int32),
        optional("positive_bucket_counts", counts()),
        optional("negative_offset", DataType::Int32),
        optional("negative_bucket_counts", counts()),
        // Of summaries.
        optional("quantiles", list_type(DataType::Struct(quantile_fields()))),
        optional("exemplars", list_type(DataType::Struct(exemplar_fields()))),
    ]
}

/// Derived from spans, their links and the platform's records, by `hopline_stitch::hops`.
fn hop_key_fields() -> Vec<Field> {
    vec![
        // Of the span; of a platform's record, its own time, and a duration of 0.
        time("time"),
        Field::new("duration", DataType::Int64, false),
        // Stands for the key: `hopline_stitch::key::Key::hash`.
        Field::new("key_hash", DataType::FixedSizeBinary(16), false),
        // The prefix of the key: sqs, lambda, …
        dictionary("kind"),
        // out (sent, called, wrote) or in (received, was called, read).
        dictionary("direction"),
        // The kind of hop, as people name it.
        dictionary("hop"),
        dictionary("rule"),
        optional("destination", dictionary_type()),
        optional("trace_id", DataType::FixedSizeBinary(16)),
        optional("span_id", DataType::FixedSizeBinary(8)),
        optional("invocation_id", DataType::Utf8),
        dictionary("service"),
        optional("function", dictionary_type()),
        dictionary("span_kind"),
        dictionary("status_code"),
        optional("account", dictionary_type()),
        optional("region", dictionary_type()),
    ]
}

/// Derived from spans and the platform's records, by `hopline_stitch::invocation`: what one source says.
/// Null is what it does not say. Durations are nanoseconds, sizes are bytes.
fn invocation_fields() -> Vec<Field> {
    let word = |name: &str| optional(name, dictionary_type());
    let number = |name: &str| optional(name, DataType::Int64);
    vec![
        time("time"),
        optional("invocation_id", DataType::Utf8),
        dictionary("source"),
        dictionary("service"),
        dictionary("function"),
        word("version"),
        word("instance"),
        word("account"),
        word("region"),
        word("provider"),
        word("trigger"),
        optional("start_time", time_type()),
        optional("end_time", time_type()),
        number("duration"),
        number("billed_duration"),
        number("memory_size"),
        number("memory_used"),
        number("time_limit"),
        optional("coldstart", DataType::Boolean),
        word("init_type"),
        word("init_phase"),
        number("init_duration"),
        number("restore_duration"),
        word("status"),
        word("out_of_memory"),
        word("error_type"),
        optional("error_message", DataType::Utf8),
        optional("fingerprint", DataType::FixedSizeBinary(8)),
        number("http_status"),
        number("deliveries"),
        number("dropped_records"),
        word("architecture"),
        optional("is_server", DataType::Boolean),
        optional("trace_id", DataType::FixedSizeBinary(16)),
        optional("span_id", DataType::FixedSizeBinary(8)),
        optional("xray_root", DataType::FixedSizeBinary(16)),
        optional("xray_segment", DataType::FixedSizeBinary(8)),
    ]
}

/// Derived from `invocations`, by `hopline_stitch::invocation::rollup`. The rows of an hour, and of a day, replace those with
/// a lower `revision`.
fn function_minute_fields() -> Vec<Field> {
    let number = |name: &str| Field::new(name, DataType::Int64, false);
    let mut fields = vec![
        time("time"),
        // minute, hour, day; or changed: invocations of this hour came after its roll-up.
        dictionary("resolution"),
        dictionary("function"),
        dictionary("version"),
        optional("trigger", dictionary_type()),
        dictionary("region"),
        dictionary("start_type"),
        dictionary("outcome"),
        number("revision"),
    ];
    fields.extend(ROLLUP_NUMBERS.map(number));
    // `hopline_stitch::invocation::Sketch`, as bytes.
    fields.push(Field::new("duration", DataType::Binary, false));
    fields.push(Field::new("init", DataType::Binary, false));
    fields
}

/// The columns of `function_minutes` that are numbers. Durations are nanoseconds, sizes are bytes, the cost is in 10⁻¹² of
/// the price table's currency, `last_start` in nanoseconds since 1970.
pub const ROLLUP_NUMBERS: [&str; 12] = [
    "count",
    "timed_out",
    "out_of_memory",
    "reported",
    "lost",
    "retries",
    "costed",
    "cost_pico",
    "billed_duration",
    "memory_used_max",
    "memory_size_max",
    "last_start",
];

/// What every table has beside its own fields.
fn common_fields(table: Table) -> Vec<Field> {
    let mut fields = vec![
        dictionary("service"),
        optional("function", dictionary_type()),
        dictionary("scope_name"),
        dictionary("scope_version"),
        dictionary("scope"),
        dictionary("resource"),
    ];
    fields.extend(promoted::of(table).map(|p| optional(p.column, promoted_type(p))));
    fields.extend(AttributeType::ALL.map(|kind| optional(kind.column(), map_type(map_value_type(kind)))));
    fields.push(dictionary("attribute_layout"));
    if table != Table::Metrics {
        fields.push(count("dropped_attributes_count"));
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_its_time_and_sort_columns() {
        for table in Table::ALL {
            let schema = of(table);
            for column in table.sort_columns().iter().chain([&table.time_column()]) {
                assert!(schema.column_with_name(column).is_some(), "{table}.{column}");
            }
            let mut names: Vec<_> = schema.fields().iter().map(|f| f.name().clone()).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), schema.fields().len(), "{table}: a name twice");
        }
    }
}
