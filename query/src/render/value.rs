//! One value of a column as text.
//!
//! - ids and other bytes: lower-case hexadecimal digits;
//! - times: RFC 3339 in UTC with nanoseconds;
//! - numbers: JSON numbers; NaN and the infinities as strings; 64-bit integers as strings where asked;
//! - spans of time: ISO 8601;
//! - lists and structs: JSON arrays and objects; maps: JSON objects.

use std::fmt::Write as _;

use arrow::array::{Array, AsArray, ListLikeArray, MapArray, StructArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Decimal128Type, Decimal256Type, DurationMicrosecondType,
    DurationMillisecondType, DurationNanosecondType, DurationSecondType, Float16Type, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit,
    IntervalYearMonthType, Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType,
    TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions, array_value_to_string};
use hopline_proto::value::quote;

use super::Options;
use super::time::{write_date, write_interval, write_time, write_time_of_day};
use crate::error::Error;
use crate::functions::ids::write_hex;

/// Writes the value of a row.
pub type Writer<'a> = Box<dyn Fn(usize, &mut String) + Send + 'a>;

/// How text stands in the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// As JSON: text in quotes, nothing as `null`.
    Json,
    /// As it is; nothing as nothing. Lists and the like are still JSON.
    Plain,
}

/// The writer of the values of `array`.
pub fn writer(array: &dyn Array, style: Style, options: Options) -> Result<Writer<'_>, Error> {
    let write = not_null(array, style, options)?;
    if array.logical_null_count() == 0 {
        return Ok(write);
    }
    let nulls = array.logical_nulls();
    Ok(Box::new(move |row, out| match &nulls {
        Some(nulls) if nulls.is_null(row) => {
            if style == Style::Json {
                out.push_str("null");
            }
        }
        _ => write(row, out),
    }))
}

fn not_null(array: &dyn Array, style: Style, options: Options) -> Result<Writer<'_>, Error> {
    Ok(match array.data_type() {
        DataType::Null => Box::new(move |_, out| {
            if style == Style::Json {
                out.push_str("null")
            }
        }),
        DataType::Boolean => {
            let array = array.as_boolean();
            Box::new(move |row, out| out.push_str(if array.value(row) { "true" } else { "false" }))
        }
        DataType::Int8 => integer::<Int8Type>(array),
        DataType::Int16 => integer::<Int16Type>(array),
        DataType::Int32 => integer::<Int32Type>(array),
        DataType::UInt8 => integer::<UInt8Type>(array),
        DataType::UInt16 => integer::<UInt16Type>(array),
        DataType::UInt32 => integer::<UInt32Type>(array),
        DataType::Int64 => quoted_if(options.int64_as_string && style == Style::Json, integer::<Int64Type>(array)),
        DataType::UInt64 => quoted_if(options.int64_as_string && style == Style::Json, integer::<UInt64Type>(array)),
        DataType::Float16 => double::<Float16Type>(array, style, |v| v.to_f32().into()),
        DataType::Float32 => float(array, style),
        DataType::Float64 => double::<Float64Type>(array, style, |v| v),
        DataType::Decimal128(..) => {
            let array = array.as_primitive::<Decimal128Type>();
            Box::new(move |row, out| out.push_str(&array.value_as_string(row)))
        }
        DataType::Decimal256(..) => {
            let array = array.as_primitive::<Decimal256Type>();
            Box::new(move |row, out| out.push_str(&array.value_as_string(row)))
        }
        DataType::Utf8 => text(style, move |row| array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => text(style, move |row| array.as_string::<i64>().value(row)),
        DataType::Utf8View => text(style, move |row| array.as_string_view().value(row)),
        DataType::FixedSizeBinary(_) => hex(style, move |row| array.as_fixed_size_binary().value(row)),
        DataType::Binary => hex(style, move |row| array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => hex(style, move |row| array.as_binary::<i64>().value(row)),
        DataType::BinaryView => hex(style, move |row| array.as_binary_view().value(row)),
        DataType::Dictionary(..) => dictionary(array, style, options)?,
        DataType::List(_) => list(array.as_list::<i32>(), options)?,
        DataType::LargeList(_) => list(array.as_list::<i64>(), options)?,
        DataType::FixedSizeList(..) => list(array.as_fixed_size_list(), options)?,
        DataType::Struct(_) => structure(array.as_struct(), options)?,
        DataType::Map(..) => map(array.as_map(), options)?,
        _ => temporal(array, style)?,
    })
}

fn quoted_if(quoted: bool, write: Writer<'_>) -> Writer<'_> {
    if !quoted {
        return write;
    }
    Box::new(move |row, out| {
        out.push('"');
        write(row, out);
        out.push('"');
    })
}

fn integer<T: ArrowPrimitiveType>(array: &dyn Array) -> Writer<'_>
where
    T::Native: std::fmt::Display,
{
    let array = array.as_primitive::<T>();
    Box::new(move |row, out| {
        let _never_fails = write!(out, "{}", array.value(row));
    })
}

fn double<'a, T: ArrowPrimitiveType>(
    array: &'a dyn Array,
    style: Style,
    to_double: impl Fn(T::Native) -> f64 + Send + 'a,
) -> Writer<'a> {
    let array = array.as_primitive::<T>();
    Box::new(move |row, out| write_double(to_double(array.value(row)), style, out))
}

/// In its own shortest digits, which are not those of the same number as a double.
fn float(array: &dyn Array, style: Style) -> Writer<'_> {
    let array = array.as_primitive::<Float32Type>();
    Box::new(move |row, out| match array.value(row) {
        value if value.is_finite() => {
            let _never_fails = write!(out, "{value:?}");
        }
        value => write_double(value.into(), style, out),
    })
}

fn write_double(value: f64, style: Style, out: &mut String) {
    match not_finite_name(value) {
        Some(name) => write_text(name, style, out),
        None => {
            let _never_fails = write!(out, "{value:?}");
        }
    }
}

/// The name that OTLP/JSON (the ProtoJSON mapping) gives to what is no finite number.
pub(crate) fn not_finite_name(value: f64) -> Option<&'static str> {
    match value {
        f64::INFINITY => Some("Infinity"),
        f64::NEG_INFINITY => Some("-Infinity"),
        value => value.is_nan().then_some("NaN"),
    }
}

fn write_text(text: &str, style: Style, out: &mut String) {
    match style {
        Style::Json => quote(text, out),
        Style::Plain => out.push_str(text),
    }
}

fn text<'a>(style: Style, value: impl Fn(usize) -> &'a str + Send + 'a) -> Writer<'a> {
    Box::new(move |row, out| write_text(value(row), style, out))
}

fn hex<'a>(style: Style, value: impl Fn(usize) -> &'a [u8] + Send + 'a) -> Writer<'a> {
    quoted_if(style == Style::Json, Box::new(move |row, out| write_hex(value(row), out)))
}

fn dictionary(array: &dyn Array, style: Style, options: Options) -> Result<Writer<'_>, Error> {
    let dictionary = array.as_any_dictionary();
    if dictionary.values().is_empty() {
        // All rows are null, which the caller writes.
        return Ok(Box::new(|_, _| {}));
    }
    let write = writer(dictionary.values().as_ref(), style, options)?;
    let keys = dictionary.normalized_keys();
    Ok(Box::new(move |row, out| {
        if let Some(key) = keys.get(row) {
            write(*key, out);
        }
    }))
}

fn list<'a, L: ListLikeArray>(array: &'a L, options: Options) -> Result<Writer<'a>, Error> {
    let write = writer(array.values().as_ref(), Style::Json, options)?;
    Ok(Box::new(move |row, out| {
        out.push('[');
        for (i, item) in array.element_range(row).enumerate() {
            if i > 0 {
                out.push(',');
            }
            write(item, out);
        }
        out.push(']');
    }))
}

fn structure(array: &StructArray, options: Options) -> Result<Writer<'_>, Error> {
    let mut members = Vec::with_capacity(array.num_columns());
    for (field, column) in array.fields().iter().zip(array.columns()) {
        members.push((member(field.name()), writer(column.as_ref(), Style::Json, options)?));
    }
    Ok(Box::new(move |row, out| {
        out.push('{');
        for (i, (name, write)) in members.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            out.push_str(name);
            write(row, out);
        }
        out.push('}');
    }))
}

/// `"name":`.
pub(super) fn member(name: &str) -> String {
    let mut text = String::new();
    quote(name, &mut text);
    text.push(':');
    text
}

fn map(array: &MapArray, options: Options) -> Result<Writer<'_>, Error> {
    let key = writer(array.keys().as_ref(), Style::Plain, options)?;
    let value = writer(array.values().as_ref(), Style::Json, options)?;
    Ok(Box::new(move |row, out| {
        let ends = array.value_offsets();
        let (Some(start), Some(end)) = (ends.get(row), ends.get(row + 1)) else { return };
        out.push('{');
        let mut name = String::new();
        for entry in *start..*end {
            if entry > *start {
                out.push(',');
            }
            name.clear();
            key(entry as usize, &mut name);
            quote(&name, out);
            out.push(':');
            value(entry as usize, out);
        }
        out.push('}');
    }))
}

/// Seconds and nanoseconds of `value` in units of which a second has `per_second`.
fn split(value: i64, per_second: i64) -> (i64, u32) {
    let nanos = value.rem_euclid(per_second) * (1_000_000_000 / per_second);
    (value.div_euclid(per_second), nanos as u32)
}

fn temporal(array: &dyn Array, style: Style) -> Result<Writer<'_>, Error> {
    use DataType::{Date32, Date64, Duration, Interval, Time32, Time64, Timestamp};
    let write = match array.data_type() {
        Timestamp(TimeUnit::Second, _) => time_of::<TimestampSecondType>(array, 1),
        Timestamp(TimeUnit::Millisecond, _) => time_of::<TimestampMillisecondType>(array, 1_000),
        Timestamp(TimeUnit::Microsecond, _) => time_of::<TimestampMicrosecondType>(array, 1_000_000),
        Timestamp(TimeUnit::Nanosecond, _) => time_of::<TimestampNanosecondType>(array, 1_000_000_000),
        Date32 => written::<Date32Type>(array, |days, out| write_date(days.into(), out)),
        Date64 => written::<Date64Type>(array, |ms, out| write_date(ms.div_euclid(86_400_000), out)),
        Time32(TimeUnit::Second) => written::<Time32SecondType>(array, |s, out| write_time_of_day(s.into(), 0, out)),
        Time32(_) => written::<Time32MillisecondType>(array, |ms, out| {
            let (seconds, nanos) = split(ms.into(), 1_000);
            write_time_of_day(seconds, nanos, out);
        }),
        Time64(TimeUnit::Microsecond) => written::<Time64MicrosecondType>(array, |us, out| {
            let (seconds, nanos) = split(us, 1_000_000);
            write_time_of_day(seconds, nanos, out);
        }),
        Time64(_) => written::<Time64NanosecondType>(array, |ns, out| {
            let (seconds, nanos) = split(ns, 1_000_000_000);
            write_time_of_day(seconds, nanos, out);
        }),
        Duration(TimeUnit::Second) => span_of::<DurationSecondType>(array, 1_000_000_000),
        Duration(TimeUnit::Millisecond) => span_of::<DurationMillisecondType>(array, 1_000_000),
        Duration(TimeUnit::Microsecond) => span_of::<DurationMicrosecondType>(array, 1_000),
        Duration(TimeUnit::Nanosecond) => span_of::<DurationNanosecondType>(array, 1),
        Interval(IntervalUnit::YearMonth) => {
            written::<IntervalYearMonthType>(array, |months, out| write_interval(months, 0, 0, out))
        }
        Interval(IntervalUnit::DayTime) => written::<IntervalDayTimeType>(array, |span, out| {
            write_interval(0, span.days, i64::from(span.milliseconds) * 1_000_000, out);
        }),
        Interval(IntervalUnit::MonthDayNano) => written::<IntervalMonthDayNanoType>(array, |span, out| {
            write_interval(span.months, span.days, span.nanoseconds, out);
        }),
        _ => return other(array, style),
    };
    Ok(quoted_if(style == Style::Json, write))
}

fn written<'a, T: ArrowPrimitiveType>(
    array: &'a dyn Array,
    write: impl Fn(T::Native, &mut String) + Send + 'a,
) -> Writer<'a> {
    let array = array.as_primitive::<T>();
    Box::new(move |row, out| write(array.value(row), out))
}

fn time_of<T: ArrowPrimitiveType<Native = i64>>(array: &dyn Array, per_second: i64) -> Writer<'_> {
    written::<T>(array, move |value, out| {
        let (seconds, nanos) = split(value, per_second);
        write_time(seconds, nanos, out);
    })
}

fn span_of<T: ArrowPrimitiveType<Native = i64>>(array: &dyn Array, nanos: i64) -> Writer<'_> {
    written::<T>(array, move |value, out| write_interval(0, 0, value.saturating_mul(nanos), out))
}

/// Rare types, as Arrow prints them.
fn other(array: &dyn Array, style: Style) -> Result<Writer<'_>, Error> {
    // Whether the type can be printed at all is asked once, here.
    ArrayFormatter::try_new(array, &FormatOptions::default()).map_err(|e| Error::Internal(Box::new(e)))?;
    Ok(Box::new(move |row, out| {
        write_text(&array_value_to_string(array, row).unwrap_or_default(), style, out);
    }))
}

/// The name of a type, as answers and `docs/sql.md` call it.
pub fn type_name(data_type: &DataType) -> String {
    use DataType::{
        Binary, BinaryView, Boolean, Date32, Date64, Decimal128, Decimal256, Dictionary, Duration, FixedSizeBinary,
        FixedSizeList, Interval, LargeBinary, LargeList, LargeUtf8, List, Map, Null, Struct, Time32, Time64, Timestamp,
        Utf8, Utf8View,
    };
    match data_type {
        Null => "null".to_owned(),
        Boolean => "boolean".to_owned(),
        Utf8 | LargeUtf8 | Utf8View => "string".to_owned(),
        Binary | LargeBinary | BinaryView => "binary".to_owned(),
        FixedSizeBinary(len) => format!("binary({len})"),
        Timestamp(..) => "timestamp".to_owned(),
        Date32 | Date64 => "date".to_owned(),
        Time32(_) | Time64(_) => "time".to_owned(),
        Duration(_) | Interval(_) => "interval".to_owned(),
        Decimal128(precision, scale) | Decimal256(precision, scale) => format!("decimal({precision}, {scale})"),
        Dictionary(_, value) => type_name(value),
        List(item) | LargeList(item) | FixedSizeList(item, _) => format!("list<{}>", type_name(item.data_type())),
        Struct(fields) => {
            let members = fields.iter().map(|f| format!("{}: {}", f.name(), type_name(f.data_type())));
            format!("struct<{}>", members.collect::<Vec<_>>().join(", "))
        }
        Map(entries, _) => match entries.data_type() {
            Struct(fields) => {
                let types: Vec<String> = fields.iter().map(|f| type_name(f.data_type())).collect();
                format!("map<{}>", types.join(", "))
            }
            other => format!("map<{}>", type_name(other)),
        },
        other => other.to_string().to_lowercase(),
    }
}
