//! The threads that flush, merge and expire by themselves.
//!
//! Each waits on a condition variable with a time-out, and decides by the clock it was
//! given. A thread holds the storage only while it works, so that dropping the last
//! handle ends it too.

use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::error::Error;
use crate::storage::Inner;

const DERIVE_EVERY: Duration = Duration::from_secs(1);
const FLUSH_EVERY: Duration = Duration::from_secs(1);
const COMPACT_EVERY: Duration = Duration::from_secs(10);
const EXPIRE_EVERY: Duration = Duration::from_secs(60);

/// The threads, and how they are woken and stopped.
#[derive(Default)]
pub(crate) struct Background {
    signal: Arc<Signal>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Signal {
    state: Mutex<SignalState>,
    changed: Condvar,
}

#[derive(Default)]
struct SignalState {
    stopped: bool,
    /// By work, whether there is some.
    woken: [bool; Task::COUNT],
}

impl Background {
    pub(crate) fn start(&self, inner: &Arc<Inner>) {
        let mut threads = self.threads.lock();
        if !threads.is_empty() || self.is_stopped() {
            return;
        }
        let derive: Work = |inner| {
            inner.derive_many();
            Ok(())
        };
        let flush: Work = |inner| inner.flush_due();
        let compact: Work = |inner| inner.compact_in_background();
        let expire: Work = |inner| inner.expire().map(drop);
        let tasks = [
            (Task::Derive, DERIVE_EVERY, derive),
            (Task::Flush, FLUSH_EVERY, flush),
            (Task::Compact, COMPACT_EVERY, compact),
            (Task::Expire, EXPIRE_EVERY, expire),
        ];
        for (task, every, work) in tasks {
            let name = task.name();
            let (signal, weak) = (self.signal.clone(), Arc::downgrade(inner));
            let named = std::thread::Builder::new().name(format!("hopline-{name}"));
            match named.spawn(move || run(task, every, work, &signal, &weak)) {
                Ok(thread) => threads.push(thread),
                Err(e) => tracing::error!(error = &e as &dyn std::error::Error, name, "no thread for background work"),
            }
        }
    }

    /// There is something to flush.
    pub(crate) fn wake_flusher(&self) {
        self.wake(Task::Flush);
    }

    /// There is much of which nobody looked at what follows from it.
    pub(crate) fn wake_deriver(&self) {
        self.wake(Task::Derive);
    }

    fn wake(&self, task: Task) {
        let mut state = self.signal.state.lock();
        if let Some(woken) = state.woken.get_mut(task as usize).filter(|woken| !**woken) {
            *woken = true;
            self.signal.changed.notify_all();
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.signal.state.lock().stopped
    }

    /// Ends the threads and waits for them.
    pub(crate) fn stop(&self) {
        self.tell_to_stop();
        for thread in self.threads.lock().drain(..) {
            // A thread that drops the last handle of the storage must not wait for itself.
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!("a background thread panicked");
            }
        }
    }

    fn tell_to_stop(&self) {
        self.signal.state.lock().stopped = true;
        self.signal.changed.notify_all();
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.tell_to_stop();
    }
}

/// What a thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    Derive,
    Flush,
    Compact,
    Expire,
}

impl Task {
    const COUNT: usize = 4;

    fn name(self) -> &'static str {
        match self {
            Task::Derive => "derive",
            Task::Flush => "flush",
            Task::Compact => "compact",
            Task::Expire => "expire",
        }
    }
}

type Work = fn(&Inner) -> Result<(), Error>;

fn run(task: Task, every: Duration, work: Work, signal: &Signal, inner: &Weak<Inner>) {
    loop {
        let until = Instant::now() + every;
        let mut state = signal.state.lock();
        let is_woken = |state: &SignalState| state.woken.get(task as usize).copied().unwrap_or_default();
        while !(state.stopped || is_woken(&state)) {
            if signal.changed.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        if state.stopped {
            return;
        }
        state.woken.get_mut(task as usize).into_iter().for_each(|woken| *woken = false);
        drop(state);
        let Some(inner) = inner.upgrade() else { return };
        if let Err(e) = work(&inner)
            && !matches!(e, Error::Closed)
        {
            tracing::error!(
                error = &e as &dyn std::error::Error,
                work = task.name(),
                "background work will be tried again"
            );
            drop(inner);
            // A wake-up must not make a full disk a busy loop.
            signal.pause(FLUSH_EVERY);
        }
    }
}

impl Signal {
    fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut state = self.state.lock();
        while !state.stopped && !self.changed.wait_until(&mut state, until).timed_out() {}
    }
}
