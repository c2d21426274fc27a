//! A data folder that no server holds, opened for reading.
//!
//! Nothing in it is changed. What is only in the log is replayed into memory first, so that
//! the answers are those that a server would give.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use axum::Router;
use hopline_query::Engine;
use hopline_query::api::ApiState;
use hopline_storage::{Mode, Replay, Storage, SystemClock, is_data_folder};
use prometheus::Registry;

use crate::config::Loaded;
use crate::exit::Exit;
use crate::render::progress::Progress;

/// The folder, and an engine on it.
pub(crate) struct Folder {
    dir: PathBuf,
    engine: Engine,
}

impl Folder {
    /// Opens the folder that the settings name.
    pub(crate) async fn open(loaded: &Loaded) -> anyhow::Result<Folder> {
        let registry = Registry::new();
        let storage = open(loaded, Mode::ReadOnly, registry.clone()).await?;
        let engine = Engine::new(storage, loaded.config.query.clone(), &registry).context("start the query engine")?;
        Ok(Folder { dir: loaded.data_dir().to_path_buf(), engine })
    }

    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The API, to be asked in this process.
    pub(crate) fn router(&self) -> Router {
        hopline_query::router_with(ApiState { engine: self.engine.clone(), tail: None, started: Instant::now() })
    }
}

/// Opens the folder that the settings name, and replays its log into memory.
pub(crate) async fn open(loaded: &Loaded, mode: Mode, registry: Registry) -> anyhow::Result<Storage> {
    let (dir, mut config) = (loaded.data_dir().to_path_buf(), loaded.config.storage.clone());
    if mode == Mode::ReadOnly {
        // What is read cannot be written out to make room: all of the log's rows stay in memory.
        config.hot_bytes_max = usize::MAX;
    }
    let opened = {
        let registry = registry.clone();
        tokio::task::spawn_blocking(move || open_storage(&dir, config, mode, &registry))
    };
    let (storage, log) = opened.await.context("open the data folder")??;
    if log.report().records > 0 {
        let progress = Progress::start("replaying the log");
        let (into, registry) = (storage.clone(), registry.clone());
        let replayed = tokio::task::spawn_blocking(move || hopline_collector::replay(&into, log, &registry)).await;
        progress.finish();
        replayed.context("replay the log")?.context("replay the log")?;
    }
    Ok(storage)
}

/// Opens the folder `dir`, which must be a data folder: a typing error must not make an empty one.
pub(crate) fn open_storage(
    dir: &Path,
    config: hopline_storage::Config,
    mode: Mode,
    registry: &Registry,
) -> anyhow::Result<(Storage, Replay)> {
    if !dir.exists() {
        return Err(Exit::not_found(format!("there is no data folder {}", dir.display())).into());
    }
    // Opened for reading, a folder that is no data folder is refused, and why is said.
    let mode = if is_data_folder(dir) { mode } else { Mode::ReadOnly };
    Storage::open(dir, config, mode, Arc::new(SystemClock), registry)
        .with_context(|| format!("open the data folder {}", dir.display()))
}
