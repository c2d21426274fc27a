//! Values that a query's text names as `$1` or `$name`.
//!
//! They are put into the parsed text as literals, never into the text itself, so a
//! value cannot become part of the statement.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Value};

use crate::error::Error;
use crate::sql::rewrite::TIME_OP;

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Param {
    /// No value.
    Null,
    /// True or false.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// An integer beyond 63 bits.
    UInt(u64),
    /// A number with a fraction.
    Double(f64),
    /// Text. Compared with an id column, it is the id in hexadecimal digits.
    Text(String),
    /// Bytes, such as an id.
    Bytes(Vec<u8>),
    /// A time in nanoseconds since 1970 UTC.
    Time(i64),
}

/// The values of a query.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Params {
    /// None.
    #[default]
    None,
    /// `$1`, `$2`, …
    List(Vec<Param>),
    /// `$name`.
    Named(BTreeMap<String, Param>),
}

impl Params {
    /// Reads what stands in a request: an array, an object, or nothing.
    pub fn from_json(value: serde_json::Value) -> Result<Params, Error> {
        match value {
            serde_json::Value::Null => Ok(Params::None),
            serde_json::Value::Array(items) => {
                items.into_iter().map(Param::from_json).collect::<Result<_, _>>().map(Params::List)
            }
            serde_json::Value::Object(members) => {
                let named = members.into_iter().map(|(name, value)| Ok((name, Param::from_json(value)?)));
                named.collect::<Result<_, Error>>().map(Params::Named)
            }
            other => Err(Error::Invalid(format!("params is an array or an object, not {other}"))),
        }
    }

    /// The value of a placeholder, which begins with `$` or is `?`.
    pub(crate) fn get(&self, placeholder: &str) -> Result<&Param, Error> {
        let name = placeholder.trim_start_matches('$');
        let found = match self {
            Params::None => None,
            Params::List(list) => name.parse::<usize>().ok().and_then(|i| i.checked_sub(1)).and_then(|i| list.get(i)),
            Params::Named(named) => named.get(name),
        };
        found.ok_or_else(|| Error::Plan {
            message: format!("there is no value for {placeholder}"),
            hint: Some("give params as an array for $1, $2, …, or as an object for $name".to_owned()),
        })
    }
}

impl<P: Into<Param>, const N: usize> From<[P; N]> for Params {
    fn from(list: [P; N]) -> Self {
        Params::List(list.into_iter().map(Into::into).collect())
    }
}

impl From<Vec<Param>> for Params {
    fn from(list: Vec<Param>) -> Self {
        Params::List(list)
    }
}

impl From<&str> for Param {
    fn from(text: &str) -> Self {
        Param::Text(text.to_owned())
    }
}

impl From<String> for Param {
    fn from(text: String) -> Self {
        Param::Text(text)
    }
}

impl From<i64> for Param {
    fn from(value: i64) -> Self {
        Param::Int(value)
    }
}

impl From<f64> for Param {
    fn from(value: f64) -> Self {
        Param::Double(value)
    }
}

impl From<bool> for Param {
    fn from(value: bool) -> Self {
        Param::Bool(value)
    }
}

impl From<hopline_model::TraceId> for Param {
    fn from(id: hopline_model::TraceId) -> Self {
        Param::Bytes(id.0.to_vec())
    }
}

impl From<hopline_model::SpanId> for Param {
    fn from(id: hopline_model::SpanId) -> Self {
        Param::Bytes(id.0.to_vec())
    }
}

impl Param {
    fn from_json(value: serde_json::Value) -> Result<Param, Error> {
        Ok(match value {
            serde_json::Value::Null => Param::Null,
            serde_json::Value::Bool(value) => Param::Bool(value),
            serde_json::Value::String(text) => Param::Text(text),
            serde_json::Value::Number(number) => {
                let integer = number.as_i64().map(Param::Int).or_else(|| number.as_u64().map(Param::UInt));
                let any = integer.or_else(|| number.as_f64().map(Param::Double));
                any.ok_or_else(|| Error::Invalid(format!("the parameter {number} is not a number that SQL has")))?
            }
            other => {
                let message = format!("a parameter is null, true, false, a number or a string, not {other}");
                return Err(Error::Invalid(message));
            }
        })
    }

    /// The value as a literal of the parsed text.
    pub(crate) fn literal(&self) -> Expr {
        let text = |text: &str| Expr::value(Value::SingleQuotedString(text.to_owned()));
        match self {
            Param::Null => Expr::value(Value::Null),
            Param::Bool(value) => Expr::value(Value::Boolean(*value)),
            Param::Int(value) => number(value.to_string()),
            Param::UInt(value) => number(value.to_string()),
            // The exponent makes it a number with a fraction, whatever its value.
            Param::Double(value) if value.is_finite() => number(format!("{value:e}")),
            Param::Double(value) => Expr::Cast {
                kind: datafusion::sql::sqlparser::ast::CastKind::Cast,
                expr: Box::new(text(&value.to_string())),
                data_type: datafusion::sql::sqlparser::ast::DataType::Double(
                    datafusion::sql::sqlparser::ast::ExactNumberInfo::None,
                ),
                array: false,
                format: None,
            },
            Param::Text(value) => text(value),
            Param::Bytes(bytes) => {
                let mut digits = String::with_capacity(2 * bytes.len());
                bytes.iter().for_each(|b| {
                    let _never_fails = write!(digits, "{b:02x}");
                });
                Expr::value(Value::HexStringLiteral(digits))
            }
            Param::Time(ns) => Expr::BinaryOp {
                left: Box::new(text(&ns.to_string())),
                op: BinaryOperator::Custom(TIME_OP.to_owned()),
                right: Box::new(text("")),
            },
        }
    }
}

/// Negative numbers are an operator and a number to the parser, and so to the planner.
fn number(text: String) -> Expr {
    let positive = |text: &str| Expr::value(Value::Number(text.to_owned(), false));
    match text.strip_prefix('-') {
        None => positive(&text),
        Some(rest) => {
            Expr::UnaryOp { op: datafusion::sql::sqlparser::ast::UnaryOperator::Minus, expr: Box::new(positive(rest)) }
        }
    }
}
