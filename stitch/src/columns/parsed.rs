//! Attributes that stood in one text, such as those of a resource or of a link.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use hopline_proto::value::{ValueRef, lookup, members};

use super::{ColumnsError, Known, Text, aliases, canonical};
use crate::span::{Attributes, Value};

/// Attributes that stood in one text.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pairs: Vec<(String, Owned)>,
    /// The places of the pairs by their names, of equal names the first one first; empty where there are [`FEW`].
    by_name: Vec<usize>,
}

/// So many are looked through one by one. Of more, as a client may send, each row of a resource would go through all.
const FEW: usize = 32;

#[derive(Debug, Clone)]
enum Owned {
    Text(String),
    Int(i64),
    Double(f64),
    Bool(bool),
    Json(String),
}

impl Parsed {
    /// Reads an object of attributes, as value text.
    pub(crate) fn attributes(object: &str) -> Parsed {
        let value = |text: &str| {
            Some(match ValueRef::parse(text).ok()? {
                ValueRef::Empty => return None,
                ValueRef::Bool(truth) => Owned::Bool(truth),
                ValueRef::Int(number) => Owned::Int(number),
                ValueRef::Double(number) => Owned::Double(number),
                ValueRef::String(text) => Owned::Text(text.into_owned()),
                ValueRef::Bytes(_) | ValueRef::Array(_) | ValueRef::Map(_) => Owned::Json(text.to_owned()),
            })
        };
        let pairs = members(object).filter_map(Result::ok);
        let pairs = pairs.filter_map(|(key, text)| Some((key.into_owned(), value(text)?))).collect();
        let mut parsed = Parsed { pairs, by_name: Vec::new() };
        parsed.name_aliases();
        if parsed.pairs.len() > FEW {
            let mut by_name: Vec<usize> = (0..parsed.pairs.len()).collect();
            by_name.sort_by_key(|at| parsed.name(*at));
            parsed.by_name = by_name;
        }
        parsed
    }

    /// Gives what stands under an alias its canonical name, unless something else has that.
    ///
    /// One pass, because a client may send as many aliases as fit into a request.
    fn name_aliases(&mut self) {
        // Of each canonical name, the rank of the best alias and the first place where that stands.
        let mut best: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for (at, (key, _)) in self.pairs.iter().enumerate() {
            let Some(canonical) = canonical(key) else { continue };
            let Some(rank) = aliases(canonical).iter().position(|alias| alias == key) else { continue };
            let found = best.entry(canonical).or_insert((rank, at));
            *found = (*found).min((rank, at));
        }
        if best.is_empty() {
            return;
        }
        for (key, _) in &self.pairs {
            best.remove(key.as_str());
        }
        let value = |at: usize| self.pairs.get(at).map(|(_, value)| value.clone());
        let named: Vec<(String, Owned)> =
            best.into_iter().filter_map(|(name, (_, at))| Some((name.to_owned(), value(at)?))).collect();
        self.pairs.extend(named);
    }

    /// Reads the text of a resource.
    pub(crate) fn resource(text: &str) -> Parsed {
        lookup(text, "attributes").map(Parsed::attributes).unwrap_or_default()
    }

    fn name(&self, at: usize) -> &str {
        self.pairs.get(at).map_or("", |(name, _)| name)
    }

    fn find(&self, key: &str) -> Option<Value<'_>> {
        let found = if self.by_name.is_empty() {
            self.pairs.iter().find(|(name, _)| name == key)
        } else {
            let place = self.by_name.partition_point(|at| self.name(*at) < key);
            self.by_name.get(place).and_then(|at| self.pairs.get(*at)).filter(|(name, _)| name == key)
        };
        found.map(|(_, value)| match value {
            Owned::Text(text) => Value::Text(text),
            Owned::Int(number) => Value::Int(*number),
            Owned::Double(number) => Value::Double(*number),
            Owned::Bool(truth) => Value::Bool(*truth),
            Owned::Json(text) => Value::Json(text),
        })
    }
}

impl Attributes for Parsed {
    fn get(&self, key: &str) -> Option<Value<'_>> {
        self.find(key)
    }
}

/// The resources of a batch's rows, each read once, however long its text is.
pub(crate) struct Resources<'a> {
    texts: Text<'a>,
    /// By the number of the text.
    parsed: Vec<OnceCell<Arc<Parsed>>>,
    nothing: Parsed,
    known: &'a Known,
}

impl<'a> Resources<'a> {
    pub(crate) fn of(batch: &'a RecordBatch, known: &'a Known) -> Result<Self, ColumnsError> {
        let texts = Text::of(batch, "resource")?;
        let parsed = (0..texts.words()).map(|_| OnceCell::new()).collect();
        Ok(Resources { texts, parsed, nothing: Parsed::default(), known })
    }

    /// The attributes of a row's resource.
    pub(crate) fn get(&self, row: usize) -> &Parsed {
        let Some(key) = self.texts.key(row) else { return &self.nothing };
        let parse = || self.known.resource(self.texts.word(key).unwrap_or_default());
        self.parsed.get(key).map_or(&self.nothing, |cell| cell.get_or_init(parse))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use arrow::array::{ArrayRef, DictionaryArray, Int32Array, StringArray};
    use arrow::datatypes::Int32Type;
    use hopline_model::promoted;

    use super::*;

    /// Reads `names`, each with its place as its value.
    fn read<'n>(names: impl IntoIterator<Item = &'n str>) -> Parsed {
        let pairs: Vec<String> =
            names.into_iter().enumerate().map(|(at, name)| format!("\"{name}\":\"{at}\"")).collect();
        Parsed::attributes(&format!("{{{}}}", pairs.join(",")))
    }

    #[test]
    fn an_alias_gives_its_canonical_name() {
        for p in promoted::PROMOTED.iter().filter(|p| !p.aliases.is_empty()) {
            // Whichever comes first in the text, the best alias counts.
            let worst_first: Vec<&str> = p.aliases.iter().rev().copied().collect();
            let best = (worst_first.len() - 1).to_string();
            assert_eq!(read(worst_first.iter().copied()).text(p.key), Some(best.as_str()), "{}", p.key);
            assert_eq!(read(p.aliases.iter().copied()).text(p.key), Some("0"), "{}", p.key);
            for alias in p.aliases {
                // Of equal ones the first.
                assert_eq!(read(["a", alias, alias]).text(p.key), Some("1"), "{alias}");
                assert_eq!(read([alias, "a", p.key]).text(p.key), Some("2"), "{alias}");
                assert_eq!(read([p.key, alias]).text(p.key), Some("0"), "{alias}");
            }
        }
        assert_eq!(read(["a", "b"]).pairs.len(), 2);
    }

    /// By each with each, this would take hours.
    #[test]
    fn many_aliases_are_read_once() {
        let alias = promoted::PROMOTED.iter().find_map(|p| p.aliases.first().map(|alias| (p.key, *alias)));
        let (key, alias) = alias.unwrap();
        let parsed = read(std::iter::repeat_n(alias, 1_000_000));
        assert_eq!((parsed.pairs.len(), parsed.text(key)), (1_000_001, Some("0")));
    }

    #[test]
    fn many_attributes_are_found_like_few() {
        let names: Vec<String> = (0..10_000).map(|n| format!("k{}", n % 5_000)).collect();
        let parsed = read(names.iter().map(String::as_str));
        // Of equal ones the first.
        for n in [0, 1, 17, 4_999] {
            assert_eq!(parsed.text(&format!("k{n}")), Some(n.to_string().as_str()));
        }
        assert_eq!(
            (parsed.text(""), parsed.text("k"), parsed.text("k5000"), parsed.text("l")),
            (None, None, None, None)
        );
    }

    #[test]
    fn a_resource_is_read_once_a_batch_however_long() {
        let long = format!(r#"{{"attributes":{{"faas.name":"orders","note":"{}"}}}}"#, "x".repeat(100_000));
        let keys = Int32Array::from(vec![Some(0), Some(1), Some(0), None]);
        let texts: ArrayRef = Arc::new(StringArray::from(vec![long.as_str(), "{}"]));
        let column: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::try_new(keys, texts).unwrap());
        let batch = RecordBatch::try_from_iter_with_nullable([("resource", column, true)]).unwrap();
        let known = Known::default();
        let resources = Resources::of(&batch, &known).unwrap();
        assert!(std::ptr::eq(resources.get(0), resources.get(2)));
        assert_eq!(resources.get(2).text("faas.name"), Some("orders"));
        assert_eq!((resources.get(1).text("faas.name"), resources.get(3).text("faas.name")), (None, None));
    }
}
