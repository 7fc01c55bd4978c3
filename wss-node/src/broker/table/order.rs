//! In which order history is given up when memory is short: oldest first.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;

use crate::broker::rules::Kind;

/// Below this many, stale entries are not worth a look.
const FEW: usize = 1024;

/// A publication in the log of a channel. The log may have given it up since.
#[derive(Debug)]
pub(super) struct Logged {
    pub(super) at: Timestamp,
    pub(super) kind: Kind,
    pub(super) channel: Arc<str>,
    pub(super) offset: u64,
}

/// Publications of one shard, oldest first.
#[derive(Debug)]
pub(super) struct Order {
    logged: VecDeque<Logged>,
    /// With so many, stale ones are swept out.
    sweep_at: usize,
}

impl Default for Order {
    fn default() -> Self {
        Self { logged: VecDeque::new(), sweep_at: FEW }
    }
}

impl Order {
    pub(super) fn oldest(&self) -> Option<&Logged> {
        self.logged.front()
    }

    pub(super) fn pop(&mut self) -> Option<Logged> {
        self.logged.pop_front()
    }

    /// Those of a channel whose log is another now: its offsets begin again.
    pub(super) fn forget(&mut self, kind: Kind, channel: &str) {
        self.logged.retain(|logged| logged.kind != kind || &*logged.channel != channel);
    }

    /// Adds one; `is_kept` tells whether a log has another one still.
    pub(super) fn push(&mut self, logged: Logged, is_kept: impl FnMut(&Logged) -> bool) {
        self.logged.push_back(logged);
        if self.logged.len() >= self.sweep_at {
            self.logged.retain(is_kept);
            // As many again must come before the next sweep: its cost is spread over them.
            self.sweep_at = FEW.max(2 * self.logged.len());
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.logged.len()
    }
}
