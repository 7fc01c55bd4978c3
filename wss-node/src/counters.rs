//! What is counted, for the report to the agent and for the log. Atomics: no lock on any path.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of the whole node.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Open sessions.
    pub(crate) sessions: AtomicU64,
    /// Handshakes that succeeded.
    pub(crate) handshakes: AtomicU64,
    /// Handshakes that failed, for whatever reason.
    pub(crate) handshake_failures: AtomicU64,
    /// Publications accepted.
    pub(crate) publications: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}

/// Counts something as long as it is held.
#[derive(Debug)]
pub(crate) struct Gauge<'a>(&'a AtomicU64);

impl<'a> Gauge<'a> {
    pub(crate) fn up(counter: &'a AtomicU64) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
