//! Keeps telemetry: the durable log, the hot tier, Parquet files, the table log,
//! compaction and retention. No DataFusion, no decoding of OTLP.
//!
//! What goes in: admitted requests ([`Record`]) for the log, and the rows decoded
//! from them (Arrow batches) for the hot tier. What comes out: a [`Snapshot`] of all
//! rows, hot and cold, each exactly once.
//!
//! Modules in reading order:
//! - [`record`]: what the log keeps;
//! - `log`: segments, group commit, recovery;
//! - [`recent`]: recognising retried requests;
//! - `hot`: rows in memory, in generations;
//! - `gather`, `sort`: rows of many batches brought into one order;
//! - `parquet_file`: one sorted Parquet file and what is known of it ([`DataFile`]);
//! - `table_log`: manifests and checkpoints, the source of truth for live files;
//! - `census`: what is on disk against what the manifests say;
//! - [`changes`]: which roll-ups are out of date;
//! - [`storage`]: the door, [`Storage`];
//! - `flush`, `compact`, `expire`, `verify`: the work done behind it;
//! - `lookup`: single rows by id; `scan`: the rows of a range of time;
//! - [`id_index`]: which files may hold a trace.
//!
//! The formats on disk are described byte by byte in `docs/storage.md`.

mod background;
mod cache;
mod census;
pub mod changes;
pub mod clock;
mod compact;
pub mod config;
mod data_file;
mod derive;
pub mod error;
mod expire;
mod files;
mod flush;
mod folder;
mod gather;
mod hot;
pub mod id_index;
mod log;
mod lookup;
mod merge;
mod metrics;
mod object;
mod parquet_file;
pub mod recent;
pub mod record;
mod scan;
mod snapshot;
mod sort;
pub mod storage;
mod table_log;
mod verify;

#[cfg(test)]
mod testing;

pub use changes::{Changed, Changes};
pub use clock::{Clock, ManualClock, SystemClock};
pub use config::Config;
pub use data_file::DataFile;
pub use derive::Derive;
pub use error::{ConfigError, Error, ErrorKind};
pub use folder::is_data_folder;
pub use id_index::{IdHit, IdIndex};
pub use log::{Damage, Gap, Replay, ReplayReport};
pub use lookup::Lookup;
pub use recent::Recent;
pub use record::{Encoding, Format, Position, Record};
pub use scan::Scan;
pub use snapshot::Snapshot;
pub use storage::{Done, Mode, Pressure, Progress, Step, Storage};
pub use verify::{FILE_MISSING, FileReport, Unlisted, VerifyReport};
