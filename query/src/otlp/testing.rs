//! Rows for tests, written as JSON: a member a column, everything else null, zero or empty.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, DictionaryArray, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array, ListArray,
    MapArray, RecordBatch, StringArray, StructArray, TimestampNanosecondArray, UInt32Array, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, Int32Type};
use hopline_model::{AttributeType, Layout, PromotedType, Table, promoted, schema};
use serde_json::{Map, Value, json};

/// Rows of `table`. A row's member `attributes` is a list of `[key, type letter, value]`, spread
/// over the columns as at ingest.
pub(crate) fn batch(table: Table, rows: &[Value]) -> RecordBatch {
    let rows: Vec<Map<String, Value>> =
        rows.iter().map(|row| spread(table, row.as_object().unwrap().clone())).collect();
    let schema = schema::of(table);
    for row in &rows {
        for name in row.keys() {
            assert!(schema.column_with_name(name).is_some(), "{table} has no column {name}");
        }
    }
    let columns = schema.fields().iter().map(|field| {
        let cells: Vec<Value> = rows.iter().map(|row| row.get(field.name()).cloned().unwrap_or(Value::Null)).collect();
        array(field, &cells)
    });
    RecordBatch::try_new(schema.clone(), columns.collect()).expect("rows of the table")
}

fn spread(table: Table, mut row: Map<String, Value>) -> Map<String, Value> {
    row.entry("tenant").or_insert(json!("default"));
    row.entry("resource").or_insert(json!("{}"));
    row.entry("scope").or_insert(json!("{}"));
    let mut layout = String::new();
    for attribute in row.remove("attributes").unwrap_or(json!([])).as_array().unwrap() {
        let (key, letter, value) = (attribute[0].as_str().unwrap(), attribute[1].as_str().unwrap(), &attribute[2]);
        let kind = AttributeType::from_letter(letter.chars().next().unwrap()).unwrap();
        let column = promoted::of(table).find(|p| p.key == key).filter(|p| match p.kind {
            PromotedType::String => kind == AttributeType::String,
            PromotedType::Int => kind == AttributeType::Int,
            PromotedType::Bool => kind == AttributeType::Bool,
        });
        let column = column.filter(|p| !row.contains_key(p.column));
        Layout::push_text(&mut layout, kind, column.is_some(), key);
        match column {
            Some(promoted) => {
                row.insert(promoted.column.to_owned(), value.clone());
            }
            None => {
                let entries = row.entry(kind.column()).or_insert(json!([]));
                entries.as_array_mut().unwrap().push(json!([key, value]));
            }
        }
    }
    Layout::close(&mut layout);
    row.insert("attribute_layout".to_owned(), json!(layout));
    row
}

fn array(field: &Field, cells: &[Value]) -> ArrayRef {
    let required = !field.is_nullable();
    let text = || cells.iter().map(|c| c.as_str().or(required.then_some("")));
    let int = || cells.iter().map(|c| c.as_i64().or(required.then_some(0)));
    match field.data_type() {
        DataType::Utf8 => Arc::new(text().collect::<StringArray>()),
        DataType::Dictionary(..) => Arc::new(text().collect::<DictionaryArray<Int32Type>>()),
        DataType::Int64 => Arc::new(int().collect::<Int64Array>()),
        DataType::Int32 => Arc::new(int().map(|n| n.map(|n| n as i32)).collect::<Int32Array>()),
        DataType::UInt32 => Arc::new(int().map(|n| n.map(|n| n as u32)).collect::<UInt32Array>()),
        DataType::UInt64 => {
            Arc::new(cells.iter().map(|c| c.as_u64().or(required.then_some(0))).collect::<UInt64Array>())
        }
        DataType::Float64 => Arc::new(cells.iter().map(double).collect::<Float64Array>()),
        DataType::Boolean => {
            Arc::new(cells.iter().map(|c| c.as_bool().or(required.then_some(false))).collect::<BooleanArray>())
        }
        DataType::Timestamp(..) => Arc::new(int().collect::<TimestampNanosecondArray>().with_timezone("UTC")),
        DataType::FixedSizeBinary(size) => {
            let ids = cells.iter().map(|c| c.as_str().map(bytes).or(required.then(|| vec![0; *size as usize])));
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(ids, *size).unwrap())
        }
        DataType::List(item) => {
            let items: Vec<Value> = cells.iter().filter_map(Value::as_array).flatten().cloned().collect();
            let lengths = cells.iter().map(|c| c.as_array().map_or(0, Vec::len));
            let valid: NullBuffer = cells.iter().map(|c| !c.is_null()).collect::<Vec<_>>().into();
            let list =
                ListArray::new(item.clone(), OffsetBuffer::from_lengths(lengths), array(item, &items), Some(valid));
            Arc::new(list)
        }
        DataType::Struct(fields) => Arc::new(structs(fields, cells)),
        DataType::Map(entry, _) => {
            let DataType::Struct(fields) = entry.data_type() else { panic!("entries") };
            let pairs: Vec<Value> = cells.iter().filter_map(Value::as_array).flatten().cloned().collect();
            let entries: Vec<Value> = pairs.iter().map(|pair| json!({"key": pair[0], "value": pair[1]})).collect();
            let lengths = cells.iter().map(|c| c.as_array().map_or(0, Vec::len));
            let offsets = OffsetBuffer::from_lengths(lengths);
            let valid: NullBuffer = cells.iter().map(|c| !c.is_null()).collect::<Vec<_>>().into();
            Arc::new(MapArray::new(entry.clone(), offsets, structs(fields, &entries), Some(valid), false))
        }
        other => panic!("no test rows of type {other}"),
    }
}

fn structs(fields: &Fields, cells: &[Value]) -> StructArray {
    let member =
        |field: &Field| cells.iter().map(|c| c.get(field.name()).cloned().unwrap_or_default()).collect::<Vec<_>>();
    let columns = fields.iter().map(|field| array(field, &member(field))).collect();
    StructArray::new(fields.clone(), columns, None)
}

fn double(cell: &Value) -> Option<f64> {
    cell.as_f64().or_else(|| cell.as_str().map(|text| text.parse().unwrap()))
}

/// The bytes of hexadecimal digits.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}
