//! Manifests and checkpoints: which files are live, and how far the log is covered.
//!
//! A commit is one small object, `manifest/<hour>/<writer>-<sequence>.json`, created
//! and never changed: files added and removed for all tables at once, and the log
//! position behind which replay starts. Each names the one before it, so that a lost
//! one is noticed. A checkpoint, `checkpoint/<writer>-<sequence>.json`, holds the live
//! files after some manifest, so that those before need not be read any more.
//!
//! A commit whose outcome is not known (the store's answer was lost) is tried again
//! with the same bytes under the same name before anything else is committed.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::data_file::DataFile;
use crate::error::Error;
use crate::folder::FORMAT;
use crate::object::Objects;
use crate::record::Position;

/// One commit.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) format: u32,
    pub(crate) writer: String,
    pub(crate) sequence: u64,
    /// The sequence of the commit before; 0 if there is none.
    pub(crate) previous: u64,
    pub(crate) created_at: i64,
    /// Records up to here are in files.
    pub(crate) log_position: u64,
    pub(crate) added: Vec<DataFile>,
    pub(crate) removed: Vec<String>,
}

/// The live files after the commit `sequence`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    pub(crate) format: u32,
    pub(crate) writer: String,
    pub(crate) sequence: u64,
    pub(crate) created_at: i64,
    pub(crate) log_position: u64,
    pub(crate) files: Vec<DataFile>,
}

/// A commit that is to be made, or whose outcome is not known yet.
pub(crate) struct Pending {
    pub(crate) manifest: Manifest,
    pub(crate) path: Path,
    pub(crate) content: Bytes,
    /// The generation whose rows are in the added files.
    pub(crate) generation: Option<u64>,
}

/// The writing end of the table log.
pub(crate) struct TableLog {
    pub(crate) writer: String,
    /// The sequence of the last commit.
    pub(crate) last: u64,
    pub(crate) covered: Position,
    pub(crate) pending: Option<Pending>,
    /// Manifests that no checkpoint covers, and what a checkpoint will make superfluous.
    pub(crate) manifests: Vec<Path>,
    pub(crate) superseded: Vec<Path>,
}

/// What the table log says.
pub(crate) struct Loaded {
    pub(crate) log: TableLog,
    pub(crate) files: Vec<DataFile>,
    /// The largest sequence in use by this writer.
    pub(crate) last_sequence: u64,
}

impl TableLog {
    /// Reads the newest checkpoint and the manifests behind it.
    pub(crate) fn load(objects: &Objects, writer: &str) -> Result<Loaded, Error> {
        let mut log = TableLog {
            writer: writer.to_owned(),
            last: 0,
            covered: Position(0),
            pending: None,
            manifests: Vec::new(),
            superseded: Vec::new(),
        };
        let mut files: HashMap<Path, (usize, DataFile)> = HashMap::new();
        let mut checkpoints = named(objects, "checkpoint", writer)?;
        if let Some((sequence, path)) = checkpoints.pop() {
            let checkpoint: Checkpoint = read(objects, &path)?;
            log.last = sequence;
            log.covered = Position(checkpoint.log_position);
            files.extend(checkpoint.files.into_iter().enumerate().map(|(i, f)| (f.path.clone(), (i, f))));
            log.superseded.extend(checkpoints.into_iter().map(|(_, path)| path));
            log.superseded.push(path);
        }
        let mut last_sequence = log.last;
        let mut order = files.len();
        for (sequence, path) in named(objects, "manifest", writer)? {
            last_sequence = last_sequence.max(sequence);
            if sequence <= log.last && log.manifests.is_empty() {
                log.superseded.push(path);
                continue;
            }
            let manifest: Manifest = read(objects, &path)?;
            if manifest.sequence != sequence || manifest.previous != log.last {
                let expected = log.last;
                let reason = format!(
                    "follows commit {}, but the one before is {expected}: a manifest is missing",
                    manifest.previous
                );
                return Err(Error::corrupt(path, reason));
            }
            for file in manifest.added {
                order += 1;
                files.insert(file.path.clone(), (order, file));
            }
            for removed in &manifest.removed {
                files.remove(&Path::from(removed.as_str()));
            }
            log.last = sequence;
            log.covered = log.covered.max(Position(manifest.log_position));
            log.manifests.push(path);
        }
        let mut files: Vec<_> = files.into_values().collect();
        files.sort_by_key(|(order, _)| *order);
        Ok(Loaded { log, files: files.into_iter().map(|(_, f)| f).collect(), last_sequence })
    }

    /// Prepares the commit `sequence`; it is made by [`TableLog::put_pending`].
    pub(crate) fn prepare(
        &mut self,
        sequence: u64,
        now: i64,
        covered: Position,
        added: Vec<DataFile>,
        removed: &[Arc<DataFile>],
        generation: Option<u64>,
    ) -> Result<(), Error> {
        let manifest = Manifest {
            format: FORMAT,
            writer: self.writer.clone(),
            sequence,
            previous: self.last,
            created_at: now,
            log_position: self.covered.max(covered).0,
            added,
            removed: removed.iter().map(|f| f.path.to_string()).collect(),
        };
        let path = Path::from(format!("manifest/{}/{}-{sequence:012}.json", clock::hour(now), self.writer));
        let content = encode(&manifest)?;
        self.pending = Some(Pending { manifest, path, content, generation });
        Ok(())
    }

    /// Puts the pending commit. Gives it back when it is durable; keeps it when that is not known.
    pub(crate) fn put_pending(&mut self, objects: &Objects) -> Result<Option<Pending>, Error> {
        let Some(pending) = &self.pending else { return Ok(None) };
        match objects.create(&pending.path, pending.content.clone()) {
            Ok(()) => {}
            Err(Error::Store { source: object_store::Error::AlreadyExists { .. }, .. }) => {
                // An earlier try whose answer was lost, unless somebody else writes under our name.
                if objects.get(&pending.path)? != pending.content {
                    return Err(Error::corrupt(&pending.path, "another writer uses this folder's writer name"));
                }
                objects.sync(&pending.path)?;
            }
            Err(e) => return Err(e),
        }
        let done = self.pending.take();
        if let Some(done) = &done {
            self.last = done.manifest.sequence;
            self.covered = Position(done.manifest.log_position);
            self.manifests.push(done.path.clone());
        }
        Ok(done)
    }

    /// Folds all manifests into a checkpoint of `files`, the live ones after the last commit.
    pub(crate) fn checkpoint(&mut self, objects: &Objects, files: Vec<DataFile>, now: i64) -> Result<(), Error> {
        let path = Path::from(format!("checkpoint/{}-{:012}.json", self.writer, self.last));
        let checkpoint = Checkpoint {
            format: FORMAT,
            writer: self.writer.clone(),
            sequence: self.last,
            created_at: now,
            log_position: self.covered.0,
            files,
        };
        match objects.create(&path, encode(&checkpoint)?) {
            // An earlier try whose answer was lost: the same commit has the same live files.
            Ok(()) | Err(Error::Store { source: object_store::Error::AlreadyExists { .. }, .. }) => {
                objects.sync(&path)?
            }
            Err(e) => return Err(e),
        }
        self.superseded.append(&mut self.manifests);
        while let Some(old) = self.superseded.last() {
            if *old != path {
                objects.delete(old)?;
            }
            self.superseded.pop();
        }
        self.superseded.push(path);
        Ok(())
    }
}

/// The objects `prefix/…/<writer>-<sequence>.json`, by sequence. Those of another writer are refused.
fn named(objects: &Objects, prefix: &str, writer: &str) -> Result<Vec<(u64, Path)>, Error> {
    let mut found = Vec::new();
    for object in objects.list(&Path::from(prefix))? {
        let path = object.location;
        let name = path.filename().and_then(|n| n.strip_suffix(".json")).and_then(|n| n.rsplit_once('-'));
        match name.map(|(by, sequence)| (by, sequence.parse())) {
            Some((by, Ok(sequence))) if by == writer => found.push((sequence, path)),
            Some((by, Ok(_))) => return Err(Error::corrupt(&path, format!("was written by {by}, not by {writer}"))),
            // Not ours: a temporary file of the object store, or somebody's notes.
            _ => {}
        }
    }
    found.sort();
    Ok(found)
}

const CHECKSUM: &str = ",\"crc32c\":\"";

/// JSON whose last member is the checksum of all text before it.
fn encode(value: &impl Serialize) -> Result<Bytes, Error> {
    let mut text = serde_json::to_string(value).map_err(|e| Error::corrupt("a manifest", e))?;
    text.pop();
    let crc = crc32c::crc32c(text.as_bytes());
    text.push_str(CHECKSUM);
    text.push_str(&format!("{crc:08x}\"}}\n"));
    Ok(Bytes::from(text))
}

#[derive(Deserialize)]
struct Versioned {
    format: u32,
    crc32c: String,
}

fn read<T: for<'de> Deserialize<'de>>(objects: &Objects, path: &Path) -> Result<T, Error> {
    decode(&objects.get(path)?, path)
}

pub(crate) fn decode<T: for<'de> Deserialize<'de>>(content: &[u8], path: &Path) -> Result<T, Error> {
    let text = std::str::from_utf8(content).map_err(|e| Error::corrupt(path, e))?;
    let head: Versioned = serde_json::from_str(text).map_err(|e| Error::corrupt(path, e))?;
    if head.format > FORMAT {
        return Err(Error::Newer { what: path.to_string(), found: head.format, known: FORMAT });
    }
    let content = text.rfind(CHECKSUM).and_then(|end| text.get(..end));
    let crc = content.map(|c| format!("{:08x}", crc32c::crc32c(c.as_bytes())));
    if crc.as_ref() != Some(&head.crc32c) {
        return Err(Error::corrupt(path, "the checksum is wrong: the object is damaged"));
    }
    serde_json::from_str(text).map_err(|e| Error::corrupt(path, e))
}
