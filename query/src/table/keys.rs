//! With which types an attribute's key occurs in a snapshot.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int32Type;
use hopline_model::{AttributeType, Layout, Table};
use hopline_storage::{DataFile, Snapshot};
use parking_lot::Mutex;

/// Answers, for one snapshot, with which types a key occurs. Each key is looked for once.
pub(crate) struct KeyTypes {
    snapshot: Arc<Snapshot>,
    known: Mutex<HashMap<String, Vec<AttributeType>>>,
}

impl std::fmt::Debug for KeyTypes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyTypes").field("known", &self.known).finish_non_exhaustive()
    }
}

impl KeyTypes {
    pub(crate) fn new(snapshot: Arc<Snapshot>) -> KeyTypes {
        KeyTypes { snapshot, known: Mutex::default() }
    }

    /// The types with which `key` may occur in the attributes of rows: of spans, logs or
    /// data points. Every type, if there is a file that has too many keys to list.
    pub(crate) fn types(&self, key: &str) -> Vec<AttributeType> {
        if let Some(types) = self.known.lock().get(key) {
            return types.clone();
        }
        let types = self.look_up(key);
        self.known.lock().insert(key.to_owned(), types.clone());
        types
    }

    fn look_up(&self, key: &str) -> Vec<AttributeType> {
        let mut missing = AttributeType::ALL.to_vec();
        for file in Table::SIGNALS.iter().flat_map(|table| self.snapshot.files(*table)) {
            missing.retain(|kind| !may_have(file, key, *kind));
        }
        for batch in Table::SIGNALS.iter().flat_map(|table| self.snapshot.hot(*table)) {
            if missing.is_empty() {
                break;
            }
            missing.retain(|kind| !has(batch, key, *kind));
        }
        AttributeType::ALL.into_iter().filter(|kind| !missing.contains(kind)).collect()
    }
}

/// Whether rows of `file` may have the attribute `key` with type `kind`.
fn may_have(file: &DataFile, key: &str, kind: AttributeType) -> bool {
    let Some(keys) = &file.attribute_keys else { return true };
    keys.binary_search_by(|(k, letter)| (k.as_str(), *letter).cmp(&(key, kind.letter()))).is_ok()
}

/// Whether rows of `file` may have the attribute `key`, with any type.
pub(super) fn may_have_key(file: &DataFile, key: &str) -> bool {
    AttributeType::ALL.iter().any(|kind| may_have(file, key, *kind))
}

/// Whether a layout of `batch` has the attribute `key` with type `kind`.
fn has(batch: &RecordBatch, key: &str, kind: AttributeType) -> bool {
    let entries = [true, false].map(|promoted| {
        let mut entry = String::new();
        Layout::push_text(&mut entry, kind, promoted, key);
        // Without the bracket, the entry is found anywhere in a layout; the quotes keep it whole.
        entry.split_off(1)
    });
    let layouts = batch.column_by_name("attribute_layout");
    let layouts =
        layouts.and_then(|c| c.as_dictionary_opt::<Int32Type>()).and_then(|d| d.values().as_string_opt::<i32>());
    match layouts {
        Some(layouts) => (0..layouts.len()).any(|i| entries.iter().any(|e| layouts.value(i).contains(e))),
        None => true,
    }
}
