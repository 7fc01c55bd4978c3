//! How much memory the channels of a node may take together.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of channels, of all brokers of the node that share it. What is counted is content and a fixed overhead for each
/// channel, publication and key, which is a little more than they take.
#[derive(Debug)]
pub struct Budget {
    limit_bytes: usize,
    used: AtomicUsize,
}

impl Budget {
    /// A budget that nothing is taken of.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Self {
        Self { limit_bytes, used: AtomicUsize::new(0) }
    }

    /// What may be taken, in bytes.
    #[must_use]
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// What is taken, in bytes.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether there is room for so much more.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.used_bytes().saturating_add(bytes) <= self.limit_bytes
    }

    /// Something that took `before` takes `after` now.
    pub(crate) fn changed(&self, before: usize, after: usize) {
        if after >= before {
            self.used.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.used.fetch_sub(before - after, Ordering::Relaxed);
        }
    }
}
