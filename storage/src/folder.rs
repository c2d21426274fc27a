//! The data folder as a whole: who uses it, and in which format it is.
//!
//! - `lock`: locked exclusively by the one server, or shared by readers; holds the
//!   process id of the one that wrote last.
//! - `hopline.json`: format version and the writer's name, made with the folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::Error;
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
        Err(e) if mode == Mode::ReadOnly && e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
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

/// Reads the folder's format, or makes the folder; gives the writer's name.
pub(crate) fn open(objects: &Objects, mode: Mode, now: i64) -> Result<String, Error> {
    let path = object_store::path::Path::from(FILE);
    match objects.get(&path) {
        Ok(content) => read(&content),
        Err(Error::Store { source: object_store::Error::NotFound { .. }, .. }) => {
            let has_data =
                !objects.list(&"manifest".into())?.is_empty() || !objects.list(&"checkpoint".into())?.is_empty();
            if has_data {
                return Err(Error::corrupt(FILE, "is missing, but the folder has data: restore it"));
            }
            let folder = Folder { format: FORMAT, writer: new_name(now), created_at: now };
            if mode == Mode::ReadWrite {
                let text = serde_json::to_vec_pretty(&folder).map_err(|e| Error::corrupt(FILE, e))?;
                objects.create(&path, Bytes::from(text))?;
            }
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
