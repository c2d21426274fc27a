//! What all requests share, and the state the collector is in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use http::HeaderMap;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::admit::Admission;
use super::commit::Queue;
use super::config::Config;
use super::error::ExportError;
use super::metrics::Metrics;
use super::store::Store;

/// Whether exports are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// The log is being replayed.
    Starting = 0,
    Open = 1,
    /// The server is stopping.
    Draining = 2,
}

/// What all requests share.
pub(crate) struct Door {
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) admission: Admission,
    /// Fires when listeners close and connections end in good order.
    pub(crate) closing: CancellationToken,
    default_tenant: Arc<str>,
    phase: AtomicU8,
    in_flight: AtomicUsize,
    finished: Notify,
}

impl Door {
    pub(crate) fn new(config: Config, store: Arc<dyn Store>, queue: Arc<Queue>, metrics: Arc<Metrics>) -> Self {
        let wait = std::time::Duration::from_millis(config.admission_wait_ms);
        Door {
            admission: Admission::new(config.max_pending_bytes, wait, metrics.pending_bytes.clone()),
            closing: CancellationToken::new(),
            config,
            store,
            queue,
            metrics,
            default_tenant: hopline_model::DEFAULT_TENANT.into(),
            phase: AtomicU8::new(Phase::Starting as u8),
            in_flight: AtomicUsize::new(0),
            finished: Notify::new(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Starting,
            1 => Phase::Open,
            _ => Phase::Draining,
        }
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
    }

    /// Opens the door, if it has not been closed for good.
    pub(crate) fn open(&self) {
        let (starting, open) = (Phase::Starting as u8, Phase::Open as u8);
        // Fails when the server is stopping already.
        let _ = self.phase.compare_exchange(starting, open, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Lets a request in: before its body is read, whatever refuses all requests refuses it.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Entered, ExportError> {
        // Counted first: who sees the phase change and then no request in flight is done.
        let in_flight = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.metrics.in_flight.set(in_flight as i64);
        let entered = Entered(Arc::clone(self));
        match self.phase() {
            Phase::Starting => return Err(ExportError::Starting),
            Phase::Draining => return Err(ExportError::Draining),
            Phase::Open => {}
        }
        match self.store.refusal() {
            Some(reason) => Err(ExportError::Storage(reason)),
            None => Ok(entered),
        }
    }

    /// Whose data a request brings. Authentication will stand here; for now all are one tenant's.
    pub(crate) fn authorize(&self, _headers: &HeaderMap) -> Result<Arc<str>, ExportError> {
        Ok(Arc::clone(&self.default_tenant))
    }

    /// Requests being processed.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Returns when no request is being processed.
    pub(crate) async fn idle(&self) {
        loop {
            let finished = self.finished.notified();
            tokio::pin!(finished);
            finished.as_mut().enable();
            if self.in_flight() == 0 {
                return;
            }
            finished.await;
        }
    }
}

/// A request that is being processed, until it is dropped.
pub(crate) struct Entered(Arc<Door>);

impl Drop for Entered {
    fn drop(&mut self) {
        let in_flight = self.0.in_flight.fetch_sub(1, Ordering::SeqCst) - 1;
        self.0.metrics.in_flight.set(in_flight as i64);
        if in_flight == 0 && self.0.phase() == Phase::Draining {
            self.0.finished.notify_waiters();
        }
    }
}
