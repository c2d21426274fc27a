//! Dictionary-encoded text.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use ahash::RandomState;
use arrow::array::{ArrayRef, DictionaryArray, Int32Array, StringArray};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::Int32Type;
use arrow::error::ArrowError;
use hashbrown::HashTable;
use hopline_proto::wire;

use super::{Text, Values, take};

/// A hash table with more room than this and little in it is given back.
const TABLE_KEPT: usize = 1024;

/// The hash of all tables of this room: seeded once a process, so that nobody can
/// prepare keys that collide.
#[inline]
pub(in crate::decode) fn hash<T: std::hash::Hash + ?Sized>(value: &T) -> u64 {
    static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    STATE.hash_one(value)
}

/// A column of text in which few different words occur.
#[derive(Debug, Default)]
pub(in crate::decode) struct Dict {
    keys: Vec<i32>,
    words: Text,
    // Hash and key of each word.
    table: HashTable<(u64, i32)>,
    last: i32,
}

impl Dict {
    /// Appends `word`, with U+FFFD in place of what is not UTF-8.
    #[inline]
    pub(in crate::decode) fn push(&mut self, word: &[u8]) {
        let key = self.key(word);
        self.keys.push(key);
    }

    /// Appends the word of `key`.
    #[inline]
    pub(in crate::decode) fn push_key(&mut self, key: i32) {
        self.keys.push(key);
    }

    /// The key of `word`, which is good until the next `finish`.
    #[inline]
    pub(in crate::decode) fn key(&mut self, word: &[u8]) -> i32 {
        if self.words.len() != 0 && self.words.get(self.last as usize) == word {
            return self.last;
        }
        let hash = hash(word);
        let found = self.table.find(hash, |(h, key)| *h == hash && self.words.get(*key as usize) == word);
        self.last = match found {
            Some((_, key)) => *key,
            None => self.add(hash, word),
        };
        self.last
    }

    /// The newest value.
    pub(in crate::decode) fn newest(&self) -> &[u8] {
        self.keys.last().map_or(&[], |key| self.words.get(*key as usize))
    }

    #[inline(never)]
    fn add(&mut self, hash: u64, word: &[u8]) -> i32 {
        if let (text, true) = wire::text(word) {
            // What was looked for is not what is kept: look for that.
            return self.key(text.as_bytes());
        }
        let key = self.words.len() as i32;
        self.words.push(word);
        self.table.insert_unique(hash, (hash, key), |(hash, _)| *hash);
        key
    }
}

/// A column of the words for an enumeration's numbers.
#[derive(Debug)]
pub(in crate::decode) struct Enumeration {
    dict: Dict,
    name: fn(i32) -> Cow<'static, str>,
    // The dictionary's keys of the first numbers, as far as they were needed.
    keys: [Option<i32>; 8],
}

impl Enumeration {
    /// An empty column of the words that `name` gives.
    pub(in crate::decode) fn new(name: fn(i32) -> Cow<'static, str>) -> Self {
        Enumeration { dict: Dict::default(), name, keys: [None; 8] }
    }

    #[inline]
    pub(in crate::decode) fn push(&mut self, number: i32) {
        let known = usize::try_from(number).ok().and_then(|i| self.keys.get_mut(i));
        let key = match known {
            Some(Some(key)) => *key,
            Some(unknown) => *unknown.insert(self.dict.key((self.name)(number).as_bytes())),
            None => self.dict.key((self.name)(number).as_bytes()),
        };
        self.dict.push_key(key);
    }

    pub(in crate::decode) fn truncate(&mut self, len: usize) {
        self.dict.truncate(len);
    }

    pub(in crate::decode) fn bytes(&self) -> usize {
        self.dict.bytes()
    }

    pub(in crate::decode) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        self.keys = [None; 8];
        self.dict.finish(None)
    }
}

impl Values for Dict {
    fn len(&self) -> usize {
        self.keys.len()
    }

    fn pad(&mut self, len: usize) {
        self.keys.resize(len, 0);
    }

    // The words stay: they do no harm.
    fn truncate(&mut self, len: usize) {
        self.keys.truncate(len);
    }

    fn bytes(&self) -> usize {
        self.keys.len() * size_of::<i32>() + self.words.bytes() + self.table.len() * 24
    }

    fn full(&self) -> bool {
        self.words.full()
    }

    fn finish(&mut self, nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
        let keys = Int32Array::try_new(ScalarBuffer::from(take(&mut self.keys)), nulls)?;
        let words = if self.words.len() == 0 { Arc::new(StringArray::new_null(0)) } else { self.words.finish(None)? };
        if self.table.capacity() > TABLE_KEPT && self.table.len() < self.table.capacity() / 8 {
            self.table = HashTable::new();
        } else if !self.table.is_empty() {
            self.table.clear();
        }
        self.last = 0;
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, words)?))
    }
}
