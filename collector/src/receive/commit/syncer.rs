//! A thread that syncs the log while the committer decodes.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::super::store::{Store, StoreError};

pub(super) struct Syncer {
    begin: Option<SyncSender<()>>,
    done: Receiver<Result<(), StoreError>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// Starts the thread. It ends with this value, whose end of the channel it waits on.
    pub(super) fn start(store: Arc<dyn Store>) -> io::Result<Self> {
        let (begin, begun) = sync_channel(1);
        let (finish, done) = sync_channel(1);
        let thread = std::thread::Builder::new().name("hopline-sync".to_owned()).spawn(move || {
            while begun.recv().is_ok() {
                let sync = std::panic::AssertUnwindSafe(|| store.sync());
                let result = std::panic::catch_unwind(sync).unwrap_or_else(|_| Err("the sync panicked".into()));
                if finish.send(result).is_err() {
                    return;
                }
            }
        })?;
        Ok(Syncer { begin: Some(begin), done, thread: Some(thread) })
    }

    /// Begins a sync; `false` when the thread is gone, and the caller has to sync itself.
    pub(super) fn begin(&self) -> bool {
        self.begin.as_ref().is_some_and(|begin| begin.send(()).is_ok())
    }

    /// Waits for the sync begun last.
    pub(super) fn wait(&self) -> Result<(), StoreError> {
        self.done.recv().unwrap_or_else(|_| Err("the thread that syncs has ended".into()))
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.begin = None;
        // Joined, so that nothing of ours holds the storage when the committer has ended.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
