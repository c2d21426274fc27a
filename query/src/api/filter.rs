//! Conditions of a query, made of parameters.
//!
//! Texts of the request become values of the statement (`$1`, …), never part of it.

use std::collections::HashSet;

use hopline_model::{AttributeType, Promoted, PromotedType, Table, promoted};

use super::params::TimeRange;
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

    /// The condition of an attribute of the row. `known` says which keys and types there are.
    pub(crate) fn attribute(&mut self, table: Table, filter: &AttributeFilter, known: Option<&KnownKeys>) {
        let condition = {
            let places = places(table, &filter.key, known);
            match filter.op {
                Op::Exists => self.exists(&places, &filter.key),
                Op::Absent => format!("NOT ({})", self.exists(&places, &filter.key)),
                Op::Equal => self.compare(&places, filter, "="),
                Op::NotEqual => {
                    let exists = self.exists(&places, &filter.key);
                    let equal = self.compare(&places, filter, "=");
                    format!("({exists} AND {equal} IS NOT TRUE)")
                }
                Op::Greater => self.compare(&places, filter, ">"),
                Op::GreaterOrEqual => self.compare(&places, filter, ">="),
                Op::Less => self.compare(&places, filter, "<"),
                Op::LessOrEqual => self.compare(&places, filter, "<="),
            }
        };
        self.and(condition);
    }

    /// The condition of an attribute of the resource.
    pub(crate) fn resource_attribute(&mut self, filter: &AttributeFilter) {
        let key = self.param(filter.key.as_str());
        let attribute = format!("resource_attr({key})");
        let value = self.param(filter.value.as_str());
        let condition = match filter.op {
            Op::Exists => format!("{attribute} IS NOT NULL"),
            Op::Absent => format!("{attribute} IS NULL"),
            Op::Equal => format!("{attribute} = {value}"),
            Op::NotEqual => format!("{attribute} <> {value}"),
            op => match number(&filter.value) {
                Some(number) => {
                    let number = self.param(number);
                    format!("TRY_CAST({attribute} AS DOUBLE) {} {number}", op.sign())
                }
                None => format!("{attribute} {} {value}", op.sign()),
            },
        };
        self.and(condition);
    }

    fn exists(&mut self, places: &[Place], key: &str) -> String {
        let conditions: Vec<String> =
            places.iter().map(|place| format!("{} IS NOT NULL", self.column(place, key))).collect();
        any(&conditions)
    }

    fn compare(&mut self, places: &[Place], filter: &AttributeFilter, sign: &str) -> String {
        let text = filter.value.as_str();
        let number = number(text);
        let ordered = sign != "=";
        let mut conditions = Vec::new();
        for place in places {
            let value = match place.kind {
                // Numbers are compared by size, never as text.
                AttributeType::String if ordered && number.is_some() => None,
                AttributeType::String => Some(Param::from(text)),
                AttributeType::Int | AttributeType::Double => number.clone(),
                AttributeType::Bool if ordered => None,
                AttributeType::Bool => text.parse::<bool>().ok().map(Param::from),
                AttributeType::Other => None,
            };
            if let Some(value) = value {
                let column = self.column(place, &filter.key);
                let value = self.param(value);
                conditions.push(format!("{column} {sign} {value}"));
            }
        }
        any(&conditions)
    }

    fn column(&mut self, place: &Place, key: &str) -> String {
        match place.promoted {
            Some(column) => column.to_owned(),
            None => {
                let key = self.param(key);
                format!("{}[{key}]", place.kind.column())
            }
        }
    }
}

fn any(conditions: &[String]) -> String {
    match conditions {
        [] => "FALSE".to_owned(),
        conditions => format!("({})", conditions.join(" OR ")),
    }
}

fn number(text: &str) -> Option<Param> {
    let integer = text.parse::<i64>().ok().map(Param::from);
    integer.or_else(|| text.parse::<f64>().ok().filter(|n| n.is_finite()).map(Param::from))
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
    fn check(text: &str, known: &[(&str, char)], expected: &str) {
        let known = known.iter().map(|(k, t)| ((*k).to_owned(), *t)).collect();
        let mut conditions = Where::default();
        conditions.attribute(Table::Spans, &AttributeFilter::parse(text).unwrap(), Some(&known));
        let mut sql = conditions.text();
        for (i, value) in conditions.params.iter().enumerate().rev() {
            sql = sql.replace(&format!("${}", i + 1), &format!("{value:?}"));
        }
        assert_eq!(sql, expected);
    }

    #[test]
    fn a_filter_looks_only_where_the_key_was_seen() {
        check("k=1", &[], "WHERE FALSE");
        check("k=1", &[("k", 's')], "WHERE (attributes_string[Text(\"k\")] = Text(\"1\"))");
        check(
            "k=1",
            &[("k", 's'), ("k", 'd')],
            "WHERE (attributes_string[Text(\"k\")] = Text(\"1\") OR attributes_double[Text(\"k\")] = Int(1))",
        );
        check("http.route=/x", &[("http.route", 's')], "WHERE (http_route = Text(\"/x\"))");
        check("http.response.status_code>=500", &[], "WHERE (http_response_status_code >= Int(500))");
        check("k>x", &[("k", 'i'), ("k", 's')], "WHERE (attributes_string[Text(\"k\")] > Text(\"x\"))");
        check("!k", &[], "WHERE NOT (FALSE)");
        check(
            "k!=x",
            &[("k", 's')],
            "WHERE ((attributes_string[Text(\"k\")] IS NOT NULL) AND (attributes_string[Text(\"k\")] = Text(\"x\")) IS NOT TRUE)",
        );
    }
}
