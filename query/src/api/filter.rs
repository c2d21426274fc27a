//! Conditions of a query, made of parameters.
//!
//! Texts of the request become values of the statement (`$1`, …), never part of it.

use std::collections::HashSet;

use hopline_model::{AttributeType, Promoted, PromotedType, Table, promoted};

use super::params::TimeRange;
use crate::render::value::not_finite_name;
use crate::sql::params::Param;

/// The keys and types of attributes that rows have: see `catalog::Keys`.
pub(crate) type KnownKeys = HashSet<(String, char)>;

/// Conditions that all must hold, and their values.
#[derive(Debug, Default)]
pub(crate) struct Where {
    conditions: Vec<String>,
    params: Vec<Param>,
}

impl Where {
    /// A placeholder for `value`.
    pub(crate) fn param(&mut self, value: impl Into<Param>) -> String {
        self.params.push(value.into());
        format!("${}", self.params.len())
    }

    /// Adds a condition.
    pub(crate) fn and(&mut self, condition: impl Into<String>) {
        self.conditions.push(condition.into());
    }

    /// `column = value`, if there is a value.
    pub(crate) fn equals(&mut self, column: &str, value: Option<impl Into<Param>>) {
        if let Some(value) = value {
            let value = self.param(value);
            self.and(format!("{column} = {value}"));
        }
    }

    /// `start <= column < end`.
    pub(crate) fn range(&mut self, column: &str, range: TimeRange) {
        for (op, time) in [(">=", range.start), ("<", range.end)] {
            if let Some(time) = time {
                let time = self.param(Param::Time(time));
                self.and(format!("{column} {op} {time}"));
            }
        }
    }

    /// `WHERE …`, or nothing.
    pub(crate) fn text(&self) -> String {
        if self.conditions.is_empty() { String::new() } else { format!("WHERE {}", self.conditions.join(" AND ")) }
    }

    /// The values of the placeholders.
    pub(crate) fn params(self) -> crate::sql::params::Params {
        crate::sql::params::Params::List(self.params)
    }

    /// The condition of an attribute of the row.
    pub(crate) fn attribute(&mut self, filter: &AttributeFilter) {
        self.attribute_of("attr", filter);
    }

    /// The condition of an attribute of the resource.
    pub(crate) fn resource_attribute(&mut self, filter: &AttributeFilter) {
        self.attribute_of("resource_attr", filter);
    }

    fn attribute_of(&mut self, function: &str, filter: &AttributeFilter) {
        let key = self.param(filter.key.as_str());
        let text = format!("{function}_text({key})");
        if let Some(number) = not_finite(&filter.value) {
            return self.not_finite(function, filter, number);
        }
        // Beside a number, the function gives numbers: integers, doubles, and texts that are numbers.
        let number = number(&filter.value);
        let equal = match &number {
            // More digits than an integer has are compared one by one.
            Some(Param::Double(_)) if filter.value.trim_start_matches(['-', '+']).bytes().all(is_digit) => None,
            other => other.clone(),
        };
        let condition = match (filter.op, equal, number) {
            (Op::Exists, ..) => format!("{text} IS NOT NULL"),
            (Op::Absent, ..) => format!("{text} IS NULL"),
            (Op::Equal, Some(number), _) => format!("{function}({key}) = {}", self.param(number)),
            (Op::Equal, None, _) => format!("{text} = {}", self.param(filter.value.as_str())),
            (Op::NotEqual, Some(number), _) => {
                // A text that is no number is another value too.
                format!("({text} IS NOT NULL AND ({function}({key}) = {}) IS NOT TRUE)", self.param(number))
            }
            (Op::NotEqual, None, _) => format!("{text} <> {}", self.param(filter.value.as_str())),
            (op, _, Some(number)) => format!("{function}({key}) {} {}", op.sign(), self.param(number)),
            (op, _, None) => format!("{text} {} {}", op.sign(), self.param(filter.value.as_str())),
        };
        self.and(condition);
    }

    /// The condition with NaN or an infinity: it may have been sent as a double, or as a text that is equal.
    fn not_finite(&mut self, function: &str, filter: &AttributeFilter, number: f64) {
        let key = self.param(filter.key.as_str());
        let name = not_finite_name(number).unwrap_or_default();
        let condition = match filter.op {
            Op::Equal | Op::NotEqual => {
                let not = if filter.op == Op::NotEqual { "NOT " } else { "" };
                format!("{function}_text({key}) {not}IN ({}, {})", self.param(name), self.param(filter.value.as_str()))
            }
            op => format!("{function}_double({key}) {} {}", op.sign(), self.param(number)),
        };
        self.and(condition);
    }
}

fn number(text: &str) -> Option<Param> {
    let integer = text.parse::<i64>().map(Param::Int).or_else(|_| text.parse::<u64>().map(Param::UInt)).ok();
    integer.or_else(|| text.parse::<f64>().ok().filter(|n| n.is_finite()).map(Param::from))
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

/// `Infinity`, `-inf`, `NaN` and the like.
fn not_finite(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|n| !n.is_finite() && !text.bytes().any(is_digit))
}

/// A column in which values of a key may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The type of the values.
    pub(crate) kind: AttributeType,
    /// The promoted column; else the map of the type.
    pub(crate) promoted: Option<&'static str>,
}

/// Where the values of `key` may stand: its promoted column, and the maps of the types
/// that it was seen with. A value of the promoted type is in the column, save where a row
/// has the key twice: then the first counts.
pub(crate) fn places(table: Table, key: &str, known: Option<&KnownKeys>) -> Vec<Place> {
    let promoted = promoted::of(table).find(|p| p.key == key);
    let mut places = Vec::new();
    if let Some(promoted) = promoted {
        places.push(Place { kind: promoted_kind(promoted), promoted: Some(promoted.column) });
    }
    for kind in AttributeType::ALL {
        let there = known.is_none_or(|known| known.contains(&(key.to_owned(), kind.letter())));
        if there && promoted.map(promoted_kind) != Some(kind) {
            places.push(Place { kind, promoted: None });
        }
    }
    places
}

fn promoted_kind(promoted: &Promoted) -> AttributeType {
    match promoted.kind {
        PromotedType::String => AttributeType::String,
        PromotedType::Int => AttributeType::Int,
        PromotedType::Bool => AttributeType::Bool,
    }
}

/// How an attribute is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// `key`
    Exists,
    /// `!key`
    Absent,
    /// `key=value`
    Equal,
    /// `key!=value`: it is there, and has another value.
    NotEqual,
    /// `key>value`
    Greater,
    /// `key>=value`
    GreaterOrEqual,
    /// `key<value`
    Less,
    /// `key<=value`
    LessOrEqual,
}

impl Op {
    fn sign(self) -> &'static str {
        match self {
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            _ => "=",
        }
    }
}

/// A condition on an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AttributeFilter {
    /// The attribute's key.
    pub(crate) key: String,
    /// How it is compared.
    pub(crate) op: Op,
    /// With what.
    pub(crate) value: String,
}

impl AttributeFilter {
    /// Reads `key=value`, `key!=value`, `key>value`, `key>=value`, `key<value`, `key<=value`,
    /// `key` (it is there) or `!key` (it is not there).
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let expected = "key=value, key!=value, key>value, key>=value, key<value, key<=value, key or !key was expected";
        // The sign begins where the first of its characters stands; a ! at the very start is another thing.
        let at = text.char_indices().find(|(i, c)| match c {
            '=' | '<' | '>' => true,
            '!' => *i > 0 && text.get(i + 1..).is_some_and(|rest| rest.starts_with('=')),
            _ => false,
        });
        let (key, op, value) = match at {
            None => match text.strip_prefix('!') {
                Some(key) => (key, Op::Absent, ""),
                None => (text, Op::Exists, ""),
            },
            Some((at, _)) => {
                let (key, rest) = text.split_at(at);
                let signs = [
                    ("!=", Op::NotEqual),
                    (">=", Op::GreaterOrEqual),
                    ("<=", Op::LessOrEqual),
                    ("=", Op::Equal),
                    (">", Op::Greater),
                    ("<", Op::Less),
                ];
                let found = signs.iter().find_map(|(sign, op)| Some((key, *op, rest.strip_prefix(sign)?)));
                found.ok_or(expected)?
            }
        };
        if key.is_empty() {
            return Err(expected.to_owned());
        }
        Ok(Self { key: key.to_owned(), op, value: value.to_owned() })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn attribute_filters() {
        for (text, key, op, value) in [
            ("a=b", "a", Op::Equal, "b"),
            ("a=b=c", "a", Op::Equal, "b=c"),
            ("a!=b", "a", Op::NotEqual, "b"),
            ("a>1", "a", Op::Greater, "1"),
            ("a>=1", "a", Op::GreaterOrEqual, "1"),
            ("a<1", "a", Op::Less, "1"),
            ("a<=1", "a", Op::LessOrEqual, "1"),
            ("a", "a", Op::Exists, ""),
            ("!a", "a", Op::Absent, ""),
            ("a=", "a", Op::Equal, ""),
            ("a=x>y", "a", Op::Equal, "x>y"),
        ] {
            let filter = AttributeFilter::parse(text).unwrap();
            assert_eq!((filter.key.as_str(), filter.op, filter.value.as_str()), (key, op, value), "{text}");
        }
        for text in ["=b", "!", "", ">1"] {
            assert!(AttributeFilter::parse(text).is_err(), "{text}");
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let mut conditions = Where::default();
        conditions.attribute(&AttributeFilter::parse(text).unwrap());
        let mut sql = conditions.text();
        for (i, value) in conditions.params.iter().enumerate().rev() {
            sql = sql.replace(&format!("${}", i + 1), &format!("{value:?}"));
        }
        assert_eq!(sql, expected);
    }

    #[test]
    fn conditions_of_attributes() {
        check("k=x", "WHERE attr_text(Text(\"k\")) = Text(\"x\")");
        check("k=1", "WHERE attr(Text(\"k\")) = Int(1)");
        check("k=9007199254740993", "WHERE attr(Text(\"k\")) = Int(9007199254740993)");
        check("k>18446744073709551615", "WHERE attr(Text(\"k\")) > UInt(18446744073709551615)");
        check("k=18446744073709551616", "WHERE attr_text(Text(\"k\")) = Text(\"18446744073709551616\")");
        check("k=-inf", "WHERE attr_text(Text(\"k\")) IN (Text(\"-Infinity\"), Text(\"-inf\"))");
        check("k!=NaN", "WHERE attr_text(Text(\"k\")) NOT IN (Text(\"NaN\"), Text(\"NaN\"))");
        check("k<Infinity", "WHERE attr_double(Text(\"k\")) < Double(inf)");
        check("k>=1.5", "WHERE attr(Text(\"k\")) >= Double(1.5)");
        check("k<x", "WHERE attr_text(Text(\"k\")) < Text(\"x\")");
        check("k!=x", "WHERE attr_text(Text(\"k\")) <> Text(\"x\")");
        check("k", "WHERE attr_text(Text(\"k\")) IS NOT NULL");
        check("!k", "WHERE attr_text(Text(\"k\")) IS NULL");
    }

    #[test]
    fn values_stand_where_the_key_was_seen() {
        let known: KnownKeys = [("k".to_owned(), 's'), ("k".to_owned(), 'i')].into();
        let of = |key| {
            places(Table::Spans, key, Some(&known))
                .iter()
                .map(|p| p.promoted.unwrap_or(p.kind.column()))
                .collect::<Vec<_>>()
        };
        assert_eq!(of("k"), ["attributes_string", "attributes_int"]);
        assert_eq!(of("http.route"), ["http_route"]);
        assert!(of("nothing").is_empty());
        assert_eq!(places(Table::Spans, "nothing", None).len(), 5);
    }
}
