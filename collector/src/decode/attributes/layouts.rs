//! The layouts met so far (see [`hopline_model::layout`]), so that the text of one is
//! built once.

use hashbrown::HashTable;
use hopline_model::{AttributeType, Layout};

use super::keys::Keys;
use crate::decode::column::{Dict, hash};

/// More layouts than this are forgotten when a batch is finished.
const LAYOUTS_MAX: usize = 1 << 14;
/// The same for the bytes of their texts.
const TEXT_MAX_BYTES: usize = 4 << 20;

/// One entry of a layout as a number: the key's number, the type, and whether the value
/// stands in the promoted column.
#[inline]
pub(super) fn code(key: u32, kind: AttributeType, promoted: bool) -> u32 {
    key << 4 | type_code(kind) << 1 | u32::from(promoted)
}

#[inline]
fn type_code(kind: AttributeType) -> u32 {
    match kind {
        AttributeType::String => 0,
        AttributeType::Int => 1,
        AttributeType::Double => 2,
        AttributeType::Bool => 3,
        AttributeType::Other => 4,
    }
}

#[derive(Debug)]
struct Known {
    codes: Box<[u32]>,
    text: Box<str>,
    // The key in the dictionary of batch `batch`.
    key: i32,
    batch: u64,
}

/// All layouts of one table.
#[derive(Debug, Default)]
pub(super) struct Layouts {
    known: Vec<Known>,
    table: HashTable<(u64, u32)>,
    last: usize,
    batch: u64,
    text_bytes: usize,
}

impl Layouts {
    /// The key in `dict` of the layout with these entries.
    #[inline]
    pub(super) fn key(&mut self, codes: &[u32], keys: &Keys, dict: &mut Dict) -> i32 {
        match self.known.get(self.last) {
            Some(last) if last.batch == self.batch && *last.codes == *codes => last.key,
            _ => self.find(codes, keys, dict),
        }
    }

    fn find(&mut self, codes: &[u32], keys: &Keys, dict: &mut Dict) -> i32 {
        let hash = hash(codes);
        let same = |(h, i): &(u64, u32)| *h == hash && self.known.get(*i as usize).is_some_and(|k| *k.codes == *codes);
        self.last = match self.table.find(hash, same) {
            Some((_, index)) => *index as usize,
            None => self.add(hash, codes, keys),
        };
        match self.known.get_mut(self.last) {
            Some(known) => {
                if known.batch != self.batch {
                    known.key = dict.key(known.text.as_bytes());
                    known.batch = self.batch;
                }
                known.key
            }
            None => 0,
        }
    }

    #[cold]
    fn add(&mut self, hash: u64, codes: &[u32], keys: &Keys) -> usize {
        let mut text = String::new();
        for code in codes {
            let kind = AttributeType::ALL.into_iter().find(|t| type_code(*t) == code >> 1 & 7);
            let kind = kind.unwrap_or(AttributeType::Other);
            Layout::push_text(&mut text, kind, code & 1 == 1, keys.get(code >> 4).name());
        }
        Layout::close(&mut text);
        self.text_bytes += text.len() + size_of_val(codes);
        let index = self.known.len();
        // No batch has this number: the key is looked up on first use.
        self.known.push(Known { codes: codes.into(), text: text.into(), key: 0, batch: u64::MAX });
        self.table.insert_unique(hash, (hash, index as u32), |(hash, _)| *hash);
        index
    }

    /// The dictionary is empty again.
    pub(super) fn next_batch(&mut self) {
        self.batch += 1;
    }

    /// Whether so many layouts are known that they should be forgotten.
    pub(super) fn is_large(&self) -> bool {
        self.known.len() > LAYOUTS_MAX || self.text_bytes > TEXT_MAX_BYTES
    }
}
