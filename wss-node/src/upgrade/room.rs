//! Whether the node takes sessions now.

use std::ops::RangeInclusive;

use crate::service::Node;

/// When clients come back to a node that has halted, in seconds.
const HALTED_RETRY_AFTER_S: RangeInclusive<u64> = 5..=20;

/// Whether there is room for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Open,
    Full,
    Stopping,
    /// The breaker is open; clients are to come back after so many seconds.
    Halted(u64),
}

impl Room {
    /// As it is now. `full`: there is no place for one more session.
    pub(super) fn of(node: &Node, full: bool) -> Self {
        if node.readiness.is_draining() {
            Self::Stopping
        } else if node.guard.is_open() {
            // Not all at the same instant.
            Self::Halted(fastrand::u64(HALTED_RETRY_AFTER_S))
        } else if full {
            Self::Full
        } else {
            Self::Open
        }
    }
}
