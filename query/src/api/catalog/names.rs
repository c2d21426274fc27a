//! Names that are kept beside each file, together with those of the rows in memory.
//!
//! Each function gives nothing if a file has too many names to keep them, or rows of
//! other tenants: then the `scan_` function finds them with a query.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int32Type;
use hopline_model::{Layout, Table};
use hopline_storage::DataFile;

use crate::api::answer;
use crate::api::filter::{KnownKeys, Where};
use crate::api::params::TimeRange;
use crate::engine::Session;
use crate::error::Error;
use crate::otlp::columns::Text;

/// (service, name, kind)
pub(super) type OperationName = (String, String, String);

/// The keys and types of attributes that rows of a table have.
#[derive(Debug, Default)]
pub(in crate::api) struct Keys(Option<KnownKeys>);

impl Keys {
    /// The keys in all rows that `session` sees, of any tenant; unknown if a file has too many.
    pub(in crate::api) fn of(session: &Session, table: Table) -> Self {
        let mut known = KnownKeys::new();
        for file in session.snapshot().files(table) {
            match &file.attribute_keys {
                Some(keys) => known.extend(keys.iter().cloned()),
                None => return Self(None),
            }
        }
        add_hot_keys(session.snapshot().hot(table), &mut known);
        Self(Some(known))
    }

    /// The keys, if they are known.
    pub(in crate::api) fn known(&self) -> Option<&KnownKeys> {
        self.0.as_ref()
    }
}

/// The keys of `tenant`'s rows.
pub(super) fn keys(session: &Session, table: Table, range: TimeRange) -> Option<KnownKeys> {
    let mut known = KnownKeys::new();
    for file in files(session, table, range)? {
        known.extend(file.attribute_keys.as_ref()?.iter().cloned());
    }
    add_hot_keys(&own_rows(session, table)?, &mut known);
    Some(known)
}

fn add_hot_keys(batches: &[Arc<RecordBatch>], known: &mut KnownKeys) {
    let mut seen: HashSet<String> = HashSet::new();
    for batch in batches {
        for text in distinct(batch, "attribute_layout") {
            if seen.insert(text.clone()) {
                let entries = Layout::parse(&text).unwrap_or_default().0;
                known.extend(entries.into_iter().map(|entry| (entry.key, entry.kind.letter())));
            }
        }
    }
}

/// The services of a table.
pub(super) fn services(session: &Session, table: Table, range: TimeRange) -> Option<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for file in files(session, table, range)? {
        names.extend(file.services.as_ref()?.iter().cloned());
    }
    for batch in own_rows(session, table)? {
        names.extend(distinct(&batch, "service"));
    }
    Some(names)
}

/// The operations of one service, or of all.
pub(super) fn operations(
    session: &Session,
    service: Option<&str>,
    range: TimeRange,
) -> Option<BTreeSet<OperationName>> {
    let mut names = BTreeSet::new();
    for file in files(session, Table::Spans, range)? {
        names.extend(file.operations.as_ref()?.iter().cloned());
    }
    for batch in own_rows(session, Table::Spans)? {
        let columns = ["service", "name", "kind"].map(|name| Text::of(&batch, name));
        let [Ok(service), Ok(name), Ok(kind)] = &columns else { return None };
        let mut seen = HashSet::new();
        for row in 0..batch.num_rows() {
            let keys = (service.key(row), name.key(row), kind.key(row));
            if keys.0.is_none() || seen.insert(keys) {
                let [service, name, kind] = [service, name, kind].map(|c| c.or_empty(row).to_owned());
                names.insert((service, name, kind));
            }
        }
    }
    if let Some(service) = service {
        names.retain(|(s, _, _)| s == service);
    }
    Some(names)
}

/// The files that overlap a range of times, if all their rows are of the session's tenant.
fn files(session: &Session, table: Table, range: TimeRange) -> Option<Vec<Arc<DataFile>>> {
    let overlaps = |file: &&Arc<DataFile>| {
        range.start.is_none_or(|start| file.max_time >= start) && range.end.is_none_or(|end| file.min_time < end)
    };
    let files: Vec<_> = session.snapshot().files(table).iter().filter(overlaps).cloned().collect();
    let own = |file: &Arc<DataFile>| file.tenants.as_ref().is_some_and(|t| t.iter().all(|t| t == session.tenant()));
    files.iter().all(own).then_some(files)
}

/// The rows in memory, if all are of the session's tenant. Those of other times are there too: they are few.
fn own_rows(session: &Session, table: Table) -> Option<Vec<Arc<RecordBatch>>> {
    let hot = session.snapshot().hot(table);
    let own = hot.iter().all(|batch| distinct(batch, "tenant").iter().all(|tenant| tenant == session.tenant()));
    own.then(|| hot.to_vec())
}

/// The different texts in a column.
fn distinct(batch: &RecordBatch, name: &str) -> HashSet<String> {
    let Some(array) = batch.column_by_name(name) else { return HashSet::new() };
    if let Some(dictionary) = array.as_dictionary_opt::<Int32Type>()
        && let Some(values) = dictionary.values().as_string_opt::<i32>()
    {
        let used: HashSet<i32> = dictionary.keys().iter().flatten().collect();
        let used = used.into_iter().filter_map(|key| usize::try_from(key).ok());
        return used.filter(|key| *key < values.len()).map(|key| values.value(key).to_owned()).collect();
    }
    match Text::from_array(array, name) {
        Ok(text) => (0..batch.num_rows()).filter_map(|row| text.get(row)).map(str::to_owned).collect(),
        Err(_) => HashSet::new(),
    }
}

pub(super) async fn scan_services(
    session: &Session,
    table: Table,
    range: TimeRange,
) -> Result<BTreeSet<String>, Error> {
    let mut conditions = Where::default();
    conditions.range(table.time_column(), range);
    let sql = format!("SELECT DISTINCT service FROM {table} {}", conditions.text());
    let mut names = BTreeSet::new();
    for batch in answer::rows(session, &sql, conditions.params()).await? {
        names.extend(distinct(&batch, "service"));
    }
    Ok(names)
}

pub(super) async fn scan_operations(
    session: &Session,
    service: Option<&str>,
    range: TimeRange,
) -> Result<BTreeSet<OperationName>, Error> {
    let mut conditions = Where::default();
    conditions.range(Table::Spans.time_column(), range);
    conditions.equals("service", service);
    let sql = format!("SELECT DISTINCT service, name, kind FROM spans {}", conditions.text());
    let mut names = BTreeSet::new();
    for batch in answer::rows(session, &sql, conditions.params()).await? {
        let [service, name, kind] = ["service", "name", "kind"].map(|name| Text::of(&batch, name));
        let (service, name, kind) = (service?, name?, kind?);
        names.extend((0..batch.num_rows()).map(|row| {
            let [service, name, kind] = [&service, &name, &kind].map(|c| c.or_empty(row).to_owned());
            (service, name, kind)
        }));
    }
    Ok(names)
}

pub(super) async fn scan_keys(session: &Session, table: Table, range: TimeRange) -> Result<KnownKeys, Error> {
    let mut conditions = Where::default();
    conditions.range(table.time_column(), range);
    let sql = format!("SELECT DISTINCT attribute_layout FROM {table} {}", conditions.text());
    let batches = answer::rows(session, &sql, conditions.params()).await?;
    let mut known = KnownKeys::new();
    add_hot_keys(&batches.into_iter().map(Arc::new).collect::<Vec<_>>(), &mut known);
    Ok(known)
}
