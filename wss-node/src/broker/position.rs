//! Where a publication stands in a channel.

use std::fmt;
use std::sync::Arc;

/// Names one incarnation of a channel's log. A log that was lost, purged or reaped comes back under another name, so
/// that offsets of the old one are never taken for offsets of the new one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Epoch(Arc<str>);

impl Epoch {
    /// An epoch by its name, as clients send it back.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self(name.into())
    }

    /// An epoch of 64 bits drawn by the caller.
    #[must_use]
    pub fn drawn(bits: u64) -> Self {
        Self(format!("{bits:016x}").into())
    }

    /// Takes the memory of an equal one, so that comparing the two needs no look at the text.
    pub(crate) fn share(&mut self, equal: &Self) {
        if !Arc::ptr_eq(&self.0, &equal.0) {
            self.0 = Arc::clone(&equal.0);
        }
    }

    /// As it goes to clients.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A place in a channel: offsets are dense (1, 2, 3, …) within an epoch; 0 stands before the first publication.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Position {
    /// Which log.
    pub epoch: Epoch,
    /// The last publication that is included.
    pub offset: u64,
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}:{}", self.epoch, self.offset)
    }
}
