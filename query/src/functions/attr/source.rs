//! A column in which an attribute is looked for, with the place of each row's value found.

use std::borrow::Cow;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, Float64Array, Int64Array, MapArray, StringArray,
};
use arrow::datatypes::{DataType, Int32Type};
use datafusion::common::{Result, exec_err};
use hopline_proto::value::lookup;

use super::value::Value;

/// No entry of a map.
pub(super) const NONE: u32 = u32::MAX;

/// Where the values of one key stand in one column.
pub(super) enum Source {
    /// The column holds the values themselves.
    Plain(Values),
    /// The values are entries of a map: the entry of each row, or [`NONE`].
    Map { entries: Vec<u32>, values: Values },
    /// The values of map `attributes_other`, which are value text.
    OtherMap { entries: Vec<u32>, values: StringArray },
    /// The values stand in the texts of resources: the number of each row's text, and
    /// the value in each text.
    Texts { rows: Option<DictionaryArray<Int32Type>>, found: Vec<Option<String>> },
}

/// An array of one of the types that attributes have.
pub(super) enum Values {
    Text(StringArray),
    Words(DictionaryArray<Int32Type>, StringArray),
    Int(Int64Array),
    Double(Float64Array),
    Bool(BooleanArray),
}

impl Values {
    fn new(array: &ArrayRef) -> Result<Values> {
        Ok(match array.data_type() {
            DataType::Utf8 => Values::Text(array.as_string::<i32>().clone()),
            DataType::Int64 => Values::Int(array.as_primitive().clone()),
            DataType::Float64 => Values::Double(array.as_primitive().clone()),
            DataType::Boolean => Values::Bool(array.as_boolean().clone()),
            DataType::Dictionary(_, value) if **value == DataType::Utf8 => {
                match array.as_dictionary_opt::<Int32Type>() {
                    Some(words) => Values::Words(words.clone(), words.values().as_string::<i32>().clone()),
                    None => return Values::as_text(array),
                }
            }
            _ => return Values::as_text(array),
        })
    }

    fn as_text(array: &ArrayRef) -> Result<Values> {
        Ok(Values::Text(arrow::compute::cast(array, &DataType::Utf8)?.as_string::<i32>().clone()))
    }

    fn get(&self, index: usize) -> Option<Value<'_>> {
        match self {
            Values::Text(array) => array.is_valid(index).then(|| Value::Text(Cow::Borrowed(array.value(index)))),
            Values::Words(words, texts) => {
                words.key(index).filter(|k| texts.is_valid(*k)).map(|k| Value::Text(Cow::Borrowed(texts.value(k))))
            }
            Values::Int(array) => array.is_valid(index).then(|| Value::Int(array.value(index))),
            Values::Double(array) => array.is_valid(index).then(|| Value::Double(array.value(index))),
            Values::Bool(array) => array.is_valid(index).then(|| Value::Bool(array.value(index))),
        }
    }
}

impl Source {
    /// Looks for `key` in `column`, which is what `letter` says ([`super::Spec`]).
    pub(super) fn new(letter: char, column: &ArrayRef, key: &str) -> Result<Source> {
        match (letter, column.as_map_opt()) {
            ('p', _) => Ok(Source::Plain(Values::new(column)?)),
            ('r', _) => texts(column, key),
            ('o', Some(map)) => {
                let values = map.values().as_string_opt::<i32>();
                let Some(values) = values else { return exec_err!("attributes_other does not hold text") };
                Ok(Source::OtherMap { entries: find(map, key)?, values: values.clone() })
            }
            (_, Some(map)) => Ok(Source::Map { entries: find(map, key)?, values: Values::new(map.values())? }),
            (_, None) => exec_err!("attributes are maps, not {}", column.data_type()),
        }
    }

    /// The value in `row`.
    pub(super) fn get(&self, row: usize) -> Option<Value<'_>> {
        match self {
            Source::Plain(values) => values.get(row),
            Source::Map { entries, values } => {
                entries.get(row).filter(|e| **e != NONE).and_then(|e| values.get(*e as usize))
            }
            Source::OtherMap { entries, values } => {
                let entry = *entries.get(row).filter(|e| **e != NONE)? as usize;
                values.is_valid(entry).then(|| Value::parse(values.value(entry)))?
            }
            Source::Texts { rows, found } => {
                let text = match rows {
                    Some(rows) => rows.key(row)?,
                    None => row,
                };
                found.get(text)?.as_deref().and_then(Value::parse)
            }
        }
    }
}

/// The entry of each row of `map` whose key is `key`: the first, should there be several.
///
/// The keys of all rows are one array: it is gone through once, comparing lengths
/// before bytes.
fn find(map: &MapArray, key: &str) -> Result<Vec<u32>> {
    let Some(keys) = map.keys().as_string_opt::<i32>() else { return exec_err!("the keys of attributes are not text") };
    let (ends, bytes) = (keys.value_offsets(), keys.values().as_slice());
    let key = key.as_bytes();
    let is_key = |entry: usize| match (ends.get(entry), ends.get(entry + 1)) {
        (Some(start), Some(end)) => {
            (end - start) as usize == key.len() && bytes.get(*start as usize..*end as usize) == Some(key)
        }
        _ => false,
    };
    let entry_of = |row: usize, start: i32, end: i32| {
        if map.is_null(row) {
            return NONE;
        }
        (start..end).find(|entry| is_key(*entry as usize)).map_or(NONE, |entry| entry as u32)
    };
    let rows = map.value_offsets().windows(2).enumerate();
    Ok(rows.map(|(row, ends)| if let [start, end] = ends { entry_of(row, *start, *end) } else { NONE }).collect())
}

/// Looks for `key` once in each distinct text.
fn texts(column: &ArrayRef, key: &str) -> Result<Source> {
    let look_up = |texts: &StringArray| {
        let in_text = |text: &str| lookup(lookup(text, "attributes")?, key).map(str::to_owned);
        texts.iter().map(|text| text.and_then(in_text)).collect()
    };
    if let Some(rows) = column.as_dictionary_opt::<Int32Type>()
        && let Some(texts) = rows.values().as_string_opt::<i32>()
    {
        return Ok(Source::Texts { found: look_up(texts), rows: Some(rows.clone()) });
    }
    let plain = arrow::compute::cast(column, &DataType::Utf8)?;
    Ok(Source::Texts { found: look_up(plain.as_string::<i32>()), rows: None })
}
