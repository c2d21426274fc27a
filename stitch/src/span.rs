//! A span as the rules of hops look at it.
//!
//! Borrowed from wherever the span stands: a row of columns, or a test. Attributes are
//! looked up by their canonical key; the places where older names stand are known to
//! whoever implements [`Attributes`] through [`hopline_model::promoted`], and names that
//! only the rules of one hop need are looked up by those rules.

use hopline_model::{SpanId, TraceId};

/// An attribute's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Text.
    Text(&'a str),
    /// A whole number.
    Int(i64),
    /// Any number.
    Double(f64),
    /// Yes or no.
    Bool(bool),
    /// An array, a map or bytes, as value text: JSON (`hopline_proto::value`).
    Json(&'a str),
}

/// Attributes, by key.
pub trait Attributes {
    /// The value of the attribute `key`, by its canonical name or an alias of
    /// [`hopline_model::promoted`].
    fn get(&self, key: &str) -> Option<Value<'_>>;

    /// The text of the attribute `key`, if it is a text that is not empty.
    fn text(&self, key: &str) -> Option<&str> {
        match self.get(key) {
            Some(Value::Text(text)) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// The first of `keys` that is a text that is not empty.
    fn first_text(&self, keys: &[&str]) -> Option<&str> {
        keys.iter().find_map(|key| self.text(key))
    }

    /// The attribute as text, also where it is a number.
    fn display(&self, key: &str) -> Option<String> {
        match self.get(key)? {
            Value::Text("") | Value::Json(_) => None,
            Value::Text(text) => Some(text.to_owned()),
            Value::Int(number) => Some(number.to_string()),
            Value::Double(number) => Some(number.to_string()),
            Value::Bool(truth) => Some(truth.to_string()),
        }
    }

    /// The attribute as a whole number, also where it is a text of digits.
    fn int(&self, key: &str) -> Option<i64> {
        match self.get(key)? {
            Value::Int(number) => Some(number),
            Value::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The attribute as a truth value.
    fn bool(&self, key: &str) -> Option<bool> {
        match self.get(key)? {
            Value::Bool(truth) => Some(truth),
            _ => None,
        }
    }

    /// The texts of an array of texts; a single text is an array of one.
    fn texts(&self, key: &str) -> Vec<String> {
        match self.get(key) {
            Some(Value::Text(text)) => vec![text.to_owned()],
            Some(Value::Json(json)) => match serde_json::from_str::<Vec<serde_json::Value>>(json) {
                Ok(items) => items.iter().filter_map(|i| i.as_str().map(str::to_owned)).collect(),
                Err(_) => Vec::new(),
            },
            _ => Vec::new(),
        }
    }
}

/// No attributes.
impl Attributes for () {
    fn get(&self, _: &str) -> Option<Value<'_>> {
        None
    }
}

/// Attributes as a list: the first of equal keys counts. Aliases are not known.
impl Attributes for [(&str, Value<'_>)] {
    fn get(&self, key: &str) -> Option<Value<'_>> {
        self.iter().find(|(k, _)| *k == key).map(|(_, value)| *value)
    }
}

/// OpenTelemetry's span kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpanKind {
    /// Work inside, or a kind that is not known.
    Internal,
    /// A request is answered.
    Server,
    /// A request is made.
    Client,
    /// A message is sent.
    Producer,
    /// A message is handled.
    Consumer,
}

impl SpanKind {
    /// The kind of a word of the column `kind`.
    pub fn from_name(name: &str) -> SpanKind {
        match name {
            "SERVER" => SpanKind::Server,
            "CLIENT" => SpanKind::Client,
            "PRODUCER" => SpanKind::Producer,
            "CONSUMER" => SpanKind::Consumer,
            _ => SpanKind::Internal,
        }
    }

    /// The word of the column `kind`.
    pub fn name(self) -> &'static str {
        match self {
            SpanKind::Internal => "INTERNAL",
            SpanKind::Server => "SERVER",
            SpanKind::Client => "CLIENT",
            SpanKind::Producer => "PRODUCER",
            SpanKind::Consumer => "CONSUMER",
        }
    }

    /// Whether spans of this kind send or call.
    pub fn is_out(self) -> bool {
        matches!(self, SpanKind::Client | SpanKind::Producer)
    }

    /// Whether spans of this kind receive or answer.
    pub fn is_in(self) -> bool {
        matches!(self, SpanKind::Server | SpanKind::Consumer)
    }
}

/// A span link.
#[derive(Clone, Copy)]
pub struct Link<'a> {
    /// The trace it names, if it names one.
    pub trace_id: Option<TraceId>,
    /// The span it names, if it names one.
    pub span_id: Option<SpanId>,
    /// The link's own attributes.
    pub attributes: &'a dyn Attributes,
}

/// A span.
#[derive(Clone, Copy)]
pub struct Span<'a> {
    /// Its trace.
    pub trace_id: TraceId,
    /// Its id.
    pub span_id: SpanId,
    /// The span above it.
    pub parent: Option<SpanId>,
    /// Its name.
    pub name: &'a str,
    /// Its kind.
    pub kind: SpanKind,
    /// Whether its status is ERROR.
    pub is_error: bool,
    /// Nanoseconds since 1970.
    pub start_ns: i64,
    /// Nanoseconds since 1970.
    pub end_ns: i64,
    /// `service.name`
    pub service: &'a str,
    /// The function's name, if it runs in one.
    pub function: Option<&'a str>,
    /// Its attributes.
    pub attributes: &'a dyn Attributes,
    /// Attributes of its resource.
    pub resource: &'a dyn Attributes,
    /// Its links.
    pub links: &'a [Link<'a>],
}
