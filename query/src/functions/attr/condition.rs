//! Comparisons of an attribute with numbers, exact whatever types the two have.
//!
//! An integer above 2^53 may have no double of its own, so neither side is turned into the
//! other's type. NaN is greater than every number and equal to itself, as everywhere in SQL here.

use std::cmp::Ordering;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, exec_err, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, in_list, lit,
};

use super::{Spec, Target, kernel, literal};

/// The function's name.
pub(super) const NAME: &str = "hopline_attr_is";

/// A number as it was sent or written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Number {
    /// An integer: all of 64 bits, signed or not, and more.
    Int(i128),
    /// A number with a fraction or an exponent.
    Double(f64),
}

impl Number {
    /// Reads a number: digits alone are an integer.
    pub(crate) fn parse(text: &str) -> Option<Number> {
        text.parse().map(Number::Int).ok().or_else(|| text.parse().map(Number::Double).ok())
    }

    fn compare(self, other: Number) -> Ordering {
        match (self, other) {
            (Number::Int(a), Number::Int(b)) => a.cmp(&b),
            (Number::Int(a), Number::Double(b)) => int_with_double(a, b),
            (Number::Double(a), Number::Int(b)) => int_with_double(b, a).reverse(),
            (Number::Double(a), Number::Double(b)) => a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan())),
        }
    }

    /// The number as a literal beside a column of 64-bit integers.
    fn beside_integers(self) -> Expr {
        match self {
            Number::Int(n) => match i64::try_from(n) {
                Ok(n) => lit(n),
                Err(_) => lit(if n > 0 { f64::MAX } else { f64::MIN }),
            },
            Number::Double(n) if n.fract() == 0.0 => Number::Int(n as i128).beside_integers(),
            // With a fraction it is far below 2^53: it stands between the same integers when they are doubles.
            Number::Double(n) => lit(n),
        }
    }
}

fn int_with_double(int: i128, double: f64) -> Ordering {
    if double.is_nan() {
        return Ordering::Less;
    }
    // Beyond 128 bits the cast gives the nearest end, which is beyond all integers that occur.
    let whole = double.trunc();
    int.cmp(&(whole as i128)).then(whole.partial_cmp(&double).unwrap_or(Ordering::Equal))
}

/// What is asked of a number.
#[derive(Debug, Clone)]
pub(crate) enum Condition {
    /// How it compares with a number: one of [`SIGNS`].
    Compare(&'static str, Number),
    /// It is between two numbers, both included.
    Between(Number, Number),
    /// It is one of these, which are sorted.
    In(Vec<Number>),
}

/// The signs of comparisons.
const SIGNS: [&str; 6] = ["=", "<>", "<=", ">=", "<", ">"];

impl Condition {
    /// Reads `= 5`, `BETWEEN 1 AND 5`, `IN (1, 2)` and so on.
    pub(crate) fn parse(text: &str) -> Option<Condition> {
        if let Some(bounds) = text.strip_prefix("BETWEEN ") {
            let (low, high) = bounds.split_once(" AND ")?;
            return Some(Condition::Between(Number::parse(low)?, Number::parse(high)?));
        }
        if let Some(list) = text.strip_prefix("IN (").and_then(|list| list.strip_suffix(')')) {
            let mut list = list.split(", ").map(Number::parse).collect::<Option<Vec<_>>>()?;
            list.sort_by(|a, b| a.compare(*b));
            return Some(Condition::In(list));
        }
        let (sign, number) = text.split_once(' ')?;
        Some(Condition::Compare(SIGNS.iter().find(|s| **s == sign)?, Number::parse(number)?))
    }

    /// Whether it holds of `value`.
    pub(super) fn holds(&self, value: Number) -> bool {
        match self {
            Condition::Compare(sign, number) => {
                let order = value.compare(*number);
                match *sign {
                    "=" => order.is_eq(),
                    "<>" => order.is_ne(),
                    "<=" => order.is_le(),
                    ">=" => order.is_ge(),
                    "<" => order.is_lt(),
                    _ => order.is_gt(),
                }
            }
            Condition::Between(low, high) => value.compare(*low).is_ge() && value.compare(*high).is_le(),
            Condition::In(list) => list.binary_search_by(|item| item.compare(value)).is_ok(),
        }
    }

    /// The condition on a column of 64-bit integers, in words that files' statistics can be held against.
    pub(crate) fn of_integers(&self, column: Expr) -> Expr {
        match self {
            Condition::Compare(sign, number) => {
                let number = number.beside_integers();
                match *sign {
                    "=" => column.eq(number),
                    "<>" => column.not_eq(number),
                    "<=" => column.lt_eq(number),
                    ">=" => column.gt_eq(number),
                    "<" => column.lt(number),
                    _ => column.gt(number),
                }
            }
            Condition::Between(low, high) => {
                let (low, high) = (low.beside_integers(), high.beside_integers());
                column.clone().gt_eq(low).and(column.lt_eq(high))
            }
            Condition::In(list) => {
                let all: Vec<Expr> = list.iter().map(|number| number.beside_integers()).collect();
                // One list has one type: what is no integer, and so equals none, would make doubles of all.
                let is_integer = |e: &&Expr| matches!(e, Expr::Literal(ScalarValue::Int64(_), _));
                let integers: Vec<Expr> = all.iter().filter(is_integer).cloned().collect();
                in_list(column, if integers.is_empty() { all } else { integers }, false)
            }
        }
    }
}

/// The condition `text` on what the call `lookup` finds, unless it is no such call.
pub(crate) fn of_lookup(lookup: &Expr, text: &str) -> Option<Expr> {
    let Expr::ScalarFunction(call) = lookup else { return None };
    Target::ALL.iter().find(|t| t.function_name() == call.func.name())?;
    let mut args = call.args.clone();
    (args.len() >= 2).then(|| args.insert(2, Expr::Literal(ScalarValue::Utf8(Some(text.to_owned())), None)))?;
    Some(ScalarUDF::from(AttrIs::new()).call(args))
}

/// The function: null where the attribute is absent or no number.
///
/// Arguments: those of a lookup, with the condition's text before the columns.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct AttrIs {
    signature: Signature,
}

impl AttrIs {
    pub(super) fn new() -> AttrIs {
        AttrIs { signature: Signature::variadic_any(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for AttrIs {
    fn name(&self) -> &str {
        NAME
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let spec = literal(args.get(1)).and_then(Spec::parse);
        match (literal(args.first()), spec, literal(args.get(2))) {
            (Some(key), Some(spec), Some(condition)) => Ok(format!("{} {condition}", spec.call(key))),
            _ => internal_err!("{NAME} without its literals"),
        }
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        self.schema_name(args)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let text = |at| super::text(args.args.get(at));
        let (Some(key), Some(spec), Some(condition)) = (text(0), text(1), text(2)) else {
            return exec_err!("{NAME} takes three literals and columns");
        };
        let (Some(spec), Some(condition)) = (Spec::parse(spec), Condition::parse(condition)) else {
            return exec_err!("{NAME}: {spec:?} or {condition:?} says nothing");
        };
        let columns = args.args.iter().skip(3).map(|c| c.to_array(args.number_rows)).collect::<Result<Vec<_>>>()?;
        let holds = kernel::test(key, &spec.letters, &columns, args.number_rows, &condition)?;
        Ok(ColumnarValue::Array(std::sync::Arc::new(holds) as ArrayRef))
    }
}

/// The outcome for each value; null for what is no number.
pub(super) fn outcomes(values: impl Iterator<Item = Option<Number>>, condition: &Condition) -> BooleanArray {
    values.map(|value| value.map(|value| condition.holds(value))).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, condition: &str, expected: bool) {
        let value = Number::parse(value).unwrap();
        assert_eq!(Condition::parse(condition).unwrap().holds(value), expected, "{value:?} {condition}");
    }

    #[test]
    fn integers_and_doubles_are_compared_exactly() {
        check("1234567890123456790", "> 1234567890123456789", true);
        check("1234567890123456790", "= 1234567890123456789", false);
        check("9223372036854775807", "BETWEEN 9223372036854775000 AND 9223372036854775500", false);
        check("9007199254740993", "IN (1, 9007199254740992.0, 9007199254740994)", false);
        check("9007199254740993", "> 9007199254740992.0", true);
        check("9007199254740992.0", "< 9007199254740993", true);
        check("9223372036854775807", "< 9223372036854775808", true);
        check("9223372036854775807", "< 9.223372036854775807e18", true);
        check("5.0", "= 5", true);
        check("-0.0", "= 0", true);
        check("5", "= 5.0", true);
        check("5", ">= 5.5", false);
        check("-5", "> -5.5", true);
        check("-6", "< -5.5", true);
        check("1", "< 1e300", true);
        check("-1", "> -inf", true);
        check("NaN", "> inf", true);
        check("NaN", "= NaN", true);
        check("1", "> NaN", false);
    }

    #[test]
    fn a_column_of_integers_keeps_its_type() {
        let column = || datafusion::prelude::col("c");
        for (condition, expected) in [
            ("= 9007199254740993", "c = Int64(9007199254740993)"),
            ("= 5.0", "c = Int64(5)"),
            ("> 1.5", "c > Float64(1.5)"),
            ("< 18446744073709551616", "c < Float64(179"),
            ("> -9223372036854775809", "c > Float64(-179"),
            ("IN (1, 1.5, 2.0)", "c IN ([Int64(1), Int64(2)])"),
            ("IN (0.5, 1.5)", "c IN ([Float64(0.5), Float64(1.5)])"),
            ("BETWEEN 1 AND 2", "c >= Int64(1) AND c <= Int64(2)"),
        ] {
            let expr = Condition::parse(condition).unwrap().of_integers(column()).to_string();
            assert!(expr.starts_with(expected), "{expr}");
        }
    }

    #[test]
    fn no_conditions() {
        for text in ["", "5", "= x", "~ 5", "BETWEEN 1", "IN (1, x)", "IN ()"] {
            assert!(Condition::parse(text).is_none(), "{text}");
        }
    }
}
