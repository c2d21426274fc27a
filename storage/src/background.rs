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
    flush: bool,
}

impl Background {
    pub(crate) fn start(&self, inner: &Arc<Inner>) {
        let mut threads = self.threads.lock();
        if !threads.is_empty() || self.is_stopped() {
            return;
        }
        let flush: Work = |inner| inner.flush_due();
        let compact: Work = |inner| inner.compact_in_background();
        let expire: Work = |inner| inner.expire().map(drop);
        for (name, every, work) in
            [("flush", FLUSH_EVERY, flush), ("compact", COMPACT_EVERY, compact), ("expire", EXPIRE_EVERY, expire)]
        {
            let (signal, weak) = (self.signal.clone(), Arc::downgrade(inner));
            let named = std::thread::Builder::new().name(format!("hopline-{name}"));
            match named.spawn(move || run(name, every, work, &signal, &weak)) {
                Ok(thread) => threads.push(thread),
                Err(e) => tracing::error!(error = &e as &dyn std::error::Error, name, "no thread for background work"),
            }
        }
    }

    /// There is something to flush.
    pub(crate) fn wake_flusher(&self) {
        self.signal.state.lock().flush = true;
        self.signal.changed.notify_all();
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

type Work = fn(&Inner) -> Result<(), Error>;

fn run(name: &'static str, every: Duration, work: Work, signal: &Signal, inner: &Weak<Inner>) {
    let is_flusher = name == "flush";
    loop {
        let until = Instant::now() + every;
        let mut state = signal.state.lock();
        while !(state.stopped || is_flusher && state.flush) {
            if signal.changed.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        if state.stopped {
            return;
        }
        if is_flusher {
            state.flush = false;
        }
        drop(state);
        let Some(inner) = inner.upgrade() else { return };
        if let Err(e) = work(&inner)
            && !matches!(e, Error::Closed)
        {
            tracing::error!(error = &e as &dyn std::error::Error, work = name, "background work will be tried again");
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
