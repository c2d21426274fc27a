//! What is known of one Parquet file without opening it.

use std::collections::BTreeSet;

use hopline_model::{Layout, Table};
use object_store::path::Path;
use serde::{Deserialize, Serialize};

/// More services than this are not listed.
pub(crate) const SERVICES_MAX: usize = 1_000;
/// More operations than this are not listed.
pub(crate) const OPERATIONS_MAX: usize = 2_000;
/// More attribute keys than this are not listed.
pub(crate) const KEYS_MAX: usize = 2_000;
/// More tenants than this are not listed.
pub(crate) const TENANTS_MAX: usize = 100;

/// One Parquet file of a table, as the manifests describe it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataFile {
    /// Its table.
    pub table: Table,
    /// Where it is in the object store.
    #[serde(with = "path_text")]
    pub path: Path,
    /// Rows in it.
    pub rows: u64,
    /// Its size.
    pub size_bytes: u64,
    /// Smallest value of the table's time column.
    pub min_time: i64,
    /// Largest value of the table's time column.
    pub max_time: i64,
    /// When the newest of its rows were written to disk, by the server's clock.
    pub created_at: i64,
    /// How often its rows were merged: 0 is straight from memory.
    pub level: u8,
    /// CRC32C of the whole file.
    pub crc32c: u32,
    /// Version of the table's columns.
    pub schema_version: u32,
    /// The tenants in it. `None` (here and below): too many to list.
    pub tenants: Option<Vec<String>>,
    /// The services in it, of all tenants together.
    pub services: Option<Vec<String>>,
    /// Spans: the (service, name, kind) in it. Metrics: (service, name, type). Logs: empty.
    pub operations: Option<Vec<(String, String, String)>>,
    /// Attribute keys of rows in it, each with the letter of its type ([`hopline_model::AttributeType::letter`]).
    pub attribute_keys: Option<Vec<(String, char)>>,
}

impl DataFile {
    /// Whether it may have rows of a tenant from the first time to the last.
    pub(crate) fn may_have(&self, tenant: &str, first: i64, last: i64) -> bool {
        let is_of_tenant = self.tenants.as_ref().is_none_or(|tenants| tenants.iter().any(|t| t == tenant));
        is_of_tenant && self.min_time <= last && first <= self.max_time
    }
}

/// Sets of names collected over the rows of a file, with their limits.
#[derive(Debug, Default, Clone)]
pub(crate) struct Names {
    pub(crate) tenants: Limited<String>,
    pub(crate) services: Limited<String>,
    pub(crate) operations: Limited<(String, String, String)>,
    pub(crate) attribute_keys: Limited<(String, char)>,
}

impl Names {
    /// Adds the keys in a layout's text.
    pub(crate) fn add_layout(&mut self, text: &str) {
        for entry in Layout::parse(text).unwrap_or_default().0 {
            self.attribute_keys.add((entry.key, entry.kind.letter()), KEYS_MAX);
        }
    }

    /// The names of all `files` together.
    pub(crate) fn of_files<'a>(files: impl IntoIterator<Item = &'a DataFile>) -> Names {
        let mut names = Names::default();
        for file in files {
            names.tenants.add_all(file.tenants.as_ref(), TENANTS_MAX);
            names.services.add_all(file.services.as_ref(), SERVICES_MAX);
            names.operations.add_all(file.operations.as_ref(), OPERATIONS_MAX);
            names.attribute_keys.add_all(file.attribute_keys.as_ref(), KEYS_MAX);
        }
        names
    }
}

/// A set that gives up when it grows too large.
#[derive(Debug, Clone)]
pub(crate) struct Limited<T>(Option<BTreeSet<T>>);

impl<T> Default for Limited<T> {
    fn default() -> Self {
        Self(Some(BTreeSet::new()))
    }
}

impl<T: Ord + Clone> Limited<T> {
    pub(crate) fn add(&mut self, value: T, max: usize) {
        if let Some(set) = &mut self.0 {
            set.insert(value);
            if set.len() > max {
                self.0 = None;
            }
        }
    }

    fn add_all(&mut self, values: Option<&Vec<T>>, max: usize) {
        match values {
            Some(values) => values.iter().for_each(|v| self.add(v.clone(), max)),
            None => self.0 = None,
        }
    }

    pub(crate) fn into_list(self) -> Option<Vec<T>> {
        self.0.map(|set| set.into_iter().collect())
    }
}

mod path_text {
    use object_store::path::Path;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(path.as_ref())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Path, D::Error> {
        Path::parse(String::deserialize(from)?).map_err(D::Error::custom)
    }
}
