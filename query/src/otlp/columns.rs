//! Typed access to the columns of one batch, whichever of Arrow's text layouts they
//! have: rows from the hot tier hold dictionaries, rows from a query may hold views.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int32Array, Int64Array, ListArray, MapArray, RecordBatch,
    StringArray, StringViewArray, StructArray, UInt32Array, UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimeUnit, UInt32Type, UInt64Type};
use hopline_model::{AttributeType, Entry, Layout, PromotedType, Table, promoted, schema};
use hopline_proto::value::{self, TextError};

/// Why rows cannot be given back as OTLP.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The rows were selected without a column that is needed.
    #[error("the rows have no column {0}")]
    MissingColumn(String),
    /// A column has another type than the table's schema says.
    #[error("column {0} has type {1}")]
    ColumnType(String, DataType),
    /// The layout of a row's attributes names a value that is not there.
    #[error("row {row}: the attribute layout {layout:?} does not fit the attributes")]
    Layout {
        /// Number of the row in its batch.
        row: usize,
        /// The text of the column `attribute_layout`.
        layout: String,
    },
    /// A text column holds what is not value text.
    #[error("a column does not hold value text")]
    Value(#[source] TextError),
    /// Whoever read the answer has gone.
    #[error("the reader has gone")]
    Closed,
}

/// The column `name` of `batch`.
pub(crate) fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, Error> {
    batch.column_by_name(name).ok_or_else(|| Error::MissingColumn(name.to_owned()))
}

/// A column of text.
#[derive(Debug, Clone)]
pub(crate) enum Text {
    Dictionary(Int32Array, StringArray),
    Plain(StringArray),
    View(StringViewArray),
}

impl Text {
    pub(crate) fn of(batch: &RecordBatch, name: &str) -> Result<Self, Error> {
        Self::from_array(column(batch, name)?, name)
    }

    pub(crate) fn from_array(array: &ArrayRef, name: &str) -> Result<Self, Error> {
        let wrong = || Error::ColumnType(name.to_owned(), array.data_type().clone());
        match array.data_type() {
            DataType::Utf8 => Ok(Self::Plain(array.as_string::<i32>().clone())),
            DataType::Utf8View => Ok(Self::View(array.as_string_view().clone())),
            DataType::Dictionary(key, value) if **key == DataType::Int32 && **value == DataType::Utf8 => {
                let array = array.as_dictionary::<Int32Type>();
                Ok(Self::Dictionary(array.keys().clone(), array.values().as_string::<i32>().clone()))
            }
            DataType::Dictionary(..) | DataType::LargeUtf8 => {
                let array = cast(array, &DataType::Utf8).map_err(|_| wrong())?;
                Ok(Self::Plain(array.as_string::<i32>().clone()))
            }
            _ => Err(wrong()),
        }
    }

    pub(crate) fn get(&self, row: usize) -> Option<&str> {
        match self {
            Self::Dictionary(keys, values) => {
                let key = usize::try_from(value_at(keys, row)?).ok()?;
                (key < values.len() && values.is_valid(key)).then(|| values.value(key))
            }
            Self::Plain(values) => (row < values.len() && values.is_valid(row)).then(|| values.value(row)),
            Self::View(values) => (row < values.len() && values.is_valid(row)).then(|| values.value(row)),
        }
    }

    /// The text, or the empty one for a null.
    pub(crate) fn or_empty(&self, row: usize) -> &str {
        self.get(row).unwrap_or_default()
    }

    /// The key in the dictionary, if the column is one.
    pub(crate) fn key(&self, row: usize) -> Option<i32> {
        match self {
            Self::Dictionary(keys, _) => value_at(keys, row),
            _ => None,
        }
    }
}

fn value_at(keys: &Int32Array, row: usize) -> Option<i32> {
    (row < keys.len() && keys.is_valid(row)).then(|| keys.value(row))
}

macro_rules! primitive {
    ($(#[$doc:meta])* $function:ident, $array:ident, $kind:ident, $data_type:pat, $to:expr) => {
        $(#[$doc])*
        pub(crate) fn $function(batch: &RecordBatch, name: &str) -> Result<$array, Error> {
            let array = column(batch, name)?;
            match array.data_type() {
                $data_type => Ok(array.as_primitive::<$kind>().clone()),
                other => {
                    let wrong = || Error::ColumnType(name.to_owned(), other.clone());
                    let array = cast(array, &$to).map_err(|_| wrong())?;
                    array.as_primitive_opt::<$kind>().cloned().ok_or_else(wrong)
                }
            }
        }
    };
}

primitive!(/// A column of `Int64`, or of times as nanoseconds.
    int64, Int64Array, Int64Type, DataType::Int64, DataType::Int64);
primitive!(/// A column of `Int32`.
    int32, Int32Array, Int32Type, DataType::Int32, DataType::Int32);
primitive!(/// A column of `UInt32`.
    uint32, UInt32Array, UInt32Type, DataType::UInt32, DataType::UInt32);
primitive!(/// A column of `UInt64`.
    uint64, UInt64Array, UInt64Type, DataType::UInt64, DataType::UInt64);
primitive!(/// A column of `Float64`.
    float64, Float64Array, Float64Type, DataType::Float64, DataType::Float64);

/// A column of times as nanoseconds since 1970.
pub(crate) fn time(batch: &RecordBatch, name: &str) -> Result<Int64Array, Error> {
    nanoseconds(column(batch, name)?, name)
}

fn nanoseconds(array: &ArrayRef, name: &str) -> Result<Int64Array, Error> {
    let wrong = || Error::ColumnType(name.to_owned(), array.data_type().clone());
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, _) | DataType::Int64 => {
            let array = cast(array, &DataType::Int64).map_err(|_| wrong())?;
            array.as_primitive_opt::<Int64Type>().cloned().ok_or_else(wrong)
        }
        _ => Err(wrong()),
    }
}

/// A column of booleans.
pub(crate) fn boolean(batch: &RecordBatch, name: &str) -> Result<BooleanArray, Error> {
    let array = column(batch, name)?;
    array.as_boolean_opt().cloned().ok_or_else(|| Error::ColumnType(name.to_owned(), array.data_type().clone()))
}

/// A column of bytes: ids.
#[derive(Debug, Clone)]
pub(crate) struct Bytes(ArrayRef);

impl Bytes {
    pub(crate) fn of(batch: &RecordBatch, name: &str) -> Result<Self, Error> {
        Self::from_array(column(batch, name)?, name)
    }

    pub(crate) fn from_array(array: &ArrayRef, name: &str) -> Result<Self, Error> {
        match array.data_type() {
            DataType::FixedSizeBinary(_) | DataType::Binary | DataType::BinaryView => Ok(Self(array.clone())),
            other => Err(Error::ColumnType(name.to_owned(), other.clone())),
        }
    }

    pub(crate) fn get(&self, row: usize) -> Option<&[u8]> {
        if row >= self.0.len() || self.0.is_null(row) {
            return None;
        }
        match self.0.data_type() {
            DataType::FixedSizeBinary(_) => Some(self.0.as_fixed_size_binary().value(row)),
            DataType::Binary => Some(self.0.as_binary::<i32>().value(row)),
            _ => Some(self.0.as_binary_view().value(row)),
        }
    }
}

/// A column of lists of structs: the rows' ranges and the items' members.
pub(crate) struct Items {
    list: ListArray,
    items: StructArray,
}

impl Items {
    pub(crate) fn of(batch: &RecordBatch, name: &str) -> Result<Self, Error> {
        let array = column(batch, name)?;
        let wrong = || Error::ColumnType(name.to_owned(), array.data_type().clone());
        let list = array.as_list_opt::<i32>().ok_or_else(wrong)?;
        let items = list.values().as_struct_opt().ok_or_else(wrong)?;
        Ok(Self { list: list.clone(), items: items.clone() })
    }

    /// Numbers of the items of `row`, for the columns of [`Items::member`].
    pub(crate) fn range(&self, row: usize) -> std::ops::Range<usize> {
        range(&self.list, row)
    }

    pub(crate) fn member(&self, name: &str) -> Result<&ArrayRef, Error> {
        self.items.column_by_name(name).ok_or_else(|| Error::MissingColumn(name.to_owned()))
    }

    pub(crate) fn text(&self, name: &str) -> Result<Text, Error> {
        Text::from_array(self.member(name)?, name)
    }

    pub(crate) fn bytes(&self, name: &str) -> Result<Bytes, Error> {
        Bytes::from_array(self.member(name)?, name)
    }

    pub(crate) fn time(&self, name: &str) -> Result<Int64Array, Error> {
        nanoseconds(self.member(name)?, name)
    }

    pub(crate) fn uint32(&self, name: &str) -> Result<UInt32Array, Error> {
        self.primitive(name, |a| a.as_primitive_opt::<UInt32Type>().cloned())
    }

    pub(crate) fn int64(&self, name: &str) -> Result<Int64Array, Error> {
        self.primitive(name, |a| a.as_primitive_opt::<Int64Type>().cloned())
    }

    pub(crate) fn float64(&self, name: &str) -> Result<Float64Array, Error> {
        self.primitive(name, |a| a.as_primitive_opt::<Float64Type>().cloned())
    }

    fn primitive<T>(&self, name: &str, read: impl Fn(&ArrayRef) -> Option<T>) -> Result<T, Error> {
        let member = self.member(name)?;
        read(member).ok_or_else(|| Error::ColumnType(name.to_owned(), member.data_type().clone()))
    }
}

/// A column of lists of numbers.
pub(crate) struct Numbers<T> {
    list: ListArray,
    values: T,
}

impl Numbers<UInt64Array> {
    pub(crate) fn counts(batch: &RecordBatch, name: &str) -> Result<Self, Error> {
        Self::of(batch, name, |a| a.as_primitive_opt::<UInt64Type>().cloned())
    }
}

impl Numbers<Float64Array> {
    pub(crate) fn doubles(batch: &RecordBatch, name: &str) -> Result<Self, Error> {
        Self::of(batch, name, |a| a.as_primitive_opt::<Float64Type>().cloned())
    }
}

impl<T> Numbers<T> {
    fn of(batch: &RecordBatch, name: &str, read: impl Fn(&ArrayRef) -> Option<T>) -> Result<Self, Error> {
        let array = column(batch, name)?;
        let wrong = || Error::ColumnType(name.to_owned(), array.data_type().clone());
        let list = array.as_list_opt::<i32>().ok_or_else(wrong)?;
        let values = read(list.values()).ok_or_else(wrong)?;
        Ok(Self { list: list.clone(), values })
    }

    /// The numbers of `row`: where they stand, and the column they stand in. Nothing for a null.
    pub(crate) fn get(&self, row: usize) -> Option<(std::ops::Range<usize>, &T)> {
        (row < self.list.len() && self.list.is_valid(row)).then(|| (range(&self.list, row), &self.values))
    }
}

fn range(list: &ListArray, row: usize) -> std::ops::Range<usize> {
    if row >= list.len() || list.is_null(row) {
        return 0..0;
    }
    match list.value_offsets().get(row..=row + 1) {
        Some([start, end]) => usize::try_from(*start).unwrap_or(0)..usize::try_from(*end).unwrap_or(0),
        _ => 0..0,
    }
}

/// The value of one attribute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum AttributeValue<'a> {
    String(&'a str),
    Int(i64),
    Double(f64),
    Bool(bool),
    /// Bytes, arrays, maps and empty values, as value text.
    Other(&'a str),
}

impl AttributeValue<'_> {
    /// Appends the OTLP/JSON `AnyValue`.
    pub(crate) fn to_otlp(self, out: &mut String) -> Result<(), Error> {
        match self {
            Self::String(text) => {
                out.push_str("{\"stringValue\":");
                value::quote(text, out);
                out.push('}');
            }
            Self::Int(number) => {
                out.push_str("{\"intValue\":\"");
                out.push_str(&number.to_string());
                out.push_str("\"}");
            }
            Self::Double(number) => {
                out.push_str("{\"doubleValue\":");
                value::double_to_otlp_json(number, out);
                out.push('}');
            }
            Self::Bool(value) => out.push_str(match value {
                true => "{\"boolValue\":true}",
                false => "{\"boolValue\":false}",
            }),
            Self::Other(text) => value::text_to_otlp_json(text, out).map_err(Error::Value)?,
        }
        Ok(())
    }

    /// Appends the value text.
    pub(crate) fn to_text(self, out: &mut String) {
        match self {
            Self::String(text) => value::quote(text, out),
            Self::Int(number) => out.push_str(&number.to_string()),
            Self::Double(number) => value::double_to_text(number, out),
            Self::Bool(value) => out.push_str(if value { "true" } else { "false" }),
            Self::Other(text) => out.push_str(text),
        }
    }
}

enum Values {
    Text(Text),
    Int(Int64Array),
    Double(Float64Array),
    Bool(BooleanArray),
}

impl Values {
    fn from_array(array: &ArrayRef, kind: AttributeType, name: &str) -> Result<Self, Error> {
        let wrong = || Error::ColumnType(name.to_owned(), array.data_type().clone());
        Ok(match kind {
            AttributeType::String | AttributeType::Other => Self::Text(Text::from_array(array, name)?),
            AttributeType::Int => Self::Int(array.as_primitive_opt().cloned().ok_or_else(wrong)?),
            AttributeType::Double => Self::Double(array.as_primitive_opt().cloned().ok_or_else(wrong)?),
            AttributeType::Bool => Self::Bool(array.as_boolean_opt().cloned().ok_or_else(wrong)?),
        })
    }

    fn get(&self, at: usize, kind: AttributeType) -> Option<AttributeValue<'_>> {
        match self {
            Self::Text(values) if kind == AttributeType::Other => values.get(at).map(AttributeValue::Other),
            Self::Text(values) => values.get(at).map(AttributeValue::String),
            Self::Int(values) => {
                (at < values.len() && values.is_valid(at)).then(|| AttributeValue::Int(values.value(at)))
            }
            Self::Double(values) => {
                (at < values.len() && values.is_valid(at)).then(|| AttributeValue::Double(values.value(at)))
            }
            Self::Bool(values) => {
                (at < values.len() && values.is_valid(at)).then(|| AttributeValue::Bool(values.value(at)))
            }
        }
    }
}

/// The map of one type.
struct Map {
    map: MapArray,
    values: Values,
}

/// The attributes of the rows of one batch, in the order in which they were sent.
pub(crate) struct Attributes {
    layout: Text,
    layouts: HashMap<Box<str>, Arc<Layout>>,
    /// In the order of [`AttributeType::ALL`].
    maps: Vec<Map>,
    promoted: HashMap<&'static str, Values>,
}

impl Attributes {
    pub(crate) fn of(batch: &RecordBatch, table: Table) -> Result<Self, Error> {
        let mut maps = Vec::with_capacity(AttributeType::ALL.len());
        for kind in AttributeType::ALL {
            let array = column(batch, kind.column())?;
            let wrong = || Error::ColumnType(kind.column().to_owned(), array.data_type().clone());
            let map = array.as_map_opt().ok_or_else(wrong)?;
            let values = Values::from_array(map.values(), kind, kind.column())?;
            maps.push(Map { map: map.clone(), values });
        }
        let mut columns = HashMap::new();
        for promoted in promoted::of(table) {
            let kind = match promoted.kind {
                PromotedType::String => AttributeType::String,
                PromotedType::Int => AttributeType::Int,
                PromotedType::Bool => AttributeType::Bool,
            };
            columns.insert(promoted.key, Values::from_array(column(batch, promoted.column)?, kind, promoted.column)?);
        }
        Ok(Self { layout: Text::of(batch, "attribute_layout")?, layouts: HashMap::new(), maps, promoted: columns })
    }

    /// The names of the columns that [`Attributes::of`] needs.
    pub(crate) fn columns(table: Table) -> impl Iterator<Item = &'static str> {
        let maps = AttributeType::ALL.into_iter().map(AttributeType::column);
        promoted::of(table).map(|p| p.column).chain(maps).chain(["attribute_layout"])
    }

    /// Calls `visit` with each attribute of `row`, in the order of sending.
    pub(crate) fn visit(
        &mut self,
        row: usize,
        mut visit: impl FnMut(&str, AttributeValue<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let text = self.layout.or_empty(row);
        if text.is_empty() {
            return Ok(());
        }
        let misfit = || Error::Layout { row, layout: text.to_owned() };
        let layout = match self.layouts.get(text) {
            Some(layout) => layout.clone(),
            None => {
                let layout = Arc::new(Layout::parse(text).ok_or_else(misfit)?);
                self.layouts.insert(text.into(), layout.clone());
                layout
            }
        };
        let mut positions = [0; AttributeType::ALL.len()];
        for Entry { kind, promoted, key } in &layout.0 {
            let value = if *promoted {
                self.promoted.get(key.as_str()).and_then(|values| values.get(row, *kind))
            } else {
                let slot = AttributeType::ALL.iter().position(|k| k == kind).unwrap_or_default();
                let (map, position) = self.maps.get(slot).zip(positions.get_mut(slot)).ok_or_else(misfit)?;
                let range = map_range(&map.map, row);
                let at = range.start + *position;
                *position += 1;
                if at < range.end { map.values.get(at, *kind) } else { None }
            };
            visit(key, value.ok_or_else(misfit)?)?;
        }
        Ok(())
    }

    /// Appends the attributes of `row` as OTLP/JSON: `[{"key","value"},…]`. Returns whether there are any.
    pub(crate) fn write_otlp(&mut self, row: usize, out: &mut String) -> Result<bool, Error> {
        let mut any = false;
        out.push('[');
        self.visit(row, |key, value| {
            out.push_str(if any { ",{\"key\":" } else { "{\"key\":" });
            any = true;
            value::quote(key, out);
            out.push_str(",\"value\":");
            value.to_otlp(out)?;
            out.push('}');
            Ok(())
        })?;
        out.push(']');
        Ok(any)
    }

    /// Appends the attributes of `row` as one JSON object of value texts; of a key that came twice, the first.
    pub(crate) fn write_object(&mut self, row: usize, out: &mut String) -> Result<(), Error> {
        let mut seen: Vec<Box<str>> = Vec::new();
        out.push('{');
        self.visit(row, |key, value| {
            if seen.iter().any(|k| **k == *key) {
                return Ok(());
            }
            if !seen.is_empty() {
                out.push(',');
            }
            seen.push(key.into());
            value::quote(key, out);
            out.push(':');
            value.to_text(out);
            Ok(())
        })?;
        out.push('}');
        Ok(())
    }
}

fn map_range(map: &MapArray, row: usize) -> std::ops::Range<usize> {
    if row >= map.len() || map.is_null(row) {
        return 0..0;
    }
    match map.value_offsets().get(row..=row + 1) {
        Some([start, end]) => usize::try_from(*start).unwrap_or(0)..usize::try_from(*end).unwrap_or(0),
        _ => 0..0,
    }
}

/// The names of all columns of `table` but the tenant.
pub(crate) fn all_columns(table: Table) -> Vec<String> {
    schema::of(table).fields().iter().map(|f| f.name().clone()).filter(|name| name != "tenant").collect()
}
