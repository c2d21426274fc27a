//! The data folder as a whole: who uses it, and in which format it is.
//!
//! - `lock`: locked exclusively by the one server, or shared by readers; holds the
//!   process id of the one that wrote last.
//! - `hopline.json`: format version and the writer's name, made with the folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::log::segments;
use crate::object::Objects;
use crate::storage::Mode;

/// The newest format of a data folder that we know.
pub(crate) const FORMAT: u32 = 1;

const FILE: &str = "hopline.json";

#[derive(Debug, Serialize, Deserialize)]
struct Folder {
    format: u32,
    writer: String,
    created_at: i64,
}

/// What may lie in a folder that becomes a data folder: ours of a start that was cut short,
/// and what operators and file systems put there. Hidden files may too.
const HARMLESS: [&str; 3] = ["lock", "lost+found", "hopline.toml"];

/// Whether `dir` is a data folder, of whatever version.
pub fn is_data_folder(dir: &Path) -> bool {
    dir.join(FILE).is_file()
}

/// Refuses what is a file, and makes the folder if it may be made.
pub(crate) fn find(dir: &Path, mode: Mode) -> Result<(), Error> {
    let refuse = |reason: &str| Err(Error::NotADataFolder { dir: dir.to_owned(), reason: reason.to_owned() });
    match std::fs::metadata(dir) {
        Ok(found) if !found.is_dir() => refuse("it is a file, not a folder"),
        Ok(_) => Ok(()),
        Err(e) if e.kind() == ErrorKind::NotFound && mode == Mode::ReadOnly => refuse("it does not exist"),
        Err(e) if e.kind() == ErrorKind::NotFound => std::fs::create_dir_all(dir).map_err(Error::io("create", dir)),
        Err(e) => Err(Error::io("open", dir)(e)),
    }
}

/// Refuses a folder without `hopline.json`, unless it may become a data folder. Comes
/// before anything is written into it.
pub(crate) fn check(dir: &Path, objects: &Objects, mode: Mode) -> Result<(), Error> {
    if is_data_folder(dir) {
        return Ok(());
    }
    if let Some(found) = remains(dir, objects)? {
        return Err(Error::corrupt(FILE, format!("is missing, but the folder has data ({found}): restore it")));
    }
    let refuse = |reason: String| Err(Error::NotADataFolder { dir: dir.to_owned(), reason });
    if mode == Mode::ReadOnly {
        return refuse(format!("it has no {FILE}"));
    }
    for entry in std::fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let name = entry.map_err(Error::io("list", dir))?.file_name();
        let name = name.to_string_lossy();
        // The object store writes an object under its name and # first.
        let begun = name.strip_prefix(FILE).is_some_and(|rest| rest.starts_with('#'));
        if !(HARMLESS.contains(&&*name) || name.starts_with('.') || begun) {
            let reason = format!("it has no {FILE}, but {name}; give an empty folder, or one that does not exist yet");
            return refuse(reason);
        }
    }
    Ok(())
}

/// Something that only a data folder has.
fn remains(dir: &Path, objects: &Objects) -> Result<Option<String>, Error> {
    if let Some(segment) = segments(&dir.join("log"))?.first() {
        return Ok(Some(segment.path.display().to_string()));
    }
    for (prefix, suffix) in [("manifest", ".json"), ("checkpoint", ".json"), ("data", ".parquet")] {
        let is_ours = |name: &str| name.strip_suffix(suffix).is_some_and(is_numbered);
        let found = objects.list(&prefix.into())?.into_iter().map(|o| o.location);
        if let Some(path) = found.into_iter().find(|path| path.filename().is_some_and(is_ours)) {
            return Ok(Some(path.to_string()));
        }
    }
    Ok(None)
}

/// `<writer>-<sequence>` or `<writer>-<sequence>-<table>`.
fn is_numbered(name: &str) -> bool {
    let mut parts = name.split('-');
    let (writer, sequence) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let is_table = |t: &str| hopline_model::Table::ALL.iter().any(|table| table.name() == t);
    writer.bytes().all(|b| b.is_ascii_alphanumeric())
        && sequence.len() >= 12
        && sequence.bytes().all(|b| b.is_ascii_digit())
        && parts.next().is_none_or(is_table)
}

/// Only the version: what follows may be unknown to us.
#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

/// Takes the lock of the data folder. It is held as long as the file is open.
pub(crate) fn lock(dir: &Path, mode: Mode) -> Result<Option<File>, Error> {
    let path = dir.join("lock");
    let opened = match mode {
        Mode::ReadWrite => OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path),
        Mode::ReadOnly => File::open(&path),
    };
    let mut file = match opened {
        Ok(file) => file,
        // Nobody ever wrote here, and a reader leaves no trace.
        Err(e) if mode == Mode::ReadOnly && e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("open", &path)(e)),
    };
    let locked = match mode {
        Mode::ReadWrite => file.try_lock(),
        Mode::ReadOnly => file.try_lock_shared(),
    };
    match locked {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Only for the message.
            let _ = file.read_to_string(&mut holder);
            let holder = if holder.trim().is_empty() { "unknown" } else { holder.trim() }.to_owned();
            return Err(Error::Locked { dir: dir.to_owned(), holder });
        }
        Err(TryLockError::Error(e)) => return Err(Error::io("lock", &path)(e)),
    }
    if mode == Mode::ReadWrite {
        write_pid(&mut file).map_err(Error::io("write", &path))?;
    }
    Ok(Some(file))
}

fn write_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())
}

/// Reads the format of a folder that was checked, or makes the folder; gives the writer's name.
pub(crate) fn open(objects: &Objects, now: i64) -> Result<String, Error> {
    let path = object_store::path::Path::from(FILE);
    match objects.get(&path) {
        Ok(content) => read(&content),
        Err(Error::Store { source: object_store::Error::NotFound { .. }, .. }) => {
            let folder = Folder { format: FORMAT, writer: new_name(now), created_at: now };
            let text = serde_json::to_vec_pretty(&folder).map_err(|e| Error::corrupt(FILE, e))?;
            objects.create(&path, Bytes::from(text))?;
            Ok(folder.writer)
        }
        Err(e) => Err(e),
    }
}

fn read(content: &[u8]) -> Result<String, Error> {
    let unreadable = |e: serde_json::Error| Error::corrupt(FILE, e);
    let Versioned { format } = serde_json::from_slice(content).map_err(unreadable)?;
    if format > FORMAT {
        return Err(Error::Newer { what: "the data folder".into(), found: format, known: FORMAT });
    }
    let folder: Folder = serde_json::from_slice(content).map_err(unreadable)?;
    let sound = !folder.writer.is_empty() && folder.writer.bytes().all(|b| b.is_ascii_alphanumeric());
    sound.then_some(folder.writer).ok_or_else(|| Error::corrupt(FILE, "the writer's name is not letters and digits"))
}

/// A name that no other folder has.
fn new_name(now: i64) -> String {
    let mut hasher = ahash::RandomState::new().build_hasher();
    hasher.write_i64(now);
    hasher.write_u32(std::process::id());
    format!("{:012x}", hasher.finish() >> 16)
}
