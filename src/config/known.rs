//! Which keys a settings type knows, found by asking the type itself.
//!
//! The derived `Deserialize` of a struct hands the names of its fields to the
//! deserializer. [`Probe`] is a deserializer that only listens: it walks down one path,
//! notes what the type asks for there, and breaks off. So the list of keys can never
//! differ from what is really read.

use std::cell::Cell;

use serde::de::value::{Error, StrDeserializer};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, Visitor};

/// What a key's value must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A section: its keys.
    Section(&'static [&'static str]),
    /// True or false.
    Bool,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// Text, also where it stands for an address or one of a few words.
    Text,
    /// A list.
    List,
    /// A table with keys of the operator's choice, or anything else.
    Any,
}

/// One key that may be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    /// The sections and the key, joined with dots.
    pub(crate) path: String,
    /// What its value must be.
    pub(crate) kind: Kind,
}

/// All keys of `T`, sections included, in the order of the fields, a section before its keys.
pub(crate) fn keys<T: DeserializeOwned>() -> Vec<Known> {
    let mut found = Vec::new();
    visit::<T>(&mut Vec::new(), &mut found);
    found
}

fn visit<T: DeserializeOwned>(path: &mut Vec<&'static str>, found: &mut Vec<Known>) {
    let heard = Cell::new(Kind::Any);
    // The probe always breaks off with an error: what it heard is the result.
    let _ = T::deserialize(Probe { path, heard: &heard });
    let kind = heard.get();
    if !path.is_empty() {
        found.push(Known { path: path.join("."), kind });
    }
    if let Kind::Section(fields) = kind {
        for field in fields {
            path.push(field);
            visit::<T>(path, found);
            path.pop();
        }
    }
}

struct Probe<'a> {
    path: &'a [&'static str],
    heard: &'a Cell<Kind>,
}

impl Probe<'_> {
    fn hear<T>(self, kind: Kind) -> Result<T, Error> {
        self.heard.set(kind);
        Err(Error::custom("heard"))
    }
}

macro_rules! hear {
    ($($method:ident => $kind:ident),* $(,)?) => {
        $(fn $method<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
            self.hear(Kind::$kind)
        })*
    };
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Error;

    hear! {
        deserialize_any => Any, deserialize_bool => Bool,
        deserialize_i8 => Int, deserialize_i16 => Int, deserialize_i32 => Int, deserialize_i64 => Int,
        deserialize_u8 => Int, deserialize_u16 => Int, deserialize_u32 => Int, deserialize_u64 => Int,
        deserialize_i128 => Int, deserialize_u128 => Int,
        deserialize_f32 => Float, deserialize_f64 => Float,
        deserialize_char => Text, deserialize_str => Text, deserialize_string => Text,
        deserialize_bytes => Any, deserialize_byte_buf => Any, deserialize_unit => Any,
        deserialize_seq => List, deserialize_map => Any,
        deserialize_identifier => Text, deserialize_ignored_any => Any,
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, _: V) -> Result<V::Value, Error> {
        self.hear(Kind::Any)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Error> {
        self.hear(Kind::List)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(self, _: &'static str, _: usize, _: V) -> Result<V::Value, Error> {
        self.hear(Kind::List)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        self.hear(Kind::Text)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.path.split_first() {
            Some((key, path)) => visitor.visit_map(Step { key: Some(key), probe: Some(Probe { path, ..self }) }),
            None => self.hear(Kind::Section(fields)),
        }
    }
}

/// A map with one entry, whose value is the rest of the way.
struct Step<'a> {
    key: Option<&'static str>,
    probe: Option<Probe<'a>>,
}

impl<'de> MapAccess<'de> for Step<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(key) = self.key.take() else { return Ok(None) };
        let key: StrDeserializer<'static, Error> = key.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        match self.probe.take() {
            Some(probe) => seed.deserialize(probe),
            None => Err(Error::custom("there is one value")),
        }
    }
}
