//! Which files and row groups may hold a trace.

use std::sync::Arc;

use futures::future::BoxFuture;
use hopline_model::TraceId;

use crate::data_file::DataFile;
use crate::error::Error;

/// A file that may hold the rows that were looked for, and its row groups that may.
pub type TraceHit = (Arc<DataFile>, Vec<usize>);

/// Tells which files and row groups may hold a trace. May name too many, never too few.
pub trait TraceIndex: Send + Sync {
    /// Those of `files` that may hold rows of `trace`, in the order of `files`.
    fn find<'a>(&'a self, files: &'a [Arc<DataFile>], trace: TraceId) -> BoxFuture<'a, Result<Vec<TraceHit>, Error>>;

    /// Forgets a file that is being deleted.
    fn forget(&self, file: &DataFile);
}
