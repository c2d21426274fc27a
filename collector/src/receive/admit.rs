//! Admission: how many bytes of requests may be in memory at once.
//!
//! A request takes its share before its body is read, as far as its length is known by
//! then, and gives it back when it is answered. What is not free within a short wait is
//! refused, and the client told to retry. As waits are short and bounded, two requests
//! that each wait for more cannot block one another for good.

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use super::error::ExportError;

/// What a request costs beside its bytes.
pub(crate) const OVERHEAD: usize = 2048;

/// The bytes that are still free.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    free: Arc<Semaphore>,
    capacity: usize,
    wait: Duration,
    /// The metric that shows what is taken.
    pending: IntGauge,
}

/// A share of the bytes; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Admission,
    share: OwnedSemaphorePermit,
}

impl Admission {
    pub(crate) fn new(capacity: usize, wait: Duration, pending: IntGauge) -> Self {
        let capacity = capacity.min(Semaphore::MAX_PERMITS);
        Admission { free: Arc::new(Semaphore::new(capacity)), capacity, wait, pending }
    }

    /// Takes `bytes` and a request's overhead.
    pub(crate) async fn admit(&self, bytes: usize) -> Result<Permit, ExportError> {
        let share = self.take(bytes.saturating_add(OVERHEAD)).await?;
        self.pending.add(share.num_permits() as i64);
        Ok(Permit { admission: self.clone(), share })
    }

    fn pending_bytes(&self) -> usize {
        self.capacity.saturating_sub(self.free.available_permits())
    }

    async fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ExportError> {
        let overloaded = || ExportError::Overloaded { bytes: self.pending_bytes() };
        let bytes = u32::try_from(bytes).map_err(|_| overloaded())?;
        match Arc::clone(&self.free).try_acquire_many_owned(bytes) {
            Ok(share) => return Ok(share),
            Err(TryAcquireError::Closed) => return Err(overloaded()),
            Err(TryAcquireError::NoPermits) => {}
        }
        match tokio::time::timeout(self.wait, Arc::clone(&self.free).acquire_many_owned(bytes)).await {
            Ok(Ok(share)) => Ok(share),
            Ok(Err(_)) | Err(_) => Err(overloaded()),
        }
    }
}

impl Permit {
    /// Takes `bytes` more. Cancel safe.
    pub(crate) async fn grow(&mut self, bytes: usize) -> Result<(), ExportError> {
        if bytes > 0 {
            let more = self.admission.take(bytes).await?;
            self.admission.pending.add(more.num_permits() as i64);
            self.share.merge(more);
        }
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.pending.sub(self.share.num_permits() as i64);
    }
}
