//! What the data folder holds, against what the manifests say.
//!
//! At every start the data files on disk are compared with those that manifests name, and
//! the log with the position that they cover. That finds manifests that were lost: a folder
//! restored without them, or emptied, must not be taken for an empty one, whose data files
//! are rubbish left by a crash.
//!
//! Rules, for a file that no manifest names and whose footer says that it may hold records
//! up to position *p* (the manifests cover all up to *c*):
//! - *p* > *c*, and the log begins behind *c* + 1 or ends before *p*: it was committed, for
//!   only a commit lets go of a record of the log. Its manifest is lost: the folder is refused.
//! - *p* > *c*, and records up to *p* are missing between two segments of the log: it stays and
//!   is reported.
//! - *p* > *c*, and the log has them all: its rows are replayed. It can go.
//! - *p* ≤ *c*: its rows are in files that were committed by then, whether it is the rest
//!   of a flush or of a merge, or was removed by a commit. It can go, if those are all there.
//! - its footer cannot be read, or its name is not one that this folder's writer gives: it
//!   stays and is reported.

use std::collections::HashSet;

use object_store::ObjectMeta;
use object_store::path::Path;

use crate::cache::read_footer;
use crate::error::Error;
use crate::object::Objects;
use crate::record::Position;
use crate::storage::sequence_of;
use crate::table_log::Loaded;

/// How many names a message gives.
const NAMED: usize = 10;

/// Which records the log's segments span: gaps by damage count as there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogSpan {
    /// The first position; nothing if there is no segment.
    pub(crate) first: Option<u64>,
    /// Behind the last one.
    pub(crate) next: u64,
    /// The first position behind what is covered that is missing between segments.
    pub(crate) gap: Option<u64>,
}

impl LogSpan {
    /// Whether the log reaches up to `position`, but not without a gap.
    fn has_gap_before(&self, position: Position) -> bool {
        position.0 < self.next && self.gap.is_some_and(|gap| gap <= position.0)
    }
}

/// What was found on disk.
#[derive(Debug, Default)]
pub(crate) struct Census {
    /// Files that were never committed, or are not live any more.
    pub(crate) superfluous: Vec<ObjectMeta>,
    /// Files of which nothing is known.
    pub(crate) unknown: Vec<ObjectMeta>,
    /// Live files that are not there.
    pub(crate) missing: HashSet<Path>,
    /// The largest sequence in the name of a file of ours.
    pub(crate) last_sequence: u64,
}

impl Census {
    /// Whether what is superfluous may be deleted: not while anything is amiss.
    pub(crate) fn is_sound(&self) -> bool {
        self.missing.is_empty()
    }
}

/// Refuses a folder whose log begins behind what the manifests cover. Needs no more than
/// the names of the segments, so that it comes before anything is changed.
pub(crate) fn check_log(first: Option<u64>, loaded: &Loaded) -> Result<(), Error> {
    let covered = loaded.log.covered.0;
    match first {
        Some(first) if first > covered + 1 => Err(Error::LostManifests {
            reason: match loaded.log.last {
                0 => format!("the log begins with record {first}, but there is no manifest and no checkpoint"),
                _ => format!("the log begins with record {first}, but the manifests cover only those up to {covered}"),
            },
        }),
        _ => Ok(()),
    }
}

/// Compares the data files with what the manifests say. Refuses a folder that has lost manifests.
pub(crate) fn take(objects: &Objects, writer: &str, loaded: &Loaded, log: LogSpan) -> Result<Census, Error> {
    let mut census = Census { last_sequence: loaded.last_sequence, ..Census::default() };
    let mut missing: HashSet<Path> = loaded.files.iter().map(|f| f.path.clone()).collect();
    let mut unlisted = Vec::new();
    for object in objects.list(&"data".into())? {
        let sequence = sequence_of(&object.location, writer);
        census.last_sequence = census.last_sequence.max(sequence.unwrap_or(0));
        if !missing.remove(&object.location) {
            unlisted.push((sequence, object));
        }
    }
    census.missing = missing;
    let is_data = |object: &ObjectMeta| object.location.extension() == Some("parquet");
    let without_log = loaded.log.last == 0 && log.first.is_none();
    if let Some((_, object)) = unlisted.iter().find(|(_, object)| without_log && is_data(object)) {
        let reason = format!("there are data files, such as {}, but no manifest and no checkpoint", object.location);
        return Err(Error::LostManifests { reason });
    }
    // The newest first: they show soonest that something is lost.
    unlisted.sort_by_key(|(sequence, _)| std::cmp::Reverse(*sequence));
    for (sequence, object) in unlisted {
        let position = match sequence {
            // Behind a gap of the log, it may be the only one that has the rows.
            Some(_) if is_data(&object) => {
                position_of(objects, &object)?.filter(|position| !log.has_gap_before(*position))
            }
            _ => None,
        };
        match position {
            Some(position) => {
                check_file(&object.location, position, loaded, log)?;
                census.superfluous.push(object);
            }
            None => census.unknown.push(object),
        }
    }
    Ok(census)
}

/// The last log position whose rows may be in a file; nothing if its footer cannot be read.
fn position_of(objects: &Objects, object: &ObjectMeta) -> Result<Option<Position>, Error> {
    let (store, path, size) = (objects.store().clone(), object.location.clone(), object.size);
    let footer = objects.wait(async move { read_footer(&store, &path, size).await })?;
    let Ok(footer) = footer else { return Ok(None) };
    let about = footer.file_metadata().key_value_metadata().into_iter().flatten();
    let mut position = about.filter(|kv| kv.key == "hopline.log_position").filter_map(|kv| kv.value.as_deref());
    Ok(position.next().and_then(|p| p.parse().ok()).map(Position))
}

fn check_file(path: &Path, position: Position, loaded: &Loaded, log: LogSpan) -> Result<(), Error> {
    let covered = loaded.log.covered;
    let is_in_log = log.first.is_some_and(|first| first <= covered.0 + 1) && position.0 < log.next;
    if position <= covered || is_in_log {
        return Ok(());
    }
    let reason = format!(
        "{path} holds records up to {}, which are not in the log, but the manifests cover only those up to {}",
        position.0, covered.0
    );
    Err(Error::LostManifests { reason })
}

/// Says what is amiss in the log of the process.
pub(crate) fn report(census: &Census) {
    for path in census.missing.iter().take(NAMED) {
        tracing::error!(
            %path,
            "a data file that the manifests name is missing: restore it from a backup, or give its rows up with \
             `hopline expire --missing`; queries that need it fail until then"
        );
    }
    let count = census.missing.len();
    if count > 0 {
        tracing::error!(missing = count, "data files are missing: nothing that no manifest names is deleted");
    }
    for object in census.unknown.iter().take(NAMED) {
        tracing::warn!(path = %object.location, "no manifest names this file and nothing is known of it: it stays");
    }
}

#[cfg(test)]
mod tests;
