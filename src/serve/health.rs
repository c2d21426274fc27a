//! What `/readyz` says: whether exports are taken and, if not, why.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// How far the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// The log is being replayed.
    Replaying = 0,
    /// Everything works.
    Ready = 1,
    /// A stop was asked for.
    Draining = 2,
}

/// Shared by the parts and the API.
#[derive(Debug, Clone)]
pub(crate) struct Health(Arc<AtomicU8>);

impl Health {
    /// At the start.
    pub(crate) fn new() -> Health {
        Health(Arc::new(AtomicU8::new(Phase::Replaying as u8)))
    }

    /// From now on it is `phase`. A server that drains never becomes ready again.
    pub(crate) fn set(&self, phase: Phase) {
        self.0.fetch_max(phase as u8, Ordering::SeqCst);
    }

    /// How far the server is.
    pub(crate) fn phase(&self) -> Phase {
        match self.0.load(Ordering::SeqCst) {
            0 => Phase::Replaying,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draining_is_for_good() {
        let health = Health::new();
        assert_eq!(health.phase(), Phase::Replaying);
        health.set(Phase::Draining);
        health.set(Phase::Ready);
        assert_eq!(health.phase(), Phase::Draining);
    }
}
