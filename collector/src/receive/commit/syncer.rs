//! A thread that syncs the log while the committer decodes.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::super::store::{Store, StoreError};

pub(super) struct Syncer {
    begin: SyncSender<()>,
    done: Receiver<Result<(), StoreError>>,
}

impl Syncer {
    /// Starts the thread. It ends with the committer, whose end of the channel it waits on.
    pub(super) fn start(store: Arc<dyn Store>) -> io::Result<Self> {
        let (begin, begun) = sync_channel(1);
        let (finish, done) = sync_channel(1);
        std::thread::Builder::new().name("hopline-sync".to_owned()).spawn(move || {
            while begun.recv().is_ok() {
                let sync = std::panic::AssertUnwindSafe(|| store.sync());
                let result = std::panic::catch_unwind(sync).unwrap_or_else(|_| Err("the sync panicked".into()));
                if finish.send(result).is_err() {
                    return;
                }
            }
        })?;
        Ok(Syncer { begin, done })
    }

    /// Begins a sync; `false` when the thread is gone, and the caller has to sync itself.
    pub(super) fn begin(&self) -> bool {
        self.begin.send(()).is_ok()
    }

    /// Waits for the sync begun last.
    pub(super) fn wait(&self) -> Result<(), StoreError> {
        self.done.recv().unwrap_or_else(|_| Err("the thread that syncs has ended".into()))
    }
}
