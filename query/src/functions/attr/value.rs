//! One attribute value, and what it is as another type.

use std::borrow::Cow;
use std::fmt::Write as _;

use hopline_proto::value::{lookup, unquote};

use super::condition::Number;
use crate::render::value::not_finite_name;

/// A value as it stands in a column.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    Text(Cow<'a, str>),
    Int(i64),
    Double(f64),
    Bool(bool),
    /// Value text of a list, map or bytes.
    Json(&'a str),
}

impl<'a> Value<'a> {
    /// Reads value text. Nothing if it is empty (`null`).
    pub(super) fn parse(raw: &'a str) -> Option<Value<'a>> {
        match raw.as_bytes().first()? {
            b'"' => unquote(raw).map(Value::Text),
            b't' => Some(Value::Bool(true)),
            b'f' => Some(Value::Bool(false)),
            b'n' => None,
            b'{' => {
                let double = lookup(raw, "$double").and_then(unquote).and_then(|text| text.parse().ok());
                Some(double.map_or(Value::Json(raw), Value::Double))
            }
            b'[' => Some(Value::Json(raw)),
            _ => match raw.parse() {
                Ok(int) => Some(Value::Int(int)),
                Err(_) => raw.parse().ok().map(Value::Double),
            },
        }
    }

    /// Appends the value as text to `out`.
    pub(super) fn write_text(&self, out: &mut String) {
        let _never_fails = match self {
            Value::Text(text) => out.write_str(text),
            Value::Int(value) => write!(out, "{value}"),
            Value::Double(value) => match not_finite_name(*value) {
                Some(name) => out.write_str(name),
                None => write!(out, "{value:?}"),
            },
            Value::Bool(value) => write!(out, "{value}"),
            Value::Json(text) => out.write_str(text),
        };
    }

    pub(super) fn to_int(&self) -> Option<i64> {
        match self {
            Value::Int(value) => Some(*value),
            // Only whole numbers, and only where every integer has a double of its own.
            Value::Double(value) if value.fract() == 0.0 && value.abs() <= 2_f64.powi(53) => Some(*value as i64),
            Value::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    pub(super) fn to_double(&self) -> Option<f64> {
        match self {
            Value::Int(value) => Some(*value as f64),
            Value::Double(value) => Some(*value),
            Value::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// The number that it is, without any rounding.
    pub(super) fn to_number(&self) -> Option<Number> {
        match self {
            Value::Int(value) => Some(Number::Int(i128::from(*value))),
            Value::Double(value) => Some(Number::Double(*value)),
            Value::Text(text) => Number::parse(text.trim()),
            _ => None,
        }
    }

    pub(super) fn to_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            Value::Text(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Value::Text(text) if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        }
    }
}
