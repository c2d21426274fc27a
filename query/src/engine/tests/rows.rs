//! Rows made by hand, and a storage to keep them in.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, MapBuilder, MapFieldNames, RecordBatch, StringBuilder,
};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use hopline_model::{AttributeType, Layout, PromotedType, Table, promoted, schema};
use hopline_storage::{Config, Encoding, Format, Mode, Record, Storage, SystemClock};

/// 2026-11-21T10:00:00Z.
pub(crate) const T0: i64 = 1_795_255_200_000_000_000;
pub(crate) const SECOND: i64 = 1_000_000_000;

/// An attribute's value.
#[derive(Debug, Clone)]
pub(crate) enum V {
    S(&'static str),
    I(i64),
    D(f64),
    B(bool),
    O(&'static str),
}

/// One row: columns by name, and attributes. Columns that are not given are null or empty.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    columns: HashMap<&'static str, ScalarValue>,
    attributes: Vec<(&'static str, V)>,
}

impl Row {
    /// A span of trace `trace`, number `span`, that starts `at_s` seconds after [`T0`].
    pub(crate) fn span(trace: u8, span: u8, service: &str, name: &str, at_s: i64, duration: i64) -> Row {
        Row::default()
            .text("tenant", "default")
            .id("trace_id", 16, trace)
            .id("span_id", 8, span)
            .text("service", service)
            .text("name", name)
            .text("kind", "SERVER")
            .text("status_code", "UNSET")
            .time("start_time", T0 + at_s * SECOND)
            .with("duration", ScalarValue::Int64(Some(duration)))
    }

    /// A log record.
    pub(crate) fn log(trace: u8, service: &str, body: &str, at_s: i64) -> Row {
        Row::default()
            .text("tenant", "default")
            .id("trace_id", 16, trace)
            .text("service", service)
            .with("body", ScalarValue::Utf8(Some(body.to_owned())))
            .time("time", T0 + at_s * SECOND)
    }

    pub(crate) fn with(mut self, column: &'static str, value: ScalarValue) -> Row {
        self.columns.insert(column, value);
        self
    }

    pub(crate) fn text(self, column: &'static str, text: &str) -> Row {
        let text = ScalarValue::Utf8(Some(text.to_owned()));
        self.with(column, ScalarValue::Dictionary(Box::new(DataType::Int32), Box::new(text)))
    }

    pub(crate) fn time(self, column: &'static str, ns: i64) -> Row {
        self.with(column, ScalarValue::TimestampNanosecond(Some(ns), Some(schema::UTC.into())))
    }

    pub(crate) fn id(self, column: &'static str, len: i32, byte: u8) -> Row {
        self.with(column, ScalarValue::FixedSizeBinary(len, Some(vec![byte; len as usize])))
    }

    pub(crate) fn attr(mut self, key: &'static str, value: V) -> Row {
        self.attributes.push((key, value));
        self
    }
}

/// The rows as a batch of `table`.
pub(crate) fn batch(table: Table, rows: &[Row]) -> RecordBatch {
    let schema = schema::of(table);
    let columns = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Map(..) => map(table, field.name(), rows),
        data_type => {
            let value = |row: &Row| {
                if field.name() == "attribute_layout" {
                    return dictionary(layout(table, row));
                }
                let given = row
                    .columns
                    .get(field.name().as_str())
                    .cloned()
                    .or_else(|| promoted_value(table, row, field.name()));
                given.unwrap_or_else(|| if field.is_nullable() { null(data_type) } else { empty(data_type) })
            };
            ScalarValue::iter_to_array(rows.iter().map(value)).unwrap()
        }
    });
    RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap()
}

fn dictionary(text: String) -> ScalarValue {
    ScalarValue::Dictionary(Box::new(DataType::Int32), Box::new(ScalarValue::Utf8(Some(text))))
}

fn null(data_type: &DataType) -> ScalarValue {
    ScalarValue::try_from(data_type).unwrap()
}

fn empty(data_type: &DataType) -> ScalarValue {
    match data_type {
        DataType::Dictionary(..) => dictionary(String::new()),
        DataType::Utf8 => ScalarValue::Utf8(Some(String::new())),
        DataType::FixedSizeBinary(len) => ScalarValue::FixedSizeBinary(*len, Some(vec![0; *len as usize])),
        other => ScalarValue::new_zero(other).unwrap(),
    }
}

/// The promoted column in which an attribute's value stands.
fn promoted_column(table: Table, key: &str, value: &V) -> Option<&'static str> {
    let promoted = promoted::of(table).find(|p| p.key == key)?;
    let fits = matches!(
        (promoted.kind, value),
        (PromotedType::String, V::S(_)) | (PromotedType::Int, V::I(_)) | (PromotedType::Bool, V::B(_))
    );
    fits.then_some(promoted.column)
}

fn promoted_value(table: Table, row: &Row, column: &str) -> Option<ScalarValue> {
    let (_, value) = row.attributes.iter().find(|(key, value)| promoted_column(table, key, value) == Some(column))?;
    let low = schema::of(table).field_with_name(column).unwrap().data_type() == &schema::dictionary_type();
    Some(match value {
        V::S(text) if low => dictionary((*text).to_owned()),
        V::S(text) => ScalarValue::Utf8(Some((*text).to_owned())),
        V::I(value) => ScalarValue::Int64(Some(*value)),
        V::B(value) => ScalarValue::Boolean(Some(*value)),
        other => panic!("{other:?} is not promoted"),
    })
}

fn kind(value: &V) -> AttributeType {
    match value {
        V::S(_) => AttributeType::String,
        V::I(_) => AttributeType::Int,
        V::D(_) => AttributeType::Double,
        V::B(_) => AttributeType::Bool,
        V::O(_) => AttributeType::Other,
    }
}

fn layout(table: Table, row: &Row) -> String {
    let mut text = String::new();
    for (key, value) in &row.attributes {
        Layout::push_text(&mut text, kind(value), promoted_column(table, key, value).is_some(), key);
    }
    Layout::close(&mut text);
    text
}

fn map(table: Table, column: &str, rows: &[Row]) -> ArrayRef {
    let names = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
    let of_row = |row: &Row| {
        let entries = row
            .attributes
            .iter()
            .filter(|(key, value)| kind(value).column() == column && promoted_column(table, key, value).is_none());
        entries.cloned().collect::<Vec<_>>()
    };
    macro_rules! build {
        ($values:expr, $pattern:pat => $value:expr) => {{
            let mut map = MapBuilder::new(Some(names), StringBuilder::new(), $values);
            for row in rows {
                let entries = of_row(row);
                for (key, value) in &entries {
                    map.keys().append_value(key);
                    match value {
                        $pattern => map.values().append_value($value),
                        _ => unreachable!(),
                    }
                }
                map.append(!entries.is_empty()).unwrap();
            }
            Arc::new(map.finish())
        }};
    }
    match column {
        "attributes_string" => build!(StringBuilder::new(), V::S(v) => *v),
        "attributes_int" => build!(Int64Builder::new(), V::I(v) => *v),
        "attributes_double" => build!(Float64Builder::new(), V::D(v) => *v),
        "attributes_bool" => build!(BooleanBuilder::new(), V::B(v) => *v),
        _ => build!(StringBuilder::new(), V::O(v) => *v),
    }
}

/// A storage in a folder of its own.
pub(crate) struct Kept {
    pub(crate) storage: Storage,
    pub(crate) _dir: tempfile::TempDir,
}

impl Kept {
    pub(crate) fn new() -> Kept {
        let dir = tempfile::tempdir().unwrap();
        let registry = prometheus::Registry::new();
        let config = Config { compact: false, ..Config::default() };
        let clock = Arc::new(SystemClock);
        let (storage, replay) = Storage::open(dir.path(), config, Mode::ReadWrite, clock, &registry).unwrap();
        assert_eq!(replay.count(), 0);
        Kept { storage, _dir: dir }
    }

    /// Adds rows to the hot tier.
    pub(crate) fn add(&self, table: Table, rows: &[Row]) {
        self.add_batch(table, batch(table, rows));
    }

    pub(crate) fn add_batch(&self, table: Table, batch: RecordBatch) {
        let signal = hopline_model::Signal::ALL.into_iter().find(|s| s.table() == table).unwrap();
        let record = Record {
            tenant: "default".into(),
            signal,
            encoding: Encoding::Identity,
            format: Format::Protobuf,
            received_at: T0,
            hash: 0,
            body: bytes::Bytes::from_static(b"x"),
        };
        let position = self.storage.append(&[record]).unwrap();
        self.storage.sync().unwrap();
        self.storage.publish(vec![(table, batch)], position);
    }
}
