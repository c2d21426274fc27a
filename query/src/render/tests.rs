#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, UInt64Type};

use super::accept::negotiate;
use super::value::{Style, type_name, writer};
use super::*;
use crate::error::ErrorKind;

#[track_caller]
fn check(array: &dyn Array, options: Options, expected: &[&str]) {
    let write = writer(array, Style::Json, options).unwrap();
    let text = |row| {
        let mut out = String::new();
        write(row, &mut out);
        out
    };
    assert_eq!((0..array.len()).map(text).collect::<Vec<_>>(), expected);
}

#[test]
fn values_as_json() {
    let plain = Options::default();
    let strings = Options { int64_as_string: true };
    check(&Int64Array::from(vec![Some(i64::MIN), None]), plain, &["-9223372036854775808", "null"]);
    check(&Int64Array::from(vec![Some(i64::MAX), None]), strings, &["\"9223372036854775807\"", "null"]);
    check(&UInt64Array::from(vec![u64::MAX]), plain, &["18446744073709551615"]);
    check(&Int32Array::from(vec![7]), strings, &["7"]);
    let doubles = vec![1.0, 0.1, 1e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0];
    check(
        &Float64Array::from(doubles),
        plain,
        &["1.0", "0.1", "1e300", "\"NaN\"", "\"Infinity\"", "\"-Infinity\"", "-0.0"],
    );
    check(&Float32Array::from(vec![0.1_f32]), plain, &["0.1"]);
    check(&BooleanArray::from(vec![Some(true), None]), plain, &["true", "null"]);
    check(&StringArray::from(vec!["a\"\n\u{1}ü"]), plain, &["\"a\\\"\\n\\u0001ü\""]);
    let id = FixedSizeBinaryArray::try_from_iter([[0_u8, 171, 255]].into_iter()).unwrap();
    check(&id, plain, &["\"00abff\""]);
    let times = TimestampNanosecondArray::from(vec![Some(1), None]).with_timezone("UTC");
    check(&times, plain, &["\"1970-01-01T00:00:00.000000001Z\"", "null"]);
    check(&TimestampMillisecondArray::from(vec![-1]), plain, &["\"1969-12-31T23:59:59.999000000Z\""]);
    check(&Date32Array::from(vec![19_000]), plain, &["\"2022-01-08\""]);
    check(&DurationNanosecondArray::from(vec![1_500_000_000]), plain, &["\"PT1.500000000S\""]);
    check(&NullArray::new(2), plain, &["null", "null"]);
    let decimal = Decimal128Array::from(vec![12_345]).with_precision_and_scale(10, 2).unwrap();
    check(&decimal, plain, &["123.45"]);
}

#[test]
fn nested_values_as_json() {
    let plain = Options::default();
    let words: DictionaryArray<Int32Type> = vec![Some("b"), None, Some("a")].into_iter().collect();
    check(&words, plain, &["\"b\"", "null", "\"a\""]);
    check(&DictionaryArray::<Int32Type>::from_iter([None::<&str>, None]), plain, &["null", "null"]);
    let lists = vec![Some(vec![Some(1_u64), None]), None, Some(vec![])];
    let lists = ListArray::from_iter_primitive::<UInt64Type, _, _>(lists);
    check(&lists, plain, &["[1,null]", "null", "[]"]);
    check(&lists.slice(2, 1), plain, &["[]"]);
    let structs = StructArray::from(vec![
        (
            Arc::new(arrow::datatypes::Field::new("q\"", arrow::datatypes::DataType::Float64, true)),
            Arc::new(PrimitiveArray::<Float64Type>::from(vec![Some(0.5), None])) as ArrayRef,
        ),
        (
            Arc::new(arrow::datatypes::Field::new("n", arrow::datatypes::DataType::Int64, true)),
            Arc::new(PrimitiveArray::<Int64Type>::from(vec![Some(1), Some(2)])) as ArrayRef,
        ),
    ]);
    check(&structs, Options { int64_as_string: true }, &[r#"{"q\"":0.5,"n":"1"}"#, r#"{"q\"":null,"n":"2"}"#]);
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    map.keys().append_value("a");
    map.values().append_value(1);
    map.keys().append_value("b");
    map.values().append_null();
    map.append(true).unwrap();
    map.append(false).unwrap();
    check(&map.finish(), plain, &[r#"{"a":1,"b":null}"#, "null"]);
}

#[test]
fn names_of_types() {
    use hopline_model::{Table, schema};
    let of = |table, column: &str| type_name(schema::of(table).field_with_name(column).unwrap().data_type());
    assert_eq!(of(Table::Spans, "trace_id"), "binary(16)");
    assert_eq!(of(Table::Spans, "name"), "string");
    assert_eq!(of(Table::Spans, "start_time"), "timestamp");
    assert_eq!(of(Table::Spans, "duration"), "int64");
    assert_eq!(of(Table::Spans, "attributes_int"), "map<string, int64>");
    assert_eq!(of(Table::Metrics, "bucket_counts"), "list<uint64>");
    assert_eq!(of(Table::Metrics, "quantiles"), "list<struct<quantile: float64, value: float64>>");
}

#[test]
fn formats_are_negotiated() {
    for (accept, expected) in [
        (None, Some(Format::Json)),
        (Some(""), Some(Format::Json)),
        (Some("*/*"), Some(Format::Json)),
        (Some("text/csv"), Some(Format::Csv)),
        (Some("application/x-ndjson, application/json;q=0.5"), Some(Format::NdJson)),
        (Some("application/json;q=0.5, application/vnd.apache.arrow.stream"), Some(Format::Arrow)),
        (Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), Some(Format::Json)),
        (Some("text/html"), None),
        (Some("application/json;q=0"), None),
    ] {
        match (negotiate(accept), expected) {
            (Ok((format, _)), Some(expected)) => assert_eq!(format, expected, "{accept:?}"),
            (Err(error), None) => assert_eq!(error.kind(), ErrorKind::NotAcceptable),
            (other, _) => panic!("{accept:?}: {other:?}"),
        }
    }
    assert!(negotiate(Some("application/json; int64=string")).unwrap().1.int64_as_string);
}
