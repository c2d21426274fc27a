//! What can go wrong in this room, and what the caller can do about it.

use std::io;
use std::path::PathBuf;

/// What the caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The input is wrong; repeating it does not help.
    Invalid,
    /// The input is larger than allowed.
    TooLarge,
    /// There is no such thing.
    NotFound,
    /// Too much at once: try again later.
    Overloaded,
    /// Something outside does not work now (a full disk, a store that is away): try again later.
    Unavailable,
    /// A fault of ours, or of the data on disk.
    Internal,
}

/// An error of the storage.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Appending to the log did not work; nothing of the group remains.
    #[error("append to the log")]
    Append(#[source] io::Error),
    /// Syncing the log did not work; nothing that was not synced before remains.
    #[error("sync the log")]
    Sync(#[source] io::Error),
    /// A record is larger than the log takes.
    #[error("a record of {bytes} bytes is larger than the log takes ({max})")]
    RecordTooLarge {
        /// Its size.
        bytes: usize,
        /// The largest size.
        max: usize,
    },
    /// A local file or folder could not be read or written.
    #[error("{action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The object store refused.
    #[error("{action} {path}")]
    Store {
        /// What was tried, as a verb.
        action: &'static str,
        /// The object.
        path: String,
        /// Why not.
        #[source]
        source: object_store::Error,
    },
    /// Another process has the data folder.
    #[error("the data folder {} is in use by another hopline (process {holder})", dir.display())]
    Locked {
        /// The data folder.
        dir: PathBuf,
        /// The other process's id as it wrote it, or "unknown".
        holder: String,
    },
    /// The folder is not one of ours, or not a folder.
    #[error("{} is not a Hopline data folder: {reason}", dir.display())]
    NotADataFolder {
        /// What was to be opened.
        dir: PathBuf,
        /// What shows it.
        reason: String,
    },
    /// Manifests existed that are not there any more.
    #[error(
        "{reason}: manifests are lost, and without them the data files cannot be told from rubbish. Nothing was \
         deleted. Restore the folders manifest and checkpoint of the data folder from a backup, or move the whole \
         data folder away to begin with an empty one"
    )]
    LostManifests {
        /// What shows it.
        reason: String,
    },
    /// A data file that the manifests name is not there.
    #[error(
        "the data file {path} is missing, although the manifests name it: restore it from a backup, or stop the \
         server and give its rows up with `hopline expire --missing`"
    )]
    Missing {
        /// The file.
        path: String,
    },
    /// The data was written by a newer version.
    #[error("{what} has format version {found}, this hopline reads up to {known}: use a newer hopline")]
    Newer {
        /// What was read.
        what: String,
        /// Its version.
        found: u32,
        /// Our version.
        known: u32,
    },
    /// Data on disk is not what it should be.
    #[error("{path}: {reason}")]
    Corrupt {
        /// The file or object.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Rows could not be sorted, written or read as Arrow or Parquet.
    #[error("{action}")]
    Rows {
        /// What was tried.
        action: String,
        /// Why not.
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// The rows in memory have reached their limit.
    #[error("{bytes} bytes of rows wait to be written to disk, the limit is {max}")]
    HotFull {
        /// Bytes in memory.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The storage was opened for reading only.
    #[error("the data folder was opened for reading only")]
    ReadOnly,
    /// The storage was closed, or the work was told to stop.
    #[error("the storage is closed")]
    Closed,
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A metric could not be registered.
    #[error("register metrics")]
    Metrics(#[source] prometheus::Error),
}

impl Error {
    /// What the caller can do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Append(_) | Self::Sync(_) | Self::Io { .. } | Self::Store { .. } | Self::Closed => {
                ErrorKind::Unavailable
            }
            Self::Locked { .. } => ErrorKind::Unavailable,
            Self::RecordTooLarge { .. } => ErrorKind::TooLarge,
            Self::HotFull { .. } => ErrorKind::Overloaded,
            Self::ReadOnly | Self::Config(_) | Self::Newer { .. } | Self::NotADataFolder { .. } => ErrorKind::Invalid,
            Self::Corrupt { .. }
            | Self::LostManifests { .. }
            | Self::Missing { .. }
            | Self::Rows { .. }
            | Self::Metrics(_) => ErrorKind::Internal,
        }
    }

    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { action, path, source }
    }

    pub(crate) fn store(
        action: &'static str,
        path: &object_store::path::Path,
    ) -> impl FnOnce(object_store::Error) -> Error {
        let path = path.to_string();
        move |source| Error::Store { action, path, source }
    }

    pub(crate) fn rows<E: Into<parquet::errors::ParquetError>>(action: impl Into<String>) -> impl FnOnce(E) -> Error {
        let action = action.into();
        move |source| Error::Rows { action, source: source.into() }
    }

    pub(crate) fn corrupt(path: impl ToString, reason: impl ToString) -> Error {
        Error::Corrupt { path: path.to_string(), reason: reason.to_string() }
    }
}

/// A setting that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} = {value}: {reason}")]
pub struct ConfigError {
    /// The setting.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// What is wrong with it.
    pub reason: String,
}
