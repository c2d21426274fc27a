//! JSON however deep it is. OTLP allows attributes of many levels; `serde_json` gives up at 128.
//!
//! What is shown is read down to [`LEVELS`], and what lies deeper is kept as its text. What is
//! passed on is never read into a tree, only laid out.

use std::io::{self, Write};

use serde::Deserialize as _;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Levels that become a tree: fewer than `serde_json` takes.
const LEVELS: usize = 100;

/// Deeper lines are not indented further.
const INDENT_MAX: usize = 100;

/// The value of a text. Arrays and objects below [`LEVELS`] levels stay text.
pub(crate) fn parse(text: &[u8]) -> serde_json::Result<Value> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Level(LEVELS).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// One value, with this many levels left.
#[derive(Clone, Copy)]
struct Level(usize);

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.0 > 0 {
            return deserializer.deserialize_any(self);
        }
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        match raw.get().starts_with(['[', '{']) {
            true => Ok(Value::String(raw.get().to_owned())),
            false => serde_json::from_str(raw.get()).map_err(D::Error::custom),
        }
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(Level(self.0 - 1))? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = map.next_key()? {
            members.insert(name, map.next_value_seed(Level(self.0 - 1))?);
        }
        Ok(Value::Object(members))
    }
}

/// Lays a JSON text out on lines, and ends the last. With `escapes`, control characters that JSON allows
/// in strings are written as escapes: the text means the same, and moves no cursor.
pub(crate) fn write_pretty(text: &[u8], escapes: bool, out: &mut impl Write) -> io::Result<()> {
    serde_json::from_slice::<IgnoredAny>(text)?;
    let text = std::str::from_utf8(text).map_err(io::Error::other)?;
    let (mut out, mut depth, mut rest) = (io::BufWriter::new(out), 0_usize, text.trim_start());
    let line = |out: &mut io::BufWriter<_>, depth: usize| write!(out, "\n{:1$}", "", 2 * depth.min(INDENT_MAX));
    while let Some(first) = rest.chars().next() {
        let (part, after) = rest.split_at(token(rest, first));
        rest = after.trim_start();
        match first {
            '[' | '{' => {
                out.write_all(part.as_bytes())?;
                if !rest.starts_with([']', '}']) {
                    depth += 1;
                    line(&mut out, depth)?;
                } else if let Some((end, after)) = rest.split_at_checked(1) {
                    out.write_all(end.as_bytes())?;
                    rest = after.trim_start();
                }
            }
            ']' | '}' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth)?;
                out.write_all(part.as_bytes())?;
            }
            ',' => {
                out.write_all(b",")?;
                line(&mut out, depth)?;
            }
            ':' => out.write_all(b": ")?,
            _ if escapes => out.write_all(harmless(part).as_bytes())?,
            _ => out.write_all(part.as_bytes())?,
        }
    }
    out.write_all(b"\n")?;
    out.flush()
}

/// The length of the string, word, number or sign that `text` begins with.
fn token(text: &str, first: char) -> usize {
    let is_sign = |b: &u8| b"[]{},:".contains(b) || b.is_ascii_whitespace();
    if first != '"' {
        let word = text.bytes().position(|b| is_sign(&b)).unwrap_or(text.len());
        return word.max(first.len_utf8());
    }
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|b| {
        let is_end = b == b'"' && !escaped;
        escaped = b == b'\\' && !escaped;
        is_end
    });
    end.map_or(text.len(), |end| end + 2)
}

/// JSON text with its control characters as escapes; the ends of lines stay.
pub(crate) fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        // All of them are in the Basic Multilingual Plane: four digits are enough.
        match c {
            c if c != '\n' && crate::render::is_control(c) => shown.push_str(&format!("\\u{:04x}", c as u32)),
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pretty(text: &str, escapes: bool) -> String {
        let mut out = Vec::new();
        write_pretty(text.as_bytes(), escapes, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn no_text_is_too_deep() {
        let deep = format!("{{\"a\":{}1{}, \"b\": [1, -2, 0.5, null, \"x\"]}}", "[".repeat(9_000), "]".repeat(9_000));
        let value = parse(deep.as_bytes()).unwrap();
        assert_eq!(value.get("b"), Some(&serde_json::json!([1, -2, 0.5, null, "x"])));
        let mut inner = value.get("a").unwrap();
        let mut levels = 1;
        while let Some(next) = inner.get(0) {
            inner = next;
            levels += 1;
        }
        assert_eq!((levels, inner.as_str().map(str::len)), (LEVELS, Some(2 * (9_001 - LEVELS) + 1)));
        let lines = pretty(&deep, false);
        assert_eq!(lines.lines().count(), 2 + 2 * 9_000 + 1 + 7);
        assert!(parse(b"[1").is_err() && parse(b"[1] 2").is_err());
        assert!(write_pretty(b"[1", false, &mut Vec::new()).is_err());
    }

    #[test]
    fn laid_out_as_serde_json_does() {
        let text = r#" {"":"ü","a":[1,{"b\"]":"c,:[\\"},[],{}, true],"d" : {"e":null},"f":-1.5} "#;
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(pretty(text, false), serde_json::to_string_pretty(&value).unwrap() + "\n");
        assert_eq!(parse(text.as_bytes()).unwrap(), value);
    }

    #[test]
    fn control_characters_can_be_escaped() {
        let text = "\"a\u{7f}\u{9b}2J\u{202e}b\"";
        assert_eq!(pretty(text, true), "\"a\\u007f\\u009b2J\\u202eb\"\n");
        assert_eq!(pretty(text, false), format!("{text}\n"));
        let same: String = serde_json::from_str(&pretty(text, true)).unwrap();
        assert_eq!(same, "a\u{7f}\u{9b}2J\u{202e}b");
    }
}
