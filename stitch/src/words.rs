//! Columns of words that are being made.

use std::ops::Range;
use std::sync::Arc;

use ahash::AHashMap;
use arrow::array::{ArrayRef, DictionaryArray, Int32Builder, StringBuilder};
use arrow::datatypes::Int32Type;
use arrow::error::ArrowError;

/// A column of words, of which few are different and many stand in a row.
#[derive(Debug, Default)]
pub(crate) struct Words {
    keys: Int32Builder,
    values: StringBuilder,
    numbers: AHashMap<Box<str>, (i32, Range<usize>)>,
    /// The number of the last word, and where it stands.
    last: Option<(i32, Range<usize>)>,
}

impl Words {
    /// Appends a word.
    pub(crate) fn append_value(&mut self, word: &str) {
        // Rows that follow each other mostly have the same words.
        let last = self.last.as_ref().and_then(|(_, range)| self.values.values_slice().get(range.clone()));
        if last != Some(word.as_bytes()) {
            self.last = Some(self.number(word));
        }
        self.keys.append_option(self.last.as_ref().map(|(number, _)| *number));
    }

    /// The number of a word, and where it stands.
    fn number(&mut self, word: &str) -> (i32, Range<usize>) {
        if let Some(place) = self.numbers.get(word) {
            return place.clone();
        }
        // There are no more words than rows, which are far fewer than numbers.
        let number = i32::try_from(self.numbers.len()).unwrap_or(i32::MAX);
        let start = self.values.values_slice().len();
        self.values.append_value(word);
        let place = (number, start..start + word.len());
        self.numbers.insert(word.into(), place.clone());
        place
    }

    /// Appends a word, or null.
    pub(crate) fn append_option(&mut self, word: Option<&str>) {
        match word {
            Some(word) => self.append_value(word),
            None => self.keys.append_null(),
        }
    }

    /// The words so far; none are left.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        self.numbers.clear();
        self.last = None;
        let array = DictionaryArray::<Int32Type>::try_new(self.keys.finish(), Arc::new(self.values.finish()))?;
        Ok(Arc::new(array))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use arrow::array::{Array, AsArray};

    use super::*;

    #[test]
    fn equal_words_are_one() {
        let mut words = Words::default();
        for round in 0..2 {
            for word in [Some("a"), Some("a"), None, Some(""), Some("a"), Some("b"), Some("a")] {
                words.append_option(word);
            }
            let array = words.finish().unwrap();
            let array = array.as_dictionary::<Int32Type>();
            assert_eq!(array.values().len(), 3, "{round}");
            let texts = array.downcast_dict::<arrow::array::StringArray>().unwrap();
            let got: Vec<Option<&str>> = texts.into_iter().collect();
            assert_eq!(got, [Some("a"), Some("a"), None, Some(""), Some("a"), Some("b"), Some("a")], "{round}");
        }
        assert_eq!(words.finish().unwrap().len(), 0);
    }
}
