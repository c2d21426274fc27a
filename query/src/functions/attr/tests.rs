#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use arrow::array::{Array, ArrayRef, Int64Builder, MapBuilder, StringArray, StringBuilder};
use arrow::util::display::array_value_to_string;

use super::value::Value;
use super::*;

fn strings(rows: &[&[(&str, &str)]]) -> ArrayRef {
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for row in rows {
        for (key, value) in *row {
            map.keys().append_value(key);
            map.values().append_value(value);
        }
        map.append(true).unwrap();
    }
    Arc::new(map.finish())
}

fn ints(rows: &[&[(&str, i64)]]) -> ArrayRef {
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    for row in rows {
        for (key, value) in *row {
            map.keys().append_value(key);
            map.values().append_value(*value);
        }
        map.append(!row.is_empty()).unwrap();
    }
    Arc::new(map.finish())
}

#[track_caller]
fn check(letters: &str, columns: &[ArrayRef], target: Target, expected: &[&str]) {
    let values = kernel::look_up("k", letters, columns, expected.len(), target).unwrap();
    assert_eq!(*values.data_type(), target.data_type());
    let show = |i| if values.is_null(i) { "-".to_owned() } else { array_value_to_string(&values, i).unwrap() };
    assert_eq!((0..values.len()).map(show).collect::<Vec<_>>(), expected);
}

#[test]
fn one_map() {
    let map = strings(&[&[("a", "x"), ("k", "1")], &[], &[("kk", "no")], &[("k", "first"), ("k", "second")]]);
    check("s", std::slice::from_ref(&map), Target::Text, &["1", "-", "-", "first"]);
    check("s", std::slice::from_ref(&map), Target::Int, &["1", "-", "-", "-"]);
    check("s", &[map.slice(2, 2)], Target::Text, &["-", "first"]);
}

#[test]
fn several_maps() {
    let columns = [strings(&[&[("k", "x")], &[("a", "b")], &[]]), ints(&[&[("k", 1)], &[("k", 7)], &[]])];
    check("si", &columns, Target::Text, &["x", "7", "-"]);
    check("si", &columns, Target::Int, &["-", "7", "-"]);
    check("si", &columns, Target::Double, &["-", "7.0", "-"]);
}

#[test]
fn texts_of_resources() {
    let text = |t: &str| format!(r#"{{"attributes":{t},"schema_url":"u"}}"#);
    let texts =
        [r#"{"k":"a\"b"}"#, r#"{"x":{"k":1}}"#, r#"{"k":5}"#, r#"{"k":true}"#, r#"{"k":[1,2]}"#, r#"{"k":null}"#];
    let column: ArrayRef = Arc::new(StringArray::from_iter_values(texts.iter().map(|t| text(t))));
    check("r", std::slice::from_ref(&column), Target::Text, &["a\"b", "-", "5", "true", "[1,2]", "-"]);
    let words = arrow::compute::cast(&column, &hopline_model::schema::dictionary_type()).unwrap();
    check("r", &[words], Target::Int, &["-", "-", "5", "-", "-", "-"]);
}

#[test]
fn no_column_at_all() {
    check("", &[], Target::Text, &["-", "-"]);
}

#[test]
fn value_texts() {
    assert_eq!(Value::parse(r#"{"$double":"NaN"}"#).unwrap().to_double().map(f64::is_nan), Some(true));
    assert_eq!(Value::parse(r#"{"$double":"-Infinity"}"#).unwrap().to_double(), Some(f64::NEG_INFINITY));
    assert_eq!(Value::parse("1.0"), Some(Value::Double(1.0)));
    assert_eq!(Value::parse("-9223372036854775808").unwrap().to_int(), Some(i64::MIN));
    assert_eq!(Value::Double(1.5).to_int(), None);
    for (value, expected) in
        [(f64::INFINITY, "Infinity"), (f64::NEG_INFINITY, "-Infinity"), (f64::NAN, "NaN"), (1.0, "1.0")]
    {
        let mut text = String::new();
        Value::Double(value).write_text(&mut text);
        assert_eq!(text, expected);
    }
    assert_eq!(Value::Text("TRUE".into()).to_bool(), Some(true));
}

#[test]
fn specs_there_and_back() {
    for (function, alias, letters) in [("attr", "", "si"), ("attr_int", "my table", ""), ("resource_attr", "s", "r")] {
        let spec = Spec { function: function.to_owned(), alias: alias.to_owned(), letters: letters.to_owned() };
        assert_eq!(Spec::parse(&spec.to_text()), Some(spec));
    }
}
