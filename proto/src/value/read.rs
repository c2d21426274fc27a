//! Value text read piece by piece, without building a tree.

use super::from_text::base64_decode;
use crate::json::tokens::{Kind, Str, Syntax, Tokens};
use crate::wire;
use std::borrow::Cow;

/// A text that this module did not write, or that was damaged since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("value text is damaged at byte {offset}: {message}")]
pub struct TextError {
    /// Offset in the text.
    pub offset: usize,
    /// What is wrong there.
    pub message: &'static str,
}

impl From<Syntax> for TextError {
    fn from(Syntax { offset, message }: Syntax) -> Self {
        TextError { offset, message }
    }
}

/// One value, with what it encloses still as text.
#[derive(Debug, Clone, PartialEq)]
pub enum ValueRef<'a> {
    /// An attribute without value.
    Empty,
    /// `boolValue`.
    Bool(bool),
    /// `intValue`.
    Int(i64),
    /// `doubleValue`.
    Double(f64),
    /// `stringValue`.
    String(Cow<'a, str>),
    /// `bytesValue`.
    Bytes(Vec<u8>),
    /// `arrayValue`: give it to [`elements`].
    Array(&'a str),
    /// `kvlistValue`: give it to [`members`].
    Map(&'a str),
}

impl<'a> ValueRef<'a> {
    /// Reads a value text. What it encloses is checked to be JSON, no more.
    pub fn parse(text: &'a str) -> Result<Self, TextError> {
        let mut tokens = Tokens::new(text.as_bytes(), 0);
        let value = match tokens.peek()? {
            Kind::Null => {
                tokens.literal(Kind::Null)?;
                ValueRef::Empty
            }
            found @ (Kind::True | Kind::False) => {
                tokens.literal(found)?;
                ValueRef::Bool(found == Kind::True)
            }
            Kind::Number => match number(&mut tokens)? {
                Number::Int(value) => ValueRef::Int(value),
                Number::Double(value) => ValueRef::Double(value),
            },
            Kind::String => ValueRef::String(decoded(tokens.string()?)),
            Kind::Array => ValueRef::Array(raw(text, &mut tokens)?),
            Kind::Object => object(text, &mut tokens)?,
        };
        tokens.finish()?;
        Ok(value)
    }
}

/// A map, or what an object with one key starting with `$` stands for.
fn object<'a>(text: &'a str, tokens: &mut Tokens<'a>) -> Result<ValueRef<'a>, TextError> {
    let start = tokens.pos();
    let mut inner = tokens.clone();
    inner.enter();
    let key = inner.key(true)?.map(decoded);
    let Some(escape) = key.as_deref().filter(|key| key.starts_with('$')) else {
        return Ok(ValueRef::Map(raw(text, tokens)?));
    };
    let value = match (escape, inner.peek()?) {
        ("$map", Kind::Object) => ValueRef::Map(raw(text, &mut inner)?),
        ("$bytes", Kind::String) => ValueRef::Bytes(bytes(&mut inner)?),
        ("$double", Kind::String) => ValueRef::Double(special_double(&mut inner)?),
        _ => return Err(TextError { offset: start, message: "unknown escape" }),
    };
    end_escape(&mut inner)?;
    *tokens = inner;
    Ok(value)
}

/// An escape has a single member.
pub(super) fn end_escape(tokens: &mut Tokens<'_>) -> Result<(), TextError> {
    let offset = tokens.pos();
    match tokens.key(false)? {
        None => Ok(()),
        Some(_) => Err(TextError { offset, message: "an escape has one member" }),
    }
}

/// A number of value text: a double has `.` or an exponent, an integer has neither.
pub(super) enum Number {
    Int(i64),
    Double(f64),
}

pub(super) fn number(tokens: &mut Tokens<'_>) -> Result<Number, TextError> {
    let offset = tokens.pos();
    let raw = tokens.number()?;
    let text = std::str::from_utf8(raw).unwrap_or_default();
    let number = if raw.iter().any(|b| matches!(b, b'.' | b'e' | b'E')) {
        text.parse().ok().filter(|value: &f64| value.is_finite()).map(Number::Double)
    } else {
        text.parse().ok().map(Number::Int)
    };
    number.ok_or(TextError { offset, message: "number is out of range" })
}

/// The string of `{"$double":"…"}`.
pub(super) fn special_double(tokens: &mut Tokens<'_>) -> Result<f64, TextError> {
    let offset = tokens.pos();
    match tokens.string()?.raw {
        b"NaN" => Ok(f64::NAN),
        b"Infinity" => Ok(f64::INFINITY),
        b"-Infinity" => Ok(f64::NEG_INFINITY),
        _ => Err(TextError { offset, message: "unknown double" }),
    }
}

/// The string of `{"$bytes":"…"}`, decoded.
pub(super) fn bytes(tokens: &mut Tokens<'_>) -> Result<Vec<u8>, TextError> {
    let offset = tokens.pos();
    base64_decode(&tokens.string()?.bytes()).ok_or(TextError { offset, message: "malformed base64" })
}

/// A string without its escapes. The text is UTF-8; only an unpaired surrogate, which
/// this module never writes, would need repair.
pub(super) fn decoded(string: Str<'_>) -> Cow<'_, str> {
    match string.bytes() {
        Cow::Borrowed(bytes) => wire::text(bytes).0,
        Cow::Owned(bytes) => Cow::Owned(wire::text(&bytes).0.into_owned()),
    }
}

/// Takes the next value as text.
fn raw<'a>(text: &'a str, tokens: &mut Tokens<'a>) -> Result<&'a str, TextError> {
    tokens.peek()?;
    let start = tokens.pos();
    tokens.skip()?;
    // Values begin and end with ASCII.
    Ok(text.get(start..tokens.pos()).unwrap_or_default())
}

/// The members of an object: key and value text. Ends after the first error.
#[derive(Debug, Clone)]
pub struct Members<'a> {
    text: &'a str,
    tokens: Tokens<'a>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unopened,
    First,
    More,
    Ended,
}

/// The members of `object`, in order, duplicates included.
pub fn members(object: &str) -> Members<'_> {
    Members { text: object, tokens: Tokens::new(object.as_bytes(), 0), state: State::Unopened }
}

impl<'a> Members<'a> {
    fn advance(&mut self) -> Result<Option<(Str<'a>, &'a str)>, TextError> {
        if self.state == State::Unopened {
            if self.tokens.peek()? != Kind::Object {
                return Err(TextError { offset: self.tokens.pos(), message: "expected an object" });
            }
            self.tokens.enter();
            self.state = State::First;
        }
        let first = std::mem::replace(&mut self.state, State::More) == State::First;
        let Some(key) = self.tokens.key(first)? else {
            self.tokens.finish()?;
            return Ok(None);
        };
        Ok(Some((key, raw(self.text, &mut self.tokens)?)))
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Result<(Cow<'a, str>, &'a str), TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.state == State::Ended {
            return None;
        }
        let next = self.advance().map(|member| member.map(|(key, value)| (decoded(key), value)));
        if !matches!(next, Ok(Some(_))) {
            self.state = State::Ended;
        }
        next.transpose()
    }
}

/// The elements of an array, as value text. Ends after the first error.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    text: &'a str,
    tokens: Tokens<'a>,
    state: State,
}

/// The elements of `array`, in order.
pub fn elements(array: &str) -> Elements<'_> {
    Elements { text: array, tokens: Tokens::new(array.as_bytes(), 0), state: State::Unopened }
}

impl<'a> Elements<'a> {
    fn advance(&mut self) -> Result<Option<&'a str>, TextError> {
        if self.state == State::Unopened {
            if self.tokens.peek()? != Kind::Array {
                return Err(TextError { offset: self.tokens.pos(), message: "expected an array" });
            }
            self.tokens.enter();
            self.state = State::First;
        }
        let first = std::mem::replace(&mut self.state, State::More) == State::First;
        if !self.tokens.element(first)? {
            self.tokens.finish()?;
            return Ok(None);
        }
        Ok(Some(raw(self.text, &mut self.tokens)?))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<&'a str, TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.state == State::Ended {
            return None;
        }
        let next = self.advance();
        if !matches!(next, Ok(Some(_))) {
            self.state = State::Ended;
        }
        next.transpose()
    }
}

/// The text of the value under `key` in an object: the first one, if there are more.
pub fn lookup<'a>(object: &'a str, key: &str) -> Option<&'a str> {
    members(object).map_while(Result::ok).find(|(found, _)| found == key).map(|(_, value)| value)
}

/// The string that a value text stands for, if it is one.
pub fn unquote(text: &str) -> Option<Cow<'_, str>> {
    let mut tokens = Tokens::new(text.as_bytes(), 0);
    match tokens.peek() {
        Ok(Kind::String) => tokens.string().ok().filter(|_| tokens.finish().is_ok()).map(decoded),
        _ => None,
    }
}

/// The schema URL in a resource's or scope's text; empty if it has none.
pub fn schema_url(text: &str) -> Cow<'_, str> {
    lookup(text, "schema_url").and_then(unquote).unwrap_or_default()
}
