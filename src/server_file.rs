//! `server.json` in the data folder: who serves it, and where.
//!
//! Written at once as a whole when the addresses are known, removed when the server stops.
//! After a crash it stays behind, and it goes along when a folder is copied. So its reader must see that
//! a process holds the folder's lock, and that the one that answers is this one: its `instance` tells.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

const NAME: &str = "server.json";

/// The header of the answers that tells which server gave them.
pub(crate) const INSTANCE: &str = "hopline-instance";

/// What stands in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServerFile {
    /// The process.
    pub(crate) pid: u32,
    /// Its version.
    pub(crate) version: String,
    /// Where the API is.
    pub(crate) api: String,
    /// Where OTLP/gRPC is.
    pub(crate) otlp_grpc: String,
    /// Where OTLP/HTTP is.
    pub(crate) otlp_http: String,
    /// When it started, RFC 3339.
    pub(crate) started_at: String,
    /// Another one at each start. Every answer of the API has it in the header [`INSTANCE`].
    pub(crate) instance: String,
}

impl ServerFile {
    /// Writes the file of the folder `dir`.
    pub(crate) fn write(&self, dir: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        let temporary = dir.join(format!("{NAME}.{}.tmp", std::process::id()));
        std::fs::write(&temporary, text)?;
        std::fs::rename(&temporary, path(dir))
    }

    /// Reads the file of the folder `dir`, if there is one that makes sense.
    pub(crate) fn read(dir: &Path) -> Option<ServerFile> {
        serde_json::from_slice(&std::fs::read(path(dir)).ok()?).ok()
    }

    /// Removes the file of the folder `dir`, if it is there.
    pub(crate) fn remove(dir: &Path) -> io::Result<()> {
        match std::fs::remove_file(path(dir)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn written_read_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(ServerFile::read(dir.path()), None);
        let file = ServerFile {
            pid: 7,
            version: "0.1.0".into(),
            api: "127.0.0.1:4320".into(),
            otlp_grpc: "127.0.0.1:4317".into(),
            otlp_http: "127.0.0.1:4318".into(),
            started_at: "2026-01-31T12:00:00Z".into(),
            instance: "5eed".into(),
        };
        file.write(dir.path()).unwrap();
        assert_eq!(ServerFile::read(dir.path()), Some(file));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        ServerFile::remove(dir.path()).unwrap();
        ServerFile::remove(dir.path()).unwrap();
        assert_eq!(ServerFile::read(dir.path()), None);
        std::fs::write(path(dir.path()), "torn").unwrap();
        assert_eq!(ServerFile::read(dir.path()), None);
    }
}
